//! The operations in which most of a pass is spent, at sizes of published models, each ready to run over and over.

use alignscope::Result;
use alignscope::nn::{Attention, LayerNorm, Linear, Packed, Scope};
use alignscope::taps::{Attn, Recorder, SitePattern, Taps, Tower};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;

/// Something that runs.
pub type Kernel = Box<dyn FnMut() -> Result<()>>;
/// How it is made ready.
type Make = fn() -> Result<Kernel>;

/// All of them by name.
pub const KERNELS: [(&str, Make); 5] = [
    ("linear", linear),
    ("attention_recorded", attention_recorded),
    ("layer_norm", layer_norm),
    ("packed_picture", packed_picture),
    ("packed_token", packed_token),
];

const CPU: Device = Device::Cpu;

/// Numbers that are the same each time and don't repeat soon.
fn numbers(shape: &[usize]) -> Result<Tensor> {
    let count = shape.iter().product::<usize>() as u32;
    let data = (0..count).map(|at| (at.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32 - 0.5);
    Ok(Tensor::from_iter(data, &CPU)?.reshape(shape)?)
}

fn weights(shapes: &[(&str, &[usize])]) -> Result<BTreeMap<String, Tensor>> {
    shapes.iter().map(|(name, shape)| Ok(((*name).to_owned(), numbers(shape)?))).collect()
}

/// The second map of a feed-forward part of CLIP B/32: 50 positions, 3072 numbers to 768.
fn linear() -> Result<Kernel> {
    let weights = weights(&[("weight", &[768, 3072]), ("bias", &[768])])?;
    let linear = Linear::load(&Scope::root(&weights), 3072, 768)?;
    let x = numbers(&[1, 50, 3072])?;
    Ok(Box::new(move || linear.forward(&x).map(drop)))
}

/// Self-attention of CLIP B/16 with its pattern recorded: 197 positions, 12 heads.
fn attention_recorded() -> Result<Kernel> {
    const WIDTH: usize = 768;
    let projections = ["q_proj", "k_proj", "v_proj", "out_proj"];
    let names: Vec<_> = projections.iter().map(|name| (format!("{name}.weight"), format!("{name}.bias"))).collect();
    let shapes: Vec<(&str, &[usize])> = names
        .iter()
        .flat_map(|(weight, bias)| [(weight.as_str(), [WIDTH, WIDTH].as_slice()), (bias.as_str(), [WIDTH].as_slice())])
        .collect();
    let weights = weights(&shapes)?;
    let attention = Attention::load(&Scope::root(&weights), WIDTH, 12)?;
    let x = numbers(&[1, 197, WIDTH])?;
    Ok(Box::new(move || {
        let mut recorder = Recorder::new(SitePattern::new("*.pattern"));
        let mut taps = Taps::none().with(&mut recorder);
        attention.forward(&x, &x, None, (Tower::Vision, 0, Attn::SelfAttn), &mut taps)?;
        drop(taps);
        assert_eq!(recorder.finish().activations.len(), 1, "the pattern was recorded");
        Ok(())
    }))
}

/// The layer norm of CLIP L/14-336: 577 positions of 1024 numbers.
fn layer_norm() -> Result<Kernel> {
    let weights = weights(&[("weight", &[1024]), ("bias", &[1024])])?;
    let norm = LayerNorm::load(&Scope::root(&weights), 1024, 1e-5)?;
    let x = numbers(&[1, 577, 1024])?;
    Ok(Box::new(move || norm.forward(&x).map(drop)))
}

/// A picture's patches and a question through a matrix in four bits: 592 positions, 1024 numbers to 1024.
fn packed_picture() -> Result<Kernel> {
    packed(592)
}

/// One token through the same matrix.
fn packed_token() -> Result<Kernel> {
    packed(1)
}

fn packed(positions: usize) -> Result<Kernel> {
    const WIDTH: usize = 1024;
    let stored = QTensor::quantize(&numbers(&[WIDTH, WIDTH])?, GgmlDType::Q4_0)?;
    let packed = Packed::new(stored.data()?.into_owned(), GgmlDType::Q4_0, (WIDTH, WIDTH))?;
    let x = numbers(&[1, positions, WIDTH])?;
    Ok(Box::new(move || packed.forward(&x).map(drop)))
}
