//! A query as a small map over the picture, with what is said beneath it.

use egui::{
    Align2, Color32, FontId, Painter, Pos2, Rect, Role, Sense, Shape, Stroke, StrokeKind, TextStyle, Ui, WidgetInfo,
    pos2, vec2,
};

use super::super::Brush;
use super::super::faithful::{badge, badge_place};
use super::super::map_picture::{Overlay, draw, plain};
use super::{Shown, name, percent, similarity_name, similarity_text};
use crate::app::{Command, Thing};
use crate::methods::Evidence;
use crate::methods::queries::Queries;
use crate::ui::texts::querying;

/// Height of the two lines beneath a map.
pub const FOOT: f32 = 36.0;
/// Side of the sign that leaves a query out.
const SIGN: f32 = 16.0;
/// Side of the mark of the query that wins.
pub const MARK: f32 = 13.0;

/// What all small maps are drawn with.
pub(super) struct Cells<'a> {
    /// The evidence.
    pub(super) evidence: &'a Evidence,
    /// The queries.
    pub(super) queries: &'a Queries,
    /// Their maps.
    pub(super) shown: &'a Shown,
    /// How like the words each query is.
    pub(super) similar: Option<&'a [f32]>,
    /// The place of the one that is most like them.
    pub(super) winner: Option<usize>,
}

impl Cells<'_> {
    /// Draws the query at a place into `whole`, which has room for the lines beneath the map.
    pub(super) fn draw(&self, ui: &Ui, brush: &mut Brush<'_>, place: usize, whole: Rect) {
        let (Some(query), Some(map)) = (self.queries.kept.get(place).copied(), self.shown.maps.get(place)) else {
            return;
        };
        let palette = brush.palette();
        let rect = Rect::from_min_max(whole.min, pos2(whole.right(), whole.bottom() - FOOT));
        let response = ui.interact(rect, ui.scope_id().with(("query", query)), Sense::click());
        let is_selected = brush.app.state.querying.query == Some(query);
        let label = name(brush, query);
        response.widget_info(|| WidgetInfo::selected(Role::RadioButton, true, is_selected, &label));
        if response.gained_focus() {
            response.scroll_to_me(None);
        }
        // What is scrolled out of sight needs no texture.
        if ui.is_rect_visible(rect) {
            let top = self.shown.top_of(brush.app, map);
            let overlay = Overlay { values: map, top, signed: false, name: &format!("query {query}") };
            if draw(ui, self.evidence, brush, overlay, rect).is_none() {
                plain(ui, brush, overlay, self.evidence.grid, rect);
            }
        }
        let is_winner = self.winner == Some(place);
        if is_winner {
            ui.painter().rect_stroke(rect, 0.0, Stroke::new(2.5, palette.accent), StrokeKind::Inside);
            mark(ui.painter(), rect.min, palette.accent, palette.card);
            // Its map is the one that stands for the words, if no other layer or head was chosen.
            let landed = brush.app.landed(self.evidence.method).filter(|landed| landed.values == *map);
            if let Some(landed) = landed.filter(|_| rect.width() > 3.0 * badge_place(rect).width()) {
                badge(ui, brush, (self.evidence.method, &landed), badge_place(rect));
            }
        }
        if let Some(stroke) = brush.outline(Thing::Query(query)) {
            ui.painter().rect_stroke(whole.expand(3.0), 5.0, stroke, StrokeKind::Inside);
        }
        if response.has_focus() {
            ui.painter().rect_stroke(rect.expand(1.0), 2.0, Stroke::new(2.0, palette.strong), StrokeKind::Outside);
        }
        let share = percent(map.iter().sum());
        let similarity = self.similar.and_then(|similar| similar.get(place)).copied();
        let similarity = similarity.map(|value| similarity_text(self.queries, value));
        let (font, line) = (small_font(ui), FOOT / 2.0);
        let text = |x: f32, row: f32, align: Align2, text: &str, colour: Color32| {
            let at = pos2(x, rect.bottom() + line * (row + 0.5) + 1.0);
            ui.painter().text(at, align, text, font.clone(), colour);
        };
        text(rect.left() + 2.0, 0.0, Align2::LEFT_CENTER, &(query + 1).to_string(), palette.text);
        text(rect.left() + 2.0, 1.0, Align2::LEFT_CENTER, &share, palette.weak);
        if let Some(similarity) = &similarity {
            let colour = if is_winner { palette.accent } else { palette.weak };
            text(rect.right() - 2.0, 1.0, Align2::RIGHT_CENTER, similarity, colour);
        }
        if response.hovered() {
            brush.hover(Thing::Query(query));
        }
        if response.clicked() {
            brush.commands.push(Command::SelectQuery((!is_selected).then_some(query)));
            response.request_focus();
        }
        let mut facts = format!("{label}\n{} {share}", brush.say(querying::ON_PATCHES));
        if let Some(similarity) = similarity {
            facts += &format!("\n{} {similarity}", similarity_name(brush, self.evidence, self.queries));
        }
        response.on_hover_text(facts);
        // The last one can't be left out.
        let enabled = self.queries.kept.len() > 1;
        sign(ui, brush, query, pos2(rect.right() - SIGN / 2.0, rect.bottom() + line / 2.0 + 1.0), enabled);
    }
}

/// A query that takes no part: a greyed place, from which it can be taken back.
pub fn draw_off(ui: &Ui, brush: &mut Brush<'_>, query: usize, whole: Rect) {
    let palette = brush.palette();
    let rect = Rect::from_min_max(whole.min, pos2(whole.right(), whole.bottom() - FOOT));
    let painter = ui.painter();
    painter.rect_filled(rect, 2.0, palette.raised);
    painter.text(rect.center(), Align2::CENTER_CENTER, brush.say(querying::OFF), small_font(ui), palette.weak);
    let middle = rect.bottom() + FOOT / 4.0 + 1.0;
    let number = (query + 1).to_string();
    painter.text(pos2(rect.left() + 2.0, middle), Align2::LEFT_CENTER, number, small_font(ui), palette.weak);
    if let Some(stroke) = brush.outline(Thing::Query(query)) {
        painter.rect_stroke(whole.expand(3.0), 5.0, stroke, StrokeKind::Inside);
    }
    sign(ui, brush, query, pos2(rect.right() - SIGN / 2.0, middle), true);
}

/// The mark of the query that wins, so that it is known without its colour, too: a filled corner.
pub fn mark(painter: &Painter, corner: Pos2, fill: Color32, edge: Color32) {
    let points = vec![corner, corner + vec2(MARK, 0.0), corner + vec2(0.0, MARK)];
    painter.add(Shape::convex_polygon(points, fill, Stroke::new(1.0, edge)));
}

/// A cross that leaves a query out, or a plus that takes it back.
fn sign(ui: &Ui, brush: &mut Brush<'_>, query: usize, middle: Pos2, enabled: bool) {
    let palette = brush.palette();
    let is_on = !brush.app.state.querying.dropped.contains(&query);
    let enabled = enabled || !is_on;
    let sense = if enabled { Sense::click() } else { Sense::hover() };
    let rect = Rect::from_center_size(middle, vec2(SIGN, SIGN));
    let response = ui.interact(rect, ui.scope_id().with(("take part", query)), sense);
    let label = format!("{} {}", brush.say(if is_on { querying::LEAVE_OUT } else { querying::TAKE_BACK }), query + 1);
    response.widget_info(|| WidgetInfo::labeled(Role::Button, enabled, &label));
    let is_lit = enabled && (response.hovered() || response.has_focus());
    if is_lit {
        ui.painter().rect_filled(rect, 3.0, palette.line);
    }
    let stroke = Stroke::new(1.4, if is_lit { palette.text } else { palette.weak });
    let arm = if is_on { vec2(3.5, 3.5) } else { vec2(4.5, 0.0) };
    if enabled {
        ui.painter().line_segment([middle - arm, middle + arm], stroke);
        let other = vec2(arm.y, -arm.x);
        ui.painter().line_segment([middle - other, middle + other], stroke);
    }
    if response.clicked() {
        brush.commands.push(Command::ToggleQuery(query));
    }
    if enabled {
        response.on_hover_text(label);
    }
}

fn small_font(ui: &Ui) -> FontId {
    TextStyle::Small.resolve(ui.style())
}
