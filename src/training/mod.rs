//! Training the built-in checkpoints on the sticker world, with the same model code that runs published ones.
//!
//! A recipe (`clip.rs`, `blip.rs`, `blip_answers.rs`, `lm.rs`, `flamingo.rs`, `blip_2.rs`, `querying_writer.rs`,
//! `llava.rs`, `bottleneck.rs`) says what a batch is and what the loss; [`run`] does what all recipes share: the schedule,
//! the optimizer, snapshots to resume from, progress and a clean stop.

pub mod blip;
pub mod blip_2;
pub mod blip_answers;
pub mod bottleneck;
pub mod clip;
pub mod flamingo;
mod fold;
pub mod folder;
mod latents;
pub mod live;
pub mod llava;
pub mod lm;
pub mod losses;
mod optimizer;
mod places;
pub mod querying_writer;
pub mod recorded;
pub mod run;
mod sentences;
mod shown;
mod surroundings;
mod texts;
pub mod tokenizer;
mod tower;
mod variables;

pub use optimizer::AdamW;
pub use variables::Variables;
