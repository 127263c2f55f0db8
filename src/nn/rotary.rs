//! Rotary position embedding (Su et al. 2021, arXiv 2104.09864), in the layout of LLaMA: number `i` of a head is turned
//! together with number `i + half`.

use candle_core::{CpuStorage, CustomOp1, D, Device, Layout, Result as CandleResult, Shape, Tensor};
use rayon::prelude::*;

use super::fusable;
use super::kernels::{slice, turn_row, with_slice};
use super::layer_norm::ROWS_PER_TASK;
use crate::error::Result;

/// The turns of the positions of one pass.
#[derive(Clone, Debug)]
pub struct Rotary {
    cos: Tensor, // [batch, positions, 1, head width / 2]
    sin: Tensor, // [batch, positions, 1, head width / 2]
}

impl Rotary {
    /// The turns of `positions`, one row for each entry of the batch and all of one length, for heads of an even width;
    /// `base` is 10,000 in most models.
    ///
    /// # Errors
    /// If the rows differ in length, or the device is out of memory.
    pub fn new(positions: &[Vec<u32>], head_width: usize, base: f32, device: &Device) -> Result<Self> {
        Self::with_speeds(positions, &Self::speeds(head_width, base), device)
    }

    /// The angle by which each pair of numbers of a head is turned from one position to the next, in radians, `head
    /// width / 2` of them.
    #[must_use]
    pub fn speeds(head_width: usize, base: f32) -> Vec<f32> {
        (0..head_width / 2).map(|i| 1.0 / base.powf((2 * i) as f32 / head_width as f32)).collect()
    }

    /// [`Self::new`] with other speeds than the usual [`Self::speeds`], as models have that were made for longer texts
    /// than they were trained on.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_speeds(positions: &[Vec<u32>], speeds: &[f32], device: &Device) -> Result<Self> {
        let shape = (positions.len(), positions.first().map_or(0, Vec::len), 1, speeds.len());
        let angles: Vec<f32> = positions
            .iter()
            .flatten()
            .flat_map(|position| speeds.iter().map(move |speed| *position as f32 * speed))
            .collect();
        let angles = Tensor::from_vec(angles, shape, device)?;
        Ok(Self { cos: angles.cos()?, sin: angles.sin()? })
    }

    /// Turns each head of `x` `[batch, positions, heads * head width]`.
    ///
    /// # Errors
    /// If the shapes don't fit.
    pub fn apply(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        if fusable(&[x, &self.cos]) {
            return Ok(x.contiguous()?.apply_op1(RotaryOp { turns: self.clone(), heads })?);
        }
        // Not candle's own operation, which cuts the gradient.
        let (batch, positions, width) = x.dims3()?;
        let half = width / heads / 2;
        let split = x.reshape((batch, positions, heads, 2 * half))?;
        let (left, right) = (split.narrow(D::Minus1, 0, half)?, split.narrow(D::Minus1, half, half)?);
        let (cos, sin) = (self.cos.to_dtype(x.dtype())?, self.sin.to_dtype(x.dtype())?);
        let turned_left = (left.broadcast_mul(&cos)? - right.broadcast_mul(&sin)?)?;
        let turned_right = (right.broadcast_mul(&cos)? + left.broadcast_mul(&sin)?)?;
        Ok(Tensor::cat(&[turned_left, turned_right], D::Minus1)?.reshape((batch, positions, width))?)
    }
}

struct RotaryOp {
    turns: Rotary,
    heads: usize,
}

impl RotaryOp {
    /// Turns each row of `x`, or turns it back where `direction` is -1.
    fn turn(&self, x: &[f32], shape: &Shape, direction: f32) -> CandleResult<Vec<f32>> {
        let (batch, positions, width) = shape.dims3()?;
        let (rows, places, _, half) = self.turns.cos.dims4()?;
        if places != positions || (rows != batch && rows != 1) || width != 2 * half * self.heads {
            candle_core::bail!("the turns {:?} don't fit {shape:?}", self.turns.cos.shape());
        }
        if x.is_empty() {
            return Ok(Vec::new());
        }
        let mut out = vec![0f32; x.len()];
        let mut run = |cos: &[f32], sin: &[f32]| {
            out.par_chunks_mut(width).with_min_len(ROWS_PER_TASK).zip(x.par_chunks(width)).enumerate().for_each(
                |(row, (out, x))| {
                    let at = row % (rows * places) * half;
                    turn_row(x, &cos[at..at + half], &sin[at..at + half], direction, out);
                },
            );
        };
        with_slice(&self.turns.cos, |cos| {
            with_slice(&self.turns.sin, |sin| {
                run(cos, sin);
                Ok(())
            })
        })?;
        Ok(out)
    }
}

impl CustomOp1 for RotaryOp {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(self.turn(slice(x, layout)?, layout.shape(), 1.0)?), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, gradient: &Tensor) -> CandleResult<Option<Tensor>> {
        let turned = with_slice(gradient, |gradient| self.turn(gradient, x.shape(), -1.0))?;
        Ok(Some(Tensor::from_vec(turned, x.shape(), x.device())?))
    }
}
