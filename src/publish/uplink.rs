//! What the legs of one box know of each other: whether anybody gets anything through. So a leg can tell a dead origin from a
//! dead uplink of the box. The one thing that legs share; a few numbers under a lock that is held for a moment.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::units::MediaTime;

/// A leg that moved longer ago than this does not move: less than any limit of detection, more than a frame.
const FRESH: Duration = Duration::from_millis(300);

/// Shared by all legs; each has a [`Voice`].
#[derive(Clone, Default)]
pub struct Uplink(Arc<Mutex<Vec<Told>>>);

#[derive(Clone, Copy, Default)]
struct Told {
    /// It is one that could get something through: switched on.
    counts: bool,
    moved: Option<MediaTime>,
}

/// One leg's place in it.
pub struct Voice {
    uplink: Uplink,
    index: usize,
}

impl Uplink {
    pub fn join(&self) -> Voice {
        let mut told = self.told();
        told.push(Told::default());
        Voice { uplink: self.clone(), index: told.len() - 1 }
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Vec<Told>> {
        // A poisoned lock means that another thread panicked, which ends the process anyway.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Voice {
    /// When this leg's media last got through; `None`: not at all.
    pub fn tell(&self, moved: Option<MediaTime>) {
        self.uplink.told()[self.index] = Told { counts: true, moved };
    }

    /// Whether another leg gets something through; `None` if there is no other.
    pub fn others_move(&self, now: MediaTime) -> Option<bool> {
        let told = self.uplink.told();
        let others = told.iter().enumerate().filter(|(index, told)| *index != self.index && told.counts);
        let moves = |told: &Told| told.moved.is_some_and(|moved| now.since(moved) <= FRESH);
        others.map(|(_, told)| moves(told)).reduce(|one, other| one || other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legs_hear_of_each_other() {
        let at = MediaTime::from_millis;
        let uplink = Uplink::default();
        let (a, b, off) = (uplink.join(), uplink.join(), uplink.join());
        assert_eq!(a.others_move(at(0)), None);
        a.tell(Some(at(1000)));
        assert_eq!((a.others_move(at(1000)), b.others_move(at(1300)), b.others_move(at(1301))), (None, Some(true), Some(false)));
        b.tell(None);
        assert_eq!((a.others_move(at(1000)), off.others_move(at(1000))), (Some(false), Some(true)));
    }
}
