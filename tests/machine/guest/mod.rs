//! The guest's side: it does to the cards what happens to cards, waits for what the daemon says of it, and writes the diary.
//!
//! What the daemon *sent* is not its business: the host has the recordings. A condition that does not come is a fault in the diary, and
//! the run goes on, so that one run tells all.

mod card;
mod daemon;
mod mishaps;
mod second;
mod sound;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use fastrand::Rng;

use self::card::Card;
use self::daemon::View;
use self::mishaps::Mishap;
use self::sound::Player;
use crate::diary::{Diary, Step, Storm};
use crate::plan::{self, Plan};
use crate::support::{now, pause};

const ARCHIVE: &str = "/var/lib/onaird/archive";

/// Between two looks at the status: the figures by status are as exact as this.
const LOOK: Duration = Duration::from_millis(40);

/// For anything that must come at all.
const LIMIT: Duration = Duration::from_secs(30);

/// The rule's own numbers: good pictures that are wanted, how often that doubles, and what forgives.
const PROOF_MS: u64 = 500;
const LONGEST_PROOF_MS: u64 = 8000;
const STEADY: Duration = Duration::from_secs(5);

/// Long enough to be seen in a recording, and for a look of the daemon's.
const MOMENT: Duration = Duration::from_millis(700);

/// The hub and the backlog are full after so many seconds: what is held no longer grows by itself.
const WARM: Duration = Duration::from_secs(20);

#[test]
#[ignore = "runs in the bench machine: make test-vm"]
fn plays() {
    let plan = Plan::from_environment();
    let mut bench = Bench::new(&plan);
    bench.first_life(&plan);
    if plan.second_life {
        bench.second_life(&plan);
    }
    bench.end(&plan);
}

struct Bench {
    diary: Diary,
    file: PathBuf,
    one: Card,
    two: Card,
    begun: Instant,
    told: String,
    last: View,
    /// As the daemon counts them.
    losses: u32,
    well_since: Instant,
    listening: bool,
}

impl Bench {
    fn new(plan: &Plan) -> Self {
        let (one, two) = (Card::find("one"), Card::find("two"));
        let (begun, file) = (now(), plan.folder.join(plan::DIARY));
        let (told, last) = (String::new(), View::default());
        Self { diary: Diary::default(), file, one, two, begun, told, last, losses: 0, well_since: begun, listening: false }
    }

    /// The daemon with one input, which has sound.
    fn first_life(&mut self, plan: &Plan) {
        sound::slow_down(plan.slower_ppm);
        let player = Player::start();
        self.wait("on air", 3 * LIMIT, |view| view.is_well() && view.live_legs == 2);
        self.pass(WARM);
        self.diary.before = daemon::footprint();
        self.well_since = now();
        let played = player.played();
        self.diary.sound.begun_ms = wall_ms();
        self.diary.sound.ppm = plan.slower_ppm;
        self.listening = true;
        for mishap in Mishap::ALL.into_iter().filter(|mishap| plan.wants(mishap.name())) {
            self.step(mishap);
        }
        self.diary.warm = daemon::footprint();
        self.storm(plan);
        self.pass_until_sound_is_long_enough(plan);
        self.diary.sound.ended_ms = wall_ms();
        self.diary.sound.underruns = player.underruns();
        self.diary.sound.played_ppm = sound::slower_ppm(played, player.played());
        self.listening = false;
        self.say("settling");
        self.settle();
        drop(player);
        self.write();
    }

    /// Everything on disk is closed, and where the host can see it.
    fn end(&mut self, plan: &Plan) {
        run("systemctl", &["stop", "onaird"]);
        run("cp", &["-r", ARCHIVE, plan.folder.join("archive").to_str().unwrap()]);
        self.diary.complete = true;
        self.write();
    }

    // ------------------------------------------------------------ steps

    fn step(&mut self, mishap: Mishap) {
        let expected = mishap.expected();
        let mut step =
            Step { name: mishap.name().into(), slate: expected.signal.is_some(), retry_ms: expected.retry_ms, ..Step::default() };
        self.pass((STEADY + MOMENT).saturating_sub(self.well_since.elapsed()));
        step.proof_ms = self.proof_ms(u32::from(expected.retry_ms > 2000));
        self.say(mishap.name());
        let begun = now();
        step.begun_ms = wall_ms();
        let one = self.one.clone();
        let cure = mishap.strike(&one);
        if let Some(signal) = expected.signal {
            let told = |view: &View| view.signal() == signal && view.shows == "slate";
            step.told_after_ms = self.wait(&format!("{}: slate and signal {signal}", step.name), LIMIT, told).map(|view| view.1);
            let alarm = |view: &View| alarm_of(view).is_some_and(|text| text.contains(expected.alarm));
            self.wait(&format!("{}: an alarm that says {:?}", step.name, expected.alarm), LIMIT, alarm);
            step.alarm = alarm_of(&self.last).unwrap_or_default();
            self.pass(MOMENT);
        }
        cure();
        let cured = now();
        step.cured_ms = if expected.signal.is_some() { wall_ms() } else { step.begun_ms + (cured - begun).as_millis() as u64 };
        if expected.signal.is_none() {
            // It is seen at the next picture; "well" before that is the state of before.
            self.pass(Duration::from_millis(400));
        }
        let limit = LIMIT + Duration::from_millis(step.proof_ms);
        let well = self
            .wait(&format!("{}: the picture, and no alarm", step.name), limit, |view| view.is_well() && alarm_of(view).is_none());
        step.well_after_ms = well.map(|view| view.1);
        self.well_since = now();
        self.pass(Duration::from_millis(300));
        step.ended_ms = wall_ms();
        self.diary.steps.push(step);
        self.write();
    }

    /// What the next loss will cost in good pictures, and `more` losses on the way.
    fn proof_ms(&mut self, more: u32) -> u64 {
        self.losses = if self.well_since.elapsed() > STEADY { 1 } else { self.losses + 1 };
        let proof = PROOF_MS << (self.losses + more - 1).min(8);
        self.losses += more;
        proof.min(LONGEST_PROOF_MS)
    }

    fn storm(&mut self, plan: &Plan) {
        let mut rng = Rng::with_seed(plan.seed);
        let mut storm = Storm { seed: plan.seed, begun_ms: wall_ms(), ..Storm::default() };
        for number in 0..plan.events {
            let mishap = Mishap::ALL[rng.usize(..Mishap::ALL.len())];
            self.say(&format!("storm {}/{}: {}", number + 1, plan.events, mishap.name()));
            let one = self.one.clone();
            let cure = mishap.strike(&one);
            self.pass(Duration::from_millis(rng.u64(100..2000)));
            cure();
            storm.events.push(mishap.name().into());
            if number + 1 < plan.events {
                self.pass(Duration::from_millis(rng.u64(100..2500)));
            }
        }
        if plan.events > 0 {
            let limit = LIMIT + Duration::from_millis(LONGEST_PROOF_MS);
            let well = self.wait("the picture after the storm", limit, |view| view.is_well() && alarm_of(view).is_none());
            storm.well_after_ms = well.map(|view| view.1);
        }
        storm.ended_ms = wall_ms();
        self.diary.storm = storm;
        self.write();
    }

    /// Waits until the daemon holds what it held before.
    fn settle(&mut self) {
        let begun = now();
        while begun.elapsed() < LIMIT {
            self.diary.after = daemon::footprint();
            let (before, after) = (&self.diary.before, &self.diary.after);
            if before.descriptors == after.descriptors && before.threads == after.threads {
                return;
            }
            self.pass(Duration::from_secs(1));
        }
    }

    // ------------------------------------------------------------ looking

    /// Looks until it is as wanted; that view, and how long it took in milliseconds. A fault if it never is.
    fn wait(&mut self, what: &str, limit: Duration, wanted: impl Fn(&View) -> bool) -> Option<(View, u64)> {
        let begun = now();
        loop {
            self.look();
            if wanted(&self.last) {
                return Some((self.last.clone(), begun.elapsed().as_millis() as u64));
            }
            if begun.elapsed() > limit {
                self.say(&format!("NOT within {} s: {what}", limit.as_secs()));
                self.diary.faults.push(format!("{what}: not within {} s; the status: {}", limit.as_secs(), self.last.words()));
                return None;
            }
            pause(LOOK);
        }
    }

    fn pass(&mut self, time: Duration) {
        let begun = now();
        while begun.elapsed() < time {
            self.look();
            pause(LOOK.min(time.saturating_sub(begun.elapsed())));
        }
    }

    fn pass_until_sound_is_long_enough(&mut self, plan: &Plan) {
        let lasted = wall_ms().saturating_sub(self.diary.sound.begun_ms) / 1000;
        self.pass(Duration::from_secs(plan.sound_s.saturating_sub(lasted)));
    }

    fn look(&mut self) {
        let Some(view) = daemon::view() else {
            if self.told != "no answer" {
                self.say("no answer from the daemon");
                self.told = "no answer".into();
            }
            return;
        };
        self.listen(&view);
        let words = view.words();
        if words != self.told {
            self.say(&words);
            self.told = words;
        }
        self.last = view;
    }

    fn listen(&mut self, view: &View) {
        let Some(offset) = view.offset_ms.filter(|_| self.listening) else { return };
        let sound = &mut self.diary.sound;
        sound.readings += 1;
        sound.offset_ms = Some(sound.offset_ms.unwrap_or_default().max(offset.abs()));
        sound.drift_ppm = view.drift_ppm;
    }

    fn say(&self, text: &str) {
        println!("{:8.2} s  {text}", self.begun.elapsed().as_secs_f64());
    }

    fn write(&self) {
        fs::write(&self.file, serde_json::to_vec_pretty(&self.diary).unwrap()).unwrap();
    }
}

/// The text of the alarm about the first input.
fn alarm_of(view: &View) -> Option<String> {
    view.alarms.iter().find(|alarm| alarm.starts_with("input.one: ")).cloned()
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

#[expect(clippy::disallowed_methods, reason = "the key pictures carry the wall clock, and the guest's runs evenly")]
fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_millis() as u64
}
