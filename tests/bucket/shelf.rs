//! An archive's folder with segments that were never recorded: files of chance with an index that knows them.

#![allow(dead_code, reason = "each program uses its own part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use onaird::archive::index::{Entry, Index, Run, Sha256, Upload};
use onaird::recorded::name::Name;
use onaird::units::MediaTime;

/// 2026-11-23T22:00:00Z: some segments are of that day, some of the next.
pub const BEGIN: i64 = 1_795_471_200;

/// Seconds from one segment to the next.
pub const STEP: i64 = 60;

pub struct Shelf {
    pub folder: PathBuf,
    pub index: Index,
    pub names: Vec<Name>,
}

impl Shelf {
    /// With a segment of each of these sizes.
    pub fn fill(folder: &Path, sizes: impl IntoIterator<Item = usize>) -> Self {
        fs::create_dir_all(folder).unwrap();
        let mut shelf = Self { folder: folder.to_owned(), index: Index::open(folder).unwrap(), names: Vec::new() };
        sizes.into_iter().for_each(|bytes| shelf.add(bytes));
        shelf
    }

    pub fn add(&mut self, bytes: usize) {
        let number = self.names.len() as i64;
        let start = BEGIN + number * STEP;
        let name = Name::new(jiff::Timestamp::from_second(start).unwrap());
        let mut random = fastrand::Rng::with_seed(start as u64);
        let content: Vec<u8> = std::iter::repeat_with(|| random.u64(..).to_le_bytes()).flatten().take(bytes).collect();
        fs::write(self.folder.join(name.closed()), &content).unwrap();
        let entry = Entry {
            name,
            start_ms: start * 1000,
            duration: Duration::from_secs(STEP as u64),
            bytes: bytes as u64,
            frames: 30 * STEP as u64,
            dropped_gops: 0,
            run: Run([5; 16]),
            base: MediaTime::from_millis((number * STEP * 1000) as u64),
            sha256: sha256(&content),
            upload: Upload::Waiting,
            protected: false,
            gone: false,
        };
        self.index.put(&entry).unwrap();
        self.names.push(name);
    }

    pub fn path(&self, number: usize) -> PathBuf {
        self.folder.join(self.names[number].closed())
    }

    pub fn entry(&self, number: usize) -> Entry {
        self.index.get(self.names[number]).unwrap().unwrap()
    }

    /// All that can be is in the bucket, manifests included.
    pub fn is_copied(&self) -> bool {
        self.index.upload_counts().unwrap().0 == 0 && self.index.days_due().unwrap().is_empty()
    }
}

pub fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().try_into().unwrap())
}
