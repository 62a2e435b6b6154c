//! Room `capture`: inputs. Each one is a task of its own that keeps its feed filled, for ever.
//!
//! ```text
//!   v4l2 ─ picture (thread) ┐
//!   alsa ─ sound (thread)  ──┤
//!   file ─ clip after clip ──┼──▶ raw::Feed (pictures in the program's format, sound at 48 kHz; all on the program's clock)
//!   test ─ thread ───────────┘
//! ```
//!
//! No device, no cable, a broken file: reported, retried, never an end. Devices and the test picture run hot, also off air, so
//! that a switch finds them ready; files wait at their first picture until the conductor rolls them. This room does not
//! know which input is on air.

pub mod analogue;
pub mod analogue_io;
pub mod card;
pub mod clip;
pub mod devices;
pub mod edid;
pub mod edid_io;
pub mod file;
pub mod find;
pub mod monitor;
pub mod native;
pub mod playlist;
pub mod recipe;
pub mod recordings;
pub mod sink;
pub mod sound;
pub mod test;
pub mod testcard;
pub mod thumbnails;
pub mod v4l2;
pub mod video;
pub mod watch;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::capture::card::Cards;
use crate::capture::monitor::Monitor;
use crate::clock::MediaClock;
use crate::config;
use crate::control::Request;
use crate::media::raw::{Feed, Frame, RawFormat, sample_time};
use crate::report::{Events, Report};
use crate::status;
use crate::units::MediaTime;

/// Pause before an input is built again after a failure: first and longest.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LONGEST: Duration = Duration::from_secs(2);

#[derive(Debug, Error)]
pub enum Error {
    #[error("the input's thread cannot be started: {0}")]
    Thread(std::io::Error),
}

/// What an input works with.
#[derive(Clone)]
pub struct Port {
    pub name: String,
    pub format: RawFormat,
    pub feed: Feed,
    pub clock: MediaClock,
    pub report: Report<status::Input>,
    pub events: Events,
    /// Where its device comes from, if it has one.
    pub cards: Arc<dyn Cards>,
    pub monitor: Monitor,
    /// The program's encoder imports dmabufs: pictures that need no conversion are to go on where the driver put them.
    pub lends: bool,
}

impl Port {
    /// Takes a picture of the program's format.
    pub fn picture(&self, frame: Frame) {
        self.monitor.see(&frame);
        self.feed.push_frame(frame);
    }

    /// Takes interleaved stereo samples whose first is due at `time`.
    pub fn sound(&self, time: MediaTime, samples: &[i16]) {
        self.monitor.hear(time, samples);
        self.feed.push_sound(time, samples);
    }

    /// Takes interleaved stereo samples whose first has exactly this place on the program's time line.
    pub fn placed_sound(&self, index: u64, samples: &[i16]) {
        self.monitor.hear(sample_time(index), samples);
        self.feed.place_sound(index, samples);
    }

    /// Puts a fault into the status, and among the events if it is news.
    fn fault(&self, fault: &str, news: bool) {
        self.report.update(|input| input.last_error = Some(fault.into()));
        if news {
            self.events.add(format!("input {}: {fault}", self.name));
        }
    }
}

/// Runs one input until `stop`. `orders` are for files: to roll and to cue.
pub async fn run(
    kind: config::InputKind,
    port: Port,
    orders: mpsc::Receiver<Request>,
    stop: CancellationToken,
) -> Result<(), Error> {
    port.report.update(|input| {
        input.name.clone_from(&port.name);
        input.kind = kind.word().into();
    });
    match kind {
        config::InputKind::Test => test::run(port, stop).await,
        config::InputKind::V4l2 { device, connector, edid, audio } => {
            let seat = v4l2::seat(&port, device, connector, edid).await;
            v4l2::run(seat, audio, port, stop).await
        }
        config::InputKind::File { paths, looped } => {
            let playlist = playlist::Playlist::new(paths, looped);
            on_own_thread("files", move || file::run(playlist, port, orders, stop)).await
        }
    }
}

/// For work that opens files and devices: one that hangs keeps this input waiting and nobody else.
async fn on_own_thread<F: Future<Output = ()>>(name: &str, work: impl FnOnce() -> F + Send + 'static) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(Error::Thread)?;
    let (ended, end) = tokio::sync::oneshot::channel();
    let body = move || {
        runtime.block_on(work());
        let _ = ended.send(());
    };
    std::thread::Builder::new().name(name.into()).spawn(body).map_err(Error::Thread)?;
    let _ = end.await;
    Ok(())
}
