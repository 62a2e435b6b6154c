//! What is wrong with a configuration, and on which line.
//!
//! Whoever finds a fault notes it here and goes on reading, so that a file is repaired in one round. This file refuses two
//! things: to report what merely follows from broken syntax nearby, and to let a fault be more than one line of text.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;

use toml::de::DeTable;
use toml::de::Error as SyntaxError;

use super::VERSION;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// From 1.
    pub line: usize,
    /// What is wrong and what to write instead; one line, never with a stream key in it.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.text)
    }
}

/// All that is found while one text is read.
pub(super) struct Findings {
    /// Where each line starts, in bytes.
    starts: Vec<usize>,
    /// Lines whose syntax is broken.
    broken: BTreeSet<usize>,
    /// These, and the lines below a broken header: what they seem to mean is not judged.
    unjudged: BTreeSet<usize>,
    /// The file's version if it is newer than ours: what we do not know then is not wrong.
    newer: Cell<Option<i64>>,
    faults: RefCell<BTreeSet<Fault>>,
    warnings: RefCell<BTreeSet<Fault>>,
}

impl Findings {
    pub(super) fn new(text: &str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
        Self {
            starts: starts.filter(|start| *start < text.len().max(1)).collect(),
            broken: BTreeSet::new(),
            unjudged: BTreeSet::new(),
            newer: Cell::new(None),
            faults: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// The line, from 1, of a byte of the text; beyond its end, the last line.
    pub(super) fn line_at(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }

    /// A value that is there and wrong.
    pub(super) fn fault(&self, line: usize, text: impl Into<String>) {
        if !self.unjudged.contains(&line) {
            self.note(line, text.into());
        }
    }

    /// Something that ought to be there and is not; in a text with broken syntax it may be there, unread.
    pub(super) fn missing(&self, line: usize, text: impl Into<String>) {
        if self.broken.is_empty() {
            self.note(line, text.into());
        }
    }

    /// A key that this version does not know.
    pub(super) fn unknown(&self, line: usize, text: String) {
        match self.newer.get() {
            Some(version) => self.warn(line, format!("{text} (ignored: the file says version {version}, newer than {VERSION})")),
            None => self.fault(line, text),
        }
    }

    /// Something that can be lived with.
    pub(super) fn warn(&self, line: usize, text: impl Into<String>) {
        self.warnings.borrow_mut().insert(Fault { line, text: one_line(&text.into()) });
    }

    pub(super) fn set_newer(&self, version: i64) {
        self.newer.set(Some(version));
    }

    /// The warnings if there is no fault; else both, in the order of the lines.
    pub(super) fn verdict(self) -> Result<Vec<Fault>, Vec<Fault>> {
        let (mut faults, warnings) = (self.faults.into_inner(), self.warnings.into_inner());
        if faults.is_empty() {
            return Ok(warnings.into_iter().collect());
        }
        faults.extend(warnings);
        Err(faults.into_iter().collect())
    }

    fn note(&self, line: usize, text: String) {
        self.faults.borrow_mut().insert(Fault { line, text: one_line(&text) });
    }

    /// Notes every error of the syntax, the first one of each line. Of an error only its description is told: its own text form quotes the line, and the
    /// line may hold a stream key.
    fn note_syntax(&mut self, errors: &[SyntaxError]) {
        for error in errors {
            let line = self.line_at(error.span().map_or(0, |span| span.start));
            if self.broken.insert(line) {
                self.note(line, format!("not TOML: {}", error.message()));
            }
        }
    }
}

/// Reads the syntax of `text` into a table, as far as it goes, with all its errors noted.
///
/// The parser gives up at a line like `width 1280`; so lines with an error are blanked and the text is read again, to find
/// what is wrong after them.
pub(super) fn read_syntax<'t>(text: &'t str, blanked: &'t mut String) -> (DeTable<'t>, Findings) {
    let mut findings = Findings::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return (table.into_inner(), findings);
    }
    findings.note_syntax(&errors);
    *blanked = text.split_inclusive('\n').zip(1..).map(|(line, number)| blank(line, findings.broken.contains(&number))).collect();
    let (table, errors) = DeTable::parse_recoverable(blanked);
    findings.note_syntax(&errors);
    findings.unjudged = below_broken_headers(text, &findings.broken).chain(findings.broken.iter().copied()).collect();
    (table.into_inner(), findings)
}

/// Lines whose section is not known because its header is broken.
fn below_broken_headers<'a>(text: &'a str, broken: &'a BTreeSet<usize>) -> impl Iterator<Item = usize> + 'a {
    let mut lost = false;
    let below = text.lines().zip(1..).map(move |(line, number)| {
        lost = if line.trim_start().starts_with('[') { broken.contains(&number) } else { lost };
        lost.then_some(number)
    });
    below.flatten()
}

/// The line as it is, or spaces in its place if it is broken and no other line hangs on it, as on a header or a bracket.
fn blank(line: &str, broken: bool) -> String {
    let holds_others = line.contains(['[', ']', '{', '}']) || line.contains("\"\"\"") || line.contains("'''");
    match broken && !holds_others {
        true => line.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect(),
        false => line.to_owned(),
    }
}

/// A fault is a line of a log: what would break the line is shown as a space.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_lines() {
        let findings = Findings::new("one\ntwo\r\n\nfour\n");
        let lines = [0, 3, 4, 8, 9, 10, 14, 15, 99].map(|offset| findings.line_at(offset));
        assert_eq!(lines, [1, 1, 2, 2, 3, 4, 4, 4, 4]);
        assert_eq!(Findings::new("").line_at(0), 1);
    }

    #[test]
    fn what_follows_from_broken_syntax_is_not_reported() {
        let mut findings = Findings::new("a\nb\n");
        findings.broken.insert(1);
        findings.unjudged.insert(1);
        findings.fault(1, "seems wrong");
        findings.missing(2, "seems missing");
        findings.fault(2, "is\nwrong");
        assert_eq!(findings.verdict(), Err(vec![Fault { line: 2, text: "is wrong".into() }]));
    }
}
