//! The program with real GStreamer: what comes out of the encoders, whatever the inputs do.

mod station;

use std::sync::Arc;
use std::time::Duration;

use onaird::config::InputKind;
use onaird::control::Command;
use onaird::media::packet::{Packet, Track};
use onaird::status::Shows;
use onaird::units::{BitRate, FrameRate};
use station::start;

fn of(track: Track, packets: &[Arc<Packet>]) -> Vec<&Arc<Packet>> {
    packets.iter().filter(|packet| packet.track == track).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_are_regular_and_keyframes_lie_on_their_grid() {
    let station = start(&[("one", InputKind::Test)]);
    let packets = station.pictures(100).await;
    assert!(packets.windows(2).all(|pair| pair[0].time <= pair[1].time), "one order for both tracks");
    let video = of(Track::Video, &packets);
    let rate = FrameRate::new(30, 1).unwrap();
    for pair in video.windows(2) {
        let (index, next) = (rate.index_at(pair[0].time), rate.index_at(pair[1].time));
        assert_eq!(next, index + 1, "a picture for every tick");
        assert_eq!(pair[0].time, rate.time_of(index), "exactly on its tick");
    }
    for packet in &video[1..] {
        assert_eq!(packet.keyframe, rate.index_at(packet.time).is_multiple_of(30), "at {:?}", packet.time);
    }
    let audio = of(Track::Audio, &packets);
    let exact = Duration::from_nanos(1_024_000_000_000 / 48_000);
    for pair in audio.windows(2) {
        assert!(pair[1].time.since(pair[0].time).abs_diff(exact) < Duration::from_micros(50), "sound without a seam");
    }
    assert!(Arc::ptr_eq(&packets[0].format, &packets[packets.len() - 1].format), "one format throughout");
    assert_eq!(packets[0].format.video.avcc[0], 1, "AVCDecoderConfigurationRecord version");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_signal_the_slate_is_on_and_a_switch_brings_the_picture() {
    let nothing = InputKind::V4l2 { device: "/dev/onair/never".into(), audio: None };
    let station = start(&[("one", nothing), ("two", InputKind::Test)]);
    station.until("the slate", |status| status.program.shows == Shows::Slate && status.program.frames > 10).await;
    assert!(station.order(Command::Switch { input: "nine".into() }).await.unwrap_err().contains("one, two"));
    station.order(Command::Switch { input: "two".into() }).await.unwrap();
    station.until("the picture", |status| status.program.shows == Shows::Live && status.program.input == "two").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bit_rate_changes_while_running() {
    let station = start(&[("one", InputKind::Test)]);
    let bytes = |packets: &[Arc<Packet>]| of(Track::Video, packets).iter().map(|packet| packet.data.len()).sum::<usize>();
    station.pictures(30).await;
    station.order(Command::Bitrate(BitRate::from_bps(100_000))).await.unwrap();
    station.pictures(60).await;
    let low = bytes(&station.pictures(90).await);
    station.order(Command::Bitrate(BitRate::from_bps(3_000_000))).await.unwrap();
    station.pictures(60).await;
    let high = bytes(&station.pictures(90).await);
    assert!(high > 2 * low, "{low} bytes at 100 kbit/s, {high} bytes at 3 Mbit/s");
}
