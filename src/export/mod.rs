//! Writers. They see host arrays and text, never a tensor.

pub mod npz;
pub mod numbers;
pub mod page;
pub mod trace;
