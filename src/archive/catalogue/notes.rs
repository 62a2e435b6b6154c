//! What the writer tells the index's keeper, and the short channel for it. The writer never waits for the keeper but at the very end.

use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use super::Catalogue;
use crate::archive::entry::{Entry, Gap, Run};
use crate::archive::epoch::Step;
use crate::archive::name::Name;
use crate::archive::rebuild::Facts;
use crate::report::{Events, Report};
use crate::status;

/// Notes on their way; a segment makes about two.
const QUEUE: usize = 256;

/// What has happened.
#[derive(Clone, Debug)]
pub enum Note {
    /// The folder can be used, for the first time or again.
    Ready,
    /// It cannot be used for now; nothing of it may be held open, or nobody could unmount and repair it.
    Away,
    /// The first fragment of the run is on the disk; when the run began.
    Began {
        start_ms: i64,
    },
    Closed(Entry),
    Gap(Gap),
    /// The clock was set.
    Stepped(Step),
    Deleted {
        name: Name,
        /// It was nowhere else.
        lost: bool,
    },
    Read {
        name: Name,
        facts: Box<Facts>,
    },
    Unreadable {
        name: Name,
        fault: String,
    },
    AllRead,
    /// The daemon ends; how, for the gap until it starts again.
    End {
        cause: String,
    },
}

/// The writer's end.
pub struct Notes {
    sender: SyncSender<Note>,
    thread: Option<JoinHandle<()>>,
    /// One was not taken: the files must be looked at again.
    missed: bool,
}

impl Notes {
    pub fn open(folder: &Path, run: Run, report: Report<status::Archive>, events: Events) -> Self {
        let (sender, inbox) = sync_channel(QUEUE);
        let catalogue = Catalogue::new(folder.to_owned(), run, sender.clone(), report, events.clone());
        let thread = std::thread::Builder::new().name("archive index".into()).spawn(move || catalogue.run(&inbox));
        let thread = thread.map_err(|error| events.add(format!("archive: the index's thread cannot be started: {error}"))).ok();
        Self { sender, thread, missed: false }
    }

    /// Never waits.
    pub fn add(&mut self, note: Note) {
        if self.missed {
            self.missed = self.sender.try_send(Note::Ready).is_err();
        }
        self.missed |= matches!(self.sender.try_send(note), Err(TrySendError::Full(_)));
    }

    /// Waits until everything has been noted, or cannot be.
    pub fn finish(self, cause: String) {
        if self.sender.send(Note::End { cause }).is_ok()
            && let Some(thread) = self.thread
        {
            // It ends by a panic or well; both are an end.
            let _ = thread.join();
        }
    }
}
