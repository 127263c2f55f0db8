//! Alignscope: see where words land in the picture.
//!
//! A picture and a text go one way through the program:
//!
//! ```text
//! picture + text -> models -> taps::Recording -> attribution, methods -> ui, export, cli
//!                   tensors |  plain host arrays from here on
//! ```
//!
//! The parts stand in layers. An import only ever points down (`tests/architecture.rs` checks it):
//!
//! | part | what it is for |
//! |---|---|
//! | `main`, [`cli`] | the command line: opens the window, or runs one subcommand |
//! | [`ui`] | pixels |
//! | `app` | the program without pixels: its state, its commands, its worker |
//! | `methods`, [`evaluation`] | what each way of alignment says about a picture and a text; how well, on scenes whose truth is known |
//! | [`attribution`], `reduction`, [`world`], [`training`], `export` | siblings: maps from recordings; 2-D projections; sticker scenes; losses and recipes; writers |
//! | [`models`] | one file a family; weights, preprocessing, tokenizer |
//! | [`nn`] | blocks that all models share, each differentiable |
//! | [`taps`] | seeing and changing activations at named sites |
//! | [`files`], [`error`] | files that are read within bounds, and written whole or not at all; the one error type |
//!
//! How to add to each part is in `CONTRIBUTING.md`.

// Only the program has to keep to these; tests may unwrap, print and write as they like.
#![deny(clippy::expect_used, clippy::panic, clippy::unreachable, clippy::unwrap_used)]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]
// `println!` panics where its reader is gone; the command line has `cli::output`.
#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod app;
pub mod attribution;
#[cfg(feature = "window")]
pub mod cli;
pub mod error;
pub mod evaluation;
pub mod export;
pub mod files;
pub mod methods;
pub mod models;
pub mod nn;
pub mod reduction;
pub mod resources;
pub mod taps;
pub mod training;
#[cfg(feature = "window")]
pub mod ui;
pub mod world;

pub use error::{Error, Result};
