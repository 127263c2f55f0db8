//! The screen over an app with its worker, as the tests drive it.
#![allow(dead_code, reason = "each test uses a part of it")]

#[path = "pictures.rs"]
pub mod pictures;
#[path = "queries.rs"]
pub mod queries;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alignscope::app::album::Wanted;
use alignscope::app::state::{Look, MethodName};
use alignscope::app::{App, AppState, Command, Theme};
use alignscope::methods::cost::PictureCost;
use alignscope::methods::interventions::Ablation;
use alignscope::methods::spliced::{Cost, Spliced};
use alignscope::methods::{Evidence, Intervention};
use alignscope::taps::{Attn, Tower};
use alignscope::ui::screen::Screen;
use alignscope::ui::textures::Textures;
use alignscope::ui::views::{Brush, View};
use alignscope::ui::{columns, theme};
use alignscope::world::Language;
use egui_kittest::{Harness, HarnessBuilder, SnapshotOptions};

use crate::common::RasterRenderer;
use queries::{Kind, with_queries};

/// Waits until the worker has answered.
pub fn settle(app: &mut App) {
    let begin = Instant::now();
    while app.busy {
        app.receive();
        std::thread::sleep(Duration::from_millis(1));
        assert!(begin.elapsed() < Duration::from_secs(300), "the worker doesn't answer");
    }
    // A time on the screen would make every drawing another.
    app.elapsed = None;
}

/// An app with its worker, which has computed the first evidence.
pub fn app(state: AppState) -> App {
    let mut app = App::new(state);
    app.start(|| ()).expect("a worker");
    settle(&mut app);
    app
}

/// Whether there is a checkpoint with which the column of a method can be shown.
pub fn runs(method: &str) -> bool {
    App::new(AppState::first()).checkpoints.iter().any(|choice| choice.method == method)
}

/// An app in which a view has something to show. The views of queries show made-up ones, which hold everything that the
/// classes of querying transformers have between them.
pub fn app_of(view: &dyn View, state: AppState) -> App {
    let changed = view.key().starts_with("what-if");
    let explains = view.key().starts_with("explainers");
    if view.method() == "querying" && !changed && !explains {
        let kind = if ["query-says", "query-words"].contains(&view.key()) { Kind::Writer } else { Kind::Retrieval };
        return with_queries(&app(state), kind);
    }
    let mut state = AppState { method: MethodName(view.method()), ..state };
    if ["gates", "latents"].contains(&view.key()) {
        state.checkpoints.insert(view.method().to_owned(), "flamingo".to_owned());
    }
    let mut app = app(state);
    if changed {
        let off =
            Intervention::HeadOff { tower: Tower::Vision, attn: Attn::SelfAttn, layer: 1, head: 2, by: Ablation::Zero };
        app.apply(Command::Intervene(off));
        settle(&mut app);
    }
    if view.key() == "album" {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("pictures");
        pictures::write_scenes(&folder, 60);
        pictures::open(&mut app, &folder);
        let wanted = Wanted::Text("a red ball".into());
        app.apply(Command::SearchAlbum(wanted.clone()));
        pictures::wait_until(&mut app, "something is found", |app| {
            app.album.as_ref().is_some_and(|album| album.found(&wanted).is_some())
        });
    }
    if view.key() == "watch" {
        // What is learned while the test runs is another thing each time.
        app.apply(Command::ShowRecording("clip-grounded".to_owned()));
        app.apply(Command::ShowLook(Some(30)));
    }
    without_times(app)
}

/// With times on the screen, every drawing would be another.
pub fn without_times(mut app: App) -> App {
    for (_, cost) in &mut app.costs {
        *cost = PictureCost { seeing: 2.5, reading: 1.25, ..cost.clone() };
    }
    let Some(evidence) = app.evidence.clone() else { return app };
    let Some(spliced) = evidence.spliced.clone() else { return app };
    let cost = spliced.cost.map(|cost| Cost { with_picture: 4.25, without_picture: 1.5, seeing: 2.75, ..cost });
    let spliced = Some(Arc::new(Spliced { cost, ..Spliced::clone(&spliced) }));
    app.evidence = Some(Arc::new(Evidence { spliced, ..Evidence::clone(&evidence) }));
    app
}

pub fn state(theme: Theme, language: Language) -> AppState {
    AppState { look: Look { theme, language, ..Look::default() }, ..AppState::first() }
}

/// Other processors round a model's numbers differently, which may move a colour by a level or two; a changed letter is
/// more than that.
pub fn tolerant() -> SnapshotOptions {
    SnapshotOptions::new().threshold(1.0).max_failed_pixels(10)
}

pub fn builder<State>() -> HarnessBuilder<State> {
    Harness::builder().with_context_setup(theme::install).renderer(RasterRenderer::default())
}

/// A view alone over an app; what it asks for is applied.
pub fn drawn(view: &'static dyn View, shared: Rc<RefCell<App>>, size: [f32; 2]) -> Harness<'static> {
    let mut textures = Textures::default();
    builder().with_size(size).build_ui(move |ui| {
        let mut commands = Vec::new();
        {
            let app = shared.borrow();
            let evidence = app.evidence.clone().expect("evidence");
            let mut brush = Brush { app: &app, textures: &mut textures, commands: &mut commands };
            columns::alone(ui, &evidence, &mut brush, view);
        }
        let mut app = shared.borrow_mut();
        commands.into_iter().for_each(|command| app.apply(command));
    })
}

/// The whole screen over an app; what it asks for is applied, and its worker waited for.
pub fn screen_of(app: App, size: [f32; 2], pixels_per_point: f32) -> (Harness<'static>, Rc<RefCell<App>>) {
    screen_by(builder().with_size(size).with_pixels_per_point(pixels_per_point), app)
}

/// [`screen_of`] with a harness of one's own.
pub fn screen_by(builder: HarnessBuilder<()>, app: App) -> (Harness<'static>, Rc<RefCell<App>>) {
    let app = Rc::new(RefCell::new(app));
    let shared = Rc::clone(&app);
    let mut screen = Screen::default();
    let harness = builder.build_ui(move |ui| {
        let commands = screen.show(ui, &shared.borrow());
        let mut app = shared.borrow_mut();
        commands.into_iter().for_each(|command| app.apply(command));
        settle(&mut app);
    });
    (harness, app)
}

pub fn screen(app: App) -> (Harness<'static>, Rc<RefCell<App>>) {
    screen_of(app, [1600.0, 1000.0], 1.0)
}
