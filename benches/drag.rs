//! How long it takes until all four methods have followed a sticker that is dragged:
//!
//! ```text
//! cargo bench --bench drag
//! ```
//!
//! The worker computes as in the window, with the built-in checkpoints; a move counts from its command until the picture and
//! the maps of all four columns are there. Printed are the percentiles in milliseconds, for all four together and for each.

use std::collections::BTreeMap;
use std::time::Instant;

use alignscope::app::layout::SIDE_BY_SIDE;
use alignscope::app::state::MethodName;
use alignscope::app::{App, AppState, ColumnKey, Command};
use alignscope::cli::process;
use alignscope::methods::METHODS;
use alignscope::world::Scene;

/// The program's own.
#[global_allocator]
static ALLOCATOR: process::Allocator = process::Allocator;

const MOVES: usize = 60;

fn main() {
    process::begin();
    // The test runner asks benchmarks what they are; there is nothing to list.
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return;
    }
    let mut app = App::new(AppState { method: MethodName(SIDE_BY_SIDE), ..AppState::first() });
    let words = "red ball";
    let start = app.state.sentence.find(words).unwrap_or(0);
    app.apply(Command::SelectWords { start, end: start + words.len(), extend: false });
    // As in the window, nothing runs here until the worker has something to say.
    let (wake, woken) = std::sync::mpsc::channel();
    app.start(move || wake.send(()).unwrap_or_default()).expect("a worker");
    while app.busy {
        woken.recv().expect("a worker");
        app.receive();
    }
    let scene = app.scene().expect("a scene").clone();
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for step in 0..MOVES {
        let begin = Instant::now();
        let before: BTreeMap<_, _> =
            app.columns.iter().map(|(key, known)| (*key, std::sync::Arc::as_ptr(known))).collect();
        app.apply(Command::SetScene { scene: Box::new(moved(&scene, step)), dragging: true });
        let mut last = begin;
        let mut missing: Vec<&str> = METHODS.iter().map(|method| method.key).collect();
        while !missing.is_empty() || app.busy {
            app.receive();
            missing.retain(|key| {
                let column = ColumnKey::Own(key);
                let is_new = app
                    .columns
                    .get(&column)
                    .is_some_and(|now| before.get(&column) != Some(&std::sync::Arc::as_ptr(now)));
                if is_new {
                    times.entry(key).or_default().push(last.elapsed().as_secs_f64() * 1000.0);
                    last = Instant::now();
                }
                !is_new
            });
            if !missing.is_empty() || app.busy {
                woken.recv().expect("a worker");
            }
        }
        times.entry("all four").or_default().push(begin.elapsed().as_secs_f64() * 1000.0);
    }
    println!("ms from a move to its maps, {MOVES} moves     p50    p95    p99");
    for (name, mut all) in times {
        all.sort_by(f64::total_cmp);
        let at = |share: f64| all[((all.len() - 1) as f64 * share).round() as usize];
        println!("{name:40} {:7.1} {:6.1} {:6.1}", at(0.5), at(0.95), at(0.99));
    }
}

/// The scene with its last sticker somewhere on a circle.
fn moved(scene: &Scene, step: usize) -> Scene {
    let angle = step as f32 * 0.13;
    let last = scene.objects.len() - 1;
    let middle = 128.0 - scene.objects[last].size as f32 / 2.0;
    scene.with_place(last, (middle + 70.0 * angle.cos()) as i32, (middle + 70.0 * angle.sin()) as i32)
}
