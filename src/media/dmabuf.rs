//! Pictures in dmabufs: memory that devices share by descriptor, so that an encoder reads what a capture card wrote without a copy.
//!
//! ```text
//!   driver's buffer ──VIDIOC_EXPBUF──┐
//!                                    ├──▶ descriptor with its owner ──▶ memory ──▶ picture ──▶ encoder
//!   kernel's heap  ──DMA_HEAP_ALLOC──┘          ▲ dropped with the last user of the memory ───────┘
//! ```
//!
//! Who looks at such a picture by the CPU maps it through GStreamer, which tells the kernel before and after (DMA_BUF_IOCTL_SYNC,
//! `linux/dma-buf.h`). What is put into dmabufs, and when, is not decided here.
//!
//! `unsafe` is allowed here for the ioctl of `linux/dma-heap.h` and for tying an owner to its memory.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::LazyLock;

use gst::glib;
use gst::glib::translate::IntoGlib;
use gstreamer as gst;
use gstreamer_allocators as gst_allocators;
use gstreamer_allocators::prelude::*;
use gstreamer_video as gst_video;
use nix::errno::Errno;
use nix::fcntl::OFlag;

/// `struct dma_heap_allocation_data`.
#[repr(C)]
#[derive(Default)]
struct Allocation {
    len: u64,
    fd: u32,
    fd_flags: u32,
    heap_flags: u64,
}

mod request {
    nix::ioctl_readwrite!(dma_heap_alloc, b'H', 0, super::Allocation);
}

/// The kernel's heaps, contiguous memory first: devices without an IOMMU can read no other. Heaps that the CPU may not map, and
/// those of single vendors, are left alone.
const HEAPS: [&str; 5] = ["linux,cma", "default_cma_region", "cma", "reserved", "system"];

type Allocate = Box<dyn Fn(usize) -> Result<OwnedFd, Errno> + Send + Sync>;

/// Where memory comes from that the CPU can write and other devices can read.
pub struct Heap {
    name: String,
    allocate: Allocate,
}

impl Heap {
    /// A heap of another kind than the kernel's own: `allocate` gives a descriptor of so many bytes that can be mapped.
    pub fn new(name: &str, allocate: impl Fn(usize) -> Result<OwnedFd, Errno> + Send + Sync + 'static) -> Self {
        Self { name: name.into(), allocate: Box::new(allocate) }
    }

    /// Those of this machine that may be opened, in the order in which they are to be tried.
    pub fn all() -> Vec<Self> {
        let open = |name: &&str| {
            let file = OpenOptions::new().read(true).open(Path::new("/dev/dma_heap").join(name)).ok()?;
            Some(Self::new(name, move |bytes| allocate(&file, bytes)))
        };
        HEAPS.iter().filter_map(open).collect()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Memory for a picture of this layout; what is in it is of no value. `None` if there is none left.
    pub fn picture(&self, info: &gst_video::VideoInfo) -> Option<gst::Buffer> {
        picture(memory((self.allocate)(info.size()).ok()?, info.size())?, info)
    }
}

/// DMA_HEAP_IOCTL_ALLOC; the kernel rounds up to whole pages.
fn allocate(heap: &File, bytes: usize) -> Result<OwnedFd, Errno> {
    let fd_flags = (OFlag::O_RDWR | OFlag::O_CLOEXEC).bits() as u32;
    let mut wanted = Allocation { len: bytes as u64, fd_flags, ..Allocation::default() };
    // SAFETY: the struct is the one that the request number encodes; the descriptor is new and nobody else's.
    unsafe {
        request::dma_heap_alloc(heap.as_raw_fd(), &mut wanted)?;
        Ok(OwnedFd::from_raw_fd(wanted.fd as i32))
    }
}

/// The first `bytes` of what a descriptor stands for, as memory that GStreamer knows for a dmabuf. `owner` holds the descriptor
/// open and is dropped when nobody uses the memory any more: not with its buffer, for some encoders keep the memory alone.
pub fn memory(owner: impl AsFd + Send + 'static, bytes: usize) -> Option<gst::Memory> {
    static ALLOCATOR: LazyLock<gst_allocators::DmaBufAllocator> = LazyLock::new(gst_allocators::DmaBufAllocator::new);
    let fd = owner.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open for as long as the memory lives, for it is the owner's, which is tied to the memory below.
    let memory = unsafe { ALLOCATOR.alloc_dmabuf_with_flags(fd, bytes, gst_allocators::FdMemoryFlags::DONT_CLOSE) }.ok()?;
    tie(&memory, owner);
    Some(memory)
}

/// Makes an owner live exactly as long as a memory. Parts of it that are shared out keep the whole alive.
fn tie<T: Send + 'static>(memory: &gst::Memory, owner: T) {
    unsafe extern "C" fn release<T>(owner: glib::ffi::gpointer) {
        // SAFETY: this is the box that was given away below, and it is given back once.
        drop(unsafe { Box::from_raw(owner.cast::<T>()) });
    }
    let key = glib::Quark::from_str("onaird-owner");
    let owner = Box::into_raw(Box::new(owner));
    // SAFETY: the memory is alive, and takes the box until it is freed, from whatever thread.
    unsafe { gst::ffi::gst_mini_object_set_qdata(memory.as_mut_ptr().cast(), key.into_glib(), owner.cast(), Some(release::<T>)) };
}

/// A picture of this layout; `None` if the memory is too small for it.
pub fn picture(memory: gst::Memory, info: &gst_video::VideoInfo) -> Option<gst::Buffer> {
    let mut picture = gst::Buffer::new();
    let fresh = picture.get_mut()?;
    fresh.append_memory(memory);
    gst_video::VideoMeta::add_from_info(fresh, gst_video::VideoFrameFlags::empty(), info).ok()?;
    Some(picture)
}

/// All of it lies in one dmabuf.
pub fn is_dmabuf(picture: &gst::BufferRef) -> bool {
    picture.n_memory() == 1 && picture.peek_memory(0).is_memory_type::<gst_allocators::DmaBufMemory>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::raw::{Pixels, RawFormat};
    use crate::units::FrameRate;
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use std::os::fd::BorrowedFd;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    /// A descriptor whose owner tells when it goes. Nothing but a dmabuf can be synchronised, which GStreamer only warns of.
    struct Told(OwnedFd, SyncSender<()>);

    impl AsFd for Told {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.1.try_send(());
        }
    }

    fn memfd(bytes: usize) -> Result<OwnedFd, Errno> {
        let fd = memfd_create("picture", MFdFlags::MFD_CLOEXEC)?;
        nix::unistd::ftruncate(&fd, bytes as i64)?;
        Ok(fd)
    }

    fn layout() -> gst_video::VideoInfo {
        gst::init().unwrap();
        RawFormat { width: 64, height: 36, framerate: FrameRate::new(25, 1).unwrap(), pixels: Pixels::Nv12 }.layout()
    }

    fn told(bytes: usize) -> (gst::Memory, Receiver<()>) {
        gst::init().unwrap();
        let (tell, gone) = sync_channel(1);
        (memory(Told(memfd(bytes).unwrap(), tell), bytes).unwrap(), gone)
    }

    fn is_gone(gone: &Receiver<()>) -> bool {
        gone.try_recv().is_ok()
    }

    #[test]
    fn the_request_is_the_kernel_s() {
        assert_eq!((size_of::<Allocation>(), nix::request_code_readwrite!(b'H', 0, size_of::<Allocation>())), (24, 0xc018_4800));
    }

    #[test]
    fn an_owner_goes_with_the_last_user_of_the_memory_whoever_that_is() {
        let info = layout();
        let (memory, gone) = told(info.size());
        let picture = picture(memory, &info).unwrap();
        assert!(is_dmabuf(&picture));
        // What the program pushes is another buffer with the same memory; what an encoder keeps may be the memory alone.
        let pushed = picture.copy();
        drop(picture);
        assert!(!is_gone(&gone) && is_dmabuf(&pushed));
        let kept = pushed.memory(0).unwrap();
        drop(pushed);
        assert!(!is_gone(&gone));
        let part = kept.share(64..);
        drop(kept);
        assert!(!is_gone(&gone), "a part keeps the whole");
        drop(part);
        assert!(is_gone(&gone));
    }

    #[test]
    fn what_is_written_is_read_and_the_descriptor_is_the_owner_s() {
        let (memory, gone) = told(4096);
        let mut buffer = gst::Buffer::new();
        buffer.get_mut().unwrap().append_memory(memory);
        buffer.get_mut().unwrap().map_writable().unwrap().copy_from_slice(&[7; 4096]);
        assert_eq!(buffer.map_readable().unwrap().as_slice(), [7; 4096]);
        let copy = buffer.copy_deep().unwrap();
        assert!(!is_dmabuf(&copy), "a copy lies in common memory");
        drop(buffer);
        assert!(is_gone(&gone) && copy.map_readable().unwrap().as_slice() == [7; 4096]);
    }

    #[test]
    fn memory_that_is_too_small_is_no_picture() {
        let info = layout();
        let (memory, gone) = told(info.size() - 1);
        assert!(picture(memory, &info).is_none() && is_gone(&gone));
        assert!(Heap::new("none", |_| Err(Errno::ENOMEM)).picture(&info).is_none());
        assert!(Heap::new("memfd", memfd).picture(&info).is_some_and(|picture| is_dmabuf(&picture)));
    }
}
