//! FLV tag bodies, which are also the bodies of RTMP's audio and video messages. A rule: it frames what it is given and looks
//! into no payload; length-prefixed H.264, avcC and AudioSpecificConfig come from the encoder side in just the form FLV wants.
//!
//! A [`Body`] is a few bytes of header beside the packet's own bytes, so that nothing is copied before the socket's buffer.
//! Layouts: Adobe FLV specification 10.1, E.4.2 and E.4.3. There are no B-frames, so that the composition time is always 0.

use bytes::Bytes;

use crate::media::packet::{AudioFormat, Packet, Track, VideoFormat};

/// Frame type 1 (key) or 2 (inter) in the high half, codec 7 (AVC) in the low one.
const AVC_KEY: u8 = 0x17;
const AVC_INTER: u8 = 0x27;
/// Format 10 (AAC); the rest is fixed for AAC whatever the sound is: "44 kHz", 16 bit, "stereo".
const AAC: u8 = 0xAF;

const SEQUENCE_HEADER: u8 = 0;
const MEDIA: u8 = 1;

const VIDEO_HEADER: usize = 5;
const AUDIO_HEADER: usize = 2;

/// Header and payload of one tag body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    pub track: Track,
    header: [u8; VIDEO_HEADER],
    payload: Bytes,
}

impl Body {
    /// Body of a packet.
    pub fn packet(packet: &Packet) -> Self {
        match packet.track {
            Track::Video => Self::video(if packet.keyframe { AVC_KEY } else { AVC_INTER }, MEDIA, &packet.data),
            Track::Audio => Self::audio(MEDIA, &packet.data),
        }
    }

    /// What a decoder must have before the first picture.
    pub fn video_format(format: &VideoFormat) -> Self {
        Self::video(AVC_KEY, SEQUENCE_HEADER, &format.avcc)
    }

    /// What a decoder must have before the first sound.
    pub fn audio_format(format: &AudioFormat) -> Self {
        Self::audio(SEQUENCE_HEADER, &format.asc)
    }

    /// What stands before the payload.
    pub fn header(&self) -> &[u8] {
        match self.track {
            Track::Video => &self.header,
            Track::Audio => &self.header[..AUDIO_HEADER],
        }
    }

    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    fn video(frame: u8, kind: u8, payload: &Bytes) -> Self {
        Self { track: Track::Video, header: [frame, kind, 0, 0, 0], payload: payload.clone() }
    }

    fn audio(kind: u8, payload: &Bytes) -> Self {
        Self { track: Track::Audio, header: [AAC, kind, 0, 0, 0], payload: payload.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::media::packet::Format;
    use crate::units::{BitRate, FrameRate, MediaTime};

    fn format() -> Format {
        Format {
            video: VideoFormat {
                width: 1280,
                height: 720,
                framerate: FrameRate::new(30, 1).unwrap(),
                bitrate: BitRate::from_bps(4_000_000),
                avcc: Bytes::from_static(&[1, 0x64, 0, 0x1f]),
            },
            audio: AudioFormat {
                rate: 48_000,
                channels: 2,
                bitrate: BitRate::from_bps(128_000),
                asc: Bytes::from_static(&[0x11, 0x90]),
            },
        }
    }

    fn packet(track: Track, keyframe: bool) -> Packet {
        let data = Bytes::from_static(&[0, 0, 0, 1, 0x65]);
        Packet { track, time: MediaTime::ZERO, duration: Duration::from_millis(33), keyframe, data, format: Arc::new(format()) }
    }

    #[test]
    fn headers_as_the_specification_draws_them() {
        let table: [(Body, &[u8], &[u8]); 5] = [
            (Body::video_format(&format().video), &[0x17, 0, 0, 0, 0], &[1, 0x64, 0, 0x1f]),
            (Body::packet(&packet(Track::Video, true)), &[0x17, 1, 0, 0, 0], &[0, 0, 0, 1, 0x65]),
            (Body::packet(&packet(Track::Video, false)), &[0x27, 1, 0, 0, 0], &[0, 0, 0, 1, 0x65]),
            (Body::audio_format(&format().audio), &[0xAF, 0], &[0x11, 0x90]),
            (Body::packet(&packet(Track::Audio, false)), &[0xAF, 1], &[0, 0, 0, 1, 0x65]),
        ];
        for (body, header, payload) in table {
            assert_eq!((body.header(), &body.payload()[..]), (header, payload));
        }
    }

    #[test]
    fn the_payload_is_not_copied() {
        let packet = packet(Track::Video, true);
        assert_eq!(Body::packet(&packet).payload().as_ptr(), packet.data.as_ptr());
    }
}
