//! Quantities with their unit in the type, and their text form in the configuration ("6M", "2GiB", "250ms", "30000/1001").
//!
//! A bare integer called `bitrate` is how kbit/s reach an encoder that wants bit/s; these types are why that cannot happen
//! here. They parse what people write and print what they parse. No clock, no float beyond the parsing of "1.5M".

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A time on the program's one time line: nanoseconds since the program's epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaTime(u64);

impl MediaTime {
    pub const ZERO: Self = Self(0);

    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds, rounded down: what RTMP carries.
    pub const fn millis(self) -> u64 {
        self.0 / 1_000_000
    }

    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_nanos() as u64))
    }

    /// How long after `earlier` this is; zero if it is before.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    pub fn abs_diff(self, other: Self) -> Duration {
        Duration::from_nanos(self.0.abs_diff(other.0))
    }
}

/// A stretch of the program: from its first moment to the one after its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Program time, in milliseconds since the daemon's start.
    pub from_ms: u64,
    pub until_ms: u64,
}

impl Span {
    pub fn new(from: MediaTime, until: MediaTime) -> Self {
        Self { from_ms: from.millis(), until_ms: until.millis() }
    }

    pub const fn length_ms(self) -> u64 {
        self.until_ms.saturating_sub(self.from_ms)
    }

    /// What both have in common; `None` if that is nothing.
    pub fn common(self, other: Self) -> Option<Self> {
        let common = Self { from_ms: self.from_ms.max(other.from_ms), until_ms: self.until_ms.min(other.until_ms) };
        (common.from_ms < common.until_ms).then_some(common)
    }
}

impl std::ops::Add<Duration> for MediaTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + duration.as_nanos() as u64)
    }
}

/// Bits per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BitRate(u64);

impl BitRate {
    pub const fn from_bps(bps: u64) -> Self {
        Self(bps)
    }

    pub const fn bps(self) -> u64 {
        self.0
    }

    /// Rounded down to kbit/s (1000 bit/s), never 0.
    pub fn kbps(self) -> u64 {
        (self.0 / 1000).max(1)
    }

    /// The nearest multiple of 100 kbit/s, never below it: encoders dislike many small changes.
    pub fn rounded(self) -> Self {
        Self(((self.0 + 50_000) / 100_000).max(1) * 100_000)
    }
}

impl FromStr for BitRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = "a bit rate such as \"6M\" or \"500k\" (bits per second)";
        let factors = [("k", 1e3), ("M", 1e6), ("G", 1e9), ("", 1.0)];
        scaled(text, &factors).filter(|bps| *bps >= 1).map(Self).ok_or_else(|| format!("want {wanted}, got \"{text}\""))
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bps if bps >= 1_000_000 => write!(f, "{:.1} Mbit/s", bps as f64 / 1e6),
            bps if bps >= 1_000 => write!(f, "{} kbit/s", bps / 1000),
            bps => write!(f, "{bps} bit/s"),
        }
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(u64);

impl ByteSize {
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const KI: f64 = 1024.0;
        let wanted = "a size such as \"2GiB\", \"500MB\" or \"0\"";
        let factors = [
            ("KiB", KI),
            ("MiB", KI * KI),
            ("GiB", KI * KI * KI),
            ("TiB", KI * KI * KI * KI),
            ("kB", 1e3),
            ("MB", 1e6),
            ("GB", 1e9),
            ("TB", 1e12),
            ("B", 1.0),
            ("", 1.0),
        ];
        scaled(text, &factors).map(Self).ok_or_else(|| format!("want {wanted}, got \"{text}\""))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MI: u64 = 1 << 20;
        match self.0 {
            bytes if bytes >= 1 << 30 => write!(f, "{:.1} GiB", bytes as f64 / (MI * 1024) as f64),
            bytes if bytes >= MI => write!(f, "{:.1} MiB", bytes as f64 / MI as f64),
            bytes => write!(f, "{} KiB", bytes / 1024),
        }
    }
}

/// Frames per second as an exact fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameRate {
    numerator: u32,
    denominator: u32,
}

impl FrameRate {
    /// `None` unless it lies within 1 and 240 frames per second.
    pub const fn new(numerator: u32, denominator: u32) -> Option<Self> {
        if denominator == 0 || numerator < denominator || numerator as u64 > 240 * denominator as u64 {
            return None;
        }
        Some(Self { numerator, denominator })
    }

    pub const fn numerator(self) -> u32 {
        self.numerator
    }

    pub const fn denominator(self) -> u32 {
        self.denominator
    }

    pub fn fps(self) -> f64 {
        f64::from(self.numerator) / f64::from(self.denominator)
    }

    /// When frame `index` is due; exact for 500 years of frames, so that no rounding ever accumulates.
    pub fn time_of(self, index: u64) -> MediaTime {
        let nanos = u128::from(index) * 1_000_000_000 * u128::from(self.denominator) / u128::from(self.numerator);
        MediaTime::from_nanos(nanos as u64)
    }

    /// The index of the last frame that is due at or before `time`.
    pub fn index_at(self, time: MediaTime) -> u64 {
        let frames = u128::from(time.nanos()) * u128::from(self.numerator) / (1_000_000_000 * u128::from(self.denominator));
        let index = frames as u64;
        if self.time_of(index + 1) <= time { index + 1 } else { index }
    }

    pub fn frame_duration(self) -> Duration {
        Duration::from_nanos(1_000_000_000 * u64::from(self.denominator) / u64::from(self.numerator))
    }

    /// Whole frames in a duration, at least one.
    pub fn frames_in(self, duration: Duration) -> u64 {
        ((duration.as_secs_f64() * self.fps()).round() as u64).max(1)
    }
}

impl FromStr for FrameRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("want a frame rate such as \"30\", \"30000/1001\" or \"50\" (1 to 240), got \"{text}\"");
        let (numerator, denominator) = text.split_once('/').unwrap_or((text, "1"));
        let numerator = numerator.trim().parse().map_err(|_| fault())?;
        let denominator = denominator.trim().parse().map_err(|_| fault())?;
        Self::new(numerator, denominator).ok_or_else(fault)
    }
}

impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.denominator {
            1 => write!(f, "{}", self.numerator),
            _ => write!(f, "{}/{}", self.numerator, self.denominator),
        }
    }
}

/// Milliseconds that may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignedDuration(i64);

impl SignedDuration {
    pub const ZERO: Self = Self(0);

    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub const fn millis(self) -> i64 {
        self.0
    }
}

impl FromStr for SignedDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("want a duration such as \"120ms\" or \"-80ms\", got \"{text}\"");
        let (sign, size) = text.trim().strip_prefix('-').map_or((1, text), |size| (-1, size));
        let millis = parse_duration(size).map_err(|_| fault())?.as_millis();
        i64::try_from(millis).map(|millis| Self(sign * millis)).map_err(|_| fault())
    }
}

impl fmt::Display for SignedDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// "250ms", "5s", "2min", "1h", "7d".
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let factors = [("ms", 1.0), ("min", 60_000.0), ("s", 1_000.0), ("h", 3_600_000.0), ("d", 86_400_000.0)];
    scaled(text, &factors)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("want a duration such as \"250ms\", \"5s\" or \"2min\", got \"{text}\""))
}

/// "1.5M" with the factor of the longest suffix that fits; `None` for anything else, negative numbers included.
fn scaled(text: &str, factors: &[(&str, f64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (_, factor) = factors.iter().find(|(name, _)| *name == suffix.trim())?;
    let value = number.parse::<f64>().ok()? * factor;
    (value.is_finite() && value < 9e18).then_some(value.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantities_as_people_write_them() {
        assert_eq!("6M".parse(), Ok(BitRate::from_bps(6_000_000)));
        assert_eq!("1.5M".parse(), Ok(BitRate::from_bps(1_500_000)));
        assert_eq!("128k".parse(), Ok(BitRate::from_bps(128_000)));
        assert_eq!("2GiB".parse(), Ok(ByteSize::from_bytes(2 << 30)));
        assert_eq!("0".parse(), Ok(ByteSize::from_bytes(0)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("2min"), Ok(Duration::from_secs(120)));
        assert_eq!("-80ms".parse(), Ok(SignedDuration::from_millis(-80)));
        assert_eq!("1.5s".parse(), Ok(SignedDuration::from_millis(1500)));
        assert_eq!("30000/1001".parse(), Ok(FrameRate::new(30000, 1001).unwrap()));
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for text in ["", "6Q", "-1M", "0", "M", "1e400M"] {
            assert!(text.parse::<BitRate>().unwrap_err().contains("6M"), "{text}");
        }
        for text in ["0", "30/0", "-30", "1000", "fast"] {
            assert!(text.parse::<FrameRate>().is_err(), "{text}");
        }
        assert!(parse_duration("5").is_err());
        for text in ["-5", "--80ms", "-", "- s", "1e9d"] {
            assert!(text.parse::<SignedDuration>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn frame_times_and_indexes_agree(index in 0u64..1 << 38, rate in prop_oneof![Just((30, 1)), Just((30000, 1001)), Just((24000, 1001)), Just((50, 1)), Just((60, 1))]) {
            let rate = FrameRate::new(rate.0, rate.1).unwrap();
            prop_assert_eq!(rate.index_at(rate.time_of(index)), index);
            prop_assert!(rate.time_of(index + 1) > rate.time_of(index));
        }
    }
}
