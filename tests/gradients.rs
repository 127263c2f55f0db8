//! Every block and every loss against central differences, and the fused operations against plain formulas.
//!
//! The differences are taken in `f64`, where no block is fused, so they are good to nine digits; against them stand the
//! gradients of the composed path in `f64` and of the fused path in `f32`, with respect to inputs and weights alike.

#[path = "common/variables.rs"]
mod variables;

use alignscope::Result;
use alignscope::nn::{
    Activation, Attention, BertBlock, BlockCache, BlockShape, Embedding, EncoderBlock, FeedForward, Fusion,
    GatedCrossAttention, GatedMlp, GatedShape, GptNeoXShape, LanguageBlock, LayerNorm, Linear, LlamaShape, Media, Mlp,
    MptShape, Norm, PatchEmbedding, PerceiverResampler, PerceiverShape, QFormerBlock, RmsNorm, Rotary, Scope, Sight,
    causal_mask, log_softmax, normalise, padding_mask, padding_mask_for, softmax,
};
use alignscope::taps::{Attn, Recorder, SitePattern, Taps, Tower};
use alignscope::training::losses::{info_nce, phrase_cosines, phrase_scores, sigmoid_cross_entropy, silence};
use candle_core::{D, DType, Device, Tensor, Var};
use std::collections::BTreeMap;
use variables::{Variables, distance, numbers, score};

/// Half the distance between the two points of a difference.
const STEP: f64 = 1e-5;
/// How far gradients may be off, measured against the largest of the same variable (but no less than 0.1).
/// (candle's own gradient of GELU has constants of six digits.)
const TOLERANCE_F64: f64 = 1e-6;
const TOLERANCE_F32: f64 = 1e-4;
/// Numbers of one variable that are tried.
const TRIED: usize = 48;
const PLACE: (Tower, usize, Attn) = (Tower::Vision, 0, Attn::SelfAttn);
const BLOCK: (Tower, usize) = (Tower::Decoder, 0);

/// Every variable with the gradient of `score`, zeros where the score doesn't depend on it.
fn gradients(variables: &Variables, score: &Tensor) -> BTreeMap<String, Vec<f64>> {
    let found = score.backward().expect("a backward pass");
    let of = |var: &Var| found.get(var.as_tensor()).map_or_else(|| vec![0.0; var.elem_count()], numbers);
    variables.known.borrow().iter().map(|(name, var)| (name.clone(), of(var))).collect()
}

/// Holds the gradients of `block`, which reads inputs and weights from the scope, against central differences.
fn check(name: &str, block: impl Fn(&Scope<'_>) -> Result<Tensor>) {
    let run = |variables: &Variables| score(&block(&variables.scope()).expect("a forward pass"));
    let (double, single) = (Variables::new(DType::F64), Variables::new(DType::F32));
    let in_double = gradients(&double, &run(&double));
    let in_single = gradients(&single, &run(&single));
    let mut worst = [0f64; 2];
    for (variable, gradient) in &in_double {
        let tried: Vec<usize> = (0..gradient.len()).step_by(gradient.len().div_ceil(TRIED)).collect();
        let differences: Vec<f64> = tried
            .iter()
            .map(|&at| {
                let moved = |by: f64| {
                    double.change(variable, |values| values[at] += by);
                    numbers(&run(&double))[0]
                };
                let (right, left) = (moved(STEP), moved(-2.0 * STEP));
                double.change(variable, |values| values[at] += STEP);
                (right - left) / (2.0 * STEP)
            })
            .collect();
        for (kind, (gradients, tolerance)) in
            [(&in_double, TOLERANCE_F64), (&in_single, TOLERANCE_F32)].into_iter().enumerate()
        {
            let gradient: Vec<f64> = tried.iter().map(|&at| gradients[variable][at]).collect();
            let (far, largest) = distance(&gradient, &differences);
            let off = far / largest.max(0.1);
            worst[kind] = worst[kind].max(off);
            assert!(off <= tolerance, "{name}: the gradient of {variable} is off by {off:e} of {largest}");
        }
    }
    println!("{name}: {} variables, off by {:.1e} in f64, {:.1e} in f32", in_double.len(), worst[0], worst[1]);
}

/// Holds values and gradients of a fused block in `f32` against a plain formula in `f32`.
fn same(
    name: &str,
    fused: impl Fn(&Scope<'_>) -> Result<Tensor>,
    plain: impl Fn(&Scope<'_>) -> candle_core::Result<Tensor>,
) {
    let (ours, theirs) = (Variables::new(DType::F32), Variables::new(DType::F32));
    let fused = fused(&ours.scope()).expect("a forward pass");
    let plain = plain(&theirs.scope()).expect("a forward pass");
    let (far, largest) = distance(&numbers(&fused), &numbers(&plain));
    assert!(far <= 1e-5 * largest.max(1.0), "{name}: values are off by {far:e} of {largest}");
    let (ours, theirs) = (gradients(&ours, &score(&fused)), gradients(&theirs, &score(&plain)));
    assert!(ours.keys().eq(theirs.keys()), "{name}: not the same variables");
    let mut worst = 0f64;
    for (variable, gradient) in &ours {
        let (far, largest) = distance(gradient, &theirs[variable]);
        worst = worst.max(far / largest.max(0.1));
        assert!(worst <= 1e-4, "{name}: the gradient of {variable} is off by {far:e} of {largest}");
    }
    println!("{name}: values off by {far:.1e}, gradients by {worst:.1e}");
}

fn get(scope: &Scope<'_>, name: &str, shape: &[usize]) -> candle_core::Result<Tensor> {
    scope.get(name, shape).map_err(candle_core::Error::wrap)
}

#[test]
fn linear() {
    check("linear", |s| Linear::load(s, 5, 4)?.forward(&s.get("x", &[2, 3, 5])?));
    check("linear without bias", |s| Linear::load_without_bias(s, 5, 4)?.forward(&s.get("x", &[3, 5])?));
    same(
        "linear",
        |s| Linear::load(s, 19, 23)?.forward(&s.get("x", &[3, 17, 19])?),
        |s| plain_linear(s, &get(s, "x", &[3, 17, 19])?, 23),
    );
}

fn plain_linear(scope: &Scope<'_>, x: &Tensor, output: usize) -> candle_core::Result<Tensor> {
    let input = x.dim(D::Minus1)?;
    let weight = get(scope, "weight", &[output, input])?;
    x.broadcast_matmul(&weight.t()?)?.broadcast_add(&get(scope, "bias", &[output])?)
}

#[test]
fn layer_norm() {
    check("layer norm", |s| LayerNorm::load(s, 7, 1e-5)?.forward(&s.get("x", &[2, 3, 7])?));
    check("layer norm, large epsilon", |s| LayerNorm::load(s, 40, 0.1)?.forward(&s.get("x", &[3, 40])?));
    // More rows than one task takes, and a width that no vector register divides.
    same(
        "layer norm",
        |s| LayerNorm::load(s, 33, 1e-5)?.forward(&s.get("x", &[2, 300, 33])?),
        |s| {
            let x = get(s, "x", &[2, 300, 33])?;
            let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
            let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + 1e-5)?.sqrt()?;
            let unit = centred.broadcast_div(&deviation)?;
            unit.broadcast_mul(&get(s, "weight", &[33])?)?.broadcast_add(&get(s, "bias", &[33])?)
        },
    );
}

#[test]
fn softmaxes() {
    let scores = |s: &Scope<'_>| Ok::<_, alignscope::Error>((s.get("x", &[2, 4, 9])? * 4.0)?);
    check("softmax", |s| softmax(&scores(s)?));
    check("log softmax", |s| log_softmax(&scores(s)?));
    same(
        "softmax",
        |s| softmax(&s.get("x", &[3, 70, 37])?),
        |s| {
            let exponentials = get(s, "x", &[3, 70, 37])?.exp()?;
            exponentials.broadcast_div(&exponentials.sum_keepdim(D::Minus1)?)
        },
    );
    check("normalise", |s| normalise(&s.get("x", &[3, 6])?));
}

#[test]
fn feed_forward() {
    for activation in
        [Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu, Activation::Relu, Activation::Silu]
    {
        check(&format!("{activation:?}"), |s| activation.forward(&(s.get("x", &[6, 8])? * 3.0)?));
        check(&format!("feed-forward with {activation:?}"), |s| {
            Mlp::load(s, 5, 11, activation)?.forward(&s.get("x", &[2, 3, 5])?)
        });
    }
    // More numbers than one task takes.
    same(
        "quick GELU",
        |s| Activation::QuickGelu.forward(&(s.get("x", &[3, 15_000])? * 6.0)?),
        |s| {
            let x = (get(s, "x", &[3, 15_000])? * 6.0)?;
            let sigmoid = ((&x * -1.702)?.exp()? + 1.0)?.recip()?;
            &x * sigmoid
        },
    );
}

#[test]
fn embeddings() {
    check("embedding", |s| {
        let ids = Tensor::new(&[[3u32, 0, 3], [1, 5, 3]], &Device::Cpu)?;
        let table = Embedding::load(s, 6, 4)?;
        Ok(table.forward(&ids)?.broadcast_add(&table.first(3)?)?)
    });
    for bias in [true, false] {
        // 7 x 8 pixels: the last row and the last two columns fill no patch.
        check("patch embedding", |s| PatchEmbedding::load(s, 3, 4, bias)?.forward(&s.get("x", &[2, 3, 7, 8])?));
    }
    // Where patches don't fill the picture, the gradient of candle's convolution fails.
    same(
        "patch embedding",
        |s| PatchEmbedding::load(s, 3, 4, true)?.forward(&s.get("x", &[2, 3, 6, 9])?),
        |s| {
            let y = get(s, "x", &[2, 3, 6, 9])?.conv2d(&get(s, "weight", &[4, 3, 3, 3])?, 0, 3, 1, 1)?;
            y.flatten_from(2)?.transpose(1, 2)?.broadcast_add(&get(s, "bias", &[4])?)
        },
    );
}

/// No mask, one for the whole batch, and one for each of its two entries.
fn masks(positions: usize) -> [(&'static str, Option<Tensor>); 3] {
    let mut seen = vec![1u32; 2 * positions];
    seen[positions - 1] = 0;
    seen[2 * positions - 3..].fill(0);
    let seen = Tensor::from_vec(seen, (2, positions), &Device::Cpu).expect("a tensor");
    [
        ("without mask", None),
        ("causal", Some(causal_mask(positions, &Device::Cpu).expect("a mask"))),
        ("with padding", Some(padding_mask(&seen).expect("a mask"))),
    ]
}

/// Runs a pass in which nobody looks, or one in which everything is looked at.
fn observed<R>(observed: bool, pass: impl FnOnce(&mut Taps<'_>) -> R) -> R {
    let mut recorder = Recorder::new(SitePattern::new("*"));
    let mut taps = if observed { Taps::none().with(&mut recorder) } else { Taps::none() };
    pass(&mut taps)
}

#[test]
fn attention() {
    for (kind, mask) in masks(6) {
        for seen in [false, true] {
            check(&format!("attention {kind}, observed: {seen}"), |s| {
                let x = s.get("x", &[2, 6, 8])?;
                let attention = Attention::load(s, 8, 2)?;
                observed(seen, |taps| attention.forward(&x, &x, mask.as_ref(), PLACE, taps))
            });
        }
    }
    for seen in [false, true] {
        check(&format!("cross-attention, observed: {seen}"), |s| {
            let (x, keys) = (s.get("x", &[2, 3, 6])?, s.get("keys", &[2, 5, 6])?);
            observed(seen, |taps| Attention::load(s, 6, 3)?.forward(&x, &keys, None, PLACE, taps))
        });
    }
}

#[test]
fn fused_attention() {
    for (kind, mask) in masks(21) {
        same(
            &format!("attention {kind}"),
            |s| {
                let x = s.get("x", &[2, 21, 15])?;
                Attention::load(s, 15, 3)?.forward(&x, &x, mask.as_ref(), PLACE, &mut Taps::none())
            },
            |s| {
                let x = get(s, "x", &[2, 21, 15])?;
                plain_attention(s, &x, &x, 3, mask.as_ref())
            },
        );
    }
    same(
        "cross-attention",
        |s| {
            let (x, keys) = (s.get("x", &[2, 7, 10])?, s.get("keys", &[2, 40, 10])?);
            Attention::load(s, 10, 2)?.forward(&x, &keys, None, PLACE, &mut Taps::none())
        },
        |s| plain_attention(s, &get(s, "x", &[2, 7, 10])?, &get(s, "keys", &[2, 40, 10])?, 2, None),
    );
}

fn plain_attention(
    scope: &Scope<'_>,
    x: &Tensor,
    keys: &Tensor,
    heads: usize,
    mask: Option<&Tensor>,
) -> candle_core::Result<Tensor> {
    let (batch, queries, width) = x.dims3()?;
    let split = |name: &str, x: &Tensor| {
        let x = plain_linear(&scope.enter(name), x, width)?;
        x.reshape((batch, (), heads, width / heads))?.transpose(1, 2)?.contiguous()
    };
    let (q, k, v) = (split("q_proj", x)?, split("k_proj", keys)?, split("v_proj", keys)?);
    let mut scores = (q.matmul(&k.t()?)? / ((width / heads) as f64).sqrt())?;
    if let Some(mask) = mask {
        scores = scores.broadcast_add(mask)?;
    }
    let exponentials = scores.exp()?;
    let pattern = exponentials.broadcast_div(&exponentials.sum_keepdim(D::Minus1)?)?;
    let z = pattern.matmul(&v)?.transpose(1, 2)?.reshape((batch, queries, width))?;
    plain_linear(&scope.enter("out_proj"), &z, width)
}

#[test]
fn encoder_block() {
    let shape = BlockShape { width: 8, heads: 2, inner: 12, activation: Activation::QuickGelu, epsilon: 1e-5 };
    for (kind, mask) in masks(5) {
        for seen in [false, true] {
            check(&format!("block {kind}, observed: {seen}"), |s| {
                let (x, block) = (s.get("x", &[2, 5, 8])?, EncoderBlock::load(s, shape)?);
                observed(seen, |taps| block.forward(x, mask.as_ref(), Tower::Text, 0, taps))
            });
        }
    }
}

#[test]
fn llama() {
    check("RMS norm", |s| RmsNorm::load(s, 7, 1e-5)?.forward(&s.get("x", &[2, 3, 7])?));
    same(
        "RMS norm",
        |s| RmsNorm::load(s, 37, 1e-5)?.forward(&s.get("x", &[3, 200, 37])?),
        |s| {
            let x = get(s, "x", &[3, 200, 37])?;
            let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + 1e-5)?.sqrt()?.recip()?;
            x.broadcast_mul(&scale)?.broadcast_mul(&get(s, "weight", &[37])?)
        },
    );
    check("gated feed-forward", |s| GatedMlp::load(s, 5, 9, Activation::Silu)?.forward(&s.get("x", &[2, 3, 5])?));
    let rotary = |rows: &[Vec<u32>]| Rotary::new(rows, 6, 10_000.0, &Device::Cpu);
    let places = [vec![0, 1, 2, 3, 4], vec![1, 1, 0, 1, 2]];
    check("turning by positions", |s| rotary(&places)?.apply(&s.get("x", &[2, 5, 12])?, 2));
    // Four heads of queries share two of keys, and are together wider than the vectors.
    let shape = LlamaShape {
        width: 7,
        heads: 4,
        key_heads: 2,
        head_width: 6,
        inner: 9,
        activation: Activation::Silu,
        epsilon: 1e-5,
        attention_bias: false,
        qkv_bias: false,
        mlp_bias: false,
    };
    for (kind, mask) in masks(5) {
        for seen in [false, true] {
            for bias in [false, true] {
                let shape = LlamaShape { attention_bias: bias, qkv_bias: !bias, mlp_bias: bias, ..shape };
                check(&format!("LLaMA block {kind}, observed: {seen}, biases: {bias}"), |s| {
                    let x = s.get("x", &[2, 5, 7])?;
                    let (block, rotary) = (LanguageBlock::load_llama(s, shape)?, rotary(&places)?);
                    let sight = Sight { mask: mask.as_ref(), rotary: Some(&rotary), fusion: None };
                    observed(seen, |taps| block.forward(x, sight, None, BLOCK, taps))
                });
            }
        }
    }
    check("LLaMA block with a cache", |s| {
        let (x, block) = (s.get("x", &[1, 5, 7])?, LanguageBlock::load_llama(s, shape)?);
        let mut cache = BlockCache::default();
        let mut step = |at: usize, count: usize, places: &[u32]| {
            let (part, rotary) = (x.narrow(1, at, count)?, rotary(&[places.to_vec()])?);
            let mask = causal_mask(at + count, &Device::Cpu)?.narrow(2, at, count)?;
            let sight = Sight { mask: Some(&mask), rotary: Some(&rotary), fusion: None };
            block.forward(part, sight, Some(&mut cache), BLOCK, &mut Taps::none())
        };
        Ok(Tensor::cat(&[step(0, 3, &[0, 1, 2])?, step(3, 1, &[3])?, step(4, 1, &[4])?], 1)?)
    });
}

/// Two heads, together wider than the vectors, whose scores aren't scaled.
fn unscaled(s: &Scope<'_>, key_width: usize) -> Result<Attention> {
    let linear = |name, input, output| Linear::load_without_bias(&s.enter(name), input, output);
    let projections = [linear("q", 6, 8)?, linear("k", key_width, 8)?, linear("v", key_width, 8)?];
    Ok(Attention::new(projections, linear("o", 8, 6)?, 2).with_scale(1.0))
}

/// The blocks of OPT, with norms behind, and of T5, with cross-attention.
#[test]
fn language_blocks() {
    let plain = |s: &Scope<'_>| -> Result<FeedForward> {
        Ok(FeedForward::Plain(Mlp::load(&s.enter("mlp"), 6, 9, Activation::Gelu)?))
    };
    let layer_norm =
        |s: &Scope<'_>, name: &str| -> Result<Norm> { Ok(Norm::Layer(LayerNorm::load(&s.enter(name), 6, 1e-5)?)) };
    let rms_norm =
        |s: &Scope<'_>, name: &str| -> Result<Norm> { Ok(Norm::Rms(RmsNorm::load(&s.enter(name), 6, 1e-5)?)) };
    for (kind, mask) in masks(5) {
        for seen in [false, true] {
            check(&format!("attention without scale {kind}, observed: {seen}"), |s| {
                let (x, attention) = (s.get("x", &[2, 5, 6])?, unscaled(s, 6)?);
                observed(seen, |taps| attention.forward(&x, &x, mask.as_ref(), PLACE, taps))
            });
            check(&format!("block with norms behind {kind}, observed: {seen}"), |s| {
                let (x, attention) = (s.get("x", &[2, 5, 6])?, unscaled(s, 6)?);
                let block =
                    LanguageBlock::new((attention, layer_norm(s, "first")?), (plain(s)?, layer_norm(s, "last")?));
                let sight = Sight { mask: mask.as_ref(), ..Sight::default() };
                observed(seen, |taps| block.with_norms_behind().forward(x, sight, None, BLOCK, taps))
            });
        }
    }
    let crossed = |s: &Scope<'_>| -> Result<LanguageBlock> {
        let block = LanguageBlock::new(
            (unscaled(&s.enter("self"), 6)?, rms_norm(s, "first")?),
            (plain(s)?, rms_norm(s, "last")?),
        );
        Ok(block.with_cross_attention(unscaled(&s.enter("cross"), 4)?, rms_norm(s, "between")?))
    };
    for seen in [false, true] {
        // The mask is learned, one for each head, as T5's distances are.
        check(&format!("block with cross-attention and a learned mask, observed: {seen}"), |s| {
            let (x, states, block) = (s.get("x", &[2, 5, 6])?, s.get("states", &[2, 3, 4])?, crossed(s)?);
            let mask = s.get("bias", &[1, 2, 5, 5])?.broadcast_as((2, 2, 5, 5))?.contiguous()?;
            let fusion = Some(Fusion { states: &states, mask: None });
            let sight = Sight { mask: Some(&mask), rotary: None, fusion };
            observed(seen, |taps| block.forward(x, sight, None, BLOCK, taps))
        });
    }
    check("block with cross-attention and a cache", |s| {
        let (x, states, block) = (s.get("x", &[1, 4, 6])?, s.get("states", &[1, 3, 4])?, crossed(s)?);
        let mut caches = [BlockCache::default()];
        let mut parts = Vec::new();
        for (start, count) in [(0, 3), (3, 1)] {
            let mask = causal_mask(start + count, &Device::Cpu)?.narrow(2, start, count)?;
            let fusion = Some(Fusion { states: &states, mask: None });
            let sight = Sight { mask: Some(&mask), rotary: None, fusion };
            let (part, blocks) = (x.narrow(1, start, count)?, std::slice::from_ref(&block));
            let taps = &mut Taps::none();
            parts.push(LanguageBlock::through(blocks, part, sight, Some(&mut caches), Tower::Decoder, taps)?);
        }
        Ok(Tensor::cat(&parts, 1)?)
    });
}

#[test]
fn stacked_attention() {
    for (seen, bias) in [(false, true), (true, true), (false, false), (true, false)] {
        check(&format!("stacked attention, observed: {seen}, bias: {bias}"), |s| {
            let (x, attention) = (s.get("x", &[2, 5, 8])?, Attention::load_stacked(s, 8, 2, bias)?);
            observed(seen, |taps| attention.forward(&x, &x, None, PLACE, taps))
        });
    }
}

#[test]
fn bert_block() {
    let shape = BlockShape { width: 8, heads: 2, inner: 12, activation: Activation::Gelu, epsilon: 1e-5 };
    let place = (Tower::Decoder, 0);
    let padded = Tensor::new(&[[1u32, 1, 1, 1], [1, 1, 1, 0]], &Device::Cpu).expect("a tensor");
    let padded = padding_mask_for(&padded, 5).expect("a mask");
    for (kind, mask) in masks(5) {
        for seen in [false, true] {
            check(&format!("BERT's block {kind}, observed: {seen}"), |s| {
                let (x, block) = (s.get("x", &[2, 5, 8])?, BertBlock::load(s, shape, None)?);
                observed(seen, |taps| block.forward(x, mask.as_ref(), None, None, place, taps))
            });
            // Keys of another width, some of them padding.
            check(&format!("BERT's block with cross-attention {kind}, observed: {seen}"), |s| {
                let (x, states) = (s.get("x", &[2, 5, 8])?, s.get("states", &[2, 4, 6])?);
                let fusion = Fusion { states: &states, mask: Some(&padded) };
                let block = BertBlock::load(s, shape, Some(6))?;
                observed(seen, |taps| block.forward(x, mask.as_ref(), Some(fusion), None, place, taps))
            });
        }
    }
    // In two parts, the second of which finds the first in the cache.
    check("BERT's block with a cache", |s| {
        let (x, states) = (s.get("x", &[2, 3, 8])?, s.get("states", &[2, 4, 6])?);
        let fusion = Some(Fusion { states: &states, mask: None });
        let (block, mut cache) = (BertBlock::load(s, shape, Some(6))?, BlockCache::default());
        let mut parts = Vec::new();
        for (start, count) in [(0, 2), (2, 1)] {
            let x = x.narrow(1, start, count)?.contiguous()?;
            let taps = &mut Taps::none();
            parts.push(block.forward(x, None, fusion, Some(&mut cache), place, taps)?);
        }
        Ok(Tensor::cat(&parts, 1)?)
    });
}

#[test]
fn q_former_block() {
    let shape = BlockShape { width: 8, heads: 2, inner: 12, activation: Activation::Gelu, epsilon: 1e-5 };
    for (kind, mask) in masks(5) {
        for seen in [false, true] {
            // Queries alone, queries in front of a text, and a text alone.
            for queries in [5, 3, 0] {
                check(&format!("Q-Former's block {kind}, {queries} of 5 are queries, observed: {seen}"), |s| {
                    let (x, states) = (s.get("x", &[2, 5, 8])?, s.get("states", &[2, 4, 6])?);
                    let block = QFormerBlock::load(s, shape, Some(6), queries < 5)?;
                    observed(seen, |taps| block.forward(x, queries, mask.as_ref(), Some(&states), 0, taps))
                });
            }
            check(&format!("Q-Former's block without cross-attention {kind}, observed: {seen}"), |s| {
                let (x, block) = (s.get("x", &[2, 5, 8])?, QFormerBlock::load(s, shape, None, true)?);
                observed(seen, |taps| block.forward(x, 3, mask.as_ref(), None, 0, taps))
            });
        }
    }
}

#[test]
fn flamingo() {
    for seen in [false, true] {
        check(&format!("attention with normalised heads, observed: {seen}"), |s| {
            let (x, keys) = (s.get("x", &[2, 3, 6])?, s.get("keys", &[2, 5, 4])?);
            let linear = |name, input, output| Linear::load(&s.enter(name), input, output);
            let projections = [linear("q_proj", 6, 8)?, linear("k_proj", 4, 8)?, linear("v_proj", 4, 8)?];
            let attention = Attention::new(projections, linear("out_proj", 8, 6)?, 2).with_norms(
                Norm::Layer(LayerNorm::load(&s.enter("q_norm"), 4, 1e-5)?),
                Norm::Rms(RmsNorm::load(&s.enter("k_norm"), 4, 1e-5)?),
            );
            observed(seen, |taps| attention.forward(&x, &keys, None, PLACE, taps))
        });
        for head_norms in [false, true] {
            let kind = format!("head norms: {head_norms}, observed: {seen}");
            let gated = GatedShape {
                width: 8,
                media_width: 5,
                heads: 2,
                inner: 9,
                activation: Activation::Silu,
                epsilon: 1e-5,
                head_norms,
                gate_vectors: head_norms,
            };
            check(&format!("gated cross-attention, {kind}"), |s| {
                let (x, features) = (s.get("x", &[2, 3, 8])?, s.get("media", &[2, 6, 5])?);
                let block = GatedCrossAttention::load(s, gated)?;
                // The first token of the first text sees nothing.
                let sees = Tensor::new(&[[[0f32], [1.0], [1.0]], [[1.0], [1.0], [1.0]]], &Device::Cpu)?;
                let mask = ((1.0 - &sees)? * -1e9)?.unsqueeze(1)?.broadcast_as((2, 1, 3, 6))?.contiguous()?;
                let keys = block.keys(&features)?;
                observed(seen, |taps| block.forward(&x, &keys, &Media { mask, sees }, 0, taps))
            });
            let shape = PerceiverShape { width: 6, latents: 3, depth: 2, heads: 2, head_width: 4, head_norms };
            check(&format!("Perceiver resampler, {kind}"), |s| {
                let (x, resampler) = (s.get("x", &[2, 5, 6])?, PerceiverResampler::load(s, shape)?);
                observed(seen, |taps| resampler.forward(&x, taps))
            });
        }
    }
}

#[test]
fn open_flamingo() {
    // Each head of each text has a mask of its own.
    let mask: Vec<f32> = (0..2 * 2 * 5 * 5).map(|at| -0.3 * (at % 7) as f32).collect();
    let mask = Tensor::from_vec(mask, (2, 2, 5, 5), &Device::Cpu).expect("a mask");
    for seen in [false, true] {
        for attention_norms in [false, true] {
            let shape = MptShape { width: 8, heads: 2, inner: 12, epsilon: 1e-5, attention_norms };
            check(&format!("MPT's block, norms: {attention_norms}, observed: {seen}"), |s| {
                let (x, block) = (s.get("x", &[2, 5, 8])?, LanguageBlock::load_mpt(s, shape)?);
                let sight = Sight { mask: Some(&mask), ..Sight::default() };
                observed(seen, |taps| block.forward(x, sight, None, BLOCK, taps))
            });
        }
        let activation = Activation::Gelu;
        let shape = GptNeoXShape { width: 8, heads: 2, inner: 12, activation, epsilon: 1e-5 };
        check(&format!("GPT-NeoX's block, observed: {seen}"), |s| {
            let (x, block) = (s.get("x", &[2, 5, 8])?, LanguageBlock::load_gpt_neox(s, shape)?);
            let rotary = Rotary::new(&[vec![0, 1, 2, 3, 4], vec![1, 1, 0, 1, 2]], 4, 100.0, &Device::Cpu)?;
            let sight = Sight { mask: Some(&mask), rotary: Some(&rotary), ..Sight::default() };
            observed(seen, |taps| block.forward(x, sight, None, BLOCK, taps))
        });
        // Three heads, together narrower than the text and wider than the pictures.
        check(&format!("OpenFlamingo's gated cross-attention, observed: {seen}"), |s| {
            let (x, features) = (s.get("x", &[2, 3, 8])?, s.get("media", &[2, 6, 5])?);
            let block = GatedCrossAttention::load_open_flamingo(s, 8, 5, (3, 2))?;
            let sees = Tensor::new(&[[[0f32], [1.0], [1.0]], [[1.0], [1.0], [1.0]]], &Device::Cpu)?;
            let mask = ((1.0 - &sees)? * -1e9)?.unsqueeze(1)?.broadcast_as((2, 1, 3, 6))?.contiguous()?;
            let keys = block.keys(&features)?;
            observed(seen, |taps| block.forward(&x, &keys, &Media { mask, sees }, 0, taps))
        });
        let shape = PerceiverShape { width: 6, latents: 3, depth: 2, heads: 2, head_width: 4, head_norms: false };
        check(&format!("OpenFlamingo's resampler, observed: {seen}"), |s| {
            let (x, resampler) = (s.get("x", &[2, 5, 6])?, PerceiverResampler::load_open_flamingo(s, shape)?);
            observed(seen, |taps| resampler.forward(&x, taps))
        });
    }
}

#[test]
fn losses() {
    let pairs = |s: &Scope<'_>| -> Result<Tensor> { Ok((s.get("logits", &[4, 4])? * 3.0)?) };
    let also_true = |dtype| -> Result<Tensor> {
        let mut marked = vec![0f32; 16];
        marked[1] = 1.0;
        Ok(Tensor::from_vec(marked, (4, 4), &Device::Cpu)?.to_dtype(dtype)?)
    };
    check("InfoNCE", |s| {
        let logits = pairs(s)?;
        info_nce(&logits, &also_true(logits.dtype())?)
    });
    check("phrase scores", |s| {
        let (patches, phrases) = (s.get("patches", &[2, 5, 6])?, s.get("phrases", &[3, 6])?);
        phrase_scores(&phrase_cosines(&normalise(&patches)?, &normalise(&phrases)?)?)
    });
    check("silence", |s| {
        let logits = s.get("logits", &[2, 3, 4])?;
        let silent = Tensor::new(&[[1f32, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]], logits.device())?;
        silence(&logits, &silent.to_dtype(logits.dtype())?)
    });
    check("sigmoid cross-entropy", |s| {
        let logits = pairs(s)?;
        sigmoid_cross_entropy(&logits, &also_true(logits.dtype())?, 2.5)
    });
}
