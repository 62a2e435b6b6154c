//! A TOML table read key by key: typed values out, all faults gathered with their lines. Pure.
//!
//! Whoever reads takes every key that is known; what is left over afterwards is a fault with the nearest known key beside
//! it. A value is never repeated in a fault unless it is a plain quantity: it could be a secret.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::de::{DeTable, DeValue};

use crate::config::Fault;

/// Faults so far, and the text whose lines they name.
pub struct Faults<'a> {
    text: &'a str,
    pub list: Vec<Fault>,
}

impl<'a> Faults<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, list: Vec::new() }
    }

    pub fn add(&mut self, line: usize, text: impl Into<String>) {
        self.list.push(Fault { line, text: text.into() });
    }

    /// The line (from 1) of a place in the text.
    pub fn line_of(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

/// One table and which of its keys were read.
pub struct Table<'t, 'i> {
    /// As faults call it: "[program]".
    pub name: String,
    pub line: usize,
    table: Option<&'t DeTable<'i>>,
    taken: Vec<&'static str>,
}

impl<'t, 'i> Table<'t, 'i> {
    pub fn new(name: impl Into<String>, line: usize, table: Option<&'t DeTable<'i>>) -> Self {
        Self { name: name.into(), line, table, taken: Vec::new() }
    }

    /// The value of a key and its line.
    fn take(&mut self, key: &'static str, faults: &Faults<'_>) -> Option<(&'t DeValue<'i>, usize)> {
        self.taken.push(key);
        let value = self.table?.get(key)?;
        Some((value.get_ref(), faults.line_of(value.span().start)))
    }

    /// The line of a key, or of the table if it has no such key.
    pub fn line_of(&self, key: &str, faults: &Faults<'_>) -> usize {
        let value = self.table.and_then(|table| table.get(key));
        value.map_or(self.line, |value| faults.line_of(value.span().start))
    }

    /// Counts a key as read without looking at it.
    pub fn ignore(&mut self, key: &'static str) {
        self.taken.push(key);
    }

    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    fn wrong(&self, key: &str, value: &DeValue<'_>, wanted: &str, line: usize, faults: &mut Faults<'_>) {
        faults.add(line, format!("{}: `{key}` wants {wanted}, not {}", self.name, kind(value)));
    }

    pub fn text(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Option<String> {
        let (value, line) = self.take(key, faults)?;
        match value.as_str() {
            Some(text) => Some(text.to_string()),
            None => {
                self.wrong(key, value, "a text in quotes", line, faults);
                None
            }
        }
    }

    pub fn boolean(&mut self, key: &'static str, default: bool, faults: &mut Faults<'_>) -> bool {
        let Some((value, line)) = self.take(key, faults) else { return default };
        value.as_bool().unwrap_or_else(|| {
            self.wrong(key, value, "true or false", line, faults);
            default
        })
    }

    /// A number within bounds.
    pub fn number(&mut self, key: &'static str, range: std::ops::RangeInclusive<f64>, faults: &mut Faults<'_>) -> Option<f64> {
        let (value, line) = self.take(key, faults)?;
        let number = match value {
            DeValue::Integer(integer) => {
                i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|integer| integer as f64)
            }
            DeValue::Float(float) => float.as_str().parse().ok(),
            _ => None,
        };
        let Some(number) = number else {
            self.wrong(key, value, "a number", line, faults);
            return None;
        };
        if !range.contains(&number) {
            let (low, high) = range.into_inner();
            faults.add(line, format!("{}: `{key}` must lie between {low} and {high}, not {number}", self.name));
            return None;
        }
        Some(number)
    }

    /// A quantity written as text, such as "6M"; a bare integer is read as its text.
    pub fn quantity<T: FromStr<Err = String>>(&mut self, key: &'static str, default: T, faults: &mut Faults<'_>) -> T {
        self.quantity_with(key, T::from_str, faults).unwrap_or(default)
    }

    pub fn quantity_with<T>(
        &mut self,
        key: &'static str,
        read: fn(&str) -> Result<T, String>,
        faults: &mut Faults<'_>,
    ) -> Option<T> {
        let (value, line) = self.take(key, faults)?;
        let text = match value {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(integer) => integer.as_str().to_string(),
            other => {
                self.wrong(key, other, "a quantity in quotes", line, faults);
                return None;
            }
        };
        match read(&text) {
            Ok(quantity) => Some(quantity),
            Err(fault) => {
                faults.add(line, format!("{}: `{key}`: {fault}", self.name));
                None
            }
        }
    }

    /// A path; a relative one is relative to `base`.
    pub fn path(&mut self, key: &'static str, base: &Path, faults: &mut Faults<'_>) -> Option<PathBuf> {
        self.text(key, faults).map(|path| base.join(path))
    }

    /// A list of texts, each with its line.
    pub fn texts(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Vec<(String, usize)> {
        let Some((value, line)) = self.take(key, faults) else { return vec![] };
        let Some(items) = value.as_array() else {
            self.wrong(key, value, "a list of texts, such as [\"a.mp4\", \"b.mp4\"]", line, faults);
            return vec![];
        };
        let mut texts = Vec::new();
        for item in items.iter() {
            let line = faults.line_of(item.span().start);
            match item.get_ref().as_str() {
                Some(text) => texts.push((text.to_string(), line)),
                None => self.wrong(key, item.get_ref(), "texts in its list", line, faults),
            }
        }
        texts
    }

    /// A table below this one; an empty one if it is not there.
    pub fn table(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Table<'t, 'i> {
        let name = format!("[{key}]");
        let Some((value, line)) = self.take(key, faults) else { return Table::new(name, self.line, None) };
        if value.as_table().is_none() {
            self.wrong(key, value, &format!("a table ([{key}] on a line of its own)"), line, faults);
        }
        Table::new(name, line, value.as_table())
    }

    /// The tables of a list such as `[[leg]]`.
    pub fn tables(&mut self, key: &'static str, path: &str, faults: &mut Faults<'_>) -> Vec<Table<'t, 'i>> {
        let Some((value, line)) = self.take(key, faults) else { return vec![] };
        let Some(items) = value.as_array() else {
            self.wrong(key, value, &format!("tables ([[{path}]] on a line of its own)"), line, faults);
            return vec![];
        };
        let mut tables = Vec::new();
        for item in items.iter() {
            let line = faults.line_of(item.span().start);
            match item.get_ref().as_table() {
                Some(table) => tables.push(Table::new(format!("[[{path}]]"), line, Some(table))),
                None => self.wrong(key, item.get_ref(), "tables", line, faults),
            }
        }
        tables
    }

    /// Every key that was not read is a fault; `later` names those that a later version will know.
    pub fn finish(&self, later: &[&str], faults: &mut Faults<'_>) {
        let Some(table) = self.table else { return };
        for key in table.keys() {
            let (name, line) = (key.get_ref().as_ref(), faults.line_of(key.span().start));
            if self.taken.contains(&name) {
                continue;
            }
            let text = match later.contains(&name) {
                true => format!("{}: `{name}` is not supported by this version yet; remove it", self.name),
                false => format!("{}: unknown key `{}`; {}", self.name, shown(name), self.suggestion(name)),
            };
            faults.add(line, text);
        }
    }

    fn suggestion(&self, name: &str) -> String {
        let near = self.taken.iter().map(|key| (distance(name, key), key)).min();
        match near {
            Some((distance, key)) if distance <= 2 => format!("did you mean `{key}`?"),
            _ => format!("known keys: {}", self.taken.join(", ")),
        }
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A key as it may be shown: printable and short.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(40).collect()
}

/// Levenshtein's distance.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<_> = other.chars().collect();
    let mut row: Vec<_> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let cost = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn distances() {
        assert_eq!([distance("width", "width"), distance("widht", "width"), distance("", "abc")], [0, 2, 3]);
    }
}
