//! The index's file: opened, made, or put aside if it is damaged. It knows no segments.
//!
//! ```text
//! open ──sound──▶ in use
//!   └──damaged──▶ renamed (with its -wal and -shm) ──▶ an empty one is made
//! ```

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::clock::wall_clock;

/// How long a change waits for another program's.
pub const BUSY: Duration = Duration::from_secs(5);

const GLANCE: Duration = Duration::from_millis(200);

/// Of the tables below; in `user_version`.
const VERSION: i64 = 1;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS segment (
        name TEXT PRIMARY KEY,
        start_ms INTEGER NOT NULL,
        duration_ns INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        frames INTEGER NOT NULL,
        dropped_gops INTEGER NOT NULL,
        run BLOB NOT NULL,
        base_ns INTEGER NOT NULL,
        sha256 BLOB NOT NULL,
        upload TEXT NOT NULL,
        object TEXT,
        upload_id TEXT,
        protected INTEGER NOT NULL,
        gone INTEGER NOT NULL
    );
    CREATE INDEX IF NOT EXISTS segment_start ON segment (start_ms);
    CREATE INDEX IF NOT EXISTS segment_run ON segment (run);
    CREATE TABLE IF NOT EXISTS gap (
        from_ms INTEGER NOT NULL,
        until_ms INTEGER NOT NULL,
        missing TEXT NOT NULL,
        cause TEXT NOT NULL,
        from_run BLOB,
        until_run BLOB
    );
    CREATE INDEX IF NOT EXISTS gap_from ON gap (from_ms);
    CREATE TABLE IF NOT EXISTS day (day TEXT PRIMARY KEY, version INTEGER NOT NULL, sent INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS memo (key TEXT PRIMARY KEY, value BLOB NOT NULL);
    PRAGMA user_version = 1;
";

pub fn open(path: &Path) -> rusqlite::Result<Connection> {
    match open_sound(path) {
        Err(error) if is_damage(&error) => {
            // If it cannot be moved it stays what it is, and the next attempt says so.
            put_aside(path).map_err(|moving| words(format!("it is damaged ({error}) and cannot be put aside: {moving}")))?;
            open_sound(path)
        }
        opened => opened,
    }
}

fn open_sound(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match version {
        0 => make(&connection, path)?,
        VERSION => {}
        newer => return Err(words(format!("it is of version {newer}, and this program knows {VERSION}: use a newer one"))),
    }
    let check: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if check == "ok" { Ok(connection) } else { Err(damage(check)) }
}

/// Reads from an index that is there already, and does not wait for it.
pub fn glance<T>(path: &Path, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(GLANCE)?;
    read(&connection)
}

fn make(connection: &Connection, path: &Path) -> rusqlite::Result<()> {
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {TABLES} COMMIT;"))?;
    // Best effort: whoever owns the folder is to own the index too, even if root was the first to ask for it.
    let _ = give_to_owner_of_folder(path);
    Ok(())
}

fn give_to_owner_of_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/")).metadata()?;
    for file in companions(path).filter(|file| file.exists()) {
        if file.metadata()?.uid() != folder.uid() {
            std::os::unix::fs::chown(&file, Some(folder.uid()), Some(folder.gid()))?;
        }
    }
    Ok(())
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn damage(text: String) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(text))
}

fn words(text: String) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ERROR), Some(text))
}

/// The file, its log and its shared memory.
fn companions(path: &Path) -> impl Iterator<Item = PathBuf> {
    ["", "-wal", "-shm"].into_iter().map(|end| with_end(path, end))
}

fn put_aside(path: &Path) -> io::Result<()> {
    let stamp = wall_clock().strftime("%Y%m%dT%H%M%SZ");
    for file in companions(path).filter(|file| file.exists()) {
        fs::rename(&file, with_end(&file, &format!(".damaged-{stamp}")))?;
    }
    Ok(())
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// The right to write of all, or that of the owner back.
pub fn set_read_only(path: &Path, read_only: bool) -> io::Result<()> {
    let mode = path.metadata()?.permissions().mode();
    let mode = if read_only { mode & !0o222 } else { mode | 0o200 };
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// True of a file that is protected, whatever an index says.
pub fn is_read_only(metadata: &fs::Metadata) -> bool {
    metadata.permissions().mode() & 0o222 == 0
}
