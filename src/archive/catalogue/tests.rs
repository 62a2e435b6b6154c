//! The keeper alone, told by hand what a writer would tell it.

use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;

use super::*;
use crate::archive::entry::{Entry, Upload};
use crate::archive::origin::Origin;
use crate::archive::rebuild::inspect;
use crate::archive::testing::{Stream, file_of};
use crate::clock::MediaClock;
use crate::status::Status;
use crate::units::MediaTime;

const START_MS: i64 = 1_795_411_016_000;

fn open(folder: &Path, run: Run) -> (watch::Sender<Status>, Notes) {
    gstreamer::init().unwrap();
    let status = watch::Sender::new(Status::default());
    let report = Report::new(&status, |status| &mut status.archive);
    let events = Events::new(&status, MediaClock::start());
    let mut notes = Notes::open(folder, run, report, events);
    notes.add(Note::Ready);
    (status, notes)
}

fn wait_until_read(status: &watch::Sender<Status>) {
    wait_until(status, IndexState::Ok);
}

fn wait_until(status: &watch::Sender<Status>, state: IndexState) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut watch = status.subscribe();
    let read = async { watch.wait_for(|status| status.archive.index.state == state).await.map(drop) };
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), read).await }).expect("read in time").unwrap();
}

/// A closed segment of 5 s, as a run would have written it that thought its time zero to be at `epoch_ms`.
fn put_file(folder: &Path, run: Run, base_s: u64, epoch_ms: i64) -> Entry {
    let start_ms = epoch_ms + base_s as i64 * 1000;
    let origin = Origin { run, base: MediaTime::from_millis(base_s * 1000), start_ms, dropped_gops: 0 };
    let (bytes, _) = file_of(&Stream { start: base_s, ..Stream::default() }, &origin);
    let name = Name::new(jiff::Timestamp::from_millisecond(start_ms).unwrap());
    let path = folder.join(name.closed());
    std::fs::write(&path, bytes).unwrap();
    inspect(&path).unwrap().entry(name)
}

#[test]
fn files_that_were_begun_before_the_clock_was_set_get_their_true_times() {
    let home = tempfile::tempdir().unwrap();
    let run = Run([1; 16]);
    // The clock stood at 1970 until the third segment.
    let files = [put_file(home.path(), run, 10, 0), put_file(home.path(), run, 15, 0), put_file(home.path(), run, 20, START_MS)];
    let (status, notes) = open(home.path(), Run([2; 16]));
    wait_until_read(&status);
    notes.finish("the end".into());
    let starts: Vec<i64> = Index::open(home.path()).unwrap().entries().unwrap().iter().map(|entry| entry.start_ms).collect();
    assert_eq!(starts, [10_000, 15_000, 20_000].map(|base| START_MS + base));
    assert_eq!(files[0].start_ms, 10_000, "the file says what the clock said");
}

#[test]
fn a_clock_that_is_set_while_it_records() {
    let home = tempfile::tempdir().unwrap();
    let (earlier, run) = (Run([1; 16]), Run([2; 16]));
    put_file(home.path(), earlier, 0, START_MS);
    let (status, mut notes) = open(home.path(), run);
    wait_until_read(&status);
    notes.add(Note::Began { start_ms: 1000 });
    notes.add(Note::Closed(put_file(home.path(), run, 1, 0)));
    let epoch_ms = START_MS + 100_000;
    notes.add(Note::Stepped(Step { epoch_ms, by_ms: epoch_ms }));
    notes.finish("the end".into());
    let index = Index::open(home.path()).unwrap();
    let entries = index.entries().unwrap();
    assert_eq!(entries.iter().map(|entry| entry.start_ms).collect::<Vec<_>>(), [START_MS, epoch_ms + 1000]);
    let gaps = index.gaps(i64::MIN, i64::MAX).unwrap();
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].from_ms, gaps[0].until_ms), (START_MS + 5000, epoch_ms + 1000));
    assert_eq!(gaps[0].cause, "the cause is not known any more");
}

#[test]
fn what_was_deleted_before_its_upload_is_a_gap() {
    let home = tempfile::tempdir().unwrap();
    let (old, older) = (put_file(home.path(), Run([1; 16]), 100, START_MS), put_file(home.path(), Run([1; 16]), 95, START_MS));
    let (status, mut notes) = open(home.path(), Run([2; 16]));
    wait_until_read(&status);
    for (entry, lost) in [(&old, true), (&older, false)] {
        std::fs::remove_file(home.path().join(entry.name.closed())).unwrap();
        notes.add(Note::Deleted { name: entry.name, lost });
    }
    notes.finish("the end".into());
    let index = Index::open(home.path()).unwrap();
    assert_eq!(index.entries().unwrap(), []);
    let gaps = index.gaps(i64::MIN, i64::MAX).unwrap();
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].from_ms, gaps[0].until_ms), (old.start_ms, old.end_ms()));
    assert!(gaps[0].cause.contains("before it was uploaded"));
}

#[test]
fn holes_that_only_the_files_show_are_gaps_and_what_is_in_the_bucket_stays_known() {
    let home = tempfile::tempdir().unwrap();
    let run = Run([1; 16]);
    let kept = put_file(home.path(), run, 0, START_MS);
    put_file(home.path(), run, 5, START_MS);
    put_file(home.path(), run, 20, START_MS);
    let done = Upload::Done { object: "o".into() };
    let index = Index::open(home.path()).unwrap();
    index.put(&Entry { upload: done.clone(), gone: true, ..kept.clone() }).unwrap();
    let (status, notes) = open(home.path(), Run([2; 16]));
    wait_until_read(&status);
    notes.finish("the end".into());
    assert_eq!(index.get(kept.name).unwrap(), Some(Entry { upload: done, ..kept }), "the file is back");
    let gaps = index.gaps(i64::MIN, i64::MAX).unwrap();
    assert_eq!(gaps.iter().map(|gap| (gap.from_ms, gap.until_ms)).collect::<Vec<_>>(), [(START_MS + 10_000, START_MS + 20_000)]);
    assert!(gaps[0].cause.contains("inside a run"), "{gaps:?}");
}

#[test]
fn nothing_is_held_open_of_a_folder_that_cannot_be_used() {
    let home = tempfile::tempdir().unwrap();
    let (status, mut notes) = open(home.path(), Run([1; 16]));
    wait_until(&status, IndexState::Ok);
    let held = || {
        let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
        files.filter(|file| file.starts_with(home.path())).count()
    };
    assert!(held() > 0);
    notes.add(Note::Away);
    wait_until(&status, IndexState::Off);
    assert_eq!(held(), 0);
    let entry = put_file(home.path(), Run([1; 16]), 0, START_MS);
    notes.add(Note::Closed(entry.clone()));
    notes.add(Note::Ready);
    wait_until(&status, IndexState::Ok);
    notes.finish("the end".into());
    let index = Index::open(home.path()).unwrap();
    assert_eq!((index.entries().unwrap(), index.take_end().unwrap().as_deref()), (vec![entry], Some("the end")));
}

#[test]
fn nothing_is_opened_before_the_folder_is_ready() {
    gstreamer::init().unwrap();
    let home = tempfile::tempdir().unwrap();
    let status = watch::Sender::new(Status::default());
    let report = Report::new(&status, |status| &mut status.archive);
    let mut notes = Notes::open(home.path(), Run([1; 16]), report, Events::new(&status, MediaClock::start()));
    notes.add(Note::AllRead);
    notes.finish("the end".into());
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    assert_eq!(status.borrow().archive.index.state, IndexState::Off);
}
