//! Where origins are and how one gets there: interfaces, IPv6, and which of several origins is the first.

use std::net::{IpAddr, Ipv6Addr};

use onaird::config::{self, OriginUrl, Policy};
use onaird::secret::Secret;
use onaird::status::{self, LegState};

use super::judge::assert_whole;
use super::legs::*;

async fn publishes(leg: impl FnOnce(config::Leg) -> config::Leg, server: &Origin) {
    let clip = Clip::make("1M");
    let mut studio = Studio::open();
    let leg = studio.leg_as(leg(config::Leg::new("leg", vec![server.config()])), studio.stop.clone());
    let feeder = feed(&studio.hub, &studio.clock, clip.clone());
    studio.goes_live(leg, &server.config()).await;
    seconds(1).await;
    studio.close().await;
    feeder.abort();
    assert_whole(&clip, &[server.recording()], 20);
}

#[tokio::test]
async fn an_origin_may_have_an_ipv6_address() {
    let server = Origin::start_at(IpAddr::V6(Ipv6Addr::LOCALHOST), free_port()).await;
    assert!(server.config().url.to_string().starts_with("rtmp://[::1]:"));
    publishes(|leg| leg, &server).await;
}

#[tokio::test]
async fn a_leg_goes_through_the_interface_that_it_is_given() {
    let server = Origin::start().await;
    publishes(|leg| config::Leg { interface: Some("lo".into()), ..leg }, &server).await;
}

#[tokio::test]
async fn an_interface_that_is_not_there_is_told_in_words_and_waited_for() {
    let server = Origin::start().await;
    let mut studio = Studio::open();
    let feeder = feed(&studio.hub, &studio.clock, Clip::make("200k"));
    let leg = config::Leg { interface: Some("absent0".into()), ..config::Leg::new("leg", vec![server.config()]) };
    let leg = studio.leg_as(leg, studio.stop.clone());
    let mut tries = Vec::new();
    for _ in 0..3 {
        // The wait doubles, so that each try has words of its own.
        let another = |leg: &status::Leg| leg.last_error.as_ref().is_some_and(|error| !tries.contains(error));
        let figures = studio.reaches(leg, "another try", another).await;
        tries.extend(figures.last_error);
        studio.reaches(leg, "waiting", |leg| leg.state == LegState::Waiting).await;
    }
    println!("{tries:#?}");
    assert!(tries.iter().all(|error| error.contains("the network interface absent0 cannot be used")), "{tries:?}");
    studio.close().await;
    feeder.abort();
    assert!(server.recordings().is_empty());
}

/// Where a leg with this policy goes to.
async fn first_choice(policy: Policy, origins: Vec<config::Origin>) -> OriginUrl {
    let mut studio = Studio::open();
    let feeder = feed(&studio.hub, &studio.clock, Clip::make("200k"));
    let leg = studio.leg_as(config::Leg { policy, ..config::Leg::new("leg", origins) }, studio.stop.clone());
    let origin = studio.reaches(leg, "live", |leg| leg.state == LegState::Live).await.origin;
    studio.close().await;
    feeder.abort();
    OriginUrl::parse(&origin).unwrap()
}

#[tokio::test]
async fn weights_choose_the_first_origin_and_choose_it_again() {
    let servers = [Origin::start().await, Origin::start().await];
    let weighted = |weights: [u32; 2], key: &str| {
        let origin =
            |server: &Origin, weight| config::Origin { weight, ..config::Origin::new(server.config().url, Secret::new(key)) };
        servers.iter().zip(weights).map(|(server, weight)| origin(server, weight)).collect::<Vec<_>>()
    };
    for only in [0, 1] {
        let weights = [u32::from(only == 0), u32::from(only == 1)];
        assert_eq!(first_choice(Policy::Weighted, weighted(weights, KEY)).await, servers[only].config().url);
    }
    let drawn = weighted([1, 1], "drawn");
    let first = first_choice(Policy::Weighted, drawn.clone()).await;
    assert_eq!(first_choice(Policy::Weighted, drawn).await, first, "the lot was drawn for good");
}
