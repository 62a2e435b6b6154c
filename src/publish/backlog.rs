//! How much media may wait for a slow origin. A rule about times; it holds no packet.
//!
//! The backlog of a leg is the hub's memory between what the leg has written and the newest packet. Beyond the limit the leg
//! goes on at the newest keyframe: whole GOPs are left out, never single pictures, because a decoder shows what lies between
//! a missing picture and the next keyframe as rubble. If there is no newer keyframe yet, it goes on in order: leaving out the
//! rest of the present GOP would freeze the picture and gain nothing over waiting for the keyframe.

use std::time::Duration;

/// How many GOPs to leave out, whole or begun, by going on at the newest keyframe; 0: go on in order. `lag`: from the oldest packet
/// that waits to the newest; `keyframes_ahead`: of those that wait after the oldest, asked for only if it matters.
pub fn gops_to_skip(lag: Duration, limit: Duration, keyframes_ahead: impl FnOnce() -> u64) -> u64 {
    if lag > limit { keyframes_ahead() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_only_beyond_the_limit_and_only_to_a_keyframe_that_exists() {
        let limit = Duration::from_secs(5);
        let table = [(0, 0, 0), (4999, 3, 0), (5000, 3, 0), (5001, 1, 1), (5001, 0, 0), (60_000, 9, 9)];
        for (lag, keyframes, wanted) in table {
            assert_eq!(gops_to_skip(Duration::from_millis(lag), limit, || keyframes), wanted, "{lag} ms, {keyframes} keyframes");
        }
    }
}
