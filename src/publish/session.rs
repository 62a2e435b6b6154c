//! One RTMP publishing session, as a machine without a socket: bytes in, bytes and events out. Pure.
//!
//! ```text
//! Handshake ─▶ Connect ─▶ CreateStream ─▶ Ready ──publish()──▶ Publish ─▶ Live
//!                                         (armed: waits, and has not touched the key)
//! any step: a refusal is an event, nonsense an error
//! ```
//!
//! `Ready` is where a spare waits: nothing of the key has been said, so that it cannot disturb a stream that is published under
//! it; two round trips less than a new connection remain. `releaseStream` and `FCPublish` therefore go out with `publish`.
//! A server that does not answer them, or with an error, is a server that does not know them: that is all there is to it.
//!
//! It reads the server leniently (see [`chunk_reader`](super::chunk_reader) and [`amf0`](super::amf0)): unknown messages,
//! control events and commands are passed over. It never asks for a ping, because some servers end the connection on it, and
//! it does not obey `SetPeerBandwidth`: the pace of the program is not negotiable. It refuses a peer that asks so much that
//! answers pile up faster than they can be written.
//!
//! The chunk size and the acknowledgement window are announced after `connect` has been answered: some servers do not expect
//! anything before it. Times on the wire are the caller's, to the millisecond; this machine neither rebases nor orders them.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;
use rml_rtmp::handshake::{Handshake, HandshakeError, HandshakeProcessResult, PeerType};

use super::chunk_reader::{ChunkError, ChunkReader, Message, first_u32};
use super::chunk_writer::{ChunkWriter, Header, TooLong};
use super::command::{self, Info, Refusal, Reply, presentable};
use super::outbox::Outbox;
use super::wire::{Received, chunk_stream, kind};
use crate::media::flv::Body;
use crate::media::packet::{Format, Packet, Track};
use crate::secret::Secret;

/// Chunks of this size are taken by every server known.
pub const DEFAULT_CHUNK: usize = 4096;

/// Beyond it, some servers reset the connection.
pub const MAX_CHUNK: usize = 65_536;

/// The server is asked to acknowledge every so many bytes: several times a second at usual rates.
pub const WINDOW: u32 = 65_536;

/// Answers that may wait to be written.
const MAX_ANSWERS: usize = 64;

/// Events that may wait to be taken, which happens after every `receive`.
const MAX_EVENTS: usize = 64;

const PING_REQUEST: [u8; 2] = [0, 6];
const PING_RESPONSE: [u8; 2] = [0, 7];

/// Whom the session talks to, and about what.
pub struct Target {
    /// Application, with its instance if there is one.
    pub app: String,
    /// `tcUrl`: without the key.
    pub url: String,
    pub key: Secret,
    /// Shown in the stream's metadata.
    pub device: String,
    /// When the program began by the wall clock, as RFC 3339 writes it; metadata that nothing depends on.
    pub started_at: Option<String>,
    /// `name=value&…`, appended to `app` and `url`: the answer to a server's challenge.
    pub authorization: Option<String>,
}

impl Target {
    /// With the authorization, if there is one.
    fn with_query(&self, text: &str) -> String {
        let sign = if text.contains('?') { '&' } else { '?' };
        self.authorization.as_ref().map_or_else(|| text.to_owned(), |query| format!("{text}{sign}{query}"))
    }
}

/// What may differ from one server to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// Bytes of the chunks that we send; at most [`MAX_CHUNK`].
    pub chunk_size: usize,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { chunk_size: DEFAULT_CHUNK }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Handshake,
    Connect,
    CreateStream,
    Ready,
    Publish,
    Live,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server has a stream for us; [`Session::publish`] goes on.
    Ready,
    /// The server waits for media.
    Publishing,
    /// The server says how many bytes it has got; how it counts differs between servers.
    Acknowledged(u32),
    /// The connection is of no more use.
    Refused(Refusal),
    /// The server wants us elsewhere, soon: at `url`, which may be relative to the present one, or at the present one again.
    Reconnect { url: Option<String>, description: String },
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
    #[error("it is not ready for a stream to be published")]
    NotReady,
}

pub struct Session {
    target: Target,
    options: SessionOptions,
    step: Step,
    handshake: Handshake,
    reader: ChunkReader,
    writer: ChunkWriter,
    stream: u32,
    out: Outbox,
    answers: Answers,
    events: VecDeque<Event>,
    received: Received,
}

/// Answers to the server that have not been written yet.
#[derive(Default)]
struct Answers {
    waiting: usize,
    /// The outbox's total after the last one.
    end: u64,
}

impl Session {
    /// The first bytes to write are ready at once.
    pub fn new(target: Target) -> Result<Self, SessionError> {
        Self::with_options(target, SessionOptions::default())
    }

    pub fn with_options(target: Target, options: SessionOptions) -> Result<Self, SessionError> {
        let mut handshake = Handshake::new(PeerType::Client);
        let mut out = Outbox::default();
        out.push_own(&handshake.generate_outbound_p0_and_p1()?);
        Ok(Self {
            target,
            options: SessionOptions { chunk_size: options.chunk_size.clamp(1, MAX_CHUNK) },
            step: Step::Handshake,
            handshake,
            reader: ChunkReader::default(),
            writer: ChunkWriter::default(),
            stream: 0,
            out,
            answers: Answers::default(),
            events: VecDeque::new(),
            received: Received::default(),
        })
    }

    pub fn step(&self) -> Step {
        self.step
    }

    pub fn has_pending(&self) -> bool {
        !self.out.is_empty()
    }

    /// Bytes that wait to be written.
    pub fn pending_len(&self) -> usize {
        self.out.len()
    }

    /// Fills `out` with what is to be written next, as far as it reaches; returns how many slices that were.
    pub fn pending_slices<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        self.out.slices(out)
    }

    /// The first `count` of the pending bytes have been written.
    pub fn sent(&mut self, count: usize) {
        self.out.sent(count);
        if self.out.total() - self.out.len() as u64 >= self.answers.end {
            self.answers.waiting = 0;
        }
    }

    /// All bytes that were ever made for the wire, from the handshake on.
    pub fn written_total(&self) -> u64 {
        self.out.total()
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
        match self.received.add(bytes.len()) {
            Some(total) => self.answer(kind::ACKNOWLEDGEMENT, &total.to_be_bytes()),
            None => Ok(()),
        }
    }

    /// From `Ready` on to the stream; then `Event::Publishing` or a refusal comes.
    pub fn publish(&mut self) -> Result<(), SessionError> {
        if self.step != Step::Ready {
            return Err(SessionError::NotReady);
        }
        self.step = Step::Publish;
        self.command(0, &command::release_stream(&self.target.key))?;
        self.command(0, &command::fc_publish(&self.target.key))?;
        self.command(self.stream, &command::publish(&self.target.key))
    }

    /// Metadata and decoder configurations: before the first packet and before the first one of another format.
    pub fn send_format(&mut self, format: &Format, time_ms: u32) -> Result<(), SessionError> {
        let metadata = command::metadata(format, &self.target.device, self.target.started_at.as_deref());
        self.write(chunk_stream::DATA, kind::DATA, time_ms, &metadata, &Bytes::new())?;
        self.send_body(&Body::video_format(&format.video), time_ms)?;
        self.send_body(&Body::audio_format(&format.audio), time_ms)
    }

    pub fn send_packet(&mut self, packet: &Packet, time_ms: u32) -> Result<(), SessionError> {
        self.send_body(&Body::packet(packet), time_ms)
    }

    /// Says good-bye, so that the key is free at once; says nothing of a key that it has not used.
    pub fn close(&mut self) -> Result<(), SessionError> {
        if self.step >= Step::Publish {
            self.command(0, &command::fc_unpublish(&self.target.key))?;
        }
        match self.step {
            Step::Ready | Step::Publish | Step::Live => self.command(0, &command::delete_stream(self.stream)),
            Step::Handshake | Step::Connect | Step::CreateStream => Ok(()),
        }
    }

    fn send_body(&mut self, body: &Body, time_ms: u32) -> Result<(), SessionError> {
        let (chunk_stream, kind) = match body.track {
            Track::Video => (chunk_stream::VIDEO, kind::VIDEO),
            Track::Audio => (chunk_stream::AUDIO, kind::AUDIO),
        };
        self.write(chunk_stream, kind, time_ms, body.header(), body.payload())
    }

    fn write(&mut self, chunk_stream: u8, kind: u8, time: u32, own: &[u8], shared: &Bytes) -> Result<(), SessionError> {
        let header = Header { chunk_stream, kind, stream: self.stream, time };
        Ok(self.writer.write(header, own, shared, &mut self.out)?)
    }

    fn command(&mut self, stream: u32, body: &[u8]) -> Result<(), SessionError> {
        let header = Header { chunk_stream: chunk_stream::COMMAND, kind: kind::COMMAND, stream, time: 0 };
        Ok(self.writer.write(header, body, &Bytes::new(), &mut self.out)?)
    }

    fn control(&mut self, kind: u8, body: &[u8]) -> Result<(), SessionError> {
        let header = Header { chunk_stream: chunk_stream::CONTROL, kind, stream: 0, time: 0 };
        Ok(self.writer.write(header, body, &Bytes::new(), &mut self.out)?)
    }

    /// Something the server has asked for.
    fn answer(&mut self, kind: u8, body: &[u8]) -> Result<(), SessionError> {
        self.answers.waiting += 1;
        if self.answers.waiting > MAX_ANSWERS {
            return Err(SessionError::Flood);
        }
        self.control(kind, body)?;
        self.answers.end = self.out.total();
        Ok(())
    }

    fn shake_hands(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        match self.handshake.process_bytes(bytes)? {
            HandshakeProcessResult::InProgress { response_bytes } => {
                self.out.push_own(&response_bytes);
                Ok(())
            }
            HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                self.out.push_own(&response_bytes);
                self.step = Step::Connect;
                let (app, url) = (self.target.with_query(&self.target.app), self.target.with_query(&self.target.url));
                self.command(0, &command::connect(&app, &url))?;
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
                first_u32(payload).inspect(|count| self.tell(Event::Acknowledged(*count)));
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
            // Only one answer is due in each of these steps, so that a wrong transaction number does no harm.
            (Step::Connect, Reply::Result { .. }) => return self.connected(),
            (Step::CreateStream, Reply::Result { transaction, value }) if transaction != command::CONNECT => self.created(value),
            (_, Reply::Error { transaction: command::RELEASE_STREAM | command::FC_PUBLISH, .. }) => {}
            (_, Reply::Error { info, .. }) => self.refused(&info),
            (_, Reply::Status(info)) => self.status(info),
            (_, Reply::Close) => self.refused(&Info { code: "NetConnection.Connect.Closed".to_owned(), ..Info::default() }),
            _ => {}
        }
        Ok(())
    }

    fn status(&mut self, info: Info) {
        match info.code.as_str() {
            "NetStream.Publish.Start" if self.step == Step::Publish => {
                self.step = Step::Live;
                self.tell(Event::Publishing);
            }
            "NetConnection.Connect.ReconnectRequest" => {
                let description = presentable(&info.description, &self.target.key);
                self.tell(Event::Reconnect { url: info.url, description });
            }
            _ if info.is_error() => self.refused(&info),
            _ => {}
        }
    }

    fn connected(&mut self) -> Result<(), SessionError> {
        let chunk_size = self.options.chunk_size;
        self.control(kind::SET_CHUNK_SIZE, &(chunk_size as u32).to_be_bytes())?;
        self.writer.set_chunk_size(chunk_size);
        self.control(kind::WINDOW, &WINDOW.to_be_bytes())?;
        self.step = Step::CreateStream;
        self.command(0, &command::create_stream())
    }

    fn created(&mut self, stream: Option<f64>) {
        // A server that names no stream means its first one.
        self.stream = stream.unwrap_or(1.0) as u32;
        self.step = Step::Ready;
        self.tell(Event::Ready);
    }

    fn refused(&mut self, info: &Info) {
        self.tell(Event::Refused(Refusal::new(info, &self.target.key)));
    }

    /// Of refusals only the first counts and of reconnect requests the last; more acknowledgements than anybody needs replace
    /// each other. So the queue is bounded, and nothing is lost that matters.
    fn tell(&mut self, event: Event) {
        let is_refusal = |event: &Event| matches!(event, Event::Refused(_));
        let is_reconnect = |event: &Event| matches!(event, Event::Reconnect { .. });
        match &event {
            Event::Refused(_) if self.events.iter().any(is_refusal) => return,
            Event::Reconnect { .. } => self.events.retain(|event| !is_reconnect(event)),
            Event::Acknowledged(_) if self.events.len() >= MAX_EVENTS => {
                let last = self.events.iter().rposition(|event| matches!(event, Event::Acknowledged(_)));
                last.map(|index| self.events.remove(index));
            }
            _ => {}
        }
        self.events.push_back(event);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::amf0::{Value, decode, encode};
    use super::super::command::RefusalKind;
    use super::super::outbox::tests::drain;
    use super::*;
    use crate::media::packet::{AudioFormat, VideoFormat};
    use crate::units::{BitRate, FrameRate, MediaTime};

    fn session() -> Session {
        let (app, url) = ("live".to_owned(), "rtmp://example.com/live".to_owned());
        let (key, device) = (Secret::new("secret-key"), "onair".to_owned());
        Session::new(Target { app, url, key, device, started_at: None, authorization: None }).unwrap()
    }

    /// S0, S1 and S2 of a server with the plain handshake.
    fn server_handshake() -> Vec<u8> {
        let mut bytes = vec![3; 1 + 2 * 1536];
        bytes[1..9].fill(0);
        bytes
    }

    fn said(kind: u8, payload: &[u8]) -> Vec<u8> {
        let (mut out, header) = (Outbox::default(), Header { chunk_stream: 3, kind, stream: 0, time: 0 });
        ChunkWriter::default().write(header, payload, &Bytes::new(), &mut out).unwrap();
        drain(&mut out, 4)
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

    /// All that a friendly server says up to `Ready`.
    fn welcome() -> Vec<Vec<u8>> {
        vec![
            server_handshake(),
            said(kind::WINDOW, &5_000_000u32.to_be_bytes()),
            said(6, &[0, 0x4C, 0x4B, 0x40, 2]),
            result(1.0, Value::Null),
            said_command(&[Value::string("onBWDone"), Value::Number(0.0)]),
            result(2.0, Value::Number(1.0)),
        ]
    }

    /// And from there on.
    fn consent() -> Vec<Vec<u8>> {
        let info = Value::Object(vec![("code".into(), Value::string("no"))]);
        vec![
            said_command(&[Value::string("_error"), Value::Number(3.0), Value::Null, info]),
            said_command(&[Value::string("onFCPublish"), Value::Number(0.0)]),
            status("status", "NetStream.Publish.Start"),
        ]
    }

    fn ready() -> Session {
        let mut session = session();
        welcome().iter().for_each(|bytes| session.receive(bytes).unwrap());
        assert_eq!(session.event(), Some(Event::Ready));
        session.sent(usize::MAX);
        session
    }

    fn publishing() -> Session {
        let mut session = ready();
        session.publish().unwrap();
        session.sent(usize::MAX);
        session
    }

    fn live() -> Session {
        let mut session = publishing();
        consent().iter().for_each(|bytes| session.receive(bytes).unwrap());
        assert_eq!(session.event(), Some(Event::Publishing));
        session.sent(usize::MAX);
        session
    }

    /// A session in each of its steps.
    fn everywhere() -> [Session; 6] {
        let after = |count| {
            let mut session = session();
            welcome()[..count].iter().for_each(|bytes| session.receive(bytes).unwrap());
            session.sent(usize::MAX);
            session
        };
        let all = [after(0), after(1), after(4), ready(), publishing(), live()];
        let steps = [Step::Handshake, Step::Connect, Step::CreateStream, Step::Ready, Step::Publish, Step::Live];
        assert_eq!(all.each_ref().map(Session::step), steps);
        all
    }

    fn events(session: &mut Session) -> Vec<Event> {
        std::iter::from_fn(|| session.event()).collect()
    }

    /// What the session has written, read as a server would.
    fn written(session: &mut Session, reader: &mut ChunkReader) -> Vec<Message> {
        reader.feed(&drain(&mut session.out, 16));
        session.sent(0);
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
        assert_eq!(drain(&mut session.out, 1).len(), 1537);
        session.receive(&server_handshake()).unwrap();
        assert_eq!(session.step(), Step::Connect);
        session.sent(1536);
        assert_eq!(command_names(&written(&mut session, &mut server)), ["connect"]);
        session.receive(&result(1.0, Value::Null)).unwrap();
        let messages = written(&mut session, &mut server);
        assert_eq!(messages[0], Message { kind: kind::WINDOW, payload: WINDOW.to_be_bytes().to_vec() });
        assert_eq!(command_names(&messages), ["createStream"]);
        session.receive(&result(2.0, Value::Number(7.0))).unwrap();
        assert_eq!((session.step(), events(&mut session)), (Step::Ready, vec![Event::Ready]));
        assert!(!session.has_pending(), "an armed session does not touch the key");
        session.publish().unwrap();
        assert_eq!(command_names(&written(&mut session, &mut server)), ["releaseStream", "FCPublish", "publish"]);
        session.receive(&status("status", "NetStream.Publish.Start")).unwrap();
        assert_eq!((session.step(), events(&mut session)), (Step::Live, vec![Event::Publishing]));
        session.close().unwrap();
        assert_eq!(command_names(&written(&mut session, &mut server)), ["FCUnpublish", "deleteStream"]);
    }

    #[test]
    fn publish_has_its_one_place() {
        for mut session in everywhere() {
            let is_ready = session.step() == Step::Ready;
            assert_eq!(session.publish().is_ok(), is_ready);
        }
    }

    #[test]
    fn a_good_bye_says_no_more_than_was_said_before() {
        let names = [&[][..], &[], &[], &["deleteStream"], &["FCUnpublish", "deleteStream"], &["FCUnpublish", "deleteStream"]];
        for (mut session, names) in everywhere().into_iter().zip(names) {
            let mut server = ChunkReader::default();
            server.feed(&said(kind::SET_CHUNK_SIZE, &(DEFAULT_CHUNK as u32).to_be_bytes()));
            session.close().unwrap();
            assert_eq!(command_names(&written(&mut session, &mut server)), names);
        }
    }

    #[test]
    fn every_byte_is_counted() {
        let mut session = session();
        assert_eq!((session.written_total(), session.pending_len()), (1537, 1537));
        session.receive(&server_handshake()).unwrap();
        let connect = session.pending_len() - 3073;
        assert!(connect > 100);
        session.sent(3000);
        assert_eq!((session.written_total() as usize, session.pending_len()), (3073 + connect, 73 + connect));
    }

    #[test]
    fn the_authorization_is_added_to_app_and_url() {
        let mut session = session();
        session.target.authorization = Some("authmod=adobe&user=u".into());
        session.sent(usize::MAX);
        session.receive(&server_handshake()).unwrap();
        session.sent(1536);
        let messages = written(&mut session, &mut ChunkReader::default());
        let values = decode(&messages[0].payload);
        assert_eq!(values[2].get("app"), Some(&Value::string("live?authmod=adobe&user=u")));
        assert_eq!(values[2].get("tcUrl"), Some(&Value::string("rtmp://example.com/live?authmod=adobe&user=u")));
    }

    #[test]
    fn chunks_are_as_large_as_wished_within_limits() {
        for (wish, size) in [(0, 1), (128, 128), (65_536, 65_536), (1 << 20, 65_536)] {
            let target = session().target;
            let mut session = Session::with_options(target, SessionOptions { chunk_size: wish }).unwrap();
            session.receive(&server_handshake()).unwrap();
            session.sent(usize::MAX);
            session.receive(&result(1.0, Value::Null)).unwrap();
            let bytes = drain(&mut session.out, 4);
            assert_eq!(bytes[..16], [&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0][..], &(size as u32).to_be_bytes()].concat());
        }
    }

    #[test]
    fn a_reconnect_request_is_told_with_its_url() {
        for (url, told) in [(Value::string("/other"), Some("/other".to_owned())), (Value::Null, None)] {
            let mut session = live();
            let info = [
                ("level", Value::string("status")),
                ("code", Value::string("NetConnection.Connect.ReconnectRequest")),
                ("description", Value::string("secret-key must move")),
                ("tcUrl", url),
            ];
            let info = Value::Object(info.map(|(name, value)| (name.to_owned(), value)).into());
            session.receive(&said_command(&[Value::string("onStatus"), Value::Number(0.0), Value::Null, info])).unwrap();
            let wanted = Event::Reconnect { url: told, description: "*** must move".into() };
            assert_eq!((events(&mut session), session.step()), (vec![wanted], Step::Live));
        }
    }

    #[test]
    fn events_are_bounded_and_none_that_matters_is_lost() {
        let mut session = live();
        let mut bytes = said(kind::ACKNOWLEDGEMENT, &[0, 0, 0, 1]).repeat(500);
        bytes.extend(said(kind::ACKNOWLEDGEMENT, &[0, 0, 0, 2]));
        bytes.extend(status("status", "NetConnection.Connect.ReconnectRequest").repeat(100));
        bytes.extend(status("error", "NetStream.Publish.Failed").repeat(100));
        session.receive(&bytes).unwrap();
        let events = events(&mut session);
        assert_eq!((events.len(), &events[63]), (66, &Event::Acknowledged(2)));
        assert!(matches!(events[64..], [Event::Reconnect { .. }, Event::Refused(_)]));
    }

    #[test]
    fn a_refusal_is_told_with_its_kind_and_without_the_key() {
        let mut session = publishing();
        session.receive(&status("error", "NetStream.Publish.BadName")).unwrap();
        let refusal = Refusal { kind: RefusalKind::Busy, code: "NetStream.Publish.BadName".into(), description: "***".into() };
        assert_eq!(events(&mut session), [Event::Refused(refusal)]);
    }

    #[test]
    fn errors_to_connect_create_stream_and_publish_are_refusals() {
        for (mut session, transaction) in everywhere().into_iter().zip([0.0, 1.0, 2.0, 9.0, 5.0, 9.0]).skip(1) {
            events(&mut session);
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
        assert!(!session.has_pending());
        session.receive(&said(kind::USER_CONTROL, &[0, 6, 1, 2, 3, 4])).unwrap();
        assert_eq!(drain(&mut session.out, 4)[12..], [0, 7, 1, 2, 3, 4]);
    }

    #[test]
    fn a_server_that_only_asks_is_left() {
        let mut session = live();
        let ping = said(kind::USER_CONTROL, &[0, 6, 1, 2, 3, 4]);
        let error = (0..=MAX_ANSWERS).find_map(|_| session.receive(&ping).err());
        assert!(matches!(error, Some(SessionError::Flood)));
    }

    #[test]
    fn answers_that_are_written_do_not_count_though_media_waits() {
        let mut session = live();
        let ping = said(kind::USER_CONTROL, &[0, 6, 1, 2, 3, 4]);
        for _ in 0..10 * MAX_ANSWERS {
            session.receive(&ping).unwrap();
            let answered = session.pending_len();
            session.send_packet(&packet(Track::Audio, false, &[8]), 0).unwrap();
            session.sent(answered);
            assert!(session.has_pending());
        }
    }

    fn packet(track: Track, keyframe: bool, data: &[u8]) -> Packet {
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
        let (time, format) = (MediaTime::ZERO, Arc::new(Format { video, audio }));
        Packet { track, time, duration: Duration::from_millis(33), keyframe, data: Bytes::copy_from_slice(data), format }
    }

    #[test]
    fn media_goes_out_as_flv_bodies_after_its_format() {
        let mut session = live();
        session.target.started_at = Some("2026-01-02T03:04:05Z".into());
        let picture = packet(Track::Video, true, &[9; 5000]);
        session.send_format(&picture.format, 5000).unwrap();
        session.send_packet(&picture, 5000).unwrap();
        session.send_packet(&packet(Track::Audio, false, &[8]), 5010).unwrap();
        let mut server = ChunkReader::default();
        server.feed(&said(kind::SET_CHUNK_SIZE, &(DEFAULT_CHUNK as u32).to_be_bytes()));
        let messages = written(&mut session, &mut server);
        let kinds: Vec<u8> = messages.iter().map(|message| message.kind).collect();
        assert_eq!(kinds, [kind::DATA, kind::VIDEO, kind::AUDIO, kind::VIDEO, kind::AUDIO]);
        assert_eq!(messages[1].payload, [0x17, 0, 0, 0, 0, 1, 2, 3]);
        assert_eq!(messages[2].payload, [0xAF, 0, 0x11, 0x90]);
        assert_eq!(messages[3].payload[..6], [0x17, 1, 0, 0, 0, 9]);
        assert_eq!(messages[3].payload.len(), 5005);
        assert_eq!(messages[4].payload, [0xAF, 1, 8]);
        let metadata = &decode(&messages[0].payload)[2];
        assert_eq!(metadata.get("title"), Some(&Value::string("onair")));
        assert_eq!(metadata.get("creationdate"), Some(&Value::string("2026-01-02T03:04:05Z")));
    }

    #[test]
    fn times_are_the_caller_s() {
        for time in [0, 0xFF_FFFE, 0xFF_FFFF, 0x100_0000, 1 << 31, u32::MAX, ((1u64 << 32) + 7) as u32] {
            let mut session = live();
            session.send_packet(&packet(Track::Audio, false, &[8]), time).unwrap();
            let bytes = drain(&mut session.out, 4);
            let short = u32::from_be_bytes([0, bytes[1], bytes[2], bytes[3]]);
            assert_eq!(if short == 0xFF_FFFF { first_u32(&bytes[12..]).unwrap() } else { short }, time);
        }
    }

    #[test]
    fn a_packet_s_bytes_are_not_copied() {
        let (mut session, picture) = (live(), packet(Track::Video, true, &[9; 5000]));
        session.send_packet(&picture, 0).unwrap();
        let mut slices = [IoSlice::new(&[]); 8];
        let count = session.pending_slices(&mut slices);
        let places: Vec<_> = slices[..count].iter().map(|slice| slice.as_ptr()).collect();
        let split = DEFAULT_CHUNK - 5;
        assert_eq!((count, places[1], places[3]), (4, picture.data.as_ptr(), picture.data[split..].as_ptr()));
        assert_eq!(slices[..count].iter().map(|slice| slice.len()).sum::<usize>(), session.pending_len());
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_events_and_output_are_the_same(cuts in prop::collection::vec(1usize..700, 1..20)) {
            let mut more = consent().concat();
            more.extend(said(kind::USER_CONTROL, &[0, 6, 1, 2, 3, 4]));
            more.extend(said(kind::ACKNOWLEDGEMENT, &[0, 1, 0, 0]));
            more.extend(status("error", "NetStream.Publish.Denied"));
            let (mut whole, mut cut, mut cuts) = (session(), session(), cuts.into_iter().cycle());
            for bytes in [welcome().concat(), more] {
                whole.receive(&bytes).unwrap();
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(rest.len().min(cuts.next().unwrap()));
                    cut.receive(now).unwrap();
                    rest = later;
                }
                for session in [&mut whole, &mut cut] {
                    let _ = session.publish();
                }
            }
            let events = events(&mut whole);
            prop_assert_eq!(events.len(), 4);
            prop_assert_eq!(self::events(&mut cut), events);
            prop_assert_eq!(cut.step(), whole.step());
            // The handshake's own bytes are random.
            let [whole, cut] = [whole, cut].map(|mut session| drain(&mut session.out, 5).split_off(3073));
            prop_assert_eq!(whole, cut);
        }

        #[test]
        fn no_bytes_can_hurt(step in 0usize..6, bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
            let mut session = everywhere().into_iter().nth(step).unwrap();
            for part in bytes.chunks(100) {
                if session.receive(part).is_err() {
                    break;
                }
            }
        }

        #[test]
        fn no_message_can_hurt(step in 1usize..6, kind in 1u8..24, payload in prop::collection::vec(prop_oneof![0u8..18, any::<u8>()], 0..120)) {
            let mut session = everywhere().into_iter().nth(step).unwrap();
            let _ = session.receive(&said(kind, &payload));
        }
    }
}
