//! Reading the weights of a Hugging Face folder: one file or several with an index, as safetensors or as torch writes
//! them.
//!
//! OpenFlamingo publishes only what it trained, `checkpoint.pt`; the frozen parts lie as their owners publish them in
//! the folders `language_model` and `vision_encoder` beside it, and their tensors get the name of the folder in front. So
//! do those of the vision tower that LLaVA's own config names.

mod header;
mod pickle;
mod torch;

use candle_core::{DType, Device, Tensor};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::inventory::available_memory;
use super::llava::{TOWER, tower_beside};
use crate::error::{Error, Result};
use crate::nn::Parameters;
use header::Header;
use torch::Torch;

/// Files with weights and what lists them where there are several; the first that is there counts.
const NAMES: [(&str, &str); 2] =
    [("model.safetensors", "model.safetensors.index.json"), ("pytorch_model.bin", "pytorch_model.bin.index.json")];
/// The trained part of a model whose frozen parts lie in folders of their own.
const TRAINED: &str = "checkpoint.pt";
/// Those folders.
const FROZEN: [&str; 2] = ["language_model", "vision_encoder"];

/// The weights of a checkpoint. Tensors are formed when a model asks for them, after their shape was checked, so an
/// absurd config takes no memory.
pub struct Weights {
    files: Vec<WeightFile>,
    device: Device,
}

struct WeightFile {
    part: &'static str, // the frozen part that the file belongs to, or nothing
    path: PathBuf,
    content: Content,
    bytes: Vec<u8>, // the whole file, if it is a safetensors file
}

/// What a file holds, known without reading its weights.
enum Content {
    Safetensors(Header),
    Torch(Torch),
}

/// What a checkpoint holds, known without reading its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// How many numbers all tensors hold together.
    pub parameters: usize,
    /// Length of all files, in bytes.
    pub bytes: u64,
}

/// Looks at the lists of tensors of the weights in `folder`.
///
/// # Errors
/// As [`Weights::open`].
pub fn extent(folder: &Path) -> Result<Extent> {
    let mut extent = Extent { parameters: 0, bytes: 0 };
    for (_, path) in files(folder)? {
        let content = Content::read(&path)?;
        extent.parameters = extent.parameters.saturating_add(content.parameter_count());
        extent.bytes += content.length();
    }
    Ok(extent)
}

impl Weights {
    /// Opens `model.safetensors`, `pytorch_model.bin`, the files that an index of either lists, or `checkpoint.pt` with
    /// what lies beside it, in `folder`.
    ///
    /// # Errors
    /// If a file is missing, cut off, not a file of its kind, or all are more than the memory that is free.
    pub fn open(folder: &Path, device: &Device) -> Result<Self> {
        let look = |(part, path): (&'static str, PathBuf)| Ok((part, Content::read(&path)?, path));
        let found = files(folder)?.into_iter().map(look).collect::<Result<Vec<_>>>()?;
        let needed = found.iter().map(|(_, content, _)| content.length()).fold(0, u64::saturating_add);
        check_memory(needed).map_err(|error| error.at(folder))?;
        let files = found.into_iter().map(WeightFile::open).collect::<Result<_>>()?;
        let device = device.clone();
        Ok(Self { files, device })
    }

    /// How many numbers all tensors hold together.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.files.iter().map(|file| file.content.parameter_count()).fold(0, usize::saturating_add)
    }

    /// The names of all tensors with their shapes.
    #[must_use]
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let mut found = BTreeMap::new();
        for file in &self.files {
            found.extend(file.content.shapes().into_iter().map(|(name, shape)| (file.outer(name), shape)));
        }
        found
    }
}

impl Parameters for Weights {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let found = self.files.iter().find_map(|file| {
            let inner = file.inner(name)?;
            file.content.info(inner).map(|info| (file, inner, info))
        });
        let Some((file, inner, (stored_shape, dtype))) = found else {
            // A frozen part stands behind the trained one, in which every name could be.
            let file = self.files.iter().rfind(|file| file.inner(name).is_some());
            return Err(Error::unusable(
                format!("the checkpoint has no tensor '{name}'"),
                "check that config.json names the class of these weights",
            )
            .at(file.map_or(Path::new(""), |file| &file.path)));
        };
        if stored_shape != shape {
            return Err(Error::unusable(
                format!("the tensor '{name}' has shape {stored_shape:?}, but config.json asks for {shape:?}"),
                "use the config.json that belongs to these weights",
            )
            .at(&file.path));
        }
        let dtype = dtype.map_err(|other| {
            Error::unusable(
                format!("the tensor '{name}' is stored as {other}"),
                "convert the checkpoint to f32, f16 or bf16",
            )
            .at(&file.path)
        })?;
        let bytes = file.data(inner)?;
        let tensor = Tensor::from_raw_buffer(&bytes, dtype, shape, &Device::Cpu)?.to_dtype(DType::F32)?;
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
        self.files.iter().any(|file| file.inner(name).is_some_and(|inner| file.content.info(inner).is_some()))
    }

    fn device(&self) -> &Device {
        &self.device
    }
}

impl WeightFile {
    fn open((part, content, path): (&'static str, Content, PathBuf)) -> Result<Self> {
        let mut bytes = Vec::new();
        if let Content::Safetensors(header) = &content {
            bytes = std::fs::read(&path).map_err(|error| Error::io("read", &path, &error))?;
            if bytes.len() as u64 != header.length {
                return Err(Error::unusable("the file changed while it was read", "try again").at(&path));
            }
        }
        Ok(Self { part, path, content, bytes })
    }

    /// The name in the file of what is called `name` in the checkpoint, if it could be here.
    fn inner<'a>(&self, name: &'a str) -> Option<&'a str> {
        if self.part.is_empty() { Some(name) } else { name.strip_prefix(self.part)?.strip_prefix('.') }
    }

    /// The name in the checkpoint of what is called `name` in the file.
    fn outer(&self, name: String) -> String {
        if self.part.is_empty() { name } else { format!("{}.{name}", self.part) }
    }

    /// The bytes of a tensor that is here.
    fn data(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        match &self.content {
            Content::Safetensors(header) => {
                let (start, end) = header.metadata.info(name).map_or((0, 0), |info| info.data_offsets);
                Ok(Cow::Borrowed(&self.bytes[header.start + start..header.start + end]))
            }
            Content::Torch(torch) => Ok(Cow::Owned(torch.bytes(&self.path, name)?)),
        }
    }
}

impl Content {
    /// Looks at a file: as torch's if its name says so, else as safetensors.
    fn read(path: &Path) -> Result<Self> {
        let torch = path.extension().is_some_and(|ending| ["pt", "bin"].iter().any(|known| ending == *known));
        Ok(if torch { Self::Torch(Torch::read(path)?) } else { Self::Safetensors(Header::read(path)?) })
    }

    fn length(&self) -> u64 {
        match self {
            Self::Safetensors(header) => header.length,
            Self::Torch(torch) => torch.length,
        }
    }

    fn parameter_count(&self) -> usize {
        let count = |shape: &[usize]| shape.iter().fold(1, |count: usize, axis| count.saturating_mul(*axis));
        match self {
            Self::Safetensors(header) => header.parameter_count(),
            Self::Torch(torch) => torch.shapes().map(|(_, shape)| count(shape)).fold(0, usize::saturating_add),
        }
    }

    fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        match self {
            Self::Safetensors(header) => {
                header.metadata.tensors().into_iter().map(|(name, info)| (name, info.shape.clone())).collect()
            }
            Self::Torch(torch) => torch.shapes().map(|(name, shape)| (name.clone(), shape.clone())).collect(),
        }
    }

    /// Shape and type of a tensor, if it is here; the type's own name where no weight may have it.
    fn info(&self, name: &str) -> Option<(&[usize], std::result::Result<DType, String>)> {
        match self {
            Self::Safetensors(header) => {
                let info = header.metadata.info(name)?;
                let dtype = match info.dtype {
                    safetensors::Dtype::F32 => Ok(DType::F32),
                    safetensors::Dtype::F16 => Ok(DType::F16),
                    safetensors::Dtype::BF16 => Ok(DType::BF16),
                    safetensors::Dtype::F64 => Ok(DType::F64),
                    other => Err(format!("{other:?}")),
                };
                Some((info.shape.as_slice(), dtype))
            }
            Self::Torch(torch) => {
                let (shape, dtype) = torch.info(name)?;
                Some((shape, dtype.map_err(str::to_owned)))
            }
        }
    }
}

/// How many bytes of weights there are in `folder`.
///
/// # Errors
/// If one of their files isn't there.
pub fn bytes_in(folder: &Path) -> Result<u64> {
    let length = |path: &Path| std::fs::metadata(path).map_err(|error| Error::io("read", path, &error));
    files(folder)?.iter().map(|(_, path)| Ok(length(path)?.len())).sum()
}

/// Refuses so many bytes of weights if the machine can't hold them, which the system would end the program for.
fn check_memory(needed: u64) -> Result<()> {
    match available_memory() {
        Some(available) if needed > available => {
            let [needed, available] = [needed, available].map(|bytes| bytes.div_ceil(1 << 30));
            Err(Error::unusable(
                format!("the weights take {needed} GiB of memory, and less than {available} GiB are free"),
                "close other programs or choose a smaller checkpoint",
            ))
        }
        _ => Ok(()),
    }
}

/// The files with weights in `folder`, each with the frozen part that it belongs to.
fn files(folder: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    let mut found = own(folder, "")?;
    if found.iter().any(|(_, path)| path.ends_with(TRAINED)) {
        for part in FROZEN {
            found.extend(own(&folder.join(part), part)?);
        }
    }
    if let Some(tower) = tower_beside(folder).filter(|tower| has_weights(tower)) {
        found.extend(own(&tower, TOWER)?);
    }
    Ok(found)
}

/// Whether there are weights in `folder` itself.
fn has_weights(folder: &Path) -> bool {
    NAMES.iter().any(|(single, index)| folder.join(single).is_file() || folder.join(index).is_file())
}

/// The files with weights in `folder` itself, which belong to `part`. Where there are none, the usual name, so that the
/// error names it.
fn own(folder: &Path, part: &'static str) -> Result<Vec<(&'static str, PathBuf)>> {
    for (single, index) in NAMES {
        let (single, index) = (folder.join(single), folder.join(index));
        if single.is_file() {
            return Ok(vec![(part, single)]);
        }
        if index.is_file() {
            return Ok(shards(&index)?.into_iter().map(|path| (part, path)).collect());
        }
    }
    let trained = folder.join(TRAINED);
    let usual = if trained.is_file() && part.is_empty() { trained } else { folder.join(NAMES[0].0) };
    Ok(vec![(part, usual)])
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
