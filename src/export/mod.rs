//! Writers. They see host arrays and text, never a tensor.

pub mod trace;
