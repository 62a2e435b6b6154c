//! Which card is whose: every input of the kind "v4l2" enters what it wants, and "auto" keeps off what is another one's.
//!
//! ```text
//!   enter(input, wanted)            all of them, before the first one looks
//!   resolve(input, nodes, now) ──▶  a name:   that device, if it is there
//!                                   "auto":   its own card of before, if it is there
//!                                             within GRACE: nothing, it may come back
//!                                             else the first one that is no other input's
//! ```
//!
//! A card that "auto" once took stays that input's while it is away: when two cards come back in another order, the pictures
//! do not change places; and a stick that drops off the bus for a second does not put the camera of the laptop on air.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::capture::card::Fault;
use crate::capture::find::{Node, Place, Wanted, in_order};
use crate::units::MediaTime;

/// How long an input on "auto" waits for the card it had before it takes another one.
pub const GRACE: Duration = Duration::from_secs(10);

/// Shared by all inputs of the process.
#[derive(Clone, Default)]
pub struct Claims(Arc<Mutex<BTreeMap<String, Claim>>>);

struct Claim {
    wanted: Wanted,
    /// The card that "auto" has led to.
    had: Option<Place>,
    missing_since: Option<MediaTime>,
}

impl Claims {
    /// What an input wants; entered again, what it had stays its own.
    pub fn enter(&self, input: &str, wanted: Wanted) {
        let mut claims = self.lock();
        let had = claims.remove(input).and_then(|claim| claim.had);
        claims.insert(input.into(), Claim { wanted, had, missing_since: None });
    }

    /// The path to open for an input, given all nodes that there are now.
    pub fn resolve(&self, input: &str, nodes: &[Node], now: MediaTime) -> Result<PathBuf, Fault> {
        let mut claims = self.lock();
        let Some(mut claim) = claims.remove(input) else { return Err(Wanted::Auto.absent()) };
        let found = match &claim.wanted {
            // Named as a path it is opened even if it is nothing that counts as a capture device: whoever wrote it will know.
            Wanted::Path(path) => Some(path.clone()),
            Wanted::Auto => claim.automatic(nodes, now, &claims).map(|node| node.path.clone()),
            named => in_order(nodes).into_iter().find(|node| named.fits(node)).map(|node| node.path.clone()),
        };
        let absent = claim.wanted.absent();
        claims.insert(input.into(), claim);
        found.ok_or(absent)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Claim>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    fn automatic<'n>(&mut self, nodes: &'n [Node], now: MediaTime, others: &BTreeMap<String, Claim>) -> Option<&'n Node> {
        let devices = in_order(nodes);
        let free = |node: &&&Node| !others.values().any(|other| other.has(node));
        let own = devices.iter().find(|node| self.had == Some(node.place()) && free(node));
        if own.is_none() && self.waits(now) {
            return None;
        }
        let chosen = own.or_else(|| devices.iter().find(free))?;
        (self.had, self.missing_since) = (Some(chosen.place()), None);
        Some(chosen)
    }

    /// It had a card, which may still come back.
    fn waits(&mut self, now: MediaTime) -> bool {
        let since = *self.missing_since.get_or_insert(now);
        self.had.is_some() && now.since(since) < GRACE
    }

    fn has(&self, node: &Node) -> bool {
        self.wanted.fits(node) || (self.wanted == Wanted::Auto && self.had == Some(node.place()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::find::tests::{node, receiver, stick};

    fn at(seconds: u64) -> MediaTime {
        MediaTime::ZERO + Duration::from_secs(seconds)
    }

    fn entered(wanted: &[(&str, &str)]) -> Claims {
        let claims = Claims::default();
        wanted.iter().for_each(|(input, device)| claims.enter(input, Wanted::parse(device.as_ref())));
        claims
    }

    fn number(claims: &Claims, input: &str, nodes: &[Node], seconds: u64) -> Option<u32> {
        let path = claims.resolve(input, nodes, at(seconds)).ok()?;
        path.to_str()?.strip_prefix("/dev/video")?.parse().ok()
    }

    #[test]
    fn two_on_auto_get_two_cards_and_the_third_none() {
        let claims = entered(&[("a", "auto"), ("b", "auto"), ("c", "auto")]);
        let nodes = [stick(0, 2), receiver(1)];
        assert_eq!(number(&claims, "a", &nodes, 0), Some(1));
        assert_eq!(number(&claims, "b", &nodes, 0), Some(0));
        assert_eq!(
            claims.resolve("c", &nodes, at(0)).unwrap_err().to_string(),
            "a capture device that no other input uses is not there; plug the capture device in, or correct `device`"
        );
    }

    #[test]
    fn auto_keeps_off_what_another_input_names() {
        let claims = entered(&[("a", "auto"), ("b", "bus:platform:csi-0")]);
        let nodes = [stick(0, 2), receiver(1)];
        assert_eq!(number(&claims, "a", &nodes, 0), Some(0));
        assert_eq!(number(&claims, "b", &nodes, 0), Some(1));
    }

    #[test]
    fn cards_that_come_back_in_another_order_and_under_other_numbers_stay_with_their_inputs() {
        let claims = entered(&[("a", "auto"), ("b", "auto")]);
        let nodes = [stick(0, 1), stick(1, 2)];
        assert_eq!((number(&claims, "a", &nodes, 0), number(&claims, "b", &nodes, 0)), (Some(0), Some(1)));
        let second = [stick(5, 2)];
        assert_eq!((number(&claims, "a", &second, 3600), number(&claims, "b", &second, 3600)), (None, Some(5)));
        let both = [stick(5, 2), stick(6, 1)];
        assert_eq!((number(&claims, "a", &both, 3601), number(&claims, "b", &both, 3601)), (Some(6), Some(5)));
    }

    #[test]
    fn a_card_that_is_away_for_good_is_replaced() {
        let claims = entered(&[("a", "auto")]);
        let (first, other) = ([stick(0, 1), stick(1, 2)], [stick(1, 2)]);
        assert_eq!(number(&claims, "a", &first, 0), Some(0));
        assert_eq!(number(&claims, "a", &other, 100), None);
        assert_eq!(number(&claims, "a", &other, 109), None);
        assert_eq!(number(&claims, "a", &other, 110), Some(1));
        assert_eq!(number(&claims, "a", &first, 200), Some(1), "what it has now is what it keeps");
    }

    #[test]
    fn the_grace_begins_anew_whenever_the_card_was_there() {
        let claims = entered(&[("a", "auto")]);
        let (both, other) = ([stick(0, 1), stick(1, 2)], [stick(1, 2)]);
        for second in [0, 20, 40, 60] {
            assert_eq!(number(&claims, "a", &both, second), Some(0));
            assert_eq!(number(&claims, "a", &other, second + 9), None);
        }
    }

    #[test]
    fn the_nodes_of_one_stick_are_one_card_and_those_of_a_board_are_several() {
        let second_node = |node: Node| Node { index: 2, number: node.number + 1, path: "/dev/video9".into(), ..node };
        let claims = entered(&[("a", "auto"), ("b", "auto")]);
        let views = [stick(0, 1), second_node(stick(0, 1))];
        assert_eq!((number(&claims, "a", &views, 0), number(&claims, "b", &views, 0)), (Some(0), None));
        let claims = entered(&[("a", "auto"), ("b", "auto")]);
        let board = node(0, "PCI:0000:01:00.0", "/sys/devices/pci0/0000:01:00.0");
        let inputs = [board.clone(), second_node(board)];
        assert_eq!((number(&claims, "a", &inputs, 0), number(&claims, "b", &inputs, 0)), (Some(0), Some(9)));
    }

    #[test]
    fn a_path_is_opened_as_it_is_written() {
        let claims = entered(&[("a", "/dev/onair/capture-7")]);
        assert_eq!(claims.resolve("a", &[], at(0)), Ok("/dev/onair/capture-7".into()));
    }
}
