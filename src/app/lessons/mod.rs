//! Lessons: Markdown files whose steps set the stage, let a person predict what a model will do, and claim what is to be seen.
//!
//! A lesson is one file in `assets/lessons/<language>/`, the same name in each language; a new one needs no code. What a step
//! claims is checked by a test, and shown to the reader with what the models really do.

mod claim;
mod file;
mod stage;

pub use claim::{Claim, Measure};
pub use file::{Lesson, Predict, Step};

use serde::{Deserialize, Serialize};

use super::command::Command;
use super::{App, AppState};
use crate::world::Language;

/// The lesson that is shown at the very first start.
const WELCOME: &str = "00-welcome";

/// Where a person is in the lessons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LessonPlace {
    /// The lesson's key.
    pub key: String,
    /// The step, from 0.
    pub step: usize,
    /// Which option the person took where one is asked for.
    pub guess: Option<usize>,
}

/// All lessons in a language, in the order of their keys.
///
/// # Errors
/// If a file can't be read or isn't a lesson.
pub fn lessons(language: Language) -> crate::Result<Vec<Lesson>> {
    let Some(folder) = crate::resources::folder("assets/lessons") else { return Ok(Vec::new()) };
    let name = match language {
        Language::English => "english",
        Language::Chinese => "chinese",
    };
    let folder = folder.join(name);
    if folder.is_dir() { file::read_all(&folder) } else { Ok(Vec::new()) }
}

/// The lessons in English and Chinese.
pub(super) fn both() -> crate::Result<[Vec<Lesson>; 2]> {
    let [english, chinese] = Language::ALL.map(lessons);
    Ok([english?, chinese?])
}

impl App {
    /// The lesson that is open, with its step.
    #[must_use]
    pub fn lesson(&self) -> Option<(&Lesson, &Step)> {
        let place = self.state.lesson.as_ref()?;
        let lesson = self.lessons[self.language_index()].iter().find(|lesson| lesson.key == place.key)?;
        Some((lesson, lesson.steps.get(place.step)?))
    }

    /// Shows around who comes for the first time.
    pub fn welcome(&mut self) {
        self.apply(Command::OpenLesson(WELCOME.to_owned()));
    }

    /// What the open lesson's step asks the person to predict, and the option that is right by what the models say now.
    #[must_use]
    pub fn prediction(&self) -> Option<(&Predict, Option<usize>)> {
        let (_, step) = self.lesson()?;
        let predict = step.predict.as_ref()?;
        Some((predict, predict.right(self)))
    }
}

/// The commands that set the stage of a step on top of `state`. What can't be done as things are is left out.
pub(super) fn set_the_stage(app: &mut App, key: &str, step: usize, apply: &mut dyn FnMut(&mut App, Command)) {
    app.state.lesson = Some(LessonPlace { key: key.to_owned(), step, guess: None });
    // What a lesson says is said of the models as they are.
    app.state.interventions.clear();
    let lines: Vec<String> = app.lesson().map(|(_, step)| step.stage.clone()).unwrap_or_default();
    for line in lines {
        // Each line is read when those before it are done: words are looked for in the new text.
        for command in stage::commands(app, &line).unwrap_or_default() {
            apply(app, command);
        }
    }
}

/// What is wrong with the stage line `line`, if anything is, as `app` stands.
///
/// # Errors
/// If there is no such command, or it doesn't fit.
pub fn check_stage(app: &App, line: &str) -> crate::Result<()> {
    stage::commands(app, line).map(|_| ())
}

/// Brings a place that a file may hold into the lessons that there are.
pub(super) fn mend(state: &mut AppState) {
    if let Some(place) = &mut state.lesson {
        place.step = place.step.min(MOST_STEPS);
    }
}

/// Steps that a lesson can have.
const MOST_STEPS: usize = 100;
