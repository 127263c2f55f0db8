//! What a thread and the window share: a desk on which either lays something, and which says that it was.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A desk behind a lock.
#[derive(Default)]
pub(super) struct Shared<Desk> {
    desk: Mutex<Desk>,
    changed: Condvar,
}

impl<Desk> Shared<Desk> {
    /// The desk, for oneself alone.
    pub fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the other side look at the desk.
    pub fn notify(&self) {
        self.changed.notify_one();
    }

    /// Leaves the desk to the other side until it says that something changed.
    pub fn wait<'a>(&self, desk: MutexGuard<'a, Desk>) -> MutexGuard<'a, Desk> {
        self.changed.wait(desk).unwrap_or_else(PoisonError::into_inner)
    }
}
