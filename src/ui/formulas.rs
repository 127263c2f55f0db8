//! Formulas in texts: LaTeX, laid out and drawn by `latex-rust`.

use egui::{Color32, ColorImage, Image, RichText, TextureHandle, TextureOptions, Ui, vec2};
use latex_rust::{Color, Dim, MathFont, PngOptions, latex_to_png};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Pixels a point: sharp enough for a projector, too.
const SCALE: f32 = 3.0;
/// Formulas that are kept; a course has some dozens.
const MOST: usize = 500;

/// Formulas that were drawn before. A copy shares them, so that a closure can hold one.
#[derive(Clone, Default)]
pub struct Formulas(Rc<Drawn>);

#[derive(Default)]
struct Drawn {
    font: RefCell<Option<MathFont>>,
    /// By text, size and colour.
    drawn: RefCell<HashMap<(String, u32, Color32), Option<TextureHandle>>>,
}

impl Formulas {
    /// Draws a formula in the present text's size and colour; one that can't be laid out is shown as it is written.
    pub fn show(&self, ui: &mut Ui, formula: &str, inline: bool) {
        let size = egui::TextStyle::Body.resolve(ui.style()).size * if inline { 1.05 } else { 1.15 };
        let colour = ui.visuals().text_color();
        let key = (formula.to_owned(), (size * 8.0) as u32 * 2 + u32::from(inline), colour);
        let known = self.0.drawn.borrow().get(&key).cloned();
        let texture = known.unwrap_or_else(|| {
            let made = self.0.picture(formula, size, inline, colour);
            let made = made
                .map(|picture| ui.ctx().load_texture(format!("formula {formula}"), picture, TextureOptions::LINEAR));
            let mut drawn = self.0.drawn.borrow_mut();
            if drawn.len() >= MOST {
                drawn.clear();
            }
            drawn.insert(key, made.clone());
            made
        });
        let Some(texture) = texture else {
            ui.label(RichText::new(formula).monospace());
            return;
        };
        let whole = texture.size_vec2() / SCALE;
        // A formula wider than the panel is made smaller, not cut.
        let fit = (ui.available_width() / whole.x.max(1.0)).min(1.0);
        let image = || Image::new(&texture).fit_to_exact_size(whole * fit).alt_text(formula);
        if inline {
            ui.add(image());
        } else {
            ui.vertical(|ui| {
                ui.add_space(2.0);
                ui.horizontal(|ui| {
                    ui.add_space(((ui.available_width() - whole.x * fit) / 2.0).max(0.0));
                    ui.add(image());
                });
                ui.allocate_space(vec2(0.0, 2.0));
            });
        }
    }
}

impl Drawn {
    fn picture(&self, formula: &str, size: f32, inline: bool, colour: Color32) -> Option<ColorImage> {
        let mut font = self.font.borrow_mut();
        if font.is_none() {
            *font = MathFont::stix_two_math().ok();
        }
        let options = PngOptions {
            // A point of the screen is a point of the formula, 72 to the inch.
            font_size_pt: Dim::from_i64(size.round() as i64),
            dpi: Dim::from_i64((72.0 * SCALE) as i64),
            color: Color::rgb(colour.r(), colour.g(), colour.b()),
            display: !inline,
            ..PngOptions::new()
        };
        let png = latex_to_png(formula, font.as_ref()?, &options).ok()?;
        let picture = image::load_from_memory(&png).ok()?.to_rgba8();
        let side = [picture.width() as usize, picture.height() as usize];
        Some(ColorImage::from_rgba_unmultiplied(side, picture.as_raw()))
    }
}
