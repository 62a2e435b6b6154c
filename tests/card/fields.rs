//! In which order a real driver's fields are shown: a bar that the card moves on with every field, followed through the input and its
//! conversion as the daemon runs them. What comes out is the input's feed, where fields have their times.

use std::sync::Arc;
use std::time::Duration;

use gstreamer as gst;
use onaird::capture::find::Node;
use onaird::capture::monitor::Monitor;
use onaird::capture::video::driver::Driver;
use onaird::capture::{self, Port};
use onaird::clock::MediaClock;
use onaird::config::{Connector, Edid, InputKind, Watch};
use onaird::media::raw::{Feed, Frame, Pixels, RawFormat};
use onaird::report::{Events, Report};
use onaird::status::{Input, Status};
use onaird::units::FrameRate;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// More pictures than any interlaced mode has frames: all fields are wanted.
const FORMAT: RawFormat = RawFormat { width: 320, height: 240, framerate: FrameRate::new(60, 1).unwrap(), pixels: Pixels::I420 };

/// The bar moves by 1/60 of the width, or a little more, with each field: the way of two is longer than this.
const TWO_FIELDS: f64 = 320.0 / 40.0;

/// So many frames must have shown both their fields: an emulated CPU cannot convert all of them in time.
const ENOUGH: usize = 8;

/// The way of the bar from picture to picture, in pixels of the program.
pub fn steps(node: &Node, connector: u32, pictures: usize) -> Vec<f64> {
    let frames = frames(node, Connector::Number(connector), |frames| {
        frames.len() >= pictures && singles(&steps_of(frames), 1.0).max(singles(&steps_of(frames), -1.0)) >= ENOUGH
    });
    steps_of(&frames)
}

fn steps_of(frames: &[Frame]) -> Vec<f64> {
    let places = frames.iter().map(|frame| place(&frame.buffer)).collect::<Vec<_>>();
    let pairs = places.windows(2).filter_map(|pair| Some(pair[1]? - pair[0]?));
    // Once across the picture, it begins anew.
    pairs.filter(|step| step.abs() < f64::from(FORMAT.width / 2)).collect()
}

/// Steps of one field in this direction.
fn singles(steps: &[f64], direction: f64) -> usize {
    steps.iter().filter(|step| (1.0..TWO_FIELDS).contains(&(**step * direction))).count()
}

/// What there is to say against it that all steps have one direction, and some are those of one field. Of a frame whose fields are
/// shown in the wrong order, the second step would go back.
pub fn fault(steps: &[f64]) -> Option<String> {
    let direction = steps.iter().sum::<f64>().signum();
    let back = steps.iter().filter(|step| **step * direction < -0.7).count();
    let single = singles(steps, direction);
    (back > 0 || single < ENOUGH)
        .then(|| format!("of {} steps {back} go back and {single} are those of one field: {steps:.1?}", steps.len()))
}

/// The same pictures with the fields of every two exchanged.
pub fn exchanged(steps: &[f64]) -> Vec<f64> {
    let mut places = vec![0.0];
    places.extend(steps.iter().scan(0.0, |place, step| {
        *place += step;
        Some(*place)
    }));
    places.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
    places.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// Runs the input until it has brought enough.
fn frames(node: &Node, connector: Connector, is_enough: impl Fn(&[Frame]) -> bool) -> Vec<Frame> {
    gst::init().unwrap();
    let clock = MediaClock::start();
    let status = watch::Sender::new(Status { inputs: vec![Input::default()], ..Status::default() });
    let report = || Report::new(&status, |status| &mut status.inputs[0]);
    let feed = Feed::new(Duration::from_secs(60));
    let port = Port {
        name: "camera".into(),
        format: FORMAT,
        feed: feed.clone(),
        clock: clock.clone(),
        report: report(),
        events: Events::new(&status, clock.clone()),
        cards: Arc::new(Driver::new([("camera", node.path.as_path())], clock)),
        monitor: Monitor::new(&Watch::default(), FORMAT, report()),
        lends: false,
    };
    let (_orders, receiver) = mpsc::channel(1);
    let (runtime, stop) = (tokio::runtime::Runtime::new().unwrap(), CancellationToken::new());
    let kind = InputKind::V4l2 { device: node.path.clone(), connector, edid: Edid::Keep, audio: None };
    let input = runtime.spawn(capture::run(kind, port, receiver, stop.clone()));
    let began = std::time::Instant::now();
    let brought = || feed.with_frames(|frames| frames.iter().cloned().collect::<Vec<_>>());
    while !is_enough(&brought()) {
        assert!(began.elapsed() < super::LIMIT, "{:?}; {:.1?}", status.borrow().inputs, steps_of(&brought()));
        std::thread::sleep(Duration::from_millis(500));
    }
    stop.cancel();
    runtime.block_on(input).unwrap().unwrap();
    brought()
}

/// Where the bar is; `None` at the edges, where it is in two parts.
fn place(picture: &gst::Buffer) -> Option<f64> {
    let (map, width) = (picture.map_readable().unwrap(), FORMAT.width as usize);
    // A quarter down: the cross's other bar is in the middle.
    let row = &map[FORMAT.layout().stride()[0] as usize * FORMAT.height as usize / 4..][..width];
    let mut sorted = row.to_vec();
    sorted.sort_unstable();
    let ground = sorted[width / 2];
    let weight = |x: usize| f64::from(row[x].abs_diff(ground).saturating_sub(40));
    let (mass, moment) = (0..width).fold((0.0, 0.0), |(mass, moment), x| (mass + weight(x), moment + weight(x) * x as f64));
    let mut edges = (0..width / 20).chain(width - width / 20..width);
    (mass > 0.0 && edges.all(|x| weight(x) == 0.0)).then(|| moment / mass)
}
