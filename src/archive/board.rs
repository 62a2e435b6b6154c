//! What the archive says of itself, gathered by the writer and handed out twice a second at most. It decides nothing.

use std::time::Duration;

use super::retention::Meter;
use crate::report::Report;
use crate::status;
use crate::units::MediaTime;

const REPORT: Duration = Duration::from_millis(500);

pub struct Board {
    pub status: status::Archive,
    pub worries: Worries,
    pub meter: Meter,
    keep_free: u64,
    report: Report<status::Archive>,
    next: MediaTime,
}

/// What there is to say as the last error; the first of them that stands.
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
        self.status.last_error = self.worries.first();
        let status = self.status.clone();
        self.report.update(|part| *part = status);
    }
}
