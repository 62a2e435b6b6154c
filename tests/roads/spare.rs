//! From an origin to its spare: where the new recording begins, what lies between the two, and how long it takes.

use std::time::Duration;

use nix::sys::signal::Signal;
use onaird::config::{self, Resume};
use onaird::units::Span;

use super::fake::Act::Pause;
use super::fake::Cue::{Command, Hello};
use super::fake::{Fake, Script};
use super::judge::{assert_whole, compare, picture_at};
use super::legs::*;

/// A leg with its preferred origin and a spare.
struct Pair {
    leg: usize,
    preferred: Origin,
    spare: Origin,
    /// What the leg says that neither got.
    missed: Vec<Span>,
}

impl Pair {
    async fn start(studio: &mut Studio, resume: Resume) -> Self {
        let (preferred, spare) = (Origin::start().await, Origin::start().await);
        let name = format!("{resume:?}");
        let leg = config::Leg { resume, ..config::Leg::new(name, vec![preferred.config(), spare.config()]) };
        let leg = studio.leg_as(leg, studio.stop.clone());
        Self { leg, preferred, spare, missed: vec![] }
    }

    fn tapes(&self) -> Vec<Vec<Tag>> {
        [self.preferred.tapes(), self.spare.tapes()].concat()
    }
}

/// Both pairs are live for some seconds, suffer the same, and go on at their spares.
async fn suffer(signal: Signal) -> (Clip, [Pair; 2]) {
    let clip = Clip::lasting("4M", 30);
    let mut studio = Studio::open();
    let mut pairs = [Pair::start(&mut studio, Resume::Replay).await, Pair::start(&mut studio, Resume::Live).await];
    let feeder = feed(&studio.hub, &studio.clock, clip.clone());
    for Pair { leg, preferred, .. } in &pairs {
        studio.goes_live(*leg, &preferred.config()).await;
    }
    // Into the middle of a GOP.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    pairs.iter().for_each(|pair| pair.preferred.signal(signal));
    for Pair { leg, spare, .. } in &pairs {
        studio.goes_live(*leg, &spare.config()).await;
    }
    seconds(2).await;
    for pair in &mut pairs {
        pair.missed = studio.figures(pair.leg).missed;
    }
    studio.close().await;
    feeder.abort();
    for pair in &pairs {
        assert_decodable(&pair.spare.recording());
        assert_eq!(pair.preferred.recordings().len(), 1);
    }
    (clip, pairs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missing_between_a_killed_origin_and_its_spare() {
    let (clip, [replay, live]) = suffer(Signal::SIGKILL).await;
    assert_whole(&clip, &replay.tapes(), 140);
    println!("live: {:?}", compare(&clip, &live.tapes()));
}

/// It is noticed a second or two later, by when "live" is keyframes ahead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_begins_where_a_frozen_origin_stopped_and_live_at_the_newest_keyframe() {
    let (clip, [replay, live]) = suffer(Signal::SIGSTOP).await;
    assert_whole(&clip, &replay.tapes(), 150);
    assert_eq!(replay.missed, []);
    let end = picture_at(&clip, &replay.preferred.recording(), true);
    let begin = picture_at(&clip, &replay.spare.recording(), false);
    assert!(begin <= end + 34 && begin + 2000 > end, "recorded up to {end} ms, and again from {begin} ms on");

    let end = picture_at(&clip, &live.preferred.recording(), true);
    let begin = picture_at(&clip, &live.spare.recording(), false);
    println!("live: recorded up to {end} ms, and again from {begin} ms on");
    let compared = compare(&clip, &live.tapes());
    assert!(begin > end && compared.missing_pictures > 0 && compared.repeated_pictures == 0, "{compared:?}");
    // What the origin's kernel had and its process may not have read counts as missing too.
    let [told] = live.missed[..] else { panic!("want one hole: {:?}", live.missed) };
    let missing = begin - end;
    assert!((missing - 34..missing + 3000).contains(&told.length_ms()), "{missing} ms are missing, told {told:?}");
}

/// An answer takes so long, as from far away.
const FAR: Duration = Duration::from_millis(150);

fn far() -> Script {
    let cues = [Hello, Command("connect"), Command("createStream"), Command("publish")];
    cues.into_iter().fold(Script::friendly(), |script, cue| script.before(cue, Pause(FAR)))
}

/// From the preferred origin's end to the first packet at the spare.
async fn failover_time(warm: bool) -> Duration {
    let (preferred, spare) = (Origin::start().await, Fake::start(far()).await);
    let mut studio = Studio::open();
    let spare_config = origin(spare.port, "live");
    let leg = config::Leg { warm, ..config::Leg::new("leg", vec![preferred.config(), spare_config.clone()]) };
    let leg = studio.leg_as(leg, studio.stop.clone());
    let feeder = feed(&studio.hub, &studio.clock, Clip::make("1M"));
    studio.goes_live(leg, &preferred.config()).await;
    let idle: &[&str] = if warm { &["connect", "createStream"] } else { &[] };
    eventually("an idle connection", || spare.seen().commands == idle).await;
    seconds(1).await;
    let (seen, connections) = (spare.seen(), usize::from(warm));
    assert_eq!((seen.connections, seen.open, seen.media.len()), (connections, connections, 0), "{seen:?}");
    assert_eq!(seen.commands, idle, "the key is not touched");

    let killed = studio.clock.now();
    preferred.signal(Signal::SIGKILL);
    eventually("media at the spare", || !spare.samples().is_empty()).await;
    let took = studio.clock.now().since(killed);
    studio.goes_live(leg, &spare_config).await;
    let seen = spare.seen();
    assert_eq!((seen.connections, seen.fault), (1, None));
    assert_eq!(seen.commands, ["connect", "createStream", "releaseStream", "FCPublish", "publish"]);
    studio.close().await;
    feeder.abort();
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_spare_waits_idle_and_takes_over_sooner() {
    let (cold, warm) = tokio::join!(failover_time(false), failover_time(true));
    println!("answers take {FAR:?}: {cold:?} to a cold spare, {warm:?} to a warm one");
    assert!(cold >= 4 * FAR, "one answer each to the handshake, connect, createStream and publish");
    assert!(warm >= FAR && warm + FAR < cold, "one answer to publish alone");
}
