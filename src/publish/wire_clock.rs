//! From the program's time to the time stamps on the wire, 32 bits of milliseconds. A rule.
//!
//! Many receivers take a time stamp of 2^31 ms (24.9 days) or more for a negative one. So the time line of a connection ends
//! after [`ERA`], at a keyframe, and the leg connects anew with a new era. Shared time stamps count from the begin of an era of
//! the program's clock, which is the same for all legs: they change to the next era at the same keyframe without a word
//! between them. Rebased ones count from the connection's first packet.

use std::time::Duration;

use crate::config::Timestamps;
use crate::units::MediaTime;

/// 24 days: 2^31 ms less 20 hours, more than any GOP that runs into the next era.
pub const ERA: Duration = Duration::from_secs(24 * 24 * 3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireClock {
    zero: MediaTime,
}

impl WireClock {
    /// For a connection whose first packet has this time.
    pub fn starting(timestamps: Timestamps, first: MediaTime) -> Self {
        match timestamps {
            Timestamps::Shared => Self { zero: era(first) },
            Timestamps::Rebased => Self { zero: first },
        }
    }

    pub fn millis(&self, time: MediaTime) -> u32 {
        // Both are rounded down before they are subtracted, so that all connections round alike.
        time.millis().saturating_sub(self.zero.millis()) as u32
    }

    /// Whether this keyframe belongs to the next connection.
    pub fn is_over(&self, keyframe: MediaTime) -> bool {
        keyframe.since(self.zero) >= ERA
    }
}

fn era(time: MediaTime) -> MediaTime {
    let era = ERA.as_nanos() as u64;
    MediaTime::from_nanos(time.nanos() / era * era)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ERA_MS: u64 = ERA.as_millis() as u64;

    fn at(millis: u64) -> MediaTime {
        MediaTime::from_millis(millis)
    }

    #[test]
    fn shared_time_stamps_are_the_program_s_own_until_the_first_era_ends() {
        let clock = WireClock::starting(Timestamps::Shared, at(5_000));
        assert_eq!((clock.millis(at(5_000)), clock.millis(at(ERA_MS + 3_000))), (5_000, ERA_MS as u32 + 3_000));
        assert!(!clock.is_over(at(ERA_MS - 1)) && clock.is_over(at(ERA_MS)));
        let next = WireClock::starting(Timestamps::Shared, at(ERA_MS + 40));
        assert_eq!(next.millis(at(ERA_MS + 40)), 40);
    }

    #[test]
    fn rebased_ones_start_at_0() {
        let clock = WireClock::starting(Timestamps::Rebased, at(ERA_MS - 7));
        assert_eq!((clock.millis(at(ERA_MS - 7)), clock.millis(at(ERA_MS + 33))), (0, 40));
        assert!(!clock.is_over(at(ERA_MS + 1)) && clock.is_over(at(2 * ERA_MS - 7)));
    }

    proptest! {
        /// Two legs that connect at different times of an era agree, end together, and never come near 2^31.
        #[test]
        fn legs_agree_without_a_word(eras in 0u64..1000, one in 0..ERA_MS, other in 0..ERA_MS, packet in 0..ERA_MS, gop in 0u64..10_000) {
            let [one, other] = [one, other].map(|first| WireClock::starting(Timestamps::Shared, at(eras * ERA_MS + first)));
            prop_assert_eq!(one, other);
            let late = at(eras * ERA_MS + packet + gop);
            prop_assert!(u64::from(one.millis(late)) == packet + gop && one.millis(late) < 1 << 31);
            prop_assert!(one.is_over(at((eras + 1) * ERA_MS)));
        }
    }
}
