//! Changes to what a model computes with: heads switched off, attention cut, gates closed, states replaced.

use candle_core::Tensor;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Array, Attn, MASKED, Observer, Point, Site, SitePattern, Tower};
use crate::error::{Error, Result};

/// Some positions of a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Places {
    /// All of them.
    All,
    /// So many at the beginning.
    Before(usize),
    /// This one, and all that follow.
    From(usize),
    /// These, in rising order.
    These(Vec<usize>),
    /// Of keys: all but the query's own place.
    Others,
}

impl Places {
    /// Whether `key` is one of these for a query at `query`.
    fn have(&self, key: usize, query: usize) -> bool {
        match self {
            Self::All => true,
            Self::Before(end) => key < *end,
            Self::From(begin) => key >= *begin,
            Self::These(these) => these.binary_search(&key).is_ok(),
            Self::Others => key != query,
        }
    }
}

/// Something that a pass computes with is changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A head gathers nothing: zeros at its `z` site.
    HeadOff {
        /// The `z` site of the head's attention.
        site: Site,
        /// Its number.
        head: usize,
    },
    /// A head gathers the same for everything: this at its `z` site.
    HeadMean {
        /// The `z` site of the head's attention.
        site: Site,
        /// Its number.
        head: usize,
        /// What it gathers, `[head width]`.
        by: Arc<Vec<f32>>,
    },
    /// Attention is cut (Geva et al. 2023, arXiv 2304.14767): the scores of some queries for some keys become so low that the
    /// softmax gives them nothing. Where all keys are cut, nothing is gathered.
    Cut {
        /// Whose attention.
        tower: Tower,
        /// Which of its attentions.
        attn: Attn,
        /// The first block and the last.
        layers: (usize, usize),
        /// Which positions no longer look.
        queries: Places,
        /// Which positions they no longer see.
        keys: Places,
    },
    /// Gates of Flamingo's cross-attention blocks are closed: what they add becomes zero, as if tanh of the gate were. With
    /// all of them closed the model is its language model alone.
    GatesClosed {
        /// The blocks whose gates are closed, counted as the cross-attention blocks are; `None` for all.
        layers: Option<Vec<usize>>,
    },
    /// Nothing is changed, but what passes is noted.
    Noted {
        /// At which sites.
        wanted: SitePattern,
        /// Where.
        notes: Notes,
    },
    /// States are replaced by those of another pass (activation patching; Vig et al. 2020, arXiv 2004.12265).
    Replaced {
        /// A site with states, `[batch, positions, width]`.
        site: Site,
        /// The positions whose states are replaced.
        places: Places,
        /// The states of the other pass, `[1, positions, width]`.
        by: Arc<Array>,
    },
}

impl Change {
    fn wants(&self, site: Site) -> bool {
        match self {
            Self::HeadOff { site: own, .. } | Self::HeadMean { site: own, .. } | Self::Replaced { site: own, .. } => {
                *own == site
            }
            Self::Cut { tower, attn, layers: (first, last), keys, .. } => {
                let point = if *keys == Places::All { Point::Z(*attn) } else { Point::Scores(*attn) };
                let layer = usize::from(site.layer);
                site.tower == *tower && site.point == point && (*first..=*last).contains(&layer)
            }
            Self::Noted { wanted, .. } => wanted.matches(site),
            Self::GatesClosed { layers } => {
                let gate = matches!(site.point, Point::GateAttn | Point::GateFfn);
                gate && layers.as_ref().is_none_or(|layers| layers.contains(&usize::from(site.layer)))
            }
        }
    }

    fn change(&self, site: Site, activation: Tensor) -> Result<Tensor> {
        match self {
            Self::Noted { notes, .. } => {
                notes.take(site, &activation)?;
                Ok(activation)
            }
            Self::HeadOff { head, .. } => without_head(&activation, *head),
            Self::HeadMean { head, by, .. } => {
                let (_, heads, _, width) = activation.dims4()?; // z: [batch, heads, queries, head width]
                if by.len() != width {
                    return Err(Error::unusable(
                        format!("a head of {width} numbers can't gather {}", by.len()),
                        "take the mean from the same checkpoint",
                    ));
                }
                let others = without_head(&activation, *head)?;
                let of_all = (0..heads * width).map(|at| if at / width == *head { by[at % width] } else { 0.0 });
                let mean = Tensor::from_vec(of_all.collect::<Vec<f32>>(), (1, heads, 1, width), activation.device())?;
                Ok(others.broadcast_add(&mean.to_dtype(activation.dtype())?)?)
            }
            Self::Cut { queries, keys: Places::All, .. } => {
                let positions = activation.dim(2)?; // z: [batch, heads, queries, head width]
                let kept = (0..positions).map(|at| if queries.have(at, at) { 0.0 } else { 1.0 }).collect();
                scaled(&activation, kept, (1, 1, positions, 1))
            }
            Self::Cut { attn, queries, keys, .. } => {
                let (_, _, rows, columns) = activation.dims4()?; // scores: [batch, heads, queries, keys]
                // Of a text that is written word by word, the queries are the last of its positions.
                let before = if *attn == Attn::SelfAttn { columns.saturating_sub(rows) } else { 0 };
                let mut mask = vec![0f32; rows * columns];
                for row in (0..rows).filter(|row| queries.have(row + before, row + before)) {
                    for column in (0..columns).filter(|column| keys.have(*column, row + before)) {
                        mask[row * columns + column] = MASKED;
                    }
                }
                let mask = Tensor::from_vec(mask, (1, 1, rows, columns), activation.device())?;
                Ok(activation.broadcast_add(&mask.to_dtype(activation.dtype())?)?)
            }
            Self::GatesClosed { .. } => Ok(activation.zeros_like()?),
            Self::Replaced { places, by, .. } => {
                let (_, positions, width) = activation.dims3()?;
                if by.shape != [1, positions, width] {
                    return Err(Error::unusable(
                        format!("states of {positions} x {width} numbers can't be replaced by {:?}", by.shape),
                        "compare pictures of the same checkpoint",
                    ));
                }
                let kept: Vec<f32> = (0..positions).map(|at| if places.have(at, at) { 0.0 } else { 1.0 }).collect();
                let others = by.data.iter().enumerate();
                let others = others.map(|(at, value)| value * (1.0 - kept[at / width.max(1)])).collect::<Vec<f32>>();
                let others = Tensor::from_vec(others, (1, positions, width), activation.device())?;
                let own = scaled(&activation, kept, (1, positions, 1))?;
                Ok(own.broadcast_add(&others.to_dtype(activation.dtype())?)?)
            }
        }
    }
}

/// What the heads gather, `z` `[batch, heads, queries, head width]`, with zeros for one of them.
fn without_head(z: &Tensor, head: usize) -> Result<Tensor> {
    let heads = z.dim(1)?;
    if head >= heads {
        return Err(Error::unusable(format!("there is no head {head} among {heads}"), "choose a smaller head number"));
    }
    let kept = (0..heads).map(|other| if other == head { 0.0 } else { 1.0 }).collect();
    scaled(z, kept, (1, heads, 1, 1))
}

/// `activation` times the factors `kept`, which have `shape`.
fn scaled(activation: &Tensor, kept: Vec<f32>, shape: impl Into<candle_core::Shape>) -> Result<Tensor> {
    let kept = Tensor::from_vec(kept, shape.into(), activation.device())?;
    Ok(activation.broadcast_mul(&kept.to_dtype(activation.dtype())?)?)
}

/// What [`Change::Noted`] notes: of each site the last that passed.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    kept: Arc<Mutex<BTreeMap<Site, Array>>>,
    shapes_alone: bool,
}

impl Notes {
    /// Notes shapes alone: the arrays have no data.
    #[must_use]
    pub fn of_shapes() -> Self {
        Self { shapes_alone: true, ..Self::default() }
    }

    fn take(&self, site: Site, activation: &Tensor) -> Result<()> {
        let array = if self.shapes_alone {
            Array { shape: activation.dims().to_vec(), data: Vec::new() }
        } else {
            Array::from_tensor(activation)?
        };
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(site, array);
        Ok(())
    }

    /// What was noted since.
    #[must_use]
    pub fn finish(&self) -> BTreeMap<Site, Array> {
        std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PartialEq for Notes {
    /// Whether they are the same notes, whatever stands in them.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.kept, &other.kept)
    }
}

/// Everything that is changed in each pass of a model, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interventions(pub Vec<Change>);

impl Interventions {
    /// Whether something is changed at `site`.
    #[must_use]
    pub fn want(&self, site: Site) -> bool {
        self.0.iter().any(|change| change.wants(site))
    }

    /// The activation at `site` as the pass goes on with it.
    ///
    /// # Errors
    /// If a head or states aren't there, or the device fails.
    pub fn apply(&self, site: Site, activation: Tensor) -> Result<Tensor> {
        let mut wanted = self.0.iter().filter(|change| change.wants(site));
        wanted.try_fold(activation, |activation, change| change.change(site, activation))
    }
}

/// An intervention may also stand among observers, behind a recorder that is to see what was there before.
impl Observer for Interventions {
    fn wants(&self, site: Site) -> bool {
        self.want(site)
    }

    fn observe(&mut self, site: Site, activation: Tensor) -> Result<Tensor> {
        self.apply(site, activation)
    }
}
