//! Every attribution against known answers: the reference's numbers on random CLIP checkpoints, or numbers made by hand.

#[path = "common/maps.rs"]
mod maps;

use std::collections::HashMap;
use std::path::Path;

use alignscope::attribution::{ATTRIBUTIONS, Attribution, Subject, named};
use alignscope::models::Model;
use alignscope::models::checkpoint::Checkpoint;
use alignscope::models::dual_encoder::DualEncoder;
use alignscope::taps::{Array, Attn, GradProbe, Point, Recording, Site, SitePattern, Taps, Tower};
use candle_core::{DType, Device, Tensor};
use maps::{close, fixtures, host};

/// A known answer: fails if the attribution gives another.
type Case = fn(&Attribution);

const KNOWN_ANSWERS: &[(&str, Case)] = &[
    ("cosine", cosine_by_hand),
    ("cosine-corrected", corrected_by_hand),
    ("surgery", |attribution| equals_the_reference(attribution, "surgery.image")),
    ("class-attention", class_attention_by_hand),
    ("value-attention", value_attention_equals_the_reference),
    ("rollout", |attribution| equals_the_reference(attribution, "rollout.image")),
    ("relevancy", |attribution| equals_the_reference(attribution, "relevancy.image")),
    ("gradient-input", |attribution| {
        gradient_input_by_hand(attribution);
        equals_the_reference(attribution, "gradient_input.image");
    }),
    ("grad-cam", |attribution| {
        grad_cam_by_hand(attribution);
        equals_the_reference(attribution, "grad_cam.image");
    }),
    ("relevancy-last", |attribution| equals_the_reference(attribution, "relevancy.image.last")),
];

#[test]
fn every_attribution_gives_its_known_answer() {
    for attribution in ATTRIBUTIONS {
        let case = KNOWN_ANSWERS.iter().find(|(key, _)| *key == attribution.key);
        let (_, case) = case.unwrap_or_else(|| panic!("{} has no known answer", attribution.key));
        case(attribution);
    }
}

#[test]
fn every_attribution_is_explained_in_both_languages() {
    assert!(named("no such map").is_none());
    for attribution in ATTRIBUTIONS {
        let key = attribution.key;
        let same = ATTRIBUTIONS.iter().filter(|other| other.key == key).count();
        assert!(same == 1 && named(key).is_some(), "{same} attributions are called {key}");
        let chinese = |text: &str| text.chars().filter(|c| ('一'..='龥').contains(c)).count();
        let [english, translated] = attribution.help;
        assert!(english.split_whitespace().count() > 80 && chinese(english) == 0, "{key} has no English help");
        assert!(chinese(translated) > 100, "{key} has no Chinese help");
        assert!(attribution.paper.contains("arXiv"), "{key} names no paper");
    }
}

fn recording(site: Site, shape: &[usize], pattern: &[f32], gradient: &[f32]) -> Recording {
    let array = |data: &[f32]| Array { shape: shape.to_vec(), data: data.to_vec() };
    let mut recording = Recording::default();
    recording.activations.insert(site, array(pattern));
    recording.gradients.insert(site, array(gradient));
    recording
}

fn pooler() -> Site {
    Site::new(Tower::Pooler, 0, Point::Pattern(Attn::CrossAttn))
}

fn subject(recording: &Recording, row: usize, class_tokens: usize, depth: usize) -> Subject<'_> {
    Subject { recording, row, patches: &[], surgical: &[], text: &[], neutral: &[], class_tokens, depth }
}

fn cosine_by_hand(attribution: &Attribution) {
    let recording = Recording::default();
    let mut subject = subject(&recording, 0, 1, 1);
    subject.patches = &[1.0, 0.0, 0.6, 0.8, 0.0, -1.0];
    subject.text = &[0.6, 0.8];
    close(&(attribution.map)(&subject).expect("a map"), &[0.6, 1.0, -0.8], "cosine");
    subject.text = &[];
    assert!((attribution.map)(&subject).is_err());
}

/// As `clip_feature_surgery` of CLIP Surgery does it with redundant features: patches times (text - redundant).
fn corrected_by_hand(attribution: &Attribution) {
    let recording = Recording::default();
    let mut subject = subject(&recording, 0, 1, 1);
    subject.patches = &[1.0, 0.0, 0.6, 0.8, 0.0, -1.0];
    subject.text = &[0.6, 0.8];
    subject.neutral = &[1.0, 0.0];
    close(&(attribution.map)(&subject).expect("a map"), &[-0.4, 0.4, -0.8], "corrected cosine");
    subject.neutral = &[];
    assert!((attribution.map)(&subject).is_err());
}

fn class_attention_by_hand(attribution: &Attribution) {
    // Two pairs, two heads, a class token and two patches; only the second pair's class row is asked for.
    let rest = [0.0; 6];
    let mut pattern = vec![0.0; 18];
    for row in [[0.2, 0.3, 0.5], [0.4, 0.5, 0.1]] {
        pattern.extend(row.into_iter().chain(rest));
    }
    let clip = recording(Site::pattern(Tower::Vision, 3), &[2, 2, 3, 3], &pattern, &[]);
    close(&(attribution.map)(&subject(&clip, 1, 1, 4)).expect("a map"), &[0.4, 0.3], "class row");
    let siglip = recording(pooler(), &[1, 2, 1, 2], &[0.9, 0.1, 0.3, 0.7], &[]);
    close(&(attribution.map)(&subject(&siglip, 0, 0, 4)).expect("a map"), &[0.6, 0.4], "pooling head");
}

fn value_attention_equals_the_reference(attribution: &Attribution) {
    equals_the_reference(attribution, "value_attention.image");
    // Two heads of a pooling head, which look at two patches; values of two numbers.
    let mut siglip = recording(pooler(), &[1, 2, 1, 2], &[0.9, 0.1, 0.3, 0.7], &[]);
    let values = Array { shape: vec![1, 2, 2, 2], data: vec![3.0, 4.0, 0.0, 0.0, 1.0, 0.0, 0.0, 2.0] };
    siglip.activations.insert(Site { point: Point::V(Attn::CrossAttn), ..pooler() }, values);
    close(&(attribution.map)(&subject(&siglip, 0, 0, 4)).expect("a map"), &[2.4, 0.7], "pooling head");
}

fn gradient_input_by_hand(attribution: &Attribution) {
    // Two pairs, a class token and two patches, vectors of two numbers; only the second pair is asked for.
    let site = Site::new(Tower::Vision, 0, Point::Embed);
    let values = [9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 5.0, 5.0, 1.0, 2.0, -1.0, 0.5];
    let gradients = [9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 7.0, 7.0, 3.0, -1.0, 2.0, 4.0];
    let both = recording(site, &[2, 3, 2], &values, &gradients);
    close(&(attribution.map)(&subject(&both, 1, 1, 1)).expect("a map"), &[1.0, 0.0], "gradient x input");
    assert!((attribution.map)(&subject(&Recording::default(), 0, 1, 1)).is_err());
}

fn grad_cam_by_hand(attribution: &Attribution) {
    // As above; the tower has two blocks, of which what enters the last is looked at.
    let site = Site::new(Tower::Vision, 1, Point::ResidPre);
    let values = [9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 5.0, 5.0, 1.0, 2.0, -1.0, 0.5];
    let gradients = [9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 7.0, 7.0, 3.0, -1.0, 2.0, 4.0];
    let both = recording(site, &[2, 3, 2], &values, &gradients);
    let of_two_blocks = Subject { depth: 2, ..subject(&both, 1, 1, 1) };
    // The mean gradients are 2.5 and 1.5: 2.5 + 3 and -2.5 + 0.75, which is cut off.
    close(&(attribution.map)(&of_two_blocks).expect("a map"), &[5.5, 0.0], "Grad-CAM");
    let empty = Recording::default();
    assert!((attribution.map)(&Subject { depth: 2, ..subject(&empty, 1, 1, 1) }).is_err());
}

#[test]
fn a_pooling_head_stands_in_for_the_class_token() {
    let mut siglip = recording(pooler(), &[1, 1, 1, 2], &[0.75, 0.25], &[2.0, -1.0]);
    let block = recording(Site::pattern(Tower::Vision, 0), &[1, 1, 2, 2], &[0.5, 0.5, 0.2, 0.8], &[1.0, 2.0, 5.0, 5.0]);
    siglip.activations.extend(block.activations);
    siglip.gradients.extend(block.gradients);
    let map = |key: &str| {
        let attribution = named(key).expect("it is registered");
        (attribution.map)(&subject(&siglip, 0, 0, 1)).expect("a map")
    };
    close(&map("class-attention"), &[0.75, 0.25], "class-attention");
    // Half stays, half goes where the block looks.
    close(&map("rollout"), &[0.75 * 0.75 + 0.25 * 0.1, 0.75 * 0.25 + 0.25 * 0.9], "rollout");
    // The pooler's second weight counts against the text and is cut off.
    close(&map("relevancy-last"), &[1.5, 0.0], "relevancy-last");
    close(&map("relevancy"), &[1.5 * 1.5, 1.5], "relevancy");
}

#[test]
fn what_is_missing_is_named() {
    let empty = Recording::default();
    let complaint = |key: &str, recording: &Recording, row: usize, class_tokens: usize| {
        let attribution = named(key).expect("it is registered");
        (attribution.map)(&subject(recording, row, class_tokens, 2)).expect_err("nothing to go by").to_string()
    };
    for key in ["class-attention", "value-attention", "rollout", "relevancy", "relevancy-last"] {
        assert!(complaint(key, &empty, 0, 1).contains("pattern at vision.blocks.1.self_attn.pattern"));
        assert!(complaint(key, &empty, 0, 0).contains("pattern at pooler.blocks.0.cross_attn.pattern"));
    }
    let mut forward_only = recording(Site::pattern(Tower::Vision, 1), &[1, 1, 2, 2], &[0.5; 4], &[]);
    forward_only.gradients.clear();
    assert!(complaint("relevancy", &forward_only, 0, 1).contains("gradient of the pattern at vision.blocks.1"));
    assert!(complaint("class-attention", &forward_only, 7, 1).contains("vision.blocks.1.self_attn.pattern"));
    assert!(complaint("value-attention", &forward_only, 0, 1).contains("values at vision.blocks.1.self_attn.v"));
    assert!(complaint("rollout", &forward_only, 0, 1).contains("vision.blocks.0.self_attn.pattern"));
}

/// A pass over the pairs (picture 0, text 0) and (picture 1, text 1) of a fixture.
struct Pass {
    model: Box<dyn DualEncoder>,
    recording: Recording,
    patches: Array,
    surgical: Array,
    texts: Array,
    reference: HashMap<String, Tensor>,
}

impl Pass {
    fn new(folder: &Path) -> Self {
        let reference =
            candle_core::safetensors::load(folder.join("reference.safetensors"), &Device::Cpu).expect("a reference");
        let unsigned = |name: &str| reference.get(name).map(|ids| ids.to_dtype(DType::U32).expect("ids"));
        let checkpoint = Checkpoint::open(folder).expect("a checkpoint");
        let Model::DualEncoder(model) = Model::open(&checkpoint, &Device::Cpu).expect("a model").0 else {
            panic!("{}: not a dual encoder", folder.display());
        };
        let sites = "vision.embed,*.resid_pre,vision.*.pattern,vision.*.v,pooler.*.pattern,pooler.*.v";
        let mut probe = GradProbe::new(SitePattern::new(sites));
        let mut taps = Taps::none().with(&mut probe);
        let image = model.encode_image(&reference["pixel_values"], &mut taps).expect("a pass");
        let surgical = model.surgical_patches(&reference["pixel_values"], &mut Taps::none()).expect("a pass");
        let ids = unsigned("input_ids").expect("ids");
        let text = model.encode_text(&ids, unsigned("attention_mask").as_ref(), &mut taps).expect("a pass");
        let logits = model.logits(&image.embed, &text.embed).expect("logits");
        drop(taps);
        let pair = |at: usize| logits.get(at).and_then(|row| row.get(at)).expect("a pair");
        let recording = probe.backward(&(pair(0) + pair(1)).expect("a sum")).expect("gradients");
        let (patches, surgical, texts) = (host(&image.patches), host(&surgical), host(&text.embed));
        Self { model, recording, patches, surgical, texts, reference }
    }

    fn map(&self, attribution: &Attribution, row: usize) -> Vec<f32> {
        let subject = Subject {
            recording: &self.recording,
            row,
            patches: self.patches.row(row),
            surgical: self.surgical.row(row),
            text: self.texts.row(row),
            neutral: self.texts.row(2),
            class_tokens: self.model.class_tokens(),
            depth: self.model.depths().0,
        };
        (attribution.map)(&subject).expect("a map")
    }
}

fn equals_the_reference(attribution: &Attribution, name: &str) {
    for folder in fixtures("clip") {
        let pass = Pass::new(&folder);
        let expected = host(&pass.reference[name]);
        for row in 0..2 {
            close(&pass.map(attribution, row), expected.row(row), &format!("{}: {name}", folder.display()));
        }
    }
}

/// The mean over heads of `value(pattern, gradient)` at a site for one pair, `[queries][keys]`.
fn mean_over_heads(recording: &Recording, site: Site, row: usize, value: fn(f32, f32) -> f32) -> Vec<Vec<f32>> {
    let (pattern, gradient) = (&recording.activations[&site], &recording.gradients[&site]);
    let [_, heads, queries, keys] = pattern.shape[..] else { panic!("{site} has no four axes") };
    let at = |head: usize, query: usize, key: usize| (head * queries + query) * keys + key;
    let (pattern, gradient) = (pattern.row(row), gradient.row(row));
    let mean = |query: usize, key: usize| {
        (0..heads).map(|head| value(pattern[at(head, query, key)], gradient[at(head, query, key)])).sum::<f32>()
            / heads as f32
    };
    (0..queries).map(|query| (0..keys).map(|key| mean(query, key)).collect()).collect()
}

#[test]
fn siglip_follows_the_definition_with_whole_matrices() {
    for folder in fixtures("siglip") {
        let pass = Pass::new(&folder);
        for row in 0..2 {
            for (key, halved, value) in [
                ("rollout", true, (|pattern, _| pattern) as fn(f32, f32) -> f32),
                ("relevancy", false, |pattern, gradient| (pattern * gradient).max(0.0)),
            ] {
                let count = pass.model.grid().0 * pass.model.grid().1;
                let unit = |one: usize, other: usize| f32::from(u8::from(one == other));
                let mut product: Vec<Vec<f32>> =
                    (0..count).map(|one| (0..count).map(|other| unit(one, other)).collect()).collect();
                for layer in 0..pass.model.depths().0 {
                    let block = mean_over_heads(&pass.recording, Site::pattern(Tower::Vision, layer), row, value);
                    let entry = |query: usize, key: usize| {
                        let moved: f32 = (0..count).map(|via| block[query][via] * product[via][key]).sum();
                        (product[query][key] + moved) * if halved { 0.5 } else { 1.0 }
                    };
                    product = (0..count).map(|query| (0..count).map(|key| entry(query, key)).collect()).collect();
                }
                let head = mean_over_heads(&pass.recording, pooler(), row, value);
                let expected: Vec<f32> =
                    (0..count).map(|key| (0..count).map(|via| head[0][via] * product[via][key]).sum()).collect();
                assert!(expected.iter().any(|value| *value > 0.0));
                let ours = pass.map(named(key).expect("it is registered"), row);
                close(&ours, &expected, &format!("{}: {key}", folder.display()));
            }
        }
    }
}

/// One text of two words that looks at a class token and two patches in one layer with two heads.
#[test]
fn words_look_where_their_attention_and_its_gradient_say() {
    use alignscope::attribution::fusion::{Look, PatchKeys, Weight};
    let site = Site::new(Tower::Decoder, 0, Point::Pattern(Attn::CrossAttn));
    let pattern = [0.2, 0.8, 0.0, 0.5, 0.25, 0.25, 0.0, 0.5, 0.5, 0.1, 0.3, 0.6];
    let gradient = [1.0, -1.0, 2.0, 0.0, 4.0, -4.0, 1.0, 1.0, -1.0, 0.0, 2.0, 1.0];
    let recording = recording(site, &[1, 2, 2, 3], &pattern, &gradient);
    let look = |positions: &'static [usize]| Look {
        recording: &recording,
        row: 0,
        picture: 0,
        tower: Tower::Decoder,
        attention: Attn::CrossAttn,
        layers: 1,
        resampler: 0,
        patches: PatchKeys::Behind(1),
        positions,
    };
    assert_eq!(look(&[0]).by_head(Weight::Raw).expect("maps")[1], [0.5, 0.5]);
    close(&look(&[1]).all(Weight::Raw).expect("a map"), &[0.275, 0.425], "the mean over heads");
    // Head by head (0.25 * 4, 0) and (0.3 * 2, 0.6 * 1), of which the mean.
    close(&look(&[1]).all(Weight::Gradient).expect("a map"), &[0.8, 0.3], "weighted");
    close(&look(&[0, 1]).all(Weight::Raw).expect("a map"), &[0.925, 0.675], "two words");
    assert_eq!(look(&[]).all(Weight::Raw).expect("a map"), [0.0, 0.0]);
    let nothing = Recording::default();
    assert!(Look { recording: &nothing, ..look(&[0]) }.all(Weight::Raw).is_err());
}

/// Two latents that gather two patches in two blocks.
#[test]
fn latents_lead_from_words_to_patches() {
    use alignscope::attribution::fusion::{Look, PatchKeys, Weight};
    let words = Site::new(Tower::Decoder, 0, Point::Pattern(Attn::CrossAttn));
    let mut recording = recording(words, &[1, 1, 1, 2], &[0.25, 0.75], &[0.0, 0.0]);
    for layer in 0..2 {
        // Keys: the class token, two patches, two latents. The first latent looks at the first patch, then at the second
        // latent; the second at the second patch.
        let pattern = match layer {
            0 => vec![0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0],
            _ => vec![0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0],
        };
        let site = Site::new(Tower::Resampler, layer, Point::Pattern(Attn::CrossAttn));
        recording.activations.insert(site, Array { shape: vec![1, 1, 2, 5], data: pattern });
    }
    let look = Look {
        recording: &recording,
        row: 0,
        picture: 0,
        tower: Tower::Decoder,
        attention: Attn::CrossAttn,
        layers: 1,
        resampler: 2,
        patches: PatchKeys::Behind(1),
        positions: &[0],
    };
    // Behind the first block each holds half of its patch; behind the second the first latent holds half of that and half of
    // what the second held.
    close(&look.flow(2, Weight::Raw).expect("a flow"), &[0.25, 0.25, 0.0, 0.75], "the flow");
    close(&look.all(Weight::Raw).expect("a map"), &[0.25 * 0.25, 0.25 * 0.25 + 0.75 * 0.75], "the map");

    // Weighted, what is new is added to what was there: behind the second block the first latent has its own patch and what
    // the second had, the second its patch twice. A gradient of two at the words doubles all.
    let mut sloped = recording.clone();
    for (site, pattern) in recording.activations.clone() {
        let slope = if site.tower == Tower::Resampler { 1.0 } else { 2.0 };
        let slopes = Array { data: vec![slope; pattern.data.len()], ..pattern };
        sloped.gradients.insert(site, slopes);
    }
    let look = Look { recording: &sloped, ..look };
    close(&look.flow(2, Weight::Gradient).expect("a flow"), &[1.0, 1.0, 0.0, 2.0], "the weighted flow");
    close(&look.all(Weight::Gradient).expect("a map"), &[0.5, 2.0 * (0.25 + 1.5)], "the weighted map");
}

/// A row of a patch, a word, a patch and a word, in two layers with one head.
#[test]
fn words_look_at_the_patches_of_their_own_row() {
    use alignscope::attribution::fusion::{Look, PatchKeys, Weight};
    let first = [1.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.1, 0.4, 0.5, 0.0, 0.2, 0.1, 0.6, 0.1];
    let second = [1.0, 0.0, 0.0, 0.0, 0.9, 0.1, 0.0, 0.0, 0.3, 0.3, 0.4, 0.0, 0.1, 0.5, 0.3, 0.1];
    let ones = [1.0; 16];
    let site = |layer| Site::pattern(Tower::Decoder, layer);
    let mut recording = recording(site(0), &[1, 1, 4, 4], &first, &ones);
    recording.activations.insert(site(1), Array { shape: vec![1, 1, 4, 4], data: second.to_vec() });
    recording.gradients.insert(site(1), Array { shape: vec![1, 1, 4, 4], data: ones.to_vec() });
    let look = Look {
        recording: &recording,
        row: 0,
        picture: 0,
        tower: Tower::Decoder,
        attention: Attn::SelfAttn,
        layers: 2,
        resampler: 0,
        patches: PatchKeys::At(&[(2, 0), (0, 2)], 3),
        positions: &[3],
    };
    assert_eq!(look.by_head(Weight::Raw).expect("maps")[1], [0.3, 0.0, 0.1]);
    close(&look.all(Weight::Gradient).expect("a map"), &[0.45, 0.0, 0.15], "the mean over layers");
    // The last row of (1 + second)(1 + first), written out: with first and second alone and their product.
    let through = |key: usize| -> f32 { (0..4).map(|by| second[12 + by] * first[by * 4 + key]).sum() };
    let whole = |key: usize| first[12 + key] + second[12 + key] + through(key);
    close(&look.relevancy().expect("a map"), &[whole(2), 0.0, whole(0)], "relevancy");
}
