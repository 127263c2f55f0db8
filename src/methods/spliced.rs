//! What a picture becomes among the words of a language model: the row that the model reads, the words that stand nearest to
//! each patch behind each block, and how the model's attention is shared between picture and text.

use std::sync::Arc;

/// Everything about a picture in a language model's row.
#[derive(Clone, Debug, Default)]
pub struct Spliced {
    /// The row of the person's text as the language model reads it: text tokens and patches.
    pub row: Vec<RowToken>,
    /// Number of blocks of the language model.
    pub layers: usize,
    /// Heads of each.
    pub heads: usize,
    /// Behind which blocks the patches were read, in their order: 0 is the projector's output, n what leaves the n-th block.
    /// The one that is looked at comes first in time, so the others may still be missing.
    pub depths: Vec<Depth>,
    /// How the attention of each position of [`Self::row`] is shared, at the position that reads it, `[row, layers, heads]`;
    /// absent while it is computed.
    pub shares: Option<Arc<Vec<Share>>>,
    /// How neighbourhoods of patches change from the projector's input to its output.
    pub change: Option<Change>,
    /// What the picture costs.
    pub cost: Option<Cost>,
    /// Whether all of it is there; else something is still being computed.
    pub complete: bool,
}

/// A position of the language model's row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowToken {
    /// Its text; of a patch the placeholder's.
    pub text: String,
    /// The patch that it stands for, counted row by row.
    pub patch: Option<usize>,
    /// Whether it stands for the picture: a patch, or the vision tower's class token.
    pub of_picture: bool,
    /// Where it stands in the person's text, in bytes.
    pub span: Option<(usize, usize)>,
    /// Length of the vector that the language model gets there.
    pub norm: f32,
}

/// The words nearest to each patch at one depth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Depth {
    /// 0 is the projector's output, n what leaves the n-th block of the language model.
    pub layer: usize,
    /// For each patch the words whose vectors in the language model's table have the highest cosine to its state, nearest
    /// first, with the cosine.
    pub nearest: Vec<Vec<(String, f32)>>,
    /// For each patch the words that the language model's last norm and output layer make of its state, likeliest first,
    /// with their probability: the logit lens.
    pub lens: Vec<Vec<(String, f32)>>,
}

/// Which reading of a patch's state is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PatchReading {
    /// The nearest words by cosine.
    #[default]
    Cosine,
    /// The logit lens.
    Lens,
}

/// How attention is shared; the parts add up to one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    /// To patches that are no sinks.
    pub picture: f32,
    /// To sinks: the row's first token, and patches whose state has an outlying norm.
    pub sinks: f32,
    /// To the other tokens, the position itself among them.
    pub text: f32,
}

impl Share {
    /// The mean of some; nothing of none.
    #[must_use]
    pub fn mean(all: &[Self]) -> Self {
        let part = 1.0 / all.len().max(1) as f32;
        let sum = |of: fn(&Self) -> f32| all.iter().map(of).sum::<f32>() * part;
        Self { picture: sum(|share| share.picture), sinks: sum(|share| share.sinks), text: sum(|share| share.text) }
    }
}

/// What the projector does to neighbourhoods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// How many neighbours of each patch are compared.
    pub neighbours: usize,
    /// For each patch the share of its nearest neighbours (by cosine, among the picture's patches) that are so before and
    /// behind the projector.
    pub kept: Vec<f32>,
    /// Linear centred kernel alignment of the picture's patches before and behind the projector (Kornblith et al. 2019,
    /// arXiv 1905.00414), from 0 to 1.
    pub alignment: f32,
    /// For each patch the share of its variance before the projector that can't be told from what comes out, by ridge
    /// regression on all other patches of this picture and of those to compare with (each left out in turn).
    pub lost: Vec<f32>,
}

/// What a picture costs a language model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Positions of the picture.
    pub picture: usize,
    /// How many numbers the vector of each position has.
    pub width: usize,
    /// Positions of the text that is given.
    pub text: usize,
    /// The longest row that the language model reads.
    pub context: usize,
    /// Milliseconds of a pass of the language model over picture and text.
    pub with_picture: f32,
    /// Milliseconds of a pass over the text alone.
    pub without_picture: f32,
    /// Milliseconds of vision tower and projector.
    pub seeing: f32,
    /// Bytes of keys and values that are kept for the picture while the model writes.
    pub kept_for_picture: usize,
    /// Bytes of keys and values that are kept for the text.
    pub kept_for_text: usize,
}

impl Spliced {
    /// The words at one depth, if they are there.
    #[must_use]
    pub fn depth(&self, layer: usize) -> Option<&Depth> {
        self.depths.iter().find(|depth| depth.layer == layer)
    }

    /// How the attention of a position is shared in a layer, of one head or as the mean over heads, if it is known.
    #[must_use]
    pub fn share(&self, position: usize, layer: usize, head: Option<usize>) -> Option<Share> {
        let begin = (position * self.layers + layer) * self.heads;
        let of_heads = self.shares.as_ref()?.get(begin..begin + self.heads)?;
        match head {
            Some(head) => of_heads.get(head).copied(),
            None => Some(Share::mean(of_heads)),
        }
    }
}

impl Depth {
    /// The words of a patch, nearest or likeliest first.
    #[must_use]
    pub fn words(&self, patch: usize, reading: PatchReading) -> &[(String, f32)] {
        let all = match reading {
            PatchReading::Cosine => &self.nearest,
            PatchReading::Lens => &self.lens,
        };
        all.get(patch).map_or(&[], Vec::as_slice)
    }
}
