//! Pixels: the window, its panels and views, the theme, and drawing without a display.
//!
//! Nothing here changes the program's state: panels and views read [`crate::app::App`] and hand back commands.

mod atlas;
pub mod board;
pub mod catalogue;
pub mod columns;
pub mod dialogs;
pub mod export;
pub mod fonts;
pub mod formulas;
pub mod offscreen;
pub mod palette;
pub mod panels;
pub mod raster;
pub mod screen;
pub mod texts;
pub mod textures;
pub mod theme;
pub mod views;
pub mod window;
