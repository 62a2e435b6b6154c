//! One table of commands: their words, what they take, what they mean. Pure.

use std::time::Duration;

use crate::control::{Chooser, Command, MAX_FADE};
use crate::status;
use crate::units::BitRate;

/// What a line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    Status,
    Help,
    /// For a room.
    Order(Command),
}

/// How long an answer usually takes at most; and one that the network has a part in.
const SOON: Duration = Duration::from_secs(5);
const LATE: Duration = Duration::from_secs(120);

struct Entry {
    word: &'static str,
    argument: &'static str,
    help: &'static str,
    read: fn(&str) -> Result<Line, String>,
    limit: Duration,
}

impl Entry {
    const fn new(word: &'static str, argument: &'static str, help: &'static str, read: fn(&str) -> Result<Line, String>) -> Self {
        Self { word, argument, help, read, limit: SOON }
    }

    const fn late(self) -> Self {
        Self { limit: LATE, ..self }
    }
}

const TABLE: &[Entry] = &[
    Entry::new("help", "", "this list", |_| Ok(Line::Help)),
    Entry::new("status", "", "everything about the running daemon", |_| Ok(Line::Status)),
    Entry::new("switch", "INPUT [fade N]", "put this input on air: `fade 0` cuts, `fade 25` mixes for 25 frames", read_switch),
    Entry::new("auto", "", "let the list in `program.input` choose the input again", |_| Ok(Line::Order(Command::Auto))),
    Entry::new("bitrate", "RATE", "change the video bit rate, such as 4M or 800k", read_bitrate),
    Entry::new("preflight", "", "check every origin, step by step; a running stream is not disturbed", |_| {
        Ok(Line::Order(Command::Preflight))
    })
    .late(),
    Entry::new(
        "export",
        "STATE",
        "how an export of the archive gets on; `onaird archive export` tells it by itself",
        read_export,
    ),
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

/// How long whoever types this line should wait for the answer.
pub fn limit(line: &str) -> Duration {
    let word = line.split_whitespace().next().unwrap_or_default();
    TABLE.iter().find(|entry| entry.word == word).map_or(SOON, |entry| entry.limit)
}

/// The table for people.
pub fn help() -> String {
    let lines = TABLE.iter().map(|entry| format!("{:<22} {}", format!("{} {}", entry.word, entry.argument), entry.help));
    lines.collect::<Vec<_>>().join("\n")
}

fn read_switch(argument: &str) -> Result<Line, String> {
    let words: Vec<_> = argument.split_whitespace().collect();
    let (input, fade) = match words[..] {
        [input] => (input, None),
        [input, "fade", frames] => (input, Some(read_frames(frames)?)),
        _ => return Err("write `switch INPUT`, or `switch INPUT fade N` with N frames, such as `switch promo fade 25`".into()),
    };
    Ok(Line::Order(Command::Switch { input: input.into(), fade, by: Chooser::Operator }))
}

fn read_frames(text: &str) -> Result<u32, String> {
    let frames = text.parse().ok().filter(|frames| *frames <= MAX_FADE);
    frames.ok_or_else(|| format!("`fade` wants a number of frames from 0 (a cut) to {MAX_FADE}, got \"{}\"", shown(text)))
}

fn read_bitrate(argument: &str) -> Result<Line, String> {
    let rate: BitRate = argument.parse()?;
    Ok(Line::Order(Command::Bitrate(rate.rounded())))
}

fn read_export(argument: &str) -> Result<Line, String> {
    let export: status::Export = serde_json::from_str(argument)
        .map_err(|error| format!("`export` is for `onaird archive export`, which says it as JSON ({error}); run that instead"))?;
    Ok(Line::Order(Command::Export(export)))
}

/// The line for an export's state.
pub fn export_line(export: &status::Export) -> String {
    format!("export {}", serde_json::to_string(export).unwrap_or_default())
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
        let switch = |fade| Ok(Line::Order(Command::Switch { input: "promo".into(), fade, by: Chooser::Operator }));
        assert_eq!(parse(" switch  promo \n"), switch(None));
        assert_eq!(parse("switch promo  fade 25"), switch(Some(25)));
        assert_eq!(parse("switch promo fade 0"), switch(Some(0)));
        for wrong in ["switch promo fade", "switch promo 25", "switch promo fade 2 5"] {
            assert!(parse(wrong).unwrap_err().contains("`switch promo fade 25`"), "{wrong}");
        }
        for wrong in ["601", "-1", "long"] {
            assert!(parse(&format!("switch promo fade {wrong}")).unwrap_err().contains("from 0 (a cut) to 600"), "{wrong}");
        }
        assert_eq!(parse("bitrate 2.04M"), Ok(Line::Order(Command::Bitrate(BitRate::from_bps(2_000_000)))));
        assert_eq!(parse("auto"), Ok(Line::Order(Command::Auto)));
        assert_eq!(parse("status"), Ok(Line::Status));
        assert_eq!(parse("preflight"), Ok(Line::Order(Command::Preflight)));
        assert!(limit(" preflight ") > limit("status") && limit("status") == limit("what"));
        assert!(parse("switch").unwrap_err().contains("needs INPUT"));
        assert!(parse("status now").unwrap_err().contains("takes nothing"));
        assert!(parse("swich x").unwrap_err().contains("help"));
        assert!(help().contains("switch INPUT"));
    }

    #[test]
    fn an_export_tells_its_state_in_one_line() {
        let export = status::Export {
            state: status::ExportState::Failed,
            files_done: 3,
            files: 12,
            bytes_done: 1 << 40,
            bytes: u64::MAX,
            to: "/media/a disk".into(),
            last_error: Some("pulled out\n\"in the middle\"".into()),
        };
        let line = export_line(&export);
        assert!(!line.contains('\n'), "{line}");
        assert_eq!(parse(&line), Ok(Line::Order(Command::Export(export))));
        assert!(parse("export now").unwrap_err().contains("run that instead"));
    }

    proptest! {
        #[test]
        fn any_text_gets_an_answer(line in ".{0,200}") {
            let _ = parse(&line);
        }
    }
}
