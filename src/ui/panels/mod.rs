//! The panels around the board.

pub mod bar;
pub mod comparison;
pub mod downloads;
pub mod inputs;
pub mod inspector;
pub mod lesson;
pub mod notices;
pub mod status;
