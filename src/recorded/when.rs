//! Times as a person gives them to find a recording again: `2026-11-23`, `2026-11-23T14:00`, or RFC 3339 with any offset. What
//! gives no offset is UTC, for segments are named so.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;

const MOMENTS: [&str; 2] = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"];

/// From one moment up to another one, in Unix milliseconds; the end is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub from_ms: i64,
    pub until_ms: i64,
}

impl Span {
    pub const ALL: Self = Self { from_ms: i64::MIN, until_ms: i64::MAX };

    /// What a person leaves out is not limited. A day as the end includes that day.
    pub fn read(from: Option<&str>, until: Option<&str>) -> Result<Self, String> {
        let from_ms = from.map_or(Ok(Self::ALL.from_ms), |text| read(text).map(|when| when.begin()))?;
        let until_ms = until.map_or(Ok(Self::ALL.until_ms), |text| read(text).map(|when| when.end()))?;
        match from_ms < until_ms {
            true => Ok(Self { from_ms, until_ms }),
            false => {
                let (from, until) = (from.unwrap_or_default(), until.unwrap_or_default());
                Err(format!("want a time before its end, got {from} until {until}"))
            }
        }
    }

    /// One day, or one moment: whatever begins in that very millisecond.
    pub fn of(text: &str) -> Result<Self, String> {
        let when = read(text)?;
        Ok(Self { from_ms: when.begin(), until_ms: when.end().max(when.begin() + 1) })
    }

    pub fn holds(&self, unix_ms: i64) -> bool {
        self.from_ms <= unix_ms && unix_ms < self.until_ms
    }

    /// Whether something that lasts from one moment up to another one lies in it, if only in part.
    pub fn touches(&self, from_ms: i64, until_ms: i64) -> bool {
        from_ms < self.until_ms && (self.from_ms < until_ms || self.from_ms == from_ms)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Day(Date),
    Moment(Timestamp),
}

impl When {
    fn begin(self) -> i64 {
        match self {
            Self::Day(day) => midnight(day),
            Self::Moment(moment) => moment.as_millisecond(),
        }
    }

    fn end(self) -> i64 {
        match self {
            Self::Day(day) => day.tomorrow().map_or(i64::MAX, midnight),
            Self::Moment(moment) => moment.as_millisecond(),
        }
    }
}

fn midnight(day: Date) -> i64 {
    Offset::UTC.to_timestamp(day.at(0, 0, 0, 0)).map_or(i64::MAX, Timestamp::as_millisecond)
}

fn read(text: &str) -> Result<When, String> {
    let day = Date::strptime("%Y-%m-%d", text).ok().filter(|day| day.to_string() == text);
    let moment = || MOMENTS.iter().find_map(|form| DateTime::strptime(form, text).ok());
    let moment = || moment().and_then(|moment| Offset::UTC.to_timestamp(moment).ok()).or_else(|| text.parse().ok());
    let when = day.map(When::Day).or_else(|| moment().map(When::Moment));
    when.ok_or_else(|| {
        let shown: String = text.chars().filter(|c| !c.is_control()).take(40).collect();
        format!("want a time such as 2026-11-23, 2026-11-23T14:00 (UTC) or 2026-11-23T14:00:00+01:00, got \"{shown}\"")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-23T00:00Z.
    const DAY: i64 = 1_795_392_000_000;
    const HOUR: i64 = 3_600_000;

    #[test]
    fn times_as_people_give_them() {
        let span = |from, until| Span::read(Some(from), Some(until)).map(|span| (span.from_ms - DAY, span.until_ms - DAY));
        assert_eq!(span("2026-11-23", "2026-11-23"), Ok((0, 24 * HOUR)), "a day is all of it");
        assert_eq!(span("2026-11-23T14:00", "2026-11-23T15:00:01"), Ok((14 * HOUR, 15 * HOUR + 1000)));
        assert_eq!(span("2026-11-23T14:00:00+01:00", "2026-11-23T14:00:00.5Z"), Ok((13 * HOUR, 14 * HOUR + 500)));
        assert_eq!(Span::read(None, None), Ok(Span::ALL));
        assert_eq!(Span::of("2026-11-23").unwrap().until_ms, DAY + 24 * HOUR);
        assert_eq!(Span::of("2026-11-23T14:00").map(|span| span.until_ms - span.from_ms), Ok(1));
    }

    #[test]
    fn what_is_no_time() {
        for text in ["", "yesterday", "2026-11-31", "2026-11-23T25:00", "23.11.2026", "26-11-23", "2026-11-23T14"] {
            let fault = Span::of(text).unwrap_err();
            assert!(fault.contains("2026-11-23T14:00 (UTC)"), "{fault}");
        }
        let fault = Span::read(Some("2026-11-24"), Some("2026-11-23")).unwrap_err();
        assert_eq!(fault, "want a time before its end, got 2026-11-24 until 2026-11-23");
    }

    #[test]
    fn what_lies_in_a_span() {
        let span = Span { from_ms: 100, until_ms: 200 };
        assert!(span.holds(100) && span.holds(199) && !span.holds(200) && !span.holds(99));
        for (from, until, lies) in [(0, 100, false), (0, 101, true), (199, 300, true), (200, 300, false), (100, 100, true)] {
            assert_eq!(span.touches(from, until), lies, "{from} {until}");
        }
        assert!(Span::ALL.touches(i64::MIN, i64::MAX) && Span::ALL.holds(0));
    }

    proptest! {
        #[test]
        fn any_text_gets_an_answer(from in ".{0,40}", until in ".{0,40}") {
            let _ = Span::read(Some(&from), Some(&until));
        }
    }
}
