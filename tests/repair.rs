//! Encoders that fail, hang or never work, with real GStreamer: what the readers of the hub see of it.

mod station;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use onaird::config::{self, InputKind};
use onaird::media::dmabuf::Heap;
use onaird::media::hub::{Item, Reader};
use onaird::media::packet::{Packet, Track};
use onaird::media::raw::{Pixels, RawFormat};
use onaird::program::Setup;
use onaird::program::encoder::{AudioRecipe, Dmabufs, Recipe, Settings};
use onaird::program::trial::{self, Trials};
use onaird::units::{BitRate, FrameRate};
use station::{Station, start_with};

/// Gives an error with the buffer of this number.
fn failing(after: u32, encoder: &str) -> String {
    format!("identity error-after={after} ! {encoder}")
}

/// Blocks with its first buffer, for an hour, and cannot be stopped: as a driver that hangs.
fn hanging(encoder: &str) -> String {
    format!("identity sleep-time=3600000000 ! {encoder}")
}

fn working_recipe() -> &'static Recipe {
    Trials::new(None).choose("auto").unwrap()
}

/// The setup of the box, with other recipes for its encoders.
fn setup(config: &config::Program, video: Option<fn(Settings) -> String>, audio: Option<fn(BitRate) -> String>) -> Setup {
    let (works, sounds) = (working_recipe(), trial::choose_audio().unwrap());
    let recipe = Recipe { text: video.unwrap_or(works.text), ..*works };
    let audio_recipe = AudioRecipe { text: audio.unwrap_or(sounds.text), ..*sounds };
    Setup::with_encoders(config, "test box", Box::leak(Box::new(recipe)), Box::leak(Box::new(audio_recipe)))
}

/// Reads from the first packet on until so many encoders were rebuilt, and two seconds of pictures more.
async fn read_over(station: &Station, reader: &mut Reader, rebuilds: usize) -> Vec<Arc<Packet>> {
    let (mut packets, mut more) = (Vec::new(), 60);
    while more > 0 {
        let item = tokio::time::timeout(Duration::from_secs(30), reader.next()).await.expect("packets come again");
        let Item::Packet(packet) = item else { panic!("lost packets") };
        more -= u32::from(packet.track == Track::Video && rebuilt(station).len() >= rebuilds);
        packets.push(packet);
    }
    packets
}

fn rebuilt(station: &Station) -> Vec<String> {
    let events = station.status.borrow().events.clone();
    events.into_iter().map(|event| event.text).filter(|text| text.ends_with(": rebuilt")).collect()
}

/// From the end of each packet of a track to the next one, where there is a gap between them.
fn gaps(packets: &[Arc<Packet>], track: Track) -> Vec<(Duration, bool)> {
    let packets: Vec<_> = packets.iter().filter(|packet| packet.track == track).collect();
    assert!(packets.windows(2).all(|pair| pair[0].time < pair[1].time), "times rise strictly");
    let gaps = packets.windows(2).map(|pair| (pair[1].time.since(pair[0].time + pair[0].duration), pair[1].keyframe));
    gaps.filter(|(gap, _)| *gap > Duration::from_millis(1)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encoder_that_fails_and_one_that_hangs_are_replaced_on_the_same_time_line() {
    static BUILDS: AtomicU32 = AtomicU32::new(0);
    let text = |settings| match BUILDS.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => failing(45, &working_recipe().text(settings)),
        2 => hanging(&working_recipe().text(settings)),
        _ => working_recipe().text(settings),
    };
    let station = start_with(&[("one", InputKind::Test)], |config| setup(config, Some(text), None));
    let mut reader = station.hub.reader();
    let packets = read_over(&station, &mut reader, 3).await;
    let said = rebuilt(&station);
    assert!(said[..2].iter().all(|text| text.contains("failed (")) && said[2].contains("gave nothing for 2 s"), "{said:?}");
    assert!(packets.windows(2).all(|pair| pair[0].time <= pair[1].time), "one order for both tracks");
    let outages = gaps(&packets, Track::Video);
    println!("outages of the picture: {outages:?}");
    assert_eq!(outages.len(), 2, "one for the first fault, one for the second with the hung encoder after it");
    assert!(outages.iter().all(|(_, keyframe)| *keyframe), "goes on with a keyframe");
    assert!(outages[0].0 < Duration::from_secs(3), "{outages:?}");
    assert!(outages[1].0 > Duration::from_secs(2) && outages[1].0 < Duration::from_secs(8), "{outages:?}");
    assert_eq!(gaps(&packets, Track::Audio), [], "the sound knows nothing of it");
}

/// Memory that can be mapped, which is all of a dmabuf that an encoder in software wants.
fn memfd(bytes: usize) -> Result<OwnedFd, Errno> {
    let fd = memfd_create("picture", MFdFlags::MFD_CLOEXEC)?;
    nix::unistd::ftruncate(&fd, bytes as i64)?;
    Ok(fd)
}

/// An encoder that works, as if it could import, with something that changes nothing for the property.
fn importing(text: fn(Settings) -> String) -> &'static Recipe {
    Box::leak(Box::new(Recipe { text, dmabufs: Dmabufs::ImportOnly("qos=false"), ..*working_recipe() }))
}

#[test]
fn pictures_are_imported_from_the_first_heap_that_an_encoder_can_read() {
    gstreamer::init().unwrap();
    let format = RawFormat { width: 322, height: 182, framerate: FrameRate::new(30, 1).unwrap(), pixels: Pixels::I420 };
    let heaps = || vec![Heap::new("empty", |_| Err(Errno::ENOMEM)), Heap::new("memfd", memfd), Heap::new("other", memfd)];
    let mut trials = Trials::new(None);
    let heap = |trials: &mut Trials, recipe| trials.heap(recipe, format, heaps()).map(|heap| heap.name().to_owned());
    assert_eq!(heap(&mut trials, importing(working_recipe().text)), Some("memfd".into()));
    assert_eq!(heap(&mut trials, importing(|_| "remembered, not tried".into())), Some("memfd".into()));
    let refusing = importing(|settings| failing(5, &working_recipe().text(settings)));
    assert_eq!(heap(&mut Trials::new(None), refusing), None);
    assert_eq!(heap(&mut Trials::new(None), working_recipe()), None, "it reads them anyway");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encoder_that_fails_while_it_imports_gets_copies_from_then_on() {
    static BUILDS: AtomicU32 = AtomicU32::new(0);
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    gstreamer::init().unwrap();
    let recipe = importing(|settings| match BUILDS.fetch_add(1, Ordering::Relaxed) {
        0 => failing(45, &working_recipe().text(settings)),
        _ => working_recipe().text(settings),
    });
    let counted = |bytes| {
        GIVEN.fetch_add(1, Ordering::Relaxed);
        memfd(bytes)
    };
    let heap = Arc::new(Heap::new("counted", counted));
    let station = start_with(&[("one", InputKind::Test)], |config| {
        Setup::with_encoders(config, "test box", recipe, trial::choose_audio().unwrap()).importing(Some(heap))
    });
    let mut reader = station.hub.reader();
    let packets = read_over(&station, &mut reader, 1).await;
    let said = rebuilt(&station);
    assert!(said[0].contains("failed (") && said[0].contains("pictures are copied for it"), "{said:?}");
    assert!(gaps(&packets, Track::Video).iter().all(|(gap, keyframe)| *gap < Duration::from_secs(3) && *keyframe));
    let given = GIVEN.load(Ordering::Relaxed);
    println!("{given} pictures of dmabufs were enough");
    assert!((1..=24).contains(&given), "{given}: each picture was put into a dmabuf, and their memory was used again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_encoder_that_fails_does_not_touch_the_picture() {
    static BUILDS: AtomicU32 = AtomicU32::new(0);
    let text = |bitrate| {
        let encoder = trial::choose_audio().unwrap().text(bitrate);
        if BUILDS.fetch_add(1, Ordering::Relaxed) == 0 { failing(45, &encoder) } else { encoder }
    };
    let station = start_with(&[("one", InputKind::Test)], |config| setup(config, None, Some(text)));
    let mut reader = station.hub.reader();
    let packets = read_over(&station, &mut reader, 1).await;
    assert_eq!(gaps(&packets, Track::Video), [], "the picture knows nothing of it");
    let outages = gaps(&packets, Track::Audio);
    println!("outages of the sound: {outages:?}");
    assert_eq!(outages.len(), 1);
    assert!(outages[0].0 < Duration::from_secs(3), "{outages:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encoder_that_never_works_ends_the_program_with_its_cause() {
    let text = |settings| failing(20, &working_recipe().text(settings));
    let mut station = start_with(&[("one", InputKind::Test)], |config| setup(config, Some(text), None));
    let end = tokio::time::timeout(Duration::from_secs(60), &mut station.program).await.expect("it gives up").unwrap();
    let cause = end.unwrap_err().to_string();
    assert!(
        cause.contains(working_recipe().element) && cause.contains("failed (") && cause.contains("has not helped"),
        "{cause}"
    );
    assert_eq!(rebuilt(&station).len(), 3);
}
