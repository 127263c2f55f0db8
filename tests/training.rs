//! Training: the same seed gives the same run, a stopped run goes on as if it had never stopped, and the result is an
//! ordinary checkpoint.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use alignscope::models::opened::Opened;
use alignscope::taps::{CancelToken, Taps};
use alignscope::training::Variables;
use alignscope::training::clip::ClipRecipe;
use alignscope::training::run::{self, Outcome, Plan, Recipe};
use candle_core::{Device, Tensor};

const STEPS: usize = 6;

/// The recipe under test, which asks to stop after some steps.
struct StopAfter<'a> {
    inner: &'a ClipRecipe,
    left: AtomicUsize,
    stop: CancelToken,
}

impl Recipe for StopAfter<'_> {
    type Batch = <ClipRecipe as Recipe>::Batch;

    fn plan(&self) -> &Plan {
        self.inner.plan()
    }

    fn variables(&self) -> alignscope::Result<Variables> {
        self.inner.variables()
    }

    fn decays(name: &str) -> bool {
        ClipRecipe::decays(name)
    }

    fn batch(&self, step: usize) -> alignscope::Result<Self::Batch> {
        self.inner.batch(step)
    }

    fn loss(&self, batch: &Self::Batch, variables: &Variables) -> alignscope::Result<(Tensor, f64)> {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.stop.cancel();
        }
        self.inner.loss(batch, variables)
    }

    fn write(&self, variables: &Variables, folder: &Path) -> alignscope::Result<Vec<PathBuf>> {
        self.inner.write(variables, folder)
    }
}

fn on_deep_stack(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("training".into()).stack_size(64 << 20);
        thread.spawn_scoped(scope, work).expect("a thread").join().expect("no panic");
    });
}

/// Trains in `folder`, stopping after `at_most` steps; gives the losses that were reported.
fn train(grounded: bool, folder: &std::path::Path, at_most: usize) -> (Outcome, Variables, Vec<f64>) {
    let recipe = ClipRecipe::with_batch(grounded, 3, STEPS, 16).expect("a recipe");
    let variables = recipe.variables().expect("variables");
    let stop = CancelToken::default();
    let stopping = StopAfter { inner: &recipe, left: AtomicUsize::new(at_most), stop: stop.clone() };
    let mut losses = Vec::new();
    let mut report = |progress: &run::Progress| losses.push(progress.loss);
    let outcome = run::run(&stopping, &variables, folder, &stop, &mut report).expect("a run");
    recipe.write(&variables, folder).expect("a checkpoint");
    (outcome, variables, losses)
}

fn values(variables: &Variables) -> Vec<(String, Vec<f32>)> {
    let all = variables.all().into_iter();
    all.map(|(name, variable)| (name, variable.flatten_all().and_then(|flat| flat.to_vec1()).expect("floats")))
        .collect()
}

#[test]
fn a_stopped_run_goes_on_as_if_it_had_never_stopped() {
    on_deep_stack(|| {
        let (straight, halved) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let (outcome, once, losses) = train(true, straight.path(), usize::MAX);
        assert_eq!(outcome, Outcome::Finished);
        assert!(losses.iter().all(|loss| loss.is_finite()) && !losses.is_empty());
        let (outcome, _, _) = train(true, halved.path(), 3);
        assert_eq!(outcome, Outcome::Stopped(3));
        let (outcome, again, _) = train(true, halved.path(), usize::MAX);
        assert_eq!(outcome, Outcome::Finished);
        assert!(values(&once) == values(&again), "the weights differ");
    });
}

#[test]
fn the_result_is_an_ordinary_checkpoint() {
    on_deep_stack(|| {
        let folder = tempfile::tempdir().expect("a folder");
        train(false, folder.path(), 1);
        let opened = Opened::open(folder.path(), &Device::Cpu).expect("a checkpoint");
        let texts = opened.texts(&["a cat left of a red ball", "一只猫在一个红色的球的左边"]).expect("texts");
        let features = opened.dual_encoder().encode_text(&texts.ids, texts.attention_mask.as_ref(), &mut Taps::none());
        assert_eq!(features.expect("features").embed.dims(), [2, 128]);
        for text in ["a cat left of a red ball", "一只猫在一个红色的球的左边"] {
            let tokens = opened.tokenizer.encode(text).expect("tokens");
            assert!(tokens.known.iter().all(|known| *known), "{text}: {:?}", tokens.texts);
        }
        // 马, a horse, is known inside of the unknown word.
        let strange = opened.tokenizer.encode("a zebra and 一只斑马").expect("tokens");
        assert_eq!(strange.known.iter().filter(|known| !**known).count(), 2, "{:?}", strange.texts);
    });
}
