//! Session files, and the state that is kept between sessions.
//!
//! Both are JSON with everything that a person chose; checkpoints that come with the program stand there by name, so that
//! a session opens on another machine. What is kept between sessions also holds the [`Desk`].

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

use super::AppState;
use super::state::within;
use crate::error::{Error, Result};
use crate::files;

/// Files that are remembered.
const MOST_RECENT: usize = 8;
/// A session is a few kB; nothing much larger is read.
const LARGEST: u64 = 4 << 20;
/// The version of the format.
const VERSION: u32 = 1;

/// How the person's desk looks: what belongs to this machine and is never undone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Desk {
    /// Width of the panel on the left, in points.
    pub inputs_width: f32,
    /// Width of the panel on the right, in points.
    pub inspector_width: f32,
    /// The window's inner width and height, in points.
    pub window: Option<[f32; 2]>,
    /// Pictures that were opened, the newest first.
    pub recent: Vec<PathBuf>,
}

impl Default for Desk {
    fn default() -> Self {
        Self { inputs_width: 276.0, inspector_width: 300.0, window: None, recent: Vec::new() }
    }
}

impl Desk {
    /// Remembers that a file was opened.
    pub fn remember(&mut self, path: &Path) {
        self.recent.retain(|known| known != path);
        self.recent.insert(0, path.to_path_buf());
        self.recent.truncate(MOST_RECENT);
    }

    /// Brings values that a file may hold back into what the window can have.
    pub(super) fn mend(&mut self) {
        let usual = Self::default();
        self.inputs_width = within(self.inputs_width, 150.0, 800.0, usual.inputs_width);
        self.inspector_width = within(self.inspector_width, 150.0, 1000.0, usual.inspector_width);
        let sides = self.window.filter(|sides| sides.iter().all(|side| (300.0..20_000.0).contains(side)));
        self.window = sides;
        self.recent.truncate(MOST_RECENT);
    }
}

/// What stands in a file.
#[derive(Serialize, Deserialize)]
struct File {
    /// The version of the format.
    alignscope: u32,
    state: AppState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    desk: Option<Desk>,
}

/// Reads a session file.
///
/// # Errors
/// If it can't be read or isn't a session.
pub fn read(path: &Path) -> Result<AppState> {
    Ok(read_file(path)?.state)
}

/// Writes a session file.
///
/// # Errors
/// If it can't be written.
pub fn write(path: &Path, state: &AppState) -> Result<()> {
    write_file(path, &File { alignscope: VERSION, state: state.clone(), desk: None })
}

/// Writes what is kept between sessions.
///
/// # Errors
/// If the file can't be written.
pub fn keep(path: &Path, state: &AppState, desk: &Desk) -> Result<()> {
    write_file(path, &File { alignscope: VERSION, state: state.clone(), desk: Some(desk.clone()) })
}

/// What the last session left, and a sentence where that was lost: a file that can't be used is set aside, never
/// overwritten.
#[must_use]
pub fn kept(path: &Path) -> (AppState, Desk, Option<String>) {
    let first = |problem| (AppState::first(), Desk::default(), problem);
    if !path.exists() {
        return first(None);
    }
    match read_file(path) {
        Ok(file) => (file.state, file.desk.unwrap_or_default(), None),
        Err(error) => {
            let aside = (1..1000)
                .map(|number| path.with_extension(format!("damaged-{number}.json")))
                .find(|aside| !aside.exists())
                .unwrap_or_else(|| path.with_extension("damaged.json"));
            let set_aside = match std::fs::rename(path, &aside) {
                Ok(()) => format!("it was set aside as {}", aside.display()),
                Err(error) => format!("it can't be set aside ({error})"),
            };
            first(Some(format!(
                "the last session can't be restored ({error}); {set_aside}, and everything begins anew"
            )))
        }
    }
}

fn read_file(path: &Path) -> Result<File> {
    let not_one = |what: String| Error::unusable(what, "open a file that was saved with Save session").at(path);
    let bytes = files::read(path, LARGEST)?;
    let mut file: File = files::json(&bytes).map_err(|why| not_one(format!("the file isn't a session ({why})")))?;
    if file.alignscope != VERSION {
        return Err(not_one(format!("the session has version {}, and this program reads {VERSION}", file.alignscope)));
    }
    file.state.mend();
    if let Some(desk) = &mut file.desk {
        desk.mend();
    }
    Ok(file)
}

fn write_file(path: &Path, file: &File) -> Result<()> {
    let bytes = serde_json::to_vec_pretty(file)
        .map_err(|error| Error::unusable(format!("the session can't be stored ({error})"), "report it").at(path))?;
    files::write(path, &bytes)
}
