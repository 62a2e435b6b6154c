//! What is known of a closed segment, in words: the row of the index, the state of its upload, and what is missing. Plain data.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::Offset;

use super::name::Name;
use crate::units::MediaTime;

/// A closed segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: Name,
    /// Unix milliseconds of the first picture, put right if the clock was set later; the file and its name keep what the clock
    /// said then.
    pub start_ms: i64,
    pub duration: Duration,
    pub bytes: u64,
    /// Pictures.
    pub frames: u64,
    /// GOPs that were lost right before it.
    pub dropped_gops: u64,
    pub run: Run,
    /// The first picture on the run's time line. Zero if the run is unknown.
    pub base: MediaTime,
    pub sha256: Sha256,
    pub upload: Upload,
    /// Never deleted to make room.
    pub protected: bool,
    /// The file has been deleted; the row is kept for the manifest.
    pub gone: bool,
}

impl Entry {
    /// Unix milliseconds at which its last picture ends.
    pub fn end_ms(&self) -> i64 {
        self.start_ms.saturating_add(self.duration.as_millis() as i64)
    }
}

/// How far its copy in the bucket is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Upload {
    #[default]
    Waiting,
    /// A multipart upload that the server knows under this id.
    Begun {
        object: String,
        id: String,
    },
    Done {
        object: String,
    },
}

/// A span of which there is no recording, or that reached no origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Unix milliseconds.
    pub from_ms: i64,
    pub until_ms: i64,
    pub missing: Missing,
    /// For a person: "the disk under /media/usb was too slow".
    pub cause: String,
}

/// What a gap is missing from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    Archive,
    /// Neither origin took it.
    Air,
}

/// One life of the daemon: its time line begins anew with each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run(pub [u8; 16]);

impl Run {
    /// Of a file that does not say: made by an older version.
    pub const UNKNOWN: Self = Self([0; 16]);
}

/// Of the whole file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

#[derive(Debug, thiserror::Error)]
#[error("want a SHA-256 as 64 hexadecimal digits")]
pub struct NoSha256;

impl FromStr for Sha256 {
    type Err = NoSha256;

    fn from_str(text: &str) -> Result<Self, NoSha256> {
        let digits: Vec<u8> = text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
        if digits.len() != 64 || text.len() != 64 {
            return Err(NoSha256);
        }
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(digits.chunks(2)).for_each(|(byte, pair)| *byte = pair[0] << 4 | pair[1]);
        Ok(Self(bytes))
    }
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

pub const DAY_MS: i64 = 86_400_000;

/// The UTC day of a Unix time in milliseconds.
pub fn day_of(unix_ms: i64) -> Date {
    let time = Timestamp::from_millisecond(unix_ms).unwrap_or_default();
    Offset::UTC.to_datetime(time).date()
}

/// The Unix time in milliseconds at which a UTC day begins.
pub fn day_begin_ms(day: Date) -> i64 {
    Offset::UTC.to_timestamp(day.to_datetime(Time::midnight())).map_or(0, |time| time.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hashes_as_text() {
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(text.parse::<Sha256>().unwrap().to_string(), text);
        for wrong in ["", &text[1..], &text.replace('e', "g"), &format!("{text}0")] {
            assert!(wrong.parse::<Sha256>().is_err(), "{wrong}");
        }
        assert_eq!(Run([0xab; 16]).to_string(), "ab".repeat(16));
    }

    proptest! {
        #[test]
        fn days(ms in -62_000_000_000_000i64..250_000_000_000_000) {
            let begin = day_begin_ms(day_of(ms));
            prop_assert!(begin <= ms && ms < begin + DAY_MS);
        }
    }
}
