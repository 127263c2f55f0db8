//! Trying again: what may go well the next time is asked for again after growing pauses; what doesn't is said in one sentence.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Hub;
use super::request::Answer;
use super::settings::token_place;
use crate::error::{Error, Result};
use crate::taps::CancelToken;

/// Pauses before each further try, in seconds. After a try that brought something they begin anew.
const PAUSES: [u64; 6] = [1, 2, 4, 8, 16, 30];
/// The longest pause that the hub may ask for: its limits are counted over five minutes.
const LONGEST_PAUSE: Duration = Duration::from_secs(330);
/// How often it is looked whether to stop.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// How a pause is spent.
pub type Wait = Arc<dyn Fn(Duration, &CancelToken) + Send + Sync>;

/// Sleeps for so long, unless it is cancelled.
pub fn wait(pause: Duration, cancel: &CancelToken) {
    let begin = Instant::now();
    while !cancel.is_cancelled() && begin.elapsed() < pause {
        std::thread::sleep(BETWEEN_LOOKS.min(pause));
    }
}

/// What comes of a try.
pub(super) type Tried<T> = std::result::Result<T, Failure>;

/// Why a try failed.
pub(super) enum Failure {
    /// The next would fail as well.
    Final(Error),
    /// The next may succeed.
    Again {
        /// What happened.
        why: String,
        /// The pause that is asked for.
        pause: Option<Duration>,
    },
}

impl Failure {
    pub fn again(why: String) -> Self {
        Self::Again { why, pause: None }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// How often it was tried in vain.
#[derive(Default)]
pub(super) struct Tries {
    failed: usize,
    /// How far any of them came, in bytes.
    pub furthest: u64,
}

impl Tries {
    /// How long to wait before the next try, or the sentence with which to end.
    pub fn pause(&mut self, failure: Failure, gained: bool, address: &str) -> Result<Duration> {
        let (why, asked) = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Again { why, pause } => (why, pause),
        };
        self.failed = if gained { 0 } else { self.failed };
        let give_up = |how: String| Err(Error::unusable(how, "try again later; what was loaded is kept"));
        if let Some(asked) = asked.filter(|asked| *asked > LONGEST_PAUSE) {
            return give_up(format!("the hub {address} asks to wait {} s ({why})", asked.as_secs()));
        }
        let Some(usual) = PAUSES.get(self.failed) else {
            return give_up(format!(
                "{address} doesn't send what it is asked for, {} times over ({why})",
                self.failed + 1
            ));
        };
        self.failed += 1;
        Ok(asked.unwrap_or(Duration::from_secs(*usual)))
    }
}

impl Hub {
    /// Waits before the next try.
    pub(super) fn pause(&self, pause: Duration, cancel: &CancelToken) -> Result<()> {
        (self.wait)(pause, cancel);
        cancel.check()
    }

    /// Takes an answer that brings what was asked for; any other becomes a failure.
    pub(super) fn accept(&self, name: &str, answer: Answer) -> Tried<Answer> {
        let status = answer.status;
        let of_hub = answer.of_hub;
        match status {
            200 | 206 => Ok(answer),
            401 | 403 if of_hub => Err(Failure::Final(Error::unusable(
                format!("the hub doesn't show '{name}' to you (status {status})"),
                format!(
                    "check the name; if it is right, accept the licence on {} and put a token into HF_TOKEN{}",
                    self.page(name),
                    token_place()
                ),
            ))),
            404 if of_hub => Err(Failure::Final(Error::unusable(
                format!("there is no model '{name}' on {}", self.caller.address()),
                "check the name, which stands on the model's page as in openai/clip-vit-base-patch32",
            ))),
            // The store that the hub leads to takes signed addresses, which grow old; the next try gets a new one.
            401 | 403 | 404 | 408 | 416 | 429 | 500..=599 => {
                let pause = asked_pause(&answer);
                Err(Failure::Again { why: format!("status {status}"), pause })
            }
            _ => Err(Failure::Final(Error::unusable(
                format!("the hub answers with status {status} when it is asked for '{name}'"),
                "check HF_ENDPOINT, or try again later",
            ))),
        }
    }
}

/// The pause that an answer asks for, in `Retry-After` or as `t=` in the hub's own `RateLimit`.
fn asked_pause(answer: &Answer) -> Option<Duration> {
    let plain = answer.header("retry-after").and_then(|value| value.trim().parse().ok());
    let limit = || {
        let limit = answer.header("ratelimit").filter(|_| answer.status == 429)?;
        limit.split(';').find_map(|part| part.trim().strip_prefix("t=")?.parse().ok())
    };
    plain.or_else(limit).map(Duration::from_secs)
}
