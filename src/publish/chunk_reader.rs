//! Chunks from a server into messages (RTMP specification 1.0, 5.3), leniently. Pure: bytes in, messages out.
//!
//! Servers interleave chunk streams, start one with a compressed header, or begin a message anew in the middle of another;
//! all of this is read as well as it can be. What is refused: a chunk size of 0, messages beyond [`MAX_MESSAGE`], more than
//! [`MAX_STREAMS`] chunk streams and more than [`MAX_HELD`] bytes of unfinished messages, so that a hostile peer cannot make
//! it grow. Times are skipped, not decoded: nothing that a publisher receives depends on them. `SetChunkSize` and `Abort`
//! are obeyed here, at once, because they change how the very next byte is read; they are not handed out.

use std::collections::BTreeMap;

use bytes::{Buf, BytesMut};

use super::chunk_writer::DEFAULT_CHUNK;
use super::wire::kind;

pub const MAX_MESSAGE: usize = 1 << 20;
pub const MAX_HELD: usize = 2 << 20;
pub const MAX_STREAMS: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub kind: u8,
    pub payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    #[error("it wants chunks of 0 bytes")]
    ZeroChunk,
    #[error("it sends a message of {0} bytes")]
    MessageTooLong(usize),
    #[error("it keeps too many messages unfinished")]
    TooMuchHeld,
}

#[derive(Debug)]
pub struct ChunkReader {
    input: BytesMut,
    chunk_size: usize,
    streams: BTreeMap<u32, Stream>,
    /// Bytes of all unfinished messages.
    held: usize,
    /// The chunk whose header has been read, and how much of its body is still to come.
    open: Option<(u32, usize)>,
}

/// What is remembered of a chunk stream, for the headers that leave things out.
#[derive(Debug, Default)]
struct Stream {
    extended: bool,
    length: usize,
    kind: u8,
    payload: Vec<u8>,
}

impl Default for ChunkReader {
    fn default() -> Self {
        Self { input: BytesMut::new(), chunk_size: DEFAULT_CHUNK, streams: BTreeMap::new(), held: 0, open: None }
    }
}

impl ChunkReader {
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Bytes of the chunks that the server says it sends.
    pub fn chunk_size(&self) -> usize {
        self.chunk_size
    }

    /// The next message, or `None` until more bytes come. After an error the connection is of no use.
    pub fn message(&mut self) -> Result<Option<Message>, ChunkError> {
        loop {
            let Some(message) = self.chunk()? else { return Ok(None) };
            match message {
                Some(Message { kind: kind::SET_CHUNK_SIZE, payload }) => self.set_chunk_size(&payload)?,
                Some(Message { kind: kind::ABORT, payload }) => self.abort(&payload),
                Some(message) => return Ok(Some(message)),
                None => {}
            }
        }
    }

    /// Reads on; `None` if bytes are missing, `Some(None)` for a chunk that ends no message.
    fn chunk(&mut self) -> Result<Option<Option<Message>>, ChunkError> {
        if self.open.is_none() && !self.header()? {
            return Ok(None);
        }
        let Some((id, left)) = self.open else { return Ok(None) };
        let taken = self.input.split_to(left.min(self.input.len()));
        self.held += taken.len();
        if self.held > MAX_HELD {
            return Err(ChunkError::TooMuchHeld);
        }
        let stream = self.streams.entry(id).or_default();
        stream.payload.extend_from_slice(&taken);
        if taken.len() < left {
            self.open = Some((id, left - taken.len()));
            return Ok(None);
        }
        self.open = None;
        if stream.payload.len() < stream.length {
            return Ok(Some(None));
        }
        self.held -= stream.payload.len();
        Ok(Some(Some(Message { kind: stream.kind, payload: std::mem::take(&mut stream.payload) })))
    }

    /// Reads the header of a chunk and opens the chunk; false if bytes are missing.
    fn header(&mut self) -> Result<bool, ChunkError> {
        let extended_before = |id| self.streams.get(&id).is_some_and(|stream: &Stream| stream.extended);
        let Some((header, size)) = parse_header(&self.input, extended_before) else { return Ok(false) };
        self.input.advance(size);
        if self.streams.len() == MAX_STREAMS && !self.streams.contains_key(&header.id) {
            return Err(ChunkError::TooMuchHeld);
        }
        let stream = self.streams.entry(header.id).or_default();
        stream.extended = header.extended;
        if let Some((length, kind)) = header.message {
            (stream.length, stream.kind) = (length, kind);
        }
        if header.fresh {
            self.held -= stream.payload.len();
            stream.payload.clear();
        }
        if stream.length > MAX_MESSAGE {
            return Err(ChunkError::MessageTooLong(stream.length));
        }
        self.open = Some((header.id, (stream.length - stream.payload.len()).min(self.chunk_size)));
        Ok(true)
    }

    fn set_chunk_size(&mut self, payload: &[u8]) -> Result<(), ChunkError> {
        match first_u32(payload).map(|size| size & 0x7FFF_FFFF) {
            Some(0) => return Err(ChunkError::ZeroChunk),
            Some(size) => self.chunk_size = size as usize,
            None => {}
        }
        Ok(())
    }

    fn abort(&mut self, payload: &[u8]) {
        if let Some(stream) = first_u32(payload).and_then(|id| self.streams.get_mut(&id)) {
            self.held -= stream.payload.len();
            stream.payload.clear();
        }
    }
}

pub fn first_u32(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

struct ChunkHeader {
    id: u32,
    extended: bool,
    /// Length and type, unless they are those of the message before.
    message: Option<(usize, u8)>,
    /// Anything but a type 3 header begins a new message.
    fresh: bool,
}

/// The header and its size, or `None` if it is not complete.
fn parse_header(bytes: &[u8], extended_before: impl Fn(u32) -> bool) -> Option<(ChunkHeader, usize)> {
    let first = *bytes.first()?;
    let (id, basic) = match first & 0x3F {
        0 => (u32::from(*bytes.get(1)?) + 64, 2),
        1 => (u32::from(*bytes.get(1)?) + 256 * u32::from(*bytes.get(2)?) + 64, 3),
        id => (u32::from(id), 1),
    };
    let format = first >> 6;
    let size = [11, 7, 3, 0][usize::from(format)];
    let fields = bytes.get(basic..basic + size)?;
    let extended = match fields {
        [] => extended_before(id),
        fields => fields[..3] == [0xFF; 3],
    };
    let message = match fields {
        [_, _, _, a, b, c, kind, ..] => Some((u32::from_be_bytes([0, *a, *b, *c]) as usize, *kind)),
        _ => None,
    };
    let end = basic + size + if extended { 4 } else { 0 };
    (bytes.len() >= end).then_some((ChunkHeader { id, extended, message, fresh: format != 3 }, end))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::chunk_writer::{ChunkWriter, Header};
    use super::super::outbox::{Outbox, tests::drain};
    use super::*;
    use proptest::prelude::*;

    fn read_all(reader: &mut ChunkReader, bytes: &[u8]) -> Result<Vec<Message>, ChunkError> {
        reader.feed(bytes);
        std::iter::from_fn(|| reader.message().transpose()).collect()
    }

    fn read(bytes: &[u8]) -> Result<Vec<Message>, ChunkError> {
        read_all(&mut ChunkReader::default(), bytes)
    }

    fn message(kind: u8, payload: &[u8]) -> Message {
        Message { kind, payload: payload.to_vec() }
    }

    #[test]
    fn chunk_streams_may_interleave() {
        let (mut bytes, a, b) = (Vec::new(), [1u8; 130], [2u8; 129]);
        bytes.extend([3, 0, 0, 0, 0, 0, 130, 20, 0, 0, 0, 0]);
        bytes.extend(&a[..128]);
        bytes.extend([4, 0, 0, 0, 0, 0, 129, 18, 0, 0, 0, 0]);
        bytes.extend(&b[..128]);
        bytes.extend([0xC3, 1, 1, 0xC4, 2]);
        assert_eq!(read(&bytes), Ok(vec![message(20, &a), message(18, &b)]));
    }

    #[test]
    fn any_type_may_come_first() {
        assert_eq!(read(&[0x43, 0, 0, 0, 0, 0, 1, 20, 7]), Ok(vec![message(20, &[7])]));
        assert_eq!(read(&[0x83, 0, 0, 0, 0x43, 0, 0, 0, 0, 0, 1, 20, 7]), Ok(vec![message(0, &[]), message(20, &[7])]));
        assert_eq!(read(&[0xC3, 0x43, 0, 0, 0, 0, 0, 1, 20, 7]), Ok(vec![message(0, &[]), message(20, &[7])]));
    }

    #[test]
    fn type_2_and_3_repeat_the_message_before() {
        let bytes = [3, 0, 0, 0, 0, 0, 1, 20, 0, 0, 0, 0, 7, 0x83, 0, 0, 9, 8, 0xC3, 9];
        assert_eq!(read(&bytes), Ok(vec![message(20, &[7]), message(20, &[8]), message(20, &[9])]));
    }

    #[test]
    fn a_message_begun_anew_replaces_the_unfinished_one() {
        let mut bytes = vec![3, 0, 0, 0, 0, 0, 200, 20, 0, 0, 0, 0];
        bytes.extend([1; 128]);
        bytes.extend([3, 0, 0, 0, 0, 0, 1, 20, 0, 0, 0, 0, 7]);
        assert_eq!(read(&bytes), Ok(vec![message(20, &[7])]));
    }

    #[test]
    fn the_chunk_size_changes_at_once_and_is_never_0() {
        let mut bytes = vec![2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 200];
        bytes.extend([3, 0, 0, 0, 0, 0, 200, 20, 0, 0, 0, 0]);
        bytes.extend([5; 200]);
        assert_eq!(read(&bytes), Ok(vec![message(20, &[5; 200])]));
        let zero = [2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(read(&zero), Err(ChunkError::ZeroChunk));
        let short = [2, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(read(&short), Ok(vec![]));
    }

    #[test]
    fn abort_forgets_the_unfinished_message() {
        let mut bytes = vec![3, 0, 0, 0, 0, 0, 200, 20, 0, 0, 0, 0];
        bytes.extend([1; 128]);
        bytes.extend([2, 0, 0, 0, 0, 0, 4, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
        bytes.extend([0x43, 0, 0, 0, 0, 0, 1, 20, 7]);
        assert_eq!(read(&bytes), Ok(vec![message(20, &[7])]));
    }

    #[test]
    fn long_chunk_stream_ids_and_extended_times() {
        let two = [0x40, 1, 0, 0, 0, 0, 0, 1, 20, 7];
        let three = [0x41, 1, 1, 0, 0, 0, 0, 0, 1, 20, 8];
        let extended = [0x43, 0xFF, 0xFF, 0xFF, 0, 0, 1, 20, 1, 2, 3, 4, 9, 0xC3, 1, 2, 3, 4, 9];
        let bytes = [&two[..], &three, &extended].concat();
        assert_eq!(read(&bytes), Ok(vec![message(20, &[7]), message(20, &[8]), message(20, &[9]), message(20, &[9])]));
    }

    #[test]
    fn memory_is_bounded() {
        assert_eq!(read(&[3, 0, 0, 0, 0x20, 0, 0, 20, 0, 0, 0, 0]), Err(ChunkError::MessageTooLong(0x20_0000)));
        let many: Vec<u8> =
            (0..=MAX_STREAMS as u8).flat_map(|id| [0x40, id, 0, 0, 0, 0, 1, 0, 20].into_iter().chain([0; 128])).collect();
        assert_eq!(read(&many), Err(ChunkError::TooMuchHeld));
        let mut heavy = vec![2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0x0F, 0xFF, 0xFF];
        for id in 3..6 {
            heavy.extend([id, 0, 0, 0, 0x10, 0, 0, 20, 0, 0, 0, 0]);
            heavy.extend(vec![0; 0x0F_FFFF]);
        }
        assert_eq!(read(&heavy), Err(ChunkError::TooMuchHeld));
    }

    /// Messages as a server would write them, on random chunk streams.
    fn messages() -> impl Strategy<Value = Vec<(Header, Vec<u8>)>> {
        let header = (2u8..64, 3u8..30, any::<u32>()).prop_map(|(chunk_stream, kind, time)| Header {
            chunk_stream,
            kind,
            stream: 1,
            time,
        });
        prop::collection::vec((header, prop::collection::vec(any::<u8>(), 0..600)), 1..8)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_however_it_is_cut(messages in messages(), size in 1usize..300, cuts in prop::collection::vec(1usize..200, 1..50)) {
            let mut writer = ChunkWriter::default();
            writer.set_chunk_size(size);
            let mut out = Outbox::default();
            for (header, body) in &messages {
                writer.write(*header, &[], &Bytes::copy_from_slice(body), &mut out).unwrap();
            }
            let bytes = drain(&mut out, 8);
            let mut reader = ChunkReader { chunk_size: size, ..ChunkReader::default() };
            let (mut got, mut rest, mut cuts) = (Vec::new(), &bytes[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                got.extend(read_all(&mut reader, now).unwrap());
                rest = later;
            }
            let wanted: Vec<Message> = messages.into_iter().map(|(header, payload)| Message { kind: header.kind, payload }).collect();
            prop_assert_eq!(got, wanted);
            prop_assert_eq!(reader.held, 0);
        }

        #[test]
        fn no_bytes_can_hurt(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut reader = ChunkReader::default();
            for part in bytes.chunks(7) {
                if read_all(&mut reader, part).is_err() {
                    break;
                }
                prop_assert!(reader.held <= MAX_HELD);
                prop_assert_eq!(reader.held, reader.streams.values().map(|stream| stream.payload.len()).sum::<usize>());
            }
        }
    }
}
