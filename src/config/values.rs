//! What a value of the configuration may be: one reader per kind of value, each saying what it wants and what it got.
//!
//! They know no key. A value of a wrong type is told by its type alone, never quoted: it may be a stream key.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::Connector;
use crate::units::{BitRate, FrameRate, parse_duration};

/// What reading one value gives.
type Read<T> = Result<T, String>;

/// Longer names fit neither a small screen nor a line of status.
const MAX_NAME: usize = 32;

/// What can be read on a slate.
const MAX_LINE: usize = 120;

/// IFNAMSIZ, without its terminating zero.
const MAX_INTERFACE: usize = 15;

/// The type of a value, with its article.
pub(super) fn kind_of(value: &DeValue) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

fn wrong<T>(wanted: impl std::fmt::Display, value: &DeValue) -> Read<T> {
    Err(format!("want {wanted}, got {}", kind_of(value)))
}

pub(super) fn boolean(value: &DeValue) -> Read<bool> {
    value.as_bool().map_or_else(|| wrong("true or false", value), Ok)
}

/// Any text but an empty one.
pub(super) fn text(value: &DeValue) -> Read<String> {
    match value {
        DeValue::String(text) if text.trim().is_empty() => Err("want a text, got an empty one".into()),
        DeValue::String(text) => Ok(text.clone().into_owned()),
        other => wrong("a text in quotes", other),
    }
}

/// A list of texts, each with its place in the file.
pub(super) fn texts(value: &DeValue) -> Read<Vec<Spanned<String>>> {
    match value {
        DeValue::Array(list) if list.is_empty() => Err("want a list of texts, got an empty one".into()),
        DeValue::Array(list) => list.iter().map(|item| Ok(Spanned::new(item.span(), text(item.get_ref())?))).collect(),
        other => wrong("a list of texts such as [\"one\", \"two\"]", other),
    }
}

/// One text, or a list of them with their places in the file.
pub(super) fn text_or_texts(value: &DeValue) -> Read<Vec<(String, Option<usize>)>> {
    let wanted = "the name of an input or a list of them";
    match value {
        DeValue::String(_) => Ok(vec![(text(value)?, None)]),
        DeValue::Array(list) if list.is_empty() => Err(format!("want {wanted}, got an empty list")),
        DeValue::Array(_) => {
            Ok(texts(value)?.into_iter().map(|item| (item.get_ref().clone(), Some(item.span().start))).collect())
        }
        other => wrong(wanted, other),
    }
}

/// A word that commands and status can name the thing by.
pub(super) fn name(value: &DeValue) -> Read<String> {
    let name = text(value)?;
    match name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c)) && name.chars().count() <= MAX_NAME {
        true => Ok(name),
        false => Err(format!("want at most {MAX_NAME} letters, digits, `-`, `_` or `.`, got \"{name}\"")),
    }
}

/// A title for people: any text of one line.
pub(super) fn title(value: &DeValue) -> Read<String> {
    let title = text(value)?;
    match title.chars().any(char::is_control) || title.chars().count() > 2 * MAX_NAME {
        true => Err(format!("want one line of at most {} characters", 2 * MAX_NAME)),
        false => Ok(title),
    }
}

/// One line that people read, or none.
pub(super) fn line(value: &DeValue) -> Read<String> {
    match value {
        DeValue::String(text) if text.chars().any(char::is_control) || text.chars().count() > MAX_LINE => {
            Err(format!("want one line of at most {MAX_LINE} characters"))
        }
        DeValue::String(text) => Ok(text.trim().into()),
        other => wrong("a text in quotes", other),
    }
}

/// One of some words, as what it stands for.
pub(super) fn one_of<T: Copy, const N: usize>(words: [(&'static str, T); N]) -> impl Fn(&DeValue) -> Read<T> {
    move |value| {
        let wanted = words.map(|(word, _)| format!("\"{word}\"")).join(" or ");
        let DeValue::String(text) = value else { return wrong(wanted, value) };
        let chosen = words.iter().find(|(word, _)| word == text).map(|(_, meaning)| *meaning);
        chosen.ok_or_else(|| format!("want {wanted}, got \"{text}\""))
    }
}

/// The name of a network interface, by the kernel's rule for one.
pub(super) fn interface(value: &DeValue) -> Read<String> {
    let name = text(value)?;
    let fits = name.len() <= MAX_INTERFACE && !name.contains(|c: char| c.is_whitespace() || c.is_control() || "/:".contains(c));
    match fits && name != "." && name != ".." {
        true => Ok(name),
        false => Err(format!(
            "want the name of a network interface such as \"eth0\", at most {MAX_INTERFACE} bytes without spaces, `/` and `:`; \
             `ip link` lists them"
        )),
    }
}

pub(super) fn integer(range: RangeInclusive<i64>) -> impl Fn(&DeValue) -> Read<i64> {
    move |value| {
        let wanted = format!("an integer from {} to {}", range.start(), range.end());
        let DeValue::Integer(digits) = value else { return wrong(wanted, value) };
        let integer = i64::from_str_radix(digits.as_str(), digits.radix()).ok().filter(|integer| range.contains(integer));
        integer.ok_or_else(|| format!("want {wanted}, got {digits}"))
    }
}

/// A card's connector: "auto", its number or its name.
pub(super) fn connector(value: &DeValue) -> Read<Connector> {
    let wanted = "\"auto\", a number from 0 to 63, or a name such as \"HDMI 0\"";
    let number = |digits: &str| digits.parse().ok().filter(|number| *number < 64).map(Connector::Number);
    match value {
        DeValue::Integer(digits) => number(&digits.to_string()).ok_or_else(|| format!("want {wanted}, got {digits}")),
        DeValue::String(_) => {
            let text = text(value)?;
            Ok(number(&text).unwrap_or(if text == "auto" { Connector::Auto } else { Connector::Name(text) }))
        }
        other => wrong(wanted, other),
    }
}

/// Pixels along one side: H.264 in 4:2:0 has no odd ones.
pub(super) fn side(range: RangeInclusive<u32>) -> impl Fn(&DeValue) -> Read<u32> {
    move |value| {
        let wanted = format!("an even number of pixels from {} to {}", range.start(), range.end());
        let DeValue::Integer(digits) = value else { return wrong(wanted, value) };
        let side = u32::from_str_radix(digits.as_str(), digits.radix()).ok();
        let side = side.filter(|side| range.contains(side) && side % 2 == 0);
        side.ok_or_else(|| format!("want {wanted}, got {digits}"))
    }
}

/// A number with or without a fraction, of the given unit.
pub(super) fn number(range: RangeInclusive<f64>, unit: &'static str) -> impl Fn(&DeValue) -> Read<f64> {
    move |value| {
        let wanted = format!("a number of {unit} from {} to {}", range.start(), range.end());
        let (digits, number) = match value {
            DeValue::Integer(digits) => {
                (digits.as_str(), i64::from_str_radix(digits.as_str(), digits.radix()).ok().map(|integer| integer as f64))
            }
            DeValue::Float(digits) => (digits.as_str(), digits.as_str().parse().ok()),
            other => return wrong(wanted, other),
        };
        number.filter(|number| range.contains(number)).ok_or_else(|| format!("want {wanted}, got {digits}"))
    }
}

/// A quantity of [`crate::units`], in quotes because of its unit.
pub(super) fn quantity<T: FromStr<Err = String>>(example: &'static str) -> impl Fn(&DeValue) -> Read<T> {
    move |value| match value {
        DeValue::String(text) => text.parse(),
        other => wrong(format_args!("a quantity in quotes such as {example}"), other),
    }
}

pub(super) fn bit_rate(range: RangeInclusive<BitRate>) -> impl Fn(&DeValue) -> Read<BitRate> {
    move |value| {
        let rate = quantity::<BitRate>("\"6M\" or \"500k\"")(value)?;
        let hint = "; write the unit, \"6M\" or \"500k\"";
        let fault = || format!("want a bit rate from {} to {}, got {rate}{hint}", range.start(), range.end());
        range.contains(&rate).then_some(rate).ok_or_else(fault)
    }
}

/// "30000/1001", "30", or plain 30.
pub(super) fn frame_rate(value: &DeValue) -> Read<FrameRate> {
    match value {
        DeValue::String(text) => text.parse(),
        DeValue::Integer(digits) => digits.to_string().parse(),
        other => wrong("a frame rate such as 30 or \"30000/1001\"", other),
    }
}

/// A duration that can be switched off: `false` is none.
pub(super) fn duration_or_off(range: RangeInclusive<Duration>) -> impl Fn(&DeValue) -> Read<Option<Duration>> {
    move |value| match value {
        DeValue::Boolean(false) => Ok(None),
        DeValue::Boolean(true) => Err("want a duration in quotes such as \"10s\", or false, got true".into()),
        other => duration(range.clone())(other).map(Some),
    }
}

pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&DeValue) -> Read<Duration> {
    move |value| {
        let DeValue::String(text) = value else { return wrong("a duration in quotes such as \"250ms\" or \"5s\"", value) };
        let duration = parse_duration(text)?;
        let (least, most) = (spell(*range.start()), spell(*range.end()));
        let fault = || format!("want a duration from {least} to {most}, got \"{text}\"");
        range.contains(&duration).then_some(duration).ok_or_else(fault)
    }
}

fn spell(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T>(text: &str, read: impl Fn(&DeValue) -> Read<T>) -> Read<T> {
        read(DeValue::parse(text).unwrap().get_ref())
    }

    #[test]
    fn numbers_in_the_forms_of_the_language() {
        assert_eq!(read("0x2d0", side(64..=2304)), Ok(720));
        assert_eq!(read("1_280", side(64..=4096)), Ok(1280));
        assert_eq!(read("2", number(0.2..=10.0, "seconds")), Ok(2.0));
        assert_eq!(read("+0.5", number(0.2..=10.0, "seconds")), Ok(0.5));
        assert_eq!(read("25", frame_rate), Ok(FrameRate::new(25, 1).unwrap()));
    }

    #[test]
    fn what_is_out_of_range_is_quoted_with_the_range() {
        let table = [
            (read("1281", side(64..=4096)).err(), "want an even number of pixels from 64 to 4096, got 1281"),
            (read("-2", side(64..=4096)).err(), "want an even number of pixels from 64 to 4096, got -2"),
            (read("nan", number(0.2..=10.0, "seconds")).err(), "want a number of seconds from 0.2 to 10, got nan"),
            (read("99999999999999999999", integer(1..=9)).err(), "want an integer from 1 to 9, got 99999999999999999999"),
        ];
        for (got, want) in table {
            assert_eq!(got.as_deref(), Some(want));
        }
        let second = Duration::from_millis(20)..=Duration::from_secs(2);
        assert_eq!(read("'3s'", duration(second)), Err("want a duration from 20ms to 2s, got \"3s\"".into()));
    }

    #[test]
    fn interfaces_by_the_kernel_s_rule() {
        for name in ["eth0", "wwan0.100", "enp3s0f1np1-a15", "_"] {
            assert_eq!(read(&format!("'{name}'"), interface), Ok(name.to_owned()));
        }
        for name in ["", " ", "eth 0", "eth0:1", "a/b", ".", "..", "sixteen-bytes-16"] {
            assert!(read(&format!("'{name}'"), interface).is_err(), "{name}");
        }
    }

    #[test]
    fn choices_are_taken_by_their_words() {
        let words = || one_of([("one", 1), ("two", 2)]);
        assert_eq!(read("'two'", words()), Ok(2));
        assert_eq!(read("'tow'", words()), Err("want \"one\" or \"two\", got \"tow\"".into()));
        assert_eq!(read("2", words()), Err("want \"one\" or \"two\", got an integer".into()));
    }

    #[test]
    fn wrong_types_are_told_but_not_quoted() {
        for (got, want) in [
            (read("12345678", text).err(), "want a text in quotes, got an integer"),
            (read("['SECRET', 1]", texts).map(|_| ()).err(), "want a text in quotes, got an integer"),
            (
                read("6000000", quantity::<BitRate>("\"6M\"")).map(|_| ()).err(),
                "want a quantity in quotes such as \"6M\", got an integer",
            ),
        ] {
            assert_eq!(got.as_deref(), Some(want));
        }
    }
}
