//! BLIP-2's retrieval: each query by itself held against texts (contrast), and queries that looked at picture and text
//! together (matching).

use candle_core::Tensor;
use std::sync::Arc;

use super::show::Beside;
use super::{Alone, Asked, Image, Input, Known, News, Querying, rows};
use crate::error::Result;
use crate::methods::expected::highest;
use crate::methods::queries::Contrast;
use crate::methods::vectors::{check_finite, dot};
use crate::methods::words;
use crate::models::blip_2_retrieval::Blip2Retrieval;
use crate::models::q_former::QFormerText;
use crate::models::tokenizer::Tokens;
use crate::nn::softmax;
use crate::taps::{Array, CancelToken, Taps};

/// Texts kept with their vectors; beyond this many all are forgotten, which keeps memory bounded.
const TEXTS_KEPT: usize = 4096;

impl Querying {
    /// A pass of the queries alone over the picture, if it isn't known what they bring back.
    pub(super) fn look_alone(
        &self,
        model: &Blip2Retrieval,
        image: &mut Image,
        asked: Asked,
        cancel: &CancelToken,
    ) -> Result<Known> {
        let tokens = self.tokens_of(&asked.sentence)?;
        let alone = match image.alone.take().filter(|alone| alone.kept == asked.kept) {
            Some(alone) => alone,
            None => {
                let (kept, positions) = (Some(asked.kept.as_slice()), (asked.kept.len(), 0));
                let look = |taps: &mut Taps<'_>| model.embed_image(&image.states, kept, taps);
                let (vectors, seen) = self.watch(positions, cancel, look)?;
                let vectors = rows(&vectors)?; // [kept][shared]
                vectors.iter().try_for_each(|vector| check_finite(vector))?;
                Alone { kept: asked.kept.clone(), vectors, maps: Arc::new(seen.maps) }
            }
        };
        let alone = image.alone.insert(alone);
        let mut queries = self.bare_queries(&asked.kept);
        queries.tokens.clone_from(&tokens.texts);
        queries.maps = Arc::clone(&alone.maps);
        let none = Tokens { ids: Vec::new(), texts: Vec::new(), spans: Vec::new(), cut: false, known: Vec::new() };
        Ok(Known {
            asked,
            tokens,
            prompt: none,
            queries,
            outputs: Array { shape: vec![0, 0], data: Vec::new() },
            vectors: alone.vectors.clone(),
            projected: None,
            words: Vec::new(),
            moved_from: None,
        })
    }

    /// A pass in which the queries see picture and text together, if it wasn't made: whether both belong together.
    fn match_text(&self, image: &Image, known: &mut Known, cancel: &CancelToken) -> Result<()> {
        let Some(model) = self.opened.retrieval().filter(|_| known.queries.matching.is_none()) else { return Ok(()) };
        let (kept, tokens) = (known.asked.kept.as_slice(), &known.tokens.ids);
        let ids = self.batch_of(tokens)?;
        let text = QFormerText { ids: &ids, attention_mask: None };
        let look = |taps: &mut Taps<'_>| model.match_logits(text, &image.states, Some(kept), taps);
        let (logits, seen) = self.watch((kept.len(), tokens.len()), cancel, look)?;
        let each = fits(&logits)?; // [kept]
        let whole = fits(&logits.mean(1)?)?; // one number
        check_finite(&each)?;
        known.queries.matching = whole.first().map(|whole| (each, *whole));
        known.queries.self_attention = Arc::new(seen.self_attention);
        Ok(())
    }

    /// Holds the queries against phrase, sentence and words, shows that, and then whether text and picture match, and the pictures
    /// and captions of the comparison in the same space.
    pub(super) fn complete_retrieval(
        &mut self,
        image: &Image,
        known: &mut Known,
        input: &Input,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(News),
    ) -> Result<()> {
        let words = words::each(&known.tokens);
        let sentence = input.sentence.trim().to_owned();
        let mut texts = vec![input.phrase().to_owned(), sentence.clone()];
        texts.extend(words.iter().map(|(word, _)| word.clone()));
        let vectors = self.read(&texts, cancel)?;
        let cosines = |text: &Vec<f32>| -> Vec<f32> { known.vectors.iter().map(|query| dot(query, text)).collect() };
        let mut of_texts = vectors.iter().map(cosines);
        let contrast = Contrast {
            phrase: of_texts.next().unwrap_or_default(),
            sentence: of_texts.next().unwrap_or_default(),
            words: words.into_iter().map(|(_, span)| span).zip(of_texts).collect(),
        };
        let own = best(&known.vectors, &contrast.sentence);
        known.queries.contrast = Some(contrast);
        // Of a picture that changes from frame to frame, the answer changes with the maps.
        if input.brief {
            self.match_text(image, known, cancel)?;
        }
        // What is there already stays until all of the new is there; at first, there is nothing yet.
        if !std::mem::take(&mut known.queries.complete) {
            emit(News::Evidence(Box::new(self.evidence_of(image, known, input, &Beside::default()))));
        }
        if input.brief {
            return Ok(());
        }

        self.match_text(image, known, cancel)?;
        let captions: Vec<String> = input.comparison.iter().map(|pair| pair.caption.clone()).collect();
        let mut texts = self.read(&captions, cancel)?;
        let mut pictures = self.compare(input, &texts, cancel, emit)?;
        texts.extend(self.read(&[sentence], cancel)?);
        pictures.push(own);
        known.queries.complete = true;
        let beside = Beside { pictures, texts };
        emit(News::Evidence(Box::new(self.evidence_of(image, known, input, &beside))));
        Ok(())
    }

    /// The vectors of texts, `[shared]` each, of which only unknown ones are encoded.
    pub(super) fn read(&mut self, texts: &[String], cancel: &CancelToken) -> Result<Vec<Vec<f32>>> {
        if self.texts.len() > TEXTS_KEPT {
            self.texts.clear();
        }
        let mut missing: Vec<String> = texts.iter().filter(|text| !self.texts.contains_key(*text)).cloned().collect();
        missing.sort();
        missing.dedup();
        let Some(model) = self.opened.retrieval() else { return Ok(Vec::new()) };
        for chunk in missing.chunks(32) {
            let batch = self.opened.tokenizer.batch(chunk, &self.opened.device)?;
            let text = QFormerText { ids: &batch.ids, attention_mask: batch.attention_mask.as_ref() };
            let embeds = model.embed_text(text, &mut Taps::under(&self.interventions).cancelled_by(cancel))?; // [texts, shared]
            let vectors = embeds.to_vec2::<f32>()?;
            vectors.iter().try_for_each(|vector| check_finite(vector))?;
            self.texts.extend(chunk.iter().cloned().zip(vectors));
        }
        Ok(texts.iter().filter_map(|text| self.texts.get(text).cloned()).collect())
    }

    /// The pictures of the comparison, `[shared]` each: of each the query that is nearest to its caption, of which `texts`
    /// holds the vectors. No query is dropped here, so that nothing has to be computed anew when one is.
    fn compare(
        &mut self,
        input: &Input,
        texts: &[Vec<f32>],
        cancel: &CancelToken,
        emit: &mut dyn FnMut(News),
    ) -> Result<Vec<Vec<f32>>> {
        let wanted = &input.comparison;
        self.compared.retain(|(known, _)| wanted.iter().any(|pair| Arc::ptr_eq(&pair.picture, known)));
        let mut pictures = Vec::new();
        for (done, (pair, text)) in wanted.iter().zip(texts).enumerate() {
            let known = self.compared.iter().find(|(known, _)| Arc::ptr_eq(&pair.picture, known));
            let queries = match known {
                Some((_, queries)) => queries.clone(),
                None => {
                    let queries = self.queries_of(&pair.picture, cancel)?;
                    self.compared.push((Arc::clone(&pair.picture), queries.clone()));
                    emit(News::Progress((done + 1) as f32 / (wanted.len() + 1) as f32));
                    queries
                }
            };
            let cosines: Vec<f32> = queries.iter().map(|query| dot(query, text)).collect();
            pictures.push(best(&queries, &cosines));
        }
        Ok(pictures)
    }

    /// All queries of a picture in the shared space, `[queries][shared]`.
    fn queries_of(&self, picture: &image::RgbImage, cancel: &CancelToken) -> Result<Vec<Vec<f32>>> {
        let Some(model) = self.opened.retrieval() else { return Ok(Vec::new()) };
        let mut taps = Taps::under(&self.interventions).cancelled_by(cancel);
        let states = self.opened.see(&self.opened.pixels(&[picture])?, &mut taps)?;
        let vectors = rows(&model.embed_image(&states, None, &mut taps)?)?;
        vectors.iter().try_for_each(|vector| check_finite(vector))?;
        Ok(vectors)
    }
}

/// The query with the highest of `cosines`.
fn best(queries: &[Vec<f32>], cosines: &[f32]) -> Vec<f32> {
    highest(cosines, 1).first().and_then(|best| queries.get(*best)).cloned().unwrap_or_default()
}

/// How likely it is that the text belongs to the picture, from `logits` `[1, …, 2]`, that it doesn't and that it does.
fn fits(logits: &Tensor) -> Result<Vec<f32>> {
    let shares = Array::from_tensor(&softmax(logits)?)?.data;
    Ok(shares.chunks_exact(2).map(|shares| shares[1]).collect())
}
