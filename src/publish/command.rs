//! The words of an RTMP publisher: the commands it sends, and what a server's answers mean. Pure.
//!
//! Answers are read leniently: a missing value is a missing value, not an error. What a server's no means is for
//! [`refusal`](super::refusal) to say.

use super::amf0::{Value, decode, encode};
use super::refusal::is_refusal;
pub use super::refusal::{Refusal, RefusalKind, presentable};
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
    Result { transaction: f64, value: Option<f64>, info: Info },
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
    /// Where to go instead: the `tcUrl` of a reconnect request, or the redirection of a refused connect.
    pub url: Option<String>,
}

impl Reply {
    pub fn parse(bytes: &[u8]) -> Self {
        let values = decode(bytes);
        let transaction = values.get(1).and_then(Value::as_number).unwrap_or(0.0);
        match values.first().and_then(Value::as_str) {
            Some("_result") => {
                let value = values.iter().skip(2).find_map(Value::as_number);
                Self::Result { transaction, value, info: Info::find(&values) }
            }
            Some("_error") => Self::Error { transaction, info: Info::find(&values) },
            Some("onStatus") => Self::Status(Info::find(&values)),
            Some("close") => Self::Close,
            _ => Self::Other,
        }
    }
}

impl Info {
    fn find(values: &[Value]) -> Self {
        let info =
            values.iter().rev().find(|value| ["code", "level", "description"].iter().any(|name| value.get(name).is_some()));
        let text = |name| info.and_then(|info| info.get(name)).and_then(Value::as_str).unwrap_or_default().to_owned();
        let moved = info.and_then(|info| info.get("tcUrl").or_else(|| info.get("ex")?.get("redirect")));
        let url = moved.and_then(Value::as_str).map(str::to_owned);
        Self { level: text("level"), code: text("code"), description: text("description"), url }
    }

    pub fn is_error(&self) -> bool {
        self.level == "error" || is_refusal(&self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn short_and_odd_answers_are_read() {
        let parse = |values: &[Value]| Reply::parse(&encode(values));
        assert_eq!(parse(&[Value::string("onFCPublish"), Value::Number(0.0)]), Reply::Other);
        assert_eq!(parse(&[Value::string("onStatus")]), Reply::Status(Info::default()));
        assert_eq!(
            parse(&[Value::string("_result"), Value::Number(4.0), Value::Null, Value::Number(1.0)]),
            Reply::Result { transaction: 4.0, value: Some(1.0), info: Info::default() }
        );
        assert_eq!(parse(&[Value::string("_error")]), Reply::Error { transaction: 0.0, info: Info::default() });
        assert_eq!(parse(&[Value::Null]), Reply::Other);
        let properties =
            |list: Vec<(&str, Value)>| Value::Object(list.into_iter().map(|(name, value)| (name.into(), value)).collect());
        let ex = properties(vec![("code", Value::Number(302.0)), ("redirect", Value::string("rtmp://b/app"))]);
        let info = properties(vec![("code", Value::string("NetConnection.Connect.Rejected")), ("ex", ex)]);
        let Reply::Error { info, .. } = parse(&[Value::string("_error"), Value::Number(1.0), Value::Null, info]) else {
            panic!()
        };
        assert_eq!((info.code.as_str(), info.url.as_deref()), ("NetConnection.Connect.Rejected", Some("rtmp://b/app")));
        assert_eq!(Reply::parse(&[]), Reply::Other);
    }
}
