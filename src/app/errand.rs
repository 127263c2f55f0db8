//! Work beyond the evidence, done when a person asks for it: maps are tested, interventions measured, models asked many times.

use super::compute::{PlaneQuestion, Question};
use super::effects::EffectsTest;
use super::explained::MapAsk;
use super::loaded::Wanted;
use super::testing::MapTest;
use super::{App, Command};
use crate::taps::Tower;

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Errand {
    /// Maps are tested.
    Tests(Vec<MapTest>),
    /// It is measured what each intervention would do alone.
    Effects(EffectsTest),
    /// Maps are made for which a model is asked many times.
    Maps(Vec<MapAsk>),
    /// It is measured how well each head of this model grounds.
    Heads(Wanted),
}

impl Command {
    /// Whether it sends on an errand.
    pub(super) fn is_errand(&self) -> bool {
        matches!(
            self,
            Self::TestMaps
                | Self::TestMap(..)
                | Self::TestExplanations
                | Self::MeasureEffects
                | Self::MeasureHeads
                | Self::Explain
        )
    }
}

impl App {
    /// Nothing is tested or measured any more; the evidence is the same without it.
    pub(super) fn end_errand(&mut self) {
        if self.errand.take().is_some() {
            self.asked = Some(self.question());
        }
    }

    /// What has another question now isn't tested or measured any more.
    pub(super) fn give_up_errand(&mut self) {
        if self.errand.is_some() && self.asked.as_ref() != Some(&self.question()) {
            self.errand = None;
        }
    }

    /// Whether maps are being tested.
    #[must_use]
    pub fn is_testing(&self) -> bool {
        self.busy && matches!(self.errand, Some(Errand::Tests(_)))
    }

    /// Whether it is being measured what each intervention would do.
    #[must_use]
    pub fn is_measuring_effects(&self) -> bool {
        self.busy && matches!(self.errand, Some(Errand::Effects(_)))
    }

    /// Whether it is being measured how well each head grounds.
    #[must_use]
    pub fn is_measuring_heads(&self) -> bool {
        self.busy && matches!(self.errand, Some(Errand::Heads(_)))
    }

    /// Whether models are being asked for maps.
    #[must_use]
    pub fn is_explaining(&self) -> bool {
        self.busy && matches!(self.errand, Some(Errand::Maps(_)))
    }

    /// What is asked, but for errands and for what they don't hang on.
    pub(super) fn without_errand(&self) -> Question {
        Question {
            errand: None,
            plane: PlaneQuestion { reduction: "pca", seed: 0, shift: 0.0 },
            brief: false,
            comparison: Vec::new(),
            attention: (Tower::Vision, None),
            attention_ceiling: 0,
            hidden_layer: None,
            compared_instruction: None,
            cost_by_column: Vec::new(),
            ..self.question()
        }
    }
}
