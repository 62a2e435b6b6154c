//! What a program of 6 Mbit/s costs while it is on air.
//!
//! The raw writer knows the time and writes, in one thread. A leg is woken by another thread, the encoder's, for which a feeder
//! stands here; that one's own sleeping and waking is not the leg's work, but its handing over is. So all are told: the
//! whole and the legs' thread against the raw writer, and the whole against a raw writer that is handed its tags likewise.

use std::time::Duration;

use crate::clip::Clip;
use crate::peer::Pace;
use crate::peer::Peer::{Ffmpeg, Librtmp, Onaird, Raw, RawHandedOver, Rtmp2Sink};
use crate::table::{Experiment, Sample, Variant};
use crate::{rounds, seconds};

const VARIANTS: [Variant; 14] = [
    (Raw, 1),
    (RawHandedOver, 1),
    (Onaird, 1),
    (Ffmpeg, 1),
    (Rtmp2Sink, 1),
    (Librtmp, 1),
    (Raw, 2),
    (RawHandedOver, 2),
    (Onaird, 2),
    (Ffmpeg, 2),
    (Rtmp2Sink, 2),
    (Raw, 4),
    (RawHandedOver, 4),
    (Onaird, 4),
];

pub fn run() {
    let rest = Duration::from_millis(500);
    let (begun, length, rounds) = (250_000, seconds(), rounds());
    let experiment = Experiment { pace: Pace::RealTime, variants: &VARIANTS, begun, rest, length, rounds, cpus: None };
    let results = experiment.run();
    let rate = Clip::load().bit_rate();
    println!("\npublishing in real time, {rate}; goal: onaird at most 1.25 of raw, below all peers");
    println!("{:<32} {:>4} {:>14} {:>8} {:>14}", "", "legs", "CPU ms per s", "of raw", "sleeps per s");
    let cost = |sample: &Sample| 1000.0 * sample.cpu_s / sample.wall_s;
    let legs_alone = |sample: &Sample| 1000.0 * (sample.cpu_s - sample.first_thread_s) / sample.wall_s;
    results.print([cost, legs_alone], 1, Raw, |sample| sample.sleeps / sample.wall_s);
}
