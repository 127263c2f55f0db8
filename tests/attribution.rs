//! Every attribution against known answers: the reference's numbers on random CLIP checkpoints, or numbers made by hand.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use alignscope::attribution::bimodal_relevancy::{Flow, Order, Part, relevancy};
use alignscope::attribution::hiding::{Fill, Hiding};
use alignscope::attribution::{ATTRIBUTIONS, Asked, Attribution, EXPLAINERS, Slope, Subject, explainer, named};
use alignscope::models::Model;
use alignscope::models::blip::BlipHead;
use alignscope::models::checkpoint::Checkpoint;
use alignscope::models::dual_encoder::DualEncoder;
use alignscope::taps::{Array, Attn, GradProbe, Point, Recording, Site, SitePattern, Taps, Tower};
use candle_core::{DType, Device, Tensor};
use image::{Rgb, RgbImage};

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

fn close(ours: &[f32], theirs: &[f32], what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let largest = theirs.iter().fold(0f32, |most, value| most.max(value.abs()));
    for (a, b) in ours.iter().zip(theirs) {
        assert!((a - b).abs() <= 1e-4 * largest + 1e-6, "{what}: {a} is not {b}");
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

fn fixtures(family: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(family);
    let mut found: Vec<PathBuf> = std::fs::read_dir(root).expect("fixtures").flatten().map(|e| e.path()).collect();
    found.sort();
    assert!(found.len() >= 4);
    found
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

fn host(tensor: &Tensor) -> Array {
    Array::from_tensor(tensor).expect("host")
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

/// A model that adds up how bright each patch of two by two pixels is, each with a weight, and squares the sum.
struct Bright {
    hiding: Hiding,
    weights: Vec<f32>,
}

impl Bright {
    /// Nine patches, of which the first is white and the last half bright on black.
    fn new(weights: [f32; 9], fill: Fill) -> Self {
        let picture = RgbImage::from_fn(6, 6, |x, y| {
            Rgb([if x < 2 && y < 2 {
                255
            } else if x >= 4 && y >= 4 {
                127
            } else {
                0
            }; 3])
        });
        Self { hiding: Hiding::new(&picture, fill, [0.0, 0.0, 6.0, 6.0], (3, 3)), weights: weights.to_vec() }
    }

    fn levels(picture: &RgbImage) -> Vec<f32> {
        let level = |patch: u32| f32::from(picture.get_pixel(patch % 3 * 2, patch / 3 * 2).0[0]) / 255.0;
        (0..9).map(level).collect()
    }

    fn sum(&self, picture: &RgbImage) -> f32 {
        Self::levels(picture).iter().zip(&self.weights).map(|(level, weight)| level * weight).sum()
    }
}

impl Asked for Bright {
    fn hiding(&self) -> &Hiding {
        &self.hiding
    }

    fn hold(&mut self, pictures: &[RgbImage]) -> alignscope::Result<Vec<f32>> {
        Ok(pictures.iter().map(|picture| self.sum(picture).powi(2)).collect())
    }

    fn slopes(&mut self, pictures: &[RgbImage]) -> alignscope::Result<Vec<Slope>> {
        let slope = |picture: &RgbImage| {
            let inner = 2.0 * self.sum(picture);
            // A class token stands before them.
            let states = [vec![7.0], Self::levels(picture)].concat();
            let gradient = [vec![9.0], self.weights.iter().map(|weight| weight * inner).collect()].concat();
            Slope { width: 1, states, gradient }
        };
        Ok(pictures.iter().map(slope).collect())
    }

    fn flow(&mut self, _sites: &SitePattern) -> alignscope::Result<(Recording, Flow)> {
        Ok(Default::default())
    }
}

#[test]
fn explainers_give_known_answers() {
    let weights = [1.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, -1.0];
    let map = |key: &str, fill| {
        let mut shares = Vec::new();
        let map = (explainer(key).expect("it is registered").map)(&mut Bright::new(weights, fill), &mut |share| {
            shares.push(share);
        });
        assert!(shares.is_sorted() && shares.last() == Some(&1.0), "{key}: {shares:?}");
        map.expect("a map")
    };
    let (half, mean) = (127.0f32 / 255.0, 42.0f32 / 255.0);
    let whole = (1.0 - half).powi(2);
    let product = map("gradient-input", Fill::Mean);
    close(&product, &[2.0 * (1.0 - half), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -2.0 * (1.0 - half) * half], "product");
    let without = |weight: f32, level: f32| whole - (1.0 - half + weight * (mean - level)).powi(2);
    let mut expected = [0.0; 9];
    (expected[0], expected[4], expected[8]) = (without(1.0, 1.0), without(0.5, 0.0), without(-1.0, half));
    close(&map("occlusion", Fill::Mean), &expected, "occlusion");
    // Along a straight way a square's parts are as large as each patch's part of the sum.
    let parts = [1.0 - mean, 0.0, 0.0, 0.0, -0.5 * mean, 0.0, 0.0, 0.0, mean - half];
    let nothing = (0.5 * mean).powi(2);
    let all: f32 = parts.iter().sum();
    let expected = parts.map(|part| part / all * (whole - nothing));
    let integrated = map("integrated-gradients", Fill::Mean);
    for (own, expected) in integrated.iter().zip(expected) {
        // A step is a whole level of 255.
        assert!((own - expected).abs() < 0.01, "{integrated:?} {expected:?}");
    }
    assert!((integrated.iter().sum::<f32>() - (whole - nothing)).abs() < 1e-4, "{integrated:?}");
}

#[test]
fn a_window_slides_over_the_patches() {
    // Only the middle patch counts; whatever window covers it takes the same, and each patch lies under some of these.
    let mut weights = [0.0; 9];
    weights[8] = 1.0;
    let mut model = Bright::new(weights, Fill::Mean);
    let map = (explainer("sliding-occlusion").expect("it is registered").map)(&mut model, &mut |_| ()).expect("a map");
    let (half, mean) = (127.0f32 / 255.0, 42.0f32 / 255.0);
    let taken = half.powi(2) - mean.powi(2);
    // The windows around patches 4, 5, 7 and 8 reach the last patch. A corner lies under four windows, an edge under six.
    let count = [[1.0, 2.0, 2.0], [2.0, 4.0, 4.0], [2.0, 4.0, 4.0]];
    let all = [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]];
    let expected: Vec<f32> = (0..9).map(|at| taken * count[at / 3][at % 3] / all[at / 3][at % 3]).collect();
    close(&map, &expected, "sliding");
}

#[test]
fn explainers_are_explained_in_both_languages() {
    assert!(explainer("no such map").is_none());
    for explainer in EXPLAINERS {
        let [english, chinese] = explainer.help;
        assert!(english.split_whitespace().count() > 80, "{}", explainer.key);
        assert!(chinese.chars().filter(|c| ('一'..='龥').contains(c)).count() > 100, "{}", explainer.key);
        assert!(explainer.paper.contains("arXiv"), "{}", explainer.key);
    }
}

#[test]
fn a_slope_knows_its_patches() {
    let slope = Slope { width: 2, states: vec![1.0; 10], gradient: vec![1.0; 10] };
    assert_eq!(slope.of_patches(5).expect("patches alone").count(), 5);
    assert_eq!(slope.of_patches(4).expect("a class token before them").count(), 4);
    assert!(slope.of_patches(3).is_err() && slope.of_patches(6).is_err());
    assert!(Slope { gradient: Vec::new(), ..slope }.of_patches(5).is_err());
}

/// As the rules are written, with whole matrices (LXMERT's `ExplanationGenerator`): two words that look at each other and at two
/// patches, in two layers; then the same through queries, and along a row.
#[test]
fn relevancy_follows_both_kinds_of_attention() {
    type Matrix = Vec<Vec<f32>>;
    let mut recording = Recording::default();
    let mut seen = |tower, layer, attn, matrix: &Matrix| {
        let site = Site::new(tower, layer, Point::Pattern(attn));
        // Two heads: one with the weights and twice their share of the gradient, one whose gradient is below zero.
        let data = matrix.concat();
        let shape = vec![1, 2, matrix.len(), matrix[0].len()];
        let pattern = [data.clone(), data.clone()].concat();
        let gradient = [vec![2.0; data.len()], vec![-5.0; data.len()]].concat();
        recording.activations.insert(site, Array { shape: shape.clone(), data: pattern });
        recording.gradients.insert(site, Array { shape, data: gradient });
    };
    let own = [vec![vec![0.9, 0.1], vec![0.4, 0.6]], vec![vec![0.2, 0.8], vec![0.5, 0.5]]];
    let cross = [vec![vec![0.1, 0.7, 0.2], vec![0.3, 0.3, 0.4]], vec![vec![0.6, 0.2, 0.2], vec![0.1, 0.1, 0.8]]];
    let vision = vec![vec![0.2, 0.4, 0.4], vec![0.1, 0.8, 0.1], vec![0.0, 0.3, 0.7]];
    for layer in 0..2 {
        seen(Tower::Text, layer, Attn::SelfAttn, &own[layer]);
        seen(Tower::Text, layer, Attn::CrossAttn, &cross[layer]);
    }
    seen(Tower::Vision, 0, Attn::SelfAttn, &vision);
    let product = |one: &Matrix, other: &Matrix| -> Matrix {
        let entry = |row: &Vec<f32>, at: usize| row.iter().zip(other).map(|(value, line)| value * line[at]).sum();
        one.iter().map(|row| (0..other[0].len()).map(|at| entry(row, at)).collect()).collect()
    };
    let sum = |one: &Matrix, other: &Matrix| -> Matrix {
        one.iter().zip(other).map(|(one, other)| one.iter().zip(other).map(|(a, b)| a + b).collect()).collect()
    };
    let unit = |size: usize| -> Matrix {
        (0..size).map(|row| (0..size).map(|at| f32::from(u8::from(row == at))).collect()).collect()
    };
    let normalised = |matrix: &Matrix| -> Matrix {
        let size = matrix.len();
        let mut out = unit(size);
        for row in 0..size {
            let rest: Vec<f32> = (0..size).map(|at| matrix[row][at] - out[row][at]).collect();
            let total: f32 = rest.iter().sum();
            (0..size).for_each(|at| out[row][at] += rest[at] / total);
        }
        out
    };
    let transposed = |matrix: &Matrix| -> Matrix {
        (0..matrix[0].len()).map(|at| matrix.iter().map(|row| row[at]).collect()).collect()
    };
    let of_picture = sum(&unit(3), &product(&vision, &unit(3)));
    let (mut words, mut through) = (unit(2), vec![vec![0.0; 3]; 2]);
    for layer in 0..2 {
        through = sum(&through, &product(&own[layer], &through));
        words = sum(&words, &product(&own[layer], &words));
        let looks = product(&cross[layer], &normalised(&of_picture));
        through = sum(&through, &product(&transposed(&normalised(&words)), &looks));
    }
    let flow = Flow { start: vec![1], parts: vec![Part::new(Tower::Text), Part::new(Tower::Vision)] };
    let map = relevancy(&recording, &flow, 2).expect("a map");
    close(&map, &through[1][1..], "words and patches");
    // Two positions of a row that come from the last two of the picture, whose own relevancy isn't scaled.
    let row = Part { handed: vec![(0, 1), (1, 2)], ..Part::new(Tower::Text) };
    let mut alone = recording.clone();
    for layer in 0..2 {
        alone.activations.remove(&Site::new(Tower::Text, layer, Point::Pattern(Attn::CrossAttn)));
    }
    let flow = Flow { start: vec![1], parts: vec![row, Part::new(Tower::Vision)] };
    let in_row = product(&vec![vec![0.0, words[1][0], words[1][1]]], &of_picture);
    close(&relevancy(&alone, &flow, 2).expect("a map"), &in_row[0][1..], "a row");
    // Latents look at three positions and at themselves; a gated cross-attention stands before its block.
    let latents = [vec![0.1, 0.2, 0.3, 0.4, 0.0], vec![0.2, 0.2, 0.2, 0.2, 0.2]];
    let site = Site::new(Tower::Resampler, 0, Point::Pattern(Attn::CrossAttn));
    let mut gated = alone.clone();
    let both = Array { shape: vec![1, 1, 2, 5], data: latents.concat() };
    gated.activations.insert(site, both.clone());
    gated.gradients.insert(site, Array { data: vec![1.0; 10], ..both });
    let site = Site::new(Tower::Text, 0, Point::Pattern(Attn::CrossAttn));
    let looks = Array { shape: vec![1, 1, 2, 2], data: vec![0.5, 0.5, 0.25, 0.75] };
    gated.activations.insert(site, looks.clone());
    gated.gradients.insert(site, Array { data: vec![1.0; 4], ..looks });
    let text = Part { order: Order::Gated(vec![1]), ..Part::new(Tower::Text) };
    let resampler = Part { order: Order::Latents, ..Part::new(Tower::Resampler) };
    let flow = Flow { start: vec![1], parts: vec![text, resampler, Part::new(Tower::Vision)] };
    let behind = sum(&unit(2), &own[1]);
    let before = transposed(&normalised(&sum(&unit(2), &own[0])));
    let of_latents =
        product(&product(&product(&vec![vec![0.0, 1.0]], &behind), &before), &vec![vec![0.5, 0.5], vec![0.25, 0.75]]);
    let keys: Matrix = latents.iter().map(|row| row[..3].to_vec()).collect();
    let expected = product(&product(&of_latents, &keys), &normalised(&of_picture));
    close(&relevancy(&gated, &flow, 2).expect("a map"), &expected[0][1..], "latents");
    // What is missing is named, and what doesn't fit is refused.
    let nowhere = Flow { start: vec![9], parts: vec![Part::new(Tower::Text), Part::new(Tower::Vision)] };
    assert!(relevancy(&recording, &nowhere, 2).is_err());
    assert!(relevancy(&recording, &Flow::default(), 2).is_err());
    recording.gradients.clear();
    let flow = Flow { start: vec![1], parts: vec![Part::new(Tower::Text), Part::new(Tower::Vision)] };
    let complaint = relevancy(&recording, &flow, 2).expect_err("no gradients").to_string();
    assert!(complaint.contains("text.blocks.0.self_attn.pattern"), "{complaint}");
}

/// Words that look at two latents, which look at three positions of the picture and at themselves.
#[test]
fn values_are_followed_hop_by_hop() {
    use alignscope::attribution::value_attention::along;
    let mut recording = Recording::default();
    let mut seen = |tower, pattern: (&[usize], &[f32]), values: &[f32]| {
        let site = Site::new(tower, 0, Point::Pattern(Attn::CrossAttn));
        recording.activations.insert(site, Array { shape: pattern.0.to_vec(), data: pattern.1.to_vec() });
        let shape = vec![1, pattern.0[1], pattern.0[3], values.len() / pattern.0[1] / pattern.0[3]];
        recording
            .activations
            .insert(Site { point: Point::V(Attn::CrossAttn), ..site }, Array { shape, data: values.to_vec() });
    };
    // Two heads; the second word is asked for.
    let words = [1.0, 0.0, 0.5, 0.5, 0.0, 1.0, 0.25, 0.75];
    seen(Tower::Decoder, (&[1, 2, 2, 2], &words), &[3.0, 4.0, 0.0, 2.0, 1.0, 0.0, 0.0, 0.0]);
    let latents = [0.5, 0.25, 0.25, 0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.0];
    seen(Tower::Resampler, (&[1, 1, 2, 5], &latents), &[1.0, 2.0, 4.0, 9.0, 9.0]);
    let site = Site::pattern(Tower::Decoder, 0);
    recording.activations.insert(site, Array { shape: vec![1, 1, 2, 2], data: vec![1.0, 0.0, 0.5, 0.5] });
    let words = Part { order: Order::Gated(vec![0]), ..Part::new(Tower::Decoder) };
    let resampler = Part { order: Order::Latents, ..Part::new(Tower::Resampler) };
    let flow = Flow { start: vec![1], parts: vec![words, resampler, Part::new(Tower::Vision)] };
    // The first latent gives (0.5 * 5 + 0.25 * 1) / 2, the second (0.5 * 2 + 0.75 * 0) / 2.
    let (first, second) = (1.375, 0.5);
    let expected = [first * 0.25 * 2.0, first * 0.25 * 4.0 + second * 0.5 * 4.0];
    close(&along(&recording, &flow, 2).expect("a map"), &expected, "two hops");
    assert!(along(&Recording::default(), &flow, 2).is_err());
}

#[test]
fn relevancy_of_words_that_look_equals_the_reference() {
    for folder in fixtures("blip-retrieval") {
        let reference =
            candle_core::safetensors::load(folder.join("reference.safetensors"), &Device::Cpu).expect("a reference");
        let checkpoint = Checkpoint::open(&folder).expect("a checkpoint");
        let Model::Blip(model) = Model::open(&checkpoint, &Device::Cpu).expect("a model").0 else { panic!("no BLIP") };
        let BlipHead::Retrieval(head) = model.head() else { panic!("it doesn't match") };
        let first = |name: &str| reference.get(name).map(|tensor| tensor.narrow(0, 0, 1).expect("a row"));
        let unsigned = |name: &str| first(name).map(|ids| ids.to_dtype(DType::U32).expect("ids"));
        let mut probe = GradProbe::new(SitePattern::patterns());
        let mut taps = Taps::none().with(&mut probe);
        let states = model.vision().forward(&first("pixel_values").expect("pixels"), &mut taps).expect("a pass");
        let ids = unsigned("input_ids").expect("ids");
        let logits = head.match_logits(&ids, unsigned("attention_mask").as_ref(), &states, &mut taps).expect("a pass");
        drop(taps);
        let shares = alignscope::nn::softmax(&logits).expect("shares");
        let recording = probe.backward(&shares.get(0).and_then(|row| row.get(1)).expect("a share")).expect("gradients");
        let expected = host(&reference["relevancy.image"]);
        let flow = Flow { start: vec![0], parts: vec![Part::new(Tower::Text), Part::new(Tower::Vision)] };
        let map = relevancy(&recording, &flow, expected.data.len()).expect("a map");
        assert!(map.iter().any(|value| *value > 0.0));
        close(&map, &expected.data, &folder.display().to_string());
    }
}
