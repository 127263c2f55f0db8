//! The rows that the language model reads: text tokens, and the vectors of the picture among them.

use candle_core::Tensor;

use super::Projector;
use crate::error::Result;
use crate::methods::reading::Step;
use crate::methods::spliced::RowToken;
use crate::methods::vectors::length;
use crate::models::tokenizer::Tokens;

/// A row of the language model.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// The tokens, with placeholders for the picture.
    pub tokens: Tokens,
    /// Where its text tokens stand in it.
    pub words: Vec<usize>,
    /// Where patches stand in it, each with its number.
    pub patches: Vec<(usize, usize)>,
    /// Where all that stands for the picture begins and ends.
    pub picture: (usize, usize),
}

impl Row {
    /// Its text tokens as steps.
    pub fn steps(&self) -> Vec<Step> {
        let step = |at: &usize| Step {
            text: self.tokens.texts.get(*at).cloned().unwrap_or_default(),
            span: self.tokens.spans.get(*at).copied().flatten(),
            ..Step::default()
        };
        self.words.iter().map(step).collect()
    }
}

impl Projector {
    /// The row of the person's text about the picture: as the checkpoint's chat template puts it, if it has one.
    pub(super) fn row(&self, sentence: &str) -> Result<Row> {
        let asked = sentence.trim();
        let blanks = sentence.len() - sentence.trim_start().len();
        let (text, from) = if self.opened.converses() {
            let text = self.opened.asked(asked, 1)?;
            let from = text.find(asked).unwrap_or(text.len());
            (text, from)
        } else {
            (asked.to_owned(), 0)
        };
        let mut tokens = self.opened.tokens_to_go_on(&text)?;
        for span in &mut tokens.spans {
            *span = span.and_then(|(start, end)| {
                let (start, end) = (start.checked_sub(from)?, end.checked_sub(from)?);
                (end <= asked.len()).then_some((start + blanks, end + blanks))
            });
        }
        Ok(self.row_of(tokens))
    }

    /// The row of `text`, in which nothing is the person's.
    pub(super) fn row_not_theirs(&self, text: &str) -> Result<Row> {
        let mut tokens = self.opened.tokens_to_go_on(text)?;
        tokens.spans.fill(None);
        Ok(self.row_of(tokens))
    }

    /// Tokens with what stands where in them.
    fn row_of(&self, tokens: Tokens) -> Row {
        let model = self.opened.model();
        let (mut words, mut patches) = (Vec::new(), Vec::new());
        let mut places = 0..;
        let mut picture = (0, 0);
        for (at, id) in tokens.ids.iter().enumerate() {
            if *id != model.placeholder() {
                words.push(at);
                continue;
            }
            let place = places.next().unwrap_or_default();
            if place == 0 {
                picture.0 = at;
            }
            picture.1 = at + 1;
            patches.extend(model.config().patch(place).map(|patch| (at, patch)));
        }
        Row { tokens, words, patches, picture }
    }

    /// `ids` as the language model gets them, about the picture `[1, positions, language width]`; `[1, tokens, language
    /// width]`.
    pub(super) fn inputs(&self, ids: &[u32], projected: &Tensor) -> Result<Tensor> {
        let row = Tensor::from_slice(ids, (1, ids.len()), &self.opened.device)?;
        self.opened.model().inputs(&row, Some(projected))
    }
}

/// The row as it is shown, with the lengths of the vectors `inputs` `[1, tokens, language width]` in it.
pub(super) fn shown(row: &Row, inputs: &Tensor) -> Result<Vec<RowToken>> {
    let norms: Vec<f32> = numbers_of(inputs)?.iter().map(|vector| length(vector)).collect();
    let token = |at: usize| RowToken {
        text: row.tokens.texts[at].clone(),
        patch: row.patches.iter().find(|(place, _)| *place == at).map(|(_, patch)| *patch),
        of_picture: (row.picture.0..row.picture.1).contains(&at),
        span: row.tokens.spans[at],
        norm: norms.get(at).copied().unwrap_or_default(),
    };
    Ok((0..row.tokens.ids.len()).map(token).collect())
}

/// The vectors of a tensor `[1, rows, width]`, each at the host.
pub(super) fn numbers_of(tensor: &Tensor) -> Result<Vec<Vec<f32>>> {
    Ok(tensor.squeeze(0)?.to_dtype(candle_core::DType::F32)?.to_vec2::<f32>()?)
}
