//! True sentences and phrases about a scene.

use rand::{Rng, RngExt};

use super::SIDE;
use super::claim::{Claim, Statement};
use super::language::{Language, number};
use super::questions::Direction;
use super::scene::Scene;
use super::thing::Thing;

/// Columns and rows of the places that can be told: there are words for one to four.
const CELLS: usize = 4;

/// Words that name one thing of a scene, and the objects that they name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phrase {
    /// Without an article: `cat`, `red ball`; `猫`, `红色的球`.
    pub text: String,
    /// With article or measure word: `a cat`; `一只猫`.
    pub with_article: String,
    /// What it names.
    pub thing: Thing,
    /// Indices of all objects that are this thing.
    pub objects: Vec<usize>,
}

impl Phrase {
    fn new(thing: Thing, language: Language, objects: Vec<usize>) -> Self {
        Self { text: thing.phrase(language), with_article: thing.counted(1, language), thing, objects }
    }
}

/// The phrases of the whole world, in the order of [`Thing::all`]; they name no object of a scene.
pub fn all_phrases(language: Language) -> Vec<Phrase> {
    Thing::all().map(|thing| Phrase::new(thing, language, Vec::new())).collect()
}

impl Scene {
    /// One phrase for each different thing in the scene, with the objects that are this thing.
    pub fn phrases(&self, language: Language) -> Vec<Phrase> {
        let things = self.things().into_iter();
        things.map(|thing| Phrase::new(thing, language, self.objects_that_are(thing))).collect()
    }

    /// A true sentence: of a hundred, 60 list all things, 28 say where one thing is from another, and 12 name one thing.
    ///
    /// Where nothing is clearly beside or above something else, a list takes the place of the relation, so that lists
    /// are somewhat more frequent. A scene without objects has the empty caption.
    pub fn caption<R: Rng + ?Sized>(&self, language: Language, rng: &mut R) -> String {
        self.statement(language, rng).text
    }

    /// [`Self::caption`] together with what it claims.
    pub fn statement<R: Rng + ?Sized>(&self, language: Language, rng: &mut R) -> Statement {
        let kind = rng.random_range(0..100_u32);
        match kind {
            60..88 => self.relation(language, rng).unwrap_or_else(|| self.list(language, rng)),
            88.. => self.single(language, rng),
            _ => self.list(language, rng),
        }
    }

    /// All things with their numbers, in the order of their first objects; always the same for a scene.
    pub fn full_caption(&self, language: Language) -> String {
        self.full_statement(language).text
    }

    /// [`Self::full_caption`] together with what it claims.
    pub fn full_statement(&self, language: Language) -> Statement {
        self.list_of(self.things(), language)
    }

    /// All things with their numbers, in any order: what [`Language::caption_prompt`] asks for.
    pub fn list<R: Rng + ?Sized>(&self, language: Language, rng: &mut R) -> Statement {
        let mut things = self.things();
        for last in (1..things.len()).rev() {
            things.swap(last, rng.random_range(0..=last as u32) as usize);
        }
        self.list_of(things, language)
    }

    /// Every object with its column and row, from one to four, in any order: `cat three one, red ball two four`.
    pub fn places<R: Rng + ?Sized>(&self, language: Language, rng: &mut R) -> String {
        let cell = |start: i32, size: u32| (start + size as i32 / 2).max(0) as usize * CELLS / SIDE as usize + 1;
        let mut places = Vec::new();
        for object in &self.objects {
            let (column, row) = (cell(object.x, object.size), cell(object.y, object.size));
            let place = [object.thing.phrase(language), number(column, language).into(), number(row, language).into()];
            places.insert(rng.random_range(0..=places.len() as u32) as usize, place.join(" "));
        }
        places.join(", ")
    }

    /// These things with their numbers: `two apples, a cat and a red ball`.
    fn list_of(&self, things: Vec<Thing>, language: Language) -> Statement {
        let there = things.into_iter().map(|thing| (thing, Some(self.objects_that_are(thing).len())));
        Claim::There(there.collect()).said(language)
    }

    /// Where one thing is from another: `a cat left of a red ball`. None where nothing is clear.
    fn relation<R: Rng + ?Sized>(&self, language: Language, rng: &mut R) -> Option<Statement> {
        let relations = self.relations();
        if relations.is_empty() {
            return None;
        }
        let (one, direction, other) = relations[rng.random_range(0..relations.len() as u32) as usize];
        let (one, other) = (self.objects[one].thing, self.objects[other].thing);
        Some(Claim::Relation { one, direction, other }.said(language))
    }

    /// One thing: `two cats`, `a cat` or just `cat`.
    pub fn single<R: Rng + ?Sized>(&self, language: Language, rng: &mut R) -> Statement {
        let things = self.things();
        if things.is_empty() {
            return self.list(language, rng);
        }
        let thing = things[rng.random_range(0..things.len() as u32) as usize];
        let count = rng.random_ratio(1, 2).then(|| self.objects_that_are(thing).len());
        Claim::There(vec![(thing, count)]).said(language)
    }

    /// All pairs of objects of which one is clearly in a direction from the other; both are the only ones of their thing.
    fn relations(&self) -> Vec<(usize, Direction, usize)> {
        let is_only = |index: usize| self.objects_that_are(self.objects[index].thing).len() == 1;
        let only: Vec<usize> = (0..self.objects.len()).filter(|&index| is_only(index)).collect();
        let mut relations = Vec::new();
        for &one in &only {
            for &other in &only {
                let direction = Direction::between(&self.objects[other], &self.objects[one]);
                relations.extend(direction.map(|direction| (one, direction, other)));
            }
        }
        relations
    }
}
