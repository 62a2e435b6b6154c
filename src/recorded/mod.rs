//! What is recorded, in words that more than one room knows: the archive writes it, an input may play it, a person names it.
//!
//! Rules alone: no file is opened and no clock is read here.

pub mod name;
pub mod when;

use std::fmt;

use self::name::Name;
use self::when::Span;

/// Before a [`Reference`] in a list of paths.
pub const PREFIX: &str = "archive:";

/// Closed segments that somebody means, by name or by the time of their begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// As it was written.
    text: String,
    which: Which,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    One(Name),
    Begun(Span),
}

impl Reference {
    /// `2026-11-23`, `2026-11-23T14:00/2026-11-23T15:00`, or a segment's name with or without `.mp4`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let name = Name::parse_closed(text).or_else(|| Name::parse_closed(&format!("{text}.mp4")));
        let which = match (name, text.split_once('/')) {
            (Some(name), _) => Which::One(name),
            (None, Some((from, until))) => Which::Begun(Span::read(Some(from), Some(until))?),
            (None, None) => Which::Begun(Span::of(text).map_err(|fault| format!("{fault}; or the name of a segment"))?),
        };
        Ok(Self { text: text.into(), which })
    }

    pub fn means(&self, name: Name) -> bool {
        match self.which {
            Which::One(one) => one == name,
            Which::Begun(span) => span.holds(name.start().saturating_mul(1000)),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(file: &str) -> Name {
        Name::parse_closed(file).unwrap()
    }

    #[test]
    fn days_spans_and_names() {
        let (last, first, second) = (name("20261122T235959Z.mp4"), name("20261123T000000Z.mp4"), name("20261123T140000Z-1.mp4"));
        for (text, means) in [
            ("2026-11-23", [false, true, true]),
            ("2026-11-22/2026-11-23", [true, true, true]),
            ("2026-11-23T14:00/2026-11-23T15:00", [false, false, true]),
            ("20261123T000000Z", [false, true, false]),
            ("20261123T140000Z-1.mp4", [false, false, true]),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!([last, first, second].map(|name| reference.means(name)), means, "{text}");
            assert_eq!(reference.to_string(), text);
        }
    }

    #[test]
    fn what_means_nothing() {
        for (text, words) in [
            ("yesterday", "or the name of a segment"),
            ("2026-11-23/", "want a time such as"),
            ("2026-11-24/2026-11-23", "before its end"),
            ("../../etc/passwd", "want a time such as"),
        ] {
            assert!(Reference::parse(text).unwrap_err().contains(words), "{text}");
        }
    }
}
