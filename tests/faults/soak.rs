//! The long runs: conditions under which no leg may leave its origin, and a thousand reconnects under which the daemon may not
//! grow.

use std::fs;
use std::hint::spin_loop;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use onaird::status::{self, Status};

use super::goals::{Goal, STAYS};
use super::network::{A, B, SPARE};
use super::proxy::Proxy;
use super::report;
use super::rough::{Rough, Weather};
use super::sandbox::say;
use super::stage::{Preferred, Round, Stage, origin, origin_at};
use super::support::is_live;

/// What makes a condition, and gives the stage what ends it when dropped.
type Condition = fn(&mut Stage);

pub const CONDITIONS: &[(&str, Condition, Goal)] = &[
    ("quiet", |_| {}, STAYS),
    // Then the encoder itself may be too late for a frame, which all legs show.
    ("starved", |stage| stage.keep(Busy::start(5)), Goal { other_leg: false, ..STAYS }),
    ("wan", |stage| stage.keep(Rough::start(A, WAN)), STAYS),
    ("rate", just_below, Goal { nothing_missing: false, ..STAYS }),
];

/// A round trip of 80 to 140 ms, 1 % of the packets lost each way.
const WAN: Weather = Weather { delay: Duration::from_millis(40), jitter: Duration::from_millis(30), loss_percent: 1.0 };

/// One condition for so many minutes; all that is wrong.
pub fn soak(name: &'static str, condition: Condition, goal: Goal, minutes: u64) -> Vec<String> {
    let mut stage = Stage::on_air(Round { number: 0, of: 1 });
    let sights = &mut stage.sights;
    for shelf in [&mut sights.a, &mut sights.spare, &mut sights.b] {
        shelf.set_eating();
    }
    stage.look_every = Duration::from_millis(50);
    condition(&mut stage);
    for minute in 1..=minutes {
        stage.watch_for(Duration::from_secs(60), |_| false);
        let (legs, size) = (stage.status().legs, Size::of(stage.daemon().pid()));
        let legs: Vec<String> = legs.iter().map(words).collect();
        say(&format!("{name}, minute {minute}: {}; {size}", legs.join(" | ")));
    }
    stage.clear();
    let figures = stage.finish(None);
    say(&format!("{name}: {}", report::line(&figures)));
    goal.violations(name, &figures, 1).into_iter().map(|violation| format!("{name}: {}", violation.text)).collect()
}

fn words(leg: &status::Leg) -> String {
    let status::Leg { name, failovers, reconnects, dropped_gops, .. } = leg;
    let rate = leg.bitrate_bps as f64 / 1e6;
    format!("{name}: {rate:.2} Mbit/s, {failovers} failovers, {reconnects} reconnects, {dropped_gops} GOPs dropped")
}

/// 95 % of what the untouched leg takes.
fn just_below(stage: &mut Stage) {
    let status = stage.daemon().wait_until("a bit rate", |status| status.legs[1].bitrate_bps > 1_000_000);
    A.limit(status.legs[1].bitrate_bps * 95 / 100);
    stage.keep(Narrow);
}

/// The line to `a` is, as long as this is there.
struct Narrow;

impl Drop for Narrow {
    fn drop(&mut self) {
        A.unlimited();
    }
}

/// Threads that do nothing, as fast as they can.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn start(threads: usize) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        for _ in 0..threads {
            let end = end.clone();
            thread::spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    spin_loop();
                }
            });
        }
        Self(end)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How much of the machine a process holds.
#[derive(Clone, Copy, Debug)]
struct Size {
    resident_kib: u64,
    descriptors: usize,
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} MiB resident, {} descriptors", self.resident_kib as f64 / 1024.0, self.descriptors)
    }
}

impl Size {
    fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let resident_kib = line.trim().trim_end_matches(" kB").parse().unwrap();
        Self { resident_kib, descriptors: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() }
    }
}

/// Legs that are reset again and again, side by side so that a thousand times do not take all day.
const RESET_LEGS: usize = 4;

/// Every connection is reset at this age: longer than an origin needs to be proven, so that no hold grows.
const LIFE: Duration = Duration::from_millis(2300);

/// Growth from a fifth of the way to the end that is the allocator's own.
const GROWTH_KIB: u64 = 8 << 10;
const GROWTH_DESCRIPTORS: usize = 8;

pub fn reconnects(wanted: u64) {
    let mut stage = Stage::set(Round { number: 0, of: 1 }, Preferred { port: 1936, ..Preferred::default() });
    let _proxies = [Proxy::start(A, 1935, 1936, Some(LIFE)), Proxy::start(SPARE, 1936, 1935, Some(LIFE))];
    let spare = format!("rtmp://{}:1936/live", SPARE.address());
    let reset = (1..=RESET_LEGS).map(|number| {
        let key = format!("r{number}");
        let one = format!("rtmp://{}/live", A.address());
        format!("[[leg]]\nname = \"{key}\"\n{}{}", origin_at(&one, &key), origin_at(&spare, &key))
    });
    let legs = reset.collect::<String>() + "[[leg]]\nname = \"b\"\n" + &origin(B);
    stage.start_legs(&legs);
    stage.daemon().all_live();
    let (folder, pid, step) = (stage.folder(), stage.daemon().pid(), (wanted / 10).clamp(1, 100));
    let mut sizes = Vec::new();
    for count in (0..=wanted).step_by(step as usize) {
        let what = format!("{count} reconnects");
        let status = wait_long(&mut stage, &what, count, &folder);
        assert!(is_live(status.legs.last().unwrap()), "the leg that nobody resets is live: {:?}", status.legs.last());
        sizes.push(Size::of(pid));
        say(&format!("{what}: {}", sizes.last().unwrap()));
    }
    let other = stage.status().legs.pop().unwrap();
    stage.finish_unseen();
    assert_eq!((other.reconnects, other.dropped_gops), (0, 0), "the leg that nobody resets");
    let (early, end) = (sizes[sizes.len() / 5], sizes[sizes.len() - 1]);
    assert!(end.resident_kib <= early.resident_kib + GROWTH_KIB, "memory grows: {early}, then {end}");
    assert!(end.descriptors <= early.descriptors + GROWTH_DESCRIPTORS, "descriptors grow: {early}, then {end}");
}

/// Waits for so many reconnects of all legs together; the usual limit is for every single one.
fn wait_long(stage: &mut Stage, what: &str, count: u64, folder: &Path) -> Status {
    let sum = |status: &Status| status.legs.iter().map(|leg| leg.reconnects).sum::<u64>();
    loop {
        let status = stage.status();
        let so_far = sum(&status);
        if so_far >= count {
            return status;
        }
        stage.daemon().wait_until(what, |status| sum(status) > so_far);
        // Nobody reads these recordings.
        for place in [A, SPARE, B] {
            let files = fs::read_dir(folder.join(place.name).join("records")).unwrap().flatten();
            files.for_each(|file| drop(fs::remove_file(file.path())));
        }
    }
}
