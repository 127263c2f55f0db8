//! From what the state asks for to evidence, remembering everything that hasn't changed.

use image::RgbImage;
use rayon::ThreadPool;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::column::{ColumnKey, ColumnModel};
use super::effects::{Effects, Parts, Stack, Touched};
use super::errand::Errand;
use super::explained::MapAsk;
use super::loaded::{Models, Wanted};
use super::retouch::{Change, retouched};
use super::samples::Sample;
use super::state::PictureSource;
use super::testing::Tested;
use crate::error::{Error, Result};
use crate::methods::cost::{Asked, PictureCost};
use crate::methods::interventions::Means;
use crate::methods::{Cloud, Evidence, Input, Intervention, Measure, News, Pair, pairs};
use crate::models::picture::Picture;
use crate::models::weights::bytes_in;
use crate::reduction::{self, Plane};
use crate::taps::{CancelToken, Tower};
use crate::world::Language;

/// What the state asks for: while this stays the same, nothing has to be computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The column, by the key of its method.
    pub method: &'static str,
    /// The picture.
    pub picture: PictureSource,
    /// What was changed in it by hand.
    pub changes: Vec<Change>,
    /// Whether the next question is expected before this one is answered: then the first maps are enough.
    pub brief: bool,
    /// The sentence.
    pub sentence: String,
    /// The selected words, as bytes of the sentence.
    pub words: Option<(usize, usize)>,
    /// The language of offered words.
    pub language: Language,
    /// Pictures with captions to compare with.
    pub comparison: Vec<(PictureSource, String)>,
    /// The model of the column, if there is a checkpoint for the method.
    pub model: Option<Wanted>,
    /// How the cloud is brought to two dimensions.
    pub plane: PlaneQuestion,
    /// The layer whose attention is looked at; the others are kept only where there is room.
    pub attention: (Tower, Option<usize>),
    /// What the patterns of a tower may take, in megabytes.
    pub attention_ceiling: u32,
    /// Gates of Flamingo that are closed.
    pub closed_gates: Vec<usize>,
    /// The layer whose hidden states are the cloud.
    pub hidden_layer: Option<usize>,
    /// Queries that are left out.
    pub dropped_queries: Vec<usize>,
    /// The instruction to compare with.
    pub compared_instruction: Option<String>,
    /// The columns of which it is asked what the picture costs there.
    pub cost_by_column: Vec<ColumnModel>,
    /// What is changed in the models, by the key of their method.
    pub interventions: BTreeMap<String, Vec<Intervention>>,
    /// What is to be tested or measured; then that is all that is asked.
    pub errand: Option<Errand>,
    /// All columns, where they stand side by side; then that is all that is asked.
    pub side_by_side: Vec<ColumnModel>,
}

/// How a cloud is brought to two dimensions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlaneQuestion {
    /// The key of the reduction.
    pub reduction: &'static str,
    /// Where it begins.
    pub seed: u64,
    /// How far the texts are moved along the modality gap before. Zero for reductions that can bring moved points into
    /// the same plane afterwards.
    pub shift: f32,
}

/// A question with its number.
#[derive(Clone, Debug)]
pub struct Request {
    /// The number of the request.
    pub generation: u64,
    /// What is asked.
    pub question: Question,
    /// The models of all columns; others that are open are given up.
    pub columns: Vec<Wanted>,
}

/// What was at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The picture can't be read.
    Picture,
    /// The checkpoint can't be run.
    Checkpoint,
    /// Something else.
    Other,
}

/// What comes back.
pub enum Report {
    /// The picture was read.
    Picture {
        /// Its pixels.
        picture: Arc<RgbImage>,
        /// What to call it.
        name: String,
    },
    /// Evidence; more complete evidence may follow.
    Evidence(Box<Evidence>),
    /// What is said in one of the columns that stand side by side; more complete evidence may follow.
    Column(ColumnKey, Box<Evidence>),
    /// Why nothing is said in one of them, in one sentence.
    ColumnFailed(ColumnKey, String),
    /// The cloud in two dimensions.
    Plane(Arc<Plane>),
    /// The cloud of one of them.
    ColumnPlane(ColumnKey, Arc<Plane>),
    /// What the picture costs in each column.
    Costs(Vec<(ColumnKey, PictureCost)>),
    /// A map was tested.
    Tested(Arc<Tested>),
    /// A map was made by asking a model many times.
    Explained {
        /// What was asked.
        ask: MapAsk,
        /// In what the numbers are measured.
        measure: Measure,
        /// The map, `[patches]`.
        values: Vec<f32>,
    },
    /// Where in the model of the shown column something can be changed, with the checkpoint's folder.
    Parts(PathBuf, Arc<Parts>),
    /// What the interventions do that stand now.
    Touched(Box<Touched>),
    /// What each intervention would do.
    Effects(Box<Effects>),
    /// How well each head of a checkpoint grounds, with its folder.
    Heads(PathBuf, Vec<f32>),
    /// How far the work is, from 0 to 1.
    Progress(f32),
    /// Something that a person has to know, in one sentence; the answer is there all the same.
    Told(String),
    /// Something went wrong.
    Failed {
        /// One sentence.
        message: String,
        /// What was at fault.
        blame: Blame,
    },
    /// The request is done, after this time.
    Done(Duration),
}

/// Computes, and remembers the picture, the loaded method, the comparison and the plane.
#[derive(Default)]
pub struct Computer {
    picture: Option<(PictureSource, Arc<RgbImage>, String)>,
    /// The picture with what was changed in it by hand.
    changed: Option<(PictureSource, Vec<Change>, Arc<RgbImage>)>,
    pub(super) models: Models,
    pictures: BTreeMap<PictureSource, Arc<RgbImage>>,
    /// The last cloud of each column, with what was asked of it.
    planes: BTreeMap<ColumnKey, Reduced>,
    costs: Option<Costs>,
    /// What was said last without interventions, with what was asked.
    pub(super) untouched: Option<(Question, Arc<Evidence>)>,
    /// What the heads of a model gather on average.
    pub(super) means: Option<(Wanted, Arc<Means>)>,
    /// The heads of a checkpoint, by its folder.
    pub(super) stacks: Option<(PathBuf, Vec<Stack>)>,
    /// The threads on which columns are computed at once.
    pub(super) threads: Option<ThreadPool>,
}

/// The vectors of a cloud, what was asked of them, and the plane that they were brought to.
type Reduced = (Vec<Vec<f32>>, PlaneQuestion, Arc<Plane>);

/// What pictures cost, with what that was asked of: text and columns.
type Costs = ((String, Vec<ColumnModel>), Vec<(ColumnKey, PictureCost)>);

/// What a scene is called that a person has arranged.
const EDITED: &str = "scene";

/// Checkpoints are opened beside the one that is looked at, or once more with shuffled weights, only if they have at most so many bytes.
pub(super) const LIGHT: u64 = 64 << 20;

pub(super) type Emit<'a> = &'a mut dyn FnMut(Report);

impl Computer {
    /// Does what `request` asks for. Cancelled work reports nothing more.
    pub fn run(&mut self, request: &Request, cancel: &CancelToken, emit: &mut dyn FnMut(Report)) {
        let begin = Instant::now();
        self.models.keep(&request.columns);
        let mut done = self.try_run(&request.question, cancel, emit);
        if let Err((error @ Error::Compute(_), _)) = &done
            && self.fall_back(error)
        {
            done = self.try_run(&request.question, cancel, emit);
        }
        self.take_told().into_iter().for_each(|sentence| emit(Report::Told(sentence)));
        if let Err((error, blame)) = done {
            if matches!(error, Error::Cancelled) {
                return;
            }
            emit(Report::Failed { message: error.to_string(), blame });
        }
        emit(Report::Done(begin.elapsed()));
    }

    fn try_run(
        &mut self,
        question: &Question,
        cancel: &CancelToken,
        emit: Emit<'_>,
    ) -> std::result::Result<(), (Error, Blame)> {
        let (picture, name) = self.picture(question).map_err(|error| (error, Blame::Picture))?;
        emit(Report::Picture { picture: Arc::clone(&picture), name });
        let other = |error| (error, Blame::Other);
        cancel.check().map_err(other)?;
        // A method for which there is no checkpoint yet has nothing to say; its column says how to come by one.
        if question.model.is_none() && question.side_by_side.is_empty() {
            return Ok(());
        }
        let (comparison, unreadable) = self.comparison(question, cancel).map_err(other)?;
        let input = Input {
            picture: Arc::clone(&picture),
            sentence: question.sentence.clone(),
            selection: question.words,
            brief: question.brief,
            language: question.language,
            comparison,
            attention: question.attention,
            attention_ceiling: question.attention_ceiling,
            closed_gates: question.closed_gates.clone(),
            hidden_layer: question.hidden_layer,
            dropped_queries: question.dropped_queries.clone(),
            compared_instruction: question.compared_instruction.clone(),
            interventions: Vec::new(),
            tried: Vec::new(),
        };
        let input = match &question.model {
            Some(model) => {
                let of = (ColumnKey::Own(question.method), model);
                Input { interventions: self.interventions(question, of, cancel).map_err(other)?, ..input }
            }
            None => input,
        };
        if let Some(errand) = &question.errand {
            let done = match errand {
                Errand::Heads(model) => self.heads(model, cancel, emit),
                Errand::Effects(test) => self.measure_effects(test, question, &input, cancel, emit),
                Errand::Tests(tests) => self.test_maps(tests, question, &input, cancel, emit),
                Errand::Maps(asks) => self.explain(asks, question, &input, cancel, emit),
            };
            return done.map_err(other);
        }
        let Some(model) = &question.model else {
            self.side_by_side(question, &input, cancel, emit).map_err(other)?;
            return self.cost_by_column(question, &picture, cancel, emit).map_err(other);
        };
        self.method(model).map_err(|error| (error, Blame::Checkpoint))?;
        let is_touched = !input.interventions.is_empty();
        let untouched =
            is_touched.then(|| self.untouched(question, &input, cancel, emit)).transpose().map_err(other)?;
        let method = self.method(model).map_err(|error| (error, Blame::Checkpoint))?;
        cancel.check().map_err(other)?;
        let mut cloud = None;
        let mut key = "";
        let take = &mut |news| match news {
            News::Progress(share) => emit(Report::Progress(share)),
            News::Evidence(evidence) => {
                cloud = Some(evidence.cloud.clone());
                key = evidence.method;
                emit(Report::Evidence(evidence));
            }
        };
        method.evidence(&input, cancel, take).map_err(other)?;
        let Some(cloud) = cloud else { return Ok(()) };
        if let Some(plane) = self.plane_of(key.into(), question.plane, &cloud, cancel, emit).map_err(other)? {
            emit(Report::Plane(plane));
        }
        if let Some(untouched) = untouched.flatten() {
            let touched = self.touched(question, &input, untouched, cancel).map_err(other)?;
            touched.into_iter().for_each(|touched| emit(Report::Touched(Box::new(touched))));
        }
        // One more pass: of a large model, only once the person asks for what that finds.
        if bytes_in(&model.folder).is_ok_and(|bytes| bytes <= LIGHT) {
            let parts = self.parts(question, &input, cancel).map_err(other)?;
            emit(Report::Parts(model.folder.clone(), Arc::new(parts)));
        }
        self.cost_by_column(question, &picture, cancel, emit).map_err(other)?;
        // Said last, when everything else is there: it stands in the way of nothing.
        unreadable.map_or(Ok(()), |error| Err(other(error)))
    }

    /// The picture as it is asked about, with its name.
    pub(super) fn picture(&mut self, question: &Question) -> Result<(Arc<RgbImage>, String)> {
        let (picture, name) = self.original(&question.picture)?;
        if question.changes.is_empty() {
            return Ok((picture, name));
        }
        if let Some((source, changes, changed)) = &self.changed
            && *source == question.picture
            && *changes == question.changes
        {
            return Ok((Arc::clone(changed), name));
        }
        let changed = Arc::new(retouched(&picture, &question.changes));
        self.changed = Some((question.picture.clone(), question.changes.clone(), Arc::clone(&changed)));
        Ok((changed, name))
    }

    fn original(&mut self, source: &PictureSource) -> Result<(Arc<RgbImage>, String)> {
        if let Some((known, picture, name)) = &self.picture
            && known == source
        {
            return Ok((Arc::clone(picture), name.clone()));
        }
        let (picture, name) = read(source)?;
        self.picture = Some((source.clone(), Arc::clone(&picture), name.clone()));
        Ok((picture, name))
    }

    /// The pairs to compare with. The person's own sentence isn't compared with itself, and a picture that can't be read is
    /// left out; the last such error stands beside them.
    fn comparison(&mut self, question: &Question, cancel: &CancelToken) -> Result<(Arc<Vec<Pair>>, Option<Error>)> {
        let wanted = &question.comparison;
        self.pictures.retain(|known, _| wanted.iter().any(|(source, _)| source == known));
        let own = question.sentence.trim();
        let mut pairs = Vec::new();
        let mut unreadable = None;
        for (at, (source, caption)) in wanted.iter().enumerate() {
            cancel.check()?;
            if caption.trim() == own || caption.trim().is_empty() {
                continue;
            }
            let picture = match self.pictures.get(source) {
                Some(picture) => Arc::clone(picture),
                None => match read(source) {
                    Ok((picture, _)) => {
                        self.pictures.insert(source.clone(), Arc::clone(&picture));
                        picture
                    }
                    Err(error) => {
                        unreadable = Some(error);
                        continue;
                    }
                },
            };
            pairs.push(Pair { at, picture, caption: caption.trim().to_owned() });
        }
        Ok((Arc::new(pairs), unreadable))
    }

    /// What the picture costs in each column, measured in the same way, as far as their checkpoints are small enough to be
    /// opened for it and can be run: what is wrong with one is said where it is looked at. They stay open for the next text.
    fn cost_by_column(
        &mut self,
        question: &Question,
        picture: &RgbImage,
        cancel: &CancelToken,
        emit: Emit<'_>,
    ) -> Result<()> {
        if question.cost_by_column.is_empty() {
            return Ok(());
        }
        // It hangs on the size of the picture, if at all, not on what it shows.
        let asked = (question.sentence.clone(), question.cost_by_column.clone());
        let known = self.costs.as_ref().filter(|(known, _)| *known == asked).map(|(_, costs)| costs.clone());
        let costs = match known {
            Some(costs) => costs,
            None => {
                let mut costs = Vec::new();
                for ColumnModel { key, model, .. } in &question.cost_by_column {
                    if bytes_in(&model.folder).is_ok_and(|bytes| bytes > LIGHT) {
                        continue;
                    }
                    let (text, precision) = (question.sentence.as_str(), model.runtime.precision);
                    let asked = Asked { picture, text, precision, stop: cancel };
                    match self.method(model).and_then(|method| method.cost(asked)) {
                        Ok(cost) => costs.push((*key, cost)),
                        Err(Error::Cancelled) => return Err(Error::Cancelled),
                        Err(_) => {}
                    }
                }
                costs
            }
        };
        self.costs = Some((asked, costs.clone()));
        emit(Report::Costs(costs));
        Ok(())
    }

    /// The cloud of a column in two dimensions; `None` if it has no points.
    pub(super) fn plane_of(
        &mut self,
        key: ColumnKey,
        asked: PlaneQuestion,
        cloud: &Cloud,
        cancel: &CancelToken,
        emit: Emit<'_>,
    ) -> Result<Option<Arc<Plane>>> {
        let [pictures, texts] = cloud.halves();
        let texts =
            if asked.shift == 0.0 { texts } else { pairs::moved(&texts, &pairs::gap(&pictures, &texts), asked.shift) };
        let vectors: Vec<Vec<f32>> = pictures.into_iter().chain(texts).collect();
        if let Some((known, question, plane)) = self.planes.get(&key)
            && *question == asked
            && *known == vectors
        {
            return Ok(Some(Arc::clone(plane)));
        }
        let Some(reduction) = reduction::named(asked.reduction).filter(|_| !vectors.is_empty()) else {
            return Ok(None);
        };
        let rows: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
        let plane = (reduction.reduce)(&rows, asked.seed, &mut |share| {
            emit(Report::Progress(share));
            !cancel.is_cancelled()
        })?;
        let plane = Arc::new(plane);
        self.planes.insert(key, (vectors, asked, Arc::clone(&plane)));
        Ok(Some(plane))
    }
}

/// What is changed in the model of a method, as the person asks for it.
pub(super) fn interventions_of(question: &Question, method: &str) -> Vec<Intervention> {
    question.interventions.get(method).cloned().unwrap_or_default()
}

/// A picture with its name.
fn read(source: &PictureSource) -> Result<(Arc<RgbImage>, String)> {
    let (pixels, name) = match source {
        PictureSource::Sample(key) => (Sample::named(key)?.picture()?, key.clone()),
        PictureSource::File(path) => {
            let picture = Picture::open(path)?;
            (picture.pixels, picture.name)
        }
        PictureSource::Scene(scene) => (scene.draw(), EDITED.to_owned()),
    };
    Ok((Arc::new(pixels), name))
}
