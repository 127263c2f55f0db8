//! BLIP-2's two classes and InstructBLIP against transformers, number by number and token by token, on random checkpoints
//! (written by `tests/reference/make_fixtures.py`; nothing here needs Python).

#[path = "common/querying.rs"]
mod querying;
#[path = "common/reference.rs"]
mod reference;

use std::collections::BTreeMap;

use alignscope::Error;
use alignscope::models::blip_2_retrieval::Blip2Retrieval;
use alignscope::models::generate::Greedy;
use alignscope::models::language_model::Begun;
use alignscope::models::q_former::{QFormerInput, QFormerMask, QFormerText};
use alignscope::models::querying_writer::{QueryingPrompt, QueryingWriter};
use alignscope::taps::{Array, CancelToken, Recorder, SitePattern, Taps};
use candle_core::Tensor;
use querying::{Text, fits, retrievals, texts, writers, written};
use reference::{Reference, TOLERANCE, by_name, host};

const NEW_TOKENS: usize = 20;

/// Arrays by the names of the reference.
type Seen = BTreeMap<String, Array>;

/// A pass; if somebody looks, all that happened in it goes to `seen`, with `front` before the names of the sites.
fn watch<T>(look: bool, front: &str, seen: &mut Seen, pass: impl FnOnce(&mut Taps<'_>) -> alignscope::Result<T>) -> T {
    let mut recorder = Recorder::new(SitePattern::new("*"));
    let mut taps = if look { Taps::none().with(&mut recorder) } else { Taps::none() };
    let given = pass(&mut taps).expect("a pass");
    drop(taps);
    seen.extend(by_name(recorder).into_iter().map(|(name, array)| (format!("{front}{name}"), array)));
    given
}

fn put(seen: &mut Seen, outputs: &[(&str, &Tensor)]) {
    seen.extend(outputs.iter().map(|(name, tensor)| ((*name).to_owned(), host(tensor))));
}

/// Everything that the passes of a fixture of retrieval give.
fn hold_against(reference: &Reference, model: &Blip2Retrieval, look: bool) -> Seen {
    let mut seen = Seen::new();
    let (ids, mask) = texts(reference, model);
    let text = QFormerText { ids: &ids, attention_mask: mask.as_ref() };
    let base = model.base();
    let none = &mut Taps::none();
    let pixels = &reference.tensors["pixel_values"];
    let states = watch(look, "", &mut seen, |taps| base.see(pixels, taps));
    let alone =
        watch(look, "itc.image.", &mut seen, |taps| base.fused(None, &states, None, QFormerMask::Unimodal, taps));
    let input = QFormerInput { queries: None, text: Some(text), states: None, mask: QFormerMask::Unimodal };
    let read = watch(look, "itc.text.", &mut seen, |taps| base.qformer().forward(input, taps));
    let mask = QFormerMask::Bidirectional;
    let both = watch(look, "itm.", &mut seen, |taps| base.fused(Some(text), &states, None, mask, taps));
    let image = model.embed_image(&states, None, none).expect("vectors");
    let words = model.embed_text(text, none).expect("vectors");
    let contrast = Blip2Retrieval::contrast(&image, &words).and_then(|cosines| Ok(cosines.max(1)?)).expect("cosines");
    let matching = model.match_logits(text, &states, None, none).expect("logits");
    put(
        &mut seen,
        &[
            ("vision.output", &states),
            ("itc.image.qformer.output", &alone),
            ("itc.text.qformer.output", &read),
            ("itm.qformer.output", &both),
            ("image_embeds", &image),
            ("text_embeds", &words),
            ("itc.logits", &contrast),
            ("itm.logits.queries", &matching),
            ("itm.logits", &matching.mean(1).expect("a mean")),
        ],
    );
    seen
}

/// Everything that the pass of a fixture that writes gives.
fn write_about(reference: &Reference, model: &QueryingWriter, look: bool) -> Seen {
    let mut seen = Seen::new();
    let given = |name: &str| reference.unsigned(name);
    let (ids, mask, written) = (given("input_ids").expect("ids"), given("attention_mask"), given("decoder_input_ids"));
    let (asked, asked_mask) = (given("qformer_input_ids"), given("qformer_attention_mask"));
    let instruction = asked.as_ref().map(|ids| QFormerText { ids, attention_mask: asked_mask.as_ref() });
    let pixels = &reference.tensors["pixel_values"];
    let states = watch(look, "", &mut seen, |taps| model.base().see(pixels, taps));
    let both = watch(look, "", &mut seen, |taps| model.query_and_text(&states, instruction, None, taps));
    let queries = model.query(&states, instruction, None, &mut Taps::none()).expect("queries");
    let projected = model.project(&queries).expect("vectors");
    let (inputs, logits) = if fits(model, &projected) {
        let prompt = QueryingPrompt { ids: &ids, attention_mask: mask.as_ref(), projected: &projected };
        let logits = watch(look, "", &mut seen, |taps| model.logits(prompt, written.as_ref(), taps));
        (model.inputs(&ids, &projected).expect("vectors"), logits)
    } else {
        let said = model.inputs(&ids, &projected).expect_err("vectors of two lengths").to_string();
        assert!(said.contains("word_embed_proj_dim"), "{said}");
        let inputs = reference.tensors["language.inputs"].clone();
        let language = model.language();
        let logits = watch(look, "", &mut seen, |taps| language.logits(&inputs, mask.as_ref(), written.as_ref(), taps));
        (inputs, logits)
    };
    put(
        &mut seen,
        &[
            ("vision.output", &states),
            ("qformer.output", &both),
            ("projector.output", &projected),
            ("language.inputs", &inputs),
            ("logits", &logits),
        ],
    );
    seen
}

/// Holds what a fixture says against ours, observed and not; gives the largest difference.
fn compare(reference: &Reference, ours: &Seen, unseen: &Seen) -> f32 {
    let folder = reference.folder.display();
    let (mut worst, mut compared) = (0f32, 0);
    for name in reference.tensors.keys() {
        if name.ends_with("_ids") || name.ends_with("_mask") || name == "pixel_values" {
            continue;
        }
        let array = ours.get(name).unwrap_or_else(|| panic!("{folder}: no {name}"));
        let off = reference.off(name, array);
        assert!(off <= TOLERANCE, "{folder}: {name} is off by {off}");
        worst = worst.max(off);
        compared += 1;
        // The fused path, which nobody observes, must give the same.
        if let Some(array) = unseen.get(name) {
            let off = reference.off(name, array);
            assert!(off <= TOLERANCE, "{folder}: fused {name} is off by {off}");
        }
    }
    assert!(compared > 10, "{folder}: only {compared} tensors compared");
    // No attention goes uncompared, and none is where the checkpoint has none.
    for name in ours.keys().filter(|name| name.ends_with("pattern")) {
        assert!(reference.tensors.contains_key(name), "{folder}: {name} has no reference");
    }
    let crossed = |name: &str| name.contains("qformer") && name.ends_with("cross_attn.pattern");
    assert!(reference.tensors.keys().any(|name| crossed(name)), "{folder}: no query looks at the picture");
    worst
}

#[test]
fn retrieval_equals_the_reference() {
    for (reference, model) in retrievals() {
        let ours = hold_against(&reference, &model, true);
        let worst = compare(&reference, &ours, &hold_against(&reference, &model, false));
        println!("{}: off by {worst:e}", reference.folder.display());
    }
}

#[test]
fn writing_models_equal_the_reference() {
    for (reference, model) in writers() {
        let ours = write_about(&reference, &model, true);
        let worst = compare(&reference, &ours, &write_about(&reference, &model, false));
        println!("{}: off by {worst:e}", reference.folder.display());
    }
}

/// The sites of cross-attention are those of the blocks that have it.
#[test]
fn cross_attention_is_where_the_config_says() {
    for (reference, model) in writers() {
        let mut seen = Seen::new();
        let pixels = &reference.tensors["pixel_values"];
        let states = model.base().see(pixels, &mut Taps::none()).expect("a pass");
        let asked = reference.unsigned("qformer_input_ids");
        let instruction = asked.as_ref().map(|ids| QFormerText { ids, attention_mask: None });
        watch(true, "", &mut seen, |taps| model.query(&states, instruction, None, taps));
        let depth = model.base().qformer().depth();
        let name = |layer: &usize| format!("qformer.blocks.{layer}.cross_attn.pattern");
        let found: Vec<usize> = (0..depth).filter(|layer| seen.contains_key(&name(layer))).collect();
        assert_eq!(found, model.base().config().qformer_config.cross_layers());
    }
}

/// Writes a text, and returns it after a look at what was handed out on the way.
fn write(
    model: &QueryingWriter,
    text: &Text,
    how: Greedy,
    taps: &mut Taps<'_>,
    mut on_token: impl FnMut(u32) -> bool,
) -> Result<Vec<u32>, Error> {
    let mut handed = Vec::new();
    let prompt = QueryingPrompt { ids: &text.ids, attention_mask: None, projected: &text.projected };
    let written = model.generate(prompt, how.into(), taps, &mut |token| {
        handed.push(token);
        on_token(token)
    })?;
    assert_eq!(written, handed);
    Ok(written)
}

#[test]
fn greedy_texts_equal_the_reference() {
    let (mut ended, mut cut) = (0, 0);
    for (reference, model) in writers() {
        for text in written(&reference, &model) {
            let say = reference.folder.display();
            for cached in [true, false] {
                for look in [true, false] {
                    let how = Greedy { cached, ..Greedy::new(NEW_TOKENS) };
                    let new = watch(look, "", &mut Seen::new(), |taps| write(&model, &text, how, taps, |_| true));
                    assert_eq!(new, text.expected, "{say}: cached: {cached}, observed: {look}");
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
    for (reference, model) in writers() {
        for text in written(&reference, &model) {
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

/// Decoders alone read a row in parts as they read it in one pass, and write on from there.
#[test]
fn a_row_read_in_parts_is_the_row() {
    let (mut decoders, mut encoders) = (0, 0);
    for (reference, model) in writers() {
        let (language, say) = (model.language(), reference.folder.display());
        for text in written(&reference, &model) {
            let embeds = Tensor::cat(&[&text.projected, &text.projected], 1).expect("vectors");
            let tokens = embeds.dim(1).expect("tokens");
            let mut begun = Begun::default();
            if !language.reads_in_parts(tokens) {
                encoders += 1;
                assert!(language.read_on(&mut begun, &embeds, &mut Taps::none()).is_err(), "{say}");
                continue;
            }
            decoders += 1;
            let none = &mut Taps::none();
            let whole = language.logits(&embeds, None, None, none).expect("logits");
            let part = |from: usize, to: usize| embeds.narrow(1, from, to - from).expect("a part");
            let mut parts = Vec::new();
            for (from, to) in [(0, 1), (1, tokens - 2), (tokens - 2, tokens)] {
                assert_eq!(begun.positions(), from);
                parts.push(language.read_on(&mut begun, &part(from, to), none).expect("logits"));
            }
            let together = Tensor::cat(&parts, 1).expect("logits");
            let off = (whole - together).and_then(|off| off.abs()?.max_all()?.to_scalar::<f32>()).expect("a number");
            assert!(off <= TOLERANCE, "{say} is off by {off}");

            let mut begun = Begun::default();
            language.read_on(&mut begun, &part(0, tokens - 2), none).expect("logits");
            let rest = part(tokens - 2, tokens);
            for cached in [true, false] {
                let how = Greedy { cached, ..Greedy::new(NEW_TOKENS) }.into();
                let behind = language.write_behind(&begun, &rest, how, none, &mut |_| true).expect("a text");
                let alone = language.generate(&embeds, None, how, none, &mut |_| true).expect("a text");
                assert_eq!(behind, alone, "{say}: cached: {cached}");
            }
        }
    }
    assert!(decoders >= 4 && encoders >= 1, "{decoders} decoders and {encoders} encoders");
}

#[test]
fn writing_stops_when_it_should() {
    for (reference, model) in writers() {
        for text in written(&reference, &model) {
            let say = reference.folder.display();
            // When whoever listens has heard enough.
            let enough = text.expected.len().min(3);
            let mut left = enough;
            let listen = |_| {
                left -= 1;
                left > 0
            };
            let how = Greedy::new(NEW_TOKENS);
            let new = write(&model, &text, how, &mut Taps::none(), listen).expect("a text");
            assert_eq!(new, text.expected[..enough], "{say}");
            // When it is long enough, be that nothing.
            for most in [0, 1, 5] {
                let new = write(&model, &text, Greedy::new(most), &mut Taps::none(), |_| true).expect("a text");
                assert_eq!(new, text.expected[..most.min(text.expected.len())], "{say}");
            }
            // When it is cancelled.
            let token = CancelToken::default();
            let cancelled = write(&model, &text, how, &mut Taps::none().cancelled_by(&token), |_| {
                token.cancel();
                true
            });
            assert!(matches!(cancelled, Err(Error::Cancelled)), "{say}");
        }
    }
}
