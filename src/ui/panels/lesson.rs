//! The open lesson: what its step says, what is to be predicted, and what the models really show.

use egui::{Button, RichText, ScrollArea, Ui, vec2};
use egui_commonmark::{CommonMarkCache, CommonMarkViewer};

use crate::app::Command;
use crate::app::lessons::{Claim, Lesson, Measure, Predict, Step};
use crate::methods::evidence::Said;
use crate::ui::formulas::Formulas;
use crate::ui::texts::{four_ways, lesson as texts};
use crate::ui::theme::{GAP, SMALL_GAP, title_font};
use crate::ui::views::{Brush, number};

/// Draws the lesson.
pub fn show(
    ui: &mut Ui,
    brush: &mut Brush<'_>,
    markdown: &mut CommonMarkCache,
    formulas: &Formulas,
    (lesson, step): (&Lesson, &Step),
) {
    let palette = brush.palette();
    let at = brush.app.state.lesson.as_ref().map_or(0, |place| place.step);
    ui.add_space(10.0);
    ui.label(RichText::new(&lesson.title).font(title_font(17.0)));
    ui.label(RichText::new(&lesson.goal).color(palette.weak).small());
    ui.add_space(SMALL_GAP);
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = SMALL_GAP;
        for other in 0..lesson.steps.len() {
            let name = RichText::new((other + 1).to_string()).small();
            let button = Button::selectable(other == at, name).min_size(vec2(22.0, 20.0));
            if ui.add(button).on_hover_text(&lesson.steps[other].title).clicked() {
                brush.commands.push(Command::ShowStep(other));
            }
        }
    });
    ui.separator();
    // What leads on stays in sight, however long the text is.
    egui::Panel::bottom("lesson steps").frame(egui::Frame::NONE).show_separator_line(false).show(ui, |ui| {
        ui.add_space(GAP);
        ui.horizontal(|ui| {
            let back = Button::new(brush.say(texts::BACK));
            if ui.add_enabled(at > 0, back).clicked() {
                brush.commands.push(Command::ShowStep(at - 1));
            }
            let last = at + 1 >= lesson.steps.len();
            if !last && ui.button(RichText::new(brush.say(texts::NEXT)).strong()).clicked() {
                brush.commands.push(Command::ShowStep(at + 1));
            }
            let next = next_lesson(brush, &lesson.key);
            if let (true, Some((key, title))) = (last, next)
                && ui.button(RichText::new(brush.say(texts::NEXT_LESSON)).strong()).on_hover_text(title).clicked()
            {
                brush.commands.push(Command::OpenLesson(key));
            }
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                if ui.button(brush.say(texts::CLOSE)).clicked() {
                    brush.commands.push(Command::CloseLesson);
                }
            });
        });
    });
    ScrollArea::vertical().id_salt((&lesson.key, at)).auto_shrink(false).show(ui, |ui| {
        ui.add_space(SMALL_GAP);
        ui.label(RichText::new(&step.title).font(title_font(15.0)));
        ui.add_space(SMALL_GAP);
        let formulas = formulas.clone();
        let draw = move |ui: &mut Ui, formula: &str, inline: bool| formulas.show(ui, formula, inline);
        CommonMarkViewer::new().render_math_fn(Some(&draw)).show(ui, markdown, &step.text);
        if let Some(predict) = &step.predict {
            ui.add_space(GAP);
            prediction(ui, brush, predict);
        }
        if !step.claims.is_empty() {
            ui.add_space(GAP);
            claims(ui, brush, &step.claims, step.predict.is_some());
        }
        ui.add_space(GAP);
    });
}

/// The lesson behind this one.
fn next_lesson(brush: &Brush<'_>, key: &str) -> Option<(String, String)> {
    let all = &brush.app.lessons[brush.app.language_index()];
    let at = all.iter().position(|lesson| lesson.key == key)?;
    all.get(at + 1).map(|next| (next.key.clone(), next.title.clone()))
}

/// A question with its options; once one was taken, which of them is right by what the models say.
fn prediction(ui: &mut Ui, brush: &mut Brush<'_>, predict: &Predict) {
    let palette = brush.palette();
    let guess = brush.app.state.lesson.as_ref().and_then(|place| place.guess);
    egui::Frame::new().fill(palette.raised).corner_radius(8).inner_margin(10.0).show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.label(RichText::new(brush.say(texts::PREDICT)).font(title_font(12.5)).color(palette.accent));
        ui.label(RichText::new(&predict.question).strong());
        for (at, option) in predict.options.iter().enumerate() {
            let button = Button::selectable(guess == Some(at), option).wrap();
            if ui.add(button).clicked() {
                brush.commands.push(Command::Guess(at));
            }
        }
        let Some(guess) = guess else { return };
        let (text, colour) = match predict.right(brush.app) {
            None if brush.app.busy => (brush.say(crate::ui::texts::WAITING).to_owned(), palette.weak),
            None => (brush.say(texts::NO_ANSWER).to_owned(), palette.weak),
            Some(right) => {
                let verdict = if right == guess { texts::RIGHT } else { texts::SURPRISE };
                let answer = predict.options.get(right).cloned().unwrap_or_default();
                let colour = if right == guess { palette.accent } else { palette.warning };
                (format!("{} {answer}", brush.say(verdict)), colour)
            }
        };
        ui.add_space(SMALL_GAP);
        ui.add(egui::Label::new(RichText::new(text).color(colour).strong()).wrap());
    });
}

/// What the models show now of what the step claims. A prediction isn't given away before it is made.
fn claims(ui: &mut Ui, brush: &mut Brush<'_>, claims: &[Claim], asked: bool) {
    let guessed = brush.app.state.lesson.as_ref().is_some_and(|place| place.guess.is_some());
    if asked && !guessed {
        return;
    }
    let palette = brush.palette();
    ui.label(RichText::new(brush.say(texts::MEASURED)).color(palette.weak).small());
    for claim in claims {
        let holds = claim.holds(brush.app);
        let (sign, colour) = match holds {
            Some(true) => ("●", palette.accent),
            Some(false) => ("○", palette.warning),
            None => ("…", palette.weak),
        };
        let text = format!("{sign} {} · {}", brush.word(&format!("method-{}", claim.method)), measured(brush, claim));
        ui.add(egui::Label::new(RichText::new(text).color(colour).small()).wrap());
    }
}

/// What a claim is about, with its present value.
fn measured(brush: &Brush<'_>, claim: &Claim) -> String {
    let landed = brush.app.landed(claim.method);
    let fares = landed.as_ref().and_then(|landed| landed.fares);
    let said = brush.app.said(claim.method);
    let share = |share: Option<f32>| share.map_or_else(|| "…".to_owned(), |share| format!("{:.0} %", share * 100.0));
    let plain = |value: Option<f32>| value.map_or_else(|| "…".to_owned(), number);
    match &claim.measure {
        Measure::Hit(_) => match fares {
            Some(fares) => brush.say(if fares.hit { four_ways::HIT } else { four_ways::MISS }).to_owned(),
            None => "…".to_owned(),
        },
        Measure::OnObject(_) => {
            format!("{} {}", brush.say(four_ways::ON_OBJECT), share(fares.map(|fares| fares.on_objects)))
        }
        Measure::Overlap(_) => {
            format!("{} {}", brush.say(four_ways::OVERLAP), plain(fares.map(|fares| fares.overlap)))
        }
        Measure::Mass(_) => {
            format!("{} {}", brush.say(crate::ui::texts::MASS), plain(landed.map(|landed| landed.mass())))
        }
        Measure::Similar(_) | Measure::Matches(_) | Measure::Answer(_) => match said {
            Some(Said::Similar(cosine)) => format!("{} {}", brush.say(four_ways::SIMILAR), number(cosine)),
            Some(Said::Matches(matches)) => {
                format!("{} {}", brush.say(crate::ui::texts::MATCHING), share(Some(matches)))
            }
            Some(Said::Text(text)) => format!("“{text}”"),
            None => "…".to_owned(),
        },
    }
}
