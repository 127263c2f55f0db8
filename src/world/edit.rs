//! A scene changed by hand: each change gives a new scene and leaves the old one as it was.

use super::SIDE;
use super::scene::{Object, Scene};
use super::thing::Thing;

/// Sides that an object can have, in pixels. The built-in checkpoints know those from 72 to 136.
pub const SIZES: std::ops::RangeInclusive<u32> = 32..=200;
/// Objects that a scene can have; random scenes have four at most.
pub const MOST_OBJECTS: usize = 12;
/// Side of a new object, in pixels.
const NEW: u32 = 88;
/// Distance between the places that are tried for a new object, in pixels.
const STEP: usize = 8;

impl Scene {
    /// With an object's upper left corner at `(x, y)`, as far as its middle stays in the scene.
    #[must_use]
    pub fn with_place(&self, index: usize, x: i32, y: i32) -> Self {
        self.changed(index, |object| (object.x, object.y) = (x, y))
    }

    /// With an object of another size around the same middle.
    #[must_use]
    pub fn with_size(&self, index: usize, size: u32) -> Self {
        self.changed(index, |object| {
            let size = size.clamp(*SIZES.start(), *SIZES.end());
            let shift = (i64::from(object.size) - i64::from(size)).div_euclid(2) as i32;
            (object.x, object.y) = (object.x.saturating_add(shift), object.y.saturating_add(shift));
            object.size = size;
        })
    }

    /// With an object turned into another thing.
    #[must_use]
    pub fn with_thing(&self, index: usize, thing: Thing) -> Self {
        self.changed(index, |object| object.thing = thing)
    }

    /// With one more object, on top, where it covers the least of the others; the same scene if it is full.
    #[must_use]
    pub fn with_new(&self, thing: Thing) -> Self {
        let mut scene = self.clone();
        if scene.objects.len() >= MOST_OBJECTS {
            return scene;
        }
        let at = |x: usize, y: usize| Object { thing, x: x as i32, y: y as i32, size: NEW };
        let free = (SIDE - NEW) as usize;
        let places = (0..=free).step_by(STEP).flat_map(|y| (0..=free).step_by(STEP).map(move |x| at(x, y)));
        // Of places that are as good, the one nearest to the middle.
        let middle = (free / 2) as i32;
        let cost = |object: &Object| {
            let covered: i64 = self.objects.iter().map(|other| common(object, other)).sum();
            (covered, (object.x - middle).abs() + (object.y - middle).abs())
        };
        scene.objects.extend(places.min_by_key(cost));
        scene
    }

    /// Without an object.
    #[must_use]
    pub fn without(&self, index: usize) -> Self {
        let mut scene = self.clone();
        if index < scene.objects.len() {
            scene.objects.remove(index);
        }
        scene
    }

    /// With an object on top of all others, where it is the last.
    #[must_use]
    pub fn with_on_top(&self, index: usize) -> Self {
        let mut scene = self.clone();
        if index < scene.objects.len() {
            let object = scene.objects.remove(index);
            scene.objects.push(object);
        }
        scene
    }

    /// Brings what a file may hold back into what can be drawn and edited.
    pub fn mend(&mut self) {
        self.objects.truncate(MOST_OBJECTS);
        for object in &mut self.objects {
            object.mend();
        }
    }

    fn changed(&self, index: usize, change: impl FnOnce(&mut Object)) -> Self {
        let mut scene = self.clone();
        if let Some(object) = scene.objects.get_mut(index) {
            change(object);
            object.mend();
        }
        scene
    }
}

impl Object {
    /// A size that can be seen, and a middle that lies in the scene.
    fn mend(&mut self) {
        self.size = self.size.clamp(*SIZES.start(), *SIZES.end());
        let half = (self.size / 2) as i32;
        let corner = |value: i32| value.clamp(-half, SIDE as i32 - half);
        (self.x, self.y) = (corner(self.x), corner(self.y));
    }
}

/// Pixels that two boxes have in common.
fn common(one: &Object, other: &Object) -> i64 {
    let (one, other) = (one.bounds(), other.bounds());
    let along = |start: i32, end: i32| i64::from((end - start).max(0));
    along(one.left.max(other.left), one.right.min(other.right))
        * along(one.top.max(other.top), one.bottom.min(other.bottom))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Split;

    fn scene() -> Scene {
        Scene::random_with(Split::Test, 3, 3..=3)
    }

    #[test]
    fn an_object_stays_within_reach() {
        let far = scene().with_place(0, 4000, -4000);
        let object = far.objects[0];
        let half = object.size as i32 / 2;
        assert_eq!((object.x + half, object.y + half), (SIDE as i32, 0));
        assert_eq!(scene().with_size(1, 9999).objects[1].size, *SIZES.end());
        assert_eq!(scene().with_size(1, 0).objects[1].size, *SIZES.start());
    }

    #[test]
    fn a_new_object_takes_a_free_place() {
        let thing = Thing::all().next().unwrap();
        let scene = Scene { objects: Vec::new(), ..scene() }.with_new(thing).with_new(thing);
        assert_eq!(common(&scene.objects[0], &scene.objects[1]), 0);
        let full = (0..20).fold(scene, |scene, _| scene.with_new(thing));
        assert_eq!(full.objects.len(), MOST_OBJECTS);
        assert_eq!(full.without(3).objects.len(), MOST_OBJECTS - 1);
        assert_eq!(full.without(99), full);
    }

    #[test]
    fn an_object_grows_around_its_middle() {
        let before = scene();
        let object = before.objects[0];
        let after = before.with_size(0, object.size + 10).objects[0];
        assert_eq!((after.x, after.y), (object.x - 5, object.y - 5));
        assert_eq!(before.with_thing(0, before.objects[1].thing).objects[0].thing, before.objects[1].thing);
    }
}
