//! Room `archive`: what goes out is also recorded, in files that play at any moment and survive a power cut.
//!
//! ```text
//!   hub ──▶ actor (this file) ──▶ segmenter (rule) ──▶ acts, a few ──▶ writer (thread): mux, write, fdatasync, delete
//! ```
//!
//! The program never waits for the disk: if the writer does, the actor stops reading, falls out of the hub's memory, loses whole
//! GOPs alone, and begins a new segment behind the gap. A disk that is full, gone or read-only is a state, tried again for ever.

pub mod disk;
pub mod fmp4;
pub mod retention;
pub mod segment;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::segment::{Act, Segmenter};
use self::writer::Writer;
use crate::clock::MediaClock;
use crate::config;
use crate::media::hub::{Hub, Item, Reader};
use crate::report::{Events, Report};
use crate::status;

/// Acts that wait for the disk: about two seconds of fragments.
const WAITING: usize = 4;

/// How long closing the last segment may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the archive's thread cannot be started: {0}")]
    Thread(std::io::Error),
    #[error("the archive's thread ended")]
    Writer,
}

/// Records until `stop`.
pub async fn run(
    config: config::Archive,
    hub: Hub,
    clock: MediaClock,
    report: Report<status::Archive>,
    events: Events,
    stop: CancellationToken,
) -> Result<(), Error> {
    if !config.enabled {
        stop.cancelled().await;
        return Ok(());
    }
    let (sender, receiver) = mpsc::channel(WAITING);
    let (ended, end) = oneshot::channel();
    let anew = Arc::new(AtomicBool::new(false));
    let writer = Writer::new(config.clone(), report.clone(), events, clock, anew.clone());
    let work = move || {
        writer.run(receiver);
        let _ = ended.send(());
    };
    std::thread::Builder::new().name("archive".into()).spawn(work).map_err(Error::Thread)?;
    let recorder = Recorder { reader: hub.reader(), segmenter: Segmenter::new(config.segment), sender, anew, report };
    recorder.run(&stop).await?;
    let _ = tokio::time::timeout(CLOSE_LIMIT, end).await;
    Ok(())
}

struct Recorder {
    reader: Reader,
    segmenter: Segmenter,
    sender: mpsc::Sender<Act>,
    anew: Arc<AtomicBool>,
    report: Report<status::Archive>,
}

impl Recorder {
    async fn run(mut self, stop: &CancellationToken) -> Result<(), Error> {
        loop {
            let acts = tokio::select! {
                () = stop.cancelled() => break,
                item = self.reader.next() => self.take(item),
            };
            for act in acts {
                tokio::select! {
                    () = stop.cancelled() => break,
                    sent = self.sender.send(act) => sent.map_err(|_| Error::Writer)?,
                }
            }
        }
        let _ = tokio::time::timeout(CLOSE_LIMIT, self.write_rest()).await;
        Ok(())
    }

    /// What is in the hub by now still belongs to the recording.
    async fn write_rest(&mut self) {
        while let Some(item) = self.reader.try_next() {
            for act in self.take(item) {
                let _ = self.sender.send(act).await;
            }
        }
        for act in self.segmenter.finish() {
            let _ = self.sender.send(act).await;
        }
    }

    fn take(&mut self, item: Item) -> Vec<Act> {
        match item {
            Item::Packet(packet) => self.segmenter.push(&packet, self.anew.load(Ordering::Relaxed)),
            Item::Lost { .. } => {
                self.report.update(|archive| {
                    archive.dropped_gops += 1;
                    archive.last_error =
                        Some("the disk is too slow: pictures were left out of the recording; use a faster disk".into());
                });
                self.segmenter.finish()
            }
        }
    }
}
