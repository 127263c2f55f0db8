//! Where models run.

use candle_core::Device;
use candle_core::utils::{cuda_is_available, metal_is_available};

use crate::error::{Error, Result};

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
    Device::new_cuda(ordinal).map_err(|error| missing(&format!("NVIDIA GPU {ordinal}"), &error))
}

fn metal() -> Result<Device> {
    if !metal_is_available() {
        return Err(Error::unusable("this build of Alignscope can't use Apple GPUs", "use --device cpu"));
    }
    Device::new_metal(0).map_err(|error| missing("Apple GPU", &error))
}

fn missing(device: &str, error: &candle_core::Error) -> Error {
    Error::unusable(format!("no {device} can be used here ({error})"), "use --device cpu")
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
