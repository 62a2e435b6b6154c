//! Which input is on air, where `program.input` lists several: the first one that has a picture. A rule; it moves no picture.
//!
//! ```text
//!                 no picture for `hold`: cut to the first other one that has a picture
//!   on the best ─────────────────────────────────────────────────────────────────────▶ on another one
//!        ▲                                                                                  │
//!        └───── a better one has had a picture for its dwell: fade as configured ───────────┘
//!
//!   the operator's choice stays, in the list or not, until it has no picture for `hold`; or until `auto`
//! ```
//!
//! A picture is gone when the program has none to show for longer than `hold` (its synchroniser knows first), or when the
//! device says for as long that its signal is not locked or brings nothing. Leaving is immediate, returning is not: an input must
//! have had its picture for a dwell without a break, and each time that it is lost within a minute of a return the dwell doubles,
//! up to a minute. So a bad cable moves the program a few times, then less and less often.

use std::time::Duration;

use crate::config::Config;
use crate::status::{self, Shows, Signal, Status};
use crate::units::MediaTime;

/// The longest dwell; and how long an input must have stood after a return for its dwell to be short again.
const CALM: Duration = Duration::from_secs(60);

/// How long an input that a person chose, or the first one of all, may take for its first picture: less than the program's own patience, so that a dead
/// input never comes on air while there is a better one. And how long if its device says that it has one.
const PATIENCE: Duration = Duration::from_millis(1500);
const LONG_PATIENCE: Duration = Duration::from_secs(4);

/// Where the program should go, and why in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    pub input: String,
    /// Frames; `None` as the configuration says.
    pub fade: Option<u32>,
    /// The input that is left has no picture.
    pub lost: bool,
    pub why: String,
}

/// What was seen of all inputs.
#[derive(Debug)]
pub struct Selection {
    /// In order of preference; fewer than two: nothing is ever moved.
    list: Vec<String>,
    /// The shortest dwell.
    dwell: Duration,
    inputs: Vec<Watched>,
    chosen: Chosen,
}

/// One input.
#[derive(Debug)]
struct Watched {
    name: String,
    hold: Duration,
    dwell: Duration,
    /// Has had a picture since; `None`: has none.
    good_since: Option<MediaTime>,
    /// Its device has had no locked signal since.
    unlocked_since: Option<MediaTime>,
    /// Was left at this time although its status told of a picture, and has not told otherwise since: it is not believed for
    /// a fifth of its dwell.
    doubted: Option<MediaTime>,
    /// The list came back to it.
    returned: Option<MediaTime>,
}

/// The input that the program was told to show.
#[derive(Debug, Default)]
struct Chosen {
    name: String,
    since: MediaTime,
    /// Its picture was on air.
    seen: bool,
    /// Until then it may be without a picture for so long: nothing if it was chosen because it had one.
    patience: Duration,
}

impl Selection {
    pub fn new(config: &Config) -> Self {
        let dwell = config.program.return_after;
        let watched = |input: &crate::config::Input| Watched {
            name: input.name.clone(),
            hold: input.hold,
            dwell,
            good_since: None,
            unlocked_since: None,
            doubted: None,
            returned: None,
        };
        let inputs = config.inputs.iter().map(watched).collect();
        Self { list: config.program.input.clone(), dwell, inputs, chosen: Chosen::default() }
    }

    /// Looks, and says where the program should go now, if anywhere. Until it has gone there, it is said again.
    pub fn next(&mut self, status: &Status, now: MediaTime) -> Option<Move> {
        if self.list.len() < 2 {
            return None;
        }
        self.watch(status, now);
        let lost = self.is_lost(status, now);
        match (lost, status.program.automatic) {
            (true, _) => self.leave(status, now),
            (false, true) => self.better(now),
            (false, false) => None,
        }
    }

    /// The move was made.
    pub fn moved(&mut self, to: &Move, now: MediaTime) {
        let (long, dwell) = (self.dwell.max(CALM), self.dwell);
        let left = std::mem::take(&mut self.chosen.name);
        if let Some(left) = self.inputs.iter_mut().find(|input| input.name == left).filter(|_| to.lost) {
            let flaps = left.returned.take().is_some_and(|returned| now.since(returned) < CALM);
            left.dwell = if flaps { (left.dwell * 2).min(long) } else { dwell };
            left.doubted = left.good_since.map(|_| now);
            left.good_since = left.good_since.map(|_| now);
        }
        if let Some(taken) = self.inputs.iter_mut().find(|input| input.name == to.input) {
            taken.returned = (!to.lost).then_some(now);
        }
        self.chosen = Chosen { name: to.input.clone(), since: now, seen: false, patience: Duration::ZERO };
    }

    fn watch(&mut self, status: &Status, now: MediaTime) {
        for input in &mut self.inputs {
            let Some(seen) = status.inputs.iter().find(|seen| seen.name == input.name) else { continue };
            input.unlocked_since = is_unlocked(seen).then(|| input.unlocked_since.unwrap_or(now));
            input.good_since = has_picture(seen).then(|| input.good_since.unwrap_or(now));
            input.doubted = input.doubted.filter(|_| input.good_since.is_some());
        }
        let program = &status.program;
        if self.chosen.name != program.selected {
            self.chosen = Chosen { name: program.selected.clone(), since: now, seen: false, patience: PATIENCE };
        }
        self.chosen.seen |= program.input == program.selected && program.shows == Shows::Live;
    }

    /// The chosen input has nothing to show, for longer than is forgiven.
    fn is_lost(&self, status: &Status, now: MediaTime) -> bool {
        let Some(input) = self.inputs.iter().find(|input| input.name == self.chosen.name) else { return false };
        let waited = now.since(self.chosen.since);
        let unlocked = input.unlocked_since.is_some_and(|since| now.since(since) >= input.hold);
        match self.chosen.seen {
            true => unlocked || status.program.shows != Shows::Live,
            false => waited >= if input.good_since.is_some() { LONG_PATIENCE } else { self.chosen.patience },
        }
    }

    /// From a lost input to the first one that has stood its dwell; if none has, to the first one that has a picture at all.
    fn leave(&self, status: &Status, now: MediaTime) -> Option<Move> {
        let others = || self.listed().filter(|input| input.name != self.chosen.name);
        let next = others().find(|input| input.has_dwelt(now)).or_else(|| others().find(|input| input.is_believed(now)))?;
        let stays = next.name == status.program.input;
        let why = format!("{}: {} {}", self.complaint(status), next.name, if stays { "stays on air" } else { "is on air" });
        Some(Move { input: next.name.clone(), fade: Some(0), lost: true, why })
    }

    fn complaint(&self, status: &Status) -> String {
        let (name, seen) = (&self.chosen.name, self.chosen.seen);
        let input = status.inputs.iter().find(|input| input.name == *name);
        match input {
            Some(input) if input.kind == "file" && seen => format!("input {name} has nothing more to show"),
            Some(input) if is_unlocked(input) && seen => format!("input {name} lost its signal"),
            _ if seen => format!("input {name} gives no pictures any more"),
            _ => format!("input {name} has no picture"),
        }
    }

    /// To an input that is preferred to the one on air.
    fn better(&self, now: MediaTime) -> Option<Move> {
        let mut before = self.listed().take_while(|input| input.name != self.chosen.name);
        let best = before.find(|input| input.has_dwelt(now))?;
        let seconds = best.good_since.map_or(0, |since| now.since(since).as_secs());
        let why =
            format!("input {} has had its picture for {seconds} s: it is on air in place of {}", best.name, self.chosen.name);
        Some(Move { input: best.name.clone(), fade: None, lost: false, why })
    }

    fn listed(&self) -> impl Iterator<Item = &Watched> {
        self.list.iter().filter_map(|name| self.inputs.iter().find(|input| input.name == *name))
    }
}

impl Watched {
    fn has_dwelt(&self, now: MediaTime) -> bool {
        self.good_since.is_some_and(|since| now.since(since) >= self.dwell)
    }

    fn is_believed(&self, now: MediaTime) -> bool {
        self.good_since.is_some() && self.doubted.is_none_or(|since| now.since(since) >= self.dwell / 5)
    }
}

/// A file has no signal that could be lost: only the program knows when its pictures end.
fn is_unlocked(input: &status::Input) -> bool {
    input.kind != "file" && input.signal != Signal::Locked
}

/// Whether an input could go on air: a device that brings pictures of a locked signal, a file that waits or plays.
fn has_picture(input: &status::Input) -> bool {
    match input.kind.as_str() {
        "" => false,
        "file" => input.signal != Signal::NoSignal,
        _ => input.signal == Signal::Locked && input.rolling,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIST: [&str; 3] = ["hdmi1", "hdmi2", "promo"];

    fn at(millis: u64) -> MediaTime {
        MediaTime::from_millis(millis)
    }

    /// A program as it behaves, with inputs as they are made to be; every step is one look of the conductor.
    struct World {
        selection: Selection,
        status: Status,
        now: u64,
        /// Since when the input on air has no picture, and how many moves were made.
        dark_since: Option<u64>,
        moves: Vec<(u64, Move)>,
        /// Times at which a slate was shown although another input of the list had a picture for a second.
        slates: Vec<u64>,
        good_since: [Option<u64>; 4],
    }

    impl World {
        fn new(list: &[&str]) -> Self {
            let text = "version = 1\n[[input]]\nname = 'hdmi1'\n[[input]]\nname = 'hdmi2'\ndevice = '/dev/b'\n\
                [[input]]\nname = 'promo'\nkind = 'file'\npaths = ['/a.mp4']\n[[input]]\nname = 'bars'\nkind = 'test'\n";
            let mut config = crate::config::parse(text).expect("a valid configuration").config;
            config.program.input = list.iter().map(|name| name.to_string()).collect();
            let kinds = config.inputs.iter().map(|input| (input.name.clone(), input.kind.word().to_string()));
            let inputs = kinds.map(|(name, kind)| status::Input { name, kind, ..status::Input::default() }).collect();
            let mut status = Status { inputs, ..Status::default() };
            status.program.selected = list[0].into();
            status.program.input = list[0].into();
            status.program.automatic = list.len() > 1;
            let mut world = Self {
                selection: Selection::new(&config),
                status,
                now: 0,
                dark_since: Some(0),
                moves: vec![],
                slates: vec![],
                good_since: [None; 4],
            };
            world.set([true, true, true, true]);
            world
        }

        /// Which inputs have a picture.
        fn set(&mut self, good: [bool; 4]) {
            for (input, good) in self.status.inputs.iter_mut().zip(good) {
                input.signal = if good { Signal::Locked } else { Signal::NoSignal };
                input.rolling = good;
            }
        }

        fn has(&self, name: &str) -> bool {
            self.status.inputs.iter().any(|input| input.name == name && has_picture(input))
        }

        fn switch(&mut self, name: &str, automatic: bool) {
            (self.status.program.selected, self.status.program.automatic) = (name.into(), automatic);
            if self.has(name) {
                self.status.program.input = name.into();
            }
        }

        fn step(&mut self) {
            self.now += 100;
            let good = self.status.inputs.iter().map(has_picture).collect::<Vec<_>>();
            for (since, good) in self.good_since.iter_mut().zip(good) {
                *since = good.then(|| since.unwrap_or(self.now));
            }
            let program = &mut self.status.program;
            let (input, selected) = (program.input.clone(), program.selected.clone());
            let waits = input != selected && self.has(&selected);
            let on_air = if waits { selected } else { input };
            self.dark_since = if self.has(&on_air) { None } else { self.dark_since.or(Some(self.now)) };
            let dark = self.dark_since.map_or(0, |since| self.now - since);
            self.status.program.input = on_air;
            self.status.program.shows = match self.dark_since {
                None => Shows::Live,
                // 0.2 s of latency, then as long as `hold` a picture that is old enough to be repeated, then as long held.
                Some(_) if dark < 500 => self.status.program.shows,
                Some(_) if dark < 800 => Shows::Hold,
                Some(_) => Shows::Slate,
            };
            if let Some(to) = self.selection.next(&self.status, at(self.now)) {
                self.switch(&to.input, true);
                self.selection.moved(&to, at(self.now));
                self.moves.push((self.now, to));
            } else if self.status.program.shows == Shows::Slate && self.now > 5000 {
                let settled = |index: usize| self.good_since[index].is_some_and(|since| self.now - since > 1000);
                if LIST.iter().enumerate().any(|(index, name)| *name != self.status.program.input && settled(index)) {
                    self.slates.push(self.now);
                }
            }
        }

        fn run(&mut self, seconds: u64) {
            (0..seconds * 10).for_each(|_| self.step());
        }

        /// Runs until the next move; how long it took.
        fn moved(&mut self) -> (u64, Move) {
            let (begin, moves) = (self.now, self.moves.len());
            while self.moves.len() == moves {
                assert!(self.now < begin + 120_000, "nothing was moved: {:?}", self.status.program);
                self.step();
            }
            let (time, to) = self.moves.last().unwrap().clone();
            (time - begin, to)
        }
    }

    #[test]
    fn a_lost_input_is_left_before_the_slate_and_comes_back_after_its_dwell() {
        let mut world = World::new(&LIST);
        world.run(10);
        assert_eq!(world.moves, []);
        world.set([false, true, true, true]);
        let (after, to) = world.moved();
        assert!(after <= 700, "{after} ms");
        assert_eq!(to.why, "input hdmi1 lost its signal: hdmi2 is on air");
        assert_eq!((to.input.as_str(), to.fade, world.status.program.shows), ("hdmi2", Some(0), Shows::Live));
        world.set([true, true, true, true]);
        let (after, to) = world.moved();
        assert!((5000..5200).contains(&after), "{after} ms");
        assert_eq!(to.why, "input hdmi1 has had its picture for 5 s: it is on air in place of hdmi2");
        assert_eq!(to.fade, None, "as the configuration says");
    }

    #[test]
    fn a_break_shorter_than_hold_moves_nothing() {
        let mut world = World::new(&LIST);
        world.run(10);
        world.set([false, true, true, true]);
        world.step();
        world.step();
        world.set([true, true, true, true]);
        world.run(20);
        assert_eq!(world.moves, []);
    }

    #[test]
    fn a_device_that_sends_a_blue_picture_without_a_signal_is_left_after_hold() {
        let mut world = World::new(&LIST);
        world.run(10);
        for _ in 0..10 {
            world.status.inputs[0].signal = Signal::NoCable;
            let to = world.selection.next(&world.status, at(world.now));
            if let Some(to) = to {
                assert_eq!((to.input.as_str(), world.now), ("hdmi2", 10_300));
                return;
            }
            world.now += 100;
        }
        panic!("it was not left");
    }

    #[test]
    fn an_input_that_comes_and_goes_has_to_wait_twice_as_long_each_time() {
        let mut world = World::new(&LIST);
        world.run(10);
        let mut waits = vec![];
        for _ in 0..6 {
            world.set([false, true, true, true]);
            assert_eq!(world.moved().1.input, "hdmi2");
            world.set([true, true, true, true]);
            waits.push(world.moved().0 / 1000);
            world.run(3);
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
        // It has been on air for a minute: forgiven.
        world.run(60);
        world.set([false, true, true, true]);
        world.moved();
        world.set([true, true, true, true]);
        assert_eq!(world.moved().0 / 1000, 5);
    }

    #[test]
    fn an_operator_s_choice_stays_while_it_has_a_picture_in_the_list_or_not() {
        let mut world = World::new(&LIST);
        world.run(10);
        for choice in ["bars", "promo"] {
            world.switch(choice, false);
            world.run(100);
            assert_eq!((world.moves.len(), world.status.program.selected.as_str()), (0, choice));
        }
        world.set([false, true, false, true]);
        let to = world.moved().1;
        assert_eq!((to.input.as_str(), to.why.as_str()), ("hdmi2", "input promo has nothing more to show: hdmi2 is on air"));
        assert!(world.status.program.automatic, "what was chosen is gone: the list is in control");
        world.set([true, true, true, true]);
        assert_eq!(world.moved().1.input, "hdmi1");
    }

    #[test]
    fn auto_returns_to_what_has_stood_at_once() {
        let mut world = World::new(&LIST);
        world.run(10);
        world.switch("bars", false);
        world.run(10);
        world.status.program.automatic = true;
        let (after, to) = world.moved();
        assert_eq!((after, to.input.as_str()), (100, "hdmi1"));
    }

    #[test]
    fn a_dead_input_that_an_operator_wants_never_comes_on_air() {
        let mut world = World::new(&LIST);
        world.set([true, false, true, true]);
        world.run(10);
        world.switch("hdmi2", false);
        let (after, to) = world.moved();
        assert_eq!((after / 100, to.why.as_str()), (16, "input hdmi2 has no picture: hdmi1 stays on air"));
        assert_eq!((world.status.program.input.as_str(), world.status.program.shows), ("hdmi1", Shows::Live));
    }

    #[test]
    fn at_the_start_the_first_input_has_a_moment_and_then_the_next_one_is_taken() {
        let mut world = World::new(&LIST);
        world.set([false, true, true, true]);
        let (after, to) = world.moved();
        assert_eq!(
            (after / 100, to.input.as_str(), to.why.as_str()),
            (16, "hdmi2", "input hdmi1 has no picture: hdmi2 is on air")
        );
    }

    #[test]
    fn one_input_alone_is_never_left() {
        let mut world = World::new(&["hdmi1"]);
        world.run(10);
        world.set([false, true, true, true]);
        world.run(60);
        assert_eq!(world.moves, []);
    }

    /// Which of the inputs have a picture, and for how many tenths of a second.
    fn weather() -> impl Strategy<Value = Vec<([bool; 4], usize)>> {
        let flags = prop::array::uniform4(prop::bool::weighted(0.6));
        prop::collection::vec((flags, prop_oneof![1usize..12, 20usize..120, 300usize..900]), 1..60)
    }

    proptest! {
        #[test]
        fn the_slate_is_never_shown_while_another_input_has_a_picture(weather in weather()) {
            let mut world = World::new(&LIST);
            for (good, steps) in weather {
                world.set(good);
                (0..steps).for_each(|_| world.step());
            }
            prop_assert!(world.slates.is_empty(), "at {:?} ms, moves {:?}", world.slates, world.moves);
        }

        /// With one input that always has a picture: every return is paid for by a dwell, and they become seldom.
        #[test]
        fn it_never_oscillates(weather in weather()) {
            let mut world = World::new(&LIST);
            for (good, steps) in weather {
                world.set([good[0], true, true, true]);
                (0..steps).for_each(|_| world.step());
            }
            let returns: Vec<_> = world.moves.iter().filter(|(_, to)| !to.lost).map(|(time, _)| *time).collect();
            let losses = world.moves.len() - returns.len();
            prop_assert!(losses <= returns.len() + 1, "each loss but the first follows a return");
            prop_assert!(returns.windows(2).all(|pair| pair[1] - pair[0] >= 5000), "{returns:?}");
            // 5 s, 10 s, 20 s, 40 s, then 60 s; or at least a minute of peace between.
            for five in returns.windows(5) {
                prop_assert!(five[4] - five[0] >= 60_000, "{returns:?}");
            }
            prop_assert!(world.moves.windows(2).all(|pair| pair[0].1.input != pair[1].1.input), "{:?}", world.moves);
        }

        /// While nothing changes, nothing is moved for long.
        #[test]
        fn it_comes_to_rest(good in prop::array::uniform4(any::<bool>()), weather in weather()) {
            let mut world = World::new(&LIST);
            for (good, steps) in weather {
                world.set(good);
                (0..steps).for_each(|_| world.step());
            }
            world.set(good);
            world.run(130);
            let moves = world.moves.len();
            world.run(130);
            prop_assert_eq!(world.moves.len(), moves);
            let best = LIST.iter().find(|name| world.has(name));
            prop_assert!(best.is_none_or(|best| world.status.program.input == *best), "{:?}", world.status.program);
        }
    }
}
