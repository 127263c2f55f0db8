//! The board as a person asks for it on the command line, and what happens where there is no display.

use std::path::Path;
use std::process::{Command, Output};

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_alignscope"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .output()
        .expect("the program runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_board_is_a_picture_of_the_asked_size() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["board", "--word", "red ball", "--width", "1000", "--height", "700", "-o", "board.png"];
    let output = run(folder.path(), &arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let picture = image::open(folder.path().join("board.png")).expect("a picture").to_rgb8();
    assert_eq!(picture.dimensions(), (1000, 700));
}

#[test]
fn columns_are_put_beside_the_four() {
    let folder = tempfile::tempdir().expect("a folder");
    let draw = |beside: &[&str], file: &str| {
        let arguments = ["board", "--method", "side-by-side", "--word", "red ball", "-o", file];
        let output = run(folder.path(), &[&arguments[..], beside].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        image::open(folder.path().join(file)).expect("a picture").to_rgb8()
    };
    let four = draw(&[], "four.png");
    let six = draw(&["--beside", "clip-grounded", "--beside", "clip:f16"], "six.png");
    assert!(four != six);
}

#[test]
#[cfg(target_os = "linux")]
fn without_a_display_the_board_is_drawn_and_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(folder.path(), &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("no display"), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("alignscope-board.png"));
    assert!(folder.path().join("alignscope-board.png").is_file());
}

#[test]
fn bad_input_is_one_sentence_and_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("text.png"), "no picture").expect("a file");
    let long = "a cat ".repeat(100);
    let cases: [&[&str]; 15] = [
        &["--image", "missing.png"],
        &["--image", "text.png"],
        &["--image", "no-such-sample"],
        &["--text", ""],
        &["--word", "zebra"],
        &["--map", "nothing"],
        &["--device", "nothing"],
        &["--view", "nothing"],
        &["--method", "nothing"],
        &["--method", "cross-attention", "--view", "matrix"],
        &["--method", "cross-attention", "--text", "  "],
        &["--beside", "no-such-checkpoint"],
        &["--beside", "clip:f8"],
        &["--method", "contrastive", "--beside", "clip"],
        &["--beside", "clip", "--beside", "clip", "--beside", "clip", "--beside", "clip", "--beside", "clip"],
    ];
    for case in cases {
        let output = run(folder.path(), &[&["board", "-o", "board.png"], case].concat());
        let said = stderr(&output);
        assert!(!output.status.success(), "{case:?}");
        assert!(said.starts_with("alignscope: ") && said.trim_end().lines().count() == 1, "{case:?}: {said}");
        assert!(!folder.path().join("board.png").exists(), "{case:?}");
    }
    let output = run(folder.path(), &["board", "--text", &long, "-o", "board.png"]);
    assert!(output.status.success(), "a long text is cut, not refused: {}", stderr(&output));
}
