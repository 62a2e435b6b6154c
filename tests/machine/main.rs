//! The bench machine's tests of inputs: a whole emulated machine with two capture cards and a sound card, in which the real unit and
//! binary run, and all that cables, cameras, cards and drivers do to it; judged by what real origins recorded.
//!
//! | run | what |
//! | --- | --- |
//! | `make test-vm` | each mishap once, measured; 15 random ones in a row; switches between two cards; other modes on the cable; a minute of sound from a clock that is off |
//! | `make soak-vm` | 200 random ones, ten minutes of that sound |
//!
//! `MACHINE_ONLY="no signal,720x576i25"`: these steps alone; `MACHINE_SEED`: another order of mishaps; `ONAIRD_BIN`: another daemon;
//! `ONAIRD_VM_KEEP=1` keeps the recordings of a good run too.
//!
//! The same program is both sides: the host boots the machine and lets it run this executable's `guest::plays` in it.

mod bench;
mod diary;
mod film;
mod guest;
mod measure;
mod plan;
#[path = "../support/mod.rs"]
mod support;
mod tone;
mod verdict;

use bench::Bench;
use film::Film;
use plan::Plan;

/// Any will do; this one is what `make test-vm` runs every time.
const SEED: u64 = 4;

#[test]
#[ignore = "boots a machine for five minutes: make test-vm"]
fn inputs_survive() {
    run(&Plan { events: 15, sound_s: 60, second_life: true, ..plan() }, 420);
}

#[test]
#[ignore = "boots a machine for eleven minutes: make soak-vm"]
fn inputs_survive_for_long() {
    run(&Plan { events: 200, sound_s: 600, ..plan() }, 2400);
}

fn plan() -> Plan {
    let text = |name: &str| std::env::var(name).unwrap_or_default();
    let only = text("MACHINE_ONLY").split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Plan { seed: text("MACHINE_SEED").parse().unwrap_or(SEED), slower_ppm: 200, only, ..Plan::default() }
}

fn run(plan: &Plan, limit_s: u64) {
    let mut bench = Bench::set();
    let diary = bench.run(plan, limit_s);
    let [films, others] = bench.records().map(|files| files.iter().map(|file| Film::read(file)).collect::<Vec<_>>());
    let verdict = verdict::judge(&diary, plan, &films, &others, &bench.archive());
    println!("\n==== inputs on the bench machine (emulated CPU) ====");
    verdict.lines.iter().for_each(|line| println!("{line}"));
    println!("====================================================");
    assert!(verdict.faults.is_empty(), "{} faults:\n{}", verdict.faults.len(), verdict.faults.join("\n"));
    bench.forget();
}
