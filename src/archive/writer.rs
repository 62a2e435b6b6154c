//! The writer's thread: takes packets, asks the rules where to cut, and does what they say to the disk, one thing at a time.
//!
//! It may be held up by the disk for as long as that takes; it keeps nobody waiting but the reader of the hub behind it. The packets'
//! own time says when to report, to look after the disk and to try again; clocks are read only to tell where the run's time line lies
//! on the wall clock. What has happened is told to the [`catalogue`](super::catalogue), which is never waited for.

mod duties;
mod pause;
mod room;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;

use self::pause::{Course, Pause};
use self::room::Room;
use super::Work;
use super::board::{Board, Loss};
use super::catalogue::{Note, Notes};
use super::disk::Folder;
use super::entry::{Gap, Missing, Run};
use super::epoch::Epoch;
use super::fault::Fault;
use super::fmp4;
use super::open::Open;
use super::origin::Origin;
use super::segment::{Cutter, Losses, Sample, Step};
use crate::clock::MediaClock;
use crate::config;
use crate::media::hub::Item;
use crate::media::packet::{Format, Packet};
use crate::report::{Events, Report};
use crate::status::{self, ArchiveState};
use crate::units::{ByteSize, MediaTime, Span};

/// Segments that join do so to the nanosecond; less than this is no gap.
const NO_GAP: Duration = Duration::from_millis(100);

const NO_ORIGIN: &str = "no leg could send it to an origin";

const STOPPED: &str = "the daemon was stopped";

pub struct Writer {
    config: config::Archive,
    clock: MediaClock,
    run: Run,
    epoch: Epoch,
    events: Events,
    board: Board,
    notes: Notes,
    cutter: Cutter,
    losses: Losses,
    pause: Pause,
    room: Room,
    /// `None` until it has been made ready, and after a fault.
    folder: Option<Folder>,
    open: Option<Open>,
    /// Time of the newest packet.
    now: MediaTime,
    next_look: MediaTime,
    /// Where the pictures end that are on the disk, or the run's first packet; `None` before that.
    recorded_until: Option<MediaTime>,
    /// Something of this run is on the disk.
    has_begun: bool,
    /// What kept it from recording since then, the first of it.
    trouble: Option<String>,
    /// GOPs that were lost before the open segment began.
    told_gops: u64,
}

impl Writer {
    pub fn new(config: config::Archive, run: Run, clock: MediaClock, report: Report<status::Archive>, events: Events) -> Self {
        let (media, wall) = clock.with_wall_clock();
        Self {
            epoch: Epoch::new(media, wall.as_millisecond()),
            clock,
            run,
            cutter: Cutter::new(config.segment),
            notes: Notes::open(&config.directory, run, report.clone(), events.clone()),
            events,
            board: Board::new(report, config.keep_free.bytes()),
            room: Room::new(&config),
            config,
            losses: Losses::default(),
            pause: Pause::default(),
            folder: None,
            open: None,
            now: MediaTime::ZERO,
            next_look: MediaTime::ZERO,
            recorded_until: None,
            has_begun: false,
            trouble: None,
            told_gops: 0,
        }
    }

    /// Until the channel is closed; then the open segment is closed and the index told of it.
    pub(super) fn run(mut self, mut inbox: mpsc::Receiver<Work>) {
        self.start();
        while let Some(work) = inbox.blocking_recv() {
            match work {
                Work::Item(Item::Packet(packet)) => self.take(&packet),
                Work::Item(Item::Lost { packets }) => self.lost(packets),
                Work::NotOnAir(span) => self.not_on_air(span),
            }
        }
        self.stop();
    }

    /// A folder that cannot be used is known before the first packet.
    fn start(&mut self) {
        if let Err(fault) = self.make_ready() {
            self.fail(fault);
        }
        self.board.publish(self.now);
    }

    fn stop(mut self) {
        let steps = self.cutter.finish();
        self.carry_out(steps);
        if self.board.status.state == ArchiveState::Recording {
            self.board.status.state = ArchiveState::Off;
        }
        let cause = match &self.board.worries.fault {
            Some(fault) => format!("{fault}; then {STOPPED}"),
            None => STOPPED.to_owned(),
        };
        self.board.publish(self.now);
        self.notes.finish(cause);
    }

    fn take(&mut self, packet: &Arc<Packet>) {
        self.now = packet.time;
        self.recorded_until.get_or_insert(packet.time);
        self.board.status.dropped_gops += self.losses.look(packet);
        match self.pause.take(packet) {
            Course::Go => self.record(packet),
            Course::Wait { dropped } => self.board.status.dropped_gops += dropped,
            Course::Retry { packets, dropped } => {
                self.board.status.dropped_gops += dropped;
                self.record_all(&packets);
            }
        }
        self.look_after();
        self.board.publish_if_due(self.now);
    }

    fn record(&mut self, packet: &Arc<Packet>) {
        let steps = self.cutter.push(packet);
        self.carry_out(steps);
    }

    /// Until one fails: then they are kept for the next attempt.
    fn record_all(&mut self, packets: &[Arc<Packet>]) {
        for (index, packet) in packets.iter().enumerate() {
            self.record(packet);
            if !self.cutter.is_running() {
                self.board.status.dropped_gops += self.pause.give_back(&packets[index + 1..]);
                return;
            }
        }
    }

    fn lost(&mut self, packets: u64) {
        let slow = format!("the disk under {} was too slow", self.config.directory.display());
        let text = format!("{slow}: {packets} packets are not in the archive");
        self.events.add(format!("archive: {text}; a faster disk is needed"));
        self.board.worries.loss = Some(Loss { at: self.now, text: format!("{text}; use a faster disk") });
        self.trouble.get_or_insert(slow);
        self.losses.lost();
        self.board.status.dropped_gops += self.pause.interrupt();
        self.board.meter.interrupt();
        let steps = self.cutter.finish();
        self.carry_out(steps);
    }

    fn not_on_air(&mut self, span: Span) {
        let unix_ms = |ms: u64| self.epoch.unix_ms(MediaTime::from_millis(ms));
        let (from_ms, until_ms) = (unix_ms(span.from_ms), unix_ms(span.until_ms));
        self.notes.add(Note::Gap(Gap { from_ms, until_ms, missing: Missing::Air, cause: NO_ORIGIN.into() }));
    }

    fn carry_out(&mut self, steps: Vec<Step>) {
        for step in steps {
            let done = match step {
                Step::Begin { format, base } => self.begin(format, base),
                Step::Fragment(samples) => self.write(&samples),
                Step::End => self.end(),
            };
            if let Err(fault) = done {
                self.fail(fault);
                return;
            }
        }
    }

    fn begin(&mut self, format: Arc<Format>, base: MediaTime) -> Result<(), Fault> {
        self.make_ready()?;
        self.make_room(true)?;
        let dropped_gops = self.board.status.dropped_gops - self.told_gops;
        let origin = Origin { run: self.run, base, start_ms: self.epoch.unix_ms(base), dropped_gops };
        let head = fmp4::head(&format, &origin)?;
        let Some(folder) = &self.folder else { return Ok(()) };
        let start = Timestamp::from_millisecond(origin.start_ms).unwrap_or_default();
        let open = Open::begin(folder.begin(start)?, format, origin, &head)?;
        self.events.add(format!("archive: began {}", open.name().closed()));
        self.board.status.file = Some(open.name().part());
        self.board.status.written_bytes += head.len() as u64;
        self.open = Some(open);
        Ok(())
    }

    fn write(&mut self, samples: &[Sample]) -> Result<(), Fault> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let bytes = open.write(samples)?;
        let (is_first, base, end) = (open.fragments() == 1, open.base(), open.end());
        self.board.status.written_bytes += bytes;
        self.board.measure(self.now);
        self.pause.worked();
        if is_first {
            self.tell_gap(base);
        }
        self.recorded_until = Some(end);
        if self.board.status.state != ArchiveState::Recording {
            self.recording();
        }
        Ok(())
    }

    /// Only what the disk has taken counts.
    fn recording(&mut self) {
        self.board.status.state = ArchiveState::Recording;
        if self.board.worries.fault.take().is_some() {
            self.events.add("archive: recording again");
        }
        self.board.hurry(self.now);
    }

    /// The first fragment of a segment is on the disk: what is missing before it is known now.
    fn tell_gap(&mut self, base: MediaTime) {
        self.told_gops = self.board.status.dropped_gops;
        let trouble = self.trouble.take();
        let until = self.recorded_until.unwrap_or(base);
        if !std::mem::replace(&mut self.has_begun, true) {
            self.notes.add(Note::Began { start_ms: self.epoch.unix_ms(until) });
        }
        let missing = base.since(until);
        if missing <= NO_GAP {
            return;
        }
        let cause = trouble.unwrap_or_else(|| "the encoder gave no pictures".into());
        let seconds = missing.as_secs_f64();
        self.board.worries.loss = Some(Loss { at: base, text: format!("{seconds:.1} s are not in the archive: {cause}") });
        let (from_ms, until_ms) = (self.epoch.unix_ms(until), self.epoch.unix_ms(base));
        self.notes.add(Note::Gap(Gap { from_ms, until_ms, missing: Missing::Archive, cause }));
    }

    fn end(&mut self) -> Result<(), Fault> {
        let Some(open) = self.open.take() else { return Ok(()) };
        self.board.status.file = None;
        let base = open.base();
        let entry = open.close(self.epoch)?;
        let (length, bytes) = (entry.duration.as_secs_f64(), ByteSize::from_bytes(entry.bytes));
        self.events.add(format!("archive: closed {}, {length:.1} s, {bytes}", entry.name.closed()));
        self.notes.add(Note::Closed(entry));
        self.board.status.segments += 1;
        self.board.worries.loss.take_if(|loss| base >= loss.at);
        Ok(())
    }

    /// What was being recorded stays as far as it came, and is put in order when the folder is next made ready.
    fn fail(&mut self, fault: Fault) {
        let text = fault.to_string();
        if self.board.worries.fault.as_ref() != Some(&text) {
            self.events.add(format!("archive: {text}"));
        }
        self.trouble.get_or_insert_with(|| text.clone());
        let lost = self.pause.fail(self.now) && self.cutter.is_running();
        self.board.status.dropped_gops += u64::from(lost);
        self.board.status.state = fault.state();
        self.board.status.file = None;
        self.board.worries.fault = Some(text);
        self.open = None;
        if self.folder.take().is_some() {
            self.notes.add(Note::Away);
        }
        self.cutter.reset();
        self.board.meter.interrupt();
        self.board.hurry(self.now);
    }
}

#[cfg(test)]
mod tests;
