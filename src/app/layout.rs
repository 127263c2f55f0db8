//! Which views are where: a tree of tiles for each method.
//!
//! The tiles themselves are `egui_tiles`'. They are plain data here: the tree that a person has arranged goes into the
//! state, into undo and into session files.

use egui_tiles::{Container, Linear, LinearDir, Tile, TileId, Tiles, Tree};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The views of one method; a pane is the key of a view.
pub type Column = Tree<String>;

/// Where everything is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Layout {
    /// The columns that a person has changed, by the key of the method; the others are as [`usual`] says.
    columns: BTreeMap<String, Column>,
    /// The view that fills the board alone, with its method.
    pub maximised: Option<(String, String)>,
}

impl Layout {
    /// The column of a method.
    #[must_use]
    pub fn column(&self, method: &str) -> Column {
        self.columns.get(method).cloned().unwrap_or_else(|| usual(method))
    }

    /// Takes a column as the person has arranged it.
    pub fn set_column(&mut self, method: &str, column: Column) {
        self.columns.insert(method.to_owned(), column);
    }

    /// Whether a view is on the board.
    #[must_use]
    pub fn has(&self, method: &str, view: &str) -> bool {
        self.column(method).tiles.find_pane(&view.to_owned()).is_some()
    }

    /// Takes a view off the board.
    pub fn close(&mut self, method: &str, view: &str) {
        let mut column = self.column(method);
        let pane = view.to_owned();
        while let Some(tile) = column.tiles.find_pane(&pane) {
            column.remove_recursively(tile);
        }
        self.set_column(method, column);
        self.maximised.take_if(|(of, key)| of == method && key == view);
    }

    /// Brings a view to the front, back to where it usually is if it was closed.
    pub fn show(&mut self, method: &str, view: &str) {
        let mut column = self.column(method);
        let pane = view.to_owned();
        if column.tiles.find_pane(&pane).is_none() {
            let tile = column.tiles.insert_pane(pane.clone());
            let home = home(&column, method, view);
            match home.and_then(|tabs| column.tiles.get_mut(tabs)) {
                Some(Tile::Container(Container::Tabs(tabs))) => tabs.add_child(tile),
                _ => {
                    let tabs = column.tiles.insert_tab_tile(vec![tile]);
                    let children = column.root.into_iter().chain([tabs]).collect();
                    column.root = Some(column.tiles.insert_horizontal_tile(children));
                }
            }
        }
        column.make_active(|_, tile| matches!(tile, Tile::Pane(key) if *key == pane));
        self.set_column(method, column);
        self.maximised.take_if(|(of, key)| of != method || key != view);
    }

    /// Puts everything back to where it was at the first start.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Drops columns that can't be drawn, as a damaged or hand-written file may hold them: tiles that aren't there, tiles
    /// that hold themselves, shares that aren't positive numbers.
    pub fn mend(&mut self) {
        self.columns.retain(|_, column| is_sound(column));
        for column in self.columns.values_mut() {
            column.tiles.recompute_next_tile_id();
            // As large as its place, whatever a file says.
            column.set_width(f32::INFINITY);
            column.set_height(f32::INFINITY);
        }
    }
}

/// The tabs in which a view's usual neighbours are.
fn home(column: &Column, method: &str, view: &str) -> Option<TileId> {
    let usual = usual(method);
    let pane = usual.tiles.find_pane(&view.to_owned())?;
    let tabs = usual.tiles.parent_of(pane)?;
    let neighbours = usual.tiles.get_container(tabs)?.children_vec();
    let tabs_of = |tile: &TileId| {
        let Some(Tile::Pane(key)) = usual.tiles.get(*tile) else { return None };
        let parent = column.tiles.parent_of(column.tiles.find_pane(key)?)?;
        matches!(column.tiles.get_container(parent), Some(Container::Tabs(_))).then_some(parent)
    };
    neighbours.iter().find_map(tabs_of)
}

/// Two sides, each with places from top to bottom, each with its views.
type Sides = [&'static [&'static [&'static str]]; 2];

/// The key of the column in which all methods stand side by side.
pub const SIDE_BY_SIDE: &str = "side-by-side";

/// A column as it is at the first start.
pub struct Usual {
    /// The key of its method, or [`SIDE_BY_SIDE`].
    pub key: &'static str,
    /// Its views, beside each other, each place with its views as tabs from top to bottom.
    sides: Sides,
    /// Shares of the two sides.
    widths: [f32; 2],
    /// Shares of the places on one side.
    shares: [f32; 2],
}

/// The keys of all columns, in the order in which they are offered.
pub fn keys() -> impl Iterator<Item = &'static str> {
    USUAL.iter().map(|usual| usual.key)
}

/// The column with this key.
#[must_use]
pub fn named(key: &str) -> Option<&'static Usual> {
    USUAL.iter().find(|usual| usual.key == key)
}

/// How views stand at the first start.
const USUAL: &[Usual] = &[
    Usual {
        key: SIDE_BY_SIDE,
        sides: [&[&["scene-editor"]], &[&["four-ways", "four-clouds", "ledger", "faithful", "bottleneck", "watch"]]],
        widths: [0.3, 0.7],
        shares: [1.0, 0.0],
    },
    Usual {
        key: "contrastive",
        sides: [
            &[&["heatmap", "attention"]],
            &[&["embedding", "album", "what-if", "explainers"], &["matrix", "ranking"]],
        ],
        widths: [1.0, 1.0],
        shares: [0.5, 0.5],
    },
    Usual {
        key: "cross-attention",
        sides: [
            &[&["words"]],
            &[
                &["cross-heads", "word-patches", "explainers-words"],
                &["expected", "gates", "latents", "mixing", "what-if-words"],
            ],
        ],
        widths: [1.0, 1.0],
        shares: [0.5, 0.5],
    },
    Usual {
        key: "querying",
        sides: [
            &[&["queries"]],
            &[
                &["query-patches", "query-attention", "explainers-queries"],
                &["query-says", "query-words", "query-masks", "query-space", "what-if-queries"],
            ],
        ],
        widths: [1.0, 1.0],
        shares: [0.5, 0.5],
    },
    Usual {
        key: "projector",
        sides: [
            &[&["patch-words", "row"]],
            &[
                &["row-words", "row-heads", "row-patches", "explainers-row"],
                &["row-shares", "row-space", "row-expected", "projector-change", "picture-cost", "what-if-row"],
            ],
        ],
        widths: [1.0, 1.0],
        shares: [0.6, 0.4],
    },
];

/// The view that stands first in the column of a method.
#[must_use]
pub fn first_view(method: &str) -> Option<&'static str> {
    named(method)?.sides.first()?.first()?.first().copied()
}

/// The keys of the views in the column of a method.
pub fn views_of(method: &str) -> impl Iterator<Item = &'static str> {
    let sides = named(method).map(|usual| usual.sides).unwrap_or_default();
    sides.into_iter().flatten().copied().flatten().copied()
}

/// Whether a view stands in the column of a method.
#[must_use]
pub fn is_of(method: &str, view: &str) -> bool {
    views_of(method).any(|known| known == view)
}

/// The column of a method at the first start.
#[must_use]
pub fn usual(method: &str) -> Column {
    let mut tiles = Tiles::default();
    let id = egui::Id::unique(("column", method));
    let Some(Usual { sides, widths, shares, .. }) = named(method) else { return Tree::empty(id) };
    let mut columns = Vec::new();
    for places in sides.iter().filter(|places| !places.is_empty()) {
        let mut stack = Vec::new();
        for views in *places {
            let panes = views.iter().map(|view| tiles.insert_pane((*view).to_owned())).collect();
            stack.push(tiles.insert_tab_tile(panes));
        }
        columns.push(match stack.as_slice() {
            [one] => *one,
            places => {
                let mut linear = Linear::new(LinearDir::Vertical, places.to_vec());
                for (place, share) in places.iter().zip(shares) {
                    linear.shares.set_share(*place, *share);
                }
                tiles.insert_container(linear)
            }
        });
    }
    let mut beside = Linear::new(LinearDir::Horizontal, columns.clone());
    for (column, width) in columns.iter().zip(widths) {
        beside.shares.set_share(*column, *width);
    }
    let root = tiles.insert_container(beside);
    Tree::new(id, root, tiles)
}

/// Tiles that a column may have; a person's has a dozen.
const MOST_TILES: usize = 200;

fn is_sound(column: &Column) -> bool {
    let mut seen = BTreeSet::new();
    let mut waiting: Vec<TileId> = column.root.into_iter().collect();
    while let Some(tile) = waiting.pop() {
        if !seen.insert(tile.0) || seen.len() > MOST_TILES {
            return false;
        }
        match column.tiles.get(tile) {
            None => return false,
            Some(Tile::Pane(_)) => {}
            Some(Tile::Container(container)) => {
                let sizes: Vec<f32> = match container {
                    Container::Linear(linear) => linear.shares.iter().map(|(_, share)| *share).collect(),
                    Container::Grid(grid) => grid.col_shares.iter().chain(&grid.row_shares).copied().collect(),
                    Container::Tabs(_) => Vec::new(),
                };
                if sizes.iter().any(|share| !(1e-4..1e4).contains(share)) {
                    return false;
                }
                waiting.extend(container.children_vec());
            }
        }
    }
    column.tiles.len() <= MOST_TILES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_closed_and_come_back_to_their_neighbours() {
        let mut layout = Layout::default();
        layout.close("contrastive", "ranking");
        assert!(!layout.has("contrastive", "ranking") && layout.has("contrastive", "matrix"));
        layout.show("contrastive", "ranking");
        let column = layout.column("contrastive");
        let parent = |view: &str| column.tiles.parent_of(column.tiles.find_pane(&view.to_owned()).unwrap());
        assert_eq!(parent("ranking"), parent("matrix"));
        for view in views_of("contrastive") {
            layout.close("contrastive", view);
        }
        assert!(layout.column("contrastive").tiles.tiles().all(Tile::is_container));
        layout.show("contrastive", "heatmap");
        assert!(layout.has("contrastive", "heatmap") && is_sound(&layout.column("contrastive")));
    }

    #[test]
    fn a_layout_goes_through_a_file() {
        let mut layout = Layout::default();
        layout.close("contrastive", "ranking");
        let text = serde_json::to_string(&layout).unwrap();
        let mut read: Layout = serde_json::from_str(&text).unwrap();
        read.mend();
        assert_eq!(read, layout);
    }

    #[test]
    fn a_tile_that_holds_itself_is_refused() {
        let mut column = usual("contrastive");
        let root = column.root.unwrap();
        if let Some(Tile::Container(container)) = column.tiles.get_mut(root) {
            container.add_child(root);
        }
        let mut layout = Layout::default();
        layout.set_column("contrastive", column);
        layout.mend();
        assert_eq!(layout, Layout::default());
    }
}
