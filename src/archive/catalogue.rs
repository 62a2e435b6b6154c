//! The keeper of the index: a thread of its own, told by the writer what has happened, so that no database ever holds up recording.
//!
//! ```text
//! writer ──Note──▶ Catalogue ──▶ index.sqlite3
//!                   │     ▲
//!     unknown files ▼     │ Read
//!                  Reading (slowly)
//! ```
//!
//! The files are the truth. Whenever the folder becomes usable, or the index works again after a fault, both are compared: rows
//! whose file is gone are marked, files without a row are read. Notes wait while the index fails; an index that fails for ever costs
//! an alarm and nothing else.

pub(super) mod background;
mod inventory;
mod ledger;
mod notes;
mod reading;
pub(super) mod stock;

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

pub use self::notes::{Note, Notes};
use self::reading::Reading;
use super::entry::{Gap, Missing, Run};
use super::epoch::Step;
use super::fault::Fault;
use super::index::{FILE, Index};
use super::name::Name;
use crate::report::{Events, Report};
use crate::status::{self, ArchiveIndex, IndexState};

/// Notes that wait for an index that fails. What is beyond is found in the files later, except for the causes of gaps.
const WAITING: usize = 1000;

/// From a fault to the next attempt.
const RETRY: Duration = Duration::from_secs(2);

const CRASHED: &str = "the power was cut, or the daemon was killed";
const SWITCHED_OFF: &str = "recording was switched off";

/// Recording is switched off: an index that is there is told, so that the gap has its cause. Waits for the disk.
pub fn switched_off(folder: &Path) -> Result<(), Fault> {
    if folder.join(FILE).exists() { Index::open(folder)?.set_end(SWITCHED_OFF) } else { Ok(()) }
}

struct Catalogue {
    folder: PathBuf,
    run: Run,
    report: Report<status::Archive>,
    events: Events,
    /// For the thread that reads.
    sender: SyncSender<Note>,
    index: Option<Index>,
    /// The folder could be used once.
    is_usable: bool,
    waiting: VecDeque<Note>,
    fault: Option<String>,
    unread: BTreeSet<Name>,
    /// Files that cannot be read, or are no segments.
    refused: BTreeSet<Name>,
    reading: Option<Reading>,
    /// It was opened at some time in this life.
    has_opened: bool,
    /// It has been opened and not been compared with the files yet.
    is_unproven: bool,
    /// How the run before this one ended.
    ended: Option<String>,
    /// When this run began, until it is known what came before it. Unix milliseconds.
    opening: Option<i64>,
}

impl Catalogue {
    fn new(folder: PathBuf, run: Run, sender: SyncSender<Note>, report: Report<status::Archive>, events: Events) -> Self {
        Self {
            folder,
            run,
            report,
            events,
            sender,
            index: None,
            is_usable: false,
            waiting: VecDeque::new(),
            fault: None,
            unread: BTreeSet::new(),
            refused: BTreeSet::new(),
            reading: None,
            has_opened: false,
            is_unproven: false,
            ended: None,
            opening: None,
        }
    }

    fn run(mut self, inbox: &Receiver<Note>) {
        loop {
            match self.next(inbox) {
                Ok(Note::End { cause }) => return self.end(&cause),
                Ok(note) => self.enqueue(note),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.work();
        }
    }

    fn next(&self, inbox: &Receiver<Note>) -> Result<Note, RecvTimeoutError> {
        match self.fault {
            Some(_) if self.is_usable => inbox.recv_timeout(RETRY),
            _ => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn enqueue(&mut self, note: Note) {
        match note {
            Note::Ready => self.let_go(true),
            Note::Away => self.let_go(false),
            note => {
                if self.waiting.len() >= WAITING {
                    self.waiting.pop_front();
                }
                self.waiting.push_back(note);
            }
        }
    }

    /// When the folder is used next it may be another disk.
    fn let_go(&mut self, is_usable: bool) {
        (self.index, self.reading) = (None, None);
        self.refused.clear();
        self.is_usable = is_usable;
        if !is_usable {
            self.tell(IndexState::Off);
        }
    }

    fn end(&mut self, cause: &str) {
        self.reading = None;
        // Even if it could not be used a moment ago.
        self.is_usable = self.has_opened;
        self.work();
        let Some(index) = &self.index else { return };
        if let Err(fault) = index.set_end(cause) {
            self.events.add(format!("archive: {fault}"));
        }
        self.tell(IndexState::Off);
    }

    fn work(&mut self) {
        match self.try_to_work() {
            Ok(()) => self.works(),
            Err(fault) => self.fail(&fault),
        }
    }

    fn try_to_work(&mut self) -> Result<(), Fault> {
        if !self.is_usable {
            return Ok(());
        }
        self.make_ready()?;
        while let Some(note) = self.waiting.front().cloned() {
            self.apply(note)?;
            self.waiting.pop_front();
        }
        if self.is_unproven {
            self.compare()?;
            self.is_unproven = false;
        }
        self.settle_opening()?;
        self.read_on()
    }

    fn works(&mut self) {
        if !self.is_usable {
            return;
        }
        if self.fault.take().is_some() {
            self.events.add("archive: the index works again");
        }
        let is_building = self.reading.is_some() || !self.unread.is_empty();
        self.tell(if is_building { IndexState::Building } else { IndexState::Ok });
    }

    fn fail(&mut self, fault: &Fault) {
        let text = fault.to_string();
        if self.fault.as_ref() != Some(&text) {
            self.events.add(format!("archive: {text}"));
        }
        self.fault = Some(text);
        self.index = None;
        self.tell(IndexState::Failed);
    }

    fn tell(&self, state: IndexState) {
        let last_error = self.fault.clone().filter(|_| state == IndexState::Failed);
        let index = ArchiveIndex { state, to_read: self.unread.len() as u64, last_error };
        self.report.update(|archive| archive.index = index);
    }

    fn index(&self) -> Result<&Index, Fault> {
        self.index.as_ref().ok_or_else(|| Fault::Vanished { path: self.folder.join(FILE) })
    }

    fn make_ready(&mut self) -> Result<(), Fault> {
        if self.index.as_ref().is_some_and(Index::is_in_place) {
            return Ok(());
        }
        let index = Index::open(&self.folder)?;
        index.set_run(self.run)?;
        if !self.has_opened {
            let crashed = index.last_before(self.run)?.map(|_| CRASHED.to_owned());
            self.ended = index.take_end()?.or(crashed);
            self.has_opened = true;
        }
        self.is_unproven = true;
        self.index = Some(index);
        Ok(())
    }

    fn apply(&mut self, note: Note) -> Result<(), Fault> {
        match note {
            Note::Began { start_ms } => {
                self.opening = Some(start_ms);
                Ok(())
            }
            Note::Closed(entry) => {
                self.unread.remove(&entry.name);
                self.index()?.put(&entry)
            }
            Note::Gap(gap) => self.index()?.add_gap(&gap),
            Note::Stepped(step) => self.step(self.run, step),
            Note::Deleted { name, lost } => self.deleted(name, lost),
            Note::Read { name, facts } => self.read(name, &facts),
            Note::Unreadable { name, fault } => {
                self.unreadable(name, &fault);
                Ok(())
            }
            Note::AllRead => self.all_read(),
            Note::Ready | Note::Away | Note::End { .. } => Ok(()),
        }
    }

    fn step(&mut self, run: Run, step: Step) -> Result<(), Fault> {
        let corrected = self.index()?.correct(run, step.epoch_ms, step.by_ms)?;
        if let Some(start_ms) = &mut self.opening
            && run == self.run
        {
            *start_ms = start_ms.saturating_add(step.by_ms);
        }
        let by = step.by_ms as f64 / 1000.0;
        self.events.add(format!("archive: the clock was set by {by:+.1} s: the times of {corrected} segments are corrected"));
        Ok(())
    }

    fn deleted(&mut self, name: Name, lost: bool) -> Result<(), Fault> {
        self.unread.remove(&name);
        let index = self.index()?;
        let Some(entry) = index.get(name)?.filter(|entry| !entry.gone) else { return Ok(()) };
        index.set_gone(name)?;
        if lost {
            let cause = "deleted before it was uploaded: the disk was full".to_owned();
            let gap = Gap { from_ms: entry.start_ms, until_ms: entry.end_ms(), missing: Missing::Archive, cause };
            index.add_gap_of(entry.run, entry.run, &gap)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
