//! The archive's folder: every call here may block for as long as the disk likes, so only threads of the archive make them.
//! It knows nothing of packets and decides nothing.
//!
//! Whoever records holds a lock on the folder itself (flock(2)), which ends with the process: two daemons would repair each other's
//! open segments.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::fault::Fault;
use super::index::is_read_only;
use super::name::Name;
use super::recover::{self, Sound};

/// How many names are tried for one second.
const MAX_NUMBER: u32 = 1000;

pub struct Folder {
    path: PathBuf,
    /// `None` on a file system that knows no locks.
    _lock: Option<Flock<File>>,
}

/// A closed segment as the folder lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub name: Name,
    pub bytes: u64,
    /// Nobody may write to it.
    pub protected: bool,
}

/// What became of a segment that an earlier life did not close.
#[derive(Debug)]
pub enum Leftover {
    Saved {
        file: String,
        sound: Sound,
        /// Bytes of a torn end that are gone.
        cut: u64,
    },
    Deleted {
        file: String,
    },
    /// It stays as it is.
    Stuck(Fault),
}

impl Folder {
    /// Makes it if it is missing, and takes it for this process alone.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        fs::create_dir_all(path).map_err(Fault::io("make the folder", path))?;
        let folder = File::open(path).map_err(Fault::io("open the folder", path))?;
        let lock = match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Some(lock),
            Err((_, Errno::EWOULDBLOCK)) => return Err(Fault::Taken { path: path.to_owned() }),
            Err(_) => None,
        };
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub fn free(&self) -> Result<u64, Fault> {
        let space = nix::sys::statvfs::statvfs(&self.path);
        let space = space.map_err(io::Error::from).map_err(Fault::io("ask for the free space of", &self.path))?;
        // Their width depends on the platform.
        #[allow(clippy::unnecessary_cast)]
        let (blocks, size) = (space.blocks_available() as u64, space.fragment_size() as u64);
        Ok(blocks.saturating_mul(size))
    }

    /// The closed segments, in no order.
    pub fn segments(&self) -> Result<Vec<Stored>, Fault> {
        segments(&self.path)
    }

    pub fn delete(&self, name: Name) -> Result<(), Fault> {
        let path = self.path.join(name.closed());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Fault::io("delete", path)(error)),
            _ => Ok(()),
        }
    }

    /// Begins a segment under the first name that is free for this second.
    pub fn begin(&self, start: Timestamp) -> Result<OpenSegment, Fault> {
        let name = self.free_name(Name::new(start));
        let path = self.path.join(name.part());
        let file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(Fault::io("begin", &path))?;
        let inode = file.metadata().map_err(Fault::io("begin", &path))?.ino();
        self.sync()?;
        Ok(OpenSegment { folder: self.path.clone(), name, path, file, inode })
    }

    fn free_name(&self, first: Name) -> Name {
        let taken = |name: &Name| self.path.join(name.part()).exists() || self.path.join(name.closed()).exists();
        let mut names = std::iter::successors(Some(first), |name| Some(name.next())).take(MAX_NUMBER as usize);
        // If all are taken, beginning the file fails and says so.
        names.find(|name| !taken(name)).unwrap_or(first)
    }

    /// Closes what an earlier life left open. To be called while nothing is open.
    pub fn repair(&self) -> Result<Vec<Leftover>, Fault> {
        let parts = entries(&self.path, Name::parse_part)?;
        Ok(parts.into_iter().map(|(_, name)| self.repair_one(name).unwrap_or_else(Leftover::Stuck)).collect())
    }

    fn repair_one(&self, name: Name) -> Result<Leftover, Fault> {
        let path = self.path.join(name.part());
        let fault = || Fault::io("repair", &path);
        let mut file = OpenOptions::new().read(true).write(true).open(&path).map_err(fault())?;
        let before = file.metadata().map_err(fault())?.len();
        let Some(sound) = recover::sound(&mut file).map_err(fault())? else {
            fs::remove_file(&path).map_err(fault())?;
            return Ok(Leftover::Deleted { file: name.part() });
        };
        file.set_len(sound.bytes).and_then(|()| file.sync_all()).map_err(fault())?;
        let saved = self.closed_name_for(name);
        fs::rename(&path, self.path.join(saved.closed())).map_err(fault())?;
        self.sync()?;
        Ok(Leftover::Saved { file: saved.closed(), sound, cut: before - sound.bytes })
    }

    fn closed_name_for(&self, name: Name) -> Name {
        if self.path.join(name.closed()).exists() { self.free_name(name) } else { name }
    }

    fn sync(&self) -> Result<(), Fault> {
        sync_folder(&self.path)
    }
}

/// Makes names last: without it a new or renamed file may be gone after a power cut.
fn sync_folder(path: &Path) -> Result<(), Fault> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(Fault::io("write out the folder", path))
}

/// The closed segments of a folder, in no order.
pub fn segments(folder: &Path) -> Result<Vec<Stored>, Fault> {
    let mut segments = Vec::new();
    for (entry, name) in entries(folder, Name::parse_closed)? {
        // Whoever deleted it in the meantime is right.
        if let Ok(metadata) = entry.metadata() {
            segments.push(Stored { name, bytes: metadata.len(), protected: is_read_only(&metadata) });
        }
    }
    Ok(segments)
}

fn entries(folder: &Path, parse: impl Fn(&str) -> Option<Name>) -> Result<Vec<(fs::DirEntry, Name)>, Fault> {
    let fault = || Fault::io("list", folder);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(fault())? {
        let entry = entry.map_err(fault())?;
        if let Some(name) = entry.file_name().to_str().and_then(&parse) {
            found.push((entry, name));
        }
    }
    Ok(found)
}

/// A segment that is being written; if it is dropped, its `.part` stays as far as it came.
pub struct OpenSegment {
    folder: PathBuf,
    name: Name,
    path: PathBuf,
    file: File,
    inode: u64,
}

impl OpenSegment {
    pub fn name(&self) -> Name {
        self.name
    }

    /// Returns when the disk says that it has the bytes.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.file.write_all(bytes).and_then(|()| self.file.sync_data()).map_err(Fault::io("write to", &self.path))
    }

    /// A file that was deleted or lies under a new mount takes bytes for ever without a word.
    pub fn check(&self) -> Result<(), Fault> {
        match fs::metadata(&self.path) {
            Ok(metadata) if metadata.ino() == self.inode => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Fault::io("look at", &self.path)(error)),
            _ => Err(Fault::Vanished { path: self.path.clone() }),
        }
    }

    pub fn close(self) -> Result<(), Fault> {
        self.check()?;
        let fault = || Fault::io("close", &self.path);
        self.file.sync_all().map_err(fault())?;
        fs::rename(&self.path, self.folder.join(self.name.closed())).map_err(fault())?;
        sync_folder(&self.folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(&home.path().join("new/archive")).unwrap();
        (home, folder)
    }

    fn start() -> Timestamp {
        "2026-11-23T05:16:56Z".parse().unwrap()
    }

    #[test]
    fn segments_of_one_second_get_names_of_their_own() {
        let (_home, folder) = folder();
        let mut first = folder.begin(start()).unwrap();
        first.append(b"12345").unwrap();
        first.close().unwrap();
        let second = folder.begin(start()).unwrap();
        let third = folder.begin(start()).unwrap();
        assert_eq!([second.name().to_string(), third.name().to_string()], ["20261123T051656Z-1", "20261123T051656Z-2"]);
        let closed = folder.segments().unwrap();
        assert_eq!(closed.len(), 1, "open segments are not listed");
        assert_eq!((closed[0].name.closed().as_str(), closed[0].bytes), ("20261123T051656Z.mp4", 5));
        folder.delete(closed[0].name).unwrap();
        folder.delete(closed[0].name).unwrap();
        assert!(folder.segments().unwrap().is_empty());
    }

    #[test]
    fn leftovers_without_a_fragment_go_and_other_files_stay() {
        let (_home, folder) = folder();
        fs::write(folder.path.join("holiday.mp4"), "mine").unwrap();
        fs::write(folder.path.join("notes.mp4.part"), "mine").unwrap();
        drop(folder.begin(start()).unwrap());
        assert!(matches!(&folder.repair().unwrap()[..], [Leftover::Deleted { file }] if file == "20261123T051656Z.mp4.part"));
        assert_eq!(fs::read_dir(&folder.path).unwrap().count(), 2);
    }

    #[test]
    fn a_vanished_file_is_noticed() {
        let (_home, folder) = folder();
        let open = folder.begin(start()).unwrap();
        open.check().unwrap();
        fs::remove_dir_all(&folder.path).unwrap();
        assert!(matches!(open.check(), Err(Fault::Vanished { .. })));
        Folder::open(&folder.path).unwrap().begin(start()).unwrap();
        assert!(matches!(open.close(), Err(Fault::Vanished { .. })), "another file of the same name is not this one");
    }

    #[test]
    fn nobody_else_records_into_it() {
        let (_home, folder) = folder();
        let Err(fault) = Folder::open(&folder.path) else { panic!("it is taken") };
        assert!(fault.to_string().contains("another onaird"), "{fault}");
        let path = folder.path.clone();
        drop(folder);
        Folder::open(&path).unwrap();
    }

    /// A power cut between the two halves of a rename, on a file system that has them.
    #[test]
    fn an_open_and_a_closed_segment_of_one_name() {
        let (_home, folder) = folder();
        let stream = crate::archive::testing::Stream::default();
        let (bytes, _) = crate::archive::testing::file_of(&stream, &crate::archive::origin::Origin::of_second(0));
        for file in ["20261123T051656Z.mp4", "20261123T051656Z.mp4.part"] {
            fs::write(folder.path.join(file), &bytes).unwrap();
        }
        let repaired = folder.repair().unwrap();
        assert!(
            matches!(&repaired[..], [Leftover::Saved { file, cut: 0, .. }] if file == "20261123T051656Z-1.mp4"),
            "{repaired:?}"
        );
        assert_eq!(fs::read(folder.path.join("20261123T051656Z.mp4")).unwrap(), bytes);
    }

    #[test]
    fn a_file_in_the_folders_place() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("archive");
        fs::write(&path, "").unwrap();
        let Err(fault) = Folder::open(&path) else { panic!("a file is no folder") };
        assert!(fault.to_string().contains("archive.directory"), "{fault}");
    }
}
