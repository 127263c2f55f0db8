//! What can be done with queries, and what BLIP-2 and InstructBLIP refuse: one good sentence, and never a panic.

#[path = "common/querying.rs"]
mod querying;
#[path = "common/reference.rs"]
mod reference;

use alignscope::Error;
use alignscope::models::Model;
use alignscope::models::checkpoint::Checkpoint;
use alignscope::models::fusion::OpenedFusion;
use alignscope::models::opened::Opened;
use alignscope::models::preprocess::{Class, ImageProcessor};
use alignscope::models::q_former::{QFormerInput, QFormerMask, QFormerText};
use alignscope::models::querying::{CLASSES, OpenedQuerying};
use alignscope::models::querying_writer::QueryingPrompt;
use alignscope::taps::Taps;
use alignscope::training::tokenizer::tokenizer_json;
use candle_core::{DType, Device, Tensor};
use querying::{FAMILIES, family, fits, retrievals, texts, writer, writers, written};
use reference::{TOLERANCE, fixtures, host};
use serde_json::{Value, json};

/// Queries that are switched off are gone; with all of them kept nothing changes.
#[test]
fn queries_can_be_dropped() {
    for (reference, model) in retrievals() {
        let taps = &mut Taps::none();
        let states = model.base().see(&reference.tensors["pixel_values"], taps).expect("a pass");
        let count = model.base().config().num_query_tokens;
        let every: Vec<usize> = (0..count).collect();
        let all = host(&model.embed_image(&states, None, taps).expect("vectors"));
        assert_eq!(all, host(&model.embed_image(&states, Some(&every), taps).expect("vectors")));
        let one = model.embed_image(&states, Some(&[count - 1]), taps).expect("vectors");
        assert_eq!(one.dims()[..2], [3, 1]);
        let (ids, mask) = texts(&reference, &model);
        let text = QFormerText { ids: &ids, attention_mask: mask.as_ref() };
        let matching = model.match_logits(text, &states, Some(&[0]), taps).expect("logits");
        assert_eq!(matching.dims(), [3, 1, 2]);
        for (kept, words) in [(vec![], "leave at least one"), (vec![0, count], "choose a smaller query number")] {
            let said = model.embed_image(&states, Some(&kept), taps).expect_err("no such query").to_string();
            assert!(said.contains(words), "{said}");
        }
    }
}

/// Under the masks of contrast and of writing, queries know nothing of the text; and a token knows nothing of later ones.
#[test]
fn masks_hide_what_they_should() {
    for (reference, model) in retrievals() {
        let taps = &mut Taps::none();
        let base = model.base();
        let states = base.see(&reference.tensors["pixel_values"], taps).expect("a pass");
        let (ids, _) = texts(&reference, &model);
        let (count, tokens) = (base.config().num_query_tokens, ids.dim(1).expect("a matrix"));
        let shorter = ids.narrow(1, 0, tokens - 1).and_then(|ids| ids.contiguous()).expect("a shorter text");
        let near = |what: &str, one: &Tensor, other: &Tensor, same: bool| {
            let off = reference::difference(&host(one), other);
            assert_eq!(off <= TOLERANCE, same, "{}: {what} differ by {off}", reference.folder.display());
        };
        let alone = base.fused(None, &states, None, QFormerMask::Bidirectional, taps).expect("a pass");
        for mask in [QFormerMask::Unimodal, QFormerMask::Bidirectional, QFormerMask::Causal] {
            let mut pass = |ids: &Tensor| {
                let text = QFormerText { ids, attention_mask: None };
                base.fused(Some(text), &states, None, mask, taps).expect("a pass")
            };
            let (whole, cut) = (pass(&ids), pass(&shorter));
            let queries = whole.narrow(1, 0, count).expect("queries");
            near(&format!("{mask:?}: queries"), &queries, &alone, mask != QFormerMask::Bidirectional);
            let part = |states: &Tensor| states.narrow(1, count, tokens - 1).expect("tokens");
            near(&format!("{mask:?}: tokens"), &part(&whole), &part(&cut), mask == QFormerMask::Causal);
        }
        // The text beside queries that it doesn't see is the text alone.
        let text = QFormerText { ids: &ids, attention_mask: None };
        let input = QFormerInput { queries: None, text: Some(text), states: None, mask: QFormerMask::Unimodal };
        let read = base.qformer().forward(input, taps).expect("a pass");
        let both = base.fused(Some(text), &states, None, QFormerMask::Unimodal, taps).expect("a pass");
        near("texts", &both.narrow(1, count, tokens).expect("tokens"), &read, true);
    }
}

/// Without a token that stands for it, what the queries bring back comes in front of the text: the same numbers.
#[test]
fn queries_come_first_without_a_placeholder() {
    for reference in family(FAMILIES[1]) {
        let with = writer(&reference);
        for text in written(&reference, &with) {
            let mut checkpoint = Checkpoint::open(&reference.folder).expect("a checkpoint");
            checkpoint.config["image_token_index"] = Value::Null;
            let Model::QueryingWriter(without) = Model::open(&checkpoint, &Device::Cpu).expect("a model").0 else {
                panic!("another model");
            };
            let queries = text.projected.dim(1).expect("queries");
            let words = text.ids.narrow(1, queries, text.ids.dim(1).expect("ids") - queries).expect("words");
            let inputs = with.inputs(&text.ids, &text.projected).expect("vectors");
            let ours = without.inputs(&words, &text.projected).expect("vectors");
            assert!(reference::difference(&host(&ours), &inputs) <= TOLERANCE);
            let mask = words.ones_like().expect("a mask");
            let (shorter, longer) = (
                QueryingPrompt { ids: &words, attention_mask: Some(&mask), projected: &text.projected },
                QueryingPrompt { ids: &text.ids, attention_mask: None, projected: &text.projected },
            );
            let start = with.language().start().map(|id| Tensor::new(&[[id]], &Device::Cpu).expect("an id"));
            let theirs = with.logits(longer, start.as_ref(), &mut Taps::none()).expect("logits");
            let ours = without.logits(shorter, start.as_ref(), &mut Taps::none()).expect("logits");
            assert!(reference::difference(&host(&ours), &theirs) <= TOLERANCE);
            assert_eq!(without.prompt(&[5], 3), [5]);
        }
    }
}

fn sentence<T>(result: Result<T, Error>, words: &str) {
    let said = result.err().unwrap_or_else(|| panic!("'{words}' wasn't said")).to_string();
    assert!(said.contains(words) && said.contains("; ") && !said.contains('\n'), "{said}");
}

#[test]
fn wrong_input_is_refused_in_a_sentence() {
    let taps = &mut Taps::none();
    for (reference, model) in retrievals() {
        let pixels = &reference.tensors["pixel_values"];
        let narrow = pixels.narrow(3, 0, 7).expect("pixels");
        sentence(model.base().see(&narrow, taps), "pixels, not 7 x");
        let states = model.base().see(pixels, taps).expect("a pass");
        let fewer = states.narrow(0, 0, 1).expect("a picture");
        let (ids, _) = texts(&reference, &model);
        let text = |ids| QFormerText { ids, attention_mask: None };
        sentence(model.match_logits(text(&ids), &fewer, None, taps), "give each text its picture");
        let context = model.base().config().qformer_config.max_position_embeddings;
        let long = Tensor::ones((3, context + 1), DType::U32, &Device::Cpu).expect("ids");
        sentence(model.match_logits(text(&long), &states, None, taps), "shorten the text");
        sentence(model.embed_text(text(&long), taps), "shorten the text");
        let empty = Tensor::zeros((3, 0), DType::U32, &Device::Cpu).expect("no ids");
        sentence(model.embed_text(text(&empty), taps), "the text is empty");
        let short = ids.narrow(1, 0, 2).expect("a mask");
        let masked = QFormerText { ids: &ids, attention_mask: Some(&short) };
        sentence(model.embed_text(masked, taps), "attention mask has shape");
        let nothing = QFormerInput { queries: None, text: None, states: None, mask: QFormerMask::Causal };
        sentence(model.base().qformer().forward(nothing, taps), "neither queries nor a text");
        sentence(OpenedFusion::open(&reference.folder, &Device::Cpu), "whose words don't look at pictures");
    }
    for (reference, model) in writers() {
        let states = model.base().see(&reference.tensors["pixel_values"], taps).expect("a pass");
        let ids = reference.unsigned("input_ids").expect("ids");
        let asked = reference.unsigned("qformer_input_ids");
        let instruction = asked.as_ref().map(|ids| QFormerText { ids, attention_mask: None });
        if model.instructed() {
            sentence(model.query(&states, None, None, taps), "write an instruction");
        } else {
            let text = QFormerText { ids: &ids, attention_mask: None };
            sentence(model.query(&states, Some(text), None, taps), "reads no texts");
        }
        let queries = model.query(&states, instruction, None, taps).expect("queries");
        let projected = model.project(&queries).expect("vectors");
        let fewer = projected.narrow(0, 0, 1).expect("a picture");
        sentence(model.inputs(&ids, &fewer), "give each text its picture");
        if fits(&model, &projected) {
            let words = ids.narrow(1, 1, ids.dim(1).expect("ids") - 1).expect("a placeholder less");
            sentence(model.inputs(&words, &projected), "places for what");
        }
        sentence(Opened::open(&reference.folder, &Device::Cpu), "which isn't a dual encoder");
    }
    let blip = fixtures().into_iter().find(|folder| folder.ends_with("blip-captioning/same-width")).expect("BLIP");
    sentence(OpenedQuerying::open(&blip, &Device::Cpu), "which has no queries");
}

/// A config in which nothing fits is refused before memory is taken for it, in a sentence that names the file.
#[test]
fn configs_that_make_no_sense() {
    let huge = || json!(1u64 << 40);
    let everywhere = [
        ("/num_query_tokens", json!(0), "num_query_tokens = 0"),
        ("/num_query_tokens", json!(11), "'query_tokens' has shape"),
        ("/num_query_tokens", huge(), "num_query_tokens ="),
        ("/num_query_tokens", json!("x"), "can't be understood"),
        ("/qformer_config/cross_attention_frequency", json!(0), "cross_attention_frequency = 0"),
        ("/qformer_config/encoder_hidden_size", json!(64), "the queries look at vectors of length 64"),
        ("/vision_config/hidden_size", json!(40), "but those of pictures have length 40"),
        ("/qformer_config/hidden_size", huge(), "qformer hidden_size ="),
        ("/qformer_config/vocab_size", huge(), "qformer vocab_size ="),
        ("/qformer_config/num_hidden_layers", json!(1000), "qformer num_hidden_layers = 1000"),
        ("/qformer_config/num_attention_heads", json!(0), "0 attention heads"),
        ("/qformer_config/layer_norm_eps", json!(-1.0), "layer_norm_eps = -1"),
        ("/qformer_config/hidden_act", json!("unheard-of"), "can't be understood"),
        ("/qformer_config/position_embedding_type", json!("relative_key"), "not for 'absolute'"),
        ("/qformer_config", json!("x"), "can't be understood"),
        ("/vision_config", json!("x"), "can't be understood"),
        ("/vision_config/image_size", json!(1_000_000), "image_size = 1000000"),
        ("/vision_config/qkv_bias", json!(3), "can't be understood"),
        ("/text_config", json!("x"), "no values in text_config"),
        ("/image_token_index", json!(-1), "can't be understood"),
    ];
    let heard = ("/text_config/model_type", json!("unheard-of"), "unheard-of");
    let of_retrieval = [
        ("/qformer_config/use_qformer_text_input", json!(false), "use_qformer_text_input = false"),
        ("/image_text_hidden_size", huge(), "image_text_hidden_size ="),
    ];
    let of_writers = [heard, ("/image_token_index", json!(1 << 20), "image_token_index = 1048576")];
    for name in FAMILIES {
        let reference = family(name).swap_remove(0);
        let own = if name == FAMILIES[0] { &of_retrieval } else { &of_writers };
        for (way, value, words) in everywhere.iter().chain(own) {
            let mut checkpoint = Checkpoint::open(&reference.folder).expect("a checkpoint");
            let (part, key) = way.rsplit_once('/').expect("a way");
            // transformers doesn't write down what is as usual, so the key may not be there.
            checkpoint.config.pointer_mut(part).expect("a part")[key] = value.clone();
            let result = Model::open(&checkpoint, &Device::Cpu).map(|_| ());
            let said = result.err().unwrap_or_else(|| panic!("{name}: {way} = {value} was accepted")).to_string();
            assert!(said.contains(words) && said.contains("; ") && !said.contains('\n'), "{way} = {value}: {said}");
            assert!(said.contains(&reference.folder.display().to_string()), "{way} = {value}: {said}");
        }
    }
}

/// A whole folder: a fixture with a tokenizer and a preprocessor.
#[test]
fn folders_are_opened_as_transformers_does() {
    for (name, class) in FAMILIES.into_iter().zip(CLASSES) {
        let reference = family(name).swap_remove(0);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(reference.folder.join(file), path(file)).expect("a file");
        }
        let side = reference.tensors["pixel_values"].dim(3).expect("pixels");
        let processor = ImageProcessor::new(Class::Blip, u32::try_from(side).expect("a side")).to_json();
        std::fs::write(path("preprocessor_config.json"), processor).expect("a file");
        std::fs::write(path("tokenizer.json"), tokenizer_json().to_string()).expect("a file");
        if name == FAMILIES[2] {
            sentence(OpenedQuerying::open(folder.path(), &Device::Cpu), "qformer_tokenizer");
            std::fs::create_dir(path("qformer_tokenizer")).expect("a folder");
            std::fs::write(path("qformer_tokenizer/tokenizer.json"), tokenizer_json().to_string()).expect("a file");
        }
        let opened = OpenedQuerying::open(folder.path(), &Device::Cpu).expect("a model");
        assert_eq!(opened.checkpoint.class(), class);
        assert_eq!(opened.retrieval().is_some(), name == FAMILIES[0]);
        assert_eq!(opened.writer().is_some(), name != FAMILIES[0]);
        let (rows, columns) = opened.grid();
        let picture = image::RgbImage::new(40, 30);
        let pixels = opened.pixels(&[&picture]).expect("pixels");
        let states = opened.see(&pixels, &mut Taps::none()).expect("a pass");
        assert_eq!(states.dim(1).expect("positions"), 1 + rows * columns);
        assert!(opened.cross_layers().iter().all(|layer| *layer < opened.depth()));

        let words = opened.tokens("a cat").expect("tokens");
        let prompt = opened.prompt("a cat", opened.query_count()).expect("tokens");
        let token = opened.base().config().image_token_index;
        let front = if token.is_some() { opened.query_count() } else { 0 };
        assert!(prompt.ids[..front].iter().all(|id| Some(*id) == token));
        assert_eq!(prompt.ids[front..], words.ids);
        assert_eq!(prompt.spans[front..], words.spans);
        assert!(prompt.spans[..front].iter().all(Option::is_none));
        assert_eq!([prompt.texts.len(), prompt.known.len()], [prompt.ids.len(); 2]);
        let instruction = opened.instruction("a cat").expect("tokens");
        assert_eq!(instruction.map(|tokens| tokens.ids), (name == FAMILIES[2]).then_some(words.ids));
    }
}
