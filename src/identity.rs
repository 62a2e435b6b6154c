//! Which box this is, as a number: so that a fleet of boxes, set up alike, does not act alike at the same moment.
//!
//! A shell around one file; it tells nobody what it read there.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Unique to each installation (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";

/// The same for this box and its name at every start; another one for other boxes.
pub fn seed(device_name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (std::fs::read_to_string(MACHINE_ID).unwrap_or_default(), device_name).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_box_keeps_its_seed_and_its_name_is_part_of_it() {
        assert_eq!(super::seed("one"), super::seed("one"));
        assert_ne!(super::seed("one"), super::seed("two"));
    }
}
