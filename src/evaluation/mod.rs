//! Evaluation: how well a checkpoint aligns words and pictures, measured on scenes that it never saw.
//!
//! | file | what it knows |
//! |---|---|
//! | `interval.rs` | a measured share and how sure it is |
//! | `retrieval.rs` | finding the text of a picture among many, and the picture of a text |
//! | `pointing.rs` | the pointing game: whether a map's highest patch lies on the object that the words name |
//! | `contrastive.rs` | both for a dual encoder |
//! | `sentences.rs` | what a model says, of any kind: whether sentences are true, answers, captions |
//! | `figures.rs` | the figures of such a model, split by split and language by language |
//! | `fusion.rs` | that of a model whose words look at the picture |
//! | `fusion_pointing.rs` | the pointing game with its cross-attention, by layer and head |
//! | `querying.rs` | that, and retrieval, of a model whose queries look at the picture |
//! | `querying_pointing.rs` | the pointing game from words to queries to patches |
//! | `projector.rs` | what a model says that reads pictures as words |
//! | `projector_pointing.rs` | the pointing game in its own row |
//! | `projector_words.rs` | how many patches lie nearest to a word that names what they show |
//! | `bottleneck.rs` | what is told through connectors of different width |
//! | `linear_probe.rs` | what a linear map reads from vectors |
//! | `asked.rs` | scenes with a phrase selected, and every map of it |
//! | `faithfulness.rs` | whether maps are true of their model: deletion and insertion |
//! | `sanity.rs` | whether maps are about their model at all: shuffled weights |
//! | `heads.rs` | which head grounds |
//! | `report.rs`, `fusion_report.rs`, `querying_report.rs`, `projector_report.rs` | the figures, as JSON and as a table |
//! | `table.rs` | what the last three tables have in common |

mod asked;
pub mod bottleneck;
pub mod contrastive;
pub mod faithfulness;
pub mod figures;
pub mod fusion;
pub mod fusion_pointing;
mod fusion_report;
pub mod heads;
pub mod interval;
mod linear_probe;
pub mod pointing;
pub mod projector;
pub mod projector_pointing;
mod projector_report;
pub mod projector_words;
pub mod querying;
pub mod querying_pointing;
mod querying_report;
pub mod report;
pub mod retrieval;
pub mod sanity;
pub mod sentences;
mod table;

pub use interval::Share;
pub use report::Report;

use crate::world::{Scene, Split};

/// The splits that are evaluated: scenes like those of the training, and scenes with combinations that it never showed.
pub const SPLITS: [Split; 2] = [Split::Test, Split::HeldOut];

/// The most scenes of a split; from here on the scenes of the next seed begin.
pub const MOST_SCENES: u32 = 100_000;

/// Scenes far from those of the sample data, which count from zero; other seeds give others.
#[must_use]
pub fn fresh_scenes(split: Split, seed: u32, count: usize) -> Vec<Scene> {
    let first = (1 << 50) + u64::from(seed) * u64::from(MOST_SCENES);
    (first..).take(count).map(|number| Scene::random(split, number)).collect()
}
