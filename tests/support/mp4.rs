//! Reads a segment's boxes (ISO/IEC 14496-12) as they lie in the file, with nothing of what wrote them. It decodes no picture and
//! holds no verdict on what is in the samples.

use std::ops::Range;
use std::path::Path;

pub const VIDEO: &[u8; 4] = b"vide";
pub const SOUND: &[u8; 4] = b"soun";

/// The head and every whole fragment.
#[derive(Debug)]
pub struct Movie {
    pub tracks: Vec<TrackHead>,
    pub fragments: Vec<Fragment>,
    /// Bytes behind the last whole fragment.
    pub rest: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackHead {
    pub id: u32,
    /// "vide", "soun".
    pub handler: [u8; 4],
    /// Ticks per second.
    pub scale: u32,
}

/// One `moof` with its `mdat`.
#[derive(Debug)]
pub struct Fragment {
    pub bytes: Range<usize>,
    /// Payload of the `mdat`.
    pub data: Range<usize>,
    pub sequence: u32,
    pub runs: Vec<Run>,
}

#[derive(Debug)]
pub struct Run {
    pub track: u32,
    /// In ticks of its track.
    pub decode_time: u64,
    pub samples: Vec<Sample>,
}

#[derive(Debug)]
pub struct Sample {
    /// In ticks of its track.
    pub duration: u32,
    pub bytes: Range<usize>,
}

impl Run {
    pub fn end(&self) -> u64 {
        self.decode_time + self.samples.iter().map(|sample| u64::from(sample.duration)).sum::<u64>()
    }
}

impl Movie {
    pub fn read(path: &Path) -> (Self, Vec<u8>) {
        let bytes = std::fs::read(path).unwrap();
        let movie = Self::parse(&bytes).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
        (movie, bytes)
    }

    /// Up to where the file is whole; a head that is not is a fault.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (mut tracks, mut fragments, mut end) = (Vec::new(), Vec::new(), 0);
        let mut begun = None;
        for (kind, body) in boxes(bytes, 0..bytes.len()) {
            match (&kind, begun.take()) {
                (b"moov", None) => tracks = track_heads(bytes, body.clone())?,
                (b"moof", None) => {
                    begun = Some(body.clone());
                    continue;
                }
                (b"mdat", Some(moof)) => fragments.push(fragment(bytes, moof, body.clone())?),
                (_, None) if fragments.is_empty() => {}
                (kind, _) => return Err(format!("a {:?} at byte {}", String::from_utf8_lossy(kind), body.start - 8)),
            }
            end = body.end;
        }
        match tracks.is_empty() {
            true => Err("there is no head".into()),
            false => Ok(Self { tracks, fragments, rest: bytes.len() - end }),
        }
    }

    pub fn track(&self, handler: &[u8; 4]) -> &TrackHead {
        self.tracks.iter().find(|track| track.handler == *handler).expect("such a track")
    }

    pub fn samples(&self, handler: &[u8; 4]) -> impl Iterator<Item = &Sample> {
        let id = self.track(handler).id;
        self.runs(id).flat_map(|run| &run.samples)
    }

    pub fn runs(&self, track: u32) -> impl Iterator<Item = &Run> {
        self.fragments.iter().flat_map(|fragment| &fragment.runs).filter(move |run| run.track == track)
    }

    /// Ticks of a track that no fragment covers: what the program left out, or what was lost. Rounding leaves one here and there.
    pub fn gap(&self, handler: &[u8; 4]) -> u64 {
        let runs: Vec<&Run> = self.runs(self.track(handler).id).collect();
        let gaps = runs.windows(2).map(|pair| pair[1].decode_time.saturating_sub(pair[0].end()));
        gaps.filter(|gap| *gap > 1).sum()
    }

    /// What does not hold together: fragments that are not counted through, samples that do not lie in their `mdat`, decode times that
    /// go back. Sound is timed to the tick, which is 21 µs.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut due: Vec<Option<u64>> = vec![None; self.tracks.len()];
        for (index, fragment) in self.fragments.iter().enumerate() {
            if fragment.sequence as usize != index + 1 {
                faults.push(format!("fragment {} is numbered {}", index + 1, fragment.sequence));
            }
            let mut at = fragment.data.start;
            for run in &fragment.runs {
                for sample in &run.samples {
                    if sample.bytes.start != at || sample.bytes.end > fragment.data.end || sample.bytes.is_empty() {
                        faults.push(format!("fragment {}: a sample at {:?}, wanted at {at}", index + 1, sample.bytes));
                    }
                    at = sample.bytes.end;
                }
                let Some(track) = self.tracks.iter().position(|track| track.id == run.track) else {
                    faults.push(format!("fragment {} has a track {}", index + 1, run.track));
                    continue;
                };
                let tolerance = u64::from(self.tracks[track].handler == *SOUND);
                if due[track].replace(run.end()).is_some_and(|due| run.decode_time + tolerance < due) {
                    faults.push(format!("fragment {}: track {} goes back", index + 1, run.track));
                }
            }
            if at != fragment.data.end {
                faults.push(format!("fragment {}: {} bytes belong to no sample", index + 1, fragment.data.end - at));
            }
        }
        faults
    }
}

/// The whole boxes of a stretch, with their bodies; it ends where one is not whole.
fn boxes(bytes: &[u8], mut stretch: Range<usize>) -> impl Iterator<Item = ([u8; 4], Range<usize>)> {
    std::iter::from_fn(move || {
        let head: [u8; 8] = *bytes.get(stretch.start..stretch.end)?.first_chunk()?;
        let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let body = stretch.start + 8..stretch.start.checked_add(size)?;
        if size < 8 || body.end > stretch.end {
            return None;
        }
        stretch.start = body.end;
        Some(([head[4], head[5], head[6], head[7]], body))
    })
}

fn find(bytes: &[u8], stretch: Range<usize>, path: &[&[u8; 4]]) -> Result<Range<usize>, String> {
    let Some((first, rest)) = path.split_first() else { return Ok(stretch) };
    let found = boxes(bytes, stretch).find(|(kind, _)| kind == *first);
    let (_, body) = found.ok_or_else(|| format!("there is no {:?}", String::from_utf8_lossy(*first)))?;
    find(bytes, body, rest)
}

fn track_heads(bytes: &[u8], moov: Range<usize>) -> Result<Vec<TrackHead>, String> {
    let traks = boxes(bytes, moov).filter(|(kind, _)| kind == b"trak");
    traks.map(|(_, trak)| track_head(bytes, trak)).collect()
}

fn track_head(bytes: &[u8], trak: Range<usize>) -> Result<TrackHead, String> {
    let tkhd = find(bytes, trak.clone(), &[b"tkhd"])?;
    let mdhd = find(bytes, trak.clone(), &[b"mdia", b"mdhd"])?;
    let hdlr = find(bytes, trak, &[b"mdia", b"hdlr"])?;
    // Behind version and flags: two times, of four or eight bytes each.
    let behind_times = |body: &Range<usize>| body.start + if bytes[body.start] == 1 { 20 } else { 12 };
    let handler = bytes.get(hdlr.start + 8..).and_then(|rest| rest.first_chunk()).ok_or("a short hdlr")?;
    Ok(TrackHead { id: number(bytes, behind_times(&tkhd))?, handler: *handler, scale: number(bytes, behind_times(&mdhd))? })
}

fn fragment(bytes: &[u8], moof: Range<usize>, data: Range<usize>) -> Result<Fragment, String> {
    let mfhd = find(bytes, moof.clone(), &[b"mfhd"])?;
    let trafs = boxes(bytes, moof.clone()).filter(|(kind, _)| kind == b"traf");
    let runs = trafs.map(|(_, traf)| run(bytes, moof.start - 8, traf)).collect::<Result<Vec<_>, _>>()?;
    Ok(Fragment { bytes: moof.start - 8..data.end, data, sequence: number(bytes, mfhd.start + 4)?, runs })
}

/// Data is found from the `moof` on; what all samples of a run have in common may stand in the `tfhd`.
fn run(bytes: &[u8], moof: usize, traf: Range<usize>) -> Result<Run, String> {
    const DATA_OFFSET: u32 = 1;
    const FIRST_FLAGS: u32 = 4;
    const DURATION: u32 = 0x100;
    const SIZE: u32 = 0x200;
    const FLAGS: u32 = 0x400;
    const CTS: u32 = 0x800;
    let tfhd = find(bytes, traf.clone(), &[b"tfhd"])?;
    let tfdt = find(bytes, traf.clone(), &[b"tfdt"])?;
    let trun = find(bytes, traf, &[b"trun"])?;
    let decode_time = match bytes[tfdt.start] {
        0 => u64::from(number(bytes, tfdt.start + 4)?),
        _ => u64::from(number(bytes, tfdt.start + 4)?) << 32 | u64::from(number(bytes, tfdt.start + 8)?),
    };
    let flags = number(bytes, trun.start)? & 0xff_ffff;
    if flags & DATA_OFFSET == 0 {
        return Err(format!("a trun with flags {flags:#x}"));
    }
    let count = number(bytes, trun.start + 4)? as usize;
    let mut data = moof + number(bytes, trun.start + 8)? as usize;
    let mut at = trun.start + if flags & FIRST_FLAGS != 0 { 16 } else { 12 };
    let mut samples = Vec::new();
    for _ in 0..count {
        let mut next = |flag: u32| {
            let here = at;
            at += if flags & flag != 0 { 4 } else { 0 };
            (flags & flag != 0).then(|| number(bytes, here)).transpose()
        };
        let (duration, size, _, _) = (next(DURATION)?, next(SIZE)?, next(FLAGS)?, next(CTS)?);
        let duration = duration.map_or_else(|| in_common(bytes, &tfhd, 8), Ok)?;
        let size = size.map_or_else(|| in_common(bytes, &tfhd, 0x10), Ok)? as usize;
        samples.push(Sample { duration, bytes: data..data + size });
        data += size;
    }
    Ok(Run { track: number(bytes, tfhd.start + 4)?, decode_time, samples })
}

/// A field of the `tfhd` by its flag; the ones before it may be there or not.
fn in_common(bytes: &[u8], tfhd: &Range<usize>, wanted: u32) -> Result<u32, String> {
    let flags = number(bytes, tfhd.start)? & 0xff_ffff;
    if flags & wanted == 0 {
        return Err("a sample without duration or size".into());
    }
    let before = [(1, 8), (2, 4), (8, 4)].iter().filter(|(flag, _)| *flag < wanted && flags & flag != 0);
    number(bytes, tfhd.start + 8 + before.map(|(_, width)| width).sum::<usize>())
}

fn number(bytes: &[u8], at: usize) -> Result<u32, String> {
    let four = bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or("a box is cut short")?;
    Ok(u32::from_be_bytes(*four))
}
