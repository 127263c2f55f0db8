//! Where the files that ship with the program lie.

use std::path::PathBuf;

/// The folder `name` of the program (`assets/checkpoints`, `sample-data`).
///
/// Looked for beside the executable and in the folders above it (which finds them from
/// `target/release`), in the present folder, and last where the program was built.
#[must_use]
pub fn folder(name: &str) -> Option<PathBuf> {
    let executable = std::env::current_exe().ok();
    let above = executable.iter().flat_map(|path| path.ancestors().skip(1).take(4).map(PathBuf::from));
    let present = std::env::current_dir().ok();
    let built = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut places = above.chain(present).chain([built]);
    places.find_map(|place| Some(place.join(name)).filter(|folder| folder.is_dir()))
}
