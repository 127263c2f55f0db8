//! A loss that lets patches keep their places.
//!
//! A small tower that is trained to say what is in a picture forgets where: behind the last block of such a tower no linear
//! map reads the row and the column of a patch (R² about 0; .7 behind the embedding). What stands on its frozen states can
//! then never say what is left of what. So each patch is asked for its own place, which is known of every picture without
//! any label: the cosine of its state with one learned direction is to give its row, with another its column.

use candle_core::{Device, Tensor};

use crate::error::Result;
use crate::nn::{Parameters, normalise};
use crate::taps::{Observer, Point, Site, Tower};

/// Prefix of the two directions among the variables; they are no part of a checkpoint.
pub const PLACE_HEAD: &str = "place_head.";

/// The cosine of the outermost places is one to this. As a bound of what a place takes of a state, it keeps places from
/// being so faint that nothing which reads the states finds them.
const OUTERMOST: f64 = 4.0;

/// The directions of rows and columns, `[2, width]`.
///
/// # Errors
/// If they have another shape.
pub fn place_head(variables: &dyn Parameters, width: usize) -> Result<Tensor> {
    variables.get(&format!("{PLACE_HEAD}weight"), &[2, width])
}

/// The mean squared error of the places of patches, rows and columns counted from -1 to 1, from their `states` `[pictures,
/// patches, width]` on a square grid.
///
/// # Errors
/// If the shapes don't fit.
pub fn place_loss(states: &Tensor, head: &Tensor) -> Result<Tensor> {
    let (pictures, patches, width) = states.dims3()?;
    let states = states.reshape((pictures * patches, width))?;
    let cosine = normalise(&states)?.matmul(&normalise(head)?.t()?)?.reshape((pictures, patches, 2))?;
    let error = (cosine * OUTERMOST)?.broadcast_sub(&places(patches, states.device())?)?;
    Ok(error.sqr()?.mean_all()?)
}

/// Row and column of each patch of a square grid, from -1 to 1, `[patches, 2]`.
pub(super) fn places(patches: usize, device: &Device) -> Result<Tensor> {
    let side = patches.isqrt();
    let place = |at: usize| 2.0 * at as f32 / (side.max(2) - 1) as f32 - 1.0;
    let places = (0..patches).flat_map(|at| [place(at / side), place(at % side)]).collect();
    Ok(Tensor::from_vec(places, (patches, 2), device)?)
}

/// Keeps the states behind the last block of the vision tower, with their history.
pub struct LastStates {
    site: Site,
    states: Option<Tensor>,
}

impl LastStates {
    /// Of a tower with this many blocks.
    #[must_use]
    pub fn new(depth: usize) -> Self {
        Self { site: Site::new(Tower::Vision, depth.saturating_sub(1), Point::ResidPost), states: None }
    }

    /// The states of the patches, `[pictures, patches, width]`, without the class token, once a pass has run.
    ///
    /// # Errors
    /// If the tensor has other axes.
    pub fn patches(&self) -> Result<Option<Tensor>> {
        let patches = |states: &Tensor| Ok(states.narrow(1, 1, states.dim(1)?.saturating_sub(1))?);
        self.states.as_ref().map(patches).transpose()
    }
}

impl Observer for LastStates {
    fn wants(&self, site: Site) -> bool {
        site == self.site
    }

    fn observe(&mut self, _site: Site, states: Tensor) -> Result<Tensor> {
        self.states = Some(states.clone());
        Ok(states)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_that_are_their_place_have_no_loss() {
        let places = places(9, &Device::Cpu).unwrap();
        // The third axis fills each state up to a length of four, so that its cosines are a quarter of its place.
        let rest = places.sqr().unwrap().sum_keepdim(1).unwrap().affine(-1.0, 16.0).unwrap().sqrt().unwrap();
        let states = Tensor::cat(&[&places, &rest], 1).unwrap().unsqueeze(0).unwrap();
        let head = Tensor::new(&[[1f32, 0.0, 0.0], [0.0, 1.0, 0.0]], &Device::Cpu).unwrap();
        let loss = place_loss(&states, &head).unwrap().to_scalar::<f32>().unwrap();
        assert!(loss < 1e-9, "{loss}");
        let swapped = Tensor::new(&[[0f32, 1.0, 0.0], [1.0, 0.0, 0.0]], &Device::Cpu).unwrap();
        assert!(place_loss(&states, &swapped).unwrap().to_scalar::<f32>().unwrap() > 0.5);
    }
}
