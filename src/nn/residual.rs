//! The residual stream's sums.

use candle_core::{CpuStorage, CustomOp2, Layout, Result as CandleResult, Shape, Tensor};
use rayon::prelude::*;

use super::activation::VALUES_PER_TASK;
use super::fusable;
use super::kernels::{add, slice};
use crate::error::Result;

/// `x` with what a part of the block has `added` to it, of one shape.
///
/// On the processor the sum is formed by the threads that form the products. candle's own sum has threads of its own, which wait
/// for the next one in a loop and take the cores from the products meanwhile.
///
/// # Errors
/// If the shapes differ.
pub fn residual(x: &Tensor, added: &Tensor) -> Result<Tensor> {
    if fusable(&[x, added]) {
        return Ok(x.contiguous()?.apply_op2(&added.contiguous()?, Residual)?);
    }
    Ok((x + added)?)
}

struct Residual;

impl CustomOp2 for Residual {
    fn name(&self) -> &'static str {
        "residual"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        added: &CpuStorage,
        layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        if x_layout.shape() != layout.shape() {
            candle_core::bail!("{:?} can't be added to {:?}", layout.shape(), x_layout.shape());
        }
        let (x, added) = (slice(x, x_layout)?, slice(added, layout)?);
        let mut sum = vec![0f32; x.len()];
        sum.par_chunks_mut(VALUES_PER_TASK)
            .zip(x.par_chunks(VALUES_PER_TASK).zip(added.par_chunks(VALUES_PER_TASK)))
            .for_each(|(sum, (x, added))| add(x, added, sum));
        Ok((CpuStorage::F32(sum), layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        added: &Tensor,
        _sum: &Tensor,
        gradient: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        let to = |part: &Tensor| part.track_op().then(|| gradient.clone());
        Ok((to(x), to(added)))
    }
}
