//! A mark in every key picture: when it was made. By it the box knows its own pictures again wherever it meets them. Pure.
//!
//! The mark is an SEI message, "user data unregistered" (ITU-T H.264, D.1.7), with a UUID of our own, the picture's time on the
//! program's time line, which no two key pictures of one run share, and the wall clock, which tells runs apart. Decoders pass
//! over it. Nothing else of a picture is touched, and a unit that is not what it should be stays as it is.
//!
//! Finding does not take containers apart: the UUID has no zero byte, so that it stands in any wrapping as it was written
//! (FLV and MP4 as they are, MPEG-TS once its packets are joined), and what follows it is the picture that it belongs to.

use bytes::{BufMut, Bytes, BytesMut};

use crate::units::MediaTime;

/// Random (version 4), for this purpose alone.
const UUID: [u8; 16] = [0x9b, 0x90, 0x5d, 0xae, 0x78, 0xbc, 0x46, 0xab, 0x91, 0xdb, 0xdd, 0x22, 0x2a, 0x70, 0xc8, 0x28];

const SEI: u8 = 6;
const USER_DATA_UNREGISTERED: u8 = 5;
const PAYLOAD: usize = 16 + 8 + 8;

/// How much of a picture is kept to know it again.
const HEAD: usize = 32;

/// NAL units that are passed over between a mark and its picture: parameter sets, other messages.
const MAX_BETWEEN: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// On the program's time line.
    pub time_ms: u64,
    /// Since 1970.
    pub wall_ms: u64,
}

/// A mark that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub stamp: Stamp,
    /// The first bytes of the picture behind it, as far as they were there.
    pub head: Bytes,
}

/// How one NAL unit is told from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Four bytes of length before each: FLV, MP4.
    Lengths,
    /// 00 00 01 before each: MPEG-TS.
    StartCodes,
}

/// A copy of a length-prefixed access unit, marked if it is a key picture.
pub fn marked_if(keyframe: bool, unit: &[u8], time: MediaTime, wall_ms: impl FnOnce() -> i64) -> Bytes {
    match keyframe {
        true => stamped(unit, Stamp { time_ms: time.millis(), wall_ms: wall_ms().max(0) as u64 }),
        false => Bytes::copy_from_slice(unit),
    }
}

/// A copy of a length-prefixed access unit with the mark before its first slice.
pub fn stamped(unit: &[u8], stamp: Stamp) -> Bytes {
    let Some(place) = first_slice(unit) else { return Bytes::copy_from_slice(unit) };
    let message = message(stamp);
    let mut out = BytesMut::with_capacity(unit.len() + 4 + message.len());
    out.put_slice(&unit[..place]);
    out.put_u32(message.len() as u32);
    out.put_slice(&message);
    out.put_slice(&unit[place..]);
    out.freeze()
}

/// Where the length of the first NAL unit that holds a slice stands; none if the unit is not made of whole NAL units.
fn first_slice(unit: &[u8]) -> Option<usize> {
    let (mut at, mut place) = (0, None);
    while at < unit.len() {
        let length = u32::from_be_bytes(*unit[at..].first_chunk()?) as usize;
        let kind = unit.get(at + 4)? & 31;
        place = place.or((1..=5).contains(&kind).then_some(at));
        at = at.checked_add(4 + length)?;
    }
    place.filter(|_| at == unit.len())
}

/// The whole NAL unit.
fn message(stamp: Stamp) -> Vec<u8> {
    let mut nal = Vec::with_capacity(PAYLOAD + 16);
    nal.extend([SEI, USER_DATA_UNREGISTERED, PAYLOAD as u8]);
    nal.extend(UUID);
    let mut zeros = 0;
    for byte in stamp.time_ms.to_be_bytes().into_iter().chain(stamp.wall_ms.to_be_bytes()).chain([0x80]) {
        // Emulation prevention: no start code may appear inside.
        if zeros == 2 && byte <= 3 {
            nal.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        nal.push(byte);
    }
    nal
}

/// All marks in these bytes, in order.
pub fn find(bytes: &[u8], framing: Framing) -> Vec<Seen> {
    let (mut found, mut rest) = (Vec::new(), bytes);
    while let Some(at) = position(rest) {
        rest = &rest[at + UUID.len()..];
        if let Some((stamp, after)) = read(rest) {
            found.push(Seen { stamp, head: Bytes::copy_from_slice(head(after, framing)) });
        }
    }
    found
}

/// Whole marks only, so that a mark's first bytes decide quickly.
fn position(bytes: &[u8]) -> Option<usize> {
    bytes.windows(UUID.len()).position(|window| window[0] == UUID[0] && window == UUID)
}

/// What stands behind the UUID, and the bytes after the message.
fn read(bytes: &[u8]) -> Option<(Stamp, &[u8])> {
    let (mut payload, mut zeros, mut at) = ([0; PAYLOAD - 16 + 1], 0, 0);
    for slot in &mut payload {
        if zeros == 2 && *bytes.get(at)? == 3 {
            (zeros, at) = (0, at + 1);
        }
        *slot = *bytes.get(at)?;
        zeros = if *slot == 0 { zeros + 1 } else { 0 };
        at += 1;
    }
    let number = |at: usize| payload[at..].first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
    Some((Stamp { time_ms: number(0)?, wall_ms: number(8)? }, &bytes[at..]))
}

/// The first bytes of the first slice in what follows a message; empty if it does not come.
fn head(mut bytes: &[u8], framing: Framing) -> &[u8] {
    for _ in 0..MAX_BETWEEN {
        let Some((nal, rest)) = next_nal(bytes, framing) else { break };
        if nal.first().is_some_and(|first| (1..=5).contains(&(first & 31))) {
            return &nal[..nal.len().min(HEAD)];
        }
        bytes = rest;
    }
    &[]
}

/// The next NAL unit, as far as it is there, and what comes after it.
fn next_nal(bytes: &[u8], framing: Framing) -> Option<(&[u8], &[u8])> {
    match framing {
        Framing::Lengths => {
            let (length, rest) = bytes.split_first_chunk()?;
            Some(rest.split_at(rest.len().min(u32::from_be_bytes(*length) as usize)))
        }
        Framing::StartCodes => {
            let start_code = |bytes: &[u8]| bytes.windows(3).position(|window| window == [0, 0, 1]);
            let rest = &bytes[start_code(bytes)? + 3..];
            Some(rest.split_at(start_code(rest).unwrap_or(rest.len())))
        }
    }
}

/// The mark and the picture's first bytes of a packet's unit, for the record of what was sent.
pub fn of(unit: &[u8]) -> Option<Seen> {
    // The mark stands before the first slice: what follows is of no interest.
    let end = first_slice(unit)? + 4 + HEAD;
    find(&unit[..end.min(unit.len())], Framing::Lengths).pop()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unit(nals: &[&[u8]]) -> Vec<u8> {
        nals.iter().flat_map(|nal| [&(nal.len() as u32).to_be_bytes(), *nal].concat()).collect()
    }

    fn start_codes(nals: &[&[u8]]) -> Vec<u8> {
        nals.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect()
    }

    const STAMP: Stamp = Stamp { time_ms: 1, wall_ms: 0x01A0_C45A_7C00 };

    /// An access unit delimiter, a message of somebody else, a picture of two slices.
    const NALS: [&[u8]; 4] = [&[9, 0xF0], &[6, 1, 1, 0, 0x80], &[0x65, 1, 2, 3], &[0x65, 4, 5]];

    #[test]
    fn the_mark_stands_before_the_first_slice() {
        let marked = stamped(&unit(&NALS), STAMP);
        let mark = message(STAMP);
        assert_eq!(marked, unit(&[NALS[0], NALS[1], &mark, NALS[2], NALS[3]]));
        assert_eq!(&mark[..4], [6, 5, 32, 0x9b]);
        // A 3 goes in after each two zero bytes before a small one.
        assert_eq!(mark[19..], [0, 0, 3, 0, 0, 3, 0, 0, 3, 0, 1, 0, 0, 3, 1, 0xA0, 0xC4, 0x5A, 0x7C, 0, 0x80]);
    }

    #[test]
    fn what_is_no_access_unit_stays_as_it_is() {
        for odd in [vec![], vec![0, 0], vec![0, 0, 0, 9, 0x65], vec![0, 0, 0, 0], unit(&[NALS[0]]), vec![0xFF; 7]] {
            assert_eq!(stamped(&odd, STAMP), odd);
            assert_eq!(of(&odd), None);
        }
    }

    #[test]
    fn it_is_found_in_any_wrapping() {
        let (mark, other) = (message(STAMP), message(Stamp { time_ms: 2, ..STAMP }));
        let mp4 = [b"mdat".to_vec(), unit(&[&mark, NALS[2], &[0x41, 9], &other, &[7, 1], &[8, 1], NALS[3]]), vec![1; 9]].concat();
        let times = |seen: &[Seen]| seen.iter().map(|seen| (seen.stamp.time_ms, seen.head.to_vec())).collect::<Vec<_>>();
        let want = [(1, NALS[2].to_vec()), (2, NALS[3].to_vec())];
        assert_eq!(times(&find(&mp4, Framing::Lengths)), want);
        let ts = start_codes(&[NALS[0], &mark, NALS[2], &other, &[7, 1], &[8, 1], NALS[3], NALS[0]]);
        let seen = find(&ts, Framing::StartCodes);
        assert_eq!((seen[0].stamp, seen[1].stamp.time_ms), (STAMP, 2));
        // The zero before a start code of four bytes counts to the unit before.
        assert!(seen[0].head.starts_with(NALS[2]) && seen[1].head.starts_with(NALS[3]));
        assert_eq!(find(&mark[..mark.len() - 1], Framing::Lengths), []);
    }

    proptest! {
        #[test]
        fn what_was_marked_is_read_back(time_ms: u64, wall_ms: u64, slice in prop::collection::vec(any::<u8>(), 0..80)) {
            let stamp = Stamp { time_ms, wall_ms };
            let slice = [&[0x65], &slice[..]].concat();
            let marked = stamped(&unit(&[&slice]), stamp);
            let want = Some(Seen { stamp, head: Bytes::copy_from_slice(&slice[..slice.len().min(HEAD)]) });
            prop_assert_eq!(of(&marked), want.clone());
            prop_assert_eq!(find(&marked, Framing::Lengths).pop(), want);
            let mark = message(stamp);
            prop_assert!(mark.windows(3).all(|window| window[..2] != [0, 0] || window[2] > 2), "{:x?}", mark);
            prop_assert_eq!(mark.last(), Some(&0x80));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(0u8..10, 0..60), at in 0usize..60, cut in 0usize..120) {
            let at = at.min(bytes.len());
            let mut bytes = [&bytes[..at], &UUID, &bytes[at..]].concat();
            bytes.truncate(cut);
            let _ = (find(&bytes, Framing::Lengths), find(&bytes, Framing::StartCodes), of(&bytes), stamped(&bytes, STAMP));
        }
    }
}
