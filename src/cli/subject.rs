//! What is looked at and with what: the options that drawing the board and writing a report share.

use anyhow::Result;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

use crate::app::column::MOST_EXTRA;
use crate::app::layout;
use crate::app::state::MethodName;
use crate::app::{App, AppState, Command, Layer, PictureSource, Theme};
use crate::attribution::{ATTRIBUTIONS, named};
use crate::cli::output::tell;
use crate::cli::runtime::Where;
use crate::error::Error;
use crate::world::Language;

/// Picture, text, words, method, and how they are shown.
#[derive(Debug, Args)]
pub struct Subject {
    /// Picture file, or the name of a sample [default: the first sample].
    #[arg(long, value_name = "FILE")]
    image: Option<String>,
    /// Text about the picture [default: the sample's caption].
    #[arg(long)]
    text: Option<String>,
    /// Words of the text to select.
    #[arg(long, value_name = "WORDS")]
    word: Option<String>,
    /// Whose column is shown: side-by-side, contrastive, cross-attention, querying or projector [default: that of the
    /// checkpoint, or contrastive].
    #[arg(long, value_name = "NAME")]
    pub method: Option<String>,
    /// Hugging Face folder [default: the method's usual built-in checkpoint].
    #[arg(long, value_name = "FOLDER")]
    pub checkpoint: Option<PathBuf>,
    /// One more column beside the four: a checkpoint by its name or a folder, with a precision if it isn't the usual one, as in
    /// clip-grounded or clip:f16. May be given up to four times.
    #[arg(long, value_name = "CHECKPOINT[:PRECISION]")]
    beside: Vec<String>,
    /// The map that is shown large: cosine, cosine-corrected, class-attention, rollout, relevancy, relevancy-last,
    /// gradient-input or grad-cam.
    #[arg(long, default_value = "relevancy", value_name = "NAME")]
    map: String,
    /// Draw the map patch by patch.
    #[arg(long)]
    patches: bool,
    #[command(flatten)]
    runtime: Where,
    /// Light or dark.
    #[arg(long, value_enum, default_value_t = ThemeName::Light)]
    theme: ThemeName,
    /// Language of the interface.
    #[arg(long, value_enum, default_value_t = LanguageName::English)]
    language: LanguageName,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ThemeName {
    Light,
    Dark,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LanguageName {
    English,
    Chinese,
}

impl Subject {
    /// The program as these options ask for it, with nothing computed yet.
    pub fn app(&self) -> Result<App> {
        let mut app = App::new(self.state()?);
        app.runtime = self.runtime.name();
        if let Some(key) = &self.method {
            let column = layout::named(key).ok_or_else(|| {
                let keys: Vec<&str> = layout::keys().collect();
                Error::unusable(format!("there is no method '{key}'"), format!("name one of {}", keys.join(", ")))
            })?;
            app.apply(Command::SetMethod(MethodName(column.key)));
        }
        if let Some(checkpoint) = &self.checkpoint {
            app.apply(Command::SetCheckpoint(checkpoint.clone()));
        }
        self.put_beside(&mut app)?;
        if let Some(text) = &self.text {
            app.apply(Command::SetSentence(text.clone()));
        }
        if let Some(word) = &self.word {
            let start = app.state.sentence.find(word.as_str()).ok_or_else(|| {
                Error::unusable(format!("the text doesn't hold '{word}'"), "name words as they stand in the text")
            })?;
            app.apply(Command::SelectWords { start, end: start + word.len(), extend: false });
        }
        Ok(app)
    }

    /// Puts the extra columns beside the four.
    fn put_beside(&self, app: &mut App) -> Result<()> {
        if self.beside.is_empty() {
            return Ok(());
        }
        let wrong = |problem: &str, remedy: &str| Err(Error::unusable(problem, remedy).into());
        if self.method.as_ref().is_some_and(|method| method != layout::SIDE_BY_SIDE) {
            return wrong(
                "columns stand beside each other only side by side",
                "leave --method out, or name side-by-side",
            );
        }
        if self.beside.len() > MOST_EXTRA {
            return wrong("more columns are asked for than can be read", "give --beside at most four times");
        }
        app.apply(Command::SetMethod(MethodName(layout::SIDE_BY_SIDE)));
        for asked in &self.beside {
            let column = app.extra_column(asked)?;
            app.apply(Command::AddColumn(column));
        }
        Ok(())
    }

    fn state(&self) -> Result<AppState> {
        let map = named(&self.map).ok_or_else(|| {
            let keys: Vec<&str> = ATTRIBUTIONS.iter().map(|attribution| attribution.key).collect();
            Error::unusable(format!("there is no map '{}'", self.map), format!("name one of {}", keys.join(", ")))
        })?;
        let mut state = AppState::first();
        let picture = match &self.image {
            None => state.picture,
            // A path wins over a sample of the same name.
            Some(image) if Path::new(image).exists() || image.contains(['/', '.', '\\']) => {
                PictureSource::File(PathBuf::from(image))
            }
            Some(image) => PictureSource::Sample(image.clone()),
        };
        state.picture = picture;
        state.map.layer = Layer(map.key);
        state.map.smooth = !self.patches;
        state.look.theme = match self.theme {
            ThemeName::Light => Theme::Light,
            ThemeName::Dark => Theme::Dark,
        };
        state.look.language = match self.language {
            LanguageName::English => Language::English,
            LanguageName::Chinese => Language::Chinese,
        };
        Ok(state)
    }
}

/// Computes what `app` asks for.
///
/// # Errors
/// If it can't be computed.
pub fn compute(app: &mut App) -> Result<()> {
    super::on_deep_stack(|| {
        app.compute_now();
        Ok(())
    })?;
    if let Some(warning) = &app.warning {
        tell(warning);
    }
    if let Some(problem) = &app.problem {
        anyhow::bail!("{problem}");
    }
    if app.evidence.is_none() {
        let problem = format!("there is no checkpoint for the method '{}'", app.state.method.0);
        return Err(Error::unusable(problem, "name a folder with --checkpoint, or reinstall the program").into());
    }
    Ok(())
}
