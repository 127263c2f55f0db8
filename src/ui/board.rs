//! The board: the same frame as in the window, drawn without display and graphics driver.

use egui::vec2;
use image::RgbaImage;

use super::screen::Screen;
use super::{offscreen, theme};
use crate::app::{App, Theme};

/// Frames that the layout needs to settle.
const FRAMES: usize = 4;

/// Draws what `app` shows, `width` x `height` points at `scale` pixels a point.
#[must_use]
pub fn draw(app: &App, width: f32, height: f32, scale: f32) -> RgbaImage {
    let mut screen = Screen::default();
    let chosen = match app.state.look.theme {
        Theme::Light => egui::Theme::Light,
        Theme::Dark => egui::Theme::Dark,
    };
    offscreen::render(vec2(width, height), scale, chosen, theme::install, FRAMES, |ui| {
        screen.show(ui, app);
    })
}
