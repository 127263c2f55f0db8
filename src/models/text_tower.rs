//! The text encoder of CLIP and SigLIP, up to its last block.

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::nn::{BlockShape, Embedding, EncoderBlock, Scope};
use crate::taps::{Point, Site, Taps, Tower};

/// Tokens, positions and blocks.
#[derive(Clone, Debug)]
pub struct TextTower {
    token_embedding: Embedding,
    position_embedding: Embedding,
    blocks: Vec<EncoderBlock>,
    context: usize,
}

/// The sizes of a text tower.
#[derive(Clone, Copy, Debug)]
pub struct TextShape {
    /// Number of known tokens.
    pub tokens: usize,
    /// The longest text, in tokens.
    pub context: usize,
    /// Number of blocks.
    pub depth: usize,
    /// The sizes of each block.
    pub block: BlockShape,
}

impl TextTower {
    /// Builds the tower from the weights under `text_model`.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(shape: TextShape, scope: &Scope<'_>) -> Result<Self> {
        let TextShape { tokens, context, depth, block } = shape;
        let embeddings = scope.enter("embeddings");
        let layers = scope.enter("encoder.layers");
        Ok(Self {
            token_embedding: Embedding::load(&embeddings.enter("token_embedding"), tokens, block.width)?,
            position_embedding: Embedding::load(&embeddings.enter("position_embedding"), context, block.width)?,
            blocks: (0..depth).map(|layer| EncoderBlock::load(&layers.enter(layer), block)).collect::<Result<_>>()?,
            context,
        })
    }

    /// Number of blocks.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.blocks.len()
    }

    /// The number of tokens in each row of `ids` `[batch, tokens]`.
    ///
    /// # Errors
    /// If there are more than the model reads.
    pub fn check_length(&self, ids: &Tensor) -> Result<usize> {
        let (_, tokens) = ids.dims2()?;
        if tokens > self.context {
            return Err(Error::unusable(
                format!("the text has {tokens} tokens, but the model reads at most {}", self.context),
                "shorten the text",
            ));
        }
        Ok(tokens)
    }

    /// The states after the last block, `[batch, tokens, width]`, of `ids` `[batch, tokens]`; `mask` is added to the
    /// attention scores (`[batch or 1, 1, tokens, tokens]`).
    ///
    /// # Errors
    /// If a text is too long, an id unknown, the pass is cancelled, or an observer fails.
    pub fn forward(&self, ids: &Tensor, mask: Option<&Tensor>, taps: &mut Taps<'_>) -> Result<Tensor> {
        let tokens = self.check_length(ids)?;
        let embedded = self.token_embedding.forward(ids)?; // [batch, tokens, width]
        let x = embedded.broadcast_add(&self.position_embedding.first(tokens)?)?;
        let mut x = taps.tap(Site::new(Tower::Text, 0, Point::Embed), x)?;
        for (layer, block) in self.blocks.iter().enumerate() {
            x = block.forward(x, mask, Tower::Text, layer, taps)?;
        }
        Ok(x)
    }
}
