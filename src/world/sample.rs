//! Random scenes: which things, how large, where, on what ground.

use std::ops::RangeInclusive;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::SIDE;
use super::ground::Ground;
use super::scene::{Object, Scene};
use super::split::{HELD_OUT_PAIRS, HELD_OUT_SHAPES, Split, held_out_pair, is_held_out_pair, is_held_out_thing};
use super::thing::{Colour, Shape, Sticker, Thing};
use super::tile::{LARGEST, SMALLEST, STEP};

/// Smallest distance between two objects, and between an object and the edge, in pixels.
const MARGIN: i32 = 4;
/// More would make a Chinese list longer than 22 words.
const MOST_SHAPES: usize = 3;

impl Scene {
    /// The scene of this split with this seed, with one to four objects.
    pub fn random(split: Split, seed: u64) -> Self {
        let mut rng = generator(split, seed);
        let count = match rng.random_range(0..100_u32) {
            0..15 => 1,
            15..45 => 2,
            45..75 => 3,
            _ => 4,
        };
        Self::with_count(split, count, &mut rng)
    }

    /// The scene of this split with this seed and so many objects (1 to 4; other numbers are brought into this range).
    pub fn random_with(split: Split, seed: u64, objects: RangeInclusive<usize>) -> Self {
        let mut rng = generator(split, seed);
        let least = (*objects.start()).clamp(1, 4) as u32;
        let most = ((*objects.end()).clamp(1, 4) as u32).max(least);
        let count = rng.random_range(least..=most) as usize;
        Self::with_count(split, count, &mut rng)
    }

    fn with_count(split: Split, count: usize, rng: &mut ChaCha8Rng) -> Self {
        let ground = Ground::random(rng);
        let mut things = choose_things(split, count, rng);
        shuffle(&mut things, rng);
        let objects = things
            .into_iter()
            .zip(choose_places(count, rng))
            .map(|(thing, (x, y, size))| Object { thing, x, y, size })
            .collect();
        Self { ground, objects }
    }
}

fn generator(split: Split, seed: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(split.stream());
    rng
}

/// One of `0..count`. Always drawn as `u32`, so that machines of every width draw the same.
fn below(count: usize, rng: &mut ChaCha8Rng) -> usize {
    rng.random_range(0..count as u32) as usize
}

fn shuffle(things: &mut [Thing], rng: &mut ChaCha8Rng) {
    for last in (1..things.len()).rev() {
        things.swap(last, below(last + 1, rng));
    }
}

fn choose_things(split: Split, count: usize, rng: &mut ChaCha8Rng) -> Vec<Thing> {
    let mut things = Vec::with_capacity(count);
    if split == Split::HeldOut {
        things.extend(held_out_start(count, rng));
    }
    // In one of five scenes with room for it something occurs twice or thrice, so that counting makes sense.
    let repeats = if things.len() + 1 < count && rng.random_ratio(1, 5) {
        let thing = new_thing(&things, rng);
        let most = (count - things.len()).min(3);
        if most == 3 && rng.random_ratio(1, 2) { vec![thing; 3] } else { vec![thing; 2] }
    } else {
        Vec::new()
    };
    things.extend(repeats);
    while things.len() < count {
        things.push(new_thing(&things, rng));
    }
    things
}

/// What makes a held-out scene one: a shape in a colour, or two stickers.
fn held_out_start(count: usize, rng: &mut ChaCha8Rng) -> Vec<Thing> {
    if count < 2 || rng.random_ratio(1, 2) {
        let (shape, colour) = HELD_OUT_SHAPES[below(HELD_OUT_SHAPES.len(), rng)];
        vec![Thing::Shape { shape, colour }]
    } else {
        let (one, other) = held_out_pair(below(HELD_OUT_PAIRS, rng));
        vec![Thing::Sticker(one), Thing::Sticker(other)]
    }
}

/// A thing that isn't there yet and adds no held-out combination.
fn new_thing(present: &[Thing], rng: &mut ChaCha8Rng) -> Thing {
    let shapes = present.iter().filter(|thing| thing.is_shape()).count();
    loop {
        let thing = if shapes < MOST_SHAPES && rng.random_ratio(1, 3) {
            Thing::Shape {
                shape: Shape::ALL[below(Shape::ALL.len(), rng)],
                colour: Colour::ALL[below(Colour::ALL.len(), rng)],
            }
        } else {
            Thing::Sticker(Sticker::at(below(Sticker::count(), rng)))
        };
        let fits = !present.contains(&thing)
            && !is_held_out_thing(thing)
            && !present.iter().any(|&other| is_held_out_pair(thing, other));
        if fits {
            return thing;
        }
    }
}

/// Left, top and size of so many objects that keep their distance.
fn choose_places(count: usize, rng: &mut ChaCha8Rng) -> Vec<(i32, i32, u32)> {
    let (smallest, largest) = match count {
        1 => (96, LARGEST),
        2 => (80, LARGEST),
        3 => (SMALLEST, 112),
        _ => (SMALLEST, 104),
    };
    for _ in 0..40 {
        let sizes: Vec<u32> =
            (0..count).map(|_| smallest + STEP * rng.random_range(0..=(largest - smallest) / STEP)).collect();
        if let Some(places) = place(&sizes, rng) {
            return places;
        }
    }
    // Four smallest objects always fit into the quarters of the scene.
    let quarter = SIDE as i32 / 2;
    (0..count as i32)
        .map(|index| {
            let inset = (quarter - SMALLEST as i32) / 2;
            (index % 2 * quarter + inset, index / 2 * quarter + inset, SMALLEST)
        })
        .collect()
}

/// Throws objects of these sizes into the scene one by one; none if one finds no room.
fn place(sizes: &[u32], rng: &mut ChaCha8Rng) -> Option<Vec<(i32, i32, u32)>> {
    let mut places: Vec<(i32, i32, u32)> = Vec::with_capacity(sizes.len());
    for &size in sizes {
        let end = SIDE as i32 - MARGIN - size as i32;
        let free = (0..12).find_map(|_| {
            let (x, y) = (rng.random_range(MARGIN..=end), rng.random_range(MARGIN..=end));
            let apart = places.iter().all(|&(left, top, other)| {
                x + size as i32 + MARGIN <= left
                    || left + other as i32 + MARGIN <= x
                    || y + size as i32 + MARGIN <= top
                    || top + other as i32 + MARGIN <= y
            });
            apart.then_some((x, y, size))
        })?;
        places.push(free);
    }
    Some(places)
}
