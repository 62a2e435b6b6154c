//! The driver's buffers in our address space, lent out picture by picture.
//!
//! ```text
//!   driver ──dequeue──▶ Lease (a GStreamer buffer over the mapping, no copy) ──dropped──▶ returns ──queue──▶ driver
//! ```
//!
//! A lease outlives its stream without harm: the mapping stays until the last one is gone, and what comes back to a stream that
//! has ended goes nowhere. `unsafe` is allowed here for mmap and for reading what it maps.
#![allow(unsafe_code)]

use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::calls::Node;

/// All buffers of one stream.
pub struct Pool {
    mappings: Vec<Arc<Mapping>>,
    returned: Receiver<u32>,
    returns: SyncSender<u32>,
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
    /// Maps `count` buffers and gives them to the driver.
    pub fn new(node: &Node, count: u32) -> Result<Self, Errno> {
        let mappings = (0..count).map(|index| Mapping::new(node, index).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
        for index in 0..count {
            node.queue(index)?;
        }
        let (returns, returned) = sync_channel(count as usize);
        Ok(Self { mappings, returned, returns })
    }

    /// The first `bytes` of a filled buffer; `None` if the driver speaks of one that it was never asked for.
    pub fn lend(&self, index: u32, bytes: usize) -> Option<Lease> {
        let mapping = self.mappings.get(index as usize)?.clone();
        let bytes = bytes.min(mapping.length);
        Some(Lease { mapping, bytes, index, returns: self.returns.clone() })
    }

    /// Gives back to the driver what has come back.
    pub fn requeue(&self, node: &Node) -> Result<(), Errno> {
        self.returned.try_iter().try_for_each(|index| node.queue(index))
    }
}

/// The right to read one filled buffer.
pub struct Lease {
    mapping: Arc<Mapping>,
    bytes: usize,
    index: u32,
    returns: SyncSender<u32>,
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the mapping is at least `bytes` long and lives as long as this; the driver writes to it only after the return.
        unsafe { std::slice::from_raw_parts(self.mapping.address.cast().as_ptr(), self.bytes) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // There is room for every buffer of the stream; a stream that has ended takes nothing back.
        let _ = self.returns.try_send(self.index);
    }
}
