//! How a lesson stands in its file.

use std::path::Path;

use super::MOST_STEPS;
use super::claim::{Claim, Measure};
use crate::app::App;
use crate::error::{Error, Result};
use crate::methods::evidence::Said;

/// Bytes of a lesson, of which those written have ten thousand.
const LARGEST: u64 = 1 << 20;

/// A lesson.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesson {
    /// The name of its file, the same in each language.
    pub key: String,
    /// Its title.
    pub title: String,
    /// What one knows afterwards.
    pub goal: String,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// A step of a lesson.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// Its title.
    pub title: String,
    /// What is said, in Markdown with formulas.
    pub text: String,
    /// Commands that set the stage, one a line.
    pub stage: Vec<String>,
    /// What is to be seen then.
    pub claims: Vec<Claim>,
    /// What the person is to predict.
    pub predict: Option<Predict>,
}

/// A question whose answer the running model gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Predict {
    /// What decides: a claim, of which the first option says that it holds and the second that it doesn't; or what a method
    /// answers, of which right is the option that the answer holds.
    pub by: Claim,
    /// The question.
    pub question: String,
    /// The options.
    pub options: Vec<String>,
}

impl Predict {
    /// The option that is right by what the models say now; `None` while that isn't known, or if no option is.
    #[must_use]
    pub fn right(&self, app: &App) -> Option<usize> {
        if let Measure::Answer(None) = self.by.measure {
            let Said::Text(text) = app.said(self.by.method)? else { return None };
            return self.options.iter().position(|option| super::claim::holds(&text, option));
        }
        self.by.holds(app).map(|holds| usize::from(!holds))
    }
}

/// All lessons in a folder, in the order of their names.
pub(super) fn read_all(folder: &Path) -> Result<Vec<Lesson>> {
    let failed = |error: &std::io::Error| Error::io("read", folder, error);
    let entries = std::fs::read_dir(folder).map_err(|error| failed(&error))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| failed(&error))?.path();
        if path.extension().is_some_and(|ending| ending == "md") {
            paths.push(path);
        }
    }
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<Lesson> {
    let length = std::fs::metadata(path).map_err(|error| Error::io("read", path, &error))?.len();
    if length > LARGEST {
        return Err(wrong("it is far too large").at(path));
    }
    let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, &error))?;
    let key = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    parse(&key, &text).map_err(|error| error.at(path))
}

fn wrong(what: &str) -> Error {
    Error::unusable(
        format!("the file isn't a lesson ({what})"),
        "see the lessons that ship with the program for the form",
    )
}

/// Reads a lesson from its Markdown.
///
/// # Errors
/// If it has another form.
pub fn parse(key: &str, text: &str) -> Result<Lesson> {
    let mut lesson = Lesson { key: key.to_owned(), title: String::new(), goal: String::new(), steps: Vec::new() };
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("# ") {
            title.trim().clone_into(&mut lesson.title);
        } else if let Some(title) = line.strip_prefix("## ") {
            lesson.steps.push(Step { title: title.trim().to_owned(), ..Step::default() });
        } else if let Some(kind) = line.strip_prefix("~~~") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| line.trim_end() != "~~~").collect();
            let step = lesson.steps.last_mut().ok_or_else(|| wrong("a block stands before the first step"))?;
            take_block(step, kind.trim(), &block)?;
        } else {
            let into = lesson.steps.last_mut().map_or(&mut lesson.goal, |step| &mut step.text);
            into.push_str(line);
            into.push('\n');
        }
    }
    lesson.goal = lesson.goal.trim().to_owned();
    for step in &mut lesson.steps {
        step.text = step.text.trim().to_owned();
    }
    if lesson.title.is_empty() || lesson.steps.is_empty() || lesson.steps.len() > MOST_STEPS {
        return Err(wrong("it needs a title and some steps"));
    }
    Ok(lesson)
}

fn take_block(step: &mut Step, kind: &str, block: &[&str]) -> Result<()> {
    let lines = || block.iter().map(|line| line.trim()).filter(|line| !line.is_empty());
    match kind {
        "stage" => step.stage = lines().map(str::to_owned).collect(),
        "claims" => step.claims = lines().map(Claim::parse).collect::<Result<_>>()?,
        _ => {
            let by = kind.strip_prefix("predict ").ok_or_else(|| wrong(&format!("a block is called '{kind}'")))?;
            let by = Claim::parse(by)?;
            let is_option = |line: &&str| line.starts_with("- ");
            let options: Vec<String> = lines().filter(is_option).map(|line| line[2..].trim().to_owned()).collect();
            let question: Vec<&str> = lines().filter(|line| !is_option(line)).collect();
            let fits = match by.measure {
                Measure::Answer(None) => options.len() >= 2,
                _ => options.len() == 2,
            };
            if !fits || question.is_empty() {
                return Err(wrong("a prediction needs a question and its options"));
            }
            step.predict = Some(Predict { by, question: question.join(" "), options });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# A title\n\nA goal.\n\n## One\n\nSay $x$.\n\n~~~stage\ncolumn projector\nselect cat\n~~~\n\n\
        ~~~claims\nhit projector\non-object projector > 0.3\n~~~\n\n~~~predict hit projector\nWhere?\n- there\n- not\n~~~\n\n\
        ## Two\n\nMore.\n";

    #[test]
    fn a_lesson_is_read() {
        let lesson = parse("a", TEXT).expect("a lesson");
        assert_eq!((lesson.title.as_str(), lesson.goal.as_str(), lesson.steps.len()), ("A title", "A goal.", 2));
        let step = &lesson.steps[0];
        assert_eq!((step.text.as_str(), step.stage.len(), step.claims.len()), ("Say $x$.", 2, 2));
        assert_eq!(step.predict.as_ref().map(|predict| predict.options.len()), Some(2));
        assert_eq!(lesson.steps[1], Step { title: "Two".into(), text: "More.".into(), ..Step::default() });
    }

    #[test]
    fn another_form_is_refused() {
        for text in
            ["", "# Title", "~~~stage\n~~~", "# T\n## S\n~~~other\n~~~", "# T\n## S\n~~~predict hit x\nWhy?\n~~~"]
        {
            assert!(parse("a", text).is_err(), "{text}");
        }
    }
}
