//! A loss that lets what stands for a place of the picture know what lies there, and what lies around it.
//!
//! A language model that stays as it is can ask for what its words name, and read what is kept there; it can't be taught to
//! compare the places of two things. Asked for what is left of a cat, it has to find the answer where the cat is. The
//! resampler, in which every place looks at all others, can put it there. So it is asked: one matrix reads from the state at
//! the middle of each thing what kind of thing lies there, to the left, to the right, above and below, and in what colour.

use candle_core::{D, Device, Tensor};

use crate::error::Result;
use crate::nn::{Parameters, log_softmax};
use crate::world::{Colour, Direction, SIDE, Scene, Shape, Sticker, Thing};

/// Prefix of the matrix among the variables; it is no part of the model.
pub const SURROUNDINGS_HEAD: &str = "surroundings_head.";

/// What is asked of a thing: what itself is, and what lies in each direction.
const ASKED: usize = 1 + Direction::ALL.len();
/// The kinds of what can lie somewhere: stickers, shapes, nothing.
fn kinds() -> usize {
    Sticker::count() + Shape::ALL.len() + 1
}
/// The colours that it can have: those of shapes, or none.
const COLOURS: usize = Colour::ALL.len() + 1;

/// The things of several pictures and what lies around them.
#[derive(Clone, Debug)]
pub struct Surroundings {
    states: Tensor,  // [things], of all patches of all pictures, that at the middle of each thing
    kinds: Tensor,   // [things, asked]
    colours: Tensor, // [things, asked]
    known: Tensor,   // [things, asked], 1 where there is one answer
    there: Tensor,   // [things, asked], 1 where something lies beside the thing
}

impl Surroundings {
    /// Of pictures of `scenes`, each cut into `side` rows and columns of patches.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn new(scenes: &[Scene], side: usize) -> Result<Self> {
        let mut rows = Vec::new();
        let (mut all_kinds, mut all_colours, mut known, mut there) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (picture, scene) in scenes.iter().enumerate() {
            for (index, object) in scene.objects.iter().enumerate() {
                let patch = |start: i32| {
                    let middle = start.saturating_add(object.size as i32 / 2).clamp(0, SIDE as i32 - 1);
                    middle as usize * side / SIDE as usize
                };
                rows.push((picture * side * side + patch(object.y) * side + patch(object.x)) as u32);
                let around = scene.around(index);
                for asked in 0..ASKED {
                    let found = match (asked, &around) {
                        (0, _) => Some(vec![index]),
                        (_, Some(around)) => Some(around[asked - 1].clone()),
                        (_, None) => None,
                    };
                    let (thing, is_known) = match found.as_deref() {
                        Some(&[one]) => (Some(scene.objects[one].thing), true),
                        Some(&[]) => (None, true),
                        _ => (None, false),
                    };
                    let (kind, colour) = answer(thing);
                    all_kinds.push(kind);
                    all_colours.push(colour);
                    known.push(f32::from(is_known));
                    there.push(f32::from(asked > 0 && thing.is_some()));
                }
            }
        }
        let shape = (rows.len(), ASKED);
        Ok(Self {
            states: Tensor::new(rows, &Device::Cpu)?,
            kinds: Tensor::from_vec(all_kinds, shape, &Device::Cpu)?,
            colours: Tensor::from_vec(all_colours, shape, &Device::Cpu)?,
            known: Tensor::from_vec(known, shape, &Device::Cpu)?,
            there: Tensor::from_vec(there, shape, &Device::Cpu)?,
        })
    }

    /// The same on `device`.
    ///
    /// # Errors
    /// If the device is out of memory.
    pub fn to(&self, device: &Device) -> Result<Self> {
        let Self { states, kinds, colours, known, there } = self;
        let [states, kinds, colours, known, there] =
            [states, kinds, colours, known, there].map(|tensor| tensor.to_device(device));
        Ok(Self { states: states?, kinds: kinds?, colours: colours?, known: known?, there: there? })
    }

    /// Mean cross-entropy of the answers that `head` reads from `states` `[pictures, patches, width]`, and the share of
    /// things beside others whose kind is read right.
    ///
    /// # Errors
    /// If the shapes don't fit.
    pub fn loss(&self, states: &Tensor, head: &Tensor) -> Result<(Tensor, f64)> {
        let states = states.flatten(0, 1)?.index_select(&self.states, 0)?; // [things, width]
        let scores = states.matmul(&head.t()?)?.reshape((self.kinds.dim(0)?, ASKED, ()))?; // [things, asked, kinds + colours]
        let count = f64::from(self.known.sum_all()?.to_scalar::<f32>()?).max(1.0);
        let loss_of = |scores: &Tensor, answers: &Tensor| -> Result<Tensor> {
            let chosen = log_softmax(&scores.contiguous()?)?.gather(&answers.unsqueeze(2)?, 2)?.squeeze(2)?; // [things, asked]
            Ok(((chosen * &self.known)?.sum_all()? / -count)?)
        };
        let of_kinds = scores.narrow(2, 0, kinds())?;
        let loss = (loss_of(&of_kinds, &self.kinds)? + loss_of(&scores.narrow(2, kinds(), COLOURS)?, &self.colours)?)?;
        let right = of_kinds.detach().contiguous()?.argmax(D::Minus1)?.eq(&self.kinds)?.to_dtype(self.there.dtype())?;
        let right = f64::from((right * &self.there)?.sum_all()?.to_scalar::<f32>()?);
        Ok((loss, right / f64::from(self.there.sum_all()?.to_scalar::<f32>()?).max(1.0)))
    }
}

/// The matrix that reads the answers, `[asked x (kinds + colours), width]`.
///
/// # Errors
/// If it has another shape.
pub fn surroundings_head(variables: &dyn Parameters, width: usize) -> Result<Tensor> {
    variables.get(&format!("{SURROUNDINGS_HEAD}weight"), &[ASKED * (kinds() + COLOURS), width])
}

/// The kind and the colour of a thing, or of nothing, as numbers.
fn answer(thing: Option<Thing>) -> (u32, u32) {
    let (kind, colour) = match thing {
        Some(Thing::Sticker(sticker)) => (sticker.index(), COLOURS - 1),
        Some(Thing::Shape { shape, colour }) => (Sticker::count() + shape as usize, colour as usize),
        None => (kinds() - 1, COLOURS - 1),
    };
    (kind as u32, colour as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Ground, Object};

    /// A cat left of a red ball, and a blue star alone.
    fn scenes() -> [Scene; 2] {
        let object = |name: &str, x, y| Object { thing: Thing::try_from(name.to_owned()).unwrap(), x, y, size: 60 };
        let scene = |objects| Scene { ground: Ground::Plain { colour: [200; 3] }, objects };
        [scene(vec![object("cat", 35, 95), object("red ball", 170, 100)]), scene(vec![object("blue star", 200, -10)])]
    }

    /// States `[2, 64, answers]` that say of the things of [`scenes`] what lies there and around; a matrix of ones on the
    /// diagonal reads them.
    fn states(cat_is_left: bool) -> (Tensor, Tensor) {
        let each = kinds() + COLOURS;
        let width = ASKED * each;
        let mut states = vec![0f32; 2 * 64 * width];
        let cat = (Sticker::named("cat").unwrap().index(), COLOURS - 1);
        let ball = (Sticker::count() + Shape::Ball as usize, Colour::Red as usize);
        let star = (Sticker::count() + Shape::Star as usize, Colour::Blue as usize);
        let nothing = (kinds() - 1, COLOURS - 1);
        let (left, right) = if cat_is_left { (1, 2) } else { (2, 1) };
        // The middle of the cat is (65, 125), of the ball (200, 130), of the star (230, 20); a patch has 32 pixels.
        for (patch, itself, other, side) in
            [(3 * 8 + 2, cat, ball, right), (4 * 8 + 6, ball, cat, left), (64 + 7, star, nothing, 1)]
        {
            for asked in 0..ASKED {
                let (kind, colour) = match asked {
                    0 => itself,
                    asked if asked == side => other,
                    _ => nothing,
                };
                states[patch * width + asked * each + kind] = 50.0;
                states[patch * width + asked * each + kinds() + colour] = 50.0;
            }
        }
        let states = Tensor::from_vec(states, (2, 64, width), &Device::Cpu).unwrap();
        (states, Tensor::eye(width, candle_core::DType::F32, &Device::Cpu).unwrap())
    }

    #[test]
    fn states_that_say_what_lies_around_have_no_loss() {
        let asked = Surroundings::new(&scenes(), 8).unwrap();
        let (states, head) = states(true);
        let (loss, right) = asked.loss(&states, &head).unwrap();
        assert!(loss.to_scalar::<f32>().unwrap() < 1e-6, "{loss}");
        assert!((right - 1.0).abs() < 1e-9, "{right}");
    }

    #[test]
    fn left_and_right_are_not_the_same() {
        let asked = Surroundings::new(&scenes(), 8).unwrap();
        let (states, head) = states(false);
        let (loss, right) = asked.loss(&states, &head).unwrap();
        assert!(loss.to_scalar::<f32>().unwrap() > 10.0, "{loss}");
        assert!(right.abs() < 1e-9, "{right}");
    }
}
