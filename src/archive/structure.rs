//! What a closed segment holds and whether it is whole, from its bytes alone, read once from the beginning to the end.
//!
//! Every box must be whole, fragments must be numbered in order, each track must go on where it was or later, and samples must
//! lie in their own fragment's data. The first thing that is not so ends the reading of the structure; the bytes are read to the
//! end all the same, for whoever hashes them.

use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

use mp4_atom::{Atom, FourCC, Moof, Moov, Traf};

use super::fmp4::{self, AUDIO, MDAT, VIDEO};
use super::origin::Origin;

const FTYP: FourCC = FourCC::new(b"ftyp");
const MOOV: FourCC = FourCC::new(b"moov");
const MOOF: FourCC = FourCC::new(b"moof");
const UUID: FourCC = FourCC::new(b"uuid");

/// Everything but `mdat` is much smaller than this.
const MAX_BOX: u64 = 16 << 20;

const HEADER: u64 = 8;

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Structure {
    pub origin: Origin,
    /// Pictures.
    pub frames: u64,
    /// From the first picture to the end of the last.
    pub duration: Duration,
    /// How long, added up, a track has nothing inside the segment: sound or pictures that never came.
    pub holes: Duration,
    pub bytes: u64,
    pub flaw: Option<Flaw>,
}

/// The first thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Bytes from the beginning of the file.
    pub at: u64,
    pub what: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

/// Reads to the end. `Err(Ok(flaw))` if it does not even begin as a segment, `Err(Err(error))` if it cannot be read.
pub fn read(source: &mut impl Read) -> Result<Structure, NotRead> {
    let mut walk = Walk { source, at: 0 };
    let mut tale = match walk.head() {
        Ok(tale) => tale,
        Err(Stop::Flaw(flaw)) => return Err(NotRead::NoSegment(flaw)),
        Err(Stop::Error(error)) => return Err(NotRead::Error(error)),
    };
    let flaw = match walk.fragments(&mut tale) {
        Ok(()) => None,
        Err(Stop::Flaw(flaw)) => Some(flaw),
        Err(Stop::Error(error)) => return Err(NotRead::Error(error)),
    };
    walk.at += io::copy(walk.source, &mut io::sink()).map_err(NotRead::Error)?;
    Ok(tale.structure(walk.at, flaw))
}

#[derive(Debug)]
pub enum NotRead {
    /// It does not begin as a segment does.
    NoSegment(Flaw),
    Error(io::Error),
}

enum Stop {
    Flaw(Flaw),
    Error(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Error(error)
    }
}

fn flaw<T>(at: u64, what: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Flaw(Flaw { at, what: what.into() }))
}

/// What has been learnt so far.
struct Tale {
    origin: Origin,
    video: Lane,
    audio: Lane,
    frames: u64,
    fragments: u32,
}

/// One track, in ticks.
#[derive(Default)]
struct Lane {
    scale: u64,
    end: Option<u64>,
    holes: u64,
}

impl Tale {
    fn structure(self, bytes: u64, flaw: Option<Flaw>) -> Structure {
        let flaw = flaw.or_else(|| (self.frames == 0).then(|| Flaw { at: bytes, what: "no picture".into() }));
        let holes = self.video.span(self.video.holes) + self.audio.span(self.audio.holes);
        let duration = self.video.span(self.video.end.unwrap_or(0));
        Structure { origin: self.origin, frames: self.frames, duration, holes, bytes, flaw }
    }

    /// `data` is where the fragment's `mdat` may have samples, from the start of the `moof`.
    fn fragment(&mut self, moof: &Moof, at: u64, data: std::ops::Range<u64>) -> Result<(), Stop> {
        self.fragments += 1;
        let number = moof.mfhd.sequence_number;
        if number != self.fragments {
            return flaw(at, format!("fragment {} is numbered {number}", self.fragments));
        }
        moof.traf.iter().try_for_each(|traf| self.track(traf, at, &data))
    }

    fn track(&mut self, traf: &Traf, at: u64, data: &std::ops::Range<u64>) -> Result<(), Stop> {
        let (lane, frames) = match traf.tfhd.track_id {
            VIDEO => (&mut self.video, &mut self.frames),
            AUDIO => (&mut self.audio, &mut 0),
            other => return flaw(at, format!("a track {other} that no head has told of")),
        };
        let Some(tfdt) = &traf.tfdt else { return flaw(at, "a fragment without its time") };
        let mut time = tfdt.base_media_decode_time;
        if !lane.goes_on_at(time) {
            return flaw(at, format!("track {} goes back in time", traf.tfhd.track_id));
        }
        for trun in &traf.trun {
            let mut place = trun.data_offset.and_then(|offset| u64::try_from(offset).ok()).unwrap_or(0);
            for sample in trun.samples.iter() {
                let (Some(size), Some(duration)) = (sample.size, sample.duration) else {
                    return flaw(at, "a sample without size");
                };
                if place < data.start || place + u64::from(size) > data.end {
                    return flaw(at, "a sample outside its fragment's data");
                }
                place += u64::from(size);
                time += u64::from(duration);
                *frames += 1;
            }
        }
        lane.end = Some(time);
        Ok(())
    }
}

impl Lane {
    /// Times are rounded to the nearest tick, so that one less is no step back.
    fn goes_on_at(&mut self, time: u64) -> bool {
        let due = self.end.unwrap_or(time);
        self.holes += time.saturating_sub(due + 1);
        time + 1 >= due
    }

    fn span(&self, ticks: u64) -> Duration {
        fmp4::span_of(ticks, self.scale)
    }
}

struct Walk<'a, R> {
    source: &'a mut R,
    at: u64,
}

/// A box whose header has been read.
struct Opened {
    kind: FourCC,
    /// Of the box.
    start: u64,
    /// Of what follows the header.
    body: u64,
}

impl<R: Read> Walk<'_, R> {
    fn head(&mut self) -> Result<Tale, Stop> {
        self.expect(FTYP)?;
        let moov = self.expect(MOOV)?;
        let Ok(moov) = Moov::decode_body(&mut &moov[..]) else { return flaw(self.at, "a head that cannot be read") };
        let scale = |track: u32| {
            let found = moov.trak.iter().find(|trak| trak.tkhd.track_id == track);
            found.map_or(0, |trak| u64::from(trak.mdia.mdhd.timescale))
        };
        let lane = |track| Lane { scale: scale(track), ..Lane::default() };
        let origin = Origin::of_second(fmp4::unix_seconds(moov.mvhd.creation_time));
        Ok(Tale { origin, video: lane(VIDEO), audio: lane(AUDIO), frames: 0, fragments: 0 })
    }

    fn fragments(&mut self, tale: &mut Tale) -> Result<(), Stop> {
        while let Some(opened) = self.open()? {
            match opened.kind {
                UUID if tale.fragments == 0 => {
                    let body = self.body(&opened)?;
                    tale.origin = Origin::decode_body(&body).unwrap_or(tale.origin);
                }
                MOOF => self.fragment(&opened, tale)?,
                other => return flaw(opened.start, format!("a box `{other}` where a fragment should be")),
            }
        }
        Ok(())
    }

    fn fragment(&mut self, opened: &Opened, tale: &mut Tale) -> Result<(), Stop> {
        let body = self.body(opened)?;
        let Ok(moof) = Moof::decode_body(&mut &body[..]) else { return flaw(opened.start, "a fragment that cannot be read") };
        let data = match self.open()? {
            Some(data) if data.kind == MDAT => data,
            _ => return flaw(self.at, "a fragment without its data"),
        };
        let from = data.start + HEADER - opened.start;
        tale.fragment(&moof, opened.start, from..from + data.body)?;
        self.pass(&data)
    }

    fn expect(&mut self, kind: FourCC) -> Result<Vec<u8>, Stop> {
        match self.open()? {
            Some(opened) if opened.kind == kind => self.body(&opened),
            _ => flaw(0, format!("no box `{kind}`")),
        }
    }

    /// The next box; `None` at the end of the file.
    fn open(&mut self) -> Result<Option<Opened>, Stop> {
        let start = self.at;
        let header = self.take(HEADER)?;
        let Some((size, kind)) = header.split_first_chunk::<4>() else {
            return if header.is_empty() { Ok(None) } else { flaw(start, "a torn end") };
        };
        let Ok(kind) = <[u8; 4]>::try_from(kind) else { return flaw(start, "a torn end") };
        let Some(body) = u64::from(u32::from_be_bytes(*size)).checked_sub(HEADER) else {
            return flaw(start, "a box without a size");
        };
        Ok(Some(Opened { kind: FourCC::from(kind), start, body }))
    }

    fn body(&mut self, opened: &Opened) -> Result<Vec<u8>, Stop> {
        if opened.body > MAX_BOX {
            return flaw(opened.start, format!("a box `{}` of impossible size", opened.kind));
        }
        let body = self.take(opened.body)?;
        if body.len() as u64 == opened.body { Ok(body) } else { flaw(opened.start, format!("a torn box `{}`", opened.kind)) }
    }

    fn pass(&mut self, opened: &Opened) -> Result<(), Stop> {
        let passed = io::copy(&mut self.source.by_ref().take(opened.body), &mut io::sink())?;
        self.at += passed;
        if passed == opened.body { Ok(()) } else { flaw(opened.start, format!("a torn box `{}`", opened.kind)) }
    }

    /// Up to so many bytes; fewer at the end of the file.
    fn take(&mut self, bytes: u64) -> Result<Vec<u8>, Stop> {
        let mut taken = Vec::new();
        self.at += self.source.by_ref().take(bytes).read_to_end(&mut taken)? as u64;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::testing::{Stream, file_of};
    use crate::units::MediaTime;
    use proptest::prelude::*;
    use std::io::Cursor;

    fn look(bytes: &[u8]) -> Structure {
        read(&mut Cursor::new(bytes)).unwrap_or_else(|fault| panic!("{fault:?}"))
    }

    fn origin() -> Origin {
        let run = crate::archive::entry::Run([7; 16]);
        Origin { run, base: MediaTime::from_millis(3000), start_ms: 1_795_411_016_789, dropped_gops: 3 }
    }

    #[test]
    fn a_segment_as_it_was_written() {
        let (bytes, ends) = file_of(&Stream { start: 3, ..Stream::default() }, &origin());
        let found = look(&bytes);
        let wanted = Structure {
            origin: origin(),
            frames: 150,
            duration: Duration::from_secs(5),
            holes: Duration::ZERO,
            bytes: bytes.len() as u64,
            flaw: None,
        };
        assert_eq!(found, wanted);
        let cut = look(&bytes[..ends[4]]);
        assert_eq!((cut.flaw, cut.frames, cut.duration), (None, 60, Duration::from_secs(2)));
    }

    #[test]
    fn a_segment_of_an_older_version() {
        let (bytes, ends) = file_of(&Stream { start: 3, ..Stream::default() }, &origin());
        let mut box_bytes = Vec::new();
        origin().encode(&mut box_bytes).unwrap();
        let mut old = bytes[..ends[0] - box_bytes.len()].to_vec();
        old.extend(&bytes[ends[0]..]);
        let found = look(&old);
        assert_eq!((found.flaw, found.origin), (None, Origin::of_second(1_795_411_016)));
    }

    #[test]
    fn what_does_not_begin_as_a_segment() {
        for bytes in [&b""[..], b"old", &[0; 5000], b"\x00\x00\x00\x08ftyp"] {
            assert!(matches!(read(&mut Cursor::new(bytes)), Err(NotRead::NoSegment(_))));
        }
    }

    #[test]
    fn flaws_are_told_with_their_place() {
        let (bytes, ends) = file_of(&Stream::default(), &origin());
        let twice = [&bytes[..ends[3]], &bytes[ends[2]..]].concat();
        let missing = [&bytes[..ends[3]], &bytes[ends[4]..]].concat();
        for (bytes, words) in [
            (&twice, "fragment 4 is numbered 3"),
            (&missing, "fragment 4 is numbered 5"),
            (&bytes[..ends[0]].to_vec(), "no picture"),
            (&[&bytes[..], b"more"].concat(), "a torn end"),
            (&[&bytes[..], &[0; 64]].concat(), "a box without a size"),
            (&[&bytes[..], b"\x00\x00\x00\x0cfree1234"].concat(), "a box `free` where a fragment should be"),
        ] {
            let found = look(bytes);
            assert_eq!(found.bytes, bytes.len() as u64, "all bytes are read");
            assert!(found.flaw.as_ref().is_some_and(|flaw| flaw.to_string().contains(words)), "{:?}, wanted {words}", found.flaw);
        }
    }

    #[test]
    fn a_silence_inside_is_measured() {
        let (whole, _) = file_of(&Stream::default(), &origin());
        assert_eq!(look(&whole).holes, Duration::ZERO);
        let stream = Stream { silence: Some((1000, 4000)), ..Stream::default() };
        let found = look(&file_of(&stream, &origin()).0);
        assert_eq!(found.flaw, None);
        assert!(found.holes.abs_diff(Duration::from_secs(3)) < Duration::from_millis(50), "{:?}", found.holes);
    }

    proptest! {
        /// Cut anywhere but between fragments it is not sound; nothing makes it panic or read for ever.
        #[test]
        fn cut_anywhere(at in 0usize..1 << 20) {
            let (bytes, ends) = file_of(&Stream::default(), &origin());
            let at = at % bytes.len();
            match read(&mut Cursor::new(&bytes[..at])) {
                Ok(found) => prop_assert_eq!(found.flaw.is_none(), ends[1..].contains(&at)),
                Err(NotRead::NoSegment(_)) => prop_assert!(at < ends[0]),
                Err(NotRead::Error(error)) => prop_assert!(false, "{}", error),
            }
        }

        #[test]
        fn any_byte_may_be_wrong(at in 0usize..1 << 20, value: u8) {
            let (mut bytes, _) = file_of(&Stream::default(), &origin());
            let at = at % bytes.len();
            bytes[at] = value;
            if let Ok(found) = read(&mut Cursor::new(&bytes)) {
                prop_assert_eq!(found.bytes, bytes.len() as u64);
            }
        }
    }
}
