//! The index against the promises it makes to the daemon, its uploader and the command line.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::units::MediaTime;

const DAY_0: i64 = 1_795_392_000_000;

fn home() -> (tempfile::TempDir, Index) {
    let home = tempfile::tempdir().unwrap();
    let index = Index::open(home.path()).unwrap();
    (home, index)
}

fn entry(second: i64) -> Entry {
    let start_ms = DAY_0 + second * 1000 + 123;
    Entry {
        name: Name::new(jiff::Timestamp::from_millisecond(start_ms).unwrap()),
        start_ms,
        duration: Duration::from_nanos(5_005_000_001),
        bytes: 1 << 40,
        frames: 150,
        dropped_gops: 2,
        run: Run([second as u8; 16]),
        base: MediaTime::from_nanos(77),
        sha256: Sha256([3; 32]),
        upload: Upload::Waiting,
        protected: false,
        gone: false,
    }
}

fn done(object: &str) -> Upload {
    Upload::Done { object: object.into() }
}

fn gap(from_ms: i64, until_ms: i64) -> Gap {
    Gap { from_ms, until_ms, missing: Missing::Archive, cause: "the disk was full".into() }
}

fn days(index: &Index) -> Vec<(String, u64)> {
    index.days_due().unwrap().into_iter().map(|(day, version)| (day.to_string(), version)).collect()
}

#[test]
fn what_is_put_is_got_by_every_connection() {
    let (home, index) = home();
    for (second, upload) in
        [(2, Upload::Waiting), (1, done("a/b.mp4")), (3, Upload::Begun { object: "c.mp4".into(), id: "7".into() })]
    {
        index.put(&Entry { upload, ..entry(second) }).unwrap();
    }
    let other = Index::open(home.path()).unwrap();
    assert_eq!(other.get(entry(1).name).unwrap(), Some(Entry { upload: done("a/b.mp4"), ..entry(1) }));
    assert_eq!(other.get(entry(9).name).unwrap(), None);
    let names: Vec<Name> = other.entries().unwrap().iter().map(|entry| entry.name).collect();
    assert_eq!(names, [entry(1).name, entry(2).name, entry(3).name]);
    assert_eq!(other.next_upload().unwrap(), Some(entry(2)));
    assert_eq!(other.upload_counts().unwrap(), (2, 1));
}

#[test]
fn what_is_gone_is_kept_for_its_day() {
    let (_home, index) = home();
    index.put(&entry(1)).unwrap();
    index.put(&entry(86_400)).unwrap();
    index.set_gone(entry(1).name).unwrap();
    assert_eq!(index.entries().unwrap(), [entry(86_400)]);
    assert_eq!(index.of_day(day_of(DAY_0)).unwrap(), [Entry { gone: true, ..entry(1) }]);
    assert_eq!(index.next_upload().unwrap(), Some(entry(86_400)));
    assert_eq!(index.upload_counts().unwrap(), (1, 0));
    assert_eq!(index.marks().unwrap().len(), 1);
    assert!(!index.set_protected(entry(1).name, true).unwrap(), "there is nothing left to protect");
}

#[test]
fn protection_is_told_to_the_file_too() {
    let (home, index) = home();
    let path = home.path().join(entry(1).name.closed());
    std::fs::write(&path, "").unwrap();
    assert!(!index.set_protected(entry(1).name, true).unwrap(), "unknown");
    index.put(&entry(1)).unwrap();
    for protected in [true, false, true] {
        assert!(index.set_protected(entry(1).name, protected).unwrap());
        assert_eq!(index.get(entry(1).name).unwrap().unwrap().protected, protected);
        assert_eq!(is_read_only(&path.metadata().unwrap()), protected);
    }
}

#[test]
fn a_day_is_due_until_its_newest_version_was_sent() {
    let (_home, index) = home();
    index.put(&entry(1)).unwrap();
    assert_eq!(days(&index), [], "nothing of it is in the bucket");
    index.set_upload(entry(1).name, &done("a")).unwrap();
    assert_eq!(days(&index), [("2026-11-23".into(), 1)]);
    let (day, version) = index.days_due().unwrap()[0];
    index.set_gone(entry(1).name).unwrap();
    index.day_sent(day, version).unwrap();
    assert_eq!(days(&index), [("2026-11-23".into(), 2)], "it changed while it was being sent");
    index.day_sent(day, 2).unwrap();
    assert_eq!(days(&index), []);
    index.add_gap(&gap(DAY_0 - 1, DAY_0 + 1)).unwrap();
    assert_eq!(days(&index), [("2026-11-22".into(), 1), ("2026-11-23".into(), 3)]);
}

#[test]
fn gaps_that_overlap() {
    let (_home, index) = home();
    index.add_gap(&gap(1000, 2000)).unwrap();
    index.add_gap(&Gap { missing: Missing::Air, ..gap(500, 700) }).unwrap();
    assert_eq!(index.gaps(0, 5000).unwrap(), [Gap { missing: Missing::Air, ..gap(500, 700) }, gap(1000, 2000)]);
    assert_eq!(index.gaps(700, 1000).unwrap(), []);
    assert_eq!(index.gaps(1999, 2001).unwrap().len(), 1);
}

#[test]
fn a_clock_that_is_set_later_corrects_its_run_alone() {
    let (_home, index) = home();
    let run = Run([9; 16]);
    let of_run = |base: u64, start_ms| Entry { run, base: MediaTime::from_millis(base), start_ms, ..entry(start_ms / 1000) };
    let known = entry(1);
    index.put(&known).unwrap();
    index.set_run(run).unwrap();
    // The clock stood at 1970 when the box was switched on.
    let early = of_run(5000, 6000 - DAY_0);
    index.put(&Entry { start_ms: 6000, upload: done("x"), ..early.clone() }).unwrap();
    index.add_gap_of(known.run, run, &gap(known.end_ms(), 6000)).unwrap();
    index.add_gap(&gap(8000, 9000)).unwrap();
    assert_eq!(index.gaps(DAY_0, DAY_0 + DAY_MS).unwrap(), [], "before it begins nothing can end");
    let epoch = DAY_0 + 3_600_000;
    assert_eq!(index.correct(run, epoch, epoch - 1000).unwrap(), 1);
    let corrected = index.get(early.name).unwrap().unwrap();
    assert_eq!(corrected.start_ms, epoch + 5000);
    assert_eq!(index.get(known.name).unwrap().unwrap(), known);
    let gaps = index.gaps(DAY_0, DAY_0 + DAY_MS).unwrap();
    assert_eq!(gaps, [gap(known.end_ms(), epoch + 5000), gap(epoch + 7000, epoch + 8000)]);
    let due: Vec<String> = days(&index).into_iter().map(|(day, _)| day).collect();
    assert_eq!(due, ["1970-01-01", "2026-11-23"]);
    assert_eq!(index.correct(run, epoch, 0).unwrap(), 0, "once is enough");
}

#[test]
fn how_recording_ended_is_told_once() {
    let (home, index) = home();
    assert_eq!(index.take_end().unwrap(), None);
    index.set_end("switched off").unwrap();
    assert_eq!(Index::open(home.path()).unwrap().take_end().unwrap().as_deref(), Some("switched off"));
    assert_eq!(index.take_end().unwrap(), None);
}

#[test]
fn a_damaged_index_is_put_aside_and_an_empty_one_made() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join(FILE);
    let aside = || {
        let names = std::fs::read_dir(home.path()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("index.sqlite3.damaged-")).count()
    };
    std::fs::write(&path, "this was an index once").unwrap();
    Index::open(home.path()).unwrap().put(&entry(1)).unwrap();
    assert_eq!(aside(), 1);

    let index = Index::open(home.path()).unwrap();
    (0..500).for_each(|second| index.put(&entry(second)).unwrap());
    drop(index);
    let mut bytes = std::fs::read(&path).unwrap();
    assert!(bytes.len() > 20_000, "all of it is in the file");
    bytes[5000..15_000].fill(0x55);
    std::fs::write(&path, bytes).unwrap();
    std::fs::read_dir(home.path())
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("damaged"))
        .for_each(|path| std::fs::remove_file(path).unwrap());
    assert_eq!(Index::open(home.path()).unwrap().entries().unwrap(), []);
    assert_eq!(aside(), 1);
}

#[test]
fn an_index_of_a_newer_version_is_left_alone() {
    let (home, index) = home();
    index.connection.pragma_update(None, "user_version", 99).unwrap();
    drop(index);
    let Err(fault) = Index::open(home.path()) else { panic!("a version that nobody knows") };
    assert!(fault.to_string().contains("version 99") && fault.to_string().contains(FILE), "{fault}");
}

#[test]
fn a_folder_that_is_not_there() {
    let home = tempfile::tempdir().unwrap();
    assert!(Index::open(&home.path().join("gone")).is_err());
}

#[derive(Clone, Debug)]
enum Act {
    Put(i64),
    Done(i64),
    Gone(i64),
}

fn act() -> impl Strategy<Value = Act> {
    let second = 0i64..12;
    prop_oneof![second.clone().prop_map(Act::Put), second.clone().prop_map(Act::Done), second.prop_map(Act::Gone)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// It answers as a map would.
    #[test]
    fn as_a_map(acts in proptest::collection::vec(act(), 0..40)) {
        let (_home, index) = home();
        let mut map: BTreeMap<i64, Entry> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Put(second) => {
                    index.put(&entry(second)).unwrap();
                    map.insert(second, entry(second));
                }
                Act::Done(second) => {
                    index.set_upload(entry(second).name, &done("o")).unwrap();
                    map.entry(second).and_modify(|entry| entry.upload = done("o"));
                }
                Act::Gone(second) => {
                    index.set_gone(entry(second).name).unwrap();
                    map.entry(second).and_modify(|entry| entry.gone = true);
                }
            }
        }
        let there: Vec<Entry> = map.values().filter(|entry| !entry.gone).cloned().collect();
        let waiting = there.iter().filter(|entry| entry.upload == Upload::Waiting);
        let sent = map.values().filter(|entry| entry.upload != Upload::Waiting).count() as u64;
        prop_assert_eq!(index.next_upload().unwrap(), waiting.clone().next().cloned());
        prop_assert_eq!(index.upload_counts().unwrap(), (waiting.count() as u64, sent));
        prop_assert_eq!(index.entries().unwrap(), there);
        prop_assert_eq!(index.of_day(day_of(DAY_0)).unwrap(), map.into_values().collect::<Vec<_>>());
    }
}
