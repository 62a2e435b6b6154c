//! The faults, one function each: how the stage is set, what is done to it, and what is waited for. The table of them, with what
//! must come out, is [`ALL`].

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use onaird::demo::child::{self, Child};

use super::compare::gaps_are_gops;
use super::dns::Dns;
use super::goals::{BACK_SOON, Goal, STAYS, TAKEN_OVER};
use super::network::{A, B, Line, SPARE};
use super::proxy::Proxy;
use super::recording::Shelf;
use super::rough::{Rough, Weather};
use super::stage::{FRAME_MS, Figures, KEY_A, Preferred, Round, Sights, Stage, origin, origin_at, signal};
use super::support::{LIMIT, now, poll};
use super::tls::Tls;

pub struct Scenario {
    pub name: &'static str,
    /// For readers of the table.
    pub what: &'static str,
    pub run: fn(Round) -> Figures,
    pub goal: Goal,
}

const fn within(millis: u64, goal: Goal) -> Goal {
    Goal { back: Some(Duration::from_millis(millis)), ..goal }
}

/// The spare is taken because the preferred origin is bad from the start: nothing is lost, since nothing was there.
const FROM_START: Goal = Goal { nothing_missing: false, failovers: None, ..TAKEN_OVER };

#[rustfmt::skip]
pub const ALL: &[Scenario] = &[
    Scenario { name: "killed", what: "origin's processes killed", run: killed, goal: within(300, TAKEN_OVER) },
    Scenario { name: "frozen", what: "origin's processes frozen (SIGSTOP)", run: frozen, goal: within(2000, TAKEN_OVER) },
    Scenario { name: "black-holed", what: "packets vanish, both ways", run: black_holed, goal: within(800, TAKEN_OVER) },
    Scenario { name: "reset", what: "packets answered by a reset", run: reset, goal: within(300, TAKEN_OVER) },
    Scenario { name: "half-closed", what: "origin's side closed (FIN), ours left open", run: half_closed, goal: within(300, TAKEN_OVER) },
    Scenario { name: "interface-down", what: "the origin's interface down for 5 s, then up", run: interface_down, goal: within(800, TAKEN_OVER) },
    Scenario { name: "killed-far", what: "origin's processes killed at 300 ms of round trip", run: killed_far, goal: TAKEN_OVER },
    Scenario { name: "loss", what: "5 % of the packets lost, each way", run: loss, goal: STAYS },
    Scenario { name: "far", what: "300 ms of round trip", run: far, goal: STAYS },
    Scenario { name: "rate-below", what: "line at half the bit rate for 15 s", run: rate_below, goal: Goal { nothing_missing: false, ..STAYS } },
    Scenario { name: "rate-swings", what: "line between 1/3 and double the bit rate, every 2 s", run: rate_swings, goal: Goal { nothing_missing: false, ..STAYS } },
    Scenario { name: "dns-dead", what: "name server silent at a reconnect: the last good address", run: dns_dead, goal: BACK_SOON },
    Scenario { name: "dns-changed", what: "the name points elsewhere at a reconnect", run: dns_changed, goal: BACK_SOON },
    Scenario { name: "tls-expired", what: "preferred origin's certificate expired: the spare at the start", run: tls_expired, goal: FROM_START },
    Scenario { name: "wrong-key", what: "preferred origin refuses the key: the spare at the start", run: wrong_key, goal: FROM_START },
    Scenario { name: "busy-name", what: "another publisher holds the key: the spare at the start", run: busy_name, goal: FROM_START },
    Scenario { name: "all-down", what: "every line dead for 30 s: both legs back by themselves", run: all_down, goal: Goal { other_leg: false, nothing_missing: false, ..BACK_SOON } },
];

/// No fault, but a question of distance; hence not in the table.
pub const NEARER: Scenario = Scenario { name: "nearer", what: "policy latency", run: nearer, goal: TAKEN_OVER };

fn killed(round: Round) -> Figures {
    taken_over(Stage::on_air(round), |stage| stage.a.kill())
}

fn frozen(round: Round) -> Figures {
    taken_over(Stage::on_air(round), |stage| signal(&stage.a, Signal::SIGSTOP))
}

fn black_holed(round: Round) -> Figures {
    taken_over(Stage::on_air(round), |_| A.go_silent())
}

fn reset(round: Round) -> Figures {
    taken_over(Stage::on_air(round), |_| A.reset_all())
}

fn half_closed(round: Round) -> Figures {
    let mut stage = Stage::set(round, Preferred { port: 1936, ..Preferred::default() });
    let proxy = Rc::new(Proxy::start(A, 1935, 1936, None));
    stage.keep(proxy.clone());
    stage.start(&[origin(A), origin(SPARE)].concat());
    stage.warm();
    taken_over(stage, |_| proxy.half_close())
}

fn interface_down(round: Round) -> Figures {
    let mut stage = Stage::on_air(round);
    let fault = now();
    A.pull_out();
    let back = stage.back_at_spare(fault);
    stage.watch_for(Duration::from_secs(5).saturating_sub(fault.elapsed()), |_| false);
    A.plug_in();
    stage.finish(Some(back))
}

/// A fault that the spare answers.
fn taken_over(mut stage: Stage, fault: impl FnOnce(&mut Stage)) -> Figures {
    let begin = now();
    fault(&mut stage);
    let back = stage.back_at_spare(begin);
    stage.finish(Some(back))
}

const FAR: Weather = Weather { delay: Duration::from_millis(150), jitter: Duration::ZERO, loss_percent: 0.0 };

fn killed_far(round: Round) -> Figures {
    let mut stage = Stage::set(round, Preferred::default());
    [A, SPARE].into_iter().for_each(|line| stage.keep(Rough::start(line, FAR)));
    stage.start(&[origin(A), origin(SPARE)].concat());
    stage.warm();
    taken_over(stage, |stage| stage.a.kill())
}

fn far(round: Round) -> Figures {
    endured(round, FAR, Duration::from_secs(10))
}

fn loss(round: Round) -> Figures {
    endured(round, Weather { loss_percent: 5.0, ..Weather::default() }, Duration::from_secs(10))
}

/// The first origin is far away: a leg that looks at the round trip leaves it for the other one, and stays there.
fn nearer(round: Round) -> Figures {
    let mut stage = Stage::set(round, Preferred::default());
    stage.keep(Rough::start(A, FAR));
    let leg = format!("[[leg]]\nname = \"a\"\npolicy = \"latency\"\n{}{}", origin(A), origin(SPARE));
    stage.start_legs(&format!("{leg}[[leg]]\nname = \"b\"\n{}", origin(B)));
    stage.watch("some seconds at the nearer origin", LIMIT, |sights| sights.spare.newest_millis() > 4000);
    let near = format!("rtmp://{}/live", SPARE.address());
    let mut figures = stage.finish(None);
    if figures.legs[0].origin != near {
        figures.faults.push(format!("it is at {}, not at {near}", figures.legs[0].origin));
    }
    figures
}

/// Weather that the leg must live with.
fn endured(round: Round, weather: Weather, time: Duration) -> Figures {
    let mut stage = Stage::on_air(round);
    stage.keep(Rough::start(A, weather));
    stage.watch_for(time, |_| false);
    stage.finish(None)
}

fn rate_below(round: Round) -> Figures {
    narrow(round, &[(1_600_000, 15)])
}

fn rate_swings(round: Round) -> Figures {
    narrow(
        round,
        &[(6_000_000, 2), (1_000_000, 2), (6_000_000, 2), (1_000_000, 2), (6_000_000, 2), (1_000_000, 2), (6_000_000, 2)],
    )
}

/// A line of these rates in bits per second, for so many seconds each.
fn narrow(round: Round, rates: &[(u64, u64)]) -> Figures {
    let mut stage = Stage::on_air(round);
    for (rate, seconds) in rates {
        A.limit(*rate);
        stage.watch_for(Duration::from_secs(*seconds), |_| false);
    }
    A.unlimited();
    stage.watch_for(Duration::from_secs(5), |_| false);
    let recorded = stage.sights.a.marks();
    let mut figures = stage.finish(None);
    if !recorded.iter().all(|marks| gaps_are_gops(marks, FRAME_MS)) {
        figures.faults.push("less than whole GOPs were left out".into());
    }
    figures
}

const BY_NAME: &str = "rtmp://origin.faults.test/live";

fn dns_dead(round: Round) -> Figures {
    let mut stage = Stage::set(round, Preferred { port: 1936, ..Preferred::default() });
    let (dns, proxy) = (Dns::start(A.address()), Rc::new(Proxy::start(A, 1935, 1936, None)));
    stage.keep(proxy.clone());
    stage.start(&origin_at(BY_NAME, KEY_A));
    stage.warm();
    dns.die();
    let fault = now();
    proxy.reset();
    let back = stage.back_at_preferred(fault);
    stage.finish(Some(back))
}

fn dns_changed(round: Round) -> Figures {
    let mut stage = Stage::set(round, Preferred::default());
    let dns = Dns::start(A.address());
    stage.start(&origin_at(BY_NAME, KEY_A));
    stage.warm();
    dns.change(SPARE.address());
    taken_over(stage, |stage| stage.a.kill())
}

fn tls_expired(round: Round) -> Figures {
    let mut stage = Stage::set(round, Preferred::default());
    let tls = Tls::expired(A, 443, 1935, &stage.folder());
    let secure = origin_at(&format!("rtmps://{}:443/live", A.address()), KEY_A);
    let preferred = format!("{secure}ca_file = '{}'\n", tls.authority.display());
    stage.keep(tls);
    let back = passed_over(&mut stage, &preferred);
    told(stage, back, "expired")
}

fn wrong_key(round: Round) -> Figures {
    let mut stage = Stage::set(round, Preferred { refuses: true, ..Preferred::default() });
    let back = passed_over(&mut stage, &origin(A));
    told(stage, back, "publish")
}

fn busy_name(round: Round) -> Figures {
    let mut stage = Stage::set(round, Preferred::default());
    stage.a_is_others = true;
    stage.keep(publisher(&stage));
    let back = passed_over(&mut stage, &origin(A));
    told(stage, back, "BadName")
}

/// Starts with a preferred origin that cannot be had; how much later than leg `b` leg `a` is recorded, at its spare.
fn passed_over(stage: &mut Stage, preferred: &str) -> Duration {
    stage.start(&format!("{preferred}{}", origin(SPARE)));
    let (mut spare, mut b) = (None, None);
    stage.watch("media at the spare and of leg b", LIMIT, |sights| seen(&sights.spare, &mut spare) & seen(&sights.b, &mut b));
    spare.zip(b).map_or(Duration::ZERO, |(spare, b)| spare.saturating_duration_since(b))
}

/// Whether there is a picture; and since when.
fn seen(shelf: &Shelf, since: &mut Option<Instant>) -> bool {
    if shelf.pictures() > 0 {
        since.get_or_insert_with(now);
    }
    since.is_some()
}

/// The end of a round in which the leg's last error must have said `word`.
fn told(mut stage: Stage, back: Duration, word: &str) -> Figures {
    let error = stage.status().legs[0].last_error.clone().unwrap_or_default();
    let mut figures = stage.finish(Some(back));
    if !error.contains(word) {
        figures.faults.push(format!("the error does not say \"{word}\": {error}"));
    }
    figures
}

/// Somebody else, under leg `a`'s key at its preferred origin.
fn publisher(stage: &Stage) -> Child {
    let mut command = child::command(Path::new("/usr/bin/ffmpeg"));
    let picture = "-v error -nostdin -re -f lavfi -i testsrc2=size=160x90:rate=10 -c:v libx264 -preset ultrafast -g 10 -f flv";
    command.args(picture.split(' ')).arg(stage.a.rtmp_url(KEY_A));
    let child = Child::spawn(&mut command, &stage.folder().join("publisher.log")).unwrap();
    let taken = poll(LIMIT, || (!stage.a.records(KEY_A).is_empty()).then_some(()));
    assert!(taken.is_some(), "the other publisher is not recorded");
    child
}

/// Longer than nginx holds a session whose publisher vanished: it asks once a minute, and waits half of one.
const OLD_SESSIONS: Duration = Duration::from_secs(150);

fn all_down(round: Round) -> Figures {
    const LINES: [Line; 3] = [A, SPARE, B];
    let mut stage = Stage::on_air(round);
    LINES.into_iter().for_each(Line::go_silent);
    stage.watch_for(Duration::from_secs(30), |_| false);
    let pictures = |sights: &Sights| (sights.a.pictures() + sights.spare.pictures(), sights.b.pictures());
    let before = pictures(&stage.sights);
    let healed = now();
    LINES.into_iter().for_each(Line::heal);
    let grown = |sights: &Sights| pictures(sights).0 > before.0 && pictures(sights).1 > before.1;
    let back = stage.watch("media of both legs", OLD_SESSIONS, grown) - healed;
    stage.finish(Some(back))
}
