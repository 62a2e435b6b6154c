//! What recording costs: our archive beside GStreamer's `splitmuxsink` and ffmpeg's segment muxer, all with the same 6 Mbit/s in real
//! time, in fragments of half a second and segments of ten, onto the same disk, in one run that prints one table.
//!
//! ```text
//!   ours     clip in memory ─▶ hub ─▶ archive        without: the archive is switched off
//!   others   clip in a file ─▶ demultiplexer, parsers ─▶ their muxer   without: what they have read is thrown away
//! ```
//!
//! Each is a process of its own, whose CPU time is read from outside at two moments of steady running. Ours is a part of a daemon that
//! has the packets anyway: its price is the difference to the same without the archive, in the same round. Who records with
//! `splitmuxsink` or ffmpeg beside a daemon runs the whole process; its own difference is told too. Ours waits for the disk after every
//! fragment (`fdatasync`), whose price in the kernel is in its figure; the others never do, and lose what the kernel has not written
//! when the power goes.
//!
//! Not a test: it prints, it never judges. `BENCH_SECONDS` (8), the length of one measurement, of whole GOPs; `BENCH_ROUNDS` (3).

#![allow(clippy::print_stdout, reason = "a benchmark speaks to the one who runs it")]

#[allow(dead_code, reason = "of what the other benchmark needs, this one needs a part")]
#[path = "publish/clip.rs"]
mod clip;
#[allow(dead_code, reason = "of what the other benchmark needs, this one needs a part")]
#[path = "publish/process.rs"]
mod process;
#[path = "publish/time.rs"]
mod time;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use onaird::clock::MediaClock;
use onaird::config;
use onaird::media::hub::Hub;
use onaird::report::{Events, Report};
use onaird::status::Status;
use process::{Running, myself};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Until it runs steadily: the first segment is open, and what is made once is made.
const WARM: Duration = Duration::from_secs(3);

const SEGMENT_S: u64 = 10;
const FRAGMENT_MS: u64 = 500;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Recorder {
    Onaird,
    Splitmuxsink,
    Ffmpeg,
}

const RECORDERS: [(Recorder, &str); 3] = [
    (Recorder::Onaird, "onaird, with fdatasync"),
    (Recorder::Splitmuxsink, "GStreamer splitmuxsink"),
    (Recorder::Ffmpeg, "ffmpeg -f segment"),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["onaird", "with", folder] => record(Path::new(folder), true),
        ["onaird", "without", folder] => record(Path::new(folder), false),
        ["gstreamer", description] => run_pipeline(description),
        _ => bench(),
    }
}

/// CPU and bytes of a second of steady running.
#[derive(Clone, Copy)]
struct Sample {
    cpu_ms: f64,
    bytes: f64,
}

fn bench() {
    clip::make();
    let (length, rounds) = (Duration::from_secs(setting("BENCH_SECONDS", 8).max(1)), setting("BENCH_ROUNDS", 3).max(1));
    println!(
        "\nrecording 6 Mbit/s in real time; goal: onaird below splitmuxsink; medians of {rounds} rounds of {} s",
        length.as_secs()
    );
    let mut costs: Vec<Vec<[f64; 3]>> = vec![vec![]; RECORDERS.len()];
    for _ in 0..rounds {
        for ((recorder, _), costs) in RECORDERS.iter().zip(&mut costs) {
            let (with, without) = (measure(*recorder, true, length), measure(*recorder, false, length));
            costs.push([with.cpu_ms, with.cpu_ms - without.cpu_ms, with.bytes]);
        }
    }
    let medians: Vec<[f64; 3]> = costs.iter().map(|costs| [0, 1, 2].map(|figure| median(costs, figure))).collect();
    println!("{:<26} {:>18} {:>22} {:>10}", "CPU ms per second", "the whole process", "with less without", "KB per s");
    for ((_, name), [all, alone, bytes]) in RECORDERS.iter().zip(&medians) {
        println!("{name:<26} {all:>18.2} {alone:>22.2} {:>10.0}", bytes / 1000.0);
    }
    println!("onaird, with less without, against the process of splitmuxsink: {:.2}", medians[0][1] / medians[1][0]);
}

fn measure(recorder: Recorder, with: bool, length: Duration) -> Sample {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let mut running = Running::start(&mut command(recorder, with, folder.path()));
    time::pause(WARM);
    let moment = |running: &mut Running| {
        let cpu = running.cpu().expect("it still runs; see publish.log below target/tmp");
        (time::now().as_secs_f64(), cpu.as_secs_f64(), written(folder.path()))
    };
    let before = moment(&mut running);
    time::pause(length);
    let after = moment(&mut running);
    assert_eq!(after.2 > 0, with, "it writes if it shall, and only then");
    let seconds = after.0 - before.0;
    Sample { cpu_ms: (after.1 - before.1) * 1000.0 / seconds, bytes: (after.2 - before.2) as f64 / seconds }
}

fn written(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let media = files.filter(|entry| entry.path().to_string_lossy().contains(".mp4"));
    media.filter_map(|entry| entry.metadata().ok()).map(|data| data.len()).sum()
}

fn command(recorder: Recorder, with: bool, folder: &Path) -> Command {
    match recorder {
        Recorder::Onaird => {
            let mut command = myself();
            command.args(["onaird", if with { "with" } else { "without" }]).arg(folder);
            command
        }
        Recorder::Splitmuxsink => {
            let mut command = myself();
            command.args(["gstreamer", &pipeline(with, folder)]);
            command
        }
        Recorder::Ffmpeg => ffmpeg(with, folder),
    }
}

/// Its packets come in time, as from an encoder.
fn pipeline(with: bool, folder: &Path) -> String {
    let sink = format!(
        "splitmuxsink name=s location={}/%05d.mp4 max-size-time={} muxer-factory=mp4mux \
         muxer-properties=\"properties,fragment-duration=(uint){FRAGMENT_MS}\"",
        folder.display(),
        SEGMENT_S * 1_000_000_000
    );
    let branch = |track: &str, parser: &str, pad: &str| {
        let end = if with { format!("s.{pad}") } else { "fakesink sync=false".to_owned() };
        format!("d.{track} ! queue ! {parser} ! clocksync ! {end}")
    };
    let (video, audio) = (branch("video", "h264parse", "video"), branch("audio", "aacparse", "audio_0"));
    let source = format!("filesrc location={} ! flvdemux name=d", clip::long_path().display());
    format!("{source} {} {video} {audio}", if with { &sink } else { "" })
}

fn ffmpeg(with: bool, folder: &Path) -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-re", "-i"]).arg(clip::long_path()).args(["-c", "copy", "-map", "0"]);
    if !with {
        command.args(["-f", "null", "-"]);
        return command;
    }
    let fragments = format!("movflags=+empty_moov+default_base_moof:frag_duration={}", FRAGMENT_MS * 1000);
    command.args(["-f", "segment", "-segment_time", &SEGMENT_S.to_string(), "-segment_format", "mp4"]);
    command.args(["-segment_format_options", &fragments, "-reset_timestamps", "1"]).arg(folder.join("%05d.mp4"));
    command
}

/// The archive as the daemon runs it, fed through the hub as by the encoder; until it is killed.
fn record(folder: &Path, with: bool) {
    gst::init().expect("GStreamer");
    let (hub, clock) = (Hub::new(), MediaClock::start());
    let sender = watch::Sender::new(Status::default());
    let (report, events) = (Report::new(&sender, |status| &mut status.archive), Events::new(&sender, clock.clone()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (config, nobody, never) = (archive(folder, with), tokio::sync::mpsc::channel(1).1, CancellationToken::new());
    runtime.spawn(onaird::archive::run(config, hub.clone(), clock.clone(), report, events, nobody, never));
    let (clip, start) = (clip::Clip::load(), time::now());
    for (due, tag) in clip.endless() {
        time::pause_until(start + due);
        hub.publish(clip.packet(tag, clock.now()));
    }
}

fn archive(folder: &Path, enabled: bool) -> config::Archive {
    let text = format!(
        "version = 1\n[[input]]\nname = \"test\"\nkind = \"test\"\n\
         [archive]\nenabled = {enabled}\ndirectory = '{}'\nsegment_seconds = {SEGMENT_S}\nkeep_free = \"0\"\n",
        folder.display()
    );
    config::parse(&text).unwrap_or_else(|faults| panic!("{faults:?}")).config.archive
}

/// Runs until its end, its fault, or until it is killed.
fn run_pipeline(description: &str) {
    gst::init().expect("GStreamer");
    let pipeline = gst::parse::launch(description).expect("a pipeline");
    pipeline.set_state(gst::State::Playing).expect("a pipeline that plays");
    let bus = pipeline.bus().expect("a bus");
    let end = bus.timed_pop_filtered(gst::ClockTime::NONE, &[gst::MessageType::Eos, gst::MessageType::Error]);
    if let Some(gst::MessageView::Error(error)) = end.as_ref().map(|message| message.view()) {
        panic!("{}: {:?}", error.error(), error.debug());
    }
}

fn median(samples: &[[f64; 3]], figure: usize) -> f64 {
    let mut figures: Vec<f64> = samples.iter().map(|sample| sample[figure]).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
