//! Clouds of vectors brought to two dimensions, for the embedding-space projection. Plain numbers in and out.

pub mod pca;

/// A cloud in the plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    /// Where each point lies, in the order of the vectors.
    pub points: Vec<[f64; 2]>,
    /// Share of the cloud's variance that each axis shows, from 0 to 1; empty where the method has no such number.
    pub shares: Vec<f64>,
}
