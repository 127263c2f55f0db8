//! Made-up queries: what the views of queries are drawn over, whichever checkpoints there are.

use std::sync::Arc;

use alignscope::app::App;
use alignscope::app::state::MethodName;
use alignscope::methods::queries::{Contrast, Queries};
use alignscope::methods::reading::Step;
use alignscope::methods::{Cloud, CloudPoint, Evidence, PointKind, Scores};
use alignscope::reduction;

/// How many queries there are. One of them is dropped.
pub const COUNT: usize = 12;
pub const DROPPED: usize = 4;
const LAYERS: [usize; 2] = [0, 2];
const DEPTH: usize = 4;
const HEADS: usize = 4;
const WIDTH: usize = 8;
/// What the querying transformer reads.
const TOKENS: [&str; 8] = ["[CLS]", "a", "cat", "and", "a", "red", "ball", "[SEP]"];
const NEAREST: [&str; 8] = ["cat", "ball", "red", "grass", "sky", "left", "tree", "a"];

/// Whether the model compares or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Retrieval,
    Writer,
}

/// A number from 0 to 1 that is the same on every machine.
fn share(seed: usize) -> f32 {
    ((seed.wrapping_mul(2_654_435_761).wrapping_add(40_503) >> 5) % 1000) as f32 / 1000.0
}

/// Where queries look: each at a place of its own, each with another share of its attention.
fn maps(kept: &[usize], (rows, columns): (usize, usize)) -> Vec<f32> {
    let mut maps = Vec::new();
    for query in kept {
        for layer in 0..LAYERS.len() {
            for head in 0..HEADS {
                let (row, column) = ((query * 5 + layer) % rows, (query * 3 + head) % columns);
                let near = |patch: usize| {
                    let (down, across) = ((patch / columns).abs_diff(row), (patch % columns).abs_diff(column));
                    1.0 / (1.0 + (down * down + across * across) as f32 * (1.0 + share(*query)))
                };
                let sum: f32 = (0..rows * columns).map(near).sum();
                let mass = 0.3 + 0.65 * share(query * 7 + layer);
                maps.extend((0..rows * columns).map(|patch| near(patch) / sum * mass));
            }
        }
    }
    maps
}

/// What queries and tokens see of each other; each row adds up to one.
fn self_attention(positions: usize) -> Vec<f32> {
    let mut all = Vec::new();
    for place in 0..DEPTH * HEADS * positions {
        let own = place % positions;
        let score = |key: usize| share(place * 31 + key * 17).powi(3) + if key == own { 0.8 } else { 0.0 };
        let sum: f32 = (0..positions).map(score).sum();
        all.extend((0..positions).map(|key| score(key) / sum));
    }
    all
}

fn written() -> Vec<Step> {
    let given = ["a", "photo", "of"].map(|text| (text, false));
    let wrote = ["a", "cat", "and", "a", "red", "ball"].map(|text| (text, true));
    let step = |(text, is_written): (&str, bool)| Step { text: text.into(), is_written, ..Step::default() };
    given.into_iter().chain(wrote).map(step).collect()
}

fn queries(evidence: &Evidence, kind: Kind) -> Queries {
    let kept: Vec<usize> = (0..COUNT).filter(|query| *query != DROPPED).collect();
    let of_each = |salt: usize, top: f32| kept.iter().map(|query| share(query * 13 + salt) * top).collect::<Vec<f32>>();
    let made = Queries {
        count: COUNT,
        layers: LAYERS.to_vec(),
        depth: DEPTH,
        heads: HEADS,
        maps: Arc::new(maps(&kept, evidence.grid)),
        tokens: TOKENS.map(str::to_owned).to_vec(),
        self_attention: Arc::new(self_attention(kept.len() + TOKENS.len())),
        complete: true,
        ..Queries::default()
    };
    let made = match kind {
        Kind::Retrieval => {
            let spans = evidence.tokens.spans.iter().flatten().enumerate();
            let words = spans.map(|(at, span)| (*span, of_each(at * 5, 0.5))).collect();
            let contrast = Contrast { phrase: of_each(3, 0.5), sentence: of_each(9, 0.45), words };
            Queries { contrast: Some(contrast), matching: Some((of_each(21, 1.0), 0.87)), ..made }
        }
        Kind::Writer => {
            let says = |query: &usize| -> Vec<(String, f32)> {
                let nearest = NEAREST.iter().cycle().skip(query % NEAREST.len()).take(6).enumerate();
                nearest.map(|(at, word)| ((*word).to_owned(), 0.42 - 0.05 * at as f32)).collect()
            };
            let written = written();
            let looks = (0..written.len()).flat_map(|at| of_each(at * 29, 0.08)).collect();
            Queries {
                says: kept.iter().map(says).collect(),
                moved: Some(of_each(17, 0.4)),
                written,
                written_to_queries: Some(Arc::new(looks)),
                ..made
            }
        }
    };
    Queries { kept, ..made }
}

/// Some of the pictures of `evidence`, all queries, and the words of the sentence, in a space of their own.
fn cloud(evidence: &Evidence, queries: &Queries) -> Cloud {
    let vector = |salt: usize| -> Vec<f32> { (0..WIDTH).map(|at| share(salt * 97 + at * 11) - 0.5).collect() };
    let pictures = evidence.cloud.points.iter().filter(|point| point.kind == PointKind::Picture).take(6);
    let mut points: Vec<CloudPoint> =
        pictures.enumerate().map(|(at, point)| CloudPoint { vector: vector(at + 200), ..point.clone() }).collect();
    let point = |kind, label: String, salt| CloudPoint {
        kind,
        pair: 0,
        listed: None,
        picture: None,
        label,
        vector: vector(salt),
    };
    points.extend(queries.kept.iter().map(|query| point(PointKind::Query, (query + 1).to_string(), *query)));
    let words = evidence.tokens.spans.iter().zip(&evidence.tokens.texts).filter(|(span, _)| span.is_some());
    points.extend(words.enumerate().map(|(at, (_, text))| point(PointKind::Word, text.trim().to_owned(), at + 400)));
    Cloud { points }
}

/// What `app` shows, with made-up queries in place of what its method says. It has no worker: nothing is computed anew.
pub fn with_queries(app: &App, kind: Kind) -> App {
    let known = app.evidence.as_ref().expect("evidence");
    let queries = queries(known, kind);
    let cloud = cloud(known, &queries);
    let halves = cloud.halves().concat();
    let vectors: Vec<&[f32]> = halves.iter().map(Vec::as_slice).collect();
    let reduction = reduction::named("pca").expect("a reduction");
    let plane = (reduction.reduce)(&vectors, 0, &mut |_| true).expect("a plane");
    let mut still = app.still();
    still.state.method = MethodName("querying");
    still.state.querying.dropped = vec![DROPPED];
    still.state.querying.query = Some(6);
    still.figures = None;
    still.plane = Some(Arc::new(plane));
    still.evidence = Some(Arc::new(Evidence {
        method: "querying",
        queries: Some(Arc::new(queries)),
        scores: Scores::default(),
        reading: None,
        cloud,
        ..Evidence::clone(known)
    }));
    still
}
