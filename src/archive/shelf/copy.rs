//! One segment onto another disk: written under a temporary name, written out, read back from the disk itself, and only then
//! given its name.
//!
//! ```text
//!   there, and its hash is right ──▶ left alone
//!   else: NAME.mp4.part ──written out──▶ read back ──hash is right──▶ NAME.mp4
//!                 └──any fault──▶ removed; NAME.mp4 is what it was
//! ```
//!
//! A file of another recording is never overwritten. What is read is taken out of the page cache first, so that the disk is asked and not
//! the memory; and afterwards, so that the cache stays with those who need it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use ring::digest;

use super::Fault;
use crate::archive::index::{Entry, Run, Sha256};
use crate::archive::rebuild;

/// Read at once.
const CHUNK: usize = 1 << 20;

/// Written at most before it is written out: more would make every other writer of the machine wait with this one.
const UNWRITTEN: u64 = 32 << 20;

#[derive(Debug)]
pub enum Outcome {
    Copied,
    /// It was there, whole.
    There,
    Skipped(Trouble),
}

/// Why one segment is left out, while the others can still be copied.
#[derive(Debug)]
pub enum Trouble {
    /// The archive has deleted it in the meantime.
    Deleted,
    /// It is not what was recorded.
    Damaged,
    Unreadable(io::Error),
    /// A different recording has its name there.
    Another,
}

/// `done` is told how many of the segment's bytes are done with.
pub fn segment(source: &Path, target: &Path, entry: &Entry, done: &mut dyn FnMut(u64)) -> Result<Outcome, Fault> {
    if is_there(target, entry, done)? {
        return Ok(Outcome::There);
    }
    if is_another(target, entry) {
        return Ok(Outcome::Skipped(Trouble::Another));
    }
    let part = part_of(target);
    let copied = copy(source, &part, entry, done).and_then(|copied| match copied {
        Ok(()) => prove(&part, entry, done).and_then(|()| name(&part, target)).map(|()| Outcome::Copied),
        Err(trouble) => Ok(Outcome::Skipped(trouble)),
    });
    if !matches!(copied, Ok(Outcome::Copied)) {
        // Best effort: on a disk that is gone there is nothing to remove, and the next export looks again.
        let _ = fs::remove_file(&part);
    }
    copied
}

/// A small file, such as a manifest, that is whole or as it was before.
pub fn small(target: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let part = part_of(target);
    let written = begin(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(Fault::target("write to", &part))?;
    name(&part, target)
}

fn is_there(target: &Path, entry: &Entry, done: &mut dyn FnMut(u64)) -> Result<bool, Fault> {
    match fs::symlink_metadata(target) {
        Ok(metadata) if metadata.is_file() && metadata.len() == entry.bytes => {}
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(Fault::target("look at", target)(error)),
        _ => return Ok(false),
    }
    match hash_of(target, done) {
        Ok(hash) => Ok(hash == entry.sha256),
        // A bad sector below an old copy is a reason to write a new one elsewhere; a disk that is gone says so then.
        Err(_) => Ok(false),
    }
}

/// A file of the same name that comes from another run of a daemon, as far as both can be told.
fn is_another(target: &Path, entry: &Entry) -> bool {
    let there = rebuild::inspect(target).ok().map(|facts| facts.run).filter(|run| *run != Run::UNKNOWN);
    there.is_some_and(|run| run != entry.run)
}

/// Half of the work is writing, half of it reading back.
fn copy(source: &Path, part: &Path, entry: &Entry, done: &mut dyn FnMut(u64)) -> Result<Result<(), Trouble>, Fault> {
    let mut from = match File::open(source) {
        Ok(from) => from,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Err(Trouble::Deleted)),
        Err(error) => return Ok(Err(Trouble::Unreadable(error))),
    };
    let fault = || Fault::target("write to", part);
    let mut to = begin(part).map_err(fault())?;
    let (mut hash, mut buffer) = (digest::Context::new(&digest::SHA256), vec![0; CHUNK]);
    let (mut bytes, mut unwritten) = (0, 0);
    loop {
        let chunk = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => &buffer[..length],
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Ok(Err(Trouble::Unreadable(error))),
        };
        hash.update(chunk);
        to.write_all(chunk).map_err(fault())?;
        bytes += chunk.len() as u64;
        unwritten += chunk.len() as u64;
        if unwritten >= UNWRITTEN {
            to.sync_data().map_err(fault())?;
            unwritten = 0;
        }
        done(bytes / 2);
    }
    to.sync_all().map_err(fault())?;
    drop_from_cache(&from);
    let whole = bytes == entry.bytes && rebuild::sha256(hash) == entry.sha256;
    Ok(if whole { Ok(()) } else { Err(Trouble::Damaged) })
}

/// Links are not followed, and a part that an earlier export left behind is begun anew.
fn begin(part: &Path) -> io::Result<File> {
    match fs::remove_file(part) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).custom_flags(nix::libc::O_NOFOLLOW).open(part)
}

fn prove(part: &Path, entry: &Entry, done: &mut dyn FnMut(u64)) -> Result<(), Fault> {
    let hash = hash_of(part, &mut |bytes| done((entry.bytes + bytes) / 2)).map_err(Fault::target("read back", part))?;
    match hash == entry.sha256 {
        true => Ok(()),
        false => Err(Fault::WrittenWrong { path: part.to_owned() }),
    }
}

fn name(part: &Path, target: &Path) -> Result<(), Fault> {
    fs::rename(part, target).map_err(Fault::target("give its name to", target))?;
    let folder = target.parent().unwrap_or(Path::new("/"));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Fault::target("write out the folder", folder))
}

fn hash_of(path: &Path, done: &mut dyn FnMut(u64)) -> io::Result<Sha256> {
    let mut file = File::open(path)?;
    drop_from_cache(&file);
    let (mut hash, mut buffer, mut bytes) = (digest::Context::new(&digest::SHA256), vec![0; CHUNK], 0);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                hash.update(&buffer[..length]);
                bytes += length as u64;
                done(bytes);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    drop_from_cache(&file);
    Ok(rebuild::sha256(hash))
}

/// What is not written out stays; a file system without a cache has nothing to drop.
fn drop_from_cache(file: &File) {
    let _ = posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
}

fn part_of(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::index::Upload;
    use crate::archive::origin::Origin;
    use crate::archive::testing::{Stream, file_of};
    use crate::archive::{name::Name, rebuild};

    struct Desk {
        home: tempfile::TempDir,
        entry: Entry,
    }

    impl Desk {
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            let run = Run([7; 16]);
            let (bytes, _) = file_of(&Stream::default(), &Origin { run, ..Origin::of_second(1_795_411_016) });
            fs::write(home.path().join("source"), bytes).unwrap();
            let name = Name::parse("20261123T051656Z").unwrap();
            let entry = rebuild::inspect(&home.path().join("source")).unwrap().entry(name);
            assert_eq!((entry.run, &entry.upload), (run, &Upload::Waiting));
            Self { home, entry }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.home.path().join(name)
        }

        fn copy(&self) -> Outcome {
            let mut last = 0;
            let outcome = segment(&self.path("source"), &self.path("target"), &self.entry, &mut |bytes| last = bytes).unwrap();
            assert!(!self.path("target.part").exists());
            if !matches!(outcome, Outcome::Skipped(_)) {
                assert_eq!(last, self.entry.bytes, "all of it is done with");
                assert_eq!(fs::read(self.path("target")).unwrap(), fs::read(self.path("source")).unwrap());
            }
            outcome
        }
    }

    #[test]
    fn copied_once_and_then_known() {
        let desk = Desk::new();
        fs::write(desk.path("target.part"), "of an export that was interrupted").unwrap();
        assert!(matches!(desk.copy(), Outcome::Copied));
        assert!(matches!(desk.copy(), Outcome::There));
    }

    #[test]
    fn a_damaged_copy_is_made_again() {
        let desk = Desk::new();
        desk.copy();
        let mut bytes = fs::read(desk.path("target")).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(desk.path("target"), &bytes).unwrap();
        assert!(matches!(desk.copy(), Outcome::Copied));
        fs::write(desk.path("target"), &bytes[..700]).unwrap();
        assert!(matches!(desk.copy(), Outcome::Copied));
    }

    #[test]
    fn what_cannot_be_copied_leaves_no_trace() {
        let mut desk = Desk::new();
        let hash = std::mem::replace(&mut desk.entry.sha256, Sha256([0; 32]));
        assert!(matches!(desk.copy(), Outcome::Skipped(Trouble::Damaged)));
        desk.entry.sha256 = hash;
        fs::remove_file(desk.path("source")).unwrap();
        assert!(matches!(desk.copy(), Outcome::Skipped(Trouble::Deleted)));
        assert!(!desk.path("target").exists());
    }

    #[test]
    fn the_recording_of_another_box_stays() {
        let desk = Desk::new();
        let (other, _) = file_of(&Stream::default(), &Origin { run: Run([9; 16]), ..Origin::of_second(1_795_411_016) });
        fs::write(desk.path("target"), &other).unwrap();
        assert!(matches!(desk.copy(), Outcome::Skipped(Trouble::Another)));
        assert_eq!(fs::read(desk.path("target")).unwrap(), other);
    }

    #[test]
    fn a_link_is_no_place_to_write_to() {
        let desk = Desk::new();
        fs::write(desk.path("precious"), "mine").unwrap();
        for link in ["target", "target.part"] {
            std::os::unix::fs::symlink(desk.path("precious"), desk.path(link)).unwrap();
        }
        assert!(matches!(desk.copy(), Outcome::Copied));
        assert_eq!(fs::read_to_string(desk.path("precious")).unwrap(), "mine");
    }
}
