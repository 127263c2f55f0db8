//! Texts for training: ids, targets, and unknown words here and there.

use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::run::Batch;
use super::tokenizer::{BEGIN, END, PAD, UNKNOWN};
use crate::error::Result;
use crate::models::tokenizer::TextTokenizer;
use crate::world::{Language, Question, QuestionKind, Scene, Statement};

/// Share of texts with words that aren't known, so that these don't disturb the rest.
const STRANGE: f64 = 0.1;

/// Ids of a text, at most `longest`; now and then with unknown words in front.
///
/// # Errors
/// If the tokenizer fails.
pub fn with_unknown_words(
    tokenizer: &TextTokenizer,
    text: &str,
    longest: usize,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<u32>> {
    let mut ids = tokenizer.encode(text)?.ids;
    if rng.random_bool(STRANGE) {
        for _ in 0..rng.random_range(1..=4u32) {
            ids.insert(1, UNKNOWN.1);
        }
        if ids.len() > longest {
            ids.truncate(longest - 1);
            ids.push(END.1);
        }
    }
    Ok(ids)
}

/// One of the languages, each as likely.
pub fn any_language(rng: &mut ChaCha8Rng) -> Language {
    Language::ALL[rng.random_range(0..Language::ALL.len() as u32) as usize]
}

/// What is to be written about a scene, and what stands before it: half of the time the question what is there, to which
/// all things are the answer, and else nothing, and any sentence behind it.
pub fn asked_caption(scene: &Scene, language: Language, rng: &mut ChaCha8Rng) -> (&'static str, String) {
    if rng.random_bool(0.5) {
        (language.caption_prompt(), scene.list(language, rng).text)
    } else {
        ("", scene.caption(language, rng))
    }
}

/// What is said about a scene in training: a question with its answer, in a share `asked` of the texts, or a caption, asked
/// for or not. Kinds of questions that stand among `more` are asked more often. The second text is what a model is to write
/// after the first.
pub fn question_or_caption(
    scene: &Scene,
    language: Language,
    asked: f64,
    more: &[QuestionKind],
    rng: &mut ChaCha8Rng,
) -> (String, String) {
    if rng.random_bool(asked)
        && let Some(question) = take_question(&mut scene.questions(language), more, rng)
    {
        return (question.text, question.answer);
    }
    let (prompt, caption) = asked_caption(scene, language, rng);
    (prompt.to_owned(), caption)
}

/// Takes one of these questions: first its kind, each as likely, those among `more` so many times more.
pub fn take_question(questions: &mut Vec<Question>, more: &[QuestionKind], rng: &mut ChaCha8Rng) -> Option<Question> {
    let mut kinds = [QuestionKind::ALL.as_slice(), more].concat();
    kinds.retain(|kind| questions.iter().any(|question| question.kind == *kind));
    if kinds.is_empty() {
        return None;
    }
    let kind = kinds[rng.random_range(0..kinds.len() as u32) as usize];
    let of_kind: Vec<usize> = (0..questions.len()).filter(|at| questions[*at].kind == kind).collect();
    Some(questions.swap_remove(of_kind[rng.random_range(0..of_kind.len() as u32) as usize]))
}

/// What is asked more often, since it is learned late: a word has to be compared with all of the picture, or few patches
/// know the answer.
const LATE: [QuestionKind; 5] =
    [QuestionKind::Where, QuestionKind::Colour, QuestionKind::Colour, QuestionKind::Presence, QuestionKind::Presence];

/// What models that write about a picture are to say of it: mostly answers.
pub fn anything(scene: &Scene, language: Language, rng: &mut ChaCha8Rng) -> (String, String) {
    question_or_caption(scene, language, 0.67, &LATE, rng)
}

/// A caption of each scene in its language, as [`asked_caption`] chooses it.
///
/// # Errors
/// If the tokenizer fails.
pub fn caption_rows(
    tokenizer: &TextTokenizer,
    scenes: &[Scene],
    languages: impl Iterator<Item = Language>,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (scene, language) in scenes.iter().zip(languages) {
        let (prompt, caption) = asked_caption(scene, language, rng);
        // Without its end token, which the caption has.
        let given = tokenizer.encode(prompt)?.ids.len() - 1;
        let mut ids = tokenizer.encode(&format!("{prompt} {caption}"))?.ids;
        ids.truncate(tokenizer.context());
        rows.push(Row::learned_behind(given, ids));
    }
    Ok(rows)
}

/// A text that a decoder learns to write on, or a conversation.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// What is read and written.
    pub ids: Vec<u32>,
    weights: Vec<f32>, // how much it counts that each id is predicted; 0 where it is given
}

impl Row {
    /// A text of which all but the first `given` tokens are learned, each token as much as any other.
    #[must_use]
    pub fn learned_behind(given: usize, ids: Vec<u32>) -> Self {
        let weights = (0..ids.len()).map(|at| f32::from(at >= given)).collect();
        Self { ids, weights }
    }

    /// Reads on: what follows is given.
    pub fn read(&mut self, ids: impl IntoIterator<Item = u32>) {
        self.ids.extend(ids);
        self.weights.resize(self.ids.len(), 0.0);
    }

    /// Writes on: what follows is learned, all of it together by the root of its length, so that a `yes` isn't lost among long
    /// captions, nor the last things of a caption among answers.
    pub fn write(&mut self, ids: &[u32]) {
        self.ids.extend(ids);
        self.weights.resize(self.ids.len(), (ids.len().max(1) as f32).sqrt().recip());
    }
}

/// A turn of a conversation: the ids of what is given and of what is to be written behind it, with its end and without what
/// begins every text.
///
/// # Errors
/// If the tokenizer fails.
pub fn turn(tokenizer: &TextTokenizer, given: &str, written: &str) -> Result<[Vec<u32>; 2]> {
    let ids = |text: &str| -> Result<Vec<u32>> {
        let ids = tokenizer.encode(text)?.ids;
        // Some tokenizers add the end by themselves.
        Ok(ids.into_iter().filter(|id| ![BEGIN.1, END.1].contains(id)).collect())
    };
    let mut both = ids(&format!("{given} {written}"))?;
    let mut written = both.split_off(ids(given)?.len().min(both.len()));
    written.push(END.1);
    Ok([both, written])
}

/// Share of conversations that begin with a caption.
const CAPTION_FIRST: f64 = 0.4;

/// A conversation about a scene behind `start`, of as many turns as `longest` ids have room for, as LLaVA's paper has them:
/// the picture is looked at once, and all that is answered teaches what to find in it.
///
/// What is answered has to be seen: whoever has written a caption needs no picture to say what is there and in which colour.
/// So behind a caption it is only asked where things are, and no question is asked twice.
///
/// # Errors
/// If the tokenizer fails.
pub fn conversation(
    tokenizer: &TextTokenizer,
    scene: &Scene,
    start: Vec<u32>,
    longest: usize,
    rng: &mut ChaCha8Rng,
) -> Result<Row> {
    let language = any_language(rng);
    let (mut row, first) = (Row::default(), start.len());
    row.read(start);
    let mut questions = scene.questions(language);
    let mut next = None;
    if rng.random_bool(CAPTION_FIRST) || questions.is_empty() {
        questions.retain(|question| question.kind == QuestionKind::Where);
        let (given, written) = asked_caption(scene, language, rng);
        next = Some((given.to_owned(), written));
    }
    loop {
        let asked = next.take().or_else(|| {
            let question = take_question(&mut questions, &LATE, rng)?;
            Some((question.text, question.answer))
        });
        let Some((given, written)) = asked else { return Ok(row) };
        let [given, written] = turn(tokenizer, &given, &written)?;
        if row.ids.len() > first && row.ids.len() + given.len() + written.len() > longest {
            return Ok(row);
        }
        row.read(given);
        row.write(&written);
    }
}

/// Texts that a decoder learns to write on.
pub struct Lines {
    /// What it reads, `[texts, tokens]`.
    pub ids: Tensor,
    /// 1 for tokens and 0 for padding, `[texts, tokens]`.
    pub mask: Tensor,
    /// What follows each token, `[texts, tokens]`.
    pub targets: Tensor,
    /// How much it counts that what follows is predicted, 0 where it isn't learned, `[texts, tokens]`.
    pub learned: Tensor,
}

impl Batch for Lines {
    fn to(self, device: &Device) -> Result<Self> {
        let Self { ids, mask, targets, learned } = self;
        let [ids, mask, targets, learned] = [ids, mask, targets, learned].map(|tensor| tensor.to_device(device));
        Ok(Self { ids: ids?, mask: mask?, targets: targets?, learned: learned? })
    }
}

impl Lines {
    /// From rows, of which the shorter are padded.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn new(rows: &[Row]) -> Result<Self> {
        let tokens = rows.iter().map(|row| row.ids.len()).max().unwrap_or(0).saturating_sub(1).max(1);
        let shape = (rows.len(), tokens);
        let (mut ids, mut mask, mut targets, mut learned) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            for at in 0..tokens {
                let follows = at + 1 < row.ids.len();
                ids.push(if follows { row.ids[at] } else { PAD.1 });
                mask.push(u32::from(follows));
                targets.push(if follows { row.ids[at + 1] } else { PAD.1 });
                learned.push(if follows { row.weights[at + 1] } else { 0.0 });
            }
        }
        Ok(Self {
            ids: Tensor::from_vec(ids, shape, &Device::Cpu)?,
            mask: Tensor::from_vec(mask, shape, &Device::Cpu)?,
            targets: Tensor::from_vec(targets, shape, &Device::Cpu)?,
            learned: Tensor::from_vec(learned, shape, &Device::Cpu)?,
        })
    }
}

/// `[scenes * statements]`, 1 where a statement, of which there is one for each scene, is true of another scene by accident.
pub fn also_true(scenes: &[Scene], statements: &[&Statement]) -> Vec<f32> {
    let mut also_true = Vec::with_capacity(scenes.len() * scenes.len());
    for (picture, scene) in scenes.iter().enumerate() {
        let accident = |(text, statement): (usize, &Statement)| picture != text && scene.satisfies(&statement.claim);
        also_true.extend(statements.iter().enumerate().map(|(text, statement)| f32::from(accident((text, statement)))));
    }
    also_true
}
