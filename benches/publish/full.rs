//! What a gigabyte costs that is sent as fast as it goes. Publisher and receiver have a CPU each, where there are two.
//!
//! The raw writer reads a clip in memory; the hub's feeder makes packets of it, stamps them, stores them, and asks the receiver how
//! far it is. That is the encoder's part, not the legs': both are told, with the feeder's thread and without.

use std::thread::available_parallelism;
use std::time::Duration;

use crate::peer::Pace;
use crate::peer::Peer::{Ffmpeg, Librtmp, Onaird, Raw, RawBatched, Rtmp2Sink};
use crate::table::{Experiment, Sample, Variant};
use crate::{rounds, seconds};

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
    // The faster it goes, the more the neighbours on the machine show: shorter, and oftener.
    let (begun, rest, length, rounds) = (40_000_000, Duration::from_millis(100), seconds() / 3, rounds() + 2);
    let experiment = Experiment { pace: Pace::Full, variants: &VARIANTS, begun, rest, length, rounds, cpus };
    let results = experiment.run();
    println!("\npublishing at full speed; goal: onaird at most 1.10 of raw with 64 tags per write, below all peers");
    println!("{:<32} {:>4} {:>14} {:>8} {:>14}", "", "legs", "CPU s per GB", "of raw", "MB per s");
    let cost = |sample: &Sample| sample.cpu_s / (sample.bytes / 1e9);
    let legs_alone = |sample: &Sample| (sample.cpu_s - sample.first_thread_s) / (sample.bytes / 1e9);
    results.print([cost, legs_alone], 3, RawBatched, |sample| sample.bytes / 1e6 / sample.wall_s);
}
