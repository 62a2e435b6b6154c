//! How much media goes into one write, and how much of it the kernel may hold unsent. A rule about bytes and times; it holds no
//! socket.
//!
//! What is in a batch cannot be dropped any more, and what the kernel holds unsent grows old where nobody can drop it. So both are
//! small unless it is known that they do not wait: on a path that takes a full batch at once, or lets a socket that was full
//! go on within [`WIDE`]. Such a path carries the largest batch in a few milliseconds, and small writes would only cost.
//!
//! ```text
//!   small ── all taken at once ──▶ doubled … largest: the kernel may hold a batch
//!     ▲                                        │
//!     └── little was left, or a full socket that stays full ──┘
//! ```

use std::time::Duration;

use crate::units::MediaTime;

/// Bytes in one write while the path is not known to be wide; the kernel takes no more than this unsent.
pub const SMALL: usize = 64 << 10;

/// Bytes in one write at most.
pub const LARGE: usize = 512 << 10;

/// A socket that was full and has taken its batch within this time is on a wide path; other legs have had their turns meanwhile.
pub const WIDE: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub struct Batch {
    size: usize,
    /// Since when the socket has been full.
    full_since: Option<MediaTime>,
}

impl Default for Batch {
    fn default() -> Self {
        Self { size: SMALL, full_since: None }
    }
}

impl Batch {
    /// Bytes that may go into the next write.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Bytes that the kernel may hold unsent.
    pub fn unsent_limit(&self) -> usize {
        if self.size == LARGE { LARGE } else { SMALL }
    }

    /// The socket has not taken all.
    pub fn full(&mut self, now: MediaTime) {
        let since = *self.full_since.get_or_insert(now);
        if now.since(since) > WIDE {
            self.size = SMALL;
        }
    }

    /// The socket has taken a whole batch and more waits.
    pub fn taken(&mut self, now: MediaTime) {
        self.size = match self.full_since.take() {
            Some(since) if now.since(since) > WIDE => SMALL,
            Some(_) => self.size,
            None => LARGE.min(2 * self.size),
        };
    }

    /// The socket has taken the `last` bytes, and nothing waits any more. If they were few, the leg is where the program is.
    pub fn rest(&mut self, last: usize) {
        self.full_since = None;
        if last < SMALL {
            self.size = SMALL;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(micros: u64) -> MediaTime {
        MediaTime::from_nanos(micros * 1000)
    }

    fn grown() -> Batch {
        let mut batch = Batch::default();
        (0..10).for_each(|_| batch.taken(at(0)));
        batch
    }

    #[test]
    fn it_grows_while_all_is_taken_and_the_kernel_follows_at_the_end() {
        let mut batch = Batch::default();
        for (size, unsent_limit) in [(SMALL, SMALL), (2 * SMALL, SMALL), (4 * SMALL, SMALL), (LARGE, LARGE), (LARGE, LARGE)] {
            assert_eq!((batch.size(), batch.unsent_limit()), (size, unsent_limit));
            batch.taken(at(0));
        }
        batch.rest(SMALL);
        assert_eq!(batch.size(), LARGE, "a short breath in the middle of much");
        batch.rest(SMALL - 1);
        assert_eq!((batch.size(), batch.unsent_limit()), (SMALL, SMALL));
    }

    #[test]
    fn a_full_socket_changes_nothing_if_it_goes_on_at_once_and_everything_if_not() {
        for (goes_on, size) in [(10_000, LARGE), (10_001, SMALL)] {
            let mut batch = grown();
            batch.full(at(0));
            batch.taken(at(goes_on));
            assert_eq!(batch.size(), size, "{goes_on} µs");
        }
        let mut batch = grown();
        batch.full(at(0));
        batch.full(at(10_001));
        assert_eq!(batch.unsent_limit(), SMALL, "not only once it goes on");
    }

    #[test]
    fn a_narrow_path_never_grows() {
        let mut batch = Batch::default();
        for round in 0..100 {
            batch.full(at(round * 40_000));
            batch.taken(at(round * 40_000 + 20_000));
            assert_eq!(batch.size(), SMALL);
        }
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(steps in prop::collection::vec((0u8..3, 0u64..20_000), 0..100)) {
            let (mut batch, mut now) = (Batch::default(), 0);
            for (step, pause) in steps {
                now += pause;
                match step {
                    0 => batch.full(at(now)),
                    1 => batch.taken(at(now)),
                    _ => batch.rest(pause as usize * 16),
                }
                prop_assert!((SMALL..=LARGE).contains(&batch.size()) && batch.unsent_limit() <= batch.size().max(SMALL));
            }
        }
    }
}
