//! Session files, with absurd values in chosen places or as they stand: what was read is read again as it was written.
#![cfg_attr(fuzzing, no_main)]

use alignscope::app::state::Compared;
use alignscope::app::{App, AppState, Command, Layer, PictureSource, Thing, session};
use alignscope::world::{Scene, Split};
use alignscope_fuzz::{json, put, scratch, sentence};
use serde_json::Value;
use std::sync::OnceLock;

/// A session in which something is chosen, opened and closed.
fn whole() -> &'static [Value] {
    static WRITTEN: OnceLock<Vec<Value>> = OnceLock::new();
    WRITTEN.get_or_init(|| {
        let mut app = App::new(AppState::first());
        for command in [
            Command::SetSentence("a bird left of a horse".into()),
            Command::SelectWords { start: 2, end: 6, extend: false },
            Command::SelectPatch(Some(9)),
            Command::SelectPair(Some(Thing::Cell { picture: 1, text: 2 })),
            Command::SetBeside(Some(Layer("cosine-corrected"))),
            Command::SetFactor(Some(20.0)),
            Command::SelectHead { layer: 1, head: 2 },
            Command::AddCompared(Compared { picture: PictureSource::default(), caption: Some("两只猫".into()) }),
            Command::CloseView("contrastive", "ranking"),
            Command::ToggleMaximised("contrastive", "matrix"),
        ] {
            app.apply(command);
        }
        app.state.picture = PictureSource::Scene(Box::new(Scene::random(Split::Training, 1)));
        let path = scratch().join("whole.json");
        session::keep(&path, &app.state, &session::Desk::default()).expect("a session");
        vec![serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")]
    })
}

/// What is done with a file that holds `data`.
pub fn take(data: &[u8]) {
    let path = put("session/session.json", &json(data, whole())).join("session.json");
    let Some(state) = sentence(session::read(&path)) else { return };
    let again = scratch().join("again.json");
    session::write(&again, &state).expect("a session that can be written");
    assert_eq!(session::read(&again).expect("a session"), state);
    drop(App::new(state));
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| take(data));
