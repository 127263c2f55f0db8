//! Sentences that are nearly true: one place of a true one is changed, so that only a close look tells.

use rand::{Rng, RngExt};
use serde::Serialize;

use super::claim::{Claim, Statement};
use super::language::Language;
use super::scene::Scene;
use super::thing::Thing;

/// What was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FoilKind {
    /// A sticker became another one that isn't there.
    Thing,
    /// A shape got a colour that no such shape has here.
    Colour,
    /// A colour got another shape.
    Shape,
    /// A number became another.
    Number,
    /// Left became right, above became below.
    Direction,
}

impl FoilKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Thing, Self::Colour, Self::Shape, Self::Number, Self::Direction];
}

impl Scene {
    /// A sentence like this true one with one place changed, so that it is false here; none where nothing can be
    /// changed.
    ///
    /// Numbers are changed where something occurs several times, and seldom else: nearly all numbers are one, so that
    /// without a look at the picture "three" would nearly always be false.
    pub fn foil<R: Rng + ?Sized>(
        &self,
        claim: &Claim,
        language: Language,
        rng: &mut R,
    ) -> Option<(FoilKind, Statement)> {
        let (kind, foil) = match claim {
            Claim::There(things) => self.other_list(things, rng)?,
            Claim::Relation { one, direction, other } => {
                let (mut one, mut other, mut direction) = (*one, *other, *direction);
                let kind = if rng.random_ratio(1, 2) {
                    direction = direction.opposite();
                    FoilKind::Direction
                } else {
                    let changed = if rng.random_ratio(1, 2) { &mut one } else { &mut other };
                    self.exchange(changed, rng)?
                };
                (kind, Claim::Relation { one, direction, other })
            }
        };
        (!self.satisfies(&foil)).then(|| (kind, foil.said(language)))
    }

    fn other_list<R: Rng + ?Sized>(&self, things: &[(Thing, Option<usize>)], rng: &mut R) -> Option<(FoilKind, Claim)> {
        if things.is_empty() {
            return None;
        }
        let mut things = things.to_vec();
        let several = things.iter().position(|(_, number)| number.is_some_and(|number| number > 1));
        let place = match several {
            Some(place) if rng.random_ratio(1, 2) => place,
            _ => rng.random_range(0..things.len() as u32) as usize,
        };
        let (thing, number) = &mut things[place];
        let kind = match number {
            Some(number) if (*number > 1 && rng.random_ratio(2, 3)) || rng.random_ratio(1, 12) => {
                let others: Vec<usize> = (1..=3).filter(|other| other != number).collect();
                *number = others[rng.random_range(0..others.len() as u32) as usize];
                FoilKind::Number
            }
            _ => self.exchange(thing, rng)?,
        };
        Some((kind, Claim::There(things)))
    }

    /// Puts a like thing that isn't there in place of `thing`.
    fn exchange<R: Rng + ?Sized>(&self, thing: &mut Thing, rng: &mut R) -> Option<FoilKind> {
        let absent = self.absent_like(*thing, rng)?;
        let kind = match (*thing, absent) {
            (Thing::Shape { shape, .. }, Thing::Shape { shape: other, .. }) if shape == other => FoilKind::Colour,
            (Thing::Shape { .. }, _) => FoilKind::Shape,
            (Thing::Sticker(_), _) => FoilKind::Thing,
        };
        *thing = absent;
        Some(kind)
    }
}
