//! Writes what is shown into files: a view or the board as a picture, the numbers of a view, the board as a page.

use egui::vec2;
use std::path::Path;

use super::catalogue::{colours_key, title_key};
use super::columns::alone;
use super::textures::Textures;
use super::views::{Brush, VIEWS, View, named};
use super::{board, offscreen, texts, theme};
use crate::app::layout::SIDE_BY_SIDE;
use crate::app::{App, Export, Format, Scale, Theme};
use crate::error::{Error, Result};
use crate::export::npz::npz;
use crate::export::numbers::csv;
use crate::export::page::{Page, Section, page};
use crate::files;
use crate::methods::Evidence;
use crate::methods::reading::Weighting;

/// The size of the board in a page and in files, in points.
pub const BOARD: [f32; 2] = [1600.0, 1000.0];
/// The size of a view in a page and in files, in points.
const VIEW: [f32; 2] = [760.0, 640.0];
/// Frames that the layout needs to settle.
const FRAMES: usize = 3;

/// Writes `export` of what `app` shows to `path`.
///
/// # Errors
/// If nothing is shown yet, there is no such view, or the file can't be written.
pub fn write(app: &App, export: &Export, path: &Path) -> Result<()> {
    files::write(path, &bytes(app, export)?)
}

/// The file's contents.
fn bytes(app: &App, export: &Export) -> Result<Vec<u8>> {
    let evidence = app.evidence.as_ref().ok_or_else(nothing_yet)?;
    let view = || {
        let view = export.view.and_then(named);
        let view = view.ok_or_else(|| Error::unusable("there is no such view", "choose another"))?;
        if view.method() == app.shown_column(evidence) {
            return Ok(view);
        }
        Err(Error::unusable(format!("the view '{}' stands in another column", view.key()), "show its column first"))
    };
    match export.format {
        Format::Png(scale) => {
            let scale = f32::from(scale.clamp(1, 4));
            match export.view {
                None => files::png(&board::draw(app, BOARD[0], BOARD[1], scale).into()),
                Some(_) => picture(app, view()?, scale),
            }
        }
        Format::Csv => csv(&view()?.numbers(evidence, app)),
        Format::Npz => npz(&view()?.numbers(evidence, app)),
        Format::Html => html(app),
    }
}

/// How maps are drawn, and where the models run.
fn settings(app: &App) -> String {
    let language = app.state.look.language;
    let map = &app.state.map;
    let scale = if map.scale == Scale::Shared { texts::SHARED_SCALE } else { texts::OWN_SCALE };
    let weighting = if app.state.fusion.weighting == Weighting::Gradient { texts::WEIGHTED } else { texts::RAW };
    let layer = format!("attribution-{}", map.layer.0);
    let parts = [layer.as_str(), weighting.0, scale.0, colours_key(map.colours)];
    let said: Vec<&str> = parts.iter().map(|key| texts::say(language, key)).collect();
    format!("{} · {}", said.join(" · "), app.runtime.device)
}

fn nothing_yet() -> Error {
    Error::unusable("nothing is computed yet", "wait for the first map")
}

/// A view alone as a PNG.
fn picture(app: &App, view: &dyn View, scale: f32) -> Result<Vec<u8>> {
    let evidence = app.evidence.as_ref().ok_or_else(nothing_yet)?;
    let mut textures = Textures::default();
    let chosen = if app.state.look.theme == Theme::Dark { egui::Theme::Dark } else { egui::Theme::Light };
    let drawn = offscreen::render(vec2(VIEW[0], VIEW[1]), scale, chosen, theme::install, FRAMES, |ui| {
        let mut commands = Vec::new();
        let mut brush = Brush { app, textures: &mut textures, commands: &mut commands };
        alone(ui, evidence, &mut brush, view);
    });
    files::png(&drawn.into())
}

/// The board and all views as one page.
fn html(app: &App) -> Result<Vec<u8>> {
    let evidence = app.evidence.as_ref().ok_or_else(nothing_yet)?;
    let language = app.state.look.language;
    let say = |key: &str| texts::say(language, key).to_owned();
    let sentence = app.state.sentence.trim();
    let drawn = files::png(&board::draw(app, BOARD[0], BOARD[1], 1.0).into())?;
    let mut sections = Vec::new();
    let column = app.shown_column(evidence);
    for view in VIEWS.iter().filter(|view| view.method() == column && view.has_something(app)) {
        let title = say(&title_key(*view));
        sections.push(Section {
            picture: picture(app, *view, 2.0)?,
            alt: format!("{title} · {sentence}"),
            help: view.help(app)[app.language_index()],
            csv: csv(&view.numbers(evidence, app))?,
            file_name: format!("alignscope-{}.csv", view.key()),
            title,
        });
    }
    let summary = say(&format!("method-{column}-summary"));
    let model = |evidence: &Evidence| format!("{} · {}", evidence.model.name, evidence.model.class);
    let models = match column {
        SIDE_BY_SIDE => app.columns.values().map(|evidence| model(evidence)).collect::<Vec<_>>().join(", "),
        _ => model(evidence),
    };
    let (numbers, footer) = (say(texts::PAGE_NUMBERS.0), say(texts::PAGE_FOOTER.0));
    let page = page(&Page {
        language: texts::name_of(language)[0],
        title: sentence,
        summary: &summary,
        facts: vec![
            (say(texts::PICTURE.0), app.picture_name.clone()),
            (say(texts::SENTENCE.0), sentence.to_owned()),
            (say(texts::SELECTED.0), evidence.phrase.clone()),
            (say(texts::MODEL.0), models),
            (say(texts::MAP.0), settings(app)),
            (say(texts::VERSION.0), format!("Alignscope {}", env!("CARGO_PKG_VERSION"))),
        ],
        board: &drawn,
        board_alt: &say(texts::THE_BOARD.0),
        sections,
        numbers_label: &numbers,
        footer: &footer,
    });
    Ok(page.into_bytes())
}
