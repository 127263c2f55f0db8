//! Every dual encoder against transformers, number by number, on random checkpoints, and that every registered model has
//! such checkpoints (written by `tests/reference/make_fixtures.py`; nothing here needs Python).

#[path = "common/reference.rs"]
mod reference;

use std::collections::BTreeMap;

use alignscope::models::checkpoint::Checkpoint;
use alignscope::models::dual_encoder::DualEncoder;
use alignscope::models::{MODELS, Model};
use alignscope::taps::{GradProbe, Recorder, SitePattern, Taps};
use candle_core::Tensor;
use reference::{Reference, TOLERANCE, by_name, difference, fixtures, host};

struct Pass {
    model: Box<dyn DualEncoder>,
    pixels: Tensor,
    ids: Tensor,
    mask: Option<Tensor>,
}

/// Every fixture of a dual encoder.
fn dual_encoders() -> impl Iterator<Item = (Reference, Pass)> {
    fixtures().into_iter().filter_map(|folder| {
        let reference = Reference::read(&folder);
        let Model::DualEncoder(model) = reference.model() else { return None };
        let pass = Pass {
            model,
            pixels: reference.tensors["pixel_values"].clone(),
            ids: reference.unsigned("input_ids").expect("ids"),
            mask: reference.unsigned("attention_mask"),
        };
        Some((reference, pass))
    })
}

#[test]
fn every_model_has_four_fixtures() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for folder in fixtures() {
        let checkpoint = Checkpoint::open(&folder).expect("a checkpoint");
        *counts.entry(checkpoint.class().to_owned()).or_default() += 1;
    }
    for family in MODELS {
        let count = counts.get(family.class).copied().unwrap_or(0);
        assert!(count >= 4, "{} has {count} parity fixtures", family.class);
    }
}

#[test]
fn dual_encoders_equal_the_reference() {
    for (reference, Pass { model, pixels, ids, mask }) in dual_encoders() {
        let folder = &reference.folder;
        let mut recorder = Recorder::new(SitePattern::new("*"));
        let mut taps = Taps::none().with(&mut recorder);
        let image = model.encode_image(&pixels, &mut taps).expect("an image pass");
        let text = model.encode_text(&ids, mask.as_ref(), &mut taps).expect("a text pass");
        let logits = model.logits(&image.embed, &text.embed).expect("logits");
        drop(taps);

        let mut ours = by_name(recorder);
        let outputs = [
            ("image_embeds", &image.embed),
            ("text_embeds", &text.embed),
            ("vision.pooler_output", &image.pooled),
            ("text.pooler_output", &text.pooled),
            ("logits_per_image", &logits),
            ("logits_per_text", &logits.t().expect("a matrix")),
        ];
        for (name, tensor) in outputs {
            ours.insert(name.to_owned(), host(tensor));
        }
        let mut compared = 0;
        for (name, theirs) in &reference.tensors {
            let name = name.replace("vision.head.pattern", "pooler.blocks.0.cross_attn.pattern");
            let inputs = ["pixel_values", "input_ids", "attention_mask"];
            let derived = ["relevancy", "rollout", "surgery", "value_attention", "gradient_input", "grad_cam"];
            if inputs.contains(&name.as_str())
                || derived.iter().any(|part| name.starts_with(part))
                || name.ends_with(".grad")
            {
                continue;
            }
            let ours = ours.get(&name).unwrap_or_else(|| panic!("{}: no {name}", folder.display()));
            let off = difference(ours, theirs);
            assert!(off <= TOLERANCE, "{}: {name} is off by {off}", folder.display());
            compared += 1;
        }
        assert!(compared > 8, "{}: only {compared} tensors compared", folder.display());

        // The fused path, which nobody observes, must give the same.
        let fused_image = model.encode_image(&pixels, &mut Taps::none()).expect("a pass");
        let fused_text = model.encode_text(&ids, mask.as_ref(), &mut Taps::none()).expect("a pass");
        let fused = model.logits(&fused_image.embed, &fused_text.embed).expect("logits");
        let off = reference.off("logits_per_image", &host(&fused));
        assert!(off <= TOLERANCE, "{}: fused logits are off by {off}", folder.display());
    }
}

#[test]
fn gradients_at_patterns_equal_the_reference() {
    let mut compared = 0;
    for (reference, Pass { model, pixels, ids, mask }) in dual_encoders() {
        if !reference.tensors.keys().any(|name| name.ends_with(".grad")) {
            continue;
        }
        let mut probe = GradProbe::new(SitePattern::patterns());
        let mut taps = Taps::none().with(&mut probe);
        let image = model.encode_image(&pixels, &mut taps).expect("a pass");
        let text = model.encode_text(&ids, mask.as_ref(), &mut taps).expect("a pass");
        let logits = model.logits(&image.embed, &text.embed).expect("logits");
        drop(taps);
        let pair = |at: usize| logits.get(at).and_then(|row| row.get(at)).expect("a pair");
        let score = (pair(0) + pair(1)).expect("a sum");
        let recording = probe.backward(&score).expect("gradients");
        for (site, gradient) in &recording.gradients {
            let theirs = &reference.tensors[&format!("{site}.grad")];
            let off = difference(gradient, theirs);
            let largest = theirs.abs().and_then(|t| t.max_all()).and_then(|t| t.to_scalar::<f32>()).expect("floats");
            assert!(off <= TOLERANCE * largest.max(1.0), "{}: {site} is off by {off}", reference.folder.display());
            compared += 1;
        }
    }
    assert!(compared >= 8, "only {compared} gradients compared");
}
