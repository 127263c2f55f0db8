//! The blocks of T5's encoder, or of its decoder, which know positions by their distance alone.

use candle_core::{Device, Tensor};

use super::T5Config;
use crate::error::Result;
use crate::nn::{
    Attention, BlockCache, Embedding, FeedForward, Fusion, GatedMlp, LanguageBlock, Linear, Mlp, Norm, RmsNorm, Scope,
    Sight,
};
use crate::taps::{Taps, Tower};

/// The blocks of one side.
pub(super) struct Stack {
    relative_attention_bias: Embedding, // [kinds of distances, heads]
    blocks: Vec<LanguageBlock>,
    final_layer_norm: RmsNorm,
    tower: Tower,
    distances: Distances,
}

/// How distances between positions fall into kinds.
#[derive(Clone, Copy)]
struct Distances {
    /// Whether positions behind a query count too; else they are all of one kind with the query's own.
    both_ways: bool,
    /// Number of kinds; at least 4.
    buckets: usize,
    /// The distance from which on all are of one kind; more than half of `buckets`.
    furthest: usize,
}

impl Stack {
    /// Reads a side; the one of [`Tower::Decoder`] has cross-attention.
    pub fn load(config: &T5Config, tower: Tower, scope: &Scope<'_>) -> Result<Self> {
        let blocks = scope.enter("block");
        let writes = tower == Tower::Decoder;
        let depth = if writes { config.decoder_depth() } else { config.num_layers };
        // The first block has it for all.
        let bias = blocks.enter("0.layer.0.SelfAttention.relative_attention_bias");
        Ok(Self {
            relative_attention_bias: Embedding::load(&bias, config.relative_attention_num_buckets, config.num_heads)?,
            blocks: (0..depth)
                .map(|at| block(config, writes, &blocks.enter(at).enter("layer")))
                .collect::<Result<_>>()?,
            final_layer_norm: norm(config, &scope.enter("final_layer_norm"))?,
            tower,
            distances: Distances {
                both_ways: !writes,
                buckets: config.relative_attention_num_buckets,
                furthest: config.relative_attention_max_distance,
            },
        })
    }

    /// Number of blocks.
    pub fn depth(&self) -> usize {
        self.blocks.len()
    }

    /// The norm behind the last block, of states `[batch, positions, width]`.
    pub fn norm(&self, states: &Tensor) -> Result<Tensor> {
        self.final_layer_norm.forward(states)
    }

    /// The states after the last block and its norm, `[batch, new, width]`, of `embeds` `[batch, new, width]`, the last of
    /// all positions. `mask` `[batch, 1, new or 1, all]` is added to the scores of self-attention.
    pub fn forward(
        &self,
        embeds: &Tensor,
        mask: &Tensor,
        fusion: Option<Fusion<'_>>,
        caches: Option<&mut [BlockCache]>,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let (new, all) = (embeds.dim(1)?, mask.dim(3)?);
        let mask = self.bias(new, all, embeds.device())?.broadcast_add(mask)?; // [batch, heads, new, all]
        let sight = Sight { mask: Some(&mask), rotary: None, fusion };
        let x = LanguageBlock::through(&self.blocks, embeds.clone(), sight, caches, self.tower, taps)?;
        self.norm(&x)
    }

    /// What the distance of a key adds to its score, `[1, heads, new, all]`, for the last `new` of `all` positions.
    fn bias(&self, new: usize, all: usize, device: &Device) -> Result<Tensor> {
        let distances = self.distances;
        let buckets: Vec<u32> = (all.saturating_sub(new)..all)
            .flat_map(|query| (0..all).map(move |key| distances.bucket(query, key)))
            .collect();
        let buckets = Tensor::from_vec(buckets, (new, all), device)?;
        let bias = self.relative_attention_bias.forward(&buckets)?; // [new, all, heads]
        Ok(bias.permute((2, 0, 1))?.unsqueeze(0)?) // [1, heads, new, all]
    }
}

impl Distances {
    /// The kind of the distance from `query` to `key`: up to half of the kinds each distance is one of its own, beyond
    /// that they grow by logarithm. In `f32`, as in the reference, so that no distance falls to the other side of a
    /// boundary.
    fn bucket(self, query: usize, key: usize) -> u32 {
        let (buckets, first, distance) = if self.both_ways {
            let half = self.buckets / 2;
            (half, if key > query { half } else { 0 }, key.abs_diff(query))
        } else {
            (self.buckets, 0, query.saturating_sub(key))
        };
        let exact = buckets / 2;
        if distance < exact {
            return (first + distance) as u32;
        }
        let range = (self.furthest as f64 / exact as f64).ln() as f32;
        let beyond = (distance as f32 / exact as f32).ln() / range * (buckets - exact) as f32;
        (first + (exact + beyond as usize).min(buckets - 1)) as u32
    }
}

fn norm(config: &T5Config, scope: &Scope<'_>) -> Result<RmsNorm> {
    RmsNorm::load(scope, config.d_model, config.layer_norm_epsilon)
}

/// The attention called `name` with its norm.
fn attention(config: &T5Config, name: &str, scope: &Scope<'_>) -> Result<(Attention, Norm)> {
    let (width, inner) = (config.d_model, config.num_heads * config.d_kv);
    let maps = scope.enter(name);
    let linear = |name, input, output| Linear::load_without_bias(&maps.enter(name), input, output);
    let projections = [linear("q", width, inner)?, linear("k", width, inner)?, linear("v", width, inner)?];
    let attention = Attention::new(projections, linear("o", inner, width)?, config.num_heads).with_scale(1.0);
    Ok((attention, Norm::Rms(norm(config, &scope.enter("layer_norm"))?)))
}

/// The block whose parts lie under `scope` by number.
fn block(config: &T5Config, writes: bool, scope: &Scope<'_>) -> Result<LanguageBlock> {
    let part = scope.enter(if writes { 2 } else { 1 });
    let (width, inner) = (config.d_model, config.d_ff);
    let maps = part.enter("DenseReluDense");
    let linear = |name, input, output| Linear::load_without_bias(&maps.enter(name), input, output);
    let (gated, activation) = config.feed_forward()?;
    let out = linear("wo", inner, width)?;
    let mlp = if gated {
        FeedForward::Gated(GatedMlp::new(
            [linear("wi_0", width, inner)?, linear("wi_1", width, inner)?],
            out,
            activation,
        ))
    } else {
        FeedForward::Plain(Mlp::new(linear("wi", width, inner)?, out, activation))
    };
    let mlp_norm = Norm::Rms(norm(config, &part.enter("layer_norm"))?);
    let block = LanguageBlock::new(attention(config, "SelfAttention", &scope.enter(0))?, (mlp, mlp_norm));
    if !writes {
        return Ok(block);
    }
    let (cross_attn, cross_norm) = attention(config, "EncDecAttention", &scope.enter(1))?;
    Ok(block.with_cross_attention(cross_attn, cross_norm))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of transformers' `_relative_position_bucket`.
    #[test]
    fn distances_fall_into_the_kinds_of_the_reference() {
        let known: [(i64, u32, u32); 27] = [
            (-200, 15, 31),
            (-128, 15, 31),
            (-127, 15, 31),
            (-64, 14, 26),
            (-63, 13, 26),
            (-32, 12, 21),
            (-31, 11, 21),
            (-20, 10, 17),
            (-16, 10, 16),
            (-15, 9, 15),
            (-9, 8, 9),
            (-8, 8, 8),
            (-7, 7, 7),
            (-1, 1, 1),
            (0, 0, 0),
            (1, 17, 0),
            (7, 23, 0),
            (8, 24, 0),
            (15, 25, 0),
            (16, 26, 0),
            (31, 27, 0),
            (32, 28, 0),
            (63, 29, 0),
            (64, 30, 0),
            (127, 31, 0),
            (128, 31, 0),
            (200, 31, 0),
        ];
        for (distance, of_encoder, of_decoder) in known {
            let key = usize::try_from(300 + distance).expect("a place");
            for (both_ways, expected) in [(true, of_encoder), (false, of_decoder)] {
                let distances = Distances { both_ways, buckets: 32, furthest: 128 };
                assert_eq!(distances.bucket(300, key), expected, "{distance}, both ways: {both_ways}");
            }
        }
    }
}
