//! The daemon's second life: two inputs. Switches between them, by hand and by the list, and other modes on their cables.

use std::fs;
use std::time::Duration;

use super::daemon::{self, View};
use super::{Bench, LIMIT, MOMENT, STEADY, run, wall_ms};
use crate::diary::{Change, Switch};
use crate::plan::{self, Mode, Plan};
use crate::support::now;

/// Of the cards' controls.
const BLACK: i64 = 5;
const STILL: i64 = 3;

impl Bench {
    /// The daemon with two inputs.
    pub fn second_life(&mut self, plan: &Plan) {
        fs::copy(plan.folder.join("product").join(plan::SECOND), "/etc/onaird/onaird.toml").unwrap();
        run("systemctl", &["restart", "onaird"]);
        (self.losses, self.well_since) = (0, now());
        self.wait("on air again", 3 * LIMIT, |view| view.is_well() && view.live_legs == 2);
        self.switches(plan);
        self.changes(plan);
        self.write();
    }

    fn changes(&mut self, plan: &Plan) {
        self.say("modes");
        for card in [&self.one, &self.two] {
            card.set_all(&[("show_border", 1), ("show_square", 1), ("test_pattern", BLACK), ("horizontal_movement", STILL)]);
        }
        for mode in plan::MODES.iter().filter(|mode| plan.wants(mode.name)) {
            self.change(mode);
        }
    }

    /// The whole picture is drawn by the card that is looked at. The other one stands still: else the list would choose it
    /// while the mode changes.
    fn draw(&self, whole: &str) {
        for (name, card) in [("one", &self.one), ("two", &self.two)] {
            let (fill, dropped) = if name == whole { (100, 0) } else { (10, 100) };
            card.set_all(&[("fill_percentage_of_frame", fill), ("percentage_of_dropped_buffers", dropped)]);
        }
    }

    fn change(&mut self, mode: &Mode) {
        self.say(mode.name);
        self.draw(mode.card);
        drop(daemon::ask(&format!("switch {}", mode.card)));
        self.wait(&format!("input {}", mode.card), LIMIT, |view| view.input == mode.card && view.is_well());
        let begun_ms = wall_ms();
        let card = if mode.card == "one" { &self.one } else { &self.two };
        let [which, selected] = mode.controls;
        // Both at once: one change of the source.
        card.set_all(&[(which, card.item(which, mode.name)), (selected, plan::SELECTED)]);
        let shown = |view: &View| view.is_well() && view.mode().starts_with(mode.words);
        // The largest are more than the machine can convert in time, so that they come and go.
        self.wait(&format!("pictures of {}", mode.name), 2 * LIMIT, shown);
        let steady_ms = wall_ms();
        self.pass(3 * MOMENT);
        self.diary.changes.push(Change { mode: mode.name.into(), begun_ms, steady_ms, ended_ms: wall_ms() });
    }

    fn switches(&mut self, plan: &Plan) {
        if !plan.wants("switch") {
            return;
        }
        self.pass(Duration::from_secs(2));
        self.switch("switch to the other card", "two", 1000, 0, |_| drop(daemon::ask("switch two")));
        self.switch("switch back", "one", 1000, 0, |_| drop(daemon::ask("switch one")));
        if plan.failover {
            self.pass(STEADY + MOMENT);
            let proof = self.proof_ms(0);
            let mut hold = None;
            drop(daemon::ask("auto"));
            self.switch("automatic: the first card is cut off", "two", 1000, 0, |bench| hold = Some(bench.one.disconnect()));
            self.switch("automatic: it comes back", "one", 1000, 2000 + proof + plan::RETURN_AFTER_MS, |_| drop(hold.take()));
        }
    }

    fn switch(&mut self, name: &str, to: &str, goal_ms: u64, wait_ms: u64, act: impl FnOnce(&Self)) {
        self.say(name);
        let begun_ms = wall_ms();
        act(self);
        self.wait(&format!("{name}: input {to} live"), LIMIT, |view| view.input == to && view.shows == "live");
        self.pass(Duration::from_millis(1000));
        self.diary.switches.push(Switch { name: name.into(), begun_ms, ended_ms: wall_ms(), to: to.into(), goal_ms, wait_ms });
    }
}
