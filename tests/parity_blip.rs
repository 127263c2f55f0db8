//! BLIP's three models against transformers, number by number, on random checkpoints
//! (written by `tests/reference/make_fixtures.py`; nothing here needs Python).

#[path = "common/reference.rs"]
mod reference;

use std::collections::BTreeMap;

use alignscope::Error;
use alignscope::models::Model;
use alignscope::models::blip::{Blip, BlipHead};
use alignscope::models::generate::Greedy;
use alignscope::models::opened::Opened;
use alignscope::nn::Fusion;
use alignscope::taps::{Array, CancelToken, Recorder, SitePattern, Taps};
use candle_core::{Device, Tensor};
use reference::{Reference, TOLERANCE, by_name, fixtures, host};

const NEW_TOKENS: usize = 20;

fn blips() -> Vec<(Reference, Box<Blip>)> {
    let found = fixtures().into_iter().filter_map(|folder| {
        let reference = Reference::read(&folder);
        match reference.model() {
            Model::Blip(model) => Some((reference, model)),
            Model::DualEncoder(_)
            | Model::Flamingo(_)
            | Model::OpenFlamingo(_)
            | Model::QueryingRetrieval(_)
            | Model::QueryingWriter(_)
            | Model::Projector(_) => None,
        }
    });
    found.collect()
}

/// Everything that the pass of a fixture gives, and what was recorded on the way if somebody looked.
fn pass(reference: &Reference, model: &Blip, look: bool) -> BTreeMap<String, Array> {
    let ids = reference.unsigned("input_ids").expect("ids");
    let mask = reference.unsigned("attention_mask");
    let mut recorder = Recorder::new(SitePattern::new("*"));
    let mut alone = Recorder::new(SitePattern::new("*"));
    let mut taps = if look { Taps::none().with(&mut recorder) } else { Taps::none() };
    let mut taps_alone = if look { Taps::none().with(&mut alone) } else { Taps::none() };

    let states = model.vision().forward(&reference.tensors["pixel_values"], &mut taps).expect("an image pass");
    let mut outputs = vec![("vision.last_hidden_state", states.clone())];
    match model.head() {
        BlipHead::Retrieval(head) => {
            let image = head.embed_image(&states).expect("vectors");
            let text = head.embed_text(&ids, mask.as_ref(), &mut taps_alone).expect("a text pass");
            let cosines = image.embed.matmul(&text.embed.t().expect("a matrix")).expect("cosines");
            let matching = head.match_logits(&ids, mask.as_ref(), &states, &mut taps).expect("a fused pass");
            outputs.extend([("image_embeds", image.embed), ("text_embeds", text.embed)]);
            outputs.extend([("itc.logits", cosines), ("itm.logits", matching)]);
        }
        BlipHead::Captioning(decoder) => {
            let fusion = Fusion { states: &states, mask: None };
            let logits = decoder.logits(&ids, mask.as_ref(), fusion, None, &mut taps).expect("a text pass");
            outputs.push(("logits", logits));
        }
        BlipHead::Answering(head) => {
            let answers = reference.unsigned("decoder_input_ids").expect("ids");
            let answer_mask = reference.unsigned("decoder_attention_mask");
            let states = head.read(&ids, mask.as_ref(), &states, &mut taps).expect("a text pass");
            // transformers lets the answer see the padding of the question: its cross-attention drops the mask.
            let fusion = Fusion { states: &states, mask: None };
            let logits = head.answer.logits(&answers, answer_mask.as_ref(), fusion, None, &mut taps).expect("a pass");
            outputs.push(("logits", logits));
        }
    }
    drop((taps, taps_alone));
    let mut ours = by_name(recorder);
    ours.extend(by_name(alone).into_iter().map(|(name, array)| (format!("itc.{name}"), array)));
    ours.extend(outputs.into_iter().map(|(name, tensor)| (name.to_owned(), host(&tensor))));
    ours
}

#[test]
fn blip_equals_the_reference() {
    let mut worst: BTreeMap<String, f32> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (reference, model) in blips() {
        let folder = &reference.folder;
        let ours = pass(&reference, &model, true);
        let unseen = pass(&reference, &model, false);
        let class = folder.parent().and_then(|parent| parent.file_name()).expect("a family").to_string_lossy();
        let worst = worst.entry(class.into_owned()).or_default();
        let mut compared = 0;
        for name in reference.tensors.keys() {
            if name.ends_with("_ids")
                || name.ends_with("_mask")
                || name == "pixel_values"
                || name.starts_with("relevancy")
            {
                continue;
            }
            let array = ours.get(name).unwrap_or_else(|| panic!("{}: no {name}", folder.display()));
            let off = reference.off(name, array);
            if off > TOLERANCE {
                wrong.push(format!("{}: {name} is off by {off}", folder.display()));
            }
            *worst = worst.max(off);
            compared += 1;
            // The fused path, which nobody observes, must give the same.
            if let Some(array) = unseen.get(name) {
                let off = reference.off(name, array);
                if off > TOLERANCE {
                    wrong.push(format!("{}: fused {name} is off by {off}", folder.display()));
                }
            }
        }
        assert!(compared > 10, "{}: only {compared} tensors compared", folder.display());
        // No attention goes uncompared.
        for name in ours.keys().filter(|name| name.ends_with("pattern")) {
            assert!(reference.tensors.contains_key(name), "{}: {name} has no reference", folder.display());
        }
        assert!(reference.tensors.keys().any(|name| name.contains("cross_attn")), "no cross-attention");
    }
    println!("largest differences {worst:?}");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A text that a fixture has: what it goes on from, what it looks at, and how it goes on.
struct Text {
    prompt: Vec<u32>,
    states: Tensor,
    expected: Vec<u32>,
}

fn row(reference: &Reference, name: &str) -> Vec<u32> {
    let ids = reference.unsigned(name).unwrap_or_else(|| panic!("{}: no {name}", reference.folder.display()));
    ids.flatten_all().and_then(|ids| ids.to_vec1()).expect("ids")
}

fn texts(reference: &Reference, model: &Blip) -> Vec<Text> {
    let picture = |at: usize| {
        let pixels = reference.tensors["pixel_values"].narrow(0, at, 1).expect("a picture");
        model.vision().forward(&pixels, &mut Taps::none()).expect("an image pass")
    };
    let expected = |name: &str| row(reference, name);
    match model.head() {
        BlipHead::Retrieval(_) => Vec::new(),
        BlipHead::Captioning(_) => vec![
            Text { prompt: Vec::new(), states: picture(0), expected: expected("generated_ids") },
            Text {
                prompt: row(reference, "prompted.input_ids"),
                states: picture(1),
                expected: expected("prompted.generated_ids"),
            },
        ],
        BlipHead::Answering(head) => {
            let question = reference.unsigned("question.input_ids").expect("ids");
            let states = head.read(&question, None, &picture(0), &mut Taps::none()).expect("a text pass");
            vec![Text { prompt: Vec::new(), states, expected: expected("generated_ids") }]
        }
    }
}

/// Writes a text, and returns it with what was handed out on the way.
fn write(
    model: &Blip,
    text: &Text,
    how: Greedy,
    taps: &mut Taps<'_>,
    mut on_token: impl FnMut(u32) -> bool,
) -> Result<Vec<u32>, Error> {
    let decoder = match model.head() {
        BlipHead::Captioning(decoder) => decoder,
        BlipHead::Answering(head) => &head.answer,
        BlipHead::Retrieval(_) => panic!("retrieval writes nothing"),
    };
    let mut handed = Vec::new();
    let written = decoder.generate(&text.prompt, &text.states, how, taps, &mut |token| {
        handed.push(token);
        on_token(token)
    })?;
    assert_eq!(written, handed);
    Ok(written)
}

#[test]
fn greedy_texts_equal_the_reference() {
    let (mut ended, mut cut) = (0, 0);
    for (reference, model) in blips() {
        for text in texts(&reference, &model) {
            let say = reference.folder.display();
            for cached in [true, false] {
                for look in [true, false] {
                    let mut recorder = Recorder::new(SitePattern::new("*"));
                    let mut taps = if look { Taps::none().with(&mut recorder) } else { Taps::none() };
                    let how = Greedy { cached, ..Greedy::new(NEW_TOKENS) };
                    let written = write(&model, &text, how, &mut taps, |_| true).expect("a text");
                    assert_eq!(written, text.expected, "{say}: cached: {cached}, observed: {look}");
                }
            }
            let full = text.expected.len() == NEW_TOKENS;
            cut += usize::from(full);
            ended += usize::from(!full);
        }
    }
    assert!(ended >= 4 && cut >= 4, "{ended} texts end by themselves and {cut} are cut off");
}

/// The last row of attention is the same whether the earlier tokens come from the cache or not.
#[test]
fn the_cache_hides_nothing() {
    for (reference, model) in blips() {
        for text in texts(&reference, &model) {
            let last = |cached: bool| {
                let mut recorder = Recorder::new(SitePattern::new("decoder.*.pattern"));
                let how = Greedy { cached, ..Greedy::new(NEW_TOKENS) };
                write(&model, &text, how, &mut Taps::none().with(&mut recorder), |_| true).expect("a text");
                by_name(recorder)
            };
            let (cached, whole) = (last(true), last(false));
            assert!(cached.keys().eq(whole.keys()) && !whole.is_empty());
            for (name, cached) in &cached {
                let whole = &whole[name];
                let ([_, heads, one, keys], [_, _, queries, all]) = (&cached.shape[..], &whole.shape[..]) else {
                    panic!("{name} isn't a pattern");
                };
                assert_eq!((one, keys), (&1, all), "{name}");
                for head in 0..*heads {
                    let ours = &cached.data[head * keys..][..*keys];
                    let theirs = &whole.data[(head * queries + queries - 1) * keys..][..*keys];
                    let off = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(off <= TOLERANCE, "{}: {name} is off by {off}", reference.folder.display());
                }
            }
        }
    }
}

#[test]
fn writing_stops_when_it_should() {
    for (reference, model) in blips() {
        for text in texts(&reference, &model) {
            let say = reference.folder.display();
            let how = Greedy::new(NEW_TOKENS);
            // When whoever listens has heard enough.
            let mut left = 3;
            let enough = |_| {
                left -= 1;
                left > 0
            };
            let written = write(&model, &text, how, &mut Taps::none(), enough).expect("a text");
            assert_eq!(written, text.expected[..3], "{say}");
            // When it is long enough, be that nothing.
            for most in [0, 1, 5] {
                let written = write(&model, &text, Greedy::new(most), &mut Taps::none(), |_| true).expect("a text");
                assert_eq!(written, text.expected[..most.min(text.expected.len())], "{say}");
            }
            // When it is cancelled.
            let token = CancelToken::default();
            let cancelled = write(&model, &text, how, &mut Taps::none().cancelled_by(&token), |_| {
                token.cancel();
                true
            });
            assert!(matches!(cancelled, Err(Error::Cancelled)), "{say}");
            // When the model reads no more.
            let context = model.config().text_config.max_position_embeddings;
            let written = write(&model, &text, Greedy::new(1000), &mut Taps::none(), |_| true).expect("a text");
            let ended = written.last() == Some(&model.config().text_config.sep_token_id);
            assert!(ended || written.len() + 1 + text.prompt.len().saturating_sub(2) == context, "{say}");
        }
    }
}

#[test]
fn wrong_input_is_refused_in_a_sentence() {
    for (reference, model) in blips() {
        let ids = reference.unsigned("input_ids").expect("ids");
        let pixels = &reference.tensors["pixel_values"];
        let states = model.vision().forward(pixels, &mut Taps::none()).expect("a pass");
        let texts = ids.dim(0).expect("a matrix");
        let fewer = states.narrow(0, 0, 1).expect("a picture");
        let context = model.config().text_config.max_position_embeddings;
        let long = Tensor::ones((texts, context + 1), candle_core::DType::U32, &Device::Cpu).expect("ids");
        let taps = &mut Taps::none();
        let mut said = Vec::new();
        let small = pixels.narrow(3, 0, 10).expect("pixels");
        said.push((model.vision().forward(&small, taps), "pixels, not 10 x"));
        match model.head() {
            BlipHead::Retrieval(head) => {
                said.push((head.match_logits(&ids, None, &fewer, taps), "give each text its picture"));
                said.push((head.match_logits(&long, None, &states, taps), "shorten the text"));
            }
            BlipHead::Captioning(decoder) => {
                let fusion = Fusion { states: &fewer, mask: None };
                said.push((decoder.logits(&ids, None, fusion, None, taps), "give each text its picture"));
                let error = decoder.generate(&[], &states, Greedy::new(3), taps, &mut |_| true).expect_err("two");
                assert!(error.to_string().contains("give one at a time"), "{error}");
                let prompt = vec![1; context + 2];
                let error = decoder.generate(&prompt, &fewer, Greedy::new(3), taps, &mut |_| true);
                assert_eq!(error.expect("no room"), [] as [u32; 0], "a prompt that leaves no room");
            }
            BlipHead::Answering(head) => {
                said.push((head.read(&ids, None, &fewer, taps), "give each text its picture"));
                said.push((head.read(&long, None, &states, taps), "shorten the text"));
            }
        }
        for (result, words) in said {
            let error = result.expect_err("it must be refused").to_string();
            assert!(error.contains(words), "{error}");
        }
        // The window and the other commands open dual encoders.
        let error = Opened::open(&reference.folder, &Device::Cpu).err().expect("not a dual encoder").to_string();
        assert!(error.contains("which isn't a dual encoder"), "{error}");
    }
}
