//! The views: each draws one part of the evidence.

mod embedding;
mod heatmap;
mod parts;
mod ranking;

pub(in crate::ui) use parts::{bar, number};

use egui::Ui;

use super::textures::Textures;
use super::theme::{Palette, palette};
use crate::app::{App, Command};
use crate::methods::Evidence;

/// What a view draws with.
pub struct Brush<'a> {
    /// The program, to be read.
    pub app: &'a App,
    /// Textures that are kept between frames.
    pub textures: &'a mut Textures,
    /// What the person asks for, to be applied after the frame.
    pub commands: &'a mut Vec<Command>,
}

impl Brush<'_> {
    /// The colours of the present theme.
    #[must_use]
    pub fn palette(&self) -> Palette {
        palette(self.app.state.theme)
    }

    /// The text in the present language.
    #[must_use]
    pub fn say(&self, text: super::texts::Text) -> &'static str {
        text[self.app.language_index()]
    }
}

/// One part of the evidence, drawn.
pub trait View: Sync {
    /// Its name in layouts and snapshots.
    fn key(&self) -> &'static str;
    /// Its title in English and Chinese.
    fn title(&self) -> super::texts::Text;
    /// What it shows, how to read it, what it can't show, and the paper: Markdown, in English and Chinese.
    fn help(&self, app: &App) -> super::texts::Text;
    /// How much of its column's height it takes, from 0 to 1.
    fn share_of_height(&self) -> f32;
    /// Draws it into the space that `ui` has.
    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>);
}

/// Every view of the contrastive column.
pub const VIEWS: &[&dyn View] = &[&heatmap::HeatmapView, &embedding::EmbeddingView, &ranking::RankingView];
