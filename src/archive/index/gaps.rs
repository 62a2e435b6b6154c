//! What is missing: the rows of gaps, and how they follow when a run's clock is found to have been wrong.
//!
//! Each end of a gap remembers the run by whose clock it was told: the end before a daemon's start is of an earlier run and stays
//! when the later run's clock is put right.

use jiff::ToSpan;
use jiff::civil::Date;
use rusqlite::{Connection, OptionalExtension, named_params};

use super::{Entry, Gap, Index, Run, day_of, rows, touch};
use crate::archive::fault::Fault;

/// A gap of more days is told in the manifests of its first and last day only.
const DAYS: usize = 400;

impl Index {
    /// Both ends were told by the clock of the run that goes on.
    pub fn add_gap(&self, gap: &Gap) -> Result<(), Fault> {
        self.change("write to", |change| {
            let run = recall(change, "run")?;
            insert(change, gap, run.as_deref(), run.as_deref())
        })
    }

    /// A gap of which it is known by which runs' clocks its ends were told.
    pub(in crate::archive) fn add_gap_of(&self, from: Run, until: Run, gap: &Gap) -> Result<(), Fault> {
        self.change("write to", |change| insert(change, gap, Some(&from.0), Some(&until.0)))
    }

    /// Those that overlap with the span, in order of time. Unix milliseconds.
    pub fn gaps(&self, from_ms: i64, until_ms: i64) -> Result<Vec<Gap>, Fault> {
        self.read(|connection| {
            let sql = "SELECT from_ms, until_ms, missing, cause FROM gap WHERE from_ms < :until AND until_ms > :from \
                       ORDER BY from_ms, until_ms";
            let mut query = connection.prepare_cached(sql)?;
            query.query_map(named_params! { ":from": from_ms, ":until": until_ms }, rows::gap)?.collect()
        })
    }

    /// The run that goes on: whose clock tells the gaps from now on.
    pub(in crate::archive) fn set_run(&self, run: Run) -> Result<(), Fault> {
        self.change("write to", |change| remember(change, "run", &run.0))
    }

    /// How recording ended last, for the gap until it begins again. It is forgotten by being asked for.
    pub(in crate::archive) fn take_end(&self) -> Result<Option<String>, Fault> {
        self.change("write to", |change| {
            let end = recall(change, "end")?;
            change.execute("DELETE FROM memo WHERE key = 'end'", [])?;
            Ok(end.map(|end| String::from_utf8_lossy(&end).into_owned()))
        })
    }

    pub(in crate::archive) fn set_end(&self, cause: &str) -> Result<(), Fault> {
        self.change("write to", |change| remember(change, "end", cause.as_bytes()))
    }

    /// The entry that ends last of all that are not of this run, gone or not.
    pub(in crate::archive) fn last_before(&self, run: Run) -> Result<Option<Entry>, Fault> {
        let last = "WHERE run <> :run ORDER BY start_ms + duration_ns / 1000000 DESC LIMIT 1";
        Ok(self.select(last, named_params! { ":run": run.0 })?.into_iter().next())
    }

    /// The newest entry of a run, by its own time line.
    pub(in crate::archive) fn newest_of(&self, run: Run) -> Result<Option<Entry>, Fault> {
        Ok(self.select("WHERE run = :run ORDER BY base_ns DESC LIMIT 1", named_params! { ":run": run.0 })?.into_iter().next())
    }
}

fn insert(change: &Connection, gap: &Gap, from_run: Option<&[u8]>, until_run: Option<&[u8]>) -> rusqlite::Result<()> {
    let sql = "INSERT INTO gap (from_ms, until_ms, missing, cause, from_run, until_run) \
               VALUES (:from, :until, :missing, :cause, :from_run, :until_run)";
    change.prepare_cached(sql)?.execute(named_params! {
        ":from": gap.from_ms,
        ":until": gap.until_ms,
        ":missing": rows::missing_word(gap.missing),
        ":cause": gap.cause,
        ":from_run": from_run,
        ":until_run": until_run,
    })?;
    touch_days(change, gap)
}

/// The clock of this run was wrong by so much.
pub fn shift(change: &Connection, run: Run, step_ms: i64) -> rusqlite::Result<()> {
    let of_run = "FROM gap WHERE from_run = :run OR until_run = :run";
    let touched = |change: &Connection| -> rusqlite::Result<Vec<Gap>> {
        let mut query = change.prepare(&format!("SELECT from_ms, until_ms, missing, cause {of_run}"))?;
        query.query_map(named_params! { ":run": run.0 }, rows::gap)?.collect()
    };
    let before = touched(change)?;
    for end in ["from", "until"] {
        let sql = format!("UPDATE gap SET {end}_ms = {end}_ms + :step WHERE {end}_run = :run");
        change.execute(&sql, named_params! { ":step": step_ms, ":run": run.0 })?;
    }
    before.iter().chain(&touched(change)?).try_for_each(|gap| touch_days(change, gap))
}

fn touch_days(change: &Connection, gap: &Gap) -> rusqlite::Result<()> {
    let mut days: Vec<Date> = days(gap).take(DAYS + 1).collect();
    if days.len() > DAYS {
        days = vec![day_of(gap.from_ms), day_of(gap.until_ms)];
    }
    days.into_iter().try_for_each(|day| touch(change, day))
}

/// The days of which something is missing. A gap that ends before it begins is told by clocks that do not agree yet: none.
fn days(gap: &Gap) -> impl Iterator<Item = Date> {
    let last = day_of(gap.until_ms.saturating_sub(1));
    let first = (gap.from_ms < gap.until_ms).then(|| day_of(gap.from_ms));
    std::iter::successors(first, |day| day.checked_add(1.day()).ok()).take_while(move |day| *day <= last)
}

fn remember(change: &Connection, key: &str, value: &[u8]) -> rusqlite::Result<()> {
    change.execute(
        "INSERT OR REPLACE INTO memo (key, value) VALUES (:key, :value)",
        named_params! { ":key": key, ":value": value },
    )?;
    Ok(())
}

fn recall(connection: &Connection, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    connection.query_row("SELECT value FROM memo WHERE key = ?", [key], |row| row.get(0)).optional()
}

#[cfg(test)]
mod tests {
    use super::super::Missing;
    use super::*;

    #[test]
    fn the_days_of_a_gap() {
        const DAY: i64 = super::super::DAY_MS;
        let days = |from_ms, until_ms| {
            let gap = Gap { from_ms, until_ms, missing: Missing::Air, cause: String::new() };
            days(&gap).map(|day| day.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(days(DAY, DAY + 1), ["1970-01-02"]);
        assert_eq!(days(DAY - 1, DAY), ["1970-01-01"]);
        assert_eq!(days(DAY - 1, 2 * DAY + 1), ["1970-01-01", "1970-01-02", "1970-01-03"]);
        assert!(days(DAY, DAY).is_empty() && days(9 * DAY, DAY).is_empty());
    }
}
