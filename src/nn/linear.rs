//! The affine map.

use candle_core::{CpuStorage, CustomOp3, Layout, Result as CandleResult, Shape, Storage, Tensor};
use gemm::Parallelism;

use super::kernels::{Matrix, add_rows, matrix, multiply, slice, transposed, with_slice};
use super::{Scope, Weight, fusable};
use crate::error::Result;

/// Smaller weights fit into the cache, however they lie there.
const SMALL: usize = 1 << 12;

/// `y = x Wᵀ + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Weight, // [out, in]; of a frozen layer its columns lie in one piece, not its rows
    bias: Tensor,   // [out]; zeros where the checkpoint has none
}

impl Linear {
    /// Reads `weight` and `bias` of a layer that maps `input` to `output` numbers.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(scope: &Scope<'_>, input: usize, output: usize) -> Result<Self> {
        Self::new(scope.matrix("weight", (output, input))?, scope.get("bias", &[output])?).turned()
    }

    /// Reads `weight` of a layer without bias.
    ///
    /// # Errors
    /// If the weight is missing or has another shape.
    pub fn load_without_bias(scope: &Scope<'_>, input: usize, output: usize) -> Result<Self> {
        Self::from_weight(scope.matrix("weight", (output, input))?)?.turned()
    }

    /// Reads `weight`, and `bias` if the config says that there is one.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load_with(scope: &Scope<'_>, input: usize, output: usize, bias: bool) -> Result<Self> {
        if bias { Self::load(scope, input, output) } else { Self::load_without_bias(scope, input, output) }
    }

    /// From a weight `[out, in]` alone.
    ///
    /// # Errors
    /// If the weight isn't a matrix.
    pub fn from_weight(weight: impl Into<Weight>) -> Result<Self> {
        let weight = weight.into();
        let bias = Tensor::zeros(weight.dims()?.0, weight.computed(), &weight.device())?;
        Ok(Self { weight, bias })
    }

    /// From a weight `[out, in]` and a bias `[out]`.
    #[must_use]
    pub fn new(weight: impl Into<Weight>, bias: Tensor) -> Self {
        Self { weight: weight.into(), bias }
    }

    /// Lays the weight so that its columns lie in one piece, where it is frozen and on the processor: the product with it, for
    /// which it is read again and again, is then up to five times faster. It is copied for that; a weight that is also used
    /// elsewhere, as a table of words, say, better stays where it is.
    ///
    /// # Errors
    /// If the weight can't be read.
    pub fn turned(self) -> Result<Self> {
        let Weight::Full(weight) = &self.weight else { return Ok(self) };
        let (output, input) = weight.dims2()?;
        // What is learned keeps its own place, and what takes no memory needs none.
        let is_frozen = !weight.track_op() && fusable(&[weight]);
        if !is_frozen || output * input < SMALL || !weight.is_contiguous() {
            return Ok(self);
        }
        let turned = with_slice(weight, |values| Ok(transposed(values, input)))?;
        let weight = Tensor::from_vec(turned, (input, output), weight.device())?.t()?;
        Ok(Self { weight: weight.into(), ..self })
    }

    /// Maps `x` `[..., in]` to `[..., out]`.
    ///
    /// # Errors
    /// If the last axis of `x` isn't `in` long.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (output, input) = self.weight.dims()?;
        super::operations::count(1, x.elem_count() / input.max(1), input, output);
        let weight = match &self.weight {
            Weight::Full(weight) if fusable(&[x, weight, &self.bias]) => {
                return Ok(x.contiguous()?.apply_op3(weight, &self.bias, LinearOp)?);
            }
            Weight::Packed(packed) => return Ok(packed.forward(x)?.broadcast_add(&self.bias)?),
            weight => weight.widened()?,
        };
        let mut shape = x.dims().to_vec();
        let rows = x.elem_count() / input.max(1);
        let y = x.reshape((rows, input))?.matmul(&weight.t()?)?; // [rows, out]
        let y = y.broadcast_add(&self.bias)?;
        if let Some(last) = shape.last_mut() {
            *last = output;
        }
        Ok(y.reshape(shape)?)
    }
}

/// The affine map with bias as one operation, which skips the gradients that nobody needs (frozen weights).
struct LinearOp;

impl CustomOp3 for LinearOp {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let (output, input) = weight_layout.shape().dims2()?;
        let mut dims = x_layout.dims().to_vec();
        match dims.last_mut() {
            Some(last) if *last == input => *last = output,
            _ => candle_core::bail!("a linear layer of {input} inputs got {:?}", x_layout.dims()),
        }
        let x = slice(x, x_layout)?;
        let bias = slice(bias, bias_layout)?;
        let rows = x.len() / input;
        let mut y = Vec::with_capacity(rows * output);
        for _ in 0..rows {
            y.extend_from_slice(bias);
        }
        let x = Matrix::dense(x, rows, input);
        let weight = matrix(weight, weight_layout)?;
        multiply(&mut y, 1.0, 1.0, x, weight.t(), Parallelism::Rayon(0));
        Ok((CpuStorage::F32(y), Shape::from(dims)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (output, input) = weight.dims2()?;
        let rows = x.elem_count() / input;
        let threads = Parallelism::Rayon(0);
        with_slice(gradient, |gradient| {
            let dy = Matrix::dense(gradient, rows, output);
            let x_gradient = if x.track_op() {
                let mut out = vec![0f32; rows * input];
                let (storage, layout) = weight.storage_and_layout();
                let Storage::Cpu(storage) = &*storage else { candle_core::bail!("a weight isn't on the CPU") };
                multiply(&mut out, 0.0, 1.0, dy, matrix(storage, layout)?, threads);
                Some(Tensor::from_vec(out, x.shape(), x.device())?)
            } else {
                None
            };
            let weight_gradient = if weight.track_op() {
                let mut out = vec![0f32; output * input];
                with_slice(x, |x| {
                    let x = Matrix::dense(x, rows, input);
                    multiply(&mut out, 0.0, 1.0, dy.t(), x, threads);
                    Ok(())
                })?;
                Some(Tensor::from_vec(out, weight.shape(), weight.device())?)
            } else {
                None
            };
            let bias_gradient = if bias.track_op() {
                let mut out = vec![0f32; output];
                add_rows(gradient, &mut out);
                Some(Tensor::from_vec(out, bias.shape(), bias.device())?)
            } else {
                None
            };
            Ok((x_gradient, weight_gradient, bias_gradient))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};
    use std::collections::BTreeMap;

    /// A frozen weight that was turned gives what a learned one gives, which isn't; gradients, too.
    #[test]
    fn a_turned_weight_is_the_same_weight() -> Result<()> {
        let (input, output, device) = (1023, 97, &Device::Cpu);
        let weight = Tensor::randn(0f32, 1.0, (output, input), device)?;
        let bias = Tensor::randn(0f32, 1.0, output, device)?;
        let weights = BTreeMap::from([("weight".to_owned(), weight.clone()), ("bias".to_owned(), bias.clone())]);
        let frozen = Linear::load(&Scope::root(&weights), input, output)?;
        assert!(!frozen.weight.widened()?.is_contiguous() && frozen.weight.dims()? == (output, input));
        assert_eq!(frozen.weight.widened()?.to_vec2::<f32>()?, weight.to_vec2::<f32>()?);
        let learned = Linear::new(Var::from_tensor(&weight)?.as_tensor().clone(), bias.clone()).turned()?;
        assert!(learned.weight.widened()?.is_contiguous(), "what is learned stays where it is");
        let x = Var::from_tensor(&Tensor::randn(0f32, 1.0, (3, 5, input), device)?)?;
        let both = [&frozen, &learned].map(|linear| -> Result<(Vec<f32>, Vec<f32>)> {
            let y = linear.forward(x.as_tensor())?;
            let gradients = y.sqr()?.sum_all()?.backward()?;
            let gradient = gradients.get(x.as_tensor()).map(|gradient| gradient.flatten_all()?.to_vec1::<f32>());
            Ok((y.flatten_all()?.to_vec1()?, gradient.transpose()?.unwrap_or_default()))
        });
        let [frozen, learned] = both;
        let (frozen, learned) = (frozen?, learned?);
        for (own, other) in [(&frozen.0, &learned.0), (&frozen.1, &learned.1)] {
            let largest = other.iter().fold(0f32, |most, value| most.max(value.abs()));
            assert!(own.len() == other.len() && largest > 0.0);
            assert!(own.iter().zip(other).all(|(own, other)| (own - other).abs() <= 1e-6 * largest));
        }
        // Weights that take no memory, and small ones, are left as they are.
        let nothing = Tensor::zeros((), DType::F32, device)?.broadcast_as((4096, 4096))?;
        assert_eq!(Linear::from_weight(nothing)?.turned()?.weight.widened()?.stride(), [0, 0]);
        let small = Linear::from_weight(Tensor::zeros((8, 16), DType::F32, device)?)?.turned()?;
        assert!(small.weight.widened()?.is_contiguous());
        Ok(())
    }
}
