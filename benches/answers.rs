//! How long the window takes to answer what a person does, in each column with its built-in checkpoint:
//!
//! ```text
//! cargo bench --bench answers                                        # all of them
//! cargo bench --bench answers -- cross-attention                     # one
//! cargo bench --bench answers -- contrastive path/to/a/checkpoint    # with a checkpoint of one's own
//! ```
//!
//! An answer counts from the command until the worker has nothing more to say, and then the frame that shows it. Printed are the
//! percentiles in milliseconds, and the median against that of a new picture; behind them the same median until the map of the
//! selected words, or of the whole text, is there, and what it is of all that a new picture takes. Everything but the first is done
//! with a picture that is known. Of a checkpoint of one's own each is done five times.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use alignscope::app::state::{Layer, MethodName};
use alignscope::app::{App, AppState, Command};
use alignscope::cli::process;
use alignscope::methods::METHODS;
use alignscope::ui::screen::Screen;
use alignscope::ui::theme;
use egui::{Context, RawInput, Rect, pos2, vec2};

/// The program's own.
#[global_allocator]
static ALLOCATOR: process::Allocator = process::Allocator;

const TIMES: usize = 40;
const TIMES_OF_ONES_OWN: usize = 5;
const WORDS: [&str; 5] = ["cat", "red ball", "rabbit", "tree", "guitar"];

/// The window without its surface.
struct Window {
    app: App,
    woken: Receiver<()>,
    ctx: Context,
    screen: Screen,
}

impl Window {
    fn open(method: &'static str, checkpoint: Option<PathBuf>) -> Self {
        let mut app = App::new(AppState { method: MethodName(method), ..AppState::first() });
        let (wake, woken) = channel();
        app.start(move || wake.send(()).unwrap_or_default()).expect("a worker");
        let ctx = Context::default();
        theme::install(&ctx);
        let mut window = Self { app, woken, ctx, screen: Screen::default() };
        window.answer(checkpoint.map(Command::SetCheckpoint));
        window
    }

    /// Does it, and waits for what comes of it; milliseconds until the map of what is asked for is there, and until all is.
    fn answer(&mut self, command: Option<Command>) -> [f64; 2] {
        let begin = Instant::now();
        if let Some(command) = command {
            self.app.apply(command);
        }
        self.app.receive();
        let mut first = None;
        while self.app.busy {
            self.woken.recv_timeout(Duration::from_secs(600)).expect("the worker answers");
            self.app.receive();
            if first.is_none() && self.has_its_map() {
                first = Some(begin.elapsed());
            }
        }
        let size = vec2(1600.0, 1000.0);
        let input = RawInput { screen_rect: Some(Rect::from_min_size(pos2(0.0, 0.0), size)), ..Default::default() };
        let mut output = self.ctx.run_ui(input, |ui| drop(self.screen.show(ui, &self.app)));
        output.textures_delta.clear();
        std::hint::black_box(self.ctx.tessellate(output.shapes, 1.0));
        let all = begin.elapsed();
        [first.unwrap_or(all), all].map(|time| time.as_secs_f64() * 1e3)
    }

    /// Whether the map of the selected words, or of the whole text, is there.
    fn has_its_map(&self) -> bool {
        let state = &self.app.state;
        let asked = state.selected.words.and_then(|(start, end)| state.sentence.get(start..end));
        let asked = asked.unwrap_or(&state.sentence);
        let evidence = self.app.evidence.as_ref().filter(|evidence| evidence.phrase == asked);
        evidence.is_some_and(|evidence| self.app.landed(evidence.method).is_some())
    }
}

fn main() {
    process::begin();
    // The test runner asks benchmarks what they are; there is nothing to list.
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return;
    }
    let mut wanted = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let (method, checkpoint) = (wanted.next(), wanted.next().map(PathBuf::from));
    let times = if checkpoint.is_some() { TIMES_OF_ONES_OWN } else { TIMES };
    println!(
        "ms until it is answered and drawn, {times:2} times     p50    p95    p99   share of a new picture   its map    share"
    );
    for entry in METHODS.iter().filter(|entry| method.as_ref().is_none_or(|method| entry.key == method)) {
        let mut window = Window::open(entry.key, checkpoint.clone());
        let keys: Vec<String> = window.app.samples.iter().map(|sample| sample.key.clone()).collect();
        let whole = measure(&mut window, (entry.key, "a new picture"), times, None, |_, turn| {
            Command::OpenSample(keys[turn % keys.len()].clone())
        });
        measure(&mut window, (entry.key, "the text edited"), times, Some(whole), |_, turn| {
            Command::SetSentence(format!("a {} and a {}", WORDS[turn % 5], WORDS[(turn / 5 + turn + 1) % 5]))
        });
        measure(&mut window, (entry.key, "a word selected"), times, Some(whole), |app, turn| {
            let words: Vec<&str> = app.state.sentence.split(' ').collect();
            let at = turn % words.len();
            let start = words[..at].iter().map(|word| word.len() + 1).sum();
            Command::SelectWords { start, end: start + words[at].len(), extend: false }
        });
        measure(&mut window, (entry.key, "another layer or head"), times, Some(whole), |_, turn| match entry.key {
            "contrastive" => Command::SetLayer(Layer(["cosine", "relevancy"][turn % 2])),
            "querying" => Command::SetQueryBlock(Some(turn % 4)),
            _ => Command::SelectFusionHead(Some((turn % 2, turn % 3))),
        });
    }
}

/// Does `act` over and over, prints how long the answers took, and gives the median.
fn measure(
    window: &mut Window,
    (method, name): (&str, &str),
    times: usize,
    whole: Option<f64>,
    act: impl Fn(&App, usize) -> Command,
) -> f64 {
    let [first, all] = (0..times)
        .map(|turn| {
            let command = act(&window.app, turn);
            window.answer(Some(command))
        })
        .fold([Vec::new(), Vec::new()], |[mut firsts, mut alls], [first, all]| {
            firsts.push(first);
            alls.push(all);
            [firsts, alls]
        })
        .map(|mut times| {
            times.sort_by(f64::total_cmp);
            times
        });
    let at = |times: &[f64], share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    let [middle, first] = [at(&all, 0.5), at(&first, 0.5)];
    let share = |time: f64| whole.map(|whole| format!("{:.2}", time / whole)).unwrap_or_default();
    let name = format!("{method}: {name}");
    let (late, last) = (at(&all, 0.95), at(&all, 0.99));
    println!("{name:<47} {middle:6.1} {late:6.1} {last:6.1}   {:<22} {first:8.1}   {:>6}", share(middle), share(first));
    middle
}
