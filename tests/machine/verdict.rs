//! What must come out, in figures: the goals, the table, and all that is wrong.
//!
//! The goals are the product's. An emulated CPU is slower than any box: what it may cost is [`MARGIN_MS`], added to each of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crate::bench::FRAME_MS;
use crate::diary::{Diary, Footprint, Sound, Step, Switch};
use crate::film::{Film, Kind, Shot};
use crate::measure::{Seen, shape};
use crate::plan::{MODES, Plan};
use crate::support::judge;
use crate::tone::{self, Heard};

/// From the mishap to the slate on air, and from the cure to the picture, beside the proof of good pictures.
const GOAL_MS: u64 = 1000;

/// What the emulation may add: a picture there takes as long as ten on a box, and the host may be busy.
const MARGIN_MS: u64 = 1500;

/// A/V offset.
const OFFSET_MS: f64 = 20.0;

/// Departure from a sine that a person would hear. The encoder's own noise is a tenth of it.
const CLICK: f64 = 0.01;

/// How far the recorded pitch may be from the source's.
const PITCH_PPM: f64 = 20.0;

/// The card tells its position by the tick.
const PLAYED_PPM: f64 = 80.0;

/// A circle is a circle: width to height. Analogue-descended modes leave it open by 2 % what their picture's edge is.
const ROUNDNESS: f64 = 0.04;

/// 1024 samples, rounded to milliseconds twice.
const SOUND_STEP_MS: u32 = 23;

/// How much more memory the daemon may hold at the end than after each mishap once: what is made for the first one stays.
const MEMORY: f64 = 1.05;

pub struct Verdict {
    pub lines: Vec<String>,
    pub faults: Vec<String>,
}

pub fn judge(diary: &Diary, plan: &Plan, films: &[Film], others: &[Film], archive: &[PathBuf]) -> Verdict {
    let mut verdict = Verdict { lines: vec![], faults: diary.faults.clone() };
    verdict.steps(diary, films);
    verdict.storm(diary, films);
    verdict.switches(diary, films);
    verdict.changes(diary, films);
    if plan.sound_s > 0 {
        verdict.sound(&diary.sound, films);
    }
    verdict.footprint(diary);
    verdict.files(films, others, plan);
    verdict.archive(archive);
    verdict
}

impl Verdict {
    fn line(&mut self, text: String) {
        self.lines.push(text);
    }

    fn fault(&mut self, text: String) {
        self.faults.push(text);
    }

    fn steps(&mut self, diary: &Diary, films: &[Film]) {
        if diary.steps.is_empty() {
            return;
        }
        self.line(format!(
            "{:<42} {:>11} {:>13} {:>13} {:>5}",
            "mishap; ms in the recording (by status)", "slate", "picture", "goal", "snow"
        ));
        for step in &diary.steps {
            self.step(step, films);
        }
    }

    fn step(&mut self, step: &Step, films: &[Film]) {
        let shots: Vec<Shot> = films.iter().flat_map(|film| film.between(step.begun_ms, step.ended_ms)).copied().collect();
        let seen = Seen::of(step, &shots);
        let goal_back = GOAL_MS + step.proof_ms + step.retry_ms;
        let number = |ms: Option<u64>| ms.map_or("-".into(), |ms| ms.to_string());
        self.line(format!(
            "{:<42} {:>4} {:>6} {:>5} {:>7} {:>13} {:>5}",
            step.name,
            number(seen.slate_ms),
            format!("({})", number(step.told_after_ms)),
            number(seen.back_ms),
            format!("({})", number(step.well_after_ms)),
            format!("{GOAL_MS} / {goal_back}"),
            seen.snow,
        ));
        let late = |ms: Option<u64>, goal: u64| ms.is_none_or(|ms| ms > goal + MARGIN_MS);
        if step.slate && late(seen.slate_ms, GOAL_MS) {
            self.fault(format!("{}: slate after {} ms; the limit is {GOAL_MS} + {MARGIN_MS}", step.name, number(seen.slate_ms)));
        }
        if late(seen.back_ms, goal_back) {
            self.fault(format!(
                "{}: picture after {} ms; the limit is {goal_back} + {MARGIN_MS}",
                step.name,
                number(seen.back_ms)
            ));
        }
        if seen.snow > 0 {
            self.fault(format!("{}: {} pictures of a signal that was not there went on air", step.name, seen.snow));
        }
        if seen.flickers > 0 {
            self.fault(format!("{}: {} pictures between slates while nothing was cured", step.name, seen.flickers));
        }
    }

    fn storm(&mut self, diary: &Diary, films: &[Film]) {
        let storm = &diary.storm;
        if storm.events.is_empty() {
            return;
        }
        let seconds = (storm.ended_ms - storm.begun_ms) / 1000;
        let snow = films
            .iter()
            .flat_map(|film| film.between(storm.begun_ms, storm.ended_ms))
            .filter(|shot| shot.kind == Kind::Snow)
            .count();
        let well = storm.well_after_ms.map_or("never".into(), |ms| format!("{ms} ms after the last one"));
        self.line(format!(
            "{} mishaps in {seconds} s (seed {}): picture {well}; {snow} pictures of snow",
            storm.events.len(),
            storm.seed
        ));
        if snow > 0 {
            self.fault(format!("in the storm {snow} pictures of a signal that was not there went on air"));
        }
    }

    fn switches(&mut self, diary: &Diary, films: &[Film]) {
        for switch in &diary.switches {
            let wanted = if switch.to == "two" { Kind::Two } else { Kind::One };
            let shots = || films.iter().flat_map(|film| film.between(switch.begun_ms, switch.ended_ms));
            let first = shots().find(|shot| shot.kind == wanted).map(|shot| shot.wall_ms as u64 - switch.begun_ms);
            let slates = shots().filter(|shot| shot.kind == Kind::Slate).count();
            let Switch { name, goal_ms, wait_ms, .. } = switch;
            self.line(format!(
                "{name}: {} ms (goal {goal_ms} + {wait_ms}), {slates} slates",
                first.map_or("never".into(), |ms| ms.to_string())
            ));
            if first.is_none_or(|ms| ms > goal_ms + wait_ms + MARGIN_MS) {
                self.fault(format!(
                    "{name}: its picture came after {first:?} ms; the limit is {goal_ms} + {wait_ms} + {MARGIN_MS}"
                ));
            }
        }
    }

    fn changes(&mut self, diary: &Diary, films: &[Film]) {
        for change in &diary.changes {
            let mode = MODES.iter().find(|mode| mode.name == change.mode).unwrap();
            let Some(shape) = shape(change, films) else {
                self.fault(format!("{}: no picture of it in the recording", change.mode));
                continue;
            };
            self.line(format!(
                "{}: on air after {} ms; picture {:.3}:1 (should be {:.3}), square {:.3}:1, {} slates on the way",
                change.mode,
                change.steady_ms - change.begun_ms,
                shape.picture,
                mode.aspect,
                shape.square,
                films
                    .iter()
                    .flat_map(|film| film.between(change.begun_ms, change.ended_ms))
                    .filter(|shot| shot.kind == Kind::Slate)
                    .count()
            ));
            if (shape.picture / mode.aspect - 1.0).abs() > ROUNDNESS / 2.0 || (shape.square - 1.0).abs() > ROUNDNESS {
                self.fault(format!("{}: the picture is {:.3}:1 and a square {:.3}:1", change.mode, shape.picture, shape.square));
            }
        }
    }

    fn sound(&mut self, sound: &Sound, films: &[Film]) {
        // Away from the ends, where the tone comes and goes.
        let (begin, end) = (sound.begun_ms + 2000, sound.ended_ms.saturating_sub(2000));
        let film = films.iter().find(|film| film.between(begin, end).next().is_some());
        let samples = film.map(|film| film.sound(begin, end)).unwrap_or_default();
        if samples.len() < tone::RATE as usize * 5 {
            return self.fault(format!("only {} samples of sound were recorded", samples.len()));
        }
        let heard = tone::hear(&samples);
        self.line(format!(
            "sound of {} s from a clock {} ppm too slow: {}",
            samples.len() / tone::RATE as usize,
            sound.ppm,
            words(&heard)
        ));
        let told =
            sound.offset_ms.map_or("not told".into(), |offset| format!("{offset:.2} ms at most, {} readings", sound.readings));
        let (played, drift, underruns) = (sound.played_ppm, sound.drift_ppm, sound.underruns);
        self.line(format!(
            "    the card played {played:.0} ppm too slow, {underruns} underruns; by status: offset {told}; drift {drift:?} ppm"
        ));
        if (played - sound.ppm as f64).abs() > PLAYED_PPM {
            self.fault(format!(
                "the bench's card is {played:.0} ppm too slow instead of {}: its sound proves nothing",
                sound.ppm
            ));
        }
        if sound.underruns > 0 {
            self.fault(format!("the bench's player was starved {} times: its sound proves nothing", sound.underruns));
        }
        let Some(offset) = sound.offset_ms else {
            return self
                .line("    NOT JUDGED: the status tells no offset, so the daemon does not follow its sound's clock yet".into());
        };
        if offset > OFFSET_MS {
            self.fault(format!("sound: {offset} ms beside the picture by the status"));
        }
        if heard.click > CLICK || heard.level.0 < 0.9 || heard.level.1 > 1.1 {
            self.fault(format!("sound: it clicks or has holes: {}", words(&heard)));
        }
        if (heard.slower_ppm - sound.ppm as f64).abs() > PITCH_PPM || heard.wander_ms > OFFSET_MS {
            self.fault(format!("sound: its pitch is wrong: {}", words(&heard)));
        }
    }

    fn footprint(&mut self, diary: &Diary) {
        let Diary { before, warm, after, .. } = diary;
        let mib = |footprint: &Footprint| footprint.rss_kib as f64 / 1024.0;
        self.line(format!(
            "held before and after: {} and {} descriptors, {} and {} threads; {:.1} MiB, {:.1} after each mishap once, {:.1} at the end",
            before.descriptors.len(),
            after.descriptors.len(),
            before.threads.len(),
            after.threads.len(),
            mib(before),
            mib(warm),
            mib(after)
        ));
        if before.descriptors != after.descriptors {
            self.fault(format!("descriptors: {}", difference(&before.descriptors, &after.descriptors)));
        }
        if before.threads != after.threads {
            self.fault(format!("threads: {}", difference(&before.threads, &after.threads)));
        }
        if mib(after) > mib(warm) * MEMORY {
            self.fault(format!("memory: {} KiB after each mishap once, {} KiB at the end", warm.rss_kib, after.rss_kib));
        }
    }

    fn files(&mut self, films: &[Film], others: &[Film], plan: &Plan) {
        let lives = 1 + usize::from(plan.second_life);
        for (origin, films) in [("a", films), ("b", others)] {
            let most = |step: fn(&Film) -> u32| films.iter().map(step).max().unwrap_or_default();
            let (picture, sound) = (most(|film| film.picture_step_ms), most(|film| film.sound_step_ms));
            let pictures: usize = films.iter().map(|film| film.shots.len()).sum();
            self.line(format!(
                "origin {origin}: {} recordings, {pictures} pictures; largest step {picture} ms, of sound {sound} ms",
                films.len()
            ));
            if films.len() != lives {
                self.fault(format!("origin {origin} has {} recordings instead of {lives}: the stream was broken", films.len()));
            }
            if picture > FRAME_MS + 1 || sound > SOUND_STEP_MS {
                self.fault(format!("origin {origin}: gaps of {picture} ms in the picture and {sound} ms in the sound"));
            }
            self.faults
                .extend(films.iter().flat_map(|film| film.faults.iter().map(move |fault| format!("origin {origin}: {fault}"))));
        }
    }

    fn archive(&mut self, files: &[PathBuf]) {
        if files.is_empty() {
            return self.fault("the archive is empty".into());
        }
        for file in files {
            let sound = catch_unwind(AssertUnwindSafe(|| {
                judge::no_gaps_in_file(file, f64::from(FRAME_MS) / 1000.0);
                judge::decodes(file);
            }));
            if sound.is_err() {
                self.fault(format!("archive: {} has a gap or does not decode (see above)", file.display()));
            }
        }
        self.line(format!("archive: {} files, without a gap", files.len()));
    }
}

fn words(heard: &Heard) -> String {
    let Heard { slower_ppm, wander_ms, click, click_at_s, level: (low, high) } = heard;
    format!(
        "{slower_ppm:.1} ppm too slow, wanders by {wander_ms:.2} ms; largest click {click:.4} at {click_at_s:.2} s; level {low:.2} to {high:.2}"
    )
}

fn difference(before: &[String], after: &[String]) -> String {
    let count = |all: &[String], name: &str| all.iter().filter(|one| *one == name).count();
    let mut names: Vec<&String> = before.iter().chain(after).collect();
    names.sort();
    names.dedup();
    let changed = names.into_iter().filter(|name| count(before, name) != count(after, name));
    changed
        .map(|name| format!("{name}: {} before, {} after", count(before, name), count(after, name)))
        .collect::<Vec<_>>()
        .join("; ")
}
