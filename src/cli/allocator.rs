//! The program's allocator, which benchmarks use, too.

use libmimalloc_sys::{mi_option_set, mi_option_t};

pub use mimalloc::MiMalloc as Allocator;

/// `mi_option_purge_delay` in mimalloc's header, for which the crate has no name.
const PURGE_DELAY: mi_option_t = 15;
/// How long freed memory is kept, in milliseconds. The second that is usual is less than a training step takes on a slow
/// machine, and fetching a step's memory from the system again cost a third of it (measured on two cores: 19 pictures a second
/// of Flamingo, and 30 with this).
const KEPT: std::ffi::c_long = 30_000;

/// Keeps freed memory for the next step instead of returning it to the system. For the beginning of a program, before anything
/// else runs.
pub fn keep_freed() {
    // SAFETY: a plain call that sets a number.
    #[expect(unsafe_code, reason = "the allocator's options have no safe interface")]
    unsafe {
        mi_option_set(PURGE_DELAY, KEPT);
    }
}
