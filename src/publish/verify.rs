//! Proof of air: is what the box has sent what the world can get? Sightings in, a verdict out. Pure.
//!
//! ```text
//!                                    one of ours, newer than the last
//!   leg goes live ──▶ waiting ───────────────────────────────────────▶ seen ◀─┐
//!                        │                                              │     │ one of ours, newer than the last
//!                        │ nothing for `limit`                          ▼     │
//!                        └──────────────────────────────────▶ missing, mismatch
//! ```
//!
//! A sighting proves something only if its mark is one that was sent, the picture behind it begins with the same bytes, and it
//! is newer than the one before: a server that shows an old picture for ever proves nothing. What was sent is remembered for
//! [`MEMORY`], longer than any playlist's delay. *Mismatch* means that pictures can be got and are not ours. The verdict is
//! shown and may become an alarm; it never ends a connection.

use std::collections::VecDeque;
use std::time::Duration;

use crate::media::stamp::Seen;
use crate::status::{Proof, ProofState};
use crate::units::MediaTime;

/// How long a key picture is known after it was sent.
pub const MEMORY: Duration = Duration::from_secs(180);

/// Without proof for so long, something is wrong; longer where key pictures or segments are rare.
const LIMIT: Duration = Duration::from_secs(10);

/// From one look to the next.
const PAUSE: Duration = Duration::from_secs(5);

/// How long before the next key picture is expected a look begins: the connection takes its time.
const LEAD: Duration = Duration::from_millis(400);

/// Fewer equal bytes are no proof.
const MIN_HEAD: usize = 8;

/// What a look at the origin brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Pictures with marks.
    Marks(Vec<Seen>),
    /// Pictures without a mark.
    Unmarked,
    /// Why nothing was seen.
    Nothing(String),
}

#[derive(Debug)]
pub struct Verifier {
    sent: VecDeque<Seen>,
    /// When the leg went live on its present origin.
    live_since: Option<MediaTime>,
    /// How long one piece lasts of which the origin serves whole ones only.
    piece: Duration,
    last: Option<Proven>,
    fault: Option<Fault>,
}

/// The newest key picture that has been seen again.
#[derive(Clone, Copy, Debug)]
struct Proven {
    time_ms: u64,
    delay: Duration,
    at: MediaTime,
}

#[derive(Clone, Debug)]
struct Fault {
    foreign: bool,
    text: String,
}

impl Default for Verifier {
    fn default() -> Self {
        Self { sent: VecDeque::new(), live_since: None, piece: Duration::ZERO, last: None, fault: None }
    }
}

impl Verifier {
    /// A key picture has gone into the hub.
    pub fn sent(&mut self, picture: Seen) {
        let oldest = picture.stamp.time_ms.saturating_sub(MEMORY.as_millis() as u64);
        self.sent.push_back(picture);
        while self.sent.front().is_some_and(|first| first.stamp.time_ms < oldest) {
            self.sent.pop_front();
        }
    }

    /// The leg is live on an origin that can be looked at, from now on.
    pub fn live(&mut self, now: MediaTime) {
        *self = Self { sent: std::mem::take(&mut self.sent), live_since: Some(now), ..Self::default() };
    }

    /// There is nothing to be proven.
    pub fn off(&mut self) {
        *self = Self { sent: std::mem::take(&mut self.sent), ..Self::default() };
    }

    /// The origin serves whole pieces of this length, with a few of them in between.
    pub fn served_in(&mut self, piece: Duration) {
        self.piece = piece.min(Duration::from_secs(30));
    }

    pub fn looked(&mut self, look: Look, now: MediaTime) {
        let fault = match look {
            Look::Marks(seen) => match seen.iter().filter_map(|seen| self.ours(seen)).max() {
                Some(time_ms) => return self.prove(time_ms, now),
                None => Fault { foreign: true, text: "the marks in its pictures are not of this stream".into() },
            },
            Look::Unmarked => Fault { foreign: true, text: "its pictures have no mark of this box".into() },
            Look::Nothing(text) => Fault { foreign: false, text },
        };
        self.fault = Some(fault);
    }

    /// When to look next: soon enough, and shortly before a key picture of ours should be there.
    pub fn next_look(&self, now: MediaTime) -> MediaTime {
        let earliest = now + PAUSE;
        let (Some(last), Some(gop)) = (self.sent.back(), self.gop()) else { return earliest };
        let delay = self.last.map_or(Duration::ZERO, |last| last.delay);
        if self.piece > Duration::ZERO || gop > PAUSE {
            return earliest;
        }
        let there = MediaTime::from_millis(last.stamp.time_ms) + delay;
        let ahead = (earliest + LEAD).since(there).as_nanos().div_ceil(gop.as_nanos().max(1)) as u32;
        (there + gop * ahead).saturating_sub(LEAD)
    }

    pub fn proof(&self, now: MediaTime) -> Option<Proof> {
        let since = self.live_since?;
        let quiet = now.since(self.last.map_or(since, |last| last.at.max(since)));
        let fault = self.fault.as_ref();
        let state = match (quiet > self.limit(), self.last) {
            (true, _) if fault.is_some_and(|fault| fault.foreign) => ProofState::Mismatch,
            (true, _) => ProofState::Missing,
            (false, Some(_)) => ProofState::Seen,
            (false, None) => ProofState::Waiting,
        };
        Some(Proof {
            state,
            delay_ms: self.last.map(|last| last.delay.as_millis() as u64),
            age_s: self.last.map(|last| now.since(last.at).as_secs()),
            last_error: fault.map(|fault| fault.text.clone()),
        })
    }

    fn prove(&mut self, time_ms: u64, now: MediaTime) {
        if self.last.is_some_and(|last| last.time_ms >= time_ms) {
            return self.fault = Some(Fault { foreign: false, text: "it shows no newer picture than before".into() });
        }
        let delay = now.since(MediaTime::from_millis(time_ms));
        self.last = Some(Proven { time_ms, delay, at: now });
        self.fault = None;
    }

    /// The time of a picture that was sent as it was seen.
    fn ours(&self, seen: &Seen) -> Option<u64> {
        let sent = self.sent.iter().rev().find(|sent| sent.stamp == seen.stamp)?;
        (seen.head.len() >= MIN_HEAD.min(sent.head.len()) && sent.head.starts_with(&seen.head)).then_some(sent.stamp.time_ms)
    }

    fn gop(&self) -> Option<Duration> {
        let mut newest = self.sent.iter().rev().map(|seen| seen.stamp.time_ms);
        let (last, before) = (newest.next()?, newest.next()?);
        Some(Duration::from_millis(last.saturating_sub(before).max(1)))
    }

    fn limit(&self) -> Duration {
        (LIMIT + self.piece * 3).max(self.gop().unwrap_or_default() * 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::stamp::Stamp;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn at(millis: u64) -> MediaTime {
        MediaTime::from_millis(millis)
    }

    fn picture(time_ms: u64) -> Seen {
        Seen { stamp: Stamp { time_ms, wall_ms: 7_000_000 + time_ms }, head: Bytes::from(format!("picture {time_ms:>20}")) }
    }

    /// A leg that went live at 10 s, with a key picture every 2 s up to `until`.
    fn sending(until: u64) -> Verifier {
        let mut verifier = Verifier::default();
        (0..=until / 2000).for_each(|index| verifier.sent(picture(2000 * index)));
        verifier.live(at(10_000));
        verifier
    }

    fn state(verifier: &Verifier, now: u64) -> (ProofState, Option<u64>, Option<u64>) {
        let proof = verifier.proof(at(now)).unwrap();
        (proof.state, proof.delay_ms, proof.age_s)
    }

    #[test]
    fn what_was_sent_is_seen_with_its_delay() {
        let mut verifier = sending(20_000);
        assert_eq!(state(&verifier, 11_000), (ProofState::Waiting, None, None));
        verifier.looked(Look::Marks(vec![picture(12_000), picture(14_000)]), at(15_500));
        assert_eq!(state(&verifier, 16_600), (ProofState::Seen, Some(1500), Some(1)));
        verifier.looked(Look::Marks(vec![picture(20_000)]), at(20_900));
        assert_eq!(state(&verifier, 20_900), (ProofState::Seen, Some(900), Some(0)));
        assert_eq!(verifier.proof(at(20_900)).unwrap().last_error, None);
        verifier.off();
        assert_eq!(verifier.proof(at(20_900)), None);
    }

    #[test]
    fn nothing_for_ten_seconds_is_missing_and_one_look_that_fails_is_not() {
        let mut verifier = sending(60_000);
        verifier.looked(Look::Nothing("no connection".into()), at(15_000));
        assert_eq!(state(&verifier, 20_000).0, ProofState::Waiting);
        assert_eq!(state(&verifier, 20_001).0, ProofState::Missing);
        assert_eq!(verifier.proof(at(20_001)).unwrap().last_error.as_deref(), Some("no connection"));
        verifier.looked(Look::Marks(vec![picture(22_000)]), at(23_000));
        verifier.looked(Look::Nothing("no connection".into()), at(28_000));
        assert_eq!(state(&verifier, 33_000).0, ProofState::Seen);
        assert_eq!(state(&verifier, 33_001), (ProofState::Missing, Some(1000), Some(10)));
    }

    #[test]
    fn pictures_of_others_are_a_mismatch_after_ten_seconds() {
        let other = Seen { head: Bytes::from_static(b"another picture"), ..picture(14_000) };
        let short = Seen { head: Bytes::from_static(b"pic"), ..picture(14_000) };
        let restarted = Seen { stamp: Stamp { wall_ms: 1, ..picture(14_000).stamp }, ..picture(14_000) };
        for look in [Look::Unmarked, Look::Marks(vec![other]), Look::Marks(vec![short]), Look::Marks(vec![restarted])] {
            let mut verifier = sending(60_000);
            verifier.looked(look, at(15_000));
            assert_eq!(state(&verifier, 19_000).0, ProofState::Waiting);
            assert_eq!(state(&verifier, 21_000).0, ProofState::Mismatch);
        }
    }

    #[test]
    fn an_old_picture_again_and_again_proves_nothing() {
        let mut verifier = sending(60_000);
        for second in 12..30 {
            verifier.looked(Look::Marks(vec![picture(10_000)]), at(second * 1000));
        }
        assert_eq!(state(&verifier, 30_000), (ProofState::Missing, Some(2000), Some(18)));
        assert_eq!(verifier.proof(at(30_000)).unwrap().last_error.as_deref(), Some("it shows no newer picture than before"));
    }

    #[test]
    fn a_part_of_a_picture_s_head_is_enough_if_it_is_long_enough() {
        let mut verifier = sending(20_000);
        verifier.looked(Look::Marks(vec![Seen { head: picture(12_000).head.slice(..MIN_HEAD), ..picture(12_000) }]), at(13_000));
        assert_eq!(state(&verifier, 13_000).0, ProofState::Seen);
    }

    #[test]
    fn long_pieces_have_longer_limits() {
        let mut verifier = sending(60_000);
        verifier.served_in(Duration::from_secs(6));
        assert_eq!((state(&verifier, 38_000).0, state(&verifier, 38_001).0), (ProofState::Waiting, ProofState::Missing));
        let mut rare = Verifier::default();
        rare.sent(picture(0));
        rare.sent(picture(10_000));
        rare.live(at(10_000));
        assert_eq!((state(&rare, 40_000).0, state(&rare, 40_001).0), (ProofState::Waiting, ProofState::Missing));
    }

    #[test]
    fn a_look_begins_shortly_before_a_key_picture_should_be_there() {
        let mut verifier = sending(20_000);
        // Sent at 20.0, 22.0 … and there 0.5 s later: the first one after 25.4 s is that of 26.0 s.
        verifier.looked(Look::Marks(vec![picture(20_000)]), at(20_500));
        assert_eq!(verifier.next_look(at(20_000)), at(26_100));
        assert_eq!(verifier.next_look(at(20_500)), at(26_100));
        assert_eq!(verifier.next_look(at(21_200)), at(28_100));
        verifier.served_in(Duration::from_secs(2));
        assert_eq!(verifier.next_look(at(21_000)), at(26_000));
        assert_eq!(Verifier::default().next_look(at(1000)), at(6000));
    }

    proptest! {
        #[test]
        fn the_memory_is_bounded_and_the_next_look_is_soon(steps in prop::collection::vec(1u64..20_000, 1..300), late in 0u64..100_000) {
            let (mut verifier, mut time) = (Verifier::default(), 0);
            for step in steps {
                time += step;
                verifier.sent(picture(time));
                verifier.live(at(time));
                verifier.looked(Look::Marks(vec![picture(time)]), at(time + late));
                let now = at(time + late);
                let wait = verifier.next_look(now).since(now);
                prop_assert!(wait >= PAUSE && wait <= PAUSE * 2 + LEAD, "{wait:?}");
                let first = verifier.sent.front().map_or(time, |seen| seen.stamp.time_ms);
                prop_assert!(time - first <= MEMORY.as_millis() as u64);
                prop_assert!(verifier.proof(now).is_some());
            }
        }
    }
}
