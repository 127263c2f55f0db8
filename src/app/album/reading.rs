//! The thread that reads a folder: what is known is recalled, the rest is decoded and encoded, a few pictures at a time;
//! between them searches are answered. When all are read it waits for what else is asked.

use candle_core::Tensor;
use rayon::ThreadPoolBuilder;
use rayon::prelude::*;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::encoder::{self, Encoder};
use super::kept::{self, Kept, Known, MOST_KEPT, Stamps};
use super::list::list;
use super::{
    AlbumPicture, AlbumPlane, Asked, Desk, Doing, Found, Job, MOST_NEIGHBOURS, MOST_PICTURES, Report, STACK, Wanted,
};
use crate::app::desk::Shared;
use crate::app::worker::give_way;
use crate::error::{Error, Result};
use crate::models::picture::Picture;
use crate::models::preprocess::ImageProcessor;
use crate::reduction::{self, Axes};
use crate::taps::CancelToken;

/// Pictures that are decoded and encoded together: enough for all cores, few enough for little memory.
const BATCH: usize = 8;
/// The longest file that is read, in bytes.
const LONGEST: u64 = 256 << 20;
/// How long pictures may wait until they are shown.
const BETWEEN: Duration = Duration::from_millis(100);
/// Pictures at which the first plane is made; the next one where there are twice as many.
const FIRST_PLANE: usize = 12;

type Say<'a> = &'a (dyn Fn(Report) -> bool + Sync);

/// Reads the folder of `job`, then answers until it is closed. What ends it is said.
pub(super) fn run(shared: &Shared<Desk>, job: &Job, say: Say<'_>) {
    // Threads of its own, all of which let the window go first: thousands of pictures keep every core busy for minutes.
    let threads = ThreadPoolBuilder::new().thread_name(|_| "album".to_owned()).stack_size(STACK);
    let pool = threads
        .start_handler(|_| give_way())
        .build()
        .map_err(|error| Error::unusable(format!("no threads could be started ({error})"), "close other programs"));
    let _ = match pool.and_then(|pool| pool.install(|| read(shared, job, say))) {
        Ok(()) => true,
        // Where it was closed nobody hears it.
        Err(Error::Cancelled) => say(Report::Rests { stopped: true }),
        Err(error) => say(Report::Problem(error.to_string())) && say(Report::Rests { stopped: false }),
    };
}

/// What is known of the pictures so far.
struct Reader<'a> {
    shared: &'a Shared<Desk>,
    say: Say<'a>,
    encoder: Encoder,
    paths: Vec<PathBuf>,
    vectors: Vec<Vec<f32>>,
    axes: Option<Axes>,
    /// Pictures at which the next plane is due.
    next_plane: usize,
    /// What was answered last, of how many pictures.
    answered: (Asked, usize),
}

/// What became of a file.
enum Looked {
    Known { content: String, known: Known },
    New { content: String, thumbnail: Box<[u8]>, pixels: Tensor },
}

fn read(shared: &Shared<Desk>, job: &Job, say: Say<'_>) -> Result<()> {
    let cancel = shared.begin();
    let listed = list(&job.folder, MOST_PICTURES, &cancel)?;
    let all = listed.pictures.len();
    say(Report::Listed { all, more: listed.more });
    let mut reader = Reader {
        shared,
        say,
        encoder: Encoder::new(job.checkpoint.clone(), job.runtime.clone()),
        paths: Vec::new(),
        vectors: Vec::new(),
        axes: None,
        next_plane: FIRST_PLANE,
        answered: (Asked::default(), 0),
    };
    let stopped = match reader.read(job, &listed.pictures, &cancel) {
        Ok(()) => false,
        Err(Error::Cancelled) if shared.asked().is_some() => true,
        Err(error) => return Err(error),
    };
    reader.principal_components()?;
    say(Report::Rests { stopped });
    while let Some(asked) = shared.next(&reader.answered.0) {
        let before = reader.answered.0.clone();
        reader.answer()?;
        if asked.reduction != before.reduction {
            reader.reduce(asked.reduction)?;
        }
    }
    Ok(())
}

impl Reader<'_> {
    /// Reads all pictures.
    ///
    /// # Errors
    /// [`Error::Cancelled`] where it is stopped; else if the checkpoint can't be run.
    fn read(&mut self, job: &Job, pictures: &[PathBuf], cancel: &CancelToken) -> Result<()> {
        let processor = ImageProcessor::from_folder(&job.checkpoint)?;
        let model = || kept::model_of(&job.checkpoint, job.runtime.precision, cancel);
        let kept = job.kept.as_ref().map(|folder| Ok::<_, Error>(Kept::new(folder, &model()?))).transpose()?;
        let mut stamps = job.kept.as_ref().map_or_else(Stamps::default, |folder| Stamps::open(folder, &job.folder));
        let mut disk = Ok(());
        let all = pictures.len();
        let mut done = 0;
        let mut waiting = Waiting::default();
        let mut result = Ok(());
        for batch in pictures.chunks(BATCH) {
            if let Err(error) =
                self.batch(batch, (&processor, kept.as_ref()), &mut stamps, &mut disk, &mut waiting, cancel)
            {
                result = Err(error);
                break;
            }
            done += batch.len();
            if waiting.since.elapsed() >= BETWEEN {
                self.show(&mut waiting, done as f32 / all as f32)?;
            }
        }
        self.show(&mut waiting, done as f32 / all.max(1) as f32)?;
        if let (Some(folder), Some(kept)) = (&job.kept, &kept) {
            let stored = disk.and_then(|()| if result.is_ok() { stamps.keep() } else { Ok(()) });
            if let Err(error) = stored {
                (self.say)(Report::Problem(format!("embeddings can't be kept: {error}")));
            } else if kept.set_aside() > 0 {
                let text = format!("{} kept embeddings were damaged and were computed anew", kept.set_aside());
                (self.say)(Report::Problem(text));
            }
            kept::prune(folder, MOST_KEPT);
        }
        result
    }

    fn batch(
        &mut self,
        batch: &[PathBuf],
        with: (&ImageProcessor, Option<&Kept>),
        stamps: &mut Stamps,
        disk: &mut Result<()>,
        waiting: &mut Waiting,
        cancel: &CancelToken,
    ) -> Result<()> {
        let looked: Vec<_> = batch.par_iter().map(|path| looked_at(path, with, stamps, cancel)).collect();
        cancel.check()?;
        let mut found = Vec::new();
        let mut pixels = Vec::new();
        for (path, looked) in batch.iter().zip(looked) {
            match looked {
                Ok((looked, about)) => {
                    let (Looked::Known { content, .. } | Looked::New { content, .. }) = &looked;
                    stamps.note(path, &about, content);
                    if let Looked::New { pixels: new, .. } = &looked {
                        pixels.push(new.clone());
                    }
                    found.push((path, looked));
                }
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => waiting.complaints.push(error.to_string()),
            }
        }
        let mut vectors =
            if pixels.is_empty() { Vec::new() } else { self.encoder.pictures(&pixels, cancel)? }.into_iter();
        for (path, looked) in found {
            let (vector, thumbnail) = match looked {
                Looked::Known { known, .. } => {
                    waiting.recalled += 1;
                    known
                }
                Looked::New { content, thumbnail, .. } => {
                    let Some(vector) = vectors.next() else { continue };
                    if let (Some(kept), Ok(())) = (with.1, &disk) {
                        *disk = kept.put(&content, &vector, &thumbnail);
                    }
                    (vector, thumbnail)
                }
            };
            if self.vectors.first().is_some_and(|first| first.len() != vector.len()) {
                waiting
                    .complaints
                    .push(Error::unusable("its vector has another length", "report it").at(path).to_string());
                continue;
            }
            waiting.places.extend(self.axes.as_ref().map(|axes| place(axes.project(&vector))));
            waiting.pictures.push(Arc::new(AlbumPicture { path: path.clone(), thumbnail }));
            self.paths.push(path.clone());
            self.vectors.push(vector);
        }
        Ok(())
    }

    /// Says what became known, and answers what was asked.
    fn show(&mut self, waiting: &mut Waiting, share: f32) -> Result<()> {
        let Waiting { pictures, places, recalled, complaints, .. } = std::mem::take(waiting);
        let open = (self.say)(Report::Read { pictures, places, recalled, complaints });
        if !open || !(self.say)(Report::Doing(Doing::Reading, share)) {
            return Err(Error::Cancelled);
        }
        if self.vectors.len() >= self.next_plane {
            self.principal_components()?;
            self.next_plane = 2 * self.vectors.len();
        }
        self.answer()
    }

    /// Searches, if something else is searched for or there are more pictures.
    fn answer(&mut self) -> Result<()> {
        let Some(asked) = self.shared.asked() else { return Err(Error::Cancelled) };
        let count = self.vectors.len();
        let new = asked.wanted != self.answered.0.wanted || count != self.answered.1;
        self.answered = (asked.clone(), count);
        if !new || asked.wanted.is_nothing() {
            return Ok(());
        }
        let vector = match &asked.wanted {
            Wanted::Text(text) => self.encoder.text(text.trim()),
            Wanted::Like(path) => match self.paths.iter().position(|known| known == path) {
                Some(at) => Ok(self.vectors[at].clone()),
                None => Ok(Vec::new()), // it isn't read yet, or not one of these
            },
        };
        match vector {
            Ok(vector) => {
                let of = self.vectors.iter().filter(|_| !vector.is_empty());
                let cosines = of.map(|other| dot(other, &vector)).collect();
                (self.say)(Report::Found(Found::new(asked.wanted, cosines)));
            }
            Err(error) => {
                (self.say)(Report::Found(Found::new(asked.wanted, Vec::new())));
                (self.say)(Report::Problem(error.to_string()));
            }
        }
        Ok(())
    }

    /// The plane in which the pictures spread most. It is found from so many of them as neighbourhoods are, evenly chosen, and
    /// all are brought into it.
    fn principal_components(&mut self) -> Result<()> {
        let rows: Vec<&[f32]> =
            evenly(self.vectors.len(), MOST_NEIGHBOURS).map(|at| self.vectors[at].as_slice()).collect();
        let plane = reduction::pca::pca(&rows);
        let shares = plane.shares.iter().map(|share| *share as f32).collect();
        let places = match &plane.axes {
            Some(axes) => self.vectors.iter().map(|vector| place(axes.project(vector))).collect(),
            None => vec![[0.0; 2]; self.vectors.len()],
        };
        self.axes = plane.axes;
        self.answered.0.reduction = "pca";
        if (self.say)(Report::Plane(AlbumPlane { reduction: "pca", places, shares })) {
            Ok(())
        } else {
            Err(Error::Cancelled)
        }
    }

    /// Brings the pictures to the plane as is asked; stops where something else is asked. Searches are answered meanwhile.
    fn reduce(&mut self, key: &'static str) -> Result<()> {
        let too_many = self.vectors.len() > MOST_NEIGHBOURS;
        let Some(reduction) = reduction::named(key).filter(|reduction| reduction.seeded && !too_many) else {
            self.principal_components()?;
            self.answered.0.reduction = key;
            return Ok(());
        };
        let cancel = self.shared.begin();
        // Searches need all of the reader but the vectors, which stand still meanwhile.
        let vectors = self.vectors.clone();
        let rows: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
        let plane = (reduction.reduce)(&rows, 0, &mut |share| {
            let goes_on = self.answer().is_ok() && self.answered.0.reduction == key;
            goes_on && (self.say)(Report::Doing(Doing::Reducing, share)) && !cancel.is_cancelled()
        });
        match plane {
            Ok(plane) => {
                let places = plane.points.into_iter().map(place).collect();
                let shares = plane.shares.iter().map(|share| *share as f32).collect();
                (self.say)(Report::Plane(AlbumPlane { reduction: key, places, shares }));
            }
            // Where another is asked for, that is found to be new.
            Err(Error::Cancelled) => self.answered.0.reduction = key,
            Err(error) => return Err(error),
        }
        (self.say)(Report::Rests { stopped: false });
        Ok(())
    }
}

/// What isn't shown yet.
struct Waiting {
    pictures: Vec<Arc<AlbumPicture>>,
    places: Vec<[f32; 2]>,
    recalled: usize,
    complaints: Vec<String>,
    since: Instant,
}

impl Default for Waiting {
    fn default() -> Self {
        let (pictures, places, complaints) = (Vec::new(), Vec::new(), Vec::new());
        Self { pictures, places, recalled: 0, complaints, since: Instant::now() }
    }
}

/// Looks at a file: whether it is known, or else what it shows.
fn looked_at(
    path: &Path,
    (processor, kept): (&ImageProcessor, Option<&Kept>),
    stamps: &Stamps,
    cancel: &CancelToken,
) -> Result<(Looked, Metadata)> {
    cancel.check()?;
    let failed = |error: std::io::Error| Error::io("read", path, &error);
    // Asked before opening: opening a pipe would wait for its other end.
    let about = fs::metadata(path).map_err(failed)?;
    if !about.is_file() || about.len() > LONGEST {
        return Err(Error::unusable("that is no file of at most 256 MiB", "make the picture smaller").at(path));
    }
    if let Some((kept, content)) = kept.zip(stamps.content(path, &about))
        && let Some(known) = kept.get(&content)
    {
        return Ok((Looked::Known { content, known }, about));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes)).map_err(failed)?;
    let content = kept::content_of(&bytes);
    if let Some(known) = kept.and_then(|kept| kept.get(&content)) {
        return Ok((Looked::Known { content, known }, about));
    }
    cancel.check()?;
    // One picture on which a decoder breaks is no reason to lose the others.
    let decoded = catch_unwind(AssertUnwindSafe(|| Picture::from_bytes("", &bytes)));
    let picture = decoded
        .unwrap_or_else(|_| Err(Error::unusable("the picture can't be decoded", "save it anew")))
        .map_err(|error| error.at(path))?;
    let pixels = encoder::pixels(processor, &picture.pixels)?;
    Ok((Looked::New { content, thumbnail: encoder::thumbnail(&picture.pixels), pixels }, about))
}

/// At most `most` numbers below `count`, evenly chosen.
fn evenly(count: usize, most: usize) -> impl Iterator<Item = usize> {
    let chosen = count.min(most);
    (0..chosen).map(move |at| at * count / chosen)
}

fn place([x, y]: [f64; 2]) -> [f32; 2] {
    [x as f32, y as f32]
}

fn dot(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_chosen_evenly_and_all_where_they_are_few() {
        assert_eq!(evenly(3, 5).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(evenly(10, 4).collect::<Vec<_>>(), [0, 2, 5, 7]);
        assert_eq!(evenly(0, 4).count(), 0);
    }
}
