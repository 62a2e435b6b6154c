//! The index for those who only read it, perhaps without the right to write beside it: makes, changes and repairs nothing.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{FILE, Index, fault, store};
use crate::archive::fault::Fault;

impl Index {
    /// As it is now; `None` if there is none.
    pub fn look(folder: &Path) -> Result<Option<Self>, Fault> {
        let path = folder.join(FILE);
        if !path.try_exists().map_err(Fault::io("look at", &path))? {
            return Ok(None);
        }
        // SQLite has one word for all that keeps it from opening a file.
        std::fs::File::open(&path).map_err(Fault::io("read", &path))?;
        let connection = open(&path).map_err(|error| fault("read", folder, error))?;
        let inode = path.metadata().map_err(Fault::io("look at", path))?.ino();
        Ok(Some(Self { folder: folder.to_owned(), connection, inode }))
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    // Without a log nobody has it open, and it can be read without the files that SQLite would make beside it (3.4 of its "URI
    // Filenames": `immutable`).
    let immutable = if path.with_extension("sqlite3-wal").exists() { "" } else { "?immutable=1" };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(format!("file:{}{immutable}", encoded(path)), flags)?;
    connection.busy_timeout(store::BUSY)?;
    Ok(connection)
}

/// As a URI has it (RFC 3986, 2.1).
fn encoded(path: &Path) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    let one = |byte: &u8| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    path.as_os_str().as_bytes().iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::index::{Gap, Missing};

    fn gap() -> Gap {
        Gap { from_ms: 1, until_ms: 2, missing: Missing::Air, cause: "both legs were down".into() }
    }

    fn files(folder: &Path) -> Vec<String> {
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        files
    }

    #[test]
    fn it_reads_what_is_there_and_makes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("a folder? 100 %#");
        std::fs::create_dir(&folder).unwrap();
        assert!(Index::look(&folder).unwrap().is_none());
        let index = Index::open(&folder).unwrap();
        index.add_gap(&gap()).unwrap();
        assert_eq!(Index::look(&folder).unwrap().unwrap().gaps(0, 9).unwrap(), [gap()], "while another has it open");
        drop(index);
        let before = files(&folder);
        let look = Index::look(&folder).unwrap().unwrap();
        assert_eq!(look.gaps(0, 9).unwrap(), [gap()]);
        assert!(look.add_gap(&gap()).is_err());
        drop(look);
        assert_eq!(files(&folder), before);
    }
}
