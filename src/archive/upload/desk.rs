//! The uploader's thread: reads segments and keeps its own connection to the index, both of which may take as long as the disk
//! likes. The rest of the uploader only waits for its answers. A part is read in small pieces and hashed on the way, so that what
//! is sent has been looked at.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use md5::Digest;
use ring::digest::{Context, SHA256};
use tokio::sync::{mpsc, oneshot};

use super::plan::Prints;
use super::trouble::Trouble;
use crate::archive::fault::Fault;
use crate::archive::index::{self, Index};
use crate::recorded::name::Name;

/// Read and hashed at once.
const PIECE: usize = 256 << 10;

type Job = Box<dyn FnOnce(&mut Drawer) + Send>;

/// The way to the thread, which ends with it.
pub struct Desk(mpsc::Sender<Job>);

impl Desk {
    pub fn open(folder: &Path) -> io::Result<Self> {
        let (jobs, mut inbox) = mpsc::channel::<Job>(1);
        let mut drawer = Drawer { folder: folder.to_owned(), index: None, file: None };
        let work = move || {
            while let Some(job) = inbox.blocking_recv() {
                job(&mut drawer);
            }
        };
        std::thread::Builder::new().name("upload".into()).spawn(work)?;
        Ok(Self(jobs))
    }

    /// Has something done there, and waits for its result.
    pub async fn ask<T: Send + 'static>(&self, job: impl FnOnce(&mut Drawer) -> T + Send + 'static) -> Result<T, Trouble> {
        let gone = || Trouble::Local("the thread that reads the segments is gone".into());
        let (reply, answer) = oneshot::channel();
        // Whoever asked may have left.
        let job: Job = Box::new(move |drawer| drop(reply.send(job(drawer))));
        self.0.send(job).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    /// The same with the index; `None` while there is none.
    pub async fn index<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Index) -> Result<T, Fault> + Send + 'static,
    ) -> Result<Option<T>, Trouble> {
        self.ask(|drawer| drawer.with_index(job)).await?
    }
}

/// What the thread has at hand.
pub struct Drawer {
    folder: PathBuf,
    /// With the inode of its file: an index that was put aside is not written to any more.
    index: Option<(u64, Index)>,
    file: Option<Reading>,
}

/// A segment that is being read, from its first byte to its last.
struct Reading {
    file: File,
    path: PathBuf,
    whole: Context,
}

/// Why a segment cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Somebody has deleted it.
    Gone,
    /// It is not what was recorded.
    Damaged(String),
    /// The disk, or the folder as a whole.
    Disk(String),
}

impl Drawer {
    fn with_index<T>(&mut self, job: impl FnOnce(&Index) -> Result<T, Fault>) -> Result<Option<T>, Trouble> {
        let Some(index) = self.index()? else { return Ok(None) };
        let done = job(index);
        if done.is_err() {
            self.index = None;
        }
        done.map(Some).map_err(|fault| Trouble::Local(fault.to_string()))
    }

    /// Never makes one: that is the recorder's, who knows what belongs into it.
    fn index(&mut self) -> Result<Option<&Index>, Trouble> {
        let Ok(metadata) = fs::metadata(self.folder.join(index::FILE)) else {
            self.index = None;
            return Ok(None);
        };
        if self.index.as_ref().is_none_or(|(inode, _)| *inode != metadata.ino()) {
            let index = Index::open(&self.folder).map_err(|fault| Trouble::Local(fault.to_string()))?;
            self.index = Some((metadata.ino(), index));
        }
        Ok(self.index.as_ref().map(|(_, index)| index))
    }

    /// Opens a segment that is known to have so many bytes.
    pub fn open(&mut self, name: Name, bytes: u64) -> Result<(), Unreadable> {
        let path = self.folder.join(name.closed());
        let file = File::open(&path).map_err(|error| self.unreadable(&path, error))?;
        let length = file.metadata().map_err(|error| self.unreadable(&path, error))?.len();
        if length != bytes {
            return Err(Unreadable::Damaged(format!(
                "{} has {length} bytes, not the {bytes} that were recorded",
                path.display()
            )));
        }
        self.file = Some(Reading { file, path, whole: Context::new(&SHA256) });
        Ok(())
    }

    /// The next so many bytes.
    pub fn part(&mut self, length: u64) -> Result<(Bytes, Prints), Unreadable> {
        let Some(reading) = &mut self.file else { return Err(Unreadable::Disk("no segment is open".into())) };
        let read = reading.part(length);
        let path = reading.path.clone();
        read.map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => Unreadable::Damaged(format!("{} was cut off while it was read", path.display())),
            _ => self.unreadable(&path, error),
        })
    }

    /// The SHA-256 of all that was read since it was opened.
    pub fn close(&mut self) -> Option<[u8; 32]> {
        let reading = self.file.take()?;
        reading.whole.finish().as_ref().try_into().ok()
    }

    /// A missing file has been deleted only if its folder and the index are there.
    fn unreadable(&self, path: &Path, error: io::Error) -> Unreadable {
        let text = format!("{} cannot be read ({error}); check the disk", path.display());
        match error.kind() {
            ErrorKind::NotFound if self.folder.join(index::FILE).exists() => Unreadable::Gone,
            _ => Unreadable::Disk(text),
        }
    }
}

impl Reading {
    fn part(&mut self, length: u64) -> io::Result<(Bytes, Prints)> {
        let mut bytes = vec![0; length as usize];
        let (mut sha256, mut md5) = (Context::new(&SHA256), md5::Md5::new());
        for piece in bytes.chunks_mut(PIECE) {
            self.file.read_exact(piece)?;
            self.whole.update(piece);
            sha256.update(piece);
            md5.update(&*piece);
        }
        let mut prints = Prints { bytes: length, sha256: [0; 32], md5: md5.finalize().into() };
        prints.sha256.copy_from_slice(sha256.finish().as_ref());
        Ok((bytes.into(), prints))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::upload::plan::hex;

    fn drawer(folder: &Path) -> Drawer {
        fs::write(folder.join(index::FILE), "").unwrap();
        Drawer { folder: folder.to_owned(), index: None, file: None }
    }

    fn name() -> Name {
        Name::parse_closed("20261123T051656Z.mp4").unwrap()
    }

    #[test]
    fn parts_are_hashed_as_they_are_read() {
        let home = tempfile::tempdir().unwrap();
        let mut drawer = drawer(home.path());
        fs::write(home.path().join(name().closed()), b"abc").unwrap();
        drawer.open(name(), 3).unwrap();
        let (first, prints) = drawer.part(2).unwrap();
        assert_eq!((&first[..], hex(&prints.md5).as_str()), (&b"ab"[..], "187ef4436122d1cc2f40dc2b92f0eba0"));
        drawer.part(1).unwrap();
        let whole = drawer.close().unwrap();
        assert_eq!(hex(&whole), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_file_that_is_gone_is_told_from_a_folder_that_is_gone() {
        let home = tempfile::tempdir().unwrap();
        let mut drawer = drawer(home.path());
        assert_eq!(drawer.open(name(), 3), Err(Unreadable::Gone));
        fs::remove_file(home.path().join(index::FILE)).unwrap();
        assert!(matches!(drawer.open(name(), 3), Err(Unreadable::Disk(_))));
    }

    #[test]
    fn a_file_of_another_length_is_damaged() {
        let home = tempfile::tempdir().unwrap();
        let mut drawer = drawer(home.path());
        fs::write(home.path().join(name().closed()), b"abc").unwrap();
        assert!(matches!(drawer.open(name(), 4), Err(Unreadable::Damaged(_))));
        drawer.open(name(), 3).unwrap();
        assert!(matches!(drawer.part(4), Err(Unreadable::Damaged(_))));
    }
}
