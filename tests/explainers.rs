//! Attributions for which a model is asked many times, against known answers: numbers made by hand, definitions with whole matrices, or
//! the reference's numbers on random BLIPs.

#[path = "common/maps.rs"]
mod maps;

use alignscope::attribution::bimodal_relevancy::{Flow, Order, Part, relevancy};
use alignscope::attribution::hiding::{Fill, Hiding};
use alignscope::attribution::{Asked, EXPLAINERS, Slope, explainer};
use alignscope::models::Model;
use alignscope::models::blip::BlipHead;
use alignscope::models::checkpoint::Checkpoint;
use alignscope::taps::{Array, Attn, GradProbe, Point, Recording, Site, SitePattern, Taps, Tower};
use candle_core::{DType, Device};
use image::{Rgb, RgbImage};
use maps::{close, fixtures, host};

/// Those that a test here gives a known answer to.
const KNOWN: [&str; 6] =
    ["relevancy", "value-attention", "gradient-input", "integrated-gradients", "occlusion", "sliding-occlusion"];

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
        assert!(KNOWN.contains(&explainer.key), "{} has no known answer", explainer.key);
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
/// patches, in two layers; then along a row, and through latents behind a gate.
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
