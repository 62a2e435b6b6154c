//! The V4L2 calls that an input makes, as safe functions over one open node: nothing but `linux/videodev2.h`, no decisions.
//!
//! `unsafe` is allowed here for the ioctls; each passes one struct of the very type that its request number encodes. Both kinds of
//! capture queue are spoken: single-planar, and multi-planar with all of a picture in one piece of memory.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use v4l::Device;
use v4l::capability::{Capabilities, Flags};
use v4l::v4l_sys as sys;

mod request {
    use v4l::v4l_sys::*;

    nix::ioctl_readwrite!(enum_fmt, b'V', 2, v4l2_fmtdesc);
    nix::ioctl_readwrite!(g_fmt, b'V', 4, v4l2_format);
    nix::ioctl_readwrite!(s_fmt, b'V', 5, v4l2_format);
    nix::ioctl_readwrite!(reqbufs, b'V', 8, v4l2_requestbuffers);
    nix::ioctl_readwrite!(querybuf, b'V', 9, v4l2_buffer);
    nix::ioctl_readwrite!(qbuf, b'V', 15, v4l2_buffer);
    nix::ioctl_readwrite!(expbuf, b'V', 16, v4l2_exportbuffer);
    nix::ioctl_readwrite!(dqbuf, b'V', 17, v4l2_buffer);
    nix::ioctl_write_ptr!(streamon, b'V', 18, std::os::raw::c_int);
    nix::ioctl_write_ptr!(streamoff, b'V', 19, std::os::raw::c_int);
    nix::ioctl_readwrite!(g_parm, b'V', 21, v4l2_streamparm);
    nix::ioctl_readwrite!(s_parm, b'V', 22, v4l2_streamparm);
    nix::ioctl_readwrite!(s_dv_timings, b'V', 87, v4l2_dv_timings);
    nix::ioctl_read!(dqevent, b'V', 89, v4l2_event);
    nix::ioctl_write_ptr!(subscribe_event, b'V', 90, v4l2_event_subscription);
    nix::ioctl_read!(query_dv_timings, b'V', 99, v4l2_dv_timings);
}

/// A number of planes that no driver exceeds (VIDEO_MAX_PLANES).
const PLANES: usize = 8;

/// An open video node.
pub struct Node {
    device: Device,
    pub caps: Capabilities,
    /// The buffer type: single- or multi-planar capture.
    queue: u32,
}

/// The part of `v4l2_pix_format` and its multi-planar sibling that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub fourcc: [u8; 4],
    pub width: u32,
    pub height: u32,
    pub stride: u32,
    pub field: u32,
    pub colorspace: u32,
    pub ycbcr_enc: u32,
    pub quantization: u32,
}

/// A buffer that the driver has filled.
#[derive(Clone, Copy, Debug)]
pub struct Filled {
    pub index: u32,
    pub bytes: usize,
    pub flags: u32,
    pub field: u32,
    pub time: Duration,
}

/// What came of asking for buffers.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    pub count: u32,
    /// Buffers that somebody still has may be left behind when all are taken back (since Linux 4.20; before, nothing can be changed
    /// until the last one is given back).
    pub orphans: bool,
}

/// Where a buffer can be mapped.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub offset: u32,
    pub length: usize,
}

/// What [`Node::wait`] found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ready {
    pub buffer: bool,
    pub event: bool,
    /// The stream is broken, or the device is gone.
    pub error: bool,
}

impl Node {
    /// Opens it; [`Errno::ENODEV`] also for a node that cannot capture.
    pub fn open(path: &Path) -> Result<Self, Errno> {
        let device = Device::with_path(path).map_err(errno)?;
        let caps = device.query_caps().map_err(errno)?;
        let queue = if caps.capabilities.contains(Flags::VIDEO_CAPTURE) {
            sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE
        } else if caps.capabilities.contains(Flags::VIDEO_CAPTURE_MPLANE) {
            sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE
        } else {
            return Err(Errno::ENODEV);
        };
        Ok(Self { device, caps, queue })
    }

    pub fn fd(&self) -> RawFd {
        self.device.handle().fd()
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Keeps the node open for as long as it lives.
    pub fn keeper(&self) -> Arc<v4l::device::Handle> {
        self.device.handle()
    }

    /// VIDIOC_QUERY_DV_TIMINGS: what is on the cable, or why it cannot be told.
    pub fn timings(&self) -> Result<sys::v4l2_dv_timings, Errno> {
        timings_of(self.fd())
    }

    pub fn set_timings(&self, mut timings: sys::v4l2_dv_timings) -> Result<(), Errno> {
        // SAFETY: see the head of this file.
        unsafe { request::s_dv_timings(self.fd(), &mut timings) }.map(drop)
    }

    /// Asks to be woken when the source changes; not every device can.
    pub fn subscribe(&self) -> Result<(), Errno> {
        let wanted = sys::v4l2_event_subscription { type_: sys::V4L2_EVENT_SOURCE_CHANGE, ..zeroed() };
        // SAFETY: see the head of this file.
        unsafe { request::subscribe_event(self.fd(), &wanted) }.map(drop)
    }

    /// Takes all events that wait; true if one was a change of the source.
    pub fn source_changed(&self) -> bool {
        let mut changed = false;
        let mut event: sys::v4l2_event = zeroed();
        // SAFETY: see the head of this file.
        while unsafe { request::dqevent(self.fd(), &mut event) }.is_ok() {
            changed |= event.type_ == sys::V4L2_EVENT_SOURCE_CHANGE;
        }
        changed
    }

    /// The pixel formats on offer.
    pub fn formats(&self) -> Vec<[u8; 4]> {
        let ask = |index| {
            let mut format = sys::v4l2_fmtdesc { index, type_: self.queue, ..zeroed() };
            // SAFETY: see the head of this file.
            unsafe { request::enum_fmt(self.fd(), &mut format) }.ok().map(|_| format.pixelformat.to_le_bytes())
        };
        (0..256).map_while(ask).collect()
    }

    pub fn format(&self) -> Result<Layout, Errno> {
        let mut format = sys::v4l2_format { type_: self.queue, ..zeroed() };
        // SAFETY: see the head of this file.
        unsafe { request::g_fmt(self.fd(), &mut format) }?;
        Ok(self.layout(&format))
    }

    /// Sets pixel format and size, the rest as the driver likes it, which is then returned.
    pub fn set_format(&self, fourcc: [u8; 4], width: u32, height: u32) -> Result<Layout, Errno> {
        let mut format = sys::v4l2_format { type_: self.queue, ..zeroed() };
        let pixelformat = u32::from_le_bytes(fourcc);
        if self.is_multiplanar() {
            format.fmt.pix_mp = sys::v4l2_pix_format_mplane { width, height, pixelformat, num_planes: 1, ..zeroed() };
        } else {
            format.fmt.pix = sys::v4l2_pix_format { width, height, pixelformat, ..zeroed() };
        }
        // SAFETY: see the head of this file.
        unsafe { request::s_fmt(self.fd(), &mut format) }?;
        Ok(self.layout(&format))
    }

    /// The time from frame to frame as numerator and denominator of a second; not every device knows.
    pub fn frame_interval(&self) -> Option<(u32, u32)> {
        let mut parameters = sys::v4l2_streamparm { type_: self.queue, ..zeroed() };
        // SAFETY: see the head of this file; the driver fills `capture` for a capture queue, and any bits are valid.
        unsafe {
            request::g_parm(self.fd(), &mut parameters).ok()?;
            let interval = parameters.parm.capture.timeperframe;
            (interval.numerator > 0 && interval.denominator > 0).then_some((interval.numerator, interval.denominator))
        }
    }

    /// Asks for a frame interval; the driver takes the nearest it has.
    pub fn set_frame_interval(&self, numerator: u32, denominator: u32) -> Result<(), Errno> {
        let mut parameters = sys::v4l2_streamparm { type_: self.queue, ..zeroed() };
        parameters.parm.capture = sys::v4l2_captureparm { timeperframe: sys::v4l2_fract { numerator, denominator }, ..zeroed() };
        // SAFETY: see the head of this file.
        unsafe { request::s_parm(self.fd(), &mut parameters) }.map(drop)
    }

    /// VIDIOC_REQBUFS: so many mappable buffers, or what the driver gives instead; 0 takes all back.
    pub fn request_buffers(&self, count: u32) -> Result<Granted, Errno> {
        let memory = sys::v4l2_memory_V4L2_MEMORY_MMAP;
        let mut wanted = sys::v4l2_requestbuffers { count, type_: self.queue, memory, ..zeroed() };
        // SAFETY: see the head of this file.
        unsafe { request::reqbufs(self.fd(), &mut wanted) }?;
        let orphans = wanted.capabilities & sys::V4L2_BUF_CAP_SUPPORTS_ORPHANED_BUFS != 0;
        Ok(Granted { count: wanted.count, orphans })
    }

    /// VIDIOC_EXPBUF: a buffer as a dmabuf, all of it, for reading and writing, as importers map it.
    pub fn export(&self, index: u32) -> Result<OwnedFd, Errno> {
        let flags = (OFlag::O_CLOEXEC | OFlag::O_RDWR).bits() as u32;
        let mut wanted = sys::v4l2_exportbuffer { type_: self.queue, index, plane: 0, flags, ..zeroed() };
        // SAFETY: see the head of this file; the descriptor is new and nobody else's.
        unsafe {
            request::expbuf(self.fd(), &mut wanted)?;
            Ok(OwnedFd::from_raw_fd(wanted.fd))
        }
    }

    pub fn place(&self, index: u32) -> Result<Place, Errno> {
        // SAFETY: see the head of this file; the driver has filled the member of the union that belongs to the kind of queue.
        self.with_buffer(index, |fd, buffer, planes| unsafe {
            request::querybuf(fd, buffer)?;
            Ok(match self.is_multiplanar() {
                true => Place { offset: planes[0].m.mem_offset, length: planes[0].length as usize },
                false => Place { offset: buffer.m.offset, length: buffer.length as usize },
            })
        })
    }

    pub fn queue(&self, index: u32) -> Result<(), Errno> {
        // SAFETY: see the head of this file.
        self.with_buffer(index, |fd, buffer, _| unsafe { request::qbuf(fd, buffer) }.map(drop))
    }

    /// A filled buffer; [`Errno::EAGAIN`] if there is none.
    pub fn dequeue(&self) -> Result<Filled, Errno> {
        self.with_buffer(0, |fd, buffer, planes| {
            // SAFETY: see the head of this file.
            unsafe { request::dqbuf(fd, buffer) }?;
            let bytes = if self.is_multiplanar() { planes[0].bytesused } else { buffer.bytesused };
            let seconds = Duration::from_secs(u64::try_from(buffer.timestamp.tv_sec).unwrap_or_default());
            let micros = Duration::from_micros(u64::try_from(buffer.timestamp.tv_usec).unwrap_or_default());
            Ok(Filled {
                index: buffer.index,
                bytes: bytes as usize,
                flags: buffer.flags,
                field: buffer.field,
                time: seconds + micros,
            })
        })
    }

    pub fn stream_on(&self) -> Result<(), Errno> {
        // SAFETY: see the head of this file.
        unsafe { request::streamon(self.fd(), &(self.queue as i32)) }.map(drop)
    }

    pub fn stream_off(&self) -> Result<(), Errno> {
        // SAFETY: see the head of this file.
        unsafe { request::streamoff(self.fd(), &(self.queue as i32)) }.map(drop)
    }

    /// Waits for a buffer (if `streaming`) or an event.
    pub fn wait(&self, streaming: bool, limit: Duration) -> Result<Ready, Errno> {
        let keeper = self.keeper();
        // SAFETY: `keeper` holds the descriptor open for the length of this call.
        let fd = unsafe { BorrowedFd::borrow_raw(keeper.fd()) };
        let buffer = if streaming { PollFlags::POLLIN } else { PollFlags::empty() };
        let mut polled = [PollFd::new(fd.as_fd(), buffer | PollFlags::POLLPRI)];
        poll(&mut polled, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX))?;
        let found = polled[0].revents().unwrap_or(PollFlags::empty());
        let broken = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
        Ok(Ready {
            buffer: found.contains(PollFlags::POLLIN),
            event: found.contains(PollFlags::POLLPRI),
            error: found.intersects(broken),
        })
    }

    fn is_multiplanar(&self) -> bool {
        self.queue == sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE
    }

    /// A `v4l2_buffer` with its planes where the queue has such.
    fn with_buffer<R>(
        &self,
        index: u32,
        call: impl FnOnce(RawFd, &mut sys::v4l2_buffer, &[sys::v4l2_plane; PLANES]) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        let mut planes: [sys::v4l2_plane; PLANES] = [zeroed(); PLANES];
        let memory = sys::v4l2_memory_V4L2_MEMORY_MMAP;
        let mut buffer = sys::v4l2_buffer { index, type_: self.queue, memory, ..zeroed() };
        if self.is_multiplanar() {
            buffer.m.planes = planes.as_mut_ptr();
            buffer.length = PLANES as u32;
        }
        call(self.fd(), &mut buffer, &planes)
    }

    fn layout(&self, format: &sys::v4l2_format) -> Layout {
        // SAFETY: the struct was zeroed, then filled by the driver with the member that belongs to the queue; any bits are valid.
        unsafe {
            if self.is_multiplanar() {
                let pix = format.fmt.pix_mp;
                return Layout {
                    fourcc: pix.pixelformat.to_le_bytes(),
                    width: pix.width,
                    height: pix.height,
                    stride: pix.plane_fmt[0].bytesperline,
                    field: pix.field,
                    colorspace: pix.colorspace,
                    ycbcr_enc: pix.__bindgen_anon_1.ycbcr_enc.into(),
                    quantization: pix.quantization.into(),
                };
            }
            let pix = format.fmt.pix;
            Layout {
                fourcc: pix.pixelformat.to_le_bytes(),
                width: pix.width,
                height: pix.height,
                stride: pix.bytesperline,
                field: pix.field,
                colorspace: pix.colorspace,
                ycbcr_enc: pix.__bindgen_anon_1.ycbcr_enc,
                quantization: pix.quantization,
            }
        }
    }
}

/// VIDIOC_QUERY_DV_TIMINGS of an open device: what is on the cable, or why it cannot be told.
pub fn timings_of(fd: RawFd) -> Result<sys::v4l2_dv_timings, Errno> {
    let mut timings = zeroed();
    // SAFETY: see the head of this file.
    unsafe { request::query_dv_timings(fd, &mut timings) }.map(|_| timings)
}

/// The numbers of a `v4l2_dv_timings`.
pub fn bt(timings: &sys::v4l2_dv_timings) -> sys::v4l2_bt_timings {
    // SAFETY: V4L2 knows one type of timings (BT.656/1120); the struct was zeroed or filled by the driver, and any bits are valid.
    unsafe { timings.__bindgen_anon_1.bt }
}

/// The structs of `linux/videodev2.h` are plain C data.
fn zeroed<T: Plain>() -> T {
    // SAFETY: all-zero is a valid value of every type that is `Plain`.
    unsafe { std::mem::zeroed() }
}

/// Types of which all-zero is a value.
trait Plain {}
impl Plain for sys::v4l2_dv_timings {}
impl Plain for sys::v4l2_event {}
impl Plain for sys::v4l2_event_subscription {}
impl Plain for sys::v4l2_fmtdesc {}
impl Plain for sys::v4l2_format {}
impl Plain for sys::v4l2_pix_format {}
impl Plain for sys::v4l2_pix_format_mplane {}
impl Plain for sys::v4l2_streamparm {}
impl Plain for sys::v4l2_captureparm {}
impl Plain for sys::v4l2_requestbuffers {}
impl Plain for sys::v4l2_exportbuffer {}
impl Plain for sys::v4l2_buffer {}
impl Plain for sys::v4l2_plane {}

fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
