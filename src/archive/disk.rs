//! The folder of segments: a thin shell over files. What is written is synced; what is closed is renamed.
//!
//! `NAME.mp4.part` is being written, `NAME.mp4` is whole. It decides nothing about time or space.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::archive::fmp4;
use crate::archive::retention::Closed;
use crate::units::ByteSize;

const PART: &str = "part";

/// Seconds from MP4's epoch (1904) to Unix's.
const EPOCH_OF_1904_S: i64 = 2_082_844_800;

/// The open segment.
pub struct Segment {
    file: File,
    part: PathBuf,
    whole: PathBuf,
}

/// A moment of wall time, as the name of a segment and as MP4 counts it.
pub struct Moment {
    pub name: String,
    pub since_1904_s: u64,
}

/// Wall time is an annotation: it names a segment, nothing else depends on it.
#[expect(clippy::disallowed_methods, reason = "the one place where the archive reads wall time")]
pub fn moment() -> Moment {
    let now = jiff::Timestamp::now();
    let name = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    Moment { name, since_1904_s: now.as_second().saturating_add(EPOCH_OF_1904_S).max(0) as u64 }
}

impl Segment {
    /// Makes the folder if need be, and a file whose name no other has.
    pub fn create(folder: &Path, name: &str) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        for number in 0..1000 {
            let name = if number == 0 { format!("{name}.mp4") } else { format!("{name}-{number}.mp4") };
            let (whole, part) = (folder.join(&name), folder.join(format!("{name}.{PART}")));
            if whole.exists() {
                continue;
            }
            match OpenOptions::new().write(true).create_new(true).open(&part) {
                Ok(file) => return Ok(Self { file, part, whole }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("a thousand segments of the same second"))
    }

    /// The file's path while it is open.
    pub fn path(&self) -> &Path {
        &self.part
    }

    /// Returns when the bytes are on the disk.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_data()
    }

    pub fn close(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.part, &self.whole)?;
        sync_folder(&self.whole)
    }
}

/// Segments that are whole, oldest first.
pub fn closed(folder: &Path) -> io::Result<Vec<Closed>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".mp4") {
            let about = entry.metadata()?;
            let age = about.modified().ok().and_then(|time| time.elapsed().ok()).unwrap_or(Duration::ZERO);
            found.push(Closed { name, bytes: about.len(), age });
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

pub fn delete(folder: &Path, name: &str) -> io::Result<()> {
    fs::remove_file(folder.join(name))
}

/// Space that the daemon's user may fill.
pub fn free(folder: &Path) -> io::Result<ByteSize> {
    let about = nix::sys::statvfs::statvfs(folder)?;
    Ok(ByteSize::from_bytes(about.blocks_available() * about.fragment_size()))
}

/// What became of a segment that an earlier life left open.
#[derive(Debug, PartialEq, Eq)]
pub enum Recovered {
    /// Closed with so many bytes; so many after its last whole fragment were cut off.
    Saved { name: String, bytes: u64, cut: u64 },
    /// There was not one whole fragment in it.
    Empty { name: String },
}

/// Closes what an earlier life left open: cut behind the last whole fragment, then renamed.
pub fn recover(folder: &Path) -> io::Result<Vec<Recovered>> {
    let mut recovered = Vec::new();
    for entry in fs::read_dir(folder)? {
        let part = entry?.path();
        if part.extension().is_some_and(|extension| extension == PART) {
            recovered.push(recover_one(&part)?);
        }
    }
    Ok(recovered)
}

fn recover_one(part: &Path) -> io::Result<Recovered> {
    let mut file = OpenOptions::new().read(true).write(true).open(part)?;
    let length = file.metadata()?.len();
    let head_at = |at: u64| {
        let mut head = [0; 8];
        file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut head)).ok().map(|()| head)
    };
    let whole = part.with_extension("");
    let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some(bytes) = fmp4::whole_length(length, head_at) else {
        fs::remove_file(part)?;
        return Ok(Recovered::Empty { name });
    };
    file.set_len(bytes)?;
    file.sync_all()?;
    fs::rename(part, &whole)?;
    sync_folder(&whole)?;
    Ok(Recovered::Saved { name, bytes, cut: length - bytes })
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
