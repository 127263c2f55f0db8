//! Colours, spacing and colour maps: the only place that names a colour.
#![expect(clippy::disallowed_methods, reason = "elsewhere colours are forbidden so that they have their names here")]

use egui::{Color32, CornerRadius, FontFamily, FontId, Margin, Stroke, TextStyle, Visuals};

use super::fonts::semibold;
use crate::app::Theme;
use crate::app::state::Colours;

/// Space between things that belong together; all spaces are multiples of it.
pub const SMALL_GAP: f32 = 4.0;
/// Space between things.
pub const GAP: f32 = 8.0;
/// Space between parts.
pub const LARGE_GAP: f32 = 12.0;

/// The colours of one theme.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    /// Behind everything.
    pub ground: Color32,
    /// Behind panels and cards.
    pub card: Color32,
    /// Behind chips, buttons and fields.
    pub raised: Color32,
    /// Lines between things.
    pub line: Color32,
    /// Text.
    pub text: Color32,
    /// Emphasised text.
    pub strong: Color32,
    /// Text that matters less.
    pub weak: Color32,
    /// What is selected, and pictures in the embedding space.
    pub accent: Color32,
    /// Texts in the embedding space.
    pub second: Color32,
    /// Warnings.
    pub warning: Color32,
    /// Behind a warning.
    pub warning_ground: Color32,
}

/// Dark: for the desk.
const DARK: Palette = Palette {
    ground: Color32::from_rgb(0x14, 0x16, 0x1a),
    card: Color32::from_rgb(0x1c, 0x1f, 0x25),
    raised: Color32::from_rgb(0x2a, 0x2e, 0x37),
    line: Color32::from_rgb(0x34, 0x39, 0x44),
    text: Color32::from_rgb(0xd9, 0xdd, 0xe4),
    strong: Color32::from_rgb(0xff, 0xff, 0xff),
    weak: Color32::from_rgb(0x9d, 0xa5, 0xb4),
    accent: Color32::from_rgb(0x5b, 0x9c, 0xf5),
    second: Color32::from_rgb(0xf2, 0xa6, 0x5a),
    warning: Color32::from_rgb(0xf4, 0xc1, 0x6b),
    warning_ground: Color32::from_rgb(0x3a, 0x30, 0x1c),
};

/// Light: for the projector.
const LIGHT: Palette = Palette {
    ground: Color32::from_rgb(0xf1, 0xf3, 0xf6),
    card: Color32::from_rgb(0xff, 0xff, 0xff),
    raised: Color32::from_rgb(0xe7, 0xea, 0xf0),
    line: Color32::from_rgb(0xd5, 0xda, 0xe3),
    text: Color32::from_rgb(0x2b, 0x31, 0x3c),
    strong: Color32::from_rgb(0x00, 0x00, 0x00),
    weak: Color32::from_rgb(0x5a, 0x63, 0x73),
    accent: Color32::from_rgb(0x1f, 0x66, 0xd1),
    second: Color32::from_rgb(0xb8, 0x5c, 0x00),
    warning: Color32::from_rgb(0x7a, 0x4d, 0x00),
    warning_ground: Color32::from_rgb(0xff, 0xf0, 0xd1),
};

/// The colours of a theme.
#[must_use]
pub fn palette(theme: Theme) -> Palette {
    match theme {
        Theme::Dark => DARK,
        Theme::Light => LIGHT,
    }
}

/// How long a button may be held for a click, in seconds.
const LONGEST_CLICK: f64 = 10.0;

/// Sets both themes' styles. Call it once.
pub fn install(ctx: &egui::Context) {
    super::fonts::install(ctx);
    // On a slow machine a frame may take a second, and then a press and its release lie in two of them: still a click.
    ctx.options_mut(|options| options.input_options.max_click_duration = LONGEST_CLICK);
    for (theme, palette, base) in
        [(egui::Theme::Dark, DARK, Visuals::dark()), (egui::Theme::Light, LIGHT, Visuals::light())]
    {
        ctx.set_visuals_of(theme, visuals(base, palette));
    }
    ctx.all_styles_mut(|style| {
        let sizes =
            [(TextStyle::Small, 11.5), (TextStyle::Body, 13.5), (TextStyle::Button, 13.5), (TextStyle::Heading, 17.0)];
        for (text_style, size) in sizes {
            style.text_styles.insert(text_style, FontId::new(size, FontFamily::Proportional));
        }
        style.text_styles.insert(TextStyle::Heading, FontId::new(17.0, semibold()));
        style.spacing.item_spacing = egui::vec2(GAP, GAP - 2.0);
        style.spacing.button_padding = egui::vec2(GAP, SMALL_GAP);
        style.spacing.interact_size.y = 24.0;
        style.spacing.scroll = egui::style::ScrollStyle::thin();
    });
}

fn visuals(mut visuals: Visuals, palette: Palette) -> Visuals {
    visuals.panel_fill = palette.ground;
    visuals.window_fill = palette.card;
    visuals.extreme_bg_color = palette.raised;
    visuals.faint_bg_color = palette.card;
    visuals.weak_text_color = Some(palette.weak);
    visuals.hyperlink_color = palette.accent;
    visuals.selection.bg_fill = palette.accent.gamma_multiply(0.35);
    visuals.selection.stroke = Stroke::new(1.0, palette.accent);
    visuals.window_stroke = Stroke::new(1.0, palette.line);
    let radius = CornerRadius::same(6);
    let states = &mut visuals.widgets;
    for state in
        [&mut states.inactive, &mut states.hovered, &mut states.active, &mut states.open, &mut states.noninteractive]
    {
        state.corner_radius = radius;
        state.expansion = 0.0;
        state.fg_stroke.color = palette.text;
    }
    // egui draws emphasised text in the colour of pressed buttons.
    states.active.fg_stroke.color = palette.strong;
    states.inactive.weak_bg_fill = palette.raised;
    states.inactive.bg_fill = palette.raised;
    states.hovered.weak_bg_fill = palette.line;
    states.hovered.bg_fill = palette.line;
    states.hovered.bg_stroke = Stroke::new(1.0, palette.weak);
    states.active.weak_bg_fill = palette.line;
    states.active.bg_stroke = Stroke::new(1.0, palette.accent);
    states.noninteractive.bg_stroke = Stroke::new(1.0, palette.line);
    visuals
}

/// A card: what holds a view.
pub fn card(palette: &Palette) -> egui::Frame {
    egui::Frame::new()
        .fill(palette.card)
        .corner_radius(CornerRadius::same(10))
        .stroke(Stroke::new(1.0, palette.line))
        .inner_margin(Margin::same(14))
}

/// The font of small headings.
#[must_use]
pub fn title_font(size: f32) -> FontId {
    FontId::new(size, semibold())
}

/// The colour of a value from 0 to 1.
#[must_use]
pub fn heat(colours: Colours, value: f32) -> Color32 {
    let map = match colours {
        Colours::Inferno => colorous::INFERNO,
        Colours::Magma => colorous::MAGMA,
        Colours::Viridis => colorous::VIRIDIS,
        Colours::Cividis => colorous::CIVIDIS,
    };
    let value = if value.is_finite() { value.clamp(0.0, 1.0) } else { 0.0 };
    let colour = map.eval_continuous(f64::from(value));
    Color32::from_rgb(colour.r, colour.g, colour.b)
}

/// The colour laid over a patch: low values darken the picture, high ones tint it and let it through.
#[must_use]
pub fn veil(colours: Colours, value: f32, opacity: f32) -> Color32 {
    let value = if value.is_finite() { value.clamp(0.0, 1.0) } else { 0.0 };
    let colour = heat(colours, value);
    let cover = opacity * (1.0 - 0.55 * value);
    Color32::from_rgba_unmultiplied(colour.r(), colour.g(), colour.b(), (cover * 255.0).round() as u8)
}

/// The colour of a difference from -1 (purple) through 0 (pale) to 1 (orange); the two can be told apart with the common
/// forms of colour blindness.
#[must_use]
pub fn signed_heat(value: f32) -> Color32 {
    let value = if value.is_finite() { value.clamp(-1.0, 1.0) } else { 0.0 };
    let colour = colorous::PURPLE_ORANGE.eval_continuous(f64::from((1.0 + value) / 2.0));
    Color32::from_rgb(colour.r, colour.g, colour.b)
}

/// The colour of a difference laid over a patch: where nothing has changed the picture is seen as it is.
#[must_use]
pub fn signed_veil(value: f32, opacity: f32) -> Color32 {
    let colour = signed_heat(value);
    let strength = if value.is_finite() { value.abs().min(1.0).sqrt() } else { 0.0 };
    let cover = (opacity * 1.2).min(1.0) * strength;
    Color32::from_rgba_unmultiplied(colour.r(), colour.g(), colour.b(), (cover * 255.0).round() as u8)
}

/// Black or white, whichever can be read on `ground`.
#[must_use]
pub fn ink_on(ground: Color32) -> Color32 {
    let brightness = 0.299 * f32::from(ground.r()) + 0.587 * f32::from(ground.g()) + 0.114 * f32::from(ground.b());
    if brightness > 140.0 { Color32::BLACK } else { Color32::WHITE }
}

/// A colour that was taken from a picture.
#[must_use]
pub fn of_picture([red, green, blue]: [u8; 3]) -> Color32 {
    Color32::from_rgb(red, green, blue)
}
