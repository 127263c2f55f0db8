//! Reading the weights of a Hugging Face folder: one file or several with an index, as safetensors or as torch writes
//! them.
//!
//! OpenFlamingo publishes only what it trained, `checkpoint.pt`; the frozen parts lie as their owners publish them in
//! the folders `language_model` and `vision_encoder` beside it, and their tensors get the name of the folder in front. So
//! do those of the vision tower that LLaVA's own config names.

mod file;
mod gguf;
mod header;
mod pickle;
mod torch;

use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::gguf::Pair;
use super::llava::{TOWER, tower_beside};
use super::memory::available;
use super::runtime::{Precision, Runtime};
use crate::error::{Error, Result};
use crate::nn::{Packed, Parameters, Weight};
use file::{Content, Kind, WeightFile, widened};

/// Files with weights and what lists them where there are several; the first that is there counts.
pub(super) const NAMES: [(&str, &str); 2] =
    [("model.safetensors", "model.safetensors.index.json"), ("pytorch_model.bin", "pytorch_model.bin.index.json")];
/// The trained part of a model whose frozen parts lie in folders of their own.
pub(super) const TRAINED: &str = "checkpoint.pt";
/// Those folders.
const FROZEN: [&str; 2] = ["language_model", "vision_encoder"];

/// Matrices of fewer numbers aren't worth to be widened again and again.
const SMALL: usize = 1 << 12;

/// The weights of a checkpoint. Tensors are read when a model asks for them, after their shape was checked, so an absurd config
/// takes no memory.
pub struct Weights {
    files: Vec<WeightFile>,
    runtime: Runtime,
}

/// What a checkpoint holds, known without reading its weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// How many numbers all tensors hold together.
    pub parameters: usize,
    /// Length of all files, in bytes.
    pub bytes: u64,
    /// What they take in memory with the numbers in 32 bits, those of llama.cpp's files as they are, in bytes.
    pub full: u64,
    /// The same with large matrices in 16 bits.
    pub half: u64,
    /// Numbers of the largest tensor.
    pub largest: u64,
}

impl Extent {
    /// What the weights take where they are held so, in bytes.
    #[must_use]
    pub fn held(&self, precision: Precision) -> u64 {
        if precision.half().is_some() { self.half } else { self.full }
    }
}

/// Looks at the lists of tensors of the weights in `folder`.
///
/// # Errors
/// As [`Weights::open`].
pub fn extent(folder: &Path) -> Result<Extent> {
    let mut extent = Extent::default();
    for (_, path) in files(folder)? {
        let content = Content::read(&path)?;
        extent.bytes += content.length();
        for (name, shape) in content.shapes() {
            let count = shape.iter().fold(1, |count: usize, axis| count.saturating_mul(*axis));
            extent.parameters = extent.parameters.saturating_add(count);
            let numbers = count as u64;
            let halved = shape.len() == 2 && count >= SMALL;
            let (full, half) = match content.info(&name) {
                Some((_, Ok(Kind::Blocks(kind)))) => {
                    let bytes = numbers / kind.block_size() as u64 * kind.type_size() as u64;
                    (bytes, bytes)
                }
                _ => (numbers.saturating_mul(4), numbers.saturating_mul(if halved { 2 } else { 4 })),
            };
            extent.full = extent.full.saturating_add(full);
            extent.half = extent.half.saturating_add(half);
            extent.largest = extent.largest.max(numbers);
        }
    }
    Ok(extent)
}

impl Weights {
    /// Opens `model.safetensors`, `pytorch_model.bin`, the files that an index of either lists, or `checkpoint.pt` with
    /// what lies beside it, in `folder`.
    ///
    /// # Errors
    /// If a file is missing, cut off, or not a file of its kind.
    pub fn open(folder: &Path, runtime: impl Into<Runtime>) -> Result<Self> {
        let files = files(folder)?.into_iter().map(WeightFile::open).collect::<Result<_>>()?;
        Ok(Self { files, runtime: runtime.into() })
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
            found
                .extend(file.content.shapes().into_iter().map(|(name, shape)| (file.outer(&name).into_owned(), shape)));
        }
        found
    }
}

impl Weights {
    /// How a tensor is stored, if it is here.
    fn kind(&self, name: &str) -> Option<Kind> {
        let found = self.files.iter().find_map(|file| file.content.info(file.inner(name)?))?;
        found.1.ok()
    }

    /// What stands for a tensor that llama.cpp leaves out, since no layer looks at what stands behind it: the norm behind the
    /// vision tower's last block, as one that changes nothing.
    fn neutral(&self, name: &str) -> Option<f32> {
        let is_gguf = self.files.iter().any(|file| matches!(file.content, Content::Gguf(_)));
        let left_out = if name.ends_with("vision_model.post_layernorm.weight") {
            1.0
        } else if name.ends_with("vision_model.post_layernorm.bias") {
            0.0
        } else {
            return None;
        };
        (is_gguf && !self.contains(name)).then_some(left_out)
    }

    /// The file that holds a tensor, its name there and its type, once its shape was checked.
    fn place<'a>(&self, name: &'a str, shape: &[usize]) -> Result<(&WeightFile, &'a str, Kind)> {
        let found = self.files.iter().find_map(|file| {
            let inner = file.inner(name)?;
            file.content.info(inner).map(|info| (file, inner, info))
        });
        let Some((file, inner, (stored_shape, kind))) = found else {
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
        // Without the axes of no length, which would hide the others.
        let count = shape.iter().try_fold(1, |count: usize, axis| count.checked_mul((*axis).max(1)));
        if count.is_none() {
            let problem = format!("the tensor '{name}' has shape {shape:?}, which no memory holds");
            return Err(Error::unusable(problem, "fetch the file with the weights again").at(&file.path));
        }
        let kind = kind.map_err(|other| {
            Error::unusable(
                format!("the tensor '{name}' is stored as {other}"),
                "convert the checkpoint to f32, f16 or bf16",
            )
            .at(&file.path)
        })?;
        check_memory(name, shape).map_err(|error| error.at(&file.path))?;
        Ok((file, inner, kind))
    }
}

impl Parameters for Weights {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        if let Some(neutral) = self.neutral(name) {
            return Ok(Tensor::full(neutral, shape, &self.runtime.device)?);
        }
        let (file, inner, kind) = self.place(name, shape)?;
        let numbers = match kind {
            Kind::Plain(dtype) => Tensor::from_vec(file.numbers(inner, dtype)?, shape, &Device::Cpu)?,
            Kind::Blocks(kind) => {
                let bytes = file.data(inner)?;
                let columns = shape.last().copied().unwrap_or(1);
                let packed = Packed::new(bytes, kind, (shape.iter().product::<usize>() / columns.max(1), columns));
                packed.map_err(|_| file.not_finite(inner))?.widened()?.reshape(shape)?
            }
        };
        Ok(numbers.to_device(&self.runtime.device)?)
    }

    fn matrix(&self, name: &str, (rows, columns): (usize, usize)) -> Result<Weight> {
        let half = self.runtime.precision.half();
        let in_blocks = || matches!(self.kind(name), Some(Kind::Blocks(_)));
        if rows.saturating_mul(columns) < SMALL || half.is_none() && !in_blocks() {
            return self.get(name, &[rows, columns]).map(Weight::Full);
        }
        let (file, inner, kind) = self.place(name, &[rows, columns])?;
        let bytes = file.data(inner)?;
        let packed = match (kind, half) {
            // What a file of llama.cpp's holds in 16 bits or fewer stays as it is.
            (Kind::Blocks(kind), _) => Packed::new(bytes, kind, (rows, columns)),
            (Kind::Plain(DType::F16), Some(DType::F16)) => Packed::new(bytes, GgmlDType::F16, (rows, columns)),
            (Kind::Plain(DType::BF16), Some(DType::BF16)) => Packed::new(bytes, GgmlDType::BF16, (rows, columns)),
            (Kind::Plain(dtype), half) => {
                let numbers = widened(&bytes, dtype);
                drop(bytes);
                Packed::halved(&numbers, half.unwrap_or(DType::F16), (rows, columns))
            }
        };
        Weight::packed(packed.map_err(|_| file.not_finite(inner))?, &self.runtime.device)
    }

    fn for_products(&self, name: &str, shape: (usize, usize)) -> Result<Weight> {
        let Runtime { device, precision } = &self.runtime;
        let (rows, columns) = shape;
        if device.is_cpu() && precision.half().is_none() && rows.saturating_mul(columns) >= SMALL {
            let (file, inner, kind) = self.place(name, &[rows, columns])?;
            if let (Kind::Plain(dtype), Some(start)) = (kind, file.start(inner)) {
                let row = columns * dtype.size_in_bytes();
                return Weight::read(shape, |first, some| file.fill(inner, dtype, start + first * row, some));
            }
        }
        self.matrix(name, shape)?.laid()
    }

    fn contains(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.inner(name).is_some_and(|inner| file.content.info(inner).is_some()))
    }

    fn device(&self) -> &Device {
        &self.runtime.device
    }
}

/// Refuses a tensor that the machine can't hold, which the system would end the program for: a file can have a hole of terabytes.
fn check_memory(name: &str, shape: &[usize]) -> Result<()> {
    /// Smaller ones aren't worth to ask the system for.
    const LARGE: u64 = 1 << 30;
    let needed = shape.iter().fold(4, |bytes: u64, axis| bytes.saturating_mul(*axis as u64));
    let too_much = needed > LARGE && available().is_some_and(|available| needed > available);
    if too_much {
        let problem =
            format!("the tensor '{name}' takes {} GB, more than the memory that is free", needed / 1_000_000_000);
        return Err(Error::unusable(problem, "close other programs or choose a smaller checkpoint"));
    }
    Ok(())
}

/// How many bytes of weights there are in `folder`.
///
/// # Errors
/// If one of their files isn't there.
pub fn bytes_in(folder: &Path) -> Result<u64> {
    let length = |path: &Path| std::fs::metadata(path).map_err(|error| Error::io("read", path, &error));
    files(folder)?.iter().map(|(_, path)| Ok(length(path)?.len())).sum()
}

/// The files with weights in `folder`, each with the frozen part that it belongs to.
fn files(folder: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    if let Some(pair) = Pair::at(folder)? {
        return Ok(vec![("", pair.language), ("", pair.vision)]);
    }
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
pub(super) fn shards(index: &Path) -> Result<Vec<PathBuf>> {
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
