//! What can keep a person from the archive, or a copy from being made: what happened, to what, what to do.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::archive::fault::Fault as Room;

#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("there is no archive in {}: name its folder with --directory, or the configuration that does with --config", path.display())]
    NoFolder { path: PathBuf },
    #[error("{} has no index: the daemon makes one when it starts, and `onaird archive rebuild` does now", path.display())]
    NoIndex { path: PathBuf },
    #[error("{} is {owner}'s and may not be used by you: run this as root or as {owner}, `sudo -u {owner} onaird archive …`", path.display())]
    Forbidden { path: PathBuf, owner: String },
    #[error(transparent)]
    Room(#[from] Room),
    #[error("cannot {doing} {}: {source}; {}", path.display(), remedy(source))]
    Target { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("another export writes into {}: wait for its end", path.display())]
    Busy { path: PathBuf },
    #[error("{} was read back and is not what was written: do not trust this disk, use another one", path.display())]
    WrittenWrong { path: PathBuf },
    #[error("{} has no file system that is known: format it, such as with `mkfs.exfat -L ONAIREXPORT`", device.display())]
    NoFileSystem { device: PathBuf },
}

/// Not named in [`ErrorKind`]: EIO, ENXIO, ENODEV.
const GONE: [i32; 3] = [5, 6, 19];

impl Fault {
    /// For `map_err`, of the archive's own folder and files.
    pub(super) fn of_archive(doing: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => Self::NoFolder { path: path.to_owned() },
            ErrorKind::PermissionDenied => Self::Forbidden { path: path.to_owned(), owner: owner_of(path) },
            _ => Self::Room(Room::io(doing, path)(source)),
        }
    }

    /// The room's own faults are for the daemon; a person may just be another user.
    pub(super) fn of_room(fault: Room, folder: &Path) -> Self {
        let forbidden = match &fault {
            Room::Io { source, .. } => source.kind() == ErrorKind::PermissionDenied,
            Room::Index { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied)
            ),
            _ => false,
        };
        match forbidden && may_not_write(folder) {
            true => Self::Forbidden { path: folder.to_owned(), owner: owner_of(folder) },
            false => Self::Room(fault),
        }
    }

    /// For `map_err`, of the disk that is exported to.
    pub(super) fn target(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Target { doing, path, source }
    }
}

fn may_not_write(folder: &Path) -> bool {
    nix::unistd::access(folder, nix::unistd::AccessFlags::W_OK).is_err()
}

/// The user's name, else its number; of the nearest folder that can be looked at.
fn owner_of(path: &Path) -> String {
    let uid = path.ancestors().find_map(|path| path.metadata().ok()).map_or(0, |metadata| metadata.uid());
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
    user.map_or_else(|| format!("user {uid}"), |user| user.name)
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "it is full: delete files there or use a larger disk; what has been copied stays, and the next export goes on"
        }
        ErrorKind::FileTooLarge => "its file system does not take files so large (FAT: 4 GiB): format it as exFAT or ext4",
        ErrorKind::ReadOnlyFilesystem => "it is read-only: look for its switch, or check it and mount it again",
        ErrorKind::PermissionDenied => "you may not write there: run this as another user, or name another folder with --to",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists | ErrorKind::IsADirectory => "something else has that name: move it",
        ErrorKind::NotFound => "if the disk was pulled out, plug it in again; --to wants a folder that is there",
        _ if error.raw_os_error().is_some_and(|errno| GONE.contains(&errno)) => {
            "the disk was pulled out or is broken: plug it in again, the next export goes on where this one was"
        }
        _ => "check the disk and start the export again: it goes on where it was",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_where_and_what_to_do() {
        for (errno, words) in [
            (28, "it is full"),
            (27, "exFAT"),
            (30, "read-only"),
            (13, "another user"),
            (5, "pulled out or is broken"),
            (19, "pulled out or is broken"),
            (2, "--to wants a folder"),
            (116, "goes on where it was"),
        ] {
            let text = Fault::target("write to", "/media/usb/a.mp4")(io::Error::from_raw_os_error(errno)).to_string();
            assert!(text.starts_with("cannot write to /media/usb/a.mp4: ") && text.contains(words), "{text}");
        }
    }

    #[test]
    fn another_s_folder_is_told_with_its_owner() {
        let denied = || io::Error::from_raw_os_error(13);
        let text = Fault::of_archive("read", Path::new("/"), denied()).to_string();
        assert!(text.contains("sudo -u root onaird archive"), "{text}");
        let text = Fault::of_archive("read", Path::new("/nowhere/at/all"), io::Error::from_raw_os_error(2)).to_string();
        assert!(text.contains("--directory"), "{text}");
    }
}
