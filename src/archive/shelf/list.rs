//! What the archive holds, as a table for a person and as JSON for scripts: segments, the gaps between them, and sums. A rule.

use std::time::Duration;

use serde::Serialize;

use crate::archive::catalogue::stock::{self, Hole};
use crate::archive::index::{Entry, Gap, Missing, Upload};
use crate::archive::manifest::{self, MissingFrom};
use crate::units::ByteSize;

/// The names are a contract, as those of the status are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listing {
    /// Oldest first.
    pub segments: Vec<Item>,
    pub gaps: Vec<manifest::Hole>,
    pub total: Total,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Item {
    #[serde(flatten)]
    pub segment: manifest::Segment,
    pub upload: UploadWord,
    /// Right before it.
    pub lost_gops: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadWord {
    Waiting,
    Begun,
    Done,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Total {
    pub segments: u64,
    pub duration_s: f64,
    pub bytes: u64,
    pub uploaded: u64,
    pub protected: u64,
    pub lost_gops: u64,
    /// Seconds that were not recorded.
    pub not_recorded_s: f64,
    /// Seconds that reached no origin.
    pub off_air_s: f64,
}

/// `entries` and `gaps` oldest first, as the index gives them. What lies between two segments and is in no gap is one, too.
pub fn listing(entries: &[Entry], gaps: &[Gap]) -> Listing {
    let mut gaps = gaps.to_vec();
    gaps.extend(stock::holes(entries, &gaps).iter().map(Hole::gap).collect::<Vec<_>>());
    gaps.sort_by_key(|gap| (gap.from_ms, gap.until_ms));
    Listing {
        segments: entries.iter().map(Item::of).collect(),
        total: Total::of(entries, &gaps),
        gaps: gaps.iter().map(manifest::Hole::of).collect(),
    }
}

impl Item {
    fn of(entry: &Entry) -> Self {
        let upload = match entry.upload {
            Upload::Waiting => UploadWord::Waiting,
            Upload::Begun { .. } => UploadWord::Begun,
            Upload::Done { .. } => UploadWord::Done,
        };
        Self { segment: manifest::Segment::of(entry), upload, lost_gops: entry.dropped_gops }
    }

    fn line(&self) -> String {
        let segment = &self.segment;
        let upload = match self.upload {
            UploadWord::Waiting => "not uploaded",
            UploadWord::Begun => "uploading",
            UploadWord::Done => "uploaded",
        };
        let protected = if segment.protected { "protected" } else { "" };
        let lost = if self.lost_gops > 0 { format!("{} GOPs lost before it", self.lost_gops) } else { String::new() };
        let (size, length) = (ByteSize::from_bytes(segment.bytes).to_string(), clock(segment.duration_s));
        let line = format!("{:<22} {} {length:>10} {size:>10}  {upload:<12} {protected:<9} {lost}", segment.file, segment.start);
        line.trim_end().into()
    }
}

impl Total {
    fn of(entries: &[Entry], gaps: &[Gap]) -> Self {
        let seconds = |missing: Missing| {
            let lengths =
                gaps.iter().filter(|gap| gap.missing == missing).map(|gap| gap.until_ms.saturating_sub(gap.from_ms).max(0));
            lengths.sum::<i64>() as f64 / 1000.0
        };
        Self {
            segments: entries.len() as u64,
            duration_s: entries.iter().map(|entry| entry.duration).sum::<Duration>().as_secs_f64(),
            bytes: entries.iter().map(|entry| entry.bytes).sum(),
            uploaded: entries.iter().filter(|entry| matches!(entry.upload, Upload::Done { .. })).count() as u64,
            protected: entries.iter().filter(|entry| entry.protected).count() as u64,
            lost_gops: entries.iter().map(|entry| entry.dropped_gops).sum(),
            not_recorded_s: seconds(Missing::Archive),
            off_air_s: seconds(Missing::Air),
        }
    }

    fn line(&self) -> String {
        let size = ByteSize::from_bytes(self.bytes);
        let mut line = format!("{} segments, {}, {size}; {} uploaded", self.segments, clock(self.duration_s), self.uploaded);
        line += &format!(", {} protected", self.protected);
        for (seconds, words) in [(self.not_recorded_s, "not recorded"), (self.off_air_s, "off air")] {
            if seconds > 0.0 {
                line += &format!("; {} {words}", clock(seconds));
            }
        }
        line
    }
}

impl Listing {
    /// One per segment and gap in the order of time, and the sums.
    pub fn lines(&self) -> Vec<String> {
        let segments = self.segments.iter().map(|item| (&item.segment.start, item.line()));
        let gaps = self.gaps.iter().map(|hole| (&hole.from, gap_line(hole)));
        let mut lines: Vec<_> = segments.chain(gaps).collect();
        lines.sort_by_key(|(start, _)| *start);
        lines.into_iter().map(|(_, line)| line).chain([self.total.line()]).collect()
    }
}

fn gap_line(hole: &manifest::Hole) -> String {
    let missing = match hole.missing {
        MissingFrom::Archive => "not recorded",
        MissingFrom::Air => "not on air",
    };
    format!("{:<22} {} until {}: {}", format!("-- {missing}"), hole.from, hole.until, hole.cause)
}

/// "0:05:00.0"
fn clock(seconds: f64) -> String {
    let tenths = (seconds * 10.0).round() as u64;
    format!("{}:{:02}:{:02}.{}", tenths / 36_000, tenths / 600 % 60, tenths / 10 % 60, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::index::{Run, Sha256};
    use crate::archive::name::Name;
    use crate::units::MediaTime;

    const START: i64 = 1_795_411_016_789;

    fn entry(at_s: i64, seconds: u64) -> Entry {
        let start_ms = START + at_s * 1000;
        Entry {
            name: Name::new(jiff::Timestamp::from_millisecond(start_ms).unwrap()),
            start_ms,
            duration: Duration::from_secs(seconds),
            bytes: 150_000_000,
            frames: 30 * seconds,
            dropped_gops: 0,
            run: Run([7; 16]),
            base: MediaTime::ZERO,
            sha256: Sha256([3; 32]),
            upload: Upload::Waiting,
            protected: false,
            gone: false,
        }
    }

    #[test]
    fn what_a_person_reads() {
        let done = Upload::Done { object: "o".into() };
        let entries = [
            Entry { upload: done, protected: true, ..entry(0, 300) },
            Entry { dropped_gops: 3, ..entry(312, 300) },
            entry(612, 300),
            entry(1000, 60),
        ];
        let gap = |from_s: i64, until_s: i64, missing, cause: &str| Gap {
            from_ms: START + from_s * 1000,
            until_ms: START + until_s * 1000,
            missing,
            cause: cause.into(),
        };
        let gaps = [gap(300, 312, Missing::Archive, "the disk was too slow"), gap(620, 625, Missing::Air, "both legs were down")];
        let lines = listing(&entries, &gaps).lines();
        assert_eq!(
            lines,
            [
                "20261123T051656Z.mp4   2026-11-23T05:16:56.789Z  0:05:00.0  143.1 MiB  uploaded     protected",
                "-- not recorded        2026-11-23T05:21:56.789Z until 2026-11-23T05:22:08.789Z: the disk was too slow",
                "20261123T052208Z.mp4   2026-11-23T05:22:08.789Z  0:05:00.0  143.1 MiB  not uploaded           3 GOPs lost before it",
                "20261123T052708Z.mp4   2026-11-23T05:27:08.789Z  0:05:00.0  143.1 MiB  not uploaded",
                "-- not on air          2026-11-23T05:27:16.789Z until 2026-11-23T05:27:21.789Z: both legs were down",
                "-- not recorded        2026-11-23T05:32:08.789Z until 2026-11-23T05:33:36.789Z: nothing was recorded inside a run of the daemon: the cause is not known any more",
                "20261123T053336Z.mp4   2026-11-23T05:33:36.789Z  0:01:00.0  143.1 MiB  not uploaded",
                "4 segments, 0:16:00.0, 572.2 MiB; 1 uploaded, 1 protected; 0:01:40.0 not recorded; 0:00:05.0 off air",
            ]
        );
    }

    #[test]
    fn what_a_script_reads() {
        let json = serde_json::to_value(listing(&[Entry { dropped_gops: 2, ..entry(0, 300) }], &[])).unwrap();
        let segment = &json["segments"][0];
        assert_eq!((segment["file"].as_str(), segment["upload"].as_str()), (Some("20261123T051656Z.mp4"), Some("waiting")));
        assert_eq!((segment["duration_s"].as_f64(), segment["lost_gops"].as_u64()), (Some(300.0), Some(2)));
        assert_eq!((json["total"]["segments"].as_u64(), json["gaps"].as_array().map(Vec::len)), (Some(1), Some(0)));
        let empty = listing(&[], &[]);
        assert_eq!(empty.lines(), ["0 segments, 0:00:00.0, 0 KiB; 0 uploaded, 0 protected"]);
    }
}
