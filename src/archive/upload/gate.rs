//! The gate that every byte to the bucket goes through: the rule of [`super::pace`] with a clock and a waiting room.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::pace::{Grant, Pace};
use super::trouble::Trouble;
use crate::clock::MediaClock;
use crate::control::UploadShare;
use crate::units::BitRate;

/// A request that stands still for longer is given up; the parts that are there stay. Servers wait for about twice as long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A wait is never so long that a new share would go unnoticed.
const GLANCE: Duration = Duration::from_millis(100);

pub struct Gate {
    pace: Mutex<Pace>,
    share: watch::Receiver<UploadShare>,
    clock: MediaClock,
}

impl Gate {
    pub fn new(limit: Option<BitRate>, share: watch::Receiver<UploadShare>, clock: MediaClock) -> Self {
        Self { pace: Mutex::new(Pace::new(limit)), share, clock }
    }

    /// Until so many bytes may leave. Ends with [`Trouble::Yielded`] if the legs need the line for long.
    pub async fn pass(&self, bytes: usize) -> Result<(), Trouble> {
        loop {
            let share = *self.share.borrow();
            let grant = {
                let mut pace = self.pace();
                pace.set_share(share);
                pace.ask(self.clock.now(), bytes)
            };
            match grant {
                Grant::Now => return Ok(()),
                Grant::In(wait) => sleep(wait.min(GLANCE)).await,
                Grant::Never => timeout(PATIENCE, self.opened()).await.map_err(|_| Trouble::Yielded)?,
            }
        }
    }

    /// Until the legs leave something of the line.
    pub async fn opened(&self) {
        let opened = self.share.clone().wait_for(|share| *share != UploadShare::NONE).await.is_ok();
        if !opened {
            // Nobody is left to open it.
            std::future::pending::<()>().await;
        }
    }

    pub fn is_shut(&self) -> bool {
        *self.share.borrow() == UploadShare::NONE
    }

    /// Bytes per second over the last few seconds.
    pub fn speed(&self) -> u64 {
        self.pace().speed(self.clock.now())
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
