//! `config.json` of every class, with absurd values in chosen places: the model is built on the weights of a fixture.
#![cfg_attr(fuzzing, no_main)]

use alignscope::models::MODELS;
use alignscope::models::checkpoint::Checkpoint;
use alignscope::models::weights::Weights;
use alignscope::nn::Scope;
use alignscope_fuzz::{repository, sentence, spoil};
use candle_core::Device;
use std::sync::OnceLock;

/// Checkpoints of each class, and of each language model in them.
const FIXTURES: [&str; 18] = [
    "blip-answering/same-width",
    "blip-captioning/same-width",
    "blip-retrieval/same-width",
    "blip2-generation/opt-as-published",
    "blip2-generation/t5-gated",
    "blip2-retrieval/as-published",
    "clip/first-end",
    "idefics/tied",
    "instructblip/llama",
    "instructblip/t5-relu",
    "llava-original/mlp",
    "llava/clip-llama-linear",
    "llava/layers-llama3",
    "llava/mistral-window",
    "llava/siglip-qwen2",
    "llava/two-pictures-dynamic",
    "open-flamingo/interval",
    "siglip/tanh",
];

fn fixtures() -> &'static [(Checkpoint, Weights)] {
    static OPENED: OnceLock<Vec<(Checkpoint, Weights)>> = OnceLock::new();
    OPENED.get_or_init(|| {
        let open = |name: &&str| {
            let folder = repository().join("tests/fixtures").join(name);
            let checkpoint = Checkpoint::open(&folder).expect("a checkpoint");
            (checkpoint, Weights::open(&folder, &Device::Cpu).expect("weights"))
        };
        FIXTURES.iter().map(open).collect()
    })
}

/// What is done with a file that holds `data`.
pub fn take(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let (checkpoint, weights) = &fixtures()[usize::from(*first) % FIXTURES.len()];
    let mut spoilt = checkpoint.clone();
    spoil(&mut spoilt.config, rest);
    if let Some(family) = MODELS.iter().find(|family| family.class == spoilt.class()) {
        sentence((family.load)(&spoilt, &Scope::root(weights)));
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| take(data));
