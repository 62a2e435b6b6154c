//! The writer: a thread that may wait for the disk, so that nobody else has to.
//!
//! It takes acts in order, writes and syncs, deletes what must go, and says how it stands. When the disk refuses, it drops
//! the segment, says why, and asks for a new one at the next keyframe after [`RETRY`]; until then it ignores what comes.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::archive::disk::{self, Recovered, Segment};
use crate::archive::fmp4::{Muxer, Sample};
use crate::archive::retention;
use crate::archive::segment::{Act, FRAGMENT};
use crate::clock::MediaClock;
use crate::config;
use crate::report::{Events, Report};
use crate::status::{self, ArchiveState};
use crate::units::{ByteSize, MediaTime};

/// Pause before a disk that refused is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Fragments between two looks at the space that is left: five seconds.
const LOOK_EVERY: u32 = 10;

pub struct Writer {
    config: config::Archive,
    report: Report<status::Archive>,
    events: Events,
    clock: MediaClock,
    /// Set while a new segment is wanted.
    anew: Arc<AtomicBool>,
    open: Option<Open>,
    retry_at: MediaTime,
    fragments: u32,
    rate: Rate,
    written: u64,
}

struct Open {
    segment: Segment,
    muxer: Muxer,
}

impl Writer {
    pub fn new(
        config: config::Archive,
        report: Report<status::Archive>,
        events: Events,
        clock: MediaClock,
        anew: Arc<AtomicBool>,
    ) -> Self {
        let retry_at = MediaTime::ZERO;
        Self { config, report, events, clock, anew, open: None, retry_at, fragments: 0, rate: Rate::default(), written: 0 }
    }

    /// Works until the sender is gone.
    pub fn run(mut self, mut acts: mpsc::Receiver<Act>) {
        self.recover();
        while let Some(act) = acts.blocking_recv() {
            if let Err(error) = self.act(act) {
                self.failed(&error);
            }
            self.anew.store(self.open.is_none() && self.clock.now() >= self.retry_at, Ordering::Relaxed);
        }
        self.report.update(|archive| *archive = status::Archive { state: ArchiveState::Off, file: None, ..archive.clone() });
    }

    fn act(&mut self, act: Act) -> io::Result<()> {
        match act {
            Act::Open { .. } if self.clock.now() < self.retry_at => Ok(()),
            Act::Open { format, start } => self.open(&format, start),
            Act::Fragment { video, audio } => self.write(&video, &audio),
            Act::Close => self.close(),
        }
    }

    fn open(&mut self, format: &crate::media::packet::Format, start: MediaTime) -> io::Result<()> {
        let moment = disk::moment();
        let (muxer, header) = Muxer::new(format, start, moment.since_1904_s).map_err(io::Error::other)?;
        let mut segment = Segment::create(&self.config.directory, &moment.name)?;
        segment.append(&header)?;
        let file = segment.path().display().to_string();
        self.written += header.len() as u64;
        self.open = Some(Open { segment, muxer });
        self.tidy()?;
        self.report.update(|archive| {
            archive.state = ArchiveState::Recording;
            archive.file = Some(file.clone());
            archive.last_error = None;
        });
        self.events.add(format!("recording {file}"));
        Ok(())
    }

    fn write(&mut self, video: &[Sample], audio: &[Sample]) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let bytes = open.muxer.fragment(video, audio).map_err(io::Error::other)?;
        open.segment.append(&bytes)?;
        self.written += bytes.len() as u64;
        self.rate.add(bytes.len() as u64);
        self.fragments += 1;
        if self.fragments.is_multiple_of(LOOK_EVERY) {
            self.tidy()?;
        }
        self.report.update(|archive| archive.written_bytes = self.written);
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        open.segment.close()?;
        self.report.update(|archive| archive.file = None);
        self.tidy()
    }

    /// Deletes what must go and says what is left.
    fn tidy(&mut self) -> io::Result<()> {
        let config = &self.config;
        let closed = disk::closed(&config.directory)?;
        let doomed = retention::doomed(&closed, disk::free(&config.directory)?, config.keep_free, config.max_age);
        for name in &doomed {
            self.events.add(match disk::delete(&config.directory, name) {
                Ok(()) => format!("archive: {name} deleted, the oldest, to keep {} free", config.keep_free),
                Err(error) => format!("archive: {name} should go and cannot be deleted: {error}"),
            });
        }
        let free = disk::free(&config.directory)?;
        let seconds_left = self.rate.seconds_in(free.bytes().saturating_sub(config.keep_free.bytes()));
        self.report.update(|archive| {
            archive.free_bytes = free.bytes();
            archive.seconds_left = seconds_left;
            archive.segments = (closed.len() - doomed.len()) as u64;
        });
        Ok(())
    }

    fn failed(&mut self, error: &io::Error) {
        // What was synced stays in the `.part` and is closed at the next start of a segment.
        self.open = None;
        self.retry_at = self.clock.now() + RETRY;
        let full = error.kind() == io::ErrorKind::StorageFull;
        let text = sentence(error, &self.config.directory);
        let mut news = false;
        self.report.update(|archive| {
            news = archive.last_error.as_ref() != Some(&text);
            archive.state = if full { ArchiveState::Full } else { ArchiveState::Failed };
            archive.file = None;
            archive.last_error = Some(text.clone());
        });
        if news {
            self.events.add(format!("archive: {text}"));
        }
        self.recover();
    }

    /// Closes segments that were left open.
    fn recover(&self) {
        for recovered in disk::recover(&self.config.directory).unwrap_or_default() {
            self.events.add(match recovered {
                Recovered::Saved { name, bytes, cut } => {
                    format!(
                        "archive: {name} was left open and is closed now: {} saved, {cut} bytes of a torn fragment cut off",
                        ByteSize::from_bytes(bytes)
                    )
                }
                Recovered::Empty { name } => format!("archive: {name} was left open with nothing in it and is removed"),
            });
        }
    }
}

fn sentence(error: &io::Error, directory: &Path) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => "let the user onaird write there",
        io::ErrorKind::StorageFull => "free some space or raise `keep_free`",
        io::ErrorKind::ReadOnlyFilesystem => "the disk has become read-only: check it",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => "it must be a folder; correct `archive.directory`",
        _ => "check the disk",
    };
    format!("{} cannot be written: {error}; {remedy}", directory.display())
}

/// Bytes per second of media, over about the last minute.
#[derive(Default)]
struct Rate(Option<f64>);

impl Rate {
    fn add(&mut self, fragment_bytes: u64) {
        const WEIGHT: f64 = 1.0 / 120.0;
        let rate = fragment_bytes as f64 / FRAGMENT.as_secs_f64();
        self.0 = Some(self.0.map_or(rate, |known| known + (rate - known) * WEIGHT));
    }

    fn seconds_in(&self, bytes: u64) -> Option<u64> {
        self.0.filter(|rate| *rate >= 1.0).map(|rate| (bytes as f64 / rate) as u64)
    }
}
