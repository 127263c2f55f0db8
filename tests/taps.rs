//! Seeing and changing activations: gradients at sites, interventions, recorders, and that looking changes nothing.

#[path = "common/variables.rs"]
mod variables;

use alignscope::nn::{Activation, BlockShape, EncoderBlock, GatedCrossAttention, GatedShape, Media, Scope};
use alignscope::taps::{
    Attn, CancelToken, Change, GradProbe, Interventions, Observer, Places, Point, Recorder, Recording, Site,
    SitePattern, Taps, Tower,
};
use alignscope::{Error, Result};
use candle_core::{DType, Tensor};
use std::collections::BTreeMap;
use variables::{Variables, distance, numbers, score, tensor};

const HEADS: usize = 2;
const POSITIONS: usize = 5;
const WIDTH: usize = 8;
const SHAPE: BlockShape =
    BlockShape { width: WIDTH, heads: HEADS, inner: 12, activation: Activation::QuickGelu, epsilon: 1e-5 };
const POINTS: [Point; 7] = [
    Point::ResidPre,
    Point::Scores(Attn::SelfAttn),
    Point::Pattern(Attn::SelfAttn),
    Point::V(Attn::SelfAttn),
    Point::Z(Attn::SelfAttn),
    Point::MlpOut,
    Point::ResidPost,
];

fn site(layer: usize, point: Point) -> Site {
    Site::new(Tower::Vision, layer, point)
}

fn sites() -> impl Iterator<Item = Site> {
    (0..2).flat_map(|layer| POINTS.map(|point| site(layer, point)))
}

/// A model of two blocks over two rows of a batch.
fn run(scope: &Scope<'_>, taps: &mut Taps<'_>) -> Result<Tensor> {
    let mut x = scope.get("x", &[2, POSITIONS, WIDTH])?;
    for layer in 0..2 {
        x = EncoderBlock::load(&scope.enter(layer), SHAPE)?.forward(x, None, Tower::Vision, layer, taps)?;
    }
    Ok(x)
}

fn forward(variables: &Variables, taps: &mut Taps<'_>) -> Tensor {
    run(&variables.scope(), taps).expect("a forward pass")
}

fn everything() -> SitePattern {
    SitePattern::new("*")
}

fn single() -> Variables {
    Variables::new(DType::F32)
}

/// Adds a little to one number at one site.
struct Nudge {
    site: Site,
    at: usize,
    by: f64,
}

impl Observer for Nudge {
    fn wants(&self, site: Site) -> bool {
        site == self.site
    }

    fn observe(&mut self, _site: Site, activation: Tensor) -> Result<Tensor> {
        let mut nudge = vec![0.0; activation.elem_count()];
        nudge[self.at] = self.by;
        Ok((&activation + tensor(nudge, activation.dims(), activation.dtype()))?)
    }
}

#[test]
fn gradients_at_sites_are_those_of_central_differences() {
    const STEP: f64 = 1e-5;
    let probed = |dtype: DType| -> Recording {
        let mut probe = GradProbe::new(everything());
        let output = forward(&Variables::new(dtype), &mut Taps::none().with(&mut probe));
        probe.backward(&score(&output)).expect("a backward pass")
    };
    let double = Variables::new(DType::F64);
    let recordings = [("f64", probed(DType::F64)), ("f32", probed(DType::F32))];
    let mut worst = 0f64;
    for site in sites() {
        let count = recordings[0].1.gradients[&site].data.len();
        let tried: Vec<usize> = (0..count).step_by(count.div_ceil(32)).collect();
        let nudged = |at: usize, by: f64| {
            let mut nudge = Nudge { site, at, by };
            numbers(&score(&forward(&double, &mut Taps::none().with(&mut nudge))))[0]
        };
        let differences: Vec<f64> =
            tried.iter().map(|&at| (nudged(at, STEP) - nudged(at, -STEP)) / (2.0 * STEP)).collect();
        for (kind, recording) in &recordings {
            let gradient: Vec<f64> = tried.iter().map(|&at| recording.gradients[&site].data[at].into()).collect();
            let (far, largest) = distance(&gradient, &differences);
            worst = worst.max(far / largest);
            assert!(largest > 0.01, "{site}: nothing to compare");
            assert!(far <= 1e-5 * largest, "{site} in {kind}: off by {far:e} of {largest}");
        }
    }
    println!("gradients at sites: off by {worst:.1e}");
}

/// With weights that nobody learns the graph begins at the probe, and the blocks behind it are fused.
#[test]
fn gradients_at_a_site_need_no_other_variable() {
    struct Frozen(Variables);
    impl alignscope::nn::Parameters for Frozen {
        fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
            Ok(self.0.get(name, shape)?.detach())
        }
        fn contains(&self, name: &str) -> bool {
            self.0.contains(name)
        }
        fn device(&self) -> &candle_core::Device {
            self.0.device()
        }
    }
    for site in sites() {
        let wanted = || SitePattern::new(&site.to_string());
        let (mut learned, mut frozen) = (GradProbe::new(everything()), GradProbe::new(wanted()));
        let output = forward(&single(), &mut Taps::none().with(&mut learned));
        let learned = learned.backward(&score(&output)).expect("a backward pass");
        let weights = Frozen(single());
        let output = run(&Scope::root(&weights), &mut Taps::none().with(&mut frozen)).expect("a forward pass");
        let frozen = frozen.backward(&score(&output)).expect("a backward pass");
        assert_eq!(frozen.gradients.keys().collect::<Vec<_>>(), [&site]);
        let [ours, theirs] = [&frozen, &learned]
            .map(|recording| recording.gradients[&site].data.iter().map(|v| f64::from(*v)).collect::<Vec<_>>());
        let (far, largest) = distance(&ours, &theirs);
        assert!(far <= 1e-5 * largest, "{site}: off by {far:e} of {largest}");
    }
}

#[test]
fn looking_changes_nothing() {
    let variables = single();
    let unseen = numbers(&forward(&variables, &mut Taps::none()));
    let mut recorder = Recorder::new(everything());
    let recorded = numbers(&forward(&variables, &mut Taps::none().with(&mut recorder)));
    let (far, _) = distance(&unseen, &recorded);
    assert!(far <= 1e-5, "the fused pass is off by {far:e}");
    let mut probe = GradProbe::new(everything());
    let probed = forward(&variables, &mut Taps::none().with(&mut probe));
    assert_eq!(numbers(&probed), recorded, "zeros were added");

    let recorded = recorder.finish();
    let probed = probe.backward(&score(&probed)).expect("a backward pass");
    assert_eq!(recorded.activations, probed.activations);
    assert_eq!(recorded.activations.keys().copied().collect::<Vec<_>>().len(), 2 * POINTS.len());
    let pattern = &recorded.activations[&Site::pattern(Tower::Vision, 1)];
    assert_eq!(pattern.shape, [2, HEADS, POSITIONS, POSITIONS]);
    for row in pattern.data.chunks(POSITIONS) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6 && row.iter().all(|v| *v > 0.0), "{row:?}");
    }
}

/// Of frozen weights, however much of the pass is looked at, and whether or not somebody could have changed it.
#[test]
fn looking_changes_no_bit_where_nothing_is_learned() {
    let variables = single();
    forward(&variables, &mut Taps::none());
    let known = variables.known.borrow();
    let frozen: BTreeMap<String, Tensor> = known.iter().map(|(name, var)| (name.clone(), var.detach())).collect();
    let pass = |taps: &mut Taps<'_>| numbers(&run(&Scope::root(&frozen), taps).expect("a pass"));
    let unseen = pass(&mut Taps::none());
    for point in POINTS {
        let mut recorder = Recorder::new(SitePattern::new(&site(0, point).to_string()));
        assert_eq!(pass(&mut Taps::none().with(&mut recorder)), unseen, "{point:?} was looked at");
        assert_eq!(recorder.finish().activations.len(), 1, "{point:?}");
    }
    let (mut patterns, mut all) = (Recorder::new(SitePattern::patterns()), Recorder::new(everything()));
    assert_eq!(pass(&mut Taps::none().with(&mut patterns)), unseen);
    assert_eq!(pass(&mut Taps::none().with(&mut all)), unseen);
    let (patterns, all) = (patterns.finish(), all.finish());
    for layer in 0..2 {
        let site = Site::pattern(Tower::Vision, layer);
        assert_eq!(patterns.activations[&site], all.activations[&site]);
    }
    // What is put in the place of a pattern counts.
    let mut cut = Interventions(vec![Change::HeadOff { site: site(0, Point::Z(Attn::SelfAttn)), head: 0 }]);
    assert_ne!(pass(&mut Taps::none().with(&mut cut)), unseen);
    let mut other = Nudge { site: site(0, Point::Pattern(Attn::SelfAttn)), at: 1, by: 0.1 };
    assert_ne!(pass(&mut Taps::none().with(&mut other)), unseen);
}

#[test]
fn a_head_that_is_switched_off_gathers_nothing() {
    let (head, head_width) = (1, WIDTH / HEADS);
    let z = site(0, Point::Z(Attn::SelfAttn));
    let variables = single();
    let (mut before, mut after) = (Recorder::new(everything()), Recorder::new(everything()));
    let off = |head| Interventions(vec![Change::HeadOff { site: z, head }]);
    let mut ablation = off(head);
    let mut taps = Taps::none().with(&mut before).with(&mut ablation).with(&mut after);
    let ablated = numbers(&forward(&variables, &mut taps));
    let (before, after) = (before.finish(), after.finish());
    // [batch, heads, queries, head width]
    let size = POSITIONS * head_width;
    let of_heads = before.activations[&z].data.chunks(size).zip(after.activations[&z].data.chunks(size));
    for (unit, (before, after)) in of_heads.enumerate() {
        assert!(before.iter().all(|value| *value != 0.0), "the recorder in front sees what was there");
        if unit % HEADS == head {
            assert!(after.iter().all(|value| *value == 0.0), "the head gathers {after:?}");
        } else {
            assert_eq!(before, after, "another head changed");
        }
    }
    // The rest of the model goes on without the head: as if the output projection didn't read it.
    variables.change("0.self_attn.out_proj.weight", |weight| {
        for row in weight.chunks_mut(WIDTH) {
            row[head * head_width..(head + 1) * head_width].fill(0.0);
        }
    });
    let (far, _) = distance(&ablated, &numbers(&forward(&variables, &mut Taps::none())));
    assert!(far <= 1e-5, "off by {far:e}");

    let mut missing = off(HEADS);
    let said = run(&variables.scope(), &mut Taps::none().with(&mut missing)).expect_err("no such head").to_string();
    assert!(said.starts_with("there is no head 2 among 2"), "{said}");
}

#[test]
fn attention_that_is_cut_is_exactly_nothing() {
    let (queries, keys) = (vec![0, 3], vec![1, 2]);
    let variables = single();
    let pattern = site(1, Point::Pattern(Attn::SelfAttn));
    let recorded = |knockout: Option<&mut Interventions>| {
        let mut recorder = Recorder::new(SitePattern::patterns());
        let taps = Taps::none();
        let taps = if let Some(knockout) = knockout { taps.with(knockout) } else { taps };
        let output = numbers(&forward(&variables, &mut taps.with(&mut recorder)));
        (recorder.finish().activations.remove(&pattern).expect("the pattern").data, output)
    };
    let (whole, output) = recorded(None);
    // Positions that aren't there are nobody's.
    let beyond = |positions: &[usize]| positions.iter().copied().chain([POSITIONS]).collect::<Vec<_>>();
    let mut knockout = Interventions(vec![Change::Cut {
        tower: Tower::Vision,
        attn: Attn::SelfAttn,
        layers: (1, 1),
        queries: Places::These(beyond(&queries)),
        keys: Places::These(beyond(&keys)),
    }]);
    let (cut, changed) = recorded(Some(&mut knockout));
    for (row, (whole, cut)) in whole.chunks(POSITIONS).zip(cut.chunks(POSITIONS)).enumerate() {
        if !queries.contains(&(row % POSITIONS)) {
            assert_eq!(whole, cut, "row {row} changed");
            continue;
        }
        for (key, value) in cut.iter().enumerate() {
            assert_eq!(*value == 0.0, keys.contains(&key), "row {row}, key {key}: {value}");
        }
        assert!((cut.iter().sum::<f32>() - 1.0).abs() < 1e-6, "row {row}: {cut:?}");
    }
    // In the last block only the positions that were cut come out changed.
    for (position, (whole, cut)) in output.chunks(WIDTH).zip(changed.chunks(WIDTH)).enumerate() {
        assert_eq!(whole != cut, queries.contains(&(position % POSITIONS)), "position {position}");
    }
}

#[test]
fn a_pass_can_be_cancelled() {
    let token = CancelToken::default();
    token.cancel();
    let result = run(&single().scope(), &mut Taps::none().cancelled_by(&token));
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
}

#[test]
fn closed_gates_add_exactly_nothing() {
    let variables = single();
    let scope = variables.scope();
    let shape = GatedShape {
        width: WIDTH,
        media_width: 6,
        heads: HEADS,
        inner: 12,
        activation: Activation::Silu,
        epsilon: 1e-5,
        head_norms: false,
        gate_vectors: true,
    };
    let block = GatedCrossAttention::load(&scope, shape).expect("a block");
    let x = scope.get("x", &[2, POSITIONS, WIDTH]).expect("an input");
    let keys = block.keys(&scope.get("media", &[2, 3, 6]).expect("pictures")).expect("keys");
    let of_ones = |value: f64, shape: &[usize]| tensor(vec![value; shape.iter().product()], shape, DType::F32);
    let media = Media { mask: of_ones(0.0, &[2, 1, POSITIONS, 3]), sees: of_ones(1.0, &[2, POSITIONS, 1]) };
    // The third of the gated blocks; closing others leaves it as it is.
    let pass = |taps: &mut Taps<'_>| numbers(&block.forward(&x, &keys, &media, 2, taps).expect("a pass"));
    let open = pass(&mut Taps::none());
    let closing =
        |layers: Option<Vec<usize>>| pass(&mut Taps::under(&Interventions(vec![Change::GatesClosed { layers }])));
    assert_eq!(closing(None), numbers(&x));
    assert_eq!(closing(Some(vec![2])), numbers(&x));
    assert_eq!(closing(Some(vec![0, 1])), open);
    assert_ne!(open, numbers(&x));
}
