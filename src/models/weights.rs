//! Reading the weights of a Hugging Face folder: one safetensors file, or several with an index.

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Metadata, SafeTensors};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::nn::Parameters;

/// The weights of a checkpoint. Tensors are formed when a model asks for them, after their shape was checked, so an
/// absurd config takes no memory.
pub struct Weights {
    files: Vec<WeightFile>,
    device: Device,
}

struct WeightFile {
    path: PathBuf,
    bytes: Vec<u8>,
    start: usize,
    metadata: Metadata,
}

impl Weights {
    /// Opens `model.safetensors`, or the files that `model.safetensors.index.json` lists, in `folder`.
    ///
    /// # Errors
    /// If a file is missing, cut off, or not a safetensors file.
    pub fn open(folder: &Path, device: &Device) -> Result<Self> {
        let single = folder.join("model.safetensors");
        let index = folder.join("model.safetensors.index.json");
        let paths = if index.is_file() && !single.is_file() { shards(&index)? } else { vec![single] };
        let files = paths.into_iter().map(WeightFile::open).collect::<Result<_>>()?;
        let device = device.clone();
        Ok(Self { files, device })
    }

    /// How many numbers all tensors hold together.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        let tensors = self.files.iter().flat_map(|file| file.metadata.tensors());
        tensors.map(|(_, info)| info.shape.iter().product::<usize>()).collect::<Vec<_>>().iter().sum()
    }

    /// The names of all tensors with their shapes.
    #[must_use]
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let tensors = self.files.iter().flat_map(|file| file.metadata.tensors());
        tensors.map(|(name, info)| (name, info.shape.clone())).collect()
    }
}

impl Parameters for Weights {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let found = self.files.iter().find_map(|file| file.metadata.info(name).map(|info| (file, info)));
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
        let bytes = &file.bytes[file.start + start..file.start + end];
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
        self.files.iter().any(|file| file.metadata.info(name).is_some())
    }

    fn device(&self) -> &Device {
        &self.device
    }
}

impl WeightFile {
    fn open(path: PathBuf) -> Result<Self> {
        let bytes = std::fs::read(&path).map_err(|error| Error::io("read", &path, &error))?;
        let broken = |error: safetensors::SafeTensorError| {
            Error::unusable(
                format!("the weights can't be read ({error})"),
                "the file is cut off or isn't a safetensors file: fetch it again",
            )
            .at(&path)
        };
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
        // `read_metadata` looks at the header alone; `deserialize` also holds it against the length of the file.
        SafeTensors::deserialize(&bytes).map_err(broken)?;
        Ok(Self { start: header + size_of::<u64>(), path, bytes, metadata })
    }
}

/// The files that an index lists, each once.
fn shards(index: &Path) -> Result<Vec<PathBuf>> {
    let json = super::checkpoint::read_json(index)?;
    let broken = || Error::unusable("the index of the weights has no 'weight_map'", "fetch the file again").at(index);
    let map = json["weight_map"].as_object().ok_or_else(broken)?;
    let names: BTreeSet<&str> = map.values().filter_map(|name| name.as_str()).collect();
    let folder = index.parent().unwrap_or(Path::new("."));
    names
        .into_iter()
        .map(|name| {
            // A name with a path in it could point anywhere on the disk.
            let plain = Path::new(name).file_name().is_some_and(|file| file == name);
            if plain { Ok(folder.join(name)) } else { Err(broken()) }
        })
        .collect()
}
