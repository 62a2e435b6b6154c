//! The bit rate on which the legs agree: one encoder feeds them all, so that the lowest vote decides. A rule; it votes for
//! nobody and knows no encoder.
//!
//! Every live leg says in its status what it can carry. The program follows the lowest vote between its floor and what the
//! operator asked for: down at once, up in small steps, at most one change a second. A leg that is not live, or that cannot
//! carry the floor, has no vote. With no vote at all the rate stays as it is while a leg is live, and otherwise rises to the
//! operator's, for the archive's sake.

use std::time::Duration;

use crate::status::{Leg, LegState, Status};
use crate::units::{BitRate, MediaTime};

/// Between two changes.
pub const PACE: Duration = Duration::from_secs(1);

/// A rise is told this long after the last event at the earliest; a small one after [`RARELY`].
const SELDOM: Duration = Duration::from_secs(10);
const RARELY: Duration = Duration::from_secs(60);

/// What was agreed before, and what was said of it.
#[derive(Debug, Default)]
pub struct Agreement {
    changed: Option<MediaTime>,
    told: Option<Told>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    /// Under which limit of the operator's.
    limit: BitRate,
    rate: BitRate,
    at: MediaTime,
}

impl Agreement {
    /// The rate that the encoder should change to now, if any.
    pub fn next(&self, status: &Status, floor: BitRate, now: MediaTime) -> Option<BitRate> {
        let (rate, limit) = rates(status)?;
        let wanted = wanted(status, floor, rate, limit);
        let early = self.changed.is_some_and(|changed| now.since(changed) < PACE);
        let next = if wanted > rate { wanted.min(risen(rate, limit)) } else { wanted };
        (next != rate && !early).then_some(next)
    }

    /// The encoder was told.
    pub fn changed(&mut self, now: MediaTime) {
        self.changed = Some(now);
    }

    /// What a person should know of the rate, if it is news.
    pub fn news(&mut self, status: &Status, now: MediaTime) -> Option<String> {
        let (rate, limit) = rates(status)?;
        let silent = Told { limit, rate, at: now };
        let told = self.told.filter(|told| told.limit == limit);
        let Some(told) = told else {
            // At the start there is nothing to say; what the operator changed, the program says itself.
            self.told = Some(Told { rate: limit, ..silent });
            return None;
        };
        let quiet = now.since(told.at);
        let fallen = rate.bps() <= told.rate.bps() / 5 * 4;
        let risen = rate.bps() >= told.rate.bps() / 5 * 6 && quiet >= SELDOM;
        let full_or_not = (rate == limit) != (told.rate == limit) && quiet >= RARELY;
        if !(fallen || risen || full_or_not) {
            return None;
        }
        self.told = Some(silent);
        Some(sentence(status, told.rate, rate, limit))
    }
}

/// The encoder's rate and the operator's; `None` as long as there is no program.
fn rates(status: &Status) -> Option<(BitRate, BitRate)> {
    let (rate, limit) = (status.program.video_bitrate_bps, status.program.video_bitrate_limit_bps);
    (rate > 0 && limit > 0).then(|| (BitRate::from_bps(rate), BitRate::from_bps(limit)))
}

fn wanted(status: &Status, floor: BitRate, rate: BitRate, limit: BitRate) -> BitRate {
    let clamped = |rate: BitRate| rate.max(floor).min(limit);
    match lowest(status) {
        Some((_, vote)) => clamped(clamped(vote).rounded()),
        None if status.legs.iter().any(|leg| leg.state == LegState::Live) => clamped(rate),
        None => limit,
    }
}

fn lowest(status: &Status) -> Option<(&Leg, BitRate)> {
    let live = status.legs.iter().filter(|leg| leg.state == LegState::Live);
    let votes = live.filter_map(|leg| Some((leg, BitRate::from_bps(leg.wanted_bitrate_bps?))));
    votes.min_by_key(|(_, vote)| *vote)
}

fn risen(rate: BitRate, limit: BitRate) -> BitRate {
    let step = (limit.bps() / 20).max(100_000);
    BitRate::from_bps(rate.bps() + step).rounded()
}

fn sentence(status: &Status, before: BitRate, rate: BitRate, limit: BitRate) -> String {
    let cause = match lowest(status) {
        Some((leg, vote)) if vote < limit => format!("leg {} carries {vote}: ", leg.name),
        _ => String::new(),
    };
    match (rate > before, rate == limit) {
        (true, true) => format!("video bit rate back at {rate}"),
        (true, false) => format!("video bit rate raised to {rate} of {limit}"),
        (false, _) => format!("{cause}video bit rate lowered to {rate} of {limit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Program;
    use proptest::prelude::*;

    const FLOOR: BitRate = BitRate::from_bps(500_000);

    fn at(millis: u64) -> MediaTime {
        MediaTime::from_millis(millis)
    }

    fn leg(name: &str, state: LegState, wanted: Option<u64>) -> Leg {
        Leg { name: name.into(), state, wanted_bitrate_bps: wanted, ..Leg::default() }
    }

    fn status(rate: u64, legs: Vec<Leg>) -> Status {
        let program = Program { video_bitrate_bps: rate, video_bitrate_limit_bps: 6_000_000, ..Program::default() };
        Status { program, legs, ..Status::default() }
    }

    #[test]
    fn the_lowest_vote_of_a_live_leg_decides() {
        use LegState::{Connecting, Live, Off};
        type Votes = &'static [(LegState, Option<u64>)];
        let table: &[(u64, Votes, Option<u64>)] = &[
            (6_000_000, &[(Live, Some(6_000_000)), (Live, Some(2_000_000))], Some(2_000_000)),
            (6_000_000, &[(Live, Some(2_040_000))], Some(2_000_000)),
            (6_000_000, &[(Live, Some(100_000)), (Live, None)], Some(500_000)),
            (6_000_000, &[(Live, None), (Connecting, Some(2_000_000))], None),
            (6_000_000, &[(Live, Some(9_000_000))], None),
            (2_000_000, &[(Live, Some(6_000_000))], Some(2_300_000)),
            (5_900_000, &[(Live, Some(6_000_000))], Some(6_000_000)),
            (2_000_000, &[(Live, None), (Live, None)], None),
            (2_000_000, &[(Live, None), (Live, Some(2_100_000))], Some(2_100_000)),
            (2_000_000, &[(Connecting, None), (Off, None)], Some(2_300_000)),
            (7_000_000, &[(Live, None)], Some(6_000_000)),
            (0, &[(Live, Some(2_000_000))], None),
        ];
        for (rate, legs, wanted) in table {
            let legs = legs.iter().map(|(state, vote)| leg("a", *state, *vote)).collect();
            let next = Agreement::default().next(&status(*rate, legs), FLOOR, at(0));
            assert_eq!(next.map(BitRate::bps), *wanted, "{rate} {wanted:?}");
        }
    }

    #[test]
    fn one_change_a_second() {
        let mut agreement = Agreement::default();
        agreement.changed(at(5000));
        let status = status(6_000_000, vec![leg("a", LegState::Live, Some(1_000_000))]);
        assert_eq!(agreement.next(&status, FLOOR, at(5900)), None);
        assert_eq!(agreement.next(&status, FLOOR, at(6000)), Some(BitRate::from_bps(1_000_000)));
    }

    #[test]
    fn a_fall_is_told_at_once_with_its_cause_a_rise_seldom_and_trifles_not() {
        let mut agreement = Agreement::default();
        let mut tell = |rate: u64, second: u64| {
            let legs = vec![leg("a", LegState::Live, Some(6_000_000)), leg("b", LegState::Live, Some(rate))];
            agreement.news(&status(rate, legs), at(second * 1000))
        };
        assert_eq!(tell(6_000_000, 0), None);
        let fall = tell(2_000_000, 1).unwrap();
        assert_eq!(fall, "leg b carries 2.0 Mbit/s: video bit rate lowered to 2.0 Mbit/s of 6.0 Mbit/s");
        assert_eq!(tell(1_900_000, 2), None);
        assert_eq!(tell(3_000_000, 5), None);
        assert_eq!(tell(3_500_000, 12).unwrap(), "video bit rate raised to 3.5 Mbit/s of 6.0 Mbit/s");
        assert_eq!(tell(5_800_000, 22).unwrap(), "video bit rate raised to 5.8 Mbit/s of 6.0 Mbit/s");
        assert_eq!(tell(6_000_000, 24), None);
        assert_eq!(tell(6_000_000, 82).unwrap(), "video bit rate back at 6.0 Mbit/s");
    }

    #[test]
    fn the_operator_s_own_change_is_no_news() {
        let mut agreement = Agreement::default();
        let mut now = status(6_000_000, vec![]);
        assert_eq!(agreement.news(&now, at(0)), None);
        (now.program.video_bitrate_bps, now.program.video_bitrate_limit_bps) = (1_000_000, 1_000_000);
        assert_eq!(agreement.news(&now, at(100)), None);
    }

    proptest! {
        /// Whatever the votes: within the limits, one change a second, seldom an event, and at last where the votes lead.
        #[test]
        fn follows_within_bounds(votes in prop::collection::vec((prop::option::of(0u64..9_000_000), 1u64..300), 1..40)) {
            let (mut agreement, mut now, mut rate) = (Agreement::default(), 0, 6_000_000);
            let (mut changes, mut events): (Vec<u64>, u64) = (vec![], 0);
            for (vote, looks) in votes {
                for _ in 0..looks {
                    now += 100;
                    let status = status(rate, vec![leg("a", LegState::Live, vote)]);
                    if let Some(next) = agreement.next(&status, FLOOR, at(now)) {
                        prop_assert!((500_000..=6_000_000).contains(&next.bps()) && next.bps() != rate);
                        prop_assert!(next.bps() <= rate + 300_000);
                        rate = next.bps();
                        agreement.changed(at(now));
                        changes.push(now);
                    }
                    events += u64::from(agreement.news(&status, at(now)).is_some());
                }
            }
            prop_assert!(changes.windows(2).all(|pair| pair[1] - pair[0] >= 1000));
            prop_assert!(events <= 2 + now / 4000, "{events} events in {now} ms");
        }
    }
}
