//! The table of the rule, and a disk that is recorded on for days.

use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_795_411_016;
const NOW_MS: i64 = NOW * 1000;
const MIB: u64 = 1 << 20;

fn segment(start: i64, mib: u64) -> Segment {
    let name = Name::new(jiff::Timestamp::from_second(start).unwrap());
    Segment { name, start_ms: start * 1000, bytes: mib * MIB, uploaded: false, protected: false }
}

fn rule(keep_free: u64) -> Rule {
    Rule { keep_free, max_age: None, uploads: false }
}

fn names(going: Vec<Going>) -> Vec<Name> {
    going.into_iter().map(|going| going.name).collect()
}

#[test]
fn space() {
    let segments = [segment(NOW - 100, 100), segment(NOW - 300, 100), segment(NOW - 200, 100)];
    let oldest =
        |count: usize| [NOW - 300, NOW - 200, NOW - 100][..count].iter().map(|at| segment(*at, 0).name).collect::<Vec<_>>();
    for (free, gone) in [(500, 0), (499, 1), (400, 1), (399, 2), (0, 3)] {
        let going = rule(500 * MIB).expendable(&segments, None, free * MIB, NOW_MS);
        assert!(going.iter().all(|going| !going.lost));
        assert_eq!(names(going), oldest(gone), "{free} MiB free");
    }
}

#[test]
fn age() {
    let rule = Rule { max_age: Some(Duration::from_secs(3600)), ..rule(0) };
    let (old, young, future, unset) = (segment(NOW - 3601, 1), segment(NOW - 3600, 1), segment(NOW + 9999, 1), segment(77, 1));
    let corrected = Segment { start_ms: NOW_MS - 3_700_000, ..segment(78, 1) };
    let going = names(rule.expendable(&[young, unset, future, old, corrected], None, u64::MAX, NOW_MS));
    assert_eq!(going, [corrected.name, old.name], "neither a clock set back nor one never set costs a recording");
    let rule = Rule { uploads: true, ..rule };
    let protected = Segment { protected: true, uploaded: true, ..old };
    assert_eq!(rule.expendable(&[protected, segment(NOW - 9999, 1)], None, 0, NOW_MS), [], "nor what is only here, or protected");
}

#[test]
fn a_disk_without_reserve_is_still_kept_from_filling_up() {
    assert_eq!(rule(0).expendable(&[segment(NOW, 100)], None, 15 * MIB, NOW_MS).len(), 1);
}

#[test]
fn nothing_goes_in_vain() {
    let segments = [segment(NOW - 200, 5), segment(NOW - 100, 5)];
    let rule = rule(500 * MIB);
    assert!(rule.expendable(&segments, None, 5 * MIB, NOW_MS).is_empty(), "15 MiB would still be a full disk");
    assert_eq!(rule.expendable(&segments, None, 6 * MIB, NOW_MS).len(), 2);
}

#[test]
fn what_is_nowhere_else_goes_only_rather_than_stopping() {
    let rule = Rule { uploads: true, ..rule(500 * MIB) };
    let here = [segment(NOW - 500, 10), segment(NOW - 400, 10)];
    let there = Segment { uploaded: true, ..segment(NOW - 100, 10) };
    let segments = [here[1], here[0], there];
    let gone = |name, lost| Going { name, lost };
    for (free, wanted) in [
        (500, vec![]),
        (499, vec![gone(there.name, false)]),
        (16, vec![gone(there.name, false)]),
        (5, vec![gone(there.name, false), gone(here[0].name, true)]),
        (0, vec![gone(there.name, false), gone(here[0].name, true)]),
    ] {
        assert_eq!(rule.expendable(&segments, None, free * MIB, NOW_MS), wanted, "{free} MiB free");
    }
}

fn measured(bytes_per_second: u64) -> Meter {
    let mut meter = Meter::default();
    (0..30).for_each(|second| meter.look(MediaTime::from_millis(1000 * second), second * bytes_per_second));
    meter
}

#[test]
fn time_left() {
    let mut meter = Meter::default();
    assert_eq!(meter.seconds_left(MIB, 0), None);
    assert_eq!(meter.seconds_to_loss(0, Stock::default()), None);
    meter = measured(1000);
    assert_eq!(meter.seconds_left(1_002_000, 2000), Some(1000));
    assert_eq!(meter.seconds_left(1000, 2000), Some(0));
    meter.interrupt();
    meter.look(MediaTime::from_millis(500_000), 30_000);
    meter.look(MediaTime::from_millis(510_000), 40_000);
    assert_eq!(meter.seconds_left(1_002_000, 2000), Some(1000));
}

#[test]
fn time_to_a_loss() {
    let meter = measured(1000);
    let stock = Stock { deletable: 5_000_000, in_step: true, segment: Duration::from_secs(300) };
    assert_eq!(meter.seconds_to_loss(MIN_FREE, stock), None, "it goes round for ever");
    let behind = Stock { in_step: false, ..stock };
    assert_eq!(meter.seconds_to_loss(MIN_FREE + 1_000_000, behind), Some(6000));
    let blocked = Stock { deletable: 0, ..stock };
    assert_eq!(meter.seconds_to_loss(MIN_FREE + 599_000, blocked), Some(599), "not even two segments have room");
    assert_eq!(meter.seconds_to_loss(MIN_FREE + 601_000, blocked), None);
    let rule = Rule { uploads: true, ..rule(0) };
    let segments: Vec<Segment> = (0..5).map(|at| Segment { uploaded: at < 2, ..segment(NOW + at, 1) }).collect();
    let stock = rule.stock(&segments, None, Duration::from_secs(300));
    assert_eq!((stock.deletable, stock.in_step), (2 * MIB, false));
    assert!(rule.stock(&segments, Some(segments[4].name), Duration::ZERO).in_step, "the open one cannot be sent yet");
}

fn segments() -> impl Strategy<Value = Vec<Segment>> {
    let starts = proptest::collection::btree_map(NOW - 100_000..NOW, (0u64..1 << 30, any::<bool>(), 0u8..5), 0..40);
    starts.prop_map(|starts| {
        let of = |(start, (bytes, uploaded, lot)): (i64, (u64, bool, u8))| Segment {
            bytes,
            uploaded,
            protected: lot == 0,
            ..segment(start, 0)
        };
        starts.into_iter().map(of).collect()
    })
}

proptest! {
    #[test]
    fn never_too_much_and_never_too_little(
        segments in segments(),
        free in 0u64..20 << 30,
        keep_free in 0u64..20 << 30,
        max_age in proptest::option::of(1u64..200_000),
        open in proptest::option::of(0usize..40),
        uploads: bool,
    ) {
        let open = open.and_then(|index| segments.get(index)).map(|segment| segment.name);
        let rule = Rule { keep_free, max_age: max_age.map(Duration::from_secs), uploads };
        let going = rule.expendable(&segments, open, free, NOW_MS);
        let of = |name: Name| segments.iter().find(|segment| segment.name == name).unwrap();
        prop_assert!(going.iter().all(|going| Some(going.name) != open && !of(going.name).protected), "never these");
        prop_assert!(going.iter().all(|going| going.lost == (uploads && !of(going.name).uploaded)), "a loss is called one");
        let (safe, lost): (Vec<Going>, Vec<Going>) = going.iter().partition(|going| !going.lost);
        for (kind, only_here) in [(&safe, false), (&lost, true)] {
            prop_assert!(kind.windows(2).all(|pair| pair[0].name < pair[1].name), "oldest first, none twice");
            let stay = segments.iter().filter(|s| Some(s.name) != open && !s.protected && (uploads && !s.uploaded) == only_here);
            let mut stay = stay.filter(|s| !going.iter().any(|going| going.name == s.name));
            prop_assert!(stay.all(|s| kind.last().is_none_or(|last| s.name > last.name)), "nothing older of its kind stays");
        }
        let bytes = |going: &[Going]| going.iter().map(|going| of(going.name).bytes).sum::<u64>();
        let may: u64 = segments.iter().filter(|s| Some(s.name) != open && !s.protected).map(|s| s.bytes).sum();
        let in_vain = free + may < MIN_FREE;
        let freed = free + bytes(&going);
        prop_assert!(in_vain || freed >= MIN_FREE, "recording goes on");
        prop_assert!(lost.is_empty() || (max_age.is_some() || free + bytes(&safe) < MIN_FREE), "a loss is the last resort");
        if let Some((last, before)) = lost.split_last() {
            prop_assert!(freed - of(last.name).bytes < MIN_FREE && before.iter().all(|going| going.lost), "not one more than needed");
        }
        if max_age.is_none() && let Some((_, before)) = safe.split_last() {
            prop_assert!(free + bytes(before) < rule.wanted(), "not one more than needed");
        }
    }

    /// Two days of recording on a small disk, with an upload that comes and goes: it never fills, nothing protected goes, and
    /// nothing is lost as long as the bucket is not too far behind.
    #[test]
    fn a_disk_that_goes_round(
        capacity_mib in 400u64..4000, size_mib in 5u64..100, keep_free_mib in 0u64..200, outage in 0usize..400, length in 0usize..40, protect in 0usize..5,
    ) {
        const COUNT: usize = 500;
        let rule = Rule { keep_free: keep_free_mib * MIB, max_age: None, uploads: true };
        let mut disk: Vec<Segment> = Vec::new();
        let mut lost = 0;
        for number in 0..COUNT {
            let used = disk.iter().map(|segment| segment.bytes).sum::<u64>();
            let going = rule.expendable(&disk, None, capacity_mib * MIB - used, NOW_MS);
            lost += going.iter().filter(|going| going.lost).count();
            disk.retain(|segment| !going.iter().any(|going| going.name == segment.name));
            let used = disk.iter().map(|segment| segment.bytes).sum::<u64>() / MIB;
            prop_assert!(capacity_mib - used >= 16, "there is room to begin");
            let size = size_mib.min(capacity_mib - used);
            disk.push(Segment { protected: number < protect.min(2), ..segment(NOW + number as i64 * 300, size) });
            if !(outage..outage + length).contains(&number) {
                disk.iter_mut().for_each(|segment| segment.uploaded = true);
            }
        }
        prop_assert_eq!(disk.iter().filter(|segment| segment.protected).count(), protect.min(2));
        let waiting_at_most = (length as u64 + 3) * size_mib + 2 * 100 + 16;
        prop_assert!(lost == 0 || waiting_at_most > capacity_mib, "{} lost", lost);
    }
}
