//! What a lesson claims of the running models.

use crate::app::App;
use crate::error::{Error, Result};
use crate::methods::METHODS;
use crate::methods::evidence::Said;
use crate::world::{Language, segment};

/// A claim about what a method shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The key of the method.
    pub method: &'static str,
    /// What is claimed.
    pub measure: Measure,
}

/// What is claimed of a method.
#[derive(Clone, Debug, PartialEq)]
pub enum Measure {
    /// Whether the map of the selected words lies on what they name.
    Hit(bool),
    /// The share of the map on the objects.
    OnObject(Bound),
    /// Intersection over union with the objects.
    Overlap(Bound),
    /// The sum of the map.
    Mass(Bound),
    /// The cosine of picture and sentence.
    Similar(Bound),
    /// How likely picture and sentence belong together.
    Matches(Bound),
    /// What is answered: that it holds these words, or, in a prediction, whatever it is.
    Answer(Option<String>),
}

/// A bound that a number keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// It lies above.
    Above(f32),
    /// It lies below.
    Below(f32),
}

impl Bound {
    fn holds(self, value: f32) -> bool {
        match self {
            Self::Above(bound) => value > bound,
            Self::Below(bound) => value < bound,
        }
    }
}

impl Claim {
    /// Reads a claim: `hit projector`, `on-object querying > 0.3`, `answer projector has red`.
    ///
    /// # Errors
    /// If there is no such claim or no such method.
    pub fn parse(line: &str) -> Result<Self> {
        let wrong = || {
            Error::unusable(
                format!("'{line}' claims nothing that can be measured"),
                "write what of which method, as in 'hit projector' or 'on-object querying > 0.3'",
            )
        };
        let mut words = line.split_whitespace();
        let (what, method) = (words.next().ok_or_else(wrong)?, words.next().ok_or_else(wrong)?);
        let method = METHODS.iter().find(|known| known.key == method).ok_or_else(wrong)?.key;
        let rest: Vec<&str> = words.collect();
        let bound = || -> Result<Bound> {
            let number = rest.get(1).and_then(|number| number.parse().ok()).filter(|number: &f32| number.is_finite());
            match (rest.first(), number) {
                (Some(&">"), Some(number)) => Ok(Bound::Above(number)),
                (Some(&"<"), Some(number)) => Ok(Bound::Below(number)),
                _ => Err(wrong()),
            }
        };
        let measure = match (what, rest.as_slice()) {
            ("hit", []) => Measure::Hit(true),
            ("miss", []) => Measure::Hit(false),
            ("on-object", _) => Measure::OnObject(bound()?),
            ("overlap", _) => Measure::Overlap(bound()?),
            ("mass", _) => Measure::Mass(bound()?),
            ("similar", _) => Measure::Similar(bound()?),
            ("matches", _) => Measure::Matches(bound()?),
            ("answer", []) => Measure::Answer(None),
            ("answer", ["has", words @ ..]) if !words.is_empty() => Measure::Answer(Some(words.join(" "))),
            _ => return Err(wrong()),
        };
        Ok(Self { method, measure })
    }

    /// Whether it holds by what the models say now; `None` while that isn't known.
    #[must_use]
    pub fn holds(&self, app: &App) -> Option<bool> {
        let fares = || app.landed(self.method)?.fares;
        match &self.measure {
            Measure::Hit(hit) => Some(fares()?.hit == *hit),
            Measure::OnObject(bound) => Some(bound.holds(fares()?.on_objects)),
            Measure::Overlap(bound) => Some(bound.holds(fares()?.overlap)),
            Measure::Mass(bound) => Some(bound.holds(app.landed(self.method)?.mass())),
            Measure::Similar(bound) => match app.said(self.method)? {
                Said::Similar(cosine) => Some(bound.holds(cosine)),
                _ => None,
            },
            Measure::Matches(bound) => match app.said(self.method)? {
                Said::Matches(share) => Some(bound.holds(share)),
                _ => None,
            },
            Measure::Answer(words) => match app.said(self.method)? {
                Said::Text(text) => Some(words.as_ref().is_none_or(|words| holds(&text, words))),
                _ => None,
            },
        }
    }
}

/// Whether an answer holds these words as whole words: 没有 doesn't hold 有.
pub(super) fn holds(text: &str, words: &str) -> bool {
    if words.is_ascii() {
        return crate::app::holds(&text.to_lowercase(), &words.to_lowercase());
    }
    let [text, words] = [text, words].map(|text| segment(text, Language::Chinese));
    !words.is_empty() && text.windows(words.len()).any(|part| part == words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_held_as_whole_words() {
        assert!(holds("A red ball", "red ball") && !holds("a reddish ball", "red"));
        assert!(holds("红色的球", "红色") && holds("有", "有") && !holds("没有", "有"));
    }

    #[test]
    fn claims_are_read() {
        let claim = |line: &str| Claim::parse(line).expect("a claim").measure;
        assert_eq!(claim("miss contrastive"), Measure::Hit(false));
        assert_eq!(claim("on-object querying > 0.3"), Measure::OnObject(Bound::Above(0.3)));
        assert_eq!(claim("answer projector has a red ball"), Measure::Answer(Some("a red ball".into())));
        for line in [
            "",
            "hit",
            "hit nobody",
            "hit projector > 1",
            "mass projector = 1",
            "mass projector > x",
            "answer projector has",
        ] {
            assert!(Claim::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_bound_is_kept_or_not() {
        assert!(Bound::Above(0.5).holds(0.6) && !Bound::Above(0.5).holds(0.5) && Bound::Below(0.5).holds(0.4));
        assert!(holds("A red ball", "red") && !holds("a catfish", "cat") && holds("一只猫", "猫"));
    }
}
