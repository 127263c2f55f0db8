//! A folder of pictures: read, kept, searched and shown, against direct calls of the model.

mod common;
#[path = "common/interface.rs"]
mod interface;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alignscope::app::album::{Album, AlbumPicture, AlbumPlane, Found, THUMBNAIL, Wanted};
use alignscope::app::state::ReductionName;
use alignscope::app::{App, AppState, Ask, Command, PictureSource, Theme};
use alignscope::models::opened::Opened;
use alignscope::models::picture::Picture;
use alignscope::taps::Taps;
use alignscope::ui::screen::Screen;
use alignscope::world::Language;
use candle_core::Device;
use egui::Key;
use egui::accesskit::Role;
use egui_kittest::kittest::{NodeT as _, Queryable};
use interface::pictures::{open, wait, wait_until, write_scenes};
use interface::{app, screen, screen_of, state};
use tempfile::TempDir;

/// A program that keeps embeddings in a folder, with pictures in another.
fn program(count: u32) -> (App, TempDir, PathBuf) {
    let home = tempfile::tempdir().expect("a folder");
    let pictures = home.path().join("pictures");
    write_scenes(&pictures, count);
    let mut app = app(AppState::first());
    app.kept = Some(home.path().join("kept"));
    (app, home, pictures.canonicalize().expect("a folder"))
}

fn album(app: &App) -> &Album {
    app.album.as_ref().expect("a folder")
}

/// The pictures that were read, those that were known from before, and those that can't be read.
fn counts(app: &App) -> [usize; 3] {
    let album = album(app);
    [album.pictures.len(), album.recalled, album.unreadable]
}

fn names(app: &App) -> Vec<String> {
    album(app).pictures.iter().map(|picture| picture.name()).collect()
}

fn search(app: &mut App, wanted: &Wanted) -> Found {
    app.apply(Command::SearchAlbum(wanted.clone()));
    let count = album(app).pictures.len();
    let all = |app: &App| album(app).found(wanted).is_some_and(|found| found.cosines.len() == count);
    wait_until(app, "something is found", all);
    album(app).found(wanted).expect("something").clone()
}

/// What the model itself says of each picture, and of a text.
fn directly(checkpoint: &Path, files: &[PathBuf], text: &str) -> (Vec<Vec<f32>>, Vec<f32>) {
    let opened = Opened::open(checkpoint, &Device::Cpu).expect("a checkpoint");
    let encoder = opened.dual_encoder();
    let of_picture = |file: &PathBuf| {
        let picture = Picture::open(file).expect("a picture").pixels;
        let pixels = opened.pixels(&[&picture]).expect("pixels");
        encoder.encode_image(&pixels, &mut Taps::none()).expect("a pass").embed.to_vec2().expect("numbers").concat()
    };
    let batch = opened.texts(&[text]).expect("a text");
    let embed =
        encoder.encode_text(&batch.ids, batch.attention_mask.as_ref(), &mut Taps::none()).expect("a pass").embed;
    (files.iter().map(of_picture).collect(), embed.to_vec2().expect("numbers").concat())
}

fn cosine(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

fn agrees(found: &Found, expected: &[f32]) {
    assert_eq!(found.cosines.len(), expected.len());
    for (at, (is, should)) in found.cosines.iter().zip(expected).enumerate() {
        assert!((is - should).abs() < 1e-5, "picture {at}: {is}, not {should}");
    }
    assert!(found.order.is_sorted_by(|one, other| found.cosines[*one] >= found.cosines[*other]));
    let mut all = found.order.clone();
    all.sort_unstable();
    assert_eq!(all, (0..expected.len()).collect::<Vec<_>>());
}

#[test]
fn a_search_puts_pictures_into_the_order_of_the_models_own_cosines() {
    let (mut app, _home, folder) = program(21);
    open(&mut app, &folder);
    assert_eq!(counts(&app), [21, 0, 0]);
    let files: Vec<PathBuf> = album(&app).pictures.iter().map(|picture| picture.path.clone()).collect();
    assert!(files.is_sorted());
    let text = "a cat and a red ball";
    let checkpoint = app.checkpoint("contrastive").expect("a checkpoint").folder.clone();
    let (vectors, words) = directly(&checkpoint, &files, text);
    let by_words = search(&mut app, &Wanted::Text(text.into()));
    agrees(&by_words, &vectors.iter().map(|vector| cosine(vector, &words)).collect::<Vec<_>>());
    let like = search(&mut app, &Wanted::Like(files[4].clone()));
    agrees(&like, &vectors.iter().map(|vector| cosine(vector, &vectors[4])).collect::<Vec<_>>());
    assert_eq!(like.order[0], 4, "a picture is most like itself");
    let plane = album(&app).plane.clone().expect("a plane");
    assert_eq!((plane.reduction, plane.places.len()), ("pca", 21));
    let rows: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
    let expected = alignscope::reduction::pca::pca(&rows);
    for (place, point) in plane.places.iter().zip(&expected.points) {
        assert!((0..2).all(|axis| (f64::from(place[axis]) - point[axis]).abs() < 1e-4), "{place:?}, not {point:?}");
    }
    // Neighbourhoods on request, and back.
    for reduction in ["umap", "t-sne", "pca"] {
        app.apply(Command::ReduceAlbum(ReductionName(reduction)));
        let is_there = |app: &App| album(app).plane.as_ref().is_some_and(|plane| plane.reduction == reduction);
        wait_until(&mut app, reduction, is_there);
        wait(&mut app);
        let plane = album(&app).plane.clone().expect("a plane");
        assert!(plane.places.len() == 21 && plane.places.as_flattened().iter().all(|value| value.is_finite()));
    }
    assert_eq!(album(&app).problem, None);
}

#[test]
fn what_was_computed_once_is_never_computed_again() {
    let (mut app, home, folder) = program(12);
    open(&mut app, &folder);
    assert_eq!(counts(&app), [12, 0, 0]);
    let first = search(&mut app, &Wanted::Text("a cat".into()));
    app.apply(Command::CloseAlbum);
    assert!(app.album.is_none());
    open(&mut app, &folder);
    assert_eq!(counts(&app), [12, 12, 0], "the same folder");
    assert_eq!(search(&mut app, &Wanted::Text("a cat".into())).cosines, first.cosines, "to the bit");

    // Under other names and elsewhere the same pictures are the same.
    let elsewhere = home.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("a folder");
    fs::copy(folder.join("scene-003.png"), elsewhere.join("a.png")).expect("a copy");
    open(&mut app, &elsewhere);
    assert_eq!(counts(&app), [1, 1, 0]);

    // One that has changed is another, whatever it is called.
    fs::copy(folder.join("scene-000.png"), folder.join("scene-012.png")).expect("a copy");
    let coffee = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample-data/coffee.jpg");
    fs::copy(coffee, folder.join("scene-005.png")).expect("a copy");
    open(&mut app, &folder);
    assert_eq!(counts(&app), [13, 12, 0]);
    let changed = search(&mut app, &Wanted::Text("a cat".into()));
    let differs = |at: &usize| changed.cosines[*at] != first.cosines[*at];
    assert_eq!((0..12).filter(differs).collect::<Vec<_>>(), [5]);
    assert_eq!(changed.cosines[12], changed.cosines[0]);

    // Another model knows nothing of them, and the first still does.
    let checkpoints =
        app.checkpoint("contrastive").expect("a checkpoint").folder.parent().expect("a folder").to_owned();
    app.apply(Command::SetCheckpoint(checkpoints.join("clip-grounded")));
    wait(&mut app);
    assert_eq!(counts(&app), [13, 1, 0], "but that two are equal");
    let other = search(&mut app, &Wanted::Text("a cat".into()));
    assert!(other.cosines.iter().zip(&changed.cosines).all(|(one, other)| one != other));
    app.apply(Command::Undo);
    wait(&mut app);
    assert_eq!(counts(&app)[1], counts(&app)[0]);

    // What is damaged on disk is set aside, said, and computed anew.
    let models: Vec<PathBuf> = fs::read_dir(home.path().join("kept"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| !path.ends_with("folders"))
        .collect();
    assert_eq!(models.len(), 2);
    for file in models.iter().flat_map(|model| fs::read_dir(model).expect("a folder")) {
        let path = file.expect("a file").path();
        let bytes = fs::read(&path).expect("bytes");
        fs::write(&path, &bytes[..bytes.len() / 2]).expect("a file");
    }
    app.apply(Command::ReadAlbum);
    wait(&mut app);
    assert_eq!(counts(&app), [13, 1, 0], "one of two equal pictures is recalled from the other");
    assert!(
        album(&app).problem.as_ref().is_some_and(|problem| problem.contains("12 kept")),
        "{:?}",
        album(&app).problem
    );
    assert_eq!(search(&mut app, &Wanted::Text("a cat".into())).cosines, changed.cosines);
}

#[test]
fn what_cannot_be_read_is_counted_and_named_and_the_others_are_there() {
    let (mut app, _home, folder) = program(3);
    let half = fs::read(folder.join("scene-000.png")).expect("bytes");
    fs::write(folder.join("half.png"), &half[..half.len() / 2]).expect("a file");
    fs::write(folder.join("nothing.jpg"), "").expect("a file");
    fs::write(folder.join("text.gif"), "this is a text").expect("a file");
    fs::write(folder.join("notes.txt"), "this isn't even looked at").expect("a file");
    open(&mut app, &folder);
    assert_eq!(counts(&app), [3, 0, 3]);
    assert_eq!(names(&app), ["scene-000.png", "scene-001.png", "scene-002.png"]);
    for name in ["half.png", "nothing.jpg", "text.gif"] {
        assert!(
            album(&app).complaints.iter().any(|complaint| complaint.contains(name)),
            "{:?}",
            album(&app).complaints
        );
    }
    assert_eq!((&album(&app).problem, &app.problem), (&None, &None));
    let found = search(&mut app, &Wanted::Text("a cat".into()));
    assert_eq!(found.order.len(), 3);
}

#[test]
fn a_folder_that_is_not_there_or_has_no_pictures_is_one_sentence() {
    let (mut app, home, _) = program(0);
    for folder in [home.path().join("pictures"), home.path().join("no such folder")] {
        open(&mut app, &folder);
        let problem = album(&app).problem.clone().expect("a problem");
        assert!(problem.contains("folder") && !problem.contains('\n') && !problem.contains("defect"), "{problem}");
        assert!(album(&app).work.is_none() && album(&app).pictures.is_empty());
    }
}

#[test]
fn reading_is_stopped_between_pictures_and_goes_on_from_there() {
    const MANY: usize = 800;
    let (mut app, _home, folder) = program(0);
    for number in 0..MANY {
        let colour = [number % 256, number / 256, 90].map(|level| level as u8);
        image::RgbImage::from_pixel(40, 40, image::Rgb(colour))
            .save(folder.join(format!("{number:04}.png")))
            .expect("a file");
    }
    app.apply(Command::OpenAlbum(folder));
    wait_until(&mut app, "the first pictures", |app| !album(app).pictures.is_empty());
    app.apply(Command::StopAlbum);
    wait(&mut app);
    let [read, recalled, _] = counts(&app);
    assert!(read < MANY && recalled == 0 && album(&app).stopped, "{read} read");
    assert_eq!(album(&app).plane.as_ref().map(|plane| plane.places.len()), Some(read), "what is there is shown");
    let found = search(&mut app, &Wanted::Text("a dog".into()));
    assert_eq!(found.order.len(), read, "and searched");
    app.apply(Command::ReadAlbum);
    wait(&mut app);
    assert_eq!(counts(&app), [MANY, read, 0]);
    assert!(!album(&app).stopped);
}

#[test]
fn without_a_place_to_keep_them_pictures_are_read_all_the_same() {
    let (mut app, home, folder) = program(5);
    app.kept = None;
    open(&mut app, &folder);
    app.kept = Some(home.path().join("pictures/scene-000.png")); // a file, in which nothing can be kept
    app.apply(Command::ReadAlbum);
    wait(&mut app);
    assert_eq!(counts(&app), [5, 0, 0]);
    assert!(album(&app).problem.as_ref().is_some_and(|problem| problem.contains("can't be kept")));
}

/// A file that a person drops onto the window.
#[derive(Debug)]
struct Dropped(PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        Err("nobody asks for them".into())
    }
}

#[test]
fn a_folder_is_dropped_searched_walked_through_and_closed_by_name() {
    let (app, _home, folder) = program(16);
    let (mut harness, app) = screen(app);
    app.borrow_mut().apply(Command::ShowView("contrastive", "album"));
    harness.run_steps(3);
    harness.get_by_role_and_label(Role::Button, "Open folder of pictures…").click();
    harness.run_steps(3);
    assert_eq!(std::mem::take(&mut app.borrow_mut().asks), [Ask::Album]);
    harness.input_mut().dropped_files.push(Arc::new(Dropped(folder.clone())));
    harness.run_steps(2);
    assert_eq!(app.borrow().state.album.folder, Some(folder.clone()));
    wait(&mut app.borrow_mut());
    harness.run_steps(3);
    harness.get_by_role_and_label(Role::TextInput, "Search by words").click();
    harness.run_steps(2);
    harness.get_by_role_and_label(Role::TextInput, "Search by words").type_text("a cat");
    harness.run_steps(2);
    let wanted = Wanted::Text("a cat".into());
    assert_eq!(app.borrow().state.album.wanted, wanted);
    wait_until(&mut app.borrow_mut(), "something is found", |app| album(app).found(&wanted).is_some());
    harness.run_steps(3);
    let (best, label) = {
        let app = app.borrow();
        let found = album(&app).found(&wanted).expect("something");
        let best = album(&app).pictures[found.order[0]].clone();
        let label = format!("{} · {:.3}", best.name(), found.cosines[found.order[0]]);
        (best, label)
    };
    harness.get_by_role_and_label(Role::Button, &label).click();
    harness.run_steps(3);
    assert_eq!(app.borrow().state.picture, PictureSource::File(best.path.clone()));
    harness.get_by_role_and_label(Role::Button, "Like the open picture").click();
    harness.run_steps(3);
    assert_eq!(app.borrow().state.album.wanted, Wanted::Like(best.path.clone()));
    harness.get_by_role_and_label(Role::Button, "Clear").click();
    harness.run_steps(3);
    assert_eq!(app.borrow().state.album.wanted, Wanted::default());

    // The plane by keys: the arrows walk, Enter opens.
    harness.get_by_label_contains("Plane of the pictures").focus();
    harness.run_steps(2);
    harness.key_press(Key::ArrowRight);
    harness.run_steps(3);
    let label =
        harness.get_by_label_contains("Plane of the pictures · scene-").accesskit_node().label().expect("a name");
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    let PictureSource::File(file) = app.borrow().state.picture.clone() else { panic!("no file") };
    assert!(label.ends_with(&*file.file_name().expect("a name").to_string_lossy()), "{label}, {}", file.display());
    harness.get_by_role_and_label(Role::Button, "Nearer").click();
    harness.run_steps(3);

    harness.get_by_role_and_label(Role::Button, "Close").click();
    harness.run_steps(3);
    assert!(app.borrow().album.is_none() && app.borrow().state.album.folder.is_none());
    app.borrow_mut().apply(Command::Undo);
    assert_eq!(app.borrow().state.album.folder, Some(folder));
    wait(&mut app.borrow_mut());
    assert_eq!(counts(&app.borrow()), [16, 16, 0]);
}

#[test]
fn a_click_into_the_plane_opens_the_picture_there() {
    let (mut app, _home, folder) = program(9);
    open(&mut app, &folder);
    app.apply(Command::ToggleMaximised("contrastive", "album"));
    let (mut harness, app) = screen(app);
    harness.run_steps(4);
    // Wherever something is named when the pointer is there, a click opens it.
    let rect = harness.get_by_label_contains("Plane of the pictures").rect();
    let mut opened = std::collections::BTreeSet::new();
    for step in 0..400 {
        let along = egui::vec2((step % 20) as f32 + 0.5, (step / 20) as f32 + 0.5) / 20.0;
        harness.event(egui::Event::PointerMoved(rect.lerp_inside(along)));
        harness.run_steps(2);
        let named = harness.query_by_label_contains("Plane of the pictures · scene-");
        let Some(name) = named.and_then(|node| node.accesskit_node().label()) else { continue };
        if opened.insert(name.clone()) {
            for pressed in [true, false] {
                let (button, modifiers) = (egui::PointerButton::Primary, egui::Modifiers::NONE);
                let pos = rect.lerp_inside(along);
                harness.event(egui::Event::PointerButton { pos, button, pressed, modifiers });
            }
            harness.run_steps(2);
            let PictureSource::File(file) = app.borrow().state.picture.clone() else { panic!("{name} isn't opened") };
            assert!(name.ends_with(&*file.file_name().expect("a name").to_string_lossy()), "{name}");
        }
    }
    assert!(opened.len() >= 5, "only {opened:?} can be reached");
}

/// Ten thousand made-up pictures on a spiral, with something that is searched for.
fn many() -> App {
    let side = THUMBNAIL as usize;
    let picture = |at: usize| {
        let thumbnail = (0..side * side * 3).map(|byte| (at * 37 + byte * (at % 7)) as u8).collect();
        Arc::new(AlbumPicture { path: PathBuf::from(format!("many/{at:05}.png")), thumbnail })
    };
    let place = |at: usize| {
        let angle = at as f32 * 2.399_963;
        [angle.cos(), angle.sin()].map(|value| value * (at as f32).sqrt())
    };
    let mut album = Album::made(PathBuf::from("many"), (0..10_000).map(picture).collect());
    album.plane = Some(Arc::new(AlbumPlane {
        reduction: "pca",
        places: (0..10_000).map(place).collect(),
        shares: vec![0.5, 0.3],
    }));
    let wanted = Wanted::Text("many".into());
    album.found = Some(Arc::new(Found::new(wanted.clone(), (0..10_000).map(|at| (at as f32).sin()).collect())));
    let mut state = state(Theme::Light, Language::English);
    state.album.folder = Some(PathBuf::from("many"));
    state.album.wanted = wanted;
    let mut app = app(AppState::first());
    app.state = state;
    app.album = Some(album);
    app.apply(Command::ToggleMaximised("contrastive", "album"));
    app
}

#[test]
fn of_ten_thousand_pictures_each_is_uploaded_once_and_only_what_is_in_sight_is_drawn() {
    let app = many();
    let ctx = egui::Context::default();
    alignscope::ui::theme::install(&ctx);
    let mut drawn = Screen::default();
    let size = egui::vec2(1600.0, 1000.0);
    let mut uploaded = Vec::new();
    let mut triangles = 0;
    for frame in 0..40 {
        let input = egui::RawInput {
            screen_rect: Some(egui::Rect::from_min_size(egui::pos2(0.0, 0.0), size)),
            time: Some(f64::from(frame) / 60.0),
            ..Default::default()
        };
        let mut output = ctx.run_ui(input, |ui| {
            drawn.show(ui, &app);
        });
        let pixels = |delta: &egui::epaint::ImageDelta| delta.image.width() * delta.image.height();
        uploaded.push(output.textures_delta.set.values().flatten().map(pixels).sum::<usize>());
        output.textures_delta.clear();
        let primitives = ctx.tessellate(output.shapes, 1.0);
        let count = |primitive: &egui::ClippedPrimitive| match &primitive.primitive {
            egui::epaint::Primitive::Mesh(mesh) => mesh.indices.len() / 3,
            egui::epaint::Primitive::Callback(_) => 0,
        };
        triangles = primitives.iter().map(count).sum();
    }
    let one = (THUMBNAIL * THUMBNAIL) as usize;
    assert!(uploaded.iter().sum::<usize>() >= 10_000 * one, "all are uploaded");
    assert!(uploaded[30..].iter().all(|pixels| *pixels == 0), "and then nothing more: {:?}", &uploaded[30..]);
    assert!(triangles < 120_000, "{triangles} triangles in a frame");
}

#[test]
fn the_column_with_a_folder_can_be_drawn_in_every_size() {
    for size in [[420.0, 300.0], [900.0, 600.0], [2400.0, 1400.0]] {
        let (mut harness, _) = screen_of(many(), size, 1.0);
        harness.run_steps(3);
    }
}
