//! Which sound card belongs to a capture device: the one that sits on the same USB or PCI device, as sysfs has it. The answer
//! is a name that stays with the card ("hw:CARD=Capture"), never a number. A shell: it only reads links and names.

use std::fs;
use std::path::{Path, PathBuf};

/// ALSA's name for the sound card of the same hardware as this video device; `None` if there is none.
pub fn card(video: &Path) -> Option<String> {
    let node = fs::canonicalize(video).ok()?;
    card_in(Path::new("/sys"), node.file_name()?.to_str()?)
}

/// For a video device of this kernel name ("video0").
fn card_in(sys: &Path, video: &str) -> Option<String> {
    let device = fs::canonicalize(sys.join("class/video4linux").join(video).join("device")).ok()?;
    // A USB device has an interface for pictures and others for sound, side by side; a PCI device has both itself.
    let usb = device.parent().filter(|parent| parent.join("bDeviceClass").exists());
    let interfaces = usb.map(folders).unwrap_or_default();
    let sound = std::iter::once(device).chain(interfaces).flat_map(|holder| folders(&holder.join("sound"))).next()?;
    let id = fs::read_to_string(sound.join("id")).ok()?;
    Some(format!("hw:CARD={}", id.trim()))
}

/// Sorted, so that of two cards it is always the same one.
fn folders(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn add(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn video(sys: &Path, name: &str, device: &Path) {
        fs::create_dir_all(sys.join("class/video4linux").join(name)).unwrap();
        fs::create_dir_all(device).unwrap();
        symlink(device, sys.join("class/video4linux").join(name).join("device")).unwrap();
    }

    #[test]
    fn usb_cards_are_found_beside_and_pci_cards_below() {
        let folder = tempfile::tempdir().unwrap();
        let sys = fs::canonicalize(folder.path()).unwrap();
        let usb = sys.join("devices/usb1/1-2");
        video(&sys, "video0", &usb.join("1-2:1.0"));
        add(usb.join("bDeviceClass"), "ef\n");
        add(usb.join("1-2:1.2/sound/card3/id"), "Capture\n");
        add(sys.join("devices/usb1/1-3/1-3:1.0/sound/card1/id"), "Headset\n");
        let pci = sys.join("devices/pci0/0000:01:00.0");
        video(&sys, "video1", &pci);
        add(pci.join("sound/card0/id"), "Pro");
        video(&sys, "video2", &sys.join("devices/platform/vivid.0"));
        assert_eq!(card_in(&sys, "video0").as_deref(), Some("hw:CARD=Capture"));
        assert_eq!(card_in(&sys, "video1").as_deref(), Some("hw:CARD=Pro"));
        assert_eq!(card_in(&sys, "video2"), None);
        assert_eq!(card_in(&sys, "video9"), None);
    }
}
