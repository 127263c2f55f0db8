//! Weights that stay in memory as they are stored, in 16 bits or fewer each, and become `f32` only where they are used.
//!
//! Numbers are those of a model whose weights were widened once and for all: only what is held takes less memory, not what is
//! computed. On the processor a few rows at a time are widened, into the cache, so that the memory that is read is that of
//! what is stored.

use candle_core::quantized::GgmlDType;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result as CandleResult, Shape, Tensor};
use gemm::Parallelism;
use multiversion::multiversion;
use rayon::prelude::*;
use std::borrow::Cow;
use std::sync::Arc;

use super::kernels::{Matrix, multiply, slice, transposed, with_slice};
use super::tiles::{self, Left, PANEL, Tiled, available};
use crate::error::{Error, Result};

/// So many numbers are widened at once: half a megabyte, which stays in the cache.
const AT_ONCE: usize = 1 << 17;

/// A matrix whose rows lie one behind the other, as they are stored.
#[derive(Clone)]
pub struct Packed {
    data: Arc<Vec<u8>>,
    kind: GgmlDType,
    first: usize, // the row of `data` with which it begins
    rows: usize,
    columns: usize,
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Packed({:?}, [{}, {}])", self.kind, self.rows, self.columns)
    }
}

impl Packed {
    /// A matrix of `rows` and `columns` from the bytes of a file.
    ///
    /// # Errors
    /// If a row isn't a whole number of blocks, the bytes are too few or too many, or a number isn't finite.
    pub fn new(data: Vec<u8>, kind: GgmlDType, (rows, columns): (usize, usize)) -> Result<Self> {
        let unusable = |problem: String| Error::unusable(problem, "fetch the file with the weights again");
        if columns == 0 || !columns.is_multiple_of(kind.block_size()) {
            return Err(unusable(format!("a row of {columns} numbers can't be stored as {kind:?}")));
        }
        let row = (columns / kind.block_size()).checked_mul(kind.type_size());
        if row.and_then(|row| row.checked_mul(rows)) != Some(data.len()) {
            return Err(unusable(format!("a matrix of {rows} x {columns} has {} bytes", data.len())));
        }
        let packed = Self { data: Arc::new(data), kind, first: 0, rows, columns };
        let finite = (0..rows).into_par_iter().step_by(packed.step()).all(|row| {
            let mut numbers = vec![0f32; packed.step().min(rows - row) * columns];
            packed.widen(row, &mut numbers).is_ok() && numbers.iter().all(|number| number.is_finite())
        });
        if finite { Ok(packed) } else { Err(unusable("the matrix holds numbers that aren't finite".into())) }
    }

    /// `numbers` of a matrix of `rows` and `columns` in 16 bits: `kind` is `F16` or `BF16`.
    ///
    /// # Errors
    /// If they are too few or too many, or one is too large for `kind`.
    pub fn halved(numbers: &[f32], kind: DType, (rows, columns): (usize, usize)) -> Result<Self> {
        let mut data = vec![0u8; 2 * numbers.len()];
        let parts = data.par_chunks_mut(AT_ONCE).zip(numbers.par_chunks(AT_ONCE / 2));
        let kind = if kind == DType::BF16 {
            parts.for_each(|(data, numbers)| narrow(data, numbers, |number| half::bf16::from_f32(number).to_bits()));
            GgmlDType::BF16
        } else {
            parts.for_each(|(data, numbers)| narrow(data, numbers, |number| half::f16::from_f32(number).to_bits()));
            GgmlDType::F16
        };
        Self::new(data, kind, (rows, columns))
    }

    /// Rows and columns.
    #[must_use]
    pub fn dims(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// The type of its numbers, where they have 16 bits.
    #[must_use]
    pub fn half(&self) -> Option<DType> {
        match self.kind {
            GgmlDType::F16 => Some(DType::F16),
            GgmlDType::BF16 => Some(DType::BF16),
            _ => None,
        }
    }

    /// What is stored, and how.
    #[must_use]
    pub fn stored(&self) -> (&[u8], GgmlDType) {
        let first = self.first * self.row_bytes();
        (&self.data[first..first + self.rows * self.row_bytes()], self.kind)
    }

    /// `count` rows from `first` on, which share its memory.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn narrow(&self, first: usize, count: usize) -> Result<Self> {
        if first.checked_add(count).is_none_or(|end| end > self.rows) {
            let problem = format!("of {} rows {count} from row {first} on are asked for", self.rows);
            return Err(Error::unusable(problem, "use the config.json that belongs to the weights"));
        }
        Ok(Self { first: self.first + first, rows: count, ..self.clone() })
    }

    /// The rows `ids` as a matrix of their own.
    ///
    /// # Errors
    /// If there is no such row.
    pub fn select(&self, ids: &[u32]) -> Result<Self> {
        let mut data = Vec::with_capacity(ids.len() * self.row_bytes());
        for id in ids {
            data.extend_from_slice(self.narrow(*id as usize, 1)?.stored().0);
        }
        Ok(Self { data: Arc::new(data), first: 0, rows: ids.len(), ..self.clone() })
    }

    /// The rows `ids`, `[ids, columns]`.
    ///
    /// # Errors
    /// If there is no such row.
    pub fn gather(&self, ids: &[u32]) -> Result<Tensor> {
        let mut numbers = vec![0f32; ids.len() * self.columns];
        for (id, numbers) in ids.iter().zip(numbers.chunks_exact_mut(self.columns)) {
            self.narrow(*id as usize, 1)?.widen(0, numbers)?;
        }
        Ok(Tensor::from_vec(numbers, (ids.len(), self.columns), &Device::Cpu)?)
    }

    /// The whole matrix as `f32`, `[rows, columns]`.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn widened(&self) -> Result<Tensor> {
        let mut numbers = vec![0f32; self.rows * self.columns];
        let step = self.step();
        let parts = numbers.par_chunks_mut(step * self.columns).enumerate();
        parts.try_for_each(|(part, numbers)| self.widen(part * step, numbers))?;
        Ok(Tensor::from_vec(numbers, (self.rows, self.columns), &Device::Cpu)?)
    }

    /// `x Wᵀ` for `x` `[..., columns]`, as `[..., rows]`.
    ///
    /// # Errors
    /// If the last axis of `x` isn't `columns` long.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.contiguous()?.apply_op1(PackedLinear(self.clone()))?)
    }

    /// Rows that are widened at once.
    fn step(&self) -> usize {
        (AT_ONCE / self.columns).max(1)
    }

    fn row_bytes(&self) -> usize {
        self.columns / self.kind.block_size() * self.kind.type_size()
    }

    /// Widens as many rows as `numbers` has room for, from `row` on.
    fn widen(&self, row: usize, numbers: &mut [f32]) -> CandleResult<()> {
        let length = self.row_bytes();
        let first = (self.first + row) * length;
        let bytes = &self.data[first..first + numbers.len() / self.columns * length];
        match self.kind {
            GgmlDType::F16 => widen_f16(bytes, numbers),
            GgmlDType::BF16 => widen_bf16(bytes, numbers),
            kind => match kind.from_data(Cow::Borrowed(bytes)).dequantize(numbers.len())? {
                CpuStorage::F32(widened) => numbers.copy_from_slice(&widened),
                _ => candle_core::bail!("weights aren't f32 once they are widened"),
            },
        }
        Ok(())
    }
}

/// Puts numbers in 16 bits each.
fn narrow(data: &mut [u8], numbers: &[f32], bits: impl Fn(f32) -> u16) {
    for (data, number) in data.as_chunks_mut::<2>().0.iter_mut().zip(numbers) {
        *data = bits(*number).to_le_bytes();
    }
}

/// Numbers of 16 bits, which are finite, as `f32`: exponent and mantissa are moved to their places, and the exponent's bias is
/// mended by a product, which also widens numbers below the smallest normal one.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn widen_f16(bytes: &[u8], numbers: &mut [f32]) {
    let mend = f32::from_bits((127 + 112) << 23); // 2^112
    for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<2>().0) {
        let bits = u32::from(u16::from_le_bytes(*bytes));
        let size = f32::from_bits((bits & 0x7fff) << 13) * mend;
        // An exponent of ones only would be no finite number; so it stays.
        let size = if bits & 0x7c00 == 0x7c00 { f32::INFINITY.to_bits() } else { size.to_bits() };
        *number = f32::from_bits(size | (bits & 0x8000) << 16);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn widen_bf16(bytes: &[u8], numbers: &mut [f32]) {
    for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *number = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
    }
}

/// The product with a packed matrix as one operation.
struct PackedLinear(Packed);

impl CustomOp1 for PackedLinear {
    fn name(&self) -> &'static str {
        "packed linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let (output, input) = self.0.dims();
        let mut dims = layout.dims().to_vec();
        match dims.last_mut() {
            Some(last) if *last == input => *last = output,
            _ => candle_core::bail!("a linear layer of {input} inputs got {:?}", layout.dims()),
        }
        let x = slice(x, layout)?;
        let rows = x.len() / input;
        // What many rows are multiplied with is worth to be put in tiles, with 16 digits: more than enough for weights of 8 or fewer.
        let in_tiles = rows >= 2 * PANEL && self.0.half() != Some(DType::F16) && available();
        let tiled_x = in_tiles.then(|| Tiled::new(Matrix::dense(x, rows, input).t(), true));
        // Each part's product puts all of `x` in order for itself: column by column it already is.
        let turned_x = if rows > 1 && tiled_x.is_none() { Cow::Owned(transposed(x, input)) } else { Cow::Borrowed(x) };
        let step = self.0.step();
        let mut turned = vec![0f32; output * rows]; // [out, rows]: what comes of a few rows of weights lies in one piece
        turned.par_chunks_mut((step * rows).max(1)).enumerate().try_for_each(|(part, turned)| {
            let count = turned.len() / rows.max(1);
            let mut weights = vec![0f32; count * input];
            self.0.widen(part * step, &mut weights)?;
            let weights = Matrix::dense(&weights, count, input);
            match &tiled_x {
                Some(x) => tiles::multiply(turned, None, &Left::new(weights, true, false), x, false),
                None => {
                    multiply(turned, 0.0, 1.0, weights, Matrix::dense(&turned_x, input, rows), Parallelism::None);
                }
            }
            CandleResult::Ok(())
        })?;
        let y = if rows == 1 { turned } else { transposed(&turned, rows) }; // [rows, out]
        Ok((CpuStorage::F32(y), Shape::from(dims)))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, gradient: &Tensor) -> CandleResult<Option<Tensor>> {
        let (output, input) = self.0.dims();
        let rows = x.elem_count() / input;
        with_slice(gradient, |gradient| {
            let mut all = vec![0f32; rows * input];
            // Every row of weights adds to every number, so that the parts follow each other; larger ones, shared by the threads.
            let step = 8 * self.0.step();
            for first in (0..output).step_by(step) {
                let part = self.0.narrow(first, step.min(output - first)).and_then(|part| part.widened());
                let part = part.map_err(|error| candle_core::Error::Msg(error.to_string()))?;
                let count = part.dim(0)?;
                let gradient = Matrix::strided(&gradient[first..], rows, count, output);
                with_slice(&part, |weights| {
                    let weights = Matrix::dense(weights, count, input);
                    multiply(&mut all, 1.0, 1.0, gradient, weights, Parallelism::Rayon(0));
                    Ok(())
                })?;
            }
            Ok(Some(Tensor::from_vec(all, x.shape(), x.device())?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Var;
    use candle_core::quantized::QTensor;

    /// Each way to store numbers, at sizes that don't fill the last part: the product, its gradient, and rows are those of the
    /// matrix that was widened once and for all, which is what candle makes of it.
    #[test]
    fn a_packed_matrix_is_the_matrix_that_it_widens_to() -> Result<()> {
        let kinds = [
            (GgmlDType::F16, (1000, 257)),
            (GgmlDType::BF16, (1000, 257)),
            (GgmlDType::Q8_0, (700, 288)),
            (GgmlDType::Q4_0, (700, 288)),
            (GgmlDType::Q5_1, (700, 288)),
            (GgmlDType::Q4K, (600, 512)),
            (GgmlDType::Q5K, (600, 512)),
            (GgmlDType::Q6K, (600, 512)),
            (GgmlDType::Q2K, (600, 512)),
        ];
        for (kind, (rows, columns)) in kinds {
            let weights = Tensor::randn(0f32, 0.02, (rows, columns), &Device::Cpu)?;
            let stored = QTensor::quantize(&weights, kind)?;
            let packed = Packed::new(stored.data()?.into_owned(), kind, (rows, columns))?;
            let widened = packed.widened()?;
            assert_eq!(widened.to_vec2::<f32>()?, stored.dequantize(&Device::Cpu)?.to_vec2::<f32>()?, "{kind:?}");
            let part = packed.narrow(37, 111)?;
            assert_eq!(part.widened()?.to_vec2::<f32>()?, widened.narrow(0, 37, 111)?.to_vec2::<f32>()?);
            let some = part.gather(&[0, 110, 5])?;
            assert_eq!(some.get(1)?.to_vec1::<f32>()?, widened.get(147)?.to_vec1::<f32>()?);
            assert!(part.gather(&[111]).is_err() && packed.narrow(rows, 1).is_err());
            for batch in [1, 7, 70] {
                let x = Var::from_tensor(&Tensor::randn(0f32, 1.0, (batch, 1, columns), &Device::Cpu)?)?;
                let expected = x.matmul(&widened.t()?.broadcast_left(batch)?)?;
                let found = packed.forward(x.as_tensor())?;
                near(&found, &expected)?;
                let gradient = |y: Tensor| -> Result<Tensor> {
                    let gradients = y.sqr()?.sum_all()?.backward()?;
                    Ok(gradients.get(x.as_tensor()).expect("a gradient").clone())
                };
                near(&gradient(found)?, &gradient(expected)?)?;
            }
        }
        Ok(())
    }

    fn near(found: &Tensor, expected: &Tensor) -> Result<()> {
        let most = expected.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
        let apart = (found - expected)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
        assert!(most > 0.0 && apart <= 1e-5 * most, "{apart} of {most}");
        Ok(())
    }

    /// All 65,536 patterns of 16 bits.
    #[test]
    fn every_number_of_16_bits_is_widened_to_itself() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let (mut halves, mut brains) = (vec![0f32; 1 << 16], vec![0f32; 1 << 16]);
        widen_f16(&bytes, &mut halves);
        widen_bf16(&bytes, &mut brains);
        for bits in 0..=u16::MAX {
            let (half, brain) = (half::f16::from_bits(bits).to_f32(), half::bf16::from_bits(bits).to_f32());
            let same = |found: f32, expected: f32| {
                found.to_bits() == expected.to_bits() || !found.is_finite() && !expected.is_finite()
            };
            assert!(same(halves[usize::from(bits)], half) && same(brains[usize::from(bits)], brain), "{bits:#x}");
        }
    }

    #[test]
    fn what_is_no_matrix_is_refused() {
        let kind = GgmlDType::Q8_0;
        assert!(Packed::new(vec![0; 34], kind, (1, 32)).is_ok());
        for (bytes, shape) in [(34, (1, 33)), (33, (1, 32)), (34, (2, 32)), (34, (usize::MAX, 32)), (0, (1, 0))] {
            assert!(Packed::new(vec![0; bytes], kind, shape).is_err(), "{shape:?}");
        }
        for bits in [0x7c00u16, 0xfc00, 0x7e01] {
            assert!(Packed::new(bits.to_le_bytes().to_vec(), GgmlDType::F16, (1, 1)).is_err());
        }
        let large = |kind| Packed::halved(&[1e6], kind, (1, 1));
        assert!(large(DType::F16).is_err() && large(DType::BF16).is_ok());
    }
}
