//! A closed segment's facts from the file itself: what the index says of it, found again. It reads and never writes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use ring::digest;

use super::entry::{Entry, Run, Sha256, Upload};
use super::fault::Fault;
use super::index::is_read_only;
use super::name::Name;
use super::structure::{self, Flaw, NotRead};
use crate::units::MediaTime;

/// Read at once; also how much is read between two looks at whether to go on.
const CHUNK: usize = 256 << 10;

/// What a closed segment says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Unix milliseconds of the first picture as the clock was then.
    pub start_ms: i64,
    pub duration: Duration,
    pub bytes: u64,
    /// Pictures.
    pub frames: u64,
    /// GOPs that were lost right before it.
    pub dropped_gops: u64,
    pub run: Run,
    pub base: MediaTime,
    pub sha256: Sha256,
    /// Nobody may write to the file, which is how it is protected.
    pub protected: bool,
    /// How long, added up, a track has nothing inside it.
    pub holes: Duration,
    /// `None`: its structure is sound. Else the first flaw; the other facts are as far as it could be read.
    pub flaw: Option<Flaw>,
}

impl Facts {
    /// The row of a file that no bucket is known to have.
    pub fn entry(&self, name: Name) -> Entry {
        Entry {
            name,
            start_ms: self.start_ms,
            duration: self.duration,
            bytes: self.bytes,
            frames: self.frames,
            dropped_gops: self.dropped_gops,
            run: self.run,
            base: self.base,
            sha256: self.sha256,
            upload: Upload::Waiting,
            protected: self.protected,
            gone: false,
        }
    }
}

/// Reads the whole file.
pub fn inspect(path: &Path) -> Result<Facts, Fault> {
    let facts = inspect_while(path, |_| true)?;
    Ok(facts.expect("nobody wished to stop"))
}

/// The same; `go_on` is told how many bytes were read since it was last asked, may take its time, and ends it by saying false.
pub fn inspect_while(path: &Path, go_on: impl FnMut(usize) -> bool) -> Result<Option<Facts>, Fault> {
    let file = File::open(path).map_err(Fault::io("open", path))?;
    let metadata = file.metadata().map_err(Fault::io("look at", path))?;
    let mut hashing = Hashing { source: file, hash: digest::Context::new(&digest::SHA256), go_on, stopped: false };
    let found = structure::read(&mut io::BufReader::with_capacity(CHUNK, &mut hashing));
    if hashing.stopped {
        return Ok(None);
    }
    let found = found.map_err(|fault| match fault {
        NotRead::NoSegment(flaw) => Fault::NoSegment { path: path.to_owned(), flaw },
        NotRead::Error(error) => Fault::io("read", path)(error),
    })?;
    Ok(Some(Facts {
        start_ms: found.origin.start_ms,
        duration: found.duration,
        bytes: found.bytes,
        frames: found.frames,
        dropped_gops: found.origin.dropped_gops,
        run: found.origin.run,
        base: found.origin.base,
        sha256: sha256(hashing.hash),
        protected: is_read_only(&metadata),
        holes: found.holes,
        flaw: found.flaw,
    }))
}

/// What a context has made of all its bytes.
pub fn sha256(hash: digest::Context) -> Sha256 {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    Sha256(bytes)
}

struct Hashing<R, G> {
    source: R,
    hash: digest::Context,
    go_on: G,
    stopped: bool,
}

impl<R: Read, G: FnMut(usize) -> bool> Read for Hashing<R, G> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.source.read(buffer)?;
        self.hash.update(&buffer[..bytes]);
        if !(self.go_on)(bytes) {
            self.stopped = true;
            return Err(io::Error::other("stopped"));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::origin::Origin;
    use crate::archive::testing::{Stream, file_of};

    fn file() -> (tempfile::TempDir, std::path::PathBuf, Vec<u8>) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("20261123T051656Z.mp4");
        let (bytes, _) = file_of(&Stream::default(), &Origin::of_second(1_795_411_016));
        std::fs::write(&path, &bytes).unwrap();
        (home, path, bytes)
    }

    #[test]
    fn the_facts_of_a_file() {
        let (_home, path, bytes) = file();
        let facts = inspect(&path).unwrap();
        assert_eq!((facts.bytes, facts.frames, facts.start_ms), (bytes.len() as u64, 150, 1_795_411_016_000));
        assert_eq!((facts.flaw, facts.protected), (None, false));
        assert_eq!(facts.sha256.0, digest::digest(&digest::SHA256, &bytes).as_ref());
    }

    #[test]
    fn a_flawed_file_has_its_hash_and_others_are_no_segments() {
        let (_home, path, mut bytes) = file();
        bytes.truncate(bytes.len() - 5);
        std::fs::write(&path, &bytes).unwrap();
        let facts = inspect(&path).unwrap();
        assert!(facts.flaw.is_some());
        assert_eq!(facts.sha256.0, digest::digest(&digest::SHA256, &bytes).as_ref());
        std::fs::write(&path, "old").unwrap();
        let fault = inspect(&path).unwrap_err().to_string();
        assert!(fault.contains("20261123T051656Z.mp4") && fault.contains("not a segment"), "{fault}");
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(inspect(&path), Err(Fault::Io { .. })));
    }

    #[test]
    fn it_can_be_stopped() {
        let (_home, path, _) = file();
        assert_eq!(inspect_while(&path, |_| false).unwrap(), None);
    }
}
