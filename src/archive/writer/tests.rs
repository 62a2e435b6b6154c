//! The writer and its index against a real folder, with packets that are right in time and form: no encoder, no player, two hours of
//! them in seconds.

use std::path::Path;
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::*;
use crate::archive::entry::Entry;
use crate::archive::index::{FILE, Index};
use crate::archive::rebuild::inspect;
use crate::archive::testing::{Stream, config_of, format_of};
use crate::status::{IndexState, Status};

/// No condition takes nearly as long on a machine that works.
const LIMIT: Duration = Duration::from_secs(120);

struct Stage {
    status: watch::Sender<Status>,
    items: mpsc::Sender<Work>,
    thread: JoinHandle<()>,
}

impl Stage {
    fn start(config: config::Archive) -> Self {
        gstreamer::init().unwrap();
        let status = watch::Sender::new(Status::default());
        let report = Report::new(&status, |status| &mut status.archive);
        let clock = MediaClock::start();
        let events = Events::new(&status, clock.clone());
        let writer = Writer::new(config, crate::archive::new_run(), clock, report, events);
        let (items, inbox) = mpsc::channel(64);
        let thread = std::thread::spawn(move || writer.run(inbox));
        Self { status, items, thread }
    }

    fn publish(&self, packets: &[Arc<Packet>]) {
        packets.iter().for_each(|packet| self.items.blocking_send(Item::Packet(packet.clone()).into()).unwrap());
    }

    fn wait_for(&self, what: &str, mut condition: impl FnMut(&Status) -> bool) -> Status {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut watch = self.status.subscribe();
        let found = runtime.block_on(async {
            tokio::time::timeout(LIMIT, watch.wait_for(|status| condition(status))).await.map(|found| found.unwrap().clone())
        });
        found.unwrap_or_else(|_| panic!("waited for: {what}; {:#?}", self.status.borrow()))
    }

    fn stop(self) -> Status {
        let Self { status, items, thread } = self;
        drop(items);
        thread.join().unwrap();
        status.borrow().clone()
    }
}

fn told(status: &Status, words: &str) -> bool {
    status.events.iter().any(|event| event.text.contains(words))
}

fn record(config: config::Archive, stream: &Stream) -> Status {
    let stage = Stage::start(config);
    stage.publish(&stream.packets());
    stage.stop()
}

/// Starts, without a single packet, and waits until the index knows all files.
fn rebuild(folder: &Path) -> Status {
    let stage = Stage::start(config_of(folder));
    stage.wait_for("the index knows all", |status| status.archive.index.state == IndexState::Ok);
    stage.stop()
}

fn rows(folder: &Path) -> Vec<Entry> {
    Index::open(folder).unwrap().entries().unwrap()
}

/// The gaps' causes in order of time.
fn causes(folder: &Path) -> Vec<String> {
    Index::open(folder).unwrap().gaps(i64::MIN, i64::MAX).unwrap().into_iter().map(|gap| gap.cause).collect()
}

/// Row by row what the files say.
fn assert_index_is_true(folder: &Path) {
    let rows = rows(folder);
    let files = crate::archive::disk::segments(folder).unwrap();
    assert_eq!(rows.len(), files.len());
    for row in rows {
        let facts = inspect(&folder.join(row.name.closed())).unwrap();
        assert_eq!((&facts.flaw, facts.holes), (&None, Duration::ZERO), "{}", row.name);
        assert_eq!(facts.entry(row.name), row);
    }
}

/// In memory, if the machine has such a place: disks of build machines are slow to sync.
fn home() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

#[test]
fn two_hours() {
    let home = home();
    let config = config_of(home.path());
    let stream = Stream { seconds: 7200, framerate: (30_000, 1001), start: 5, ..Stream::default() };
    let status = record(config, &stream);
    assert_eq!((status.archive.dropped_gops, status.archive.last_error), (0, None));
    assert_index_is_true(home.path());
    let rows = rows(home.path());
    assert_eq!((rows.len(), status.archive.segments), (24, 24));
    let packets = stream.packets();
    let pictures = packets.iter().filter(|packet| packet.track == crate::media::packet::Track::Video).count();
    assert_eq!(rows.iter().map(|row| row.frames).sum::<u64>(), pictures as u64);
    let run = rows[0].run;
    assert_ne!(run, Run::UNKNOWN);
    for pair in rows.windows(2) {
        let end = pair[0].base + pair[0].duration;
        assert!(end.abs_diff(pair[1].base) <= Duration::from_nanos(1), "{pair:?}: times are whole nanoseconds");
        assert!(pair[0].end_ms().abs_diff(pair[1].start_ms) <= 1 && pair[1].run == run);
    }
    let length: Duration = rows.iter().map(|row| row.duration).sum();
    let frame = Duration::from_nanos(33_366_667);
    assert!(length.abs_diff(Duration::from_secs(7200)) <= frame, "{length:?}");
    assert_eq!(causes(home.path()), Vec::<String>::new());
}

#[test]
fn an_index_that_is_lost_or_damaged_is_made_anew_from_the_files() {
    let home = home();
    let config = config::Archive { segment: Duration::from_secs(4), ..config_of(home.path()) };
    record(config.clone(), &Stream { seconds: 21, ..Stream::default() });
    record(config, &Stream { seconds: 9, ..Stream::default() });
    let protected = rows(home.path())[2].name;
    Index::open(home.path()).unwrap().set_protected(protected, true).unwrap();
    let before = rows(home.path());
    assert_eq!(before.len(), 9);
    for damage in [None, Some("this is no index")] {
        for end in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(home.path().join(format!("{FILE}{end}")));
        }
        match damage {
            None => std::fs::remove_file(home.path().join(FILE)).unwrap(),
            Some(text) => std::fs::write(home.path().join(FILE), text).unwrap(),
        }
        let status = rebuild(home.path());
        assert!(told(&status, "does not know 9 of the segments"), "{status:#?}");
        assert_eq!(rows(home.path()), before);
    }
    // It was whole: nothing is read again.
    assert!(!told(&rebuild(home.path()), "does not know"));
}

#[test]
fn files_that_come_and_go_while_nobody_looks() {
    let home = home();
    record(
        config::Archive { segment: Duration::from_secs(4), ..config_of(home.path()) },
        &Stream { seconds: 12, ..Stream::default() },
    );
    let before = rows(home.path());
    let elsewhere = home.path().join("elsewhere");
    let file = home.path().join(before[1].name.closed());
    std::fs::rename(&file, &elsewhere).unwrap();
    rebuild(home.path());
    assert_eq!(rows(home.path()), [before[0].clone(), before[2].clone()]);
    std::fs::rename(&elsewhere, &file).unwrap();
    std::fs::write(home.path().join("20260101T000000Z.mp4"), "not a segment").unwrap();
    let status = rebuild(home.path());
    assert_eq!(rows(home.path()), before);
    assert!(told(&status, "20260101T000000Z.mp4 is not a segment"), "{status:#?}");
}

#[test]
fn what_was_not_on_air_stands_beside_the_recording() {
    let home = home();
    let stage = Stage::start(config_of(home.path()));
    stage.publish(&Stream { seconds: 9, ..Stream::default() }.packets());
    let span = Span { from_ms: 2000, until_ms: 7500 };
    stage.items.blocking_send(Work::NotOnAir(span)).unwrap();
    stage.stop();
    let gaps = Index::open(home.path()).unwrap().gaps(i64::MIN, i64::MAX).unwrap();
    let [gap] = &gaps[..] else { panic!("{gaps:?}") };
    let start_ms = rows(home.path())[0].start_ms;
    assert_eq!((gap.missing, gap.from_ms - start_ms, gap.until_ms - start_ms), (Missing::Air, 2000, 7500));
}

#[test]
fn what_is_missing_between_two_runs_has_its_cause() {
    let home = home();
    let config = config_of(home.path());
    let stream = Stream { seconds: 4, ..Stream::default() };
    let later = |start| Stream { start, ..stream.clone() };
    record(config.clone(), &stream);
    record(config.clone(), &later(60));
    assert_eq!(causes(home.path()), [STOPPED]);
    crate::archive::catalogue::switched_off(home.path()).unwrap();
    record(config.clone(), &later(120));
    assert_eq!(causes(home.path()), [STOPPED, "recording was switched off"]);
}

/// The files as they are at one moment of recording are what a power cut leaves at most.
#[test]
fn a_power_cut() {
    let (home, after) = (home(), self::home());
    record(config_of(home.path()), &Stream { seconds: 4, ..Stream::default() });
    let stage = Stage::start(config_of(home.path()));
    stage.publish(&Stream { seconds: 30, start: 60, ..Stream::default() }.packets());
    stage.wait_for("recording", |status| status.archive.state == ArchiveState::Recording);
    for file in std::fs::read_dir(home.path()).unwrap().map(|file| file.unwrap().path()) {
        std::fs::copy(&file, after.path().join(file.file_name().unwrap())).unwrap();
    }
    let file = stage.stop().events.iter().find_map(|event| event.text.strip_prefix("archive: closed ").map(str::to_owned));
    let name = file.unwrap().split(',').next().unwrap().to_owned();
    let part = after.path().join(format!("{name}.part"));
    let torn = std::fs::OpenOptions::new().write(true).open(&part).unwrap();
    torn.set_len(torn.metadata().unwrap().len() - 10).unwrap();

    let stage = Stage::start(config_of(after.path()));
    stage.publish(&Stream { start: 120, seconds: 4, ..Stream::default() }.packets());
    let status = stage.wait_for("the gap is known", |status| told(status, "before this start were not recorded"));
    assert!(told(&status, &format!("saved {name}, ")) && told(&status, "bytes of a torn end are lost"), "{status:#?}");
    stage.stop();
    assert_index_is_true(after.path());
    assert_eq!(causes(after.path()), [STOPPED, "the power was cut, or the daemon was killed"]);
    let gap = Index::open(after.path()).unwrap().gaps(i64::MIN, i64::MAX).unwrap().pop().unwrap();
    let rows = rows(after.path());
    assert_eq!((rows.len(), gap.from_ms, gap.until_ms), (3, rows[1].end_ms(), rows[2].start_ms));
}

#[test]
fn a_fault_that_is_cured_soon_costs_nothing_before_anything_was_recorded() {
    let home = home();
    let folder = home.path().join("archive");
    std::fs::write(&folder, "in the way").unwrap();
    let packets = Stream { seconds: 9, gop: 300, ..Stream::default() }.packets();
    let until = |seconds: u64| packets.partition_point(|packet| packet.time.millis() < seconds * 1000);
    let stage = Stage::start(config_of(&folder));
    stage.publish(&packets[..until(5)]);
    stage.wait_for("failed", |status| status.archive.state == ArchiveState::Failed);
    stage.publish(&packets[until(5)..until(6)]);
    std::fs::remove_file(&folder).unwrap();
    stage.publish(&packets[until(6)..]);
    stage.wait_for("recording, without a new keyframe", |status| status.archive.state == ArchiveState::Recording);
    let status = stage.stop();
    assert_eq!(status.archive.dropped_gops, 0);
    let rows = rows(&folder);
    assert_eq!((rows.len(), rows[0].base, rows[0].frames), (1, MediaTime::ZERO, 270));
    assert_eq!(causes(&folder), Vec::<String>::new());
}

#[test]
fn a_folder_that_is_missing_at_the_start_is_a_gap_of_its_own() {
    let home = home();
    let folder = home.path().join("archive");
    let stream = Stream { seconds: 30, gop: 60, ..Stream::default() };
    record(config_of(&folder), &stream);
    let away = home.path().join("away");
    std::fs::rename(&folder, &away).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    let packets = Stream { start: 60, ..stream }.packets();
    let until = |seconds: u64| packets.partition_point(|packet| packet.time.millis() < seconds * 1000);
    let stage = Stage::start(config_of(&folder));
    stage.publish(&packets[..until(85)]);
    stage.wait_for("failed", |status| status.archive.state == ArchiveState::Failed && status.archive.dropped_gops > 6);
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&away, &folder).unwrap();
    stage.publish(&packets[until(85)..]);
    stage.wait_for("recording", |status| status.archive.state == ArchiveState::Recording && status.archive.loss.is_some());
    let status = stage.stop();
    let gaps = Index::open(&folder).unwrap().gaps(i64::MIN, i64::MAX).unwrap();
    let rows = rows(&folder);
    assert_eq!((rows.len(), gaps.len(), gaps[0].cause.as_str()), (2, 2, STOPPED));
    assert_eq!((gaps[0].from_ms, gaps[0].until_ms, gaps[1].until_ms), (rows[0].end_ms(), gaps[1].from_ms, rows[1].start_ms));
    let missing = gaps[1].until_ms - gaps[1].from_ms;
    assert_eq!(missing, status.archive.dropped_gops as i64 * 2000, "whole GOPs: {gaps:?}");
    assert!(missing <= 18_000 && gaps[1].cause.contains("something else"), "the last 12 s before the cure are there: {gaps:?}");
}

#[test]
fn what_a_fault_costs_is_a_gap_with_its_cause_and_a_loss_until_a_segment_is_whole() {
    let home = home();
    let folder = home.path().join("archive");
    let stage = Stage::start(config::Archive { segment: Duration::from_secs(20), ..config_of(&folder) });
    let packets = Stream { seconds: 60, gop: 30, ..Stream::default() }.packets();
    let until = |seconds: u64| packets.partition_point(|packet| packet.time.millis() < seconds * 1000);
    stage.publish(&packets[..until(25)]);
    stage.wait_for("one closed", |status| status.archive.segments == 1 && status.archive.index.state == IndexState::Ok);
    std::fs::rename(&folder, home.path().join("pulled")).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    stage.publish(&packets[until(25)..until(41)]);
    let status = stage.wait_for("failed", |status| status.archive.state == ArchiveState::Failed);
    assert!(status.archive.last_error.is_some());
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(home.path().join("pulled"), &folder).unwrap();
    stage.publish(&packets[until(41)..until(44)]);
    stage.wait_for("a loss", |status| status.archive.state == ArchiveState::Recording && status.archive.loss.is_some());
    stage.publish(&packets[until(44)..]);
    let status = stage.wait_for("a segment without one", |status| status.archive.loss.is_none());
    assert!(status.archive.dropped_gops > 0);
    stage.stop();
    // What was saved may not have been read yet.
    rebuild(&folder);
    assert_index_is_true(&folder);
    let rows = rows(&folder);
    assert_eq!(rows.iter().map(|row| row.dropped_gops).sum::<u64>(), status.archive.dropped_gops);
    let gaps = Index::open(&folder).unwrap().gaps(i64::MIN, i64::MAX).unwrap();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    let before = rows.iter().rfind(|row| row.end_ms() <= gaps[0].from_ms).unwrap();
    assert!(before.end_ms().abs_diff(gaps[0].from_ms) <= 1, "{gaps:?} {rows:?}");
    assert!(rows.iter().any(|row| row.start_ms == gaps[0].until_ms), "{gaps:?} {rows:?}");
}

#[test]
fn a_disk_that_is_too_slow_leaves_a_gap() {
    let home = home();
    let stage = Stage::start(config_of(home.path()));
    let packets = Stream { seconds: 20, gop: 30, ..Stream::default() }.packets();
    let until = |seconds: u64| packets.partition_point(|packet| packet.time.millis() < seconds * 1000);
    stage.publish(&packets[..until(5)]);
    stage.items.blocking_send(Item::Lost { packets: 500 }.into()).unwrap();
    stage.publish(&packets[until(9)..]);
    let status = stage.stop();
    assert_eq!(status.archive.dropped_gops, 4);
    assert!(status.archive.loss.is_none(), "the segment after it is whole");
    let gaps = Index::open(home.path()).unwrap().gaps(i64::MIN, i64::MAX).unwrap();
    assert_eq!(gaps.len(), 1);
    assert!((3990..=4010).contains(&(gaps[0].until_ms - gaps[0].from_ms)) && gaps[0].cause.contains("too slow"), "{gaps:?}");
    assert_eq!(rows(home.path())[1].dropped_gops, 4);
    assert_index_is_true(home.path());
}

#[test]
fn recording_goes_on_while_the_index_fails() {
    let home = home();
    let index = home.path().join(FILE);
    std::fs::create_dir(&index).unwrap();
    let config = config::Archive { segment: Duration::from_secs(2), ..config_of(home.path()) };
    let stage = Stage::start(config);
    let packets = Stream { seconds: 9, ..Stream::default() }.packets();
    stage.publish(&packets);
    let status = stage.wait_for("the index fails", |status| {
        status.archive.index.state == IndexState::Failed && status.archive.state == ArchiveState::Recording
    });
    assert!(told(&status, "cannot open the archive's index"), "{status:#?}");
    std::fs::remove_dir(&index).unwrap();
    let status = stage.wait_for("the index works", |status| status.archive.index.state == IndexState::Ok);
    assert!(told(&status, "the index works again") && status.archive.dropped_gops == 0);
    stage.stop();
    assert_eq!(rows(home.path()).len(), 5);
    assert_index_is_true(home.path());
}

#[test]
fn a_change_of_format_joins_too() {
    let home = home();
    let stage = Stage::start(config_of(home.path()));
    let stream = Stream { seconds: 4, ..Stream::default() };
    stage.publish(&stream.packets());
    stage.publish(&Stream { start: 4, format: format_of(640, 360).into(), ..stream }.packets());
    stage.stop();
    let rows = rows(home.path());
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].base + rows[0].duration, rows[1].base);
    assert_index_is_true(home.path());
}
