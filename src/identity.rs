//! Which box this is, as a number: so that a fleet of boxes, set up alike, does not act alike at the same moment.
//!
//! A shell around one file; it tells nobody what it read there.

/// Unique to each installation (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";

/// The same for this box and its name at every start; another one for other boxes.
pub fn seed(device_name: &str) -> u64 {
    let machine = std::fs::read_to_string(MACHINE_ID).unwrap_or_default();
    stable_hash(format!("{machine} {device_name}").as_bytes())
}

/// FNV-1a, and a last stir: unlike the standard library's hash it is the same in every release.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    let stirred = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    stirred ^ (stirred >> 33)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_box_keeps_its_seed_and_its_name_is_part_of_it() {
        assert_eq!(super::seed("one"), super::seed("one"));
        assert_ne!(super::seed("one"), super::seed("two"));
    }
}
