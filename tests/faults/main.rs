//! The fault bench of the legs: what origins and networks do to them, measured from what real origins recorded.
//!
//! The daemon is the binary as it is, between three nginx in network namespaces whose lines are cut, shaped and poisoned. All legs
//! carry the same bytes, so the recording of the leg that nobody touched says what the other's should hold. `docs/recovery.md`
//! explains the figures.
//!
//! | run | what |
//! | --- | --- |
//! | with the other tests | three faults and the choice of the nearer origin, once or twice each, with patience for a busy machine |
//! | `make faults` | all faults, `FAULT_ROUNDS` (10) rounds each; `FAULT_ONLY=killed,frozen` for some; else it writes the table |
//! | `make soak-legs` | `SOAK_MINUTES` (30) of each condition under which no leg may move; `SOAK_ONLY=wan` for some |
//! | `make reconnects` | `RECONNECTS` (1000) forced ones, with the daemon's memory and descriptors |
//!
//! It leaves nothing behind, however it ends: see [`sandbox`].

#[path = "../authority/mod.rs"]
mod authority;
mod compare;
mod dns;
mod goals;
mod network;
mod proxy;
mod recording;
mod report;
mod rough;
mod sandbox;
mod scenarios;
mod soak;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod tls;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use goals::Violation;
use report::Row;
use sandbox::say;
use scenarios::Scenario;
use stage::{Figures, Round};

/// Times in the trimmed run may be so many times longer than the goal.
const PATIENCE: u32 = 3;

const TRIMMED: [(&str, usize); 3] = [("killed", 2), ("frozen", 1), ("black-holed", 1)];

#[test]
fn the_spare_takes_over_and_the_other_leg_never_notices() {
    sandbox::run_or_skip("the_spare_takes_over_and_the_other_leg_never_notices", || {
        let rows: Vec<Row> = TRIMMED.iter().map(|(name, rounds)| measure(named(name), *rounds)).collect();
        let bad: Vec<String> = violations(&rows, PATIENCE).iter().map(words).collect();
        assert!(bad.is_empty(), "{}", bad.join("\n"));
    });
}

#[test]
fn the_nearer_origin_is_preferred_where_the_leg_is_told_so() {
    sandbox::run_or_skip("the_nearer_origin_is_preferred_where_the_leg_is_told_so", || {
        let bad: Vec<String> = violations(&[measure(&scenarios::NEARER, 1)], PATIENCE).iter().map(words).collect();
        assert!(bad.is_empty(), "{}", bad.join("\n"));
    });
}

#[test]
#[ignore = "half an hour and more: make faults"]
fn all_faults() {
    sandbox::run("all_faults", || {
        let only = list("FAULT_ONLY");
        let wanted = |scenario: &&Scenario| only.is_empty() || only.iter().any(|name| name == scenario.name);
        let rounds = number("FAULT_ROUNDS", 10) as usize;
        let rows: Vec<Row> = scenarios::ALL.iter().filter(wanted).map(|scenario| measure(scenario, rounds)).collect();
        let table = report::table(&rows);
        say(&format!("\n{table}"));
        if only.is_empty() {
            report::write(&table);
        }
        let found: Vec<String> = violations(&rows, 1).iter().map(words).collect();
        assert!(found.is_empty() && !rows.is_empty(), "goals that were missed:\n{}", found.join("\n"));
    });
}

#[test]
#[ignore = "hours: make soak-legs"]
fn nothing_moves() {
    sandbox::run("nothing_moves", || {
        let (only, minutes) = (list("SOAK_ONLY"), number("SOAK_MINUTES", 30));
        let conditions = soak::CONDITIONS.iter().filter(|(name, ..)| only.is_empty() || only.iter().any(|wanted| wanted == name));
        let found: Vec<String> =
            conditions.flat_map(|(name, condition, goal)| soak::soak(name, *condition, *goal, minutes)).collect();
        assert!(found.is_empty(), "{}", found.join("\n"));
    });
}

#[test]
#[ignore = "a quarter of an hour: make reconnects"]
fn a_thousand_reconnects_leave_no_trace() {
    sandbox::run("a_thousand_reconnects_leave_no_trace", || soak::reconnects(number("RECONNECTS", 1000)));
}

fn named(name: &str) -> &'static Scenario {
    scenarios::ALL.iter().find(|scenario| scenario.name == name).unwrap()
}

/// All rounds of a scenario; a round that goes wrong is told and does not end the others.
fn measure(scenario: &'static Scenario, of: usize) -> Row {
    let round = |number| {
        let figures = catch_unwind(AssertUnwindSafe(|| (scenario.run)(Round { number, of }))).map_err(reason);
        let told = figures.as_ref().map_or_else(|fault| format!("WENT WRONG: {fault}"), report::line);
        say(&format!("{} {}/{of}: {told}", scenario.name, number + 1));
        figures
    };
    Row { scenario, rounds: (0..of).map(round).collect() }
}

fn reason(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
    // The rest has been told when it happened.
    text.and_then(|text| Some(text.lines().next()?.to_owned())).unwrap_or_else(|| "a panic".into())
}

fn violations(rows: &[Row], patience: u32) -> Vec<Violation> {
    let of_round = |row: &Row, round: &Result<Figures, String>| match round {
        Ok(figures) => row.scenario.goal.violations(row.scenario.name, figures, patience),
        Err(fault) => vec![Violation { scenario: row.scenario.name, text: fault.clone() }],
    };
    rows.iter().flat_map(|row| row.rounds.iter().flat_map(move |round| of_round(row, round))).collect()
}

fn words(violation: &Violation) -> String {
    format!("{}: {}", violation.scenario, violation.text)
}

fn number(variable: &str, default: u64) -> u64 {
    let Ok(text) = std::env::var(variable) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{variable} wants a number, got {text}"))
}

fn list(variable: &str) -> Vec<String> {
    let text = std::env::var(variable).unwrap_or_default();
    text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
