//! What a segment is called: `20261123T051656Z.mp4`, the UTC second in which it was begun, `-1` after it if that second has
//! one already, `.part` at the end as long as it is open. Names that this rule did not make are never touched by the archive.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

const FORM: &str = "%Y%m%dT%H%M%SZ";
const CLOSED: &str = ".mp4";
const PART: &str = ".mp4.part";

/// Ordered by age, the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Unix seconds.
    start: i64,
    /// Which one of that second: 0, 1, …
    number: u32,
}

impl Name {
    pub fn new(start: Timestamp) -> Self {
        Self { start: start.as_second(), number: 0 }
    }

    /// The next name for the same second.
    pub fn next(self) -> Self {
        Self { number: self.number + 1, ..self }
    }

    /// Unix seconds.
    pub fn start(self) -> i64 {
        self.start
    }

    /// File name of the closed segment.
    pub fn closed(self) -> String {
        format!("{self}{CLOSED}")
    }

    /// File name of the open segment.
    pub fn part(self) -> String {
        format!("{self}{PART}")
    }

    pub fn parse_closed(file: &str) -> Option<Self> {
        Self::parse(file.strip_suffix(CLOSED)?)
    }

    pub fn parse_part(file: &str) -> Option<Self> {
        Self::parse(file.strip_suffix(PART)?)
    }

    /// From what [`Display`](fmt::Display) writes: the file's name without its ending.
    pub fn parse(stem: &str) -> Option<Self> {
        let (time, number) = stem.split_once('-').unwrap_or((stem, "0"));
        let start = DateTime::strptime(FORM, time).ok()?;
        let start = Offset::UTC.to_timestamp(start).ok()?.as_second();
        let name = Self { start, number: number.parse().ok()? };
        (name.to_string() == stem).then_some(name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = Timestamp::from_second(self.start).unwrap_or_default();
        write!(f, "{}", start.strftime(FORM))?;
        match self.number {
            0 => Ok(()),
            number => write!(f, "-{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_one_second() {
        let first = Name::new("2026-11-23T05:16:56.9Z".parse().unwrap());
        assert_eq!(first.closed(), "20261123T051656Z.mp4");
        assert_eq!(first.part(), "20261123T051656Z.mp4.part");
        assert_eq!(first.next().closed(), "20261123T051656Z-1.mp4");
        assert!(first < first.next());
    }

    #[test]
    fn names_that_are_not_ours() {
        for file in
            ["holiday.mp4", "20261123T051656Z.mov", "20261123T051656Z-0.mp4", "20261123T051656Z-.mp4", "20261323T051656Z.mp4"]
        {
            assert_eq!(Name::parse_closed(file), None, "{file}");
        }
        assert_eq!(Name::parse_closed("20261123T051656Z.mp4.part"), None);
        assert_eq!(Name::parse_part("20261123T051656Z.mp4"), None);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(start in 0i64..253_402_300_000, number in 0u32..1000) {
            let name = Name { start, number };
            prop_assert_eq!(Name::parse_closed(&name.closed()), Some(name));
            prop_assert_eq!(Name::parse_part(&name.part()), Some(name));
        }
    }
}
