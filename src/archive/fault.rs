//! What can keep the archive from recording, as a plain sentence: what happened, to which path, what to do. No fault here ends
//! the room; each is a state that is tried again.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use super::fmp4;
use super::structure::Flaw;
use crate::status::ArchiveState;

#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("no space left for the archive in {}: delete files there or use a larger disk", path.display())]
    Full { path: PathBuf },
    #[error("cannot {doing} {}: {source}; {}", path.display(), remedy(source))]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("{} has vanished while it was being written: put the disk or the folder back", path.display())]
    Vanished { path: PathBuf },
    #[error("the program's stream cannot be put into a file: {0}; choose another program.encoder")]
    Stream(#[from] fmp4::Fault),
    #[error("another onaird records into {}: stop it, or give this one a folder of its own with archive.directory", path.display())]
    Taken { path: PathBuf },
    #[error("cannot {doing} the archive's index {}: {source}; recordings are not touched by that, check the disk", path.display())]
    Index { doing: &'static str, path: PathBuf, source: rusqlite::Error },
    #[error("{} is not a segment: {flaw}; move it out of the archive's folder", path.display())]
    NoSegment { path: PathBuf, flaw: Flaw },
}

impl Fault {
    /// To be used with `map_err`: an I/O error becomes a fault as soon as it is known what was being done to which path.
    pub fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Io { doing, path, source },
        }
    }

    pub fn state(&self) -> ArchiveState {
        match self {
            Self::Full { .. } => ArchiveState::Full,
            _ => ArchiveState::Failed,
        }
    }
}

fn remedy(error: &io::Error) -> &'static str {
    /// Not named in [`ErrorKind`].
    const EIO: i32 = 5;
    match error.kind() {
        ErrorKind::PermissionDenied => "give the daemon's user the right to write there",
        ErrorKind::ReadOnlyFilesystem => "the disk is read-only, often after an error: check it and mount it again",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => "something else has that name: move it, or set archive.directory",
        ErrorKind::NotFound => "put the disk or the folder back, or set archive.directory",
        _ if error.raw_os_error() == Some(EIO) => "the disk does not work: check its cable, then replace it",
        _ => "check the disk; it is tried again every few seconds",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_where_and_what_to_do() {
        for (errno, state, words) in [
            (28, ArchiveState::Full, "delete files there"),
            (122, ArchiveState::Full, "delete files there"),
            (30, ArchiveState::Failed, "read-only"),
            (5, ArchiveState::Failed, "cable"),
            (13, ArchiveState::Failed, "right to write"),
            (20, ArchiveState::Failed, "archive.directory"),
            (116, ArchiveState::Failed, "tried again"),
        ] {
            let fault = Fault::io("write to", "/media/usb/a.mp4")(io::Error::from_raw_os_error(errno));
            assert_eq!(fault.state(), state, "{errno}");
            let text = fault.to_string();
            assert!(text.contains("/media/usb/a.mp4") && text.contains(words), "{text}");
        }
    }
}
