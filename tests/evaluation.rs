//! Evaluation: hits, chance, intervals and retrieval from numbers made by hand, and a whole run on a random checkpoint.

use alignscope::attribution::ATTRIBUTIONS;
use alignscope::evaluation::contrastive::{self, Plan, RANDOM};
use alignscope::evaluation::pointing::{Pair, Pointing, centres, hit, pairs};
use alignscope::evaluation::querying;
use alignscope::evaluation::retrieval::Retrieval;
use alignscope::evaluation::{SPLITS, Share, fresh_scenes};
use alignscope::models::builtin;
use alignscope::models::opened::Opened;
use alignscope::models::preprocess::{Class, ImageProcessor};
use alignscope::models::querying::OpenedQuerying;
use alignscope::taps::CancelToken;
use alignscope::training::blip_2::Blip2Recipe;
use alignscope::training::clip::ClipRecipe;
use alignscope::training::lm::LmRecipe;
use alignscope::training::querying_writer::QueryingWriterRecipe;
use alignscope::training::run::Recipe;
use alignscope::world::{Language, Object, SIDE, Scene, Split, Thing};
use candle_core::Device;
use std::path::{Path, PathBuf};

#[test]
fn the_highest_patch_decides() {
    let on_object = [false, true, false, true];
    assert_eq!(hit(&[0.1, 0.9, 0.2, 0.3], &on_object), 1.0);
    assert_eq!(hit(&[0.1, 0.2, 0.9, 0.3], &on_object), 0.0);
    assert_eq!(hit(&[-4.0, -3.0, -2.0, -1.0], &on_object), 1.0);
    // Two equally high patches, one on the object; a flat map; no number at all.
    assert_eq!(hit(&[0.9, 0.9, 0.2, 0.3], &on_object), 0.5);
    assert_eq!(hit(&[0.0; 4], &on_object), 0.5);
    assert_eq!(hit(&[f32::NAN; 4], &on_object), 0.0);
}

#[test]
fn chance_is_the_share_of_patches_on_the_object() {
    let processor = ImageProcessor::new(Class::Clip, 64);
    let centres = centres(&processor, (8, 8));
    assert_eq!((centres[0], centres[1], centres[63]), ((16, 16), (48, 16), (240, 240)));
    let mut scene = fresh_scenes(Split::Test, 0, 1).remove(0);
    let thing = |name: &str| Thing::try_from(name.to_owned()).expect("a thing");
    let object = |name: &str, x: i32, y: i32, size: u32| Object { thing: thing(name), x, y, size };
    scene.objects = vec![object("red box", 0, 0, SIDE / 2)];
    assert!(pairs(std::slice::from_ref(&scene), Language::English, &centres).is_empty(), "one thing is no game");
    scene.objects.push(object("cat", 160, 160, 80));
    let pairs = pairs(&[scene.clone()], Language::English, &centres);
    let asked: Vec<&str> = pairs.iter().map(|pair| pair.text.as_str()).collect();
    assert_eq!(asked, ["red box", "cat"]);
    let mask = scene.mask(0);
    let covered = centres.iter().filter(|(x, y)| mask.get_pixel(*x, *y).0[0] > 0).count();
    assert!((12..=16).contains(&covered), "a quarter of the scene, less its round corners, but {covered}");
    assert_eq!(hit(&[0.0; 64], &pairs[0].on_object), covered as f64 / 64.0);
}

#[test]
fn things_count_alike_however_frequent() {
    let thing = |name: &str| Thing::try_from(name.to_owned()).expect("a thing");
    let pair = |scene: usize, name: &str| Pair {
        scene,
        text: name.into(),
        thing: thing(name),
        near_object: vec![],
        on_object: vec![],
    };
    let pairs = [pair(0, "cat"), pair(0, "dog"), pair(1, "cat"), pair(2, "cat")];
    let pointing = Pointing::of("cosine", Language::English, &pairs, &[[1.0, 0.0], [0.0; 2], [1.0, 1.0], [1.0, 0.0]]);
    assert_eq!((pointing.over_things.value, pointing.over_phrases.value, pointing.phrases), (0.5, 0.75, 4));
}

#[test]
fn an_interval_holds_the_mean_and_narrows() {
    let hits: Vec<f64> = (0..400).map(|at| f64::from(u8::from(at % 4 == 0))).collect();
    let (few, many) = (Share::of(&hits[..40]), Share::of(&hits));
    for share in [few, many] {
        assert_eq!(share.value, 0.25);
        assert!(share.low < 0.25 && 0.25 < share.high, "{share:?}");
    }
    assert!(many.high - many.low < 0.5 * (few.high - few.low));
    // The normal approximation: 1.96 * sqrt(p (1 - p) / n) on each side.
    assert!((many.high - many.low - 2.0 * 1.96 * (0.25f64 * 0.75 / 400.0).sqrt()).abs() < 0.015, "{many:?}");
    assert_eq!(Share::of(&hits), many, "the same numbers give the same interval");
    assert_eq!(Share::of(&[1.0; 9]), Share { value: 1.0, low: 1.0, high: 1.0 });
    assert_eq!(Share::of(&[]).value, 0.0);
}

#[test]
fn retrieval_counts_what_is_true_and_what_is_its_own() {
    let identity = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    let perfect = Retrieval::of(Language::English, 3, &identity, |picture, text| picture == text);
    assert_eq!((perfect.picture_to_text.value, perfect.text_to_picture.value), (1.0, 1.0));
    // Picture 0 finds text 1, which is true of it too; text 2 finds picture 0, of which it isn't true.
    let similarity = [0.5, 0.9, 0.8, 0.0, 1.0, 0.1, 0.1, 0.0, 0.7];
    let found = Retrieval::of(Language::English, 3, &similarity, |picture, text| picture == text || text == 1);
    assert_eq!((found.picture_to_text.value, found.picture_to_text_strict.value), (1.0, 2.0 / 3.0));
    assert_eq!((found.text_to_picture.value, found.text_to_picture_strict.value), (2.0 / 3.0, 2.0 / 3.0));
}

#[test]
fn full_captions_are_true_and_stay() {
    for split in SPLITS {
        for scene in fresh_scenes(split, 3, 50) {
            for language in Language::ALL {
                let statement = scene.full_statement(language);
                assert!(scene.satisfies(&statement.claim), "{}", statement.text);
                assert_eq!(scene.full_caption(language), statement.text);
                let named = scene.phrases(language);
                assert!(
                    language == Language::English || named.iter().all(|phrase| statement.text.contains(&phrase.text))
                );
            }
        }
    }
    let scenes = |seed: u32| -> Vec<Scene> { fresh_scenes(Split::Test, seed, 20) };
    assert_eq!(scenes(1), scenes(1));
    assert!(scenes(1).iter().all(|scene| !scenes(2).contains(scene)));
}

#[test]
fn a_random_checkpoint_is_measured_in_full() {
    let folder = tempfile::tempdir().expect("a folder");
    let recipe = ClipRecipe::new(false, 0, 1, 128).expect("a recipe");
    recipe
        .write(&recipe.variables(&Device::Cpu).expect("weights"), &folder.path().join("random"))
        .expect("a checkpoint");
    let found = builtin::list_in(folder.path());
    assert_eq!(found, [folder.path().join("random")]);
    let opened = Opened::open(&found[0], &Device::Cpu).expect("a model");
    let plan = Plan { seed: 0, scenes: 12 };
    let mut last = (0, 1);
    let mut progress = |done: usize, passes: usize| last = (done, passes);
    let report = contrastive::evaluate(&opened, plan, &CancelToken::default(), &mut progress).expect("figures");
    assert_eq!(last.0, last.1, "all passes were reported");
    assert_eq!(report.splits.len(), SPLITS.len());
    for split in &report.splits {
        assert_eq!(split.retrieval.len(), Language::ALL.len());
        assert_eq!(split.pointing.len(), Language::ALL.len() * (1 + ATTRIBUTIONS.len()));
        for pointing in &split.pointing {
            let share = pointing.over_things;
            assert!(0.0 <= share.low && share.low <= share.high && share.high <= 1.0, "{pointing:?}");
            if pointing.attribution == RANDOM {
                assert!((0.03..0.3).contains(&share.value), "{pointing:?}");
            }
        }
    }
    let table = report.to_string();
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    assert!(ATTRIBUTIONS.iter().all(|attribution| table.contains(attribution.key)), "{table}");
    assert!(serde_json::to_string(&report).expect("JSON").contains("\"held-out\""));

    let stop = CancelToken::default();
    stop.cancel();
    assert!(contrastive::evaluate(&opened, plan, &stop, &mut |_, _| ()).is_err(), "a cancelled run gives no figures");
}

#[test]
fn the_command_measures_what_is_built_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let eval = |options: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_alignscope"));
        command.args(["eval", "--device", "cpu", "--scenes", "6"]).args(options);
        command.env(builtin::VARIABLE, folder.path()).output().expect("the program starts")
    };
    let nothing = eval(&[]);
    let complaint = String::from_utf8_lossy(&nothing.stderr).into_owned();
    assert!(!nothing.status.success() && nothing.stdout.is_empty());
    assert!(complaint.contains("no built-in checkpoint") && complaint.contains("--checkpoint"), "{complaint}");

    let recipe = ClipRecipe::new(false, 0, 1, 128).expect("a recipe");
    recipe
        .write(&recipe.variables(&Device::Cpu).expect("weights"), &folder.path().join("random"))
        .expect("a checkpoint");
    std::fs::create_dir(folder.path().join("no checkpoint")).expect("a folder");
    let measured = eval(&["--json"]);
    assert!(measured.status.success(), "{}", String::from_utf8_lossy(&measured.stderr));
    let figures: serde_json::Value = serde_json::from_slice(&measured.stdout).expect("nothing but JSON");
    assert_eq!(figures["checkpoints"].as_array().map(Vec::len), Some(1));
    assert_eq!(figures["checkpoints"][0]["checkpoint"], "random");

    let other = eval(&["--method", "querying"]);
    assert!(!other.status.success(), "a CLIP has no queries");

    let missing = eval(&["--checkpoint", "no such folder"]);
    assert!(!missing.status.success() && String::from_utf8_lossy(&missing.stderr).contains("no such folder"));
}

/// Writes what a recipe starts from as a checkpoint.
fn fresh<R: Recipe>(recipe: &R, folder: &Path) -> PathBuf {
    let written = recipe.write(&recipe.variables(&Device::Cpu).expect("weights"), folder).expect("a checkpoint");
    written[0].clone()
}

#[test]
fn models_with_queries_are_measured_in_full() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name);
    let blip = builtin::folder().join("blip-retrieval");
    let first_stage = fresh(&Blip2Recipe::new(0, 1, 1, &blip).expect("a recipe"), &place("blip2-retrieval"));
    let language = fresh(&LmRecipe::new(0, 1, 1).expect("a recipe"), &place("lm"));
    let writer = |instructed: bool, name: &str| {
        let recipe = QueryingWriterRecipe::new(instructed, 0, 1, 1, (&first_stage, &language), None).expect("a recipe");
        fresh(&recipe, &place(name))
    };
    let folders = [first_stage.clone(), writer(false, "blip2-captioning"), writer(true, "instructblip")];
    for (folder, writes) in folders.iter().zip([false, true, true]) {
        let opened = OpenedQuerying::open(folder, &Device::Cpu).expect("a checkpoint");
        let plan = Plan { seed: 5, scenes: 8 };
        let mut last = (0, 1);
        let mut measure = || {
            let mut progress = |done: usize, parts: usize| last = (done, parts);
            querying::evaluate(&opened, plan, &CancelToken::default(), &mut progress).expect("figures")
        };
        let report = measure();
        assert_eq!(report, measure(), "the same seed gives the same figures");
        assert_eq!(last.0, last.1, "all parts were reported");
        assert_eq!(report.parts.len(), SPLITS.len() * Language::ALL.len());
        for part in &report.parts {
            assert_eq!((part.retrieval.is_some(), part.matching.is_some()), (!writes, !writes));
            assert_eq!((part.captions.is_some(), !part.answers.is_empty()), (writes, writes));
            let pointing = part.pointing.as_ref().expect("the game");
            assert_eq!(pointing.layers.len(), opened.cross_layers().len());
            assert_eq!(pointing.heads.iter().map(Vec::len).collect::<Vec<_>>(), [4; 3]);
            assert_eq!(pointing.through.is_some(), writes);
            for game in [&pointing.random, &pointing.all, &pointing.winner].into_iter().chain(&pointing.layers) {
                let share = game.over_things;
                assert!(0.0 <= share.low && share.low <= share.high && share.high <= 1.0, "{game:?}");
                assert!(game.phrases > 0, "{game:?}");
            }
            assert!((0.03..0.4).contains(&pointing.random.over_things.value), "{:?}", pointing.random);
        }
        let table = report.to_string();
        assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
        assert_eq!(table.contains("Found first among 8"), !writes, "{table}");
        assert!(table.contains("winning query"), "{table}");
        assert!(serde_json::to_string(&report).is_ok_and(|json| json.contains("\"winning-query\"")));
        let stop = CancelToken::default();
        stop.cancel();
        assert!(querying::evaluate(&opened, plan, &stop, &mut |_, _| ()).is_err(), "a cancelled run gives no figures");
    }
}

#[test]
fn the_built_in_captioner_looks_at_what_it_writes() {
    use alignscope::evaluation::fusion;
    use alignscope::evaluation::fusion_pointing::Place;
    use alignscope::models::fusion::OpenedFusion;
    let opened = OpenedFusion::open(&builtin::folder().join("blip-captioning"), &Device::Cpu).expect("a checkpoint");
    let plan = Plan { seed: 5, scenes: 40 };
    let measure = || fusion::evaluate(&opened, plan, &CancelToken::default(), &mut |_, _| ()).expect("figures");
    let report = measure();
    assert_eq!(report.parts.len(), SPLITS.len() * 2);
    for part in report.parts.iter().filter(|part| part.split == Split::Test) {
        let written = part.pointing.iter().find(|pointing| pointing.place == Place::Predict).expect("the game");
        let [raw, weighted] = written.shares().map(|share| share.value);
        assert!(weighted > 0.8 && weighted > raw, "{:?}: raw {raw}, weighted {weighted}", part.language);
        let captions = part.captions.as_ref().expect("captions");
        assert!(captions.precision.value > 0.7 && captions.recall.value > 0.6, "{captions:?}");
    }
    let text = report.to_string();
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(serde_json::to_string(&report).is_ok_and(|json| json.contains("\"predict\"")));
    assert_eq!(report, measure(), "the same seed gives the same figures");
}

#[test]
fn models_that_read_pictures_as_words_are_measured_in_full() {
    use alignscope::evaluation::projector;
    use alignscope::models::projector::OpenedProjector;
    let opened = OpenedProjector::open(&builtin::folder().join("llava-stage1"), &Device::Cpu).expect("a checkpoint");
    let plan = Plan { seed: 5, scenes: 8 };
    let measure = || projector::evaluate(&opened, plan, &CancelToken::default(), &mut |_, _| ()).expect("figures");
    let report = measure();
    assert_eq!(report.parts.len(), SPLITS.len() * Language::ALL.len());
    for part in &report.parts {
        assert!(!part.answers.is_empty() && part.captions.is_some());
        assert_eq!(part.pointing.len(), 3);
        for game in part.pointing.iter().flat_map(|pointing| [&pointing.raw, &pointing.weighted, &pointing.relevancy]) {
            let share = game.over_things;
            assert!(0.0 <= share.low && share.low <= share.high && share.high <= 1.0, "{game:?}");
        }
        assert_eq!(part.names.len(), opened.depth() + 1);
        for names in &part.names {
            assert!(names.patches > 20, "{names:?}");
            // A noun is found at least as often where only nouns are asked.
            assert!(names.nearest_noun.value >= names.nearest.value, "{names:?}");
            assert!(names.likeliest_noun.value >= names.likeliest.value, "{names:?}");
        }
        // The projector has learned to put patches near to the words of what they show.
        let [output, ..] = part.names.as_slice() else { panic!("no depths") };
        assert!(output.nearest_noun.value > 2.0 * output.of_another_scene, "{output:?}");
    }
    let table = report.to_string();
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    assert_eq!(report, measure(), "the same seed gives the same figures");
    let stop = CancelToken::default();
    stop.cancel();
    assert!(projector::evaluate(&opened, plan, &stop, &mut |_, _| ()).is_err(), "a cancelled run gives no figures");
}

#[test]
fn what_passes_a_bottleneck_is_measured() {
    use alignscope::evaluation::bottleneck;
    use alignscope::models::bottleneck::{Connector, OpenedBottleneck};
    use alignscope::training::bottleneck::BottleneckRecipe;
    let folder = tempfile::tempdir().expect("a folder");
    let language = fresh(&LmRecipe::new(0, 1, 1).expect("a recipe"), &folder.path().join("lm"));
    let tower = builtin::folder().join("clip-grounded");
    let recipe = BottleneckRecipe::new(Connector::Pool(1), 7, 1, 2, (&tower, &language)).expect("a recipe");
    let opened = OpenedBottleneck::open(&fresh(&recipe, &folder.path().join("pool-1")), &Device::Cpu).expect("a model");
    let plan = Plan { seed: 5, scenes: 8 };
    let measure = || bottleneck::evaluate(&opened, plan, &CancelToken::default(), &mut |_, _| ()).expect("figures");
    let found = measure();
    assert_eq!(found, measure(), "the same seed gives the same figures");
    assert_eq!((found.connector, found.trained.seed), (Connector::Pool(1), 7));
    assert_eq!(found.figures.parts.len(), SPLITS.len() * Language::ALL.len());
    // The mean of all patches still says where a lone object is, but little of what covers which field.
    assert!(found.layout < found.place && found.place <= 1.0, "{found:?}");
    let table = found.to_string();
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    assert!(table.contains("pool-1, trained with seed 7"), "{table}");
    let stop = CancelToken::default();
    stop.cancel();
    assert!(bottleneck::evaluate(&opened, plan, &stop, &mut |_, _| ()).is_err(), "a cancelled run gives no figures");
}
