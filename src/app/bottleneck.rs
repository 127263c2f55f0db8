//! The figures of the bottleneck experiment that ship with the program: what each connector hands on, by its number of tokens.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::world::Language;

/// What is measured of each connector, in the order in which it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Answers to questions of this kind, by its name in the file.
    Answers(&'static str),
    /// R² of a linear map from its tokens to the place of the only object.
    Place,
    /// R² of a linear map from its tokens to what is covered where.
    Layout,
}

impl Figure {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Answers("colour"),
        Self::Answers("presence"),
        Self::Answers("count"),
        Self::Answers("where"),
        Self::Place,
        Self::Layout,
    ];
}

/// A measured share with its interval, and with what the best trivial answer would reach, where there is one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The share; of several training seeds, their mean.
    pub value: f64,
    /// The ends of its interval of 95 % over scenes, or the value itself where none was measured; of several training seeds, from
    /// the lowest end to the highest, since two or three seeds say no more of their spread.
    pub interval: [f64; 2],
    /// What answering without looking would reach.
    pub trivial: Option<f64>,
}

/// One connector.
#[derive(Clone, Debug, PartialEq)]
pub struct Connector {
    /// What kind it is of: projector, pool, shuffle, queries.
    pub family: String,
    /// How many tokens it hands to the language model.
    pub tokens: usize,
    /// Its figures in English and Chinese, in the order of [`Figure::ALL`].
    pub points: [Vec<Option<Point>>; 2],
}

/// The connectors, as they stand in the file.
///
/// # Errors
/// If the file is there, but can't be read.
pub fn connectors() -> Result<Vec<Connector>> {
    let Some(folder) = crate::resources::folder("assets/bottleneck") else { return Ok(Vec::new()) };
    let path = folder.join("figures.json");
    let bytes = std::fs::read(&path).map_err(|error| Error::io("read", &path, &error))?;
    read(&bytes).map_err(|error| error.at(&path))
}

fn read(bytes: &[u8]) -> Result<Vec<Connector>> {
    let wrong = |what: String| {
        Error::unusable(
            format!("the file holds no figures ({what})"),
            "write it with 'alignscope eval --method bottleneck'",
        )
    };
    let file: Value = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    let all = file["checkpoints"].as_array().ok_or_else(|| wrong("no checkpoints".into()))?;
    let mut named: Vec<(&str, Vec<&Value>)> = Vec::new();
    for one in all {
        let name = one["connector"].as_str().ok_or_else(|| wrong("a connector has no name".into()))?;
        match named.iter_mut().find(|(known, _)| *known == name) {
            Some((_, runs)) => runs.push(one),
            None => named.push((name, vec![one])),
        }
    }
    let connector = |(name, runs): &(&str, Vec<&Value>)| {
        let (family, tokens) = name.rsplit_once('-')?;
        let points = Language::ALL.map(|language| {
            let of = |figure| runs.iter().map(|one| point(one, figure, language)).collect::<Option<Vec<_>>>();
            Figure::ALL.map(|figure| of(figure).map(|points| over_seeds(&points))).to_vec()
        });
        Some(Connector { family: family.to_owned(), tokens: tokens.parse().ok()?, points })
    };
    named.iter().map(|one| connector(one).ok_or_else(|| wrong("a connector's name has no number".into()))).collect()
}

/// One point for what was measured of each training seed.
fn over_seeds(points: &[Point]) -> Point {
    let ends = |at: usize| points.iter().map(move |point| point.interval[at]);
    Point {
        value: points.iter().map(|point| point.value).sum::<f64>() / points.len() as f64,
        interval: [ends(0).fold(f64::INFINITY, f64::min), ends(1).fold(f64::NEG_INFINITY, f64::max)],
        trivial: points[0].trivial,
    }
}

fn point(connector: &Value, figure: Figure, language: Language) -> Option<Point> {
    let probe = |key: &str| {
        let value = connector[key].as_f64()?;
        Some(Point { value, interval: [value, value], trivial: None })
    };
    let kind = match figure {
        Figure::Place => return probe("place"),
        Figure::Layout => return probe("layout"),
        Figure::Answers(kind) => kind,
    };
    let language = match language {
        Language::English => "english",
        Language::Chinese => "chinese",
    };
    let parts = connector["figures"]["parts"].as_array()?;
    let part = parts.iter().find(|part| part["split"] == "test" && part["language"] == language)?;
    let answers = part["answers"].as_array()?.iter().find(|answers| answers["kind"] == kind)?;
    let right = &answers["right"];
    let trivial = [&answers["majority"], &answers["other_thing"]].into_iter().filter_map(Value::as_f64);
    Some(Point {
        value: right["value"].as_f64()?,
        interval: [right["low"].as_f64()?, right["high"].as_f64()?],
        trivial: trivial.reduce(f64::max),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_figures_are_read_whole() {
        let all = connectors().expect("figures");
        assert!(all.len() >= 9);
        for connector in &all {
            for points in &connector.points {
                assert!(points.iter().all(Option::is_some), "{connector:?}");
            }
        }
        let projector = all.iter().find(|connector| connector.family == "projector").expect("a projector");
        assert_eq!(projector.tokens, 64);
        assert!(read(b"{}").is_err() && read(b"[").is_err());
    }

    #[test]
    fn several_seeds_are_one_connector_with_their_mean_and_their_widest_ends() {
        let run = |place: f64| serde_json::json!({ "connector": "pool-4", "place": place, "layout": 0.5 });
        let file = serde_json::json!({ "checkpoints": [run(0.9), run(0.8)] });
        let all = read(file.to_string().as_bytes()).expect("figures");
        assert_eq!((all.len(), all[0].tokens), (1, 4));
        let place = all[0].points[0][4].expect("a place");
        assert!((place.value - 0.85).abs() < 1e-12);
        assert_eq!(place.interval, [0.8, 0.9]);
        assert_eq!(all[0].points[0][0], None);
    }
}
