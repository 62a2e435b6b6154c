//! The ledger of one UTC day: every segment that was recorded with its hash, and every gap with its cause, as JSON. It goes to the
//! bucket and onto exported disks, so that an owner can prove without the box that a copy is whole.
//!
//! The same archive gives the same bytes. What an older manifest knows and the archive has forgotten stays in the new one; what
//! both know is as the archive says. No file is read or written here.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::index::{Entry, Gap, Missing, Upload};

/// Of the format. A newer program adds fields; it changes none without counting this up.
pub const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub version: u32,
    /// `[device] name` of the box.
    pub device: String,
    /// UTC, "2026-11-23": that of each segment's first picture.
    pub day: String,
    /// By file name, which is by age.
    pub segments: Vec<Segment>,
    /// By time.
    pub gaps: Vec<Hole>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// "20261123T051656Z.mp4".
    pub file: String,
    /// Of the first picture: RFC 3339, UTC, to the millisecond.
    pub start: String,
    pub duration_s: f64,
    pub bytes: u64,
    /// Pictures.
    pub frames: u64,
    /// Of the whole file, in hexadecimal digits.
    pub sha256: String,
    /// One run of the daemon: its segments are on one time line.
    pub run: String,
    /// The first picture's place on the run's time line. Two segments of a run join if the former's `base_s + duration_s` is the
    /// latter's `base_s`.
    pub base_s: f64,
    /// Name in the bucket, once it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Kept until a person says otherwise.
    pub protected: bool,
    /// No longer on the box.
    pub deleted: bool,
}

/// A time that is missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hole {
    /// RFC 3339, UTC, to the millisecond.
    pub from: String,
    pub until: String,
    pub missing: MissingFrom,
    pub cause: String,
}

/// What a time is missing from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingFrom {
    /// It was not recorded.
    Archive,
    /// It reached no origin.
    Air,
}

impl Manifest {
    /// `entries` are all of that day, those of deleted files included; `gaps` those that touch it.
    pub fn of(device: &str, day: Date, entries: &[Entry], gaps: &[Gap]) -> Self {
        let manifest = Self {
            version: VERSION,
            device: device.into(),
            day: day.to_string(),
            segments: entries.iter().map(Segment::of).collect(),
            gaps: gaps.iter().map(Hole::of).collect(),
        };
        manifest.in_order()
    }

    /// With what an older manifest of the same device and day knows beyond it.
    pub fn merge(mut self, older: &Self) -> Self {
        if (&self.device, &self.day) != (&older.device, &older.day) {
            return self;
        }
        let known: BTreeMap<_, _> = older.segments.iter().map(|segment| (&segment.file, segment)).collect();
        for segment in &mut self.segments {
            // What has once been uploaded stays so, even if the index had to be made anew.
            let before = known.get(&segment.file).filter(|before| before.sha256 == segment.sha256);
            segment.object = segment.object.take().or_else(|| before.and_then(|before| before.object.clone()));
        }
        let forgotten = older.segments.iter().filter(|segment| !self.has(&segment.file));
        let forgotten: Vec<Segment> = forgotten.map(|segment| Segment { deleted: true, ..segment.clone() }).collect();
        self.segments.extend(forgotten);
        self.gaps.extend(older.gaps.iter().cloned());
        self.in_order()
    }

    /// The file's text: the same for the same archive.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// What [`Manifest::to_bytes`] gave, of this version or another.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("no manifest ({error})"))
    }

    fn has(&self, file: &str) -> bool {
        self.segments.iter().any(|segment| segment.file == file)
    }

    /// Sorted; of a gap that is known twice, the longer one.
    fn in_order(mut self) -> Self {
        self.segments.sort_by(|a, b| a.start.cmp(&b.start).then_with(|| a.file.cmp(&b.file)));
        let key = |hole: &Hole| (hole.from.clone(), hole.missing, hole.cause.clone());
        self.gaps.sort_by_key(|hole| (key(hole), std::cmp::Reverse(hole.until.clone())));
        self.gaps.dedup_by_key(|hole| key(hole));
        self
    }
}

impl Segment {
    pub(super) fn of(entry: &Entry) -> Self {
        let object = match &entry.upload {
            Upload::Done { object } => Some(object.clone()),
            Upload::Waiting | Upload::Begun { .. } => None,
        };
        Self {
            file: entry.name.closed(),
            start: time(entry.start_ms),
            duration_s: entry.duration.as_secs_f64(),
            bytes: entry.bytes,
            frames: entry.frames,
            sha256: entry.sha256.to_string(),
            run: entry.run.to_string(),
            base_s: entry.base.nanos() as f64 / 1e9,
            object,
            protected: entry.protected,
            deleted: entry.gone,
        }
    }
}

impl Hole {
    pub(super) fn of(gap: &Gap) -> Self {
        let missing = match gap.missing {
            Missing::Archive => MissingFrom::Archive,
            Missing::Air => MissingFrom::Air,
        };
        Self { from: time(gap.from_ms), until: time(gap.until_ms), missing, cause: gap.cause.clone() }
    }
}

/// "manifest-2026-11-23.json".
pub fn file_name(day: Date) -> String {
    format!("manifest-{day}.json")
}

/// "2026/11/23": where that day's files are, below the device's own folder or prefix.
pub fn folder(day: Date) -> String {
    day.strftime("%Y/%m/%d").to_string()
}

/// RFC 3339, UTC, to the millisecond.
pub fn time(unix_ms: i64) -> String {
    timestamp(unix_ms).strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// What lies beyond the calendar is as 1970 is: a clock that was never set.
fn timestamp(unix_ms: i64) -> Timestamp {
    Timestamp::from_millisecond(unix_ms).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::index::{Run, Sha256};
    use crate::archive::name::Name;
    use crate::units::MediaTime;
    use proptest::prelude::*;
    use std::time::Duration;

    const START: i64 = 1_795_411_016_789;

    fn day() -> Date {
        jiff::civil::date(2026, 11, 23)
    }

    fn entry(at_s: i64) -> Entry {
        let start_ms = START + at_s * 1000;
        Entry {
            name: Name::new(Timestamp::from_millisecond(start_ms).unwrap()),
            start_ms,
            duration: Duration::from_millis(300_033),
            bytes: 150_000_000,
            frames: 9001,
            dropped_gops: 0,
            run: Run([0xab; 16]),
            base: MediaTime::from_millis(1500),
            sha256: Sha256([3; 32]),
            upload: Upload::Waiting,
            protected: false,
            gone: false,
        }
    }

    fn gap(from_s: i64, until_s: i64) -> Gap {
        let cause = "the disk was full".into();
        Gap { from_ms: START + from_s * 1000, until_ms: START + until_s * 1000, missing: Missing::Archive, cause }
    }

    #[test]
    fn as_it_is_written() {
        let uploaded = Upload::Done { object: "box/2026/11/23/20261123T051656Z.mp4".into() };
        let manifest = Manifest::of("box", day(), &[Entry { upload: uploaded, ..entry(0) }], &[gap(300, 301)]);
        let text = String::from_utf8(manifest.to_bytes()).unwrap();
        let hash = "03".repeat(32);
        let run = "ab".repeat(16);
        let want = format!(
            r#"{{
  "version": 1,
  "device": "box",
  "day": "2026-11-23",
  "segments": [
    {{
      "file": "20261123T051656Z.mp4",
      "start": "2026-11-23T05:16:56.789Z",
      "duration_s": 300.033,
      "bytes": 150000000,
      "frames": 9001,
      "sha256": "{hash}",
      "run": "{run}",
      "base_s": 1.5,
      "object": "box/2026/11/23/20261123T051656Z.mp4",
      "protected": false,
      "deleted": false
    }}
  ],
  "gaps": [
    {{
      "from": "2026-11-23T05:21:56.789Z",
      "until": "2026-11-23T05:21:57.789Z",
      "missing": "archive",
      "cause": "the disk was full"
    }}
  ]
}}
"#
        );
        assert_eq!(text, want);
        assert_eq!(Manifest::parse(text.as_bytes()), Ok(manifest));
        assert!(Manifest::parse(b"{").is_err());
        assert_eq!((file_name(day()), folder(day())), ("manifest-2026-11-23.json".into(), "2026/11/23".into()));
    }

    #[test]
    fn what_was_known_stays() {
        let uploaded = Upload::Done { object: "o".into() };
        let older = Manifest::of("box", day(), &[entry(0), Entry { upload: uploaded, ..entry(300) }], &[gap(1, 2), gap(5, 6)]);
        let newer = Manifest::of("box", day(), &[entry(300), entry(600)], &[gap(5, 9), gap(20, 21)]);
        let merged = newer.clone().merge(&older);
        let segments: Vec<_> = merged.segments.iter().map(|segment| (segment.deleted, segment.object.as_deref())).collect();
        assert_eq!(segments, [(true, None), (false, Some("o")), (false, None)]);
        assert_eq!(merged.gaps.len(), 3, "{:?}", merged.gaps);
        assert_eq!(merged.gaps[1].until, time(START + 9000), "the longer one of the same gap");
        let other = Manifest { device: "other".into(), ..older };
        assert_eq!(newer.clone().merge(&other), newer);
    }

    #[test]
    fn another_hash_is_not_what_was_uploaded() {
        let uploaded = Upload::Done { object: "o".into() };
        let older = Manifest::of("box", day(), &[Entry { sha256: Sha256([4; 32]), upload: uploaded, ..entry(0) }], &[]);
        assert_eq!(Manifest::of("box", day(), &[entry(0)], &[]).merge(&older).segments[0].object, None);
    }

    proptest! {
        /// Whatever the order, however often: the same bytes.
        #[test]
        fn the_same_archive_gives_the_same_bytes(
            starts in proptest::collection::btree_set(0i64..60_000, 0..12),
            holes in proptest::collection::vec((0i64..60_000, 1i64..500), 0..8),
        ) {
            let mut entries: Vec<Entry> = starts.iter().map(|start| entry(*start)).collect();
            let mut gaps: Vec<Gap> = holes.iter().map(|(from, length)| gap(*from, from + length)).collect();
            let manifest = Manifest::of("box", day(), &entries, &gaps);
            entries.reverse();
            gaps.reverse();
            let again = Manifest::of("box", day(), &entries, &gaps);
            prop_assert_eq!(again.to_bytes(), manifest.to_bytes());
            prop_assert_eq!(manifest.clone().merge(&manifest).to_bytes(), manifest.to_bytes());
            prop_assert_eq!(Manifest::parse(&manifest.to_bytes()), Ok(manifest));
        }
    }
}
