//! `alignscope board`: draws the board to a PNG, without display and graphics driver; and the window itself.

use anyhow::Result;
use clap::Args;
use std::path::{Path, PathBuf};

use super::output::{say, tell};
use super::subject::{Subject, compute};
use crate::app::{App, AppState, Command};
use crate::error::Error;
use crate::methods::Intervention;
use crate::taps::{Point, Site};
use crate::ui;

/// Draw the board to a PNG, with no display and no graphics driver.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  alignscope board --image sample-data/scene-000101.png \
    --text \"a guitar, a rabbit, a cat and a red ball\" --word \"red ball\" -o board.png")]
pub struct Board {
    #[command(flatten)]
    subject: Subject,
    /// File to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The view that fills the board alone, by its name: four-ways, scene-editor, four-clouds, ledger, faithful,
    /// bottleneck, watch; heatmap, attention, embedding, matrix, ranking, what-if, explainers; words, cross-heads,
    /// word-patches, expected, gates, latents, mixing, what-if-words, explainers-words; queries, query-patches,
    /// query-attention, query-says, query-words, query-masks, query-space, what-if-queries, explainers-queries;
    /// patch-words, row, row-words, row-heads, row-patches, row-shares, row-space, row-expected, projector-change,
    /// picture-cost, what-if-row, explainers-row.
    #[arg(long, value_name = "NAME")]
    view: Option<String>,
    /// The lesson that is open, by its name, and its step: 01-contrastive:2.
    #[arg(long, value_name = "NAME:STEP")]
    lesson: Option<String>,
    /// Change this in the model, counted from 0: a head as vision.blocks.3.self_attn:1, a route of attention as
    /// words-to-picture or words-to-picture:0-2, or patches:9,10 that nobody looks at. May be given several times.
    #[arg(long, value_name = "WHAT")]
    change: Vec<Intervention>,
    /// Also measure what each change would do.
    #[arg(long)]
    measure: bool,
    /// Also test whether the maps are true that are shown.
    #[arg(long)]
    test_maps: bool,
    /// Also ask the model for the explanations that stand beside each other in a view 'explainers'.
    #[arg(long)]
    explain: bool,
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

impl Board {
    /// Computes, draws and writes the board.
    pub fn run(&self) -> Result<()> {
        let mut app = self.subject.app()?;
        if let Some(lesson) = &self.lesson {
            open_lesson(&mut app, lesson)?;
        }
        if let Some(key) = &self.view {
            let view = ui::views::named(key).ok_or_else(|| {
                let keys: Vec<&str> = ui::views::VIEWS.iter().map(|view| view.key()).collect();
                Error::unusable(format!("there is no view '{key}'"), format!("name one of {}", keys.join(", ")))
            })?;
            let asked = self.subject.method.is_some() || self.subject.checkpoint.is_some();
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
        self.change_model(&mut app)?;
        if self.measure {
            compute(&mut app)?;
            app.apply(Command::MeasureEffects);
        }
        if self.explain {
            compute(&mut app)?;
            app.apply(Command::Explain);
        }
        if self.test_maps {
            compute(&mut app)?;
            let explains = self.view.as_ref().is_some_and(|view| view.starts_with("explainers"));
            app.apply(if explains { Command::TestExplanations } else { Command::TestMaps });
        }
        draw(&mut app, &self.output, f32::from(self.width), f32::from(self.height), self.scale.clamp(1, 4))
    }
}

impl Board {
    /// Changes the model as is asked for. A misspelt change would otherwise be one that does nothing.
    fn change_model(&self, app: &mut App) -> Result<()> {
        if self.change.is_empty() {
            return Ok(());
        }
        compute(app)?;
        for intervention in &self.change {
            if let Some(parts) = app.parts().filter(|parts| !parts.have(intervention)) {
                let heads = parts.stacks.iter().map(|stack| {
                    let (first, last) = (stack.layers.first().unwrap_or(&0), stack.layers.last().unwrap_or(&0));
                    let site = Site::new(stack.tower, *first, Point::Pattern(stack.attn)).to_string();
                    let site = site.trim_end_matches(".pattern");
                    format!("{site}:0 to layer {last} and head {}", stack.heads.saturating_sub(1))
                });
                let routes = parts.routes.iter().map(|route| route.key.to_owned());
                let last = parts.patches.saturating_sub(1);
                let there: Vec<String> = heads.chain(routes).chain([format!("patches:0 to {last}")]).collect();
                let remedy = format!("name one of {}", there.join(", "));
                return Err(
                    Error::unusable(format!("there is nothing in the model for '{intervention}'"), remedy).into()
                );
            }
            app.apply(Command::Intervene(intervention.clone()));
        }
        Ok(())
    }
}

/// Opens a lesson at a step, counted from 1.
fn open_lesson(app: &mut App, asked: &str) -> Result<()> {
    let (key, step) = asked.split_once(':').unwrap_or((asked, "1"));
    let lessons = &app.lessons[app.language_index()];
    let known = lessons.iter().find(|lesson| lesson.key == key).map(|lesson| lesson.steps.len());
    let step = step.parse().ok().filter(|step| known.is_some_and(|count| (1..=count).contains(step)));
    let Some(step) = step else {
        let keys: Vec<&str> = lessons.iter().map(|lesson| lesson.key.as_str()).collect();
        let remedy = format!("name one of {} with one of its steps", keys.join(", "));
        return Err(Error::unusable(format!("there is no lesson '{asked}'"), remedy).into());
    };
    app.apply(Command::OpenLesson(key.to_owned()));
    app.apply(Command::ShowStep(step - 1));
    Ok(())
}

/// Computes what `app` asks for and writes its picture to `output`.
fn draw(app: &mut App, output: &Path, width: f32, height: f32, scale: u8) -> Result<()> {
    compute(app)?;
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
