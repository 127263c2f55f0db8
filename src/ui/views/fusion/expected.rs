//! What the model expected where a word stands: next-word probabilities.

use egui::{RichText, ScrollArea, Ui};

use super::super::{Brush, View, bar};
use super::{Of, name, shown};
use crate::app::{App, Command};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::ui::texts;
use crate::ui::theme::title_font;

/// The view.
pub struct ExpectedView(pub Of);

impl View for ExpectedView {
    fn key(&self) -> &'static str {
        self.0.pick("expected", "row-expected")
    }

    fn method(&self) -> &'static str {
        self.0.method()
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [include_str!("../../../../assets/help/expected.en.md"), include_str!("../../../../assets/help/expected.zh.md")]
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let Some(reading) = evidence.reading.clone() else { return };
        let Some((line, at, step)) = shown(brush.app, &reading) else { return };
        let palette = brush.palette();
        let before: Vec<&str> = line.steps[..at].iter().skip(1).map(name).collect();
        let context = before.iter().rev().take(6).rev().copied().collect::<Vec<_>>().join(" ");
        ui.label(RichText::new(format!("… {context} ___")).font(title_font(14.0)));
        if step.expected.is_empty() {
            ui.label(RichText::new(brush.say(texts::PREDICTS_NOTHING)).color(palette.weak));
            return;
        }
        if step.span.is_some() {
            ui.label(RichText::new(brush.say(texts::PUT_WORD)).color(palette.weak).small());
        }
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 4.0;
            for (word, share) in &step.expected {
                let is_it = word.trim() == name(step);
                let response = bar(ui, brush, word, *share, &format!("{:.1} %", share * 100.0), is_it);
                if let (true, Some((start, end))) = (response.clicked(), step.span)
                    && let Some(sentence) = with_word(&brush.app.state.sentence, start, end, word.trim())
                {
                    brush.commands.push(Command::SetSentence(sentence));
                }
            }
            if let Some(share) = step.probability
                && !step.expected.iter().any(|(word, _)| word.trim() == name(step))
            {
                bar(ui, brush, name(step), share, &format!("{:.2} %", share * 100.0), true);
            }
        });
    }

    fn numbers(&self, evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let Some(reading) = &evidence.reading else { return Vec::new() };
        let Some((_, _, step)) = shown(app, reading) else { return Vec::new() };
        let words = step.expected.iter().map(|(word, _)| word.clone());
        let shares = step.expected.iter().map(|(_, share)| *share).collect();
        vec![Numbers::new("expected", [Axis::labelled("word", words)], shares)]
    }
}

/// The sentence with another word at these bytes.
fn with_word(sentence: &str, start: usize, end: usize, word: &str) -> Option<String> {
    Some(format!("{}{word}{}", sentence.get(..start)?, sentence.get(end..)?))
}
