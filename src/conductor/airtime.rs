//! What of the program never reached any origin, for the archive's list of what the world did not see. A rule.
//!
//! ```text
//! leg a   ────────╴ missed ╶──────────────────        every leg says what none of its origins got, once it is sure;
//! leg b   ─────────────╴ missed ╶─────────────        a leg without a connection may still send what is in memory
//!                      ╵    ╵
//!                      on no origin
//! ```
//!
//! A leg is sure late, after a reconnect, and each at another time: so the legs' stretches are compared anew whenever they are
//! looked at, and what was told is remembered. Legs that are off do not count; where all are off nobody expects a stream.

use crate::media::hub::MEMORY;
use crate::status::{Leg, LegState, Status};
use crate::units::{MediaTime, Span};

/// What is shorter than this is not worth telling: a frame that the encoder made late.
const SHORTEST_MS: u64 = 500;

/// As long as nothing gets through anywhere, it is told in pieces of this length: should the power fail, no more is unknown.
const PIECE_MS: u64 = 60_000;

/// Stretches that are remembered as told: more than all legs' together.
const REMEMBERED: usize = 256;

#[derive(Debug, Default)]
pub struct Airtime {
    /// In order, apart from each other.
    told: Vec<Span>,
}

impl Airtime {
    /// Stretches of the program that are now known to have reached no origin and have not been told.
    pub fn news(&mut self, status: &Status, now: MediaTime) -> Vec<Span> {
        let horizon = now.saturating_sub(MEMORY).millis();
        let legs = status.legs.iter().filter(|leg| leg.state != LegState::Off);
        let Some(lost) = legs.map(|leg| missed(leg, horizon)).reduce(|one, other| common(&one, &other)) else { return vec![] };
        let fresh: Vec<Span> = lost.iter().flat_map(|span| without(*span, &self.told)).collect();
        let goes_on = |span: &Span| span.until_ms == horizon && span.length_ms() < PIECE_MS;
        let news: Vec<Span> = fresh.into_iter().filter(|span| span.length_ms() >= SHORTEST_MS && !goes_on(span)).collect();
        self.remember(&news);
        news
    }

    fn remember(&mut self, news: &[Span]) {
        if news.is_empty() {
            return;
        }
        self.told.extend(news);
        self.told = joined(std::mem::take(&mut self.told));
        let excess = self.told.len().saturating_sub(REMEMBERED);
        self.told.drain(..excess);
    }
}

/// All that this leg's origins did not get: what is sure, and what is too old to be sent once it has a connection.
fn missed(leg: &Leg, horizon_ms: u64) -> Vec<Span> {
    let open = leg.missing_since_ms.map(|from_ms| Span { from_ms, until_ms: horizon_ms });
    joined(leg.missed.iter().copied().chain(open).filter(|span| span.length_ms() > 0).collect())
}

/// In order, with what overlaps or touches made one.
fn joined(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by_key(|span| span.from_ms);
    let mut joined: Vec<Span> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.from_ms <= last.until_ms => last.until_ms = last.until_ms.max(span.until_ms),
            _ => joined.push(span),
        }
    }
    joined
}

fn common(one: &[Span], other: &[Span]) -> Vec<Span> {
    one.iter().flat_map(|span| other.iter().filter_map(|of_other| span.common(*of_other))).collect()
}

/// What is left of a stretch without these, which are in order and apart.
fn without(span: Span, others: &[Span]) -> Vec<Span> {
    let mut left = Vec::new();
    let mut from_ms = span.from_ms;
    for other in others.iter().filter(|other| span.common(**other).is_some()) {
        left.push(Span { from_ms, until_ms: other.from_ms });
        from_ms = other.until_ms;
    }
    left.push(Span { from_ms, until_ms: span.until_ms });
    left.into_iter().filter(|span| span.length_ms() > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn span(from: u64, until: u64) -> Span {
        Span { from_ms: 1000 * from, until_ms: 1000 * until }
    }

    fn leg(missed: &[Span], since: Option<u64>) -> Leg {
        let state = if since.is_some() { LegState::Connecting } else { LegState::Live };
        Leg { state, missed: missed.to_vec(), missing_since_ms: since.map(|since| 1000 * since), ..Leg::default() }
    }

    fn status(legs: impl Into<Vec<Leg>>) -> Status {
        Status { legs: legs.into(), ..Status::default() }
    }

    fn at(seconds: u64) -> MediaTime {
        MediaTime::from_millis(1000 * seconds)
    }

    #[test]
    fn only_what_every_leg_missed_is_told_and_only_once() {
        let mut airtime = Airtime::default();
        assert_eq!(airtime.news(&status([leg(&[span(10, 20)], None), leg(&[], None)]), at(100)), []);
        let both = status([leg(&[span(10, 20)], None), leg(&[span(15, 30)], None)]);
        assert_eq!(airtime.news(&both, at(100)), [span(15, 20)]);
        assert_eq!(airtime.news(&both, at(101)), []);
        let later = status([leg(&[span(10, 25)], None), leg(&[span(15, 30)], None)]);
        assert_eq!(airtime.news(&later, at(102)), [span(20, 25)]);
    }

    #[test]
    fn a_leg_that_is_down_may_still_send_what_is_in_memory() {
        let mut airtime = Airtime::default();
        let down = status([leg(&[span(10, 40)], None), leg(&[], Some(10))]);
        assert_eq!(airtime.news(&down, at(21)), [], "all of it is in memory");
        let found = airtime.news(&down, at(60));
        assert_eq!(found, [span(10, 40)]);
    }

    #[test]
    fn a_long_outage_is_told_in_pieces() {
        let mut airtime = Airtime::default();
        let down = |seconds| airtime.news(&status([leg(&[], Some(10)), leg(&[], Some(5))]), at(seconds));
        let told: Vec<Span> = (10..200).flat_map(down).collect();
        assert_eq!(told, [span(10, 70), span(70, 130)]);
        let up = status([leg(&[span(10, 190)], None), leg(&[], Some(5))]);
        assert_eq!(airtime.news(&up, at(250)), [span(130, 190)]);
    }

    #[test]
    fn legs_that_are_off_do_not_count() {
        let off = Leg { state: LegState::Off, ..Leg::default() };
        let mut airtime = Airtime::default();
        assert_eq!(airtime.news(&status([off.clone(), leg(&[span(1, 2)], None)]), at(100)), [span(1, 2)]);
        assert_eq!(airtime.news(&status([off]), at(100)), []);
        assert_eq!(airtime.news(&status([]), at(100)), []);
    }

    fn some_spans() -> impl Strategy<Value = Vec<Span>> {
        prop::collection::vec((0u64..100, 1u64..20), 0..8)
            .prop_map(|spans| joined(spans.into_iter().map(|(from, length)| span(from, from + length)).collect()))
    }

    proptest! {
        /// In whatever order it becomes known: each second that all legs missed is told exactly once, and no other.
        #[test]
        fn every_second_once(one in some_spans(), other in some_spans(), steps in prop::collection::vec((0usize..9, 0usize..9), 1..10)) {
            let mut airtime = Airtime::default();
            let (mut known, mut told) = ((0, 0), Vec::new());
            for (a, b) in steps.into_iter().chain([(one.len(), other.len())]) {
                known = (known.0.max(a.min(one.len())), known.1.max(b.min(other.len())));
                let legs = [leg(&one[..known.0], None), leg(&other[..known.1], None)];
                told.extend(airtime.news(&status(legs), at(500)));
            }
            let has = |spans: &[Span], second: u64| spans.iter().filter(|s| s.common(span(second, second + 1)).is_some()).count();
            for second in 0..130 {
                prop_assert_eq!(has(&told, second), usize::from(has(&one, second) > 0 && has(&other, second) > 0), "{}", second);
            }
        }
    }
}
