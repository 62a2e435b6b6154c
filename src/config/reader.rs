//! A cursor over one section of a configuration: keys are taken with their type, and what is left over is reported.
//!
//! It lets `parse` read like the table of the format. It knows no key and no rule of its own; what is wrong goes to
//! [`Findings`], and a default takes the place of the value, so that reading goes on.

use std::ops::Deref;

use toml::de::{DeTable, DeValue};

use super::fault::Findings;
use super::values::kind_of;

/// One section of the file; an absent one reads as empty.
pub(super) struct Section<'d> {
    /// As it is written: `[program]`, `[[leg]]`; empty for the top level.
    header: &'static str,
    line: usize,
    table: Option<&'d DeTable<'d>>,
    /// Keys that were asked for, in that order: those that there are.
    known: Vec<&'static str>,
    /// Keys whose value was refused: rules leave them alone.
    refused: Vec<&'static str>,
    findings: &'d Findings,
}

impl<'d> Section<'d> {
    pub(super) fn top(table: &'d DeTable<'d>, findings: &'d Findings) -> Self {
        Self::new("", 1, Some(table), findings)
    }

    fn new(header: &'static str, line: usize, table: Option<&'d DeTable<'d>>, findings: &'d Findings) -> Self {
        Self { header, line, table, known: Vec::new(), refused: Vec::new(), findings }
    }

    pub(super) fn findings(&self) -> &'d Findings {
        self.findings
    }

    /// The section's first line.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Whether a value was there and has been noted as wrong.
    pub(super) fn has_refused(&self, key: &str) -> bool {
        self.refused.contains(&key)
    }

    /// The line of a key; of the section, if the key is absent.
    pub(super) fn line_of(&self, key: &str) -> usize {
        let entry = self.table.and_then(|table| table.get_key_value(key));
        entry.map_or(self.line, |(name, _)| self.findings.line_at(name.span().start))
    }

    /// Whether no other key or section stands before this one.
    pub(super) fn is_first(&self, key: &str) -> bool {
        let first = self.table.and_then(|table| table.keys().min_by_key(|name| name.span().start));
        first.is_some_and(|name| name.get_ref() == key)
    }

    /// The value of a key; the default if it is absent, or refused and noted.
    pub(super) fn value<T>(&mut self, key: &'static str, default: T, read: impl FnOnce(&DeValue<'d>) -> Result<T, String>) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// The value of a key that may be absent; `None` too if it was refused and noted.
    pub(super) fn optional<T>(&mut self, key: &'static str, read: impl FnOnce(&DeValue<'d>) -> Result<T, String>) -> Option<T> {
        let value = read(self.take(key)?);
        value.map_err(|text| self.refuse(key, format!("`{key}`: {text}"))).ok()
    }

    /// The value of a key that must be there; `remedy` says what to write.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        remedy: &str,
        read: impl FnOnce(&DeValue<'d>) -> Result<T, String>,
    ) -> Option<T> {
        if !self.has(key) {
            self.refused.push(key);
            self.findings.missing(self.line, format!("{} has no `{key}`; {remedy}", self.header));
        }
        self.optional(key, read)
    }

    /// Notes a fault at the first key unless the rule holds; is silent if one of the keys was refused already.
    pub(super) fn rule(&mut self, keys: &[&'static str], holds: bool, text: impl FnOnce() -> String) {
        if !holds && !keys.iter().any(|key| self.refused.contains(key)) {
            self.refuse(keys[0], format!("`{}`: {}", keys[0], text()));
        }
    }

    /// Keys that are known but have no meaning here.
    pub(super) fn misplaced(&mut self, keys: &[&'static str], because_of: &'static str, text: &str) {
        for key in keys {
            let present = self.take(key).is_some();
            self.rule(&[*key, because_of], !present, || text.to_owned());
        }
    }

    /// The section below this one, `[header]`.
    pub(super) fn section(&mut self, key: &'static str, header: &'static str) -> Self {
        let table = self.optional(key, |value| match value {
            DeValue::Table(_) => Ok(()),
            DeValue::Array(_) => Err(format!("want one section {header}, got a list; write its header in single brackets")),
            other => Err(format!("want a section {header}, got {}", kind_of(other))),
        });
        let table = table.and(self.table).and_then(|table| table.get(key)).and_then(|value| value.get_ref().as_table());
        Self::new(header, self.line_of(key), table, self.findings)
    }

    /// The sections below this one of which there can be many, `[[header]]`.
    pub(super) fn sections(&mut self, key: &'static str, header: &'static str) -> Vec<Self> {
        let list = match self.take(key) {
            None => return Vec::new(),
            Some(DeValue::Array(list)) if list.iter().all(|item| item.get_ref().is_table()) => list,
            Some(other) => {
                let kind = kind_of(other);
                self.refuse(key, format!("`{key}`: want sections headed {header} in double brackets, got {kind}"));
                return Vec::new();
            }
        };
        let tables = list.iter().map(|item| (self.findings.line_at(item.span().start), item.get_ref().as_table()));
        tables.map(|(line, table)| Self::new(header, line, table, self.findings)).collect()
    }

    /// Reports the keys that nobody asked for; those of `later` as belonging to a version to come.
    pub(super) fn finish(self, later: &[&str]) {
        for name in self.table.into_iter().flat_map(|table| table.keys()) {
            let (line, key) = (self.findings.line_at(name.span().start), name.get_ref().deref());
            if later.contains(&key) {
                let text = format!("`{key}` {} is not supported by this version yet; remove it", self.whereabouts());
                self.findings.unknown(line, text);
            } else if !self.known.contains(&key) {
                self.findings.unknown(line, self.unknown_key(key));
            }
        }
    }

    fn unknown_key(&self, key: &str) -> String {
        let suggestion = closest(key, &self.known).map_or(String::new(), |known| format!(", did you mean `{known}`?"));
        format!("unknown key `{key}` {}{suggestion}; known keys: {}", self.whereabouts(), self.known.join(", "))
    }

    fn whereabouts(&self) -> String {
        if self.header.is_empty() { "at the top level".into() } else { format!("in {}", self.header) }
    }

    fn take(&mut self, key: &'static str) -> Option<&'d DeValue<'d>> {
        self.known.push(key);
        self.table?.get(key).map(|value| value.get_ref())
    }

    fn refuse(&mut self, key: &'static str, text: String) {
        self.refused.push(key);
        self.findings.fault(self.line_of(key), text);
    }
}

/// The known key that was probably meant: at most a third of its letters, and two, are different.
fn closest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let distances = known.iter().map(|known| (edits(key, known), *known));
    let (distance, known) = distances.min()?;
    (distance <= (known.len() / 3).clamp(1, 2)).then_some(known)
}

/// Letters to insert, delete, replace or swap with their neighbour to come from one word to the other.
fn edits(from: &str, to: &str) -> usize {
    let (from, to) = (from.chars().collect::<Vec<_>>(), to.chars().collect::<Vec<_>>());
    let mut before_last = Vec::new();
    let mut last = (0..=to.len()).collect::<Vec<_>>();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let mut cost = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                cost = cost.min(before_last[j - 1] + 1);
            }
            row.push(cost);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_count_swaps_as_one() {
        let table = [("width", "width", 0), ("widht", "width", 1), ("with", "width", 1), ("", "hold", 4), ("hold", "", 4)];
        for (from, to, want) in table {
            assert_eq!(edits(from, to), want, "{from} {to}");
        }
    }

    #[test]
    fn only_a_close_key_is_suggested() {
        let known = ["width", "height", "url"];
        let table = [("widht", Some("width")), ("Height", Some("height")), ("uri", Some("url")), ("colour", None), ("id", None)];
        for (key, want) in table {
            assert_eq!(closest(key, &known), want, "{key}");
        }
    }
}
