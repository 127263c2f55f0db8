//! A folder of pictures: all of them in the plane, searched by words or by one of them.

mod plane;
mod strip;

use egui::{Button, ProgressBar, RichText, Role, TextEdit, Ui, WidgetInfo, vec2};

use super::{Brush, View};
use crate::app::album::{Album, Doing, Found, MOST_NEIGHBOURS, MOST_PICTURES, Wanted};
use crate::app::state::ReductionName;
use crate::app::{App, Ask, Command, PictureSource};
use crate::export::numbers::{Axis, Numbers};
use crate::methods::Evidence;
use crate::reduction::REDUCTIONS;
use crate::ui::texts::{self, album as said};
use crate::ui::theme::{GAP, SMALL_GAP, title_font};
use plane::Move;

/// The view.
pub struct AlbumView;

/// Pictures that count as found at most.
const MOST_BEST: usize = 24;

impl View for AlbumView {
    fn key(&self) -> &'static str {
        "album"
    }

    fn help(&self, _app: &App) -> [&'static str; 2] {
        [include_str!("../../../../assets/help/album.en.md"), include_str!("../../../../assets/help/album.zh.md")]
    }

    fn least(&self) -> egui::Vec2 {
        vec2(380.0, 380.0)
    }

    fn show(&self, ui: &mut Ui, _evidence: &Evidence, brush: &mut Brush<'_>) {
        ui.spacing_mut().item_spacing = vec2(GAP, SMALL_GAP);
        let app = brush.app;
        let Some(album) = &app.album else {
            begin(ui, brush);
            return;
        };
        brush.textures.atlas.fill(ui.ctx(), album);
        header(ui, brush, album);
        problem(ui, brush, album);
        progress(ui, brush, album);
        if album.pictures.is_empty() {
            return;
        }
        search(ui, brush, album);
        let lit = strip::show(ui, brush, album);
        let step = reductions(ui, brush, album);
        plane::show(ui, brush, album, lit, step);
    }

    fn has_something(&self, app: &App) -> bool {
        app.album.is_some()
    }

    fn numbers(&self, _evidence: &Evidence, app: &App) -> Vec<Numbers> {
        let pictures = app.album.as_ref().map_or(&[][..], |album| &album.pictures);
        let mut arrays = vec![Numbers::single("pictures", pictures.len() as f32)];
        let Some(album) = &app.album else { return arrays };
        let names = || Axis::labelled("picture", pictures.iter().map(|picture| picture.path.display().to_string()));
        if let Some(plane) = album.plane.as_ref().filter(|plane| plane.places.len() == pictures.len()) {
            let axes = [names(), Axis::labelled("axis", ["x", "y"])];
            arrays.push(Numbers::new("place", axes, plane.places.concat()));
        }
        let found = album.found(&app.state.album.wanted);
        if let Some(found) = found.filter(|found| found.cosines.len() == pictures.len()) {
            arrays.push(Numbers::new("cosine", [names()], found.cosines.clone()));
        }
        arrays
    }
}

/// Where no folder is open: how to begin.
fn begin(ui: &mut Ui, brush: &mut Brush<'_>) {
    let palette = brush.palette();
    if brush.app.state.album.folder.is_some() {
        ui.label(RichText::new(brush.say(texts::WAITING)).color(palette.weak));
        return;
    }
    ui.vertical_centered(|ui| {
        ui.add_space((ui.available_height() * 0.28).min(140.0));
        ui.set_max_width(440.0);
        ui.add(egui::Label::new(RichText::new(brush.say(said::BEGIN)).color(palette.text)).wrap());
        ui.add_space(GAP);
        if ui.button(RichText::new(brush.say(said::OPEN)).strong()).clicked() {
            brush.commands.push(Command::Ask(Ask::Album));
        }
    });
}

/// Which folder, how many pictures, what is wrong with some.
fn header(ui: &mut Ui, brush: &mut Brush<'_>, album: &Album) {
    let palette = brush.palette();
    ui.horizontal_wrapped(|ui| {
        let name = album.folder.file_name().unwrap_or(album.folder.as_os_str()).to_string_lossy();
        let title = ui.label(RichText::new(name).font(title_font(14.0)).color(palette.text));
        title.on_hover_text(album.folder.display().to_string());
        ui.label(format!("{} {}", grouped(album.pictures.len()), brush.say(said::PICTURES)));
        let weak = |text: String| RichText::new(text).color(palette.weak);
        if album.recalled > 0 {
            ui.label(weak(format!("{} {}", grouped(album.recalled), brush.say(said::RECALLED))));
        }
        if album.more {
            ui.label(weak(format!("({} {})", grouped(MOST_PICTURES), brush.say(said::MORE))));
        }
        if album.unreadable > 0 {
            let text = format!("{} {}", grouped(album.unreadable), brush.say(said::UNREADABLE));
            let label = ui.label(RichText::new(text).color(palette.warning));
            label.on_hover_ui(|ui| {
                for complaint in album.complaints.iter().take(20) {
                    ui.label(RichText::new(complaint).small());
                }
            });
        }
        if ui.small_button(brush.say(said::OTHER)).clicked() {
            brush.commands.push(Command::Ask(Ask::Album));
        }
        if ui.small_button(brush.say(said::REREAD)).clicked() {
            brush.commands.push(Command::ReadAlbum);
        }
        if ui.small_button(brush.say(said::END)).clicked() {
            brush.commands.push(Command::CloseAlbum);
        }
    });
}

fn problem(ui: &mut Ui, brush: &Brush<'_>, album: &Album) {
    if let Some(problem) = &album.problem {
        ui.add(egui::Label::new(RichText::new(problem).color(brush.palette().warning)).wrap());
    }
}

/// How far the work is, the time left, and a way to stop it; where it was stopped, a way to go on.
fn progress(ui: &mut Ui, brush: &mut Brush<'_>, album: &Album) {
    let Some((doing, progress)) = album.work else {
        if album.stopped {
            ui.horizontal_wrapped(|ui| {
                let at = format!(
                    "{} · {} / {}",
                    brush.say(said::STOPPED),
                    grouped(album.pictures.len()),
                    grouped(album.all)
                );
                ui.label(RichText::new(at).color(brush.palette().weak));
                if ui.small_button(brush.say(said::GO_ON)).clicked() {
                    brush.commands.push(Command::ReadAlbum);
                }
            });
        }
        return;
    };
    ui.ctx().request_repaint_after(std::time::Duration::from_millis(250));
    ui.horizontal_wrapped(|ui| {
        let name = brush.say(if doing == Doing::Reading { said::READING } else { said::REDUCING });
        let bar = ui.add(ProgressBar::new(progress.share).desired_width(160.0).desired_height(8.0));
        bar.widget_info(|| WidgetInfo::labeled(Role::ProgressIndicator, true, name));
        let mut text = name.to_owned();
        if doing == Doing::Reading && album.all > 0 {
            let done = album.pictures.len() + album.unreadable;
            text += &format!(" · {} / {}", grouped(done), grouped(album.all));
        }
        if let Some(left) = progress.left() {
            text += &format!(" · {} {:.0} s", brush.say(texts::LEFT), left.as_secs_f32().ceil());
        }
        ui.label(RichText::new(text).color(brush.palette().weak));
        if ui.small_button(brush.say(texts::CANCEL)).clicked() {
            brush.commands.push(Command::StopAlbum);
        }
    });
}

/// What is searched for.
fn search(ui: &mut Ui, brush: &mut Brush<'_>, album: &Album) {
    let state = &brush.app.state;
    ui.horizontal_wrapped(|ui| {
        let mut text = match &state.album.wanted {
            Wanted::Text(text) => text.clone(),
            Wanted::Like(_) => String::new(),
        };
        let name = brush.say(said::SEARCH);
        let field = TextEdit::singleline(&mut text)
            .id_salt("album search")
            .desired_width((ui.available_width() - 220.0).clamp(120.0, 320.0))
            .hint_text(name)
            .margin(vec2(8.0, 4.0));
        let response = ui.add(field);
        response.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, name));
        if response.changed() {
            brush.commands.push(Command::SearchAlbum(Wanted::Text(text)));
        }
        if let PictureSource::File(file) = &state.picture
            && album.number_of(file).is_some()
        {
            let like = Wanted::Like(file.clone());
            let chosen = state.album.wanted == like;
            if ui.add(Button::selectable(chosen, brush.say(said::LIKE_THIS))).clicked() {
                brush.commands.push(Command::SearchAlbum(if chosen { Wanted::default() } else { like }));
            }
        }
        if let Wanted::Like(file) = &state.album.wanted {
            let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
            ui.label(RichText::new(format!("{} {name}", brush.say(said::LIKE))).color(brush.palette().weak));
        }
        if !state.album.wanted.is_nothing() && ui.small_button(brush.say(said::CLEAR)).clicked() {
            brush.commands.push(Command::SearchAlbum(Wanted::default()));
        }
    });
}

/// How the pictures come into the plane, and how near one looks at it.
fn reductions(ui: &mut Ui, brush: &mut Brush<'_>, album: &Album) -> Option<Move> {
    let mut step = None;
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(4.0, 4.0);
        let too_many = album.pictures.len() > MOST_NEIGHBOURS;
        for reduction in REDUCTIONS {
            let name = ReductionName(reduction.key);
            let chosen = brush.app.state.album.reduction == name;
            let button = ui.add_enabled(!(too_many && reduction.seeded), Button::selectable(chosen, reduction.name));
            let hint = brush.say(said::TOO_MANY).replace("{most}", &grouped(MOST_NEIGHBOURS));
            if button.on_hover_text(reduction.paper).on_disabled_hover_text(hint).clicked() {
                brush.commands.push(Command::ReduceAlbum(name));
            }
        }
        ui.separator();
        for (text, to) in [(said::NEARER, Move::Nearer), (said::FARTHER, Move::Farther), (said::WHOLE, Move::Whole)] {
            if ui.button(brush.say(text)).clicked() {
                step = Some(to);
            }
        }
    });
    step
}

/// Pictures that count as found: those in the strip, which are lit in the plane. Of a small folder that isn't half of it.
fn best(found: &Found) -> &[usize] {
    let count = (found.order.len() / 8).clamp(8, MOST_BEST).min(found.order.len());
    &found.order[..count]
}

/// A count with its thousands apart.
fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(
            [0, 12, 999, 1000, 20_000, 1_234_567].map(grouped),
            ["0", "12", "999", "1,000", "20,000", "1,234,567"]
        );
    }
}
