//! LLaVA opened as a whole: texts and pictures as transformers' processor makes them, conversations, the folders of both
//! layouts; and what is refused, in one good sentence and never with a panic.

#[path = "common/llava.rs"]
mod llava;
#[path = "common/reference.rs"]
mod reference;

use std::fs;
use std::path::{Path, PathBuf};

use alignscope::Error;
use alignscope::models::Model;
use alignscope::models::chat::{Message, Role};
use alignscope::models::checkpoint::Checkpoint;
use alignscope::models::fusion::OpenedFusion;
use alignscope::models::generate::Greedy;
use alignscope::models::llava::LlavaPrompt;
use alignscope::models::opened::Opened;
use alignscope::models::picture::Picture;
use alignscope::models::projector::{CLASSES, OpenedProjector};
use alignscope::models::querying::OpenedQuerying;
use alignscope::models::weights::extent;
use alignscope::taps::{CancelToken, Taps};
use candle_core::{DType, Device, Tensor};
use image::{Rgb, RgbImage};
use llava::{FAMILIES, family, llavas, model, written};
use reference::{Reference, difference, fixtures, host};
use serde_json::{Value, json};

fn sentence<T>(result: Result<T, Error>, words: &str) {
    let said = result.err().unwrap_or_else(|| panic!("'{words}' wasn't said")).to_string();
    assert!(said.contains(words) && said.contains("; ") && !said.contains('\n'), "{said}");
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

fn write(path: &Path, value: &Value) {
    fs::write(path, value.to_string()).expect("a file");
}

/// All files of a folder and of those in it, in another.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a file");
        }
    }
}

fn open(folder: &Path) -> Result<OpenedProjector, Error> {
    OpenedProjector::open(folder, &Device::Cpu)
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// One of LLaVA's own layout as a whole: with a tokenizer, which knows no pictures.
fn original(name: &str, folder: &Path) {
    copy(&fixture("llava-original").join(name), folder);
    fs::copy(fixture("llava/clip-llama-linear/tokenizer.json"), folder.join("tokenizer.json")).expect("a file");
}

#[test]
fn texts_and_pictures_are_those_of_the_processor() {
    for reference in family(FAMILIES[0]) {
        let (folder, say) = (&reference.folder, reference.folder.display());
        let opened = open(folder).expect("a model");
        assert_eq!(opened.checkpoint.class(), CLASSES[0]);
        let texts = read(&folder.join("texts.json"));
        let text = texts["text"].as_str().expect("a text");
        let tokens = opened.tokens(text).expect("ids");
        let theirs = reference.unsigned("processor.input_ids").and_then(|ids| ids.flatten_all().ok()).expect("ids");
        assert_eq!(tokens.ids, theirs.to_vec1::<u32>().expect("ids"), "{say}");
        // What stands in the text, stands where its span says.
        for (token, span) in tokens.texts.iter().zip(&tokens.spans) {
            match span {
                Some((from, to)) => assert_eq!(token, &text[*from..*to], "{say}"),
                None => assert!(["<image>", "<s>"].contains(&token.as_str()), "{say}: {token}"),
            }
        }
        let theirs = &reference.tensors["processor.pixel_values"];
        let pictures: Vec<Picture> = (0..theirs.dim(0).expect("pictures"))
            .map(|at| Picture::open(&folder.join(format!("picture-{at}.png"))).expect("a picture"))
            .collect();
        let pictures: Vec<&RgbImage> = pictures.iter().map(|picture| &picture.pixels).collect();
        let pixels = opened.pixels(&pictures).expect("pixels");
        assert!(difference(&host(&pixels), theirs) <= 1e-6, "{say}");

        let messages = [
            Message::new(Role::User, pictures.len(), "what is there?"),
            Message::new(Role::Assistant, 0, "a cat."),
            Message::new(Role::User, 0, "where?"),
        ];
        assert_eq!(opened.conversation(&messages).expect("a text"), texts["chat"].as_str().expect("a text"), "{say}");
        let asked = opened.asked("where?", 1).expect("a text");
        assert_eq!(asked, "USER: <image>\nwhere? ASSISTANT:", "{say}");
    }
}

/// Each vector of a picture stands for a patch, but for that of a class token.
#[test]
fn vectors_stand_for_patches() {
    for (reference, model) in llavas() {
        let config = model.config();
        let (rows, columns) = config.grid();
        let features = model.see(&reference.tensors["pixel_values"], &mut Taps::none()).expect("a pass");
        assert_eq!(features.dims()[1..], [config.positions(), config.feature_width()]);
        let patches: Vec<usize> = (0..config.positions()).filter_map(|place| config.patch(place)).collect();
        // Whatever the first one is.
        let first = patches[0];
        assert!(first <= 1 && patches == (first..rows * columns).collect::<Vec<_>>());
        assert_eq!(config.patch(config.positions()), None);
    }
    let places = |name: &str| {
        let config = model(&Reference::read(&fixture(name))).config().clone();
        (config.positions(), config.patch(0), config.patch(1))
    };
    assert_eq!(places("llava/clip-llama-linear"), (9, Some(0), Some(1)));
    assert_eq!(places("llava/layers-llama3"), (5, None, Some(0)));
    assert_eq!(places("llava/siglip-qwen2"), (9, Some(0), Some(1)));
    assert_eq!(places("llava/siglip-default"), (8, Some(1), Some(2)));
}

/// Many texts at once are the same as one by one.
#[test]
fn texts_are_written_together() {
    for reference in family(FAMILIES[0]) {
        let opened = open(&reference.folder).expect("a model");
        let pixels = reference.tensors["pixel_values"].narrow(0, 0, 2).expect("pictures");
        let features = opened.see(&pixels, &mut Taps::none()).expect("a pass");
        let prompts = ["what is left of the cat?", "USER: <image>\nwhat colour is the ball? ASSISTANT:"];
        let together = opened.write_all(&prompts, &features, 6, &CancelToken::default()).expect("texts");
        for (at, prompt) in prompts.iter().enumerate() {
            let ids = opened.tokens_to_go_on(prompt).expect("ids").ids;
            let ids = Tensor::from_slice(&ids, (1, ids.len()), &Device::Cpu).expect("ids");
            let one = features.narrow(0, at, 1).expect("a picture");
            let projected = opened.model().project(&one).expect("vectors");
            let asked = LlavaPrompt { ids: &ids, attention_mask: None, projected: Some(&projected) };
            let how = Greedy::new(6).into();
            let mut alone = opened.model().generate(asked, how, &mut Taps::none(), &mut |_| true).expect("a text");
            let ends = [opened.model().language().ends(), vec![opened.model().placeholder()]].concat();
            if let Some(end) = alone.iter().position(|id| ends.contains(id)) {
                alone.truncate(end);
            }
            assert_eq!(together[at], alone, "{}: {prompt}", reference.folder.display());
        }
        // A text that doesn't say where its picture stands has it in front.
        let about = opened.tokens_about("a cat").expect("ids");
        assert_eq!(about.ids, opened.tokens("<image>\na cat").expect("ids").ids);
        let spans: Vec<(usize, usize)> = about.spans.iter().flatten().copied().collect();
        assert_eq!(spans, [(0, 1), (2, 5)]);
        let stop = CancelToken::default();
        stop.cancel();
        assert!(matches!(opened.write_all(&prompts, &features, 6, &stop), Err(Error::Cancelled)));
    }
}

#[test]
fn the_authors_folders_are_opened() {
    for reference in family(FAMILIES[1]) {
        let name = reference.folder.file_name().and_then(|name| name.to_str()).expect("a name");
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("llava");
        original(name, &place);
        let opened = open(&place).expect("a model");
        assert_eq!(opened.checkpoint.class(), CLASSES[1]);
        // The text is cut where a picture stands; its places have an id that is no token's.
        let tokens = opened.tokens("what is <image> left of the cat?").expect("ids");
        assert_eq!(tokens.ids.iter().filter(|id| **id == 40).count(), opened.positions(), "{name}");
        assert_eq!(tokens.ids.iter().filter(|id| **id == 1).count(), 1, "{name}");
        sentence(opened.asked("where?", 1), "no chat template");
        // All numbers are counted, those of the tower too.
        assert_eq!(extent(&place).expect("files").parameters, opened.parameters, "{name}");

        // The tower may lie beside the checkpoint, by the last part of its name.
        let tower = if name == "linear" { "clip-linear" } else { "vision_tower" };
        fs::rename(place.join(tower), folder.path().join(format!("clip-{name}"))).expect("a folder");
        let beside = open(&place).expect("a model");
        assert_eq!(beside.parameters, opened.parameters, "{name}");
        fs::remove_dir_all(folder.path().join(format!("clip-{name}"))).expect("a folder");
        sentence(open(&place), "isn't beside the weights; fetch it into the folder 'vision_tower'");
        // A name doesn't lead anywhere else.
        let mut config = read(&place.join("config.json"));
        for astray in ["..", "/", "", "../..", "llava"] {
            config["mm_vision_tower"] = json!(astray);
            write(&place.join("config.json"), &config);
            sentence(open(&place), "isn't beside the weights");
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    original("mlp", folder.path());
    fs::rename(folder.path().join("tokenizer.json"), folder.path().join("tokenizer.model")).expect("a file");
    sentence(open(folder.path()), "put the tokenizer.json of the same LLaMA beside it");
}

/// LLaVA-1.5 makes pictures square before anything else.
#[test]
fn pictures_are_padded_where_the_config_says() {
    let folder = tempfile::tempdir().expect("a folder");
    original("mlp", folder.path());
    let opened = open(folder.path()).expect("a model");
    let wide = RgbImage::from_fn(24, 10, |x, y| Rgb([x as u8 * 10, y as u8 * 20, 90]));
    let mean = Rgb([122, 116, 104]);
    let square = RgbImage::from_fn(24, 24, |x, y| if (7..17).contains(&y) { *wide.get_pixel(x, y - 7) } else { mean });
    let (ours, theirs) = (opened.pixels(&[&wide]).expect("pixels"), opened.pixels(&[&square]).expect("pixels"));
    assert_eq!(host(&ours), host(&theirs));
    assert_eq!(opened.seen(24, 10), [0.0, -7.0, 24.0, 17.0]);
    sentence(opened.pixels(&[&RgbImage::new(1 << 14, 1)]), "makes it square first");
    let folder = tempfile::tempdir().expect("a folder");
    original("linear", folder.path());
    let opened = open(folder.path()).expect("a model");
    assert_eq!(opened.seen(24, 10), opened.processor.seen(24, 10));
}

#[test]
fn wrong_input_is_refused_in_a_sentence() {
    for (reference, model) in llavas() {
        let taps = &mut Taps::none();
        let pixels = &reference.tensors["pixel_values"];
        sentence(model.see(&pixels.narrow(3, 0, 7).expect("pixels"), taps), "pixels, not 7 x");
        let features = model.see(pixels, taps).expect("a pass");
        let projected = model.project(&features).expect("vectors");
        let ids = reference.unsigned("input_ids").expect("ids");
        let fewer = projected.narrow(0, 1, projected.dim(0).expect("pictures") - 1).expect("pictures");
        sentence(model.inputs(&ids, Some(&fewer)), "write '<image>' once for each picture");
        sentence(model.inputs(&ids, None), "0 pictures have");
        let text = written(&reference, &model);
        let wrong = LlavaPrompt { ids: &text.ids, attention_mask: Some(&ids), projected: Some(&text.projected) };
        sentence(model.logits(wrong, taps), "attention mask has shape");
        let tokens = model.language().words().weight().dims().expect("a table").0 as u32;
        let unknown = Tensor::new(&[[tokens + 1]], &Device::Cpu).expect("ids");
        sentence(model.inputs(&unknown, None), "use the tokenizer.json");
        let long = Tensor::ones((1, model.language().context() + 1), DType::U32, &Device::Cpu).expect("ids");
        let long = LlavaPrompt { ids: &long, attention_mask: None, projected: None };
        sentence(model.logits(long, taps), "shorten the text");
        let several = Tensor::ones((2, 3), DType::U32, &Device::Cpu).expect("ids");
        let several = LlavaPrompt { ids: &several, attention_mask: None, projected: None };
        sentence(model.generate(several, Greedy::new(3).into(), taps, &mut |_| true), "give one text");
    }
    let folder = fixture("llava/clip-llama-linear");
    sentence(Opened::open(&folder, &Device::Cpu), "which isn't a dual encoder");
    sentence(OpenedFusion::open(&folder, &Device::Cpu), "whose words don't look at pictures");
    sentence(OpenedQuerying::open(&folder, &Device::Cpu), "which has no queries");
    let blip = fixtures().into_iter().find(|folder| folder.ends_with("blip-captioning/same-width")).expect("BLIP");
    sentence(open(&blip), "which reads no pictures as words");
}

/// Processor, tokenizer and model have to belong together.
#[test]
fn folders_that_contradict_themselves() {
    let spoilt = |spoil: &dyn Fn(&Path), words: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        copy(&fixture("llava/clip-llama-linear"), folder.path());
        spoil(folder.path());
        sentence(open(folder.path()), words);
    };
    let change = |folder: &Path, file: &str, key: &str, value: Value| {
        let mut json = read(&folder.join(file));
        json[key] = value;
        write(&folder.join(file), &json);
    };
    let processor = "processor_config.json";
    spoilt(&|folder| change(folder, processor, "patch_size", json!(3)), "leaves 16 places for a picture");
    spoilt(&|folder| change(folder, processor, "patch_size", json!(0)), "patch_size = 0");
    spoilt(&|folder| change(folder, processor, "patch_size", json!("x")), "can't be understood");
    spoilt(&|folder| change(folder, processor, "num_additional_image_tokens", json!(0)), "leaves 8 places");
    spoilt(&|folder| change(folder, processor, "image_token", json!("<nothing>")), "no token '<nothing>'");
    spoilt(&|folder| change(folder, "config.json", "image_token_index", json!(41)), "with the id 41");
    spoilt(&|folder| fs::write(folder.join(processor), "[").expect("a file"), processor);
    spoilt(&|folder| fs::remove_file(folder.join("tokenizer.json")).expect("a file"), "tokenizer.json");
    spoilt(&|folder| fs::remove_file(folder.join("preprocessor_config.json")).expect("a file"), "preprocessor_config");

    // Without a file about the processor it is as the model has it.
    let folder = tempfile::tempdir().expect("a folder");
    copy(&fixture("llava/clip-llama-linear"), folder.path());
    fs::remove_file(folder.path().join(processor)).expect("a file");
    let opened = open(folder.path()).expect("a model");
    assert_eq!(opened.tokens("<image>").expect("ids").ids, [&[1][..], &[40; 9]].concat());
    // A template that can't be used is nobody's trouble before it is asked for.
    fs::write(folder.path().join("chat_template.jinja"), "{% for %}").expect("a file");
    sentence(open(folder.path()).expect("a model").asked("where?", 1), "the chat template can't be used");
}

/// A config in which nothing fits is refused before memory is taken for it, in a sentence that names the file.
#[test]
fn configs_that_make_no_sense() {
    let huge = || json!(1u64 << 40);
    let scaling = |kind: &str, factor: f64| json!({"rope_type": kind, "factor": factor});
    let sliding = json!({"use_sliding_window": true, "max_window_layers": 1, "sliding_window": 4});
    let transformers = [
        ("/vision_feature_layer", json!(4), "vision_feature_layer = 4, but the vision tower has 3 blocks"),
        ("/vision_feature_layer", json!(-5), "vision_feature_layer = -5"),
        ("/vision_feature_layer", json!([]), "number of layers in vision_feature_layer = 0"),
        ("/vision_feature_layer", json!([1, 1u64 << 40]), "vision_feature_layer ="),
        ("/vision_feature_layer", json!(0.5), "can't be understood"),
        ("/vision_feature_layer", json!([-1, -2]), "'multi_modal_projector.linear_1.weight' has shape"),
        ("/vision_feature_select_strategy", json!("some"), "can't be understood"),
        ("/projector_hidden_act", json!("unheard-of"), "can't be understood"),
        ("/multimodal_projector_bias", json!("x"), "can't be understood"),
        ("/image_token_index", json!(44), "image_token_index = 44, but the language model knows 44 tokens"),
        ("/image_token_index", json!(-1), "can't be understood"),
        ("/vision_config/model_type", json!("pixtral"), "can't be understood"),
        ("/vision_config/hidden_size", huge(), "vision hidden_size ="),
        ("/vision_config", json!("x"), "can't be understood"),
        ("/text_config", json!("x"), "no values in text_config"),
        ("/text_config/model_type", json!("opt"), "an OPT or a T5"),
        ("/text_config/model_type", json!("unheard-of"), "unheard-of"),
        ("/text_config/model_type", json!("qwen2"), "self_attn.q_proj.bias'"),
        ("/text_config/rope_scaling", scaling("yarn", 2.0), "positions that Alignscope doesn't know"),
        ("/text_config/rope_scaling", json!({"factor": 2.0}), "positions that Alignscope doesn't know"),
        ("/text_config/rope_scaling", scaling("linear", 0.5), "rope_scaling factor = 0.5"),
        ("/text_config/rope_scaling", json!({"rope_type": "linear"}), "can't be understood"),
        ("/text_config/rope_scaling", scaling("llama3", 8.0), "can't be understood"),
        (
            "/text_config/rope_scaling",
            json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0,
                   "original_max_position_embeddings": 8}),
            "which must grow",
        ),
        ("/text_config/num_key_value_heads", json!(2), "which doesn't divide"),
    ];
    let authors = [
        ("/mm_projector_type", json!("resampler"), "mm_projector_type = 'resampler'"),
        ("/mm_projector_type", json!("identity"), "no projector between vectors of length 15"),
        ("/mm_projector_type", json!("mlp4x_gelu"), "'model.mm_projector.6.weight'"),
        ("/mm_hidden_size", json!(64), "mm_hidden_size = 64, but the vision tower's vectors have length 15"),
        ("/mm_vision_select_layer", json!(9), "vision_feature_layer = 9"),
        ("/mm_vision_select_layer", json!(null), "can't be understood"),
        ("/mm_vision_select_feature", json!("all"), "can't be understood"),
        ("/mm_vision_tower", json!(3), "can't be understood"),
        ("/image_aspect_ratio", json!("anyres"), "cuts pictures into parts"),
        ("/hidden_size", huge(), "text hidden_size ="),
    ];
    let refused = |folder: &Path, config: &dyn Fn(&mut Value), words: &str| {
        let mut checkpoint = Checkpoint::open(folder).expect("a checkpoint");
        config(&mut checkpoint.config);
        let result = Model::open(&checkpoint, &Device::Cpu).map(|_| ());
        let said = result.err().unwrap_or_else(|| panic!("'{words}' wasn't said")).to_string();
        assert!(said.contains(words) && said.contains("; ") && !said.contains('\n'), "{words}: {said}");
        assert!(said.contains(&folder.display().to_string()), "{words}: {said}");
    };
    for (name, cases) in [("llava/clip-llama-linear", &transformers[..]), ("llava-original/class-token", &authors[..])]
    {
        for (way, value, words) in cases {
            let (part, key) = way.rsplit_once('/').expect("a way");
            let put = |config: &mut Value| config.pointer_mut(part).expect("a part")[key] = value.clone();
            refused(&fixture(name), &put, words);
        }
    }
    // Some blocks of a Qwen2 with a window and some without.
    let put = |config: &mut Value| {
        let text = config["text_config"].as_object_mut().expect("a part");
        text.remove("layer_types");
        text.extend(sliding.as_object().expect("values").clone());
    };
    refused(&fixture("llava/siglip-qwen2"), &put, "1 of 2 blocks of the language model a window");
    // A folder that says only of which kind it is.
    for (name, class) in [("llava/clip-llama-linear", CLASSES[0]), ("llava-original/mlp", CLASSES[1])] {
        let mut checkpoint = Checkpoint::open(&fixture(name)).expect("a checkpoint");
        checkpoint.config["architectures"] = Value::Null;
        assert_eq!(checkpoint.class(), class);
    }
}
