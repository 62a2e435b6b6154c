//! What an object in the bucket is called and what stands beside it. Rules: the same segment always has the same name, whoever asks
//! and however often, so that nothing is ever there twice.
//!
//! `prefix/device/YYYY/MM/DD/20261123T051656Z.mp4`, the day being that of the segment's first picture, in UTC. The device's name
//! becomes one part of a path: what a path or a shell could misread is replaced. A name that a bucket would take for a step
//! upwards is never made.

use jiff::civil::Date;

use crate::archive::index::{Entry, day_of};
use crate::archive::manifest;

/// Metadata of an object, without the `x-amz-meta-` that the protocol puts before it.
pub const START: &str = "start";
pub const DURATION: &str = "duration";
pub const SHA256: &str = "sha256";

/// Where everything of this box lies in the bucket; ends with a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(String);

impl Place {
    pub fn new(prefix: &str, device: &str) -> Self {
        let prefix = prefix.trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        Self(format!("{prefix}{slash}{}/", part_of_path(device)))
    }

    /// What the names of all objects of this box begin with.
    pub fn folder(&self) -> &str {
        &self.0
    }

    pub fn segment(&self, entry: &Entry) -> String {
        format!("{}{}/{}", self.0, manifest::folder(day_of(entry.start_ms)), entry.name.closed())
    }

    pub fn manifest(&self, day: Date) -> String {
        format!("{}{}/manifest.json", self.0, manifest::folder(day))
    }
}

/// What is written beside a segment's object: its first picture's time, its length in seconds, its hash in hexadecimal digits.
pub fn metadata(entry: &Entry) -> [(&'static str, String); 3] {
    [
        (START, manifest::time(entry.start_ms)),
        (DURATION, format!("{:.3}", entry.duration.as_secs_f64())),
        (SHA256, entry.sha256.to_string()),
    ]
}

fn part_of_path(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = name.trim().chars().map(safe).collect();
    match name.trim_start_matches('.') {
        "" => "onair".into(),
        name => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::upload::testing::entry;
    use proptest::prelude::*;

    #[test]
    fn names_follow_the_first_pictures_day_in_utc() {
        let place = Place::new("/station/north/", "Box 7");
        let mut entry = entry("20261123T235958Z.mp4");
        entry.start_ms = 1_795_478_401_250;
        assert_eq!(place.segment(&entry), "station/north/Box-7/2026/11/24/20261123T235958Z.mp4");
        assert_eq!(place.manifest(day_of(entry.start_ms)), "station/north/Box-7/2026/11/24/manifest.json");
        assert_eq!(place.folder(), "station/north/Box-7/");
    }

    #[test]
    fn what_stands_beside_an_object() {
        let mut entry = entry("20261123T235958Z.mp4");
        entry.start_ms = 1_795_478_401_250;
        entry.duration = std::time::Duration::from_micros(299_966_600);
        let [start, duration, sha256] = metadata(&entry);
        assert_eq!((start.1.as_str(), duration.1.as_str()), ("2026-11-24T00:00:01.250Z", "299.967"));
        assert_eq!(sha256.1.len(), 64);
    }

    #[test]
    fn odd_names_of_devices_are_one_part_of_a_path() {
        for (name, part) in [("onair", "onair"), ("..", "onair"), ("../../etc", "-..-etc"), ("a/b c", "a-b-c"), ("Früh", "Fr-h")]
        {
            assert_eq!(Place::new("", name).folder(), format!("{part}/"), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_name_leads_out_of_its_folder(name in "\\PC{0,40}") {
            let place = Place::new("p", &name);
            let part = place.folder().strip_prefix("p/").unwrap().strip_suffix('/').unwrap();
            prop_assert!(!part.is_empty() && !part.starts_with('.') && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)));
        }
    }
}
