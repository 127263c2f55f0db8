//! The window.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::panels::inputs::Ask;
use super::screen::Screen;
use super::{texts, theme};
use crate::app::{App, AppState, Command};

/// Where the state is kept between sessions.
const STATE_KEY: &str = "state";

struct Window {
    app: App,
    screen: Screen,
    answers: Receiver<Command>,
    answer: SyncSender<Command>,
}

/// Opens the window with `state`, or with what the last session left where `state` is `None`; returns when it is
/// closed.
///
/// # Errors
/// If there is no display or no graphics driver.
pub fn open(state: Option<AppState>) -> Result<(), eframe::Error> {
    let options = eframe::NativeOptions {
        viewport: egui::ViewportBuilder::default()
            .with_title(texts::PROGRAM)
            .with_app_id("alignscope")
            .with_inner_size([1600.0, 1000.0])
            .with_min_inner_size([900.0, 600.0]),
        persist_window: true,
        ..Default::default()
    };
    eframe::run_native("alignscope", options, Box::new(move |cc| Ok(Box::new(Window::new(cc, state)?))))
}

impl Window {
    fn new(cc: &eframe::CreationContext<'_>, state: Option<AppState>) -> crate::Result<Self> {
        theme::install(&cc.egui_ctx);
        let kept = || cc.storage.and_then(|storage| eframe::get_value(storage, STATE_KEY));
        let mut app = App::new(state.or_else(kept).unwrap_or_default());
        let ctx = cc.egui_ctx.clone();
        app.start(move || ctx.request_repaint())?;
        let (answer, answers) = sync_channel(4);
        Ok(Self { app, screen: Screen::default(), answers, answer })
    }

    /// Opens a file dialog; its answer comes as a command. The dialog is made here, as some systems demand of the main
    /// thread, and waited for elsewhere, so that the window goes on.
    fn ask(&self, ctx: &egui::Context, ask: Ask) {
        let (answer, ctx) = (self.answer.clone(), ctx.clone());
        let dialog = rfd::AsyncFileDialog::new();
        let waiting: std::pin::Pin<Box<dyn Future<Output = Option<rfd::FileHandle>> + Send>> = match ask {
            Ask::Picture => {
                let endings = ["png", "jpg", "jpeg", "webp", "bmp", "gif"];
                Box::pin(dialog.add_filter("pictures", &endings).pick_file())
            }
            Ask::Checkpoint => Box::pin(dialog.pick_folder()),
        };
        let wait = move || {
            if let Some(file) = pollster::block_on(waiting) {
                let path = file.path().to_path_buf();
                let command = match ask {
                    Ask::Picture => Command::OpenPicture(path),
                    Ask::Checkpoint => Command::SetCheckpoint(path),
                };
                // If the window is gone meanwhile, so is the question.
                let _ = answer.try_send(command);
                ctx.request_repaint();
            }
        };
        // Without a thread there is no dialog; dropping a file onto the window still works.
        let _ = std::thread::Builder::new().name("file dialog".into()).spawn(wait);
    }
}

impl eframe::App for Window {
    fn logic(&mut self, _ctx: &egui::Context, _frame: &mut eframe::Frame) {
        while let Ok(command) = self.answers.try_recv() {
            self.app.apply(command);
        }
        self.app.receive();
    }

    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        let (commands, ask) = self.screen.show(ui, &self.app);
        if !commands.is_empty() {
            ui.ctx().request_repaint();
        }
        for command in commands {
            self.app.apply(command);
        }
        if let Some(ask) = ask {
            self.ask(ui.ctx(), ask);
        }
    }

    fn save(&mut self, storage: &mut dyn eframe::Storage) {
        eframe::set_value(storage, STATE_KEY, &self.app.state);
    }
}
