//! Questions about a scene whose answers are known.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::language::{Language, colour_word, direction_words, number, shape_word, yes_or_no};
use super::scene::{Object, Scene};
use super::split::is_held_out_thing;
use super::thing::{Shape, Sticker, Thing};

/// A question and its only right answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What is asked for.
    pub kind: QuestionKind,
    /// The question: `what colour is the ball?`
    pub text: String,
    /// The answer, in as few words as possible: `red`.
    pub answer: String,
    /// Indices of the objects that one has to see for the answer; none where the thing isn't there.
    pub objects: Vec<usize>,
}

/// What a question asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuestionKind {
    /// What is on one side of a thing. Asked only where there are things on other sides too: of two things, the
    /// other one would always be the answer, and no one would have to look.
    Where,
    /// The colour of a shape.
    Colour,
    /// The number of a thing. About half of the answers are one.
    Count,
    /// Whether a thing is there. Half of the answers are yes.
    Presence,
    /// What the only object is.
    Name,
}

impl QuestionKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Where, Self::Colour, Self::Count, Self::Presence, Self::Name];
}

/// Where something is, seen from something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// To the left.
    Left,
    /// To the right.
    Right,
    /// Higher in the picture.
    Above,
    /// Lower in the picture.
    Below,
}

/// Middles must be so many pixels apart for a clear direction.
const CLEAR_DISTANCE: i64 = 48;

impl Direction {
    /// All directions.
    pub const ALL: [Self; 4] = [Self::Left, Self::Right, Self::Above, Self::Below];

    /// Where `to` is, seen from `from`; none where it is too near, or as much beside as above or below.
    ///
    /// Clear is a distance of middles of 48 pixels or more that is at least one and a half times as large as the
    /// distance in the other direction.
    pub fn between(from: &Object, to: &Object) -> Option<Self> {
        let (across, down) = distance(from, to);
        if across.abs() >= 2 * CLEAR_DISTANCE && 2 * across.abs() >= 3 * down.abs() {
            Some(if across < 0 { Self::Left } else { Self::Right })
        } else if down.abs() >= 2 * CLEAR_DISTANCE && 2 * down.abs() >= 3 * across.abs() {
            Some(if down < 0 { Self::Above } else { Self::Below })
        } else {
            None
        }
    }
}

impl Direction {
    /// The other way.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
            Self::Above => Self::Below,
            Self::Below => Self::Above,
        }
    }
}

/// Twice the distance of the middles, rightwards and downwards, in pixels.
fn distance(from: &Object, to: &Object) -> (i64, i64) {
    let middle = |start: i32, size: u32| 2 * i64::from(start) + i64::from(size);
    (middle(to.x, to.size) - middle(from.x, from.size), middle(to.y, to.size) - middle(from.y, from.size))
}

impl Scene {
    /// All questions about the scene that have exactly one right answer, the same at every call.
    pub fn questions(&self, language: Language) -> Vec<Question> {
        let mut questions = self.where_questions(language);
        questions.extend(self.colour_questions(language));
        questions.extend(self.count_questions(language));
        questions.extend(self.presence_questions(language));
        questions.extend(self.name_question(language));
        questions
    }

    /// Which objects lie in each direction of [`Direction::ALL`] from one; none where any of them is neither beside nor above
    /// nor below it, since it could pass for lying in any.
    pub fn around(&self, index: usize) -> Option<[Vec<usize>; 4]> {
        let mut around: [Vec<usize>; 4] = Default::default();
        for other in (0..self.objects.len()).filter(|&other| other != index) {
            let direction = Direction::between(&self.objects[index], &self.objects[other])?;
            around[direction as usize].push(other);
        }
        Some(around)
    }

    fn where_questions(&self, language: Language) -> Vec<Question> {
        let mut questions = Vec::new();
        if self.objects.len() < 3 {
            return questions;
        }
        for (index, object) in self.objects.iter().enumerate() {
            if self.objects_that_are(object.thing).len() != 1 {
                continue;
            }
            let Some(around) = self.around(index) else { continue };
            for (direction, found) in Direction::ALL.into_iter().zip(around) {
                if let [answer] = found[..] {
                    let thing = object.thing.phrase(language);
                    let words = direction_words(direction, language);
                    questions.push(Question {
                        kind: QuestionKind::Where,
                        text: match language {
                            Language::English => format!("what is {words} the {thing}?"),
                            Language::Chinese => format!("{thing}的{words}是什么？"),
                        },
                        answer: self.objects[answer].thing.phrase(language),
                        objects: vec![answer, index],
                    });
                }
            }
        }
        questions
    }

    fn colour_questions(&self, language: Language) -> Vec<Question> {
        let mut questions = Vec::new();
        for shape in Shape::ALL {
            let objects: Vec<usize> = (0..self.objects.len())
                .filter(
                    |&index| matches!(self.objects[index].thing, Thing::Shape { shape: other, .. } if other == shape),
                )
                .collect();
            let [index] = objects[..] else { continue };
            let Thing::Shape { colour, .. } = self.objects[index].thing else {
                continue;
            };
            let name = shape_word(shape, language);
            questions.push(Question {
                kind: QuestionKind::Colour,
                text: match language {
                    Language::English => format!("what colour is the {name}?"),
                    Language::Chinese => format!("{name}是什么颜色？"),
                },
                answer: colour_word(colour, language).to_owned(),
                objects,
            });
        }
        questions
    }

    /// All that occurs several times is counted, and one in ten of the things that occur once: most do, and without
    /// looking "one" would nearly always be right. So it is right for about half of the questions.
    fn count_questions(&self, language: Language) -> Vec<Question> {
        let mut rng = self.generator();
        let mut questions = Vec::new();
        for thing in self.things() {
            let objects = self.objects_that_are(thing);
            // There are words for one to four.
            let is_asked = match objects.len() {
                1 => rng.random_ratio(1, 10),
                count => count <= 4,
            };
            if is_asked {
                questions.push(Question {
                    kind: QuestionKind::Count,
                    text: match language {
                        Language::English => format!("how many {}?", thing.plural()),
                        Language::Chinese => {
                            format!("有几{}{}？", thing.measure(), thing.phrase(language))
                        }
                    },
                    answer: number(objects.len(), language).to_owned(),
                    objects,
                });
            }
        }
        questions
    }

    /// For each thing that is there, a like thing that isn't: the question alone never tells the answer.
    fn presence_questions(&self, language: Language) -> Vec<Question> {
        let mut rng = self.generator();
        let mut questions = Vec::new();
        for thing in self.things() {
            let Some(absent) = self.absent_like(thing, &mut rng) else {
                continue;
            };
            for (asked, is_there) in [(thing, true), (absent, false)] {
                questions.push(Question {
                    kind: QuestionKind::Presence,
                    text: match language {
                        Language::English => format!("is there {}?", asked.counted(1, language)),
                        Language::Chinese => format!("有{}吗？", asked.phrase(language)),
                    },
                    answer: yes_or_no(is_there, language).to_owned(),
                    objects: self.objects_that_are(asked),
                });
            }
        }
        questions
    }

    fn name_question(&self, language: Language) -> Option<Question> {
        let [object] = &self.objects[..] else {
            return None;
        };
        Some(Question {
            kind: QuestionKind::Name,
            text: match language {
                Language::English => "what is this?".to_owned(),
                Language::Chinese => "这是什么？".to_owned(),
            },
            answer: object.thing.phrase(language),
            objects: vec![0],
        })
    }

    /// A thing that isn't in the scene: for a sticker another one, for a shape one with the same shape or the same colour.
    ///
    /// It is held out where `thing` is and only there, or else training would learn that held-out things never exist.
    pub(super) fn absent_like<R: Rng + ?Sized>(&self, thing: Thing, rng: &mut R) -> Option<Thing> {
        let is_like = |other: Thing| match (thing, other) {
            (Thing::Sticker(_), Thing::Sticker(_)) => true,
            (Thing::Shape { shape, colour }, Thing::Shape { shape: other, colour: another }) => {
                is_held_out_thing(thing) || shape == other || colour == another
            }
            _ => false,
        };
        let candidates: Vec<Thing> = Thing::all()
            .filter(|&other| is_like(other) && is_held_out_thing(other) == is_held_out_thing(thing))
            .filter(|other| self.objects.iter().all(|object| object.thing != *other))
            .collect();
        if candidates.is_empty() {
            return None;
        }
        Some(candidates[rng.random_range(0..candidates.len() as u32) as usize])
    }

    /// A generator that follows from the objects, so that equal scenes ask the same.
    fn generator(&self) -> ChaCha8Rng {
        let mut hash = Sticker::count() as u64;
        for object in &self.objects {
            for number in [object.thing.index() as u64, object.x as u64, object.y as u64, u64::from(object.size)] {
                hash = (hash ^ number).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        ChaCha8Rng::seed_from_u64(hash)
    }
}
