//! What an origin's no means, and the words for it. Pure.
//!
//! What is done next depends on the kind; what a person can do, on the words. The server's own text is kept beside them: cut,
//! without control characters, and without the stream key, which some servers like to repeat. Servers do not agree on codes,
//! so that their descriptions are read too; a rule stands further up in the table if it is more certain.

use super::command::Info;
use super::redirect;
use crate::secret::Secret;

/// Why an origin does not take the stream: what to do next depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// Name, key or rights are wrong: only a person can change that.
    ForGood,
    /// The origin believes that somebody publishes under this key; often our own connection of before.
    Busy,
    /// The origin ends the stream, goes away, or has no room.
    Closing,
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.words())]
pub struct Refusal {
    pub kind: RefusalKind,
    /// For people; empty if the server's own words must do.
    pub meaning: &'static str,
    pub code: String,
    pub description: String,
    /// Where the server sends us instead: a URL, or one relative to the present.
    pub redirect: Option<String>,
    /// The server asks for user name and password, in these words: see [`Login`](super::auth::Login).
    pub challenge: Option<String>,
}

/// How much of a server's words is worth showing.
const MAX_TEXT: usize = 160;

/// Shorter parts of a key are words that occur by chance.
const MIN_PART: usize = 4;

/// A code or a description that contains one of these.
struct Rule {
    codes: &'static [&'static str],
    texts: &'static [&'static str],
    kind: RefusalKind,
    meaning: &'static str,
}

const MOVED: Rule = Rule { codes: &[], texts: &[], kind: RefusalKind::Closing, meaning: "the origin sends us to another one" };

const UNKNOWN: Rule = Rule { codes: &[], texts: &[], kind: RefusalKind::Unknown, meaning: "" };

/// The first one that fits counts.
const RULES: &[Rule] = &[
    Rule {
        codes: &[],
        texts: &["authmod=", "need auth"],
        kind: RefusalKind::ForGood,
        meaning: "the origin wants a user name and a password",
    },
    Rule {
        codes: &["AppShutdown", "ServerBusy"],
        texts: &[
            "overload",
            "too many",
            "capacity",
            "server is full",
            "connection limit",
            "limit reached",
            "try again",
            "temporar",
            "maintenance",
            "shutting down",
            "shutdown",
        ],
        kind: RefusalKind::Closing,
        meaning: "the origin is shutting down or overloaded",
    },
    Rule {
        codes: &["InvalidApp"],
        texts: &["invalid app", "unknown app", "no such app", "app not found", "application not found"],
        kind: RefusalKind::ForGood,
        meaning: "the origin does not know the application in the URL",
    },
    Rule {
        codes: &[],
        texts: &["already", "in use", "is busy", "duplicate", "being published"],
        kind: RefusalKind::Busy,
        meaning: "the key is in use at the origin: it may still hold our last connection",
    },
    Rule {
        codes: &["Denied", "Unauthorized", "Forbidden", "NoAccess"],
        texts: &[
            "stream key",
            "streamkey",
            "invalid key",
            "invalid stream",
            "invalid token",
            "expired",
            "denied",
            "authenticat",
            "authoriz",
            "authoris",
            "permission",
            "not allowed",
            "forbidden",
            "no such stream",
            "stream not found",
        ],
        kind: RefusalKind::ForGood,
        meaning: "the stream key is refused",
    },
    Rule {
        codes: &["BadName"],
        texts: &[],
        kind: RefusalKind::Busy,
        meaning: "the key is in use at the origin: it may still hold our last connection",
    },
    Rule {
        codes: &["Connect.Rejected"],
        texts: &[],
        kind: RefusalKind::ForGood,
        meaning: "the origin rejects the connection: the application in the URL is wrong, or not for us",
    },
    Rule { codes: &["NetStream.Unpublish"], texts: &[], kind: RefusalKind::Closing, meaning: "the origin has ended the stream" },
    Rule {
        codes: &["Connect.Closed", "IdleTimeOut"],
        texts: &[],
        kind: RefusalKind::Closing,
        meaning: "the origin closes the connection",
    },
];

impl Refusal {
    pub fn new(info: &Info, key: &Secret) -> Self {
        let (code, description) = (presentable(&info.code, key), presentable(&info.description, key));
        let redirect = info.url.as_deref().and_then(redirect::reference);
        let rule = if redirect.is_some() { &MOVED } else { rule(&code, &description) };
        // Shown to nobody, but read on: it must be whole.
        let challenge = info.description.contains("authmod=").then(|| info.description.clone());
        Self { kind: rule.kind, meaning: rule.meaning, code, description, redirect, challenge }
    }

    fn words(&self) -> String {
        let said =
            [self.code.as_str(), &self.description].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ");
        match (self.meaning, said.as_str()) {
            ("", "") => "the origin refused and gave no reason".to_owned(),
            ("", _) => format!("the origin refused: {said}"),
            (meaning, "") => meaning.to_owned(),
            (meaning, _) => format!("{meaning} ({said})"),
        }
    }
}

/// A code that is a no whatever the level beside it says.
pub fn is_refusal(code: &str) -> bool {
    RULES.iter().any(|rule| rule.codes.iter().any(|word| code.contains(word)))
}

fn rule(code: &str, description: &str) -> &'static Rule {
    let text = description.to_lowercase();
    let fits =
        |rule: &&Rule| rule.codes.iter().any(|word| code.contains(word)) || rule.texts.iter().any(|word| text.contains(word));
    RULES.iter().find(fits).unwrap_or(&UNKNOWN)
}

/// Text of a server, for people: cut, without control characters, without the key.
pub fn presentable(text: &str, key: &Secret) -> String {
    let mut text: String = text.chars().filter(|c| !is_control(*c)).collect();
    for part in parts(key) {
        text = if part.len() < MIN_PART { without_word(&text, part) } else { text.replace(part, "***") };
    }
    text.chars().take(MAX_TEXT).collect()
}

/// A short key is masked where it stands alone; inside of words it is there by chance.
fn without_word(text: &str, word: &str) -> String {
    let masked = |part: &str| if part == word { "***".to_owned() } else { part.to_owned() };
    text.split_inclusive(|c: char| !c.is_alphanumeric())
        .map(|part| {
            let bare = part.trim_end_matches(|c: char| !c.is_alphanumeric());
            masked(bare) + &part[bare.len()..]
        })
        .collect()
}

/// The key, and what a server may take for it: the name before the query, and the query's values.
fn parts(key: &Secret) -> impl Iterator<Item = &str> {
    let whole = Some(key.expose()).filter(|key| !key.is_empty());
    let (name, query) = key.expose().split_once('?').unwrap_or((key.expose(), ""));
    let values = query.split('&').filter_map(|part| part.split_once('=')).map(|(_, value)| value);
    whole.into_iter().chain([name, query].into_iter().chain(values).filter(|part| part.len() >= MIN_PART))
}

/// Those that move a terminal's cursor, and those that turn a text's direction.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(code: &str, description: &str) -> Refusal {
        let info = Info { level: "error".into(), code: code.into(), description: description.into(), url: None };
        Refusal::new(&info, &Secret::new("key-1"))
    }

    #[test]
    fn refusals_by_kind_and_meaning() {
        use RefusalKind::*;
        let table = [
            ("NetStream.Publish.BadName", "Already publishing", Busy, "in use"),
            ("NetStream.Publish.BadName", "", Busy, "in use"),
            ("NetStream.Publish.BadName", "Stream key already in use", Busy, "in use"),
            ("NetStream.Publish.BadName", "invalid stream key", ForGood, "stream key is refused"),
            ("NetStream.Publish.Denied", "", ForGood, "stream key is refused"),
            ("NetStream.Publish.Unauthorized", "", ForGood, "stream key is refused"),
            ("NetStream.Publish.Failed", "token has EXPIRED", ForGood, "stream key is refused"),
            ("NetConnection.Connect.Rejected", "[ code=403 need auth; authmod=adobe ]", ForGood, "a password"),
            ("NetConnection.Connect.Rejected", "", ForGood, "rejects the connection"),
            ("NetConnection.Connect.Rejected", "too many connections", Closing, "overloaded"),
            ("NetConnection.Connect.InvalidApp", "", ForGood, "application"),
            ("NetConnection.Connect.AppShutdown", "", Closing, "shutting down"),
            ("NetStream.Publish.Failed", "Server is at capacity, try again", Closing, "overloaded"),
            ("NetStream.Unpublish.Success", "", Closing, "ended the stream"),
            ("NetConnection.Connect.Closed", "", Closing, "closes"),
            ("NetStream.Publish.Failed", "disk broken", Unknown, "NetStream.Publish.Failed: disk broken"),
            ("", "odd", Unknown, "odd"),
            ("", "", Unknown, "gave no reason"),
        ];
        for (code, description, kind, word) in table {
            let refusal = refusal(code, description);
            let words = refusal.to_string();
            assert_eq!(refusal.kind, kind, "{code} {description}");
            assert!(words.contains(word) && words.contains(code) && words.contains(description), "{words}");
        }
    }

    #[test]
    fn short_keys_are_masked_where_they_stand_alone() {
        let said = presentable("NetStream.Publish.BadName b: 'b' is busy", &Secret::new("b"));
        assert_eq!(said, "NetStream.Publish.BadName ***: '***' is busy");
    }

    #[test]
    fn a_redirect_is_kept_and_no_dead_end() {
        let said = |url: &str| Info { code: "NetConnection.Connect.Rejected".into(), url: Some(url.into()), ..Info::default() };
        let refusal = Refusal::new(&said("rtmp://other/app"), &Secret::new(""));
        assert_eq!((refusal.kind, refusal.redirect.as_deref()), (RefusalKind::Closing, Some("rtmp://other/app")));
        let refusal = Refusal::new(&said("not a url"), &Secret::new(""));
        assert_eq!((refusal.kind, refusal.redirect), (RefusalKind::ForGood, None));
    }

    #[test]
    fn a_challenge_is_kept_whole() {
        let said = format!("[ authmod=adobe ] : ?reason=needauth&opaque={}", "x".repeat(500));
        assert_eq!(refusal("", &said).challenge, Some(said));
        assert_eq!(refusal("", "denied").challenge, None);
    }

    #[test]
    fn words_of_a_server_are_made_harmless() {
        let words = refusal("NetStream.Publish.BadName", &format!("key-1 is\u{1b}[31m \u{202E}busy {}", "x".repeat(999)));
        assert!(words.description.starts_with("*** is[31m busy"));
        assert_eq!(words.description.chars().count(), MAX_TEXT);
        let key = Secret::new("name-1?token=abcdef&x=1");
        let table = [
            ("no name-1?token=abcdef&x=1 here", "no *** here"),
            ("no name-1 here", "no *** here"),
            ("bad token abcdef, 1 left", "bad token ***, 1 left"),
            ("args token=abcdef&x=1", "args ***"),
        ];
        for (text, shown) in table {
            assert_eq!(presentable(text, &key), shown);
        }
    }

    proptest! {
        #[test]
        fn the_key_is_in_no_words(before in "\\PC{0,200}", key in "[a-z0-9_-]{8,20}", after in "\\PC{0,20}") {
            let info = Info { description: format!("{before}{key}{after}"), code: key.clone(), ..Info::default() };
            prop_assert!(!Refusal::new(&info, &Secret::new(key.as_str())).to_string().contains(&key));
        }
    }
}
