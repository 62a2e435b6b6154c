//! The lock with a device and its cable behind it, on a time line of its own.

use proptest::prelude::*;

use super::*;
use crate::capture::native::Rate;

const FRAME: Duration = Duration::from_millis(33);

fn at(millis: u64) -> MediaTime {
    MediaTime::from_millis(millis)
}

fn timings(height: u32) -> Timings {
    Timings { width: height * 16 / 9, height, interlaced: false, rate: Rate { numerator: 30, denominator: 1 } }
}

fn locked(height: u32) -> Look {
    Look::new(Signal::Locked, Some(timings(height)))
}

const CAMERA: Look = Look::new(Signal::Locked, None);
const NOTHING: Look = Look::new(Signal::NoSignal, None);

/// A lock with a device behind it, on a time line of its own.
struct Bench {
    lock: Lock,
    millis: u64,
    look: Look,
}

impl Bench {
    fn new(look: Look) -> Self {
        let mut lock = Lock::new(at(0));
        lock.looked(look, at(0));
        lock.started(FRAME, at(0));
        Self { lock, millis: 0, look }
    }

    /// Lets time pass, with a look every 100 ms and, if there are any, a picture every 33; how many went on.
    fn pass(&mut self, millis: u64, pictures: bool) -> u64 {
        let mut passed = 0;
        for _ in 0..millis {
            self.millis += 1;
            if self.millis.is_multiple_of(100) {
                self.lock.looked(self.look, at(self.millis));
            }
            if pictures && self.millis.is_multiple_of(33) {
                passed += u64::from(self.lock.pictured(true, at(self.millis)));
            }
            self.lock.verdict(at(self.millis));
        }
        passed
    }

    fn verdict(&mut self) -> Verdict {
        self.lock.verdict(at(self.millis))
    }
}

#[test]
fn the_first_picture_is_shown_at_once() {
    let mut bench = Bench::new(locked(720));
    assert_eq!(bench.pass(33, true), 1);
    assert_eq!((bench.lock.signal(), bench.lock.passes()), (Signal::Locked, true));
}

#[test]
fn a_lost_signal_stops_pictures_at_once_and_is_told_when_it_is_certain() {
    let mut bench = Bench::new(locked(720));
    bench.pass(1000, true);
    bench.look = NOTHING;
    bench.lock.looked(NOTHING, at(bench.millis));
    assert!(!bench.lock.passes() && bench.lock.doubts());
    assert_eq!(bench.lock.signal(), Signal::Locked, "in doubt nothing is said");
    assert_eq!(bench.pass(101, true), 0, "snow is not shown");
    assert_eq!(bench.lock.signal(), Signal::NoSignal);
}

#[test]
fn a_glitch_of_one_look_costs_nothing() {
    let mut bench = Bench::new(locked(720));
    bench.pass(1000, true);
    bench.lock.looked(NOTHING, at(bench.millis));
    bench.lock.looked(locked(720), at(bench.millis + 50));
    assert!(bench.lock.passes());
    assert_eq!(bench.lock.losses, 0);
}

#[test]
fn a_signal_that_came_back_is_shown_after_half_a_second_and_later_each_time_it_flaps() {
    let mut bench = Bench::new(locked(720));
    bench.pass(1000, true);
    let mut waits = Vec::new();
    for _ in 0..7 {
        bench.look = NOTHING;
        bench.pass(1000, true);
        bench.look = locked(720);
        let begin = bench.millis;
        while bench.pass(1, true) == 0 {}
        waits.push(bench.millis - begin);
    }
    let bounds = [500, 1000, 2000, 4000, 8000, 8000, 8000];
    assert!(waits.iter().zip(bounds).all(|(wait, bound)| (bound..bound + 200).contains(wait)), "{waits:?}");
    bench.pass(6_000, true);
    bench.look = NOTHING;
    bench.pass(1000, true);
    bench.look = locked(720);
    assert!(bench.pass(700, true) > 0, "steady since: all is forgiven");
}

#[test]
fn a_camera_that_stops_has_no_signal_and_is_started_again() {
    let mut bench = Bench::new(CAMERA);
    bench.pass(1000, true);
    bench.pass(450, false);
    assert_eq!((bench.lock.signal(), bench.verdict()), (Signal::NoSignal, Verdict::Stay));
    bench.pass(1700, false);
    assert_eq!(bench.verdict(), Verdict::Stalled);
}

#[test]
fn a_device_that_is_slow_to_wake_up_gets_the_time_for_it() {
    let mut bench = Bench::new(CAMERA);
    let mut waits = Vec::new();
    for _ in 0..5 {
        let begin = bench.millis;
        while bench.verdict() == Verdict::Stay {
            bench.pass(1, false);
        }
        waits.push((bench.millis - begin) / 1000);
        bench.lock.started(FRAME, at(bench.millis));
    }
    assert_eq!(waits, [2, 4, 8, 16, 16]);
}

#[test]
fn silence_is_counted_through_new_starts_but_not_without_a_signal() {
    let mut bench = Bench::new(locked(720));
    bench.pass(1000, true);
    bench.pass(3000, false);
    bench.lock.started(FRAME, at(bench.millis));
    assert!(bench.lock.quiet(at(bench.millis)) >= Duration::from_secs(3));
    bench.look = NOTHING;
    bench.pass(5000, false);
    assert_eq!(bench.lock.quiet(at(bench.millis)), Duration::ZERO);
    bench.look = locked(720);
    bench.pass(200, false);
    assert!(bench.lock.quiet(at(bench.millis)) <= Duration::from_millis(200), "it has just come back");
}

#[test]
fn a_receiver_that_stops_stays_locked_in_words_but_nothing_passes() {
    let mut bench = Bench::new(locked(720));
    bench.pass(1000, true);
    bench.pass(450, false);
    assert_eq!((bench.lock.signal(), bench.lock.passes()), (Signal::Locked, false));
}

#[test]
fn without_a_signal_nothing_is_stalled() {
    let mut bench = Bench::new(locked(720));
    bench.look = NOTHING;
    bench.pass(60_000, false);
    assert_eq!(bench.verdict(), Verdict::Stay);
}

#[test]
fn new_timings_must_settle_and_the_same_ones_change_nothing() {
    let mut bench = Bench::new(locked(720));
    bench.pass(1000, true);
    bench.look = locked(1080);
    bench.pass(150, true);
    assert_eq!(bench.verdict(), Verdict::Stay);
    assert!(!bench.lock.passes(), "pictures of the old size are not shown");
    bench.pass(250, true);
    assert_eq!(bench.verdict(), Verdict::NewTimings);
    bench.look = locked(720);
    bench.pass(150, true);
    assert_eq!((bench.verdict(), bench.lock.passes()), (Verdict::Stay, false), "back again, to be proved");
    bench.pass(600, true);
    assert!(bench.lock.passes());
}

#[test]
fn flawed_pictures_prove_nothing() {
    let mut lock = Lock::new(at(0));
    lock.looked(CAMERA, at(0));
    lock.started(FRAME, at(0));
    assert!(!lock.pictured(false, at(33)) && lock.pictured(true, at(66)));
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Look(Look),
    Picture(bool),
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let looks = [locked(720), locked(1080), NOTHING, CAMERA, Look::new(Signal::NoSync, None)];
    prop_oneof![
        (0..looks.len()).prop_map(move |index| Act::Look(looks[index])),
        any::<bool>().prop_map(Act::Picture),
        (1u64..3000).prop_map(Act::Pass),
    ]
}

proptest! {
    #[test]
    fn nothing_passes_without_a_good_look_and_what_passes_is_called_locked(acts in prop::collection::vec(act(), 1..200)) {
        let (mut lock, mut millis, mut good) = (Lock::new(at(0)), 0, false);
        lock.started(FRAME, at(0));
        for act in acts {
            match act {
                Act::Look(look) => { lock.looked(look, at(millis)); good = look.signal == Signal::Locked; }
                Act::Picture(fine) => {
                    let passed = lock.pictured(fine, at(millis));
                    prop_assert!(!passed || (good && fine && lock.signal() == Signal::Locked));
                }
                Act::Pass(pause) => { millis += pause; lock.verdict(at(millis)); }
            }
        }
    }

    #[test]
    fn whatever_happened_a_steady_signal_is_shown_within_the_longest_proof(acts in prop::collection::vec(act(), 1..200)) {
        let mut bench = Bench::new(locked(720));
        for act in acts {
            match act {
                Act::Look(look) => bench.lock.looked(look, at(bench.millis)),
                Act::Picture(good) => { bench.lock.pictured(good, at(bench.millis)); }
                Act::Pass(pause) => { bench.millis += pause; }
            }
        }
        bench.look = locked(720);
        bench.lock.looked(bench.look, at(bench.millis));
        bench.lock.started(FRAME, at(bench.millis));
        bench.pass(9000, true);
        prop_assert!(bench.lock.passes());
    }
}
