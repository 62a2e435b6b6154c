//! The benchmark's clock: CLOCK_MONOTONIC, the same in all its processes.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

pub fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the monotonic clock").into()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark, not the daemon")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

pub fn pause_until(time: Duration) {
    let wait = time.saturating_sub(now());
    if !wait.is_zero() {
        pause(wait);
    }
}
