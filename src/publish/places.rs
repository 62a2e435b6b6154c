//! Where the legs of one box publish: two of them never give the same stream key to the same place, also if an origin sends one
//! of them on. A short list that the legs share, under a lock that is held for a moment; what the configuration says is
//! checked where it is read.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::config::Origin;

/// Shared by all legs; each has a [`Claim`].
#[derive(Clone, Default)]
pub struct Places(Arc<Mutex<Vec<Taken>>>);

struct Taken {
    configured: Vec<Origin>,
    /// Where an origin has sent the leg last.
    sent_to: Option<Origin>,
}

/// One leg's part of it.
#[derive(Clone)]
pub struct Claim {
    places: Places,
    index: usize,
}

impl Places {
    pub fn join(&self, configured: &[Origin]) -> Claim {
        let mut taken = self.taken();
        taken.push(Taken { configured: configured.to_vec(), sent_to: None });
        Claim { places: self.clone(), index: taken.len() - 1 }
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Taken>> {
        // A poisoned lock means that another thread panicked, which ends the process anyway.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Claim {
    /// Takes a place that an origin has named, instead of the one that was taken before; false if it is another leg's.
    pub fn take(&self, place: &Origin) -> bool {
        let mut taken = self.places.taken();
        let mut others = taken.iter().enumerate().filter(|(index, _)| *index != self.index);
        let free =
            !others.any(|(_, other)| other.configured.iter().chain(&other.sent_to).any(|theirs| theirs.is_same_place(place)));
        if free {
            taken[self.index].sent_to = Some(place.clone());
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OriginUrl;
    use crate::secret::Secret;

    fn origin(url: &str, key: &str) -> Origin {
        Origin::new(OriginUrl::parse(url).unwrap(), Secret::new(key))
    }

    #[test]
    fn no_two_legs_are_sent_to_one_place_with_one_key() {
        let places = Places::default();
        let (a, b) = (places.join(&[origin("rtmp://a/live", "key")]), places.join(&[origin("rtmp://b/live", "key")]));
        let there = origin("rtmp://c/live", "key");
        assert!(a.take(&there) && a.take(&there), "it has it already");
        assert!(!b.take(&there) && b.take(&origin("rtmp://c/live", "other")));
        assert!(!b.take(&origin("rtmp://a/live", "key")), "where the configuration sends the other one");
        assert!(a.take(&origin("rtmp://d/live", "key")) && b.take(&there), "it was left");
    }
}
