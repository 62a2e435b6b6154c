//! The video nodes that there are now, from sysfs, udev and the drivers. A shell: it looks, and decides nothing.
//!
//! The library that asks udev reads sysfs itself, so that nodes are found without a running udevd too; then there are no
//! links below /dev and no udev properties, and the drivers' own words are all there is. A node that cannot be opened just now
//! (another one's, or a card that is going) is listed by what udev remembers of it.
//!
//! `unsafe` is for VIDIOC_QUERYCAP (linux/videodev2.h): the `v4l` crate panics on a card's name that is no UTF-8, and names are
//! cut at 31 bytes wherever that is.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use udev::{Device, Enumerator};
use v4l::v4l_sys::{V4L2_CAP_DEVICE_CAPS, v4l2_capability};

use crate::capture::find::{Abilities, Node};

nix::ioctl_read!(query_capabilities, b'V', 0, v4l2_capability);

/// Where udev's rules, or whatever a minimal system has instead, put names that stay.
const LINK_FOLDERS: [&str; 5] = ["/dev/onair", "/dev/onair/by-path", "/dev/onair/by-id", "/dev/v4l/by-path", "/dev/v4l/by-id"];

/// All nodes called videoN, also those that do not capture, in the order of their numbers.
pub fn scan() -> Vec<Node> {
    let links = links(LINK_FOLDERS.iter().map(Path::new));
    let mut nodes: Vec<_> = devices().iter().filter_map(|device| node(device, &links)).collect();
    nodes.sort_by_key(|node| node.number);
    nodes
}

fn devices() -> Vec<Device> {
    let listed = Enumerator::new().and_then(|mut enumerator| {
        enumerator.match_subsystem("video4linux")?;
        enumerator.match_sysname("video*")?;
        Ok(enumerator.scan_devices()?.collect())
    });
    listed.unwrap_or_else(|error| {
        tracing::warn!("capture devices cannot be listed: {error}; is /sys mounted?");
        Vec::new()
    })
}

fn node(device: &Device, links: &[(PathBuf, PathBuf)]) -> Option<Node> {
    let path = device.devnode()?.to_path_buf();
    let usb = device.parent_with_subsystem_devtype("usb", "usb_device").ok().flatten();
    let told = ask_driver(&path);
    let abilities = match &told {
        Some(told) => told.abilities,
        None => Abilities::of_udev(&text(device.property_value("ID_V4L_CAPABILITIES")).unwrap_or_default()),
    };
    let parent = device.parent();
    let driver = parent.as_ref().and_then(|parent| text(parent.driver()));
    let (card, driver, bus) = match told {
        Some(told) => (told.card, told.driver, told.bus),
        None => (text(device.attribute_value("name")).unwrap_or_default(), driver.unwrap_or_default(), String::new()),
    };
    let serial = text(device.property_value("ID_SERIAL_SHORT"));
    Some(Node {
        number: device.sysnum().and_then(|number| number.try_into().ok()).unwrap_or_default(),
        index: text(device.attribute_value("index")).and_then(|index| index.parse().ok()).unwrap_or_default(),
        abilities,
        card,
        driver,
        bus,
        hardware: parent.as_ref().unwrap_or(device).syspath().into(),
        serial: serial.or_else(|| text(usb.as_ref()?.attribute_value("serial"))),
        usb: usb.map(|usb| usb.syspath().into()),
        links: links.iter().filter(|(_, target)| *target == path).map(|(link, _)| link.clone()).collect(),
        path,
    })
}

fn text(value: Option<&OsStr>) -> Option<String> {
    value.map(|value| value.to_string_lossy().trim().to_owned()).filter(|value| !value.is_empty())
}

/// Each link of the folders with the node that it leads to now: two cards may claim one name, of which one has it.
fn links<'f>(folders: impl Iterator<Item = &'f Path>) -> Vec<(PathBuf, PathBuf)> {
    let entries = folders.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    let links = entries.map(|entry| entry.path()).filter(|path| path.is_symlink());
    let mut found: Vec<_> = links.filter_map(|link| fs::canonicalize(&link).ok().map(|node| (link, node))).collect();
    found.sort();
    found
}

/// What a driver says of its card.
struct Told {
    abilities: Abilities,
    card: String,
    driver: String,
    bus: String,
}

fn ask_driver(path: &Path) -> Option<Told> {
    let node = OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).ok()?;
    // SAFETY: all-zero is a valid value of this plain C struct.
    let mut told: v4l2_capability = unsafe { std::mem::zeroed() };
    // SAFETY: the file is open for the length of this call and the driver writes one struct of the size that the request encodes.
    unsafe { query_capabilities(node.as_raw_fd(), &mut told) }.ok()?;
    // A card is more than its node: `capabilities` are those of all its nodes together.
    let own = if told.capabilities & V4L2_CAP_DEVICE_CAPS != 0 { told.device_caps } else { told.capabilities };
    let (card, driver, bus) = (name(&told.card), name(&told.driver), name(&told.bus_info));
    Some(Told { abilities: Abilities::of_driver(own), card, driver, bus })
}

/// A C string that may end in the middle of a letter.
fn name(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_told_with_what_they_lead_to() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (node, by_path) = (root.join("video3"), root.join("by-path"));
        fs::write(&node, "").unwrap();
        fs::create_dir(&by_path).unwrap();
        symlink("video3", root.join("capture-0")).unwrap();
        symlink("../video3", by_path.join("port-0")).unwrap();
        symlink("video9", root.join("capture-1")).unwrap();
        let got = links([root.as_path(), &by_path, Path::new("/nowhere")].into_iter());
        assert_eq!(got, [(by_path.join("port-0"), node.clone()), (root.join("capture-0"), node)]);
    }

    #[test]
    fn names_may_be_cut_in_the_middle_of_a_letter() {
        assert_eq!(name(b"Kamera 4K \0rest"), "Kamera 4K");
        assert_eq!(name(b"Cam\xc3"), "Cam\u{fffd}");
    }

    #[test]
    fn a_file_that_is_no_device_tells_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(ask_driver(file.path()).is_none());
    }

    /// Whatever this machine has, each node is there once, exists, and is named.
    #[test]
    fn what_is_found_exists() {
        let nodes = scan();
        for node in &nodes {
            assert!(node.path.exists() && node.hardware.starts_with("/sys"), "{node:?}");
        }
        let listed = fs::read_dir("/sys/class/video4linux").into_iter().flatten().flatten();
        let videos = listed.filter(|entry| entry.file_name().to_string_lossy().starts_with("video")).count();
        assert_eq!(nodes.len(), videos);
    }
}
