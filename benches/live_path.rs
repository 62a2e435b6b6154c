//! What the house's own code costs on the live path, beside the encoder: medians of several runs, in one table.
//!
//! Not a test: it prints, it never judges. `make bench` runs it.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use onaird::capture::testcard::TestCard;
use onaird::capture::watch::{Luma, PictureWatch, SoundWatch};
use onaird::config::Watch;
use onaird::media::hub::{Hub, Item};
use onaird::media::interleave::Interleaver;
use onaird::media::packet::{AudioFormat, Format, Packet, Track, VideoFormat};
use onaird::media::raw::{Feed, Pixels, RawFormat};
use onaird::program::blend::Blender;
use onaird::program::sync::Synchroniser;
use onaird::units::{BitRate, FrameRate, MediaTime};

const RUNS: usize = 9;

/// The median of several runs, per call.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn measure(name: &str, calls: u32, mut work: impl FnMut(u32)) {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            (0..calls).for_each(&mut work);
            start.elapsed() / calls
        })
        .collect();
    times.sort();
    println!("{name:<58} {:>10.3} µs", times[RUNS / 2].as_nanos() as f64 / 1000.0);
}

fn packet(index: u32, format: &Arc<Format>) -> Packet {
    let track = if index.is_multiple_of(2) { Track::Video } else { Track::Audio };
    let time = MediaTime::from_millis(u64::from(index) * 10);
    let data = Bytes::from_static(&[0; 4096]);
    Packet { track, time, duration: Duration::from_millis(20), keyframe: index.is_multiple_of(60), data, format: format.clone() }
}

fn main() {
    gstreamer::init().expect("GStreamer");
    let framerate = FrameRate::new(30, 1).expect("a rate");
    let bitrate = BitRate::from_bps(6_000_000);
    let video = VideoFormat { width: 1920, height: 1080, framerate, bitrate, avcc: Bytes::new() };
    let audio = AudioFormat { rate: 48_000, channels: 2, bitrate, asc: Bytes::new() };
    let format = Arc::new(Format { video, audio });

    println!("{:<58} {:>13}", "own code on the live path, median per call", "");
    let mut interleaver = Interleaver::default();
    let mut index = 0;
    measure("interleaver: one packet in, one out", 20_000, |_| {
        interleaver.push(packet(index, &format));
        black_box(interleaver.pop());
        index += 1;
    });
    let hub = Hub::new();
    let mut readers: Vec<_> = (0..3).map(|_| hub.reader()).collect();
    let mut index = 0;
    measure("hub: one packet published and read by three readers", 20_000, |_| {
        hub.publish(packet(index, &format));
        index += 1;
        for reader in &mut readers {
            while let Some(Item::Packet(packet)) = reader.try_next() {
                black_box(packet);
            }
        }
    });
    let times: Vec<_> = (0..8).map(|index| framerate.time_of(index)).collect();
    let mut sync = Synchroniser::new(framerate.frame_duration());
    measure("synchroniser: one choice among eight pictures", 100_000, |_| {
        black_box(sync.choose(framerate.time_of(4), Duration::from_millis(300), &times));
    });
    let raw = RawFormat { width: 1920, height: 1080, framerate, pixels: Pixels::I420 };
    let shades = [16u8, 235].map(|shade| gstreamer::Buffer::from_slice(vec![shade; raw.layout().size()]));
    let mut blender = Blender::new(&raw);
    measure("fade: one picture of 1920x1080 mixed of two", 100, |_| {
        black_box(blender.blend(&shades[0], &shades[1], 0.4));
    });
    let feed = Feed::new(Duration::from_millis(200));
    let samples = vec![1i16; 1600 * 2];
    let mut out = vec![0i16; 1600 * 2];
    let mut index = 0u64;
    measure("sound ring: one frame's sound (33 ms) in and out", 2_000, |_| {
        feed.push_sound(framerate.time_of(index), &samples);
        black_box(feed.read_sound(index * 1600, &mut out));
        index += 1;
    });
    let second = Some(Duration::from_secs(1));
    let limits = Watch { frozen: second, black: second, silence: second, ..Watch::default() };
    let mut watch = PictureWatch::new(&limits);
    // More than a cache holds, so that each picture is as cold as a captured one.
    let pictures: Vec<_> = (0..16).map(|index| vec![index * 8; 1920 * 1080]).collect();
    measure("watch: one look at a picture of 1920x1080 (10 a second)", 160, |index| {
        let luma = Luma { data: &pictures[index as usize % 16], stride: 1920, width: 1920, height: 1080 };
        black_box(watch.look(&luma, framerate.time_of(u64::from(index))));
    });
    let mut watch = SoundWatch::new(&limits);
    measure("watch: one frame's sound (33 ms)", 2_000, |index| {
        black_box(watch.hear(&samples, framerate.time_of(u64::from(index))));
    });
    let card = TestCard::new(RawFormat { width: 1280, height: 720, framerate, pixels: Pixels::I420 });
    let mut index = 0;
    measure("test card: one picture of 1280x720", 100, |_| {
        black_box(card.picture(index, framerate.time_of(index)));
        index += 1;
    });
}
