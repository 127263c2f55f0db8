//! Reading the weights of a Hugging Face folder: one safetensors file, or several with an index.

mod header;

use candle_core::{DType, Device, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::nn::Parameters;
use header::Header;

/// The weights of a checkpoint. Tensors are formed when a model asks for them, after their shape was checked, so an
/// absurd config takes no memory.
pub struct Weights {
    files: Vec<WeightFile>,
    device: Device,
}

struct WeightFile {
    path: PathBuf,
    bytes: Vec<u8>,
    header: Header,
}

/// What a checkpoint holds, known without reading its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// How many numbers all tensors hold together.
    pub parameters: usize,
    /// Length of all files, in bytes.
    pub bytes: u64,
}

/// Looks at the headers of the weights in `folder`.
///
/// # Errors
/// As [`Weights::open`].
pub fn extent(folder: &Path) -> Result<Extent> {
    let mut extent = Extent { parameters: 0, bytes: 0 };
    for path in files(folder)? {
        let header = Header::read(&path)?;
        extent.parameters += header.parameter_count();
        extent.bytes += header.length;
    }
    Ok(extent)
}

impl Weights {
    /// Opens `model.safetensors`, or the files that `model.safetensors.index.json` lists, in `folder`.
    ///
    /// # Errors
    /// If a file is missing, cut off, or not a safetensors file.
    pub fn open(folder: &Path, device: &Device) -> Result<Self> {
        let files = files(folder)?.into_iter().map(WeightFile::open).collect::<Result<_>>()?;
        let device = device.clone();
        Ok(Self { files, device })
    }

    /// How many numbers all tensors hold together.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.files.iter().map(|file| file.header.parameter_count()).sum()
    }

    /// The names of all tensors with their shapes.
    #[must_use]
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let tensors = self.files.iter().flat_map(|file| file.header.metadata.tensors());
        tensors.map(|(name, info)| (name, info.shape.clone())).collect()
    }
}

impl Parameters for Weights {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let found = self.files.iter().find_map(|file| file.header.metadata.info(name).map(|info| (file, info)));
        let Some((file, info)) = found else {
            let path = self.files.first().map_or(Path::new(""), |file| &file.path);
            return Err(Error::unusable(
                format!("the checkpoint has no tensor '{name}'"),
                "check that config.json names the class of these weights",
            )
            .at(path));
        };
        if info.shape != shape {
            return Err(Error::unusable(
                format!("the tensor '{name}' has shape {:?}, but config.json asks for {shape:?}", info.shape),
                "use the config.json that belongs to these weights",
            )
            .at(&file.path));
        }
        let dtype = match info.dtype {
            safetensors::Dtype::F32 => DType::F32,
            safetensors::Dtype::F16 => DType::F16,
            safetensors::Dtype::BF16 => DType::BF16,
            safetensors::Dtype::F64 => DType::F64,
            other => {
                return Err(Error::unusable(
                    format!("the tensor '{name}' is stored as {other:?}"),
                    "convert the checkpoint to f32, f16 or bf16",
                )
                .at(&file.path));
            }
        };
        let (start, end) = info.data_offsets;
        let start_of_data = file.header.start;
        let bytes = &file.bytes[start_of_data + start..start_of_data + end];
        let tensor = Tensor::from_raw_buffer(bytes, dtype, shape, &Device::Cpu)?.to_dtype(DType::F32)?;
        // One number that isn't finite makes the sum so too; a sum that overflows is no sane weight either.
        if !tensor.abs()?.sum_all()?.to_scalar::<f32>()?.is_finite() {
            return Err(Error::unusable(
                format!("the tensor '{name}' holds numbers that aren't finite"),
                "fetch or train the checkpoint again",
            )
            .at(&file.path));
        }
        Ok(tensor.to_device(&self.device)?)
    }

    fn contains(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.header.metadata.info(name).is_some())
    }

    fn device(&self) -> &Device {
        &self.device
    }
}

impl WeightFile {
    fn open(path: PathBuf) -> Result<Self> {
        let header = Header::read(&path)?;
        let bytes = std::fs::read(&path).map_err(|error| Error::io("read", &path, &error))?;
        if bytes.len() as u64 != header.length {
            return Err(Error::unusable("the file changed while it was read", "try again").at(&path));
        }
        Ok(Self { path, bytes, header })
    }
}

/// The files with weights in `folder`: `model.safetensors`, or else those that the index lists.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let single = folder.join("model.safetensors");
    let index = folder.join("model.safetensors.index.json");
    if index.is_file() && !single.is_file() { shards(&index) } else { Ok(vec![single]) }
}

/// The files that an index lists, each once.
fn shards(index: &Path) -> Result<Vec<PathBuf>> {
    let json = super::checkpoint::read_json(index)?;
    let broken = |why: String| Error::unusable(why, "fetch the file again").at(index);
    let map = json["weight_map"]
        .as_object()
        .filter(|map| !map.is_empty())
        .ok_or_else(|| broken("the index of the weights has no 'weight_map'".into()))?;
    let names = map.values().map(|name| name.as_str().unwrap_or_default()).collect::<BTreeSet<_>>();
    let folder = index.parent().unwrap_or(Path::new("."));
    names
        .into_iter()
        .map(|name| {
            // A name with a path in it could point anywhere on the disk.
            let plain = Path::new(name).file_name().is_some_and(|file| file == name);
            if plain {
                Ok(folder.join(name))
            } else {
                Err(broken(format!("the index of the weights names '{name}', which isn't a file beside it")))
            }
        })
        .collect()
}
