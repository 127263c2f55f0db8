//! The board: a column for each method, with its views as tiles that can be resized, moved, enlarged and closed.

use egui::{Align, Color32, Layout, Margin, Rect, RichText, Stroke, Ui, UiBuilder, Visuals, WidgetText, vec2};
use egui_tiles::{
    Behavior, EditAction, ResizeState, SimplificationOptions, TabState, Tile, TileId, Tiles, Tree, UiResponse,
};

use super::catalogue::{format_name, title_key};
use super::texts;
use super::theme::{GAP, LARGE_GAP, Palette, title_font};
use super::views::{Brush, View, named};
use crate::app::layout::{SIDE_BY_SIDE, keys};
use crate::app::state::MethodName;
use crate::app::{Ask, Command, Export, Format};
use crate::methods::Evidence;

/// Height of the bar over a view.
const BAR: f32 = 30.0;

/// Draws the column of the chosen method.
pub fn show(ui: &mut Ui, brush: &mut Brush<'_>) {
    let space = ui.available_rect_before_wrap();
    let key = brush.app.state.method.0;
    let builder = UiBuilder::new().id_salt(key).max_rect(space).layout(Layout::top_down(Align::Min));
    column(&mut ui.new_child(builder), brush, key);
    ui.advance_cursor_after_rect(space);
}

/// What the method is, and its views.
fn column(ui: &mut Ui, brush: &mut Brush<'_>, key: &'static str) {
    let palette = brush.palette();
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = GAP;
        // In a narrow window all names still stand in one line.
        let size = (ui.available_width() / 56.0).clamp(12.5, 16.0);
        for other in keys() {
            let name = RichText::new(brush.word(&format!("method-{other}"))).font(title_font(size));
            if ui.add(egui::Button::selectable(other == key, name)).clicked() {
                brush.commands.push(Command::SetMethod(MethodName(other)));
            }
        }
        let evidence = brush.app.evidence.as_ref().filter(|evidence| evidence.method == key);
        if let Some(evidence) = evidence {
            ui.label(RichText::new(&evidence.model.name).font(title_font(13.5)).color(palette.accent));
        }
    });
    ui.label(RichText::new(brush.word(&format!("method-{key}-summary"))).color(palette.weak));
    ui.add_space(GAP);
    let is_shown = |evidence: &Evidence| evidence.method == key || key == SIDE_BY_SIDE;
    let Some(evidence) = brush.app.evidence.clone().filter(|evidence| is_shown(evidence)) else {
        let is_missing = match key {
            SIDE_BY_SIDE => brush.app.checkpoints.is_empty(),
            key => brush.app.checkpoint(key).is_none(),
        };
        if is_missing {
            ui.label(RichText::new(brush.word(&format!("method-{key}-missing"))).color(palette.text));
        } else if brush.app.problem.is_none() {
            ui.label(RichText::new(brush.say(texts::WAITING)).color(palette.weak));
        }
        return;
    };
    let layout = &brush.app.state.layout;
    let mut tree = match &layout.maximised {
        Some((of, view)) if of == key => Tree::new_tabs(egui::Id::unique(("maximised", key)), vec![view.clone()]),
        _ => layout.column(key),
    };
    if tree.tiles.tiles().all(Tile::is_container) {
        ui.label(RichText::new(brush.say(texts::EMPTY_BOARD)).color(palette.weak));
        return;
    }
    let is_whole = layout.maximised.is_none();
    let mut tiles = Board { brush, evidence: &evidence, method: key, edit: None, palette };
    tree.ui(&mut tiles, ui);
    let edit = tiles.edit;
    if let Some(edit) = edit.filter(|_| is_whole) {
        let dragging = matches!(edit, EditAction::TileResized);
        // While a tile is in the air nothing has changed yet.
        if edit != EditAction::TileDragged {
            let method = key.to_owned();
            brush.commands.push(Command::Arrange { method, column: Box::new(tree), dragging });
        }
    }
}

/// How tiles look, and what they ask for.
struct Board<'a, 'b> {
    brush: &'a mut Brush<'b>,
    evidence: &'a Evidence,
    method: &'static str,
    edit: Option<EditAction>,
    palette: Palette,
}

impl Behavior<String> for Board<'_, '_> {
    fn pane_ui(&mut self, ui: &mut Ui, _tile: TileId, pane: &mut String) -> UiResponse {
        let Some(view) = named(pane) else { return UiResponse::None };
        let rect = ui.max_rect();
        ui.painter().rect(rect, 0.0, self.palette.card, Stroke::NONE, egui::StrokeKind::Inside);
        let pressed = ui.input(|input| input.pointer.any_pressed()) && ui.rect_contains_pointer(rect);
        if pressed && self.brush.app.help != view.key() {
            self.brush.commands.push(Command::ShowHelp(view.key()));
        }
        egui::Frame::new().inner_margin(Margin::same(12)).show(ui, |ui| {
            ui.set_min_size(ui.available_size());
            let clip = ui.clip_rect().intersect(rect);
            ui.set_clip_rect(clip);
            ui.push_id(view.key(), |ui| self.view(ui, view));
        });
        UiResponse::None
    }

    fn tab_title_for_pane(&mut self, pane: &String) -> WidgetText {
        let title = named(pane).map_or_else(|| pane.clone(), |view| self.brush.word(&title_key(view)));
        RichText::new(title).font(title_font(13.0)).into()
    }

    fn on_tab_button(&mut self, tiles: &mut Tiles<String>, tile: TileId, response: egui::Response) -> egui::Response {
        if let Some(view) = tiles.get_pane(&tile).and_then(|pane| named(pane)) {
            if response.double_clicked() {
                self.brush.commands.push(Command::ToggleMaximised(self.method, view.key()));
            } else if response.clicked() {
                self.brush.commands.push(Command::ShowHelp(view.key()));
            }
        }
        response
    }

    fn top_bar_right_ui(
        &mut self,
        tiles: &Tiles<String>,
        ui: &mut Ui,
        _tile: TileId,
        tabs: &egui_tiles::Tabs,
        _scroll: &mut f32,
    ) {
        let Some(view) = tabs.active.and_then(|tile| tiles.get_pane(&tile)).and_then(|pane| named(pane)) else {
            return;
        };
        ui.add_space(6.0);
        ui.spacing_mut().item_spacing.x = 2.0;
        let name = self.brush.word(&title_key(view));
        let this = (self.method.to_owned(), view.key().to_owned());
        let is_large = self.brush.app.state.layout.maximised.as_ref() == Some(&this);
        let close = Command::CloseView(self.method, view.key());
        self.button(ui, Sign::Close, texts::CLOSE, &name, close);
        let text = if is_large { texts::RESTORE } else { texts::MAXIMISE };
        let sign = if is_large { Sign::Restore } else { Sign::Maximise };
        self.button(ui, sign, text, &name, Command::ToggleMaximised(self.method, view.key()));
        let label = format!("{} · {name}", self.brush.say(texts::EXPORT));
        let response = sign_button(ui, Sign::Export, &label);
        egui::Popup::menu(&response).show(|ui| {
            // The page holds everything, not one view.
            for format in Format::ALL.into_iter().filter(|format| *format != Format::Html) {
                if ui.button(format_name(self.brush.app.state.look.language, format)).clicked() {
                    let export = Export { view: Some(view.key()), format };
                    self.brush.commands.push(Command::Ask(Ask::Export(export, None)));
                    ui.close();
                }
            }
        });
    }

    fn on_edit(&mut self, edit: EditAction) {
        // A tab that was picked because none was active is no edit of the person's.
        self.edit = Some(edit);
    }

    fn simplification_options(&self) -> SimplificationOptions {
        SimplificationOptions { all_panes_must_have_tabs: true, ..Default::default() }
    }

    fn tab_bar_height(&self, _style: &egui::Style) -> f32 {
        BAR
    }

    fn gap_width(&self, _style: &egui::Style) -> f32 {
        LARGE_GAP
    }

    fn min_size(&self) -> f32 {
        120.0
    }

    fn tab_title_spacing(&self, _visuals: &Visuals) -> f32 {
        10.0
    }

    fn tab_bar_color(&self, _visuals: &Visuals) -> Color32 {
        self.palette.raised
    }

    fn tab_bg_color(&self, _: &Visuals, _: &Tiles<String>, _: TileId, state: &TabState) -> Color32 {
        if state.active { self.palette.card } else { Color32::TRANSPARENT }
    }

    fn tab_outline_stroke(&self, _: &Visuals, _: &Tiles<String>, _: TileId, _: &TabState) -> Stroke {
        Stroke::NONE
    }

    fn tab_bar_hline_stroke(&self, _visuals: &Visuals) -> Stroke {
        Stroke::NONE
    }

    fn tab_text_color(&self, _: &Visuals, _: &Tiles<String>, _: TileId, state: &TabState) -> Color32 {
        if state.active { self.palette.text } else { self.palette.weak }
    }

    fn resize_stroke(&self, _style: &egui::Style, state: ResizeState) -> Stroke {
        match state {
            ResizeState::Idle => Stroke::NONE,
            ResizeState::Hovering => Stroke::new(2.0, self.palette.weak),
            ResizeState::Dragging => Stroke::new(2.0, self.palette.accent),
        }
    }
}

impl Board<'_, '_> {
    /// Draws a view; where its tile is too small for it, in a size that it can be read in, to be scrolled over.
    fn view(&mut self, ui: &mut Ui, view: &dyn View) {
        let (space, least) = (ui.available_size(), view.least());
        if space.x >= least.x && space.y >= least.y {
            view.show(ui, self.evidence, self.brush);
            return;
        }
        egui::ScrollArea::both().auto_shrink(false).show(ui, |ui| {
            let (rect, _) = ui.allocate_exact_size(space.max(least), egui::Sense::hover());
            let layout = Layout::top_down(Align::Min);
            let mut inner = ui.new_child(UiBuilder::new().max_rect(rect).layout(layout));
            view.show(&mut inner, self.evidence, self.brush);
        });
    }

    fn button(&mut self, ui: &mut Ui, sign: Sign, text: texts::Text, name: &str, command: Command) {
        let label = format!("{} · {name}", self.brush.say(text));
        if sign_button(ui, sign, &label).clicked() {
            self.brush.commands.push(command);
        }
    }
}

/// What a small button shows.
#[derive(Clone, Copy)]
enum Sign {
    Close,
    Maximise,
    Restore,
    Export,
}

/// A small button with a drawn sign, so that it looks the same with every font.
fn sign_button(ui: &mut Ui, sign: Sign, label: &str) -> egui::Response {
    let (rect, response) = ui.allocate_exact_size(vec2(22.0, 22.0), egui::Sense::click());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, label));
    let visuals = ui.style().interact(&response);
    if response.hovered() || response.has_focus() {
        ui.painter().rect(rect, 4.0, visuals.weak_bg_fill, visuals.bg_stroke, egui::StrokeKind::Inside);
    }
    let weak = ui.visuals().weak_text_color.unwrap_or(visuals.fg_stroke.color);
    let stroke = Stroke::new(1.4, if response.hovered() { visuals.fg_stroke.color } else { weak });
    let middle = rect.center();
    let at = |x: f32, y: f32| middle + vec2(x, y);
    let painter = ui.painter();
    match sign {
        Sign::Close => {
            painter.line_segment([at(-4.0, -4.0), at(4.0, 4.0)], stroke);
            painter.line_segment([at(4.0, -4.0), at(-4.0, 4.0)], stroke);
        }
        Sign::Maximise => {
            let square = Rect::from_center_size(middle, vec2(10.0, 10.0));
            painter.rect_stroke(square, 1.5, stroke, egui::StrokeKind::Middle);
        }
        Sign::Restore => {
            let front = Rect::from_min_max(at(-5.0, -2.0), at(2.0, 5.0));
            painter.rect_stroke(front, 1.5, stroke, egui::StrokeKind::Middle);
            painter.add(egui::Shape::line(vec![at(-2.0, -5.0), at(5.0, -5.0), at(5.0, 2.0)], stroke));
        }
        Sign::Export => {
            painter.line_segment([at(0.0, -5.0), at(0.0, 2.0)], stroke);
            painter.add(egui::Shape::line(vec![at(-3.0, -1.0), at(0.0, 2.0), at(3.0, -1.0)], stroke));
            painter.add(egui::Shape::line(vec![at(-5.0, 2.0), at(-5.0, 5.0), at(5.0, 5.0), at(5.0, 2.0)], stroke));
        }
    }
    response.on_hover_text(label.to_owned())
}

/// A view alone in a card, as it is drawn into files.
pub fn alone(ui: &mut Ui, evidence: &Evidence, brush: &mut Brush<'_>, view: &dyn View) {
    let palette = brush.palette();
    egui::Frame::new().fill(palette.card).inner_margin(Margin::same(14)).show(ui, |ui| {
        ui.set_min_size(ui.available_size());
        ui.vertical(|ui| {
            ui.label(RichText::new(brush.word(&title_key(view))).font(title_font(15.0)));
            ui.add_space(GAP);
            ui.push_id(view.key(), |ui| view.show(ui, evidence, brush));
        });
    });
}
