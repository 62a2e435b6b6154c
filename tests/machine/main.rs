//! The bench machine's tests: a whole emulated machine in which the real unit and binary run. With two capture cards and a sound card,
//! all that cables, cameras, cards and drivers do to it; with a data disk, power cuts. Judged by what real origins recorded.
//!
//! | run | what |
//! | --- | --- |
//! | `make test-vm` | each mishap once, measured; 15 random ones in a row; switches between two cards; other modes on the cable; a minute of sound from a clock that is off |
//! | | 2 power cuts at random moments of recording |
//! | `make soak-vm` | 200 random mishaps, ten minutes of that sound; 20 power cuts |
//!
//! `MACHINE_ONLY="no signal,720x576i25"`: these steps alone; `MACHINE_SEED`: another order of mishaps, other moments of cuts; `ONAIRD_BIN`:
//! another daemon; `ONAIRD_VM_KEEP=1` keeps the recordings of a good run too. One test alone, the binary being built:
//! `cargo test --test machine -- --ignored --nocapture --exact power_is_cut`.
//!
//! The same program is both sides: the host boots the machine and lets it run this executable's `guest::plays` in it.

mod bench;
mod diary;
mod film;
mod guest;
mod image;
mod loss;
mod measure;
mod plan;
mod power;
#[path = "../support/mod.rs"]
mod support;
mod tone;
mod verdict;
mod writelog;

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

#[test]
#[ignore = "boots a machine three times: make test-vm"]
fn power_is_cut() {
    power::cut(2, seed());
}

#[test]
#[ignore = "boots a machine 21 times: make soak-vm"]
fn power_is_cut_often() {
    power::cut(20, seed());
}

fn seed() -> u64 {
    std::env::var("MACHINE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(SEED)
}

fn plan() -> Plan {
    let text = |name: &str| std::env::var(name).unwrap_or_default();
    let only = text("MACHINE_ONLY").split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Plan { seed: seed(), slower_ppm: 200, only, ..Plan::default() }
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
