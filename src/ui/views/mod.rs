//! The views: each draws one part of the evidence.

mod album;
mod attention;
mod bottleneck;
mod embedding;
mod explainers;
pub mod faithful;
mod four_clouds;
mod four_ways;
mod fusion;
mod heatmap;
mod ledger;
mod map_picture;
mod matrix;
mod parts;
mod projector;
mod querying;
mod ranking;
mod scatter;
mod scene_editor;
mod side_by_side;
mod watch;
mod what_if;

pub(in crate::ui) use attention::facts as head_facts;
pub(in crate::ui) use parts::{bar, number};
pub(in crate::ui) use querying::best_words;

use egui::Ui;

use super::textures::Textures;
use super::theme::{Palette, palette};
use crate::app::{App, Command, Light, Thing};
use crate::export::numbers::Numbers;
use crate::methods::Evidence;
use fusion::Of;

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
        palette(self.app.state.look.theme)
    }

    /// The text in the present language.
    #[must_use]
    pub fn say(&self, text: super::texts::Text) -> &'static str {
        super::texts::say(self.app.state.look.language, text.0)
    }

    /// What a key of the language files means in the present language.
    #[must_use]
    pub fn word(&self, key: &str) -> String {
        super::texts::say(self.app.state.look.language, key).to_owned()
    }

    /// Says that the pointer is over `thing`, anew in each frame: where nobody says so, it has left.
    pub fn hover(&mut self, thing: Thing) {
        self.commands.push(Command::Hover(Some(thing)));
    }

    /// The line around something that is lit, and `None` around what isn't.
    #[must_use]
    pub fn outline(&self, thing: Thing) -> Option<egui::Stroke> {
        let palette = self.palette();
        match self.app.light(thing) {
            Light::None => None,
            Light::Selected => Some(egui::Stroke::new(2.0, palette.accent)),
            Light::Hovered => Some(egui::Stroke::new(2.0, palette.strong)),
        }
    }
}

/// One part of the evidence, drawn.
pub trait View: Sync {
    /// Its name in layouts and snapshots. Its title stands in the language files, as `view-` with the key behind it.
    fn key(&self) -> &'static str;
    /// The key of the method whose column it stands in.
    fn method(&self) -> &'static str {
        "contrastive"
    }
    /// What it shows, how to read it, what it can't show, and the paper: Markdown, in English and Chinese.
    fn help(&self, app: &App) -> [&'static str; 2];
    /// The least size in which it can be read; where there is less, it is scrolled over.
    fn least(&self) -> egui::Vec2 {
        egui::vec2(320.0, 240.0)
    }
    /// Draws it into the space that `ui` has.
    fn show(&self, ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>);
    /// Whether there is anything to report of it.
    fn has_something(&self, _app: &App) -> bool {
        true
    }
    /// The numbers that it shows.
    fn numbers(&self, evidence: &Evidence, app: &App) -> Vec<Numbers>;
}

/// Every view, in the order of their keys on the keyboard.
pub const VIEWS: &[&dyn View] = &[
    &four_ways::FourWaysView,
    &scene_editor::SceneEditorView,
    &four_clouds::FourCloudsView,
    &ledger::LedgerView,
    &faithful::FaithfulView,
    &bottleneck::BottleneckView,
    &watch::WatchView,
    &heatmap::HeatmapView,
    &attention::AttentionView,
    &embedding::EmbeddingView,
    &matrix::MatrixView,
    &ranking::RankingView,
    &what_if::WhatIfView("contrastive"),
    &explainers::ExplainersView("contrastive"),
    &album::AlbumView,
    &fusion::WordsView(Of::Fusion),
    &fusion::CrossHeadsView(Of::Fusion),
    &fusion::WordPatchesView(Of::Fusion),
    &fusion::ExpectedView(Of::Fusion),
    &fusion::GatesView,
    &fusion::LatentsView,
    &fusion::MixingView(Of::Fusion),
    &what_if::WhatIfView("cross-attention"),
    &explainers::ExplainersView("cross-attention"),
    &querying::QueriesView,
    &querying::QueryPatchesView,
    &querying::QueryAttentionView,
    &querying::QuerySaysView,
    &querying::QueryWordsView,
    &querying::QueryMasksView,
    &querying::QuerySpaceView,
    &what_if::WhatIfView("querying"),
    &explainers::ExplainersView("querying"),
    &projector::PatchWordsView,
    &projector::RowView,
    &fusion::WordsView(Of::Projector),
    &fusion::CrossHeadsView(Of::Projector),
    &fusion::WordPatchesView(Of::Projector),
    &projector::RowSharesView,
    &fusion::MixingView(Of::Projector),
    &fusion::ExpectedView(Of::Projector),
    &projector::ProjectorChangeView,
    &projector::PictureCostView,
    &what_if::WhatIfView("projector"),
    &explainers::ExplainersView("projector"),
];

/// The view with this key.
#[must_use]
pub fn named(key: &str) -> Option<&'static dyn View> {
    VIEWS.iter().copied().find(|view| view.key() == key)
}
