//! Which device an input means: what counts as a capture device, what a node's stable name is, and which one "auto" takes.
//! Pure rules over what [`scan`] has found; nothing here opens or reads anything.
//!
//! ```text
//!   scan  ──▶ [Node] ──▶ is it one? ──▶ in the order of "auto" ──▶ claims: which one is this input's ──▶ a path to open
//!   plug  ──▶ "something has come or gone": look again
//! ```
//!
//! It refuses to guess by the number in /dev/videoN, which is the order of discovery and another one after the next plug.

pub mod claims;
pub mod plug;
pub mod scan;

use std::path::{Path, PathBuf};

use crate::capture::card::Fault;

/// What a node can do, as far as it tells capture devices from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    pub capture: bool,
    pub output: bool,
    /// A codec or scaler: what it captures is what it was given.
    pub memory_to_memory: bool,
    /// Part of a media graph, which delivers only what somebody has set up there.
    pub media_controller: bool,
}

impl Abilities {
    /// From the device capabilities of VIDIOC_QUERYCAP (linux/videodev2.h).
    pub fn of_driver(capabilities: u32) -> Self {
        use v4l::v4l_sys::*;
        let any = |bits: u32| capabilities & bits != 0;
        Self {
            capture: any(V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_VIDEO_CAPTURE_MPLANE),
            output: any(V4L2_CAP_VIDEO_OUTPUT | V4L2_CAP_VIDEO_OUTPUT_MPLANE),
            memory_to_memory: any(V4L2_CAP_VIDEO_M2M | V4L2_CAP_VIDEO_M2M_MPLANE),
            media_controller: any(V4L2_CAP_IO_MC),
        }
    }

    /// From udev's property ID_V4L_CAPABILITIES, ":capture:video_output:", for a node that cannot be opened just now.
    pub fn of_udev(words: &str) -> Self {
        let has = |word: &str| words.split(':').any(|other| other == word);
        Self { capture: has("capture"), output: has("video_output"), ..Self::default() }
    }
}

/// A video node and all that names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The kernel's: /dev/video0.
    pub path: PathBuf,
    pub number: u32,
    /// The how-manieth node of its card.
    pub index: u32,
    pub abilities: Abilities,
    /// What the maker calls it.
    pub card: String,
    pub driver: String,
    /// The driver's own word for where it sits, "usb-0000:00:14.0-2"; unlike the paths it differs for each card of a driver.
    pub bus: String,
    /// Its hardware in sysfs.
    pub hardware: PathBuf,
    /// The USB device it is a part of, in sysfs: its sound card is there too.
    pub usb: Option<PathBuf>,
    pub serial: Option<String>,
    /// Names below /dev that lead here now.
    pub links: Vec<PathBuf>,
}

/// Where a card is plugged in: the same again after the card was away, whatever number its node has then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    bus: String,
    /// 0 for all nodes of a USB device, which are views of one picture; elsewhere a card may have several inputs.
    index: u32,
}

impl Node {
    pub fn place(&self) -> Place {
        let bus = if self.bus.is_empty() { self.hardware.to_string_lossy().into_owned() } else { self.bus.clone() };
        Place { bus, index: if self.usb.is_some() { 0 } else { self.index } }
    }

    /// "Cam Link 4K (usb-0000:00:14.0-2)".
    pub fn title(&self) -> String {
        format!("{} ({})", self.card, self.bus)
    }

    fn is_virtual(&self) -> bool {
        self.hardware.starts_with("/sys/devices/virtual")
    }
}

/// Codecs and scalers that only their name gives away. udev/70-onaird.rules leaves out the same ones.
const CODECS: [&str; 4] = ["bcm2835-codec", "bcm2835-isp", "pispbe", "rpi-hevc"];

/// Whether pictures from outside come in here: the rule of udev/70-onaird.rules.
pub fn is_capture_device(node: &Node) -> bool {
    let Abilities { capture, output, memory_to_memory, .. } = node.abilities;
    capture && !output && !memory_to_memory && !CODECS.iter().any(|codec| node.card.starts_with(codec))
}

/// The capture devices among the nodes, best first: on board before USB before those that are only software; last those that
/// somebody must set up first. Among equals by their place, which does not change with the order of discovery.
pub fn in_order(nodes: &[Node]) -> Vec<&Node> {
    let mut found: Vec<_> = nodes.iter().filter(|node| is_capture_device(node)).collect();
    found.sort_by_key(|node| {
        let kind = (node.abilities.media_controller, node.is_virtual(), node.usb.is_some());
        (kind, &node.hardware, &node.bus, node.index, node.number)
    });
    found
}

/// The name to write into a configuration, and whether it stays with the device.
///
/// With one card in the machine that is its input's short name. With more, a short name may change hands, but a place cannot;
/// a serial number comes after it because cheap sticks all have the same one. Where two cards are parts of one piece of hardware
/// even the place's link may lead to either, and the driver's own word is the only one that stays.
pub fn stable_name(node: &Node, all: &[Node]) -> (PathBuf, bool) {
    let cards = in_order(all);
    let others = || cards.iter().filter(|other| other.path != node.path);
    let shared = others().any(|other| (&other.hardware, other.index) == (&node.hardware, node.index));
    let alone = others().all(|other| other.hardware == node.hardware);
    let folders: &[&str] = match (shared, alone) {
        (true, _) => &[],
        (false, true) => &["/dev/onair/capture-", BY_PATH, BY_ID, "/dev/v4l/by-path/", "/dev/v4l/by-id/"],
        (false, false) => &[BY_PATH, BY_ID, "/dev/v4l/by-path/", "/dev/v4l/by-id/"],
    };
    let begins = |link: &&PathBuf, folder: &str| link.to_str().is_some_and(|link| link.starts_with(folder));
    let link = folders.iter().find_map(|folder| node.links.iter().find(|link| begins(link, folder)));
    match (link, node.bus.is_empty()) {
        (Some(link), _) => (link.clone(), true),
        (None, false) => (format!("{BUS}{}", node.bus).into(), true),
        (None, true) => (node.path.clone(), false),
    }
}

const BY_PATH: &str = "/dev/onair/by-path/";
const BY_ID: &str = "/dev/onair/by-id/";
const SERIAL: &str = "serial:";
const BUS: &str = "bus:";

/// A device as a configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The first one that captures and that no other input has.
    Auto,
    Path(PathBuf),
    /// By its serial number, in whatever port it is.
    Serial(String),
    /// By the driver's word for its place: for machines without udev.
    Bus(String),
}

impl Wanted {
    pub fn parse(device: &Path) -> Self {
        let Some(text) = device.to_str() else { return Self::Path(device.into()) };
        match (text, text.strip_prefix(SERIAL), text.strip_prefix(BUS)) {
            ("auto", ..) => Self::Auto,
            (_, Some(serial), _) => Self::Serial(serial.into()),
            (_, _, Some(bus)) => Self::Bus(bus.into()),
            _ => Self::Path(device.into()),
        }
    }

    /// Whether this very name leads to the node; "auto" leads to none by itself.
    pub fn fits(&self, node: &Node) -> bool {
        match self {
            Self::Auto => false,
            Self::Path(path) => node.path == *path || node.links.contains(path),
            Self::Serial(serial) => node.serial.as_ref() == Some(serial),
            Self::Bus(bus) => node.bus == *bus,
        }
    }

    /// What to say if it is not there.
    fn absent(&self) -> Fault {
        Fault::Absent(match self {
            Self::Auto => "a capture device that no other input uses".into(),
            Self::Path(path) => path.display().to_string(),
            Self::Serial(serial) => format!("a capture device with the serial number {serial}"),
            Self::Bus(bus) => format!("a capture device at {bus}"),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const CAPTURE: Abilities =
        Abilities { capture: true, output: false, memory_to_memory: false, media_controller: false };

    pub(crate) fn node(number: u32, bus: &str, hardware: &str) -> Node {
        Node {
            path: format!("/dev/video{number}").into(),
            number,
            abilities: CAPTURE,
            card: "card".into(),
            bus: bus.into(),
            hardware: hardware.into(),
            usb: hardware.contains("usb").then(|| PathBuf::from(hardware).parent().unwrap().into()),
            ..Node::default()
        }
    }

    pub(crate) fn stick(number: u32, port: u32) -> Node {
        node(number, &format!("usb-0000:00:14.0-{port}"), &format!("/sys/devices/pci0/usb1/1-{port}/1-{port}:1.0"))
    }

    pub(crate) fn receiver(number: u32) -> Node {
        node(number, "platform:csi-0", "/sys/devices/platform/csi")
    }

    #[test]
    fn only_pictures_from_outside_count() {
        let of = |abilities: Abilities, card: &str| Node { abilities, card: card.into(), ..receiver(0) };
        let table = [
            (of(CAPTURE, "Cam Link 4K"), true),
            (of(Abilities { media_controller: true, ..CAPTURE }, "rp1-cfe"), true),
            (of(Abilities::default(), "metadata"), false),
            (of(Abilities { output: true, ..CAPTURE }, "loopback"), false),
            (of(Abilities { memory_to_memory: true, ..CAPTURE }, "scaler"), false),
            (of(CAPTURE, "bcm2835-codec-decode"), false),
            (of(CAPTURE, "rpi-hevc-dec"), false),
        ];
        for (node, want) in table {
            assert_eq!(is_capture_device(&node), want, "{}", node.card);
        }
    }

    #[test]
    fn the_driver_and_udev_tell_the_same() {
        let table = [
            (0x0000_0001, ":capture:", (true, false)),
            (0x0000_1000, ":capture:", (true, false)),
            (0x0001_0001, ":capture:tuner:", (true, false)),
            (0x0000_0002, ":video_output:", (false, true)),
            (0x0000_2000, ":video_output:", (false, true)),
            (0x0000_0003, ":capture:video_output:", (true, true)),
            (0x0080_0000, ":", (false, false)),
            (0x0000_8000, ":", (false, false)),
        ];
        for (capabilities, words, want) in table {
            for abilities in [Abilities::of_driver(capabilities), Abilities::of_udev(words)] {
                assert_eq!((abilities.capture, abilities.output), want, "{capabilities:#x} {words}");
            }
        }
        assert!(Abilities::of_driver(0x8000).memory_to_memory && Abilities::of_driver(0x2000_0001).media_controller);
    }

    #[test]
    fn the_rule_for_udev_leaves_out_the_same_codecs() {
        let rule = include_str!("../../udev/70-onaird.rules");
        let line = rule.lines().find(|line| line.starts_with("ENV{ID_V4L_PRODUCT}==")).unwrap();
        let listed: Vec<_> = line.split('"').nth(1).unwrap().split('|').map(|name| name.trim_end_matches('*')).collect();
        assert_eq!(listed, CODECS);
    }

    #[test]
    fn on_board_comes_before_usb_whatever_was_found_first() {
        let software = node(0, "platform:v4l2loopback-000", "/sys/devices/virtual/video4linux/video0");
        let graph = Node { abilities: Abilities { media_controller: true, ..CAPTURE }, ..node(1, "platform:cfe", "/sys/a") };
        let nodes = [software, graph, stick(2, 4), stick(3, 2), receiver(4)];
        let order: Vec<_> = in_order(&nodes).iter().map(|node| node.number).collect();
        assert_eq!(order, [4, 3, 2, 0, 1]);
    }

    #[test]
    fn the_stable_name_is_one_that_cannot_change_hands() {
        let links = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let all = ["/dev/onair/by-id/usb-X-0", "/dev/onair/by-path/p-0", "/dev/onair/capture-0", "/dev/v4l/by-path/p"];
        let linked = |names: &[&str]| Node { links: links(names), ..receiver(0) };
        let table = [
            (linked(&all), vec![], "/dev/onair/capture-0", true),
            (linked(&all), vec![stick(1, 2)], "/dev/onair/by-path/p-0", true),
            (linked(&["/dev/onair/capture-0", all[0]]), vec![stick(1, 2)], all[0], true),
            (linked(&all), vec![Node { bus: "platform:csi-1".into(), ..receiver(1) }], "bus:platform:csi-0", true),
            (linked(&all), vec![Node { index: 1, ..receiver(1) }], "/dev/onair/capture-0", true),
            (linked(&["/dev/v4l/by-path/p"]), vec![], "/dev/v4l/by-path/p", true),
            (linked(&[]), vec![], "bus:platform:csi-0", true),
            (Node { bus: String::new(), ..receiver(0) }, vec![], "/dev/video0", false),
        ];
        for (node, mut others, want, stays) in table {
            others.push(node.clone());
            assert_eq!(stable_name(&node, &others), (want.into(), stays), "{:?}", node.links);
        }
    }

    #[test]
    fn names_are_read_and_fit() {
        let node = Node { serial: Some("0004A".into()), links: vec!["/dev/onair/capture-0".into()], ..stick(3, 2) };
        let table = [
            ("auto", Wanted::Auto, false),
            ("serial:0004A", Wanted::Serial("0004A".into()), true),
            ("serial:0004", Wanted::Serial("0004".into()), false),
            ("bus:usb-0000:00:14.0-2", Wanted::Bus("usb-0000:00:14.0-2".into()), true),
            ("/dev/onair/capture-0", Wanted::Path("/dev/onair/capture-0".into()), true),
            ("/dev/video3", Wanted::Path("/dev/video3".into()), true),
            ("/etc/onaird/auto", Wanted::Path("/etc/onaird/auto".into()), false),
        ];
        for (text, want, fits) in table {
            let wanted = Wanted::parse(Path::new(text));
            assert_eq!((wanted.fits(&node), wanted), (fits, want), "{text}");
        }
    }

    #[test]
    fn what_is_absent_is_named_with_the_remedy() {
        let text = Wanted::Serial("7".into()).absent().to_string();
        assert_eq!(
            text,
            "a capture device with the serial number 7 is not there; plug the capture device in, or correct `device`"
        );
    }
}
