//! LLaVA against transformers, and in its own layout against the formulas, number by number and token by token, on random
//! checkpoints (written by `tests/reference/make_fixtures.py`; nothing here needs Python).

#[path = "common/llava.rs"]
mod llava;
#[path = "common/reference.rs"]
mod reference;

use std::collections::BTreeMap;

use alignscope::Error;
use alignscope::models::generate::{Choice, Greedy, Manner};
use alignscope::models::llava::{Llava, LlavaPrompt};
use alignscope::taps::{Array, CancelToken, GradProbe, Point, Recorder, Site, SitePattern, Taps, Tower};
use candle_core::{Device, Tensor};
use llava::{Text, llavas, written};
use reference::{Reference, TOLERANCE, by_name, difference, host};

const NEW_TOKENS: usize = 20;

/// Everything that the pass of a fixture gives, and what was recorded on the way if somebody looked.
fn pass(reference: &Reference, model: &Llava, look: bool) -> BTreeMap<String, Array> {
    let ids = reference.unsigned("input_ids").expect("ids");
    let mask = reference.unsigned("attention_mask");
    let mut recorder = Recorder::new(SitePattern::new("*"));
    let mut taps = if look { Taps::none().with(&mut recorder) } else { Taps::none() };
    let features = model.see(&reference.tensors["pixel_values"], &mut taps).expect("an image pass");
    let projected = model.project(&features).expect("vectors");
    let inputs = model.inputs(&ids, Some(&projected)).expect("vectors");
    let prompt = LlavaPrompt { ids: &ids, attention_mask: mask.as_ref(), projected: Some(&projected) };
    let logits = model.logits(prompt, &mut taps).expect("a pass");
    drop(taps);
    let mut seen = by_name(recorder);
    let outputs = [
        ("projector.input", &features),
        ("projector.output", &projected),
        ("language.inputs", &inputs),
        ("logits", &logits),
    ];
    seen.extend(outputs.map(|(name, tensor)| (name.to_owned(), host(tensor))));
    seen
}

#[test]
fn llava_equals_the_reference() {
    for (reference, model) in llavas() {
        let folder = reference.folder.display();
        let (ours, unseen) = (pass(&reference, &model, true), pass(&reference, &model, false));
        let (mut worst, mut compared) = (0f32, 0);
        for name in reference.tensors.keys() {
            let inputs = ["_ids", "_mask", "pixel_values"];
            if inputs.iter().any(|end| name.ends_with(end)) || name.starts_with("lens") {
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
        assert!(compared >= 10, "{folder}: only {compared} tensors compared");
        // No attention goes uncompared, and all blocks have one.
        let patterns = ours.keys().filter(|name| name.ends_with("pattern"));
        assert_eq!(patterns.clone().count(), model.vision().depth() + model.language().depth(), "{folder}");
        for name in patterns {
            assert!(reference.tensors.contains_key(name), "{folder}: {name} has no reference");
        }
        println!("{folder}: off by {worst:e}");
    }
}

/// The logit lens: the last norm and the table of words, over the states of any block.
#[test]
fn states_of_every_block_can_be_read_as_words() {
    let mut compared = 0;
    for (reference, model) in llavas() {
        let folder = reference.folder.display();
        let states = |layer: usize| reference.tensors.get(&format!("decoder.blocks.{layer}.resid_post"));
        let last = model.language().depth() - 1;
        let logits = model.language().lens(states(last).expect("states")).expect("scores");
        let off = reference.off("logits", &host(&logits));
        assert!(off <= TOLERANCE, "{folder}: behind the last block it is off by {off}");
        if reference.tensors.contains_key("lens.0") {
            let words = model.language().lens(states(0).expect("states")).expect("scores");
            let off = reference.off("lens.0", &host(&words));
            assert!(off <= TOLERANCE, "{folder}: behind the first block it is off by {off}");
            compared += 1;
        }
    }
    assert!(compared >= 5, "only {compared} compared");
}

/// Writes a text, and returns it after a look at what was handed out on the way.
fn write(
    model: &Llava,
    text: &Text,
    how: Manner,
    taps: &mut Taps<'_>,
    mut on_token: impl FnMut(u32) -> bool,
) -> Result<Vec<u32>, Error> {
    let mut handed = Vec::new();
    let prompt = LlavaPrompt { ids: &text.ids, attention_mask: None, projected: Some(&text.projected) };
    let written = model.generate(prompt, how, taps, &mut |token| {
        handed.push(token);
        on_token(token)
    })?;
    assert_eq!(written, handed);
    Ok(written)
}

#[test]
fn greedy_texts_equal_the_reference() {
    let (mut ended, mut cut) = (0, 0);
    for (reference, model) in llavas() {
        let text = written(&reference, &model);
        for cached in [true, false] {
            for look in [true, false] {
                let mut recorder = Recorder::new(SitePattern::new("*"));
                let taps = &mut if look { Taps::none().with(&mut recorder) } else { Taps::none() };
                let how = Greedy { cached, ..Greedy::new(NEW_TOKENS) };
                let new = write(&model, &text, how.into(), taps, |_| true).expect("a text");
                let say = reference.folder.display();
                assert_eq!(new, text.expected, "{say}: cached: {cached}, observed: {look}");
            }
        }
        let full = text.expected.len() == NEW_TOKENS;
        cut += usize::from(full);
        ended += usize::from(!full);
    }
    assert!(ended >= 3 && cut >= 3, "{ended} texts end by themselves and {cut} are cut off");
}

/// The last row of attention is the same whether the earlier tokens come from the cache or not, windows included.
#[test]
fn the_cache_hides_nothing() {
    for (reference, model) in llavas() {
        let text = written(&reference, &model);
        let last = |cached: bool| {
            let mut recorder = Recorder::new(SitePattern::new("decoder.*.pattern"));
            let how = Greedy { cached, ..Greedy::new(NEW_TOKENS) };
            write(&model, &text, how.into(), &mut Taps::none().with(&mut recorder), |_| true).expect("a text");
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

#[test]
fn writing_stops_when_it_should() {
    for (reference, model) in llavas() {
        let (text, say) = (written(&reference, &model), reference.folder.display());
        // When whoever listens has heard enough.
        let enough = text.expected.len().min(3);
        let mut left = enough;
        let listen = |_| {
            left -= 1;
            left > 0
        };
        let how = Manner::from(Greedy::new(NEW_TOKENS));
        let new = write(&model, &text, how, &mut Taps::none(), listen).expect("a text");
        assert_eq!(new, text.expected[..enough], "{say}");
        // When it is long enough, be that nothing.
        for most in [0, 1, 5] {
            let new = write(&model, &text, Greedy::new(most).into(), &mut Taps::none(), |_| true).expect("a text");
            assert_eq!(new, text.expected[..most.min(text.expected.len())], "{say}");
        }
        // By chance among so few that there is no chance.
        let chance = Manner { choice: Choice::TopP { p: 1e-9, temperature: 1.0, seed: 1 }, ..how };
        let new = write(&model, &text, chance, &mut Taps::none(), |_| true).expect("a text");
        assert_eq!(new, text.expected, "{say}");
        // When it is cancelled.
        let token = CancelToken::default();
        let cancelled = write(&model, &text, how, &mut Taps::none().cancelled_by(&token), |_| {
            token.cancel();
            true
        });
        assert!(matches!(cancelled, Err(Error::Cancelled)), "{say}");
    }
}

/// All that leads to the output has its gradient; what stands behind the last layer that is looked at leads nowhere.
#[test]
fn every_activation_has_its_gradient() {
    for (reference, model) in llavas() {
        let ids = reference.unsigned("input_ids").expect("ids");
        let mut probe = GradProbe::new(SitePattern::new("*.resid_post,*.pattern"));
        let mut taps = Taps::none().with(&mut probe);
        let features = model.see(&reference.tensors["pixel_values"], &mut taps).expect("an image pass");
        let projected = model.project(&features).expect("vectors");
        let prompt = LlavaPrompt { ids: &ids, attention_mask: None, projected: Some(&projected) };
        let logits = model.logits(prompt, &mut taps).expect("a pass");
        drop(taps);
        let recording = probe.backward(&logits.sqr().and_then(|t| t.sum_all()).expect("a score")).expect("gradients");
        let moved = |site: Site| recording.gradients[&site].data.iter().any(|value| *value != 0.0);
        let used = *model.config().feature_layers().iter().max().expect("a layer");
        for layer in 0..model.vision().depth() {
            let site = Site::new(Tower::Vision, layer, Point::ResidPost);
            assert_eq!(moved(site), layer < used, "{}: {site}", reference.folder.display());
        }
        for layer in 0..model.language().depth() {
            assert!(moved(Site::new(Tower::Decoder, layer, Point::ResidPost)), "{}", reference.folder.display());
            assert!(moved(Site::pattern(Tower::Decoder, layer)), "{}", reference.folder.display());
        }
    }
}

/// A text without pictures is one of the language model alone.
#[test]
fn a_text_needs_no_picture() {
    for (reference, model) in llavas() {
        let ids = Tensor::new(&[[1u32, 5, 9]], &Device::Cpu).expect("ids");
        let prompt = LlavaPrompt { ids: &ids, attention_mask: None, projected: None };
        let ours = model.logits(prompt, &mut Taps::none()).expect("a pass");
        let words = model.language().embed(&ids).expect("vectors");
        let theirs = model.language().logits(&words, None, None, &mut Taps::none()).expect("a pass");
        assert!(difference(&host(&ours), &theirs) <= TOLERANCE, "{}", reference.folder.display());
    }
}
