//! What a gigabyte costs that is sent as fast as it goes. Publisher and receiver have a CPU each, where there are two.

use std::thread::available_parallelism;
use std::time::Duration;

use crate::peer::Pace;
use crate::peer::Peer::{Ffmpeg, Librtmp, Onaird, Raw, RawBatched, Rtmp2Sink};
use crate::seconds;
use crate::table::{Experiment, Sample, Variant, cell};

const VARIANTS: [Variant; 14] = [
    (RawBatched, 1),
    (Onaird, 1),
    (Raw, 1),
    (Ffmpeg, 1),
    (Rtmp2Sink, 1),
    (Librtmp, 1),
    (RawBatched, 2),
    (Onaird, 2),
    (Raw, 2),
    (Ffmpeg, 2),
    (Rtmp2Sink, 2),
    (RawBatched, 4),
    (Onaird, 4),
    (Raw, 4),
];

pub fn run() {
    let cpus = available_parallelism().is_ok_and(|count| count.get() > 1).then_some([0, 1]);
    let (rest, length) = (Duration::from_millis(100), seconds() / 2);
    let experiment = Experiment { pace: Pace::Full, variants: &VARIANTS, begun: 40_000_000, rest, length, cpus };
    let results = experiment.run();
    let cost = |sample: &Sample| sample.cpu_s / (sample.bytes / 1e9);
    println!("\npublishing at full speed; goal: onaird at most 1.10 of raw with 64 tags per write, below all peers");
    println!("{:<28} {:>5} {:>14} {:>8} {:>12}", "", "legs", "CPU s per GB", "of raw", "MB per s");
    for variant @ (peer, legs) in VARIANTS {
        let ratio = cell(results.ratio(variant, (RawBatched, legs), cost), 2);
        let speed = cell(results.figure(variant, |sample| sample.bytes / 1e6 / sample.wall_s), 0);
        println!("{:<28} {legs:>5} {:>14} {ratio:>8} {speed:>12}", peer.name(), cell(results.figure(variant, cost), 3));
    }
}
