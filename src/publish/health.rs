//! What the kernel's figures of a connection mean for the status: is media taken, since when, and how fast? A rule over samples.
//!
//! A leg is live when the peer's kernel has acknowledged bytes of media, not when a handshake is over. Whether a connection is
//! still good is not judged here: that is [`detect`](super::detect).

use std::collections::VecDeque;
use std::time::Duration;

use crate::units::MediaTime;

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
    /// Of these, the ones that were not sent yet.
    pub unsent_bytes: u64,
    pub rtt: Duration,
    /// The kernel's present retransmission timeout.
    pub rto: Duration,
    /// Retransmission timeouts in a row without an answer.
    pub retransmits: u8,
    /// Segments sent again since the connection began.
    pub resent: u32,
    /// What the peer's kernel says it has room for; `None` before Linux 5.4.
    pub window_bytes: Option<u64>,
    /// How long ago the peer's kernel last acknowledged anything, be it something later than what is missing.
    pub heard_ago: Option<Duration>,
}

impl SocketTruth {
    /// Sent and not acknowledged.
    pub fn in_flight_bytes(&self) -> u64 {
        self.unacked_bytes.saturating_sub(self.unsent_bytes)
    }
}

#[derive(Debug)]
pub struct Health {
    /// Acknowledged bytes up to here belong to the set-up.
    setup: u64,
    truth: SocketTruth,
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
        Self { setup, truth, first_taken: None, last_taken: None, samples }
    }

    pub fn observe(&mut self, truth: SocketTruth, now: MediaTime) {
        let advanced = truth.acked_bytes > self.truth.acked_bytes;
        self.truth = truth;
        if advanced && truth.acked_bytes > self.setup {
            self.first_taken.get_or_insert(now);
            self.last_taken = Some(now);
        }
        self.sample(now);
    }

    pub fn truth(&self) -> SocketTruth {
        self.truth
    }

    /// Bytes of media that the peer's kernel has taken.
    pub fn media_bytes(&self) -> u64 {
        self.truth.acked_bytes.saturating_sub(self.setup)
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
        SocketTruth { acked_bytes, unacked_bytes, rtt: Duration::from_millis(1), ..SocketTruth::default() }
    }

    fn fresh() -> Health {
        Health::new(truth(3000, 200), at(0))
    }

    #[test]
    fn live_means_media_bytes_not_the_set_up_s() {
        let mut health = fresh();
        health.observe(truth(3200, 0), at(10));
        assert!(!health.is_live() && !health.is_taken(at(10)));
        health.observe(truth(3201, 500), at(20));
        assert!(health.is_live() && health.is_taken(at(2020)) && !health.is_taken(at(2021)));
        assert_eq!(health.lived(), Duration::ZERO);
        health.observe(truth(3300, 500), at(1020));
        health.observe(truth(3300, 500), at(2000));
        assert_eq!(health.lived(), Duration::from_secs(1));
    }

    #[test]
    fn the_bit_rate_is_that_of_the_last_two_seconds() {
        let mut health = fresh();
        for tick in 1..=20u64 {
            health.observe(truth(3000 + 31_250 * tick, 10), at(250 * tick));
        }
        assert_eq!(health.bitrate_bps(), 1_000_000);
        for tick in 21..=32u64 {
            health.observe(truth(3000 + 31_250 * 20, 0), at(250 * tick));
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
                health.observe(truth(acked, 1), at(now));
                prop_assert!(health.samples.len() <= 23);
                health.bitrate_bps();
            }
        }
    }
}
