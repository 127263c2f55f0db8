//! From tokens and pixels to vectors.

use candle_core::Tensor;

use super::{Linear, Scope, Weight};
use crate::error::{Error, Result};

/// A table of vectors, one for each id.
#[derive(Clone, Debug)]
pub struct Embedding {
    weight: Weight, // [ids, width]
}

impl Embedding {
    /// Reads `weight`.
    ///
    /// # Errors
    /// If it is missing or has another shape.
    pub fn load(scope: &Scope<'_>, ids: usize, width: usize) -> Result<Self> {
        Ok(Self { weight: scope.matrix("weight", (ids, width))? })
    }

    /// From a table `[ids, width]`.
    #[must_use]
    pub fn new(weight: impl Into<Weight>) -> Self {
        Self { weight: weight.into() }
    }

    /// The vectors of `ids` `[batch, positions]`, as `[batch, positions, width]`.
    ///
    /// # Errors
    /// If an id is outside of the table, or the ids aren't `u32`.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let (batch, positions) = ids.dims2()?;
        // A GPU would read beyond the table without a word.
        let highest = ids.flatten_all()?.to_vec1::<u32>()?.into_iter().max().unwrap_or(0);
        let (known, _) = self.weight.dims()?;
        if highest as usize >= known {
            return Err(Error::unusable(
                format!("the text holds the token {highest}, but the model knows {known} tokens"),
                "use the tokenizer.json that belongs to the weights",
            ));
        }
        let rows = self.weight.gather(&ids.flatten_all()?)?; // [batch * positions, width]
        Ok(rows.reshape((batch, positions, ()))?)
    }

    /// The vectors of the first `count` ids, `[count, width]`.
    ///
    /// # Errors
    /// If the table is shorter.
    pub fn first(&self, count: usize) -> Result<Tensor> {
        self.slice(0, count)
    }

    /// The vectors of `count` ids from `start` on, `[count, width]`.
    ///
    /// # Errors
    /// If the table ends before.
    pub fn slice(&self, start: usize, count: usize) -> Result<Tensor> {
        self.weight.narrow(start, count)?.widened()
    }

    /// The table, `[ids, width]`.
    #[must_use]
    pub fn weight(&self) -> &Weight {
        &self.weight
    }
}

/// Cuts a picture into patches and maps each to a vector: a convolution whose stride equals its kernel, done as one
/// matrix product, which is faster.
#[derive(Clone, Debug)]
pub struct PatchEmbedding {
    linear: Linear, // 3 * patch * patch -> width
    patch: usize,
}

impl PatchEmbedding {
    /// Reads the convolution's `weight`, and its `bias` if it has one.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(scope: &Scope<'_>, patch: usize, width: usize, bias: bool) -> Result<Self> {
        let weight = scope.get("weight", &[width, 3, patch, patch])?;
        let weight = weight.reshape((width, 3 * patch * patch))?;
        let linear =
            if bias { Linear::new(weight, scope.get("bias", &[width])?) } else { Linear::from_weight(weight)? };
        Ok(Self { linear: linear.turned()?, patch })
    }

    /// Maps pixels `[batch, 3, height, width]` to `[batch, patches, width]`, patches row by row. What doesn't fill a
    /// whole patch at the right and lower edge is left out, as the convolution does.
    ///
    /// # Errors
    /// If the pixels don't have three channels.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        self.linear.forward(&cut_into_patches(pixels, self.patch)?)
    }
}

/// Cuts pixels `[batch, channels, height, width]` into squares of `patch` pixels, row by row: `[batch, patches, channels *
/// patch * patch]`. What doesn't fill a whole patch is left out.
///
/// # Errors
/// If the pixels don't have four axes.
pub fn cut_into_patches(pixels: &Tensor, patch: usize) -> Result<Tensor> {
    let (batch, channels, height, width) = pixels.dims4()?;
    let (rows, columns) = (height / patch, width / patch);
    let pixels = pixels
        .narrow(2, 0, rows * patch)?
        .narrow(3, 0, columns * patch)?
        .reshape((batch, channels, rows, patch, columns, patch))?
        .permute((0, 2, 4, 1, 3, 5))?; // [batch, rows, columns, channels, patch, patch]
    Ok(pixels.reshape((batch, rows * columns, channels * patch * patch))?)
}
