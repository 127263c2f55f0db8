//! The column of the querying transformer: what it says of small random checkpoints, against direct calls of their models.

use std::path::Path;
use std::sync::Arc;

use alignscope::Error;
use alignscope::methods::queries::{Queries, QueryLook};
use alignscope::methods::{Evidence, Input, Method, Pair, PointKind, named};
use alignscope::models::blip_2_retrieval::Blip2Retrieval;
use alignscope::models::generate::Greedy;
use alignscope::models::q_former::QFormerText;
use alignscope::models::querying::OpenedQuerying;
use alignscope::models::querying_writer::QueryingPrompt;
use alignscope::taps::{CancelToken, Taps};
use alignscope::world::{Language, Scene, Split};
use candle_core::{Device, Tensor};

#[path = "common/checkpoint.rs"]
mod checkpoint;
#[path = "common/method.rs"]
mod method;
use checkpoint::querying_checkpoint;
use method::{all, last};

const QUESTION: &str = "what is there?";

fn open(folder: &Path) -> Box<dyn Method> {
    let entry = named("querying").expect("the method");
    (entry.open)(folder, &(&Device::Cpu).into()).expect("a checkpoint")
}

fn input(sentence: &str) -> Input {
    let picture = |seed| Arc::new(Scene::random(Split::Test, seed).draw());
    let pair = |at: usize, caption: &str| Pair { at, picture: picture(at as u64), caption: caption.into() };
    let comparison = Arc::new(vec![pair(0, "a left of the"), pair(1, "how many")]);
    Input { comparison, ..Input::new(picture(7), sentence, Language::English) }
}

fn queries(evidence: &Evidence) -> &Queries {
    evidence.queries.as_deref().expect("queries")
}

#[track_caller]
fn close(ours: &[f32], theirs: &Tensor) {
    let theirs = theirs.flatten_all().and_then(|theirs| theirs.to_vec1::<f32>()).expect("floats");
    assert_eq!(ours.len(), theirs.len());
    let off = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off <= 1e-4, "off by {off}");
}

/// What holds of the queries of every model.
fn check(evidence: &Evidence, opened: &OpenedQuerying) {
    let queries = queries(evidence);
    let patches = opened.grid().0 * opened.grid().1;
    assert_eq!((queries.patches(), queries.layers.clone()), (patches, opened.cross_layers()));
    assert_eq!(queries.maps.len(), queries.kept.len() * queries.layers.len() * queries.heads * patches);
    for place in 0..queries.kept.len() {
        let map = queries.map(place, QueryLook::default()).expect("a map");
        // What is missing of one lies on the class token.
        assert!(map.iter().all(|value| *value >= 0.0) && map.iter().sum::<f32>() < 1.0);
    }
    let positions = queries.kept.len() + queries.tokens.len();
    assert_eq!(queries.self_attention.len(), queries.depth * queries.heads * positions * positions);
    let rows = queries.self_attention.chunks_exact(positions);
    assert!(rows.map(|row| row.iter().sum::<f32>()).all(|sum| (sum - 1.0).abs() < 1e-4));
    // The plane is made from the halves, one after the other.
    let points = &evidence.cloud.points;
    let halves = evidence.cloud.halves().concat();
    assert!(points.iter().map(|point| &point.vector).eq(&halves));
    let of_queries: Vec<&str> =
        points.iter().filter(|point| point.kind == PointKind::Query).map(|point| point.label.as_str()).collect();
    let numbers: Vec<String> = queries.kept.iter().map(|query| (query + 1).to_string()).collect();
    assert_eq!(of_queries, numbers);
    assert_eq!(evidence.norms.len(), patches);
    assert!(evidence.ledger.iter().any(|stage| stage.key == "queries"));
}

#[test]
fn retrieval_says_what_the_model_says() {
    for fixture in ["blip2-retrieval/as-published", "blip2-retrieval/every-third"] {
        let folder = querying_checkpoint(fixture);
        let opened = OpenedQuerying::open(folder.path(), &Device::Cpu).expect("a checkpoint");
        let model = opened.retrieval().expect("retrieval");
        let mut method = open(folder.path());
        // Blanks around the text are not read, but counted.
        let mut input = Input { selection: Some((7, 15)), ..input("  what is there? ") };
        let evidence = last(method.as_mut(), &input);
        check(&evidence, &opened);

        let taps = &mut Taps::none();
        let states = opened.see(&opened.pixels(&[&input.picture]).expect("pixels"), taps).expect("a pass");
        let image = model.embed_image(&states, None, taps).expect("vectors");
        let mut cosines = |text: &str| {
            let batch = opened.tokenizer.batch(&[text], &Device::Cpu).expect("ids");
            let text = QFormerText { ids: &batch.ids, attention_mask: batch.attention_mask.as_ref() };
            let read = model.embed_text(text, taps).expect("vectors");
            Blip2Retrieval::contrast(&image, &read).expect("cosines")
        };
        let contrast = queries(&evidence).contrast.as_ref().expect("contrast");
        close(&contrast.sentence, &cosines(QUESTION));
        close(&contrast.phrase, &cosines("is there"));
        let words: Vec<&str> = contrast.words.iter().map(|((from, to), _)| &input.sentence[*from..*to]).collect();
        assert_eq!(words, ["what", "is", "there"]);
        for (word, (_, ours)) in words.iter().zip(&contrast.words) {
            close(ours, &cosines(word));
        }
        let best = queries(&evidence).winner(None).expect("a winner");
        let map = queries(&evidence).map(best, QueryLook::default());
        assert_eq!(Some(&evidence.maps["is there"]["winning-query"].values), map.as_ref());
        assert!(words.iter().all(|word| evidence.maps.contains_key(*word)));

        let batch = opened.tokenizer.batch(&[QUESTION], &Device::Cpu).expect("ids");
        let text = QFormerText { ids: &batch.ids, attention_mask: None };
        let logits = model.match_logits(text, &states, None, &mut Taps::none()).expect("logits");
        let yes = |logits: &Tensor| {
            let shares = alignscope::nn::softmax(logits).expect("shares");
            shares.narrow(candle_core::D::Minus1, 1, 1).expect("shares")
        };
        let (each, whole) = queries(&evidence).matching.clone().expect("matching");
        close(&each, &yes(&logits));
        close(&[whole], &yes(&logits.mean(1).expect("a mean")));

        // Pictures, queries and texts; the person's own pair is the last one.
        assert_eq!(evidence.cloud.pairs(), 3);
        let points = &evidence.cloud.points;
        let own = points.iter().rposition(|point| point.kind == PointKind::Text).expect("a text");
        assert_eq!((own, points[own].label.as_str()), (3 + opened.query_count() + 2, QUESTION));

        // Another phrase changes nothing but what is said of the phrase.
        input.selection = None;
        let again = all(method.as_mut(), &input).expect("evidence");
        assert_eq!(again.len(), 1, "nothing is left to be shown bit by bit");
        assert_eq!(queries(&again[0]).matching, Some((each, whole)));
        let contrast = queries(&again[0]).contrast.as_ref().expect("contrast");
        assert_eq!(contrast.phrase, contrast.sentence);
    }
}

#[test]
fn dropped_queries_are_in_nothing() {
    let folder = querying_checkpoint("blip2-retrieval/as-published");
    let opened = OpenedQuerying::open(folder.path(), &Device::Cpu).expect("a checkpoint");
    let mut method = open(folder.path());
    let all_there = last(method.as_mut(), &input(QUESTION));
    let fewer = last(method.as_mut(), &Input { dropped_queries: vec![0, 3, 99], ..input(QUESTION) });
    assert_eq!(queries(&fewer).kept, [1, 2, 4]);
    assert_eq!((queries(&fewer).count, queries(&all_there).kept.len()), (5, 5));
    check(&fewer, &opened);
    let contrast = queries(&fewer).contrast.as_ref().expect("contrast");
    assert_eq!((contrast.phrase.len(), contrast.sentence.len()), (3, 3));
    assert_eq!(queries(&fewer).matching.as_ref().expect("matching").0.len(), 3);
    let none = Input { dropped_queries: (0..5).collect(), ..input(QUESTION) };
    let said = all(method.as_mut(), &none).expect_err("no query is left").to_string();
    assert!(said.contains("every query is dropped; "), "{said}");
    let said = all(method.as_mut(), &input("  ")).expect_err("no text").to_string();
    assert!(said.contains("there is no text; "), "{said}");
    // And it goes on from there.
    assert_eq!(queries(&last(method.as_mut(), &input(QUESTION))).kept.len(), 5);
}

#[test]
fn models_that_write_say_what_they_do() {
    for fixture in [
        "blip2-generation/opt-as-published",
        "blip2-generation/t5-relu",
        "instructblip/llama",
        "instructblip/llama-head-dim",
        "instructblip/t5-gated",
    ] {
        let folder = querying_checkpoint(fixture);
        let opened = OpenedQuerying::open(folder.path(), &Device::Cpu).expect("a checkpoint");
        let writer = opened.writer().expect("a model that writes");
        let mut method = open(folder.path());
        let asked = input(QUESTION);
        let said = all(method.as_mut(), &asked).expect("evidence");
        let evidence = said.last().expect("evidence");
        assert!(evidence.complete && !said[0].complete, "{fixture}");
        check(evidence, &opened);
        let queries = queries(evidence);
        let kept = queries.kept.len();

        let taps = &mut Taps::none();
        let states = opened.see(&opened.pixels(&[&asked.picture]).expect("pixels"), taps).expect("a pass");
        let instruction = opened.instruction(QUESTION).expect("ids").map(|tokens| tokens.ids);
        assert_eq!(queries.tokens.len(), instruction.as_ref().map_or(0, Vec::len), "{fixture}");
        let ids = |ids: &[u32]| Tensor::from_slice(ids, (1, ids.len()), &Device::Cpu).expect("ids");
        let instruction = instruction.map(|instruction| ids(&instruction));
        let read = instruction.as_ref().map(|ids| QFormerText { ids, attention_mask: None });
        let brought = writer.query(&states, read, None, taps).expect("queries");
        let projected = writer.project(&brought).expect("vectors");
        let given = opened.tokens_to_go_on(QUESTION).expect("ids").ids;
        let prompt = ids(&writer.prompt(&given, kept));
        let prompt = QueryingPrompt { ids: &prompt, attention_mask: None, projected: &projected };
        let mut new = writer.generate(prompt, Greedy::new(40).into(), taps, &mut |_| true).expect("a text");
        new.retain(|token| !writer.language().ends().contains(token));
        let tokens = |is_written: bool| -> Vec<String> {
            let steps = queries.written.iter().filter(|step| step.is_written == is_written);
            steps.map(|step| step.text.clone()).collect()
        };
        let names: Vec<String> = new.iter().map(|token| opened.tokenizer.token(*token)).collect();
        assert_eq!(tokens(true), names, "{fixture}");
        assert_eq!(tokens(false).len(), given.len(), "{fixture}");
        assert_eq!(said.len(), 2 + new.len(), "each word is shown as it is written");

        let looks = queries.written_to_queries.as_ref().expect("looks");
        assert_eq!(looks.len(), queries.written.len() * kept, "{fixture}");
        for (step, look) in queries.written.iter().zip(looks.chunks_exact(kept)) {
            let sum = look.iter().sum::<f32>();
            assert!((0.0..1.0001).contains(&sum), "{fixture}: {sum}");
            assert!(!step.is_written || sum > 0.0, "{fixture}: '{}' looks at no query", step.text);
            let likely = step.expected.first().map(|(word, _)| word == &step.text);
            assert!(!step.is_written || likely == Some(true), "{fixture}: '{}' wasn't the likeliest", step.text);
        }
        for words in &queries.says {
            assert!(words.len() <= 8 && words.is_sorted_by(|one, other| one.1 >= other.1), "{fixture}: {words:?}");
            assert!(words.iter().all(|(word, _)| !word.contains('[')), "{fixture}: {words:?}");
        }
        assert!(queries.says.iter().all(|words| !words.is_empty()), "{fixture}");
        let words = evidence.cloud.vectors(PointKind::Word).len();
        assert!((1..=40).contains(&words), "{fixture}: {words} words in the cloud");

        // Only InstructBLIP's queries are moved by what is asked; by the same nothing is.
        assert_eq!(queries.moved.is_some(), writer.instructed(), "{fixture}");
        if let Some(moved) = &queries.moved {
            assert!(moved.iter().any(|moved| moved.abs() > 1e-6), "{fixture}: {moved:?}");
            let same = Input { compared_instruction: Some(QUESTION.into()), ..asked.clone() };
            let again = all(method.as_mut(), &same).expect("evidence");
            assert_eq!(again.len(), 1, "{fixture}: nothing is written anew");
            let moved = again[0].queries.as_ref().and_then(|queries| queries.moved.clone()).expect("numbers");
            assert!(moved.iter().all(|moved| moved.abs() < 1e-4), "{fixture}: {moved:?}");
        }
    }
}

#[test]
fn words_of_another_length_are_refused_in_a_sentence() {
    let folder = querying_checkpoint("blip2-generation/opt-projected");
    let said = all(open(folder.path()).as_mut(), &input(QUESTION)).expect_err("two lengths").to_string();
    assert!(said.contains("word_embed_proj_dim"), "{said}");
}

#[test]
fn what_was_stopped_goes_on() {
    let folder = querying_checkpoint("blip2-generation/opt-as-published");
    let mut method = open(folder.path());
    let stop = CancelToken::default();
    let stopped = method.evidence(&input(QUESTION), &stop, &mut |_| stop.cancel());
    assert!(matches!(stopped, Err(Error::Cancelled)));
    let mut fresh = open(folder.path());
    let (ours, theirs) = (last(method.as_mut(), &input(QUESTION)), last(fresh.as_mut(), &input(QUESTION)));
    let texts = |evidence: &Evidence| -> Vec<String> {
        queries(evidence).written.iter().map(|step| step.text.clone()).collect()
    };
    assert_eq!(texts(&ours), texts(&theirs));
}
