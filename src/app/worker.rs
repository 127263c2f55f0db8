//! The one thread that computes. The newest request wins; what is under way for an older one is cancelled.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::compute::{Blame, Computer, Report, Request};
use super::desk::Shared;
use crate::error::{Error, Result};
use crate::taps::CancelToken;

/// Deep enough for candle, which walks and drops its graph recursively.
pub(super) const STACK: usize = 64 << 20;
/// Reports that may wait for the window.
const REPORTS: usize = 64;

/// A handle to the thread; dropping it ends the thread.
pub struct Worker {
    shared: Arc<Shared<Desk>>,
    reports: Receiver<(u64, Report)>,
}

/// How a request is computed: with what is remembered, and what to report through.
type Run<Memory> = fn(&mut Memory, &Request, &CancelToken, &mut dyn FnMut(Report));

#[derive(Default)]
struct Desk {
    waiting: Option<Request>,
    under_way: CancelToken,
    closed: bool,
}

impl Worker {
    /// Starts the thread; `wake` is called from it after each report.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(wake: impl Fn() + Send + 'static) -> Result<Self> {
        Self::start_with(Computer::default, |computer, request, cancel, emit| computer.run(request, cancel, emit), wake)
    }

    /// [`Self::start`] with another way to compute, whose memory is `new` at first and again after a panic.
    fn start_with<Memory: 'static>(
        new: fn() -> Memory,
        run: Run<Memory>,
        wake: impl Fn() + Send + 'static,
    ) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (sender, reports) = sync_channel(REPORTS);
        let for_thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("worker".into())
            .stack_size(STACK)
            .spawn(move || work(&for_thread, &sender, &wake, new, run))
            .map_err(|error| {
                Error::unusable(format!("no thread could be started ({error})"), "close other programs")
            })?;
        Ok(Self { shared, reports })
    }

    /// Asks for something; whatever was asked for before is given up.
    pub fn ask(&self, request: Request) {
        let mut desk = self.shared.desk();
        desk.under_way.cancel();
        desk.waiting = Some(request);
        self.shared.notify();
    }

    /// Gives up whatever was asked for.
    pub fn cancel(&self) {
        let mut desk = self.shared.desk();
        desk.under_way.cancel();
        desk.waiting = None;
    }

    /// The next report, if one is there.
    #[must_use]
    pub fn next(&self) -> Option<(u64, Report)> {
        self.reports.try_recv().ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let mut desk = self.shared.desk();
        desk.closed = true;
        desk.under_way.cancel();
        self.shared.notify();
    }
}

fn work<Memory>(
    shared: &Shared<Desk>,
    sender: &SyncSender<(u64, Report)>,
    wake: &dyn Fn(),
    new: fn() -> Memory,
    run: Run<Memory>,
) {
    give_way();
    let mut memory = new();
    while let Some((request, cancel)) = next_request(shared) {
        let mut emit = |report| {
            // A full channel means a window that doesn't look; waiting for it is right, and if it is gone, so are we.
            if sender.send((request.generation, report)).is_ok() {
                wake();
            }
        };
        let ended = catch_unwind(AssertUnwindSafe(|| run(&mut memory, &request, &cancel, &mut emit)));
        if ended.is_err() {
            // What it remembered may be half-made.
            memory = new();
            let message =
                "the computation broke off, which is a defect of the program; please report it together with \
                           the picture and the text"
                    .to_owned();
            emit(Report::Failed { message, blame: Blame::Other });
            emit(Report::Done(std::time::Duration::ZERO));
        }
    }
}

fn next_request(shared: &Shared<Desk>) -> Option<(Request, CancelToken)> {
    let mut desk = shared.desk();
    loop {
        if desk.closed {
            return None;
        }
        if let Some(request) = desk.waiting.take() {
            desk.under_way = CancelToken::default();
            return Some((request, desk.under_way.clone()));
        }
        desk = shared.wait(desk);
    }
}

/// Lets the window's thread go first where both want the processor.
pub(super) fn give_way() {
    #[cfg(target_os = "linux")]
    // SAFETY: a plain system call without pointers; 0 means the calling thread.
    #[expect(unsafe_code, reason = "the standard library can't set a thread's priority")]
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{App, AppState};
    use std::time::{Duration, Instant};

    fn request(generation: u64, sentence: &str) -> Request {
        let app = App::new(AppState { sentence: sentence.to_owned(), ..AppState::default() });
        Request { generation, question: app.question(), columns: Vec::new() }
    }

    /// Panics, waits to be cancelled, or answers, as the sentence says.
    fn act(_: &mut (), request: &Request, cancel: &CancelToken, emit: &mut dyn FnMut(Report)) {
        match request.question.sentence.as_str() {
            "panic" => panic!("on purpose"),
            "wait" => {
                while !cancel.is_cancelled() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            _ => emit(Report::Done(Duration::from_secs(request.generation))),
        }
    }

    fn wait_for(worker: &Worker) -> (u64, Report) {
        let begin = Instant::now();
        loop {
            if let Some(report) = worker.next() {
                return report;
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "the worker doesn't answer");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_panic_becomes_an_error_and_the_worker_goes_on() {
        let worker = Worker::start_with(|| (), act, || ()).expect("a thread");
        worker.ask(request(1, "panic"));
        assert!(matches!(wait_for(&worker), (1, Report::Failed { blame: Blame::Other, .. })));
        assert!(matches!(wait_for(&worker), (1, Report::Done(_))));
        worker.ask(request(2, "answer"));
        assert!(matches!(wait_for(&worker), (2, Report::Done(_))));
    }

    #[test]
    fn newer_work_cancels_older_work() {
        let worker = Worker::start_with(|| (), act, || ()).expect("a thread");
        worker.ask(request(1, "wait"));
        std::thread::sleep(Duration::from_millis(20));
        for generation in 2..50 {
            worker.ask(request(generation, "wait"));
        }
        worker.ask(request(50, "answer"));
        assert!(matches!(wait_for(&worker), (50, Report::Done(_))));
    }
}
