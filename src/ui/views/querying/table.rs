//! Cells with names before their rows and over their columns: the same for all tables of queries.

use egui::epaint::TextShape;
use egui::text::{LayoutJob, TextWrapping};
use egui::{
    Align2, FontId, Rect, Response, Role, Sense, Stroke, StrokeKind, TextStyle, Ui, Vec2, WidgetInfo, pos2, vec2,
};

use super::super::Brush;
use super::super::parts::{arrows, pointed};

/// Height over the cells, for numbers that stand upright and for words that are turned.
const UPRIGHT: f32 = 18.0;
const TURNED: f32 = 62.0;
/// Room for the numbers behind the rows.
pub const ENDS: f32 = 56.0;

/// Where the parts of a table stand.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    /// The names of the rows.
    pub rows: &'a [String],
    /// The names of the columns; none where they have no names.
    pub columns: &'a [String],
    /// The number of columns.
    pub count: usize,
    /// What stands behind each row; none where nothing does.
    pub ends: &'a [String],
    /// The size of a cell.
    pub cell: Vec2,
    /// The width of the names before the rows.
    pub labels: f32,
}

/// What a person does with a table: a row, and a column where it isn't the row's name.
pub struct Touch {
    /// What the pointer is over.
    pub over: Option<(usize, Option<usize>)>,
    /// What was clicked, or reached by the arrow keys.
    pub taken: Option<(usize, Option<usize>)>,
    /// The whole table.
    pub response: Response,
}

/// The height over the cells that these names need.
#[must_use]
pub fn head(columns: &[String]) -> f32 {
    match columns.iter().map(|name| name.chars().count()).max() {
        None => 0.0,
        Some(0..=2) => UPRIGHT,
        Some(_) => TURNED,
    }
}

impl Frame<'_> {
    /// Takes the room for everything; gives the place of the cells.
    pub fn place(&self, ui: &mut Ui) -> Rect {
        let cells = vec2(self.cell.x * self.count as f32, self.cell.y * self.rows.len() as f32);
        let corner = vec2(self.labels, head(self.columns));
        let ends = if self.ends.is_empty() { 0.0 } else { ENDS };
        let (outer, _) = ui.allocate_exact_size(corner + cells + vec2(ends, 0.0), Sense::hover());
        Rect::from_min_size(outer.min + corner, cells)
    }

    /// The cells of a row.
    #[must_use]
    pub fn row(&self, cells: Rect, row: usize) -> Rect {
        let top = cells.top() + self.cell.y * row as f32;
        Rect::from_min_size(pos2(cells.left(), top), vec2(cells.width(), self.cell.y))
    }

    /// The cells of a column.
    #[must_use]
    pub fn column(&self, cells: Rect, column: usize) -> Rect {
        let left = cells.left() + self.cell.x * column as f32;
        Rect::from_min_size(pos2(left, cells.top()), vec2(self.cell.x, cells.height()))
    }

    /// Writes all names; one row and one column stand out.
    pub fn names(&self, ui: &Ui, brush: &Brush<'_>, cells: Rect, (row, column): (Option<usize>, Option<usize>)) {
        let palette = brush.palette();
        let painter = ui.painter();
        let small = TextStyle::Small.resolve(ui.style());
        let write = |text: &str, size: f32, room: f32, stands_out: bool| {
            let colour = if stands_out { palette.accent } else { palette.text };
            let font = FontId::new(size, small.family.clone());
            let mut job = LayoutJob::simple_singleline(text.to_owned(), font, colour);
            job.wrap = TextWrapping::truncate_at_width(room.max(1.0));
            (painter.layout_job(job), colour)
        };
        // Not taller than a row, nor wider than a column.
        let size = small.size.min(self.cell.y);
        for (at, text) in self.rows.iter().enumerate() {
            let middle = self.row(cells, at).center().y;
            let (galley, colour) = write(text, size, self.labels - 8.0, row == Some(at));
            let corner = pos2(cells.left() - 6.0 - galley.size().x, middle - galley.size().y / 2.0);
            painter.galley(corner, galley, colour);
        }
        for (at, text) in self.ends.iter().enumerate() {
            let place = pos2(cells.right() + 6.0, self.row(cells, at).center().y);
            painter.text(place, Align2::LEFT_CENTER, text, FontId::new(size, small.family.clone()), palette.weak);
        }
        let size = small.size.min(self.cell.x);
        let is_turned = head(self.columns) > UPRIGHT;
        for (at, text) in self.columns.iter().enumerate() {
            let middle = self.column(cells, at).center().x;
            let (galley, colour) = write(text, size, TURNED - 8.0, column == Some(at));
            let extent = galley.size();
            if is_turned {
                let corner = pos2(middle - extent.y / 2.0, cells.top() - 5.0);
                painter.add(TextShape::new(corner, galley, colour).with_angle(-std::f32::consts::FRAC_PI_2));
            } else {
                let corner = pos2(middle - extent.x / 2.0, cells.top() - 3.0 - extent.y);
                painter.galley(corner, galley, colour);
            }
        }
    }

    /// Lets the person point at cells and names, click them, and walk over the cells with the arrow keys, which go on from
    /// what is `chosen`.
    pub fn touch(
        &self,
        ui: &Ui,
        brush: &Brush<'_>,
        cells: Rect,
        name: &str,
        chosen: (Option<usize>, Option<usize>),
    ) -> Touch {
        let whole = Rect::from_min_max(pos2(cells.left() - self.labels, cells.top()), cells.max);
        let response = ui.interact(whole, ui.scope_id().with(("table", name)), Sense::click());
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, name));
        let (rows, columns) = (self.rows.len(), self.count);
        if rows == 0 || columns == 0 {
            return Touch { over: None, taken: None, response };
        }
        let along = |offset: f32, step: f32, count: usize| ((offset / step) as usize).min(count - 1);
        let over = pointed(&response).map(|pointer| {
            let is_cell = pointer.x >= cells.left();
            let column = is_cell.then(|| along(pointer.x - cells.left(), self.cell.x, columns));
            (along(pointer.y - cells.top(), self.cell.y, rows), column)
        });
        let row = chosen.0.unwrap_or(rows / 2).min(rows - 1);
        let column = chosen.1.unwrap_or(columns / 2).min(columns - 1);
        let mut taken = None;
        if response.clicked() {
            response.request_focus();
            // A click with the keyboard means what is chosen, or the middle.
            taken = Some(over.unwrap_or((row, Some(column))));
        }
        if let Some((down, right)) = arrows(ui, &response) {
            let moved = |at: usize, by: isize, count: usize| at.saturating_add_signed(by).min(count - 1);
            taken = Some((moved(row, down, rows), Some(moved(column, right, columns))));
        }
        if response.has_focus() {
            let stroke = Stroke::new(1.5, brush.palette().accent);
            ui.painter().rect_stroke(cells.expand(2.0), 2.0, stroke, StrokeKind::Outside);
        }
        Touch { over, taken, response }
    }
}
