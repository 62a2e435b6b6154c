//! What can keep a segment from the bucket, told apart by what there is to do about it. Rules: a server's answer goes in as its
//! status and code, a sentence for a person comes out. No sentence quotes a key.

use std::error::Error;
use std::fmt;
use std::io;

use rustls::CertificateError;

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It passes by itself: no network, a busy server, a clock that is not set yet. Tried again soon.
    Weather(String),
    /// A person must change the configuration, here or at the store. Tried again after minutes.
    Refused(String),
    /// The key is known, and may not do this. The same, but some stores also say it of an upload that is over.
    Denied(String),
    /// There is no such object or upload.
    Absent,
    /// The store does not know this multipart upload in this form any more: it is begun anew.
    Stale(String),
    /// The store has no such operation.
    Unable,
    /// The legs need the line.
    Yielded,
    /// The archive's own folder or index.
    Local(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weather(text) | Self::Refused(text) | Self::Denied(text) | Self::Stale(text) | Self::Local(text) => {
                f.write_str(text)
            }
            Self::Absent => f.write_str("the store does not have it"),
            Self::Unable => f.write_str("the store does not know this operation"),
            Self::Yielded => f.write_str("the legs need the line"),
        }
    }
}

/// The answer of a server that was not what was asked for (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>).
/// An answer without a body, as that to HEAD is, has no code. `place`: which bucket, where.
pub fn judge(place: &str, status: u16, code: Option<&str>, message: Option<&str>) -> Trouble {
    let refused = |cause: &str| Trouble::Refused(format!("{place}: {cause}"));
    let denied = |cause: &str| Trouble::Denied(format!("{place}: {cause}"));
    match (code.unwrap_or_default(), status) {
        ("InvalidAccessKeyId" | "InvalidClientTokenId" | "NotSignedUp", _) => {
            refused("the access key is not known there; correct `access_key`")
        }
        ("SignatureDoesNotMatch", _) => refused("the secret key is wrong; correct `secret_key`"),
        ("AccessDenied" | "AllAccessDisabled" | "AccountProblem", _) => denied(
            "access is denied; give this key the right to list, read and write there (also multipart uploads), or use another one",
        ),
        ("NoSuchBucket" | "InvalidBucketName", _) => refused("there is no such bucket; correct `bucket`, or make it"),
        ("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException", _) | (_, 301 | 307) => {
            refused("the bucket is in another region; correct `region` and `endpoint`")
        }
        ("RequestTimeTooSkewed" | "RequestExpired", _) => Trouble::Weather(format!(
            "{place}: this box's clock is wrong by more than the store accepts; set the clock or give it a time server"
        )),
        ("ExpiredToken" | "ExpiredTokenException", _) => Trouble::Weather(format!("{place}: the temporary key has expired")),
        ("NoSuchUpload" | "NoSuchKey" | "NotFound", _) => Trouble::Absent,
        ("InvalidPart" | "InvalidPartOrder" | "EntityTooSmall" | "EntityTooLarge", _) => {
            Trouble::Stale(format!("{place}: the store does not accept the parts ({})", code.unwrap_or_default()))
        }
        ("NotImplemented" | "MethodNotAllowed", _) | (_, 501 | 405) => Trouble::Unable,
        ("BadDigest" | "XAmzContentSHA256Mismatch" | "InvalidDigest" | "IncompleteBody" | "RequestTimeout" | "SlowDown", _)
        | (_, 408 | 429 | 500..) => Trouble::Weather(busy(place, status, code, message)),
        ("", 401 | 403) => denied("access is denied; check the keys and what they are allowed to do"),
        ("", 404) => Trouble::Absent,
        ("", 400) => refused("the store does not take the request; check keys, `region` and `endpoint`"),
        _ => Trouble::Refused(busy(place, status, code, message)),
    }
}

fn busy(place: &str, status: u16, code: Option<&str>, message: Option<&str>) -> String {
    let said: Vec<&str> = [code, message].into_iter().flatten().filter(|text| !text.is_empty()).collect();
    match said.is_empty() {
        true => format!("{place}: the store answers {status}"),
        false => format!("{place}: the store answers {status} ({})", said.join(": ")),
    }
}

/// No answer came, or none could be asked for.
pub fn unsent(place: &str, error: &(dyn Error + 'static)) -> Trouble {
    let texts: Vec<String> = causes(error).map(ToString::to_string).collect();
    let certificate = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>());
    let last = texts.last().map_or("no cause is told", |text| text);
    match certificate {
        // A clock that was never set is set by and by.
        Some(rustls::Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. })) => {
            Trouble::Weather(format!("{place}: its certificate is not valid yet; is this box's clock right?"))
        }
        Some(rustls::Error::InvalidCertificate(fault)) => Trouble::Refused(format!(
            "{place}: its certificate is not acceptable ({fault:?}); check this box's clock, and `ca_file`"
        )),
        _ if texts.iter().any(|text| text.contains("credential")) => Trouble::Refused(format!(
            "{place}: there are no keys ({last}); write `access_key` and `secret_key`, or `credentials_file`"
        )),
        _ => Trouble::Weather(format!("{place} cannot be reached: {last}")),
    }
}

/// An error and all that lies below it. What an I/O error wraps is below it too.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: &str = "bucket onair at s3.example";

    fn told(status: u16, code: &str) -> Trouble {
        judge(PLACE, status, (!code.is_empty()).then_some(code), None)
    }

    #[test]
    fn configuration_is_told_from_weather() {
        for (status, code, words) in [
            (403, "InvalidAccessKeyId", "`access_key`"),
            (403, "SignatureDoesNotMatch", "`secret_key`"),
            (404, "NoSuchBucket", "`bucket`"),
            (301, "PermanentRedirect", "`region`"),
            (301, "", "`region`"),
            (400, "", "`region`"),
            (400, "InvalidArgument", "InvalidArgument"),
        ] {
            let Trouble::Refused(text) = told(status, code) else { panic!("{status} {code}: {:?}", told(status, code)) };
            assert!(text.contains(words) && text.contains(PLACE), "{text}");
        }
        for (status, code) in
            [(500, ""), (500, "InternalError"), (503, "SlowDown"), (429, ""), (400, "RequestTimeout"), (400, "BadDigest")]
        {
            assert!(matches!(told(status, code), Trouble::Weather(_)), "{status} {code}");
        }
        for code in ["AccessDenied", ""] {
            assert!(matches!(told(403, code), Trouble::Denied(text) if text.contains("denied")), "{code}");
        }
        let Trouble::Weather(text) = told(403, "RequestTimeTooSkewed") else { panic!("a clock sets itself") };
        assert!(text.contains("clock"), "{text}");
    }

    #[test]
    fn what_is_not_there_is_no_fault() {
        for (status, code) in [(404, ""), (404, "NoSuchKey"), (404, "NoSuchUpload")] {
            assert_eq!(told(status, code), Trouble::Absent);
        }
        assert_eq!(told(501, "NotImplemented"), Trouble::Unable);
        assert!(matches!(told(400, "InvalidPart"), Trouble::Stale(_)));
    }
}
