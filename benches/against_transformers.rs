//! One pass with every attention map recorded, or one text written, over and over, for `tests/reference/bench.py`, which runs the same pass in Python's
//! transformers in turns with it:
//!
//! ```text
//! cargo bench --bench against_transformers -- FOLDER [bf16]
//! ```
//!
//! Reads `pass` from the standard input, makes one, and answers its milliseconds; `write` writes a text about the picture and answers
//! the milliseconds from its first token to its last, and how many tokens there are; `peak` answers the most memory that the
//! program has held, in bytes. The first line says how long opening the checkpoint took.

mod memory;

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use alignscope::Result;
use alignscope::cli::process;
use alignscope::models::Model;
use alignscope::models::blip::BlipHead;
use alignscope::models::checkpoint::Checkpoint;
use alignscope::models::generate::Greedy;
use alignscope::models::llava::Llava;
use alignscope::models::runtime::{Precision, Runtime};
use alignscope::nn::Fusion;
use alignscope::taps::{Recorder, SitePattern, Taps};
use candle_core::{Device, Tensor};
use memory::held;

/// The program's own.
#[global_allocator]
static ALLOCATOR: process::Allocator = process::Allocator;

/// Tokens of the text beside the picture, as in the script.
const TOKENS: u32 = 16;
/// The first of them, as there.
const FIRST: u32 = 100;
/// The longest text that is written.
const WRITTEN: usize = 33;

fn main() -> Result<()> {
    process::begin();
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let Some(folder) = arguments.next() else {
        println!("name the folder of a checkpoint");
        return Ok(());
    };
    let begin = Instant::now();
    let checkpoint = Checkpoint::open(Path::new(&folder))?;
    let is_half = arguments.next().is_some_and(|precision| precision == "bf16");
    let precision = if is_half { Precision::Bf16 } else { Precision::F32 };
    let (model, _) = Model::open(&checkpoint, Runtime { device: Device::Cpu, precision })?;
    answer(&format!("opened {:.3}", begin.elapsed().as_secs_f64()));
    let side = checkpoint.config["vision_config"]["image_size"].as_u64().unwrap_or(224) as usize;
    let pixels = Tensor::randn(0f32, 1.0, (1, 3, side, side), &Device::Cpu)?;
    for line in std::io::stdin().lock().lines().map_while(std::io::Result::ok) {
        match line.trim() {
            "pass" => {
                let begin = Instant::now();
                let maps = pass(&model, &pixels)?;
                answer(&format!("{:.3} {maps}", begin.elapsed().as_secs_f64() * 1000.0));
            }
            "write" => {
                let (milliseconds, tokens) = write(&model, &pixels)?;
                answer(&format!("{milliseconds:.3} {tokens}"));
            }
            "peak" => answer(&held("VmHWM").to_string()),
            _ => break,
        }
    }
    Ok(())
}

fn answer(line: &str) {
    println!("{line}");
    // The script waits for each line.
    let _ = std::io::stdout().flush();
}

/// Runs the model once; says how many numbers of attention were recorded.
fn pass(model: &Model, pixels: &Tensor) -> Result<usize> {
    let mut recorder = Recorder::new(SitePattern::patterns());
    let mut taps = Taps::none().with(&mut recorder);
    let ids = Tensor::arange(FIRST, FIRST + TOKENS, &Device::Cpu)?.unsqueeze(0)?;
    match model {
        Model::DualEncoder(model) => {
            model.encode_image(pixels, &mut taps)?;
        }
        Model::Blip(model) => {
            let states = model.vision().forward(pixels, &mut taps)?;
            if let BlipHead::Captioning(decoder) = model.head() {
                let fusion = Fusion { states: &states, mask: None };
                decoder.logits(&ids, None, fusion, None, &mut taps)?;
            }
        }
        Model::QueryingRetrieval(model) => {
            let states = model.base().vision().forward(pixels, &mut taps)?;
            model.embed_image(&states, None, &mut taps)?;
        }
        Model::Projector(model) => {
            let inputs = row(model, pixels, &mut taps)?;
            model.language().logits(&inputs, None, None, &mut taps)?;
        }
        _ => {}
    }
    drop(taps);
    Ok(recorder.finish().activations.values().map(|array| array.data.len()).sum())
}

/// Writes a text about the picture; milliseconds from its first token on, and how many tokens came after that.
fn write(model: &Model, pixels: &Tensor) -> Result<(f64, usize)> {
    let mut came = Vec::new();
    let mut on_token = |_| {
        came.push(Instant::now());
        true
    };
    let (how, taps) = (Greedy { max_new_tokens: WRITTEN, cached: true }, &mut Taps::none());
    match model {
        Model::Blip(model) => {
            let states = model.vision().forward(pixels, taps)?;
            if let BlipHead::Captioning(decoder) = model.head() {
                decoder.generate(&[], &states, how, taps, &mut on_token)?;
            }
        }
        Model::Projector(model) => {
            let inputs = row(model, pixels, taps)?;
            model.language().generate(&inputs, None, how.into(), taps, &mut on_token)?;
        }
        _ => {}
    }
    let (Some(first), Some(last)) = (came.first(), came.last()) else { return Ok((0.0, 0)) };
    Ok(((*last - *first).as_secs_f64() * 1000.0, came.len() - 1))
}

/// What the language model of a LLaVA reads: the picture, and a text behind it.
fn row(model: &Llava, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
    let features = model.see(pixels, taps)?;
    let projected = model.project(&features)?;
    let places = vec![model.placeholder(); projected.dim(1)?];
    let all = [places, (FIRST..FIRST + TOKENS).collect()].concat();
    model.inputs(&Tensor::from_slice(&all, (1, all.len()), &Device::Cpu)?, Some(&projected))
}
