//! The writer's thread: takes packets, asks the rules where to cut, and does what they say to the disk, one thing at a time.
//!
//! It may be held up by the disk for as long as that takes; it keeps nobody waiting but the reader of the hub behind it. It reads
//! no monotonic clock: the packets' own time says when to report, to look after the disk and to try again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::board::{Board, Loss};
use super::disk::{Folder, Leftover, OpenSegment};
use super::fault::Fault;
use super::fmp4;
use super::origin::Origin;
use super::retention::{MIN_FREE, Rule};
use super::segment::{Cutter, Losses, Sample, Step};
use crate::clock::wall_clock;
use crate::config;
use crate::media::hub::Item;
use crate::media::packet::{Format, Packet};
use crate::report::{Events, Report};
use crate::status::{self, ArchiveState};
use crate::units::{ByteSize, MediaTime};

/// After a fault: until the next keyframe after this, which makes less than 5 s.
const RETRY: Duration = Duration::from_secs(2);

const LOOK_AFTER: Duration = Duration::from_secs(1);

pub struct Writer {
    config: config::Archive,
    rule: Rule,
    events: Events,
    board: Board,
    cutter: Cutter,
    losses: Losses,
    /// `None` until it has been made ready, and after a fault.
    folder: Option<Folder>,
    open: Option<Open>,
    /// Time of the newest packet.
    now: MediaTime,
    /// After a fault nothing is done before this.
    pause_until: Option<MediaTime>,
    next_look: MediaTime,
}

struct Open {
    segment: OpenSegment,
    format: Arc<Format>,
    base: MediaTime,
    /// End of the last sample that was written.
    end: MediaTime,
    fragments: u32,
    bytes: u64,
    /// Unix seconds.
    wall: i64,
}

impl Writer {
    pub fn new(config: config::Archive, report: Report<status::Archive>, events: Events) -> Self {
        Self {
            rule: Rule { keep_free: config.keep_free.bytes(), max_age: config.max_age },
            cutter: Cutter::new(config.segment),
            events,
            board: Board::new(report, config.keep_free.bytes()),
            config,
            losses: Losses::default(),
            folder: None,
            open: None,
            now: MediaTime::ZERO,
            pause_until: None,
            next_look: MediaTime::ZERO,
        }
    }

    /// Until the channel is closed; then the open segment is closed.
    pub fn run(mut self, mut items: mpsc::Receiver<Item>) {
        self.start();
        while let Some(item) = items.blocking_recv() {
            match item {
                Item::Packet(packet) => self.take(&packet),
                Item::Lost { packets } => self.lost(packets),
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

    fn stop(&mut self) {
        let steps = self.cutter.finish();
        self.carry_out(steps);
        if self.board.status.state == ArchiveState::Recording {
            self.board.status.state = ArchiveState::Off;
        }
        self.board.publish(self.now);
    }

    fn take(&mut self, packet: &Arc<Packet>) {
        self.now = packet.time;
        self.board.status.dropped_gops += self.losses.look(packet);
        if self.pausing(packet) {
            self.board.status.dropped_gops += u64::from(packet.keyframe);
        } else {
            let steps = self.cutter.push(packet);
            self.carry_out(steps);
            self.look_after();
        }
        self.board.publish_if_due(self.now);
    }

    /// A pause ends at a keyframe, with which the next segment begins. A time line that jumped back ends it too.
    fn pausing(&mut self, packet: &Packet) -> bool {
        let Some(until) = self.pause_until else { return false };
        let over = packet.time >= until || until.since(packet.time) > RETRY;
        if over && packet.keyframe {
            self.pause_until = None;
        }
        self.pause_until.is_some()
    }

    fn lost(&mut self, packets: u64) {
        let text =
            format!("the disk under {} was too slow: {packets} packets are not in the archive", self.config.directory.display());
        self.events.add(format!("archive: {text}; a faster disk is needed"));
        self.board.worries.loss = Some(Loss { at: self.now, text: format!("{text}; use a faster disk") });
        self.losses.lost();
        self.board.meter.interrupt();
        let steps = self.cutter.finish();
        self.carry_out(steps);
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
        let now = wall_clock();
        self.make_ready()?;
        self.make_room(now.as_second(), true)?;
        let head = fmp4::head(&format, &Origin::of_second(now.as_second()))?;
        let Some(folder) = &self.folder else { return Ok(()) };
        let mut segment = folder.begin(now)?;
        segment.append(&head)?;
        self.events.add(format!("archive: began {}", segment.name().closed()));
        self.board.status.file = Some(segment.name().part());
        self.board.status.written_bytes += head.len() as u64;
        let bytes = head.len() as u64;
        self.open = Some(Open { segment, format, base, end: base, fragments: 0, bytes, wall: now.as_second() });
        Ok(())
    }

    fn write(&mut self, samples: &[Sample]) -> Result<(), Fault> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let bytes = fmp4::fragment(&open.format, open.base, open.fragments + 1, samples)?;
        open.segment.append(&bytes)?;
        open.fragments += 1;
        open.bytes += bytes.len() as u64;
        open.end = samples.iter().map(|sample| sample.end).max().unwrap_or(open.end);
        self.board.status.written_bytes += bytes.len() as u64;
        self.board.measure(self.now);
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

    fn end(&mut self) -> Result<(), Fault> {
        let Some(open) = self.open.take() else { return Ok(()) };
        self.board.status.file = None;
        let file = open.segment.name().closed();
        open.segment.close()?;
        let (length, bytes) = (open.end.since(open.base), ByteSize::from_bytes(open.bytes));
        self.events.add(format!("archive: closed {file}, {:.1} s, {bytes}", length.as_secs_f64()));
        self.board.status.segments += 1;
        self.board.worries.loss.take_if(|loss| open.base > loss.at);
        Ok(())
    }

    /// The folder stands and nothing in it is left open.
    fn make_ready(&mut self) -> Result<(), Fault> {
        if self.folder.is_some() {
            return Ok(());
        }
        let folder = Folder::open(&self.config.directory)?;
        for leftover in folder.repair()? {
            self.tell(leftover);
        }
        self.board.status.segments = folder.segments()?.len() as u64;
        self.board.status.free_bytes = folder.free()?;
        self.folder = Some(folder);
        Ok(())
    }

    fn tell(&self, leftover: Leftover) {
        self.events.add(match leftover {
            Leftover::Saved { file, bytes, cut: 0 } => format!("archive: saved {file}, {}", ByteSize::from_bytes(bytes)),
            Leftover::Saved { file, bytes, cut } => {
                format!("archive: saved {file}, {} without {cut} bytes of a torn end", ByteSize::from_bytes(bytes))
            }
            Leftover::Deleted { file } => format!("archive: deleted {file}: it holds no picture"),
            Leftover::Stuck(fault) => format!("archive: {fault}"),
        });
    }

    /// Once a second: is the file still there, is there room.
    fn look_after(&mut self) {
        if self.now < self.next_look && self.next_look.since(self.now) <= LOOK_AFTER {
            return;
        }
        self.next_look = self.now + LOOK_AFTER;
        let Some(open) = &self.open else { return };
        let wall = open.wall;
        if let Err(fault) = open.segment.check().and_then(|()| self.make_room(wall, false)) {
            self.fail(fault);
        }
    }

    /// `begins`: a segment is about to begin, which is when age is looked at, and when there must be room at all.
    fn make_room(&mut self, now: i64, begins: bool) -> Result<(), Fault> {
        let Some(folder) = &self.folder else { return Ok(()) };
        self.board.status.free_bytes = folder.free()?;
        if begins || self.board.status.free_bytes < self.rule.wanted() {
            let segments = folder.segments()?;
            let open = self.open.as_ref().map(|open| open.segment.name());
            let going = self.rule.expendable(&segments, open, self.board.status.free_bytes, now);
            self.board.status.segments = (segments.len() - going.len()) as u64;
            for name in going {
                folder.delete(name)?;
                self.events.add(format!("archive: deleted {}, the oldest", name.closed()));
            }
            self.board.status.free_bytes = folder.free()?;
        }
        self.board.worries.space = (self.board.status.free_bytes < self.rule.keep_free).then(|| self.too_little_space());
        match begins && self.board.status.free_bytes < MIN_FREE {
            true => Err(Fault::Full { path: self.config.directory.clone() }),
            false => Ok(()),
        }
    }

    fn too_little_space(&self) -> String {
        let (free, keep) = (ByteSize::from_bytes(self.board.status.free_bytes), self.config.keep_free);
        let path = self.config.directory.display();
        format!(
            "only {free} are free in {path}, less than the {keep} to be kept, and no older segment is left: delete other files"
        )
    }

    /// What was being recorded stays as far as it came, and is put in order when the folder is next made ready.
    fn fail(&mut self, fault: Fault) {
        let text = fault.to_string();
        if self.board.worries.fault.as_ref() != Some(&text) {
            self.events.add(format!("archive: {text}"));
        }
        self.board.status.dropped_gops += u64::from(self.cutter.is_running());
        self.board.status.state = fault.state();
        self.board.status.file = None;
        self.board.worries.fault = Some(text);
        self.open = None;
        self.folder = None;
        self.cutter.reset();
        self.board.meter.interrupt();
        self.pause_until = Some(self.now + RETRY);
        self.board.hurry(self.now);
    }
}
