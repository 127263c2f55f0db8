//! The window.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use image::RgbImage;

use super::screen::Screen;
use super::{dialogs, export, texts, theme};
use crate::app::session::{self, Desk};
use crate::app::{App, AppState, Ask, Command};
use crate::error::{Error, Result};

/// The name of the folder in which the state is kept between sessions.
const APP_ID: &str = "alignscope";
/// How long after a change the state is written.
const SETTLED: Duration = Duration::from_secs(1);
/// Answers that may wait for the window.
const ANSWERS: usize = 16;

struct Window {
    app: App,
    screen: Screen,
    answers: Receiver<Command>,
    answer: SyncSender<Command>,
    keeper: Keeper,
}

/// Opens the window with what the last session left, and with a picture and a checkpoint if they are named; returns when it
/// is closed.
///
/// # Errors
/// If there is no display or no graphics driver.
pub fn open(commands: Vec<Command>) -> std::result::Result<(), eframe::Error> {
    let file = eframe::storage_dir(APP_ID).map(|folder| folder.join("state.json"));
    // Who comes for the first time is shown around.
    let is_first = file.as_deref().is_some_and(|file| !file.exists());
    let (state, desk, problem) =
        file.as_deref().map_or_else(|| (AppState::first(), Desk::default(), None), session::kept);
    let size = desk.window.unwrap_or([1600.0, 1000.0]);
    let options = eframe::NativeOptions {
        viewport: egui::ViewportBuilder::default()
            .with_title(texts::PROGRAM)
            .with_app_id(APP_ID)
            .with_inner_size(size)
            .with_min_inner_size([900.0, 600.0]),
        // The program keeps its state itself: eframe writes its file in place, and a stop in the middle would lose it.
        persist_window: false,
        ..Default::default()
    };
    let create = move |cc: &eframe::CreationContext<'_>| -> std::result::Result<Box<dyn eframe::App>, _> {
        let mut app = App::new(state);
        app.desk = desk;
        app.problem = problem;
        app.kept = eframe::storage_dir(APP_ID).map(|folder| folder.join("embeddings"));
        if is_first {
            app.welcome();
        }
        let mut window = Window::new(cc, app, file)?;
        commands.into_iter().for_each(|command| window.app.apply(command));
        Ok(Box::new(window))
    };
    eframe::run_native(APP_ID, options, Box::new(create))
}

impl Window {
    fn new(cc: &eframe::CreationContext<'_>, mut app: App, file: Option<PathBuf>) -> Result<Self> {
        theme::install(&cc.egui_ctx);
        // Sizes go through the commands, so that they are kept and undone like everything else.
        cc.egui_ctx.options_mut(|options| options.zoom_with_keyboard = false);
        let ctx = cc.egui_ctx.clone();
        app.start(move || ctx.request_repaint())?;
        let (answer, answers) = sync_channel(ANSWERS);
        let keeper = Keeper { file, kept: None, changed: None };
        Ok(Self { app, screen: Screen::default(), answers, answer, keeper })
    }

    /// Does what only the window can.
    fn take_up(&self, ctx: &egui::Context, ask: Ask) {
        match ask {
            Ask::Quit => ctx.send_viewport_cmd(egui::ViewportCommand::Close),
            Ask::Export(export, Some(path)) => {
                let app = self.app.still();
                self.elsewhere(ctx, move || {
                    export::write(&app, &export, &path)?;
                    Ok(Command::Tell(path.display().to_string()))
                });
            }
            Ask::KeepPasted(picture) => {
                self.elsewhere(ctx, move || Ok(Command::OpenPicture(keep_pasted(&picture)?)));
            }
            asked => dialogs::ask(ctx, &self.app, asked, self.answer.clone()),
        }
    }

    /// Does `work` on a thread of its own, so that the window goes on; its command comes back as an answer.
    fn elsewhere(&self, ctx: &egui::Context, work: impl FnOnce() -> Result<Command> + Send + 'static) {
        let (answer, ctx) = (self.answer.clone(), ctx.clone());
        let run = move || {
            let command = work().unwrap_or_else(|error| Command::Complain(error.to_string()));
            // If the window is gone meanwhile, so is the question.
            let _ = answer.send(command);
            ctx.request_repaint();
        };
        let started = std::thread::Builder::new().name("file".into()).spawn(run);
        if let Err(error) = started {
            let problem = Error::unusable(format!("no thread could be started ({error})"), "close other programs");
            let _ = self.answer.try_send(Command::Complain(problem.to_string()));
        }
    }
}

impl eframe::App for Window {
    fn logic(&mut self, ctx: &egui::Context, _frame: &mut eframe::Frame) {
        while let Ok(command) = self.answers.try_recv() {
            self.app.apply(command);
        }
        self.app.receive();
        let viewport = ctx.input(|input| {
            let viewport = input.viewport();
            let plain = viewport.maximized != Some(true) && viewport.fullscreen != Some(true);
            viewport.inner_rect.filter(|_| plain).map(|rect| [rect.width(), rect.height()])
        });
        // In points of the usual size, in which a window is asked for.
        let zoom = ctx.zoom_factor();
        let window = viewport.map(|sides| sides.map(|side| side * zoom));
        let desk = &self.app.desk;
        if window.is_some() && window != desk.window {
            let (inputs, inspector) = (desk.inputs_width, desk.inspector_width);
            self.app.apply(Command::SetDesk { inputs, inspector, window });
        }
        if let Some(wait) = self.keeper.watch(&self.app) {
            ctx.request_repaint_after(wait);
        }
    }

    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        let commands = self.screen.show(ui, &self.app);
        if !commands.is_empty() {
            ui.ctx().request_repaint();
        }
        for command in commands {
            self.app.apply(command);
        }
        for ask in std::mem::take(&mut self.app.asks) {
            self.take_up(ui.ctx(), ask);
        }
    }

    fn on_exit(&mut self) {
        // Nobody is there any more to be told.
        let _ = self.keeper.keep(&self.app);
    }

    fn persist_egui_memory(&self) -> bool {
        false
    }
}

/// Writes the state a moment after it has changed.
struct Keeper {
    file: Option<PathBuf>,
    kept: Option<(AppState, Desk)>,
    changed: Option<Instant>,
}

impl Keeper {
    /// Writes the state if it has changed and then rested for a while; gives the time after which to look again.
    fn watch(&mut self, app: &App) -> Option<Duration> {
        let same = self.kept.as_ref().is_some_and(|(state, desk)| *state == app.state && *desk == app.desk);
        if same {
            self.changed = None;
            return None;
        }
        let since = *self.changed.get_or_insert_with(Instant::now);
        if since.elapsed() < SETTLED {
            return Some(SETTLED);
        }
        self.changed = None;
        // A disk that is full now may not be at the end.
        let _ = self.keep(app);
        None
    }

    fn keep(&mut self, app: &App) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        self.kept = Some((app.state.clone(), app.desk.clone()));
        session::keep(file, &app.state, &app.desk)
    }
}

/// Writes a pasted picture into a file that is named after its pixels, so that it is there at the next start.
fn keep_pasted(picture: &RgbImage) -> Result<PathBuf> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    picture.as_raw().hash(&mut hasher);
    let folder = eframe::storage_dir(APP_ID).unwrap_or_else(std::env::temp_dir);
    let path = folder.join(Path::new("pasted")).join(format!("{:016x}.png", hasher.finish()));
    if !path.exists() {
        crate::files::write(&path, &crate::files::png(&picture.clone().into())?)?;
    }
    Ok(path)
}
