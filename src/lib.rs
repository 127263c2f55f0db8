pub mod attribution;
pub mod cli;
pub mod error;
pub mod evaluation;
pub mod export;
pub mod files;
pub mod models;
pub mod nn;
pub mod taps;
pub mod training;
pub mod ui;
pub mod world;

pub use error::{Error, Result};
