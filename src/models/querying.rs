//! A model whose queries look at the picture, with all that leads texts and pictures to it: BLIP-2's two classes and
//! InstructBLIP.

use candle_core::{Device, Tensor};
use image::RgbImage;
use std::iter::repeat_n;
use std::path::Path;

use super::Model;
use super::blip_2::Blip2Base;
use super::blip_2_retrieval::Blip2Retrieval;
use super::checkpoint::Checkpoint;
use super::flamingo::IMAGE;
use super::generate::{Limits, write_together};
use super::preprocess::ImageProcessor;
use super::q_former::QFormerText;
use super::querying_writer::{QueryingPrompt, QueryingWriter};
use super::runtime::Runtime;
use super::tokenizer::{TextTokenizer, Tokens};
use crate::error::{Error, Result};
use crate::taps::{CancelToken, Taps};

/// Where InstructBLIP keeps the tokenizer of the querying transformer, as transformers' `InstructBlipProcessor` does.
pub const QFORMER_TOKENIZER: &str = "qformer_tokenizer";

/// The classes of checkpoints that can be opened so.
pub const CLASSES: [&str; 3] =
    ["Blip2ForImageTextRetrieval", "Blip2ForConditionalGeneration", "InstructBlipForConditionalGeneration"];

/// The model, opened.
pub struct OpenedQuerying {
    /// The folder and its config.
    pub checkpoint: Checkpoint,
    /// From pictures to pixels.
    pub processor: ImageProcessor,
    /// From texts to the ids of what reads them: the language model, or of retrieval the querying transformer.
    pub tokenizer: TextTokenizer,
    /// From instructions to the ids of the querying transformer; InstructBLIP alone has it.
    pub instructions: Option<TextTokenizer>,
    /// Where the model runs.
    pub device: Device,
    /// How many numbers the checkpoint holds.
    pub parameters: usize,
    model: QueryingModel,
}

enum QueryingModel {
    Retrieval(Box<Blip2Retrieval>),
    Writer(Box<QueryingWriter>),
}

impl OpenedQuerying {
    /// Opens a Hugging Face folder.
    ///
    /// # Errors
    /// If a file is missing or damaged, config and weights don't fit each other, or the model is of another kind.
    pub fn open(folder: &Path, runtime: impl Into<Runtime>) -> Result<Self> {
        let runtime = runtime.into();
        let checkpoint = Checkpoint::open(folder)?;
        let (model, parameters) = Model::open(&checkpoint, &runtime)?;
        let model = match model {
            Model::QueryingRetrieval(model) => QueryingModel::Retrieval(model),
            Model::QueryingWriter(model) => QueryingModel::Writer(model),
            Model::DualEncoder(_)
            | Model::Flamingo(_)
            | Model::OpenFlamingo(_)
            | Model::Blip(_)
            | Model::Projector(_) => {
                let problem = format!("the checkpoint is a '{}', which has no queries", checkpoint.class());
                return Err(Error::unusable(problem, "open a checkpoint of BLIP-2 or InstructBLIP here").at(folder));
            }
        };
        let config = base(&model).config();
        let read = config.qformer_config.max_position_embeddings;
        let (context, instructions) = match &model {
            QueryingModel::Retrieval(_) => (read, None),
            QueryingModel::Writer(writer) => {
                // The queries take their places in what the language model reads.
                let context = writer.language().context().saturating_sub(config.num_query_tokens).max(1);
                let other = folder.join(QFORMER_TOKENIZER);
                (context, writer.instructed().then(|| TextTokenizer::open(&other, read, false)).transpose()?)
            }
        };
        Ok(Self {
            processor: ImageProcessor::from_folder(folder)?,
            tokenizer: TextTokenizer::open(folder, context, false)?,
            device: runtime.device,
            checkpoint,
            instructions,
            parameters,
            model,
        })
    }

    /// Vision tower, queries and querying transformer.
    #[must_use]
    pub fn base(&self) -> &Blip2Base {
        base(&self.model)
    }

    /// The model that holds a text against a picture, if it is that one.
    #[must_use]
    pub fn retrieval(&self) -> Option<&Blip2Retrieval> {
        match &self.model {
            QueryingModel::Retrieval(model) => Some(model),
            QueryingModel::Writer(_) => None,
        }
    }

    /// The model that writes, if it is that one.
    #[must_use]
    pub fn writer(&self) -> Option<&QueryingWriter> {
        match &self.model {
            QueryingModel::Writer(model) => Some(model),
            QueryingModel::Retrieval(_) => None,
        }
    }

    /// Rows and columns of patches; one class token stands in front of them.
    #[must_use]
    pub fn grid(&self) -> (usize, usize) {
        self.base().config().grid()
    }

    /// How many queries there are.
    #[must_use]
    pub fn query_count(&self) -> usize {
        self.base().config().num_query_tokens
    }

    /// The blocks of the querying transformer in which queries look at the picture.
    #[must_use]
    pub fn cross_layers(&self) -> Vec<usize> {
        self.base().config().qformer_config.cross_layers()
    }

    /// Number of blocks of the querying transformer.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.base().qformer().depth()
    }

    /// Pictures as the vision tower takes them, `[pictures, 3, height, width]`.
    ///
    /// # Errors
    /// If a picture has no pixels.
    pub fn pixels(&self, pictures: &[&RgbImage]) -> Result<Tensor> {
        self.processor.batch(pictures, &self.device)
    }

    /// What queries look at, `[pictures, 1 + patches, vision width]`, of `pixels` `[pictures, 3, height, width]`.
    ///
    /// # Errors
    /// If the pixels have another size than the config says, the pass is cancelled, or an observer fails.
    pub fn see(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        self.base().see(pixels, taps)
    }

    /// The text as its reader gets it, without placeholders: the language model, or of retrieval the querying transformer.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn tokens(&self, text: &str) -> Result<Tokens> {
        self.tokenizer.encode(text)
    }

    /// The text as the language model goes on from it: [`Self::tokens`] without the end that some tokenizers put behind
    /// every text. An encoder reads the text with its end.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn tokens_to_go_on(&self, text: &str) -> Result<Tokens> {
        let mut tokens = self.tokens(text)?;
        let Some(language) = self.writer().map(QueryingWriter::language) else { return Ok(tokens) };
        // A lone end is a beginning: in OPT both are one token.
        let has_end = tokens.ids.len() > 1 && tokens.ids.last().is_some_and(|last| language.ends().contains(last));
        if has_end && !language.encoder_decoder() {
            tokens.pop();
        }
        Ok(tokens)
    }

    /// The text as InstructBLIP's queries read it; `None` of a model whose queries read no instruction.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn instruction(&self, text: &str) -> Result<Option<Tokens>> {
        self.instructions.as_ref().map(|tokenizer| tokenizer.encode(text)).transpose()
    }

    /// The text as transformers' processors give it: a placeholder for each of `queries`, if the model has such a token,
    /// and then [`Self::tokens`]. Retrieval drops the placeholders again. Spans are those of `text`.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn prompt(&self, text: &str, queries: usize) -> Result<Tokens> {
        let tokens = self.tokens(text)?;
        let Some(placeholder) = self.base().config().image_token_index else { return Ok(tokens) };
        Ok(Tokens {
            ids: repeat_n(placeholder, queries).chain(tokens.ids).collect(),
            texts: repeat_n(IMAGE.to_owned(), queries).chain(tokens.texts).collect(),
            spans: repeat_n(None, queries).chain(tokens.spans).collect(),
            known: repeat_n(true, queries).chain(tokens.known).collect(),
            cut: tokens.cut,
        })
    }

    /// Writes on behind each of `prompts` (or answers it), greedily and all at once, with what the queries bring back from
    /// its row of `states` `[texts, 1 + patches, vision width]`; an InstructBLIP's queries read the prompt. Gives the new
    /// tokens without the end. Meant for many short texts: nothing is kept between the tokens.
    ///
    /// # Errors
    /// If the model doesn't write, a prompt is too long, there isn't one row for each prompt, or the pass is cancelled.
    pub fn write_all(
        &self,
        prompts: &[&str],
        states: &Tensor,
        most: usize,
        stop: &CancelToken,
    ) -> Result<Vec<Vec<u32>>> {
        let Some(writer) = self.writer() else {
            return Err(Error::unusable("this model writes no texts", "open a BLIP-2 that does, or an InstructBLIP"));
        };
        let taps = || Taps::none().cancelled_by(stop);
        let instructions = self.instructions.as_ref();
        let instructions = instructions.map(|tokenizer| tokenizer.batch(prompts, &self.device)).transpose()?;
        let queries = writer.query(states, instructions.as_ref().map(QFormerText::from), None, &mut taps())?;
        let projected = writer.project(&queries)?; // [texts, queries, language width]
        let count = projected.dim(1)?;
        let rows = prompts.iter().map(|text| Ok(self.prompt(text, count)?.ids)).collect::<Result<Vec<_>>>()?;

        let language = writer.language();
        let ends = language.ends();
        // Without a placeholder the queries take places that no id stands for.
        let unseen = if writer.placeholder().is_none() { count } else { 0 };
        let context = language.context().saturating_sub(unseen);
        let limits = Limits { max_new_tokens: most, context, ends: &ends };
        if let Some(start) = language.start() {
            let asked = self.tokenizer.pad(&rows, &self.device)?;
            let mask = asked.attention_mask.as_ref();
            let prompt = QueryingPrompt { ids: &asked.ids, attention_mask: mask, projected: &projected };
            return write_together(vec![vec![start]; rows.len()], limits, |rows| {
                writer.logits(prompt, Some(&self.tokenizer.pad(rows, &self.device)?.ids), &mut taps())
            });
        }
        write_together(rows, limits, |rows| {
            let texts = self.tokenizer.pad(rows, &self.device)?;
            let mask = texts.attention_mask.as_ref();
            let prompt = QueryingPrompt { ids: &texts.ids, attention_mask: mask, projected: &projected };
            let logits = writer.logits(prompt, None, &mut taps())?; // [texts, unseen + tokens, vocabulary]
            Ok(logits.narrow(1, unseen, texts.ids.dim(1)?)?)
        })
    }
}

fn base(model: &QueryingModel) -> &Blip2Base {
    match model {
        QueryingModel::Retrieval(model) => model.base(),
        QueryingModel::Writer(model) => model.base(),
    }
}
