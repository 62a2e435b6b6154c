//! RTMP messages into chunks (specification 1.0, 5.3). Pure.
//!
//! Every message starts with a full, type 0 header, whatever went before. The compressed headers save at most 11 bytes of a
//! message, a thousandth of the stream, and cost trust: a receiver that lost count of a delta (nginx-rtmp takes the delta
//! after a type 0 header as 0) shows wrong times for ever, while an absolute time in each message heals at the next one.
//! Times of 0xFFFFFF ms (4 h 39 min) and more travel in the extended field, which is repeated in every type 3 chunk.
//!
//! It refuses a message longer than the 24 bits of its length field can say. It copies no packet: chunks of a packet are
//! slices of it, see [`Outbox`].

use bytes::Bytes;

use super::outbox::Outbox;

/// The chunk size that both sides start with.
pub const DEFAULT_CHUNK: usize = 128;

/// The longest message that can be written.
pub const MAX_MESSAGE: usize = 0xFF_FFFF;

const EXTENDED: u32 = 0xFF_FFFF;

/// What stands before a message's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// 2 to 63: the ones that fit into one byte.
    pub chunk_stream: u8,
    /// Message type.
    pub kind: u8,
    pub stream: u32,
    /// Milliseconds; wraps after 49.7 days.
    pub time: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {0} bytes is too long for RTMP")]
pub struct TooLong(pub usize);

#[derive(Debug)]
pub struct ChunkWriter {
    chunk: usize,
}

impl Default for ChunkWriter {
    fn default() -> Self {
        Self { chunk: DEFAULT_CHUNK }
    }
}

impl ChunkWriter {
    /// Takes effect with the next message: say so to the peer before.
    pub fn set_chunk_size(&mut self, size: usize) {
        self.chunk = size.max(1);
    }

    /// Appends one message: its body is a few bytes of our own, then those of a packet.
    pub fn write(&self, header: Header, own: &[u8], shared: &Bytes, out: &mut Outbox) -> Result<(), TooLong> {
        let length = own.len() + shared.len();
        if length > MAX_MESSAGE {
            return Err(TooLong(length));
        }
        put_full(header, length as u32, out);
        let room = self.put(header, own.len(), self.chunk, out, |from, to, out| out.push_own(&own[from..to]));
        self.put(header, shared.len(), room, out, |from, to, out| out.push_shared(shared.slice(from..to)));
        Ok(())
    }

    /// Appends one part of `length` bytes, with `room` bytes left in the open chunk; returns the room after it.
    fn put(
        &self,
        header: Header,
        length: usize,
        mut room: usize,
        out: &mut Outbox,
        push: impl Fn(usize, usize, &mut Outbox),
    ) -> usize {
        let mut from = 0;
        while from < length {
            if room == 0 {
                put_continuation(header, out);
                room = self.chunk;
            }
            let to = length.min(from + room);
            push(from, to, out);
            room -= to - from;
            from = to;
        }
        room
    }
}

fn put_full(header: Header, length: u32, out: &mut Outbox) {
    let ([_, t0, t1, t2], [_, l0, l1, l2]) = (header.time.min(EXTENDED).to_be_bytes(), length.to_be_bytes());
    let [s0, s1, s2, s3] = header.stream.to_le_bytes();
    out.push_own(&[header.chunk_stream & 0x3F, t0, t1, t2, l0, l1, l2, header.kind, s0, s1, s2, s3]);
    put_extended(header.time, out);
}

fn put_continuation(header: Header, out: &mut Outbox) {
    out.push_own(&[0xC0 | (header.chunk_stream & 0x3F)]);
    put_extended(header.time, out);
}

fn put_extended(time: u32, out: &mut Outbox) {
    if time >= EXTENDED {
        out.push_own(&time.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::outbox::tests::drain;
    use super::*;

    const HEADER: Header = Header { chunk_stream: 6, kind: 9, stream: 1, time: 0x010203 };

    fn written(writer: &ChunkWriter, header: Header, own: &[u8], shared: &[u8]) -> Vec<u8> {
        let mut out = Outbox::default();
        writer.write(header, own, &Bytes::copy_from_slice(shared), &mut out).unwrap();
        drain(&mut out, 3)
    }

    #[test]
    fn one_chunk_is_a_full_header_and_the_body() {
        let bytes = written(&ChunkWriter::default(), HEADER, &[0xAA], &[0xBB, 0xCC]);
        assert_eq!(bytes, [6, 1, 2, 3, 0, 0, 3, 9, 1, 0, 0, 0, 0xAA, 0xBB, 0xCC]);
    }

    #[test]
    fn longer_bodies_go_on_in_type_3_chunks_across_their_parts() {
        let mut writer = ChunkWriter::default();
        writer.set_chunk_size(2);
        let bytes = written(&writer, HEADER, &[1, 2, 3], &[4, 5]);
        assert_eq!(bytes[12..], [1, 2, 0xC6, 3, 4, 0xC6, 5]);
        for (own, shared) in [(&[1, 2][..], &[][..]), (&[], &[1, 2])] {
            assert_eq!(written(&writer, HEADER, own, shared)[12..], [1, 2], "no chunk without a byte");
        }
    }

    #[test]
    fn the_extended_time_is_repeated() {
        let mut writer = ChunkWriter::default();
        writer.set_chunk_size(1);
        let at = |time| written(&writer, Header { time, ..HEADER }, &[1], &[2]);
        assert_eq!(at(0xFF_FFFE), [6, 0xFF, 0xFF, 0xFE, 0, 0, 2, 9, 1, 0, 0, 0, 1, 0xC6, 2]);
        for time in [0xFF_FFFFu32, 0x100_0000, 0x100_0001, 0x7FFF_FFFF, 0x8000_0000, 0x8000_0001, u32::MAX] {
            let extended = time.to_be_bytes();
            let mut wanted = vec![6, 0xFF, 0xFF, 0xFF, 0, 0, 2, 9, 1, 0, 0, 0];
            wanted.extend(extended);
            wanted.extend([1, 0xC6]);
            wanted.extend(extended);
            wanted.push(2);
            assert_eq!(at(time), wanted);
        }
        // Beyond 2^32 ms the wire begins at 0 again, without an extended field.
        assert_eq!(at((1u64 << 32) as u32), [6, 0, 0, 0, 0, 0, 2, 9, 1, 0, 0, 0, 1, 0xC6, 2]);
    }

    #[test]
    fn a_packet_is_cut_and_not_copied() {
        let (mut out, packet) = (Outbox::default(), Bytes::from(vec![9; 300]));
        ChunkWriter::default().write(HEADER, &[1, 2], &packet, &mut out).unwrap();
        let mut slices = [std::io::IoSlice::new(&[]); 9];
        assert_eq!(out.slices(&mut slices), 6);
        let packet_slices = [(1, 0, 126), (3, 126, 128), (5, 254, 46)];
        for (index, from, length) in packet_slices {
            assert_eq!((slices[index].as_ptr(), slices[index].len()), (packet[from..].as_ptr(), length));
        }
    }

    #[test]
    fn what_the_length_field_cannot_say_is_refused() {
        let (body, mut out) = (Bytes::from(vec![0; MAX_MESSAGE]), Outbox::default());
        assert_eq!(ChunkWriter::default().write(HEADER, &[0], &body, &mut out), Err(TooLong(MAX_MESSAGE + 1)));
        assert!(out.is_empty());
    }
}
