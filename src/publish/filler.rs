//! What the uplink is measured with: a black picture, made as large as wanted. Pure.
//!
//! An origin takes nothing but a publication, so the measure has to be one, and it has to be harmless to any server, recorder
//! or viewer behind it. Each packet is a complete access unit: a black key picture of some 60 bytes and one filler data NAL
//! (ITU-T H.264, 7.3.2.7), which encoders with a constant bit rate send all day and decoders throw away. Empty RTMP messages
//! or made-up data messages would be shorter to write, but some servers end the connection on what they do not know.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use crate::media::packet::{AudioFormat, Format, Packet, Track, VideoFormat};
use crate::units::{BitRate, FrameRate, MediaTime};

/// From one packet to the next.
pub const INTERVAL: Duration = Duration::from_millis(20);

const RATE: FrameRate = FrameRate::new(50, 1).expect("50 lies within 1 and 240");

/// 160x96 in Baseline, level 1.1.
const SPS: &[u8] = b"\x67\x42\xc0\x0b\xdc\x28\xdb\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\x20\xf1\x42\xb8";
const PPS: &[u8] = b"\x68\xce\x03\x9c\x80";

/// Key pictures that follow each other have different numbers.
const BLACK: [&[u8]; 2] = [
    b"\x65\x88\x84\x3a\x26\x28\x00\x08\x18\xc9\xc9\xc9\xc9\xc9\xc9\xc9\xc9\xc9\xd7\x5d\x75\xd7\x5d\x75\xd7\x5d\x75\xd7\x5d\x75\
      \xd7\x5d\x75\xd7\x5d\x75\xd7\x5d\x75\xd7\x5d\x75\xd7\x5d\x75\xd7\x5d\x75\xd7\x5d\x75\xd7\x5d\x75\xd7\x5e",
    b"\x65\x88\x82\x0e\x89\x8a\x00\x02\x06\x32\x72\x72\x72\x72\x72\x72\x72\x72\x75\xd7\x5d\x75\xd7\x5d\x75\xd7\x5d\x75\xd7\x5d\
      \x75\xd7\x5d\x75\xd7\x5d\x75\xd7\x5d\x75\xd7\x5d\x75\xd7\x5d\x75\xd7\x5d\x75\xd7\x5d\x75\xd7\x5d\x75\xd7\x80",
];

const FILLER_DATA: u8 = 12;

/// nginx-rtmp takes messages of up to 1 MB unless told otherwise.
const MAX_PACKET: u64 = 500_000;

pub struct Filler {
    format: Arc<Format>,
    pictures: [Bytes; 2],
    made: usize,
    /// When the next picture may be due at the earliest.
    next: MediaTime,
}

impl Filler {
    /// Packets that have this rate if there is one each [`INTERVAL`].
    pub fn new(rate: BitRate) -> Self {
        let bytes = (rate.bps() / 8 * INTERVAL.as_millis() as u64 / 1000).min(MAX_PACKET);
        Self {
            format: Arc::new(format(rate)),
            pictures: BLACK.map(|picture| padded(picture, bytes as usize)),
            made: 0,
            next: MediaTime::ZERO,
        }
    }

    pub fn format(&self) -> &Format {
        &self.format
    }

    /// A packet for about this time. A machine that was busy makes several at once; no two of them have the same millisecond.
    pub fn packet(&mut self, time: MediaTime) -> Packet {
        let time = time.max(self.next);
        self.next = time + Duration::from_millis(1);
        self.made += 1;
        let data = self.pictures[self.made % 2].clone();
        Packet { track: Track::Video, time, duration: INTERVAL, keyframe: true, data, format: self.format.clone() }
    }
}

/// The picture, and behind it what fills the packet up to so many bytes.
fn padded(picture: &[u8], bytes: usize) -> Bytes {
    let mut out = BytesMut::new();
    put_nal(&mut out, picture);
    // Length, type and the final bit.
    let filling = bytes.saturating_sub(out.len() + 6);
    let mut filler = vec![0xFF; filling + 2];
    (filler[0], filler[filling + 1]) = (FILLER_DATA, 0x80);
    put_nal(&mut out, &filler);
    out.freeze()
}

fn put_nal(out: &mut BytesMut, nal: &[u8]) {
    out.put_u32(nal.len() as u32);
    out.put_slice(nal);
}

fn format(bitrate: BitRate) -> Format {
    let mut avcc = BytesMut::new();
    avcc.put_slice(&[1, SPS[1], SPS[2], SPS[3], 0xFF, 0xE1]);
    avcc.put_u16(SPS.len() as u16);
    avcc.put_slice(SPS);
    avcc.put_u8(1);
    avcc.put_u16(PPS.len() as u16);
    avcc.put_slice(PPS);
    let video = VideoFormat { width: 160, height: 96, framerate: RATE, bitrate, avcc: avcc.freeze() };
    let asc = Bytes::from_static(&[0x11, 0x90]);
    Format { video, audio: AudioFormat { rate: 48_000, channels: 2, bitrate: BitRate::from_bps(128_000), asc } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packets_have_the_wanted_rate_and_are_whole(bps in 100_000u64..300_000_000) {
            let mut filler = Filler::new(BitRate::from_bps(bps));
            for made in 0..3 {
                let Packet { data, time, .. } = filler.packet(MediaTime::ZERO);
                prop_assert_eq!(time.millis(), made);
                let want = (bps / 8 * 20 / 1000).clamp(70, MAX_PACKET);
                prop_assert!(data.len().abs_diff(want as usize) <= 1, "{} {want}", data.len());
                let first = u32::from_be_bytes(*data.first_chunk().unwrap()) as usize;
                let second = u32::from_be_bytes(*data[4 + first..].first_chunk().unwrap()) as usize;
                prop_assert_eq!(data.len(), 8 + first + second);
                prop_assert_eq!((data[4] & 31, data[8 + first] & 31, data.last()), (5, 12, Some(&0x80)));
            }
        }
    }

    #[test]
    fn key_pictures_in_a_row_differ() {
        let mut filler = Filler::new(BitRate::from_bps(1_000_000));
        assert_ne!(filler.packet(MediaTime::ZERO).data, filler.packet(MediaTime::ZERO).data);
        assert_eq!(filler.format().video.avcc.len(), 6 + 2 + SPS.len() + 3 + PPS.len());
    }
}
