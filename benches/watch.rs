//! What is seen of a model that learns from scratch within twenty seconds:
//!
//! ```text
//! cargo bench --bench watch
//! ```

use std::time::{Duration, Instant};

use alignscope::cli::process;
use alignscope::models::builtin;
use alignscope::training::live::{LearnerKind, PAIRS};
use alignscope::world::Language;

/// The program's own.
#[global_allocator]
static ALLOCATOR: process::Allocator = process::Allocator;

const TIME: Duration = Duration::from_secs(20);

fn main() {
    process::begin();
    // The test runner asks benchmarks what they are; there is nothing to list.
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return;
    }
    println!("after 20 s          steps    loss, first ten    loss, last ten    pictures whose text is first");
    // As the program does it: deep enough for candle, which drops its graph recursively.
    let thread =
        std::thread::Builder::new().stack_size(64 << 20).spawn(|| LearnerKind::ALL.into_iter().for_each(watch));
    thread.expect("a thread").join().expect("a result");
}

fn watch(kind: LearnerKind) {
    let blip = builtin::folder().join("blip-retrieval");
    let mut learner = kind.start(0, Language::English, &blip).expect("a learner");
    let begin = Instant::now();
    let mut losses = Vec::new();
    while begin.elapsed() < TIME {
        losses.push(learner.step(kind.usual_rate()).expect("a step").loss);
    }
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len().max(1) as f32;
    let count = PAIRS as usize;
    let look = learner.look().expect("a look");
    let is_first = |picture: &usize| {
        let row = &look.cosines[picture * count..(picture + 1) * count];
        row.iter().all(|cosine| *cosine <= row[*picture])
    };
    let right = (0..count).filter(is_first).count();
    let ten = losses.len().min(10);
    let (first, last) = (mean(&losses[..ten]), mean(&losses[losses.len() - ten..]));
    println!("{kind:18?} {:6} {first:18.2} {last:17.2} {right:20} of {count}", losses.len());
}
