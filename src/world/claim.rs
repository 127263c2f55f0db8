//! What a sentence claims, apart from its words, so that it can be held against any scene.

use super::language::{Language, direction_words};
use super::questions::Direction;
use super::scene::Scene;
use super::thing::Thing;

/// What a sentence claims of a scene.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// These things are there: so many of each, or, without a number, at least one.
    There(Vec<(Thing, Option<usize>)>),
    /// The only `one` stands in this direction from the only `other`.
    Relation {
        /// What the sentence is about.
        one: Thing,
        /// Where it is.
        direction: Direction,
        /// From what.
        other: Thing,
    },
}

/// A sentence and what it claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The sentence.
    pub text: String,
    /// Its claim.
    pub claim: Claim,
}

impl Claim {
    /// The claim in words: `two apples, a cat and a red ball`, `cat`, `a cat left of a red ball`.
    #[must_use]
    pub fn said(self, language: Language) -> Statement {
        let text = match &self {
            Self::There(things) => {
                let part = |(thing, number): &(Thing, Option<usize>)| match number {
                    Some(number) => thing.counted(*number, language),
                    None => thing.phrase(language),
                };
                let mut parts: Vec<String> = things.iter().map(part).collect();
                let last = parts.pop().unwrap_or_default();
                match language {
                    _ if parts.is_empty() => last,
                    Language::English => format!("{} and {last}", parts.join(", ")),
                    Language::Chinese => format!("{}和{last}", parts.join("、")),
                }
            }
            Self::Relation { one, direction, other } => {
                let (one, other) = (one.counted(1, language), other.counted(1, language));
                let words = direction_words(*direction, language);
                match language {
                    Language::English => format!("{one} {words} {other}"),
                    Language::Chinese => format!("{one}在{other}的{words}"),
                }
            }
        };
        Statement { text, claim: self }
    }
}

impl Scene {
    /// Whether a claim is true here.
    pub fn satisfies(&self, claim: &Claim) -> bool {
        match claim {
            Claim::There(things) => things.iter().all(|(thing, number)| {
                let count = self.objects_that_are(*thing).len();
                number.map_or(count > 0, |number| count == number)
            }),
            Claim::Relation { one, direction, other } => {
                let (ones, others) = (self.objects_that_are(*one), self.objects_that_are(*other));
                match (ones.as_slice(), others.as_slice()) {
                    ([one], [other]) => {
                        let between = Direction::between(&self.objects[*other], &self.objects[*one]);
                        between == Some(*direction)
                    }
                    _ => false,
                }
            }
        }
    }
}
