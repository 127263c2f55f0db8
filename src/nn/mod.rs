//! Blocks that all models share. Everything here is differentiable.
//!
//! On the CPU the blocks that take most of the time (linear, norms, softmax, attention, activations, turns by position, sums) are
//! fused operations with analytic gradients; elsewhere they are composed of candle's differentiable operations. A test holds the
//! two against each other and both against finite differences.

mod activation;
mod attention;
mod attention_steps;
mod bert_block;
mod block;
mod cache;
mod embedding;
mod fused_attention;
mod gated_cross_attention;
mod gated_mlp;
mod kernels;
mod language_block;
mod layer_norm;
mod linear;
mod mlp;
pub mod operations;
mod packed;
mod panels;
mod parameters;
mod perceiver_resampler;
mod q_former_block;
mod residual;
mod rms_norm;
mod rotary;
mod row_product;
mod softmax;
mod target;
mod tiles;
mod weight;

pub use activation::Activation;
pub use attention::{Attention, causal_mask, check_heads, padding_mask, padding_mask_for};
pub use bert_block::{BertBlock, Fusion};
pub use block::{BlockShape, EncoderBlock};
pub use cache::{BlockCache, Cache, KeyValue};
pub use embedding::{Embedding, PatchEmbedding, cut_into_patches};
pub use gated_cross_attention::{GatedCrossAttention, GatedShape, Media};
pub use gated_mlp::{FeedForward, GatedMlp};
pub use language_block::{GptNeoXShape, LanguageBlock, LlamaShape, MptShape, Sight};
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use mlp::Mlp;
pub use packed::Packed;
pub use panels::Panels;
pub use parameters::{Parameters, Scope};
pub use perceiver_resampler::{PerceiverResampler, PerceiverShape};
pub use q_former_block::QFormerBlock;
pub use residual::residual;
pub use rms_norm::{Norm, RmsNorm};
pub use rotary::Rotary;
pub use softmax::{log_softmax, softmax};
pub use tiles::Tiled;
pub use weight::Weight;

use candle_core::{DType, Tensor};

/// Whether the fused CPU operations can take these tensors.
fn fusable(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|tensor| tensor.device().is_cpu() && tensor.dtype() == DType::F32)
}

/// Divides each vector of the last axis by its Euclidean length.
///
/// # Errors
/// If the tensor has no axes.
pub fn normalise(vectors: &Tensor) -> crate::Result<Tensor> {
    let norm = vectors.sqr()?.sum_keepdim(candle_core::D::Minus1)?.sqrt()?;
    Ok(vectors.broadcast_div(&norm)?)
}
