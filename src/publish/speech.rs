//! How a session says things: messages into chunks, chunks into the outbox. Pure.
//!
//! It knows which chunk stream carries what, and keeps count of the answers that a server has asked for. It refuses to pile
//! up more of those than a sane server can ask for before it reads; media it takes without a limit, because who sends it looks
//! at what is pending.

use std::io::IoSlice;

use bytes::Bytes;

use super::chunk_writer::{ChunkWriter, Header};
use super::outbox::Outbox;
use super::session::SessionError;
use super::wire::{chunk_stream, kind};
use crate::media::flv::Body;
use crate::media::packet::Track;

/// Answers that may wait to be written.
pub const MAX_ANSWERS: usize = 64;

#[derive(Debug, Default)]
pub struct Speech {
    writer: ChunkWriter,
    out: Outbox,
    /// Answers that wait, and the outbox's total after the last one.
    answers: usize,
    answers_end: u64,
}

impl Speech {
    pub fn pending_len(&self) -> usize {
        self.out.len()
    }

    pub fn slices<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        self.out.slices(out)
    }

    pub fn sent(&mut self, count: usize) {
        self.out.sent(count);
        if self.out.total() - self.out.len() as u64 >= self.answers_end {
            self.answers = 0;
        }
    }

    pub fn total(&self) -> u64 {
        self.out.total()
    }

    /// Bytes of the handshake: before there are messages.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.push_own(bytes);
    }

    /// Announces the size of the chunks that follow.
    pub fn chunk_size(&mut self, size: usize) -> Result<(), SessionError> {
        self.control(kind::SET_CHUNK_SIZE, &(size as u32).to_be_bytes())?;
        self.writer.set_chunk_size(size);
        Ok(())
    }

    pub fn command(&mut self, stream: u32, body: &[u8]) -> Result<(), SessionError> {
        let header = Header { chunk_stream: chunk_stream::COMMAND, kind: kind::COMMAND, stream, time: 0 };
        self.write(header, body, &Bytes::new())
    }

    pub fn control(&mut self, kind: u8, body: &[u8]) -> Result<(), SessionError> {
        self.write(Header { chunk_stream: chunk_stream::CONTROL, kind, stream: 0, time: 0 }, body, &Bytes::new())
    }

    /// Something that the server has asked for.
    pub fn answer(&mut self, kind: u8, body: &[u8]) -> Result<(), SessionError> {
        self.answers += 1;
        if self.answers > MAX_ANSWERS {
            return Err(SessionError::Flood);
        }
        self.control(kind, body)?;
        self.answers_end = self.out.total();
        Ok(())
    }

    pub fn data(&mut self, stream: u32, time: u32, body: &[u8]) -> Result<(), SessionError> {
        self.write(Header { chunk_stream: chunk_stream::DATA, kind: kind::DATA, stream, time }, body, &Bytes::new())
    }

    pub fn media(&mut self, stream: u32, time: u32, body: &Body) -> Result<(), SessionError> {
        let (chunk_stream, kind) = match body.track {
            Track::Video => (chunk_stream::VIDEO, kind::VIDEO),
            Track::Audio => (chunk_stream::AUDIO, kind::AUDIO),
        };
        self.write(Header { chunk_stream, kind, stream, time }, body.header(), body.payload())
    }

    fn write(&mut self, header: Header, own: &[u8], shared: &Bytes) -> Result<(), SessionError> {
        Ok(self.writer.write(header, own, shared, &mut self.out)?)
    }

    /// What waits, as if it had been written; the count of answers is left alone.
    #[cfg(test)]
    pub fn drain(&mut self) -> Vec<u8> {
        super::outbox::tests::drain(&mut self.out, 5)
    }
}
