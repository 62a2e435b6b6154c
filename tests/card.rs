//! Finding cards, EDID, connectors, analogue standards, the order of fields and lent buffers against real V4L2 nodes: those of
//! `vivid`, on the bench machine.
//!
//! Run there by `tests/vm/cards.sh`, which loads the driver with two cards: one with HDMI, one with an antenna, S-Video and HDMI; for
//! the lending of buffers, with two HDMI cards, one of them multi-planar. The tests change the cards, so that they run one after the other.

#![allow(clippy::disallowed_methods)]

#[path = "card/fields.rs"]
mod fields;

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use onaird::capture::analogue::{Remark, Standard};
use onaird::capture::card::{Card, Cards, Lend, Picture, Seat, Wake};
use onaird::capture::find::claims::Claims;
use onaird::capture::find::plug::Plug;
use onaird::capture::find::scan::scan;
use onaird::capture::find::{Node, Wanted, in_order, stable_name};
use onaird::capture::video::driver::Driver;
use onaird::capture::{analogue_io, card as seam, devices, edid, edid_io};
use onaird::clock::MediaClock;
use onaird::config::Connector;
use onaird::media::dmabuf;
use onaird::media::raw::{Pixels, RawFormat};
use onaird::status::Signal;
use onaird::units::{FrameRate, MediaTime};

const DRIVER: &str = "/sys/bus/platform/drivers/vivid";
const HDMI_CARD: &str = "platform:vivid-000";
const MANY_CARD: &str = "platform:vivid-001";
const LIMIT: Duration = Duration::from_secs(60);

fn card(bus: &str) -> Node {
    let wanted = Wanted::Bus(bus.into());
    scan().into_iter().find(|node| wanted.fits(node)).unwrap_or_else(|| panic!("no {bus}; run tests/vm/cards.sh"))
}

fn open(node: &Node) -> File {
    OpenOptions::new().read(true).write(true).open(&node.path).unwrap()
}

fn run(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).output().unwrap();
    assert!(output.status.success(), "{command} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Sets a control of the card by `v4l2-ctl`.
fn set(node: &Node, controls: &str) {
    run("v4l2-ctl", &["-d", node.path.to_str().unwrap(), "-c", controls]);
}

fn cards() -> usize {
    in_order(&scan()).len()
}

/// Unbinds or binds the driver; how long it takes until the watch has noticed and the cards are as many as they should be.
fn plug(order: &str, expected: usize) -> Duration {
    let plug = Plug::shared();
    let mut seen = plug.generation();
    let began = Instant::now();
    fs::write(format!("{DRIVER}/{order}"), "vivid.0").unwrap();
    loop {
        assert!(plug.wait(&mut seen, LIMIT), "{order}: nothing was noticed; {} cards instead of {expected}", cards());
        if cards() == expected {
            return began.elapsed();
        }
    }
}

/// Waits until the watch has heard nothing for a while, so that what follows is heard for itself.
fn quiet() {
    let plug = Plug::shared();
    let mut seen = plug.generation();
    while plug.wait(&mut seen, Duration::from_secs(2)) {}
}

#[test]
#[ignore = "wants the cards of the bench machine: tests/vm/cards.sh"]
fn cards_are_found_and_shared_out() {
    let nodes = scan();
    let found = in_order(&nodes);
    assert_eq!(found.iter().map(|node| node.bus.as_str()).collect::<Vec<_>>(), [HDMI_CARD, MANY_CARD], "{nodes:#?}");
    assert!(nodes.len() > found.len(), "vivid's output is no capture device, and should be among {nodes:#?}");
    assert!(found.iter().all(|node| node.driver == "vivid" && node.card == "vivid" && node.usb.is_none()), "{found:#?}");
    // Both sit on one platform device, so that udev's names are the same for both and lead to one of them.
    let names = found.iter().map(|node| stable_name(node, &nodes)).collect::<Vec<_>>();
    assert_eq!(names, [HDMI_CARD, MANY_CARD].map(|bus| (format!("bus:{bus}").into(), true)));
    let claims = Claims::default();
    for (input, device) in [("a", "auto"), ("b", "auto"), ("c", "auto")] {
        claims.enter(input, Wanted::parse(device.as_ref()));
    }
    let paths = ["a", "b"].map(|input| claims.resolve(input, &nodes, MediaTime::ZERO).unwrap());
    assert_eq!(paths, [found[0].path.clone(), found[1].path.clone()]);
    assert!(claims.resolve("c", &nodes, MediaTime::ZERO).is_err());
    println!("{}", devices::list().join("\n"));
}

#[test]
#[ignore = "wants the cards of the bench machine: tests/vm/cards.sh"]
fn plugging_is_noticed_with_and_without_udevd() {
    const UDEVD: [&str; 3] = ["systemd-udevd-control.socket", "systemd-udevd-kernel.socket", "systemd-udevd.service"];
    quiet();
    let gone = plug("unbind", 0);
    quiet();
    println!("with udevd: gone after {gone:?}, back after {:?}", plug("bind", 2));
    run("systemctl", &[&["stop"][..], &UDEVD].concat());
    // The watch goes over to the kernel's messages with its next look.
    assert!(!fs::exists("/run/udev/control").unwrap());
    quiet();
    let gone = plug("unbind", 0);
    quiet();
    println!("without udevd: gone after {gone:?}, back after {:?}", plug("bind", 2));
    run("systemctl", &[&["start"][..], &UDEVD].concat());
    run("udevadm", &["trigger", "--subsystem-match=video4linux", "--action=add"]);
    run("udevadm", &["settle"]);
}

#[test]
#[ignore = "wants the cards of the bench machine: tests/vm/cards.sh"]
fn an_edid_is_written_once_and_read_back_by_another_program() {
    for (bus, connector) in [(HDMI_CARD, 0), (MANY_CARD, 2)] {
        let node = card(bus);
        let file = open(&node);
        let ours = edid::built_in(1280, 720, 25.0);
        let fd = file.as_raw_fd();
        assert_eq!(edid_io::write_edid(fd, connector, &ours), Ok(edid_io::Written::Changed), "{bus}");
        assert_eq!(edid_io::write_edid(fd, connector, &ours), Ok(edid_io::Written::Same), "{bus}");
        let present = edid_io::read_edid(fd, connector).unwrap();
        assert!(edid::is_same(&present, &ours) && edid::read(&present).is_ok(), "{bus}");
        let argument = format!("--get-edid=pad={connector},format=raw,file=/tmp/edid");
        run("v4l2-ctl", &["-d", node.path.to_str().unwrap(), &argument]);
        assert!(fs::read("/tmp/edid").unwrap() == present, "{bus}");
    }
    let analogue = open(&card(MANY_CARD));
    let refused = edid_io::write_edid(analogue.as_raw_fd(), 0, &edid::built_in(1920, 1080, 60.0));
    assert_eq!(refused, Ok(edid_io::Written::NotTaken), "an antenna has no EDID");
}

#[test]
#[ignore = "wants the cards of the bench machine: tests/vm/cards.sh"]
fn connectors_are_chosen_by_name_and_by_their_signal() {
    let node = card(MANY_CARD);
    let file = open(&node);
    let fd = file.as_raw_fd();
    let entrances = analogue_io::entrances(fd);
    let kinds = entrances.iter().map(|entrance| (entrance.analogue, entrance.digital)).collect::<Vec<_>>();
    assert_eq!(kinds, [(true, false), (true, false), (false, true)], "{entrances:#?}");
    let named = |number: usize| Connector::Name(entrances[number].name.to_uppercase());
    for number in [2, 0, 1] {
        assert_eq!(analogue_io::select(fd, &named(number)), Ok(Some(number as u32)));
        assert_eq!(analogue_io::current(fd), Some(number as u32));
    }
    // S-Video is in use and has a signal: it stays.
    set(&node, "standard_signal_mode=0");
    assert_eq!(analogue_io::select(fd, &Connector::Auto), Ok(Some(1)));
    // Neither it nor the antenna has one: HDMI, the only other.
    set(&node, "standard_signal_mode=1");
    assert_eq!(analogue_io::select(fd, &named(0)), Ok(Some(0)));
    set(&node, "standard_signal_mode=2");
    assert_eq!(analogue_io::select(fd, &Connector::Auto), Ok(Some(2)));
    // Nothing anywhere: the one in use.
    set(&node, "dv_timings_signal_mode=1");
    assert_eq!(analogue_io::select(fd, &Connector::Auto), Ok(Some(2)));
    set(&node, "dv_timings_signal_mode=0");
    assert_eq!(analogue_io::power_present(fd), Some(true));
    assert!(analogue_io::select(fd, &Connector::Name("SDI".into())).unwrap_err().contains(&entrances[2].name));
}

#[test]
#[ignore = "wants the cards of the bench machine: tests/vm/cards.sh"]
fn analogue_standards_are_detected_and_followed() {
    // The positions of the control `standard`.
    const PAL: u32 = 4;
    const NTSC_M: u32 = 0;
    let node = card(MANY_CARD);
    let file = open(&node);
    let fd = file.as_raw_fd();
    assert_eq!(analogue_io::select(fd, &Connector::Number(1)), Ok(Some(1)));
    for (standard, family) in [(PAL, Standard::Lines625), (NTSC_M, Standard::Lines525), (PAL, Standard::Lines625)] {
        set(&node, "standard_signal_mode=4");
        set(&node, &format!("standard={standard}"));
        let found = analogue_io::look_analogue(fd).unwrap();
        assert_eq!((found.signal, found.standard), (Signal::Locked, Some(family)));
        assert!(analogue_io::follow_standard(fd).unwrap().is_some() || family == Standard::Lines625, "{standard}");
        assert_eq!(analogue_io::follow_standard(fd), Ok(None), "it follows now");
        let format = run("v4l2-ctl", &["-d", node.path.to_str().unwrap(), "-V"]);
        let size = format!("720/{}", family.timings().height);
        assert!(format.contains(&size), "{size} in {format}");
    }
    for (mode, signal) in [(1, Signal::NoSignal), (2, Signal::NoSync), (0, Signal::Locked)] {
        set(&node, &format!("standard_signal_mode={mode}"));
        assert_eq!(analogue_io::look_analogue(fd).unwrap().signal, signal, "mode {mode}");
    }
    // The antenna: vivid has a station every 6 MHz, grey beside it, noise between.
    assert_eq!(analogue_io::select(fd, &Connector::Number(0)), Ok(Some(0)));
    for (mhz, signal, remark) in
        [("49.25", Signal::Locked, None), ("48.5", Signal::Locked, Some(Remark::BlackAndWhite)), ("51.25", Signal::NoSync, None)]
    {
        run("v4l2-ctl", &["-d", node.path.to_str().unwrap(), "-f", mhz]);
        let found = analogue_io::look_analogue(fd).unwrap();
        assert_eq!((found.signal, found.remark), (signal, remark), "{mhz} MHz");
    }
}

/// The order is the standard's where fields are woven (525 lines: the lower one first), each field's own where they come one by one.
#[test]
#[ignore = "wants the cards of the bench machine: tests/vm/cards.sh"]
fn fields_are_shown_in_the_order_in_which_they_were_taken() {
    // A cross whose bars are ten pixels wide, moving to the right as fast as can be.
    const MOVING: &str = "test_pattern=19,horizontal_movement=6,osd_text_mode=2";
    const S_VIDEO: u32 = 1;
    let card = card(MANY_CARD);
    set(&card, MOVING);
    // 1080i is more than an emulated CPU can convert with both its fields.
    let modes = [("625 lines", "standard_signal_mode=4,standard=4"), ("525 lines", "standard_signal_mode=4,standard=0")];
    for (name, controls) in modes {
        // The card keeps a signal for each of its connectors, and sets that of the one in use.
        assert_eq!(analogue_io::select(open(&card).as_raw_fd(), &Connector::Number(S_VIDEO)), Ok(Some(S_VIDEO)));
        set(&card, controls);
        let steps = fields::steps(&card, S_VIDEO, 90);
        println!("{name}: {} steps, {:.2} pixels in the mean", steps.len(), steps.iter().sum::<f64>() / steps.len() as f64);
        assert_eq!(fields::fault(&steps), None, "{name}");
        assert!(fields::fault(&fields::exchanged(&steps)).is_some(), "{name}: fields in the wrong order would not be seen");
    }
}

/// The format in which vivid's smallest mode needs no conversion.
const FORMAT: RawFormat = RawFormat { width: 640, height: 480, framerate: FrameRate::new(60, 1).unwrap(), pixels: Pixels::Nv12 };

/// Opens a card that shows the same picture all the time.
fn opened(node: &Node) -> Box<dyn Card> {
    gst::init().unwrap();
    run("v4l2-ctl", &["-d", node.path.to_str().unwrap(), "--set-dv-bt-timings", "index=0"]);
    set(node, "test_pattern=0,osd_text_mode=2");
    let driver = Driver::new([("camera", node.path.as_path())], MediaClock::start());
    let seat = Seat { input: "camera".into(), device: node.path.clone(), connector: Connector::Auto, edid: None };
    driver.open(&seat).unwrap()
}

fn start(card: &mut dyn Card, lend: bool) {
    let lend = lend.then_some(Lend { format: FORMAT, keep: Duration::from_millis(200) });
    let native = card.start(&seam::Wanted { width: FORMAT.width, height: FORMAT.height, fps: 60.0, lend }).unwrap();
    assert_eq!((native.fourcc, native.width, native.height, native.stride), (*b"NV12", 640, 480, 640));
}

fn picture(card: &mut dyn Card) -> Picture {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < LIMIT, "no picture comes");
        match card.wait(Duration::from_secs(1)).unwrap() {
            Wake::Picture(picture) if !picture.flawed => return picture,
            _ => {}
        }
    }
}

fn bytes(picture: &Picture) -> Vec<u8> {
    picture.buffer.map_readable().unwrap().to_vec()
}

/// Waits for a picture that may be kept again.
fn until_spare(card: &mut dyn Card) {
    let began = Instant::now();
    while !picture(card).spare {
        assert!(began.elapsed() < LIMIT, "no buffer comes back");
    }
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Descriptors that stand for a dmabuf.
fn dmabufs() -> usize {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
    descriptors.filter(|fd| fs::read_link(fd.path()).is_ok_and(|target| target.to_string_lossy().contains("dmabuf"))).count()
}

#[test]
#[ignore = "wants the cards of the bench machine: tests/vm/cards.sh"]
fn lent_buffers_hold_what_mapped_ones_do_and_come_back() {
    for bus in [HDMI_CARD, MANY_CARD] {
        let mut card = opened(&card(bus));
        start(&mut *card, false);
        let mapped = picture(&mut *card);
        assert!(!mapped.spare && !dmabuf::is_dmabuf(&mapped.buffer), "{bus}");
        let want = bytes(&mapped);
        assert_eq!(want.len(), FORMAT.layout().size());
        drop(mapped);
        card.stop();
        let before = descriptors();
        start(&mut *card, true);
        let granted = descriptors() - before;
        for index in 0..100 {
            let lent = picture(&mut *card);
            assert!(lent.spare && dmabuf::is_dmabuf(&lent.buffer), "{bus}: picture {index}");
            assert!(bytes(&lent) == want, "{bus}: picture {index} differs from a mapped one");
        }
        // As many are kept as the driver can spare; then it goes on with the rest.
        let mut kept: Vec<Picture> = std::iter::from_fn(|| Some(picture(&mut *card)).filter(|lent| lent.spare)).collect();
        println!("{bus}: {granted} buffers, {} lent at a time", kept.len());
        assert_eq!(kept.len(), granted - 3);
        for _ in 0..2 * granted {
            let more = picture(&mut *card);
            assert!(!more.spare && bytes(&more) == want, "{bus}");
        }
        // Who has the memory alone still has the buffer.
        let memories: Vec<gst::Memory> = kept.drain(..).map(|lent| lent.buffer.memory(0).unwrap()).collect();
        assert!((0..2 * granted).all(|_| !picture(&mut *card).spare), "{bus}");
        drop(memories);
        until_spare(&mut *card);
        // What outlives its stream stays as it was, while the next one runs and another device has the driver's attention.
        let old: Vec<Picture> = (0..5).map(|_| picture(&mut *card)).collect();
        for _ in 0..20 {
            card.stop();
            start(&mut *card, true);
            assert!(bytes(&picture(&mut *card)) == want, "{bus}");
        }
        assert!(old.iter().all(|lent| bytes(lent) == want), "{bus}");
        assert_eq!(descriptors(), before + granted + old.len(), "{bus}: those that are lent, and no other");
        drop(old);
        card.stop();
        assert_eq!(descriptors(), before, "{bus}");
    }
}

/// The path into a hardware encoder, as far as it is the kernel's and GStreamer's: into another V4L2 queue that imports.
#[test]
#[ignore = "wants the cards of the bench machine: tests/vm/cards.sh"]
fn lent_buffers_are_imported_by_another_queue() {
    let mut card = opened(&card(HDMI_CARD));
    let output = output();
    run("v4l2-ctl", &["-d", output.to_str().unwrap(), "--set-dv-bt-timings", "index=0"]);
    start(&mut *card, true);
    let granted = dmabufs();
    // The output knows the colours of computers only.
    let caps = FORMAT.program_caps().replace("colorimetry=bt601", "colorimetry=2:4:7:1");
    let text = format!(
        "appsrc name=in is-live=true format=time caps=\"{caps}\" \
         ! v4l2sink name=out device={} io-mode=dmabuf-import sync=false async=false",
        output.display()
    );
    let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
    let source = pipeline.by_name("in").and_downcast::<gst_app::AppSrc>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let (began, mut index) = (Instant::now(), 0);
    // At first the output asks its driver for all that it can do; meanwhile nothing comes back.
    while index < 5 * granted as u64 {
        let lent = picture(&mut *card);
        assert!(began.elapsed() < LIMIT, "picture {index}: the output gives nothing back");
        if !lent.spare {
            continue;
        }
        index += 1;
        let mut buffer = dmabuf::picture(lent.buffer.memory(0).unwrap(), &FORMAT.layout()).unwrap();
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_nseconds(FORMAT.framerate.time_of(index).nanos()));
        source.push_buffer(buffer).unwrap();
        let fault = bus.pop_filtered(&[gst::MessageType::Error]);
        assert!(fault.is_none(), "picture {index}: {fault:?}");
    }
    source.end_of_stream().unwrap();
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Eos, gst::MessageType::Error]);
    assert!(end.as_ref().is_some_and(|end| end.type_() == gst::MessageType::Eos), "{end:?}");
    pipeline.set_state(gst::State::Null).unwrap();
    drop((source, bus, end, pipeline));
    until_spare(&mut *card);
    assert_eq!(dmabufs(), granted, "the output has made some of its own, or keeps some");
    card.stop();
    assert_eq!(dmabufs(), 0);
}

/// The output of the first card.
fn output() -> PathBuf {
    let nodes = fs::read_dir("/sys/class/video4linux").unwrap().map(|node| node.unwrap().path());
    let name = |node: &Path| fs::read_to_string(node.join("name")).unwrap_or_default();
    let node = nodes.into_iter().find(|node| name(node).starts_with("vivid-000-vid-out")).expect("an output");
    Path::new("/dev").join(node.file_name().unwrap())
}
