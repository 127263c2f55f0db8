//! What is true of a sticker scene, held against a map: whether the map lies on what the words name.

use image::GrayImage;
use std::path::Path;
use std::sync::Arc;

use super::samples::SampleSource;
use super::{App, PictureSource};
use crate::attribution::hiding::corners;
use crate::evaluation::pointing::{MARGIN, centres_in, is_near};
use crate::methods::is_question;
use crate::world::{Language, Scene, mentioned, read_scene};

/// The objects of a scene that words name.
#[derive(Clone, Debug)]
pub struct Truth {
    mask: GrayImage,
    /// How many pixels of the mask lie above and left of each corner, `[height + 1, width + 1]`.
    sums: Vec<u32>,
}

/// How a map fares against the objects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fares {
    /// Whether the middle of the highest patch lies on an object, or as near as the pointing game allows.
    pub hit: bool,
    /// Share of the map's positive mass that lies on the objects.
    pub on_objects: f32,
    /// Intersection over union of the patches that objects cover by half and as many of the map's highest patches.
    pub overlap: f32,
}

impl Truth {
    /// Of the objects in this mask.
    #[must_use]
    pub fn new(mask: GrayImage) -> Self {
        let (width, height) = (mask.width() as usize, mask.height() as usize);
        let mut sums = vec![0; (width + 1) * (height + 1)];
        for (x, y, pixel) in mask.enumerate_pixels() {
            let at = (y as usize + 1) * (width + 1) + x as usize + 1;
            let above = at - width - 1;
            sums[at] = u32::from(pixel.0[0] > 0) + sums[at - 1] + sums[above] - sums[above - 1];
        }
        Self { mask, sums }
    }

    /// Which share of each patch is covered, row by row. The `grid` of rows and columns lies over the part `seen`
    /// (left, top, right, bottom) of the picture, in pixels.
    #[must_use]
    pub fn covered(&self, seen: [f32; 4], grid: (usize, usize)) -> Vec<f32> {
        let width = self.mask.width() as usize + 1;
        let sum = |x: u32, y: u32| self.sums[y as usize * width + x as usize];
        let of_patch = |[left, top, right, bottom]: [u32; 4]| {
            let inside = sum(right, bottom) + sum(left, top) - sum(left, bottom) - sum(right, top);
            inside as f32 / ((right - left) * (bottom - top)).max(1) as f32
        };
        corners(seen, grid, self.mask.dimensions()).into_iter().map(of_patch).collect()
    }

    /// How `map`, row by row over that grid, fares; `None` if it has another size or is nowhere above zero.
    #[must_use]
    pub fn fares(&self, map: &[f32], seen: [f32; 4], grid: (usize, usize)) -> Option<Fares> {
        let covered = self.covered(seen, grid);
        let mass: f32 = map.iter().map(|value| value.max(0.0)).sum();
        if map.len() != covered.len() || mass <= 0.0 {
            return None;
        }
        let mut order: Vec<usize> = (0..map.len()).collect();
        order.sort_by(|one, other| map[*other].total_cmp(&map[*one]));
        // A small object covers no patch by half: then the patch that it covers most is meant.
        let most = covered.iter().copied().fold(0.0, f32::max);
        let objects: Vec<bool> = covered.iter().map(|share| *share > 0.0 && *share >= most.min(0.5)).collect();
        let count = objects.iter().filter(|is_object| **is_object).count();
        let both = order.iter().take(count).filter(|patch| objects[**patch]).count();
        let on_objects = map.iter().zip(&covered).map(|(value, share)| value.max(0.0) * share).sum::<f32>() / mass;
        let centre = centres_in(seen, grid)[*order.first()?];
        Some(Fares {
            hit: is_near(&self.mask, centre, MARGIN),
            on_objects,
            overlap: both as f32 / (2 * count - both).max(1) as f32,
        })
    }
}

/// The scene and the truth of what was asked last, so that they aren't read and drawn anew in every frame.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    scene: Option<(PictureSource, Option<Arc<Scene>>)>,
    truth: Option<(PictureSource, String, Option<Arc<Truth>>)>,
}

impl App {
    /// What the picture shows, where it is a scene of the sample menu, one that a person has arranged, or one with its
    /// description beside it, and wasn't changed as a picture.
    #[must_use]
    pub fn scene(&self) -> Option<&Scene> {
        let (_, scene) = self.known_truth.scene.as_ref()?;
        scene.as_deref().filter(|_| self.state.changes.is_empty())
    }

    /// The objects that the selected words (or, where none are, the sentence) name, where the scene is known and they name
    /// some.
    #[must_use]
    pub fn truth(&self) -> Option<&Truth> {
        let (.., truth) = self.known_truth.truth.as_ref()?;
        truth.as_deref().filter(|_| self.state.changes.is_empty())
    }

    /// Finds scene and truth anew where picture or words have changed.
    pub(super) fn find_truth(&mut self) {
        let picture = &self.state.picture;
        if self.known_truth.scene.as_ref().is_none_or(|(known, _)| known != picture) {
            let scene = self.scene_in(picture).map(Arc::new);
            self.known_truth = Known { scene: Some((picture.clone(), scene)), truth: None };
        }
        let selected = self.state.selected.words.and_then(|(start, end)| self.state.sentence.get(start..end));
        // A question as a whole names what it asks about; but its map is that of the answer, which may lie elsewhere.
        let words = selected.unwrap_or(if is_question(&self.state.sentence) { "" } else { &self.state.sentence });
        if self.known_truth.truth.as_ref().is_some_and(|(of, known, _)| of == picture && known == words) {
            return;
        }
        let scene = self.known_truth.scene.as_ref().and_then(|(_, scene)| scene.as_deref());
        let truth = scene.and_then(|scene| objects_named(scene, words)).map(Arc::new);
        self.known_truth.truth = Some((picture.clone(), words.to_owned(), truth));
    }

    fn scene_in(&self, picture: &PictureSource) -> Option<Scene> {
        match picture {
            PictureSource::Sample(key) => {
                let sample = self.samples.iter().find(|sample| sample.key == *key)?;
                let SampleSource::Scene(scene) = &sample.source else { return None };
                Some(Scene::clone(scene))
            }
            PictureSource::File(path) => scene_beside(path),
            PictureSource::Scene(scene) => Some(Scene::clone(scene)),
        }
    }
}

fn objects_named(scene: &Scene, words: &str) -> Option<Truth> {
    let things: Vec<_> = Language::ALL.iter().flat_map(|language| mentioned(words, *language)).collect();
    let objects: Vec<usize> =
        (0..scene.objects.len()).filter(|at| things.contains(&scene.objects[*at].thing)).collect();
    (!objects.is_empty()).then(|| Truth::new(scene.mask_of(&objects)))
}

/// The scene that `alignscope scenes` has written beside a picture.
fn scene_beside(picture: &Path) -> Option<Scene> {
    read_scene(&picture.with_extension("json")).ok().map(|description| description.scene)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Luma;

    /// A square of 20 pixels in the second column of the first row of four by four patches of 20 pixels.
    fn truth() -> Truth {
        let inside = |x: u32, y: u32| (20..40).contains(&x) && y < 20;
        Truth::new(GrayImage::from_fn(80, 80, |x, y| Luma([if inside(x, y) { 255 } else { 0 }])))
    }

    const SEEN: [f32; 4] = [0.0, 0.0, 80.0, 80.0];

    #[test]
    fn patches_are_covered_as_the_mask_says() {
        let covered = truth().covered(SEEN, (4, 4));
        assert_eq!(covered[1], 1.0);
        assert_eq!(covered.iter().sum::<f32>(), 1.0);
        let halves = truth().covered([10.0, 0.0, 90.0, 80.0], (4, 4));
        assert_eq!(halves[..3], [0.5, 0.5, 0.0]);
    }

    #[test]
    fn a_map_fares_well_on_the_object_and_badly_elsewhere() {
        let mut map = vec![0.0; 16];
        assert_eq!(truth().fares(&map, SEEN, (4, 4)), None);
        map[1] = 3.0;
        map[15] = 1.0;
        let good = truth().fares(&map, SEEN, (4, 4)).unwrap();
        assert_eq!(good, Fares { hit: true, on_objects: 0.75, overlap: 1.0 });
        map[1] = 0.0;
        let bad = truth().fares(&map, SEEN, (4, 4)).unwrap();
        assert_eq!(bad, Fares { hit: false, on_objects: 0.0, overlap: 0.0 });
        assert_eq!(truth().fares(&map, SEEN, (2, 2)), None);
    }
}
