//! Whether a driver's buffers are lent to the program as they are, for an encoder that imports dmabufs, and how many it takes. Pure.
//!
//! ```text
//!   ├─ the driver's: being filled, waiting ─┤─ waiting for their turn: latency and jitter ─┤─ shown, and in the encoder ─┤   ≤ MOST
//! ```
//!
//! A picture waits for the program's whole latency, so that many are lent at a time. What a driver does not grant, or an encoder
//! that is behind keeps, must never stop the driver: then pictures are copied, one by one, until enough have come back.

use gstreamer_video as gst_video;

use crate::capture::card::Lend;
use crate::capture::native::Native;
use crate::capture::recipe::{self, Conversion, pixels};
use crate::media::raw::RawFormat;

/// What the driver keeps: one to fill, one to go on with, and one that is being copied.
const DRIVERS: usize = 3;

/// The picture that is shown, and those that an encoder reads: GStreamer gives its V4L2 encoders two or as many as their driver wants.
const ENCODERS: u64 = 5;

/// VIDEO_MAX_FRAME of `linux/videodev2.h`: no queue has more, but of the newest drivers.
const MOST: u64 = 32;

/// A rate that is higher by this is another one: 30 serves a program of 29.97.
const NEAR: f64 = 1.02;

/// Why the pictures of a device cannot be lent; `None` if they can. An importer takes the layout of the program's format for
/// granted, and pictures that are never shown would keep buffers for nothing.
pub fn obstacle(native: &Native, format: &RawFormat) -> Option<String> {
    if recipe::conversion(native, format) != Conversion::AsIs {
        return Some(format!("{native} must be converted to {}x{} {}", format.width, format.height, format.pixels.word()));
    }
    if native.rate.fps() > format.framerate.fps() * NEAR {
        return Some(format!("{native} are more pictures than the program's {} a second", format.framerate));
    }
    (!is_laid_out_alike(native, &format.layout())).then(|| format!("the driver's lines are {} bytes long", native.stride))
}

fn is_laid_out_alike(native: &Native, layout: &gst_video::VideoInfo) -> bool {
    let planes = layout.offset().iter().copied().zip(layout.stride().iter().copied());
    pixels::planes(native).into_iter().eq(planes)
}

/// How many buffers to ask the driver for.
pub fn buffers(lend: &Lend) -> u32 {
    let waiting = lend.format.framerate.frames_in(lend.keep) + 1;
    (DRIVERS as u64 + waiting + ENCODERS).min(MOST) as u32
}

/// Whether the picture that came last may be kept, when so many of the `granted` buffers are `lent` with it.
pub fn may_keep(granted: usize, lent: usize) -> bool {
    granted.saturating_sub(lent) >= DRIVERS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::native::{Matrix, Range, Rate, Scan};
    use crate::media::raw::Pixels;
    use crate::units::FrameRate;
    use proptest::prelude::*;
    use std::time::Duration;

    const FORMAT: RawFormat =
        RawFormat { width: 1280, height: 720, framerate: FrameRate::new(30, 1).unwrap(), pixels: Pixels::Nv12 };

    const NATIVE: Native = Native {
        fourcc: *b"NV12",
        width: 1280,
        height: 720,
        stride: 1280,
        scan: Scan::Progressive,
        matrix: Matrix::Bt709,
        range: Range::Limited,
        pixel_aspect: (1, 1),
        rate: Rate { numerator: 30, denominator: 1 },
    };

    fn why(native: Native) -> String {
        obstacle(&native, &FORMAT).unwrap_or_default()
    }

    #[test]
    fn only_the_program_s_own_pictures_are_lent() {
        gstreamer::init().unwrap();
        let rate = |numerator, denominator| Rate { numerator, denominator };
        for lent in [rate(30, 1), rate(30_000, 1001), rate(25, 1), rate(0, 1)] {
            assert_eq!(why(Native { rate: lent, ..NATIVE }), "", "{lent:?}");
        }
        let table = [
            (Native { fourcc: *b"YUYV", stride: 2560, ..NATIVE }, "must be converted to 1280x720 NV12"),
            (Native { width: 1920, height: 1080, stride: 1920, ..NATIVE }, "must be converted"),
            (Native { scan: Scan::TopFirst, ..NATIVE }, "must be converted"),
            (Native { range: Range::Full, ..NATIVE }, "must be converted"),
            (Native { rate: rate(60, 1), ..NATIVE }, "more pictures than the program's 30 a second"),
            (Native { stride: 1344, ..NATIVE }, "lines are 1344 bytes long"),
        ];
        for (native, want) in table {
            assert!(why(native).contains(want), "{native}: {}", why(native));
        }
    }

    #[test]
    fn planes_must_lie_where_the_program_has_them() {
        gstreamer::init().unwrap();
        let planar = RawFormat { pixels: Pixels::I420, ..FORMAT };
        assert_eq!(obstacle(&Native { fourcc: *b"YU12", ..NATIVE }, &planar), None);
        // GStreamer rounds lines up to four bytes, a driver does not.
        let odd = RawFormat { width: 322, height: 720, ..FORMAT };
        let native = Native { width: 322, stride: 322, ..NATIVE };
        assert!(obstacle(&native, &odd).is_some_and(|why| why.contains("322 bytes")));
        assert_eq!(obstacle(&Native { stride: 324, ..native }, &odd), None);
    }

    #[test]
    fn buffers_follow_latency_and_rate_up_to_what_a_queue_has() {
        let of = |fps, millis| {
            let format = RawFormat { framerate: FrameRate::new(fps, 1).unwrap(), ..FORMAT };
            buffers(&Lend { format, keep: Duration::from_millis(millis) })
        };
        assert_eq!([of(30, 500), of(25, 500), of(30, 600), of(60, 500), of(60, 2000)], [24, 22, 27, 32, 32]);
    }

    proptest! {
        /// Whatever is granted and kept: the driver always has buffers to go on with, and what comes back is lent again.
        #[test]
        fn a_driver_never_starves(granted in 0usize..40, steps in prop::collection::vec(any::<bool>(), 0..200)) {
            let mut kept = 0;
            for gives_back in steps {
                if gives_back {
                    kept = usize::saturating_sub(kept, 1);
                } else if may_keep(granted, kept + 1) {
                    kept += 1;
                }
                prop_assert!(kept == 0 || granted - kept >= 2, "{kept} of {granted} are kept");
            }
            prop_assert_eq!(may_keep(granted, 1), granted > DRIVERS);
        }
    }
}
