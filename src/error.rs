//! The one error type. An error is one sentence: what happened, then what to do, then the path.

use std::path::{Path, PathBuf};

/// What a file says about itself can have any length; this many characters of it are shown.
const LONGEST: usize = 400;

/// Result of everything that can fail in Alignscope.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong, said so that a person can act on it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that was given (a file, a text, a checkpoint, an option) can't be used.
    #[error("{problem}; {remedy}{}", ending(.path.as_deref()))]
    Unusable {
        /// What happened, in lower case, without a full stop.
        problem: String,
        /// What the person can do about it.
        remedy: String,
        /// The file or folder it is about.
        path: Option<PathBuf>,
    },
    /// The person cancelled the work, or newer work replaced it.
    #[error("cancelled")]
    Cancelled,
    /// A tensor operation failed; with a checked checkpoint and checked input this is a defect of the program.
    #[error("the computation failed ({}); please report it together with the input", reason(.0))]
    Compute(#[from] candle_core::Error),
}

impl Error {
    /// An error about something that was given: `problem` is what happened, `remedy` what to do. What `problem` repeats of a
    /// file becomes one line of bounded length.
    pub fn unusable(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Unusable { problem: line(&problem.into()), remedy: remedy.into(), path: None }
    }

    /// The same error, naming the file or folder it is about.
    #[must_use]
    pub fn at(self, file: &Path) -> Self {
        match self {
            Self::Unusable { problem, remedy, .. } => {
                Self::Unusable { problem, remedy, path: Some(file.to_path_buf()) }
            }
            other => other,
        }
    }

    /// A failed file operation: `doing` is what was tried ("read", "write").
    pub fn io(doing: &str, file: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let remedy = match error.kind() {
            ErrorKind::NotFound => "check the path",
            ErrorKind::PermissionDenied => "check its permissions",
            ErrorKind::IsADirectory => "name a file, not a folder",
            ErrorKind::StorageFull => "free some disk space",
            _ => "check the file and the disk",
        };
        Self::unusable(format!("can't {doing} the file ({error})"), remedy).at(file)
    }
}

/// What a failed tensor operation says, in one line: without the stack that it may carry.
pub fn reason(error: &candle_core::Error) -> String {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } => reason(inner),
        error => line(&error.to_string()),
    }
}

/// The text without line breaks and what else could disturb a sentence or a terminal.
fn line(text: &str) -> String {
    let words =
        text.split(|letter: char| letter.is_whitespace() || letter.is_control()).filter(|word| !word.is_empty());
    let mut line: String = words.collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(LONGEST) {
        line.truncate(end);
        line.push('…');
    }
    line
}

fn ending(path: Option<&Path>) -> String {
    path.map(|path| format!(": {}", path.display()).replace(char::is_control, "\u{FFFD}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_operation_is_one_sentence_without_the_stack_it_carries() {
        let inner = Box::new(candle_core::Error::Msg("no kernel".into()));
        let backtrace = Box::new(std::backtrace::Backtrace::force_capture());
        let error = Error::from(candle_core::Error::WithBacktrace { inner, backtrace });
        assert_eq!(error.to_string(), "the computation failed (no kernel); please report it together with the input");
    }
}
