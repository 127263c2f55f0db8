//! A training that a person watches: a thread of its own, which can be paused, stepped and changed while it runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use super::desk::Shared;
use super::{App, recordings};
use crate::error::{Error, Result};
use crate::training::live::{Learner, LearnerKind, Look, Stage, Stepped};
use crate::training::recorded::{Head, Recording};
use crate::world::Language;

/// Deep enough for candle, which walks and drops its graph recursively.
const STACK: usize = 64 << 20;
/// How long a person waits between two looks, at least: a look costs as much as a step.
const BETWEEN_LOOKS: Duration = Duration::from_millis(400);
/// Reports that may wait for the window.
const REPORTS: usize = 8;
/// Looks that are kept to go back to; beyond that every other one goes.
const MOST_LOOKS: usize = 240;

/// What a person sets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// What learns.
    pub kind: LearnerKind,
    /// Where chance begins.
    pub seed: u64,
    /// The learning rate.
    pub rate: f64,
    /// Whether it goes on by itself.
    pub runs: bool,
}

impl Default for Setting {
    fn default() -> Self {
        let kind = LearnerKind::default();
        Self { kind, seed: 0, rate: kind.usual_rate(), runs: true }
    }
}

/// A look back: what was learned after so many steps.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Steps done by then.
    pub step: usize,
    /// What was seen.
    pub look: Look,
    /// The pictures and behind them the texts in two dimensions, as principal components have them.
    pub plane: Vec<[f32; 2]>,
}

/// The training, as far as it has come.
pub struct Learning {
    /// What the person has set.
    pub setting: Setting,
    /// The pictures and texts that are looked at, once they are there.
    pub stage: Option<Arc<Stage>>,
    /// Loss and accuracy of each step.
    pub steps: Vec<Stepped>,
    /// What was learned, now and then.
    pub looks: Vec<Seen>,
    /// The look that is shown, if it isn't the last.
    pub shown: Option<usize>,
    /// The run that this is the recording of, if nothing is learned here and now.
    pub recorded: Option<Head>,
    /// What went wrong, if anything did.
    pub problem: Option<String>,
    shared: Arc<Shared<Desk>>,
    reports: Receiver<Report>,
}

enum Report {
    Stage(Arc<Stage>),
    Step(Stepped),
    Look(Seen),
    Failed(String),
}

#[derive(Default)]
struct Desk {
    rate: f64,
    runs: bool,
    /// Steps to do although it doesn't run.
    single: usize,
    temperature: Option<f32>,
    closed: bool,
}

impl Learning {
    /// Starts a training; `wake` is called after each report.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(
        setting: Setting,
        language: Language,
        blip: PathBuf,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Self> {
        let shared = Arc::new(Shared::<Desk>::default());
        {
            let mut desk = shared.desk();
            (desk.rate, desk.runs) = (setting.rate, setting.runs);
        }
        let (sender, reports) = sync_channel(REPORTS);
        let for_thread = Arc::clone(&shared);
        let work = move || {
            let say = |report| sender.send(report).inspect(|()| wake()).is_ok();
            if let Err(error) = learn(&for_thread, setting, language, &blip, &say) {
                say(Report::Failed(error.to_string()));
            }
        };
        let thread = std::thread::Builder::new().name("learning".into()).stack_size(STACK).spawn(work);
        thread.map_err(|error| {
            Error::unusable(format!("no thread could be started ({error})"), "close other programs")
        })?;
        Ok(Self {
            setting,
            stage: None,
            steps: Vec::new(),
            looks: Vec::new(),
            shown: None,
            recorded: None,
            problem: None,
            shared,
            reports,
        })
    }

    /// Takes up what was learned since.
    pub fn receive(&mut self) {
        while let Ok(report) = self.reports.try_recv() {
            match report {
                Report::Stage(stage) => self.stage = Some(stage),
                Report::Step(step) => self.steps.push(step),
                Report::Look(seen) => {
                    let plane = plane_of(&seen.look, self.looks.last());
                    self.looks.push(Seen { plane, ..seen });
                    if self.looks.len() > MOST_LOOKS {
                        let mut at = 0;
                        // The first and the last stay.
                        self.looks.retain(|_| {
                            at += 1;
                            at % 2 == 1 || at > MOST_LOOKS
                        });
                        self.shown = None;
                    }
                }
                Report::Failed(problem) => self.problem = Some(problem),
            }
        }
    }

    /// A recorded run, shown from its beginning; nothing learns.
    #[must_use]
    pub fn recorded(recording: Recording, language: Language) -> Self {
        let (_, reports) = sync_channel(1);
        let looks = recordings::seen(&recording, recordings::looks_in(&recording, language));
        Self {
            setting: Setting { runs: false, ..Setting::default() },
            stage: Some(Arc::new(recording.stage(language))),
            looks,
            shown: Some(0),
            steps: recording.steps,
            recorded: Some(recording.head),
            problem: None,
            shared: Arc::default(),
            reports,
        }
    }

    /// A copy to draw from on another thread, which learns nothing.
    #[must_use]
    pub fn still(&self) -> Self {
        let (_, reports) = sync_channel(1);
        Self {
            setting: self.setting,
            stage: self.stage.clone(),
            steps: self.steps.clone(),
            looks: self.looks.clone(),
            shown: self.shown,
            recorded: self.recorded.clone(),
            problem: self.problem.clone(),
            shared: Arc::default(),
            reports,
        }
    }

    /// The look that is shown.
    #[must_use]
    pub fn seen(&self) -> Option<&Seen> {
        self.shown.and_then(|at| self.looks.get(at)).or(self.looks.last())
    }

    /// Lets it go on by itself, or wait.
    pub fn set_running(&mut self, runs: bool) {
        self.setting.runs = runs;
        self.change(|desk| desk.runs = runs);
    }

    /// Lets it do one step and wait.
    pub fn step(&mut self) {
        self.setting.runs = false;
        self.change(|desk| {
            desk.runs = false;
            desk.single += 1;
        });
    }

    /// Sets the learning rate.
    pub fn set_rate(&mut self, rate: f64) {
        self.setting.rate = rate;
        self.change(|desk| desk.rate = rate);
    }

    /// Sets the temperature, from which it goes on learning.
    pub fn set_temperature(&mut self, temperature: f32) {
        self.change(|desk| desk.temperature = Some(temperature));
    }

    fn change(&self, change: impl FnOnce(&mut Desk)) {
        change(&mut self.shared.desk());
        self.shared.notify();
    }
}

impl Drop for Learning {
    fn drop(&mut self) {
        self.change(|desk| desk.closed = true);
    }
}

impl App {
    /// Starts a training to be watched.
    pub(super) fn learn(&mut self, setting: Setting) {
        let blip = crate::models::builtin::folder().join("blip-retrieval");
        let wake = self.wake.clone().unwrap_or_else(|| Arc::new(|| ()));
        match Learning::start(setting, self.state.look.language, blip, wake) {
            Ok(learning) => self.learning = Some(learning),
            Err(error) => self.problem = Some(error.to_string()),
        }
    }

    pub(super) fn change_learning(&mut self, change: impl FnOnce(&mut Learning)) {
        if let Some(learning) = &mut self.learning {
            change(learning);
        }
    }
}

/// The plane of a look, turned as that before it: the direction of an axis says nothing, and would flicker.
pub(super) fn plane_of(look: &Look, before: Option<&Seen>) -> Vec<[f32; 2]> {
    let rows: Vec<&[f32]> = look.pictures.iter().chain(&look.texts).map(Vec::as_slice).collect();
    let reduced = crate::reduction::named("pca").map(|pca| (pca.reduce)(&rows, 0, &mut |_| true));
    let Some(Ok(plane)) = reduced else { return Vec::new() };
    let mut places: Vec<[f32; 2]> = plane.points.iter().map(|point| point.map(|value| value as f32)).collect();
    for axis in 0..2 {
        let both = before.iter().flat_map(|before| before.plane.iter().zip(&places));
        if both.map(|(then, now)| then[axis] * now[axis]).sum::<f32>() < 0.0 {
            places.iter_mut().for_each(|place| place[axis] = -place[axis]);
        }
    }
    places
}

/// Learns until it is closed. A window that is gone ends it, too.
fn learn(
    shared: &Shared<Desk>,
    setting: Setting,
    language: Language,
    blip: &std::path::Path,
    say: &dyn Fn(Report) -> bool,
) -> Result<()> {
    super::worker::give_way();
    let mut learner = setting.kind.start(setting.seed, language, blip)?;
    if !say(Report::Stage(Arc::new(learner.stage().clone()))) || !look(&*learner, 0, say)? {
        return Ok(());
    }
    let mut looked = Instant::now();
    while let Some((rate, temperature, single)) = next(shared) {
        if let Some(temperature) = temperature {
            learner.set_temperature(temperature)?;
        }
        let stepped = learner.step(rate)?;
        if !say(Report::Step(stepped)) {
            return Ok(());
        }
        if single || looked.elapsed() >= BETWEEN_LOOKS {
            if !look(&*learner, stepped.step, say)? {
                return Ok(());
            }
            looked = Instant::now();
        }
    }
    Ok(())
}

fn look(learner: &dyn Learner, step: usize, say: &dyn Fn(Report) -> bool) -> Result<bool> {
    Ok(say(Report::Look(Seen { step, look: learner.look()?, plane: Vec::new() })))
}

/// Waits until there is a step to do: its rate, a temperature to start from, and whether it is a single one. `None` at the
/// end.
fn next(shared: &Shared<Desk>) -> Option<(f64, Option<f32>, bool)> {
    let mut desk = shared.desk();
    loop {
        if desk.closed {
            return None;
        }
        if desk.runs || desk.single > 0 {
            let single = desk.single > 0;
            desk.single = desk.single.saturating_sub(1);
            return Some((desk.rate, desk.temperature.take(), single));
        }
        desk = shared.wait(desk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_steps_and_ends() {
        let setting = Setting { runs: false, ..Setting::default() };
        let blip = crate::models::builtin::folder().join("blip-retrieval");
        let mut learning = Learning::start(setting, Language::English, blip, Arc::new(|| ())).expect("a thread");
        let wait = |until: &dyn Fn(&Learning) -> bool, learning: &mut Learning| {
            let begin = Instant::now();
            while !until(learning) {
                learning.receive();
                assert_eq!(learning.problem, None);
                assert!(begin.elapsed() < Duration::from_secs(120), "nothing is learned");
                std::thread::sleep(Duration::from_millis(2));
            }
        };
        wait(&|learning| learning.looks.len() == 1, &mut learning);
        assert!(learning.steps.is_empty() && learning.stage.is_some());
        learning.step();
        learning.step();
        wait(&|learning| learning.looks.len() == 3, &mut learning);
        assert_eq!(learning.steps.iter().map(|step| step.step).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(learning.seen().map(|seen| seen.step), Some(2));
        learning.shown = Some(0);
        assert_eq!(learning.seen().map(|seen| seen.step), Some(0));
    }
}
