//! The room `capture` over a pretended card: what the program shows, and what is left behind, whatever cable, camera and driver do.

mod pretended;
mod station;

use std::sync::Arc;
use std::time::Duration;

use onaird::config::{Connector, Edid, InputKind};
use onaird::media::packet::{Packet, Track};
use onaird::program;
use onaird::status::{Input, Shows, Signal, Status};
use pretended::{Slot, timings};
use station::Station;

/// A program with the pretended card as its only input, live.
async fn live(slot: &Slot) -> Station {
    let station = start(slot);
    station.until("the picture", is_live).await;
    station
}

fn start(slot: &Slot) -> Station {
    let camera =
        InputKind::V4l2 { device: "/dev/onair/pretended".into(), connector: Connector::Auto, edid: Edid::Keep, audio: None };
    let setup = |config: &_| program::Setup::new(config, "test box", None).unwrap();
    station::start_on(Arc::new(slot.clone()), &[("camera", camera)], setup)
}

fn is_live(status: &Status) -> bool {
    status.program.shows == Shows::Live && status.inputs[0].rolling
}

fn is_slate(status: &Status) -> bool {
    status.program.shows == Shows::Slate
}

fn input(station: &Station) -> Input {
    station.status.borrow().inputs[0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_is_shown_and_its_mode_is_told() {
    let slot = Slot::new();
    let station = live(&slot).await;
    let Input { signal, mode, last_error, .. } = input(&station);
    assert_eq!((signal, mode.as_str(), last_error), (Signal::Locked, "640x480p 30.00 fps YUYV", None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_state_of_the_cable_is_told_and_the_picture_comes_back() {
    let slot = Slot::new();
    let station = live(&slot).await;
    for signal in [Signal::NoSignal, Signal::NoSync, Signal::OutOfRange, Signal::NoCable] {
        // As some cards do, this one delivers snow meanwhile.
        slot.change(|cable| cable.signal = signal);
        station.until("the slate", is_slate).await;
        station.until("the cause", |status| status.inputs[0].signal == signal).await;
        assert_eq!(input(&station).mode, "");
        slot.change(|cable| cable.signal = Signal::Locked);
        station.until("the picture", is_live).await;
    }
    assert_eq!(slot.starts(), 1, "nothing was torn down: it is the same signal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_that_comes_only_later_is_taken() {
    let slot = Slot::new();
    slot.change_silently(|cable| cable.signal = Signal::NoSignal);
    let station = start(&slot);
    station.until("its state", |status| status.inputs[0].signal == Signal::NoSignal && is_slate(status)).await;
    assert_eq!(slot.starts(), 0, "there is nothing to stream");
    slot.change_silently(|cable| cable.signal = Signal::Locked);
    station.until("the picture", is_live).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_mode_is_taken_over_and_what_goes_out_stays_as_it_is() {
    let slot = Slot::new();
    let station = live(&slot).await;
    let before = station.pictures(5).await;
    for (width, height) in [(720, 480), (1280, 720), (1920, 1080)] {
        slot.change(|cable| cable.timings = Some(timings(width, height)));
        let mode = format!("{width}x{height}p 30.00 fps YUYV");
        station.until(&mode, |status| status.inputs[0].mode == mode && is_live(status)).await;
    }
    let after = station.pictures(5).await;
    assert!(Arc::ptr_eq(&before[0].format, &after[0].format), "one format throughout");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_without_a_change_disturb_nothing() {
    let slot = Slot::new();
    let station = live(&slot).await;
    for _ in 0..20 {
        slot.change(|_| {});
        station.pictures(2).await;
        assert!(is_live(&station.status.borrow()));
    }
    assert_eq!(slot.starts(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_that_stop_without_a_word_are_noticed_and_the_device_is_started_again() {
    let slot = Slot::new();
    let station = live(&slot).await;
    slot.change_silently(|cable| cable.flowing = false);
    station.until("the slate", is_slate).await;
    let said = |status: &Status| status.inputs[0].last_error.as_deref().is_some_and(|text| text.contains("no picture comes"));
    station.until("the reason", said).await;
    let starts = slot.starts();
    station.until("a new start", |_| slot.starts() > starts).await;
    assert!(said(&station.status.borrow()), "a new start that brings nothing is no news");
    slot.change_silently(|cable| cable.flowing = true);
    station.until("the picture", is_live).await;
    station.until("no fault", |status| status.inputs[0].last_error.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_without_receiver_has_no_signal_when_it_stops() {
    let slot = Slot::new();
    slot.change_silently(|cable| cable.timings = None);
    let station = live(&slot).await;
    slot.change_silently(|cable| cable.flowing = false);
    station.until("its state", |status| status.inputs[0].signal == Signal::NoSignal && is_slate(status)).await;
    slot.change_silently(|cable| cable.flowing = true);
    station.until("the picture", is_live).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unplugged_device_is_taken_again_and_nothing_of_it_stays_open() {
    let slot = Slot::new();
    let station = live(&slot).await;
    for _ in 0..3 {
        slot.change(|cable| cable.plugged = false);
        station.until("its state", |status| status.inputs[0].signal == Signal::NoDevice && is_slate(status)).await;
        station
            .until("what to do", |status| status.inputs[0].last_error.as_deref().is_some_and(|text| text.contains("plug")))
            .await;
        assert_eq!((slot.open(), slot.lent()), (0, 0), "descriptors and buffers of a device that is gone");
        slot.change(|cable| cable.plugged = true);
        station.until("the picture", is_live).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_fails_is_tried_again() {
    let slot = Slot::new();
    let station = live(&slot).await;
    slot.change_silently(|cable| cable.fail_wait = true);
    station
        .until("the fault", |status| status.inputs[0].last_error.as_deref().is_some_and(|text| text.contains("VIDIOC_DQBUF")))
        .await;
    station.until("the picture", is_live).await;
    slot.change_silently(|cable| (cable.fail_wait, cable.fail_start) = (true, true));
    station
        .until("the fault", |status| status.inputs[0].last_error.as_deref().is_some_and(|text| text.contains("VIDIOC_STREAMON")))
        .await;
    station.until("the picture", is_live).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_in_other_hands_is_said_and_taken_when_it_is_free() {
    let slot = Slot::new();
    slot.change_silently(|cable| cable.busy = true);
    let station = start(&slot);
    let said = |status: &Status| status.inputs[0].last_error.as_deref().is_some_and(|text| text.contains("another program uses"));
    station.until("the fault", said).await;
    slot.change_silently(|cable| cable.busy = false);
    station.until("the picture", is_live).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_the_stream_has_no_gap_and_nothing_leaks() {
    let slot = Slot::new();
    let station = live(&slot).await;
    let mut reader = station.hub.reader();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..40 {
        slot.change(|cable| one_event(cable, random.u32(0..8)));
        tokio::time::sleep(Duration::from_millis(random.u64(0..120))).await;
    }
    slot.change(|cable| {
        (cable.plugged, cable.busy, cable.flawed, cable.flowing, cable.signal) = (true, false, false, true, Signal::Locked)
    });
    station.until("the picture", is_live).await;
    assert_eq!(slot.open(), 1);
    assert!(slot.lent() <= 6, "{} buffers are lent", slot.lent());
    let mut pictures: Vec<Arc<Packet>> = Vec::new();
    let seen = station.status.borrow().program.frames;
    while (pictures.len() as u64) < seen / 2 {
        let item = tokio::time::timeout(Duration::from_secs(30), reader.next()).await.expect("packets keep coming");
        if let onaird::media::hub::Item::Packet(packet) = item
            && packet.track == Track::Video
        {
            pictures.push(packet);
        }
    }
    let tick = Duration::from_nanos(33_333_334);
    assert!(pictures.windows(2).all(|pair| pair[1].time.since(pair[0].time) <= tick), "a picture for every tick");
}

fn one_event(cable: &mut pretended::Cable, which: u32) {
    match which {
        0 => cable.plugged = !cable.plugged,
        1 => cable.signal = Signal::NoSignal,
        2 => cable.signal = Signal::Locked,
        3 => cable.flowing = !cable.flowing,
        4 => cable.timings = Some(timings(1280, 720)),
        5 => cable.timings = Some(timings(720, 480)),
        6 => cable.fail_start = true,
        _ => cable.fail_wait = true,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_takes_everything_back() {
    let slot = Slot::new();
    let station = live(&slot).await;
    station.stop.cancel();
    let closed = async {
        while slot.open() + slot.lent() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), closed).await.expect("everything comes back");
}
