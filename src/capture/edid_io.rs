//! Puts an EDID into a receiver, and reads the one that it has. A shell around VIDIOC_G_EDID and VIDIOC_S_EDID.
//!
//! It writes only what is not there yet: after a write the receiver pulls hot-plug, and the source starts all over again.
//!
//! `unsafe` is for these two ioctls (linux/videodev2.h), which the `v4l` crate does not offer.
#![allow(unsafe_code)]

use std::os::fd::RawFd;

use nix::errno::Errno;
use v4l::v4l_sys::v4l2_edid;

use crate::capture::edid::{BLOCK, is_same};

nix::ioctl_readwrite!(get_edid, b'V', 40, v4l2_edid);
nix::ioctl_readwrite!(set_edid, b'V', 41, v4l2_edid);

/// An EDID has at most this many blocks, by its one byte for their number.
const MOST_BLOCKS: usize = 256;

/// What came of an EDID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The source will negotiate anew.
    Changed,
    /// The receiver had it already.
    Same,
    /// The device takes no EDID: a camera, a USB stick with its own, an analogue input.
    NotTaken,
}

/// Gives one connector of the device, by its number of VIDIOC_ENUMINPUT, this EDID of whole blocks. After a
/// [`Written::Changed`] the source goes and comes back.
pub fn write_edid(fd: RawFd, connector: u32, edid: &[u8]) -> Result<Written, Errno> {
    match read_edid(fd, connector) {
        Ok(present) if is_same(&present, edid) => return Ok(Written::Same),
        Err(errno) if takes_none(errno) => return Ok(Written::NotTaken),
        _ => {}
    }
    let mut bytes = edid.to_vec();
    let mut request = request(connector, &mut bytes);
    // SAFETY: `fd` is open for the length of this call, and the driver reads `blocks` blocks of `bytes`, which outlives it.
    match unsafe { set_edid(fd, &mut request) } {
        Ok(_) => Ok(Written::Changed),
        Err(errno) if takes_none(errno) => Ok(Written::NotTaken),
        Err(errno) => Err(errno),
    }
}

/// The EDID that a connector has; empty if it was given none.
pub fn read_edid(fd: RawFd, connector: u32) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; MOST_BLOCKS * BLOCK];
    let mut request = request(connector, &mut bytes);
    // SAFETY: `fd` is open for the length of this call, and the driver writes at most `blocks` blocks into `bytes`, which are
    // as many as it is long, and outlives it.
    match unsafe { get_edid(fd, &mut request) } {
        Ok(_) => {}
        // A receiver without an EDID has no data, says V4L2.
        Err(Errno::ENODATA) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    }
    bytes.truncate(request.blocks as usize * BLOCK);
    Ok(bytes)
}

/// On a video node, a "pad" is a connector.
fn request(connector: u32, bytes: &mut [u8]) -> v4l2_edid {
    let blocks = (bytes.len() / BLOCK) as u32;
    v4l2_edid { pad: connector, start_block: 0, blocks, reserved: [0; 5], edid: bytes.as_mut_ptr() }
}

/// No such ioctl, or not for this input.
fn takes_none(errno: Errno) -> bool {
    matches!(errno, Errno::ENOTTY | Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_device_without_an_edid_is_left_alone() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(write_edid(null.as_raw_fd(), 0, &[0; BLOCK]), Ok(Written::NotTaken));
    }

    #[test]
    fn a_device_that_has_gone_is_an_error() {
        assert_eq!(write_edid(-1, 0, &[0; BLOCK]), Err(Errno::EBADF));
    }
}
