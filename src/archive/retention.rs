//! Which segments must go: the oldest, when space runs short or they are too old. Pure; the open one is never among them.

use std::time::Duration;

use crate::units::ByteSize;

/// A closed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// UTC time stamps sort as text.
    pub name: String,
    pub bytes: u64,
    /// Since it was last written.
    pub age: Duration,
}

/// The names to delete, oldest first; `closed` is sorted by name.
pub fn doomed(closed: &[Closed], free: ByteSize, keep_free: ByteSize, max_age: Option<Duration>) -> Vec<String> {
    let mut free = free.bytes();
    let mut names = Vec::new();
    for segment in closed {
        let too_old = max_age.is_some_and(|max_age| segment.age > max_age);
        if free >= keep_free.bytes() && !too_old {
            continue;
        }
        free = free.saturating_add(segment.bytes);
        names.push(segment.name.clone());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_few_as_needed_and_the_oldest_first(sizes in prop::collection::vec(1u64..1000, 0..50), free in 0u64..20_000, keep in 0u64..20_000) {
            let segment = |(index, bytes): (usize, &u64)| Closed { name: format!("{index:03}"), bytes: *bytes, age: Duration::ZERO };
            let closed: Vec<_> = sizes.iter().enumerate().map(segment).collect();
            let gone = doomed(&closed, ByteSize::from_bytes(free), ByteSize::from_bytes(keep), None);
            let expected: Vec<_> = closed.iter().take(gone.len()).map(|segment| segment.name.clone()).collect();
            prop_assert_eq!(&gone, &expected, "oldest first, none left out");
            let freed = |count: usize| free + sizes[..count].iter().sum::<u64>();
            prop_assert!(freed(gone.len()) >= keep || gone.len() == closed.len(), "enough, or all there is");
            prop_assert!(gone.is_empty() || freed(gone.len() - 1) < keep, "not one too many");
        }

        #[test]
        fn what_is_too_old_goes_whatever_the_space(ages in prop::collection::vec(0u64..100, 0..50)) {
            let segment = |(index, age): (usize, &u64)| Closed { name: format!("{index:03}"), bytes: 1, age: Duration::from_secs(*age) };
            let closed: Vec<_> = ages.iter().enumerate().map(segment).collect();
            let plenty = ByteSize::from_bytes(u64::MAX / 2);
            let gone = doomed(&closed, plenty, ByteSize::from_bytes(1), Some(Duration::from_secs(50)));
            prop_assert_eq!(gone.len(), ages.iter().filter(|age| **age > 50).count());
        }
    }
}
