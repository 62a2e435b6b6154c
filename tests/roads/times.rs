//! Time stamps that come to their end, after 24 days, and those that begin at 0.

use std::time::Duration;

use onaird::config::{self, Timestamps};
use onaird::publish::wire_clock::ERA;
use tokio_util::sync::CancellationToken;

use super::fake::{Fake, Sample, Script};
use super::judge::{assert_whole, picture_at};
use super::legs::*;

const ERA_MS: u64 = ERA.as_millis() as u64;

fn leg(name: &str, origin: config::Origin, timestamps: Timestamps) -> config::Leg {
    config::Leg { timestamps, ..config::Leg::new(name, vec![origin]) }
}

/// Those that carry media, not headers.
fn times(samples: &[Sample]) -> Vec<u64> {
    samples.iter().filter(|sample| sample.body[1] == 1).map(|sample| sample.millis.into()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_legs_begin_a_new_time_line_at_the_same_keyframe() {
    let (a, b) = (Origin::start().await, Origin::start().await);
    let (shared, rebased) = (Fake::start(Script::friendly()).await, Fake::start(Script::friendly()).await);
    let clip = Clip::lasting("1M", 30);
    let mut studio = Studio::open();
    let mut add = |leg: config::Leg, stop: CancellationToken| (studio.leg_as(leg.clone(), stop), leg.origins[0].clone());
    let stop = CancellationToken::new();
    let legs = [
        add(leg("a", a.config(), Timestamps::Shared), stop.clone()),
        add(leg("b", b.config(), Timestamps::Shared), stop.clone()),
        add(leg("shared", origin(shared.port, "live"), Timestamps::Shared), stop.clone()),
        add(leg("rebased", origin(rebased.port, "live"), Timestamps::Rebased), stop.clone()),
    ];
    studio.stop = stop;
    let asked = |fake: &Fake| fake.seen().commands.contains(&"publish".to_owned());
    eventually("the doors are open", || asked(&shared) && asked(&rebased)).await;
    // The program's time in this test is what the clock says, and so much more.
    let age = ERA - Duration::from_secs(3) - studio.clock.now().since(onaird::units::MediaTime::ZERO);
    let feeder = feed_later(&studio.hub, &studio.clock, clip.clone(), age);
    for (leg, origin) in &legs {
        studio.goes_live(*leg, origin).await;
    }
    eventually("both have a second recording", || [&a, &b].iter().all(|origin| origin.recordings().len() == 2)).await;
    eventually("the new time line goes on", || shared.seen().connections == 2 && rebased.samples().len() > 300).await;
    for (leg, origin) in &legs {
        studio.goes_live(*leg, origin).await;
    }
    seconds(1).await;
    let events = studio.status.borrow().events.clone();
    for (leg, _) in &legs {
        let figures = studio.figures(*leg);
        println!("{figures:?}");
        assert_eq!((figures.failovers, figures.dropped_gops, figures.last_error), (0, 0, None), "{events:#?}");
    }
    studio.close().await;
    feeder.abort();

    let mut seams = Vec::new();
    for tapes in [a.tapes(), b.tapes()] {
        let [first, second] = &tapes[..] else { panic!("{} recordings", tapes.len()) };
        assert_decodable(second);
        let compared = assert_whole(&clip, &tapes, 110);
        assert_eq!(compared.repeated_pictures, 0);
        let (end, begin) = (picture_at(&clip, first, true), picture_at(&clip, second, false));
        assert!((33..=34).contains(&(begin - end)), "the first one ends at {end} ms, the second begins at {begin} ms");
        let sounds = |tags: &[Tag]| media(tags, onaird::media::packet::Track::Audio).len();
        seams.push((begin, sounds(first) > 100 && sounds(second) > 40));
    }
    assert_eq!(seams[0], seams[1], "not the same keyframe");
    assert!(seams[0].1, "sound is missing");

    let times_shared = times(&shared.samples());
    let seam = times_shared.windows(2).position(|pair| pair[1] < pair[0]).expect("a new time line");
    println!("shared: {} …, {}, {} …", times_shared[0], times_shared[seam], times_shared[seam + 1]);
    assert!((ERA_MS - 3100..ERA_MS).contains(&times_shared[0]) && times_shared[seam] >= ERA_MS - 100);
    assert!(times_shared[seam] < ERA_MS + 1100 && times_shared[seam + 1] < 1100, "the first keyframe after the end of the era");
    let times_rebased = times(&rebased.samples());
    assert_eq!((rebased.seen().connections, times_rebased[0]), (1, 0));
    assert!(times_rebased.windows(2).all(|pair| pair[1] + 25 >= pair[0]), "one time line");
}
