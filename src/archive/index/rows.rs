//! Rows of the index to words and back. It decides nothing; what a row says that no version wrote is an error, not a guess.

use std::time::Duration;

use jiff::civil::Date;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, named_params};

use super::{Entry, Gap, Mark, Missing, Run, Sha256, Upload};
use crate::archive::name::Name;
use crate::units::MediaTime;

type Result<T> = rusqlite::Result<T>;

pub fn put(connection: &Connection, entry: &Entry) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO segment (name, start_ms, duration_ns, bytes, frames, dropped_gops, run, base_ns, sha256, \
               upload, object, upload_id, protected, gone) VALUES (:name, :start_ms, :duration_ns, :bytes, :frames, :dropped_gops, \
               :run, :base_ns, :sha256, :upload, :object, :upload_id, :protected, :gone)";
    let (upload, object, upload_id) = upload_columns(&entry.upload);
    connection.prepare_cached(sql)?.execute(named_params! {
        ":name": entry.name.to_string(),
        ":start_ms": entry.start_ms,
        ":duration_ns": entry.duration.as_nanos() as i64,
        ":bytes": entry.bytes as i64,
        ":frames": entry.frames as i64,
        ":dropped_gops": entry.dropped_gops as i64,
        ":run": entry.run.0,
        ":base_ns": entry.base.nanos() as i64,
        ":sha256": entry.sha256.0,
        ":upload": upload,
        ":object": object,
        ":upload_id": upload_id,
        ":protected": entry.protected,
        ":gone": entry.gone,
    })?;
    Ok(())
}

pub fn entry(row: &Row) -> Result<Entry> {
    Ok(Entry {
        name: name(row, "name")?,
        start_ms: row.get("start_ms")?,
        duration: Duration::from_nanos(number(row, "duration_ns")?),
        bytes: number(row, "bytes")?,
        frames: number(row, "frames")?,
        dropped_gops: number(row, "dropped_gops")?,
        run: Run(row.get("run")?),
        base: MediaTime::from_nanos(number(row, "base_ns")?),
        sha256: Sha256(row.get("sha256")?),
        upload: upload(row)?,
        protected: row.get("protected")?,
        gone: row.get("gone")?,
    })
}

pub fn marks(connection: &Connection) -> Result<Vec<Mark>> {
    let mut query = connection.prepare_cached("SELECT name, start_ms, upload, protected FROM segment WHERE NOT gone")?;
    query.query_map([], mark)?.collect()
}

fn mark(row: &Row) -> Result<Mark> {
    let upload: String = row.get("upload")?;
    Ok(Mark {
        name: name(row, "name")?,
        start_ms: row.get("start_ms")?,
        uploaded: upload == "done",
        protected: row.get("protected")?,
    })
}

pub fn gap(row: &Row) -> Result<Gap> {
    let missing: String = row.get("missing")?;
    let missing = match missing.as_str() {
        "archive" => Missing::Archive,
        "air" => Missing::Air,
        _ => return Err(wrong("missing")),
    };
    Ok(Gap { from_ms: row.get("from_ms")?, until_ms: row.get("until_ms")?, missing, cause: row.get("cause")? })
}

pub fn missing_word(missing: Missing) -> &'static str {
    match missing {
        Missing::Archive => "archive",
        Missing::Air => "air",
    }
}

pub fn day(row: &Row) -> Result<(Date, u64)> {
    let day: String = row.get("day")?;
    Ok((day.parse().map_err(|_| wrong("day"))?, number(row, "version")?))
}

/// The columns `upload`, `object` and `upload_id`.
pub fn upload_columns(upload: &Upload) -> (&'static str, Option<&str>, Option<&str>) {
    match upload {
        Upload::Waiting => ("waiting", None, None),
        Upload::Begun { object, id } => ("begun", Some(object), Some(id)),
        Upload::Done { object } => ("done", Some(object), None),
    }
}

fn upload(row: &Row) -> Result<Upload> {
    let word: String = row.get("upload")?;
    match word.as_str() {
        "waiting" => Ok(Upload::Waiting),
        "begun" => Ok(Upload::Begun { object: row.get("object")?, id: row.get("upload_id")? }),
        "done" => Ok(Upload::Done { object: row.get("object")? }),
        _ => Err(wrong("upload")),
    }
}

fn name(row: &Row, column: &'static str) -> Result<Name> {
    let stem: String = row.get(column)?;
    Name::parse(&stem).ok_or_else(|| wrong(column))
}

fn number(row: &Row, column: &str) -> Result<u64> {
    Ok(row.get::<_, i64>(column)?.max(0) as u64)
}

fn wrong(column: &'static str) -> rusqlite::Error {
    let text = format!("the column {column} holds what no version of onaird wrote");
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, text.into())
}
