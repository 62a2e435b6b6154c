//! A leg's vote for the program's bit rate, cast some times a second. A shell around the rule [`rate`](super::rate): it brings the
//! samples, and withholds the vote while the connection is in doubt.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::flow::Flow;
use super::rate::{Limits, ProgramRate, RateControl};
use crate::control::Rates;
use crate::units::{BitRate, MediaTime};

/// Between two votes.
const EVERY: Duration = Duration::from_millis(50);

pub struct Ballot {
    rate: RateControl,
    rates: watch::Receiver<Rates>,
    cast: Option<Instant>,
}

impl Ballot {
    pub fn new(rates: watch::Receiver<Rates>) -> Self {
        let limits = limits(&rates.borrow());
        Self { rate: RateControl::new(limits), rates, cast: None }
    }

    /// The vote, if it is time for one; `flow`: the connection on which media is live.
    pub fn cast(&mut self, flow: Option<&Flow>, time: MediaTime, now: Instant) -> Option<Option<BitRate>> {
        if self.cast.is_some_and(|last| now - last < EVERY) {
            return None;
        }
        self.cast = Some(now);
        let Some(flow) = flow else {
            self.rate.gone();
            return Some(None);
        };
        let rates = *self.rates.borrow();
        let program = ProgramRate { video: rates.video, audio: rates.audio };
        self.rate.observe(flow.rate_sample(), program, limits(&rates), time);
        Some(self.rate.wish().filter(|_| flow.verdict().is_fine()))
    }
}

fn limits(rates: &Rates) -> Limits {
    Limits { floor: rates.floor, ceiling: rates.ceiling }
}
