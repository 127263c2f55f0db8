//! Every step of every lesson in both languages: its stage can be set, and what it claims is true of the running models.

mod common;
#[path = "common/interface.rs"]
mod interface;

use alignscope::app::lessons::{Lesson, check_stage, lessons};
use alignscope::app::{App, AppState, Command, Theme};
use alignscope::world::Language;
use interface::{app, screen, settle, state};

/// A step from the beginning of its lesson, as a person comes to it.
fn play(lesson: &Lesson, app: &mut App, wrong: &mut Vec<String>) {
    for (at, step) in lesson.steps.iter().enumerate() {
        app.apply(if at == 0 { Command::OpenLesson(lesson.key.clone()) } else { Command::ShowStep(at) });
        settle(app);
        let place = format!("{} step {}", lesson.key, at + 1);
        if let Some(problem) = &app.problem {
            wrong.push(format!("{place}: {problem}"));
        }
        for claim in &step.claims {
            match claim.holds(app) {
                Some(true) => {}
                Some(false) => wrong.push(format!("{place}: {claim:?} doesn't hold: {:?}", app.said(claim.method))),
                None => wrong.push(format!("{place}: {claim:?} can't be measured")),
            }
        }
        if let Some((predict, right)) = app.prediction() {
            if right.is_none() {
                wrong.push(format!(
                    "{place}: no option of {:?} is right: {:?}",
                    predict.question,
                    app.said(predict.by.method)
                ));
            }
            app.apply(Command::Guess(0));
            assert_eq!(app.state.lesson.as_ref().and_then(|place| place.guess), Some(0));
        }
        // The panel can be drawn.
        let (mut harness, _) = screen(app.still());
        harness.run_steps(1);
    }
}

/// What is wrong with the lessons in a language.
fn wrong_in(language: Language) -> Vec<String> {
    let mut app = app(state(Theme::Light, language));
    let mut wrong = Vec::new();
    for lesson in lessons(language).expect("lessons") {
        play(&lesson, &mut app, &mut wrong);
    }
    wrong
}

#[test]
fn what_lessons_claim_is_true_in_english() {
    let wrong = wrong_in(Language::English);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_lessons_claim_is_true_in_chinese() {
    let wrong = wrong_in(Language::Chinese);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn lessons_are_the_same_in_both_languages() {
    let [english, chinese] = Language::ALL.map(|language| lessons(language).expect("lessons"));
    let keys = |lessons: &[Lesson]| lessons.iter().map(|lesson| lesson.key.clone()).collect::<Vec<_>>();
    assert_eq!(keys(&english), keys(&chinese));
    assert!(english.len() >= 8);
    for (one, other) in english.iter().zip(&chinese) {
        assert_eq!(one.steps.len(), other.steps.len(), "{}", one.key);
        for (at, (one_step, other_step)) in one.steps.iter().zip(&other.steps).enumerate() {
            let kinds = |stage: &[String]| {
                stage.iter().filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect::<Vec<_>>()
            };
            assert_eq!(kinds(&one_step.stage), kinds(&other_step.stage), "{} step {}", one.key, at + 1);
            assert_eq!(one_step.claims.len(), other_step.claims.len(), "{} step {}", one.key, at + 1);
            assert_eq!(one_step.predict.is_some(), other_step.predict.is_some(), "{} step {}", one.key, at + 1);
        }
    }
}

#[test]
fn a_stage_that_cannot_be_set_says_so() {
    let app = App::new(AppState::first());
    for line in [
        "",
        "column nowhere",
        "sample none",
        "select zebra",
        "view gates",
        "gates ajar",
        "layer x",
        "fly",
        "patch 9 9 9",
    ] {
        let problem = check_stage(&app, line).expect_err(line).to_string();
        assert!(problem.contains("can't be done"), "{problem}");
    }
    for line in ["column projector", "select", "patch 2 3", "patch", "queries 0 1", "gates closed", "pin"] {
        check_stage(&app, line).expect(line);
    }
}

#[test]
fn a_step_is_undone_as_a_whole() {
    let mut app = App::new(AppState::first());
    let before = app.state.clone();
    app.apply(Command::OpenLesson("02-cross-attention".into()));
    assert_ne!(app.state.method, before.method);
    app.apply(Command::Undo);
    assert_eq!(app.state, before);
}
