//! An entry of the index for the tests of the upload.

use std::time::Duration;

use crate::archive::index::{Entry, Run, Sha256, Upload};
use crate::recorded::name::Name;
use crate::units::MediaTime;

pub fn entry(file: &str) -> Entry {
    let name = Name::parse_closed(file).expect("a segment's name");
    Entry {
        name,
        start_ms: name.start() * 1000,
        duration: Duration::from_secs(300),
        bytes: 1000,
        frames: 9000,
        dropped_gops: 0,
        run: Run([1; 16]),
        base: MediaTime::ZERO,
        sha256: Sha256([7; 32]),
        upload: Upload::Waiting,
        protected: false,
        gone: false,
    }
}
