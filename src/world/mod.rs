//! The sticker world: small pictures of which the whole truth is known.
//!
//! A [`Scene`] is a square of [`SIDE`] x [`SIDE`] pixels with one to four objects on a soft ground. An object is a
//! [`Thing`] at a place: one of the stickers (a cat, a bus, ...) or a drawn shape in a colour (a red ball). Because
//! the scene is made from its description, every statement about it can be checked:
//!
//! - where each object is, down to the pixel ([`Scene::mask`], [`Object::bounds`]);
//! - which words name it ([`Scene::phrases`]), so a heatmap for a word can be scored against the object it names;
//! - which sentences are true ([`Scene::caption`]) and how questions are answered ([`Scene::questions`]),
//!   in English and in Chinese ([`Language`]);
//! - whether a combination was ever seen in training ([`Split`]): some colours of some shapes and some pairs of
//!   stickers appear in held-out scenes only.
//!
//! A scene follows from its split and its seed alone, and its pixels from the scene alone, the same on every
//! machine: only integers and the basic operations of IEEE floats are used, with a fixed random generator.
//!
//! | file | what it knows |
//! |---|---|
//! | `stickers.rs` | the registry of stickers: a new sticker is one line there |
//! | `thing.rs` | stickers, shapes and colours, and their names in files |
//! | `split.rs` | what is held out from training |
//! | `scene.rs`, `sample.rs` | a scene, and how a random one is made |
//! | `edit.rs` | a scene changed by hand |
//! | `draw.rs`, `ground.rs`, `tile.rs`, `shapes.rs` | pixels and masks |
//! | `language.rs`, `captions.rs`, `questions.rs` | words, sentences, questions with answers |
//! | `claim.rs`, `foils.rs` | what a sentence claims, and sentences that are nearly true |
//! | `mentions.rs` | where things are named in texts |
//! | `describe.rs`, `files.rs` | a scene with all its truth, as JSON beside a PNG |

mod captions;
mod claim;
mod describe;
mod draw;
mod edit;
mod files;
mod foils;
mod ground;
mod language;
mod mentions;
mod questions;
mod sample;
mod scene;
mod shapes;
mod split;
mod stickers;
mod thing;
mod tile;

pub use captions::{Phrase, all_phrases};
pub use claim::{Claim, Statement};
pub use describe::{DescribedObject, DescribedPhrase, DescribedText, Description, Origin, run_lengths};
pub use edit::SIZES;
pub use files::{read_scene, write_scene, write_scenes};
pub use foils::FoilKind;
pub use ground::{Ground, Slope};
pub use language::{Language, segment, vocabulary};
pub use mentions::mentioned;
pub use questions::{Direction, Question, QuestionKind};
pub use scene::{Bounds, Object, Scene};
pub use split::{Split, is_held_out};
pub use thing::{Colour, Shape, Sticker, Thing};

/// Width and height of a scene, in pixels; also the unit of all places and sizes.
pub const SIDE: u32 = 256;
