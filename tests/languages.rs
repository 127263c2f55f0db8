//! The files of the languages: every text is there in each of them, and nothing else.

use std::collections::BTreeSet;

use alignscope::app::layout::SIDE_BY_SIDE;
use alignscope::app::state::Colours;
use alignscope::attribution::{ATTRIBUTIONS, EXPLAINERS};
use alignscope::methods::METHODS;
use alignscope::methods::interventions::ROUTES;
use alignscope::taps::Tower;
use alignscope::ui::catalogue::{colours_key, title_key};
use alignscope::ui::texts::{
    ALL, album, bottleneck, downloads, editor, explainers, faithful, four_ways, keys, ledger, lesson, projector,
    querying, say, watch, what_if,
};
use alignscope::ui::views::VIEWS;
use alignscope::world::Language;

/// Every key that the program asks for.
fn asked() -> BTreeSet<String> {
    let of_views = querying::ALL
        .iter()
        .chain(projector::ALL)
        .chain(four_ways::ALL)
        .chain(editor::ALL)
        .chain(downloads::ALL)
        .chain(faithful::ALL)
        .chain(explainers::ALL)
        .chain(lesson::ALL)
        .chain(ledger::ALL)
        .chain(watch::ALL)
        .chain(what_if::ALL)
        .chain(bottleneck::ALL)
        .chain(album::ALL);
    let mut asked: BTreeSet<String> = ALL.iter().chain(of_views).map(|text| text.0.to_owned()).collect();
    asked.extend(["cross-attention", "querying", "projector"].map(|method| format!("no-attribution-{method}")));
    asked.extend(["auto", "cpu", "cuda", "metal"].map(|device| format!("device-{device}")));
    asked.extend(ROUTES.iter().map(|route| format!("route-{route}")));
    asked.extend(Tower::ALL.iter().map(|tower| format!("tower-{tower}")));
    asked.extend(VIEWS.iter().map(|view| title_key(*view)));
    asked.extend(Colours::ALL.map(|colours| colours_key(colours).to_owned()));
    let attributions = ATTRIBUTIONS.iter().map(|attribution| attribution.key);
    for key in attributions.chain(EXPLAINERS.iter().map(|explainer| explainer.key)) {
        asked.insert(format!("attribution-{key}"));
        asked.insert(format!("attribution-{key}-unit"));
    }
    for key in METHODS.iter().map(|method| method.key).chain([SIDE_BY_SIDE]) {
        asked.insert(format!("method-{key}"));
        asked.insert(format!("method-{key}-summary"));
        asked.insert(format!("method-{key}-missing"));
    }
    for stage in [
        "language-model",
        "pixels",
        "patches",
        "vision-tower",
        "picture-vector",
        "tokens",
        "text-tower",
        "text-vector",
        "resampler",
        "cross-attention",
        "queries",
        "projector",
        "shared-space",
    ] {
        asked.insert(format!("stage-{stage}"));
    }
    asked
}

#[test]
fn no_key_is_missing_and_none_is_left_over() {
    let asked = asked();
    for language in Language::ALL {
        let there: BTreeSet<String> = keys(language).into_iter().map(str::to_owned).collect();
        let missing: Vec<_> = asked.difference(&there).collect();
        let over: Vec<_> = there.difference(&asked).collect();
        assert!(missing.is_empty(), "{language:?} lacks {missing:?}");
        assert!(over.is_empty(), "{language:?} has {over:?}, which nothing asks for");
    }
}

#[test]
fn every_text_is_in_its_language() {
    let is_chinese = |text: &str| text.chars().any(|letter| ('一'..='龥').contains(&letter));
    // What is called the same in Chinese.
    let same = ["reading-sigmoid"];
    for key in asked() {
        let (english, chinese) = (say(Language::English, &key), say(Language::Chinese, &key));
        assert!(!english.trim().is_empty() && !is_chinese(english), "{key}: {english}");
        assert!(is_chinese(chinese) || same.contains(&key.as_str()), "{key}: {chinese}");
    }
}

#[test]
fn every_view_is_explained_in_both_languages() {
    let app = alignscope::app::App::new(alignscope::app::AppState::default());
    let chinese = |text: &str| text.chars().filter(|letter| ('一'..='龥').contains(letter)).count();
    for view in VIEWS {
        let [english, translated] = view.help(&app);
        assert!(english.split_whitespace().count() > 70 && chinese(english) == 0, "{} in English", view.key());
        assert!(chinese(translated) > 100, "{} in Chinese", view.key());
        assert!(
            english.contains("can't show") && english.contains("aper"),
            "{} says no limits or no paper",
            view.key()
        );
    }
}

/// A word without its characters would stand as a box inside of a patch.
#[test]
fn every_word_of_the_world_can_be_drawn() {
    let ctx = egui::Context::default();
    alignscope::ui::theme::install(&ctx);
    let mut missing = Vec::new();
    let mut output = ctx.run_ui(egui::RawInput::default(), |ui| {
        let font = egui::TextStyle::Body.resolve(ui.style());
        for word in Language::ALL.into_iter().flat_map(alignscope::world::vocabulary) {
            if !ui.fonts_mut(|fonts| fonts.has_glyphs(&font, word)) {
                missing.push(word);
            }
        }
    });
    output.textures_delta.clear();
    assert!(missing.is_empty(), "{missing:?}");
}
