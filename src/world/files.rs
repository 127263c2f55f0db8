//! Scenes on disk: a PNG and a JSON file with everything that is true of it.

use std::path::{Path, PathBuf};

use super::describe::{Description, Origin};
use super::scene::Scene;
use super::split::Split;
use crate::error::{Error, Result};
use crate::files;

/// Descriptions have a few thousand bytes; nothing much longer is read.
const LARGEST: u64 = 1 << 20;

/// Writes scenes `first_seed`, `first_seed + 1`, ... of a split as `scene-000123.png` and `scene-000123.json`.
///
/// The folder is made if need be. Each file appears whole or not at all. After each scene, `progress` is told how
/// many are written; an error of a file operation ends the work.
///
/// # Errors
/// When the folder or a file can't be written.
pub fn write_scenes(
    folder: &Path,
    split: Split,
    first_seed: u64,
    count: usize,
    progress: &mut dyn FnMut(usize),
) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| Error::io("make", folder, &error))?;
    for index in 0..count {
        let seed = first_seed.wrapping_add(index as u64);
        let scene = Scene::random(split, seed);
        write_scene(&scene, Some(Origin { split, seed }), &folder.join(format!("scene-{seed:06}")))?;
        progress(index + 1);
    }
    Ok(())
}

/// Writes a scene as `<stem>.png` and `<stem>.json`; `stem` is a path without an extension.
///
/// # Errors
/// When a file can't be written.
pub fn write_scene(scene: &Scene, origin: Option<Origin>, stem: &Path) -> Result<()> {
    let png = files::png(&scene.draw().into()).map_err(|error| error.at(stem))?;
    let mut json = serde_json::to_string_pretty(&scene.describe(origin)).map_err(|error| {
        Error::unusable(format!("can't encode the description ({error})"), "free some memory").at(stem)
    })?;
    json.push('\n');
    files::write(&with_ending(stem, "png"), &png)?;
    files::write(&with_ending(stem, "json"), json.as_bytes())
}

/// Reads the scene of a JSON file that [`write_scene`] wrote; what somebody else put into it becomes what can be drawn.
///
/// # Errors
/// When the file can't be read or isn't the description of a scene.
pub fn read_scene(file: &Path) -> Result<Description> {
    let mut description: Description = files::json(&files::read(file, LARGEST)?).map_err(|why| {
        Error::unusable(
            format!("the file doesn't describe a scene ({why})"),
            "choose a JSON file that `alignscope scenes` wrote",
        )
        .at(file)
    })?;
    description.scene.mend();
    Ok(description)
}

/// `Path::with_extension` would cut a stem at its last dot.
fn with_ending(stem: &Path, ending: &str) -> PathBuf {
    let mut name = stem.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}
