//! Folders of pictures, and waiting until they are read.

use std::path::Path;
use std::time::{Duration, Instant};

use alignscope::app::{App, Command};
use alignscope::world::{Scene, Split};
use image::imageops::{FilterType, resize};

/// Writes so many sticker scenes into a folder, small, as PNG: `scene-000.png` and on.
pub fn write_scenes(folder: &Path, count: u32) {
    std::fs::create_dir_all(folder).expect("a folder");
    for seed in 0..count {
        let scene = Scene::random(Split::Training, u64::from(seed)).draw();
        let small = resize(&scene, 112, 112, FilterType::Triangle);
        small.save(folder.join(format!("scene-{seed:03}.png"))).expect("a file");
    }
}

/// Waits until nothing is under way with the folder.
pub fn wait(app: &mut App) {
    let begin = Instant::now();
    while app.album.as_ref().is_some_and(|album| album.work.is_some()) {
        step(app);
        assert!(begin.elapsed() < Duration::from_secs(300), "the folder isn't read");
    }
}

/// Waits until something is so.
pub fn wait_until(app: &mut App, what: &str, is_so: impl Fn(&App) -> bool) {
    let begin = Instant::now();
    while !is_so(app) {
        step(app);
        assert!(begin.elapsed() < Duration::from_secs(300), "{what}: not yet");
    }
}

fn step(app: &mut App) {
    app.receive();
    std::thread::sleep(Duration::from_millis(1));
}

/// Opens a folder and waits until it is read.
pub fn open(app: &mut App, folder: &Path) {
    app.apply(Command::OpenAlbum(folder.to_path_buf()));
    wait(app);
}
