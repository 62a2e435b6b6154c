//! What a program of 6 Mbit/s costs while it is on air.

use std::time::Duration;

use crate::clip::Clip;
use crate::peer::Pace;
use crate::peer::Peer::{Ffmpeg, Librtmp, Onaird, Raw, Rtmp2Sink};
use crate::seconds;
use crate::table::{Experiment, Sample, Variant, cell};

const VARIANTS: [Variant; 11] = [
    (Raw, 1),
    (Onaird, 1),
    (Ffmpeg, 1),
    (Rtmp2Sink, 1),
    (Librtmp, 1),
    (Raw, 2),
    (Onaird, 2),
    (Ffmpeg, 2),
    (Rtmp2Sink, 2),
    (Raw, 4),
    (Onaird, 4),
];

pub fn run() {
    let rest = Duration::from_millis(500);
    let experiment =
        Experiment { pace: Pace::RealTime, variants: &VARIANTS, begun: 250_000, rest, length: seconds(), cpus: None };
    let results = experiment.run();
    let cost = |sample: &Sample| 1000.0 * sample.cpu_s / sample.wall_s;
    let rate = Clip::load().bit_rate();
    println!("\npublishing in real time, {rate}; goal: onaird at most 1.25 of raw, below all peers");
    println!("{:<28} {:>5} {:>14} {:>8} {:>12}", "", "legs", "CPU ms per s", "of raw", "sleeps per s");
    for variant @ (peer, legs) in VARIANTS {
        let ratio = cell(results.ratio(variant, (Raw, legs), cost), 2);
        let sleeps = cell(results.figure(variant, |sample| sample.sleeps / sample.wall_s), 0);
        println!("{:<28} {legs:>5} {:>14} {ratio:>8} {sleeps:>12}", peer.name(), cell(results.figure(variant, cost), 1));
    }
}
