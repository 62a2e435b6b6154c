//! A disk that was plugged in, as a folder for as long as it is needed. A shell around mount(2) and umount(2).
//!
//! To be used in a mount namespace of its own (the unit `onaird-export@.service` has one): then nobody else sees the folder, and the
//! kernel unmounts it whatever becomes of this process. What is on the disk is a stranger's: nothing of it is executed, no device
//! of it is opened and no link of it is followed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount, umount2};

use super::Fault;

/// Where disks are mounted without a unit's RuntimeDirectory=.
const FOLDER: &str = "/run/onaird-export";

/// MS_NOSYMFOLLOW of mount(2), since Linux 5.10; older kernels take no notice.
const NO_LINKS: MsFlags = MsFlags::from_bits_retain(256);

/// Mounted until it is dropped.
pub struct Removable {
    folder: PathBuf,
    mounted: bool,
}

impl Removable {
    /// `device`: such as `/dev/sdb1`.
    pub fn mount(device: &Path) -> Result<Self, Fault> {
        let kind = file_system_of(device)?;
        let folder = folder_for(device);
        fs::create_dir_all(&folder).map_err(Fault::target("make the folder", &folder))?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME | NO_LINKS;
        let mounted = mount(Some(device), &folder, Some(kind.as_str()), flags, None::<&str>);
        mounted.map_err(|errno| Fault::target("mount", device)(errno.into()))?;
        Ok(Self { folder, mounted: true })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns when the disk has everything and may be pulled out.
    pub fn unmount(mut self) -> Result<(), Fault> {
        umount(&self.folder).map_err(|errno| Fault::target("unmount", &self.folder)(errno.into()))?;
        self.mounted = false;
        Ok(())
    }
}

impl Drop for Removable {
    fn drop(&mut self) {
        if self.mounted {
            // A disk that is gone or busy is let go as soon as the last file is closed.
            let _ = umount2(&self.folder, MntFlags::MNT_DETACH);
        }
        // Not if something is in it; a unit removes its own by itself.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// The unit gives a folder for this disk alone.
fn folder_for(device: &Path) -> PathBuf {
    let name = device.file_name().unwrap_or("disk".as_ref());
    std::env::var_os("RUNTIME_DIRECTORY").map_or_else(|| Path::new(FOLDER).join(name), PathBuf::from)
}

/// As udev has found it, in the words of mount(2).
fn file_system_of(device: &Path) -> Result<String, Fault> {
    let none = || Fault::NoFileSystem { device: device.to_owned() };
    let path = fs::canonicalize(device).map_err(Fault::target("find", device))?;
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(none)?;
    let found = udev::Device::from_subsystem_sysname("block".into(), name.into());
    let found = found.map_err(|error: io::Error| Fault::target("ask udev for", device)(error))?;
    match found.property_value("ID_FS_TYPE").and_then(|kind| kind.to_str()).ok_or_else(none)? {
        "ntfs" => Ok("ntfs3".into()),
        kind => Ok(kind.into()),
    }
}
