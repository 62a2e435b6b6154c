//! Which of its origins a leg likes best: the leg's policy as an order. A rule: it measures nothing and draws no random number.
//!
//! | policy | order |
//! | --- | --- |
//! | priority | as in the configuration |
//! | weighted | by chance in proportion to the weights, drawn from the box's own seed: the same on this box at every start, another on the next box |
//! | latency | by the round trip last measured; a change of order needs [`MARGIN`] and [`CLEARLY`] in [`IN_A_ROW`] measurements in a row |

use std::time::Duration;

use crate::config::{Origin, Policy};
use crate::identity::stable_hash;

/// How much faster, at least, another origin must be …
pub const MARGIN: Duration = Duration::from_millis(5);

/// … and this share of the present one's round trip …
pub const CLEARLY: f64 = 0.2;

/// … so many times in a row.
pub const IN_A_ROW: u32 = 3;

#[derive(Debug)]
pub struct Preference {
    policy: Policy,
    order: Vec<usize>,
    rtts: Vec<Option<Duration>>,
    /// The origin that was clearly faster than the first one, and how often in a row.
    challenger: Option<(usize, u32)>,
}

impl Preference {
    pub fn new(policy: Policy, origins: &[Origin], seed: u64) -> Self {
        let mut order: Vec<usize> = (0..origins.len()).collect();
        if policy == Policy::Weighted {
            let score = |index: &usize| score(&origins[*index], seed);
            order.sort_by(|one, other| score(other).total_cmp(&score(one)));
        }
        Self { policy, order, rtts: vec![None; origins.len()], challenger: None }
    }

    /// Indexes into the leg's list, the best first.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// Whether measurements change anything.
    pub fn wants_measurements(&self) -> bool {
        self.policy == Policy::Latency && self.order.len() > 1
    }

    /// One round of measurements: `None` where there was no answer.
    pub fn measured(&mut self, rtts: Vec<Option<Duration>>) {
        let is_first = self.rtts.iter().all(Option::is_none);
        self.rtts = rtts;
        let (Some(best), false) = (self.fastest(), self.policy != Policy::Latency) else { return };
        let present = self.order[0];
        if best == present || !(is_first || self.is_clearly_faster(best, present)) {
            self.challenger = None;
            return self.sort_spares();
        }
        let row = self.challenger.filter(|(origin, _)| *origin == best).map_or(1, |(_, row)| row + 1);
        self.challenger = Some((best, row));
        if is_first || row >= IN_A_ROW {
            self.challenger = None;
            self.order.retain(|origin| *origin != best);
            self.order.insert(0, best);
        }
        self.sort_spares();
    }

    fn fastest(&self) -> Option<usize> {
        let answered = (0..self.rtts.len()).filter(|index| self.rtts[*index].is_some());
        answered.min_by_key(|index| self.rtts[*index])
    }

    fn is_clearly_faster(&self, one: usize, other: usize) -> bool {
        match (self.rtts[one], self.rtts[other]) {
            (Some(one), Some(other)) => one + MARGIN.max(other.mul_f64(CLEARLY)) <= other,
            (Some(_), None) => true,
            _ => false,
        }
    }

    /// Behind the first one, what is clearly faster moves forward; what is about as fast keeps its place.
    fn sort_spares(&mut self) {
        for end in 2..self.order.len() {
            for place in (2..=end).rev() {
                let (before, this) = (self.order[place - 1], self.order[place]);
                if self.is_clearly_faster(this, before) {
                    self.order.swap(place - 1, place);
                }
            }
        }
    }
}

/// Rendezvous hashing: the highest score wins, in proportion to the weights.
fn score(origin: &Origin, seed: u64) -> f64 {
    if origin.weight == 0 {
        return f64::NEG_INFINITY;
    }
    let place = format!("{seed} {} {}", origin.url, origin.key.expose());
    let chance = (stable_hash(place.as_bytes()) >> 11) as f64 / (1u64 << 53) as f64;
    -f64::from(origin.weight) / (1.0 - chance).max(f64::MIN_POSITIVE).ln().min(-f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OriginUrl;
    use crate::secret::Secret;
    use proptest::prelude::*;

    fn origins(weights: &[u32]) -> Vec<Origin> {
        let origin = |(index, weight): (usize, &u32)| {
            let url = OriginUrl { secure: false, host: format!("origin-{index}"), port: 1935, app: "live".into() };
            Origin { weight: *weight, ..Origin::new(url, Secret::new("key")) }
        };
        weights.iter().enumerate().map(origin).collect()
    }

    fn millis(rtts: &[u64]) -> Vec<Option<Duration>> {
        rtts.iter().map(|rtt| (*rtt > 0).then(|| Duration::from_millis(*rtt))).collect()
    }

    #[test]
    fn priority_is_the_configuration_s() {
        let mut preference = Preference::new(Policy::Priority, &origins(&[1, 9, 5]), 7);
        preference.measured(millis(&[90, 1, 1]));
        assert_eq!(preference.order(), [0, 1, 2]);
        assert!(!preference.wants_measurements());
    }

    #[test]
    fn boxes_spread_by_weight_and_each_stays_where_it_is() {
        let origins = origins(&[3, 1, 0]);
        let mut firsts = [0; 3];
        for seed in 0..4000 {
            let order = Preference::new(Policy::Weighted, &origins, seed).order;
            assert_eq!(order, Preference::new(Policy::Weighted, &origins, seed).order);
            assert_eq!(order[2], 2, "weight 0 is a spare only");
            firsts[order[0]] += 1;
        }
        assert!((2850..3150).contains(&firsts[0]), "{firsts:?}");
    }

    #[test]
    fn the_fastest_leads_at_once_at_first_and_only_after_a_while_later() {
        let mut preference = Preference::new(Policy::Latency, &origins(&[1, 1, 1]), 7);
        preference.measured(millis(&[80, 20, 40]));
        assert_eq!(preference.order(), [1, 2, 0]);
        for _ in 0..20 {
            preference.measured(millis(&[80, 20, 17]));
            assert_eq!(preference.order()[0], 1, "3 ms are nothing");
        }
        for rtts in [[80, 20, 10], [80, 20, 10], [80, 20, 19], [80, 20, 10], [80, 20, 10]] {
            preference.measured(millis(&rtts));
            assert_eq!(preference.order()[0], 1, "not three in a row");
        }
        preference.measured(millis(&[80, 20, 10]));
        assert_eq!(preference.order(), [2, 1, 0]);
    }

    #[test]
    fn an_origin_that_does_not_answer_goes_last() {
        let mut preference = Preference::new(Policy::Latency, &origins(&[1, 1, 1]), 7);
        preference.measured(millis(&[10, 20, 30]));
        for _ in 0..IN_A_ROW {
            preference.measured(millis(&[0, 20, 30]));
        }
        assert_eq!(preference.order(), [1, 2, 0]);
        preference.measured(millis(&[0, 0, 0]));
        assert_eq!(preference.order()[0], 1);
    }

    proptest! {
        #[test]
        fn the_order_always_names_every_origin_once(rounds in prop::collection::vec(prop::collection::vec(0u64..100, 4), 0..30), seed: u64, policy in 0..3) {
            let policy = [Policy::Priority, Policy::Latency, Policy::Weighted][policy as usize];
            let mut preference = Preference::new(policy, &origins(&[1, 2, 3, 0]), seed);
            for rtts in rounds {
                preference.measured(millis(&rtts));
                let mut order = preference.order().to_vec();
                order.sort();
                prop_assert_eq!(order, vec![0, 1, 2, 3]);
            }
        }
    }
}
