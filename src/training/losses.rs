//! The losses of the recipes.

use candle_core::{D, Tensor};

use crate::error::Result;
use crate::nn::{log_softmax, softmax};
use crate::taps::MASKED;

/// CLIP's loss (Radford et al. 2021) over `logits` `[pairs, pairs]`, whose diagonal holds the matching pairs: the mean
/// of the cross-entropies over rows and over columns.
///
/// `also_true` `[pairs, pairs]` is 1 where a pair off the diagonal is true by accident (a second picture of a cat beside
/// 'a cat'); such pairs are taken out of the loss.
///
/// # Errors
/// If the shapes don't fit.
pub fn info_nce(logits: &Tensor, also_true: &Tensor) -> Result<Tensor> {
    let logits = (logits + (also_true * f64::from(MASKED))?)?;
    let towards = |logits: &Tensor| -> Result<Tensor> {
        let matching = (log_softmax(logits)? * identity(logits)?)?;
        Ok((matching.sum_all()? / -(logits.dim(0)? as f64))?)
    };
    let (rows, columns) = (towards(&logits)?, towards(&logits.t()?.contiguous()?)?);
    Ok(((rows + columns)? / 2.0)?)
}

fn identity(like: &Tensor) -> Result<Tensor> {
    Ok(Tensor::eye(like.dim(0)?, like.dtype(), like.device())?)
}

/// The cosine of each phrase with each patch, `[pictures, phrases, patches]`. `patches` `[pictures, patches, projection]`
/// and `phrases` `[phrases, projection]` have unit length.
///
/// # Errors
/// If the shapes don't fit.
pub fn phrase_cosines(patches: &Tensor, phrases: &Tensor) -> Result<Tensor> {
    let (pictures, count, projection) = patches.dims3()?;
    let cosine = patches
        .reshape((pictures * count, projection))?
        .matmul(&phrases.t()?)?
        .reshape((pictures, count, ()))?
        .transpose(1, 2)?;
    Ok(cosine.contiguous()?)
}

/// The score of each phrase for each picture from patches alone, `[pictures, phrases]`: the mean of its `cosine`
/// `[pictures, phrases, patches]`, weighted by a softmax of the cosine with a fixed sharpness.
///
/// # Errors
/// If the tensor has no axes.
pub fn phrase_scores(cosine: &Tensor) -> Result<Tensor> {
    const SHARPNESS: f64 = 15.0;
    let weights = softmax(&(cosine * SHARPNESS)?)?;
    Ok((weights * cosine)?.sum(D::Minus1)?)
}

/// The loss of patches that should say nothing: the mean sigmoid cross-entropy of their `logits` `[pictures, phrases,
/// patches]` with zero, over the patches for which `silent` `[pictures, patches]` is 1.
///
/// # Errors
/// If the shapes don't fit.
pub fn silence(logits: &Tensor, silent: &Tensor) -> Result<Tensor> {
    let (_, phrases, _) = logits.dims3()?;
    let loss = softplus(logits)?.broadcast_mul(&silent.unsqueeze(1)?)?.sum_all()?;
    Ok((loss / silent.sum_all()?)?.affine(1.0 / phrases as f64, 0.0)?)
}

/// Sigmoid cross-entropy of `logits` with `labels` (0 or 1), of the same shape; positives count `positive_weight` times.
///
/// # Errors
/// If the shapes don't fit.
pub fn sigmoid_cross_entropy(logits: &Tensor, labels: &Tensor, positive_weight: f64) -> Result<Tensor> {
    let positive = (labels * softplus(&logits.neg()?)?)?;
    let negative = ((1.0 - labels)? * softplus(logits)?)?;
    Ok(((positive * positive_weight)? + negative)?.mean_all()?)
}

/// log(1 + e^x) as max(x, 0) + log(1 + e^-|x|), which never overflows.
fn softplus(x: &Tensor) -> Result<Tensor> {
    let tail = (x.abs()?.neg()?.exp()? + 1.0)?.log()?;
    Ok((x.relu()? + tail)?)
}
