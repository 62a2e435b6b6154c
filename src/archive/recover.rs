//! How much of a segment is sound that was never closed: the head and every whole fragment after it.
//!
//! A power cut may leave a torn last fragment, or one whose place on the disk was kept but never filled. This reads headers, and
//! the last fragments' samples; it changes nothing, and an error of the disk is an error, never a reason to cut.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::time::Duration;

use mp4_atom::{Decode, FourCC, Moof, Moov, Traf};

use super::fmp4::{self, MDAT, VIDEO};

const FTYP: FourCC = FourCC::new(b"ftyp");
const MOOV: FourCC = FourCC::new(b"moov");
const UUID: FourCC = FourCC::new(b"uuid");
const MOOF: FourCC = FourCC::new(b"moof");

/// A fragment is half a second; more than this was never one of ours.
const MAX_FRAGMENT: u64 = 256 << 20;

/// One `moof` with its `mdat`.
#[derive(Clone, Copy)]
struct Pair {
    start: u64,
    data: u64,
    end: u64,
}

/// How many fragments at the end are looked into; the ones before were on the disk before these were begun.
const DOUBTFUL: usize = 4;

/// As much of a file as is sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    pub bytes: u64,
    /// Of its pictures.
    pub duration: Duration,
}

/// How much of the file is sound; `None` if that is not even one fragment.
pub fn sound<F: Read + Seek>(file: &mut F) -> io::Result<Option<Sound>> {
    let (head, pairs) = last_pairs(file)?;
    for (index, pair) in pairs.iter().rev().enumerate() {
        if index == DOUBTFUL || samples_whole(file, *pair)? {
            let duration = picture_end(file, head, *pair)?;
            return Ok(Some(Sound { bytes: pair.end, duration }));
        }
    }
    Ok(None)
}

/// The place of the head, and the doubtful fragments and the one before them, in order.
fn last_pairs<F: Read + Seek>(file: &mut F) -> io::Result<(Range<u64>, VecDeque<Pair>)> {
    let mut scan = Scan { length: file.seek(SeekFrom::End(0))?, at: 0, file };
    let mut pairs = VecDeque::new();
    let head = match (scan.skip(FTYP)?, scan.skip(MOOV)?) {
        (Some(_), Some(start)) => start..scan.at,
        _ => return Ok((0..0, pairs)),
    };
    // Segments of older versions do not say where they come from.
    scan.skip(UUID)?;
    while let Some(start) = scan.skip(MOOF)? {
        let Some(data) = scan.skip(MDAT)? else { break };
        if pairs.len() > DOUBTFUL {
            pairs.pop_front();
        }
        pairs.push_back(Pair { start, data, end: scan.at });
    }
    Ok((head, pairs))
}

/// Where the pictures of a fragment end; zero if that cannot be told, since nothing depends on it.
fn picture_end<F: Read + Seek>(file: &mut F, head: Range<u64>, pair: Pair) -> io::Result<Duration> {
    let moov = Moov::decode(&mut &bytes_of(file, head)?[..]).ok();
    let moof = Moof::decode(&mut &bytes_of(file, pair.start..pair.data)?[..]).ok();
    let told = moov.zip(moof).and_then(|(moov, moof)| {
        let trak = moov.trak.iter().find(|trak| trak.tkhd.track_id == VIDEO)?;
        let traf = moof.traf.iter().find(|traf| traf.tfhd.track_id == VIDEO)?;
        let samples = traf.trun.iter().flat_map(|trun| trun.samples.iter());
        let length: u64 = samples.map(|sample| u64::from(sample.duration.unwrap_or(0))).sum();
        let end = traf.tfdt.as_ref()?.base_media_decode_time.saturating_add(length);
        Some(fmp4::span_of(end, u64::from(trak.mdia.mdhd.timescale)))
    });
    Ok(told.unwrap_or_default())
}

/// Nothing of a place that is larger than anything of ours.
fn bytes_of<F: Read + Seek>(file: &mut F, place: Range<u64>) -> io::Result<Vec<u8>> {
    let length = place.end - place.start;
    if length > MAX_FRAGMENT {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; length as usize];
    file.seek(SeekFrom::Start(place.start))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

struct Scan<'a, F> {
    file: &'a mut F,
    at: u64,
    length: u64,
}

impl<F: Read + Seek> Scan<'_, F> {
    /// Goes over the next box if it is of this kind and whole; returns where it starts.
    fn skip(&mut self, kind: FourCC) -> io::Result<Option<u64>> {
        if self.length - self.at < 8 {
            return Ok(None);
        }
        let mut header = [0; 8];
        self.file.seek(SeekFrom::Start(self.at))?;
        self.file.read_exact(&mut header)?;
        let [a, b, c, d, name @ ..] = header;
        let size = u64::from(u32::from_be_bytes([a, b, c, d]));
        if FourCC::from(name) != kind || size < 8 || size > self.length - self.at {
            return Ok(None);
        }
        let start = self.at;
        self.at += size;
        Ok(Some(start))
    }
}

fn samples_whole<F: Read + Seek>(file: &mut F, pair: Pair) -> io::Result<bool> {
    let bytes = bytes_of(file, pair.start..pair.end)?;
    let Some(mut head) = bytes.get(..(pair.data - pair.start) as usize) else { return Ok(false) };
    let moof = Moof::decode(&mut head);
    Ok(moof.is_ok_and(|moof| moof.traf.iter().all(|traf| run_whole(traf, &bytes).unwrap_or(false))))
}

/// `None` if the run points outside the fragment.
fn run_whole(traf: &Traf, bytes: &[u8]) -> Option<bool> {
    let whole = if traf.tfhd.track_id == VIDEO { picture_whole } else { sound_whole };
    for trun in &traf.trun {
        let mut at = usize::try_from(trun.data_offset?).ok()?;
        for sample in trun.samples.iter() {
            let end = at + sample.size? as usize;
            if !whole(bytes.get(at..end)?) {
                return Some(false);
            }
            at = end;
        }
    }
    Some(true)
}

/// Its NAL units fill it, and none ends in a zero byte (ISO/IEC 14496-10, 7.4.1).
fn picture_whole(mut picture: &[u8]) -> bool {
    while let Some((length, rest)) = picture.split_first_chunk::<4>() {
        let Some((unit, rest)) = rest.split_at_checked(u32::from_be_bytes(*length) as usize) else { return false };
        if unit.last().is_none_or(|last| *last == 0) {
            return false;
        }
        picture = rest;
    }
    picture.is_empty()
}

/// An AAC frame ends in three ones and less than a byte of padding (ISO/IEC 14496-3, 4.4.2.1).
fn sound_whole(frame: &[u8]) -> bool {
    frame.last().is_some_and(|last| *last != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::origin::Origin;
    use crate::archive::testing::{Stream, file_of};
    use proptest::prelude::*;
    use std::io::Cursor;

    fn segment() -> (Vec<u8>, Vec<usize>) {
        file_of(&Stream::default(), &Origin::of_second(0))
    }

    fn sound(bytes: &[u8]) -> Option<usize> {
        super::sound(&mut Cursor::new(bytes)).unwrap().map(|sound| sound.bytes as usize)
    }

    #[test]
    fn a_whole_segment_is_sound() {
        let (bytes, ends) = segment();
        assert_eq!(sound(&bytes), Some(bytes.len()));
        assert_eq!(ends.len(), 11, "5 s are ten fragments of 500 ms");
        let cut = super::sound(&mut Cursor::new(&bytes[..ends[4] + 9])).unwrap();
        assert_eq!(cut, Some(Sound { bytes: ends[4] as u64, duration: Duration::from_secs(2) }));
    }

    #[test]
    fn what_is_no_segment() {
        assert_eq!(sound(b""), None);
        assert_eq!(sound(b"a text that someone wrote"), None);
        assert_eq!(sound(&[0; 5000]), None);
        let (bytes, ends) = segment();
        assert_eq!(sound(&bytes[..ends[0]]), None, "a head alone shows nothing");
    }

    #[test]
    fn a_segment_that_does_not_say_where_it_comes_from() {
        let (bytes, ends) = segment();
        let mut origin = Vec::new();
        Origin::of_second(0).encode(&mut origin).unwrap();
        let old = [&bytes[..ends[0] - origin.len()], &bytes[ends[0]..ends[3]]].concat();
        assert_eq!(sound(&old), Some(old.len()));
    }

    #[test]
    fn an_error_of_the_disk_is_not_an_end() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(5))
            }
        }
        impl Seek for Broken {
            fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
                Ok(5000)
            }
        }
        assert!(super::sound(&mut Broken).is_err());
    }

    proptest! {
        #[test]
        fn torn_anywhere(at in 0usize..1 << 20, junk in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (bytes, ends) = segment();
            let at = at % bytes.len();
            let want = ends[1..].iter().copied().rfind(|end| *end <= at);
            prop_assert_eq!(sound(&bytes[..at]), want);
            let mut torn = bytes[..at].to_vec();
            torn.resize(bytes.len(), 0);
            prop_assert!(sound(&torn).unwrap_or(0) <= at.max(*ends.iter().find(|end| **end >= at).unwrap()));
            let mut odd = bytes[..at].to_vec();
            odd.extend(junk);
            prop_assert!(sound(&odd) >= want);
        }

        /// A place on the disk that was kept for a fragment but never filled, or not to its end.
        #[test]
        fn unfilled(fragment in 1usize..11, from in 0usize..10_000) {
            let (mut bytes, ends) = segment();
            let (start, end) = (ends[fragment - 1], ends[fragment]);
            bytes.truncate(end);
            let head = Moof::decode(&mut &bytes[start..]).unwrap().traf[0].trun[0].data_offset.unwrap() as usize;
            let data = start + head;
            bytes[data + from % (end - data)..].fill(0);
            prop_assert_eq!(sound(&bytes), (fragment > 1).then_some(start));
        }
    }

    #[test]
    fn doubt_does_not_eat_up_a_file() {
        let (mut bytes, ends) = segment();
        for end in &ends[1..] {
            bytes[end - 1] = 0;
        }
        assert_eq!(sound(&bytes), Some(ends[ends.len() - 1 - DOUBTFUL]));
    }
}
