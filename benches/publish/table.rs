//! Rounds of samples into lines of a table. What is compared was measured in the same round; of all rounds the median counts.

use std::time::Duration;

use crate::peer::{Pace, Peer};
use crate::process::{Running, on_cpu};
use crate::sink::Sink;
use crate::time;

/// For a publisher to begin.
const LIMIT: Duration = Duration::from_secs(20);

type Figure = fn(&Sample) -> f64;

/// A publisher and its number of destinations.
pub type Variant = (Peer, usize);

/// Steady running, between two moments.
#[derive(Clone, Copy)]
pub struct Sample {
    pub cpu_s: f64,
    /// Of these, what the first thread took; with ours, and with raw writes from a second thread, it stands for the encoder and
    /// only hands packets over.
    pub first_thread_s: f64,
    pub wall_s: f64,
    pub bytes: f64,
    pub sleeps: f64,
}

pub struct Experiment<'a> {
    pub pace: Pace,
    pub variants: &'a [Variant],
    /// Bytes to each destination after which it runs steadily, and a rest after them.
    pub begun: u64,
    pub rest: Duration,
    pub length: Duration,
    pub rounds: usize,
    /// One for the publisher, another one for the receiver, if it matters.
    pub cpus: Option<[usize; 2]>,
}

/// Samples of each variant by round; `None` where it did not work.
pub struct Results<'a> {
    variants: &'a [Variant],
    samples: Vec<Vec<Option<Sample>>>,
}

impl<'a> Experiment<'a> {
    pub fn run(&self) -> Results<'a> {
        let mut sink = Sink::start(self.cpus.map(|[_, receiver]| receiver));
        let mut samples = vec![vec![]; self.variants.len()];
        for _ in 0..self.rounds {
            for (variant, samples) in self.variants.iter().zip(&mut samples) {
                samples.push(self.sample(*variant, &mut sink));
            }
        }
        Results { variants: self.variants, samples }
    }

    fn sample(&self, (peer, legs): Variant, sink: &mut Sink) -> Option<Sample> {
        let command = peer.command(self.pace, legs, &sink.ports);
        let mut command = on_cpu(command, self.cpus.map(|[publisher, _]| publisher));
        let (start, bytes) = (time::now(), sink.control.bytes());
        let mut publisher = Running::start(&mut command);
        while sink.control.bytes() < bytes + self.begun * legs as u64 {
            publisher.cpu().filter(|_| time::now() - start < LIMIT)?;
            time::pause(Duration::from_millis(20));
        }
        time::pause(self.rest);
        let before = moment(&mut publisher, sink)?;
        time::pause(self.length);
        let after = moment(&mut publisher, sink)?;
        Some(Sample {
            cpu_s: after.cpu_s - before.cpu_s,
            first_thread_s: after.first_thread_s - before.first_thread_s,
            wall_s: after.wall_s - before.wall_s,
            bytes: after.bytes - before.bytes,
            sleeps: after.sleeps - before.sleeps,
        })
    }
}

fn moment(publisher: &mut Running, sink: &mut Sink) -> Option<Sample> {
    let (cpu_s, first_thread_s) = (publisher.cpu()?.as_secs_f64(), publisher.first_thread_cpu()?.as_secs_f64());
    let (wall_s, bytes, sleeps) = (time::now().as_secs_f64(), sink.control.bytes() as f64, publisher.sleeps() as f64);
    Some(Sample { cpu_s, first_thread_s, wall_s, bytes, sleeps })
}

impl Results<'_> {
    /// The median of a figure; `None` unless every round has worked.
    fn figure(&self, variant: Variant, figure: Figure) -> Option<f64> {
        median(self.of(variant)?.iter().map(|sample| sample.as_ref().map(figure)))
    }

    /// The median of the ratios of a figure to another figure of another variant in the same round.
    fn ratio(&self, variant: Variant, figure: Figure, (base, unit): (Variant, Figure)) -> Option<f64> {
        let pairs = self.of(variant)?.iter().zip(self.of(base)?);
        median(pairs.map(|(sample, base)| Some(figure(sample.as_ref()?) / unit(base.as_ref()?))))
    }

    /// A line for each variant: its cost, that in relation to `base` with as many legs, and one more figure.
    pub fn print(&self, [cost, first_thread]: [Figure; 2], digits: usize, base: Peer, other: Figure) {
        for variant @ (peer, legs) in self.variants.iter().copied() {
            let line = |name: &str, figure: Figure, other: Option<f64>| {
                let ratio = cell(self.ratio(variant, figure, ((base, legs), cost)), 2);
                let (cost, other) = (cell(self.figure(variant, figure), digits), cell(other, 0));
                println!("{name:<32} {legs:>4} {cost:>14} {ratio:>8} {other:>14}");
            };
            line(peer.name(), cost, self.figure(variant, other));
            // Like with like: who writes against the raw writer, and the whole against a whole of two threads.
            if matches!(peer, Peer::Onaird | Peer::RawHandedOver) {
                line("  without its feeder's thread", first_thread, None);
            }
            let handed_over = self.ratio(variant, cost, ((Peer::RawHandedOver, legs), cost));
            if let (Peer::Onaird, Some(ratio)) = (peer, handed_over) {
                println!("{:<32} {legs:>4} {:>14} {ratio:>8.2} {:>14}", "  of raw from a second thread", "", "");
            }
        }
    }

    fn of(&self, variant: Variant) -> Option<&[Option<Sample>]> {
        let index = self.variants.iter().position(|other| *other == variant)?;
        Some(&self.samples[index])
    }
}

fn median(figures: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.collect::<Option<_>>()?;
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

/// A figure, or a dash where there is none.
fn cell(figure: Option<f64>, digits: usize) -> String {
    figure.map_or("-".to_owned(), |figure| format!("{figure:.digits$}"))
}
