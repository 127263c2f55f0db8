//! What a method says.
#![allow(dead_code, reason = "each test uses a part of it")]

use alignscope::error::Error;
use alignscope::methods::{Evidence, Input, METHODS, Method, News};
use alignscope::models::builtin;
use alignscope::taps::CancelToken;
use candle_core::Device;

/// A method with a built-in checkpoint.
pub fn open(key: &str, checkpoint: &str) -> Box<dyn Method> {
    let entry = METHODS.iter().find(|entry| entry.key == key).expect("a method");
    (entry.open)(&builtin::folder().join(checkpoint), &(&Device::Cpu).into()).expect("a checkpoint")
}

/// All evidence of an input, in the order in which it comes.
pub fn all(method: &mut dyn Method, input: &Input) -> Result<Vec<Evidence>, Error> {
    let mut said = Vec::new();
    method.evidence(input, &CancelToken::default(), &mut |news| match news {
        News::Evidence(evidence) => said.push(*evidence),
        News::Progress(share) => assert!((0.0..=1.0).contains(&share)),
    })?;
    Ok(said)
}

/// What is said last.
pub fn last(method: &mut dyn Method, input: &Input) -> Evidence {
    let last = all(method, input).expect("evidence").pop().expect("evidence");
    assert!(last.complete);
    assert!(last.queries.as_ref().is_none_or(|queries| queries.complete));
    last
}
