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
//! it does not obey `SetPeerBandwidth`, though it answers: the pace of the program is not negotiable. It refuses a peer that asks so much that
//! answers pile up faster than they can be written.
//!
//! The chunk size and the acknowledgement window are announced after `connect` has been answered: some servers do not expect
//! anything before it. Chunks are as large as those that the server has announced for itself by then, if
//! that is more than the default. Times on the wire are the caller's, to the millisecond; this machine neither rebases nor orders them.

use std::io::IoSlice;

use rml_rtmp::handshake::{Handshake, HandshakeError, HandshakeProcessResult, PeerType};

use super::chunk_reader::{ChunkError, ChunkReader, Message, first_u32};
use super::chunk_writer::TooLong;
use super::command::{self, Info, Refusal, Reply, presentable};
pub use super::event::Event;
use super::event::EventQueue;
use super::redirect;
use super::speech::Speech;
use super::wire::{Received, kind};
use crate::media::flv::Body;
use crate::media::packet::{Format, Packet};
use crate::secret::Secret;

/// Chunks of this size are taken by every server known.
pub const DEFAULT_CHUNK: usize = 4096;

/// Beyond it, some servers reset the connection.
pub const MAX_CHUNK: usize = 65_536;

/// The server is asked to acknowledge every so many bytes: several times a second at usual rates.
pub const WINDOW: u32 = 65_536;

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
    /// Bytes of the chunks that we send, unless the server speaks in larger ones; at most [`MAX_CHUNK`].
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
    speech: Speech,
    stream: u32,
    events: EventQueue,
    received: Received,
}

impl Session {
    /// The first bytes to write are ready at once.
    pub fn new(target: Target) -> Result<Self, SessionError> {
        Self::with_options(target, SessionOptions::default())
    }

    pub fn with_options(target: Target, options: SessionOptions) -> Result<Self, SessionError> {
        let mut handshake = Handshake::new(PeerType::Client);
        let mut speech = Speech::default();
        speech.raw(&handshake.generate_outbound_p0_and_p1()?);
        Ok(Self {
            target,
            options: SessionOptions { chunk_size: options.chunk_size.clamp(1, MAX_CHUNK) },
            step: Step::Handshake,
            handshake,
            reader: ChunkReader::default(),
            speech,
            stream: 0,
            events: EventQueue::default(),
            received: Received::default(),
        })
    }

    pub fn step(&self) -> Step {
        self.step
    }

    pub fn has_pending(&self) -> bool {
        self.speech.pending_len() > 0
    }

    /// Bytes that wait to be written.
    pub fn pending_len(&self) -> usize {
        self.speech.pending_len()
    }

    /// Fills `out` with what is to be written next, as far as it reaches; returns how many slices that were.
    pub fn pending_slices<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        self.speech.slices(out)
    }

    /// The first `count` of the pending bytes have been written.
    pub fn sent(&mut self, count: usize) {
        self.speech.sent(count);
    }

    /// All bytes that were ever made for the wire, from the handshake on.
    pub fn written_total(&self) -> u64 {
        self.speech.total()
    }

    pub fn event(&mut self) -> Option<Event> {
        self.events.pop()
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
            Some(total) => self.speech.answer(kind::ACKNOWLEDGEMENT, &total.to_be_bytes()),
            None => Ok(()),
        }
    }

    /// From `Ready` on to the stream; then `Event::Publishing` or a refusal comes.
    pub fn publish(&mut self) -> Result<(), SessionError> {
        if self.step != Step::Ready {
            return Err(SessionError::NotReady);
        }
        self.step = Step::Publish;
        self.speech.command(0, &command::release_stream(&self.target.key))?;
        self.speech.command(0, &command::fc_publish(&self.target.key))?;
        self.speech.command(self.stream, &command::publish(&self.target.key))
    }

    /// Metadata and decoder configurations: before the first packet and before the first one of another format.
    pub fn send_format(&mut self, format: &Format, time_ms: u32) -> Result<(), SessionError> {
        let metadata = command::metadata(format, &self.target.device, self.target.started_at.as_deref());
        self.speech.data(self.stream, time_ms, &metadata)?;
        self.speech.media(self.stream, time_ms, &Body::video_format(&format.video))?;
        self.speech.media(self.stream, time_ms, &Body::audio_format(&format.audio))
    }

    pub fn send_packet(&mut self, packet: &Packet, time_ms: u32) -> Result<(), SessionError> {
        self.speech.media(self.stream, time_ms, &Body::packet(packet))
    }

    /// Says good-bye, so that the key is free at once; says nothing of a key that it has not used.
    pub fn close(&mut self) -> Result<(), SessionError> {
        if self.step >= Step::Publish {
            self.speech.command(0, &command::fc_unpublish(&self.target.key))?;
        }
        match self.step {
            Step::Ready | Step::Publish | Step::Live => self.speech.command(0, &command::delete_stream(self.stream)),
            Step::Handshake | Step::Connect | Step::CreateStream => Ok(()),
        }
    }

    fn shake_hands(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        match self.handshake.process_bytes(bytes)? {
            HandshakeProcessResult::InProgress { response_bytes } => {
                self.speech.raw(&response_bytes);
                Ok(())
            }
            HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                self.speech.raw(&response_bytes);
                self.step = Step::Connect;
                let (app, url) = (self.target.with_query(&self.target.app), self.target.with_query(&self.target.url));
                self.speech.command(0, &command::connect(&app, &url))?;
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
            // The window that we want is the answer; before `connect` is answered, it is still to come anyway.
            (kind::PEER_BANDWIDTH, _) if self.step > Step::Connect => self.speech.answer(kind::WINDOW, &WINDOW.to_be_bytes()),
            (kind::ACKNOWLEDGEMENT, payload) => {
                first_u32(payload).inspect(|count| self.events.push(Event::Acknowledged(*count)));
                Ok(())
            }
            (kind::USER_CONTROL, payload) => match payload.strip_prefix(&PING_REQUEST) {
                Some(stamp) => self.speech.answer(kind::USER_CONTROL, &[&PING_RESPONSE, &stamp[..stamp.len().min(4)]].concat()),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn reply(&mut self, reply: Reply) -> Result<(), SessionError> {
        match (self.step, reply) {
            // Only one answer is due in each of these steps, so that a wrong transaction number does no harm.
            (Step::Connect | Step::CreateStream, Reply::Result { info, .. }) if info.is_error() => self.refused(&info),
            (Step::Connect, Reply::Result { .. }) => return self.connected(),
            (Step::CreateStream, Reply::Result { transaction, value, .. }) if transaction != command::CONNECT => {
                self.created(value)
            }
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
                self.events.push(Event::Publishing);
            }
            "NetConnection.Connect.ReconnectRequest" => {
                let description = presentable(&info.description, &self.target.key);
                let url = info.url.as_deref().and_then(redirect::reference);
                self.events.push(Event::Reconnect { url, description });
            }
            _ if info.is_error() => self.refused(&info),
            _ => {}
        }
    }

    fn connected(&mut self) -> Result<(), SessionError> {
        let chunk_size = self.chunk_size();
        self.speech.chunk_size(chunk_size)?;
        self.speech.control(kind::WINDOW, &WINDOW.to_be_bytes())?;
        self.step = Step::CreateStream;
        self.speech.command(0, &command::create_stream())
    }

    /// Who speaks in larger chunks than usual reads them too.
    fn chunk_size(&self) -> usize {
        let (ours, theirs) = (self.options.chunk_size, self.reader.chunk_size().min(MAX_CHUNK));
        if theirs > DEFAULT_CHUNK { ours.max(theirs) } else { ours }
    }

    fn created(&mut self, stream: Option<f64>) {
        // A server that names no stream means its first one.
        self.stream = stream.unwrap_or(1.0) as u32;
        self.step = Step::Ready;
        self.events.push(Event::Ready);
    }

    fn refused(&mut self, info: &Info) {
        self.events.push(Event::Refused(Refusal::new(info, &self.target.key)));
    }
}

#[cfg(test)]
mod oddities;
#[cfg(test)]
mod tests;
