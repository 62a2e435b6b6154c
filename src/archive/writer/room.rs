//! Room on the disk: what the folder and the index say, put before the rule, and what the rule says, done.
//!
//! The index may fail. Then a segment counts as not uploaded and the file's rights alone say whether it is protected, so that
//! nothing goes that should not, and recording goes on.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::archive::disk::{Folder, Stored};
use crate::archive::fault::Fault;
use crate::archive::index::{Index, Mark};
use crate::archive::name::Name;
use crate::archive::retention::{Going, Rule, Segment, Stock};
use crate::config;
use crate::units::{ByteSize, MediaTime};

/// How often the stock is taken while nothing is short.
const LOOK: Duration = Duration::from_secs(10);

pub struct Room {
    pub rule: Rule,
    directory: PathBuf,
    keep_free: ByteSize,
    segment: Duration,
    next: MediaTime,
}

/// What was found, and done.
pub struct Outcome {
    pub free: u64,
    /// Closed segments that are there; `None` if there was no need to look.
    pub found: Option<(u64, Stock)>,
    pub deleted: Vec<Going>,
}

impl Room {
    pub fn new(config: &config::Archive) -> Self {
        let rule = Rule { keep_free: config.keep_free.bytes(), max_age: config.max_age, uploads: config.upload.is_some() };
        let (directory, keep_free) = (config.directory.clone(), config.keep_free);
        Self { rule, directory, keep_free, segment: config.segment, next: MediaTime::ZERO }
    }

    /// Deletes what must go. `now` says whether it is time to take stock again; `begins`: a segment is about to begin, which is
    /// when age is looked at.
    pub fn make(
        &mut self,
        folder: &Folder,
        open: Option<Name>,
        now: MediaTime,
        unix_ms: i64,
        begins: bool,
    ) -> Result<Outcome, Fault> {
        let free = folder.free()?;
        let due = now >= self.next || self.next.since(now) > LOOK;
        if !begins && !due && free >= self.rule.wanted() {
            return Ok(Outcome { free, found: None, deleted: Vec::new() });
        }
        self.next = now + LOOK;
        let mut segments = self.segments(folder)?;
        let deleted =
            if begins || free < self.rule.wanted() { self.rule.expendable(&segments, open, free, unix_ms) } else { Vec::new() };
        deleted.iter().try_for_each(|going| folder.delete(going.name))?;
        segments.retain(|segment| !deleted.iter().any(|going| going.name == segment.name));
        let found = (segments.len() as u64, self.rule.stock(&segments, open, self.segment));
        let free = if deleted.is_empty() { free } else { folder.free()? };
        Ok(Outcome { free, found: Some(found), deleted })
    }

    fn segments(&self, folder: &Folder) -> Result<Vec<Segment>, Fault> {
        let marks = Index::glance(&self.directory).unwrap_or_default();
        let marks: HashMap<Name, Mark> = marks.into_iter().map(|mark| (mark.name, mark)).collect();
        Ok(folder.segments()?.iter().map(|stored| judged(stored, marks.get(&stored.name))).collect())
    }

    /// What to say if less is free than is to be kept.
    pub fn shortage(&self, free: u64) -> Option<String> {
        let (path, keep) = (self.directory.display(), self.keep_free);
        let left = if self.rule.uploads {
            "and nothing is left that is uploaded and not protected"
        } else {
            "and no older segment is left"
        };
        (free < self.rule.keep_free).then(|| {
            let free = ByteSize::from_bytes(free);
            format!("only {free} are free in {path}, less than the {keep} to be kept, {left}: delete other files")
        })
    }
}

fn judged(stored: &Stored, mark: Option<&Mark>) -> Segment {
    Segment {
        name: stored.name,
        start_ms: mark.map_or(stored.name.start().saturating_mul(1000), |mark| mark.start_ms),
        bytes: stored.bytes,
        uploaded: mark.is_some_and(|mark| mark.uploaded),
        protected: stored.protected || mark.is_some_and(|mark| mark.protected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::index::{Entry, Upload};
    use crate::archive::origin::Origin;
    use crate::archive::rebuild;
    use crate::archive::testing::{Stream, config_of, file_of};

    /// What any disk has less of.
    const ALL: ByteSize = ByteSize::from_bytes(u64::MAX);

    fn names(outcome: &Outcome) -> Vec<String> {
        outcome.deleted.iter().map(|going| going.name.to_string()).collect()
    }

    #[test]
    fn the_index_and_the_rights_are_asked_before_anything_goes() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        let index = Index::open(home.path()).unwrap();
        let (bytes, _) = file_of(&Stream::default(), &Origin::of_second(1_795_411_016));
        let files = ["20260101T000000Z", "20260102T000000Z", "20260103T000000Z", "20260104T000000Z"];
        for file in files {
            let path = home.path().join(format!("{file}.mp4"));
            std::fs::write(&path, &bytes).unwrap();
            let name = Name::parse(file).unwrap();
            index
                .put(&Entry { upload: Upload::Done { object: file.into() }, ..rebuild::inspect(&path).unwrap().entry(name) })
                .unwrap();
        }
        index.set_upload(Name::parse(files[1]).unwrap(), &Upload::Waiting).unwrap();
        index.set_protected(Name::parse(files[2]).unwrap(), true).unwrap();
        let config = config::Archive { keep_free: ALL, upload: Some(config::Upload::default()), ..config_of(home.path()) };
        let mut room = Room::new(&config);
        let outcome = room.make(&folder, None, MediaTime::ZERO, 0, true).unwrap();
        assert_eq!((names(&outcome), outcome.found.unwrap().0), (vec![files[0].to_owned(), files[3].to_owned()], 2));
        assert!(room.shortage(outcome.free).unwrap().contains("uploaded"));

        drop(index);
        std::fs::write(home.path().join(crate::archive::index::FILE), "damaged").unwrap();
        let outcome = room.make(&folder, None, MediaTime::ZERO, 0, true).unwrap();
        assert_eq!(names(&outcome), Vec::<String>::new(), "who knows whether it is uploaded");
        let mut room = Room::new(&config::Archive { upload: None, ..config });
        let outcome = room.make(&folder, None, MediaTime::ZERO, 0, true).unwrap();
        assert_eq!(names(&outcome), [files[1]], "the other one is protected by its rights");
    }

    #[test]
    fn stock_is_taken_now_and_then() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        let mut room = Room::new(&config_of(home.path()));
        let mut look =
            |seconds: u64| room.make(&folder, None, MediaTime::from_millis(seconds * 1000), 0, false).unwrap().found.is_some();
        assert_eq!([look(0), look(5), look(10), look(19), look(20), look(3)], [true, false, true, false, true, true]);
    }
}
