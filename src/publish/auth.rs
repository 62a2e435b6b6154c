//! User name and password where a server asks for them: the challenge `authmod=adobe`, as Flash Media Live Encoder answers it
//! and Adobe's, Wowza's and Akamai's servers want it. A rule: the words of a refusal in, the next query out.
//!
//! ```text
//! connect ─▶ "code=403 need auth; authmod=adobe" ─▶ connect with authmod, user
//!         ─▶ "?reason=needauth&user=…&salt=…&challenge=…&opaque=…" ─▶ connect with authmod, user, challenge, response
//!         ─▶ _result, or "?reason=authfailed"
//!
//! response = base64(md5( base64(md5(user + salt + password)) + (opaque, or else the server's challenge) + our challenge ))
//! ```
//!
//! Each connect is on a connection of its own. The password itself never leaves this file; MD5 is what the scheme wants, and
//! only RTMPS makes it worth something. Other schemes (`authmod=llnw`) are refused by name.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};

use crate::secret::Secret;

/// Queries for one connection: ask, answer, and one more for a challenge that has become stale.
const MAX_ROUNDS: u32 = 3;

pub struct Login {
    user: String,
    password: Secret,
    rounds: u32,
}

/// Why there is no next query; in words for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("the origin refuses the user name or the password")]
    Password,
    #[error("the origin does not know the user name")]
    User,
    #[error("the origin wants a login of the kind \"{0}\", which is not supported; \"adobe\" is")]
    Scheme(String),
    #[error("the origin does not say what it wants for a login")]
    NoChallenge,
    #[error("the origin asks for the password again and again")]
    TooManyRounds,
}

impl Login {
    pub fn new(user: impl Into<String>, password: Secret) -> Self {
        Self { user: user.into(), password, rounds: 0 }
    }

    /// `description`: the server's words; `random`: fresh for every call. Returns what `app` and `tcUrl` of the next connect
    /// end with.
    pub fn next(&mut self, description: &str, random: u32) -> Result<String, Denied> {
        let scheme = scheme(description).ok_or(Denied::NoChallenge)?;
        if scheme != "adobe" {
            return Err(Denied::Scheme(scheme.chars().filter(char::is_ascii_alphanumeric).take(20).collect()));
        }
        let query = match parameter(description, "reason") {
            Some("authfailed") => return Err(Denied::Password),
            Some("nosuchuser") => return Err(Denied::User),
            Some("needauth") => self.answer(description, random)?,
            _ => format!("authmod=adobe&user={}", escaped(&self.user)),
        };
        self.rounds += 1;
        if self.rounds > MAX_ROUNDS { Err(Denied::TooManyRounds) } else { Ok(query) }
    }

    fn answer(&self, description: &str, random: u32) -> Result<String, Denied> {
        let salt = parameter(description, "salt").ok_or(Denied::NoChallenge)?;
        let (opaque, challenge) = (parameter(description, "opaque"), parameter(description, "challenge"));
        let theirs = opaque.or(challenge).ok_or(Denied::NoChallenge)?;
        let ours = format!("{random:08x}");
        let secret = hash(&[&self.user, salt, self.password.expose()]);
        let response = hash(&[&secret, theirs, &ours]);
        let opaque = opaque.map_or(String::new(), |opaque| format!("&opaque={opaque}"));
        Ok(format!("authmod=adobe&user={}&challenge={ours}&response={response}{opaque}", escaped(&self.user)))
    }
}

fn scheme(description: &str) -> Option<&str> {
    let (_, after) = description.split_once("authmod=")?;
    after.split([' ', ';', ']', '&', ':']).next().filter(|scheme| !scheme.is_empty())
}

/// A value in the query that ends the description. Only the first `=` of a part separates: base64 ends with more of them.
fn parameter<'d>(description: &'d str, name: &str) -> Option<&'d str> {
    let (_, query) = description.split_once('?')?;
    let query = query.split([' ', ']']).next()?;
    let value = query.split('&').filter_map(|part| part.split_once('=')).find(|(key, _)| *key == name)?.1;
    (!value.is_empty()).then_some(value)
}

fn hash(parts: &[&str]) -> String {
    let mut md5 = Md5::new();
    parts.iter().for_each(|part| md5.update(part));
    STANDARD.encode(md5.finalize())
}

/// What would end the value, or the query, is escaped; all else stays as it is, because servers compare.
fn escaped(user: &str) -> String {
    user.bytes().map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"&=?#%+/".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NEED: &str = "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ";

    fn login() -> Login {
        Login::new("broadcaster", Secret::new("p4ss"))
    }

    fn challenge(more: &str) -> String {
        format!("[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=needauth&user=broadcaster{more}")
    }

    #[test]
    fn a_login_asks_and_then_answers() {
        let mut login = login();
        assert_eq!(login.next(NEED, 1).unwrap(), "authmod=adobe&user=broadcaster");
        let query = login.next(&challenge("&salt=SALT==&challenge=CHAL==&opaque=OPAQ=="), 0x00AB_CDEF).unwrap();
        // Computed with openssl: base64(md5("broadcasterSALT==p4ss")) and so on.
        let wanted = "authmod=adobe&user=broadcaster&challenge=00abcdef&response=U7m5s3OaKrVH+kLdyLDU8Q==&opaque=OPAQ==";
        assert_eq!(query, wanted);
        let query = login.next(&challenge("&salt=SALT==&challenge=CHAL=="), 0x00AB_CDEF).unwrap();
        assert_eq!(query, "authmod=adobe&user=broadcaster&challenge=00abcdef&response=EQTs6Xbq0UjP3J1VSExJKg==");
        assert_eq!(login.next(NEED, 1), Err(Denied::TooManyRounds));
    }

    #[test]
    fn what_cannot_be_answered_is_told() {
        let table = [
            (challenge("").replace("needauth", "authfailed"), Denied::Password),
            (challenge("").replace("needauth", "nosuchuser"), Denied::User),
            (NEED.replace("adobe", "llnw"), Denied::Scheme("llnw".into())),
            (challenge("&challenge=c"), Denied::NoChallenge),
            (challenge("&salt=s"), Denied::NoChallenge),
            ("no such application".into(), Denied::NoChallenge),
            ("".into(), Denied::NoChallenge),
            ("authmod=".into(), Denied::NoChallenge),
        ];
        for (description, denied) in table {
            assert_eq!(login().next(&description, 1), Err(denied), "{description}");
        }
    }

    #[test]
    fn a_name_cannot_end_its_value() {
        let mut login = Login::new("a&b=c ä.d@e", Secret::new("p"));
        assert_eq!(login.next(NEED, 1).unwrap(), "authmod=adobe&user=a%26b%3Dc%20%C3%A4.d@e");
    }

    proptest! {
        #[test]
        fn the_password_is_in_no_query_and_nothing_can_hurt(description in "(\\[ authmod=adobe \\] : \\?reason=needauth&salt=)?\\PC{0,60}", random: u32) {
            let password = "correct-horse-battery";
            let mut login = Login::new("u", Secret::new(password));
            let said = match login.next(&description, random) {
                Ok(query) => query,
                Err(denied) => denied.to_string(),
            };
            prop_assert!(!said.contains(password));
        }
    }
}
