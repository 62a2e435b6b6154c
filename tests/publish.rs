//! Legs against real origins: nginx with its RTMP module, each in its own directory and on its own port of 127.0.0.1.

mod legs;

use std::net::TcpListener;
use std::time::Duration;

use legs::*;
use nix::sys::signal::Signal;
use onaird::media::packet::Track;
use onaird::status::{self, LegState};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_origins_get_the_same_and_a_dead_one_is_replaced_by_its_spare() {
    let (a, spare, b) = (Origin::start().await, Origin::start().await, Origin::start().await);
    let mut studio = Studio::open();
    let leg_a = studio.simple_leg(vec![a.config(), spare.config()]);
    let leg_b = studio.simple_leg(vec![b.config()]);
    let feeder = feed(&studio.hub, &studio.clock, Clip::make("1M"));
    studio.goes_live(leg_a, &a.config()).await;
    studio.goes_live(leg_b, &b.config()).await;
    seconds(3).await;
    let figures = studio.figures(leg_a);
    println!("after 3 s: {figures:?}");
    assert!((500_000..2_000_000).contains(&figures.bitrate_bps), "{} bit/s", figures.bitrate_bps);
    assert!(figures.sent_bytes > 200_000 && figures.queue_ms < 1000);

    let killed = studio.clock.now();
    a.signal(Signal::SIGKILL);
    let figures = studio.goes_live(leg_a, &spare.config()).await;
    println!("live on the spare {:?} after the kill: {:?}", studio.clock.now().since(killed), figures.last_error);
    assert_eq!((figures.failovers, figures.reconnects), (1, 1));
    let error = figures.last_error.unwrap();
    assert!(error.contains(&a.config().url.to_string()) && error.contains("next origin"), "{error}");
    seconds(3).await;
    println!("stopped in {:?}", studio.close().await);
    feeder.abort();

    let (recorded_a, recorded_spare, recorded_b) = (a.recording(), spare.recording(), b.recording());
    for (name, recorded) in [("a", &recorded_a), ("spare", &recorded_spare)] {
        assert_decodable(recorded);
        for track in [Track::Video, Track::Audio] {
            let count = common(&media(recorded, track), &media(&recorded_b, track));
            println!("{name} and b have {count} tags of {track:?} in common");
            assert!(count > 60, "{name}: {count} {track:?}");
        }
    }
    let b_video = media(&recorded_b, Track::Video);
    let steps: Vec<u64> = b_video.windows(2).map(|pair| pair[1].millis - pair[0].millis).collect();
    assert!(steps.iter().all(|step| (33..=34).contains(step)), "the other leg has lost a picture: {steps:?}");
}

#[tokio::test]
async fn wrong_origins_are_reported_in_words() {
    let good = Origin::start().await;
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut studio = Studio::open();
    let table = [
        (origin(good.port, "nowhere"), "application"),
        (origin(free_port(), "live"), "refused"),
        (origin(silent.local_addr().unwrap().port(), "live"), "handshake"),
    ];
    let legs: Vec<usize> = table.iter().map(|(origin, _)| studio.simple_leg(vec![origin.clone()])).collect();
    for (leg, (origin, word)) in legs.into_iter().zip(&table) {
        let failed = |leg: &status::Leg| leg.state == LegState::Waiting && leg.last_error.is_some();
        let error = studio.reaches(leg, "waiting", failed).await.last_error.unwrap();
        println!("{error}");
        assert!(error.contains(word) && error.contains(&origin.url.to_string()), "{error}");
    }
    assert!(studio.close().await < Duration::from_secs(1));
}

#[tokio::test]
async fn a_busy_key_is_shown_and_taken_when_it_becomes_free() {
    let origin = Origin::start().await;
    let mut studio = Studio::open();
    let feeder = feed(&studio.hub, &studio.clock, Clip::make("1M"));
    let stop_first = CancellationToken::new();
    let first = studio.leg(vec![origin.config()], Duration::from_secs(5), stop_first.clone());
    studio.goes_live(first, &origin.config()).await;
    let second = studio.simple_leg(vec![origin.config()]);
    let figures = studio.reaches(second, "rejected", |leg| leg.state == LegState::Rejected).await;
    println!("{:?}", figures.last_error);
    assert!(figures.last_error.unwrap().contains("BadName"));
    stop_first.cancel();
    studio.goes_live(second, &origin.config()).await;
    studio.close().await;
    feeder.abort();
}

#[tokio::test]
async fn a_frozen_origin_is_left() {
    let (origin, spare) = (Origin::start().await, Origin::start().await);
    let mut studio = Studio::open();
    let leg = studio.simple_leg(vec![origin.config(), spare.config()]);
    let feeder = feed(&studio.hub, &studio.clock, Clip::make("30M"));
    studio.goes_live(leg, &origin.config()).await;
    seconds(1).await;
    let frozen = studio.clock.now();
    origin.signal(Signal::SIGSTOP);
    let figures = studio.goes_live(leg, &spare.config()).await;
    println!("live on the spare {:?} after the freeze: {:?}", studio.clock.now().since(frozen), figures.last_error);
    assert!(figures.last_error.unwrap().contains("stopped reading"));
    spare.signal(Signal::SIGSTOP);
    let stopped = studio.close().await;
    assert!(stopped < Duration::from_secs(1), "{stopped:?} to leave a frozen origin");
    feeder.abort();
}

#[tokio::test]
async fn a_slow_origin_loses_whole_gops() {
    let origin = Origin::start().await;
    let slow = throttled(origin.port, 500_000).await;
    let mut studio = Studio::open();
    let stop = studio.stop.clone();
    let through = self::origin(slow, "live");
    let leg = studio.leg(vec![through.clone()], Duration::from_secs(2), stop);
    let feeder = feed(&studio.hub, &studio.clock, Clip::make("8M"));
    let figures = studio.reaches(leg, "dropped GOPs", |leg| leg.dropped_gops >= 4).await;
    println!("{figures:?}");
    let events = studio.status.borrow().events.clone();
    assert_eq!((figures.state, figures.reconnects), (LegState::Live, 0), "{events:#?}");
    studio.close().await;
    feeder.abort();
    let video = media(&origin.recording(), Track::Video);
    let gaps: Vec<&[Tag]> = video.windows(2).filter(|pair| pair[1].millis - pair[0].millis > 40).collect();
    assert!(!gaps.is_empty() && gaps.iter().all(|pair| pair[1].is_keyframe()));
}

#[tokio::test]
async fn a_program_may_be_old() {
    let mut running = Vec::new();
    for limit in [0xFF_FFFFu64, 1 << 31, 1 << 32] {
        let origin = Origin::start().await;
        let mut studio = Studio::open();
        let leg = studio.simple_leg(vec![origin.config()]);
        let feeder = feed_later(&studio.hub, &studio.clock, Clip::make("1M"), Duration::from_millis(limit - 2000));
        studio.goes_live(leg, &origin.config()).await;
        running.push((limit, origin, studio, feeder));
    }
    seconds(4).await;
    for (limit, origin, mut studio, feeder) in running {
        studio.close().await;
        feeder.abort();
        for (track, least, most) in [(Track::Video, 33, 34), (Track::Audio, 20, 23)] {
            let tags = media(&origin.recording(), track);
            assert!(tags.len() > 100 && tags.last().unwrap().millis > 3000);
            let steps: Vec<u64> = tags.windows(2).map(|pair| pair[1].millis.wrapping_sub(pair[0].millis)).collect();
            assert!(steps.iter().all(|step| (least..=most).contains(step)), "{limit:#x} {track:?}: {steps:?}");
        }
    }
}
