//! What the kernel's figures of a connection mean: is media taken, how fast, and has it stopped? A rule over samples.
//!
//! A leg is live when the peer's kernel has acknowledged bytes of media, not when a handshake is over, and it is lost when
//! bytes have been outstanding for [`STALL`] without any of them being acknowledged. A slow path is not a stalled one: as
//! long as something moves, the backlog's limit is what acts. It cannot see a frozen process behind a kernel that still
//! takes bytes: that shows only when the peer's receive buffer is full.

use std::collections::VecDeque;
use std::time::Duration;

use crate::units::MediaTime;

/// Without an acknowledgement for so long, with bytes outstanding, a connection is given up.
pub const STALL: Duration = Duration::from_secs(2);

/// Media counts as taken while acknowledgements are no older than this.
pub const TAKEN: Duration = Duration::from_secs(2);

/// Over how long the bit rate is measured.
const RATE_SPAN: Duration = Duration::from_secs(2);

/// One look at a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SocketTruth {
    /// Bytes that the peer's kernel has acknowledged since the connection began.
    pub acked_bytes: u64,
    /// Bytes written to the socket and not acknowledged, sent or not.
    pub unacked_bytes: u64,
    pub rtt: Duration,
}

/// A connection that has taken nothing for this long, of so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled {
    pub quiet: Duration,
    pub outstanding: u64,
}

#[derive(Debug)]
pub struct Health {
    /// Acknowledged bytes up to here belong to the set-up.
    setup: u64,
    truth: SocketTruth,
    /// When the acknowledgements last advanced, or nothing was outstanding.
    moved: MediaTime,
    /// When media was acknowledged first and last.
    first_taken: Option<MediaTime>,
    last_taken: Option<MediaTime>,
    /// Times and acknowledged bytes within [`RATE_SPAN`].
    samples: VecDeque<(MediaTime, u64)>,
}

impl Health {
    /// `truth`: at the moment before the first byte of media is written.
    pub fn new(truth: SocketTruth, now: MediaTime) -> Self {
        let setup = truth.acked_bytes + truth.unacked_bytes;
        let samples = VecDeque::from([(now, truth.acked_bytes)]);
        Self { setup, truth, moved: now, first_taken: None, last_taken: None, samples }
    }

    pub fn observe(&mut self, truth: SocketTruth, now: MediaTime) -> Result<(), Stalled> {
        let advanced = truth.acked_bytes > self.truth.acked_bytes;
        self.truth = truth;
        if advanced || truth.unacked_bytes == 0 {
            self.moved = now;
        }
        if advanced && truth.acked_bytes > self.setup {
            self.first_taken.get_or_insert(now);
            self.last_taken = Some(now);
        }
        self.sample(now);
        match now.since(self.moved) {
            quiet if quiet > STALL => Err(Stalled { quiet, outstanding: truth.unacked_bytes }),
            _ => Ok(()),
        }
    }

    pub fn truth(&self) -> SocketTruth {
        self.truth
    }

    /// Media has been taken at least once.
    pub fn is_live(&self) -> bool {
        self.first_taken.is_some()
    }

    pub fn is_taken(&self, now: MediaTime) -> bool {
        self.last_taken.is_some_and(|last| now.since(last) <= TAKEN)
    }

    /// From the first to the last time that media was taken.
    pub fn lived(&self) -> Duration {
        self.first_taken.zip(self.last_taken).map_or(Duration::ZERO, |(first, last)| last.since(first))
    }

    /// What the peer took per second over the last 2 s.
    pub fn bitrate_bps(&self) -> u64 {
        let (Some((start, before)), Some((end, after))) = (self.samples.front(), self.samples.back()) else { return 0 };
        let micros = end.since(*start).as_micros() as u64;
        (after - before).saturating_mul(8_000_000).checked_div(micros).unwrap_or(0)
    }

    fn sample(&mut self, now: MediaTime) {
        // Looked at more often than this, the samples would be many and say no more.
        if self.samples.back().is_some_and(|(last, _)| now.since(*last) < RATE_SPAN / 20) {
            return;
        }
        self.samples.push_back((now, self.truth.acked_bytes));
        while self.samples.len() > 2 && self.samples.front().is_some_and(|(first, _)| now.since(*first) > RATE_SPAN) {
            self.samples.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> MediaTime {
        MediaTime::from_millis(millis)
    }

    fn truth(acked_bytes: u64, unacked_bytes: u64) -> SocketTruth {
        SocketTruth { acked_bytes, unacked_bytes, rtt: Duration::from_millis(1) }
    }

    fn fresh() -> Health {
        Health::new(truth(3000, 200), at(0))
    }

    #[test]
    fn live_means_media_bytes_not_the_set_up_s() {
        let mut health = fresh();
        health.observe(truth(3200, 0), at(10)).unwrap();
        assert!(!health.is_live() && !health.is_taken(at(10)));
        health.observe(truth(3201, 500), at(20)).unwrap();
        assert!(health.is_live() && health.is_taken(at(2020)) && !health.is_taken(at(2021)));
        assert_eq!(health.lived(), Duration::ZERO);
        health.observe(truth(3300, 500), at(1020)).unwrap();
        health.observe(truth(3300, 500), at(2000)).unwrap();
        assert_eq!(health.lived(), Duration::from_secs(1));
    }

    #[test]
    fn outstanding_bytes_that_do_not_move_for_2_s_are_a_stall() {
        let mut health = fresh();
        health.observe(truth(5000, 100), at(1000)).unwrap();
        health.observe(truth(5000, 9000), at(3000)).unwrap();
        assert_eq!(
            health.observe(truth(5000, 9000), at(3001)),
            Err(Stalled { quiet: Duration::from_millis(2001), outstanding: 9000 })
        );
    }

    #[test]
    fn nothing_to_send_is_no_stall_and_neither_is_a_slow_path() {
        let mut health = fresh();
        health.observe(truth(5000, 0), at(1000)).unwrap();
        health.observe(truth(5000, 0), at(60_000)).unwrap();
        for second in 0..100 {
            health.observe(truth(5001 + second, 500_000), at(60_000 + 1900 * second)).unwrap();
        }
    }

    #[test]
    fn the_bit_rate_is_that_of_the_last_two_seconds() {
        let mut health = fresh();
        for tick in 1..=20u64 {
            health.observe(truth(3000 + 31_250 * tick, 10), at(250 * tick)).unwrap();
        }
        assert_eq!(health.bitrate_bps(), 1_000_000);
        for tick in 21..=32u64 {
            health.observe(truth(3000 + 31_250 * 20, 0), at(250 * tick)).unwrap();
        }
        assert_eq!(health.bitrate_bps(), 0);
    }

    proptest! {
        #[test]
        fn samples_are_bounded(steps in prop::collection::vec((0u64..400, 0u64..100_000), 1..400)) {
            let (mut health, mut now, mut acked) = (fresh(), 0, 3000);
            for (wait, bytes) in steps {
                now += wait;
                acked += bytes;
                let _ = health.observe(truth(acked, 1), at(now));
                prop_assert!(health.samples.len() <= 23);
                health.bitrate_bps();
            }
        }
    }
}
