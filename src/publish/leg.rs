//! The actor of a leg: for ever, connect to the origin that [`Failover`] names, stay live, report, go on. It holds no rule of
//! its own; it asks the rules and does what they say.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::failover::{Action, Failover, Outcome};
use super::live::Live;
use super::session::Target;
use super::view::View;
use super::{PublishError, conn};
use crate::clock::MediaClock;
use crate::config;
use crate::media::hub::Hub;
use crate::report::{Events, Report};
use crate::status;
use crate::units::MediaTime;

/// While nothing else happens, the status is written this often: it tells the seconds.
const TICK: Duration = Duration::from_millis(500);

pub struct Leg {
    config: config::Leg,
    device: String,
    hub: Hub,
    clock: MediaClock,
    view: View,
    stop: CancellationToken,
    failover: Failover,
    last: Outcome,
}

impl Leg {
    pub fn new(
        config: config::Leg,
        device: String,
        hub: Hub,
        clock: MediaClock,
        report: Report<status::Leg>,
        events: Events,
        stop: CancellationToken,
    ) -> Self {
        let view = View::new(&config.name, &config.origins, report, events, clock.clone());
        let failover = Failover::new(config.origins.len());
        Self { config, device, hub, clock, view, stop, failover, last: Outcome::Failed }
    }

    pub async fn run(mut self) {
        if !self.config.enabled || self.config.origins.is_empty() {
            self.view.off();
            return self.stop.cancelled().await;
        }
        while !self.stop.is_cancelled() {
            match self.failover.next(self.clock.now()) {
                Action::Try(origin) => self.attempt(origin).await,
                Action::WaitUntil(time) => self.wait_until(time).await,
            }
        }
        self.view.off();
    }

    /// One connection, from the first packet to its end, and what follows from that.
    async fn attempt(&mut self, origin: usize) {
        self.view.connecting(origin);
        let (result, lived) = self.run_once(origin).await;
        if let Err(error) = result {
            let now = self.clock.now();
            self.last = error.outcome();
            self.failover.ended(origin, self.last, lived, now, fastrand::f64());
            self.view.failed(origin, &error, self.failover.next(now));
        }
    }

    /// `Ok` if told to stop; and for how long media was live.
    async fn run_once(&mut self, origin: usize) -> (Result<(), PublishError>, Duration) {
        let connected = match self.connect(origin).await {
            Ok(Some(connected)) => connected,
            Ok(None) => return (Ok(()), Duration::ZERO),
            Err(error) => return (Err(error), Duration::ZERO),
        };
        match Live::new(connected, origin, &self.hub, self.config.backlog, &self.clock, &mut self.view) {
            Ok(mut live) => (live.run(&self.stop).await, live.lived()),
            Err(error) => (Err(error), Duration::ZERO),
        }
    }

    /// `None` if told to stop.
    async fn connect(&mut self, origin: usize) -> Result<Option<(conn::Conn, super::session::Session)>, PublishError> {
        let config::Origin { url, key, .. } = &self.config.origins[origin];
        let (app, key, device) = (url.app.clone(), key.clone(), self.device.clone());
        let target = Target { app, url: url.to_string(), key, device, started_at: None, authorization: None };
        let connecting = conn::publish(url, target);
        telling_time(&mut self.view, self.stop.run_until_cancelled(connecting)).await.transpose()
    }

    async fn wait_until(&mut self, time: MediaTime) {
        self.view.waiting(self.last);
        let wait = sleep(time.since(self.clock.now()));
        telling_time(&mut self.view, self.stop.run_until_cancelled(wait)).await;
    }
}

/// Keeps the status current while something else is waited for.
async fn telling_time<F: Future>(view: &mut View, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            output = &mut future => return output,
            _ = tick.tick() => view.publish(),
        }
    }
}
