//! The `[archive.upload]` section: the bucket that recordings are copied to, and the keys to it.
//!
//! Its `bucket` switches the upload on. A key is taken from one place only and never told, nor is a path that may be a key written
//! in the wrong place.

use std::ops::RangeInclusive;

use super::parse::Around;
use super::reader::Section;
use super::values::*;
use super::{Keys, Upload, legs};
use crate::secret::Secret;
use crate::units::{BitRate, ByteSize};

const MIB: u64 = 1 << 20;

/// The protocol wants 5 MiB at least; three parts are held in memory.
const PARTS: RangeInclusive<u64> = 5 * MIB..=128 * MIB;

/// Less than a sound's bit rate would never catch up.
const BANDWIDTHS: RangeInclusive<BitRate> = BitRate::from_bps(64_000)..=BitRate::from_bps(10_000_000_000);

pub(super) fn upload(archive: &mut Section, around: &Around) -> Option<Upload> {
    let is_there = archive.has("upload");
    let mut section = archive.section("upload", "[archive.upload]");
    if !is_there || archive.has_refused("upload") {
        return None;
    }
    let enabled = section.value("enabled", true, boolean);
    let bucket = match enabled {
        true => section.required("bucket", "name the bucket that recordings are copied to, or remove the section", bucket),
        false => section.optional("bucket", bucket),
    };
    let default = Upload::default();
    let upload = Upload {
        bucket: bucket.clone().unwrap_or_default(),
        region: section.value("region", default.region, name),
        endpoint: section.optional("endpoint", |value| endpoint(&text(value)?)),
        prefix: section.value("prefix", default.prefix, prefix),
        keys: keys(&mut section, around),
        part_size: ByteSize::from_bytes(section.value("part_size", default.part_size.bytes(), part_size)),
        bandwidth: section.optional("bandwidth", bit_rate(BANDWIDTHS)),
        ca_file: legs::authorities(&mut section, around),
    };
    let plain = upload.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    section.rule(&["ca_file", "endpoint"], !(plain && upload.ca_file.is_some()), || {
        "the connection is not encrypted; write https:// in `endpoint`, or remove `ca_file`".into()
    });
    section.finish(&[]);
    bucket.filter(|_| enabled).map(|_| upload)
}

fn keys(section: &mut Section, around: &Around) -> Keys {
    let access = section.optional("access_key", |value| key(&text(value)?, "access key"));
    let secret = section.optional("secret_key", |value| key(&text(value)?, "secret key").map(Secret::new));
    let file = section.optional("credentials_file", |value| Ok(around.path(text(value)?)));
    let alone =
        |one: &str, other: &str| format!("has no meaning without `{other}`; write both, or neither of them, not `{one}` alone");
    let (has_access, has_secret) = (section.has("access_key"), section.has("secret_key"));
    section.rule(&["access_key", "secret_key"], !has_access || has_secret, || alone("access_key", "secret_key"));
    section.rule(&["secret_key", "access_key"], !has_secret || has_access, || alone("secret_key", "access_key"));
    if file.is_some() && (has_access || has_secret) {
        let text = "`credentials_file`: is not used, because there are keys in this section too; remove one of the two";
        section.findings().warn(section.line_of("credentials_file"), text);
    }
    match (access, secret, file) {
        (Some(access), Some(secret), _) => Keys::Written { access, secret },
        (_, _, Some(path)) => {
            if let Err(reason) = around.files.readable(&path) {
                let text = format!("`credentials_file`: the file cannot be read ({reason}); put it there or correct the path");
                section.findings().warn(section.line_of("credentials_file"), text);
            }
            Keys::File(path)
        }
        _ => Keys::Surroundings,
    }
}

fn key(text: &str, what: &str) -> Result<String, String> {
    let text = text.trim();
    match text.len() <= 256 && text.chars().all(|c| c.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err(format!("want an {what} of printable characters without spaces").replace("an secret", "a secret")),
    }
}

/// AWS's rule for the names of buckets, and what other stores allow beside it.
fn bucket(value: &toml::de::DeValue) -> Result<String, String> {
    let name = text(value)?;
    let fits = (3..=255).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    match fits && !name.starts_with('.') {
        true => Ok(name),
        false => Err(format!("want the name of a bucket, 3 to 255 letters, digits, `-`, `_` or `.`, got \"{name}\"")),
    }
}

/// Without the slashes around it.
fn prefix(value: &toml::de::DeValue) -> Result<String, String> {
    let prefix = line(value)?;
    let parts = prefix.trim_matches('/');
    let fits = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "!-_.'()*=+@".contains(c))
    };
    match parts.is_empty() || parts.split('/').all(fits) {
        true => Ok(parts.to_owned()),
        false => Err(format!("want folders of letters, digits, `-`, `_` or `.` such as \"station/north\", got \"{prefix}\"")),
    }
}

/// `http(s)://host[:port]`, and nothing behind it: the bucket is named apart. The URL may hold a key by mistake, and is not quoted.
fn endpoint(url: &str) -> Result<String, String> {
    let wanted = "want a URL such as \"https://s3.example\" or \"http://10.0.0.5:9000\", without a path";
    let (scheme, rest) = url.split_once("://").ok_or(wanted)?;
    let scheme = scheme.to_ascii_lowercase();
    let host = rest.strip_suffix('/').unwrap_or(rest);
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let name_fits = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._[]:".contains(c));
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    match ["http", "https"].contains(&scheme.as_str()) && name_fits && port_fits {
        true => Ok(format!("{scheme}://{host}")),
        false => Err(wanted.into()),
    }
}

fn part_size(value: &toml::de::DeValue) -> Result<u64, String> {
    let size = quantity::<ByteSize>("\"8MiB\"")(value)?;
    let fault = || format!("want a size from {} to {}, got {size}", mib(*PARTS.start()), mib(*PARTS.end()));
    PARTS.contains(&size.bytes()).then_some(size.bytes()).ok_or_else(fault)
}

fn mib(bytes: u64) -> String {
    format!("{}MiB", bytes / MIB)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Fault, parse};
    use proptest::prelude::*;
    use std::path::Path;

    fn text(keys: &str) -> String {
        format!("version = 1\n[[input]]\nkind = 'test'\n[archive.upload]\n{keys}\n")
    }

    fn good(keys: &str) -> Upload {
        let parsed = parse(&text(keys)).unwrap_or_else(|faults| panic!("{faults:?}"));
        parsed.config.archive.upload.expect("the section has a bucket")
    }

    fn faults(keys: &str) -> Vec<String> {
        parse(&text(keys)).err().unwrap_or_default().iter().map(Fault::to_string).collect()
    }

    #[test]
    fn a_bucket_is_enough() {
        let upload = good("bucket = 'recordings'");
        assert_eq!((upload.bucket.as_str(), upload.region.as_str()), ("recordings", "us-east-1"));
        assert_eq!((upload.endpoint, upload.prefix, upload.bandwidth, upload.ca_file), (None, String::new(), None, None));
        assert_eq!(upload.part_size.bytes(), 8 << 20);
        assert!(upload.keys == Keys::Surroundings);
        assert!(parse("version = 1\n[[input]]\nkind = 'test'\n").is_ok_and(|parsed| parsed.config.archive.upload.is_none()));
    }

    #[test]
    fn values_are_taken_as_written() {
        let upload = good(
            "bucket = 'b-1'\nendpoint = 'HTTP://10.0.0.5:9000/'\nprefix = '/station/north/'\npart_size = '5MiB'\nbandwidth = '2M'\n\
             access_key = 'AK'\nsecret_key = 'SECRET'",
        );
        assert_eq!((upload.endpoint.as_deref(), upload.prefix.as_str()), (Some("http://10.0.0.5:9000"), "station/north"));
        assert_eq!((upload.part_size.bytes(), upload.bandwidth.map(BitRate::bps)), (5 << 20, Some(2_000_000)));
        assert!(upload.keys == Keys::Written { access: "AK".into(), secret: Secret::new("SECRET") });
        assert!(good("bucket = 'b-1'\ncredentials_file = '/etc/keys'").keys == Keys::File(Path::new("/etc/keys").into()));
    }

    #[test]
    fn faults_have_their_lines() {
        for (keys, want) in [
            ("region = 'eu'", "4: [archive.upload] has no `bucket`; name the bucket"),
            ("bucket = 'a/b'", "5: `bucket`: want the name of a bucket"),
            ("bucket = 'bbb'\nendpoint = 's3.example'", "6: `endpoint`: want a URL such as"),
            ("bucket = 'bbb'\nendpoint = 'https://s3.example/bucket'", "6: `endpoint`: want a URL such as"),
            ("bucket = 'bbb'\nendpoint = 'https://AK:SECRET@s3.example'", "6: `endpoint`: want a URL such as"),
            ("bucket = 'bbb'\nprefix = 'a/../b'", "6: `prefix`: want folders of"),
            ("bucket = 'bbb'\npart_size = '1MiB'", "6: `part_size`: want a size from 5MiB to 128MiB, got 1.0 MiB"),
            ("bucket = 'bbb'\nbandwidth = '1k'", "6: `bandwidth`: want a bit rate from"),
            ("bucket = 'bbb'\naccess_key = 'AK'", "6: `access_key`: has no meaning without `secret_key`"),
            ("bucket = 'bbb'\nsecret_key = 'SECRET'", "6: `secret_key`: has no meaning without `access_key`"),
            ("bucket = 'bbb'\nsecret_key = 'SEC RET'\naccess_key = 'AK'", "6: `secret_key`: want a secret key"),
            ("bucket = 'bbb'\nacces_key = 'AK'", "6: unknown key `acces_key` in [archive.upload], did you mean `access_key`?"),
        ] {
            let got = faults(keys);
            assert!(got.len() == 1 && got[0].starts_with(want), "{keys}\n{got:#?}");
        }
    }

    #[test]
    fn two_kinds_of_keys_are_a_warning() {
        let keys = "bucket = 'bbb'\naccess_key = 'AK'\nsecret_key = 'SECRET'\ncredentials_file = 'f'";
        let warnings = parse(&text(keys)).ok().unwrap().warnings;
        assert!(warnings.len() == 1 && warnings[0].to_string().starts_with("8: `credentials_file`: is not used"), "{warnings:?}");
    }

    #[test]
    fn switched_off_it_needs_no_bucket() {
        for keys in ["enabled = false", "enabled = false\nbucket = 'bbb'"] {
            assert!(parse(&text(keys)).is_ok_and(|parsed| parsed.config.archive.upload.is_none()));
        }
    }

    proptest! {
        #[test]
        fn no_key_is_ever_told(secret in "[A-Z0-9+/]{12,40}", shape in 0usize..8) {
            let keys = match shape {
                0 => format!("secret_key = '{secret}'"),
                1 => format!("bucket = 'b'\nsecret_key = '{secret}'"),
                2 => format!("bucket = 'bbb'\nsecret_key = {secret}"),
                3 => format!("bucket = 'bbb'\nsecret_key = '{secret} {secret}'\naccess_key = '{secret}'"),
                4 => format!("bucket = 'bbb'\nendpoint = 'https://x:{secret}@h'"),
                5 => format!("bucket = 'bbb'\ncredentials_file = '{secret}'\nx = 1"),
                6 => format!("bucket = 'bbb'\nsecret_key = ['{secret}']"),
                _ => format!("bucket = 'bbb'\naccess_key = 5\nsecret_key = '{secret}"),
            };
            let all = faults(&keys).join("\n");
            prop_assert!(!all.contains(&secret[..8]), "{}\nof\n{}", all, keys);
        }
    }
}
