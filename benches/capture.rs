//! What a captured picture costs before it is converted: our own capture beside `v4l2src ! queue ! appsink` and `ffmpeg -f v4l2`, on
//! the virtual card of the bench machine, all in one run.
//!
//! ```text
//!   host: this program ──▶ tests/vm/run.sh ──▶ guest: this program again ──▶ each way for a few and for many pictures
//! ```
//!
//! The difference of the two CPU times is what the pictures cost, without starting and ending. The CPU is emulated: only the ratios
//! mean something. `BENCH_PICTURES` (200), `BENCH_ROUNDS` (5).

#![allow(clippy::print_stdout, reason = "a benchmark speaks to the one who runs it")]

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use onaird::capture::card::{Cards, Seat, Wake, Wanted};
use onaird::capture::video::driver::Driver;
use onaird::clock::MediaClock;
use onaird::config::Connector;

const DEVICE: &str = "/dev/video0";

/// Pictures of the short run, which is taken from the long one.
const FEW: u32 = 20;

/// A way from the device to where pictures would be converted.
struct Way {
    name: &'static str,
    command: fn(u32) -> Command,
}

const WAYS: &[Way] = &[
    Way { name: "onaird, mapped", command: |pictures| myself("mapped", pictures) },
    Way { name: "onaird, one copy", command: |pictures| myself("copied", pictures) },
    Way { name: "v4l2src ! queue ! appsink", command: |pictures| myself("v4l2src", pictures) },
    Way { name: "ffmpeg -f v4l2 -c copy", command: ffmpeg },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => host(),
        ["guest"] => guest(),
        ["mapped", pictures] => capture(pictures.parse().expect("a number"), false),
        ["v4l2src", pictures] => v4l2src(pictures.parse().expect("a number")),
        ["copied", pictures] => capture(pictures.parse().expect("a number"), true),
        _ => ExitCode::from(2),
    }
}

/// Boots the bench machine and runs this very program in it.
fn host() -> ExitCode {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let setup = "modprobe vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0x3 ccs_cap_mode=0 && \
                 v4l2-ctl -d /dev/video0 --set-dv-bt-timings index=0 && \
                 v4l2-ctl -d /dev/video0 -c fill_percentage_of_frame=10,osd_text_mode=2";
    let (pictures, rounds) = (number("BENCH_PICTURES", 200), number("BENCH_ROUNDS", 5));
    let program = std::env::current_exe().expect("this program's path");
    let command = format!("{setup} && BENCH_PICTURES={pictures} BENCH_ROUNDS={rounds} {} guest", program.display());
    let out = tempfile::tempdir().expect("a directory");
    let mut machine = Command::new(folder.join("tests/vm/run.sh"));
    machine.args(["-t", "900", "-o"]).arg(out.path()).args(["--", "bash", "-c", &command]);
    let ended = machine.status().expect("the bench machine starts");
    print!("{}", std::fs::read_to_string(out.path().join("log")).unwrap_or_default());
    ExitCode::from(u8::from(!ended.success()))
}

fn guest() -> ExitCode {
    let (pictures, rounds) = (number("BENCH_PICTURES", 200), number("BENCH_ROUNDS", 5));
    println!("CPU per picture of 640x480 YUYV, medians of {rounds} rounds of {pictures} pictures (emulated CPU)");
    let mut costs = vec![Vec::new(); WAYS.len()];
    for _ in 0..rounds {
        for (way, costs) in WAYS.iter().zip(&mut costs) {
            let (few, many) = (cpu(&mut (way.command)(FEW)), cpu(&mut (way.command)(FEW + pictures)));
            costs.push(many.saturating_sub(few).as_secs_f64() * 1e6 / f64::from(pictures));
        }
    }
    let medians: Vec<f64> = costs.iter_mut().map(|costs| median(costs)).collect();
    for (way, median) in WAYS.iter().zip(&medians) {
        println!("{:28} {median:8.0} µs  {:5.2}", way.name, median / medians[0]);
    }
    ExitCode::SUCCESS
}

/// User and system time of a child from its start to its end.
fn cpu(command: &mut Command) -> Duration {
    let used = || {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the usage of the children");
        Duration::from_micros((usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as u64)
    };
    let before = used();
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    assert!(ended.is_ok_and(|status| status.success()), "{command:?} failed");
    used() - before
}

/// Takes so many pictures as an input's thread does.
fn capture(pictures: u32, copied: bool) -> ExitCode {
    gst::init().expect("GStreamer");
    let driver = Driver::new([("camera", Path::new(DEVICE))], MediaClock::start());
    let seat = Seat { input: "camera".into(), device: DEVICE.into(), connector: Connector::Auto, edid: None };
    let mut card = driver.open(&seat).expect("the card");
    card.start(&Wanted { width: 640, height: 480, fps: 60.0, lend: None }).expect("a stream");
    let mut taken = 0;
    while taken < pictures {
        let Wake::Picture(picture) = card.wait(Duration::from_secs(5)).expect("a picture") else { continue };
        taken += 1;
        assert!(taken > 1 || in_driver(&picture.buffer), "the picture is not in the driver's memory: it was copied on the way");
        if copied {
            std::hint::black_box(picture.buffer.copy_deep().expect("a copy"));
        }
    }
    ExitCode::SUCCESS
}

/// The same by GStreamer's own source.
fn v4l2src(pictures: u32) -> ExitCode {
    gst::init().expect("GStreamer");
    let text = format!(
        "v4l2src device={DEVICE} num-buffers={pictures} ! video/x-raw,format=YUY2 ! queue \
         ! appsink sync=false max-buffers=1 drop=true wait-on-eos=false"
    );
    let pipeline = gst::parse::launch(&text).expect("a pipeline");
    pipeline.set_state(gst::State::Playing).expect("a stream");
    let end = pipeline.bus().and_then(|bus| bus.timed_pop_filtered(None, &[gst::MessageType::Eos, gst::MessageType::Error]));
    let _ = pipeline.set_state(gst::State::Null);
    ExitCode::from(u8::from(end.is_none_or(|message| message.type_() == gst::MessageType::Error)))
}

/// Whether a picture lies in memory that is mapped from the device.
fn in_driver(buffer: &gst::Buffer) -> bool {
    let map = buffer.map_readable().expect("a readable picture");
    let address = map.as_ptr() as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines().filter(|line| line.ends_with(DEVICE)).any(|line| {
        let (start, end) = line.split_whitespace().next().and_then(|range| range.split_once('-')).unwrap_or_default();
        let bound = |text| usize::from_str_radix(text, 16).unwrap_or_default();
        (bound(start)..bound(end)).contains(&address)
    })
}

fn myself(verb: &str, pictures: u32) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program's path"));
    command.arg(verb).arg(pictures.to_string());
    command
}

fn ffmpeg(pictures: u32) -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-f", "v4l2", "-input_format", "yuyv422", "-i", DEVICE]);
    command.args(["-frames:v", &pictures.to_string(), "-c", "copy", "-f", "rawvideo", "-y", "/dev/null"]);
    command
}

fn median(costs: &mut [f64]) -> f64 {
    costs.sort_by(f64::total_cmp);
    costs[costs.len() / 2]
}

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
