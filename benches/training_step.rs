//! How many pictures a second a training step of the built-in CLIP learns from:
//!
//! ```text
//! cargo bench --bench training_step          # 20 steps
//! cargo bench --bench training_step -- 50
//! ```
//!
//! The scenes of one step are drawn before and used in all of them, as `tests/reference/bench_training.py` does it in PyTorch, which
//! runs this program. `alignscope train clip` draws new ones for each step, beside the computation, and says how fast it is then.

use std::time::Instant;

use alignscope::cli::process;
use alignscope::error::Result;
use alignscope::training::AdamW;
use alignscope::training::clip::ClipRecipe;
use alignscope::training::run::Recipe;
use candle_core::Device;

/// The program's own.
#[global_allocator]
static ALLOCATOR: process::Allocator = process::Allocator;

const PICTURES: usize = 128;
const STEPS: usize = 20;

fn main() -> Result<()> {
    process::begin();
    // The test runner asks benchmarks what they are; there is nothing to list.
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return Ok(());
    }
    let steps = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(STEPS);
    let recipe = ClipRecipe::new(false, 0, steps, PICTURES)?;
    let variables = recipe.variables(&Device::Cpu)?;
    let mut optimizer = AdamW::new(recipe.plan().optimizer, ClipRecipe::decays);
    let batch = recipe.batch(0)?;
    // What the loop of every training does with a batch.
    let mut learn = || -> Result<()> {
        let (loss, _) = recipe.loss(&batch, &variables)?;
        std::hint::black_box(loss.to_scalar::<f32>()?);
        optimizer.step(&variables.all(), &loss.backward()?, recipe.plan().rate)?;
        Ok(())
    };
    learn()?;
    let begin = Instant::now();
    for _ in 0..steps {
        learn()?;
    }
    println!("{:.1} pictures/s", (steps * PICTURES) as f64 / begin.elapsed().as_secs_f64());
    Ok(())
}
