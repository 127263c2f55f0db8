//! Arithmetic on a contrastive set: pictures and texts of which those at the same place belong together.
//!
//! Plain numbers in and out. Vectors have unit length, `[width]`, all of one space. A table of cosines is
//! `[pictures, texts]`, a row a picture. The factor is what a model multiplies a cosine with before it compares, the
//! inverse temperature (`exp(logit_scale)` of a checkpoint), without unit.

use super::{Cloud, PointKind};

/// What a softmax shares out among: it sums to one over these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Along each row: which text is that of this picture?
    Texts,
    /// Along each column: which picture is that of this text?
    Pictures,
}

/// How often the right one is found, R@1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Retrieval {
    /// Share of pictures whose best text is their own, from 0 to 1.
    pub text_of_picture: f32,
    /// Share of texts whose best picture is their own, from 0 to 1.
    pub picture_of_text: f32,
}

/// The cosine of each picture with each text, `[pictures, texts]`.
#[must_use]
pub fn similarity(pictures: &[Vec<f32>], texts: &[Vec<f32>]) -> Vec<f32> {
    let row = |picture: &Vec<f32>| texts.iter().map(|text| cosine(picture, text)).collect::<Vec<f32>>();
    pictures.iter().flat_map(row).collect()
}

/// Inner product, the cosine of unit vectors.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Softmax of `values` `[rows, columns]` times `factor`, of the same shape. The largest is taken off first, so nothing
/// overflows.
#[must_use]
pub fn softmax(values: &[f32], columns: usize, factor: f32, over: Over) -> Vec<f32> {
    let mut shares = vec![0.0; values.len()];
    let rows = values.len().checked_div(columns).unwrap_or(0);
    let lines = if over == Over::Texts { rows } else { columns };
    for line in 0..lines {
        let places: Vec<usize> = match over {
            Over::Texts => (line * columns..(line + 1) * columns).collect(),
            Over::Pictures => (0..rows).map(|row| row * columns + line).collect(),
        };
        let logits: Vec<f32> = places.iter().map(|place| values[*place] * factor).collect();
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
        let sum: f32 = powers.iter().sum();
        for (place, power) in places.into_iter().zip(powers) {
            shares[place] = power / sum;
        }
    }
    shares
}

/// The loss of CLIP (Radford and others 2021, arXiv 2103.00020) on `cosines` `[n, n]`, in nats: the cross-entropy of the
/// diagonal over the texts and over the pictures, averaged. Guessing costs `ln n`. `None` without pairs, or if the table
/// isn't `[n, n]`.
#[must_use]
pub fn contrastive_loss(cosines: &[f32], n: usize, factor: f32) -> Option<f32> {
    if n == 0 || cosines.len() != n * n {
        return None;
    }
    let logit = |row: usize, column: usize| f64::from(cosines[row * n + column]) * f64::from(factor);
    let total: f64 = (0..n)
        .map(|own| {
            let texts = log_sum_exp((0..n).map(|text| logit(own, text)));
            let pictures = log_sum_exp((0..n).map(|picture| logit(picture, own)));
            (texts + pictures) / 2.0 - logit(own, own)
        })
        .sum();
    Some((total / n as f64) as f32)
}

/// The loss of SigLIP (Zhai and others 2023, arXiv 2303.15343) on `cosines` `[n, n]`, in nats: for each pair of a picture
/// and a text, whether they belong together. Summed over all of them and divided by `n`, not by `n * n`, as in big_vision
/// and transformers. `None` without pairs, or if the table isn't `[n, n]`.
#[must_use]
pub fn sigmoid_loss(cosines: &[f32], n: usize, factor: f32, bias: f32) -> Option<f32> {
    if n == 0 || cosines.len() != n * n {
        return None;
    }
    let total: f64 = cosines
        .iter()
        .enumerate()
        .map(|(place, cosine)| {
            let logit = f64::from(*cosine) * f64::from(factor) + f64::from(bias);
            let belongs = place / n == place % n;
            // -ln sigmoid(x) is ln(1 + e^-x).
            log_sum_exp([0.0, if belongs { -logit } else { logit }].into_iter())
        })
        .sum();
    Some((total / n as f64) as f32)
}

/// ln of the sum of e^x, the largest taken off first.
fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    largest + values.map(|value| (value - largest).exp()).sum::<f64>().ln()
}

/// How often the diagonal of `cosines` `[n, n]` is the highest of its row and of its column; among equals the first
/// counts as the highest. Zero without pairs, or if the table isn't `[n, n]`.
#[must_use]
pub fn retrieval(cosines: &[f32], n: usize) -> Retrieval {
    if n == 0 || cosines.len() != n * n {
        return Retrieval::default();
    }
    let share = |at: &dyn Fn(usize, usize) -> f32| {
        let found = |own: &usize| (0..n).all(|other| beats(at(*own, *own), *own, at(*own, other), other));
        (0..n).filter(found).count() as f32 / n as f32
    };
    Retrieval {
        text_of_picture: share(&|own, other| cosines[own * n + other]),
        picture_of_text: share(&|own, other| cosines[other * n + own]),
    }
}

/// Whether the value at place `own` comes before the one at place `other`, or is it.
fn beats(value: f32, own: usize, rival: f32, other: usize) -> bool {
    own == other || value > rival || (value == rival && own < other)
}

/// From the mean text to the mean picture, `[width]`: the modality gap (Liang and others 2022, arXiv 2203.02053). Its
/// length is a distance in the space of the unit vectors, from 0 to 2. Empty where pictures or texts are missing.
#[must_use]
pub fn gap(pictures: &[Vec<f32>], texts: &[Vec<f32>]) -> Vec<f32> {
    let (Some(picture), Some(text)) = (mean(pictures), mean(texts)) else { return Vec::new() };
    picture.iter().zip(&text).map(|(picture, text)| (picture - text) as f32).collect()
}

fn mean(vectors: &[Vec<f32>]) -> Option<Vec<f64>> {
    let mut sum = vec![0.0; vectors.first()?.len()];
    for vector in vectors {
        sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    sum.iter_mut().for_each(|value| *value /= vectors.len() as f64);
    Some(sum)
}

/// The texts moved along the gap, `by` times its length (0 leaves them, 1 closes the gap of the means), and brought back
/// to unit length. A text that comes to lie at the origin has no direction and stays there. With an empty gap nothing
/// moves.
#[must_use]
pub fn moved(texts: &[Vec<f32>], gap: &[f32], by: f32) -> Vec<Vec<f32>> {
    let towards = |text: &Vec<f32>| -> Vec<f32> {
        let shifts = gap.iter().copied().chain(std::iter::repeat(0.0));
        let there: Vec<f32> = text.iter().zip(shifts).map(|(value, shift)| value + by * shift).collect();
        let length = cosine(&there, &there).sqrt();
        if length > 0.0 { there.iter().map(|value| value / length).collect() } else { there }
    };
    texts.iter().map(towards).collect()
}

/// What a contrastive set says, with its texts moved along the modality gap.
#[derive(Clone, Debug, PartialEq)]
pub struct PairFigures {
    /// How far the texts were moved, in gaps.
    pub shift: f32,
    /// Factor between cosine and logit.
    pub factor: f32,
    /// How many pairs there are.
    pub count: usize,
    /// The moved texts, `[pairs, width]`.
    pub texts: Vec<Vec<f32>>,
    /// Cosine of each picture with each moved text, `[pairs, pairs]`, pictures by row.
    pub cosines: Vec<f32>,
    /// Distance between the mean picture and the mean text after moving: the modality gap.
    pub gap: f32,
    /// The loss of training over these pairs: CLIP's, or SigLIP's where there is a bias.
    pub loss: Option<f32>,
    /// How often the right one is found.
    pub retrieval: Retrieval,
}

impl PairFigures {
    /// Measures the pairs of `cloud` with the texts moved by `shift` gaps, at `factor` and, for SigLIP, `bias`.
    #[must_use]
    pub fn new(cloud: &Cloud, shift: f32, factor: f32, bias: Option<f32>) -> Self {
        let (pictures, texts) = (cloud.vectors(PointKind::Picture), cloud.vectors(PointKind::Text));
        let texts = if shift == 0.0 { texts } else { moved(&texts, &gap(&pictures, &texts), shift) };
        let cosines = similarity(&pictures, &texts);
        let count = pictures.len();
        let loss = match bias {
            None => contrastive_loss(&cosines, count, factor),
            Some(bias) => sigmoid_loss(&cosines, count, factor, bias),
        };
        let rest = gap(&pictures, &texts).iter().map(|value| value * value).sum::<f32>().sqrt();
        let retrieval = retrieval(&cosines, count);
        Self { shift, factor, count, texts, cosines, gap: rest, loss, retrieval }
    }

    /// What the cells say: the cosines as they are, or the shares of a softmax over texts or pictures, or, for SigLIP, the
    /// sigmoid of each.
    #[must_use]
    pub fn shares(&self, over: Over, bias: Option<f32>) -> Vec<f32> {
        match bias {
            None => softmax(&self.cosines, self.count, self.factor, over),
            Some(bias) => {
                self.cosines.iter().map(|cosine| 1.0 / (1.0 + (-cosine * self.factor - bias).exp())).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(own: &[f32], expected: &[f32]) {
        assert_eq!(own.len(), expected.len(), "{own:?}");
        assert!(own.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{own:?}, not {expected:?}");
    }

    #[test]
    fn a_row_is_a_picture() {
        let pictures = [vec![1.0, 0.0], vec![0.6, 0.8]];
        let texts = [vec![0.0, 1.0], vec![1.0, 0.0], vec![-0.8, 0.6]];
        close(&similarity(&pictures, &texts), &[0.0, 1.0, -0.8, 0.8, 0.6, 0.0]);
        close(&similarity(&[], &texts), &[]);
    }

    #[test]
    fn shares_sum_to_one_over_texts_or_pictures() {
        let (ln2, values) = (2f32.ln(), [0.0, 1.0, 2.0, 3.0, 3.0, 3.0]);
        let third = 1.0 / 3.0;
        let over_texts = [1.0 / 7.0, 2.0 / 7.0, 4.0 / 7.0, third, third, third];
        close(&softmax(&values, 3, ln2, Over::Texts), &over_texts);
        let over_pictures = [1.0 / 9.0, 0.2, third, 8.0 / 9.0, 0.8, 2.0 / 3.0];
        close(&softmax(&values, 3, ln2, Over::Pictures), &over_pictures);
        close(&softmax(&[1.0, -1.0, 1.0], 3, 1e9, Over::Texts), &[0.5, 0.0, 0.5]);
        close(&softmax(&[-1.0, 1.0], 1, 1e9, Over::Pictures), &[0.0, 1.0]);
        close(&softmax(&[], 0, 1.0, Over::Texts), &[]);
    }

    #[test]
    fn the_contrastive_loss_is_the_mean_of_both_ways() {
        let ln3 = 3f32.ln();
        // Each picture and each text gives its own three quarters.
        close(&[contrastive_loss(&[1.0, 0.0, 0.0, 1.0], 2, ln3).unwrap()], &[-0.75f32.ln()]);
        // Over the texts three quarters and one quarter are right, over the pictures one half and one half.
        let expected = (-(0.75f32.ln() + 0.25f32.ln()) / 2.0 + 2f32.ln()) / 2.0;
        close(&[contrastive_loss(&[1.0, 0.0, 1.0, 0.0], 2, ln3).unwrap()], &[expected]);
        close(&[contrastive_loss(&[0.3; 25], 5, 100.0).unwrap()], &[5f32.ln()]);
        close(&[contrastive_loss(&[-1.0, 1.0, 1.0, -1.0], 2, 500.0).unwrap()], &[1000.0]);
        assert_eq!(contrastive_loss(&[], 0, 1.0), None);
        assert_eq!(contrastive_loss(&[1.0, 2.0], 2, 1.0), None);
    }

    #[test]
    fn the_sigmoid_loss_is_summed_over_texts_and_averaged_over_pictures() {
        let ln3 = 3f32.ln();
        // sigmoid(ln 9) is 0.9 for what belongs together, sigmoid(-ln 3) a quarter for what doesn't.
        let expected = -(0.9f32.ln() + 0.25f32.ln());
        close(&[sigmoid_loss(&[1.0, 0.0, 0.0, 1.0], 2, ln3, ln3).unwrap()], &[expected]);
        close(&[sigmoid_loss(&[0.0; 9], 3, 10.0, 0.0).unwrap()], &[3.0 * 2f32.ln()]);
        close(&[sigmoid_loss(&[-1.0], 1, 1000.0, 0.0).unwrap()], &[1000.0]);
        close(&[sigmoid_loss(&[1.0], 1, 1000.0, 0.0).unwrap()], &[0.0]);
        assert_eq!(sigmoid_loss(&[], 0, 1.0, 0.0), None);
        assert_eq!(sigmoid_loss(&[1.0, 2.0], 2, 1.0, 0.0), None);
    }

    #[test]
    fn the_first_among_equals_is_found() {
        let of = |cosines: &[f32], n| {
            let Retrieval { text_of_picture, picture_of_text } = retrieval(cosines, n);
            [text_of_picture, picture_of_text]
        };
        assert_eq!(of(&[0.9, 0.1, 0.2, 0.8], 2), [1.0, 1.0]);
        assert_eq!(of(&[0.9, 0.1, 0.95, 0.8], 2), [0.5, 0.5]);
        assert_eq!(of(&[0.9, 0.1, 0.9, 0.8], 2), [0.5, 1.0]);
        assert_eq!(of(&[0.5; 4], 2), [0.5, 0.5]);
        assert_eq!(of(&[f32::NAN; 4], 2), [0.0, 0.0]);
        assert_eq!(of(&[0.4], 1), [1.0, 1.0]);
        assert_eq!(of(&[], 0), [0.0, 0.0]);
    }

    #[test]
    fn the_gap_leads_from_the_texts_to_the_pictures() {
        let pictures = [vec![1.0, 0.0, 0.0], vec![0.6, 0.8, 0.0]];
        let texts = [vec![0.0, 0.0, 1.0], vec![0.0, 0.6, 0.8]];
        let gap = gap(&pictures, &texts);
        close(&gap, &[0.8, 0.1, -0.9]);
        close(&moved(&texts, &gap, 0.0).concat(), &texts.concat());
        // (0, 0, 1) + (0.8, 0.1, -0.9) is (0.8, 0.1, 0.1), of length sqrt(0.66).
        let length = 0.66f32.sqrt();
        close(&moved(&texts, &gap, 1.0)[0], &[0.8 / length, 0.1 / length, 0.1 / length]);
        close(&moved(&[vec![1.0, 0.0]], &[-0.5, 0.0], 2.0)[0], &[0.0, 0.0]);
        close(&moved(&texts, &[], 1.0).concat(), &texts.concat());
        assert!(super::gap(&[], &texts).is_empty() && super::gap(&pictures, &[]).is_empty());
    }
}
