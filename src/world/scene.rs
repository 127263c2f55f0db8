//! A scene: what is where.

use serde::{Deserialize, Serialize};

use super::ground::Ground;
use super::thing::Thing;

/// A picture's content. It can be edited at will: objects may overlap (later ones lie on top) and stick out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Scene {
    /// What lies behind the objects.
    pub ground: Ground,
    /// The objects, from the lowest to the topmost.
    pub objects: Vec<Object>,
}

/// One thing at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Object {
    /// What it is.
    pub thing: Thing,
    /// Left edge in pixels; negative when it sticks out on the left.
    pub x: i32,
    /// Upper edge in pixels; negative when it sticks out at the top.
    pub y: i32,
    /// Width and height in pixels.
    pub size: u32,
}

impl Object {
    /// Its box in the scene.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            left: self.x,
            top: self.y,
            right: self.x.saturating_add_unsigned(self.size),
            bottom: self.y.saturating_add_unsigned(self.size),
        }
    }
}

/// A box in pixels: `left <= x < right`, `top <= y < bottom`. It may stick out of the scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bounds {
    /// First column inside.
    pub left: i32,
    /// First row inside.
    pub top: i32,
    /// First column to the right of it.
    pub right: i32,
    /// First row below it.
    pub bottom: i32,
}

impl Bounds {
    /// Whether the pixel is inside.
    pub fn contains(&self, x: i32, y: i32) -> bool {
        (self.left..self.right).contains(&x) && (self.top..self.bottom).contains(&y)
    }

    /// Whether the two come closer than `margin` pixels, or overlap.
    pub fn is_near(&self, other: &Self, margin: i32) -> bool {
        self.left < other.right.saturating_add(margin)
            && other.left < self.right.saturating_add(margin)
            && self.top < other.bottom.saturating_add(margin)
            && other.top < self.bottom.saturating_add(margin)
    }
}

impl Scene {
    /// The different things in the scene, in the order of their first objects.
    pub fn things(&self) -> Vec<Thing> {
        let mut things = Vec::new();
        for object in &self.objects {
            if !things.contains(&object.thing) {
                things.push(object.thing);
            }
        }
        things
    }

    /// Indices of all objects that are this thing.
    pub fn objects_that_are(&self, thing: Thing) -> Vec<usize> {
        (0..self.objects.len()).filter(|&index| self.objects[index].thing == thing).collect()
    }
}
