//! Work whose memory is counted and whose time is bounded.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

/// Counts what is held, and refuses before a bomb takes the machine down.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
const LIMIT: usize = 6 << 30;

#[expect(unsafe_code, reason = "an allocator is unsafe by its nature; this one hands everything on to the system's")]
// SAFETY: as the system's allocator, which does all the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(held, Ordering::Relaxed);
        if held > LIMIT {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Held by a test from its beginning, so that what is counted is its own.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `work` gives. It may hold so many MB more than there were before, and take a minute.
pub fn within<T: Send + 'static>(megabytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    let before = HELD.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let (done, wait) = mpsc::sync_channel(1);
    let worker = std::thread::Builder::new().spawn(move || done.send(work())).expect("a thread");
    let result = match wait.recv_timeout(Duration::from_secs(60)) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => std::panic::resume_unwind(worker.join().expect_err("a panic")),
    };
    let taken = MOST.load(Ordering::Relaxed).saturating_sub(before) >> 20;
    assert!(taken <= megabytes, "it took {taken} MB");
    result
}

/// The one sentence in which something is refused.
pub fn refused<T: Send + 'static>(
    megabytes: usize,
    work: impl FnOnce() -> alignscope::Result<T> + Send + 'static,
) -> String {
    let said = within(megabytes, move || work().err().map(|error| error.to_string())).expect("a refusal");
    assert!(said.contains("; ") && !said.contains('\n') && !said.contains("report it"), "{said}");
    assert!(said.len() < 1000, "{said}");
    said
}

/// Every path below `folder`, links not followed.
pub fn paths(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let mut found = Vec::new();
    for entry in entries {
        found.push(entry.path());
        if entry.file_type().expect("a kind").is_dir() {
            found.extend(paths(&entry.path()));
        }
    }
    found.sort();
    found
}
