//! One table of commands: their words, what they take, what they mean. Pure.

use crate::control::Command;
use crate::units::BitRate;

/// What a line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    Status,
    Help,
    /// For a room.
    Order(Command),
}

struct Entry {
    word: &'static str,
    argument: &'static str,
    help: &'static str,
    read: fn(&str) -> Result<Line, String>,
}

const TABLE: &[Entry] = &[
    Entry { word: "help", argument: "", help: "this list", read: |_| Ok(Line::Help) },
    Entry { word: "status", argument: "", help: "everything about the running daemon", read: |_| Ok(Line::Status) },
    Entry { word: "switch", argument: "INPUT", help: "put this input on air, at a frame boundary", read: read_switch },
    Entry { word: "bitrate", argument: "RATE", help: "change the video bit rate, such as 4M or 800k", read: read_bitrate },
];

/// Reads one line.
pub fn parse(line: &str) -> Result<Line, String> {
    let line = line.trim();
    let (word, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim();
    let entry = TABLE.iter().find(|entry| entry.word == word);
    let entry = entry.ok_or_else(|| format!("there is no command \"{}\"; `help` lists them", shown(word)))?;
    match (entry.argument, argument) {
        ("", "") => (entry.read)(""),
        ("", _) => Err(format!("`{}` takes nothing after it", entry.word)),
        (wanted, "") => Err(format!("`{}` needs {wanted}: {}", entry.word, entry.help)),
        _ => (entry.read)(argument),
    }
}

/// The table for people.
pub fn help() -> String {
    let lines = TABLE.iter().map(|entry| format!("{:<18} {}", format!("{} {}", entry.word, entry.argument), entry.help));
    lines.collect::<Vec<_>>().join("\n")
}

fn read_switch(argument: &str) -> Result<Line, String> {
    Ok(Line::Order(Command::Switch { input: argument.into() }))
}

fn read_bitrate(argument: &str) -> Result<Line, String> {
    let rate: BitRate = argument.parse()?;
    Ok(Line::Order(Command::Bitrate(rate.rounded())))
}

/// What somebody typed, safe to show: printable and short.
fn shown(word: &str) -> String {
    word.chars().filter(|c| !c.is_control()).take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_as_people_type_them() {
        assert_eq!(parse(" switch  promo \n"), Ok(Line::Order(Command::Switch { input: "promo".into() })));
        assert_eq!(parse("bitrate 2.04M"), Ok(Line::Order(Command::Bitrate(BitRate::from_bps(2_000_000)))));
        assert_eq!(parse("status"), Ok(Line::Status));
        assert!(parse("switch").unwrap_err().contains("needs INPUT"));
        assert!(parse("status now").unwrap_err().contains("takes nothing"));
        assert!(parse("swich x").unwrap_err().contains("help"));
        assert!(help().contains("switch INPUT"));
    }

    proptest! {
        #[test]
        fn any_text_gets_an_answer(line in ".{0,200}") {
            let _ = parse(&line);
        }
    }
}
