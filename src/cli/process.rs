//! How the program begins: its allocator and its threads. Benchmarks begin so, too.

use libmimalloc_sys::{mi_option_set, mi_option_t};

pub use mimalloc::MiMalloc as Allocator;

/// `mi_option_purge_delay` in mimalloc's header, for which the crate has no name.
const PURGE_DELAY: mi_option_t = 15;
/// How long freed memory is kept, in milliseconds. The second that is usual is less than a training step takes on a slow
/// machine, and fetching a step's memory from the system again cost a third of it (measured on two cores: 19 pictures a second
/// of Flamingo, and 30 with this).
const KEPT: std::ffi::c_long = 30_000;

/// Number of rayon's threads, which candle takes, too.
const THREADS: &str = "RAYON_NUM_THREADS";
/// Number of the threads that candle has of its own.
const OWN_THREADS: &str = "CANDLE_NUM_THREADS";
/// With so many processors or fewer, candle gets no threads of its own. They do nothing but share out sums of tensors, and wait for the
/// next one in a loop, which takes processors from the products: on two, 146 pictures a second in a training step, and 160 without.
const FEW: usize = 4;

/// For the beginning of a program, before anything else runs.
pub fn begin() {
    keep_freed();
    tell_threads();
}

/// Keeps freed memory for the next step instead of returning it to the system.
fn keep_freed() {
    // SAFETY: a plain call that sets a number.
    #[expect(unsafe_code, reason = "the allocator's options have no safe interface")]
    unsafe {
        mi_option_set(PURGE_DELAY, KEPT);
    }
}

/// Says how many threads there are, as many as there would be without, but for candle's own ones where there are few. Where nobody says
/// it, candle counts the processors again before each product of matrices by reading what the system tells of all of them, which took
/// 6 % of the time in which four methods follow a sticker on two processors, and takes longer the more there are.
fn tell_threads() {
    let Ok(all) = std::thread::available_parallelism() else { return };
    let own = candle_core::utils::get_num_threads();
    let own = if own <= FEW { 1 } else { own };
    for (name, count) in [(THREADS, all.get()), (OWN_THREADS, own)] {
        if std::env::var_os(name).is_some() {
            continue;
        }
        // SAFETY: nothing else runs yet that could read the environment meanwhile.
        #[expect(unsafe_code, reason = "candle has no other way to be told")]
        unsafe {
            std::env::set_var(name, count.to_string());
        }
    }
}
