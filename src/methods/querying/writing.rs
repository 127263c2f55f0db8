//! BLIP-2 and InstructBLIP: what the queries say to the language model, and what that makes of it.

use candle_core::{IndexOp, Tensor};
use std::sync::Arc;

use super::show::Beside;
use super::watch::LooksAtQueries;
use super::{Asked, Image, Input, Known, News, Querying, behind_blanks, rows};
use crate::error::Result;
use crate::methods::expected::expect;
use crate::methods::is_question;
use crate::methods::reading::Step;
use crate::methods::vectors::{check_finite, dot, length, unit};
use crate::models::generate::Greedy;
use crate::models::lens::Near;
use crate::models::q_former::{QFormerMask, QFormerText};
use crate::models::querying_writer::{QueryingPrompt, QueryingWriter};
use crate::models::tokenizer::Tokens;
use crate::taps::{Array, Attn, CancelToken, Taps};

/// The longest text that is written, in tokens.
const MOST: usize = 40;
/// Words that are kept of what a query says.
const SAID: usize = 8;
/// Words of the language model that lie in the cloud.
const IN_CLOUD: usize = 40;

/// What is asked of a model that writes.
pub(super) struct Question {
    /// What the language model goes on from and, of InstructBLIP, what its queries read.
    pub(super) text: String,
    /// Whether that is the person's text.
    own: bool,
}

/// Words near to queries, by their ids.
struct Nearest {
    /// For each query, nearest first.
    said: Vec<Vec<(String, f32)>>,
    /// Those nearest to any of them, nearest first.
    all: Vec<(String, u32)>,
}

impl Querying {
    /// What the model is asked: the person's question; where it is none, what a caption is asked for with, as far as the
    /// model knows these words. Published models caption best without being asked; but an InstructBLIP then does whatever
    /// the person writes.
    pub(super) fn question(&self, writer: &QueryingWriter, asked: &Asked) -> Result<Question> {
        let sentence = asked.sentence.trim();
        let prompt = asked.language.caption_prompt();
        let is_ours = self.familiarity.is_some() && self.opened.tokens(prompt)?.known.iter().all(|known| *known);
        let own = is_question(sentence) || (writer.instructed() && !is_ours);
        let text = match (own, is_ours) {
            (true, _) => sentence,
            (false, true) => prompt,
            (false, false) => "",
        };
        Ok(Question { text: text.to_owned(), own })
    }

    /// A pass of the queries over the picture, in which InstructBLIP's read the instruction; and what they then say.
    pub(super) fn look_for_writer(
        &self,
        writer: &QueryingWriter,
        image: &Image,
        asked: Asked,
        cancel: &CancelToken,
    ) -> Result<Known> {
        let question = self.question(writer, &asked)?;
        let instruction = self.opened.instruction(&question.text)?;
        let read = instruction.as_ref().map_or(0, |tokens| tokens.ids.len());
        let ids = instruction.as_ref().map(|tokens| self.batch_of(&tokens.ids)).transpose()?;
        let text = ids.as_ref().map(|ids| QFormerText { ids, attention_mask: None });
        let (kept, count) = (Some(asked.kept.as_slice()), asked.kept.len());
        let (both, seen) = self.watch((count, read), cancel, |taps| {
            writer.query_and_text(&image.states, text, kept, taps) // [1, kept + tokens, width]
        })?;
        let outputs = both.narrow(1, 0, count)?.contiguous()?; // [1, kept, width]
        let projected = writer.project(&outputs)?; // [1, kept, language width]
        let outputs = Array::from_tensor(&outputs.squeeze(0)?)?;
        check_finite(&outputs.data)?;

        let prompt = self.prompt(writer, &question, &asked)?;
        // Refuses a language model whose words are of another length.
        writer.inputs(&self.batch_of(&writer.prompt(&prompt.ids, count))?, &projected)?;
        let vectors: Vec<Vec<f32>> = rows(&projected)?.iter().map(|vector| unit(vector)).collect();
        vectors.iter().try_for_each(|vector| check_finite(vector))?;
        let nearest = self.nearest(writer, &vectors, cancel)?;
        let mut queries = self.bare_queries(&asked.kept);
        queries.maps = Arc::new(seen.maps);
        queries.self_attention = Arc::new(seen.self_attention);
        queries.tokens = instruction.map(|tokens| tokens.texts).unwrap_or_default();
        queries.says = nearest.said;
        Ok(Known {
            tokens: self.tokens_of(&asked.sentence)?,
            words: self.vectors_of(writer, nearest.all)?,
            asked,
            prompt,
            queries,
            outputs,
            vectors,
            projected: Some(projected.detach()),
            moved_from: None,
        })
    }

    /// What the language model goes on from, without placeholders. If the tokenizer puts no beginning in front of nothing,
    /// the model's own stands there.
    fn prompt(&self, writer: &QueryingWriter, question: &Question, asked: &Asked) -> Result<Tokens> {
        let mut tokens = self.opened.tokens_to_go_on(&question.text)?;
        if question.own {
            tokens = behind_blanks(tokens, &asked.sentence);
        } else {
            tokens.spans.fill(None);
        }
        if let (true, Some(begin)) = (tokens.ids.is_empty(), writer.language().begin()) {
            tokens.ids.push(begin);
            tokens.texts.push(self.opened.tokenizer.token(begin));
            tokens.spans.push(None);
            tokens.known.push(true);
        }
        Ok(tokens)
    }

    /// The words of the language model's table that are nearest to each of `vectors`, `[language width]` each and of length
    /// one, by cosine.
    fn nearest(&self, writer: &QueryingWriter, vectors: &[Vec<f32>], cancel: &CancelToken) -> Result<Nearest> {
        let Some(lens) = &self.lens else { return Ok(Nearest { said: Vec::new(), all: Vec::new() }) };
        let width = vectors.first().map_or(0, Vec::len);
        let vectors = Tensor::from_vec(vectors.concat(), (vectors.len(), width), &self.opened.device)?;
        let near = lens.nearest(writer.language(), &vectors, SAID, cancel)?;
        let mut ranked: Vec<&Near> = near.iter().flatten().collect();
        ranked.sort_by(|one, other| other.score.total_cmp(&one.score));
        let mut all: Vec<(String, u32)> = Vec::new();
        for Near { word, id, .. } in ranked {
            if all.len() < IN_CLOUD && !all.iter().any(|(known, _)| known == word) {
                all.push((word.clone(), *id));
            }
        }
        let said = |near: Vec<Near>| near.into_iter().map(|near| (near.word, near.score)).collect();
        Ok(Nearest { said: near.into_iter().map(said).collect(), all })
    }

    /// Words with their vectors in the language model's table, unit length.
    fn vectors_of(&self, writer: &QueryingWriter, words: Vec<(String, u32)>) -> Result<Vec<(String, Vec<f32>)>> {
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<u32> = words.iter().map(|(_, id)| *id).collect();
        let vectors = rows(&writer.language().embed(&self.batch_of(&ids)?)?)?; // [words][language width]
        Ok(words.into_iter().zip(vectors).map(|((word, _), vector)| (word, unit(&vector))).collect())
    }

    /// Shows what the queries say, how the instruction moved them, and word by word what the language model writes.
    pub(super) fn complete_writer(
        &self,
        image: &Image,
        known: &mut Known,
        input: &Input,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(News),
    ) -> Result<()> {
        let Some(writer) = self.opened.writer() else { return Ok(()) };
        let mut show = |known: &Known| {
            emit(News::Evidence(Box::new(self.evidence_of(image, known, input, &Beside::default()))));
        };
        let is_new = !known.queries.complete;
        if is_new {
            show(known);
        }
        if input.brief {
            return Ok(());
        }
        self.measure_move(writer, image, known, input, cancel)?;
        if is_new {
            self.write(writer, known, cancel, &mut show)?;
        }
        known.queries.complete = true;
        show(known);
        Ok(())
    }

    /// How far the instruction moved each query from where it is after the one to compare with.
    fn measure_move(
        &self,
        writer: &QueryingWriter,
        image: &Image,
        known: &mut Known,
        input: &Input,
        cancel: &CancelToken,
    ) -> Result<()> {
        let compared = input.compared_instruction.as_deref().unwrap_or_default().trim();
        let Some(compared) = self.opened.instruction(compared)? else { return Ok(()) };
        if known.moved_from.as_ref() == Some(&compared.ids) {
            return Ok(());
        }
        let kept = Some(known.asked.kept.as_slice());
        let mut taps = Taps::under(&self.interventions).cancelled_by(cancel);
        let other = if compared.ids.is_empty() {
            // Not even a beginning and an end: the queries alone.
            writer.base().fused(None, &image.states, kept, QFormerMask::Bidirectional, &mut taps)?
        } else {
            let ids = self.batch_of(&compared.ids)?;
            let text = QFormerText { ids: &ids, attention_mask: None };
            writer.query(&image.states, Some(text), kept, &mut taps)?
        }; // [1, kept, width]
        let moved: Vec<f32> = rows(&other)?
            .iter()
            .enumerate()
            .map(|(at, other)| {
                let output = known.outputs.row(at);
                1.0 - dot(output, other) / (length(output) * length(other)).max(1e-9)
            })
            .collect();
        check_finite(&moved)?;
        known.queries.moved = Some(moved);
        known.moved_from = Some(compared.ids);
        Ok(())
    }

    /// Writes; `show` is called after each word.
    fn write(
        &self,
        writer: &QueryingWriter,
        known: &mut Known,
        cancel: &CancelToken,
        show: &mut dyn FnMut(&Known),
    ) -> Result<()> {
        let Some(projected) = known.projected.clone() else { return Ok(()) };
        let prompt = &known.prompt;
        let steps = prompt.texts.iter().zip(&prompt.spans);
        known.queries.written =
            steps.map(|(text, span)| Step { text: text.clone(), span: *span, ..Step::default() }).collect();
        known.queries.written_to_queries = None;
        let given = known.prompt.ids.clone();
        let ends = writer.language().ends();
        let mut written = Vec::new();
        let mut take = |token: u32| {
            if !ends.contains(&token) {
                written.push(token);
                let text = self.opened.tokenizer.token(token);
                known.queries.written.push(Step { text, is_written: true, ..Step::default() });
                show(known);
            }
            true
        };
        let ids = self.batch_of(&writer.prompt(&given, count_of(&projected)?))?;
        let asked = QueryingPrompt { ids: &ids, attention_mask: None, projected: &projected };
        let mut taps = Taps::under(&self.interventions).cancelled_by(cancel);
        writer.generate(asked, Greedy::new(MOST).into(), &mut taps, &mut take)?;
        let looks = if writer.language().encoder_decoder() {
            self.look_back_by_encoder(writer, known, &given, &written, cancel)?
        } else {
            self.look_back(writer, known, &given, &written, cancel)?
        };
        known.queries.written_to_queries = Some(Arc::new(looks));
        Ok(())
    }

    /// What a decoder alone expected at each token of what it was given and wrote, and how much it looked at each query
    /// there, `[written, kept]`.
    fn look_back(
        &self,
        writer: &QueryingWriter,
        known: &mut Known,
        given: &[u32],
        written: &[u32],
        cancel: &CancelToken,
    ) -> Result<Vec<f32>> {
        let Some(projected) = &known.projected else { return Ok(Vec::new()) };
        let kept = count_of(projected)?;
        let all = [given, written].concat();
        // A text's first token is predicted by nothing that the model learned from; behind queries alone it is.
        let first = usize::from(!given.is_empty()).min(all.len());
        let count = all.len() - first;
        let mut looks = vec![0.0; first * kept];
        if count == 0 {
            return Ok(looks);
        }
        let mut inputs = writer.inputs(&self.batch_of(&writer.prompt(given, kept))?, projected)?;
        if !written.is_empty() {
            // A placeholder that the model wrote is a word like any other, as it was while it wrote on.
            let words = writer.language().embed(&self.batch_of(written)?)?;
            inputs = Tensor::cat(&[inputs, words], 1)?; // [1, kept + tokens, width]
        }
        let mut watch = LooksAtQueries::new(Attn::SelfAttn, kept);
        let logits = {
            let mut taps = Taps::under(&self.interventions).with(&mut watch).cancelled_by(cancel);
            writer.language().logits(&inputs, None, None, &mut taps)? // [1, kept + tokens, vocabulary]
        };
        // The queries come first, and each token is predicted at the position before it.
        let before = kept + first - 1;
        let logits = logits.i(0)?.narrow(0, before, count)?; // [count, vocabulary]
        let steps = known.queries.written.get_mut(first..).unwrap_or_default();
        expect(steps, &logits, &all[first..], &self.opened.tokenizer)?;
        let seen = watch.finish()?; // [kept + tokens, kept]
        (before..before + count).for_each(|position| looks.extend(seen.row(position)));
        Ok(looks)
    }

    /// The same of a decoder that looks at what an encoder read; nothing predicts that.
    fn look_back_by_encoder(
        &self,
        writer: &QueryingWriter,
        known: &mut Known,
        given: &[u32],
        written: &[u32],
        cancel: &CancelToken,
    ) -> Result<Vec<f32>> {
        let Some(projected) = &known.projected else { return Ok(Vec::new()) };
        let kept = count_of(projected)?;
        let mut looks = vec![0.0; given.len() * kept];
        let (Some(start), Some((_, but_last))) = (writer.language().start(), written.split_last()) else {
            return Ok(looks);
        };
        let ids = self.batch_of(&writer.prompt(given, kept))?;
        let prompt = QueryingPrompt { ids: &ids, attention_mask: None, projected };
        let before = self.batch_of(&[&[start][..], but_last].concat())?; // [1, written]
        let mut watch = LooksAtQueries::new(Attn::CrossAttn, kept);
        let logits = {
            let mut taps = Taps::under(&self.interventions).with(&mut watch).cancelled_by(cancel);
            writer.logits(prompt, Some(&before), &mut taps)? // [1, written, vocabulary]
        };
        let steps = known.queries.written.get_mut(given.len()..).unwrap_or_default();
        expect(steps, &logits.i(0)?, written, &self.opened.tokenizer)?;
        looks.extend(watch.finish()?.data); // [written, kept]
        Ok(looks)
    }
}

/// How many queries brought back `projected` `[1, kept, language width]`.
fn count_of(projected: &Tensor) -> Result<usize> {
    Ok(projected.dim(1)?)
}
