//! Blending pictures of the program's raw format: a weighted mean of the bytes of each plane, luma and chroma alike, which is
//! right for limited-range 4:2:0 in both layouts (I420, NV12).
//!
//! Plain loops over rows in 16-bit integers, which the compiler turns into vector instructions.

use gstreamer as gst;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

use crate::media::raw::RawFormat;
use crate::program::pool::Pool;

/// Weights are counted in 256ths.
const ONE: u16 = 256;

pub struct Blender {
    info: gst_video::VideoInfo,
    pool: Pool,
}

impl Blender {
    pub fn new(format: &RawFormat) -> Self {
        Self { info: format.layout(), pool: Pool::new(format, None) }
    }

    /// `share` of the new picture over the rest of the old one. `None` if one of them is not of the program's format.
    pub fn blend(&mut self, old: &gst::Buffer, new: &gst::Buffer, share: f32) -> Option<gst::Buffer> {
        let weight = (share.clamp(0.0, 1.0) * f32::from(ONE)).round() as u16;
        let mut out = self.pool.take()?;
        {
            let old = gst_video::VideoFrameRef::from_buffer_ref_readable(old, &self.info).ok()?;
            let new = gst_video::VideoFrameRef::from_buffer_ref_readable(new, &self.info).ok()?;
            let mut mixed = gst_video::VideoFrameRef::from_buffer_ref_writable(out.get_mut()?, &self.info).ok()?;
            for plane in 0..self.info.n_planes() {
                let strides =
                    [old.plane_stride(), new.plane_stride(), mixed.plane_stride()].map(|strides| strides[plane as usize]);
                let [old_stride, new_stride, stride] = strides.map(|stride| stride as usize);
                // A plane's first component has its height; NV12's second plane begins with U.
                let (width, height) = (row_bytes(&self.info, plane), self.info.comp_height(plane as u8) as usize);
                let (old, new) = (old.plane_data(plane).ok()?, new.plane_data(plane).ok()?);
                let rows = mixed.plane_data_mut(plane).ok()?.chunks_mut(stride).take(height);
                for ((row, old), new) in rows.zip(old.chunks(old_stride)).zip(new.chunks(new_stride)) {
                    mix(&mut row[..width], &old[..width], &new[..width], weight);
                }
            }
        }
        self.pool.keep(&out);
        Some(out)
    }
}

fn row_bytes(info: &gst_video::VideoInfo, plane: u32) -> usize {
    let component = plane as u8;
    (info.comp_width(component) as usize) * info.comp_pstride(component) as usize
}

fn mix(out: &mut [u8], old: &[u8], new: &[u8], weight: u16) {
    let rest = ONE - weight;
    for ((out, old), new) in out.iter_mut().zip(old).zip(new) {
        *out = ((u16::from(*old) * rest + u16::from(*new) * weight + ONE / 2) >> 8) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::raw::Pixels;
    use crate::units::FrameRate;

    fn format(pixels: Pixels) -> RawFormat {
        gst::init().unwrap();
        // A width whose rows are padded in both layouts.
        RawFormat { width: 322, height: 182, framerate: FrameRate::new(30, 1).unwrap(), pixels }
    }

    fn plain(format: &RawFormat, value: u8) -> gst::Buffer {
        gst::Buffer::from_slice(vec![value; format.layout().size()])
    }

    fn bytes(buffer: &gst::Buffer, format: &RawFormat) -> Vec<u8> {
        let info = format.layout();
        let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).unwrap();
        let plane = |plane: u32| {
            let rows = frame.plane_data(plane).unwrap().chunks(frame.plane_stride()[plane as usize] as usize);
            rows.take(info.comp_height(plane as u8) as usize).flat_map(|row| row[..row_bytes(&info, plane)].to_vec()).collect()
        };
        (0..info.n_planes()).flat_map(|index| -> Vec<u8> { plane(index) }).collect()
    }

    #[test]
    fn every_byte_of_every_plane_is_the_weighted_mean() {
        for pixels in [Pixels::I420, Pixels::Nv12] {
            let format = format(pixels);
            let mut blender = Blender::new(&format);
            let (old, new) = (plain(&format, 16), plain(&format, 235));
            for (share, want) in [(0.0, 16), (0.25, 71), (0.5, 126), (0.75, 180), (1.0, 235)] {
                let mixed = bytes(&blender.blend(&old, &new, share).unwrap(), &format);
                assert_eq!(mixed.len(), 322 * 182 * 3 / 2);
                assert!(mixed.iter().all(|byte| *byte == want), "{pixels:?} {share}: {}", mixed[0]);
            }
        }
    }

    #[test]
    fn a_buffer_is_used_again_only_when_nobody_holds_its_memory() {
        let format = format(Pixels::I420);
        let mut blender = Blender::new(&format);
        let (old, new) = (plain(&format, 0), plain(&format, 200));
        // As the encoder is given it: another buffer with the same memory.
        let pushed = blender.blend(&old, &new, 1.0).unwrap().copy();
        let other = blender.blend(&old, &new, 0.5).unwrap();
        assert!(bytes(&pushed, &format).iter().all(|byte| *byte == 200), "what was pushed stays as it was");
        assert_eq!(blender.pool.held(), 2);
        drop((pushed, other));
        for _ in 0..100 {
            blender.blend(&old, &new, 0.5).unwrap();
        }
        assert_eq!(blender.pool.held(), 2, "nothing more is allocated");
    }

    #[test]
    fn a_picture_of_another_size_is_refused() {
        let format = format(Pixels::I420);
        let mut blender = Blender::new(&format);
        assert!(blender.blend(&plain(&format, 0), &gst::Buffer::from_slice([0u8; 100]), 0.5).is_none());
    }
}
