//! The system's file dialogs.

use rfd::{AsyncFileDialog, FileHandle};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use super::{palette, texts};
use crate::app::album::PICTURES;
use crate::app::state::Compared;
use crate::app::{App, Ask, Command, PictureSource};

/// Nobody answers faster: a dialog that is gone by then was never there.
const NOBODY: Duration = Duration::from_millis(120);

type Waiting = Pin<Box<dyn Future<Output = Vec<PathBuf>> + Send>>;

/// Opens a dialog; its answer comes as commands. The dialog is made here, as some systems demand of the main thread, and
/// waited for elsewhere, so that the window goes on.
pub fn ask(ctx: &egui::Context, app: &App, ask: Ask, answer: SyncSender<Command>) {
    let language = app.state.look.language;
    let dialog = AsyncFileDialog::new();
    let pictures = move || AsyncFileDialog::new().add_filter(texts::say(language, texts::FILTER_PICTURES.0), &PICTURES);
    let one = |file: Option<FileHandle>| file.iter().map(|file| file.path().to_path_buf()).collect::<Vec<_>>();
    let waiting: Waiting = match &ask {
        Ask::Picture => Box::pin(async move { one(pictures().pick_file().await) }),
        Ask::Compared => Box::pin(async move {
            let files = pictures().pick_files().await.unwrap_or_default();
            files.iter().map(|file| file.path().to_path_buf()).collect()
        }),
        Ask::Checkpoint | Ask::Album => Box::pin(async move { one(dialog.pick_folder().await) }),
        Ask::OpenSession => Box::pin(async move { one(dialog.add_filter("JSON", &["json"]).pick_file().await) }),
        Ask::SaveSession => {
            let dialog = dialog.set_file_name("alignscope-session.json");
            Box::pin(async move { one(dialog.save_file().await) })
        }
        Ask::Export(export, _) => {
            let name = format!("alignscope-{}.{}", export.view.unwrap_or("board"), export.format.ending());
            let dialog = dialog.set_file_name(name);
            Box::pin(async move { one(dialog.save_file().await) })
        }
        Ask::KeepPasted(_) | Ask::Quit => return,
    };
    let no_dialog = texts::say(language, texts::NO_DIALOG.0).to_owned();
    let ctx = ctx.clone();
    let wait = move || {
        let begin = Instant::now();
        let paths = pollster::block_on(waiting);
        let mut commands: Vec<Command> = paths.into_iter().map(|path| command(&ask, path)).collect();
        if commands.is_empty() && begin.elapsed() < NOBODY {
            commands.push(Command::Complain(no_dialog));
        }
        for command in commands {
            // If the window is gone meanwhile, so is the question.
            let _ = answer.send(command);
        }
        ctx.request_repaint();
    };
    // Without a thread there is no dialog; the palette takes paths, too.
    let _ = std::thread::Builder::new().name("file dialog".into()).spawn(wait);
}

fn command(ask: &Ask, path: PathBuf) -> Command {
    match ask {
        Ask::Picture => Command::OpenPicture(path),
        Ask::Compared => {
            let caption = Some(palette::caption_from(&path));
            Command::AddCompared(Compared { picture: PictureSource::File(path), caption })
        }
        Ask::Album => Command::OpenAlbum(path),
        Ask::Checkpoint => Command::SetCheckpoint(path),
        Ask::OpenSession => Command::OpenSession(path),
        Ask::SaveSession => Command::SaveSession(path),
        Ask::Export(export, _) => Command::Ask(Ask::Export(export.clone(), Some(path))),
        Ask::KeepPasted(_) | Ask::Quit => Command::Ask(ask.clone()),
    }
}
