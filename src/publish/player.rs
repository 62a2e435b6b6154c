//! One RTMP playing session, as a machine without a socket: bytes in, bytes and pictures out. Pure.
//!
//! ```text
//! Handshake ─▶ connect ─▶ createStream ─▶ play ─▶ pictures           any step: a refusal is an error
//! ```
//!
//! It exists to see a few pictures of our own stream come back, so it hands out video messages as they are, passes over
//! everything else, and reads the server as leniently as the publishing [`session`](super::session) does.

use bytes::Bytes;
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};

use super::amf0::{Value, decode, encode};
use super::chunk_reader::{ChunkReader, Message, first_u32};
use super::chunk_writer::{ChunkWriter, Header};
use super::outbox::Outbox;
use super::session::SessionError;
use super::wire::{Received, chunk_stream, kind};
use crate::secret::Secret;

const CONNECT: f64 = 1.0;
const CREATE_STREAM: f64 = 2.0;
const PLAY: f64 = 3.0;

const PING_REQUEST: [u8; 2] = [0, 6];
const PING_RESPONSE: [u8; 2] = [0, 7];

/// Answers that may wait to be written.
const MAX_WAITING: usize = 16 << 10;

#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    #[error("it cannot be understood: {0}")]
    Session(#[from] SessionError),
    /// The server's code, such as `NetStream.Play.StreamNotFound`: words of its own might hold the stream's name.
    #[error("it does not play the stream: {0}")]
    Refused(String),
}

pub struct Player {
    app: String,
    url: String,
    stream: Secret,
    /// Until it is over.
    handshake: Option<Handshake>,
    reader: ChunkReader,
    writer: ChunkWriter,
    received: Received,
    out: Outbox,
}

impl Player {
    /// The first bytes to write are ready at once. `url` is the one without the stream's name.
    pub fn new(app: &str, url: &str, stream: Secret) -> Result<Self, SessionError> {
        let mut handshake = Handshake::new(PeerType::Client);
        let mut out = Outbox::default();
        out.push_own(&handshake.generate_outbound_p0_and_p1()?);
        Ok(Self {
            app: app.into(),
            url: url.into(),
            stream,
            handshake: Some(handshake),
            reader: ChunkReader::default(),
            writer: ChunkWriter::default(),
            received: Received::default(),
            out,
        })
    }

    /// Bytes that are to be written next.
    pub fn take_pending(&mut self) -> Vec<u8> {
        self.out.take()
    }

    /// The video messages that are complete with these bytes, as FLV tag bodies.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, PlayError> {
        let bytes = self.shake_hands(bytes)?;
        self.reader.feed(&bytes);
        let mut pictures = Vec::new();
        while let Some(message) = self.reader.message().map_err(SessionError::from)? {
            match message.kind {
                kind::VIDEO => pictures.push(message.payload),
                _ => self.message(&message)?,
            }
        }
        if let Some(total) = self.received.add(bytes.len()) {
            self.say(chunk_stream::CONTROL, kind::ACKNOWLEDGEMENT, 0, &total.to_be_bytes())?;
        }
        Ok(pictures)
    }

    /// What is left of the bytes for the session proper.
    fn shake_hands(&mut self, bytes: &[u8]) -> Result<Vec<u8>, SessionError> {
        let Some(handshake) = &mut self.handshake else { return Ok(bytes.to_vec()) };
        match handshake.process_bytes(bytes)? {
            HandshakeProcessResult::InProgress { response_bytes } => {
                self.out.push_own(&response_bytes);
                Ok(Vec::new())
            }
            HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                self.out.push_own(&response_bytes);
                self.handshake = None;
                let agent = concat!("LNX 9,0,124,2 (onaird/", env!("CARGO_PKG_VERSION"), ")");
                let properties = [("app", self.app.as_str()), ("flashVer", agent), ("tcUrl", self.url.as_str())];
                let properties = properties.map(|(name, value)| (name.to_owned(), Value::string(value)));
                self.command(0, &[Value::string("connect"), Value::Number(CONNECT), Value::Object(properties.into())])?;
                Ok(remaining_bytes)
            }
        }
    }

    fn message(&mut self, message: &Message) -> Result<(), PlayError> {
        match (message.kind, &message.payload[..]) {
            (kind::COMMAND, payload) => self.reply(&decode(payload))?,
            (kind::AMF3_COMMAND, payload) => self.reply(&decode(payload.strip_prefix(&[0]).unwrap_or(payload)))?,
            (kind::WINDOW, payload) => self.received.set_window(first_u32(payload).unwrap_or_default()),
            (kind::USER_CONTROL, payload) => {
                if let Some(stamp) = payload.strip_prefix(&PING_REQUEST) {
                    let answer = [&PING_RESPONSE, &stamp[..stamp.len().min(4)]].concat();
                    self.say(chunk_stream::CONTROL, kind::USER_CONTROL, 0, &answer)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn reply(&mut self, values: &[Value]) -> Result<(), PlayError> {
        let transaction = values.get(1).and_then(Value::as_number);
        match (values.first().and_then(Value::as_str), transaction) {
            (Some("_result"), Some(CONNECT)) => {
                Ok(self.command(0, &[Value::string("createStream"), Value::Number(CREATE_STREAM), Value::Null])?)
            }
            (Some("_result"), Some(CREATE_STREAM)) => {
                let stream = values.get(3).and_then(Value::as_number).unwrap_or(1.0) as u32;
                let name = Value::string(self.stream.expose());
                Ok(self.command(stream, &[Value::string("play"), Value::Number(PLAY), Value::Null, name])?)
            }
            (Some("_error"), _) => Err(PlayError::Refused(code(values))),
            (Some("onStatus"), _) if says_no(values) => Err(PlayError::Refused(code(values))),
            (Some("close"), _) => Err(PlayError::Refused("it closes the stream".into())),
            _ => Ok(()),
        }
    }

    fn command(&mut self, stream: u32, values: &[Value]) -> Result<(), SessionError> {
        self.say(chunk_stream::COMMAND, kind::COMMAND, stream, &encode(values))
    }

    fn say(&mut self, chunk_stream: u8, kind: u8, stream: u32, body: &[u8]) -> Result<(), SessionError> {
        if self.out.len() > MAX_WAITING {
            return Err(SessionError::Flood);
        }
        Ok(self.writer.write(Header { chunk_stream, kind, stream, time: 0 }, body, &Bytes::new(), &mut self.out)?)
    }
}

fn property<'v>(values: &'v [Value], name: &str) -> Option<&'v str> {
    values.iter().rev().find_map(|value| value.get(name)).and_then(Value::as_str)
}

fn says_no(values: &[Value]) -> bool {
    const ENDS: [&str; 4] = ["NotFound", "Play.Failed", "UnpublishNotify", "Play.Stop"];
    let code = property(values, "code").unwrap_or_default();
    property(values, "level") == Some("error") || ENDS.iter().any(|end| code.ends_with(end))
}

/// A code is a word of the protocol; anything else is not shown.
fn code(values: &[Value]) -> String {
    let fits = |code: &&str| code.len() <= 64 && code.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
    property(values, "code").filter(fits).unwrap_or("no reason given").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn player() -> Player {
        Player::new("live", "rtmp://h/live", Secret::new("SECRET?a=b")).unwrap()
    }

    fn handshake() -> Vec<u8> {
        let mut bytes = vec![3; 1 + 2 * 1536];
        bytes[1..9].fill(0);
        bytes
    }

    fn said(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Outbox::default();
        let header = Header { chunk_stream: 5, kind, stream: 1, time: 0 };
        ChunkWriter::default().write(header, payload, &Bytes::new(), &mut out).unwrap();
        out.take()
    }

    fn command(name: &str, transaction: f64, value: Value) -> Vec<u8> {
        said(kind::COMMAND, &encode(&[Value::string(name), Value::Number(transaction), Value::Null, value]))
    }

    fn status(code: &str, level: &str) -> Vec<u8> {
        let info = [("code", code), ("level", level), ("description", "SECRET")];
        command("onStatus", 0.0, Value::Object(info.map(|(name, value)| (name.to_owned(), Value::string(value))).into()))
    }

    fn playing() -> Vec<u8> {
        [
            handshake(),
            said(kind::WINDOW, &5000u32.to_be_bytes()),
            command("_result", 1.0, Value::Null),
            command("_result", 2.0, Value::Number(3.0)),
            status("NetStream.Play.Start", "status"),
            said(kind::USER_CONTROL, &[0, 6, 1, 2, 3, 4]),
            said(kind::AUDIO, &[1; 200]),
            said(kind::VIDEO, &[7; 300]),
        ]
        .concat()
    }

    /// What a server reads of what was written.
    fn commands(bytes: &[u8]) -> Vec<Vec<Value>> {
        let mut reader = ChunkReader::default();
        reader.feed(&bytes[1 + 2 * 1536..]);
        let messages = std::iter::from_fn(|| reader.message().unwrap());
        messages.filter(|message| message.kind == kind::COMMAND).map(|message| decode(&message.payload)).collect()
    }

    #[test]
    fn walks_from_the_handshake_to_pictures() {
        let mut player = player();
        assert_eq!(player.receive(&playing()).unwrap(), [vec![7; 300]]);
        let commands = commands(&player.take_pending());
        let names = commands.iter().map(|values| values[0].as_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(names, ["connect", "createStream", "play"]);
        assert_eq!(commands[0][2].get("tcUrl"), Some(&Value::string("rtmp://h/live")));
        assert_eq!(commands[2][3], Value::string("SECRET?a=b"));
    }

    #[test]
    fn a_refusal_is_told_by_its_code_alone() {
        let table = [
            (status("NetStream.Play.StreamNotFound", "error"), "NetStream.Play.StreamNotFound"),
            (status("NetStream.Play.UnpublishNotify", "status"), "NetStream.Play.UnpublishNotify"),
            (status("SECRET words", "error"), "no reason given"),
            (command("_error", 1.0, Value::Null), "no reason given"),
            (command("close", 0.0, Value::Null), "closes the stream"),
        ];
        for (bytes, words) in table {
            let text = player().receive(&[handshake(), bytes].concat()).unwrap_err().to_string();
            assert!(text.contains(words) && !text.contains("SECRET"), "{text}");
        }
    }

    #[test]
    fn a_server_that_only_asks_is_left() {
        let mut player = player();
        player.receive(&handshake()).unwrap();
        let ping = said(kind::USER_CONTROL, &[0, 6, 1, 2, 3, 4]);
        assert!((0..10_000).any(|_| player.receive(&ping).is_err()));
    }

    proptest! {
        #[test]
        fn any_fragmentation_gives_the_same(cuts in prop::collection::vec(1usize..700, 1..60)) {
            let (mut player, bytes) = (player(), playing());
            let (mut rest, mut pictures) = (&bytes[..], Vec::new());
            for cut in cuts.into_iter().chain([bytes.len()]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                pictures.extend(player.receive(now).unwrap());
                rest = later;
            }
            prop_assert_eq!(pictures, vec![vec![7; 300]]);
            prop_assert_eq!(commands(&player.take_pending()).len(), 3);
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut player = player();
            player.receive(&handshake()).unwrap();
            let _ = player.receive(&noise);
        }
    }
}
