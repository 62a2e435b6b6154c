//! The words of an RTMP publisher: the commands it sends, and what a server's answers mean. Pure.
//!
//! Answers are read leniently: a missing value is a missing value, not an error. Whatever text of a server may reach a person
//! is cut, freed of control characters and of the stream key, which some servers like to repeat.

use super::amf0::{Value, decode, encode};
use crate::media::packet::Format;
use crate::secret::Secret;

/// Transaction numbers; each command is sent once per connection, in this order.
pub const CONNECT: f64 = 1.0;
pub const CREATE_STREAM: f64 = 2.0;
pub const RELEASE_STREAM: f64 = 3.0;
pub const FC_PUBLISH: f64 = 4.0;
const PUBLISH: f64 = 5.0;
const FC_UNPUBLISH: f64 = 6.0;
const DELETE_STREAM: f64 = 7.0;

/// How much of a server's words is worth showing.
const MAX_TEXT: usize = 160;

/// Enhanced RTMP v2, `capsEx`: "I obey reconnect requests".
const CAPS_RECONNECT: u32 = 0x01;
/// `audioCodecs` and `videoCodecs` of RTMP 1.0: AAC, H.264.
const AUDIO_AAC: u32 = 0x0400;
const VIDEO_H264: u32 = 0x0080;
/// `capabilities`: no document says what the bits mean; this is what publishers send.
const CAPABILITIES: u32 = 15;

/// The properties say what is true of us. H.264 and AAC go out in FLV's first form, so that there is no `fourCcList`: it would
/// promise the form that Enhanced RTMP has added. `capsEx` does stand there, for the one thing of it that we do.
pub fn connect(app: &str, url: &str) -> Vec<u8> {
    let agent = concat!("FMLE/3.0 (compatible; onaird/", env!("CARGO_PKG_VERSION"), ")");
    let number = |number: u32| Value::Number(number.into());
    let properties = [
        ("app", Value::string(app)),
        ("type", Value::string("nonprivate")),
        ("flashVer", Value::string(agent)),
        ("tcUrl", Value::string(url)),
        ("capabilities", number(CAPABILITIES)),
        ("audioCodecs", number(AUDIO_AAC)),
        ("videoCodecs", number(VIDEO_H264)),
        ("objectEncoding", number(0)),
        ("capsEx", number(CAPS_RECONNECT)),
    ];
    let properties = properties.map(|(name, value)| (name.to_owned(), value));
    encode(&[Value::string("connect"), Value::Number(CONNECT), Value::Object(properties.into())])
}

pub fn release_stream(key: &Secret) -> Vec<u8> {
    command("releaseStream", RELEASE_STREAM, [Value::string(key.expose())])
}

pub fn fc_publish(key: &Secret) -> Vec<u8> {
    command("FCPublish", FC_PUBLISH, [Value::string(key.expose())])
}

pub fn create_stream() -> Vec<u8> {
    command("createStream", CREATE_STREAM, [])
}

pub fn publish(key: &Secret) -> Vec<u8> {
    command("publish", PUBLISH, [Value::string(key.expose()), Value::string("live")])
}

pub fn fc_unpublish(key: &Secret) -> Vec<u8> {
    command("FCUnpublish", FC_UNPUBLISH, [Value::string(key.expose())])
}

pub fn delete_stream(stream: u32) -> Vec<u8> {
    command("deleteStream", DELETE_STREAM, [Value::Number(f64::from(stream))])
}

fn command<const N: usize>(name: &str, transaction: f64, arguments: [Value; N]) -> Vec<u8> {
    let head = [Value::string(name), Value::Number(transaction), Value::Null];
    encode(&head.into_iter().chain(arguments).collect::<Vec<_>>())
}

/// `onMetaData`, the same for every leg; `started_at` is the program's start by the wall clock.
pub fn metadata(format: &Format, device: &str, started_at: Option<&str>) -> Vec<u8> {
    let (video, audio) = (&format.video, &format.audio);
    let kbps = |bitrate: crate::units::BitRate| Value::Number(bitrate.bps() as f64 / 1000.0);
    let properties = [
        ("width", Value::Number(video.width.into())),
        ("height", Value::Number(video.height.into())),
        ("framerate", Value::Number(video.framerate.fps())),
        ("videocodecid", Value::Number(7.0)),
        ("videodatarate", kbps(video.bitrate)),
        ("audiocodecid", Value::Number(10.0)),
        ("audiodatarate", kbps(audio.bitrate)),
        ("audiosamplerate", Value::Number(audio.rate.into())),
        ("audiosamplesize", Value::Number(16.0)),
        ("audiochannels", Value::Number(audio.channels.into())),
        ("stereo", Value::Boolean(audio.channels == 2)),
        ("title", Value::string(device)),
        ("encoder", Value::string(concat!("onaird/", env!("CARGO_PKG_VERSION")))),
    ];
    let started_at = started_at.map(|text| ("creationdate", Value::string(text)));
    let properties = properties.into_iter().chain(started_at).map(|(name, value)| (name.to_owned(), value));
    encode(&[Value::string("@setDataFrame"), Value::string("onMetaData"), Value::EcmaArray(properties.collect())])
}

/// What a server said, as far as a publisher cares.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Result { transaction: f64, value: Option<f64> },
    Error { transaction: f64, info: Info },
    Status(Info),
    Close,
    Other,
}

/// The information object of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    pub level: String,
    pub code: String,
    pub description: String,
    /// Where to go instead: the `tcUrl` of a reconnect request.
    pub url: Option<String>,
}

impl Reply {
    pub fn parse(bytes: &[u8]) -> Self {
        let values = decode(bytes);
        let transaction = values.get(1).and_then(Value::as_number).unwrap_or(0.0);
        match values.first().and_then(Value::as_str) {
            Some("_result") => Self::Result { transaction, value: values.get(3).and_then(Value::as_number) },
            Some("_error") => Self::Error { transaction, info: Info::find(&values) },
            Some("onStatus") => Self::Status(Info::find(&values)),
            Some("close") => Self::Close,
            _ => Self::Other,
        }
    }
}

impl Info {
    fn find(values: &[Value]) -> Self {
        let info = values.iter().rev().find(|value| value.get("code").or(value.get("level")).is_some());
        let text = |name| info.and_then(|info| info.get(name)).and_then(Value::as_str).unwrap_or_default().to_owned();
        let url = info.and_then(|info| info.get("tcUrl")).and_then(Value::as_str).map(str::to_owned);
        Self { level: text("level"), code: text("code"), description: text("description"), url }
    }

    pub fn is_error(&self) -> bool {
        self.level == "error" || kind_of(self) == RefusalKind::Closing
    }
}

/// Why an origin does not take the stream: what to do next depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// Name, key or rights are wrong: only a person can change that.
    ForGood,
    /// The origin believes that somebody publishes under this key; often our own connection of before.
    Busy,
    /// The origin ends the stream or goes away.
    Closing,
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.words())]
pub struct Refusal {
    pub kind: RefusalKind,
    pub code: String,
    pub description: String,
}

impl Refusal {
    pub fn new(info: &Info, key: &Secret) -> Self {
        let harmless = |text: &str| presentable(text, key);
        Self { kind: kind_of(info), code: harmless(&info.code), description: harmless(&info.description) }
    }

    fn words(&self) -> String {
        match (self.code.as_str(), self.description.as_str()) {
            ("", "") => "no reason given".to_owned(),
            (code, "") => code.to_owned(),
            ("", description) => description.to_owned(),
            (code, description) => format!("{code} ({description})"),
        }
    }
}

fn kind_of(info: &Info) -> RefusalKind {
    let code = info.code.as_str();
    let description = info.description.to_lowercase();
    let code_has = |words: &[&str]| words.iter().any(|word| code.contains(word));
    let text_has = |words: &[&str]| words.iter().any(|word| description.contains(word));
    if code_has(&["Unpublish", "Connect.Closed", "AppShutdown", "Connect.IdleTimeOut"]) {
        RefusalKind::Closing
    } else if code_has(&["Rejected", "InvalidApp", "Denied", "Unauthorized", "AccessDenied"])
        || text_has(&[
            "authmod",
            "authenticat",
            "authoriz",
            "access denied",
            "permission",
            "not allowed",
            "invalid key",
            "stream key",
        ])
    {
        RefusalKind::ForGood
    } else if code_has(&["BadName"]) || text_has(&["already"]) {
        RefusalKind::Busy
    } else {
        RefusalKind::Unknown
    }
}

/// Text of a server, for people: cut, without control characters, without the key.
pub fn presentable(text: &str, key: &Secret) -> String {
    let text = if key.is_empty() { text.to_owned() } else { text.replace(key.expose(), "***") };
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(level: &str, code: &str, description: &str) -> Info {
        Info { level: level.into(), code: code.into(), description: description.into(), url: None }
    }

    #[test]
    fn connect_names_its_properties_in_order() {
        let values = decode(&connect("live", "rtmp://example.com/live"));
        let Value::Object(properties) = &values[2] else { panic!("no object") };
        let names: Vec<&str> = properties.iter().map(|(name, _)| name.as_str()).collect();
        let wanted =
            ["app", "type", "flashVer", "tcUrl", "capabilities", "audioCodecs", "videoCodecs", "objectEncoding", "capsEx"];
        assert_eq!(names, wanted);
        assert_eq!((&properties[0].1, &properties[8].1), (&Value::string("live"), &Value::Number(1.0)));
    }

    #[test]
    fn publish_carries_the_key_as_it_is() {
        let values = decode(&publish(&Secret::new("name?token=a&b=c")));
        let wanted =
            [Value::string("publish"), Value::Number(5.0), Value::Null, Value::string("name?token=a&b=c"), Value::string("live")];
        assert_eq!(values, wanted);
    }

    #[test]
    fn refusals_by_kind() {
        use RefusalKind::*;
        let table = [
            ("NetStream.Publish.BadName", "Already publishing", Busy),
            ("NetStream.Publish.BadName", "invalid stream key", ForGood),
            ("NetStream.Publish.Denied", "", ForGood),
            ("NetStream.Publish.Unauthorized", "", ForGood),
            ("NetConnection.Connect.Rejected", "[ AccessManager.Reject ] : [ authmod=adobe ] :", ForGood),
            ("NetConnection.Connect.InvalidApp", "", ForGood),
            ("NetStream.Unpublish.Success", "", Closing),
            ("NetConnection.Connect.Closed", "", Closing),
            ("NetStream.Publish.Failed", "disk full", Unknown),
            ("", "", Unknown),
        ];
        for (code, description, kind) in table {
            assert_eq!(Refusal::new(&info("error", code, description), &Secret::new("k")).kind, kind, "{code} {description}");
        }
    }

    #[test]
    fn words_of_a_server_are_made_harmless() {
        let said = info("error", "NetStream.Publish.BadName", &format!("key-1 is\u{1b}[31m busy {}", "x".repeat(999)));
        let refusal = Refusal::new(&said, &Secret::new("key-1"));
        assert!(refusal.description.starts_with("*** is[31m busy"));
        assert_eq!(refusal.description.chars().count(), MAX_TEXT);
    }

    #[test]
    fn short_and_odd_answers_are_read() {
        let parse = |values: &[Value]| Reply::parse(&encode(values));
        assert_eq!(parse(&[Value::string("onFCPublish"), Value::Number(0.0)]), Reply::Other);
        assert_eq!(parse(&[Value::string("onStatus")]), Reply::Status(Info::default()));
        assert_eq!(
            parse(&[Value::string("_result"), Value::Number(4.0), Value::Null, Value::Number(1.0)]),
            Reply::Result { transaction: 4.0, value: Some(1.0) }
        );
        assert_eq!(parse(&[Value::string("_error")]), Reply::Error { transaction: 0.0, info: Info::default() });
        assert_eq!(parse(&[Value::Null]), Reply::Other);
        assert_eq!(Reply::parse(&[]), Reply::Other);
    }
}
