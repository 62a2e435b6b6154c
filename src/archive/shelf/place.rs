//! Where a segment lies on another disk: `DEVICE/2026/11/23/20261123T051656Z.mp4`, with names that every file system takes. A rule.

use jiff::civil::Date;

use crate::archive::manifest;

/// Longest folder name that is made of a device's name.
const LONGEST: usize = 64;

/// The device's own folder. FAT takes neither `:` nor a dot at the end, and a path no `/`; letters of other alphabets depend on how
/// a disk is mounted.
pub fn device_folder(device: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_. ".contains(c) { c } else { '_' };
    let name: String = device.chars().map(safe).take(LONGEST).collect();
    let name = name.trim_matches([' ', '.']);
    if name.is_empty() { "onair".into() } else { name.into() }
}

/// The folder of a day, below that of the disk.
pub fn day_folder(device: &str, day: Date) -> String {
    format!("{}/{}", device_folder(device), manifest::folder(day))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_devices() {
        for (device, folder) in [
            ("box-7", "box-7"),
            ("Main stage", "Main stage"),
            ("a/b:c", "a_b_c"),
            ("../..", "_"),
            ("Küche", "K_che"),
            (" . ", "onair"),
            ("", "onair"),
        ] {
            assert_eq!(device_folder(device), folder, "{device}");
        }
        assert_eq!(day_folder("box", jiff::civil::date(2026, 1, 2)), "box/2026/01/02");
    }

    proptest! {
        #[test]
        fn never_out_of_the_disk(device in ".{0,100}") {
            let folder = device_folder(&device);
            prop_assert!(!folder.is_empty() && folder.len() <= LONGEST && !folder.contains('/'));
            prop_assert!(!folder.starts_with('.') && !folder.ends_with(['.', ' ']));
        }
    }
}
