//! The open segment: its file, and what its entry in the index will say, gathered while it is written.

use std::sync::Arc;

use ring::digest;

use super::disk::OpenSegment;
use super::entry::{Entry, Upload};
use super::epoch::Epoch;
use super::fault::Fault;
use super::fmp4;
use super::name::Name;
use super::origin::Origin;
use super::rebuild::sha256;
use super::segment::Sample;
use crate::media::packet::{Format, Track};
use crate::units::MediaTime;

pub struct Open {
    segment: OpenSegment,
    format: Arc<Format>,
    origin: Origin,
    /// Of the last picture that was written.
    end: MediaTime,
    fragments: u32,
    bytes: u64,
    frames: u64,
    hash: digest::Context,
}

impl Open {
    pub fn begin(segment: OpenSegment, format: Arc<Format>, origin: Origin, head: &[u8]) -> Result<Self, Fault> {
        let hash = digest::Context::new(&digest::SHA256);
        let mut open = Self { segment, format, end: origin.base, origin, fragments: 0, bytes: 0, frames: 0, hash };
        open.append(head)?;
        Ok(open)
    }

    /// One fragment; returns its bytes when the disk says that it has them.
    pub fn write(&mut self, samples: &[Sample]) -> Result<u64, Fault> {
        let bytes = fmp4::fragment(&self.format, self.origin.base, self.fragments + 1, samples)?;
        self.append(&bytes)?;
        self.fragments += 1;
        let pictures = samples.iter().filter(|sample| sample.packet.track == Track::Video);
        for picture in pictures {
            self.frames += 1;
            self.end = picture.end;
        }
        Ok(bytes.len() as u64)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.segment.append(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    pub fn name(&self) -> Name {
        self.segment.name()
    }

    pub fn base(&self) -> MediaTime {
        self.origin.base
    }

    pub fn end(&self) -> MediaTime {
        self.end
    }

    pub fn fragments(&self) -> u32 {
        self.fragments
    }

    /// A file that was deleted or lies under a new mount takes bytes for ever without a word.
    pub fn check(&self) -> Result<(), Fault> {
        self.segment.check()
    }

    /// Gives the file its name; returns its entry.
    pub fn close(self, epoch: Epoch) -> Result<Entry, Fault> {
        let name = self.segment.name();
        self.segment.close()?;
        Ok(Entry {
            name,
            start_ms: epoch.unix_ms(self.origin.base),
            duration: fmp4::length(&self.format, self.origin.base, self.end),
            bytes: self.bytes,
            frames: self.frames,
            dropped_gops: self.origin.dropped_gops,
            run: self.origin.run,
            base: self.origin.base,
            sha256: sha256(self.hash),
            upload: Upload::Waiting,
            protected: false,
            gone: false,
        })
    }
}
