//! One file: loaded from where it stopped, held against its checksum, and put in its place when it is whole.

use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Hub;
use super::files::{Checksum, RemoteFile};
use super::retry::{Failure, Tried, Tries};
use super::store::Store;
use crate::error::{Error, Result};
use crate::taps::CancelToken;

/// Bytes that are read at once of what was loaded before.
const PIECE: usize = 1 << 20;

/// Bytes after which a try counts as one that brought something.
const GAIN: u64 = 1 << 20;
const TRY_LATER: &str = "try again later, or check HF_ENDPOINT";

/// What takes up a content and says its checksum.
enum Sum {
    Git(Sha1),
    Sha256(Sha256),
}

impl Sum {
    fn of(file: &RemoteFile) -> Self {
        match file.checksum {
            Checksum::Git(_) => Self::Git(Sha1::new_with_prefix(format!("blob {}\0", file.bytes))),
            Checksum::Sha256(_) => Self::Sha256(Sha256::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Git(sum) => sum.update(bytes),
            Self::Sha256(sum) => sum.update(bytes),
        }
    }

    fn digits(self) -> String {
        match self {
            Self::Git(sum) => format!("{:x}", sum.finalize()),
            Self::Sha256(sum) => format!("{:x}", sum.finalize()),
        }
    }
}

/// What there is of a file, open to go on.
struct Partial<'a> {
    remote: &'a RemoteFile,
    path: PathBuf,
    file: File,
    sum: Sum,
    length: u64,
    /// Whether part of it was there before.
    resumed: bool,
}

impl<'a> Partial<'a> {
    /// Opens what was loaded before, and reads it for the checksum.
    fn open(remote: &'a RemoteFile, path: PathBuf, cancel: &CancelToken) -> Result<Self> {
        let failed = |error: std::io::Error| Error::io("write", &path, &error);
        let mut file =
            File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
        let mut sum = Sum::of(remote);
        let mut length = 0;
        if file.metadata().map_err(failed)?.len() > remote.bytes {
            file.set_len(0).map_err(failed)?;
        }
        let mut piece = vec![0; PIECE];
        loop {
            cancel.check()?;
            let count = file.read(&mut piece).map_err(failed)?;
            if count == 0 {
                break;
            }
            sum.update(&piece[..count]);
            length += count as u64;
        }
        Ok(Self { remote, path, file, sum, length, resumed: length > 0 })
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::io("write", &self.path, error)
    }

    /// Begins anew.
    fn clear(&mut self) -> Result<()> {
        self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0))).map_err(|error| self.failed(&error))?;
        (self.sum, self.length, self.resumed) = (Sum::of(self.remote), 0, false);
        Ok(())
    }

    /// Puts it in its place.
    fn close(self, place: &Path) -> Result<()> {
        self.file.sync_all().map_err(|error| self.failed(&error))?;
        let Self { file, path, .. } = self;
        drop(file);
        fs::rename(&path, place).map_err(|error| Error::io("write", place, &error))
    }

    fn add(&mut self, piece: &[u8]) -> Result<()> {
        self.file.write_all(piece).map_err(|error| self.failed(&error))?;
        self.sum.update(piece);
        self.length += piece.len() as u64;
        Ok(())
    }
}

impl Hub {
    /// Loads a file into the cache, unless it is there. `progress` is told how many bytes of it are here, and pauses.
    pub(super) fn fetch(
        &self,
        (name, commit): (&str, &str),
        store: &Store,
        remote: &RemoteFile,
        cancel: &CancelToken,
        progress: &mut dyn FnMut(u64, Option<Duration>),
    ) -> Result<()> {
        if !store.has(remote, commit) {
            store.prepare()?;
            let _alone = store.lock(remote, cancel)?;
            // Another process may have loaded it meanwhile.
            if !store.has(remote, commit) {
                let mut partial = Partial::open(remote, store.incomplete(remote), cancel)?;
                let mut tries = Tries::default();
                while let Err(failure) = self.go_on((name, commit), &mut partial, cancel, progress) {
                    let gained = partial.length >= tries.furthest.saturating_add(GAIN);
                    let pause = tries.pause(failure, gained, self.address())?;
                    tries.furthest = tries.furthest.max(partial.length);
                    progress(partial.length, Some(pause));
                    self.pause(pause, cancel)?;
                }
                partial.close(&store.blob(remote))?;
            }
        }
        progress(remote.bytes, None);
        Ok(())
    }

    /// Loads what is missing of a file, and compares its checksum.
    fn go_on(
        &self,
        (name, commit): (&str, &str),
        partial: &mut Partial<'_>,
        cancel: &CancelToken,
        progress: &mut dyn FnMut(u64, Option<Duration>),
    ) -> Tried<()> {
        let remote = partial.remote;
        let again =
            || Error::unusable(format!("what the hub sends as '{}' isn't what it said", remote.name), TRY_LATER);
        progress(partial.length, None);
        if partial.length < remote.bytes {
            let answer =
                self.caller.get(&format!("{name}/resolve/{commit}/{}", remote.name), partial.length, cancel)?;
            if answer.status == 416 {
                partial.clear()?;
            }
            let answer = self.accept(name, answer)?;
            let range = (answer.status == 206).then(|| answer.header("content-range")).flatten();
            let follows =
                range == Some(format!("bytes {}-{}/{}", partial.length, remote.bytes - 1, remote.bytes).as_str());
            if answer.status == 206 && !follows {
                partial.clear()?;
                return Err(Failure::again("another part came than was asked for".into()));
            }
            if answer.status == 200 && partial.length > 0 {
                partial.clear()?;
            }
            while let Some(piece) = answer.next(cancel)? {
                if piece.len() as u64 > remote.bytes - partial.length {
                    partial.clear()?;
                    return Err(Failure::Final(again()));
                }
                partial.add(&piece)?;
                progress(partial.length, None);
            }
            if partial.length < remote.bytes {
                return Err(Failure::again("it ended too early".into()));
            }
        }
        let sum = std::mem::replace(&mut partial.sum, Sum::of(remote));
        if sum.digits() == remote.checksum.digits() {
            return Ok(());
        }
        let resumed = partial.resumed;
        partial.clear()?;
        // What was there before may have been damaged; what came in one go won't come otherwise.
        Err(if resumed { Failure::again("its checksum is wrong".into()) } else { Failure::Final(again()) })
    }
}
