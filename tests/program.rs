//! The program with real GStreamer: what comes out of the encoders, whatever the inputs do.

mod station;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use onaird::config::{Connector, Edid, InputKind, Played};
use onaird::control;
use onaird::media::packet::{Packet, Track};
use onaird::media::raw::{Pixels, RawFormat};
use onaird::program::slate;
use onaird::program::trial::Trials;
use onaird::recorded::Reference;
use onaird::status::Shows;
use onaird::units::{BitRate, FrameRate};
use station::start;

fn switch(input: &str) -> control::Command {
    control::Command::Switch { input: input.into(), fade: None, by: control::Chooser::Operator }
}

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
    let nothing =
        InputKind::V4l2 { device: "/dev/onair/never".into(), connector: Connector::Auto, edid: Edid::Auto, audio: None };
    let station = start(&[("one", nothing), ("two", InputKind::Test)]);
    station.until("the slate", |status| status.program.shows == Shows::Slate && status.program.frames > 10).await;
    assert!(station.order(switch("nine")).await.unwrap_err().contains("one, two"));
    station.order(switch("two")).await.unwrap();
    station.until("the picture", |status| status.program.shows == Shows::Live && status.program.input == "two").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bit_rate_changes_while_running() {
    let station = start(&[("one", InputKind::Test)]);
    let bytes = |packets: &[Arc<Packet>]| of(Track::Video, packets).iter().map(|packet| packet.data.len()).sum::<usize>();
    station.pictures(30).await;
    station.order(control::Command::Bitrate(BitRate::from_bps(100_000))).await.unwrap();
    station.pictures(60).await;
    let low = bytes(&station.pictures(90).await);
    station.order(control::Command::Bitrate(BitRate::from_bps(3_000_000))).await.unwrap();
    station.pictures(60).await;
    let high = bytes(&station.pictures(90).await);
    assert!(high > 2 * low, "{low} bytes at 100 kbit/s, {high} bytes at 3 Mbit/s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_legs_carry_lowers_the_rate_and_leaves_the_wish() {
    let station = start(&[("one", InputKind::Test)]);
    station.until("the program", |status| status.program.frames > 0).await;
    let rates = || {
        let program = &station.status.borrow().program;
        (program.video_bitrate_bps, program.video_bitrate_limit_bps)
    };
    let rate = BitRate::from_bps;
    station.order(control::Command::AgreedBitrate(rate(300_000))).await.unwrap();
    assert_eq!(rates(), (300_000, 600_000));
    let answer = station.order(control::Command::Bitrate(rate(900_000))).await.unwrap();
    assert!(answer.contains("as soon as"), "{answer}");
    assert_eq!(rates(), (300_000, 900_000));
    for (agreed, now) in [(2_000_000, 900_000), (1, 100_000)] {
        station.order(control::Command::AgreedBitrate(rate(agreed))).await.unwrap();
        assert_eq!(rates(), (now, 900_000), "never beyond what is wanted, never below the floor");
    }
    station.order(control::Command::AgreedBitrate(rate(900_000))).await.unwrap();
    station.order(control::Command::Bitrate(rate(1_200_000))).await.unwrap();
    assert_eq!(rates(), (1_200_000, 1_200_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_follow_one_another_without_a_slate_between_them() {
    let folder = tempfile::tempdir().unwrap();
    let film = folder.path().join("film.mp4");
    let source = ["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30", "-t", "1.5"];
    let coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"];
    assert!(Command::new("ffmpeg").args(source).args(coded).arg(&film).status().expect("ffmpeg").success());
    let empty = folder.path().join("empty.mp4");
    std::fs::write(&empty, "").unwrap();
    let paths = [film.clone(), empty, film].map(Played::File).to_vec();
    let station = start(&[("one", InputKind::File { paths, looped: true })]);
    let (reply, done) = tokio::sync::oneshot::channel();
    let command = control::Command::Roll { input: "one".into() };
    station.orders[0].send(control::Request { command, reply }).await.unwrap();
    done.await.unwrap().unwrap();
    station.until("the first picture", |status| status.program.shows == Shows::Live).await;
    let begin = station.status.borrow().program.clone();
    let mut slates = 0;
    station
        .until("six seconds", |status| {
            slates += u32::from(status.program.shows == Shows::Slate);
            status.program.frames > begin.frames + 180
        })
        .await;
    let repeated = station.status.borrow().program.frames_repeated - begin.frames_repeated;
    assert_eq!(slates, 0);
    assert!(repeated <= 30, "{repeated} pictures repeated over three or four joins");
    let fault = station.status.borrow().inputs[0].last_error.clone().unwrap();
    assert!(fault.contains("empty.mp4"), "{fault}");
}

/// A film under the name of a segment.
fn recording(folder: &Path, name: &str, size: &str) {
    let picture = format!("testsrc2=size={size}:rate=30");
    let source = ["-nostdin", "-v", "error", "-f", "lavfi", "-i", &picture, "-t", "1.5"];
    let coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-f", "mp4"];
    let (open, closed) = (folder.join(format!("{name}.mp4.part")), folder.join(format!("{name}.mp4")));
    assert!(Command::new("ffmpeg").args(source).args(coded).arg(&open).status().expect("ffmpeg").success());
    std::fs::rename(open, closed).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recordings_are_played_as_they_come() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_path_buf();
    recording(&directory, "20261122T235958Z", "64x64");
    let what = Reference::parse("2026-11-23").unwrap();
    let paths = vec![Played::Archive { directory: directory.clone(), what }];
    let station = start(&[("one", InputKind::File { paths, looped: true })]);
    station.until("a word about nothing", |status| status.inputs[0].last_error.is_some()).await;
    let fault = station.status.borrow().inputs[0].last_error.clone().unwrap();
    assert!(fault.contains("archive:2026-11-23 cannot be played") && fault.contains("no closed segment"), "{fault}");

    let (reply, done) = tokio::sync::oneshot::channel();
    let command = control::Command::Roll { input: "one".into() };
    station.orders[0].send(control::Request { command, reply }).await.unwrap();
    done.await.unwrap().unwrap();
    recording(&directory, "20261123T000001Z", "320x180");
    station.until("the first recording", |status| status.program.shows == Shows::Live).await;
    station.until("no fault any more", |status| status.inputs[0].last_error.is_none()).await;
    recording(&directory, "20261123T000003Z-1", "640x360");
    let mut slates = 0;
    station
        .until("the one that was recorded meanwhile", |status| {
            slates += u32::from(status.program.shows == Shows::Slate);
            status.inputs[0].mode.contains("640x360")
        })
        .await;
    station
        .until("the first one again", |status| {
            slates += u32::from(status.program.shows == Shows::Slate);
            status.inputs[0].mode.contains("320x180")
        })
        .await;
    assert_eq!(slates, 0);
}

const FORMAT: RawFormat = RawFormat { width: 320, height: 180, framerate: FrameRate::new(30, 1).unwrap(), pixels: Pixels::I420 };

#[test]
fn a_picture_file_becomes_the_slate_with_its_proportions_kept() {
    gstreamer::init().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let square = folder.path().join("square.png");
    let arguments = ["-nostdin", "-v", "error", "-f", "lavfi", "-i", "color=white:size=100x100", "-frames:v", "1"];
    let drawn = Command::new("ffmpeg").args(arguments).arg(&square).status().expect("ffmpeg");
    assert!(drawn.success());
    let slate = slate::from_file(&square, &FORMAT).unwrap();
    let map = slate.map_readable().unwrap();
    let luma = |x: usize, y: usize| map[y * 320 + x];
    assert_eq!(map.len(), FORMAT.layout().size());
    assert!(luma(160, 90) > 220, "white in the middle");
    assert!(luma(10, 90) < 30 && luma(310, 90) < 30, "black bars beside the square");
}

#[test]
fn a_slate_that_is_no_picture_is_named_with_what_to_do() {
    gstreamer::init().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("slate.png");
    std::fs::write(&text, "not a picture").unwrap();
    for path in [text, folder.path().join("missing.png")] {
        let fault = slate::from_file(&path, &FORMAT).unwrap_err();
        assert!(fault.contains(path.to_str().unwrap()) && fault.contains("PNG or JPEG"), "{fault}");
    }
}

#[test]
fn verdicts_on_encoders_are_found_by_trial_and_remembered() {
    gstreamer::init().unwrap();
    let state = tempfile::tempdir().unwrap();
    let chosen = Trials::new(Some(state.path())).choose("auto").unwrap().element;
    let file = state.path().join("encoders.json");
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.contains(chosen) && kept.contains("not installed"), "{kept}");
    // What is remembered is believed, until the environment is another.
    std::fs::write(&file, kept.replace("\"fault\": null", "\"fault\": \"a matter of yesterday\"")).unwrap();
    assert!(Trials::new(Some(state.path())).choose(chosen).is_err_and(|fault| fault.contains("yesterday")));
    std::fs::write(&file, kept.replace("GStreamer", "An older GStreamer")).unwrap();
    assert_eq!(Trials::new(Some(state.path())).choose("auto").unwrap().element, chosen);
    assert!(Trials::new(None).choose("nonsense").is_err_and(|fault| fault.contains("x264enc")));
}
