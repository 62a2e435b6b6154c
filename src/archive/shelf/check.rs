//! Whether the files are what the index says, and the index made anew from the files.
//!
//! A file is read from its beginning to its end, once: its hash and its structure come out of the same bytes. Nothing is repaired
//! and nothing deleted; what is wrong is told with what to do. All of it waits for whoever records.

use std::fmt;
use std::io::ErrorKind;

use super::{Fault, Progress, Shelf, Watch};
use crate::archive::catalogue::background::step_back;
use crate::archive::catalogue::stock;
use crate::archive::fault::Fault as Room;
use crate::archive::index::{Entry, Index, Upload};
use crate::archive::name::Name;
use crate::archive::rebuild::{Facts, inspect_while};

/// Something that is wrong with a file: `FILE: what; what to do`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub file: String,
    pub what: String,
    pub remedy: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.file, self.what, self.remedy)
    }
}

const COPY: &str = "put a good copy in its place, from the bucket or an export, or let `onaird archive rebuild` take it as it is";
const REBUILD: &str = "`onaird archive rebuild` puts the index right";
const NOT_OURS: &str = "move it out of the archive's folder";
const PROTECT: &str = "`onaird archive protect` or `unprotect` puts both right";

/// Reads every segment of the index, or those that are named, and looks for files that the index does not know. Returns how many
/// files were read, and what is wrong, as it is found and in the end.
pub fn verify(shelf: &Shelf, names: &[Name], watch: &mut dyn Watch) -> Result<(u64, Vec<Finding>), Fault> {
    step_back();
    let index = shelf.index()?;
    let all = index.entries().map_err(|fault| shelf.fault(fault))?;
    let mut findings = strangers(shelf, names, &all)?;
    findings.iter().for_each(|finding| watch.tell(&finding.to_string()));
    let entries: Vec<Entry> = all.into_iter().filter(|entry| names.is_empty() || names.contains(&entry.name)).collect();
    let mut reader = Reader::new(shelf, watch, entries.iter().map(|entry| entry.bytes));
    for entry in &entries {
        let found = match reader.read(entry.name, entry.bytes)? {
            Read::Facts(facts) => judge(entry, &facts),
            Read::Missing if is_deleted(shelf, entry.name)? => vec![],
            Read::Missing => vec![finding(entry.name, "the file is missing", REBUILD)],
            Read::Unusable(what) => vec![finding(entry.name, what, COPY)],
        };
        found.iter().for_each(|finding| reader.watch.tell(&finding.to_string()));
        findings.extend(found);
    }
    Ok((entries.len() as u64, findings))
}

/// Names without a row: files that the index does not know, or names that nothing has.
fn strangers(shelf: &Shelf, names: &[Name], entries: &[Entry]) -> Result<Vec<Finding>, Fault> {
    let files = shelf.files()?;
    let is_known = |name: &Name| entries.iter().any(|entry| entry.name == *name);
    let wanted = |name: &Name| names.is_empty() || names.contains(name);
    let unknown = files.iter().filter(|name| wanted(name) && !is_known(name));
    let unknown = unknown.map(|name| finding(*name, "the index does not know it", REBUILD));
    let absent = names.iter().filter(|name| !is_known(name) && !files.contains(name));
    let absent = absent.map(|name| finding(*name, "there is no such segment", "`onaird archive list` has their names"));
    Ok(unknown.chain(absent).collect())
}

fn is_deleted(shelf: &Shelf, name: Name) -> Result<bool, Fault> {
    let now = shelf.index()?.get(name).map_err(|fault| shelf.fault(fault))?;
    Ok(now.is_none_or(|entry| entry.gone))
}

/// What the file says against what the index says. A rule.
fn judge(entry: &Entry, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |what: String, remedy| findings.push(finding(entry.name, what, remedy));
    if facts.bytes != entry.bytes {
        add(format!("it has {} bytes and was recorded with {}", facts.bytes, entry.bytes), COPY);
    } else if facts.sha256 != entry.sha256 {
        add("its bytes are not those that were recorded (SHA-256)".into(), COPY);
    }
    if let Some(flaw) = &facts.flaw {
        add(format!("its structure is broken: {flaw}"), COPY);
    }
    if facts.protected != entry.protected {
        let (file, index) = if facts.protected { ("it is", "is not") } else { ("it is not", "is") };
        add(format!("{file} protected, and in the index it {index}"), PROTECT);
    }
    findings
}

fn finding(name: Name, what: impl Into<String>, remedy: &'static str) -> Finding {
    Finding { file: name.closed(), what: what.into(), remedy }
}

/// What making the index anew came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// In the index now.
    pub segments: u64,
    /// Unknown to the index before.
    pub added: u64,
    /// Known otherwise.
    pub changed: u64,
    /// In the index before, without a file.
    pub lost: u64,
    pub findings: Vec<Finding>,
}

/// Reads every file and writes its facts into the index; what only the index knows is kept as far as it can be read.
pub fn rebuild(shelf: &Shelf, watch: &mut dyn Watch) -> Result<Rebuilt, Fault> {
    step_back();
    let index = shelf.index_to_change()?;
    let names = shelf.files()?;
    let lengths: Vec<u64> =
        names.iter().map(|name| shelf.path_of(*name).metadata().map_or(0, |metadata| metadata.len())).collect();
    let mut rebuilt = Rebuilt::default();
    let mut reader = Reader::new(shelf, watch, lengths.iter().copied());
    for (name, bytes) in names.iter().zip(&lengths) {
        match reader.read(*name, *bytes)? {
            Read::Facts(facts) => take(shelf, &index, *name, &facts, &mut rebuilt).map_err(|fault| shelf.fault(fault))?,
            Read::Missing => {}
            Read::Unusable(what) => rebuilt.findings.push(finding(*name, what, NOT_OURS)),
        }
    }
    rebuilt.lost = forget(shelf, &index).map_err(|fault| shelf.fault(fault))?;
    tell_holes(&index).map_err(|fault| shelf.fault(fault))?;
    Ok(rebuilt)
}

/// What is missing between the segments. The daemon knows better what is missing before the run that goes on.
fn tell_holes(index: &Index) -> Result<(), Room> {
    let entries = index.all()?;
    let newest = entries.last().map(|entry| entry.run);
    let holes = stock::holes(&entries, &index.gaps(i64::MIN, i64::MAX)?);
    let mut holes = holes.iter().filter(|hole| Some(hole.runs.1) != newest);
    holes.try_for_each(|hole| index.add_gap_of(hole.runs.0, hole.runs.1, &hole.gap()))
}

fn take(shelf: &Shelf, index: &Index, name: Name, facts: &Facts, rebuilt: &mut Rebuilt) -> Result<(), Room> {
    let known = index.get(name)?;
    let mut entry = renewed(known.as_ref(), facts.entry(name));
    let newest = index.newest_of(entry.run)?.filter(|_| known.is_none());
    let step = stock::settle(&mut entry, newest.as_ref());
    if let Some(flaw) = &facts.flaw {
        rebuilt.findings.push(finding(name, format!("its structure is broken: {flaw}"), "it is in the index as it is"));
    }
    rebuilt.segments += 1;
    rebuilt.added += u64::from(known.is_none());
    if known.as_ref() != Some(&entry) {
        rebuilt.changed += u64::from(known.is_some());
        index.put(&entry)?;
    }
    if let Some(step) = step {
        index.correct(entry.run, step.epoch_ms, step.by_ms)?;
    }
    if entry.protected && !facts.protected {
        index.set_protected(name, true)?;
    }
    // Deleted while it was being read: that is not to be undone.
    if shelf.path_of(name).try_exists().is_ok_and(|exists| !exists) {
        index.set_gone(name)?;
    }
    Ok(())
}

/// The file's facts, with what no file can know. A rule.
fn renewed(known: Option<&Entry>, found: Entry) -> Entry {
    let Some(known) = known else { return found };
    let same_begin = known.run == found.run && known.base == found.base;
    let upload = match &known.upload {
        // Parts of other bytes are of no use; a whole copy in the bucket may be the last good one.
        Upload::Begun { .. } if known.sha256 != found.sha256 => Upload::Waiting,
        upload => upload.clone(),
    };
    Entry {
        // The clock may have been put right since.
        start_ms: if same_begin { known.start_ms } else { found.start_ms },
        protected: known.protected || found.protected,
        upload,
        ..found
    }
}

/// Rows whose file is not there.
fn forget(shelf: &Shelf, index: &Index) -> Result<u64, Room> {
    let mut lost = 0;
    for entry in index.entries()? {
        if shelf.path_of(entry.name).try_exists().is_ok_and(|exists| !exists) {
            index.set_gone(entry.name)?;
            lost += 1;
        }
    }
    Ok(lost)
}

enum Read {
    Facts(Box<Facts>),
    Missing,
    /// Why not.
    Unusable(String),
}

/// Reads one file after the other and says how far it is.
struct Reader<'a> {
    shelf: &'a Shelf,
    watch: &'a mut dyn Watch,
    progress: Progress,
}

impl<'a> Reader<'a> {
    fn new(shelf: &'a Shelf, watch: &'a mut dyn Watch, lengths: impl ExactSizeIterator<Item = u64>) -> Self {
        let files = lengths.len() as u64;
        Self { shelf, watch, progress: Progress { files, bytes: lengths.sum(), ..Progress::default() } }
    }

    /// `bytes`: as they were counted at the begin.
    fn read(&mut self, name: Name, bytes: u64) -> Result<Read, Fault> {
        let (watch, mut now) = (&mut *self.watch, self.progress);
        let facts = inspect_while(&self.shelf.path_of(name), |bytes| {
            now.bytes_done += bytes as u64;
            watch.progress(&now);
            true
        });
        self.progress.files_done += 1;
        self.progress.bytes_done += bytes;
        match facts {
            Ok(Some(facts)) => Ok(Read::Facts(Box::new(facts))),
            Ok(None) => Ok(Read::Missing),
            Err(Room::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(Read::Missing),
            Err(Room::Io { source, .. }) if source.kind() != ErrorKind::PermissionDenied => {
                Ok(Read::Unusable(format!("it cannot be read ({source})")))
            }
            Err(Room::NoSegment { flaw, .. }) => Ok(Read::Unusable(format!("it is no segment: {flaw}"))),
            Err(fault) => Err(self.shelf.fault(fault)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::index::{Run, Sha256};
    use crate::archive::structure::Flaw;
    use crate::units::MediaTime;
    use std::time::Duration;

    fn facts() -> Facts {
        Facts {
            start_ms: 1_795_411_016_789,
            duration: Duration::from_secs(300),
            bytes: 1000,
            frames: 9000,
            dropped_gops: 0,
            run: Run([7; 16]),
            base: MediaTime::from_millis(5),
            sha256: Sha256([1; 32]),
            protected: false,
            holes: Duration::ZERO,
            flaw: None,
        }
    }

    fn entry() -> Entry {
        facts().entry(Name::parse("20261123T051656Z").unwrap())
    }

    #[test]
    fn what_is_found_wrong() {
        let flaw = Some(Flaw { at: 999, what: "a torn end".into() });
        for (facts, wanted) in [
            (facts(), &[][..]),
            (Facts { sha256: Sha256([2; 32]), ..facts() }, &["20261123T051656Z.mp4: its bytes are not those"]),
            (Facts { bytes: 999, flaw, ..facts() }, &["it has 999 bytes and was recorded with 1000", "a torn end at byte 999"]),
            (Facts { protected: true, ..facts() }, &["it is protected, and in the index it is not"]),
        ] {
            let found: Vec<_> = judge(&entry(), &facts).iter().map(Finding::to_string).collect();
            assert_eq!(found.len(), wanted.len(), "{found:?}");
            assert!(found.iter().zip(wanted).all(|(found, wanted)| found.contains(wanted)), "{found:?}");
        }
    }

    #[test]
    fn what_only_the_index_knows_is_kept() {
        let done = Upload::Done { object: "o".into() };
        let begun = Upload::Begun { object: "o".into(), id: "1".into() };
        let known = Entry { start_ms: 5, protected: true, upload: done.clone(), gone: true, ..entry() };
        assert_eq!(renewed(Some(&known), entry()), Entry { gone: false, ..known.clone() });
        assert_eq!(renewed(None, entry()), entry());
        let other = Entry { sha256: Sha256([9; 32]), base: MediaTime::ZERO, ..entry() };
        assert_eq!(renewed(Some(&known), other.clone()).upload, done, "the good copy is in the bucket");
        assert_eq!(renewed(Some(&known), other.clone()).start_ms, other.start_ms, "of another file");
        assert_eq!(renewed(Some(&Entry { upload: begun.clone(), ..known.clone() }), other).upload, Upload::Waiting);
        assert_eq!(renewed(Some(&Entry { upload: begun.clone(), ..known }), entry()).upload, begun);
    }
}
