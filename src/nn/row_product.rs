//! A single row times a matrix in strips, as it is where a text is written word by word: each weight is used once, and what takes
//! the time is to fetch it.
//!
//! `gemm` fetches 12 to 16 GB a second on two processors on which this fetches 18 to 23, since lines of the cache are asked for
//! before they are needed. The sums are formed in the same order as in a product of many rows, so that a word has the same states
//! alone and among others, to the bit.

use multiversion::{multiversion, target::target_cfg_f};
use rayon::prelude::*;

/// How many numbers ahead lines are asked for, 4 KiB.
const AHEAD: usize = 1024;
/// Numbers in a line of the cache.
const LINE: usize = 16;

/// `x` `[rows]` times a matrix `[rows, columns]` whose `strips` `[strips, rows, width]` are given, added to `out` `[columns]`. After
/// so many `steps` along `x` what was summed up is added to the result.
///
/// # Panics
/// If strips of this width aren't laid here, which is a defect of the caller.
pub(super) fn add_row(out: &mut [f32], x: &[f32], (strips, width): (&[f32], usize), steps: usize, parallel: bool) {
    assert!(matches!(width, 48 | 64), "strips have 48 or 64 columns");
    let add = if width == 64 { add_64 } else { add_48 };
    let task = |(out, strip): (&mut [f32], &[f32])| {
        for (x, strip) in x.chunks(steps).zip(strip.chunks(steps * width)) {
            add(x, strip, out);
        }
    };
    let strip = (x.len() * width).max(1);
    if parallel {
        out.par_chunks_mut(width).zip(strips.par_chunks(strip)).for_each(task);
    } else {
        out.chunks_mut(width).zip(strips.chunks(strip)).for_each(task);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn add_64(x: &[f32], strip: &[f32], out: &mut [f32]) {
    add_sums::<64>(x, strip, out, target_cfg_f!(any(target_feature = "fma", target_feature = "avx512f")));
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn add_48(x: &[f32], strip: &[f32], out: &mut [f32]) {
    add_sums::<48>(x, strip, out, target_cfg_f!(any(target_feature = "fma", target_feature = "avx512f")));
}

/// `fused` where an x86 multiplies and adds in one step, as others do anyway; elsewhere that would be emulated.
#[inline(always)]
fn add_sums<const WIDTH: usize>(x: &[f32], strip: &[f32], out: &mut [f32], fused: bool) {
    let fused = fused || cfg!(target_arch = "aarch64");
    let mut sums = [0f32; WIDTH];
    for (value, numbers) in x.iter().zip(strip.as_chunks::<WIDTH>().0) {
        for line in 0..WIDTH / LINE {
            ask_for(numbers.as_ptr().wrapping_add(AHEAD + LINE * line));
        }
        for (sum, number) in sums.iter_mut().zip(numbers) {
            *sum = if fused { value.mul_add(*number, *sum) } else { value * number + *sum };
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        *out += sum;
    }
}

/// Asks for the line of the cache that `place` is in; one that isn't there is no error.
#[inline(always)]
fn ask_for(place: *const f32) {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "a hint for which there is no safe interface")]
    // SAFETY: nothing is read.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch(place.cast(), _MM_HINT_T0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
