//! `alignscope board`: draws the board to a PNG, without display and graphics driver; and the window itself.

use anyhow::Result;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

use super::output::{say, tell};
use crate::app::layout;
use crate::app::state::MethodName;
use crate::app::{App, AppState, Command, Layer, PictureSource, Theme};
use crate::attribution::{ATTRIBUTIONS, named};
use crate::error::Error;
use crate::ui;
use crate::world::Language;

/// Draw the board to a PNG, with no display and no graphics driver.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  alignscope board --image sample-data/scene-000101.png \
    --text \"a guitar, a rabbit, a cat and a red ball\" --word \"red ball\" -o board.png")]
pub struct Board {
    /// Picture file, or the name of a sample [default: the first sample].
    #[arg(long, value_name = "FILE")]
    image: Option<String>,
    /// Text about the picture [default: the sample's caption].
    #[arg(long)]
    text: Option<String>,
    /// Words of the text to select.
    #[arg(long, value_name = "WORDS")]
    word: Option<String>,
    /// File to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Whose column is drawn: side-by-side, contrastive, cross-attention, querying or projector [default: that of the
    /// checkpoint, or contrastive].
    #[arg(long, value_name = "NAME")]
    method: Option<String>,
    /// Hugging Face folder [default: the method's usual built-in checkpoint].
    #[arg(long, value_name = "FOLDER")]
    checkpoint: Option<PathBuf>,
    /// The map that is shown large: cosine, class-attention, rollout, relevancy or relevancy-last.
    #[arg(long, default_value = "relevancy", value_name = "NAME")]
    map: String,
    /// Draw the map patch by patch.
    #[arg(long)]
    patches: bool,
    /// The view that fills the board alone, by its name: four-ways; heatmap, attention, embedding, matrix, ranking; words,
    /// cross-heads, word-patches, expected, gates, latents, mixing; queries, query-patches, query-attention, query-says,
    /// query-words, query-masks, query-space; patch-words, row, row-words, row-heads, row-patches, row-shares, row-space,
    /// row-expected, projector-change, picture-cost.
    #[arg(long, value_name = "NAME")]
    view: Option<String>,
    /// Where to compute: auto, cpu, cuda:N or metal.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Light or dark.
    #[arg(long, value_enum, default_value_t = ThemeName::Light)]
    theme: ThemeName,
    /// Language of the interface.
    #[arg(long, value_enum, default_value_t = LanguageName::English)]
    language: LanguageName,
    /// Width in points.
    #[arg(long, default_value_t = 1600, value_parser = clap::value_parser!(u16).range(900..=8000))]
    width: u16,
    /// Height in points.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(600..=8000))]
    height: u16,
    /// Pixels a point, from 1 to 4.
    #[arg(long, default_value_t = 1)]
    scale: u8,
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

impl Board {
    /// Computes, draws and writes the board.
    pub fn run(&self) -> Result<()> {
        let mut app = App::new(self.state()?);
        app.device.clone_from(&self.device);
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
        if let Some(text) = &self.text {
            app.apply(Command::SetSentence(text.clone()));
        }
        if let Some(word) = &self.word {
            let start = app.state.sentence.find(word.as_str()).ok_or_else(|| {
                Error::unusable(format!("the text doesn't hold '{word}'"), "name words as they stand in the text")
            })?;
            app.apply(Command::SelectWords { start, end: start + word.len(), extend: false });
        }
        if let Some(key) = &self.view {
            let view = ui::views::named(key).ok_or_else(|| {
                let keys: Vec<&str> = ui::views::VIEWS.iter().map(|view| view.key()).collect();
                Error::unusable(format!("there is no view '{key}'"), format!("name one of {}", keys.join(", ")))
            })?;
            let asked = self.method.is_some() || self.checkpoint.is_some();
            if asked && view.method() != app.state.method.0 {
                return Err(Error::unusable(
                    format!("the view '{key}' belongs to {}, not to {}", view.method(), app.state.method.0),
                    "name a view, a method and a checkpoint that belong together",
                )
                .into());
            }
            app.apply(Command::ToggleMaximised(view.method(), view.key()));
            app.apply(Command::ShowHelp(view.key()));
        }
        draw(&mut app, &self.output, f32::from(self.width), f32::from(self.height), self.scale.clamp(1, 4))
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

/// Computes what `app` asks for and writes its picture to `output`.
fn draw(app: &mut App, output: &Path, width: f32, height: f32, scale: u8) -> Result<()> {
    super::on_deep_stack(|| {
        app.compute_now();
        Ok(())
    })?;
    if let Some(problem) = &app.problem {
        anyhow::bail!("{problem}");
    }
    if app.evidence.is_none() {
        let problem = format!("there is no checkpoint for the method '{}'", app.state.method.0);
        return Err(Error::unusable(problem, "name a folder with --checkpoint, or reinstall the program").into());
    }
    let picture = ui::board::draw(app, width, height, f32::from(scale));
    crate::files::write(output, &crate::files::png(&picture.into())?)?;
    say(format!("The board is in {}", output.display()))
}

/// Opens the window; where that is impossible, says why and draws the board to a file instead.
pub fn open_window() -> Result<()> {
    let opened = match missing_display() {
        Some(reason) => Err(reason),
        None => std::panic::catch_unwind(|| ui::window::open(Vec::new()))
            .unwrap_or_else(|_| Err(eframe::Error::AppCreation("the display broke off".into())))
            .map_err(|error| error.to_string()),
    };
    let Err(reason) = opened else { return Ok(()) };
    let output = PathBuf::from("alignscope-board.png");
    tell(format!("no window can be opened ({reason}); {ADVICE}; drawing the board to a file instead"));
    draw(&mut App::new(AppState::first()), &output, 1600.0, 1000.0, 1)
}

#[cfg(target_os = "linux")]
const ADVICE: &str = "on Debian or Ubuntu install libx11-6 libxcursor1 libxi6 libx11-xcb1 libxkbcommon-x11-0 libvulkan1 \
                      mesa-vulkan-drivers and start it in a desktop session";
#[cfg(not(target_os = "linux"))]
const ADVICE: &str = "start it in a desktop session with a graphics driver";

/// Why there can't be a window, where that is plain from the start.
fn missing_display() -> Option<String> {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let without = cfg!(target_os = "linux") && !set("DISPLAY") && !set("WAYLAND_DISPLAY");
    without.then(|| "there is no display".to_owned())
}
