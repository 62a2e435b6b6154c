//! What an origin has recorded so far, read while it grows: of each tag only what is needed to find it again. A file may end in
//! the middle of a tag, as it does when its writer was killed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use nix::fcntl::{FallocateFlags, fallocate};

use super::support::flv::{self, Tag, Track};

/// FLV's header and the size of no tag before it.
const HEADER: usize = 13;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    pub track: Track,
    pub millis: i64,
    pub keyframe: bool,
    pub hash: u64,
}

impl Mark {
    /// `None` for headers and scripts.
    fn of(tag: &Tag) -> Option<Self> {
        let mark = Self { track: tag.track, millis: i64::from(tag.millis), keyframe: tag.keyframe, hash: tag.hash() };
        tag.media.then_some(mark)
    }
}

/// One file.
#[derive(Debug)]
pub struct Recording {
    pub path: PathBuf,
    file: File,
    unread: Vec<u8>,
    begun: bool,
    /// What has been read is taken out of the file, which keeps its size: for runs that would fill the memory.
    eat: bool,
    /// Bytes from the file's start.
    read: u64,
    pub marks: Vec<Mark>,
    pictures: usize,
    first_picture: Option<Mark>,
    last_picture: Option<Mark>,
}

impl Recording {
    fn open(path: PathBuf, eat: bool) -> Self {
        let file = File::options().read(true).write(eat).open(&path).unwrap();
        Self {
            path,
            file,
            unread: vec![],
            begun: false,
            eat,
            read: 0,
            marks: vec![],
            pictures: 0,
            first_picture: None,
            last_picture: None,
        }
    }

    fn set_eating(&mut self) {
        (self.eat, self.file) = (true, File::options().read(true).write(true).open(&self.path).unwrap());
        self.file.seek(SeekFrom::Start(self.read)).unwrap();
    }

    /// Reads what has been added.
    fn advance(&mut self) {
        let count = self.file.read_to_end(&mut self.unread).unwrap();
        let mut at = 0;
        if !self.begun && self.unread.len() >= HEADER {
            (self.begun, at) = (true, HEADER);
        }
        while self.begun
            && let Some((tag, length)) = self.next(at)
        {
            Mark::of(&tag).into_iter().for_each(|mark| self.note(mark));
            at += length;
        }
        self.unread.drain(..at);
        self.read += count as u64;
        if self.eat && count > 0 {
            let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            fallocate(&self.file, hole, 0, self.read as i64).unwrap();
        }
    }

    fn note(&mut self, mark: Mark) {
        if mark.track == Track::Video {
            self.pictures += 1;
            self.first_picture.get_or_insert(mark);
            self.last_picture = Some(mark);
        }
        self.marks.push(mark);
    }

    fn next(&self, at: usize) -> Option<(Tag, usize)> {
        flv::next_tag(&self.unread[at..]).unwrap_or_else(|fault| panic!("{}: {fault}", self.path.display()))
    }
}

/// All that was recorded at one origin under one key, oldest first.
#[derive(Debug, Default)]
pub struct Shelf {
    pub recordings: Vec<Recording>,
    eat: bool,
}

impl Shelf {
    /// From now on files are emptied as they are read.
    pub fn set_eating(&mut self) {
        self.eat = true;
        self.recordings.iter_mut().for_each(|recording| recording.set_eating());
    }

    /// `paths`: all recordings that there are now, oldest first.
    pub fn look(&mut self, paths: Vec<PathBuf>) {
        for path in paths {
            if !self.recordings.iter().any(|known| known.path == path) {
                self.recordings.push(Recording::open(path, self.eat));
            }
        }
        self.recordings.iter_mut().for_each(Recording::advance);
    }

    pub fn pictures(&self) -> usize {
        self.recordings.iter().map(|recording| recording.pictures).sum()
    }

    pub fn last_picture(&self) -> Option<Mark> {
        self.recordings.iter().rev().find_map(|recording| recording.last_picture)
    }

    /// From the first to the last picture of the newest recording.
    pub fn newest_millis(&self) -> i64 {
        let ends = self.recordings.last().and_then(|newest| newest.first_picture.zip(newest.last_picture));
        ends.map_or(0, |(first, last)| last.millis - first.millis)
    }

    pub fn marks(&self) -> Vec<Vec<Mark>> {
        self.recordings.iter().map(|recording| recording.marks.clone()).collect()
    }
}
