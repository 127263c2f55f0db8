//! From what the state asks for to evidence, remembering everything that hasn't changed.

use image::RgbImage;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::samples::{Sample, comparison, samples};
use super::state::PictureSource;
use crate::error::{Error, Result};
use crate::methods::{Evidence, Input, METHODS, Method, Pair};
use crate::models::checkpoint::Checkpoint;
use crate::models::device::choose;
use crate::models::picture::Picture;
use crate::taps::CancelToken;
use crate::world::Language;

/// What the state asks for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The number of the request.
    pub generation: u64,
    /// The picture.
    pub picture: PictureSource,
    /// The sentence.
    pub sentence: String,
    /// The selected words, as bytes of the sentence.
    pub selection: Option<(usize, usize)>,
    /// The language of offered words and of the comparison.
    pub language: Language,
    /// The checkpoint's folder.
    pub checkpoint: Option<PathBuf>,
    /// Where the model runs.
    pub device: String,
}

/// What comes back.
pub enum Report {
    /// The picture was read.
    Picture {
        /// Its pixels.
        picture: Arc<RgbImage>,
        /// What to call it.
        name: String,
    },
    /// Evidence; more complete evidence may follow.
    Evidence(Box<Evidence>),
    /// Something went wrong.
    Failed {
        /// One sentence.
        message: String,
        /// Whether it was the picture that couldn't be read.
        picture: bool,
    },
    /// The request is done, after this time.
    Done(Duration),
}

/// Computes, and remembers the picture, the loaded method and the comparison.
#[derive(Default)]
pub struct Computer {
    picture: Option<(PictureSource, Arc<RgbImage>, String)>,
    method: Option<(PathBuf, Box<dyn Method>)>,
    comparison: Option<(Language, Arc<Vec<Pair>>)>,
}

impl Computer {
    /// Does what `request` asks for. Cancelled work reports nothing more.
    pub fn run(&mut self, request: &Request, cancel: &CancelToken, emit: &mut dyn FnMut(Report)) {
        let begin = Instant::now();
        if let Err((error, picture)) = self.try_run(request, cancel, emit) {
            if matches!(error, Error::Cancelled) {
                return;
            }
            emit(Report::Failed { message: error.to_string(), picture });
        }
        emit(Report::Done(begin.elapsed()));
    }

    fn try_run(
        &mut self,
        request: &Request,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(Report),
    ) -> std::result::Result<(), (Error, bool)> {
        let (picture, name) = self.picture(&request.picture).map_err(|error| (error, true))?;
        emit(Report::Picture { picture: Arc::clone(&picture), name });
        let other = |error| (error, false);
        cancel.check().map_err(other)?;
        // The person's own sentence isn't compared with itself.
        let mut comparison = self.comparison(request.language);
        let own = request.sentence.trim();
        if comparison.iter().any(|pair| pair.caption == own) {
            comparison = Arc::new(comparison.iter().filter(|pair| pair.caption != own).cloned().collect());
        }
        let method = self.method(request.checkpoint.as_ref(), &request.device).map_err(other)?;
        cancel.check().map_err(other)?;
        let input = Input {
            picture,
            sentence: request.sentence.clone(),
            selection: request.selection,
            language: request.language,
            comparison,
        };
        method.evidence(&input, cancel, &mut |evidence| emit(Report::Evidence(Box::new(evidence)))).map_err(other)
    }

    fn picture(&mut self, source: &PictureSource) -> Result<(Arc<RgbImage>, String)> {
        if let Some((known, picture, name)) = &self.picture
            && known == source
        {
            return Ok((Arc::clone(picture), name.clone()));
        }
        let (pixels, name) = match source {
            PictureSource::Sample(key) => (Sample::named(key)?.picture()?, key.clone()),
            PictureSource::File(path) => {
                let picture = Picture::open(path)?;
                (picture.pixels, picture.name)
            }
        };
        let picture = Arc::new(pixels);
        self.picture = Some((source.clone(), Arc::clone(&picture), name.clone()));
        Ok((picture, name))
    }

    fn comparison(&mut self, language: Language) -> Arc<Vec<Pair>> {
        match &self.comparison {
            Some((known, pairs)) if *known == language => Arc::clone(pairs),
            _ => {
                let pairs = Arc::new(comparison(&samples(), language));
                self.comparison = Some((language, Arc::clone(&pairs)));
                pairs
            }
        }
    }

    fn method(&mut self, folder: Option<&PathBuf>, device: &str) -> Result<&mut Box<dyn Method>> {
        let folder = folder.ok_or_else(|| {
            Error::unusable(
                "no checkpoint is there",
                "open a folder with a Hugging Face checkpoint, or reinstall the program",
            )
        })?;
        if self.method.as_ref().is_none_or(|(known, _)| known != folder) {
            self.method = None; // the old one's memory is free before the new one takes its own
            let checkpoint = Checkpoint::open(folder)?;
            let class = checkpoint.class();
            let entry = METHODS.iter().find(|method| method.classes.contains(&class)).ok_or_else(|| {
                checkpoint.config_error(format!("the checkpoint is a '{class}', which no method here can run"))
            })?;
            self.method = Some((folder.clone(), (entry.open)(folder, &choose(device)?)?));
        }
        match &mut self.method {
            Some((_, method)) => Ok(method),
            None => Err(Error::Cancelled),
        }
    }
}
