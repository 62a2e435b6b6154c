//! Back to the better origin, once it has been there for a while: half a minute, which this test waits.

use std::time::Duration;

use nix::sys::signal::Signal;
use onaird::status::LegState;

use super::judge::assert_whole;
use super::legs::*;

/// Beyond the dwell, with its jitter.
const DWELL_LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leg_goes_back_to_its_better_origin_without_a_gap() {
    let (preferred, spare) = (Origin::start().await, Origin::start().await);
    let clip = Clip::lasting("1M", 120);
    let mut studio = Studio::open();
    let leg = studio.simple_leg(vec![preferred.config(), spare.config()]);
    let feeder = feed(&studio.hub, &studio.clock, clip.clone());
    studio.goes_live(leg, &preferred.config()).await;
    seconds(2).await;
    preferred.signal(Signal::SIGKILL);
    studio.goes_live(leg, &spare.config()).await;
    let left = studio.clock.now();
    let again = Origin::start_at(preferred.address, preferred.port).await;

    let (mut status, home) = (studio.status.subscribe(), preferred.config().url.to_string());
    let moved = status.wait_for(|status| {
        let leg = &status.legs[leg];
        assert_eq!(leg.state, LegState::Live, "interrupted: {:#?}", status.events);
        leg.origin == home
    });
    tokio::time::timeout(DWELL_LIMIT, moved).await.expect("back at the better origin").unwrap();
    let dwelt = studio.clock.now().since(left);
    println!("back after {dwelt:?}");
    assert!(dwelt > Duration::from_secs(20), "that was hasty");
    let figures = studio.goes_live(leg, &preferred.config()).await;
    assert_eq!((figures.failovers, figures.dropped_gops), (2, 0), "{figures:?}");
    seconds(2).await;
    studio.close().await;
    feeder.abort();
    let (before, between, after) = (preferred.recording(), spare.recording(), again.recording());
    assert_decodable(&between);
    assert_decodable(&after);
    assert_whole(&clip, &[before, between, after], 700);
}
