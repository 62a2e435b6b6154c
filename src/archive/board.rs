//! What the archive says of itself, gathered by the writer and handed out twice a second at most. It decides nothing.

use std::time::Duration;

use super::retention::{Meter, Stock};
use crate::report::Report;
use crate::status;
use crate::units::MediaTime;

const REPORT: Duration = Duration::from_millis(500);

pub struct Board {
    pub status: status::Archive,
    pub worries: Worries,
    pub meter: Meter,
    pub stock: Stock,
    keep_free: u64,
    report: Report<status::Archive>,
    next: MediaTime,
}

/// What there is to say as the last error; the first of them that stands, or what the index has to say.
#[derive(Default)]
pub struct Worries {
    /// Nothing is recorded.
    pub fault: Option<String>,
    /// Nothing is left to delete.
    pub space: Option<String>,
    /// Media is missing; said until a segment begun afterwards has been closed.
    pub loss: Option<Loss>,
}

pub struct Loss {
    pub at: MediaTime,
    pub text: String,
}

impl Worries {
    fn first(&self) -> Option<String> {
        let loss = self.loss.as_ref().map(|loss| &loss.text);
        self.fault.as_ref().or(self.space.as_ref()).or(loss).cloned()
    }
}

impl Board {
    pub fn new(report: Report<status::Archive>, keep_free: u64) -> Self {
        Self {
            status: status::Archive::default(),
            worries: Worries::default(),
            meter: Meter::default(),
            stock: Stock::default(),
            keep_free,
            report,
            next: MediaTime::ZERO,
        }
    }

    pub fn measure(&mut self, now: MediaTime) {
        self.meter.look(now, self.status.written_bytes);
    }

    /// What has just happened is not to wait.
    pub fn hurry(&mut self, now: MediaTime) {
        self.next = now;
    }

    pub fn publish_if_due(&mut self, now: MediaTime) {
        // A time line that jumped back must not silence it.
        if now >= self.next || self.next.since(now) > REPORT {
            self.publish(now);
        }
    }

    pub fn publish(&mut self, now: MediaTime) {
        self.next = now + REPORT;
        self.status.seconds_left = self.meter.seconds_left(self.status.free_bytes, self.keep_free);
        self.status.seconds_to_loss = self.meter.seconds_to_loss(self.status.free_bytes, self.stock);
        self.status.loss = self.worries.loss.as_ref().map(|loss| loss.text.clone());
        let (status, error) = (self.status.clone(), self.worries.first());
        self.report.update(|part| {
            // What others say of the archive is theirs.
            let (index, export) = (std::mem::take(&mut part.index), std::mem::take(&mut part.export));
            let (upload, last_error) = (std::mem::take(&mut part.upload), error.or_else(|| index.last_error.clone()));
            *part = status::Archive { last_error, index, export, upload, ..status };
        });
    }
}
