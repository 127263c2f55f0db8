//! A matrix of weights, wherever and in whatever precision it is held.

use candle_core::quantized::{QStorage, QTensor};
use candle_core::{DType, Device, Tensor};
use std::sync::Arc;

use super::fusable;
use super::kernels::{Matrix, with_slice};
use super::packed::Packed;
use super::panels::Panels;
use super::tiles::{self, Tiled};
use crate::error::Result;

/// Smaller matrices fit into the cache, however they lie there.
const SMALL: usize = 1 << 12;

/// A matrix of weights `[rows, columns]`.
#[derive(Clone, Debug)]
pub enum Weight {
    /// As `f32`, which can be learned.
    Full(Tensor),
    /// As `f32` in strips, in the memory of the processor: for nothing but products, and frozen.
    Paneled(Arc<Panels>),
    /// As it is stored, in the memory of the processor.
    Packed(Packed),
    /// As `bf16` in tiles, on a processor that multiplies them: for nothing but products.
    Tiled(Arc<Tiled>),
    /// On a GPU, in 16 bits.
    Half(Tensor),
    /// On a GPU, quantized.
    Quantized(Arc<QTensor>),
}

impl From<Tensor> for Weight {
    fn from(weight: Tensor) -> Self {
        Self::Full(weight)
    }
}

impl Weight {
    /// A frozen matrix `[rows, columns]` as `f32` on the processor, for nothing but products. `fill` puts some of its rows, from a
    /// first one on, where they are asked for, by several threads at once.
    ///
    /// # Errors
    /// If `fill` fails.
    pub fn read(shape: (usize, usize), fill: impl Fn(usize, &mut [f32]) -> Result<()> + Sync) -> Result<Self> {
        Ok(Self::Paneled(Arc::new(Panels::read(shape, fill)?)))
    }

    /// Laid as products read it, where it is frozen and on the processor: one in 32 bits in strips, one held as `bf16` in tiles, where
    /// the processor has them.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn laid(self) -> Result<Self> {
        let (output, input) = self.dims()?;
        Ok(match &self {
            _ if output * input < SMALL => self,
            // What is learned keeps its own place, and what takes no memory needs none.
            Self::Full(weight) if !weight.track_op() && fusable(&[weight]) && weight.is_contiguous() => {
                let panels = with_slice(weight, |values| Ok(Panels::new(values, (output, input))))?;
                Self::Paneled(Arc::new(panels))
            }
            Self::Packed(packed) if packed.half() == Some(DType::BF16) && tiles::available() => {
                let tiled = with_slice(&packed.widened()?, |numbers| {
                    Ok(Tiled::new(Matrix::dense(numbers, output, input).t(), false))
                })?;
                Self::Tiled(Arc::new(tiled))
            }
            _ => self,
        })
    }

    /// A packed matrix where it is to be used.
    ///
    /// # Errors
    /// If the device is out of memory.
    pub fn packed(packed: Packed, device: &Device) -> Result<Self> {
        if device.is_cpu() {
            return Ok(Self::Packed(packed));
        }
        Ok(match packed.half() {
            Some(kind) => Self::Half(packed.widened()?.to_dtype(kind)?.to_device(device)?),
            None => {
                let (data, kind) = packed.stored();
                Self::Quantized(Arc::new(QTensor::new(QStorage::from_data(data.into(), device, kind)?, packed.dims())?))
            }
        })
    }

    /// Rows and columns.
    ///
    /// # Errors
    /// If it isn't a matrix.
    pub fn dims(&self) -> Result<(usize, usize)> {
        Ok(match self {
            Self::Full(weight) | Self::Half(weight) => weight.dims2()?,
            Self::Packed(packed) => packed.dims(),
            Self::Tiled(tiled) => {
                let (rows, columns) = tiled.dims();
                (columns, rows)
            }
            Self::Paneled(panels) => {
                let (rows, columns) = panels.dims();
                (columns, rows)
            }
            Self::Quantized(weight) => weight.shape().dims2()?,
        })
    }

    /// The type of the numbers that are computed with it.
    #[must_use]
    pub fn computed(&self) -> DType {
        match self {
            Self::Full(weight) => weight.dtype(),
            Self::Half(_) | Self::Packed(_) | Self::Tiled(_) | Self::Paneled(_) | Self::Quantized(_) => DType::F32,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn device(&self) -> Device {
        match self {
            Self::Full(weight) | Self::Half(weight) => weight.device().clone(),
            Self::Packed(_) | Self::Tiled(_) | Self::Paneled(_) => Device::Cpu,
            Self::Quantized(weight) => weight.device(),
        }
    }

    /// `count` rows from `first` on.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn narrow(&self, first: usize, count: usize) -> Result<Self> {
        Ok(match self {
            Self::Full(weight) => Self::Full(weight.narrow(0, first, count)?),
            Self::Half(weight) => Self::Half(weight.narrow(0, first, count)?),
            Self::Packed(packed) => Self::Packed(packed.narrow(first, count)?),
            Self::Tiled(_) | Self::Paneled(_) | Self::Quantized(_) => {
                Self::Full(self.widened()?.narrow(0, first, count)?)
            }
        })
    }

    /// The rows `ids` as a matrix of their own, which is held in the same precision.
    ///
    /// # Errors
    /// If there is no such row.
    pub fn rows(&self, ids: &[u32]) -> Result<Self> {
        let chosen = |weight: &Tensor| -> Result<Tensor> {
            // One number that stands for all, as where weights are only counted, takes no memory and needs none.
            if weight.stride().first() == Some(&0) {
                return Ok(weight.narrow(0, 0, ids.len())?);
            }
            Ok(weight.contiguous()?.index_select(&Tensor::new(ids, weight.device())?, 0)?)
        };
        Ok(match self {
            Self::Full(weight) => Self::Full(chosen(weight)?),
            Self::Half(weight) => Self::Half(chosen(weight)?),
            Self::Packed(packed) => Self::Packed(packed.select(ids)?),
            Self::Tiled(_) | Self::Paneled(_) | Self::Quantized(_) => Self::Full(chosen(&self.widened()?)?),
        })
    }

    /// All of it as `f32`, `[rows, columns]`.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn widened(&self) -> Result<Tensor> {
        Ok(match self {
            Self::Full(weight) => weight.clone(),
            Self::Half(weight) => weight.to_dtype(DType::F32)?,
            Self::Packed(packed) => packed.widened()?,
            Self::Tiled(tiled) => {
                let (columns, rows) = tiled.dims();
                Tensor::from_vec(tiled.turned(), (rows, columns), &Device::Cpu)?
            }
            Self::Paneled(panels) => {
                let (columns, rows) = panels.dims();
                Tensor::from_vec(panels.transposed(), (rows, columns), &Device::Cpu)?
            }
            Self::Quantized(weight) => weight.dequantize(&weight.device())?,
        })
    }

    /// The rows `ids` `[ids]`, as `[ids, columns]`.
    ///
    /// # Errors
    /// If there is no such row.
    pub fn gather(&self, ids: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Full(weight) => weight.index_select(ids, 0)?,
            Self::Half(weight) => weight.index_select(ids, 0)?.to_dtype(DType::F32)?,
            Self::Packed(packed) => packed.gather(&ids.to_vec1::<u32>()?)?,
            Self::Tiled(_) | Self::Paneled(_) => self.widened()?.index_select(ids, 0)?,
            Self::Quantized(weight) => weight.embedding(ids)?,
        })
    }
}
