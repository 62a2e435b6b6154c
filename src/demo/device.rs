//! Which sound belongs to a capture device: the ALSA card that sits on the same piece of hardware. It reads sysfs and opens
//! nothing; where it is unsure, there is no sound.

use std::fs;
use std::path::{Path, PathBuf};

/// ALSA's name for the sound of a V4L2 device, such as `hw:2`.
pub fn sound_of(video: &Path, sys: &Path) -> Option<String> {
    let node = sys.join("class/video4linux").join(video.file_name()?).join("device");
    let interface = fs::canonicalize(node).ok()?;
    let cards = [Some(interface.as_path()), interface.parent()].into_iter().flatten().flat_map(cards_below);
    cards.filter(|card| can_capture(card)).find_map(|card| {
        let number = card.file_name()?.to_str()?.strip_prefix("card")?;
        number.parse::<u32>().ok().map(|number| format!("hw:{number}"))
    })
}

/// `HARDWARE/sound/cardN` and `HARDWARE/INTERFACE/sound/cardN`.
fn cards_below(hardware: &Path) -> Vec<PathBuf> {
    let inside = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let interfaces = inside(hardware.into()).filter(|path| path.is_dir() && !path.is_symlink());
    let mut cards: Vec<_> = interfaces.chain([hardware.into()]).flat_map(|folder| inside(folder.join("sound"))).collect();
    cards.sort();
    cards
}

fn can_capture(card: &Path) -> bool {
    let entries = fs::read_dir(card).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.into_iter().any(|name| name.starts_with("pcmC") && name.ends_with('c'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A USB device with a picture interface and maybe a sound one.
    fn machine(sound: &str) -> tempfile::TempDir {
        let sys = tempfile::tempdir().unwrap();
        let usb = sys.path().join("devices/usb1/1-2");
        fs::create_dir_all(usb.join("1-2:1.0")).unwrap();
        fs::create_dir_all(usb.join("1-2:1.2/sound").join(sound)).unwrap();
        let class = sys.path().join("class/video4linux/video0");
        fs::create_dir_all(&class).unwrap();
        symlink(usb.join("1-2:1.0"), class.join("device")).unwrap();
        sys
    }

    #[test]
    fn the_card_beside_the_picture_is_its_sound_if_it_can_capture() {
        let video = Path::new("/dev/video0");
        assert_eq!(sound_of(video, machine("card3/pcmC3D0c").path()).as_deref(), Some("hw:3"));
        assert_eq!(sound_of(video, machine("card3/pcmC3D0p").path()), None);
        assert_eq!(sound_of(Path::new("/dev/video9"), machine("card3/pcmC3D0c").path()), None);
    }
}
