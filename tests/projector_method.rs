//! The column of the projector: what it says of small random checkpoints, against direct calls of their models.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use alignscope::Error;
use alignscope::methods::reading::{Line, LineKind, Place, Weighting};
use alignscope::methods::spliced::{PatchReading, Spliced};
use alignscope::methods::{Evidence, Input, MapKind, Method, Pair, PointKind, named};
use alignscope::models::llava::LlavaPrompt;
use alignscope::models::projector::OpenedProjector;
use alignscope::taps::{CancelToken, GradProbe, Recording, Site, SitePattern, Taps, Tower};
use alignscope::world::{Language, Scene, Split};
use candle_core::{Device, IndexOp, Tensor};

#[path = "common/method.rs"]
mod method;
use method::{all, last};

/// One with a chat template, one with shared keys and a window, one that drops the first of its patches.
const FIXTURES: [&str; 3] = ["clip-llama-linear", "mistral-window", "siglip-default"];
const SENTENCE: &str = "  the cat ";

fn folder(fixture: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llava").join(fixture)
}

fn open(fixture: &str) -> Box<dyn Method> {
    let entry = named("projector").expect("the method");
    (entry.open)(&folder(fixture), &(&Device::Cpu).into()).expect("a checkpoint")
}

fn input(sentence: &str) -> Input {
    let picture = |seed| Arc::new(Scene::random(Split::Test, seed).draw());
    let comparison = Arc::new(vec![Pair { at: 0, picture: picture(0), caption: "a cat".into() }]);
    Input { comparison, ..Input::new(picture(7), sentence, Language::English) }
}

fn spliced(evidence: &Evidence) -> &Spliced {
    evidence.spliced.as_deref().expect("a row")
}

#[track_caller]
fn close(ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len());
    let off = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off <= 1e-5, "off by {off}");
}

/// The pass over the row that is shown, with the gradient of the logit of the token at `position`.
fn pass(opened: &OpenedProjector, input: &Input, position: usize) -> (Vec<u32>, Tensor, Recording) {
    let asked = opened.asked(input.sentence.trim(), 1);
    let text = if opened.converses() { asked.expect("a prompt") } else { input.sentence.trim().to_owned() };
    let ids = opened.tokens_to_go_on(&text).expect("tokens").ids;
    let features = opened.see(&opened.pixels(&[&input.picture]).expect("pixels"), &mut Taps::none()).expect("features");
    let projected = opened.model().project(&features).expect("vectors");
    let row = Tensor::new(ids.as_slice(), &Device::Cpu).and_then(|ids| ids.unsqueeze(0)).expect("ids");
    let prompt = LlavaPrompt { ids: &row, attention_mask: None, projected: Some(&projected) };
    let mut probe = GradProbe::new(SitePattern::new("decoder.*.self_attn.pattern,decoder.*.resid_post"));
    let logits = opened.model().logits(prompt, &mut Taps::none().with(&mut probe)).expect("a pass");
    let score = logits.i((0, position - 1, ids[position] as usize)).expect("a score");
    (ids, projected, probe.backward(&score).expect("gradients"))
}

#[test]
fn maps_are_rows_of_the_language_model() {
    for fixture in FIXTURES {
        let opened = OpenedProjector::open(&folder(fixture), &Device::Cpu).expect("a checkpoint");
        let input = input(SENTENCE);
        let evidence = last(open(fixture).as_mut(), &input);
        let (reading, spliced) = (evidence.reading.clone().expect("a reading"), spliced(&evidence));
        let line = &reading.lines[0];
        assert_eq!(line.kind, LineKind::Read);
        let words: Vec<usize> =
            spliced.row.iter().enumerate().filter(|(_, token)| !token.of_picture).map(|(at, _)| at).collect();
        assert_eq!(words.len(), line.steps.len());
        let step = line.steps.iter().rposition(|step| step.span.is_some()).expect("a word");
        let (start, end) = line.steps[step].span.expect("a span");
        assert_eq!(&SENTENCE[start..end], "cat", "{fixture}");
        let (ids, _, recording) = pass(&opened, &input, words[step]);
        assert_eq!(ids.len(), spliced.row.len());
        let patches = evidence.grid.0 * evidence.grid.1;
        for (place, at) in [(Place::Read, words[step]), (Place::Predict, words[step] - 1)] {
            for layer in 0..reading.layers {
                let pattern = recording.get(Site::pattern(Tower::Decoder, layer)).expect("a pattern");
                let gradient = &recording.gradients[&Site::pattern(Tower::Decoder, layer)];
                for head in 0..reading.heads {
                    let row = (head * ids.len() + at) * ids.len();
                    let (mut raw, mut weighted) = (vec![0.0; patches], vec![0.0; patches]);
                    for (key, token) in spliced.row.iter().enumerate() {
                        let Some(patch) = token.patch else { continue };
                        raw[patch] = pattern.data[row + key];
                        weighted[patch] = (pattern.data[row + key] * gradient.data[row + key]).max(0.0);
                    }
                    let size = (reading.layers, reading.heads);
                    let map = |how| line.map(step, (place, how), Some((layer, head)), size).expect("a map");
                    close(&map(Weighting::Raw), &raw);
                    if place == Place::Predict {
                        close(&map(Weighting::Gradient), &weighted);
                    }
                }
            }
        }
        assert!(
            evidence.maps.contains_key("cat") && evidence.maps.contains_key("the cat"),
            "{:?}",
            evidence.maps.keys()
        );
    }
}

#[test]
fn patches_are_read_as_words_at_every_depth() {
    for fixture in FIXTURES {
        let opened = OpenedProjector::open(&folder(fixture), &Device::Cpu).expect("a checkpoint");
        let input = input(SENTENCE);
        let evidence = last(open(fixture).as_mut(), &input);
        let spliced = spliced(&evidence);
        let (_, projected, recording) = pass(&opened, &input, spliced.row.len() - 1);
        assert_eq!(spliced.depths.len(), opened.depth() + 1);
        let language = opened.model().language();
        let first = spliced.row.iter().position(|token| token.of_picture).expect("a picture");
        for (at, token) in spliced.row.iter().enumerate() {
            let Some(patch) = token.patch else { continue };
            for depth in &spliced.depths {
                let state: Vec<f32> = match depth.layer.checked_sub(1) {
                    None => projected.i((0, at - first)).and_then(|row| row.to_vec1()).expect("a vector"),
                    Some(block) => {
                        let site = Site::new(Tower::Decoder, block, alignscope::taps::Point::ResidPost);
                        let states = recording.get(site).expect("states");
                        let width = states.shape[2];
                        states.data[at * width..(at + 1) * width].to_vec()
                    }
                };
                let (word, cosine) = depth.words(patch, PatchReading::Cosine).first().expect("a word");
                let table: Vec<Vec<f32>> =
                    language.words().weight().widened().and_then(|table| Ok(table.to_vec2()?)).expect("a table");
                let length = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
                let of = |row: &Vec<f32>| {
                    row.iter().zip(&state).map(|(a, b)| a * b).sum::<f32>() / (length(row) * length(&state))
                };
                let said = (0..table.len())
                    .filter(|id| opened.tokenizer.decode(&[*id as u32]).is_ok_and(|t| t.trim() == word));
                let best = said.map(|id| of(&table[id])).fold(f32::MIN, f32::max);
                assert!((best - cosine).abs() < 1e-5, "{fixture}: {word} {best} {cosine}");
                let likely = depth.words(patch, PatchReading::Lens);
                assert!(
                    likely.is_sorted_by(|a, b| a.1 >= b.1) && likely.iter().map(|near| near.1).sum::<f32>() <= 1.0001
                );
            }
        }
    }
}

#[test]
fn shares_and_figures_hold_together() {
    for fixture in FIXTURES {
        let mut method = open(fixture);
        let evidence = last(method.as_mut(), &input(SENTENCE));
        let known = spliced(&evidence);
        let shares = known.shares.as_ref().expect("shares");
        assert_eq!(shares.len(), known.row.len() * known.layers * known.heads);
        assert!(shares.iter().all(|share| (share.picture + share.sinks + share.text - 1.0).abs() < 1e-4));
        let change = known.change.as_ref().expect("a change");
        let patches = evidence.grid.0 * evidence.grid.1;
        assert_eq!([change.kept.len(), change.lost.len(), evidence.norms.len()], [patches; 3]);
        let cost = known.cost.expect("a cost");
        assert_eq!(cost.picture + cost.text, known.row.len());
        assert!(cost.kept_for_picture > 0 && cost.context >= known.row.len());
        // Another depth is there at once, with its cloud.
        let deeper = Input { hidden_layer: Some(1), ..input(SENTENCE) };
        let picture = Arc::clone(&input(SENTENCE).picture);
        let again = all(method.as_mut(), &Input { picture, ..deeper }).expect("evidence");
        let cloud = &again.last().expect("evidence").cloud.points;
        assert!(cloud.iter().any(|point| point.kind == PointKind::Patch && point.vector.len() > 1));
        let halves = again.last().expect("evidence").cloud.halves().concat();
        assert!(cloud.iter().map(|point| &point.vector).eq(&halves));
    }
}

#[test]
fn what_is_asked_for_is_explained_first() {
    let asked = Input { selection: Some((2, 5)), ..input(SENTENCE) };
    assert_eq!(&SENTENCE[2..5], "the");
    let said = all(open(FIXTURES[0]).as_mut(), &asked).expect("evidence");
    let (first, last) = (said.first().expect("evidence"), said.last().expect("evidence"));
    let map = |evidence: &Evidence, span| {
        evidence.map_of(MapKind::Attention(Weighting::Gradient, Place::Predict), span, None)
    };
    close(&map(first, (2, 5)).expect("a map"), &map(last, (2, 5)).expect("a map"));
    assert!(map(first, (6, 9)).is_none() && map(last, (6, 9)).is_some());
    assert!(!first.maps.contains_key("cat") && last.maps.contains_key("cat"));
    // Where the text is read follows; until then it isn't shown where it is predicted.
    let read = |evidence: &Evidence| {
        evidence.map_of(MapKind::Attention(Weighting::Gradient, Place::Read), (2, 5), None).is_some()
    };
    assert!(!read(first) && read(last));
    // Another word is asked for before all is there.
    let mut method = open(FIXTURES[0]);
    let cancel = CancelToken::default();
    let stopped = method.evidence(&asked, &cancel, &mut |_| cancel.cancel());
    assert!(matches!(stopped, Err(Error::Cancelled)));
    let then = all(method.as_mut(), &Input { selection: Some((6, 9)), ..asked }).expect("evidence");
    close(&map(&then[0], (6, 9)).expect("a map"), &map(last, (6, 9)).expect("a map"));
    close(&map(&then[0], (2, 5)).expect("a map"), &map(last, (2, 5)).expect("a map"));
}

#[test]
fn another_text_about_the_picture_is_read_as_by_itself() {
    for fixture in FIXTURES {
        let mut method = open(fixture);
        let first = input("a red ball?");
        last(method.as_mut(), &first);
        let second = Input { sentence: SENTENCE.into(), ..first };
        let (then, alone) = (last(method.as_mut(), &second), last(open(fixture).as_mut(), &second));
        let readings = [&then, &alone].map(|evidence| evidence.reading.clone().expect("a reading"));
        assert_eq!(readings[0].lines.len(), readings[1].lines.len());
        for (then, alone) in readings[0].lines.iter().zip(&readings[1].lines) {
            let steps = |line: &Line| line.steps.iter().map(|step| step.text.clone()).collect::<Vec<_>>();
            assert_eq!(steps(then), steps(alone), "{fixture}");
            let expected = |line: &Line| line.steps.iter().filter_map(|step| step.probability).collect::<Vec<_>>();
            close(&expected(then), &expected(alone));
            assert_eq!(then.maps.len(), 4);
            for ((place, how, then), (other_place, other_how, alone)) in then.maps.iter().zip(&alone.maps) {
                assert_eq!((place, how), (other_place, other_how));
                close(then, alone);
            }
        }
        let shares = |evidence: &Evidence| -> Vec<f32> {
            let shares = spliced(evidence).shares.clone().expect("shares");
            shares.iter().flat_map(|share| [share.picture, share.sinks, share.text]).collect()
        };
        close(&shares(&then), &shares(&alone));
        assert_eq!(spliced(&then).depths, spliced(&alone).depths, "{fixture}");
        assert_eq!(spliced(&then).change, spliced(&alone).change);
        assert_eq!(then.cloud.points.len(), alone.cloud.points.len());
    }
}

#[test]
fn what_it_writes_is_what_the_model_writes() {
    let opened = OpenedProjector::open(&folder(FIXTURES[0]), &Device::Cpu).expect("a checkpoint");
    let input = input("the cat?");
    let said = all(open(FIXTURES[0]).as_mut(), &input).expect("evidence");
    let reading = said.last().and_then(|evidence| evidence.reading.clone()).expect("a reading");
    let line = reading.lines.last().expect("a line");
    assert_eq!(line.kind, LineKind::Written);
    let written: Vec<&str> = line.steps.iter().filter(|step| step.is_written).map(|step| step.text.as_str()).collect();
    let text = opened.asked("the cat?", 1).expect("a prompt");
    let features = opened.see(&opened.pixels(&[&input.picture]).expect("pixels"), &mut Taps::none()).expect("features");
    let ids = opened.write_all(&[&text], &features, 40, &CancelToken::default()).expect("a text");
    let expected: Vec<String> = ids[0].iter().map(|id| opened.tokenizer.token(*id)).collect();
    assert_eq!(written, expected);
    assert!(line.steps.iter().filter(|step| step.is_written).all(|step| step.probability.is_some()));
}

#[test]
fn it_can_be_stopped_and_says_what_is_wrong() {
    let mut method = open(FIXTURES[0]);
    let stop = CancelToken::default();
    stop.cancel();
    let cancelled = method.evidence(&input(SENTENCE), &stop, &mut |_| ());
    assert!(matches!(cancelled, Err(Error::Cancelled)));
    let said = all(method.as_mut(), &input("  ")).expect_err("a refusal").to_string();
    assert!(said.contains("there is no text"), "{said}");
    let said = all(method.as_mut(), &input(&"cat ".repeat(4000))).expect_err("a refusal").to_string();
    assert!(said.contains("tokens") || said.contains("long"), "{said}");
    assert!(last(method.as_mut(), &input(SENTENCE)).complete);
}
