//! What a method says.

use alignscope::error::Error;
use alignscope::methods::{Evidence, Input, Method, News};
use alignscope::taps::CancelToken;

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
