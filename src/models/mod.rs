//! Models, one file a family, in the order of their papers, and what surrounds them: checkpoints, weights,
//! preprocessing, tokenizers. Candle tensors end above this layer.

pub mod blip;
pub mod blip_2;
pub mod blip_2_retrieval;
pub mod blip_heads;
pub mod blip_text;
pub mod blip_vision;
pub mod bottleneck;
pub mod builtin;
pub mod cache;
pub mod catalogue;
mod causal;
pub mod chat;
pub mod checkpoint;
pub mod clip;
pub mod dual_encoder;
pub mod flamingo;
pub mod fusion;
pub mod generate;
pub mod gguf;
pub mod hub;
pub mod idefics;
pub mod inventory;
pub mod language_model;
pub mod lens;
pub mod llama;
pub mod llava;
pub mod memory;
pub mod open_flamingo;
pub mod opened;
pub mod opt;
pub mod picture;
pub mod preprocess;
pub mod projector;
pub mod q_former;
pub mod querying;
pub mod querying_writer;
pub mod record;
mod resample;
pub mod runtime;
pub mod score;
pub mod siglip;
mod splice;
pub mod t5;
pub mod text_tower;
pub mod tokenizer;
pub mod vision_tower;
pub mod weights;

use crate::error::Result;
use crate::nn::Scope;
use blip::{Blip, BlipConfig, BlipKind};
use blip_2::{Blip2Config, Blip2Kind};
use blip_2_retrieval::Blip2Retrieval;
use checkpoint::Checkpoint;
use dual_encoder::DualEncoder;
use llava::{Llava, LlavaConfig};
use open_flamingo::{OpenFlamingo, OpenFlamingoConfig};
use querying_writer::QueryingWriter;
use runtime::Runtime;
use weights::Weights;

/// A loaded model, by the way in which it aligns vision and language.
pub enum Model {
    /// Two encoders and one space.
    DualEncoder(Box<dyn DualEncoder>),
    /// Cross-attention between the blocks of a language model.
    Flamingo(Box<idefics::Idefics>),
    /// The same with the parts that OpenFlamingo publishes.
    OpenFlamingo(Box<OpenFlamingo>),
    /// Texts that look at the picture by cross-attention: BLIP's three models.
    Blip(Box<Blip>),
    /// Queries that look at the picture, held against a text: BLIP-2's retrieval.
    QueryingRetrieval(Box<Blip2Retrieval>),
    /// Queries that look at the picture for a language model: BLIP-2 and InstructBLIP.
    QueryingWriter(Box<QueryingWriter>),
    /// Patches that a language model reads as words: LLaVA.
    Projector(Box<Llava>),
}

/// A class of checkpoints that can be opened.
pub struct Family {
    /// The class name in `architectures` of `config.json`.
    pub class: &'static str,
    /// The paper.
    pub paper: &'static str,
    /// Builds the model.
    pub load: fn(&Checkpoint, &Scope<'_>) -> Result<Model>,
}

/// Every class of checkpoints that can be opened.
pub const MODELS: &[Family] = &[
    Family {
        class: "CLIPModel",
        paper: "Radford et al. 2021, arXiv 2103.00020",
        load: |checkpoint, scope| {
            let model = clip::Clip::load(clip::ClipConfig::read(checkpoint)?, scope)?;
            Ok(Model::DualEncoder(Box::new(model)))
        },
    },
    Family {
        class: "SiglipModel",
        paper: "Zhai et al. 2023, arXiv 2303.15343",
        load: |checkpoint, scope| {
            let model = siglip::Siglip::load(siglip::SiglipConfig::read(checkpoint)?, scope)?;
            Ok(Model::DualEncoder(Box::new(model)))
        },
    },
    Family {
        class: "IdeficsForVisionText2Text",
        paper: "Alayrac et al. 2022, arXiv 2204.14198",
        load: |checkpoint, scope| {
            let model = idefics::Idefics::load(idefics::IdeficsConfig::read(checkpoint)?, scope)?;
            Ok(Model::Flamingo(Box::new(model)))
        },
    },
    Family {
        class: open_flamingo::CLASS,
        paper: "Awadalla et al. 2023, arXiv 2308.01390",
        load: |checkpoint, scope| {
            let model = OpenFlamingo::load(OpenFlamingoConfig::read(checkpoint)?, scope)?;
            Ok(Model::OpenFlamingo(Box::new(model)))
        },
    },
    Family {
        class: "BlipForImageTextRetrieval",
        paper: "Li et al. 2022, arXiv 2201.12086",
        load: |checkpoint, scope| blip(checkpoint, BlipKind::Retrieval, scope),
    },
    Family {
        class: "BlipForConditionalGeneration",
        paper: "Li et al. 2022, arXiv 2201.12086",
        load: |checkpoint, scope| blip(checkpoint, BlipKind::Captioning, scope),
    },
    Family {
        class: "BlipForQuestionAnswering",
        paper: "Li et al. 2022, arXiv 2201.12086",
        load: |checkpoint, scope| blip(checkpoint, BlipKind::Answering, scope),
    },
    Family {
        class: "Blip2ForImageTextRetrieval",
        paper: "Li et al. 2023, arXiv 2301.12597",
        load: |checkpoint, scope| {
            let config = Blip2Config::read(checkpoint, Blip2Kind::Retrieval)?;
            Ok(Model::QueryingRetrieval(Box::new(Blip2Retrieval::load(config, scope)?)))
        },
    },
    Family {
        class: "Blip2ForConditionalGeneration",
        paper: "Li et al. 2023, arXiv 2301.12597",
        load: |checkpoint, scope| querying_writer(checkpoint, Blip2Kind::Generation, scope),
    },
    Family {
        class: "LlavaForConditionalGeneration",
        paper: "Liu et al. 2023, arXiv 2304.08485",
        load: |checkpoint, scope| {
            let model = Llava::load(LlavaConfig::read(checkpoint)?, checkpoint, scope)?;
            Ok(Model::Projector(Box::new(model)))
        },
    },
    Family {
        class: llava::ORIGINAL_CLASS,
        paper: "Liu et al. 2023, arXiv 2304.08485",
        load: |checkpoint, scope| Ok(Model::Projector(Box::new(Llava::load_original(checkpoint, scope)?))),
    },
    Family {
        class: "InstructBlipForConditionalGeneration",
        paper: "Dai et al. 2023, arXiv 2305.06500",
        load: |checkpoint, scope| querying_writer(checkpoint, Blip2Kind::Instructed, scope),
    },
];

fn blip(checkpoint: &Checkpoint, kind: BlipKind, scope: &Scope<'_>) -> Result<Model> {
    let config = BlipConfig::read(checkpoint, kind)?;
    Ok(Model::Blip(Box::new(Blip::load(config, kind, scope)?)))
}

fn querying_writer(checkpoint: &Checkpoint, kind: Blip2Kind, scope: &Scope<'_>) -> Result<Model> {
    let config = Blip2Config::read(checkpoint, kind)?;
    Ok(Model::QueryingWriter(Box::new(QueryingWriter::load(config, kind, checkpoint, scope)?)))
}

impl Model {
    /// Builds the model of a checkpoint at `runtime`, and says how many numbers the checkpoint holds.
    ///
    /// # Errors
    /// If the class is unknown, or config and weights don't fit each other.
    pub fn open(checkpoint: &Checkpoint, runtime: impl Into<Runtime>) -> Result<(Self, usize)> {
        let class = checkpoint.class();
        let Some(family) = MODELS.iter().find(|family| family.class == class) else {
            let known: Vec<&str> = MODELS.iter().map(|family| family.class).collect();
            let found = if class.is_empty() { "names no class".into() } else { format!("says it is a '{class}'") };
            return Err(
                checkpoint.config_error(format!("the config {found}, and Alignscope knows {}", known.join(", ")))
            );
        };
        let runtime = runtime.into();
        memory::check(checkpoint, &runtime)?;
        let weights = Weights::open(&checkpoint.folder, &runtime)?;
        let model = (family.load)(checkpoint, &Scope::root(&weights))?;
        memory::check_pass(checkpoint, &runtime)?;
        Ok((model, weights.parameter_count()))
    }
}
