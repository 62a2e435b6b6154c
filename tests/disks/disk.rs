//! Disks that can be broken and cured: a small ext4 in a file, on a loop device, at a place where nothing can be written while it
//! is away. All of it is gone with its owner.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{LIMIT, poll};

const SIZE: &str = "64M";

/// An ext4 disk; mounted at [`Disk::place`] or pulled out.
pub struct Disk {
    device: String,
    place: PathBuf,
}

impl Disk {
    /// Mounted; `None` where one may not do such things, which is said.
    pub fn mount(folder: &Path) -> Option<Self> {
        let (image, place) = (folder.join("disk.img"), folder.join("disk"));
        std::fs::create_dir_all(&place).unwrap();
        std::fs::File::create(&image).unwrap();
        must("truncate", &["--size", SIZE, text(&image)]);
        // Nothing is kept back for root, and all is written out here and now.
        must("mkfs.ext4", &["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", text(&image)]);
        let device = try_to("losetup", &["--find", "--show", text(&image)])
            .map(|output| String::from_utf8(output.stdout).unwrap().trim().to_owned());
        let device = device.map_err(|fault| eprintln!("skipped: no loop device can be had here ({fault})")).ok()?;
        let disk = Self { device, place };
        // The place itself: while the disk is away, nobody can write there, as on a box.
        let empty = try_to("mount", &["-t", "tmpfs", "-o", "size=64k,ro", "onaird-test", text(&disk.place)]);
        empty.map_err(|fault| eprintln!("skipped: a disk can only be mounted by root ({fault})")).ok()?;
        disk.plug();
        Some(disk)
    }

    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Back at its place. A fault of the file system makes it read-only, as most disks are set up.
    pub fn plug(&self) {
        must("mount", &["-t", "ext4", "-o", "errors=remount-ro", &self.device, text(&self.place)]);
    }

    /// Away, although files on it are open, as when a cable is pulled.
    pub fn pull(&self) {
        must("umount", &["--lazy", text(&self.place)]);
    }

    /// Where the kernel can be told to find a fault in the file system, if it offers that.
    pub fn fault_switch(&self) -> Option<PathBuf> {
        let name = Path::new(&self.device).file_name().unwrap();
        Some(Path::new("/sys/fs/ext4").join(name).join("trigger_fs_error")).filter(|path| path.exists())
    }

    /// What a person does then: unmounted, repaired, mounted again.
    pub fn repair(&self) {
        // The daemon may be looking at it this very moment.
        let unmounted = poll(LIMIT, || try_to("umount", &[text(&self.place)]).ok());
        assert!(unmounted.is_some(), "{} stays in use", self.place.display());
        let check = Command::new("e2fsck").args(["-f", "-y", &self.device]).output().unwrap();
        // 1: errors were corrected.
        assert!(check.status.code().is_some_and(|code| code <= 1), "{check:?}");
        self.plug();
    }

    /// As full as a disk can be.
    pub fn fill(&self) {
        let filler = std::fs::File::create(self.filler()).unwrap();
        let fault = poll(LIMIT, || std::io::Write::write_all(&mut &filler, &[1; 1 << 20]).err());
        assert_eq!(fault.map(|fault| fault.kind()), Some(std::io::ErrorKind::StorageFull));
    }

    pub fn make_room(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.place.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The disk, and what is below it; either may be away.
        for _ in 0..2 {
            let _ = try_to("umount", &["--lazy", text(&self.place)]);
        }
        let _ = try_to("losetup", &["--detach", &self.device]);
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn must(program: &str, arguments: &[&str]) {
    try_to(program, arguments).unwrap_or_else(|fault| panic!("{program} {arguments:?}: {fault}"));
}

fn try_to(program: &str, arguments: &[&str]) -> Result<Output, String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(output),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")),
    }
}
