//! Which caption fits the picture best: what a contrastive model was trained to say.

use egui::{RichText, ScrollArea, Ui};

use super::{Brush, View, bar};
use crate::app::App;
use crate::methods::evidence::probabilities;
use crate::methods::{Evidence, Scores};
use crate::ui::texts::{self, Text};

/// The view.
pub struct RankingView;

impl View for RankingView {
    fn key(&self) -> &'static str {
        "ranking"
    }

    fn title(&self) -> Text {
        texts::RANKING
    }

    fn help(&self, _app: &App) -> Text {
        [include_str!("../../../assets/help/ranking.en.md"), include_str!("../../../assets/help/ranking.zh.md")]
    }

    fn share_of_height(&self) -> f32 {
        0.38
    }

    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>) {
        let Scores::Similarity { texts: captions, cosines, factor, bias, .. } = &evidence.scores;
        let own = captions.len().saturating_sub(1);
        let shares = probabilities(cosines, *factor, *bias);
        let mut order: Vec<usize> = (0..captions.len()).collect();
        order.sort_by(|a, b| cosines[*b].total_cmp(&cosines[*a]));
        let hint = match bias {
            None => format!("{} {}", brush.say(texts::SOFTMAX_OVER), captions.len()),
            Some(_) => brush.say(texts::SIGMOID_OF_EACH).to_owned(),
        };
        ui.label(RichText::new(hint).color(brush.palette().weak).small());
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 4.0;
            for at in order {
                let value = format!("{:.1} %   cos {:.2}", shares[at] * 100.0, cosines[at]);
                bar(ui, brush, &captions[at], shares[at], &value, at == own);
            }
        });
    }
}
