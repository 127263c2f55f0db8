//! The whole screen: the same for the window, the board and the tests.

use egui::{CentralPanel, Frame, Margin, Panel, RichText, ScrollArea, Ui, vec2};
use egui_commonmark::CommonMarkCache;

use super::panels::inputs::{self, Ask};
use super::panels::{inspector, notices, status};
use super::textures::Textures;
use super::views::{Brush, VIEWS, View};
use super::{texts, theme};
use crate::app::{App, Command, Theme};
use crate::methods::{Evidence, METHODS};

/// What is kept between frames: textures and laid-out texts, nothing that a person chose.
#[derive(Default)]
pub struct Screen {
    textures: Textures,
    markdown: CommonMarkCache,
}

impl Screen {
    /// Draws one frame; gives the commands that the person's input means, and what to ask for.
    pub fn show(&mut self, ui: &mut Ui, app: &App) -> (Vec<Command>, Option<Ask>) {
        ui.ctx().set_theme(match app.state.theme {
            Theme::Light => egui::Theme::Light,
            Theme::Dark => egui::Theme::Dark,
        });
        let mut commands = Vec::new();
        inputs::dropped(ui, &mut commands);
        let mut ask = inputs::shortcuts(ui, &mut commands);
        let mut brush = Brush { app, textures: &mut self.textures, commands: &mut commands };
        let palette = brush.palette();
        let bar = Frame::new().fill(palette.card).inner_margin(Margin::symmetric(14, 7));
        let side = Frame::new().fill(palette.card).inner_margin(Margin { left: 14, right: 12, top: 0, bottom: 8 });
        Panel::top("top").frame(bar).show(ui, |ui| status::top(ui, &mut brush));
        let line = Frame::new().fill(palette.card).inner_margin(Margin::symmetric(14, 4));
        Panel::bottom("status").frame(line).show(ui, |ui| status::bottom(ui, &brush));
        let width = ui.available_width();
        Panel::left("inputs").frame(side).default_size((width * 0.22).min(292.0)).size_range(230.0..=420.0).show(
            ui,
            |ui| {
                ask = ask.or(inputs::show(ui, &mut brush));
            },
        );
        Panel::right("inspector").frame(side).default_size((width * 0.22).min(330.0)).size_range(240.0..=560.0).show(
            ui,
            |ui| {
                inspector::show(ui, &mut brush, &mut self.markdown);
            },
        );
        let middle = Frame::new().fill(palette.ground).inner_margin(Margin::same(14));
        CentralPanel::default().frame(middle).show(ui, |ui| {
            notices::show(ui, &mut brush);
            column(ui, &mut brush);
        });
        (commands, ask)
    }
}

/// Space between cards.
const GAP: f32 = 12.0;
/// Below this width of the middle the views stand one above the other.
const SIDE_BY_SIDE: f32 = 700.0;
/// What a view that fills its column is taller than three quarters of its width, where views are stacked.
const STACKED: f32 = 420.0;

/// The contrastive column: what the method is, and its views.
fn column(ui: &mut Ui, brush: &mut Brush<'_>) {
    let palette = brush.palette();
    let index = brush.app.language_index();
    let Some(method) = METHODS.first() else { return };
    ui.horizontal_wrapped(|ui| {
        ui.label(RichText::new(method.title[index]).font(theme::title_font(18.0)));
        if let Some(evidence) = &brush.app.evidence {
            ui.label(RichText::new(&evidence.model.name).color(palette.accent));
        }
    });
    ui.label(RichText::new(method.summary[index]).color(palette.weak));
    ui.add_space(6.0);
    let Some(evidence) = brush.app.evidence.clone() else {
        if brush.app.problem.is_none() {
            ui.label(RichText::new(brush.say(texts::WAITING)).color(palette.weak));
        }
        return;
    };
    let space = ui.available_size();
    ui.spacing_mut().item_spacing = vec2(GAP, GAP);
    if space.x < SIDE_BY_SIDE {
        // Too narrow for two: one above the other, as tall as they need, to be scrolled through.
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            let width = ui.available_width() - GAP;
            for view in VIEWS {
                card(ui, *view, &evidence, brush, vec2(width, width * 0.75 + STACKED * view.share_of_height()));
            }
        });
        return;
    }
    let Some((first, others)) = VIEWS.split_first() else { return };
    // The map has one side for itself, the other views share the other.
    let width = (space.x - GAP) / 2.0;
    ui.horizontal_top(|ui| {
        card(ui, *first, &evidence, brush, vec2(width, space.y));
        ui.vertical(|ui| {
            for view in others {
                let share = view.share_of_height();
                card(ui, *view, &evidence, brush, vec2(width, (space.y - GAP) * share));
            }
        });
    });
}

fn card(ui: &mut Ui, view: &dyn View, evidence: &Evidence, brush: &mut Brush<'_>, size: egui::Vec2) {
    let frame = theme::card(&brush.palette());
    let inner = size - frame.total_margin().sum();
    let title = view.title()[brush.app.language_index()];
    ui.allocate_ui(size, |ui| {
        frame.show(ui, |ui| {
            ui.set_min_size(inner);
            ui.set_max_size(inner);
            ui.vertical(|ui| {
                ui.label(RichText::new(title).font(theme::title_font(14.0)));
                ui.push_id(view.key(), |ui| view.show(ui, evidence, brush));
            });
        });
    });
}
