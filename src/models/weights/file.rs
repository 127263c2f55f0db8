//! A file with weights: what it holds, and how its numbers are read.

use candle_core::DType;
use candle_core::quantized::GgmlDType;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;
use std::borrow::Cow;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::gguf::Gguf;
use super::header::Header;
use super::torch::Torch;
use crate::error::{Error, Result};
use crate::files;

/// Numbers that a thread reads at once.
const PIECE: usize = 1 << 18;

/// A file with weights.
pub(super) struct WeightFile {
    pub(super) part: &'static str, // the frozen part that the file belongs to, or nothing
    pub(super) path: PathBuf,
    pub(super) content: Content,
    file: File,
}

/// What a file holds, known without reading its weights.
pub(super) enum Content {
    Safetensors(Header),
    Torch(Torch),
    Gguf(Gguf),
}

/// How numbers are stored.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// One by one.
    Plain(DType),
    /// As llama.cpp has them, mostly in blocks that share what they have in common.
    Blocks(GgmlDType),
}

impl WeightFile {
    pub(super) fn open((part, path): (&'static str, PathBuf)) -> Result<Self> {
        let content = Content::read(&path)?;
        let file = File::open(&path).map_err(|error| Error::io("read", &path, &error))?;
        Ok(Self { part, path, content, file })
    }

    /// The name in the file of what is called `name` in the checkpoint, if it could be here.
    pub(super) fn inner<'a>(&self, name: &'a str) -> Option<&'a str> {
        if self.part.is_empty() { Some(name) } else { name.strip_prefix(self.part)?.strip_prefix('.') }
    }

    /// The name in the checkpoint of what is called `name` in the file.
    pub(super) fn outer<'a>(&self, name: &'a str) -> Cow<'a, str> {
        if self.part.is_empty() { name.into() } else { format!("{}.{name}", self.part).into() }
    }

    /// Says that the tensor that is called `name` in the file can't be used.
    pub(super) fn not_finite(&self, name: &str) -> Error {
        Error::unusable(
            format!("the tensor '{}' holds numbers that aren't finite", self.outer(name)),
            "fetch or train the checkpoint again, or hold it as f32 if it is held in 16 bits",
        )
        .at(&self.path)
    }

    /// Where in the file the numbers of a tensor lie one by one, in bytes from its beginning; `None` where they are packed.
    pub(super) fn start(&self, name: &str) -> Option<usize> {
        match &self.content {
            Content::Safetensors(header) => Some(header.start + header.metadata.info(name)?.data_offsets.0),
            Content::Torch(_) | Content::Gguf(_) => None,
        }
    }

    /// The bytes of a tensor that is here.
    pub(super) fn data(&self, name: &str) -> Result<Vec<u8>> {
        match &self.content {
            Content::Safetensors(header) => {
                let (start, end) = header.metadata.info(name).map_or((0, 0), |info| info.data_offsets);
                let mut bytes = vec![0; end - start];
                let pieces = bytes.par_chunks_mut(4 * PIECE).enumerate();
                pieces.try_for_each(|(at, some)| self.read(header.start + start + at * 4 * PIECE, some))?;
                Ok(bytes)
            }
            Content::Torch(torch) => torch.bytes(&self.path, name),
            Content::Gguf(gguf) => gguf.bytes(&self.file, name),
        }
    }

    /// The numbers of a tensor that is here, stored as `dtype`. They are read to where they stay, as far as the file allows it.
    pub(super) fn numbers(&self, name: &str, dtype: DType) -> Result<Vec<f32>> {
        let (Content::Safetensors(header), Some(start)) = (&self.content, self.start(name)) else {
            let numbers = widened(&self.data(name)?, dtype);
            let finite = numbers.par_chunks(PIECE).all(finite);
            return if finite { Ok(numbers) } else { Err(self.not_finite(name)) };
        };
        let (begin, end) = header.metadata.info(name).map_or((0, 0), |info| info.data_offsets);
        let size = dtype.size_in_bytes();
        let mut numbers = vec![0f32; (end - begin) / size];
        let pieces = numbers.par_chunks_mut(PIECE).enumerate();
        pieces.try_for_each(|(at, some)| self.fill(name, dtype, start + at * PIECE * size, some))?;
        Ok(numbers)
    }

    /// Fills `numbers` with those that are stored as `dtype` from `start` on, which belong to the tensor `name`.
    pub(super) fn fill(&self, name: &str, dtype: DType, start: usize, numbers: &mut [f32]) -> Result<()> {
        if dtype == DType::F32 && cfg!(target_endian = "little") {
            self.read(start, bytemuck::cast_slice_mut(numbers))?;
        } else {
            let mut bytes = vec![0; numbers.len() * dtype.size_in_bytes()];
            self.read(start, &mut bytes)?;
            widen(&bytes, dtype, numbers);
        }
        if finite(numbers) { Ok(()) } else { Err(self.not_finite(name)) }
    }

    /// Fills `bytes` with those of the file from `start` on.
    fn read(&self, start: usize, bytes: &mut [u8]) -> Result<()> {
        files::read_exact_at(&self.file, start as u64, bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => {
                Error::unusable("the file changed while it was read", "try again").at(&self.path)
            }
            _ => Error::io("read", &self.path, &error),
        })
    }
}

/// Whether all numbers are. Without an early end, several are looked at together.
fn finite(numbers: &[f32]) -> bool {
    numbers.iter().fold(true, |all, number| all & number.is_finite())
}

/// Stored numbers, the lowest byte first, as `f32`.
pub(super) fn widened(bytes: &[u8], dtype: DType) -> Vec<f32> {
    let size = dtype.size_in_bytes();
    let mut numbers = vec![0f32; bytes.len() / size];
    let pieces = numbers.par_chunks_mut(PIECE).zip(bytes.par_chunks(PIECE * size));
    pieces.for_each(|(numbers, bytes)| widen(bytes, dtype, numbers));
    numbers
}

/// The same for one thread, into `numbers`.
fn widen(bytes: &[u8], dtype: DType, numbers: &mut [f32]) {
    fn each<const SIZE: usize>(bytes: &[u8], numbers: &mut [f32], widen: impl Fn([u8; SIZE]) -> f32) {
        for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<SIZE>().0) {
            *number = widen(*bytes);
        }
    }
    match dtype {
        DType::F16 => {
            // By blocks, for which the processor has an instruction.
            const BLOCK: usize = 256;
            let mut block = [half::f16::ZERO; BLOCK];
            for (numbers, bytes) in numbers.chunks_mut(BLOCK).zip(bytes.chunks(2 * BLOCK)) {
                let block = &mut block[..numbers.len()];
                for (number, bytes) in block.iter_mut().zip(bytes.as_chunks().0) {
                    *number = half::f16::from_le_bytes(*bytes);
                }
                block.convert_to_f32_slice(numbers);
            }
        }
        DType::BF16 => each(bytes, numbers, |bytes| half::bf16::from_le_bytes(bytes).to_f32()),
        DType::F64 => each(bytes, numbers, |bytes| f64::from_le_bytes(bytes) as f32),
        _ => each(bytes, numbers, f32::from_le_bytes),
    }
}

impl Content {
    /// Looks at a file: as torch's if its name says so, else as safetensors.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        Ok(match ending.as_deref() {
            Some("pt" | "bin") => Self::Torch(Torch::read(path)?),
            Some("gguf") => Self::Gguf(Gguf::read(path)?),
            _ => Self::Safetensors(Header::read(path)?),
        })
    }

    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Safetensors(header) => header.length,
            Self::Torch(torch) => torch.length,
            Self::Gguf(gguf) => gguf.length,
        }
    }

    pub(super) fn parameter_count(&self) -> usize {
        let count = |shape: &[usize]| shape.iter().fold(1, |count: usize, axis| count.saturating_mul(*axis));
        match self {
            Self::Safetensors(header) => header.parameter_count(),
            Self::Torch(torch) => torch.shapes().map(|(_, shape)| count(shape)).fold(0, usize::saturating_add),
            Self::Gguf(gguf) => gguf.shapes().map(|(_, shape)| count(shape)).fold(0, usize::saturating_add),
        }
    }

    pub(super) fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        match self {
            Self::Safetensors(header) => {
                header.metadata.tensors().into_iter().map(|(name, info)| (name, info.shape.clone())).collect()
            }
            Self::Torch(torch) => torch.shapes().map(|(name, shape)| (name.clone(), shape.clone())).collect(),
            Self::Gguf(gguf) => gguf.shapes().map(|(name, shape)| (name.clone(), shape.clone())).collect(),
        }
    }

    /// Shape and type of a tensor, if it is here; the type's own name where no weight may have it.
    pub(super) fn info(&self, name: &str) -> Option<(&[usize], std::result::Result<Kind, String>)> {
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
                Some((info.shape.as_slice(), dtype.map(Kind::Plain)))
            }
            Self::Torch(torch) => {
                let (shape, dtype) = torch.info(name)?;
                Some((shape, dtype.map(Kind::Plain).map_err(str::to_owned)))
            }
            Self::Gguf(gguf) => gguf.info(name).map(|(shape, kind)| (shape, Ok(kind))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_kind_are_widened() {
        let numbers: Vec<f32> = (0..1000).map(|at| (at as f32 - 500.0) / 8.0).collect();
        let of = |dtype| -> Vec<u8> {
            let bytes = |number: &f32| match dtype {
                DType::F16 => half::f16::from_f32(*number).to_le_bytes().to_vec(),
                DType::BF16 => half::bf16::from_f32(*number).to_le_bytes().to_vec(),
                DType::F64 => f64::from(*number).to_le_bytes().to_vec(),
                _ => number.to_le_bytes().to_vec(),
            };
            numbers.iter().flat_map(bytes).collect()
        };
        for dtype in [DType::F16, DType::F32, DType::F64] {
            assert_eq!(widened(&of(dtype), dtype), numbers, "{dtype:?}");
        }
        let rounded = |number: &f32| half::bf16::from_f32(*number).to_f32();
        assert_eq!(widened(&of(DType::BF16), DType::BF16), numbers.iter().map(rounded).collect::<Vec<_>>());
    }

    #[test]
    fn one_number_that_is_not_finite_is_found() {
        let mut numbers = vec![1f32; 100];
        assert!(finite(&numbers) && finite(&[]));
        for number in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            numbers[63] = number;
            assert!(!finite(&numbers));
        }
    }
}
