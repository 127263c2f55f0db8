//! What is said in each of the columns that stand side by side.

use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::mpsc::sync_channel;

use super::column::{ColumnKey, ColumnModel};
use super::compute::{Computer, Emit, LIGHT, Question, Report};
use super::worker::STACK;
use crate::error::{Error, Result};
use crate::methods::{Evidence, Input, News};
use crate::models::weights::bytes_in;
use crate::taps::CancelToken;

/// What the columns may say before it is handed on.
const WAITING: usize = 16;

/// What comes from a thread that computes a column.
enum Said {
    Evidence(ColumnKey, Box<Evidence>),
    Ended(ColumnKey, Result<()>),
}

impl Computer {
    /// What is said in each column. What is wrong with one of them is said in its place; with one of the methods' own, also
    /// last, when the others are there.
    pub(super) fn side_by_side(
        &mut self,
        question: &Question,
        input: &Input,
        cancel: &CancelToken,
        emit: Emit<'_>,
    ) -> Result<()> {
        let is_light = |column: &ColumnModel| bytes_in(&column.model.folder).is_ok_and(|bytes| bytes <= LIGHT);
        // Several passes of large models together could take more memory than each was found to have.
        let wrong = if question.brief && question.side_by_side.iter().all(is_light) {
            self.at_once(question, input, cancel, emit)?
        } else {
            self.in_turn(question, input, cancel, emit)?
        };
        wrong.map_or(Ok(()), Err)
    }

    /// One column after the other, each with its plane unless the next question is near. Gives what went wrong last.
    fn in_turn(
        &mut self,
        question: &Question,
        input: &Input,
        cancel: &CancelToken,
        emit: Emit<'_>,
    ) -> Result<Option<Error>> {
        let mut wrong = None;
        let count = question.side_by_side.len() as f32;
        for (at, ColumnModel { key, model, .. }) in question.side_by_side.iter().enumerate() {
            let interventions = self.interventions(question, (*key, model), cancel)?;
            let input = &Input { interventions, ..input.clone() };
            let mut cloud = None;
            let done = self.method(model).and_then(|method| {
                method.evidence(input, cancel, &mut |news| match news {
                    News::Progress(share) => emit(Report::Progress((at as f32 + share) / count)),
                    News::Evidence(evidence) => {
                        cloud = Some(evidence.cloud.clone());
                        emit(Report::Column(*key, evidence));
                    }
                })
            });
            let done = match (done, cloud.filter(|_| !question.brief)) {
                (Ok(()), Some(cloud)) => self.plane_of(*key, question.plane, &cloud, cancel, emit).map(|plane| {
                    if let Some(plane) = plane {
                        emit(Report::ColumnPlane(*key, plane));
                    }
                }),
                (done, _) => done,
            };
            wrong = settle(*key, done, emit)?.or(wrong);
        }
        Ok(wrong)
    }

    /// The first maps of all columns at once: the operations of one alone are too small to keep several cores busy. Columns that
    /// share a model wait for each other. Gives what went wrong last.
    fn at_once(
        &mut self,
        question: &Question,
        input: &Input,
        cancel: &CancelToken,
        emit: Emit<'_>,
    ) -> Result<Option<Error>> {
        let (mut inputs, mut wrong) = (Vec::new(), None);
        for ColumnModel { key, model, .. } in &question.side_by_side {
            let interventions = self.interventions(question, (*key, model), cancel)?;
            match self.method(model) {
                Ok(_) => inputs.push((*key, model, Input { interventions, ..input.clone() })),
                Err(error) => wrong = settle(*key, Err(error), emit)?.or(wrong),
            }
        }
        let threads = match self.threads.take() {
            Some(threads) => threads,
            None => threads()?,
        };
        let (sender, receiver) = sync_channel(WAITING);
        threads.in_place_scope(|scope| {
            for loaded in &mut self.models.open {
                let inputs: Vec<_> = inputs.iter().filter(|(_, model, _)| loaded.wanted == **model).collect();
                let sender = sender.clone();
                scope.spawn(move |_| {
                    // Nobody listens any more only where the whole is given up.
                    for (key, _, input) in inputs {
                        let done = loaded.method.evidence(input, cancel, &mut |news| {
                            if let News::Evidence(evidence) = news {
                                sender.send(Said::Evidence(*key, evidence)).unwrap_or_default();
                            }
                        });
                        sender.send(Said::Ended(*key, done)).unwrap_or_default();
                    }
                });
            }
            drop(sender);
            for said in receiver {
                match said {
                    Said::Evidence(key, evidence) => emit(Report::Column(key, evidence)),
                    // What was cancelled is found below, once all have ended.
                    Said::Ended(key, done) => wrong = settle(key, done, emit).unwrap_or(None).or(wrong.take()),
                }
            }
        });
        self.threads = Some(threads);
        cancel.check()?;
        Ok(wrong)
    }
}

/// Says what went wrong in a column, in its place, and gives it where it has to be said of the whole, too.
///
/// # Errors
/// If the work was cancelled.
fn settle(key: ColumnKey, done: Result<()>, emit: Emit<'_>) -> Result<Option<Error>> {
    match done {
        Ok(()) => Ok(None),
        Err(Error::Cancelled) => Err(Error::Cancelled),
        Err(error) => {
            emit(Report::ColumnFailed(key, error.to_string()));
            // A pass that failed may go well elsewhere.
            let is_of_all = matches!(key, ColumnKey::Own(_)) || matches!(error, Error::Compute(_));
            Ok(is_of_all.then_some(error))
        }
    }
}

/// As many threads as there are cores. What the columns compute within them is shared among these, too.
fn threads() -> Result<ThreadPool> {
    let builder = ThreadPoolBuilder::new().stack_size(STACK).thread_name(|at| format!("column {at}"));
    builder
        .build()
        .map_err(|error| Error::unusable(format!("no thread could be started ({error})"), "close other programs"))
}
