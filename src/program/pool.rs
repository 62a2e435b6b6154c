//! Memory for the pictures that the program makes itself, in common memory or in dmabufs, used again once nobody else holds it.
//!
//! GStreamer's own pool cannot do that here, as it never sees back the memory of a buffer of which a copy without copied bytes was
//! pushed. Nothing is allocated as long as the encoder gives back what it was sent.

use std::sync::Arc;

use gstreamer as gst;
use gstreamer_video as gst_video;

use crate::media::dmabuf::Heap;
use crate::media::raw::RawFormat;

/// Buffers kept; an encoder holds fewer pictures than this, and if not, the rest is allocated and freed.
const KEPT: usize = 24;

pub struct Pool {
    info: gst_video::VideoInfo,
    heap: Option<Arc<Heap>>,
    kept: Vec<gst::Buffer>,
}

impl Pool {
    /// With a heap, every picture lies in a dmabuf.
    pub fn new(format: &RawFormat, heap: Option<Arc<Heap>>) -> Self {
        Self { info: format.layout(), heap, kept: vec![] }
    }

    /// A picture that nobody else looks at; what is in it is of no value. `None` if memory is short.
    pub fn take(&mut self) -> Option<gst::Buffer> {
        let free = self.kept.iter_mut().position(|buffer| buffer.get_mut().is_some_and(|buffer| buffer.is_all_memory_writable()));
        match (free, &self.heap) {
            (Some(index), _) => Some(self.kept.swap_remove(index)),
            (None, Some(heap)) => heap.picture(&self.info),
            (None, None) => gst::Buffer::with_size(self.info.size()).ok(),
        }
    }

    /// Remembers a picture that was taken, to be taken again when it is free.
    pub fn keep(&mut self, picture: &gst::Buffer) {
        if self.kept.len() < KEPT {
            self.kept.push(picture.clone());
        }
    }

    /// A copy of a picture of the program's format; `None` if it is of another one, or memory is short.
    pub fn copy(&mut self, picture: &gst::BufferRef) -> Option<gst::Buffer> {
        let mut out = self.take()?;
        {
            let from = gst_video::VideoFrameRef::from_buffer_ref_readable(picture, &self.info).ok()?;
            let mut to = gst_video::VideoFrameRef::from_buffer_ref_writable(out.get_mut()?, &self.info).ok()?;
            from.copy(&mut to).ok()?;
        }
        self.keep(&out);
        Some(out)
    }

    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.kept.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::dmabuf;
    use crate::media::raw::Pixels;
    use crate::units::FrameRate;
    use nix::errno::Errno;
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use std::os::fd::OwnedFd;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn format(pixels: Pixels) -> RawFormat {
        gst::init().unwrap();
        // A width whose rows are padded in both layouts.
        RawFormat { width: 322, height: 182, framerate: FrameRate::new(30, 1).unwrap(), pixels }
    }

    fn memfd(bytes: usize) -> Result<OwnedFd, Errno> {
        let fd = memfd_create("picture", MFdFlags::MFD_CLOEXEC)?;
        nix::unistd::ftruncate(&fd, bytes as i64)?;
        Ok(fd)
    }

    /// What another's planes are at is of no matter: here, each line begins 400 bytes after the last one.
    fn padded(format: &RawFormat) -> gst::Buffer {
        let (info, lines) = (format.layout(), format.height as usize);
        let strides = [400, 400].iter().copied().take(info.n_planes() as usize).collect::<Vec<_>>();
        let mut buffer = gst::Buffer::from_slice((0..400 * lines * 3 / 2).map(|at| (at / 400) as u8).collect::<Vec<_>>());
        let flags = gst_video::VideoFrameFlags::empty();
        let (width, height) = (format.width, format.height);
        let meta = gst_video::VideoMeta::add_full(
            buffer.get_mut().unwrap(),
            flags,
            info.format(),
            width,
            height,
            &[0, 400 * lines],
            &strides,
        );
        meta.unwrap();
        buffer
    }

    #[test]
    fn a_copy_lies_in_a_dmabuf_in_the_program_s_own_layout() {
        let format = format(Pixels::Nv12);
        let mut pool = Pool::new(&format, Some(Arc::new(Heap::new("memfd", memfd))));
        let copy = pool.copy(&padded(&format)).unwrap();
        assert!(dmabuf::is_dmabuf(&copy));
        let (info, map) = (format.layout(), copy.map_readable().unwrap());
        let stride = info.stride()[0] as usize;
        for line in [0, 1, 181, 182, 272] {
            assert!(map[line * stride..][..322].iter().all(|byte| *byte == line as u8), "line {line}");
        }
    }

    #[test]
    fn memory_is_used_again_once_it_is_free_and_its_lack_is_told() {
        static GIVEN: AtomicUsize = AtomicUsize::new(0);
        let format = format(Pixels::I420);
        let scarce = |bytes| if GIVEN.fetch_add(1, Ordering::SeqCst) < 2 { memfd(bytes) } else { Err(Errno::ENOMEM) };
        let mut pool = Pool::new(&format, Some(Arc::new(Heap::new("scarce", scarce))));
        let picture = gst::Buffer::from_slice(vec![9; format.layout().size()]);
        // As an encoder keeps it: another buffer with the same memory.
        let kept = [pool.copy(&picture).unwrap().copy(), pool.copy(&picture).unwrap().copy()];
        assert!(pool.copy(&picture).is_none(), "both are in use");
        drop(kept);
        for _ in 0..100 {
            assert!(pool.copy(&picture).is_some_and(|copy| dmabuf::is_dmabuf(&copy)));
        }
        assert_eq!((pool.held(), GIVEN.load(Ordering::SeqCst)), (2, 3));
    }
}
