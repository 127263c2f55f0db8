//! How long a frame's work on the interface takes, while the worker rests and while it has all cores:
//!
//! ```text
//! cargo bench --bench frames             # all of them
//! cargo bench --bench frames -- folder   # those with this in their name
//! ```
//!
//! The window is drawn as often as on a screen of 60 Hz, with the pointer moving over it, and a frame counts from its input
//! to its triangles; what a graphics card does with them is left out. Printed are the percentiles in milliseconds.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alignscope::app::album::{Album, AlbumPicture, AlbumPlane, Found, THUMBNAIL, Wanted};
use alignscope::app::state::{MethodName, ReductionName};
use alignscope::app::{App, AppState, Command, PictureSource};
use alignscope::cli::process;
use alignscope::ui::screen::Screen;
use alignscope::ui::theme;
use egui::{Context, Event, RawInput, Rect, pos2, vec2};

/// The program's own.
#[global_allocator]
static ALLOCATOR: process::Allocator = process::Allocator;

const FRAMES: usize = 900;
const FRAME: Duration = Duration::from_micros(16_667);
const SIZE: [f32; 2] = [1600.0, 1000.0];

fn main() {
    process::begin();
    // The test runner asks benchmarks what they are; there is nothing to list.
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return;
    }
    println!("ms of UI work a frame, {FRAMES} frames each     p50    p95    p99    max");
    measure("worker resting, PCA", |_, _| ());
    measure("worker busy: a new picture each 20 frames", |app, frame| {
        if frame % 20 == 0 {
            let sample = &app.samples[(frame / 20) % app.samples.len()];
            app.apply(Command::OpenSample(sample.key.clone()));
        }
    });
    measure("worker busy: a word typed each 4 frames", |app, frame| {
        if frame % 4 == 0 {
            let words = ["cat", "red ball", "rabbit", "tree", "guitar"];
            let sentence = format!("a {} and a {}", words[frame / 4 % 5], words[frame / 20 % 5]);
            app.apply(Command::SetSentence(sentence));
        }
    });
    measure("worker busy: UMAP, another seed each 10 frames", |app, frame| {
        app.apply(Command::SetReduction(ReductionName("umap")));
        if frame % 10 == 0 {
            app.apply(Command::SetSeed(frame as u64));
        }
    });
    measure("texts moved along the gap at each frame", |app, frame| {
        app.apply(Command::SetShift((frame % 40) as f32 / 20.0));
    });
    measure("cross-attention: a step each 4 frames", |app, frame| {
        app.apply(Command::SetMethod(MethodName("cross-attention")));
        app.apply(Command::SelectStep(Some(frame / 4 % 12)));
    });
    measure("cross-attention: a new picture each 60 frames", |app, frame| {
        app.apply(Command::SetMethod(MethodName("cross-attention")));
        if frame % 60 == 0 {
            let sample = &app.samples[(frame / 60) % app.samples.len()];
            app.apply(Command::OpenSample(sample.key.clone()));
        }
    });
    let opened = |count: usize| {
        move |app: &mut App, frame: usize| {
            if frame == 0 {
                app.state.album.folder = Some(PathBuf::from("many"));
                app.album = Some(many(count));
                app.apply(Command::ToggleMaximised("contrastive", "album"));
            }
        }
    };
    let folder = opened(10_000);
    measure("a folder of 10,000 pictures", folder);
    measure_with("a folder of 10,000 pictures, zoomed in and out", folder, |frame| {
        vec![Event::MouseWheel {
            unit: egui::MouseWheelUnit::Point,
            delta: vec2(0.0, if frame / 60 % 2 == 0 { 8.0 } else { -8.0 }),
            phase: egui::TouchPhase::Move,
            source: egui::MouseWheelSource::Unknown,
            modifiers: egui::Modifiers::NONE,
        }]
    });
    let found = (0..8).map(|turn| {
        let cosines = (0..10_000).map(|at| ((at + turn * 100) as f32).sin()).collect();
        Arc::new(Found::new(Wanted::Text(format!("text {turn}")), cosines))
    });
    let found: Vec<_> = found.collect();
    measure("a folder of 10,000 pictures, found anew at each frame", |app, frame| {
        folder(app, frame);
        let found = &found[frame % 8];
        app.apply(Command::SearchAlbum(found.wanted.clone()));
        if let Some(album) = &mut app.album {
            album.found = Some(Arc::clone(found));
        }
    });
    measure("a folder of 50,000 pictures", opened(50_000));
}

/// Made-up pictures in as many places, evenly over a disc.
fn many(count: usize) -> Album {
    let bytes = (THUMBNAIL * THUMBNAIL * 3) as usize;
    let picture = |at: usize| {
        let thumbnail = (0..bytes).map(|byte| (at * 37 + byte * (at % 7)) as u8).collect();
        Arc::new(AlbumPicture { path: PathBuf::from(format!("many/{at:05}.png")), thumbnail })
    };
    let place = |at: usize| {
        let angle = at as f32 * 2.399_963;
        [angle.cos(), angle.sin()].map(|value| value * (at as f32).sqrt())
    };
    let mut album = Album::made(PathBuf::from("many"), (0..count).map(picture).collect());
    let places = (0..count).map(place).collect();
    album.plane = Some(Arc::new(AlbumPlane { reduction: "pca", places, shares: vec![0.5, 0.3] }));
    album
}

/// Draws [`FRAMES`] frames, does `act` before each of them, and prints the percentiles.
fn measure(name: &str, act: impl Fn(&mut App, usize)) {
    measure_with(name, act, |_| Vec::new());
}

/// [`measure`] with what else a person does in each frame.
fn measure_with(name: &str, act: impl Fn(&mut App, usize), events: impl Fn(usize) -> Vec<Event>) {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if wanted.is_some_and(|wanted| !name.contains(&wanted)) {
        return;
    }
    let mut app = App::new(AppState { picture: PictureSource::default(), ..AppState::first() });
    app.start(|| ()).expect("a worker");
    while app.busy {
        app.receive();
        std::thread::sleep(Duration::from_millis(1));
    }
    let ctx = Context::default();
    theme::install(&ctx);
    let mut screen = Screen::default();
    let mut times = Vec::new();
    let mut busy = 0;
    for frame in 0..FRAMES {
        let begin = Instant::now();
        act(&mut app, frame);
        app.receive();
        busy += usize::from(app.busy);
        let along = frame as f32 / FRAMES as f32;
        let pointer = pos2(SIZE[0] * along, SIZE[1] * (0.5 + 0.4 * (along * 40.0).sin()));
        let input = RawInput {
            screen_rect: Some(Rect::from_min_size(pos2(0.0, 0.0), vec2(SIZE[0], SIZE[1]))),
            time: Some(frame as f64 * FRAME.as_secs_f64()),
            events: [Event::PointerMoved(pointer)].into_iter().chain(events(frame)).collect(),
            ..Default::default()
        };
        let mut commands = Vec::new();
        let mut output = ctx.run_ui(input, |ui| commands = screen.show(ui, &app));
        for command in commands {
            app.apply(command);
        }
        output.textures_delta.clear();
        std::hint::black_box(ctx.tessellate(output.shapes, 1.0));
        let passed = begin.elapsed();
        times.push(passed.as_secs_f64() * 1e3);
        std::thread::sleep(FRAME.saturating_sub(passed));
    }
    // The first frames lay out all fonts and upload all pictures.
    let mut settled = times.split_off(10);
    settled.sort_by(f64::total_cmp);
    let at = |share: f64| settled[((settled.len() - 1) as f64 * share) as usize];
    let share = 100 * busy / FRAMES;
    println!(
        "{name:<47} {:6.2} {:6.2} {:6.2} {:6.2}   (worker busy in {share} % of frames; first frame {:.1})",
        at(0.5),
        at(0.95),
        at(0.99),
        at(1.0),
        times[0]
    );
}
