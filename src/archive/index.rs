//! The index beside the segments: what is known of each, and of what is missing. SQLite (<https://sqlite.org/wal.html>), so that
//! the daemon, its uploader and a command line may use it at once.
//!
//! The files are the truth: all of it but the uploads' states and the gaps' causes can be read from them again, and a damaged
//! index is put aside, not repaired. Nothing here opens a segment; only that a segment is protected is also told to the file
//! system, by taking away the right to write to it, so that it outlives the index.

mod gaps;
mod look;
mod rows;
mod store;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

pub use super::entry::{DAY_MS, Entry, Gap, Missing, NoSha256, Run, Sha256, Upload, day_begin_ms, day_of};
pub(super) use store::is_read_only;

use super::epoch::unix_ms;
use super::fault::Fault;
use super::name::Name;

/// Beside the segments.
pub const FILE: &str = "index.sqlite3";

/// One connection; each thread has its own.
pub struct Index {
    /// Of the segments.
    folder: PathBuf,
    connection: Connection,
    /// Of the file that is open.
    inode: u64,
}

/// What keeping and deleting needs to know of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub name: Name,
    pub start_ms: i64,
    pub uploaded: bool,
    pub protected: bool,
}

const COLUMNS: &str = "name, start_ms, duration_ns, bytes, frames, dropped_gops, run, base_ns, sha256, upload, object, \
                       upload_id, protected, gone";

impl Index {
    /// Makes it if it is missing. A damaged one is put aside as `index.sqlite3.damaged-…` and an empty one made; what it is to
    /// hold must then be read from the segments.
    pub fn open(folder: &Path) -> Result<Self, Fault> {
        let path = folder.join(FILE);
        let connection = store::open(&path).map_err(|error| fault("open", folder, error))?;
        let inode = path.metadata().map_err(Fault::io("look at", path))?.ino();
        Ok(Self { folder: folder.to_owned(), connection, inode })
    }

    /// False if the file was moved or deleted, or lies under a new mount: what is written goes nowhere then.
    pub(super) fn is_in_place(&self) -> bool {
        self.folder.join(FILE).metadata().is_ok_and(|metadata| metadata.ino() == self.inode)
    }

    /// Inserts it or replaces what was known.
    pub fn put(&self, entry: &Entry) -> Result<(), Fault> {
        self.change("write to", |change| {
            let before = entry_of(change, entry.name)?;
            rows::put(change, entry)?;
            for entry in before.iter().chain([entry]).filter(|entry| is_told(entry)) {
                touch(change, day_of(entry.start_ms))?;
            }
            Ok(())
        })
    }

    pub fn get(&self, name: Name) -> Result<Option<Entry>, Fault> {
        self.read(|connection| entry_of(connection, name))
    }

    /// With those whose file is gone, oldest first.
    pub(super) fn all(&self) -> Result<Vec<Entry>, Fault> {
        self.select("ORDER BY start_ms, base_ns", &[])
    }

    /// Those whose file is there, oldest first.
    pub fn entries(&self) -> Result<Vec<Entry>, Fault> {
        self.select("WHERE NOT gone ORDER BY start_ms, base_ns", &[])
    }

    /// All whose first picture is of this UTC day, oldest first, with those whose file is gone.
    pub fn of_day(&self, day: Date) -> Result<Vec<Entry>, Fault> {
        let begin = day_begin_ms(day);
        let span = named_params! { ":from": begin, ":until": begin + DAY_MS };
        self.select("WHERE start_ms >= :from AND start_ms < :until ORDER BY start_ms, base_ns", span)
    }

    /// The file loses or gets back the right to be written to, so that this is known without an index too; where a file system
    /// knows no such right, the index alone knows. False if the segment is unknown.
    pub fn set_protected(&self, name: Name, protected: bool) -> Result<bool, Fault> {
        if self.get(name)?.is_none_or(|entry| entry.gone) {
            return Ok(false);
        }
        let path = self.folder.join(name.closed());
        match store::set_read_only(&path, protected) {
            // Who says that nobody may write to it is believed at the next start.
            Err(error) if !protected => return Err(Fault::io("change the rights of", path)(error)),
            _ => {}
        }
        self.change("write to", |change| {
            let values = named_params! { ":name": name.to_string(), ":protected": protected };
            Ok(change.execute("UPDATE segment SET protected = :protected WHERE name = :name", values)? > 0)
        })
    }

    pub fn set_upload(&self, name: Name, upload: &Upload) -> Result<(), Fault> {
        self.change("write to", |change| {
            let (word, object, id) = rows::upload_columns(upload);
            let values = named_params! { ":name": name.to_string(), ":word": word, ":object": object, ":id": id };
            change.execute("UPDATE segment SET upload = :word, object = :object, upload_id = :id WHERE name = :name", values)?;
            touch_entry(change, name)
        })
    }

    /// Its file has been deleted.
    pub fn set_gone(&self, name: Name) -> Result<(), Fault> {
        self.change("write to", |change| {
            let values = named_params! { ":name": name.to_string() };
            change.execute("UPDATE segment SET gone = TRUE WHERE name = :name", values)?;
            touch_entry(change, name)
        })
    }

    /// The oldest that is not in the bucket and can still get there.
    pub fn next_upload(&self) -> Result<Option<Entry>, Fault> {
        let next = self.select("WHERE NOT gone AND upload <> 'done' ORDER BY start_ms, base_ns LIMIT 1", &[])?;
        Ok(next.into_iter().next())
    }

    /// How many segments wait for the bucket, and how many are in it.
    pub fn upload_counts(&self) -> Result<(u64, u64), Fault> {
        self.read(|connection| {
            let count = "SELECT count(*) FILTER (WHERE upload <> 'done' AND NOT gone), count(*) FILTER (WHERE upload = 'done') \
                         FROM segment";
            connection.query_row(count, [], |row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64)))
        })
    }

    /// What keeping and deleting needs to know of the segments whose file is there, in no order.
    pub fn marks(&self) -> Result<Vec<Mark>, Fault> {
        self.read(rows::marks)
    }

    /// The same, without opening it for more; an index that is not there knows nothing.
    pub(super) fn glance(folder: &Path) -> Result<Vec<Mark>, Fault> {
        store::glance(&folder.join(FILE), rows::marks).map_err(|error| fault("read", folder, error))
    }

    /// The clock was wrong: what the run's time zero really was, in Unix milliseconds, and by how much that differs from what was
    /// thought. Puts all of the run's entries and gaps right; returns how many entries.
    pub fn correct(&self, run: Run, epoch_ms: i64, step_ms: i64) -> Result<u64, Fault> {
        self.change("write to", |change| {
            gaps::shift(change, run, step_ms)?;
            let entries = select(change, "WHERE run = :run", named_params! { ":run": run.0 })?;
            let mut corrected = 0;
            for mut entry in entries {
                let told = is_told(&entry);
                let before = std::mem::replace(&mut entry.start_ms, unix_ms(epoch_ms, entry.base));
                if before != entry.start_ms {
                    rows::put(change, &entry)?;
                    corrected += 1;
                }
                for day in [before, entry.start_ms].into_iter().filter(|_| told) {
                    touch(change, day_of(day))?;
                }
            }
            Ok(corrected)
        })
    }

    /// Days whose gaps, or whose entries that are in the bucket or gone, changed since their manifest was last sent, oldest first,
    /// and the version to be named when it has been.
    pub fn days_due(&self) -> Result<Vec<(Date, u64)>, Fault> {
        self.read(|connection| {
            let mut query = connection.prepare_cached("SELECT day, version FROM day WHERE version > sent ORDER BY day")?;
            query.query_map([], rows::day)?.collect()
        })
    }

    /// What changed after this version of the day was read stays due.
    pub fn day_sent(&self, day: Date, version: u64) -> Result<(), Fault> {
        self.change("write to", |change| {
            let values = named_params! { ":day": day.to_string(), ":version": version as i64 };
            change.execute("UPDATE day SET sent = max(sent, :version) WHERE day = :day", values)?;
            Ok(())
        })
    }

    fn select(&self, rest: &str, values: &[(&str, &dyn rusqlite::ToSql)]) -> Result<Vec<Entry>, Fault> {
        self.read(|connection| select(connection, rest, values))
    }

    fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Fault> {
        query(&self.connection).map_err(|error| fault("read", &self.folder, error))
    }

    /// All of it or nothing.
    fn change<T>(&self, doing: &'static str, work: impl FnOnce(&Transaction) -> rusqlite::Result<T>) -> Result<T, Fault> {
        let run = || {
            // Asks for the right to write at the beginning, where waiting for another's end is possible.
            let change = Transaction::new_unchecked(&self.connection, rusqlite::TransactionBehavior::Immediate)?;
            let done = work(&change)?;
            change.commit()?;
            Ok(done)
        };
        run().map_err(|error| fault(doing, &self.folder, error))
    }
}

fn fault(doing: &'static str, folder: &Path, source: rusqlite::Error) -> Fault {
    Fault::Index { doing, path: folder.join(FILE), source }
}

fn entry_of(connection: &Connection, name: Name) -> rusqlite::Result<Option<Entry>> {
    let mut query = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM segment WHERE name = ?"))?;
    query.query_row([name.to_string()], rows::entry).optional()
}

fn select(connection: &Connection, rest: &str, values: &[(&str, &dyn rusqlite::ToSql)]) -> rusqlite::Result<Vec<Entry>> {
    let mut query = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM segment {rest}"))?;
    query.query_map(values, rows::entry)?.collect()
}

/// A manifest tells of it.
fn is_told(entry: &Entry) -> bool {
    entry.gone || matches!(entry.upload, Upload::Done { .. })
}

fn touch_entry(change: &Connection, name: Name) -> rusqlite::Result<()> {
    match entry_of(change, name)?.filter(is_told) {
        Some(entry) => touch(change, day_of(entry.start_ms)),
        None => Ok(()),
    }
}

/// The day's manifest is to be sent anew.
fn touch(change: &Connection, day: Date) -> rusqlite::Result<()> {
    let sql = "INSERT INTO day (day, version, sent) VALUES (?, 1, 0) ON CONFLICT (day) DO UPDATE SET version = version + 1";
    change.execute(sql, [day.to_string()])?;
    Ok(())
}

#[cfg(test)]
mod tests;
