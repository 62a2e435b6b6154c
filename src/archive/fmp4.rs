//! The bytes of a segment: fragmented MP4 (ISO/IEC 14496-12) with one H.264 and one AAC track.
//!
//! Time 0 of both tracks is the segment's first keyframe, and every fragment says where it stands from there, so that picture
//! and sound keep their distance exactly and nothing accumulates. Whole files are never held and none are opened here.

use std::time::Duration;

use mp4_atom::esds::{DecoderConfig, DecoderSpecific, EsDescriptor, SLConfig};
use mp4_atom::{
    Atom, Audio, Avc1, Avcc, Dinf, Dref, Encode, Esds, FourCC, Ftyp, Hdlr, Header, Mdhd, Mdia, Mfhd, Minf, Moof, Moov, Mp4a,
    Mvex, Mvhd, Smhd, Stbl, Stco, Stsd, Tfdt, Tfhd, Tkhd, Traf, Trak, Trex, Trun, TrunEntry, Url, Visual, Vmhd,
};

use super::origin::Origin;
use super::segment::Sample;
use crate::media::packet::{AudioFormat, Format, Track, VideoFormat};
use crate::units::{FrameRate, MediaTime};

pub const VIDEO: u32 = 1;
pub const AUDIO: u32 = 2;

pub const MDAT: FourCC = FourCC::new(b"mdat");

/// Sample flags: depends on no other sample / depends on others and is no entry.
const ENTRY: u32 = 0x0200_0000;
const NO_ENTRY: u32 = 0x0101_0000;

/// From 1904, where MP4 begins, to 1970.
const EPOCH_1904: i64 = 2_082_844_800;

/// Ticks per second that a picture's time is told in, at most.
const VIDEO_TICKS: u32 = 90_000;

#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("the encoder's avcC cannot be read ({0})")]
    Avcc(mp4_atom::Error),
    #[error("the encoder's NAL lengths have {0} bytes instead of 4")]
    NalLength(u8),
    #[error("pictures of {0}x{1} do not fit")]
    Size(u32, u32),
    #[error("a box cannot be made ({0})")]
    Box(#[from] mp4_atom::Error),
}

/// The head of a segment: `ftyp`, `moov` and where it comes from.
pub fn head(format: &Format, origin: &Origin) -> Result<Vec<u8>, Fault> {
    let created = origin.start_ms.div_euclid(1000).saturating_add(EPOCH_1904).max(0) as u64;
    let moov = Moov {
        mvhd: Mvhd {
            creation_time: created,
            modification_time: created,
            timescale: 1000,
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: AUDIO + 1,
            ..Mvhd::default()
        },
        mvex: Some(Mvex { mehd: None, trex: vec![trex(VIDEO, NO_ENTRY), trex(AUDIO, ENTRY)] }),
        trak: vec![video_track(&format.video, created)?, audio_track(&format.audio, created)],
        ..Moov::default()
    };
    let brands = [b"isom", b"iso6", b"avc1", b"mp41"].map(FourCC::new);
    let ftyp = Ftyp { major_brand: FourCC::new(b"iso6"), minor_version: 512, compatible_brands: brands.to_vec() };
    let mut bytes = Vec::new();
    ftyp.encode(&mut bytes)?;
    moov.encode(&mut bytes)?;
    origin.encode(&mut bytes)?;
    Ok(bytes)
}

/// Unix seconds of a creation time that a head tells.
pub fn unix_seconds(created: u64) -> i64 {
    i64::try_from(created).unwrap_or(i64::MAX).saturating_sub(EPOCH_1904)
}

/// One fragment: `moof` and `mdat`. `sequence` counts from 1 within the segment; `base` is the segment's time 0.
pub fn fragment(format: &Format, base: MediaTime, sequence: u32, samples: &[Sample]) -> Result<Vec<u8>, Fault> {
    let runs = [Run::of(VIDEO, samples, base, format), Run::of(AUDIO, samples, base, format)];
    let runs: Vec<Run> = runs.into_iter().filter(|run| !run.samples.is_empty()).collect();
    let media: usize = runs.iter().map(Run::bytes).sum();
    let mut moof = Moof { mfhd: Mfhd { sequence_number: sequence }, traf: runs.iter().map(Run::traf).collect() };
    point_at_data(&mut moof, &runs)?;
    let mut bytes = Vec::with_capacity(media + 4096);
    moof.encode(&mut bytes)?;
    Header { kind: MDAT, size: Some(media) }.encode(&mut bytes)?;
    for sample in runs.iter().flat_map(|run| &run.samples) {
        bytes.extend_from_slice(&sample.packet.data);
    }
    Ok(bytes)
}

/// Where each run's data starts, from the start of the `moof`: its own size does not depend on these numbers.
fn point_at_data(moof: &mut Moof, runs: &[Run]) -> Result<(), Fault> {
    let mut bytes = Vec::new();
    moof.encode(&mut bytes)?;
    let mut offset = bytes.len() + 8;
    for (trun, run) in moof.traf.iter_mut().flat_map(|traf| &mut traf.trun).zip(runs) {
        trun.data_offset = Some(i32::try_from(offset).map_err(|_| mp4_atom::Error::TooLarge(MDAT))?);
        offset += run.bytes();
    }
    Ok(())
}

/// The samples of one track in one fragment.
struct Run<'a> {
    track: u32,
    scale: u32,
    base: MediaTime,
    samples: Vec<&'a Sample>,
}

impl<'a> Run<'a> {
    fn of(track: u32, samples: &'a [Sample], base: MediaTime, format: &Format) -> Self {
        let (kind, scale) = match track {
            VIDEO => (Track::Video, video_scale(format.video.framerate)),
            _ => (Track::Audio, format.audio.rate),
        };
        Self { track, scale, base, samples: samples.iter().filter(|sample| sample.packet.track == kind).collect() }
    }

    fn bytes(&self) -> usize {
        self.samples.iter().map(|sample| sample.packet.data.len()).sum()
    }

    fn ticks(&self, time: MediaTime) -> u64 {
        ticks(time, self.base, self.scale)
    }

    fn traf(&self) -> Traf {
        let start = self.samples.first().map_or(0, |sample| self.ticks(sample.time()));
        let entries: Vec<TrunEntry> = (0..self.samples.len()).map(|index| self.entry(index)).collect();
        Traf {
            tfhd: Tfhd { track_id: self.track, default_base_is_moof: true, ..Tfhd::default() },
            tfdt: Some(Tfdt { base_media_decode_time: start }),
            // The offset is put right as soon as the size of the `moof` is known.
            trun: vec![Trun { data_offset: Some(0), samples: entries.into() }],
            ..Traf::default()
        }
    }

    /// A sample lasts until the next one, a silence in between included: each stands exactly at its time.
    fn entry(&self, index: usize) -> TrunEntry {
        let sample = self.samples[index];
        let end = self.samples.get(index + 1).map_or(sample.end, |next| next.time());
        let duration = self.ticks(end).saturating_sub(self.ticks(sample.time()));
        let flags = if sample.packet.keyframe { ENTRY } else { NO_ENTRY };
        TrunEntry {
            duration: Some(u32::try_from(duration).unwrap_or(u32::MAX)),
            size: Some(sample.packet.data.len() as u32),
            flags: (self.track == VIDEO).then_some(flags),
            cts: None,
        }
    }
}

/// The nearest tick; from rounded times, not from summed durations, so that errors do not add up.
fn ticks(time: MediaTime, base: MediaTime, scale: u32) -> u64 {
    let nanos = time.since(base).as_nanos();
    ((nanos * u128::from(scale) + 500_000_000) / 1_000_000_000) as u64
}

/// How long so many ticks are.
pub fn span_of(ticks: u64, scale: u64) -> Duration {
    let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(scale.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// How long the pictures of a segment are from its base until `end`, as its file tells it: in whole ticks.
pub fn length(format: &Format, base: MediaTime, end: MediaTime) -> Duration {
    let scale = video_scale(format.video.framerate);
    span_of(ticks(end, base, scale), u64::from(scale))
}

/// Ticks per second in which every frame of this rate is a whole number of ticks: 90000 for most.
pub fn video_scale(framerate: FrameRate) -> u32 {
    framerate.numerator() * (VIDEO_TICKS / framerate.numerator()).max(1)
}

fn trex(track_id: u32, flags: u32) -> Trex {
    Trex { track_id, default_sample_description_index: 1, default_sample_flags: flags, ..Trex::default() }
}

fn video_track(format: &VideoFormat, created: u64) -> Result<Trak, Fault> {
    let fault = || Fault::Size(format.width, format.height);
    let width = u16::try_from(format.width).map_err(|_| fault())?;
    let height = u16::try_from(format.height).map_err(|_| fault())?;
    let avcc = Avcc::decode_body(&mut &format.avcc[..]).map_err(Fault::Avcc)?;
    if avcc.length_size != 4 {
        return Err(Fault::NalLength(avcc.length_size));
    }
    let visual = Visual { data_reference_index: 1, width, height, ..Visual::default() };
    let minf = Minf { vmhd: Some(Vmhd::default()), ..media_info(Avc1 { visual, avcc, ..Avc1::default() }.into()) };
    let tkhd = Tkhd { width: width.into(), height: height.into(), ..track_head(VIDEO, created) };
    Ok(Trak { tkhd, mdia: media(b"vide", "onaird picture", video_scale(format.framerate), created, minf), ..Trak::default() })
}

fn audio_track(format: &AudioFormat, created: u64) -> Trak {
    let audio = Audio {
        data_reference_index: 1,
        channel_count: format.channels,
        sample_size: 16,
        // 16 bits only; the AudioSpecificConfig is what counts.
        sample_rate: u16::try_from(format.rate).unwrap_or(0).into(),
    };
    let mp4a = Mp4a { audio, esds: esds(format), btrt: None, taic: None };
    let minf = Minf { smhd: Some(Smhd::default()), ..media_info(mp4a.into()) };
    let tkhd = Tkhd { volume: 1.into(), alternate_group: 1, ..track_head(AUDIO, created) };
    Trak { tkhd, mdia: media(b"soun", "onaird sound", format.rate, created, minf), ..Trak::default() }
}

fn esds(format: &AudioFormat) -> Esds {
    /// MPEG-4 audio; an audio stream.
    const OBJECT_TYPE: u8 = 0x40;
    const STREAM_TYPE: u8 = 5;
    let bitrate = u32::try_from(format.bitrate.bps()).unwrap_or(u32::MAX);
    let dec_config = DecoderConfig {
        object_type_indication: OBJECT_TYPE,
        stream_type: STREAM_TYPE,
        max_bitrate: bitrate,
        avg_bitrate: bitrate,
        dec_specific: Some(DecoderSpecific { raw: format.asc.to_vec(), ..DecoderSpecific::default() }),
        ..DecoderConfig::default()
    };
    Esds { es_desc: EsDescriptor { es_id: AUDIO as u16, dec_config, sl_config: SLConfig {}, ..EsDescriptor::default() } }
}

fn track_head(track_id: u32, created: u64) -> Tkhd {
    Tkhd { track_id, creation_time: created, modification_time: created, enabled: true, in_movie: true, ..Tkhd::default() }
}

fn media_info(codec: mp4_atom::Codec) -> Minf {
    Minf {
        dinf: Dinf { dref: Dref { entries: vec![Url::default().into()] } },
        stbl: Stbl { stsd: Stsd { codecs: vec![codec] }, stco: Some(Stco::default()), ..Stbl::default() },
        ..Minf::default()
    }
}

fn media(handler: &[u8; 4], name: &str, timescale: u32, created: u64, minf: Minf) -> Mdia {
    let mdhd = Mdhd { creation_time: created, modification_time: created, timescale, duration: 0, language: "und".to_owned() };
    Mdia { mdhd, hdlr: Hdlr { handler: handler.into(), name: name.to_owned() }, minf }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::segment::{Cutter, Step};
    use crate::archive::testing::{Stream, format};
    use mp4_atom::{Any, Decode, DecodeMaybe};
    use proptest::prelude::*;

    fn boxes(mut bytes: &[u8]) -> Vec<Any> {
        std::iter::from_fn(|| Any::decode_maybe(&mut bytes).unwrap()).collect()
    }

    #[test]
    fn the_head_holds_what_the_encoders_said() {
        let format = format();
        let bytes = head(&format, &Origin::of_second(1_795_411_016)).unwrap();
        let find = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
        assert!(find(&format.video.avcc) && find(&format.audio.asc));
        let [Any::Ftyp(_), Any::Moov(moov), Any::Uuid(_)] = &boxes(&bytes)[..] else { panic!("want ftyp, moov and uuid") };
        assert_eq!(moov.mvhd.creation_time, 1_795_411_016 + 2_082_844_800);
        assert_eq!(moov.trak.iter().map(|trak| trak.mdia.mdhd.timescale).collect::<Vec<_>>(), [90_000, 48_000]);
    }

    #[test]
    fn a_format_that_cannot_be_told_is_a_fault() {
        let mut broken = format();
        broken.video.avcc = bytes::Bytes::from_static(&[1, 2]);
        assert!(matches!(head(&broken, &Origin::of_second(0)), Err(Fault::Avcc(_))));
        let mut huge = format();
        huge.video.width = 70_000;
        assert!(matches!(head(&huge, &Origin::of_second(0)), Err(Fault::Size(70_000, _))));
    }

    #[test]
    fn every_frame_is_whole_ticks() {
        for (numerator, denominator) in
            [(30, 1), (25, 1), (24, 1), (30_000, 1001), (24_000, 1001), (60_000, 1001), (7, 1), (240, 1)]
        {
            let rate = FrameRate::new(numerator, denominator).unwrap();
            let scale = video_scale(rate);
            let per_frame = u64::from(scale / numerator * denominator);
            let base = rate.time_of(12_345);
            for index in [0, 1, 2, 29, 30, 100_000] {
                assert_eq!(ticks(rate.time_of(12_345 + index), base, scale), index * per_frame, "{rate} {index}");
            }
        }
    }

    #[test]
    fn data_offsets_point_at_the_samples() {
        let packets = Stream::default().packets();
        let samples: Vec<Sample> =
            packets[..20].iter().map(|packet| Sample { packet: packet.clone(), end: packet.time + packet.duration }).collect();
        let bytes = fragment(&format(), MediaTime::ZERO, 1, &samples).unwrap();
        let moof = Moof::decode(&mut &bytes[..]).unwrap();
        for traf in &moof.traf {
            let track = if traf.tfhd.track_id == VIDEO { Track::Video } else { Track::Audio };
            let mut at = traf.trun[0].data_offset.unwrap() as usize;
            for sample in samples.iter().filter(|sample| sample.packet.track == track) {
                let data = &sample.packet.data;
                assert_eq!(&bytes[at..at + data.len()], &data[..]);
                at += data.len();
            }
        }
    }

    proptest! {
        /// In each track the decode times of a segment are gapless, from fragment to fragment too, and start where they should.
        #[test]
        fn decode_times_join(start in 0u64..1 << 33, gop in 1u64..70, rate in prop_oneof![Just((30, 1)), Just((30_000, 1001)), Just((60, 1))]) {
            let stream = Stream { framerate: rate, gop, seconds: 6, start, ..Stream::default() };
            let mut format = format();
            format.video.framerate = FrameRate::new(rate.0, rate.1).unwrap();
            let mut cutter = Cutter::new(Duration::from_secs(2));
            let mut steps: Vec<Step> = stream.packets().iter().flat_map(|packet| cutter.push(packet)).collect();
            steps.extend(cutter.finish());
            let (mut base, mut due) = (MediaTime::ZERO, [0, 0]);
            let mut fresh = [true, true];
            for step in steps {
                match step {
                    Step::Begin { base: time, .. } => (base, fresh) = (time, [true, true]),
                    Step::Fragment(samples) => {
                        let bytes = fragment(&format, base, 1, &samples).unwrap();
                        for traf in Moof::decode(&mut &bytes[..]).unwrap().traf {
                            let track = traf.tfhd.track_id as usize - 1;
                            let at = traf.tfdt.unwrap().base_media_decode_time;
                            if !std::mem::take(&mut fresh[track]) {
                                // One tick of sound is 21 µs: the rounding of times that are told in nanoseconds.
                                prop_assert!(at.abs_diff(due[track]) <= track as u64);
                            } else if track == 0 {
                                prop_assert_eq!(at, 0);
                            } else {
                                prop_assert!(at < 1024);
                            }
                            due[track] = at + traf.trun[0].samples.iter().map(|s| u64::from(s.duration.unwrap())).sum::<u64>();
                        }
                    }
                    Step::End => {}
                }
            }
        }
    }
}
