//! Where a run's time line lies on the wall clock, and when it turns out that the clock had been wrong.
//!
//! Both clocks run at the same rate, which the kernel steers for both; only a clock that is set moves one against the other. So one
//! number holds for the whole run, and segments that join on the time line join in wall time too. A rule: it reads no clock.

use crate::units::MediaTime;

/// Less than this is the jitter of reading two clocks one after the other.
const STEP_MS: i64 = 500;

/// 2025-01-01.
const PLAUSIBLE_MS: i64 = 1_735_689_600_000;

/// False if a clock that said so had not been set: what it said tells no age and no distance.
pub fn is_plausible(unix_ms: i64) -> bool {
    unix_ms >= PLAUSIBLE_MS
}

/// Unix milliseconds of a run's time zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    ms: i64,
}

/// The clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Unix milliseconds of the run's time zero, as is known now.
    pub epoch_ms: i64,
    /// By how much that is later than was thought.
    pub by_ms: i64,
}

impl Epoch {
    /// Both clocks at one moment.
    pub fn new(media: MediaTime, unix_ms: i64) -> Self {
        Self { ms: unix_ms.saturating_sub(media.millis() as i64) }
    }

    /// Compares both clocks anew.
    pub fn look(&mut self, media: MediaTime, unix_ms: i64) -> Option<Step> {
        let now = Self::new(media, unix_ms);
        let by_ms = now.ms.saturating_sub(self.ms);
        if by_ms.saturating_abs() <= STEP_MS {
            return None;
        }
        *self = now;
        Some(Step { epoch_ms: now.ms, by_ms })
    }

    /// Unix milliseconds of a moment of the run.
    pub fn unix_ms(self, time: MediaTime) -> i64 {
        unix_ms(self.ms, time)
    }
}

pub fn unix_ms(epoch_ms: i64, time: MediaTime) -> i64 {
    epoch_ms.saturating_add(time.millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn jitter_changes_nothing_and_a_step_is_taken_once(
            unix_ms in 0i64..4_000_000_000_000, media in 0u64..1 << 40, later in 0u64..1 << 40, jitter in -500i64..=500, step in 501i64..1 << 50, back: bool,
        ) {
            let step = if back { -step } else { step };
            let mut epoch = Epoch::new(MediaTime::from_millis(media), unix_ms);
            let first = epoch;
            let then = MediaTime::from_millis(media + later);
            let unix_then = unix_ms + later as i64;
            prop_assert_eq!(epoch.look(then, unix_then + jitter), None);
            prop_assert_eq!((epoch, epoch.unix_ms(then)), (first, unix_then));
            let found = epoch.look(then, unix_then + step).unwrap();
            prop_assert_eq!((found.by_ms, epoch.unix_ms(then)), (step, unix_then + step));
            prop_assert_eq!(epoch.look(then, unix_then + step + jitter), None);
        }
    }
}
