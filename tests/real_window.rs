//! The real window, driven with mouse and keys on the display that `DISPLAY` names; `.ci/window` brings one of its own.
//!
//! The same hands work on two screens: on the window, through the X server, and on its twin in memory, which knows where
//! everything is and what must come of it. After each step the window must look like its twin, and the file in which it
//! keeps its state must say what the twin's state is.
#![cfg(target_os = "linux")]

mod common;
#[path = "common/display.rs"]
mod display;
#[path = "common/film.rs"]
mod film;
#[path = "common/interface.rs"]
mod interface;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use alignscope::app::{App, AppState, Command, PictureSource, Theme, session};
use alignscope::ui::screen::Screen;
use alignscope::world::Language;
use display::{Program, xdotool};
use egui::{Event, Key, Modifiers, PointerButton, Pos2, UiBuilder, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use film::Camera;
use image::RgbImage;
use interface::{app, builder, settle};
use tempfile::TempDir;

/// Frames after which nothing moves on the twin's screen any more.
const REST: usize = 6;
/// Height of the line at the bottom, in pixels: it says how long a computation took, which is never the same.
const LAST_LINE: usize = 40;
/// Side of a tile, in pixels.
const TILE: usize = 16;
/// By how many of 255 levels a tile differs visibly, and how many tiles may: a text cursor blinks.
const VISIBLE: usize = 3;
const MOST_UNLIKE: usize = 6;
/// Steps in which something is dragged.
const STEPS: usize = 12;
/// How long a model is watched.
const LEARNING: Duration = Duration::from_secs(8);

#[test]
#[ignore = "it takes mouse and keys of a display; .ci/window runs it on one of its own"]
fn a_person_can_work_in_the_window() {
    let home = TempDir::new().expect("a temporary folder");
    a_first_visit(home.path());
    let (left, look) = a_day_of_work(home.path());
    everything_is_back(home.path(), &left, &look);
    damage_and_sudden_death_are_survived(home.path());
}

/// The welcome at the very first start, step by step; dragging a sticker, comparing with a pinned state, watching a model
/// learn. The variable `ALIGNSCOPE_FILM` names a file that a film of it is written to.
fn a_first_visit(home: &Path) {
    let mut tour = Tour::start(home, None);
    let size = tour.program.size();
    let camera = std::env::var_os("ALIGNSCOPE_FILM").map(|path| Camera::start(path.into(), size));
    assert!(tour.state().lesson.is_some(), "nobody is shown around");
    // What it looked like, to be seen by people.
    let first = tour.agree("the first start");
    save(&first, "window.png");
    is_not_blank(&first);

    tour.click("Next", Modifiers::NONE);
    tour.agree("the second step");
    let ball = |tour: &Tour| tour.twin.get_by_label_contains("red ball · ").rect();
    tour.drag(ball(&tour).center(), ball(&tour).center() + vec2(70.0, 60.0));
    let moved = tour.agree("the ball elsewhere");
    tour.press(Modifiers::COMMAND, Key::P);
    tour.agree("the pinned state");
    tour.drag(ball(&tour).center(), ball(&tour).center() - vec2(110.0, 40.0));
    let compared = tour.agree("the differences");
    assert!(!alike(&moved, &compared), "a pinned state changes nothing");
    tour.press(Modifiers::COMMAND, Key::P);
    tour.agree("nothing to compare with");

    tour.click("Next", Modifiers::NONE);
    tour.agree("the third step");
    tour.click("yellow", Modifiers::NONE);
    tour.agree("a wrong guess");
    tour.click("Close", Modifiers::NONE);
    tour.agree("the end of the lesson");

    tour.click("Side by side", Modifiers::NONE);
    tour.agree("all four");
    tour.click("Watch it learn", Modifiers::NONE);
    tour.agree("what can be watched");
    tour.click("Two encoders (CLIP)", Modifiers::NONE);
    let pause = tour.twin.get_by_label("Pause").rect().center();
    // The window alone learns: both together would take turns.
    let twin_waits = |tour: &mut Tour| tour.app.borrow_mut().apply(Command::RunLearning(false));
    twin_waits(&mut tour);
    let before = tour.program.photograph().expect("a photograph");
    tour.program
        .wait_for("something learned", |program| program.photograph().filter(|now| !alike(now, &before)).map(|_| ()));
    std::thread::sleep(if camera.is_some() { 3 * LEARNING } else { LEARNING });
    tour.click_at(pause, Modifiers::NONE);
    twin_waits(&mut tour);
    // What has begun is done and shown first, which takes a slow machine a while; then nothing changes any more.
    tour.program.wait_for("the end of learning", |program| {
        let paused = program.photograph()?;
        std::thread::sleep(LEARNING);
        program.photograph().filter(|later| alike(&paused, later)).map(|_| ())
    });
    tour.click("End", Modifiers::NONE);
    tour.agree("the end of learning");
    tour.click("Recorded training of clip-grounded", Modifiers::NONE);
    tour.agree("a recorded run");
    let state = tour.state();
    drop(camera);
    tour.program.close();
    assert_eq!(kept(home), Some(state));
    // What comes next begins as if one had never been there, but without a guide.
    session::write(&file(home), &AppState::first()).expect("a file");
}

/// Opens a file, selects a phrase, switches the language and back, walks over the map, exports and closes; gives the state
/// that was left, and how it looked.
fn a_day_of_work(home: &Path) -> (AppState, RgbImage) {
    let mut tour = Tour::start(home, None);
    assert!(tour.state().lesson.is_none(), "who was shown around once is shown around again");
    tour.agree("the second visit");

    let coffee = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample-data/coffee.jpg");
    tour.give_path(&coffee);
    tour.agree("the picture");
    assert_eq!(tour.state().picture, PictureSource::File(coffee));

    tour.click("Text about the picture", Modifiers::NONE);
    tour.agree("the field");
    tour.press(Modifiers::COMMAND, Key::A);
    tour.type_in("a red ball and a cat");
    tour.agree("the text");
    assert_eq!(tour.state().sentence, "a red ball and a cat");

    tour.click("red", Modifiers::NONE);
    tour.agree("a word");
    // Held until the window has seen the click.
    xdotool(["keydown", "shift"]);
    tour.click("ball", Modifiers::SHIFT);
    tour.agree("a phrase");
    xdotool(["keyup", "shift"]);
    assert_eq!(tour.state().selected.words, Some((2, 10)));

    tour.click("中文", Modifiers::NONE);
    tour.agree("Chinese");
    assert_eq!(tour.state().look.language, Language::Chinese);
    tour.press(Modifiers::COMMAND, Key::Z);
    tour.agree("English again");
    assert_eq!(tour.state().look.language, Language::English);

    let map = tour.twin.get_by_label_contains("Picture with the map of").rect();
    tour.click_at(map.min + map.size() * 0.4, Modifiers::NONE);
    tour.agree("a patch");
    let patch = tour.state().selected.patch.expect("a patch");
    tour.press(Modifiers::NONE, Key::ArrowRight);
    tour.agree("the next patch");
    assert_eq!(tour.state().selected.patch, Some(patch + 1));

    for name in EXPORTS {
        let path = home.join(name);
        tour.give_path(&path);
        let bytes = tour.program.wait_for(name, |_| fs::read(&path).ok());
        assert!(is_whole(name, &bytes), "{name} isn't whole");
        tour.app.borrow_mut().apply(Command::Tell(path.display().to_string()));
        tour.agree("the news of it");
    }
    tour.click("Dismiss", Modifiers::NONE);
    let look = tour.agree("the board");
    let state = tour.state();
    tour.program.close();
    (state, look)
}

/// Files that are written: the board, all of it as a page, the numbers of the map.
const EXPORTS: [&str; 3] = ["board.png", "board.html", "map.csv"];

/// Whether one of [`EXPORTS`] holds what it should, to its end.
fn is_whole(name: &str, bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    match name {
        "board.png" => {
            image::load_from_memory(bytes).is_ok_and(|board| (board.width(), board.height()) == (3200, 2000))
        }
        "board.html" => text.contains("a red ball and a cat") && text.trim_end().ends_with("</html>"),
        _ => text.ends_with('\n') && text.lines().count() > 64,
    }
}

/// The next start finds the state as it was left.
fn everything_is_back(home: &Path, left: &AppState, look: &RgbImage) {
    let mut tour = Tour::start(home, None);
    assert_eq!(tour.state(), *left);
    let now = tour.agree("the second start");
    assert!(alike(&now, look), "the window looks otherwise than when it was closed");
    // The person's own way to close it.
    tour.press(Modifiers::COMMAND, Key::Q);
    tour.program.ends();
    assert_eq!(kept(home), Some(left.clone()));
}

/// A damaged file is set aside and said; what was written before the program is killed is there at the next start.
fn damage_and_sudden_death_are_survived(home: &Path) {
    let (file, aside) = (file(home), home.join("alignscope/state.damaged-1.json"));
    fs::write(&file, "not a state").expect("a file");
    // The twin learns of it first, and leaves it as it was for the window.
    let (_, _, problem) = session::kept(&file);
    fs::rename(&aside, &file).expect("it was set aside");
    let mut tour = Tour::start(home, problem);
    tour.agree("a new beginning");
    assert_eq!(fs::read_to_string(&aside).ok().as_deref(), Some("not a state"));

    tour.click("Light", Modifiers::NONE);
    tour.agree("the light theme");
    tour.program.kill();

    let mut tour = Tour::start(home, None);
    tour.agree("the start after the end");
    assert_eq!(tour.state().look.theme, Theme::Light);
    tour.program.close();
}

/// Where the program keeps its state.
fn file(home: &Path) -> PathBuf {
    home.join("alignscope/state.json")
}

/// What is kept there.
fn kept(home: &Path) -> Option<AppState> {
    session::read(&file(home)).ok()
}

/// The window and its twin.
struct Tour {
    home: PathBuf,
    program: Program,
    twin: Harness<'static>,
    app: Rc<RefCell<App>>,
}

impl Tour {
    /// Starts the program, and its twin from the same state; `problem` is what the twin says at once.
    fn start(home: &Path, problem: Option<String>) -> Self {
        let state = kept(home).unwrap_or_else(AppState::first);
        // Before the window writes it.
        let is_first = !file(home).exists();
        let program = Program::start(home);
        let [width, height] = program.size();
        let mut app = app(state);
        app.problem = problem;
        if is_first {
            app.welcome();
            settle(&mut app);
        }
        let app = Rc::new(RefCell::new(app));
        let twin = twin(&app, [width.into(), height.into()]);
        let mut tour = Self { home: home.to_path_buf(), program, twin, app };
        tour.twin.run_steps(REST);
        tour
    }

    fn state(&self) -> AppState {
        self.app.borrow().state.clone()
    }

    /// Waits until the window has kept the state of its twin, takes the pointer out of both, and waits until they look
    /// alike; gives the window's photograph.
    fn agree(&mut self, what: &str) -> RgbImage {
        self.twin.run_steps(REST);
        let state = self.state();
        self.program.wait_for(&format!("{what} in the file"), |_| (kept(&self.home)? == state).then_some(()));
        // Not before: a click and the pointer's leave in one frame are a click somewhere else.
        self.program.leave();
        self.twin.remove_cursor();
        self.twin.run_steps(REST);
        let ought = drawn(&mut self.twin);
        self.program.wait_for(&format!("{what} on the screen"), |program| {
            program.photograph().filter(|photograph| alike(photograph, &ought))
        })
    }

    fn click(&mut self, label: &str, held: Modifiers) {
        let at = self.twin.get_by_label(label).rect().center();
        self.click_at(at, held);
    }

    fn click_at(&mut self, at: Pos2, held: Modifiers) {
        // A pixel, as the X server has it.
        let at = at.round();
        self.program.click([at.x as i32, at.y as i32]);
        self.twin.hover_at(at);
        self.twin.event(Event::ModifiersChanged(held));
        for pressed in [true, false] {
            self.twin.event(Event::PointerButton { pos: at, button: PointerButton::Primary, pressed, modifiers: held });
        }
        self.twin.event(Event::ModifiersChanged(Modifiers::NONE));
        self.twin.run_steps(REST);
    }

    /// Takes what lies at `from` to `to`.
    fn drag(&mut self, from: Pos2, to: Pos2) {
        let [from, to] = [from, to].map(Pos2::round);
        let button = |pos, pressed| Event::PointerButton {
            pos,
            button: PointerButton::Primary,
            pressed,
            modifiers: Modifiers::NONE,
        };
        self.program.point([from.x as i32, from.y as i32]);
        xdotool(["mousedown", "1"]);
        self.twin.hover_at(from);
        self.twin.event(button(from, true));
        self.twin.run_steps(1);
        for step in 1..=STEPS {
            let at = (from + (to - from) * (step as f32 / STEPS as f32)).round();
            self.program.point([at.x as i32, at.y as i32]);
            self.twin.hover_at(at);
            self.twin.run_steps(1);
        }
        xdotool(["mouseup", "1"]);
        self.twin.event(button(to, false));
        self.twin.run_steps(REST);
    }

    fn press(&mut self, held: Modifiers, key: Key) {
        let name = match key {
            Key::Enter => "Return".to_owned(),
            Key::ArrowRight => "Right".to_owned(),
            // A capital letter would mean the shift key, too.
            letter => letter.name().to_lowercase(),
        };
        // The twin first: what a path stands for depends on whether there is a file, and the window may write one at once.
        self.twin.key_press_modifiers(held, key);
        self.twin.run_steps(REST);
        xdotool(["key", &if held.command { format!("ctrl+{name}") } else { name }]);
    }

    fn type_in(&mut self, text: &str) {
        xdotool(["type", "--delay", "5", "--", text]);
        self.twin.event(Event::Text(text.to_owned()));
        self.twin.run_steps(REST);
    }

    /// Opens the list of commands and gives it a path.
    fn give_path(&mut self, path: &Path) {
        self.press(Modifiers::COMMAND, Key::K);
        self.agree("the list of commands");
        self.type_in(path.to_str().expect("a plain path"));
        self.press(Modifiers::NONE, Key::Enter);
    }
}

impl Drop for Tour {
    fn drop(&mut self) {
        if std::thread::panicking() {
            save(&drawn(&mut self.twin), "window-expected.png");
            if let Some(photograph) = self.program.photograph() {
                save(&photograph, "window.png");
            }
        }
    }
}

/// The screen over `app`, as large as the window.
fn twin(app: &Rc<RefCell<App>>, size: [f32; 2]) -> Harness<'static> {
    let app = Rc::clone(app);
    let mut screen = Screen::default();
    builder().with_size(size).build_ui(move |ui| {
        // A harness leaves a margin, a window doesn't.
        let whole = ui.ctx().content_rect();
        let mut ui = ui.new_child(UiBuilder::new().max_rect(whole));
        ui.set_clip_rect(whole);
        let commands = screen.show(&mut ui, &app.borrow());
        let mut app = app.borrow_mut();
        commands.into_iter().for_each(|command| app.apply(command));
        settle(&mut app);
    })
}

/// What the twin shows.
fn drawn(twin: &mut Harness<'static>) -> RgbImage {
    image::DynamicImage::from(twin.render().expect("a picture")).into_rgb8()
}

/// Keeps a picture to be looked at.
fn save(picture: &RgbImage, name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    // Builds may go elsewhere.
    fs::create_dir_all(&folder).expect("a folder");
    picture.save(folder.join(name)).expect("a file");
}

/// Whether two pictures look the same, but for the line at the bottom.
fn alike(one: &RgbImage, other: &RgbImage) -> bool {
    let row = 3 * one.width() as usize;
    let end = row * (one.height() as usize).saturating_sub(LAST_LINE);
    let tiles = (0..end).step_by(row * TILE).flat_map(|top| (0..row).step_by(3 * TILE).map(move |left| top + left));
    let differs = |&tile: &usize| {
        let width = (3 * TILE).min(row - tile % row);
        let lines = (tile..end).step_by(row).take(TILE).map(|line| line..line + width);
        let apart = |line: Range<usize>| {
            let pairs = one.as_raw()[line.clone()].iter().zip(&other.as_raw()[line]);
            pairs.map(|(a, b)| usize::from(a.abs_diff(*b))).sum::<usize>()
        };
        lines.map(apart).sum::<usize>() > VISIBLE * 3 * TILE * TILE
    };
    one.dimensions() == other.dimensions() && tiles.filter(differs).nth(MOST_UNLIKE).is_none()
}

/// A window that is there may still be a grey one.
fn is_not_blank(photograph: &RgbImage) {
    let colours: BTreeSet<_> = photograph.pixels().map(|pixel| pixel.0).collect();
    let levels = || photograph.as_raw().iter().map(|level| f64::from(*level) / 255.0);
    let count = photograph.as_raw().len() as f64;
    let mean = levels().sum::<f64>() / count;
    let deviation = (levels().map(|level| (level - mean).powi(2)).sum::<f64>() / count).sqrt();
    assert!(
        colours.len() > 200 && deviation > 0.02,
        "the window looks blank: {} colours, {deviation:.3}",
        colours.len()
    );
}
