//! What the writer does beside writing: puts the folder in order, keeps room in it, and looks once a second whether disk and clock are
//! what they were. Faults are handed to the writer, which alone decides what they mean for recording.

use std::time::Duration;

use super::Writer;
use crate::archive::board::Loss;
use crate::archive::catalogue::Note;
use crate::archive::disk::{Folder, Leftover};
use crate::archive::fault::Fault;
use crate::archive::open::Open;
use crate::archive::retention::{Going, MIN_FREE};
use crate::units::ByteSize;

const LOOK_AFTER: Duration = Duration::from_secs(1);

impl Writer {
    /// The folder stands and nothing in it is left open.
    pub(super) fn make_ready(&mut self) -> Result<(), Fault> {
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
        self.notes.add(Note::Ready);
        Ok(())
    }

    fn tell(&self, leftover: Leftover) {
        self.events.add(match leftover {
            Leftover::Saved { file, sound, cut } => {
                let (seconds, bytes) = (sound.duration.as_secs_f64(), ByteSize::from_bytes(sound.bytes));
                let lost = if cut == 0 { "nothing of it is lost".into() } else { format!("{cut} bytes of a torn end are lost") };
                format!("archive: saved {file}, {seconds:.1} s, {bytes}; {lost}")
            }
            Leftover::Deleted { file } => format!("archive: deleted {file}: it holds no picture"),
            Leftover::Stuck(fault) => format!("archive: {fault}"),
        });
    }

    /// Once a second: is the clock what it was, is the file still there, is there room.
    pub(super) fn look_after(&mut self) {
        if self.now < self.next_look && self.next_look.since(self.now) <= LOOK_AFTER {
            return;
        }
        self.next_look = self.now + LOOK_AFTER;
        let (media, wall) = self.clock.with_wall_clock();
        if let Some(step) = self.epoch.look(media, wall.as_millisecond()) {
            self.notes.add(Note::Stepped(step));
        }
        let Some(open) = &self.open else { return };
        if let Err(fault) = open.check().and_then(|()| self.make_room(false)) {
            self.fail(fault);
        }
    }

    /// `begins`: a segment is about to begin, which is when there must be room at all.
    pub(super) fn make_room(&mut self, begins: bool) -> Result<(), Fault> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let open = self.open.as_ref().map(Open::name);
        let unix_ms = self.epoch.unix_ms(self.clock.now());
        let outcome = self.room.make(folder, open, self.now, unix_ms, begins)?;
        self.board.status.free_bytes = outcome.free;
        if let Some((segments, stock)) = outcome.found {
            (self.board.status.segments, self.board.stock) = (segments, stock);
        }
        outcome.deleted.iter().for_each(|going| self.deleted(*going));
        self.board.worries.space = self.room.shortage(outcome.free);
        match begins && outcome.free < MIN_FREE {
            true => Err(Fault::Full { path: self.config.directory.clone() }),
            false => Ok(()),
        }
    }

    fn deleted(&mut self, going: Going) {
        let Going { name, lost } = going;
        self.notes.add(Note::Deleted { name, lost });
        if !lost {
            return self.events.add(format!("archive: deleted {}, the oldest", name.closed()));
        }
        self.board.status.lost_segments += 1;
        let text = format!("{} was deleted before it was uploaded: the disk is full", name.closed());
        self.events.add(format!("archive: {text}"));
        self.board.worries.loss = Some(Loss { at: self.now, text });
    }
}
