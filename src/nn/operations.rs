//! How many floating-point operations a pass takes: those of its matrix products, which are nearly all.

use std::cell::Cell;

thread_local! {
    static COUNTED: Cell<u64> = const { Cell::new(0) };
}

/// Counts a product of matrices `[rows, inner]` and `[inner, columns]`, taken `times` times: a multiplication and an addition for
/// each of its terms.
pub(super) fn count(times: usize, rows: usize, inner: usize, columns: usize) {
    let operations = [times, rows, inner, columns].iter().fold(2u64, |all, count| all.saturating_mul(*count as u64));
    COUNTED.with(|counted| counted.set(counted.get().saturating_add(operations)));
}

/// What `work` gives, and how many operations its layers took on this thread.
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = COUNTED.with(Cell::get);
    let made = work();
    (made, COUNTED.with(Cell::get).saturating_sub(before))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Attention, Linear};
    use crate::taps::{Attn, Taps, Tower};
    use candle_core::{DType, Device, Tensor};

    fn linear(output: usize, input: usize) -> Linear {
        Linear::from_weight(Tensor::zeros((output, input), DType::F32, &Device::Cpu).expect("a weight"))
            .expect("a layer")
    }

    #[test]
    fn a_layer_counts_its_terms() {
        let x = Tensor::zeros((3, 5, 8), DType::F32, &Device::Cpu).expect("an input");
        let (made, operations) = counted(|| linear(4, 8).forward(&x));
        assert_eq!((made.expect("an output").dims3().expect("axes"), operations), ((3, 5, 4), 2 * 15 * 8 * 4));
    }

    #[test]
    fn attention_counts_the_same_however_it_is_computed() {
        let attention = Attention::new([linear(8, 8), linear(8, 8), linear(8, 8)], linear(8, 8), 2);
        let x = Tensor::zeros((1, 6, 8), DType::F32, &Device::Cpu).expect("an input");
        let place = (Tower::Text, 0, Attn::SelfAttn);
        let (_, fused) = counted(|| attention.forward(&x, &x, None, place, &mut Taps::none()));
        let mut recorder = crate::taps::Recorder::new(crate::taps::SitePattern::new("*"));
        let (_, observed) = counted(|| attention.forward(&x, &x, None, place, &mut Taps::none().with(&mut recorder)));
        assert_eq!(fused, 4 * 2 * 6 * 8 * 8 + 2 * 2 * 6 * 6 * 8);
        assert_eq!(fused, observed);
    }
}
