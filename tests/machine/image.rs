//! A disk image on the host: made, copied, written to as a log says, repaired, and read without being mounted.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use onaird::archive::recover;

use crate::support::mp4::Movie;

/// An empty ext4 of so many MiB, with nothing left to be written later.
pub fn make(image: &Path, mib: u64) {
    File::create(image).unwrap().set_len(mib << 20).unwrap();
    tool("mkfs.ext4", &["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", text(image)], 0);
}

/// A copy with its holes.
pub fn copy(from: &Path, to: &Path) {
    tool("cp", &["--sparse=always", text(from), text(to)], 0);
}

/// Writes stretches of a log to their places.
pub fn write(image: &Path, log: &[u8], writes: &[(u64, Range<usize>)]) {
    let file = File::options().write(true).open(image).unwrap();
    writes.iter().for_each(|(at, data)| file.write_all_at(&log[data.clone()], *at).unwrap());
}

/// What is in it after a power cut, as a kernel finds it: the journal is played back. The files come into `folder`.
pub fn unpack(image: &Path, folder: &Path) -> Vec<PathBuf> {
    // 1: something was put in order.
    tool("e2fsck", &["-f", "-y", text(image)], 1);
    fs::create_dir_all(folder).unwrap();
    tool("debugfs", &["-R", &format!("rdump / {}", text(folder)), text(image)], 0);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    files
}

/// How many fragments of a segment are saved: all of a closed one, and what recovery leaves of an open one.
pub fn fragments(segment: &Path) -> Result<usize, String> {
    let mut bytes = fs::read(segment).unwrap();
    if text(segment).ends_with(".part") {
        let sound = recover::sound(&mut std::io::Cursor::new(&bytes)).unwrap().map_or(0, |sound| sound.bytes);
        bytes.truncate(sound as usize);
    }
    if bytes.is_empty() {
        return Ok(0);
    }
    let movie = Movie::parse(&bytes)?;
    match (movie.rest, &movie.faults()[..]) {
        (0, []) => Ok(movie.fragments.len()),
        (rest, faults) => Err(format!("{}: {rest} bytes at its end are no fragment; {faults:?}", segment.display())),
    }
}

fn tool(program: &str, arguments: &[&str], worst: i32) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let well = output.status.code().is_some_and(|code| code <= worst);
    assert!(well, "{program} {arguments:?}: {}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
