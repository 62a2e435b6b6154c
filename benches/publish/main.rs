//! What it costs to publish, beside raw TCP and other publishers, in one run that prints one table.
//!
//! Everything that is measured is a process of its own, ours too: this program starts itself again with a verb. The receiver
//! is a process of its own as well and discards what it gets; in real time it acknowledges as servers do. CPU time and bytes are read at two moments of steady running, so
//! that nobody's start-up counts. The machine need not be quiet: the runs of all peers alternate, and what counts are the
//! ratios within a round.
//!
//! Not a test: it prints, it never judges. `make bench` runs it. In the environment: `BENCH_SECONDS`, the length of one
//! measurement (default 3); `BENCH_ROUNDS` (default 3); `BENCH_ONLY`, one of `realtime`, `full`, `latency`.

mod clip;
mod control;
mod full;
mod latency;
mod onaird;
mod peer;
mod process;
mod raw;
mod realtime;
mod receiver;
mod rtmp;
mod sink;
mod table;
mod time;

use peer::Job;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["receiver"] => receiver::serve(),
        ["raw", ref job @ ..] => raw::publish(&Job::parse(job)),
        ["onaird", ref job @ ..] => onaird::publish(&Job::parse(job)),
        ["gstreamer", description] => peer::run_pipeline(description),
        _ => bench(),
    }
}

fn bench() {
    clip::make();
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    let wanted = |part: &str| only.is_empty() || only == part;
    if wanted("realtime") {
        realtime::run();
    }
    if wanted("full") {
        full::run();
    }
    if wanted("latency") {
        latency::run();
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The length of one measurement.
fn seconds() -> std::time::Duration {
    std::time::Duration::from_secs(setting("BENCH_SECONDS", 3).max(1))
}

fn rounds() -> usize {
    setting("BENCH_ROUNDS", 3).max(1) as usize
}
