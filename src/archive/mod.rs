//! The archive: everything the program sends out, on disk, in files that survive a power cut.
//!
//! ```text
//! hub ── Reader ── run ──(a few packets)──▶ writer's thread: segment (where to cut) → fmp4 (bytes) → disk
//!                                             └──(notes)──▶ catalogue's thread: index ◀──(facts)── thread that reads files
//! ```
//!
//! A segment is a fragmented MP4 named after the UTC second in which it was begun. It is cut at keyframes after
//! `archive.segment_seconds`, each fragment of half a second is on the disk before the next one, and as long as it is written
//! its name ends in `.part`; it can be played at any moment. What an earlier life left open is cut to its last whole fragment
//! and closed.
//!
//! The program never waits for the disk: the writer has a thread of its own, the channel to it is short, and a disk that is too
//! slow makes this reader of the hub fall behind until whole GOPs are gone, which is counted and begins a new segment. Folders
//! that cannot be written, full disks, disks that are gone: each is a state that is told and tried again for ever.
//!
//! The files are the truth; the [`index`] beside them is what is quicker to ask, and knows what files cannot tell: what is in the
//! bucket, and why something is missing. It is kept behind the writer's back, and recording goes on without it.

mod board;
mod catalogue;
mod disk;
mod entry;
mod epoch;
pub mod fault;
mod fmp4;
pub mod index;
pub mod manifest;
mod notice;
mod open;
mod origin;
pub mod rebuild;
pub mod recover;
mod retention;
mod segment;
pub mod shelf;
pub mod structure;
#[cfg(test)]
mod testing;
pub mod upload;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::rand::SecureRandom;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clock::MediaClock;
use crate::config;
use crate::control::{Command, Request};
use crate::media::hub::{Hub, Item, Reader};
pub use crate::recorded::name;
use crate::report::{Events, Report};
use crate::status::{self, ArchiveState};
use crate::units::Span;
use entry::Run;
use notice::Notice;
use writer::Writer;

/// Packets on their way to the writer: about a second. What waits longer waits in the hub, where it is shared.
const QUEUE: usize = 64;

/// A disk that takes nothing for so long is reported.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often an export's last word is looked at, whether it still stands.
const LOOK: Duration = Duration::from_secs(1);

/// How long closing the last segment may take.
const CLOSE: Duration = Duration::from_millis(900);

/// Records until it is told to stop. Returns earlier only if the writer is gone, which is a bug.
pub async fn run(
    config: config::Archive,
    hub: Hub,
    clock: MediaClock,
    report: Report<status::Archive>,
    events: Events,
    orders: mpsc::Receiver<Request>,
    stop: CancellationToken,
) {
    if !config.enabled {
        report.update(|archive| archive.state = ArchiveState::Off);
        note_that_it_is_off(config.directory, events);
        return stop.cancelled().await;
    }
    let reader = hub.reader();
    let directory = config.directory.clone();
    let (work, inbox) = mpsc::channel(QUEUE);
    let (done, ended) = oneshot::channel();
    let writer = Writer::new(config, new_run(), clock, report.clone(), events.clone());
    let writing = move || {
        writer.run(inbox);
        // Nobody waits any more if closing took too long.
        let _ = done.send(());
    };
    if let Err(error) = std::thread::Builder::new().name("archive".into()).spawn(writing) {
        return events.add(format!("archive: its thread cannot be started: {error}"));
    }
    let listening = listen(orders, work.downgrade());
    let mut feed = Feed { reader, work, report, stuck: stuck_text(&directory) };
    tokio::select! {
        () = feed.run() => return,
        () = listening => {}
        () = stop.cancelled() => {}
    }
    if timeout(CLOSE, feed.finish(ended)).await.is_err() {
        events.add(format!(
            "archive: {} did not take the last segment's end in time; it is closed at the next start",
            directory.display()
        ));
    }
}

/// Takes the conductor's word, for as long as there is a conductor.
async fn listen(mut orders: mpsc::Receiver<Request>, work: mpsc::WeakSender<Work>) {
    while let Some(Request { command, reply }) = orders.recv().await {
        let answer = match (command, work.upgrade()) {
            (Command::NotOnAir(span), Some(work)) => work.send(Work::NotOnAir(span)).await.map_err(|_| "recording has ended"),
            (Command::NotOnAir(_), None) => Err("recording has ended"),
            _ => Err("the archive only takes note of what was not on air"),
        };
        // Who does not wait for the answer has none.
        let _ = reply.send(answer.map(|()| "noted".into()).map_err(str::to_owned));
    }
    std::future::pending().await
}

/// What the writer is given, in order.
enum Work {
    Item(Item),
    /// This stretch of the program reached no origin: the index is to know.
    NotOnAir(Span),
}

impl From<Item> for Work {
    fn from(item: Item) -> Self {
        Self::Item(item)
    }
}

/// Takes the word of processes that export the archive, for the status, until it is told to stop.
pub async fn hear_exports(
    mut requests: mpsc::Receiver<Request>,
    clock: MediaClock,
    report: Report<status::Export>,
    events: Events,
    stop: CancellationToken,
) {
    let mut notice = Notice::default();
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(request) = requests.recv() => hear(&mut notice, request, &clock, &events),
            _ = look.tick() => {}
        }
        let export = notice.at(clock.now()).clone();
        report.update(|part| *part = export);
    }
}

fn hear(notice: &mut Notice, request: Request, clock: &MediaClock, events: &Events) {
    let heard = match request.command {
        Command::Export(export) => notice.told(export, clock.now()),
        _ => Err("the archive takes word of exports alone".into()),
    };
    let reply = heard.map(|event| {
        event.into_iter().for_each(|event| events.add(event));
        "noted".into()
    });
    // Who does not wait for the answer has none.
    let _ = request.reply.send(reply);
}

/// Random, because a box may not know what time it is. Without randomness it is a run that nobody knows, and still recorded.
fn new_run() -> Run {
    let mut run = Run::UNKNOWN;
    let filled = ring::rand::SystemRandom::new().fill(&mut run.0);
    if filled.is_ok() { run } else { Run::UNKNOWN }
}

/// On a thread that nobody waits for: the disk may take as long as it likes.
fn note_that_it_is_off(folder: PathBuf, events: Events) {
    let work = move || {
        if let Err(fault) = catalogue::switched_off(&folder) {
            events.add(format!("archive: {fault}"));
        }
    };
    // The gap has its cause from this note alone; without a thread it has none.
    let _ = std::thread::Builder::new().name("archive index".into()).spawn(work);
}

/// From the hub to the writer.
struct Feed {
    reader: Reader,
    work: mpsc::Sender<Work>,
    report: Report<status::Archive>,
    /// What to say if the writer takes nothing.
    stuck: String,
}

impl Feed {
    /// Ends only if the writer is gone. Cancel safe: a packet is taken from the hub when there is room for it.
    async fn run(&mut self) {
        while let Some(room) = place(&self.work, &self.report, &self.stuck).await {
            room.send(self.reader.next().await.into());
        }
    }

    /// What the hub has already, and then the end.
    async fn finish(mut self, ended: oneshot::Receiver<()>) {
        while let Some(item) = self.reader.try_next() {
            if self.work.send(item.into()).await.is_err() {
                break;
            }
        }
        drop(self.work);
        // An error means that the writer is gone: that is an end too.
        let _ = ended.await;
    }
}

/// Waits for room in the channel; `None` if the writer is gone.
async fn place<'a>(
    work: &'a mpsc::Sender<Work>,
    report: &Report<status::Archive>,
    stuck: &str,
) -> Option<mpsc::Permit<'a, Work>> {
    loop {
        match timeout(PATIENCE, work.reserve()).await {
            Ok(permit) => return permit.ok(),
            Err(_) => report.update(|archive| {
                archive.state = ArchiveState::Failed;
                archive.last_error = Some(stuck.to_owned());
            }),
        }
    }
}

fn stuck_text(directory: &Path) -> String {
    let seconds = PATIENCE.as_secs();
    format!("the disk under {} has taken nothing for {seconds} s: check its cable, then replace it", directory.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Status;
    use tokio::sync::watch;

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_is_reported_while_it_hangs() {
        let status = watch::Sender::new(Status::default());
        let report = Report::new(&status, |status| &mut status.archive);
        let (items, mut inbox) = mpsc::channel(1);
        items.send(Item::Lost { packets: 1 }.into()).await.unwrap();
        let stuck = stuck_text(Path::new("/media/usb"));
        let waiting = tokio::spawn({
            let items = items.clone();
            async move { place(&items, &report, &stuck).await.is_some() }
        });
        status.subscribe().wait_for(|status| status.archive.state == ArchiveState::Failed).await.unwrap();
        assert!(status.borrow().archive.last_error.as_ref().unwrap().contains("/media/usb"));
        inbox.recv().await.unwrap();
        assert!(waiting.await.unwrap());
    }
}
