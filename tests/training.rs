//! Training: the same seed gives the same run, a stopped run goes on as if it had never stopped, and the result is an
//! ordinary checkpoint.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use alignscope::models::bottleneck::{Connector, OpenedBottleneck};
use alignscope::models::builtin;
use alignscope::models::fusion::OpenedFusion;
use alignscope::models::generate::Greedy;
use alignscope::models::opened::Opened;
use alignscope::models::projector::OpenedProjector;
use alignscope::models::q_former::QFormerText;
use alignscope::models::querying::OpenedQuerying;
use alignscope::models::querying_writer::QueryingPrompt;
use alignscope::models::weights::Weights;
use alignscope::taps::{CancelToken, Change, Interventions, Recorder, SitePattern, Taps};
use alignscope::training::Variables;
use alignscope::training::blip::BlipRecipe;
use alignscope::training::blip_2::Blip2Recipe;
use alignscope::training::bottleneck::BottleneckRecipe;
use alignscope::training::clip::ClipRecipe;
use alignscope::training::flamingo::{FlamingoRecipe, FlamingoStage};
use alignscope::training::llava::{LlavaRecipe, LlavaStage};
use alignscope::training::lm::LmRecipe;
use alignscope::training::querying_writer::QueryingWriterRecipe;
use alignscope::training::run::{self, Outcome, Plan, Recipe};
use alignscope::world::{Scene, Split};
use candle_core::{Device, Tensor};

const STEPS: usize = 6;

/// The recipe under test, which asks to stop after some steps.
struct StopAfter<'a, R> {
    inner: &'a R,
    left: AtomicUsize,
    stop: CancelToken,
}

impl<R: Recipe> Recipe for StopAfter<'_, R> {
    type Batch = R::Batch;

    fn plan(&self) -> &Plan {
        self.inner.plan()
    }

    fn variables(&self, device: &Device) -> alignscope::Result<Variables> {
        self.inner.variables(device)
    }

    fn decays(name: &str) -> bool {
        R::decays(name)
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

/// What a training leaves.
struct Trained {
    outcome: Outcome,
    variables: Variables,
    losses: Vec<f64>,
    folders: Vec<PathBuf>,
}

/// Trains in `folder`, stopping after `at_most` steps.
fn train<R: Recipe>(recipe: &R, folder: &Path, at_most: usize) -> Trained {
    let variables = recipe.variables(&Device::Cpu).expect("variables");
    let stop = CancelToken::default();
    let stopping = StopAfter { inner: recipe, left: AtomicUsize::new(at_most), stop: stop.clone() };
    let mut losses = Vec::new();
    let mut report = |progress: &run::Progress| losses.push(progress.loss);
    let outcome = run::run(&stopping, &variables, folder, &stop, &mut report).expect("a run");
    let folders = recipe.write(&variables, folder).expect("a checkpoint");
    Trained { outcome, variables, losses, folders }
}

fn clip(grounded: bool) -> ClipRecipe {
    ClipRecipe::new(grounded, 3, STEPS, 16).expect("a recipe")
}

fn blip_2(batch: usize) -> Blip2Recipe {
    Blip2Recipe::new(3, STEPS, batch, &builtin::folder().join("blip-retrieval")).expect("a recipe")
}

fn values(variables: &Variables) -> Vec<(String, Vec<f32>)> {
    let all = variables.all().into_iter();
    all.map(|(name, variable)| (name, variable.flatten_all().and_then(|flat| flat.to_vec1()).expect("floats")))
        .collect()
}

fn stops_and_goes_on<R: Recipe>(recipe: &R) {
    let (straight, halved) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let once = train(recipe, straight.path(), usize::MAX);
    assert_eq!(once.outcome, Outcome::Finished);
    assert!(once.losses.iter().all(|loss| loss.is_finite()) && !once.losses.is_empty());
    assert_eq!(train(recipe, halved.path(), 3).outcome, Outcome::Stopped(3));
    let again = train(recipe, halved.path(), usize::MAX);
    assert_eq!(again.outcome, Outcome::Finished);
    assert!(values(&once.variables) == values(&again.variables), "the weights differ");
}

#[test]
fn a_stopped_run_goes_on_as_if_it_had_never_stopped() {
    on_deep_stack(|| {
        stops_and_goes_on(&clip(true));
        stops_and_goes_on(&BlipRecipe::new(3, STEPS, 8, None).expect("a recipe"));
        stops_and_goes_on(&blip_2(8));
    });
}

#[test]
fn blip_becomes_three_checkpoints_with_one_tower_that_starts_as_that_of_clip() {
    on_deep_stack(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let start = builtin::folder().join("clip-grounded");
        let recipe = BlipRecipe::new(3, STEPS, 4, Some(&start)).expect("a recipe");
        let clip = Opened::open(&start, &Device::Cpu).expect("CLIP");
        let variables = recipe.variables(&Device::Cpu).expect("variables");
        let folders = recipe.write(&variables, folder.path()).expect("checkpoints");
        assert_eq!(folders.len(), 3);
        let picture = Scene::random(Split::Test, 5).draw();
        let blip = OpenedFusion::open(&folders[0], &Device::Cpu).expect("BLIP");
        let ours = blip.see(&blip.pixels(&[&picture]).expect("pixels"), &mut Taps::none()).expect("states");
        let ours = ours.get(0).expect("a picture"); // [1 + patches, width]
        let mut recorder = Recorder::new(SitePattern::new("vision.blocks.3.resid_post"));
        let pixels = clip.pixels(&[&picture]).expect("pixels");
        clip.dual_encoder().encode_image(&pixels, &mut Taps::none().with(&mut recorder)).expect("features");
        let theirs = recorder.finish().activations.into_values().next().expect("states");
        // Behind the last norm, whose weights are close to one: directions can be compared without it.
        let ours = ours.to_vec2::<f32>().expect("numbers");
        let cosine = |a: &[f32], b: &[f32]| {
            let mean = |x: &[f32]| x.iter().sum::<f32>() / x.len() as f32;
            let (of_a, of_b) = (mean(a), mean(b));
            let dot = |x: &[f32], mx: f32, y: &[f32], my: f32| -> f32 {
                x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum()
            };
            dot(a, of_a, b, of_b) / (dot(a, of_a, a, of_a) * dot(b, of_b, b, of_b)).sqrt()
        };
        let width = ours[0].len();
        let cosines: Vec<f32> =
            ours.iter().zip(theirs.data.chunks_exact(width)).map(|(ours, theirs)| cosine(ours, theirs)).collect();
        let mean = cosines.iter().sum::<f32>() / cosines.len() as f32;
        assert!(mean > 0.85, "the tower starts elsewhere: {mean}");

        let texts = ["a cat left of a red ball", "一只猫在一个红色的球的左边"];
        for folder in folders {
            let opened = OpenedFusion::open(&folder, &Device::Cpu).expect("a checkpoint");
            for text in texts {
                let tokens = opened.tokens(text).expect("tokens");
                assert!(tokens.known.iter().all(|known| *known), "{text}: {:?}", tokens.texts);
            }
        }
    });
}

#[test]
fn flamingo_changes_nothing_of_what_it_stands_on() {
    on_deep_stack(|| {
        let [lm, stage, folder] = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
        let language = train(&LmRecipe::new(3, STEPS, 8).expect("a recipe"), lm.path(), usize::MAX);
        let tower = builtin::folder().join("clip-grounded");
        let frozen = (tower.as_path(), language.folders[0].as_path());
        let first = FlamingoRecipe::new(FlamingoStage::Resampler, 3, STEPS, 4, frozen, None).expect("a recipe");
        let start = first.variables(&Device::Cpu).expect("variables").all();
        let first = train(&first, stage.path(), usize::MAX);
        for ((name, before), (_, after)) in start.iter().zip(first.variables.all()) {
            let learned = name.contains("perceiver_resampler") || name.contains("surroundings");
            assert!((numbers(before) != numbers(&after)) == learned, "{name}");
        }
        let from = Some(first.folders[0].as_path());
        let recipe = FlamingoRecipe::new(FlamingoStage::Together, 3, STEPS, 4, frozen, from).expect("a recipe");
        let trained = train(&recipe, folder.path(), usize::MAX);
        assert!(trained.variables.all().iter().all(|(name, _)| {
            !name.contains("model.layers.") && !name.contains("vision_model") && !name.ends_with("embed_tokens.weight")
        }));
        let opened = OpenedFusion::open(&trained.folders[0], &Device::Cpu).expect("a checkpoint");
        let picture = Scene::random(Split::Test, 5).draw();
        let states = opened.see(&opened.pixels(&[&picture]).expect("pixels"), &mut Taps::none()).expect("states");
        let texts = opened.tokenizer.pad(&[opened.tokens("is there a cat?").expect("tokens").ids], &Device::Cpu);
        let texts = texts.expect("texts");
        let mut closed = Interventions(vec![Change::GatesClosed { layers: None }]);
        let with = opened.read(&texts, &states, &mut Taps::none()).expect("a pass").logits.expect("logits");
        let without = opened.read(&texts, &states, &mut Taps::none().with(&mut closed)).expect("a pass").logits;
        let alone = opened.flamingo().expect("Flamingo").language(&texts.ids, None, &mut Taps::none()).expect("a pass");
        assert!(numbers(&without.expect("logits")) == numbers(&alone), "closed gates let something through");
        assert!(numbers(&with) != numbers(&alone), "open gates let nothing through");

        // Another run learns on from there; the file holds halves, and only what the model needs.
        let file = Weights::open(&trained.folders[0], &Device::Cpu).expect("weights");
        assert!(file.shapes().iter().all(|(name, _)| !name.contains("surroundings")));
        let on = FlamingoRecipe::new(FlamingoStage::Together, 4, STEPS, 4, frozen, Some(&trained.folders[0]));
        let on = on.expect("a recipe").variables(&Device::Cpu).expect("variables");
        for ((name, then), (_, now)) in trained.variables.all().iter().zip(on.all()) {
            let off = numbers(then).iter().zip(numbers(&now)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 4e-3, "{name} starts {off} off");
        }
    });
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("numbers")
}

#[test]
fn blip_2_goes_on_from_stage_to_stage() {
    on_deep_stack(|| {
        let (lm, first) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let language = train(&LmRecipe::new(3, STEPS, 8).expect("a recipe"), lm.path(), usize::MAX);
        let stage = train(&blip_2(4), first.path(), usize::MAX);
        let opened = OpenedQuerying::open(&stage.folders[0], &Device::Cpu).expect("the first stage");
        assert!(opened.retrieval().is_some());
        let blip = OpenedFusion::open(&builtin::folder().join("blip-retrieval"), &Device::Cpu).expect("BLIP");
        let pictures = [5, 6].map(|seed| Scene::random(Split::Test, seed).draw());
        let pixels = opened.pixels(&[&pictures[0], &pictures[1]]).expect("pixels");
        let states = opened.see(&pixels, &mut Taps::none()).expect("states");
        let theirs = blip.see(&pixels, &mut Taps::none()).expect("states");
        assert!(numbers(&states) == numbers(&theirs), "the tower isn't that of BLIP");

        for instructed in [false, true] {
            let new = |first_stage: &Path| {
                QueryingWriterRecipe::new(instructed, 3, STEPS, 4, (first_stage, &language.folders[0]), None)
            };
            let refused = new(&language.folders[0]).err().expect("a refusal").to_string();
            assert!(refused.contains("first stage"), "{refused}");
            let recipe = new(&stage.folders[0]).expect("a recipe");
            stops_and_goes_on(&recipe);
            let folder = tempfile::tempdir().expect("a folder");
            let trained = train(&recipe, folder.path(), usize::MAX);
            let learned = trained.variables.all();
            assert!(learned.iter().all(|(name, _)| !name.contains("vision_model") && !name.contains("language_model")));

            let opened = OpenedQuerying::open(&trained.folders[0], &Device::Cpu).expect("a checkpoint");
            let writer = opened.writer().expect("a writer");
            assert_eq!((writer.instructed(), opened.instructions.is_some()), (instructed, instructed));
            let ours = opened.see(&pixels, &mut Taps::none()).expect("states");
            assert!(numbers(&ours) == numbers(&theirs), "the tower isn't that of BLIP");

            // All at once, with padding, the texts are those that are written one by one.
            let texts = ["what is there?", "有几只猫？"];
            let stop = CancelToken::default();
            let together = opened.write_all(&texts, &ours, 6, &stop).expect("texts");
            for (at, text) in texts.into_iter().enumerate() {
                let taps = &mut Taps::none();
                let ids = |ids: &[u32]| Tensor::new(ids, &Device::Cpu).and_then(|ids| ids.unsqueeze(0)).expect("ids");
                let instruction = opened.instruction(text).expect("tokens").map(|tokens| ids(&tokens.ids));
                let instruction = instruction.as_ref().map(|ids| QFormerText { ids, attention_mask: None });
                let seen = ours.narrow(0, at, 1).expect("a picture");
                let queries = writer.query(&seen, instruction, None, taps).expect("queries");
                let projected = writer.project(&queries).expect("vectors");
                let prompt = opened.prompt(text, opened.query_count()).expect("tokens");
                assert!(prompt.known.iter().all(|known| *known), "{text}: {:?}", prompt.texts);
                let prompt = QueryingPrompt { ids: &ids(&prompt.ids), attention_mask: None, projected: &projected };
                let mut alone = writer.generate(prompt, Greedy::new(6).into(), taps, &mut |_| true).expect("a text");
                alone.retain(|token| !writer.language().ends().contains(token));
                assert_eq!(together[at], alone, "{text}");
            }
        }
    });
}

#[test]
fn llava_learns_the_projector_first_and_then_the_language_model_too() {
    on_deep_stack(|| {
        let (lm, first) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let language = train(&LmRecipe::new(3, STEPS, 8).expect("a recipe"), lm.path(), usize::MAX);
        let tower = builtin::folder().join("clip-grounded");
        let stage = LlavaStage::Projector { tower: &tower, language: &language.folders[0] };
        let recipe = LlavaRecipe::new(3, STEPS, 4, stage).expect("a recipe");
        stops_and_goes_on(&recipe);
        let trained = train(&recipe, first.path(), usize::MAX);
        assert!(trained.variables.all().iter().all(|(name, _)| name.starts_with("multi_modal_projector.")));

        let opened = OpenedProjector::open(&trained.folders[0], &Device::Cpu).expect("the first stage");
        let clip = Opened::open(&tower, &Device::Cpu).expect("CLIP");
        let pictures = [5, 6].map(|seed| Scene::random(Split::Test, seed).draw());
        let pixels = opened.pixels(&[&pictures[0], &pictures[1]]).expect("pixels");
        let features = opened.see(&pixels, &mut Taps::none()).expect("features"); // [pictures, patches, width]
        let mut recorder = Recorder::new(SitePattern::new("vision.blocks.3.resid_post"));
        let theirs = clip.pixels(&[&pictures[0], &pictures[1]]).expect("pixels");
        clip.dual_encoder().encode_image(&theirs, &mut Taps::none().with(&mut recorder)).expect("features");
        let theirs = recorder.finish().activations.into_values().next().expect("states"); // [pictures, 1 + patches, width]
        let width = features.dims()[2];
        let ours = numbers(&features.get(0).expect("a picture"));
        let off = ours.iter().zip(&theirs.data[width..]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 2e-2, "the tower is {off} off"); // the file holds halves

        let refused = LlavaRecipe::new(3, STEPS, 4, LlavaStage::Together { start: &tower }).err().expect("a refusal");
        assert!(refused.to_string().contains("first stage"), "{refused}");
        let stage = LlavaStage::Together { start: &trained.folders[0] };
        let recipe = LlavaRecipe::new(3, STEPS, 4, stage).expect("a recipe");
        stops_and_goes_on(&recipe);
        let second = tempfile::tempdir().expect("a folder");
        let trained = train(&recipe, second.path(), usize::MAX);
        let learned = trained.variables.all();
        assert!(learned.iter().any(|(name, _)| name.starts_with("language_model.model.layers.")));
        assert!(learned.iter().all(|(name, _)| !name.starts_with("vision_tower.")));
        let opened = OpenedProjector::open(&trained.folders[0], &Device::Cpu).expect("the second stage");
        let tokens = opened.tokens_to_go_on("一只猫在一个红色的球的左边").expect("tokens");
        assert!(tokens.known.iter().all(|known| *known), "{:?}", tokens.texts);
        let placeholder = opened.model().placeholder();
        assert_eq!(tokens.ids.iter().filter(|id| **id == placeholder).count(), opened.positions());
        let texts = ["what is there?", "有几只猫？"];
        let again = opened.see(&pixels, &mut Taps::none()).expect("features");
        assert!(numbers(&again) == numbers(&features), "the tower has changed");
        opened.write_all(&texts, &again, 4, &CancelToken::default()).expect("texts");
    });
}

#[test]
fn the_result_is_an_ordinary_checkpoint() {
    on_deep_stack(|| {
        let folder = tempfile::tempdir().expect("a folder");
        train(&clip(false), folder.path(), 1);
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

#[test]
fn each_connector_learns_beside_a_frozen_tower_and_answers() {
    on_deep_stack(|| {
        let lm = tempfile::tempdir().expect("a folder");
        let language = train(&LmRecipe::new(3, STEPS, 8).expect("a recipe"), lm.path(), usize::MAX);
        let tower = builtin::folder().join("clip-grounded");
        let recipe = |connector: Connector| {
            BottleneckRecipe::new(connector, 3, STEPS, 4, (tower.as_path(), language.folders[0].as_path()))
        };
        stops_and_goes_on(&recipe(Connector::Queries(2)).expect("a recipe"));
        let pictures = [5, 6].map(|seed| Scene::random(Split::Test, seed).draw());
        let pictures = [&pictures[0], &pictures[1]];
        for connector in [Connector::Projector(64), Connector::Pool(4), Connector::Shuffle(16), Connector::Queries(2)] {
            let folder = tempfile::tempdir().expect("a folder");
            let trained = train(&recipe(connector).expect("a recipe"), folder.path(), usize::MAX);
            let learned = trained.variables.all();
            assert!(learned.iter().any(|(name, _)| name.starts_with("language_model.model.layers.")));
            assert!(learned.iter().all(|(name, _)| !name.starts_with("vision_tower.")));
            let opened = OpenedBottleneck::open(&trained.folders[0], &Device::Cpu).expect("a checkpoint");
            assert_eq!(opened.model().config().connector, connector);
            let stop = CancelToken::default();
            let handed = opened.handed(&pictures, &stop).expect("vectors");
            assert_eq!(handed.dims(), [2, connector.tokens(), 128], "{connector}");
            let both = opened.write_all(&["what is there?", "有几只猫？"], &handed, 4, &stop).expect("texts");
            let second = handed.narrow(0, 1, 1).expect("a picture");
            let alone = opened.write_all(&["有几只猫？"], &second, 4, &stop).expect("a text");
            assert_eq!(both[1], alone[0], "{connector}: padding changes what is written");
        }
        for impossible in [Connector::Pool(9), Connector::Queries(65), Connector::Projector(16)] {
            let refused = recipe(impossible).and_then(|recipe| recipe.variables(&Device::Cpu)).err();
            assert!(refused.is_some_and(|error| error.to_string().contains("queries-4")), "{impossible}");
        }
        let other = OpenedBottleneck::open(&tower, &Device::Cpu).err().expect("a refusal");
        assert!(other.to_string().contains("train bottleneck"), "{other}");
    });
}

/// A language model is no checkpoint that the window shows, so nothing is measured of it; training it ends well all the same.
#[test]
fn a_part_of_a_checkpoint_is_trained_by_the_command_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut train = std::process::Command::new(env!("CARGO_BIN_EXE_alignscope"));
    train.args(["train", "lm", "--steps", "1", "--batch", "2"]).current_dir(folder.path());
    let done = train.output().expect("the program starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(folder.path().join("checkpoints/lm-seed-0/model.safetensors").is_file());
}
