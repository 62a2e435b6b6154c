//! What the upload may take of the line while legs are on air: the legs go first. A rule.
//!
//! ```text
//!            a leg suffers: the share is 0                calm for 10 s
//!  rising ──────────────────────────────▶ silent ────────────────────────▶ rising: an eighth, then twice as much every 5 s,
//!    ▲                                      ▲ │                            up to a ceiling, and then by a little
//!    └──────────────────────────────────────┘ └── it suffers still: again 10 s
//! ```
//!
//! A leg suffers when media waits in it, when its origin is suspected, or when the program's bit rate is being lowered for it. The
//! ceiling remembers where that began: three quarters of it are tried next. While the bit rate stays lowered, the line is too
//! small for the legs alone, and the upload only trickles: a recording that never leaves the box is worth less than a leg's last
//! few kilobits. Nobody but the legs is considered, and nothing is measured here.

use std::time::Duration;

use crate::control::UploadShare;
use crate::status::{Leg, LegState, Status};
use crate::units::MediaTime;

/// Media that waits this long is late.
const LATE_MS: u64 = 500;

const CALM: Duration = Duration::from_secs(10);

const STEP: Duration = Duration::from_secs(5);

/// In thousandths of the line.
const FIRST: u16 = 125;
const TRICKLE: u16 = 60;
const CREEP: u16 = 8;
const WHOLE: u16 = UploadShare::WHOLE.thousandths();

pub struct Yielding {
    share: u16,
    /// Beyond this, a leg was seen to suffer.
    ceiling: u16,
    /// When the share may rise next; none before the first look.
    next_step: Option<MediaTime>,
    bitrate: u64,
}

impl Default for Yielding {
    /// The legs connect first.
    fn default() -> Self {
        Self { share: 0, ceiling: WHOLE, next_step: None, bitrate: 0 }
    }
}

impl Yielding {
    pub fn next(&mut self, status: &Status, now: MediaTime) -> UploadShare {
        if status.legs.iter().all(|leg| leg.state == LegState::Off) {
            *self = Self { share: WHOLE, next_step: Some(now), ..Self::default() };
            return UploadShare::WHOLE;
        }
        let lowered = std::mem::replace(&mut self.bitrate, status.program.video_bitrate_bps) > self.bitrate;
        if lowered || status.legs.iter().any(suffers) {
            self.silence(now);
        } else if now >= *self.next_step.get_or_insert(now + CALM) {
            self.rise(now);
        }
        let program = &status.program;
        let is_low = program.video_bitrate_bps > 0 && program.video_bitrate_bps < program.video_bitrate_limit_bps;
        UploadShare::of_thousand(if is_low { self.share.min(TRICKLE) } else { self.share })
    }

    fn silence(&mut self, now: MediaTime) {
        if self.share > 0 {
            self.ceiling = (self.share - self.share / 4).max(FIRST);
        }
        self.share = 0;
        self.next_step = Some(now + CALM);
    }

    fn rise(&mut self, now: MediaTime) {
        if self.share >= self.ceiling {
            self.ceiling = (self.ceiling + CREEP).min(WHOLE);
        }
        self.share = (self.share * 2).clamp(FIRST, self.ceiling);
        self.next_step = Some(now + STEP);
    }
}

fn suffers(leg: &Leg) -> bool {
    leg.state == LegState::Live && (leg.suspect || leg.queue_ms > LATE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> MediaTime {
        MediaTime::from_millis(seconds * 1000)
    }

    fn status(queue_ms: u64) -> Status {
        let mut status = Status { legs: vec![Leg { state: LegState::Live, queue_ms, ..Leg::default() }], ..Status::default() };
        (status.program.video_bitrate_bps, status.program.video_bitrate_limit_bps) = (4_000_000, 4_000_000);
        status
    }

    fn share(yielding: &mut Yielding, status: &Status, seconds: u64) -> u16 {
        yielding.next(status, at(seconds)).thousandths()
    }

    #[test]
    fn a_box_without_legs_uploads_with_all_it_has() {
        assert_eq!(Yielding::default().next(&Status::default(), at(0)), UploadShare::WHOLE);
        let mut off = status(9999);
        off.legs[0].state = LegState::Off;
        assert_eq!(Yielding::default().next(&off, at(0)), UploadShare::WHOLE);
    }

    #[test]
    fn the_legs_connect_first_and_then_the_share_doubles() {
        let (mut yielding, calm) = (Yielding::default(), status(20));
        let shares: Vec<u16> = [0, 9, 10, 14, 15, 20, 25, 30, 300].map(|now| share(&mut yielding, &calm, now)).into();
        assert_eq!(shares, [0, 0, 125, 125, 250, 500, 1000, 1000, 1000]);
    }

    #[test]
    fn a_leg_that_suffers_silences_the_upload_at_once() {
        let suspect = {
            let mut status = status(0);
            status.legs[0].suspect = true;
            status
        };
        let lowered = {
            let mut status = status(0);
            status.program.video_bitrate_bps = 3_000_000;
            status
        };
        for trouble in [status(501), suspect, lowered] {
            let mut yielding = Yielding::default();
            (0..30).for_each(|now| _ = share(&mut yielding, &status(20), now));
            assert_eq!(share(&mut yielding, &trouble, 30), 0);
            assert_eq!(share(&mut yielding, &status(20), 39), 0);
            assert_eq!(share(&mut yielding, &status(20), 40), 125);
            (40..80).for_each(|now| _ = share(&mut yielding, &status(20), now));
            let ceiling = share(&mut yielding, &status(20), 80);
            assert!((750..850).contains(&ceiling), "three quarters of where it was, and a little: {ceiling}");
        }
    }

    #[test]
    fn a_leg_that_is_not_live_is_not_helped_by_silence() {
        let (mut yielding, mut waiting) = (Yielding::default(), status(9999));
        waiting.legs[0].state = LegState::Waiting;
        share(&mut yielding, &waiting, 0);
        assert_eq!(share(&mut yielding, &waiting, 10), 125);
    }

    #[test]
    fn below_the_wanted_bit_rate_it_trickles() {
        let (mut yielding, mut low) = (Yielding::default(), status(20));
        low.program.video_bitrate_bps = 3_000_000;
        (0..60).for_each(|now| _ = share(&mut yielding, &low, now));
        assert_eq!(share(&mut yielding, &low, 60), TRICKLE);
    }

    proptest! {
        #[test]
        fn never_while_a_leg_suffers_and_whole_again_after_calm(queues in proptest::collection::vec(0u64..1000, 1..200)) {
            let mut yielding = Yielding::default();
            let mut now = 0;
            for queue in queues {
                let given = share(&mut yielding, &status(queue), now);
                prop_assert!(queue <= LATE_MS || given == 0);
                prop_assert!(given <= 1000);
                now += 1;
            }
            for _ in 0..1200 {
                share(&mut yielding, &status(0), now);
                now += 1;
            }
            prop_assert_eq!(share(&mut yielding, &status(0), now), 1000);
        }
    }
}
