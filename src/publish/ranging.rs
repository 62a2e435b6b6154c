//! Measures the round trips to all origins of a leg now and then, beside everything else. A shell: what follows from them is
//! [`preference`](super::preference)'s.

use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::dial::Route;

/// How often they are measured.
const EVERY: Duration = Duration::from_secs(20);

/// One round trip per origin; `None` where there was no answer.
pub type RoundTrips = Vec<Option<Duration>>;

#[derive(Default)]
pub struct Ranging {
    running: Option<JoinHandle<RoundTrips>>,
    begun: Option<Instant>,
}

impl Ranging {
    /// Begins a round if it is time for one.
    pub fn begin_if_due(&mut self, routes: &[Route], now: Instant) {
        let due = self.begun.is_none_or(|last| now - last > EVERY);
        if self.running.is_none() && due {
            self.begun = Some(now);
            self.running = Some(tokio::spawn(measure(routes.to_vec())));
        }
    }

    /// Waits for the end of a round. Cancel safe.
    pub async fn finished(&mut self) -> RoundTrips {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let round_trips = running.await;
        self.running = None;
        round_trips.unwrap_or_default()
    }
}

async fn measure(routes: Vec<Route>) -> RoundTrips {
    let mut round_trips = vec![None; routes.len()];
    let mut set = JoinSet::new();
    for (index, route) in routes.into_iter().enumerate() {
        set.spawn(async move { (index, route.door.round_trip().await) });
    }
    while let Some(Ok((index, round_trip))) = set.join_next().await {
        round_trips[index] = round_trip;
    }
    round_trips
}
