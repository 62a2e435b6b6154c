//! One RTMP publishing session, as a machine without a socket: bytes in, bytes and events out. Pure.
//!
//! ```text
//! Handshake ─▶ Connect ─▶ CreateStream ─▶ Publish ─▶ Live        any step: a refusal is an event, nonsense an error
//! ```
//!
//! It reads the server leniently (see [`chunk_reader`](super::chunk_reader) and [`amf0`](super::amf0)): unknown messages,
//! control events and commands are passed over. It never asks for a ping, because some servers end the connection on it, and
//! it does not obey `SetPeerBandwidth`: the pace of the program is not negotiable. It refuses a peer that asks so much that
//! answers pile up faster than they can be written.
//!
//! The chunk size and the acknowledgement window are announced after `connect` has been answered: some servers do not expect
//! anything before it.

use std::collections::VecDeque;

use rml_rtmp::handshake::{Handshake, HandshakeError, HandshakeProcessResult, PeerType};

use super::chunk_reader::{ChunkError, ChunkReader, Message, first_u32};
use super::chunk_writer::{ChunkWriter, Header, TooLong};
use super::command::{self, Info, Refusal, Reply};
use super::wire::{Received, chunk_stream, kind};
use crate::media::flv::Body;
use crate::media::packet::{Format, Packet, Track};
use crate::secret::Secret;
use crate::units::MediaTime;

/// Chunks of this size are taken by every server known.
const CHUNK: usize = 4096;

/// The server is asked to acknowledge every so many bytes: several times a second at usual rates.
const WINDOW: u32 = 65_536;

/// Answers that may wait to be written.
const MAX_ANSWERS: usize = 64;

const PING_REQUEST: [u8; 2] = [0, 6];
const PING_RESPONSE: [u8; 2] = [0, 7];

/// Whom the session talks to.
pub struct Target {
    pub app: String,
    /// `tcUrl`: without the key.
    pub url: String,
    pub key: Secret,
    /// Shown in the stream's metadata.
    pub device: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Handshake,
    Connect,
    CreateStream,
    Publish,
    Live,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server waits for media.
    Publishing,
    /// The server says how many bytes it has got; how it counts differs between servers.
    Acknowledged(u32),
    /// The connection is of no more use.
    Refused(Refusal),
}

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("the handshake failed: {0}")]
    Handshake(#[from] HandshakeError),
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    #[error(transparent)]
    TooLong(#[from] TooLong),
    #[error("it asks more than it reads the answers of")]
    Flood,
}

pub struct Session {
    target: Target,
    step: Step,
    handshake: Handshake,
    reader: ChunkReader,
    writer: ChunkWriter,
    stream: u32,
    /// Bytes that wait to be written, from `written` on.
    out: Vec<u8>,
    written: usize,
    answers: usize,
    events: VecDeque<Event>,
    received: Received,
}

impl Session {
    /// The first bytes to write are ready at once.
    pub fn new(target: Target) -> Result<Self, SessionError> {
        let mut handshake = Handshake::new(PeerType::Client);
        let out = handshake.generate_outbound_p0_and_p1()?;
        Ok(Self {
            target,
            step: Step::Handshake,
            handshake,
            reader: ChunkReader::default(),
            writer: ChunkWriter::default(),
            stream: 0,
            out,
            written: 0,
            answers: 0,
            events: VecDeque::new(),
            received: Received::default(),
        })
    }

    pub fn step(&self) -> Step {
        self.step
    }

    /// Bytes that are to be written next.
    pub fn pending(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// The first `count` of the pending bytes have been written.
    pub fn sent(&mut self, count: usize) {
        self.written = self.written.saturating_add(count).min(self.out.len());
        if self.written == self.out.len() {
            self.out.clear();
            (self.written, self.answers) = (0, 0);
        }
    }

    pub fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        if self.step == Step::Handshake {
            return self.shake_hands(bytes);
        }
        self.reader.feed(bytes);
        while let Some(message) = self.reader.message()? {
            self.message(message)?;
        }
        if let Some(total) = self.received.add(bytes.len()) {
            self.answer(kind::ACKNOWLEDGEMENT, &total.to_be_bytes())?;
        }
        Ok(())
    }

    /// Metadata and decoder configurations: before the first packet and before the first one of another format.
    pub fn send_format(&mut self, format: &Format, time: MediaTime) -> Result<(), SessionError> {
        let metadata = command::metadata(format, &self.target.device);
        self.write(chunk_stream::DATA, kind::DATA, time, &[&metadata])?;
        self.send_body(&Body::video_format(&format.video), time)?;
        self.send_body(&Body::audio_format(&format.audio), time)
    }

    pub fn send_packet(&mut self, packet: &Packet) -> Result<(), SessionError> {
        self.send_body(&Body::packet(packet), packet.time)
    }

    /// Says good-bye, so that the key is free at once.
    pub fn close(&mut self) -> Result<(), SessionError> {
        self.command(0, &command::fc_unpublish(&self.target.key))?;
        self.command(0, &command::delete_stream(self.stream))
    }

    fn send_body(&mut self, body: &Body, time: MediaTime) -> Result<(), SessionError> {
        let (chunk_stream, kind) = match body.track {
            Track::Video => (chunk_stream::VIDEO, kind::VIDEO),
            Track::Audio => (chunk_stream::AUDIO, kind::AUDIO),
        };
        self.write(chunk_stream, kind, time, &body.parts())
    }

    fn write(&mut self, chunk_stream: u8, kind: u8, time: MediaTime, parts: &[&[u8]]) -> Result<(), SessionError> {
        let header = Header { chunk_stream, kind, stream: self.stream, time: time.millis() as u32 };
        Ok(self.writer.write(header, parts, &mut self.out)?)
    }

    fn command(&mut self, stream: u32, body: &[u8]) -> Result<(), SessionError> {
        let header = Header { chunk_stream: chunk_stream::COMMAND, kind: kind::COMMAND, stream, time: 0 };
        Ok(self.writer.write(header, &[body], &mut self.out)?)
    }

    fn control(&mut self, kind: u8, body: &[u8]) -> Result<(), SessionError> {
        let header = Header { chunk_stream: chunk_stream::CONTROL, kind, stream: 0, time: 0 };
        Ok(self.writer.write(header, &[body], &mut self.out)?)
    }

    /// Something the server has asked for.
    fn answer(&mut self, kind: u8, body: &[u8]) -> Result<(), SessionError> {
        self.answers += 1;
        if self.answers > MAX_ANSWERS {
            return Err(SessionError::Flood);
        }
        self.control(kind, body)
    }

    fn shake_hands(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        match self.handshake.process_bytes(bytes)? {
            HandshakeProcessResult::InProgress { response_bytes } => {
                self.out.extend(response_bytes);
                Ok(())
            }
            HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                self.out.extend(response_bytes);
                self.step = Step::Connect;
                self.command(0, &command::connect(&self.target.app, &self.target.url))?;
                self.receive(&remaining_bytes)
            }
        }
    }

    fn message(&mut self, message: Message) -> Result<(), SessionError> {
        match (message.kind, &message.payload[..]) {
            (kind::COMMAND, payload) => self.reply(Reply::parse(payload)),
            // "AMF3" in name only: mostly a format byte and then AMF0.
            (kind::AMF3_COMMAND, payload) => self.reply(Reply::parse(payload.strip_prefix(&[0]).unwrap_or(payload))),
            (kind::WINDOW, payload) => {
                first_u32(payload).inspect(|window| self.received.set_window(*window));
                Ok(())
            }
            (kind::ACKNOWLEDGEMENT, payload) => {
                if let Some(count) = first_u32(payload) {
                    self.tell(Event::Acknowledged(count));
                }
                Ok(())
            }
            (kind::USER_CONTROL, payload) => match payload.strip_prefix(&PING_REQUEST) {
                Some(stamp) => self.answer(kind::USER_CONTROL, &[&PING_RESPONSE, &stamp[..stamp.len().min(4)]].concat()),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn reply(&mut self, reply: Reply) -> Result<(), SessionError> {
        match (self.step, reply) {
            (Step::Connect, Reply::Result { .. }) => self.connected(),
            (Step::CreateStream, Reply::Result { transaction: command::CREATE_STREAM, value }) => self.created(value),
            // Many servers do not know these two and say so; that is all there is to it.
            (_, Reply::Error { transaction: command::RELEASE_STREAM | command::FC_PUBLISH, .. }) => Ok(()),
            (_, Reply::Error { info, .. }) => self.refused(&info),
            (Step::Publish, Reply::Status(info)) if info.code == "NetStream.Publish.Start" => {
                self.step = Step::Live;
                self.tell(Event::Publishing);
                Ok(())
            }
            (_, Reply::Status(info)) if info.is_error() => self.refused(&info),
            (_, Reply::Close) => self.refused(&Info { code: "NetConnection.Connect.Closed".to_owned(), ..Info::default() }),
            _ => Ok(()),
        }
    }

    fn connected(&mut self) -> Result<(), SessionError> {
        self.control(kind::SET_CHUNK_SIZE, &(CHUNK as u32).to_be_bytes())?;
        self.writer.set_chunk_size(CHUNK);
        self.control(kind::WINDOW, &WINDOW.to_be_bytes())?;
        self.command(0, &command::release_stream(&self.target.key))?;
        self.command(0, &command::fc_publish(&self.target.key))?;
        self.step = Step::CreateStream;
        self.command(0, &command::create_stream())
    }

    fn created(&mut self, stream: Option<f64>) -> Result<(), SessionError> {
        // A server that names no stream means its first one.
        self.stream = stream.unwrap_or(1.0) as u32;
        self.step = Step::Publish;
        self.command(self.stream, &command::publish(&self.target.key))
    }

    fn refused(&mut self, info: &Info) -> Result<(), SessionError> {
        self.tell(Event::Refused(Refusal::new(info, &self.target.key)));
        Ok(())
    }

    /// Events are taken after every `receive`; of acknowledgements in a row only the newest matters.
    fn tell(&mut self, event: Event) {
        if let (Some(last @ Event::Acknowledged(_)), Event::Acknowledged(_)) = (self.events.back_mut(), &event) {
            *last = event;
            return;
        }
        if self.events.len() < MAX_ANSWERS {
            self.events.push_back(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::amf0::{Value, decode, encode};
    use super::super::command::RefusalKind;
    use super::*;
    use crate::media::packet::{AudioFormat, VideoFormat};
    use crate::units::{BitRate, FrameRate};

    fn session() -> Session {
        let (app, url) = ("live".to_owned(), "rtmp://example.com/live".to_owned());
        Session::new(Target { app, url, key: Secret::new("secret-key"), device: "onair".to_owned() }).unwrap()
    }

    /// S0, S1 and S2 of a server with the plain handshake.
    fn server_handshake() -> Vec<u8> {
        let mut bytes = vec![3; 1 + 2 * 1536];
        bytes[1..9].fill(0);
        bytes
    }

    fn said(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        ChunkWriter::default().write(Header { chunk_stream: 3, kind, stream: 0, time: 0 }, &[payload], &mut out).unwrap();
        out
    }

    fn said_command(values: &[Value]) -> Vec<u8> {
        said(kind::COMMAND, &encode(values))
    }

    fn result(transaction: f64, value: Value) -> Vec<u8> {
        said_command(&[Value::string("_result"), Value::Number(transaction), Value::Null, value])
    }

    fn status(level: &str, code: &str) -> Vec<u8> {
        let info = [("level", level), ("code", code), ("description", "secret-key")]
            .map(|(name, value)| (name.to_owned(), Value::string(value)));
        said_command(&[Value::string("onStatus"), Value::Number(0.0), Value::Null, Value::Object(info.into())])
    }

    /// All that a friendly server says up to live media.
    fn friendly() -> Vec<Vec<u8>> {
        let unknown = |name| said_command(&[Value::string(name), Value::Number(0.0)]);
        vec![
            server_handshake(),
            said(kind::WINDOW, &5_000_000u32.to_be_bytes()),
            said(6, &[0, 0x4C, 0x4B, 0x40, 2]),
            result(1.0, Value::Null),
            unknown("onBWDone"),
            said_command(&[
                Value::string("_error"),
                Value::Number(2.0),
                Value::Null,
                Value::Object(vec![("code".into(), Value::string("no"))]),
            ]),
            unknown("onFCPublish"),
            result(4.0, Value::Number(1.0)),
            status("status", "NetStream.Publish.Start"),
        ]
    }

    fn live() -> Session {
        let mut session = session();
        friendly().iter().for_each(|bytes| session.receive(bytes).unwrap());
        assert_eq!(session.event(), Some(Event::Publishing));
        session.sent(usize::MAX);
        session
    }

    fn events(session: &mut Session) -> Vec<Event> {
        std::iter::from_fn(|| session.event()).collect()
    }

    /// What the session has written, read as a server would.
    fn written(session: &mut Session, reader: &mut ChunkReader) -> Vec<Message> {
        reader.feed(session.pending());
        session.sent(usize::MAX);
        std::iter::from_fn(|| reader.message().unwrap()).collect()
    }

    fn command_names(messages: &[Message]) -> Vec<String> {
        let commands = messages.iter().filter(|message| message.kind == kind::COMMAND);
        commands.map(|message| decode(&message.payload)[0].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn walks_from_handshake_to_live() {
        let mut session = session();
        let mut server = ChunkReader::default();
        assert_eq!(session.pending().len(), 1537);
        session.sent(1537);
        session.receive(&server_handshake()).unwrap();
        assert_eq!(session.step(), Step::Connect);
        session.sent(1536);
        assert_eq!(command_names(&written(&mut session, &mut server)), ["connect"]);
        session.receive(&result(1.0, Value::Null)).unwrap();
        let messages = written(&mut session, &mut server);
        assert_eq!(messages[0], Message { kind: kind::WINDOW, payload: WINDOW.to_be_bytes().to_vec() });
        assert_eq!(command_names(&messages), ["releaseStream", "FCPublish", "createStream"]);
        session.receive(&result(4.0, Value::Number(7.0))).unwrap();
        assert_eq!(command_names(&written(&mut session, &mut server)), ["publish"]);
        session.receive(&status("status", "NetStream.Publish.Start")).unwrap();
        assert_eq!((session.step(), events(&mut session)), (Step::Live, vec![Event::Publishing]));
        session.close().unwrap();
        assert_eq!(command_names(&written(&mut session, &mut server)), ["FCUnpublish", "deleteStream"]);
    }

    #[test]
    fn a_refusal_is_told_with_its_kind_and_without_the_key() {
        let mut session = session();
        friendly()[..8].iter().for_each(|bytes| session.receive(bytes).unwrap());
        session.receive(&status("error", "NetStream.Publish.BadName")).unwrap();
        let refusal = Refusal { kind: RefusalKind::Busy, code: "NetStream.Publish.BadName".into(), description: "***".into() };
        assert_eq!(events(&mut session), [Event::Refused(refusal)]);
    }

    #[test]
    fn errors_to_connect_and_publish_are_refusals() {
        for (sent, transaction) in [(1, 1.0), (4, 4.0), (8, 5.0)] {
            let mut session = session();
            friendly()[..sent].iter().for_each(|bytes| session.receive(bytes).unwrap());
            session.receive(&said_command(&[Value::string("_error"), Value::Number(transaction)])).unwrap();
            assert!(matches!(&events(&mut session)[..], [Event::Refused(Refusal { kind: RefusalKind::Unknown, .. })]));
        }
    }

    #[test]
    fn the_end_of_a_live_stream_is_told() {
        for bytes in [status("status", "NetStream.Unpublish.Success"), said_command(&[Value::string("close")])] {
            let mut session = live();
            session.receive(&bytes).unwrap();
            assert!(matches!(&events(&mut session)[..], [Event::Refused(Refusal { kind: RefusalKind::Closing, .. })]));
        }
    }

    #[test]
    fn pings_are_answered_and_other_control_events_passed_over() {
        let mut session = live();
        for event in [5u8, 23, 26, 27, 31, 32, 33, 255] {
            session.receive(&said(kind::USER_CONTROL, &[0, event, 1])).unwrap();
        }
        session.receive(&said(kind::USER_CONTROL, &[])).unwrap();
        assert!(session.pending().is_empty());
        session.receive(&said(kind::USER_CONTROL, &[0, 6, 1, 2, 3, 4])).unwrap();
        assert_eq!(session.pending()[12..], [0, 7, 1, 2, 3, 4]);
    }

    #[test]
    fn a_server_that_only_asks_is_left() {
        let mut session = live();
        let ping = said(kind::USER_CONTROL, &[0, 6, 1, 2, 3, 4]);
        let error = (0..=MAX_ANSWERS).find_map(|_| session.receive(&ping).err());
        assert!(matches!(error, Some(SessionError::Flood)));
    }

    fn packet(track: Track, keyframe: bool, millis: u64, data: &[u8]) -> Packet {
        let video = VideoFormat {
            width: 1280,
            height: 720,
            framerate: FrameRate::new(30, 1).unwrap(),
            bitrate: BitRate::from_bps(4_000_000),
            avcc: Bytes::from_static(&[1, 2, 3]),
        };
        let audio = AudioFormat {
            rate: 48_000,
            channels: 2,
            bitrate: BitRate::from_bps(128_000),
            asc: Bytes::from_static(&[0x11, 0x90]),
        };
        let (time, format) = (MediaTime::from_millis(millis), Arc::new(Format { video, audio }));
        Packet { track, time, duration: Duration::from_millis(33), keyframe, data: Bytes::copy_from_slice(data), format }
    }

    #[test]
    fn media_goes_out_as_flv_bodies_after_its_format() {
        let mut session = live();
        let picture = packet(Track::Video, true, 5000, &[9; 5000]);
        session.send_format(&picture.format, picture.time).unwrap();
        session.send_packet(&picture).unwrap();
        session.send_packet(&packet(Track::Audio, false, 5010, &[8])).unwrap();
        let mut server = ChunkReader::default();
        server.feed(&said(kind::SET_CHUNK_SIZE, &(CHUNK as u32).to_be_bytes()));
        let messages = written(&mut session, &mut server);
        let kinds: Vec<u8> = messages.iter().map(|message| message.kind).collect();
        assert_eq!(kinds, [kind::DATA, kind::VIDEO, kind::AUDIO, kind::VIDEO, kind::AUDIO]);
        assert_eq!(messages[1].payload, [0x17, 0, 0, 0, 0, 1, 2, 3]);
        assert_eq!(messages[2].payload, [0xAF, 0, 0x11, 0x90]);
        assert_eq!(messages[3].payload[..6], [0x17, 1, 0, 0, 0, 9]);
        assert_eq!(messages[3].payload.len(), 5005);
        assert_eq!(messages[4].payload, [0xAF, 1, 8]);
        assert_eq!(decode(&messages[0].payload)[2].get("title"), Some(&Value::string("onair")));
    }

    #[test]
    fn times_are_the_program_s_own_and_wrap() {
        for (millis, stamp) in [(0, 0u32), (0xFF_FFFF, 0xFF_FFFF), (1 << 31, 1 << 31), ((1 << 32) + 7, 7)] {
            let mut session = live();
            session.send_packet(&packet(Track::Audio, false, millis, &[8])).unwrap();
            let bytes = session.pending();
            let short = u32::from_be_bytes([0, bytes[1], bytes[2], bytes[3]]);
            let time = if short == 0xFF_FFFF { first_u32(&bytes[12..]).unwrap() } else { short };
            assert_eq!(time, stamp);
        }
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_the_events_are_the_same(cuts in prop::collection::vec(1usize..700, 1..20)) {
            let mut bytes = friendly().concat();
            bytes.extend(said(kind::ACKNOWLEDGEMENT, &[0, 1, 0, 0]));
            bytes.extend(status("error", "NetStream.Publish.Denied"));
            let mut whole = session();
            whole.receive(&bytes).unwrap();
            let (mut cut, mut rest, mut cuts) = (session(), &bytes[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                cut.receive(now).unwrap();
                rest = later;
            }
            let events = events(&mut whole);
            prop_assert_eq!(events.len(), 3);
            prop_assert_eq!(self::events(&mut cut), events);
            prop_assert_eq!(cut.step(), whole.step());
        }

        #[test]
        fn no_bytes_can_hurt(after in 0usize..9, bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
            let mut session = session();
            friendly()[..after].iter().for_each(|bytes| session.receive(bytes).unwrap());
            for part in bytes.chunks(100) {
                if session.receive(part).is_err() {
                    break;
                }
            }
        }

        #[test]
        fn no_message_can_hurt(after in 1usize..10, kind in 1u8..24, payload in prop::collection::vec(prop_oneof![0u8..18, any::<u8>()], 0..120)) {
            let mut session = session();
            friendly()[..after.min(9)].iter().for_each(|bytes| session.receive(bytes).unwrap());
            let _ = session.receive(&said(kind, &payload));
        }
    }
}
