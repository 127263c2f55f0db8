//! Where models run, and how exactly their weights are held there.

use candle_core::utils::{cuda_is_available, metal_is_available};
use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::memory::available;
use crate::error::{Error, Result, reason};

/// How the large matrices of a model are held. What is computed is `f32` with each: a matrix in 16 bits is widened where it is
/// used. Only where a processor has tiles (AMX), `bf16` is multiplied in them, and what it is multiplied with is rounded to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "window", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// In 32 bits.
    #[default]
    F32,
    /// In 16 bits, 11 of them for digits; of a checkpoint that is stored so the same numbers as in 32 bits.
    F16,
    /// In 16 bits, 8 of them for digits, with the range of `f32`.
    Bf16,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// The type of 16 bits, if it is one.
    #[must_use]
    pub fn half(self) -> Option<DType> {
        match self {
            Self::F32 => None,
            Self::F16 => Some(DType::F16),
            Self::Bf16 => Some(DType::BF16),
        }
    }

    /// Its name: `f32`, `f16` or `bf16`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }
}

/// Where a model runs, and how its weights are held.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// The device.
    pub device: Device,
    /// How the weights are held.
    pub precision: Precision,
}

impl From<&Device> for Runtime {
    fn from(device: &Device) -> Self {
        Self { device: device.clone(), precision: Precision::default() }
    }
}

impl From<&Self> for Runtime {
    fn from(runtime: &Self) -> Self {
        runtime.clone()
    }
}

/// A runtime by its names, as a person chooses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeName {
    /// As [`choose`] reads it.
    pub device: String,
    /// How the weights are held.
    #[serde(default)]
    pub precision: Precision,
}

impl Default for RuntimeName {
    fn default() -> Self {
        Self { device: "auto".to_owned(), precision: Precision::default() }
    }
}

impl RuntimeName {
    /// The same weights on the processor.
    #[must_use]
    pub fn on_processor(&self) -> Self {
        Self { device: "cpu".to_owned(), ..self.clone() }
    }

    /// Whether it names a device that isn't the processor, be there one or not.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        let kind = self.device.split(':').next().unwrap_or_default();
        ["auto", "cuda", "metal"].contains(&kind)
    }

    /// Opens something there or, where that can't be, on the processor; then with why it can't.
    ///
    /// # Errors
    /// If it can't be opened on the processor either: what is wrong with a checkpoint is wrong with it everywhere.
    pub fn open<T>(&self, open: impl Fn(&Runtime) -> Result<T>) -> Result<(T, Option<Error>)> {
        match self.find().and_then(|runtime| open(&runtime)) {
            Err(error) if self.is_elsewhere() => Ok((open(&self.on_processor().find()?)?, Some(error))),
            done => done.map(|opened| (opened, None)),
        }
    }

    /// The runtime.
    ///
    /// # Errors
    /// As [`choose`].
    pub fn find(&self) -> Result<Runtime> {
        Ok(Runtime { device: choose(&self.device)?, precision: self.precision })
    }
}

/// Memory that is free on `device`, in bytes; `None` where nothing says. An Apple GPU has that of its processor.
#[must_use]
pub fn free(device: &Device) -> Option<u64> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => cuda.cuda_stream().context().mem_get_info().ok().map(|(free, _)| free as u64),
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => None,
        Device::Cpu | Device::Metal(_) => available(),
    }
}

/// The names of devices that this build can use, as [`choose`] reads them. Of several GPUs the first; others are named by hand.
#[must_use]
pub fn names() -> Vec<&'static str> {
    let gpus = [(cuda_is_available(), "cuda:0"), (metal_is_available(), "metal")];
    ["auto", "cpu"].into_iter().chain(gpus.into_iter().filter(|(here, _)| *here).map(|(_, name)| name)).collect()
}

/// The device called `name`: `auto`, `cpu`, `cuda`, `cuda:N` or `metal`. `auto` takes the first NVIDIA GPU, else the
/// Apple GPU, else the processor.
///
/// # Errors
/// If the name is unknown, this build can't use such a device, or the machine has none.
pub fn choose(name: &str) -> Result<Device> {
    match name {
        "auto" => Ok(automatic()),
        "cpu" => Ok(Device::Cpu),
        "metal" => metal(),
        "cuda" => cuda(0),
        _ => {
            let ordinal = name.strip_prefix("cuda:").and_then(|number| number.parse().ok());
            ordinal.map_or_else(
                || {
                    let problem = format!("there is no kind of device called '{name}'");
                    Err(Error::unusable(problem, "name auto, cpu, cuda:0 or metal"))
                },
                cuda,
            )
        }
    }
}

fn automatic() -> Device {
    cuda(0).or_else(|_| metal()).unwrap_or(Device::Cpu)
}

fn cuda(ordinal: usize) -> Result<Device> {
    if !cuda_is_available() {
        return Err(Error::unusable(
            "this build of Alignscope can't use NVIDIA GPUs",
            "build it with --features cuda, or use --device cpu",
        ));
    }
    let device = Device::new_cuda(ordinal).and_then(tried);
    let newer = "update its driver, build Alignscope with a CUDA that is no newer, or use --device cpu";
    device.map_err(|error| missing(&format!("NVIDIA GPU {ordinal}"), &error, newer))
}

fn metal() -> Result<Device> {
    if !metal_is_available() {
        return Err(Error::unusable("this build of Alignscope can't use Apple GPUs", "use --device cpu"));
    }
    Device::new_metal(0).and_then(tried).map_err(|error| missing("Apple GPU", &error, "use --device cpu"))
}

/// The device, if it runs what this build has for it: a driver that is too old only says so at the first operation.
fn tried(device: Device) -> candle_core::Result<Device> {
    Tensor::ones(1, DType::F32, &device)?.affine(2.0, 1.0)?.to_vec1::<f32>()?;
    Ok(device)
}

fn missing(device: &str, error: &candle_core::Error, remedy: &str) -> Error {
    Error::unusable(format!("no {device} can be used here ({})", reason(error)), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_choose_devices_or_are_refused_in_one_sentence() {
        assert!(choose("cpu").is_ok_and(|device| device.is_cpu()));
        assert!(choose("auto").is_ok());
        for name in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cuda:99999999999999999999", "CPU", "cuda:4096"] {
            let said = choose(name).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains("; ") && !said.contains('\n'), "{name}: {said}");
        }
    }
}
