//! What a capture device says of its cable. A shell around one ioctl and the rule that reads its answer.
//!
//! `unsafe` is allowed here for VIDIOC_QUERY_DV_TIMINGS (linux/videodev2.h), which the `v4l` crate does not offer.
#![allow(unsafe_code)]

use std::os::fd::RawFd;
use std::path::Path;

use nix::errno::Errno;
use v4l::Device;
use v4l::v4l_sys::v4l2_dv_timings;

use crate::status::Signal;

nix::ioctl_read!(query_dv_timings, b'V', 99, v4l2_dv_timings);

/// What one look at a device found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub signal: Signal,
    /// The signal's mode if the device can tell: "1280x720p 60.00 fps".
    pub mode: Option<String>,
}

/// Opens the device for a moment and asks. Devices without DV timings (cameras) count as locked: only frames can tell.
pub fn look(device: &Path) -> Look {
    let Ok(device) = Device::with_path(device) else {
        return Look { signal: Signal::NoDevice, mode: None };
    };
    match timings(device.handle().fd()) {
        Ok(timings) => Look { signal: Signal::Locked, mode: Some(mode(&timings)) },
        Err(errno) => Look { signal: verdict(errno), mode: None },
    }
}

/// What the current connector of an open device says by its DV timings alone.
pub fn of(fd: RawFd) -> Signal {
    timings(fd).map_or_else(verdict, |_| Signal::Locked)
}

/// The errno of VIDIOC_QUERY_DV_TIMINGS as the V4L2 documentation defines it.
fn verdict(errno: Errno) -> Signal {
    match errno {
        // Not a receiver with DV timings: a camera or an analogue input.
        Errno::ENOTTY | Errno::ENODATA | Errno::EINVAL => Signal::Locked,
        Errno::ENOLINK => Signal::NoSignal,
        Errno::ENOLCK => Signal::NoSync,
        Errno::ERANGE => Signal::OutOfRange,
        Errno::ENODEV | Errno::ENXIO => Signal::NoDevice,
        _ => Signal::NoSignal,
    }
}

fn timings(fd: RawFd) -> Result<v4l2_dv_timings, Errno> {
    // SAFETY: all-zero is a valid value of this plain C struct.
    let mut timings: v4l2_dv_timings = unsafe { std::mem::zeroed() };
    // SAFETY: `fd` is open for the length of this call and the driver writes one struct of the size that the request encodes.
    unsafe { query_dv_timings(fd, &mut timings) }.map(|_| timings)
}

fn mode(timings: &v4l2_dv_timings) -> String {
    // SAFETY: V4L2 knows one type of timings (BT.656/1120); the struct was zeroed or filled by the driver, and any bits are valid.
    let bt = unsafe { timings.__bindgen_anon_1.bt };
    let (width, height, pixel_clock, interlaced) = (bt.width, bt.height, bt.pixelclock, bt.interlaced);
    let line = u64::from(width + bt.hfrontporch + bt.hsync + bt.hbackporch);
    let lines = u64::from(height + bt.vfrontporch + bt.vsync + bt.vbackporch);
    let rate = pixel_clock as f64 / (line * lines).max(1) as f64;
    let scan = if interlaced != 0 { "i" } else { "p" };
    format!("{width}x{height}{scan} {rate:.2} fps")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_errno_is_a_state_of_the_cable() {
        let expected = [
            (Errno::ENOLINK, Signal::NoSignal),
            (Errno::ENOLCK, Signal::NoSync),
            (Errno::ERANGE, Signal::OutOfRange),
            (Errno::ENODEV, Signal::NoDevice),
            (Errno::ENOTTY, Signal::Locked),
        ];
        assert!(expected.iter().all(|(errno, signal)| verdict(*errno) == *signal));
    }

    #[test]
    fn a_device_that_is_not_there_is_no_device() {
        assert_eq!(look(Path::new("/dev/onair/never")), Look { signal: Signal::NoDevice, mode: None });
    }
}
