//! Fragmented MP4 (ISO/IEC 14496-12, 8.8): the header of a segment and its fragments, as bytes. Pure.
//!
//! Two tracks, video and sound, on one time line that starts at the segment's first picture. Every fragment says where it
//! stands (`tfdt`), so that whatever was written before a power cut plays. The boxes are `mp4-atom`'s.

use bytes::Bytes;
use mp4_atom::{
    Atom, Audio, Avc1, Avcc, Codec, Dinf, Dref, DrefEntry, Encode, Esds, FixedPoint, Ftyp, Hdlr, Mdhd, Mdia, Mfhd, Minf, Moof,
    Moov, Mp4a, Mvex, Mvhd, Smhd, Stbl, Stco, Stsd, Tfdt, Tfhd, Tkhd, Traf, Trak, Trex, Trun, TrunEntry, Url, Visual, Vmhd,
    esds::{DecoderConfig, DecoderSpecific, EsDescriptor, SLConfig},
};

use crate::media::packet::{AudioFormat, Format, Track, VideoFormat};
use crate::units::MediaTime;

/// Ticks of the video track per second: the usual one, exact for 24, 25, 30, 50 and 60 frames.
const VIDEO_TIMESCALE: u32 = 90_000;

/// `sample_depends_on = 2`: a sync sample (8.8.3.1).
const SYNC_SAMPLE: u32 = 0x0200_0000;

/// `sample_depends_on = 1`, not a sync sample.
const DELTA_SAMPLE: u32 = 0x0101_0000;

/// AAC in MPEG-4 (ISO/IEC 14496-1, table 5) in an audio stream.
const OBJECT_TYPE_AAC: u8 = 0x40;
const STREAM_TYPE_AUDIO: u8 = 5;

pub type Error = mp4_atom::Error;

/// One sample in its fragment.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub time: MediaTime,
    /// When the next one of its track begins.
    pub end: MediaTime,
    pub keyframe: bool,
    pub data: Bytes,
}

/// Turns samples into the bytes of one segment.
pub struct Muxer {
    /// Times in the file count from here.
    start: MediaTime,
    audio_timescale: u32,
    fragments: u32,
}

impl Muxer {
    /// The muxer of a new segment and the bytes that it begins with. `created_s`: seconds since 1904 (MP4's epoch).
    pub fn new(format: &Format, start: MediaTime, created_s: u64) -> Result<(Self, Vec<u8>), Error> {
        let mut bytes = Vec::new();
        let brands = [b"iso6", b"mp41", b"avc1"].map(|brand| brand.into()).to_vec();
        Ftyp { major_brand: b"iso6".into(), minor_version: 1, compatible_brands: brands }.encode(&mut bytes)?;
        movie(format, created_s)?.encode(&mut bytes)?;
        Ok((Self { start, audio_timescale: format.audio.rate, fragments: 0 }, bytes))
    }

    /// One fragment: `moof` and `mdat`.
    pub fn fragment(&mut self, video: &[Sample], audio: &[Sample]) -> Result<Vec<u8>, Error> {
        self.fragments += 1;
        // The offsets count from the start of `moof`, whose length is known only once it is encoded.
        let length = encoded(&self.moof(video, audio, 0))?.len();
        let mut bytes = encoded(&self.moof(video, audio, length + 8))?;
        let payload: usize = video.iter().chain(audio).map(|sample| sample.data.len()).sum();
        bytes.reserve(payload + 8);
        bytes.extend((payload as u32 + 8).to_be_bytes());
        bytes.extend(b"mdat");
        video.iter().chain(audio).for_each(|sample| bytes.extend_from_slice(&sample.data));
        Ok(bytes)
    }

    fn moof(&self, video: &[Sample], audio: &[Sample], offset: usize) -> Moof {
        let video_bytes: usize = video.iter().map(|sample| sample.data.len()).sum();
        let tracks = [(Track::Video, video, offset), (Track::Audio, audio, offset + video_bytes)];
        let filled = tracks.into_iter().filter(|(_, samples, _)| !samples.is_empty());
        let traf = filled.map(|(track, samples, offset)| self.traf(track, samples, offset)).collect();
        Moof { mfhd: Mfhd { sequence_number: self.fragments }, traf }
    }

    fn traf(&self, track: Track, samples: &[Sample], offset: usize) -> Traf {
        let entry = |sample: &Sample| TrunEntry {
            duration: Some((self.ticks(track, sample.end) - self.ticks(track, sample.time)) as u32),
            size: Some(sample.data.len() as u32),
            flags: Some(if track == Track::Audio || sample.keyframe { SYNC_SAMPLE } else { DELTA_SAMPLE }),
            cts: None,
        };
        let entries: Vec<_> = samples.iter().map(entry).collect();
        Traf {
            tfhd: Tfhd { track_id: id(track), default_base_is_moof: true, ..Tfhd::default() },
            tfdt: Some(Tfdt { base_media_decode_time: samples.first().map_or(0, |first| self.ticks(track, first.time)) }),
            trun: vec![Trun { data_offset: Some(offset as i32), samples: entries.into() }],
            ..Traf::default()
        }
    }

    /// A time in the file, rounded: sums of durations never drift, since each is a difference of two such times.
    fn ticks(&self, track: Track, time: MediaTime) -> u64 {
        let timescale = if track == Track::Video { VIDEO_TIMESCALE } else { self.audio_timescale };
        let nanos = time.since(self.start).as_nanos();
        ((nanos * u128::from(timescale) + 500_000_000) / 1_000_000_000) as u64
    }
}

fn encoded(moof: &Moof) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    moof.encode(&mut bytes)?;
    Ok(bytes)
}

fn id(track: Track) -> u32 {
    match track {
        Track::Video => 1,
        Track::Audio => 2,
    }
}

fn movie(format: &Format, created_s: u64) -> Result<Moov, Error> {
    let mvhd = Mvhd {
        creation_time: created_s,
        modification_time: created_s,
        timescale: 1000,
        rate: 1.into(),
        volume: 1.into(),
        next_track_id: 3,
        ..Mvhd::default()
    };
    let trex = |track| Trex { track_id: id(track), default_sample_description_index: 1, ..Trex::default() };
    let mvex = Mvex { mehd: None, trex: vec![trex(Track::Video), trex(Track::Audio)] };
    let trak = vec![video_track(&format.video)?, audio_track(&format.audio)];
    Ok(Moov { mvhd, mvex: Some(mvex), trak, ..Moov::default() })
}

fn video_track(format: &VideoFormat) -> Result<Trak, Error> {
    let (width, height) = (format.width as u16, format.height as u16);
    let avcc = Avcc::decode_body(&mut std::io::Cursor::new(&format.avcc))?;
    let visual = Visual { data_reference_index: 1, width, height, ..Visual::default() };
    let codec = Codec::Avc1(Avc1 { visual, avcc, ..Avc1::default() });
    let tkhd = Tkhd { width: width.into(), height: height.into(), ..track_header(Track::Video) };
    let minf = Minf { vmhd: Some(Vmhd::default()), ..media_information(codec) };
    Ok(Trak { tkhd, mdia: media(VIDEO_TIMESCALE, b"vide", "video", minf), ..Trak::default() })
}

fn audio_track(format: &AudioFormat) -> Trak {
    let bitrate = format.bitrate.bps() as u32;
    let specific = DecoderSpecific { profile: 2, freq_index: 0, chan_conf: 0, raw: format.asc.to_vec() };
    let dec_config = DecoderConfig {
        object_type_indication: OBJECT_TYPE_AAC,
        stream_type: STREAM_TYPE_AUDIO,
        max_bitrate: bitrate,
        avg_bitrate: bitrate,
        dec_specific: Some(specific),
        ..DecoderConfig::default()
    };
    let es_desc = EsDescriptor { es_id: 2, dec_config, sl_config: SLConfig {}, ..EsDescriptor::default() };
    let sample_rate = FixedPoint::new(format.rate as u16, 0);
    let audio = Audio { data_reference_index: 1, channel_count: format.channels, sample_size: 16, sample_rate };
    let codec = Codec::Mp4a(Mp4a { audio, esds: Esds { es_desc }, btrt: None, taic: None });
    let minf = Minf { smhd: Some(Smhd::default()), ..media_information(codec) };
    let tkhd = Tkhd { volume: 1.into(), ..track_header(Track::Audio) };
    Trak { tkhd, mdia: media(format.rate, b"soun", "sound", minf), ..Trak::default() }
}

fn track_header(track: Track) -> Tkhd {
    Tkhd { track_id: id(track), enabled: true, in_movie: true, ..Tkhd::default() }
}

fn media(timescale: u32, handler: &[u8; 4], name: &str, minf: Minf) -> Mdia {
    let mdhd = Mdhd { timescale, language: "und".into(), ..Mdhd::default() };
    Mdia { mdhd, hdlr: Hdlr { handler: handler.into(), name: name.into() }, minf }
}

/// Sample tables are empty: all samples are in fragments.
fn media_information(codec: Codec) -> Minf {
    let dref = Dref { entries: vec![DrefEntry::Url(Url { location: String::new() })] };
    let stbl = Stbl { stsd: Stsd { codecs: vec![codec] }, stco: Some(Stco::default()), ..Stbl::default() };
    Minf { dinf: Dinf { dref }, stbl, ..Minf::default() }
}

/// How many bytes of a segment are whole: its header and all fragments that have both their parts. `None` if not even one
/// fragment is. Walks the lengths of the top-level boxes; `size_at` gives eight bytes at an offset, or `None` past the end.
pub fn whole_length(length: u64, mut head_at: impl FnMut(u64) -> Option<[u8; 8]>) -> Option<u64> {
    let (mut at, mut whole) = (0, None);
    while let Some(head) = head_at(at) {
        let size = u64::from(u32::from_be_bytes([head[0], head[1], head[2], head[3]]));
        if size < 8 || at + size > length {
            break;
        }
        at += size;
        if &head[4..] == b"mdat" {
            whole = Some(at);
        }
    }
    whole
}
