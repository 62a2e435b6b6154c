//! The actor of a leg: drives its one or two connections, tells the rules what it sees, does what they order, reports. For ever.
//! It holds no rule of its own.
//!
//! Everything happens in one task: both connections, the stop, the look at the sockets. While bytes are outstanding the sockets
//! are looked at whenever a packet wakes the leg, and at least every 50 ms.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::ballot::Ballot;
use super::detect::Verdict;
use super::dial::Route;
use super::failover::{Active, Facts, Failover, GIVEN_UP, Order, Outcome, Wishes};
use super::flow::Flow;
use super::line::{Line, Turn, turn};
use super::preference::Preference;
use super::ranging::{Ranging, RoundTrips};
use super::resume::Place;
use super::uplink::Voice;
use super::view::View;
use super::{PublishError, Room, Terms};
use crate::config::{self, Resume};
use crate::media::hub::Sequence;
use crate::report::Report;
use crate::status;
use crate::units::MediaTime;

/// Looks at the sockets are at most so far apart while bytes are outstanding.
const LOOK: Duration = Duration::from_millis(50);

/// The status is written this often: it tells the seconds.
const TICK: Duration = Duration::from_millis(250);

/// For the good-bye.
const FAREWELL: Duration = Duration::from_millis(500);

pub struct Leg {
    config: config::Leg,
    room: Room,
    view: View,
    stop: CancellationToken,
    routes: Vec<Route>,
    failover: Failover,
    preference: Preference,
    voice: Voice,
    random: fastrand::Rng,
    active: Option<Line>,
    next: Option<Line>,
    /// Where the next connection must start so that nothing is missing.
    resume: Option<Place>,
    last: Outcome,
    ballot: Ballot,
    ranging: Ranging,
    timer: std::pin::Pin<Box<Sleep>>,
    told: Instant,
}

enum Wake {
    Stop,
    Active(Result<Turn, PublishError>),
    Next(Result<Turn, PublishError>),
    Measured(RoundTrips),
    Timer,
}

impl Leg {
    pub fn new(config: config::Leg, room: Room, report: Report<status::Leg>, stop: CancellationToken) -> Self {
        let currents = room.currents.clone();
        let seed = currents.seed;
        let wishes = Wishes { failback: config.failback, warm: config.warm };
        Self {
            view: View::new(&config.name, &config.origins, report, currents.events.clone(), currents.clock.clone()),
            routes: routes(&config, &room),
            failover: Failover::new(config.origins.len(), wishes),
            preference: Preference::new(config.policy, &config.origins, seed),
            voice: room.uplink.join(),
            random: fastrand::Rng::with_seed(seed ^ fastrand::u64(..)),
            active: None,
            next: None,
            resume: None,
            last: Outcome::Failed,
            timer: Box::pin(sleep_until(now())),
            told: now(),
            ballot: Ballot::new(currents.rates),
            ranging: Ranging::default(),
            config,
            room,
            stop,
        }
    }

    pub async fn run(mut self) {
        if !self.config.enabled || self.config.origins.is_empty() {
            self.view.off();
            return self.stop.cancelled().await;
        }
        loop {
            self.settle();
            self.set_timer();
            match self.wake().await {
                Wake::Stop => break,
                Wake::Active(turn) => self.active_turned(turn).await,
                Wake::Next(turn) => self.next_turned(turn),
                Wake::Measured(round_trips) => self.preference.measured(round_trips),
                Wake::Timer => {}
            }
            self.look();
            if self.preference.wants_measurements() {
                self.ranging.begin_if_due(&self.routes, now());
            }
        }
        self.close().await;
    }

    async fn wake(&mut self) -> Wake {
        let (currents, terms) = (&self.room.currents, terms(&self.config));
        tokio::select! {
            () = self.stop.cancelled() => Wake::Stop,
            turn = turn(&mut self.active, currents, terms) => Wake::Active(turn),
            turn = turn(&mut self.next, currents, terms) => Wake::Next(turn),
            round_trips = self.ranging.finished() => Wake::Measured(round_trips),
            () = &mut self.timer => Wake::Timer,
        }
    }

    fn set_timer(&mut self) {
        let outstanding = |line: &Option<Line>| line.as_ref().and_then(Line::flow).is_some_and(Flow::is_outstanding);
        let busy = outstanding(&self.active) || outstanding(&self.next);
        let (now, clock_now) = (now(), self.room.currents.clock.now());
        let mut next = self.told + TICK;
        if busy {
            next = next.min(now + LOOK);
        }
        if let Some(free) = self.failover.wakes_at(self.preference.order(), clock_now) {
            next = next.min(now + free.since(clock_now));
        }
        self.timer.as_mut().reset(next);
    }

    /// Does what the rule orders until it orders nothing more.
    fn settle(&mut self) {
        loop {
            let (facts, now) = (self.facts(), self.room.currents.clock.now());
            let Some(order) = self.failover.decide(&facts, self.preference.order(), now) else { break };
            tracing::debug!("leg {}: {order:?}", self.config.name);
            if let Err(error) = self.obey(order) {
                self.next_failed(error);
            }
        }
        if self.active.is_none() && self.next.is_none() {
            self.view.waiting(self.last);
        }
    }

    fn facts(&self) -> Facts {
        let active = self.active.as_ref().and_then(|line| line.flow().map(|flow| (line, flow)));
        Facts {
            active: active.map(|(line, flow)| Active {
                origin: line.origin,
                verdict: flow.verdict(),
                redirected: self.redirected_route(line.origin).is_some(),
            }),
            next: self.next.as_ref().map(|line| (line.origin, line.stage())),
            others_move: self.voice.others_move(self.room.currents.clock.now()),
        }
    }

    fn obey(&mut self, order: Order) -> Result<(), PublishError> {
        match order {
            Order::Open { origin, redirected } => self.open(origin, redirected),
            Order::Publish => {
                let (start, due) = self.start();
                if let Some(flow) = self.next.as_mut().and_then(Line::flow_mut) {
                    flow.publish(start, due)?;
                }
            }
            Order::Promote => self.promote(),
            Order::Drop => {
                let next = self.next.take();
                self.leave(next);
            }
            Order::Cut => self.cut(),
        }
        Ok(())
    }

    fn open(&mut self, origin: usize, redirected: bool) {
        let elsewhere = redirected.then(|| self.redirected_route(origin)).flatten();
        let route = elsewhere.unwrap_or_else(|| self.routes[origin].clone());
        if self.active.is_none() {
            self.view.connecting(origin);
        }
        self.next = Some(Line::open(origin, route, self.room.currents.clone()));
    }

    /// The way to the place that the active connection's origin has named, if we can and will go there.
    fn redirected_route(&self, origin: usize) -> Option<Route> {
        let named = self.active.as_ref().and_then(Line::flow)?.redirect()?;
        self.routes[origin].redirected(named)
    }

    /// Where the next connection starts: where the present one is sure to have got everything before, if that one is in doubt,
    /// behind or gone; else at the newest keyframe. And from when on media is missing at the origins, if it is.
    fn start(&mut self) -> (Option<Sequence>, Option<MediaTime>) {
        let place = match self.active.as_mut().and_then(Line::flow_mut) {
            Some(flow) if flow.verdict().is_fine() && flow.has_the_past() => return (None, None),
            Some(flow) => flow.resume_at().or(self.resume),
            None => self.resume,
        };
        let start = place.filter(|_| self.config.resume == Resume::Replay).map(|place| place.sequence);
        (start, place.map(|place| place.time).or(self.room.currents.hub.first_time()))
    }

    /// From when on media is missing at the origins: with no connection, nothing gets there.
    fn missing_since(&self) -> Option<MediaTime> {
        let first = || self.room.currents.hub.first_time();
        self.active.is_none().then(|| self.resume.map(|place| place.time).or_else(first)).flatten()
    }

    fn promote(&mut self) {
        let old = std::mem::replace(&mut self.active, self.next.take());
        self.failover.promoted(self.room.currents.clock.now());
        if let Some(old) = &old {
            self.tell_replaced(old);
        }
        self.leave(old);
        self.tell_live();
    }

    /// What was left on evidence counts as a failure of its origin.
    fn tell_replaced(&mut self, old: &Line) {
        let verdict = old.verdict();
        if !verdict.is_fine() {
            let error = PublishError::Stalled(verdict);
            self.note_end(old.origin, error.outcome(), old.lived());
            self.view.replaced(old.origin, &error);
        }
    }

    fn cut(&mut self) {
        let Some(old) = self.active.take() else { return };
        let error = PublishError::Stalled(old.verdict());
        self.lost(old, error);
    }

    async fn active_turned(&mut self, turn: Result<Turn, PublishError>) {
        match turn {
            Ok(_) => {}
            Err(error) if error.outcome() == Outcome::Planned => self.roll_over(error).await,
            Err(error) => self.active_failed(error),
        }
    }

    /// A planned end: the same origin again, from the very keyframe that was next.
    async fn roll_over(&mut self, reason: PublishError) {
        let Some(flow) = self.active.as_mut().and_then(Line::flow_mut) else { return };
        self.view.missed(flow.take_holes());
        self.resume = Some(flow.place());
        tracing::info!("leg {}: {reason}", self.config.name);
        let Some(line) = self.active.take() else { return };
        self.note_end(line.origin, Outcome::Planned, line.lived());
        if let Some(flow) = line.into_flow() {
            let (conn, session) = flow.into_parts();
            conn.farewell(session, FAREWELL).await;
        }
    }

    fn active_failed(&mut self, error: PublishError) {
        let Some(line) = self.active.take() else { return };
        self.lost(line, error);
    }

    fn next_turned(&mut self, turn: Result<Turn, PublishError>) {
        match (turn, &self.next) {
            (Ok(Turn::Opened(route)), Some(line)) => self.routes[line.origin].learn(*route),
            (Ok(_), _) => {}
            (Err(error), _) => self.next_failed(error),
        }
    }

    /// The active connection is gone.
    fn lost(&mut self, mut line: Line, error: PublishError) {
        if let Some(flow) = line.flow_mut() {
            self.view.missed(flow.take_holes());
            self.resume = flow.resume_at().or(self.resume);
        }
        self.ended(line, error);
    }

    fn next_failed(&mut self, error: PublishError) {
        let Some(mut line) = self.next.take() else { return };
        if self.active.is_none()
            && let Some(flow) = line.flow_mut()
            && let Some(place) = flow.resume_at()
        {
            self.view.missed(flow.take_holes());
            self.resume = Some(place);
        }
        self.ended(line, error);
    }

    fn ended(&mut self, line: Line, error: PublishError) {
        self.last = error.outcome();
        self.note_end(line.origin, self.last, line.lived());
        let now = self.room.currents.clock.now();
        let free = self.failover.all_held_until(self.preference.order(), now);
        self.view.failed(line.origin, &error, self.active.is_some(), free.map(|free| free.since(now)));
        self.leave(Some(line));
        if let (None, Some(next)) = (&self.active, &self.next) {
            self.view.connecting(next.origin);
        }
    }

    fn note_end(&mut self, origin: usize, outcome: Outcome, lived: Duration) {
        let (facts, now) = (self.facts(), self.room.currents.clock.now());
        self.failover.ended(origin, outcome, lived, &facts, now, self.random.f64());
    }

    /// Ends a connection: with a good-bye if somebody hears it, else at once, so that the key is free if the path comes back.
    fn leave(&mut self, line: Option<Line>) {
        let Some(flow) = line.and_then(Line::into_flow) else { return };
        let fine = flow.verdict().is_fine();
        let (conn, session) = flow.into_parts();
        match fine {
            true => drop(tokio::spawn(conn.farewell(session, FAREWELL))),
            false => conn.abort(),
        }
    }

    /// Looks at the sockets and tells what is to be seen.
    fn look(&mut self) {
        match self.active.as_mut().map_or(Ok(false), |line| line.look(&mut self.view)) {
            Ok(false) => {}
            Ok(true) => self.tell_live(),
            Err(error) => self.active_failed(error),
        }
        if let Some(flow) = self.active.as_mut().and_then(Line::flow_mut) {
            self.view.missed(flow.take_holes());
        }
        if let Some(Err(error)) = self.next.as_mut().map(|line| line.look(&mut self.view)) {
            self.next_failed(error);
        }
        self.tell();
    }

    fn tell_live(&mut self) {
        let Some(line) = self.active.as_ref().filter(|line| line.told_live) else { return };
        self.view.live(line.origin);
        line.flow().inspect(|flow| self.view.measured(flow));
    }

    /// The leg's word to the other legs, its vote, and, a few times a second, its face.
    fn tell(&mut self) {
        let flow = self.active.as_ref().and_then(Line::flow).filter(|flow| flow.health().is_live());
        self.voice.tell(flow.map(Flow::moved));
        let (now, time) = (now(), self.room.currents.clock.now());
        if let Some(vote) = self.ballot.cast(flow, time, now) {
            self.view.vote(vote);
        }
        let suspect = flow.is_some_and(|flow| !flow.verdict().is_fine());
        if now - self.told < TICK && suspect == self.view.is_suspect() {
            return;
        }
        self.told = now;
        self.view.missing_since(self.missing_since());
        match flow {
            Some(flow) => self.view.measured(flow),
            None => self.view.publish(),
        }
        self.tell_whether_up();
    }

    /// What is kept because the uplink is in doubt is not live.
    fn tell_whether_up(&mut self) {
        let Some(line) = self.active.as_ref().filter(|line| line.told_live) else { return };
        match line.verdict() {
            Verdict::Fine => self.view.up(line.origin),
            verdict if is_given_up(verdict) => self.view.down(line.origin, &PublishError::Stalled(verdict)),
            _ => {}
        }
    }

    async fn close(mut self) {
        let ends = [self.active.take(), self.next.take()].into_iter().flatten();
        let mut farewells = JoinSet::new();
        for flow in ends.filter_map(Line::into_flow) {
            let (conn, session) = flow.into_parts();
            farewells.spawn(conn.farewell(session, FAREWELL));
        }
        farewells.join_all().await;
        self.view.off();
    }
}

fn routes(config: &config::Leg, room: &Room) -> Vec<Route> {
    let claim = room.places.join(if config.enabled { &config.origins } else { &[] });
    config.origins.iter().map(|origin| Route::new(origin, config.interface.clone(), claim.clone())).collect()
}

fn is_given_up(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Dead(_, quiet) if quiet >= GIVEN_UP)
}

fn terms(config: &config::Leg) -> Terms {
    Terms { backlog: config.backlog, timestamps: config.timestamps }
}

#[expect(clippy::disallowed_methods, reason = "the timer of the runtime; media time is the program's clock")]
fn now() -> Instant {
    Instant::now()
}
