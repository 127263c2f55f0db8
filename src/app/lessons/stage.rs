//! The commands of a stage, as they are written in a lesson.

use crate::app::command::Command;
use crate::app::layout;
use crate::app::state::{Layer, MaskName, MethodName, ReductionName};
use crate::app::{App, PictureSource};
use crate::error::{Error, Result};
use crate::methods::reading::{Place, Weighting};
use crate::models::builtin;
use crate::{attribution, reduction};

/// Gates that are closed by `gates closed`; a model has fewer.
const ALL_GATES: usize = 64;

/// What a line means, as the program stands.
pub(super) fn commands(app: &App, line: &str) -> Result<Vec<Command>> {
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let wrong = |remedy: &str| Error::unusable(format!("'{line}' can't be done on this stage"), remedy.to_owned());
    let one = |command: Command| Ok(vec![command]);
    let numbers = || -> Result<Vec<usize>> {
        let read = |word: &str| word.parse().map_err(|_| wrong("write whole numbers"));
        rest.split_whitespace().map(read).collect()
    };
    match name {
        "column" => {
            let column = layout::named(rest).ok_or_else(|| wrong("name one of the columns"))?;
            one(Command::SetMethod(MethodName(column.key)))
        }
        "sample" => {
            let known = app.samples.iter().any(|sample| sample.key == rest);
            let is_shown = app.state.picture == PictureSource::Sample(rest.to_owned()) && app.state.changes.is_empty();
            match (known, is_shown) {
                (false, _) => Err(wrong("name a sample")),
                // A picture that is there already keeps what else was chosen.
                (true, true) => one(Command::SelectNothing),
                (true, false) => one(Command::OpenSample(rest.to_owned())),
            }
        }
        "text" if !rest.is_empty() => one(Command::SetSentence(rest.to_owned())),
        "select" if rest.is_empty() => one(Command::SelectSentence),
        "select" => {
            let start = app.state.sentence.find(rest).ok_or_else(|| wrong("select words of the text"))?;
            one(Command::SelectWords { start, end: start + rest.len(), extend: false })
        }
        "checkpoint" => {
            let known = app.checkpoints.iter().find(|choice| choice.name == rest);
            let folder = known.map_or_else(|| builtin::folder().join(rest), |choice| choice.folder.clone());
            if !folder.is_dir() {
                return Err(wrong("name a built-in checkpoint"));
            }
            one(Command::SetCheckpoint(folder))
        }
        "map" => {
            let map = attribution::named(rest).ok_or_else(|| wrong("name an attribution"))?;
            one(Command::SetLayer(Layer(map.key)))
        }
        "weighting" => match rest {
            "raw" => one(Command::SetWeighting(Weighting::Raw)),
            "gradient" => one(Command::SetWeighting(Weighting::Gradient)),
            _ => Err(wrong("write raw or gradient")),
        },
        "place" => match rest {
            "read" => one(Command::SetPlace(Place::Read)),
            "predict" => one(Command::SetPlace(Place::Predict)),
            _ => Err(wrong("write read or predict")),
        },
        "patch" => match (numbers()?.as_slice(), app.evidence.as_ref().map_or(SIDE, |evidence| evidence.grid.1)) {
            ([], _) => one(Command::SelectPatch(None)),
            ([row, column], columns) if *row > 0 && *column > 0 && *column <= columns => {
                one(Command::SelectPatch(Some((row - 1) * columns + column - 1)))
            }
            _ => Err(wrong("write row and column")),
        },
        "view" => {
            let method = app.state.method.0;
            let key = layout::views_of(method).find(|key| *key == rest);
            let key = key.ok_or_else(|| wrong("name a view of the column"))?;
            Ok(vec![Command::ShowView(method, key), Command::ShowHelp(key)])
        }
        "layer" => match numbers()?.as_slice() {
            [layer] => one(Command::SetHiddenLayer(Some(*layer))),
            _ => Err(wrong("write one number")),
        },
        "gates" => match rest {
            "closed" => one(Command::CloseGates(ALL_GATES)),
            "open" => one(Command::CloseGates(0)),
            _ => Err(wrong("write open or closed")),
        },
        "queries" => {
            let kept = numbers()?;
            let dropped = |query: &usize| !kept.is_empty() && !kept.contains(query);
            one(Command::DropQueries((0..QUERIES).filter(dropped).collect()))
        }
        "mask" => match rest {
            "contrast" => one(Command::SetMask(MaskName::Contrast)),
            "matching" => one(Command::SetMask(MaskName::Matching)),
            "generation" => one(Command::SetMask(MaskName::Generation)),
            _ => Err(wrong("name a mask")),
        },
        "reduction" => {
            let reduction = reduction::named(rest).ok_or_else(|| wrong("name a reduction"))?;
            one(Command::SetReduction(ReductionName(reduction.key)))
        }
        "pin" if rest.is_empty() => one(Command::Pin),
        "unpin" if rest.is_empty() => one(Command::Unpin),
        _ => Err(wrong("see the lessons that ship with the program for the commands")),
    }
}

/// Queries of the built-in checkpoints.
const QUERIES: usize = 16;
/// Patches on a side of the built-in checkpoints' grid.
const SIDE: usize = 8;
