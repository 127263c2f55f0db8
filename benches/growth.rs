//! How time and memory of one pass grow with the picture's patches and with the length of a text, and what it adds to record all
//! maps instead of one layer's. Each size runs in a process of its own, so that its peak of memory is its own.
//!
//! ```text
//! cargo bench --bench growth > growth.csv
//! python tests/reference/plot_growth.py growth.csv docs/growth.svg
//! ```

mod memory;

use std::process::Command;
use std::time::Instant;

use alignscope::cli::process;
use alignscope::models::language_model::LanguageModel;
use alignscope::models::llama::{Llama, LlamaConfig};
use alignscope::models::vision_tower::{Tail, VisionTower, VisionTowerConfig};
use alignscope::nn::operations::counted;
use alignscope::nn::{Parameters, Scope};
use alignscope::taps::{Recorder, SitePattern, Taps};
use alignscope::{Error, Result};
use candle_core::{Device, Tensor};
use memory::held;

/// The program's own.
#[global_allocator]
static ALLOCATOR: process::Allocator = process::Allocator;

/// Rows of patches of a tower as wide as that of CLIP B, from B/32 at 224 pixels to 672 pixels in patches of 14.
const ROWS: [usize; 6] = [7, 14, 24, 32, 40, 48];
/// Positions of a LLaMA of twelve blocks of width 768.
const POSITIONS: [usize; 6] = [64, 128, 256, 512, 1024, 2048];
/// Passes of each size behind a first one.
const PASSES: usize = 3;

/// One pass.
type Pass = Box<dyn Fn(&mut Taps<'_>) -> Result<Tensor>>;

/// Any weight that is asked for.
struct AnyWeights;

impl Parameters for AnyWeights {
    fn get(&self, _: &str, shape: &[usize]) -> Result<Tensor> {
        Ok(Tensor::randn(0f32, 0.02, shape, &Device::Cpu)?)
    }

    fn contains(&self, _: &str) -> bool {
        true
    }

    fn device(&self) -> &Device {
        &Device::Cpu
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let [kind, size, recorded] = arguments.as_slice() {
        return one(kind, size.parse().unwrap_or(1), recorded);
    }
    println!("kind,tokens,recorded,milliseconds,operations,bytes at rest,peak bytes");
    for (kind, sizes) in [("patches", ROWS), ("positions", POSITIONS)] {
        for size in sizes {
            for recorded in ["all", "one"] {
                let own = std::env::current_exe()
                    .and_then(|program| Command::new(program).args([kind, &size.to_string(), recorded]).status());
                assert!(own.is_ok_and(|status| status.success()), "{kind} {size} didn't run");
            }
        }
    }
    Ok(())
}

/// Measures one size and prints its line.
fn one(kind: &str, size: usize, recorded: &str) -> Result<()> {
    process::begin();
    let scope = Scope::root(&AnyWeights);
    let wanted = match (kind, recorded) {
        (_, "all") => "*.pattern",
        _ => "*.blocks.11.self_attn.pattern",
    };
    let (tokens, pass): (usize, Pass) = if kind == "patches" {
        let config = VisionTowerConfig { image_size: 16 * size, patch_size: 16, ..VisionTowerConfig::default() };
        let tower = VisionTower::load(&config, Tail::ClassToken, &scope)?;
        let pixels = Tensor::randn(0f32, 1.0, (1, 3, 16 * size, 16 * size), &Device::Cpu)?;
        (size * size, Box::new(move |taps| tower.forward(&pixels, taps)))
    } else {
        let config = LlamaConfig {
            vocab_size: 256,
            hidden_size: 768,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            ..LlamaConfig::default()
        };
        let model = Llama::load(config, &scope)?;
        let embeds = Tensor::randn(0f32, 1.0, (1, size, 768), &Device::Cpu)?;
        (size, Box::new(move |taps| model.logits(&embeds, None, None, taps)))
    };
    let at_rest = held("VmRSS");
    let mut times = Vec::new();
    let mut operations = 0;
    for _ in 0..=PASSES {
        let begin = Instant::now();
        let mut recorder = Recorder::new(SitePattern::new(wanted));
        let mut taps = Taps::none().with(&mut recorder);
        let (made, counted) = counted(|| pass(&mut taps));
        made?;
        drop(taps);
        times.push(begin.elapsed().as_secs_f64() * 1000.0);
        operations = counted;
        let layers = recorder.finish().activations.len();
        if layers != if recorded == "all" { 12 } else { 1 } {
            return Err(Error::unusable(format!("{layers} layers were recorded"), "correct the name of the site"));
        }
    }
    times.remove(0);
    times.sort_by(f64::total_cmp);
    println!("{kind},{tokens},{recorded},{:.2},{operations},{at_rest},{}", times[PASSES / 2], held("VmHWM"));
    Ok(())
}
