//! The thread that reads closed segments which the index does not know: behind everything else, and slowly, because a disk of a
//! terabyte takes hours and recording must not feel it.
//!
//! Not every disk's scheduler knows priorities; the pace is for those that do not.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::{Note, background};
use crate::archive::name::Name;
use crate::archive::rebuild;

/// Bytes per second that are read at most.
const PACE: f64 = (16u64 << 20) as f64;

/// Lets the thread read for as long as it lives.
pub struct Reading {
    _go_on: SyncSender<()>,
}

impl Reading {
    /// Reads these in this order; each is told as [`Note::Read`] or [`Note::Unreadable`], the end as [`Note::AllRead`].
    pub fn start(folder: PathBuf, names: Vec<Name>, notes: SyncSender<Note>) -> std::io::Result<Self> {
        let (go_on, stop) = sync_channel(0);
        let work = move || {
            background::step_back();
            read(&folder, &names, &notes, &stop);
        };
        std::thread::Builder::new().name("archive reading".into()).spawn(work)?;
        Ok(Self { _go_on: go_on })
    }
}

fn read(folder: &std::path::Path, names: &[Name], notes: &SyncSender<Note>, stop: &Receiver<()>) {
    for name in names {
        let pace = |bytes: usize| wait(stop, Duration::from_secs_f64(bytes as f64 / PACE));
        let note = match rebuild::inspect_while(&folder.join(name.closed()), pace) {
            Ok(Some(facts)) => Note::Read { name: *name, facts: Box::new(facts) },
            Ok(None) => return,
            Err(fault) => Note::Unreadable { name: *name, fault: fault.to_string() },
        };
        if notes.send(note).is_err() {
            return;
        }
    }
    // If nobody listens any more it does not matter.
    let _ = notes.send(Note::AllRead);
}

/// True if it is to go on afterwards.
fn wait(stop: &Receiver<()>, span: Duration) -> bool {
    matches!(stop.recv_timeout(span), Err(RecvTimeoutError::Timeout))
}
