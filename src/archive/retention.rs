//! What must go when space or time runs out, and how long what is left will last.
//!
//! Oldest first, never the open segment, nothing that the archive did not name itself, and nothing in vain: if other files fill
//! the disk so far that not even all segments would make room to record, they stay. Rules only: deleting is done elsewhere.

use std::time::Duration;

use super::name::Name;
use crate::units::MediaTime;

/// Below this a disk counts as full, whatever the configuration says: an open segment needs room to end well.
pub const MIN_FREE: u64 = 16 << 20;

/// 2025-01-01: a clock that said less had not been set, so that the name tells no age.
const PLAUSIBLE: i64 = 1_735_689_600;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment {
    pub name: Name,
    pub bytes: u64,
}

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    pub keep_free: u64,
    pub max_age: Option<Duration>,
}

impl Rule {
    /// Free bytes below which the oldest segments go.
    pub fn wanted(&self) -> u64 {
        self.keep_free.max(MIN_FREE)
    }

    /// The segments to delete, oldest first. `now` is in Unix seconds.
    pub fn expendable(&self, segments: &[Segment], open: Option<Name>, free: u64, now: i64) -> Vec<Name> {
        let mut candidates: Vec<Segment> = segments.iter().copied().filter(|segment| Some(segment.name) != open).collect();
        candidates.sort_by_key(|segment| segment.name);
        let all = candidates.iter().fold(free, |sum, segment| sum.saturating_add(segment.bytes));
        let wanted = if all < MIN_FREE { 0 } else { self.wanted() };
        let mut free = free;
        let mut going = Vec::new();
        for segment in candidates {
            if free < wanted || self.too_old(segment.name, now) {
                free = free.saturating_add(segment.bytes);
                going.push(segment.name);
            }
        }
        going
    }

    fn too_old(&self, name: Name, now: i64) -> bool {
        let age = now.saturating_sub(name.start());
        self.max_age.is_some_and(|max| name.start() >= PLAUSIBLE && age > 0 && age.unsigned_abs() > max.as_secs())
    }
}

/// How fast the archive grows, measured over spans of 10 s.
#[derive(Default)]
pub struct Meter {
    mark: Option<(MediaTime, u64)>,
    bytes_per_second: Option<f64>,
}

impl Meter {
    const SPAN: Duration = Duration::from_secs(10);
    const SHORTEST: Duration = Duration::from_secs(1);

    /// `written` is the sum of all bytes so far.
    pub fn look(&mut self, now: MediaTime, written: u64) {
        let (since, before) = *self.mark.get_or_insert((now, written));
        let span = now.since(since);
        let wanted = if self.bytes_per_second.is_some() { Self::SPAN } else { Self::SHORTEST };
        if span >= wanted {
            self.bytes_per_second = Some((written - before) as f64 / span.as_secs_f64());
            self.mark = Some((now, written));
        }
    }

    /// A pause is not a slow stream.
    pub fn interrupt(&mut self) {
        self.mark = None;
    }

    /// Seconds until something must be deleted; `None` as long as nothing is known.
    pub fn seconds_left(&self, free: u64, keep_free: u64) -> Option<u64> {
        let rate = self.bytes_per_second.filter(|rate| *rate > 0.0)?;
        Some((free.saturating_sub(keep_free) as f64 / rate) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_795_411_016;
    const MIB: u64 = 1 << 20;

    fn segment(start: i64, mib: u64) -> Segment {
        Segment { name: Name::new(jiff::Timestamp::from_second(start).unwrap()), bytes: mib * MIB }
    }

    #[test]
    fn space() {
        let segments = [segment(NOW - 100, 100), segment(NOW - 300, 100), segment(NOW - 200, 100)];
        let rule = Rule { keep_free: 500 * MIB, max_age: None };
        let oldest =
            |count: usize| [NOW - 300, NOW - 200, NOW - 100][..count].iter().map(|at| segment(*at, 0).name).collect::<Vec<_>>();
        for (free, gone) in [(500, 0), (499, 1), (400, 1), (399, 2), (0, 3)] {
            assert_eq!(rule.expendable(&segments, None, free * MIB, NOW), oldest(gone), "{free} MiB free");
        }
    }

    #[test]
    fn age() {
        let rule = Rule { keep_free: 0, max_age: Some(Duration::from_secs(3600)) };
        let (old, young, future, unset) =
            (segment(NOW - 3601, 1), segment(NOW - 3600, 1), segment(NOW + 9999, 1), segment(77, 1));
        let going = rule.expendable(&[young, unset, future, old], None, u64::MAX, NOW);
        assert_eq!(going, [old.name], "neither a clock set back nor one never set costs a recording");
    }

    #[test]
    fn a_disk_without_reserve_is_still_kept_from_filling_up() {
        let rule = Rule { keep_free: 0, max_age: None };
        assert_eq!(rule.expendable(&[segment(NOW, 100)], None, 15 * MIB, NOW).len(), 1);
    }

    #[test]
    fn nothing_goes_in_vain() {
        let rule = Rule { keep_free: 500 * MIB, max_age: None };
        let segments = [segment(NOW - 200, 5), segment(NOW - 100, 5)];
        assert!(rule.expendable(&segments, None, 5 * MIB, NOW).is_empty(), "15 MiB would still be a full disk");
        assert_eq!(rule.expendable(&segments, None, 6 * MIB, NOW).len(), 2);
    }

    #[test]
    fn time_left() {
        let mut meter = Meter::default();
        assert_eq!(meter.seconds_left(MIB, 0), None);
        for second in 0..30 {
            meter.look(MediaTime::from_millis(1000 * second), second * 1000);
        }
        assert_eq!(meter.seconds_left(1_002_000, 2000), Some(1000));
        assert_eq!(meter.seconds_left(1000, 2000), Some(0));
        meter.interrupt();
        meter.look(MediaTime::from_millis(500_000), 30_000);
        meter.look(MediaTime::from_millis(510_000), 40_000);
        assert_eq!(meter.seconds_left(1_002_000, 2000), Some(1000));
    }

    proptest! {
        #[test]
        fn never_too_much_and_never_too_little(
            starts in proptest::collection::btree_set(NOW - 100_000..NOW, 0..40),
            bytes in 0u64..1 << 30,
            free in 0u64..20 << 30,
            keep_free in 0u64..20 << 30,
            max_age in proptest::option::of(1u64..200_000),
            open in proptest::option::of(0usize..40),
        ) {
            let segments: Vec<Segment> = starts.iter().map(|start| Segment { bytes, ..segment(*start, 0) }).collect();
            let open = open.and_then(|index| segments.get(index)).map(|segment| segment.name);
            let rule = Rule { keep_free, max_age: max_age.map(Duration::from_secs) };
            let going = rule.expendable(&segments, open, free, NOW);
            prop_assert!(open.is_none_or(|open| !going.contains(&open)), "never the open one");
            prop_assert!(going.windows(2).all(|pair| pair[0] < pair[1]), "oldest first, none twice");
            let stay: Vec<_> = segments.iter().filter(|s| Some(s.name) != open && !going.contains(&s.name)).collect();
            prop_assert!(stay.iter().all(|s| going.last().is_none_or(|last| s.name > *last)), "nothing older stays");
            let freed = free + bytes * going.len() as u64;
            let in_vain = MIN_FREE > free + bytes * (going.len() + stay.len()) as u64;
            prop_assert!(stay.is_empty() || freed >= rule.wanted() || in_vain, "enough");
            if max_age.is_none() && let Some(before) = going.len().checked_sub(1) {
                prop_assert!(free + bytes * (before as u64) < rule.wanted(), "not one more than needed");
            }
        }
    }
}
