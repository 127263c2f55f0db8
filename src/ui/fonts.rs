//! The fonts: Inter for Latin and Greek, egui's own for symbols, and a part of Noto Sans SC for Chinese.

use std::sync::Arc;

use egui::{FontData, FontDefinitions, FontFamily};

/// Name of the font family for headings and for what should stand out.
pub const SEMIBOLD: &str = "semibold";

const REGULAR: (&str, &[u8]) = ("Inter", include_bytes!("../../assets/fonts/Inter-Regular-subset.otf"));
const BOLDER: (&str, &[u8]) = ("Inter SemiBold", include_bytes!("../../assets/fonts/Inter-SemiBold-subset.otf"));
const CHINESE: (&str, &[u8]) = ("Noto Sans SC", include_bytes!("../../assets/fonts/NotoSansSC-subset.otf"));

/// The family for headings: `FontId::new(size, fonts::semibold())`.
pub fn semibold() -> FontFamily {
    FontFamily::Name(SEMIBOLD.into())
}

/// Makes the fonts known to egui. Call it once, before the first frame.
pub fn install(ctx: &egui::Context) {
    ctx.set_fonts(definitions());
}

fn definitions() -> FontDefinitions {
    let mut fonts = FontDefinitions::default();
    for (name, bytes) in [REGULAR, BOLDER, CHINESE] {
        fonts.font_data.insert(name.to_owned(), Arc::new(FontData::from_static(bytes)));
    }
    // egui's own families already end with its symbol fonts; each font of ours goes before or after them.
    let symbols = fonts.families.get(&FontFamily::Proportional).cloned().unwrap_or_default();
    let family = |first: &str| {
        let mut names = vec![first.to_owned()];
        names.extend(symbols.iter().cloned());
        names
    };
    let proportional = family(REGULAR.0);
    let bolder = family(BOLDER.0);
    fonts.families.insert(FontFamily::Proportional, proportional);
    fonts.families.insert(semibold(), bolder);
    for names in fonts.families.values_mut() {
        names.push(CHINESE.0.to_owned());
    }
    fonts
}
