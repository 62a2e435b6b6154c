//! Which files a list of an input means now: those that it names, and what the archive's folder holds of what it asks for.
//!
//! A shell around one folder, which it reads and never writes. Only closed segments are taken: the open one has no end yet.

use std::path::{Path, PathBuf};

use crate::config::Played;
use crate::recorded::Reference;
use crate::recorded::name::Name;

/// In the order in which they are to be played; or why there is nothing.
pub fn files_of(played: &Played) -> Result<Vec<PathBuf>, String> {
    match played {
        Played::File(path) => Ok(vec![path.clone()]),
        Played::Archive { directory, what } => segments(directory, what),
    }
}

fn segments(directory: &Path, what: &Reference) -> Result<Vec<PathBuf>, String> {
    let unreadable = |error| format!("{} cannot be read: {error}", directory.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.file_name();
        names.extend(file.to_str().and_then(Name::parse_closed).filter(|name| what.means(*name)));
    }
    names.sort_unstable();
    match names.is_empty() {
        true => Err(format!("{} has no closed segment of it", directory.display())),
        false => Ok(names.iter().map(|name| directory.join(name.closed())).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_segments_in_order_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().to_path_buf();
        for file in [
            "20261123T140500Z.mp4",
            "20261123T140000Z.mp4",
            "20261123T140000Z-1.mp4",
            "20261123T141000Z.mp4.part",
            "20261124T000000Z.mp4",
            "holiday.mp4",
        ] {
            std::fs::write(directory.join(file), "").unwrap();
        }
        let archive = |what: &str| {
            let what = Reference::parse(what).unwrap();
            files_of(&Played::Archive { directory: directory.clone(), what })
        };
        let want = ["20261123T140000Z.mp4", "20261123T140000Z-1.mp4", "20261123T140500Z.mp4"];
        assert_eq!(archive("2026-11-23").unwrap(), want.map(|file| directory.join(file)));
        assert!(archive("2026-11-25").unwrap_err().contains("no closed segment"));
        assert_eq!(files_of(&Played::File("/a.mp4".into())).unwrap(), [PathBuf::from("/a.mp4")]);
        home.close().unwrap();
        assert!(archive("2026-11-23").unwrap_err().contains("cannot be read"));
    }
}
