//! Which caption fits the picture best: what a contrastive model was trained to say.

use egui::{RichText, ScrollArea, StrokeKind, Ui};

use super::{Brush, View, bar};
use crate::app::{App, Command, Thing};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::methods::evidence::probabilities;
use crate::ui::texts;

/// The view.
pub struct RankingView;

impl View for RankingView {
    fn key(&self) -> &'static str {
        "ranking"
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [include_str!("../../../assets/help/ranking.en.md"), include_str!("../../../assets/help/ranking.zh.md")]
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let scores = &evidence.scores;
        let (captions, cosines) = (&scores.texts, scores.own());
        let own = captions.len().saturating_sub(1);
        let shares = probabilities(cosines, scores.factor, scores.bias);
        let mut order: Vec<usize> = (0..captions.len()).collect();
        order.sort_by(|a, b| cosines[*b].total_cmp(&cosines[*a]));
        let hint = match scores.bias {
            None => format!("{} {}", brush.say(texts::SOFTMAX_OVER), captions.len()),
            Some(_) => brush.say(texts::SIGMOID_OF_EACH).to_owned(),
        };
        ui.label(RichText::new(hint).color(brush.palette().weak).small());
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 4.0;
            for at in order {
                let value = format!("{:.1} %   cos {:.2}", shares[at] * 100.0, cosines[at]).replace("-0.00", "0.00");
                let response = bar(ui, brush, &captions[at], shares[at], &value, at == own);
                if let Some(stroke) = brush.outline(Thing::Text(at)) {
                    ui.painter().rect_stroke(response.rect, 3.0, stroke, StrokeKind::Inside);
                }
                if response.hovered() {
                    brush.hover(Thing::Text(at));
                }
                if response.clicked() {
                    brush.commands.push(Command::SelectPair(Some(Thing::Text(at))));
                }
            }
        });
    }

    fn numbers(&self, evidence: &Evidence, _app: &App) -> Vec<Numbers> {
        let scores = &evidence.scores;
        let axis = || [Axis::labelled("caption", scores.texts.iter().cloned())];
        let shares = probabilities(scores.own(), scores.factor, scores.bias);
        vec![Numbers::new("cosine", axis(), scores.own().to_vec()), Numbers::new("share", axis(), shares)]
    }
}
