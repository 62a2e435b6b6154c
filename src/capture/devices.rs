//! Capture devices and sound cards as a list for people: what to write into the configuration, and what is on the cable.
//!
//! It only looks; a card that is on air elsewhere is not disturbed.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use v4l::Device;
use v4l::framesize::{FrameSize, FrameSizeEnum};
use v4l::video::Capture;

use crate::capture::analogue::{Entrance, Found, with_power};
use crate::capture::analogue_io;
use crate::capture::find::scan::scan;
use crate::capture::find::{Node, in_order, stable_name};
use crate::capture::video::{calls, format};
use crate::status::Signal;

/// Capture devices, a few lines each, best first: the first one is what "auto" takes.
pub fn list() -> Vec<String> {
    let nodes = scan();
    let found = in_order(&nodes);
    found.iter().enumerate().flat_map(|(place, node)| describe(node, &nodes, place == 0)).collect()
}

/// The device that "auto" takes.
pub fn first() -> Option<PathBuf> {
    in_order(&scan()).first().map(|node| node.path.clone())
}

fn describe(node: &Node, all: &[Node], first: bool) -> Vec<String> {
    let (name, stays) = stable_name(node, all);
    let mut head = format!("{}  {}, driver {}", name.display(), node.title(), node.driver);
    if !stays {
        head += "; this name may change";
    }
    if first {
        head += "; \"auto\" takes it";
    }
    let mut lines = vec![head];
    let mut more = |text: String| lines.push(format!("    {text}"));
    more(other_names(node, &name));
    match open(node) {
        Ok(file) => look(node, file.as_raw_fd()).into_iter().for_each(more),
        Err(error) => more(format!("cannot be opened: {error}; members of the group `video` may")),
    }
    lines
}

/// "now /dev/video0; also "bus:usb-0000:00:14.0-2", "serial:0004A"".
fn other_names(node: &Node, name: &Path) -> String {
    let bus = (!node.bus.is_empty()).then(|| format!("bus:{}", node.bus));
    let serial = node.serial.as_ref().map(|serial| format!("serial:{serial}"));
    let others: Vec<_> = bus.into_iter().chain(serial).filter(|other| Path::new(other) != name).collect();
    let others = if others.is_empty() { String::new() } else { format!("; also \"{}\"", others.join("\", \"")) };
    format!("now {}{others}", node.path.display())
}

fn open(node: &Node) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&node.path)
}

fn look(node: &Node, fd: RawFd) -> Vec<String> {
    let mut lines = vec![cable(fd)];
    let entrances = analogue_io::entrances(fd);
    if entrances.len() > 1 {
        lines.push(connectors(&entrances, analogue_io::current(fd)));
    }
    lines.extend(formats(node));
    lines
}

fn cable(fd: RawFd) -> String {
    match analogue_io::look_analogue(fd) {
        Some(Found { signal, standard, remark }) => {
            let mode = standard.map(|standard| format!(", {}", standard.timings())).unwrap_or_default();
            let remark = remark.map(|remark| format!("; {remark}")).unwrap_or_default();
            format!("signal: {signal}{mode}{remark}")
        }
        None => {
            let timings = calls::timings_of(fd).map(|timings| format::timings(&calls::bt(&timings)));
            let signal = timings.map_or_else(format::verdict, |_| Signal::Locked);
            let mode = timings.map(|timings| format!(", {timings}")).unwrap_or_default();
            format!("signal: {}{mode}", with_power(signal, analogue_io::power_present(fd)))
        }
    }
}

fn connectors(entrances: &[Entrance], current: Option<u32>) -> String {
    let one = |entrance: &Entrance| {
        let used = if current == Some(entrance.number) { " (in use)" } else { "" };
        format!("{} \"{}\"{used}", entrance.number, entrance.name)
    };
    format!("connectors: {}", entrances.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// Formats that go up to the same size, if it is known.
type Group = (Option<(u32, u32)>, Vec<String>);

/// "formats: YUYV, NV12 up to 1920x1080; MJPG up to 3840x2160".
fn formats(node: &Node) -> Option<String> {
    let device = Device::with_path(&node.path).ok()?;
    let listed = device.enum_formats().ok()?;
    let mut groups: Vec<Group> = Vec::new();
    let mut seen = BTreeSet::new();
    for fourcc in listed.iter().map(|format| format.fourcc).filter(|fourcc| seen.insert(fourcc.repr)) {
        let largest = device.enum_framesizes(fourcc).ok().and_then(|sizes| largest(&sizes));
        let word = String::from_utf8_lossy(&fourcc.repr).trim_end().to_owned();
        match groups.iter_mut().find(|(size, _)| *size == largest) {
            Some((_, words)) => words.push(word),
            None => groups.push((largest, vec![word])),
        }
    }
    let group = |(size, words): &Group| {
        let size = size.map(|(width, height)| format!(" up to {width}x{height}")).unwrap_or_default();
        format!("{}{size}", short(words))
    };
    (!groups.is_empty()).then(|| format!("formats: {}", groups.iter().map(group).collect::<Vec<_>>().join("; ")))
}

fn largest(sizes: &[FrameSize]) -> Option<(u32, u32)> {
    let size = |size: &FrameSize| match &size.size {
        FrameSizeEnum::Discrete(size) => (size.width, size.height),
        FrameSizeEnum::Stepwise(size) => (size.max_width, size.max_height),
    };
    sizes.iter().map(size).max_by_key(|(width, height)| u64::from(*width) * u64::from(*height))
}

/// The first of many, and how many more.
fn short(words: &[String]) -> String {
    const SHOWN: usize = 8;
    let more = words.len().saturating_sub(SHOWN);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{tail}", words[..words.len() - more].join(", "))
}

/// Sound cards that can record, each with its name that stays: "hw:CARD=Capture  Cam Link 4K, USB Audio".
pub fn sound() -> Vec<String> {
    alsa::card::Iter::new().flatten().filter_map(|card| sound_card(&card)).collect()
}

fn sound_card(card: &alsa::Card) -> Option<String> {
    let control = alsa::Ctl::from_card(card, true).ok()?;
    let info = control.card_info().ok()?;
    let records = |device: &u32| control.pcm_info(*device, 0, alsa::Direction::Capture).is_ok();
    let devices = alsa::ctl::DeviceIter::new(&control).filter_map(|device| u32::try_from(device).ok()).filter(records);
    let (id, name) = (info.get_id().ok()?, info.get_longname().ok()?);
    let names: Vec<_> = devices.map(|device| sound_name(id, device)).collect();
    (!names.is_empty()).then(|| format!("{}  {name}", names.join(", ")))
}

fn sound_name(card: &str, device: u32) -> String {
    if device == 0 { format!("hw:CARD={card}") } else { format!("hw:CARD={card},DEV={device}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let words = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(short(&words(2)), "0, 1");
        assert_eq!(short(&words(10)), "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
    }

    #[test]
    fn the_connector_in_use_is_marked() {
        let entrance = |number, name: &str| Entrance { number, name: name.into(), ..Entrance::default() };
        let text = connectors(&[entrance(0, "HDMI 0"), entrance(1, "S-Video 0")], Some(1));
        assert_eq!(text, "connectors: 0 \"HDMI 0\", 1 \"S-Video 0\" (in use)");
    }

    #[test]
    fn each_name_is_told_once() {
        let node = Node { path: "/dev/video0".into(), bus: "usb-1".into(), serial: Some("7".into()), ..Node::default() };
        let text = other_names(&node, Path::new("/dev/onair/capture-0"));
        assert_eq!(text, "now /dev/video0; also \"bus:usb-1\", \"serial:7\"");
        let bare = Node { serial: None, ..node };
        assert_eq!(other_names(&bare, Path::new("bus:usb-1")), "now /dev/video0");
    }

    #[test]
    fn sound_has_a_name_that_stays() {
        assert_eq!(sound_name("Capture", 0), "hw:CARD=Capture");
        assert_eq!(sound_name("Capture", 1), "hw:CARD=Capture,DEV=1");
    }
}
