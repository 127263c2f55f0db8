//! The parts of Alignscope's library whose instructions are counted.

#![allow(dead_code, reason = "what else the library has is left out")]

#[path = "../../../src/error.rs"]
pub mod error;
#[path = "../../../src/nn/mod.rs"]
pub mod nn;
#[path = "../../../src/taps/mod.rs"]
pub mod taps;

pub use error::{Error, Result};
