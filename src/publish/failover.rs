//! Which connections a leg has, and to which origin: opened, published on, kept, left. A rule: no clock, no socket, no random
//! number of its own. The leg tells the facts, [`Failover::decide`] names the next order, until there is none.
//!
//! A leg has one connection that carries the program, the *active* one, and at times a *next* one:
//!
//! ```text
//!   no active:  open the best free origin ─▶ armed ─▶ publish ─▶ accepted: it is the active one
//!
//!   active suspect ─▶ open the spare, up to createStream: armed      (a wrong suspicion costs an idle connection)
//!   active dead ────▶ publish on it ─▶ accepted ─▶ 64 KiB of media taken: proven ─▶ promote: the old one is left
//!   active moves again before that ─▶ the next one is dropped        (make before break: nothing was interrupted)
//! ```
//!
//! The same way goes a leg back to a better origin (*failback*), and to another server when its own asks for it (*redirect*).
//! A connection that ends by itself leaves nothing to protect: the next origin is tried at once. If no leg of the box gets anything
//! through, it is our own uplink: the connections are kept, however dead they seem, because leaving one that the origin cannot hear
//! of blocks its key there for minutes; probes tell when the uplink is back.
//!
//! Every origin has its own hold, the time before which it is not tried again:
//!
//! | what happened | hold of that origin |
//! | --- | --- |
//! | refused the connection, broke off, stalled | 0.5 s, doubling to 30 s; from 0.5 s again once it had been live for 2 s |
//! | did not answer, and no leg of this box gets anything through: our own uplink | 0.5 s, doubling to 2 s only: no spare is burnt |
//! | says that the key is in use | 1 s, doubling to 15 s: it may still believe in our own connection of before |
//! | refuses for good: wrong name, key or rights | 60 s: only a person can change that, and persons are slow |
//!
//! "Live for 2 s" and not "accepted", because some servers accept a busy key and close the connection a moment later.

use std::time::Duration;

use super::circuit::Circuit;
use super::detect::{Evidence, Verdict};
use crate::units::MediaTime;

/// No two failovers on mere evidence within this.
pub const APART: Duration = Duration::from_secs(2);

/// A connection that is dead for so long is left even if no other origin can be had, unless our own uplink is in doubt.
pub const GIVEN_UP: Duration = Duration::from_secs(3);

/// A connection made for something better that is accepted and takes nothing is left after this.
const UNPROVEN: Duration = Duration::from_secs(5);

/// A spare that is held for less than this is waited for.
const SOON: Duration = Duration::from_secs(1);

/// A leg that has just changed its origin does not look for a better one yet.
const SETTLED: Duration = Duration::from_secs(10);

/// How long a spare that was opened on a suspicion is kept after it was disproved.
const KEPT: Duration = Duration::from_secs(5);

/// Idle connections are renewed before servers end them (SRS after 30 s).
const IDLE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Connect to this origin, up to createStream. `redirected`: to the place that it named itself.
    Open { origin: usize, redirected: bool },
    /// Publish on the next connection.
    Publish,
    /// The next connection becomes the active one; the old one is left.
    Promote,
    /// Leave the next connection.
    Drop,
    /// Leave the active connection.
    Cut,
}

/// Why a connection ended or could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Failed,
    /// Nobody answered: the origin, or our own uplink.
    Unanswered,
    Busy,
    Refused,
    /// Ended by ourselves, to go on at the same origin.
    Planned,
}

/// How far the next connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Opening,
    /// createStream is answered.
    Armed,
    /// "publish" is sent.
    Publishing,
    /// The origin waits for media or takes it; `proven`: enough of it.
    Accepted {
        proven: bool,
    },
}

/// How things are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Facts {
    pub active: Option<Active>,
    pub next: Option<(usize, Stage)>,
    /// Whether any other leg of this box gets something through; `None`: there is no other.
    pub others_move: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Active {
    pub origin: usize,
    pub verdict: Verdict,
    /// The origin has named another place to go to.
    pub redirected: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// There is no active connection, or a suspected one.
    Rescue,
    Failback,
    Redirect,
    Warm,
}

/// What a leg wishes beside staying on air.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    pub failback: bool,
    pub warm: bool,
}

#[derive(Debug)]
pub struct Failover {
    wishes: Wishes,
    origins: Vec<Circuit>,
    /// The origin that was left last: it comes last.
    left: Option<usize>,
    /// To stay at this origin although its connection has ended.
    stay: Option<usize>,
    next: Option<Next>,
    /// When the active connection became it.
    switched: MediaTime,
    /// When the active connection was last not fine.
    troubled: Option<MediaTime>,
}

#[derive(Clone, Copy, Debug)]
struct Next {
    purpose: Purpose,
    opened: MediaTime,
}

impl Failover {
    /// `origins`: how many there are, at least one.
    pub fn new(origins: usize, wishes: Wishes) -> Self {
        let origins = std::iter::repeat_with(Circuit::default).take(origins.max(1)).collect();
        Self { wishes, origins, left: None, stay: None, next: None, switched: MediaTime::ZERO, troubled: None }
    }

    /// The next thing to do; to be asked again after it was done. `order`: the leg's preference, the best origin first.
    pub fn decide(&mut self, facts: &Facts, order: &[usize], now: MediaTime) -> Option<Order> {
        if facts.next.is_none() {
            self.next = None;
        }
        match facts.active {
            None => self.without_active(facts, order, now),
            Some(active) => match active.verdict {
                Verdict::Fine => self.while_fine(active, facts, order, now),
                Verdict::Suspect(..) => self.while_suspect(active, facts, order, now),
                Verdict::Dead(_, quiet) => self.while_dead(active, quiet, facts, order, now),
            },
        }
    }

    /// Nothing to do before this, unless the facts change; `None`: nothing at all.
    pub fn wakes_at(&self, order: &[usize], now: MediaTime) -> Option<MediaTime> {
        order.iter().map(|origin| self.origins[*origin].hold()).filter(|hold| *hold > now).min()
    }

    /// When the first origin is free again, if all are held.
    pub fn all_held_until(&self, order: &[usize], now: MediaTime) -> Option<MediaTime> {
        let any_free = order.iter().any(|origin| self.is_free(*origin, now));
        self.wakes_at(order, now).filter(|_| !any_free)
    }

    /// A connection to `origin` could not be had, or has ended after media had been live on it for `lived`.
    pub fn ended(&mut self, origin: usize, outcome: Outcome, lived: Duration, facts: &Facts, now: MediaTime, random: f64) {
        let own_uplink = facts.others_move != Some(true) && facts.active.is_none_or(|active| !active.verdict.is_fine());
        self.origins[origin].ended(outcome, lived, own_uplink, now, random);
        let planned = outcome == Outcome::Planned;
        self.stay = planned.then_some(origin);
        self.left = (!planned).then_some(origin);
    }

    /// The next connection has become the active one.
    pub fn promoted(&mut self, now: MediaTime) {
        (self.switched, self.next, self.troubled, self.stay) = (now, None, None, None);
    }

    fn without_active(&mut self, facts: &Facts, order: &[usize], now: MediaTime) -> Option<Order> {
        match facts.next {
            None => {
                let origin = self.stay.or_else(|| self.best_free(order, now))?;
                self.open(origin, Purpose::Rescue, now)
            }
            Some((origin, Stage::Armed)) if self.stay.is_some_and(|stay| stay != origin) => Some(Order::Drop),
            Some((_, Stage::Armed)) => Some(Order::Publish),
            Some((_, Stage::Accepted { .. })) => Some(Order::Promote),
            Some((_, Stage::Opening | Stage::Publishing)) => None,
        }
    }

    fn while_fine(&mut self, active: Active, facts: &Facts, order: &[usize], now: MediaTime) -> Option<Order> {
        let Some((origin, stage)) = facts.next else {
            return self.improve(active, order, now);
        };
        let next = self.next?;
        let idle = now.since(next.opened);
        match (next.purpose, stage) {
            (_, Stage::Accepted { proven: true }) => Some(Order::Promote),
            (Purpose::Rescue, Stage::Publishing | Stage::Accepted { .. }) => Some(Order::Drop),
            (_, Stage::Accepted { .. }) if idle > UNPROVEN => {
                self.origins[origin].ended(Outcome::Failed, Duration::ZERO, false, now, 0.5);
                Some(Order::Drop)
            }
            (Purpose::Failback | Purpose::Redirect, Stage::Armed) => Some(Order::Publish),
            (Purpose::Warm, Stage::Armed) if active.redirected || self.better(active.origin, order, now).is_some() => {
                Some(Order::Drop)
            }
            (Purpose::Rescue, Stage::Armed | Stage::Opening) if !self.wishes.warm && !self.is_troubled(now) => Some(Order::Drop),
            (Purpose::Rescue | Purpose::Warm, Stage::Armed) => (idle > IDLE).then_some(Order::Drop),
            _ => None,
        }
    }

    /// There was a suspicion not long ago.
    fn is_troubled(&self, now: MediaTime) -> bool {
        self.troubled.is_some_and(|time| now.since(time) < KEPT)
    }

    /// The active connection is fine and alone.
    fn improve(&mut self, active: Active, order: &[usize], now: MediaTime) -> Option<Order> {
        if active.redirected && self.is_free(active.origin, now) && now.since(self.switched) >= APART {
            self.open(active.origin, Purpose::Redirect, now);
            return Some(Order::Open { origin: active.origin, redirected: true });
        }
        if let Some(better) = self.better(active.origin, order, now) {
            return self.open(better, Purpose::Failback, now);
        }
        let spare = order.iter().copied().find(|origin| *origin != active.origin && self.is_free(*origin, now));
        self.open(spare.filter(|_| self.wishes.warm)?, Purpose::Warm, now)
    }

    /// A better origin than the active one that may be gone back to.
    fn better(&self, active: usize, order: &[usize], now: MediaTime) -> Option<usize> {
        if !self.wishes.failback || now.since(self.switched) < SETTLED {
            return None;
        }
        let mut better = order.iter().copied().take_while(|origin| *origin != active);
        better.find(|origin| self.origins[*origin].is_trusted(now))
    }

    fn while_suspect(&mut self, active: Active, facts: &Facts, order: &[usize], now: MediaTime) -> Option<Order> {
        self.troubled = Some(now);
        match facts.next {
            None => {
                let origin = self.rescuer(active.origin, order, now)?;
                self.open(origin, Purpose::Rescue, now)
            }
            Some(_) => None,
        }
    }

    fn while_dead(&mut self, active: Active, quiet: Duration, facts: &Facts, order: &[usize], now: MediaTime) -> Option<Order> {
        self.troubled = Some(now);
        match facts.next {
            Some((_, Stage::Accepted { proven: true })) => Some(Order::Promote),
            // A second connection under the same key would be refused: the dead one must go first.
            Some((origin, Stage::Armed)) if origin == active.origin => Some(Order::Cut),
            Some((_, Stage::Armed)) if now.since(self.switched) >= APART => {
                self.next = self.next.map(|next| Next { purpose: Purpose::Rescue, ..next });
                Some(Order::Publish)
            }
            _ if quiet >= GIVEN_UP && !own_uplink(active, facts) => Some(Order::Cut),
            Some(_) => None,
            None => {
                let origin = self.rescuer(active.origin, order, now)?;
                self.open(origin, Purpose::Rescue, now)
            }
        }
    }

    /// The best free origin but the active one; if no other will be free soon, the active one itself, as a probe.
    fn rescuer(&self, active: usize, order: &[usize], now: MediaTime) -> Option<usize> {
        let others = || order.iter().copied().filter(|origin| *origin != active);
        let soon = others().any(|origin| self.is_free(origin, now + SOON));
        others().find(|origin| self.is_free(*origin, now)).or((!soon && self.is_free(active, now)).then_some(active))
    }

    /// The best free origin; the one that was left last comes last.
    fn best_free(&self, order: &[usize], now: MediaTime) -> Option<usize> {
        let free = |origin: &usize| self.is_free(*origin, now);
        let other = order.iter().copied().find(|origin| Some(*origin) != self.left && free(origin));
        other.or_else(|| self.left.filter(free))
    }

    fn is_free(&self, origin: usize, now: MediaTime) -> bool {
        self.origins[origin].is_free(now)
    }

    fn open(&mut self, origin: usize, purpose: Purpose, now: MediaTime) -> Option<Order> {
        self.next = Some(Next { purpose, opened: now });
        self.stay = None;
        Some(Order::Open { origin, redirected: false })
    }
}

/// Nothing gets through here, nor on any other leg.
fn own_uplink(active: Active, facts: &Facts) -> bool {
    matches!(active.verdict, Verdict::Dead(Evidence::Path { .. }, _)) && facts.others_move != Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: Wishes = Wishes { failback: false, warm: false };
    const ZERO: Duration = Duration::ZERO;
    const NOBODY: Facts = Facts { active: None, next: None, others_move: None };

    fn at(millis: u64) -> MediaTime {
        MediaTime::from_millis(millis)
    }

    fn open(origin: usize) -> Option<Order> {
        Some(Order::Open { origin, redirected: false })
    }

    fn suspect() -> Verdict {
        Verdict::Suspect(Evidence::Frozen, Duration::from_millis(200))
    }

    fn dead(millis: u64) -> Verdict {
        Verdict::Dead(Evidence::Frozen, Duration::from_millis(millis))
    }

    fn facts(origin: usize, verdict: Verdict, next: Option<(usize, Stage)>) -> Facts {
        Facts { active: Some(Active { origin, verdict, redirected: false }), next, others_move: Some(true) }
    }

    /// A leg that is live on origin 0 since 0.
    fn live(origins: usize, wishes: Wishes) -> Failover {
        let mut failover = Failover::new(origins, wishes);
        failover.promoted(at(0));
        failover
    }

    #[test]
    fn a_leg_opens_publishes_and_takes_the_first_origin() {
        let mut failover = Failover::new(2, PLAIN);
        let mut next = |next| failover.decide(&Facts { next, ..NOBODY }, &[0, 1], at(0));
        assert_eq!(next(None), open(0));
        assert_eq!(next(Some((0, Stage::Opening))), None);
        assert_eq!(next(Some((0, Stage::Armed))), Some(Order::Publish));
        assert_eq!(next(Some((0, Stage::Publishing))), None);
        assert_eq!(next(Some((0, Stage::Accepted { proven: false }))), Some(Order::Promote), "there is nothing to protect");
    }

    #[test]
    fn a_connection_that_ends_is_replaced_by_the_spare_at_once_and_the_first_is_tried_after_its_hold() {
        let mut failover = live(2, PLAIN);
        failover.ended(0, Outcome::Failed, ZERO, &NOBODY, at(100), 0.5);
        assert_eq!(failover.decide(&NOBODY, &[0, 1], at(100)), open(1));
        failover.ended(1, Outcome::Failed, ZERO, &NOBODY, at(200), 0.5);
        assert_eq!(failover.decide(&NOBODY, &[0, 1], at(200)), None);
        assert_eq!(failover.wakes_at(&[0, 1], at(200)), Some(at(600)));
        assert_eq!([200, 600].map(|now| failover.all_held_until(&[0, 1], at(now))), [Some(at(600)), None]);
        assert_eq!(failover.decide(&NOBODY, &[0, 1], at(600)), open(0));
    }

    #[test]
    fn a_dead_path_is_replaced_without_being_broken_before() {
        let mut failover = live(2, PLAIN);
        let mut step = |millis, verdict, next| failover.decide(&facts(0, verdict, next), &[0, 1], at(millis));
        assert_eq!(step(9000, suspect(), None), open(1));
        assert_eq!(step(9010, suspect(), Some((1, Stage::Armed))), None, "armed, and no more, on a suspicion");
        assert_eq!(step(9200, dead(400), Some((1, Stage::Armed))), Some(Order::Publish));
        assert_eq!(step(9202, dead(402), Some((1, Stage::Publishing))), None);
        assert_eq!(step(9204, dead(404), Some((1, Stage::Accepted { proven: false }))), None);
        assert_eq!(step(9230, dead(430), Some((1, Stage::Accepted { proven: true }))), Some(Order::Promote));
    }

    #[test]
    fn a_wrong_suspicion_costs_an_idle_connection() {
        let mut failover = live(2, PLAIN);
        let mut step = |millis, verdict, next| failover.decide(&facts(0, verdict, next), &[0, 1], at(millis));
        assert_eq!(step(9000, suspect(), None), open(1));
        assert_eq!(step(9100, Verdict::Fine, Some((1, Stage::Armed))), None, "kept for a while");
        assert_eq!(step(14_000, Verdict::Fine, Some((1, Stage::Armed))), Some(Order::Drop));
        assert_eq!(step(20_000, dead(500), None), open(1));
        assert_eq!(step(20_500, dead(900), Some((1, Stage::Armed))), Some(Order::Publish));
        assert_eq!(step(20_600, Verdict::Fine, Some((1, Stage::Accepted { proven: false }))), Some(Order::Drop));
    }

    #[test]
    fn two_failovers_on_evidence_are_two_seconds_apart() {
        let mut failover = Failover::new(3, PLAIN);
        failover.promoted(at(10_000));
        let armed = facts(0, dead(500), Some((1, Stage::Armed)));
        assert_eq!(failover.decide(&armed, &[0, 1, 2], at(11_999)), None);
        assert_eq!(failover.decide(&armed, &[0, 1, 2], at(12_000)), Some(Order::Publish));
    }

    #[test]
    fn a_single_origin_is_probed_and_the_dead_connection_cut_before_publishing() {
        let mut failover = live(1, PLAIN);
        assert_eq!(failover.decide(&facts(0, suspect(), None), &[0], at(5000)), open(0));
        assert_eq!(failover.decide(&facts(0, dead(400), Some((0, Stage::Armed))), &[0], at(5200)), Some(Order::Cut));
        let facts = Facts { next: Some((0, Stage::Armed)), ..NOBODY };
        failover.ended(0, Outcome::Unanswered, Duration::from_secs(5), &facts, at(5200), 0.5);
        assert_eq!(failover.decide(&facts, &[0], at(5200)), Some(Order::Publish));
    }

    #[test]
    fn what_is_dead_for_three_seconds_is_left_whatever_else_there_is() {
        for next in [None, Some((1, Stage::Opening)), Some((1, Stage::Publishing))] {
            let mut failover = live(2, PLAIN);
            assert_eq!(failover.decide(&facts(0, dead(3000), next), &[0, 1], at(9000)), Some(Order::Cut));
        }
    }

    #[test]
    fn while_nothing_moves_anywhere_nothing_is_left() {
        let dead = Verdict::Dead(Evidence::Path { outstanding: 1 }, Duration::from_secs(30));
        for (others_move, order) in [(Some(true), Some(Order::Cut)), (Some(false), None), (None, None)] {
            let facts = Facts { others_move, ..facts(0, dead, Some((1, Stage::Opening))) };
            assert_eq!(live(2, PLAIN).decide(&facts, &[0, 1], at(60_000)), order, "{others_move:?}");
        }
        let back = Facts { others_move: None, ..facts(0, dead, Some((0, Stage::Armed))) };
        assert_eq!(live(1, PLAIN).decide(&back, &[0], at(60_000)), Some(Order::Cut), "the probe got through");
    }

    #[test]
    fn a_warm_spare_that_was_called_for_nothing_goes_again() {
        let mut failover = live(2, Wishes { failback: false, warm: true });
        let mut step = |millis, verdict, next| failover.decide(&facts(0, verdict, next), &[0, 1], at(millis));
        assert_eq!(step(5000, Verdict::Fine, None), open(1));
        assert_eq!(step(6000, dead(400), Some((1, Stage::Armed))), Some(Order::Publish));
        assert_eq!(step(6010, Verdict::Fine, Some((1, Stage::Accepted { proven: false }))), Some(Order::Drop));
    }

    #[test]
    fn a_better_origin_that_takes_nothing_is_left_and_held() {
        let mut failover = live(2, Wishes { failback: true, warm: false });
        let mut step = |millis, next| failover.decide(&facts(1, Verdict::Fine, next), &[0, 1], at(millis));
        assert_eq!(step(20_000, None), open(0));
        assert_eq!(step(25_000, Some((0, Stage::Accepted { proven: false }))), None);
        assert_eq!(step(25_001, Some((0, Stage::Accepted { proven: false }))), Some(Order::Drop));
        assert_eq!(step(26_000, None), None);
    }

    #[test]
    fn a_planned_end_goes_on_at_its_own_origin_though_a_spare_is_armed() {
        let mut failover = live(2, Wishes { failback: false, warm: true });
        failover.ended(0, Outcome::Planned, ZERO, &NOBODY, at(0), 0.5);
        let armed = Facts { next: Some((1, Stage::Armed)), ..NOBODY };
        assert_eq!(failover.decide(&armed, &[0, 1], at(0)), Some(Order::Drop));
        assert_eq!(failover.decide(&NOBODY, &[0, 1], at(0)), open(0));
    }

    #[test]
    fn a_redirection_that_leads_nowhere_is_not_hammered() {
        let mut failover = live(1, PLAIN);
        let active = Some(Active { origin: 0, verdict: Verdict::Fine, redirected: true });
        let facts = Facts { active, ..NOBODY };
        assert!(failover.decide(&facts, &[0], at(5000)).is_some());
        failover.ended(0, Outcome::Failed, ZERO, &facts, at(5001), 0.5);
        assert_eq!(failover.decide(&facts, &[0], at(5002)), None);
    }

    #[test]
    fn our_own_uplink_burns_no_spare() {
        for (others_move, most) in [(Some(true), 24_000), (Some(false), 1600), (None, 1600)] {
            let (mut failover, mut hold) = (live(1, PLAIN), 0);
            for round in 0..9 {
                let now = at(round * 100_000);
                failover.ended(0, Outcome::Unanswered, ZERO, &Facts { others_move, ..NOBODY }, now, 0.5);
                hold = failover.wakes_at(&[0], now).unwrap().since(now).as_millis();
            }
            assert_eq!(hold, most, "{others_move:?}");
        }
    }

    #[test]
    fn only_two_seconds_of_live_media_count_as_success() {
        for (lived, hold) in [(1999, 1000), (2000, 500)] {
            let mut failover = live(1, PLAIN);
            failover.ended(0, Outcome::Failed, ZERO, &NOBODY, at(0), 0.5);
            failover.ended(0, Outcome::Failed, Duration::from_millis(lived), &NOBODY, at(9000), 0.5);
            assert_eq!(failover.wakes_at(&[0], at(9000)), Some(at(9000 + hold)));
        }
    }

    #[test]
    fn busy_refused_and_planned_have_their_own_holds() {
        let table = [(Outcome::Busy, Some(1000)), (Outcome::Refused, Some(60_000)), (Outcome::Planned, None)];
        for (outcome, hold) in table {
            let mut failover = live(1, PLAIN);
            failover.ended(0, outcome, ZERO, &NOBODY, at(0), 0.5);
            assert_eq!(failover.wakes_at(&[0], at(0)), hold.map(at), "{outcome:?}");
        }
        let mut failover = live(2, PLAIN);
        failover.ended(1, Outcome::Planned, ZERO, &NOBODY, at(0), 0.5);
        assert_eq!(failover.decide(&NOBODY, &[0, 1], at(0)), open(1), "goes on where it was");
    }

    #[test]
    fn failback_comes_after_its_dwell_and_breaks_nothing() {
        let mut failover = live(2, Wishes { failback: true, warm: false });
        failover.ended(0, Outcome::Failed, Duration::from_secs(60), &NOBODY, at(0), 0.5);
        failover.promoted(at(10));
        let mut step = |millis, next| failover.decide(&facts(1, Verdict::Fine, next), &[0, 1], at(millis));
        assert_eq!(step(29_999, None), None);
        assert_eq!(step(30_000, None), open(0));
        assert_eq!(step(30_010, Some((0, Stage::Armed))), Some(Order::Publish));
        assert_eq!(step(30_020, Some((0, Stage::Accepted { proven: false }))), None);
        assert_eq!(step(30_030, Some((0, Stage::Accepted { proven: true }))), Some(Order::Promote));
    }

    #[test]
    fn an_origin_that_comes_and_goes_is_trusted_ever_later() {
        let mut failover = live(2, Wishes { failback: true, warm: false });
        let mut dwells = Vec::new();
        for round in 0..7u64 {
            let now = round * 10_000_000;
            failover.ended(0, Outcome::Failed, Duration::from_secs(5), &NOBODY, at(now), 0.5);
            failover.promoted(at(now));
            let later = (0..1000).map(|second| now + 1000 * second);
            let mut back = later.filter(|time| failover.decide(&facts(1, Verdict::Fine, None), &[0, 1], at(*time)).is_some());
            dwells.push((back.next().unwrap() - now) / 1000);
        }
        assert_eq!(dwells, [30, 60, 120, 240, 480, 480, 480]);
    }

    #[test]
    fn a_warm_spare_is_kept_and_renewed_before_servers_end_it() {
        let mut failover = live(2, Wishes { failback: false, warm: true });
        let mut step = |millis, next| failover.decide(&facts(0, Verdict::Fine, next), &[0, 1], at(millis));
        assert_eq!(step(0, None), open(1));
        assert_eq!(step(20_000, Some((1, Stage::Armed))), None);
        assert_eq!(step(20_001, Some((1, Stage::Armed))), Some(Order::Drop));
        assert_eq!(step(20_002, None), open(1));
        assert_eq!(step(20_100, Some((1, Stage::Armed))), None);
    }

    #[test]
    fn a_redirection_is_followed_without_a_break() {
        let mut failover = live(2, PLAIN);
        let redirected = |next| Facts {
            active: Some(Active { origin: 0, verdict: Verdict::Fine, redirected: true }),
            next,
            others_move: None,
        };
        let mut step = |next| failover.decide(&redirected(next), &[0, 1], at(5000));
        assert_eq!(step(None), Some(Order::Open { origin: 0, redirected: true }));
        assert_eq!(step(Some((0, Stage::Armed))), Some(Order::Publish));
        assert_eq!(step(Some((0, Stage::Accepted { proven: true }))), Some(Order::Promote));
    }

    /// A world of origins that come and go, and a leg that does as it is told.
    struct World {
        healthy: Vec<bool>,
        failover: Failover,
        order: Vec<usize>,
        active: Option<(usize, MediaTime)>,
        next: Option<(usize, Stage, MediaTime)>,
        /// Since when the active connection takes nothing.
        silent: Option<MediaTime>,
        soft_switches: Vec<MediaTime>,
        ended: Vec<Option<(MediaTime, Outcome)>>,
        now: MediaTime,
    }

    impl World {
        fn facts(&self) -> Facts {
            let verdict = |quiet: Duration| match quiet.as_millis() {
                0..200 => Verdict::Fine,
                200..400 => Verdict::Suspect(Evidence::Frozen, quiet),
                _ => Verdict::Dead(Evidence::Frozen, quiet),
            };
            let quiet = self.silent.map_or(ZERO, |since| self.now.since(since));
            let active = self.active.map(|(origin, _)| Active { origin, verdict: verdict(quiet), redirected: false });
            Facts { active, next: self.next.map(|(origin, stage, _)| (origin, stage)), others_move: Some(true) }
        }

        fn end(&mut self, origin: usize, lived: Duration) {
            let facts = self.facts();
            self.failover.ended(origin, Outcome::Failed, lived, &facts, self.now, 0.5);
            self.ended[origin] = Some((self.now, Outcome::Failed));
        }

        /// 10 ms later.
        fn step(&mut self, resets: bool) -> Result<(), TestCaseError> {
            self.now = self.now + Duration::from_millis(10);
            if let Some((origin, since)) = self.active {
                match self.healthy[origin] {
                    true => self.silent = None,
                    false if resets => {
                        self.active = None;
                        self.silent = None;
                        self.end(origin, self.now.since(since));
                    }
                    false => drop(self.silent.get_or_insert(self.now)),
                }
            }
            if let Some((origin, stage, since)) = self.next {
                let healthy = self.healthy[origin];
                let stage = match stage {
                    Stage::Opening if healthy => Stage::Armed,
                    Stage::Publishing if healthy => Stage::Accepted { proven: false },
                    Stage::Accepted { .. } if healthy => Stage::Accepted { proven: true },
                    stage => stage,
                };
                self.next = Some((origin, stage, since));
                if !healthy && (resets || self.now.since(since) > Duration::from_secs(2)) {
                    self.next = None;
                    self.end(origin, ZERO);
                }
            }
            for turn in 0.. {
                prop_assert!(turn < 5, "orders without an end");
                let facts = self.facts();
                let Some(order) = self.failover.decide(&facts, &self.order, self.now) else { break };
                self.obey(order)?;
            }
            Ok(())
        }

        fn obey(&mut self, order: Order) -> Result<(), TestCaseError> {
            match (order, self.next) {
                (Order::Open { origin, .. }, None) => {
                    if let Some((end, _)) = self.ended[origin] {
                        prop_assert!(self.now.since(end) >= Duration::from_millis(375), "opened while held");
                    }
                    self.next = Some((origin, Stage::Opening, self.now));
                }
                (Order::Publish, Some((origin, Stage::Armed, _))) => {
                    prop_assert!(self.active.is_none_or(|(active, _)| active != origin), "the same key twice");
                    self.next = Some((origin, Stage::Publishing, self.now));
                }
                (Order::Promote, Some((origin, Stage::Accepted { proven }, _))) => {
                    if self.active.is_some() {
                        prop_assert!(proven, "broken before made");
                        if self.silent.is_some() {
                            let last = self.soft_switches.last();
                            prop_assert!(last.is_none_or(|last| self.now.since(*last) >= APART), "too soon");
                        }
                        self.soft_switches.push(self.now);
                    }
                    self.active = Some((origin, self.now));
                    (self.next, self.silent) = (None, None);
                    self.failover.promoted(self.now);
                }
                (Order::Drop, Some(_)) => self.next = None,
                (Order::Cut, _) => {
                    let Some((origin, since)) = self.active.take() else {
                        return Err(TestCaseError::fail("cut nothing"));
                    };
                    prop_assert!(self.silent.is_some(), "cut what is fine");
                    self.silent = None;
                    self.end(origin, self.now.since(since));
                }
                (order, next) => return Err(TestCaseError::fail(format!("{order:?} with {next:?}"))),
            }
            Ok(())
        }
    }

    proptest! {
        /// Whatever the origins do: orders fit, nothing is broken before something else is made, holds are kept, and
        /// once an origin is healthy the leg is on a healthy one.
        #[test]
        fn a_leg_in_a_changing_world(
            count in 1usize..5,
            failback: bool,
            warm: bool,
            resets: bool,
            changes in prop::collection::vec((0usize..4, 1u32..400), 1..40),
        ) {
            let mut world = World {
                healthy: vec![true; count],
                failover: Failover::new(count, Wishes { failback, warm }),
                order: (0..count).collect(),
                active: None,
                next: None,
                silent: None,
                soft_switches: Vec::new(),
                ended: vec![None; count],
                now: at(0),
            };
            for (origin, steps) in changes {
                world.healthy[origin % count] ^= true;
                for _ in 0..steps {
                    world.step(resets)?;
                }
            }
            world.healthy.fill(true);
            for _ in 0..3600 {
                world.step(resets)?;
            }
            prop_assert!(world.active.is_some() && world.silent.is_none(), "not live on a healthy origin after 36 s");
        }
    }
}
