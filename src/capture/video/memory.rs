//! The driver's buffers, lent out picture by picture: mapped into our address space, or exported as dmabufs.
//!
//! ```text
//!   driver ──dequeue──▶ Lease (a GStreamer buffer over the driver's memory, no copy) ──dropped──▶ returns ──queue──▶ driver
//! ```
//!
//! A lease outlives its stream without harm: the mapping or the descriptor stays until the last one is gone, and what comes back to
//! a stream that has ended goes nowhere. Each buffer is exported once per stream. `unsafe` is allowed here for mmap and for
//! reading what it maps.
#![allow(unsafe_code)]

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use gstreamer as gst;
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::calls::{Granted, Node};
use crate::media::dmabuf;

/// Enough for the driver to fill one, another to wait, and the conversion to hold a few.
const BUFFERS: u32 = 6;

/// With fewer, a driver cannot fill one while another is read.
const FEWEST: u32 = 2;

/// A call to the driver that failed.
pub type Failed = (&'static str, Errno);

/// All buffers of one stream.
pub struct Pool {
    places: Places,
    returned: Receiver<u32>,
    returns: SyncSender<u32>,
}

/// Where they lie.
enum Places {
    Mapped(Vec<Arc<Mapping>>),
    Exported(Vec<Arc<OwnedFd>>),
}

struct Mapping {
    address: NonNull<std::ffi::c_void>,
    length: usize,
}

// SAFETY: the memory is not tied to a thread, and nobody writes to it while a lease is out but the driver, which has given it away.
unsafe impl Send for Mapping {}
// SAFETY: as above; it is only read.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(node: &Node, index: u32) -> Result<Self, Errno> {
        let place = node.place(index)?;
        let length = NonZeroUsize::new(place.length).ok_or(Errno::EINVAL)?;
        let keeper = node.keeper();
        // SAFETY: `keeper` holds the descriptor open for the length of this call.
        let fd = unsafe { BorrowedFd::borrow_raw(keeper.fd()) };
        // SAFETY: a new mapping at an address of the kernel's choice, of the length that the driver has told.
        let address = unsafe { mmap(None, length, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, fd, place.offset.into()) }?;
        Ok(Self { address, length: place.length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this very mapping was made in `new`, and no lease is left to read it.
        let _ = unsafe { munmap(self.address, self.length) };
    }
}

impl Pool {
    /// Asks the driver for buffers and gives them all to it: so many to be `lent` as dmabufs, if it can; else a few, mapped.
    pub fn new(node: &Node, path: &Path, lent: Option<u32>) -> Result<Self, Failed> {
        match lent.map(|count| Self::exported(node, count)) {
            None => return Self::mapped(node),
            Some(Ok(pool)) => {
                tracing::info!("{}: pictures go to the encoder without a copy", path.display());
                return Ok(pool);
            }
            Some(Err((call, errno))) => {
                tracing::info!("{}: no picture goes to the encoder without a copy ({call}: {})", path.display(), errno.desc());
            }
        }
        let _ = node.request_buffers(0);
        Self::mapped(node)
    }

    fn mapped(node: &Node) -> Result<Self, Failed> {
        let Granted { count, .. } = granted(node, BUFFERS)?;
        let mappings = (0..count).map(|index| Mapping::new(node, index).map(Arc::new)).collect::<Result<_, _>>();
        Self::queued(node, count, Places::Mapped(mappings.map_err(|errno| ("mmap", errno))?))
    }

    fn exported(node: &Node, wanted: u32) -> Result<Self, Failed> {
        let Granted { count, orphans } = granted(node, wanted)?;
        if !orphans {
            // Lent pictures outlive the stream, and another mode must not wait for them.
            return Err(("VIDIOC_REQBUFS without orphaned buffers", Errno::EOPNOTSUPP));
        }
        let exports = (0..count).map(|index| node.export(index).map(Arc::new)).collect::<Result<_, _>>();
        Self::queued(node, count, Places::Exported(exports.map_err(|errno| ("VIDIOC_EXPBUF", errno))?))
    }

    fn queued(node: &Node, count: u32, places: Places) -> Result<Self, Failed> {
        (0..count).try_for_each(|index| node.queue(index)).map_err(|errno| ("VIDIOC_QBUF", errno))?;
        let (returns, returned) = sync_channel(count as usize);
        Ok(Self { places, returned, returns })
    }

    /// The first `bytes` of a filled buffer; `None` if the driver speaks of one that it was never asked for.
    pub fn lend(&self, index: u32, bytes: usize) -> Option<gst::Buffer> {
        let returns = self.returns.clone();
        match &self.places {
            Places::Mapped(mappings) => {
                let place = mappings.get(index as usize)?.clone();
                let bytes = bytes.min(place.length);
                Some(gst::Buffer::from_slice(Lease { place, bytes, index, returns }))
            }
            Places::Exported(exports) => {
                let place = exports.get(index as usize)?.clone();
                let mut buffer = gst::Buffer::new();
                buffer.get_mut()?.append_memory(dmabuf::memory(Lease { place, bytes, index, returns }, bytes)?);
                Some(buffer)
            }
        }
    }

    /// How many exported buffers there are, and how many of them are lent now; mapped ones are never kept for long.
    pub fn exports(&self) -> Option<(usize, usize)> {
        let Places::Exported(exports) = &self.places else { return None };
        let lent = exports.iter().filter(|export| Arc::strong_count(export) > 1).count();
        Some((exports.len(), lent))
    }

    /// Gives back to the driver what has come back.
    pub fn requeue(&self, node: &Node) -> Result<(), Errno> {
        self.returned.try_iter().try_for_each(|index| node.queue(index))
    }
}

fn granted(node: &Node, count: u32) -> Result<Granted, Failed> {
    let granted = node.request_buffers(count).and_then(|granted| match granted.count {
        ..FEWEST => Err(Errno::ENOMEM),
        _ => Ok(granted),
    });
    granted.map_err(|errno| ("VIDIOC_REQBUFS", errno))
}

/// The right to read one filled buffer.
struct Lease<P> {
    place: Arc<P>,
    bytes: usize,
    index: u32,
    returns: SyncSender<u32>,
}

impl AsRef<[u8]> for Lease<Mapping> {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the mapping is at least `bytes` long and lives as long as this; the driver writes to it only after the return.
        unsafe { std::slice::from_raw_parts(self.place.address.cast().as_ptr(), self.bytes) }
    }
}

impl AsFd for Lease<OwnedFd> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.place.as_fd()
    }
}

impl<P> Drop for Lease<P> {
    fn drop(&mut self) {
        // There is room for every buffer of the stream; a stream that has ended takes nothing back.
        let _ = self.returns.try_send(self.index);
    }
}
