//! The affine map.

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result as CandleResult, Shape, Tensor};
use gemm::Parallelism;
use std::sync::Arc;

use super::kernels::{Matrix, add_rows, multiply, slice, with_slice};
use super::panels::Panels;
use super::tiles::{self, Left, Tiled};
use super::{Scope, Weight, fusable};
use crate::error::Result;

/// `y = x Wᵀ + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Weight, // [out, in]
    bias: Tensor,   // [out]; zeros where the checkpoint has none
}

impl Linear {
    /// Reads `weight` and `bias` of a layer that maps `input` to `output` numbers.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(scope: &Scope<'_>, input: usize, output: usize) -> Result<Self> {
        let shape = (output, input);
        let weight = scope.for_products("weight", shape)?;
        let bias = scope.get("bias", &[output])?;
        // Beside a bias that is learned, a weight stays as it is.
        let weight = if bias.track_op() { scope.matrix("weight", shape)? } else { weight };
        Ok(Self::new(weight, bias))
    }

    /// Reads `weight` of a layer without bias.
    ///
    /// # Errors
    /// If the weight is missing or has another shape.
    pub fn load_without_bias(scope: &Scope<'_>, input: usize, output: usize) -> Result<Self> {
        Self::from_weight(scope.for_products("weight", (output, input))?)
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

    /// Lays the weight as products read it ([`Weight::laid`]), unless anything here is learned. It is copied for that; a weight that
    /// is also used elsewhere, as a table of words, say, better stays where it is.
    ///
    /// # Errors
    /// If the weight can't be read.
    pub fn turned(self) -> Result<Self> {
        let weight = if self.bias.track_op() { self.weight } else { self.weight.laid()? };
        Ok(Self { weight, ..self })
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
            Weight::Paneled(weight) => {
                let operation = FrozenLinear { weight: Laid::Paneled(weight.clone()), bias: self.bias.clone() };
                return Ok(x.contiguous()?.apply_op1(operation)?);
            }
            Weight::Tiled(weight) => {
                let operation = FrozenLinear { weight: Laid::Tiled(weight.clone()), bias: self.bias.clone() };
                return Ok(x.contiguous()?.apply_op1(operation)?);
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

/// The shape `[..., out]` of what becomes of `[..., in]`.
fn mapped(x: &Layout, (output, input): (usize, usize)) -> CandleResult<Shape> {
    let mut dims = x.dims().to_vec();
    match dims.last_mut() {
        Some(last) if *last == input => *last = output,
        _ => candle_core::bail!("a linear layer of {input} inputs got {:?}", x.dims()),
    }
    Ok(Shape::from(dims))
}

/// A frozen weight that lies as products read it.
enum Laid {
    /// As `f32`.
    Paneled(Arc<Panels>), // [in, out]
    /// As `bf16`; what it maps is rounded to that, too.
    Tiled(Arc<Tiled>), // [in, out]
}

impl Laid {
    /// How long what it maps to is, and what it maps.
    fn dims(&self) -> (usize, usize) {
        let (input, output) = match self {
            Self::Paneled(weight) => weight.dims(),
            Self::Tiled(weight) => weight.dims(),
        };
        (output, input)
    }

    /// Maps the rows of `x`, and adds `bias` to each.
    fn product(&self, x: &[f32], bias: &[f32]) -> Vec<f32> {
        match self {
            Self::Paneled(weight) => weight.product(x, Some(bias)),
            Self::Tiled(weight) => {
                let (output, input) = self.dims();
                let rows = x.len() / input;
                let mut y = vec![0f32; rows * output];
                if rows > 0 {
                    let x = Left::new(Matrix::dense(x, rows, input), false, true);
                    tiles::multiply(&mut y, Some(bias), &x, weight, true);
                }
                y
            }
        }
    }

    /// The gradient of what was mapped, of the gradient of what came of it.
    fn back(&self, gradient: &[f32]) -> Vec<f32> {
        match self {
            Self::Paneled(weight) => weight.back(gradient),
            Self::Tiled(weight) => {
                let (output, input) = self.dims();
                let rows = gradient.len() / output;
                let mut all = vec![0f32; rows * input];
                let (gradient, weight) = (Matrix::dense(gradient, rows, output), weight.turned());
                let weight = Matrix::dense(&weight, output, input);
                multiply(&mut all, 0.0, 1.0, gradient, weight, Parallelism::Rayon(0));
                all
            }
        }
    }
}

/// The affine map with a frozen weight.
struct FrozenLinear {
    weight: Laid,
    bias: Tensor, // [out]
}

impl CustomOp1 for FrozenLinear {
    fn name(&self) -> &'static str {
        "frozen linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let shape = mapped(layout, self.weight.dims())?;
        let x = slice(x, layout)?;
        let y = with_slice(&self.bias, |bias| Ok(self.weight.product(x, bias)))?;
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, gradient: &Tensor) -> CandleResult<Option<Tensor>> {
        let gradient = with_slice(gradient, |gradient| Ok(self.weight.back(gradient)))?;
        Ok(Some(Tensor::from_vec(gradient, x.shape(), x.device())?))
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
        let shape = mapped(x_layout, (output, input))?;
        let x = slice(x, x_layout)?;
        let rows = x.len() / input;
        let mut y = slice(bias, bias_layout)?.repeat(rows);
        let x = Matrix::dense(x, rows, input);
        let weight = Matrix::dense(slice(weight, weight_layout)?, output, input);
        multiply(&mut y, 1.0, 1.0, x, weight.t(), Parallelism::Rayon(0));
        Ok((CpuStorage::F32(y), shape))
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
                with_slice(weight, |weight| {
                    multiply(&mut out, 0.0, 1.0, dy, Matrix::dense(weight, output, input), threads);
                    Ok(())
                })?;
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
    use crate::nn::Packed;
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
        assert!(matches!(frozen.weight, Weight::Paneled(_)) && frozen.weight.dims()? == (output, input));
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

    /// Held as `bf16`, in tiles where there are any, it gives of numbers that are rounded so, too, what the rounded weight gives in 32
    /// bits; gradients, too.
    #[test]
    fn a_weight_in_tiles_is_the_rounded_weight() -> Result<()> {
        let (input, output, device) = (1023, 97, &Device::Cpu);
        let numbers = Tensor::randn(0f32, 1.0, (output, input), device)?;
        let bias = Tensor::randn(0f32, 1.0, output, device)?;
        let packed = Packed::halved(&numbers.flatten_all()?.to_vec1::<f32>()?, DType::BF16, (output, input))?;
        let rounded = Linear::new(packed.widened()?, bias.clone());
        let held = Linear::new(Weight::Packed(packed), bias).turned()?;
        assert_eq!(matches!(held.weight, Weight::Tiled(_)), tiles::available());
        assert_eq!(held.weight.widened()?.to_vec2::<f32>()?, rounded.weight.widened()?.to_vec2::<f32>()?);
        let x = Tensor::randn(0f32, 1.0, (3, 25, input), device)?.to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
        let x = Var::from_tensor(&x)?;
        let numbers = |linear: &Linear| -> Result<[Vec<f32>; 2]> {
            let y = linear.forward(x.as_tensor())?;
            let gradients = y.sqr()?.sum_all()?.backward()?;
            let gradient = gradients.get(x.as_tensor()).expect("a gradient");
            Ok([y.flatten_all()?.to_vec1()?, gradient.flatten_all()?.to_vec1()?])
        };
        for (found, expected) in numbers(&held)?.iter().zip(&numbers(&rounded)?) {
            let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
            assert!(largest > 0.0);
            assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() <= 1e-5 * largest));
        }
        Ok(())
    }
}
