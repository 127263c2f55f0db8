//! `alignscope trace` of every model but the dual encoders (those are in `trace`), against direct calls of the model.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use alignscope::models::blip::{Blip, BlipHead};
use alignscope::models::blip_2_retrieval::Blip2Retrieval;
use alignscope::models::fusion::OpenedFusion;
use alignscope::models::generate::Greedy;
use alignscope::models::idefics::{Prompt, Writing};
use alignscope::models::llava::LlavaPrompt;
use alignscope::models::picture::Picture;
use alignscope::models::projector::OpenedProjector;
use alignscope::models::q_former::QFormerText;
use alignscope::models::querying::OpenedQuerying;
use alignscope::models::querying_writer::QueryingPrompt;
use alignscope::nn::Fusion;
use alignscope::taps::{Array, Taps};
use candle_core::{DType, Device, IndexOp, Tensor};
use safetensors::SafeTensors;

#[path = "common/checkpoint.rs"]
mod checkpoint;
use checkpoint::querying_checkpoint;

/// Patterns are recorded on another path than the one that nobody observes, which rounds a little differently.
const TOLERANCE: f32 = 1e-4;

fn alignscope(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_alignscope")).args(arguments).output().expect("the program runs")
}

fn picture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample-data").join(name)
}

/// The arrays and the notes of a trace.
struct Found {
    arrays: HashMap<String, Tensor>,
    notes: HashMap<String, String>,
}

impl Found {
    /// Runs the command over one picture.
    fn of(checkpoint: &Path, texts: &[&str], more: &[&str]) -> Self {
        Self::about("scene-000101.png", checkpoint, texts, more)
    }

    /// The same over another picture.
    fn about(name: &str, checkpoint: &Path, texts: &[&str], more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("t.safetensors");
        let (checkpoint, out) = (checkpoint.display().to_string(), file.display().to_string());
        let image = picture(name).display().to_string();
        let mut arguments = vec!["trace", "--checkpoint", &checkpoint, "--image", &image, "-o", &out];
        arguments.extend(["--device", "cpu"]);
        arguments.extend(texts.iter().flat_map(|text| ["--text", *text]));
        arguments.extend(more);
        let output = alignscope(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let bytes = std::fs::read(&file).expect("a file");
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
        let arrays = candle_core::safetensors::load(&file, &Device::Cpu).expect("a trace");
        Self { arrays, notes: header.metadata().clone().expect("metadata") }
    }

    #[track_caller]
    fn close(&self, name: &str, expected: &Tensor) {
        let found = self.arrays.get(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(found.dims(), expected.dims(), "{name}");
        let host = |tensor: &Tensor| Array::from_tensor(tensor).expect("floats").data;
        let off = host(found).iter().zip(host(expected)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off <= TOLERANCE, "{name} is off by {off}");
    }

    /// Ids of one text.
    #[track_caller]
    fn row(&self, name: &str) -> Vec<u32> {
        let found = self.arrays.get(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!((found.dtype(), found.dim(0).expect("a matrix")), (DType::I64, 1), "{name}");
        let row = found.i(0).and_then(|row| row.to_vec1::<i64>()).expect("ids");
        row.into_iter().map(|id| u32::try_from(id).expect("an id")).collect()
    }
}

fn built_in(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/checkpoints").join(name)
}

/// A built-in model whose words look at the picture, and what they look at.
fn fusion(name: &str) -> (OpenedFusion, Tensor) {
    let opened = OpenedFusion::open(&built_in(name), &Device::Cpu).expect("a checkpoint");
    let picture = Picture::open(&picture("scene-000101.png")).expect("a picture");
    let pixels = opened.pixels(&[&picture.pixels]).expect("pixels");
    let states = opened.see(&pixels, &mut Taps::none()).expect("a pass");
    (opened, states)
}

fn ids(ids: &[u32]) -> Tensor {
    Tensor::from_slice(ids, (1, ids.len()), &Device::Cpu).expect("ids")
}

const NEW: [&str; 2] = ["--max-new-tokens", "5"];

#[test]
fn a_trace_of_matching_has_both_answers() {
    let texts = ["a cat and a red ball", "a dog"];
    let found = Found::of(&built_in("blip-retrieval"), &texts, &[]);
    let (opened, states) = fusion("blip-retrieval");
    let Some(BlipHead::Retrieval(head)) = opened.blip().map(Blip::head) else { panic!("another model") };
    let batch = opened.tokenizer.batch(&texts, &Device::Cpu).expect("ids");
    let mask = batch.attention_mask.as_ref();
    let both = Tensor::cat(&[&states, &states], 0).expect("states");
    found.close("itm.logits", &head.match_logits(&batch.ids, mask, &both, &mut Taps::none()).expect("logits"));
    let text = head.embed_text(&batch.ids, mask, &mut Taps::none()).expect("vectors").embed;
    let image = head.embed_image(&states).expect("vectors").embed;
    found.close("itc.logits", &image.matmul(&text.t().expect("a matrix")).expect("cosines"));
    found.close("image_embeds", &image);
    found.close("text_embeds", &text);
    let tokens = batch.ids.dim(1).expect("a matrix");
    assert_eq!(found.arrays["text.blocks.0.cross_attn.pattern"].dims()[2..], [tokens, 65]);
    assert_eq!(found.arrays["itc.text.blocks.0.self_attn.pattern"].dims()[0], 2);
    assert!(!found.arrays.contains_key("itc.text.blocks.0.cross_attn.pattern"));
    assert!(!found.arrays.contains_key("generated_ids") && !found.notes.contains_key("generated_text"));
    assert_eq!(found.notes["class"], "BlipForImageTextRetrieval");
}

#[test]
fn a_trace_of_a_caption_goes_on_from_the_text_or_the_prompt() {
    let (text, prompt) = ("a cat", "what is there?");
    let (opened, states) = fusion("blip-captioning");
    let Some(BlipHead::Captioning(decoder)) = opened.blip().map(Blip::head) else { panic!("another model") };
    let given = |text: &str| opened.tokenizer.encode(text).expect("ids").ids;
    let written = |text: &str| {
        decoder.generate(&given(text), &states, Greedy::new(5), &mut Taps::none(), &mut |_| true).expect("a text")
    };
    let found = Found::of(&built_in("blip-captioning"), &[text], &NEW);
    let look = Fusion { states: &states, mask: None };
    let logits = decoder.logits(&ids(&given(text)), None, look, None, &mut Taps::none()).expect("logits");
    found.close("logits", &logits);
    assert_eq!(found.row("input_ids"), given(text));
    assert_eq!(found.row("generated_ids"), written(text));
    assert_eq!(found.notes["generated_text"], opened.tokenizer.decode(&written(text)).expect("a text"));

    let found = Found::of(&built_in("blip-captioning"), &[text], &[&NEW[..], &["--prompt", prompt]].concat());
    found.close("logits", &logits);
    assert_eq!(found.row("prompt_ids"), given(prompt));
    assert_eq!(found.row("generated_ids"), written(prompt));
    assert_eq!(found.notes["prompt"], prompt);

    let found = Found::of(&built_in("blip-captioning"), &[text], &["--max-new-tokens", "0"]);
    assert!(!found.arrays.contains_key("generated_ids"));
}

#[test]
fn a_trace_of_an_answer_has_the_logits_of_its_tokens() {
    let question = "what colour is the ball?";
    let (opened, states) = fusion("blip-answering");
    let Some(BlipHead::Answering(answering)) = opened.blip().map(Blip::head) else { panic!("another model") };
    let asked = opened.tokenizer.encode(question).expect("ids").ids;
    let read = answering.read(&ids(&asked), None, &states, &mut Taps::none()).expect("a pass");
    let answer =
        answering.answer.generate(&[], &read, Greedy::new(12), &mut Taps::none(), &mut |_| true).expect("an answer");
    let found = Found::of(&built_in("blip-answering"), &[question], &[]);
    assert_eq!(found.row("input_ids"), asked);
    assert_eq!(found.row("generated_ids"), answer);
    assert_eq!(found.row("decoder_input_ids")[1..], answer[..answer.len() - 1]);
    let likeliest = found.arrays["logits"].i(0).and_then(|logits| logits.argmax(1)).expect("logits");
    assert_eq!(likeliest.to_vec1::<u32>().expect("ids"), answer);
    let looks = found.arrays["decoder.blocks.0.cross_attn.pattern"].dims().to_vec();
    assert_eq!(looks[2..], [answer.len(), asked.len()]);
    assert_eq!(found.arrays["text.blocks.0.cross_attn.pattern"].dims()[2..], [asked.len(), 65]);
}

#[test]
fn a_trace_of_flamingo_says_where_the_picture_stands() {
    let text = "what is there?";
    let (opened, states) = fusion("flamingo");
    let tokens = opened.tokens(text).expect("ids").ids;
    let batch = opened.tokenizer.pad(std::slice::from_ref(&tokens), &Device::Cpu).expect("ids");
    let logits = opened.read(&batch, &states, &mut Taps::none()).expect("a pass").logits.expect("logits");
    let found = Found::of(&built_in("flamingo"), &[text], &NEW);
    found.close("logits", &logits);
    assert_eq!(found.row("input_ids"), tokens);
    assert_eq!(found.arrays["pixel_values"].dims(), [1, 1, 3, 64, 64]);
    let sees = opened.image_mask(&tokens).and_then(|mask| Ok(mask.flatten_all()?.to_vec1::<u32>()?)).expect("a mask");
    let seen = found.arrays["image_attention_mask"].flatten_all().and_then(|mask| mask.to_vec1::<i64>());
    assert!(seen.expect("a mask").into_iter().eq(sees.into_iter().map(i64::from)));
    let model = opened.flamingo().expect("a Flamingo");
    let picture = Picture::open(&picture("scene-000101.png")).expect("a picture");
    let prompt = Prompt {
        ids: ids(&tokens),
        attention_mask: None,
        pixels: opened.pixels(&[&picture.pixels]).and_then(|pixels| Ok(pixels.unsqueeze(0)?)).expect("pixels"),
        image_mask: opened.image_mask(&tokens).expect("a mask"),
    };
    let how = Writing { most: 5, ends: model.ends(), cached: true };
    let new = model.generate(&prompt, &how, &mut Taps::none(), &mut |_| true).expect("a text");
    assert_eq!(found.row("generated_ids"), new);
}

#[test]
fn a_trace_of_retrieval_by_queries_has_three_passes() {
    let folder = querying_checkpoint("blip2-retrieval/as-published");
    let texts = ["what is there?", "a left of the"];
    let found = Found::of(folder.path(), &texts, &[]);
    let opened = OpenedQuerying::open(folder.path(), &Device::Cpu).expect("a checkpoint");
    let model = opened.retrieval().expect("retrieval");
    let picture = Picture::open(&picture("scene-000101.png")).expect("a picture");
    let taps = &mut Taps::none();
    let states = opened.see(&opened.pixels(&[&picture.pixels]).expect("pixels"), taps).expect("a pass");
    let batch = opened.tokenizer.batch(&texts, &Device::Cpu).expect("ids");
    let text = QFormerText { ids: &batch.ids, attention_mask: batch.attention_mask.as_ref() };
    let image = model.embed_image(&states, None, taps).expect("vectors");
    let read = model.embed_text(text, taps).expect("vectors");
    let cosines = Blip2Retrieval::contrast(&image, &read).and_then(|cosines| Ok(cosines.max(1)?)).expect("cosines");
    let both = Tensor::cat(&[&states, &states], 0).expect("states");
    let matching = model.match_logits(text, &both, None, taps).expect("logits");
    found.close("image_embeds", &image);
    found.close("text_embeds", &read);
    found.close("itc.logits", &cosines);
    found.close("itm.logits.queries", &matching);
    found.close("itm.logits", &matching.mean(1).expect("a mean"));
    let (queries, tokens) = (opened.query_count(), batch.ids.dim(1).expect("a matrix"));
    assert_eq!(found.arrays["input_ids"].dims(), [2, queries + tokens]);
    let dims = |name: &str| found.arrays[name].dims().to_vec();
    assert_eq!(dims("itc.image.qformer.blocks.0.cross_attn.pattern")[2..], [queries, 10]);
    assert_eq!(dims("itc.text.qformer.blocks.0.self_attn.pattern")[2..], [tokens, tokens]);
    assert_eq!(dims("itm.qformer.blocks.0.self_attn.pattern")[2..], [queries + tokens, queries + tokens]);
    assert_eq!(dims("itm.qformer.output")[..2], [2, queries + tokens]);
}

#[test]
fn a_trace_of_writing_about_queries_has_what_they_bring_back() {
    for fixture in ["blip2-generation/opt-as-published", "blip2-generation/t5-relu", "instructblip/llama"] {
        let folder = querying_checkpoint(fixture);
        let (text, prompt) = ("what is there?", "how many of the?");
        let opened = OpenedQuerying::open(folder.path(), &Device::Cpu).expect("a checkpoint");
        let writer = opened.writer().expect("a model that writes");
        let picture = Picture::open(&picture("scene-000101.png")).expect("a picture");
        let taps = &mut Taps::none();
        let states = opened.see(&opened.pixels(&[&picture.pixels]).expect("pixels"), taps).expect("a pass");
        let queries = opened.query_count();
        // What the model gets, what queries bring back with and without the instruction behind it, and what is written.
        let mut direct = |text: &str| {
            let given = opened.prompt(text, queries).expect("ids").ids;
            let asked = opened.instruction(text).expect("ids").map(|tokens| ids(&tokens.ids));
            let instruction = asked.as_ref().map(|ids| QFormerText { ids, attention_mask: None });
            let both = writer.query_and_text(&states, instruction, None, taps).expect("queries");
            let projected = both.narrow(1, 0, queries).and_then(|queries| queries.contiguous()).expect("queries");
            let projected = writer.project(&projected).expect("vectors");
            let given_ids = ids(&given);
            let asked = QueryingPrompt { ids: &given_ids, attention_mask: None, projected: &projected };
            let new = writer.generate(asked, Greedy::new(5).into(), taps, &mut |_| true).expect("a text");
            (given, both, projected, new)
        };
        let (given, both, projected, new) = direct(text);
        let found = Found::of(folder.path(), &[text], &NEW);
        assert_eq!(found.row("input_ids"), given, "{fixture}");
        assert_eq!(found.row("generated_ids"), new, "{fixture}");
        found.close("qformer.output", &both);
        found.close("projector.output", &projected);
        assert_eq!(found.arrays.contains_key("qformer_input_ids"), writer.instructed(), "{fixture}");
        let crossed = found.arrays["qformer.blocks.0.cross_attn.pattern"].dims().to_vec();
        assert_eq!(crossed[2..], [queries, 10], "{fixture}");
        let given_ids = ids(&given);
        let asked = QueryingPrompt { ids: &given_ids, attention_mask: None, projected: &projected };
        let written = writer.language().encoder_decoder().then(|| ids(&found.row("decoder_input_ids")));
        let logits = writer.logits(asked, written.as_ref(), &mut Taps::none()).expect("logits");
        found.close("logits", &logits);
        if written.is_some() {
            let likeliest = logits.i(0).and_then(|logits| logits.argmax(1)).expect("logits");
            assert_eq!(likeliest.to_vec1::<u32>().expect("ids"), new, "{fixture}");
            assert!(found.arrays.contains_key("decoder.blocks.0.cross_attn.pattern"), "{fixture}");
        }

        let (_, _, _, new) = direct(prompt);
        let found = Found::of(folder.path(), &[text], &[&NEW[..], &["--prompt", prompt]].concat());
        assert_eq!(found.row("input_ids"), given, "{fixture}");
        assert_eq!(found.row("generated_ids"), new, "{fixture}");
        found.close("logits", &logits);
    }
}

#[test]
fn a_trace_of_pictures_as_words_has_what_the_projector_gives() {
    for fixture in ["clip-llama-linear", "siglip-qwen2"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llava").join(fixture);
        let (text, prompt) = ("what is <image> there?", "USER: <image> how many? ASSISTANT:");
        let opened = OpenedProjector::open(&folder, &Device::Cpu).expect("a checkpoint");
        let picture = Picture::open(&picture("scene-000101.png")).expect("a picture");
        let (model, taps) = (opened.model(), &mut Taps::none());
        let features = opened.see(&opened.pixels(&[&picture.pixels]).expect("pixels"), taps).expect("a pass");
        let projected = model.project(&features).expect("vectors");
        // The ids of a text, and what is written behind it.
        let mut direct = |text: &str| {
            let given = opened.tokens(text).expect("ids").ids;
            let given_ids = ids(&given);
            let asked = LlavaPrompt { ids: &given_ids, attention_mask: None, projected: Some(&projected) };
            let new = model.generate(asked, Greedy::new(5).into(), taps, &mut |_| true).expect("a text");
            (given, new)
        };
        let (given, new) = direct(text);
        let found = Found::of(&folder, &[text], &NEW);
        assert_eq!(found.row("input_ids"), given, "{fixture}");
        assert_eq!(found.row("generated_ids"), new, "{fixture}");
        found.close("projector.output", &projected);
        let given_ids = ids(&given);
        let asked = LlavaPrompt { ids: &given_ids, attention_mask: None, projected: Some(&projected) };
        found.close("logits", &model.logits(asked, &mut Taps::none()).expect("logits"));
        let dims = |name: &str| found.arrays[name].dims().to_vec();
        assert_eq!(dims("decoder.blocks.1.self_attn.pattern")[2..], [given.len(), given.len()], "{fixture}");
        let last = format!("vision.blocks.{}.self_attn.pattern", model.vision().depth() - 1);
        assert!(found.arrays.contains_key(&last), "{fixture}");
        assert_eq!(found.notes["class"], "LlavaForConditionalGeneration");

        let (_, new) = direct(prompt);
        let found = Found::of(&folder, &[text], &[&NEW[..], &["--prompt", prompt]].concat());
        assert_eq!(found.row("input_ids"), given, "{fixture}");
        assert_eq!(found.row("generated_ids"), new, "{fixture}");

        let (given, _) = direct(&opened.asked("where?", 1).expect("a text"));
        let found = Found::of(&folder, &["where?"], &[&NEW[..], &["--chat"]].concat());
        assert_eq!(found.row("input_ids"), given, "{fixture}");
        assert!(found.notes["texts"].contains("ASSISTANT:"), "{}", found.notes["texts"]);
    }
}

/// The map of a word is where the position before it looks, on average over layers and heads; every class has one.
#[test]
fn a_word_has_its_map() {
    let found =
        Found::of(&built_in("blip-captioning"), &["a cat"], &["--attribution", "attention-predicted", "--word", "cat"]);
    let tokens: Vec<Vec<String>> = serde_json::from_str(&found.notes["tokens"]).expect("tokens");
    let at = tokens[0].iter().position(|token| token == "cat").expect("the word");
    let mut patterns = Vec::new();
    for layer in 0.. {
        let Some(pattern) = found.arrays.get(&format!("decoder.blocks.{layer}.cross_attn.pattern")) else { break };
        // [batch, heads, queries, keys], the first of which is the class token
        let row = pattern.i((0, .., at - 1, 1..)).expect("a row");
        patterns.push(row.mean(0).expect("a mean"));
    }
    let mean = Tensor::stack(&patterns, 0).and_then(|all| all.mean(0)).expect("a mean");
    found.close("attribution.attention-predicted", &mean.reshape((1, 8, 8)).expect("a grid"));
    for (checkpoint, key) in [
        ("blip-retrieval", "gradient-attention-read"),
        ("flamingo", "gradient-attention-predicted"),
        ("blip2-retrieval", "query"),
        ("llava", "attention-read"),
        // Of all models, what they are asked for many times.
        ("clip", "occlusion"),
        ("blip-captioning", "relevancy"),
        ("blip2-captioning", "value-attention"),
        ("flamingo", "gradient-input"),
        ("llava", "integrated-gradients"),
    ] {
        let text = if checkpoint == "llava" { "<image> a cat" } else { "a cat" };
        let found = Found::of(&built_in(checkpoint), &[text], &["--attribution", key, "--word", "cat"]);
        let map = found.arrays.get(&format!("attribution.{key}")).unwrap_or_else(|| panic!("no map of {checkpoint}"));
        assert_eq!(map.dims(), [1, 8, 8], "{checkpoint}");
        assert!(
            map.abs().and_then(|map| map.max_all()).and_then(|top| top.to_scalar::<f32>()).expect("a number") > 0.0
        );
    }
}

/// With all ways to the picture cut, what is read is what the words alone say: another picture gives the same.
#[test]
fn a_changed_model_is_traced() {
    let cut = ["--change", "words-to-picture"];
    let plain = Found::of(&built_in("blip-captioning"), &["a cat"], &[]);
    let found = Found::of(&built_in("blip-captioning"), &["a cat"], &cut);
    let logits = |found: &Found| Array::from_tensor(&found.arrays["logits"]).expect("floats").data;
    assert_ne!(logits(&plain), logits(&found));
    let other = Found::about("scene-000103.png", &built_in("blip-captioning"), &["a cat"], &cut);
    found.close("logits", &other.arrays["logits"]);
    // In a row, the picture stands before the text.
    let text = ["<image> a cat"];
    let plain = Found::of(&built_in("llava"), &text, &[]);
    let found = Found::of(&built_in("llava"), &text, &cut);
    assert_ne!(logits(&plain), logits(&found));
}

#[test]
fn what_a_model_does_not_do_is_said() {
    let image = picture("scene-000101.png").display().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("t.safetensors").display().to_string();
    let trace = |name: &str, more: &[&str]| {
        let checkpoint = built_in(name).display().to_string();
        let arguments = ["trace", "--checkpoint", &checkpoint, "--image", &image, "--text", "a cat", "-o", &out];
        let output = alignscope(&[&arguments[..], more].concat());
        assert_eq!(output.status.code(), Some(1), "{more:?}");
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(said.contains("; ") && said.trim_end().lines().count() == 1, "{said}");
        said
    };
    assert!(trace("clip", &["--prompt", "a"]).contains("writes nothing"));
    assert!(trace("clip", &["--chat"]).contains("trained on no conversations"));
    assert!(trace("blip-retrieval", &["--prompt", "a"]).contains("writes nothing"));
    assert!(trace("blip-captioning", &["--text", "a dog"]).contains("was given 2 texts"));
    assert!(trace("blip-captioning", &["--image", &image]).contains("about one picture was given 2"));
    assert!(trace("blip-retrieval", &["--image", &image]).contains("1 texts for 2 pictures"));
    assert!(trace("flamingo", &["--image", &image]).contains("1 places for pictures, and 2 were given"));
    let explained = trace("blip-captioning", &["--attribution", "rollout", "--word", "cat"]);
    assert!(explained.contains("has no attribution 'rollout'; name one of attention-read"), "{explained}");
    let changed = trace("blip-captioning", &["--change", "queries-to-picture"]);
    assert!(changed.contains("'queries-to-picture' can't be changed here") && changed.contains("words-to-picture"));
    assert!(trace("llava", &["--change", "words-to-picture"]).contains("begin the text with <image>"));
    let missing = trace("llava", &["--attribution", "attention-read", "--word", "horse"]);
    assert!(missing.contains("'horse' doesn't stand in the text"), "{missing}");
    let other = trace("clip", &["--attribution", "query", "--word", "cat"]);
    assert!(other.contains("has no attribution 'query'"), "{other}");
    assert!(!Path::new(&out).exists());
}
