//! The losses of the recipes.

use candle_core::{D, Tensor};

use super::texts::Lines;
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

/// The factor between cosine and logit, e^`logit_scale`, at most 100 as in the paper.
///
/// # Errors
/// If the scale isn't of a float type.
pub fn cosine_factor(logit_scale: &Tensor) -> Result<Tensor> {
    const HIGHEST: f64 = 4.605_170_185_988_092;
    Ok(logit_scale.minimum(HIGHEST)?.exp()?)
}

/// Share of rows whose highest score stands on the diagonal.
///
/// # Errors
/// If the device can't be read.
pub fn share_on_diagonal(logits: &Tensor) -> Result<f64> {
    let best = logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
    let hits = best.iter().enumerate().filter(|(row, best)| **best as usize == *row);
    Ok(hits.count() as f64 / best.len().max(1) as f64)
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

/// Mean cross-entropy of what follows each token, `logits` `[texts, tokens, vocabulary]`, weighted by how much each place
/// counts, and the share of places, weighted likewise, at which the highest logit is right.
///
/// # Errors
/// If the shapes don't fit.
pub fn next_token(logits: &Tensor, lines: &Lines) -> Result<(Tensor, f64)> {
    let chosen = log_softmax(logits)?.gather(&lines.targets.unsqueeze(2)?, 2)?.squeeze(2)?; // [texts, tokens]
    let count = f64::from(lines.learned.sum_all()?.to_scalar::<f32>()?).max(1.0);
    let loss = ((chosen * &lines.learned)?.sum_all()? / -count)?;
    let right = logits.detach().argmax(D::Minus1)?.eq(&lines.targets)?.to_dtype(lines.learned.dtype())?;
    let right = f64::from((right * &lines.learned)?.sum_all()?.to_scalar::<f32>()?);
    Ok((loss, right / count))
}

/// Mean cross-entropy of `logits` `[pairs, 2]` with whether each pair matches, true pairs and false ones counting half
/// each, and the share that is judged right, counted in the same way.
///
/// # Errors
/// If the shapes don't fit.
pub fn matching(logits: &Tensor, matches: &[bool]) -> Result<(Tensor, f64)> {
    let trues = matches.iter().filter(|matches| **matches).count().max(1);
    let falses = (matches.len() - trues.min(matches.len())).max(1);
    let weight = |is_true: bool| 0.5 / if is_true { trues as f32 } else { falses as f32 };
    let weights: Vec<f32> = matches.iter().map(|is_true| weight(*is_true)).collect();
    let weights = Tensor::from_vec(weights, matches.len(), logits.device())?;
    let targets: Vec<u32> = matches.iter().map(|is_true| u32::from(*is_true)).collect();
    let targets = Tensor::from_vec(targets, matches.len(), logits.device())?;
    let chosen = log_softmax(logits)?.gather(&targets.unsqueeze(1)?, 1)?.squeeze(1)?; // [pairs]
    let loss = (chosen * &weights)?.sum_all()?.neg()?;
    let right = logits.detach().argmax(D::Minus1)?.eq(&targets)?.to_dtype(weights.dtype())?;
    Ok((loss, f64::from((right * weights)?.sum_all()?.to_scalar::<f32>()?)))
}
