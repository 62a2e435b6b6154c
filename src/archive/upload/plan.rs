//! What to do next, and how long to rest before it: the uploader's rules, without a socket, a file or a clock.
//!
//! ```text
//!             it worked                 weather: 1 s … 60 s, with jitter
//!   working ◀──────────── resting ◀────────────────────────────────────── working
//!                           ▲          refused: 5 min; the legs' turn: 2 s
//!                           └── a segment that cannot be uploaded is left out for an hour; the others go on
//! ```
//!
//! A segment is never given up: whatever was in its way is looked for again, for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::civil::Date;

use super::trouble::Trouble;
use crate::backoff::Backoff;
use crate::recorded::name::Name;
use crate::units::MediaTime;

/// How often it is looked whether there is something to do.
const LOOK: Duration = Duration::from_secs(2);

/// A manifest of a day that grows is not sent after each of many small segments.
const MANIFEST_PAUSE: Duration = Duration::from_secs(20);

/// Nobody corrects a configuration faster.
const REFUSED_PAUSE: Duration = Duration::from_secs(300);

/// After this, a segment that could not be uploaded for a reason of its own is tried again.
const LEFT_OUT: Duration = Duration::from_secs(3600);

/// The protocol's greatest number of a part.
const MAX_PARTS: u64 = 10_000;

const MIB: u64 = 1 << 20;

/// A day whose manifest is due, with the version to be named when it has been sent.
pub type Due = (Date, u64);

#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    Segment,
    Manifest(Due),
    Rest(Duration),
}

/// Until when what is not done.
pub struct Plan {
    weather: Backoff,
    left_out: BTreeMap<Name, MediaTime>,
    manifest_at: Option<MediaTime>,
}

impl Default for Plan {
    fn default() -> Self {
        let weather = Backoff::new(Duration::from_secs(1), Duration::from_secs(60)).expect("from a second to a minute");
        Self { weather, left_out: BTreeMap::new(), manifest_at: None }
    }
}

impl Plan {
    /// `segment`: one waits. Segments go first; a manifest that is due is sent between them now and then, and when none waits.
    pub fn next(&self, now: MediaTime, segment: bool, due: &[Due]) -> Next {
        let recent = self.manifest_at.is_some_and(|at| now.since(at) < MANIFEST_PAUSE);
        match (segment, due.first()) {
            (true, Some(due)) if !recent => Next::Manifest(*due),
            (true, _) => Next::Segment,
            (false, Some(due)) => Next::Manifest(*due),
            (false, None) => Next::Rest(LOOK),
        }
    }

    pub fn manifest_sent(&mut self, now: MediaTime, more_due: bool) {
        self.manifest_at = (!more_due).then_some(now);
    }

    /// A request was answered as it should be.
    pub fn worked(&mut self) {
        self.weather.reset();
    }

    /// How long to rest. `random` is a fresh number from 0 to 1.
    pub fn troubled(&mut self, trouble: &Trouble, random: f64) -> Duration {
        match trouble {
            Trouble::Refused(_) | Trouble::Denied(_) => REFUSED_PAUSE,
            Trouble::Yielded | Trouble::Local(_) => LOOK,
            Trouble::Weather(_) | Trouble::Absent | Trouble::Stale(_) | Trouble::Unable => self.weather.next(random),
        }
    }

    /// This one has a fault of its own, and the others do not wait for it.
    pub fn leave_out(&mut self, name: Name, now: MediaTime) {
        self.left_out.insert(name, now + LEFT_OUT);
    }

    /// The segments that are not to be tried now.
    pub fn left_out(&self, now: MediaTime) -> BTreeSet<Name> {
        self.left_out.iter().filter(|(_, until)| now < **until).map(|(name, _)| *name).collect()
    }

    /// It is in the bucket, or its file is gone.
    pub fn settled(&mut self, name: Name) {
        self.left_out.remove(&name);
    }

    /// How many segments cannot be uploaded for a reason of their own.
    pub fn failed(&self) -> u64 {
        self.left_out.len() as u64
    }
}

/// How a segment is cut into parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    bytes: u64,
    part: u64,
}

impl Layout {
    /// Parts of the wanted size, or of more whole MiB if there would be more of them than can be numbered.
    pub fn new(bytes: u64, wanted: u64) -> Self {
        let least = bytes.div_ceil(MAX_PARTS).div_ceil(MIB) * MIB;
        Self { bytes, part: wanted.max(least).max(1) }
    }

    /// It goes in one request.
    pub fn is_single(&self) -> bool {
        self.bytes <= self.part
    }

    /// The lengths of all parts, in order; that of an empty file is one of 0.
    pub fn lengths(&self) -> impl Iterator<Item = u64> + use<> {
        let Self { bytes, part } = *self;
        let count = bytes.div_ceil(part).max(1);
        (0..count).map(move |index| part.min(bytes - index * part))
    }
}

/// The hashes of a part as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prints {
    pub bytes: u64,
    pub sha256: [u8; 32],
    pub md5: [u8; 16],
}

/// A part as the server knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    pub number: i32,
    pub bytes: u64,
    /// As the protocol carries it, with or without its quotes.
    pub etag: Option<String>,
    /// In base64.
    pub sha256: Option<String>,
}

/// Is this the part that we would send? All that the server tells of it must fit, and it must tell a hash or be of a server that
/// tells none at all (then its size has to do, and the whole is compared afterwards).
pub fn is_same(listed: &Listed, own: &Prints) -> bool {
    let etag = listed.etag.as_deref().map(bare);
    listed.bytes == own.bytes
        && listed.sha256.as_deref().is_none_or(|hash| hash == base64(&own.sha256))
        && (listed.sha256.is_some() || etag.is_none_or(|etag| etag == hex(&own.md5)))
}

/// What the server must say of the whole, if it says anything of this kind: the ETag of parts is the MD5 of their MD5s, the
/// composite checksum the SHA-256 of their SHA-256s, each with the number of parts behind it
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>).
///
/// ETags are only compared if those of the parts were MD5s: of an encrypted bucket they are something else.
pub fn is_whole(parts: &[(Prints, Option<String>)], etag: Option<&str>, checksum: Option<&str>) -> bool {
    let plain = parts.iter().all(|(prints, etag)| etag.as_deref().map(bare) == Some(hex(&prints.md5).as_str()));
    let etag_fits = match etag.map(bare) {
        Some(etag) if plain && etag.ends_with(&format!("-{}", parts.len())) => etag == md5_of_parts(parts),
        _ => true,
    };
    etag_fits && checksum.filter(|sum| sum.contains('-')).is_none_or(|sum| sum == sha256_of_parts(parts))
}

fn md5_of_parts(parts: &[(Prints, Option<String>)]) -> String {
    use md5::Digest;
    let mut whole = md5::Md5::new();
    parts.iter().for_each(|(prints, _)| whole.update(prints.md5));
    format!("{}-{}", hex(&whole.finalize()), parts.len())
}

fn sha256_of_parts(parts: &[(Prints, Option<String>)]) -> String {
    let mut whole = ring::digest::Context::new(&ring::digest::SHA256);
    parts.iter().for_each(|(prints, _)| whole.update(&prints.sha256));
    format!("{}-{}", base64(whole.finish().as_ref()), parts.len())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn bare(etag: &str) -> &str {
    etag.trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> MediaTime {
        MediaTime::from_millis(seconds * 1000)
    }

    fn name() -> Name {
        Name::parse_closed("20261123T051656Z.mp4").unwrap()
    }

    #[test]
    fn segments_first_and_a_manifest_now_and_then() {
        let mut plan = Plan::default();
        let day: Date = "2026-11-23".parse().unwrap();
        let due = [(day, 3)];
        assert_eq!(plan.next(at(0), false, &[]), Next::Rest(LOOK));
        assert_eq!(plan.next(at(0), true, &[]), Next::Segment);
        assert_eq!(plan.next(at(0), true, &due), Next::Manifest((day, 3)));
        plan.manifest_sent(at(0), false);
        assert_eq!(plan.next(at(1), true, &due), Next::Segment);
        assert_eq!(plan.next(at(1), false, &due), Next::Manifest((day, 3)), "nothing else to do");
        assert_eq!(plan.next(at(20), true, &due), Next::Manifest((day, 3)));
    }

    #[test]
    fn rests() {
        let mut plan = Plan::default();
        let weather = Trouble::Weather("rain".into());
        let rests: Vec<u64> = (0..9).map(|_| plan.troubled(&weather, 0.5).as_secs()).collect();
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 48, 48, 48]);
        assert_eq!(plan.troubled(&Trouble::Refused("key".into()), 0.5), REFUSED_PAUSE);
        plan.worked();
        assert_eq!(plan.troubled(&weather, 0.5).as_secs(), 1);
    }

    #[test]
    fn one_bad_segment_does_not_stop_the_others_and_is_tried_again() {
        let mut plan = Plan::default();
        plan.leave_out(name(), at(10));
        assert!(plan.left_out(at(3609)).contains(&name()) && plan.left_out(at(3610)).is_empty());
        assert_eq!(plan.failed(), 1);
        plan.settled(name());
        assert_eq!(plan.failed(), 0);
    }

    #[test]
    fn parts_of_a_server_are_taken_over_only_if_they_are_ours() {
        let own = Prints { bytes: 9, sha256: [1; 32], md5: [0xab; 16] };
        let listed = |bytes, etag: Option<&str>, sha256: Option<&str>| Listed {
            number: 1,
            bytes,
            etag: etag.map(Into::into),
            sha256: sha256.map(Into::into),
        };
        let (md5, sha256) = (format!("\"{}\"", "ab".repeat(16)), base64(&[1; 32]));
        assert!(is_same(&listed(9, Some(&md5), None), &own));
        assert!(is_same(&listed(9, None, None), &own), "nothing else is known");
        assert!(is_same(&listed(9, Some("kms"), Some(&sha256)), &own), "an encrypted bucket's ETag is no MD5");
        assert!(!is_same(&listed(8, Some(&md5), None), &own));
        assert!(!is_same(&listed(9, Some("\"00\""), None), &own));
        assert!(!is_same(&listed(9, Some(&md5), Some("x")), &own));
    }

    #[test]
    fn the_whole_is_what_its_parts_make() {
        let print = |byte: u8| Prints { bytes: 1, sha256: [byte; 32], md5: [byte; 16] };
        let parts = [1, 2].map(|byte| (print(byte), Some(hex(&[byte; 16]))));
        let (etag, sum) = (md5_of_parts(&parts), sha256_of_parts(&parts));
        assert!(etag.ends_with("-2") && sum.ends_with("-2"));
        assert!(is_whole(&parts, Some(&format!("\"{etag}\"")), Some(&sum)));
        assert!(is_whole(&parts, None, None), "a store that tells nothing is not a liar");
        assert!(!is_whole(&parts, Some(&format!("{}-2", "0".repeat(32))), None));
        assert!(!is_whole(&parts, Some(&etag), Some("AAAA-2")));
        let opaque = parts.clone().map(|(prints, _)| (prints, Some("opaque".to_owned())));
        assert!(is_whole(&opaque, Some("anything-2"), None));
    }

    proptest! {
        #[test]
        fn parts_cover_the_file_and_can_be_numbered(bytes in 0u64..60 << 40, wanted in 5u64 << 20..6 << 30) {
            let layout = Layout::new(bytes, wanted);
            let lengths: Vec<u64> = layout.lengths().collect();
            prop_assert!(lengths.len() as u64 <= MAX_PARTS && !lengths.is_empty());
            prop_assert_eq!(lengths.iter().sum::<u64>(), bytes);
            prop_assert_eq!(layout.is_single(), lengths.len() == 1);
            let (last, before) = lengths.split_last().unwrap();
            prop_assert!(before.iter().all(|length| *length >= wanted && *length == lengths[0]) && *last <= lengths[0]);
        }
    }
}
