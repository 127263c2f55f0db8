//! The text with a scrubber: step through the words, read or written, and watch the map move.

use egui::{Button, Rect, RichText, Role, Sense, Slider, Ui, WidgetInfo, vec2};

use super::super::faithful::{badge, badge_place};
use super::super::map_picture::{Overlay, draw, interact, shape};
use super::super::{Brush, View, number};
use super::{Of, asked, choices, is_word, map_of_all, name, place, shown, top_of};
use crate::app::{App, Command, Light, Thing};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::reading::{LineKind, Place, Reading, Weighting};
use crate::methods::{Evidence, MapKind, written};
use crate::ui::texts;
use crate::ui::theme::{GAP, SMALL_GAP, title_font};

/// The view.
pub struct WordsView(pub Of);

/// Height of the legend under a map.
const LEGEND: f32 = 34.0;

impl View for WordsView {
    fn key(&self) -> &'static str {
        self.0.pick("words", "row-words")
    }

    fn method(&self) -> &'static str {
        self.0.method()
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [include_str!("../../../../assets/help/words.en.md"), include_str!("../../../../assets/help/words.zh.md")]
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let Some(reading) = evidence.reading.clone() else { return };
        facts(ui, brush, &reading);
        choices(ui, brush, &reading);
        lines(ui, brush, &reading);
        scrubber(ui, brush, &reading);
        ui.add_space(SMALL_GAP);
        maps(ui, evidence, brush, &reading);
    }

    fn numbers(&self, evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let Some(reading) = &evidence.reading else { return Vec::new() };
        let Some((line, steps, _)) = asked(app, reading) else { return Vec::new() };
        let axes = || vec![Axis::numbered("row", evidence.grid.0), Axis::numbered("column", evidence.grid.1)];
        let mut arrays = Vec::new();
        for (weighting, key) in [(Weighting::Gradient, "gradient_x_attention"), (Weighting::Raw, "attention")] {
            if let Some(map) = map_of_all(app, reading, line, &steps, weighting) {
                arrays.push(Numbers::new(key, axes(), map));
            }
        }
        if let Some(matching) = reading.matching {
            arrays.push(Numbers::single("matching", matching));
        }
        arrays
    }
}

/// What comes out: whether the text fits, or what was written, and what would be written without the picture.
fn facts(ui: &mut Ui, brush: &Brush<'_>, reading: &Reading) {
    let palette = brush.palette();
    if let Some(matching) = reading.matching {
        ui.horizontal(|ui| {
            let text = format!("{} {:.1} %", brush.say(texts::MATCHING), matching * 100.0);
            ui.label(RichText::new(text).font(title_font(16.0)).color(palette.accent));
            if let Some(cosine) = reading.cosine {
                let text = format!("{} {}", brush.say(texts::COSINE), number(cosine));
                ui.label(RichText::new(text).color(palette.weak));
            }
        });
    }
    if let Some(line) = reading.lines.iter().find(|line| line.kind == LineKind::Written) {
        let text = written(&line.steps);
        ui.add(egui::Label::new(RichText::new(text).font(title_font(16.0)).color(palette.accent)).wrap());
    }
    if let Some(guess) = &reading.guess {
        let text = format!("{} {guess}", brush.say(texts::GUESS));
        ui.label(RichText::new(text).color(palette.second));
    }
}

/// The texts as chips.
fn lines(ui: &mut Ui, brush: &mut Brush<'_>, reading: &Reading) {
    let palette = brush.palette();
    let together = asked(brush.app, reading).map(|(line, places, _)| (line.kind, places));
    let of_question = shown(brush.app, reading).and_then(|(line, at, _)| {
        let words = reading.lines.first()?.steps.len();
        let shares = line.of_question.clone()?;
        Some(shares.get(at * words..(at + 1) * words)?.to_vec())
    });
    let mut first = 0;
    for (which, line) in reading.lines.iter().enumerate() {
        let title = if line.kind == LineKind::Read { texts::LINE_READ } else { texts::LINE_WRITTEN };
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = vec2(4.0, 4.0);
            ui.label(RichText::new(brush.say(title)).color(palette.weak).small());
            for (at, step) in line.steps.iter().enumerate() {
                if !is_word(step) || line.kind == LineKind::Written && !step.is_written {
                    continue;
                }
                let is_chosen =
                    together.as_ref().is_some_and(|(kind, places)| *kind == line.kind && places.contains(&at));
                // What an answer's word sees of the question glows.
                let glow = of_question.as_ref().filter(|_| which == 0).and_then(|shares| shares.get(at)).copied();
                let fill = match glow {
                    Some(share) => palette.raised.lerp_to_gamma(palette.second, share.clamp(0.0, 1.0)),
                    None if is_chosen => palette.accent.gamma_multiply(0.4),
                    None => word_fill(brush, step.span),
                };
                let response = ui.add(Button::selectable(is_chosen, name(step)).fill(fill));
                if let Some((start, end)) = step.span
                    && brush.app.light(Thing::Words(start, end)) == Light::Hovered
                {
                    let stroke = egui::Stroke::new(1.5, palette.strong);
                    ui.painter().rect_stroke(response.rect, 5.0, stroke, egui::StrokeKind::Inside);
                }
                if let (true, Some((start, end))) = (response.hovered(), step.span) {
                    brush.hover(Thing::Words(start, end));
                }
                if response.clicked() {
                    brush.commands.push(Command::SelectLook { step: first + at, words: step.span, patch: None });
                }
                let facts = match step.probability {
                    Some(share) => format!("{}  {:.1} %", name(step), share * 100.0),
                    None => name(step).to_owned(),
                };
                response.on_hover_text(facts);
            }
        });
        first += line.steps.len();
    }
}

/// Words that ask for the patch under the pointer, or the selected one, glow.
fn word_fill(brush: &Brush<'_>, span: Option<(usize, usize)>) -> egui::Color32 {
    let palette = brush.palette();
    let patch = match brush.app.hovered {
        Some(Thing::Patch(patch)) => Some(patch),
        _ => brush.app.state.selected.patch,
    };
    let (Some(patch), Some(_), Some(evidence)) = (patch, span, &brush.app.evidence) else { return palette.raised };
    let Some(reading) = &evidence.reading else { return palette.raised };
    let words = &evidence.patch_words;
    let Some(step) = span.and_then(|span| reading.step_of(span)) else { return palette.raised };
    let place = reading.steps().take(step).filter(|(_, _, step)| step.span.is_some()).count();
    if place >= words.from_sentence {
        return palette.raised; // other words are offered for a patch here
    }
    let score = words.scores.get(patch * words.words.len() + place).copied().unwrap_or(0.0);
    palette.raised.lerp_to_gamma(palette.second, score.clamp(0.0, 1.0))
}

/// Steps through the words.
fn scrubber(ui: &mut Ui, brush: &mut Brush<'_>, reading: &Reading) {
    // Special tokens and what was given are passed over.
    let hidden = |which: usize, is_written: bool| reading.lines[which].kind == LineKind::Written && !is_written;
    let words: Vec<usize> = reading
        .steps()
        .enumerate()
        .filter(|(_, (which, _, step))| is_word(step) && !hidden(*which, step.is_written))
        .map(|(at, _)| at)
        .collect();
    let Some(chosen) = brush.app.step(reading) else { return };
    let mut at = words.iter().position(|word| *word >= chosen).unwrap_or(0);
    let before = at;
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        let back = ui.add_enabled(at > 0, Button::new("◀"));
        let back = back.on_hover_text(brush.say(texts::WORD_BEFORE));
        let name = brush.say(texts::WORD_BEFORE);
        back.widget_info(|| WidgetInfo::labeled(Role::Button, true, name));
        if back.clicked() {
            at -= 1;
        }
        ui.spacing_mut().slider_width = (ui.available_width() - 90.0).clamp(40.0, 520.0);
        let last = words.len().saturating_sub(1);
        let slider = ui.add(Slider::new(&mut at, 0..=last).show_value(false));
        let name = brush.say(texts::SCRUBBER);
        slider.widget_info(|| WidgetInfo::labeled(Role::Slider, true, name));
        let next = ui.add_enabled(at < last, Button::new("▶"));
        let next = next.on_hover_text(brush.say(texts::NEXT_WORD));
        let name = brush.say(texts::NEXT_WORD);
        next.widget_info(|| WidgetInfo::labeled(Role::Button, true, name));
        if next.clicked() {
            at += 1;
        }
    });
    if at != before
        && let Some(word) = words.get(at)
    {
        brush.commands.push(Command::SelectStep(Some(*word)));
    }
}

/// The map weighted by the gradient, and the raw one beside it.
fn maps(ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>, reading: &Reading) {
    let palette = brush.palette();
    let Some((line, steps, words)) = asked(brush.app, reading) else { return };
    let how = if place(brush.app, line) == Place::Predict { texts::WHILE_PREDICTED } else { texts::WHILE_READ };
    let title = format!("“{words}”  {}", brush.say(how));
    ui.label(RichText::new(&title).font(title_font(15.0)));
    let space = ui.available_size();
    let wide = space.x > space.y * 0.9;
    let each = if wide { vec2((space.x - GAP) / 2.0, space.y) } else { vec2(space.x, (space.y - GAP) / 2.0) };
    let label = ui.text_style_height(&egui::TextStyle::Body) + SMALL_GAP;
    let picture = (each.y - LEGEND - label).min(each.x * shape(brush)).max(40.0);
    let mut one = |ui: &mut Ui, weighting: Weighting| {
        ui.allocate_ui_with_layout(each, egui::Layout::top_down(egui::Align::Min), |ui| {
            ui.set_width(each.x);
            let text = if weighting == Weighting::Gradient { texts::WEIGHTED } else { texts::RAW };
            ui.label(RichText::new(brush.say(text)).color(palette.weak));
            let (outer, _) = ui.allocate_exact_size(vec2(each.x, picture), Sense::hover());
            let Some(map) = map_of_all(brush.app, reading, line, &steps, weighting) else {
                ui.label(RichText::new(brush.say(texts::WAITING)).color(palette.weak));
                return;
            };
            let top = top_of(brush.app, reading, weighting, &map);
            let key = if weighting == Weighting::Gradient { "words weighted" } else { "words raw" };
            let overlay = Overlay { values: &map, top, signed: false, name: key };
            if let Some(placed) = draw(ui, evidence, brush, overlay, outer) {
                interact(ui, evidence, brush, placed, key, &format!("{title} · {}", brush.say(text)));
                let kind = MapKind::Attention(weighting, place(brush.app, line));
                if let Some(landed) = brush.app.landed_by(evidence.method, kind) {
                    badge(ui, brush, (evidence.method, &landed), badge_place(placed.picture));
                }
            }
            legend(ui, brush, &map, top);
        });
    };
    let mut both = |ui: &mut Ui| {
        ui.spacing_mut().item_spacing = vec2(GAP, SMALL_GAP);
        one(ui, Weighting::Gradient);
        one(ui, Weighting::Raw);
    };
    if wide {
        ui.horizontal_top(both);
    } else {
        both(ui);
    }
}

/// The colours with their numbers, and the map's absolute ones.
fn legend(ui: &mut Ui, brush: &Brush<'_>, map: &[f32], top: f32) {
    let palette = brush.palette();
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), LEGEND - 8.0), Sense::hover());
    let painter = ui.painter_at(rect);
    let small = egui::TextStyle::Small.resolve(ui.style());
    let bar = Rect::from_min_size(rect.min + vec2(0.0, 2.0), vec2((rect.width() * 0.4).min(160.0), 8.0));
    super::super::parts::colour_bar(&painter, brush.app.state.map.colours, bar);
    let below = bar.bottom() + 2.0;
    let at = |x: f32, align, text: String| painter.text(egui::pos2(x, below), align, text, small.clone(), palette.weak);
    at(bar.left(), egui::Align2::LEFT_TOP, "0".to_owned());
    at(bar.right(), egui::Align2::RIGHT_TOP, number(top));
    let mass: f32 = map.iter().sum();
    let peak = map.iter().copied().fold(0.0, f32::max);
    // One below the other, so that they have room in a narrow column, too.
    let beside = bar.right_top() + vec2(GAP, -3.0);
    for (line, (text, value)) in [(texts::PEAK, peak), (texts::MASS, mass)].into_iter().enumerate() {
        let at = beside + vec2(0.0, 13.0 * line as f32);
        let fact = format!("{} {}", brush.say(text), number(value));
        painter.text(at, egui::Align2::LEFT_TOP, fact, small.clone(), palette.text);
    }
}
