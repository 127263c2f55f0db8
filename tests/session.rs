//! What is kept between sessions and in session files: whole, restored, and set aside where it is damaged.

use std::path::Path;

use alignscope::app::album::Wanted;
use alignscope::app::session::{self, Desk};
use alignscope::app::state::{Compared, Drawn, ReductionName};
use alignscope::app::{App, AppState, Command, Layer, PictureSource, Theme, Thing};
use alignscope::world::Language;

/// A state in which nothing is as at the first start.
fn changed() -> AppState {
    let mut app = App::new(AppState::first());
    for command in [
        Command::OpenAlbum("no/such/folder".into()),
        Command::SearchAlbum(Wanted::Text("a bird".into())),
        Command::ReduceAlbum(ReductionName("umap")),
        Command::OpenSample("scene-000112".into()),
        Command::SetSentence("a bird left of a horse".into()),
        Command::SelectWords { start: 2, end: 6, extend: false },
        Command::SelectPatch(Some(9)),
        Command::SelectPair(Some(Thing::Cell { picture: 1, text: 2 })),
        Command::SetLayer(Layer("cosine")),
        Command::SetBeside(Some(Layer("cosine-corrected"))),
        Command::SetOpacity(0.25),
        Command::SetFactor(Some(20.0)),
        Command::SetReduction(ReductionName("umap")),
        Command::SetDrawn(Drawn::Words),
        Command::SetShift(0.5),
        Command::SelectHead { layer: 1, head: 2 },
        Command::AddCompared(Compared { picture: PictureSource::default(), caption: Some("两只猫".into()) }),
        Command::CloseView("contrastive", "ranking"),
        Command::ToggleMaximised("contrastive", "matrix"),
        Command::SetTheme(Theme::Light),
        Command::SetLanguage(Language::Chinese),
        Command::SetZoom(1.5),
    ] {
        app.apply(command);
    }
    let grounded = app.checkpoints.iter().find(|choice| choice.name == "clip-grounded").expect("a checkpoint");
    let folder = grounded.folder.clone();
    app.apply(Command::SetCheckpoint(folder));
    app.state
}

#[test]
fn everything_is_restored_and_checkpoints_stand_there_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("new/folder/session.json");
    let state = changed();
    session::write(&path, &state).expect("a session");
    assert_eq!(session::read(&path).expect("a session"), state);
    let text = std::fs::read_to_string(&path).expect("a file");
    assert!(text.contains("\"contrastive\": \"clip-grounded\""), "{text}");
    assert!(!text.contains(env!("CARGO_MANIFEST_DIR")), "a session names a folder of this machine: {text}");

    let desk =
        Desk { inputs_width: 300.0, recent: vec!["a.png".into()], window: Some([1000.0, 700.0]), ..Desk::default() };
    session::keep(&path, &state, &desk).expect("kept");
    assert_eq!(session::kept(&path), (state, desk, None));
    let left: Vec<_> = std::fs::read_dir(path.parent().expect("a folder")).expect("a folder").collect();
    assert_eq!(left.len(), 1, "no temporary file is left behind");
}

#[test]
fn opening_a_session_is_undone_like_everything_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("session.json");
    let state = changed();
    session::write(&path, &state).expect("a session");
    let mut app = App::new(AppState::first());
    let first = app.state.clone();
    app.apply(Command::OpenSession(path));
    assert_eq!(app.state, state);
    app.apply(Command::Undo);
    assert_eq!(app.state, first);
}

#[test]
fn a_damaged_state_is_set_aside_and_said_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.json");
    for (number, damage) in
        ["", "{", "null", "{\"alignscope\": 1}", "{\"alignscope\": 99, \"state\": {}}"].iter().enumerate()
    {
        std::fs::write(&path, damage).expect("a file");
        let (state, desk, problem) = session::kept(&path);
        assert_eq!((state, desk), (AppState::first(), Desk::default()));
        let aside = folder.path().join(format!("state.damaged-{}.json", number + 1));
        assert_eq!(std::fs::read_to_string(&aside).expect("it is set aside"), *damage);
        let problem = problem.expect("a sentence");
        assert!(problem.contains("set aside") && problem.contains("damaged") && !problem.contains('\n'), "{problem}");
        assert!(!path.exists());
    }
    assert_eq!(session::kept(&path), (AppState::first(), Desk::default(), None), "the first start is no damage");
}

#[test]
fn what_a_file_lacks_is_as_usual_and_names_of_other_versions_are_no_loss() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("session.json");
    let text = r#"{"alignscope": 1, "state": {"sentence": "a cat", "map": {"layer": "unheard-of", "opacity": 7.0},
        "space": {"reduction": "unheard-of"}, "unheard_of": 3}}"#;
    std::fs::write(&path, text).expect("a file");
    let state = session::read(&path).expect("a session");
    assert_eq!((state.sentence.as_str(), state.map.layer, state.map.opacity), ("a cat", Layer("relevancy"), 1.0));
    assert_eq!(state.space.reduction, ReductionName("pca"));
}

#[test]
fn what_cannot_be_a_session_is_refused_in_one_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let large = folder.path().join("large.json");
    std::fs::File::create(&large).and_then(|file| file.set_len(1 << 40)).expect("a file with a hole");
    for path in [Path::new("no/such/session.json"), folder.path(), &large] {
        let mut app = App::new(AppState::first());
        app.apply(Command::OpenSession(path.to_path_buf()));
        let problem = app.problem.expect("a problem");
        assert!(problem.contains(&path.display().to_string()) && !problem.contains('\n'), "{problem}");
        assert_eq!(app.state, App::new(AppState::first()).state);
    }
}
