//! Files that mean harm, whatever they should be: pipes and loops in their places, JSON that unfolds, pictures, scenes and
//! sessions of absurd sizes. Each gives a sentence or a result, within bounded memory and time, and nothing is written.

use std::fs;
use std::path::Path;

use alignscope::app::{App, AppState, session};
use alignscope::methods::familiarity::Familiarity;
use alignscope::models::cache;
use alignscope::models::chat::ChatTemplate;
use alignscope::models::checkpoint::Checkpoint;
use alignscope::models::opened::Opened;
use alignscope::models::picture::Picture;
use alignscope::models::preprocess::ImageProcessor;
use alignscope::models::weights::Weights;
use alignscope::training::recorded::Recording;
use alignscope::world::{Scene, Split, read_scene, write_scene};
use candle_core::Device;
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "common/bounded.rs"]
mod bounded;
#[path = "common/checkpoint.rs"]
mod checkpoint;
use bounded::{alone, paths, refused, within};
use checkpoint::{checkpoint, read, write};

const FILES: [&str; 4] = ["config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"];

fn open(folder: &Path) -> alignscope::Result<Opened> {
    Opened::open(folder, &Device::Cpu)
}

/// Puts something else in the place of a file.
#[cfg(unix)]
fn put(kind: &str, path: &Path) {
    use std::os::unix::fs::symlink;
    let _ = fs::remove_file(path);
    match kind {
        "pipe" => assert!(std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo").success()),
        "loop" => symlink(path, path).expect("a link"),
        "endless" => symlink("/dev/zero", path).expect("a link"),
        "folder" => fs::create_dir(path).expect("a folder"),
        // A file with a hole, which takes no room.
        "huge" => fs::File::create(path).and_then(|file| file.set_len(1 << 40)).expect("a file"),
        other => panic!("no such kind: {other}"),
    }
}

#[cfg(unix)]
const KINDS: [&str; 5] = ["pipe", "loop", "endless", "folder", "huge"];

#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_waited_for() {
    let _alone = alone();
    for kind in KINDS {
        for name in FILES {
            let folder = checkpoint();
            put(kind, &folder.path().join(name));
            let path = folder.path().to_path_buf();
            let said = refused(100, move || open(&path));
            assert!(said.contains(name), "{kind} as {name}: {said}");
        }
        let folder = TempDir::new().expect("a folder");
        let path = |name: &str| {
            let path = folder.path().join(name);
            put(kind, &path);
            path
        };
        let (picture, state, scene, run) = (path("a.png"), path("b.json"), path("c.json"), path("d.safetensors"));
        refused(300, move || Picture::open(&picture));
        refused(100, {
            let state = state.clone();
            move || session::read(&state)
        });
        refused(100, move || read_scene(&scene));
        refused(100, move || Recording::read(&run));
        // Folders and loops can't be the state of the last session; what is there is set aside.
        let (first, _, problem) = within(100, move || session::kept(&state));
        assert_eq!(first, AppState::first(), "{kind}");
        assert!(problem.is_some() || kind == "loop", "{kind}");
        put(kind, &folder.path().join("familiarity.safetensors"));
        let path = folder.path().to_path_buf();
        within(100, move || Familiarity::read(&path).is_ok());
        for name in ["model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"] {
            let folder = TempDir::new().expect("a folder");
            put(kind, &folder.path().join(name));
            let path = folder.path().to_path_buf();
            refused(100, move || Weights::open(&path, &Device::Cpu));
        }
        for name in ["chat_template.jinja", "chat_template.json", "tokenizer_config.json"] {
            let folder = TempDir::new().expect("a folder");
            put(kind, &folder.path().join(name));
            let path = folder.path().to_path_buf();
            within(100, move || ChatTemplate::open(&path).map(|found| assert!(found.is_none()))).ok();
        }
    }
}

#[cfg(unix)]
#[test]
fn what_lies_beside_a_picture_is_not_waited_for() {
    let _alone = alone();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures/thin.png");
    for kind in KINDS {
        let folder = TempDir::new().expect("a folder");
        let picture = folder.path().join("a.png");
        fs::copy(&fixture, &picture).expect("a picture");
        put(kind, &folder.path().join("a.json"));
        within(300, move || {
            let mut app = App::new(AppState::first());
            app.apply(alignscope::app::Command::OpenPicture(picture));
            app.compute_now();
        });
    }
}

#[test]
fn scenes_of_absurd_sizes() {
    let _alone = alone();
    let folder = TempDir::new().expect("a folder");
    let stem = folder.path().join("a");
    write_scene(&Scene::random(Split::Training, 3), None, &stem).expect("a scene");
    let path = stem.with_extension("json");
    let whole = read(&path);
    for (key, value) in [("size", json!(u32::MAX)), ("size", json!(0)), ("x", json!(i32::MIN)), ("y", json!(i32::MAX))]
    {
        let mut spoilt = whole.clone();
        let objects = spoilt["scene"]["objects"].as_array_mut().expect("objects");
        objects.iter_mut().for_each(|object| object[key] = value.clone());
        let first = objects[0].clone();
        objects.extend(vec![first; 5_000]);
        fs::write(&path, spoilt.to_string()).expect("a file");
        let path = path.clone();
        within(100, move || {
            let scene = read_scene(&path).expect("a scene").scene;
            scene.draw();
            scene.mask_of(&(0..scene.objects.len()).collect::<Vec<_>>());
        });
    }
}

#[cfg(unix)]
#[test]
fn folders_that_lead_in_a_circle() {
    let _alone = alone();
    use std::os::unix::fs::symlink;
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().to_path_buf();
    symlink(path.join("b"), path.join("a")).expect("a link");
    symlink(path.join("a"), path.join("b")).expect("a link");
    symlink(&path, path.join("within")).expect("a link");
    for name in ["a", "a/b", "within", "within/within/within"] {
        let path = path.join(name);
        refused(10, move || open(&path));
    }
    // A cache in which everything leads back to its beginning.
    for name in ["models--a--b", "models--a--b/snapshots", "models--c--d"] {
        fs::create_dir_all(path.join(name)).expect("a folder");
    }
    symlink(&path, path.join("models--a--b/snapshots/abc")).expect("a link");
    symlink(path.join("models--c--d"), path.join("models--c--d/snapshots")).expect("a link");
    symlink(path.join("models--c--d"), path.join("models--c--d/models--c--d")).expect("a link");
    fs::write(path.join("config.json"), "{}").expect("a file");
    let found = within(10, move || cache::snapshots(&path));
    assert!(found.iter().all(|(name, _)| name == "a/b" || name == "c/d"), "{found:?}");
}

#[test]
fn nothing_is_written_by_opening() {
    let _alone = alone();
    let around = TempDir::new().expect("a folder");
    let folder = around.path().join("org/model");
    fs::create_dir_all(&folder).expect("a folder");
    let whole = checkpoint();
    for name in FILES {
        fs::copy(whole.path().join(name), folder.join(name)).expect("a file");
    }
    let names = [
        "../astray.safetensors",
        "/tmp/astray.safetensors",
        "..\\astray.safetensors",
        "a/../../astray",
        "\u{0}",
        "a\nb",
    ];
    let before = paths(around.path());
    open(&folder).expect("a checkpoint");
    fs::remove_file(folder.join("model.safetensors")).expect("a file");
    for name in names {
        let index = json!({"weight_map": {"logit_scale": name}, "metadata": {"total_size": u64::MAX}});
        write(&folder, "model.safetensors.index.json", &index);
        let path = folder.clone();
        refused(10, move || open(&path));
    }
    for name in names {
        let config = json!({"model_type": "llava", "mm_vision_tower": name});
        write(&folder, "config.json", &config);
        let path = folder.clone();
        refused(10, move || open(&path));
    }
    fs::remove_file(folder.join("model.safetensors.index.json")).expect("a file");
    fs::copy(whole.path().join("model.safetensors"), folder.join("model.safetensors")).expect("a file");
    assert_eq!(paths(around.path()), before);
}

/// JSON texts that are much smaller than what they unfold to.
fn swollen() -> Vec<String> {
    vec![
        "[".repeat(4 << 20),
        r#"{"a":"#.repeat(1 << 20),
        format!("[{}]", vec!["[0]"; 10 << 20].join(",")),
        format!("[{}]", vec![r#"{"":0}"#; 6 << 20].join(",")),
        format!("{{\"post_processor\":[{}]}}", vec![r#"{"":0}"#; 6 << 20].join(",")),
        format!("{{\"model\":{{\"type\":\"BPE\",\"vocab\":[{}]}}}}", vec![r#"{"":0}"#; 6 << 20].join(",")),
        format!("{{\"added_tokens\":[{}]}}", vec!["[0]"; 10 << 20].join(",")),
        format!("{{\"alignscope\":1,\"state\":{{\"comparison\":[{}]}}}}", vec!["{}"; 4 << 20].join(",")),
    ]
}

#[test]
fn json_that_unfolds() {
    let _alone = alone();
    for text in swollen() {
        for name in ["config.json", "tokenizer.json", "preprocessor_config.json"] {
            let folder = checkpoint();
            fs::write(folder.path().join(name), &text).expect("a file");
            refused(1024, move || open(folder.path()));
        }
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("a.json");
        fs::write(&path, &text).expect("a file");
        within(1024, move || {
            let _ = session::read(&path);
            let _ = read_scene(&path);
            drop(folder);
        });
    }
}

/// A header of each format that says so large a picture.
fn headers(width: u32, height: u32) -> Vec<Vec<u8>> {
    let (short_width, short_height) = (width.min(65_535) as u16, height.min(65_535) as u16);
    let bmp = [
        &b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0"[..],
        &width.to_le_bytes(),
        &height.to_le_bytes(),
        b"\x01\0\x18\0",
        &[0; 40],
    ]
    .concat();
    let gif = [
        &b"GIF89a"[..],
        &short_width.to_le_bytes(),
        &short_height.to_le_bytes(),
        b"\x80\0\0\0\0\0\xff\xff\xff",
        b",\0\0\0\0",
        &short_width.to_le_bytes(),
        &short_height.to_le_bytes(),
        b"\0\x02\x02\x44\x01\0;",
    ]
    .concat();
    let lossless = {
        let bits = (width.clamp(1, 16_384) - 1) | ((height.clamp(1, 16_384) - 1) << 14);
        [&b"RIFF\x1a\0\0\0WEBPVP8L\x0e\0\0\0\x2f"[..], &bits.to_le_bytes(), &[0; 9]].concat()
    };
    let jpeg = |mark: u8| {
        let frame = [
            &[0xFF, mark, 0, 17, 8][..],
            &short_height.to_be_bytes(),
            &short_width.to_be_bytes(),
            b"\x03\x01\x44\0\x02\x44\0\x03\x44\0",
        ]
        .concat();
        let table = [&b"\xFF\xDB\0\x43\0"[..], &[1; 64]].concat();
        [&b"\xFF\xD8"[..], &table, &frame, b"\xFF\xDA\0\x0c\x03\x01\0\x02\0\x03\0\0\x3f\0\xFF\xD9"].concat()
    };
    vec![bmp, gif, lossless, jpeg(0xC0), jpeg(0xC2)]
}

#[test]
fn pictures_of_absurd_sizes() {
    let _alone = alone();
    for (width, height) in [
        (65_535, 65_535),
        (65_535, 1),
        (1, 65_535),
        (0, 0),
        (0, 9),
        (16_384, 16_384),
        (16_383, 10_000),
        (i32::MAX as u32, 2),
        (u32::MAX, u32::MAX),
    ] {
        for bytes in headers(width, height) {
            within(2100, move || {
                if let Err(error) = Picture::from_bytes("a", &bytes) {
                    let said = error.to_string();
                    assert!(said.contains("; ") && !said.contains('\n'), "{said}");
                }
            });
        }
    }
}

#[test]
fn pictures_that_are_drawn_again_and_again() {
    let _alone = alone();
    // Grey, a million blocks. Eight thousand scans of some bytes each go over all of them and change nothing.
    let frame =
        [&b"\xFF\xC2\0\x0b\x08"[..], &8000_u16.to_be_bytes(), &8000_u16.to_be_bytes(), b"\x01\x01\x11\0"].concat();
    let table = [&b"\xFF\xDB\0\x43\0"[..], &[1; 64]].concat();
    let one_code = |class: u8, symbol: u8| [&[0xFF, 0xC4, 0, 20, class, 1][..], &[0; 15], &[symbol]].concat();
    let mut jpeg = [&b"\xFF\xD8"[..], &table, &frame, &one_code(0, 0), &one_code(0x10, 0xE0)].concat();
    jpeg.extend([&b"\xFF\xDA\0\x08\x01\x01\0\0\0\0"[..], &[0; 125_000]].concat());
    for _ in 0..8000 {
        jpeg.extend([&b"\xFF\xDA\0\x08\x01\x01\0\x01\x3f\0"[..], &[0; 117]].concat());
    }
    jpeg.extend(b"\xFF\xD9");
    let drawn = within(1500, move || Picture::from_bytes("a", &jpeg).map(drop).map_err(|error| error.to_string()));
    let said = drawn.expect_err("a refusal");
    assert!(said.contains("scan count"), "{said}");
}

#[test]
fn pictures_that_move_are_decoded_once() {
    let _alone = alone();
    // Twenty thousand frames, each as large as the whole.
    let side = 4096_u16.to_le_bytes();
    let frame = [&b",\0\0\0\0"[..], &side, &side, b"\0\x02\x02\x44\x01\0"].concat();
    let mut gif = [&b"GIF89a"[..], &side, &side, b"\x80\0\0\0\0\0\xff\xff\xff"].concat();
    for _ in 0..20_000 {
        gif.extend(b"\x21\xf9\x04\0\x01\0\0\0");
        gif.extend(&frame);
    }
    gif.push(b';');
    within(300, move || Picture::from_bytes("a", &gif).ok());
}

#[test]
fn sessions_of_absurd_numbers() {
    let _alone = alone();
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("a.json");
    let mut app = App::new(AppState::first());
    app.apply(alignscope::app::Command::SetSentence("a cat".into()));
    session::write(&path, &app.state).expect("a session");
    let whole = read(&path);
    let mut ways = Vec::new();
    fn places(value: &Value, way: &str, found: &mut Vec<String>) {
        found.push(way.to_owned());
        match value {
            Value::Object(fields) => {
                fields.iter().for_each(|(key, value)| places(value, &format!("{way}/{key}"), found));
            }
            Value::Array(items) => {
                items.iter().enumerate().take(3).for_each(|(at, item)| places(item, &format!("{way}/{at}"), found));
            }
            _ => {}
        }
    }
    places(&whole["state"], "/state", &mut ways);
    let absurd = [
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e300),
        json!(-1e300),
        json!(-0.0),
        json!(null),
        json!("\u{202E}\n"),
        json!([]),
        json!({}),
        json!([u64::MAX, -1]),
        json!("a".repeat(1 << 20)),
        json!(vec![0; 10_000]),
    ];
    within(1024, move || {
        for way in ways {
            for value in &absurd {
                let mut spoilt = whole.clone();
                *spoilt.pointer_mut(&way).expect("a place") = value.clone();
                fs::write(&path, spoilt.to_string()).expect("a file");
                match session::read(&path) {
                    Ok(state) => {
                        session::write(&path, &state).expect("a session");
                        assert_eq!(session::read(&path).expect("a session"), state, "{way}");
                        drop(App::new(state));
                    }
                    Err(error) => {
                        let said = error.to_string();
                        assert!(said.contains("; ") && !said.contains('\n') && said.len() < 1000, "{way}: {said}");
                    }
                }
            }
        }
        drop(folder);
    });
}

#[test]
fn preprocessors_that_leave_no_number() {
    let _alone = alone();
    for (key, value) in
        [("rescale_factor", json!(1e300)), ("image_std", json!(1e-44)), ("image_mean", json!([3e38, -3e38, 0]))]
    {
        let mut config =
            json!({"image_processor_type": "CLIPImageProcessor", "size": 8, "crop_size": 8, "image_std": 0.5});
        config[key] = value;
        let said = ImageProcessor::from_json(&config.to_string()).map(|processor| {
            let pixels = processor.normalise(&image::RgbImage::from_pixel(8, 8, image::Rgb([255; 3])));
            assert!(pixels.iter().all(|pixel| pixel.is_finite()), "{key}");
        });
        assert!(said.is_err() || key == "image_mean", "{key}");
    }
}

#[test]
fn errors_are_one_line_whatever_a_file_says() {
    let _alone = alone();
    let folder = checkpoint();
    for text in [
        r#"{"architectures": ["a\nb\u001b[31m"]}"#,
        r#"{"architectures": ["CLIPModel"], "vision_config": "a\nb", "text_config": "a\nb"}"#,
    ] {
        fs::write(folder.path().join("config.json"), text).expect("a file");
        let path = folder.path().to_path_buf();
        let said = refused(10, move || open(&path));
        assert!(!said.contains('\u{1b}'), "{said}");
    }
    let long = json!({"architectures": ["a".repeat(1 << 20)]});
    write(folder.path(), "config.json", &long);
    let path = folder.path().to_path_buf();
    assert!(refused(10, move || open(&path)).len() < 1000);
    assert!(Checkpoint::open(folder.path()).is_ok());
}
