//! What a driver's numbers mean: `v4l2_pix_format` and DV timings to [`Native`] and [`Timings`]. Pure.
//!
//! Source: the V4L2 documentation ("Colorspaces", "Field Order", "DV Timings" of the userspace API) and CTA-861 for the shape of
//! pixels in standard-definition modes.

use nix::errno::Errno;
use v4l::v4l_sys as sys;

use super::calls::Layout;
use crate::capture::native::{Matrix, Native, Range, Rate, Scan, Timings};
use crate::status::Signal;

/// What a receiver has found on its cable; the rate counts frames, not fields.
pub fn timings(bt: &sys::v4l2_bt_timings) -> Timings {
    let line = u64::from(bt.width + bt.hfrontporch + bt.hsync + bt.hbackporch);
    let blanking = bt.vfrontporch + bt.vsync + bt.vbackporch + bt.il_vfrontporch + bt.il_vsync + bt.il_vbackporch;
    let total = line * u64::from(bt.height + blanking);
    Timings { width: bt.width, height: bt.height, interlaced: bt.interlaced != 0, rate: rate(bt.pixelclock, total) }
}

/// The errno of VIDIOC_QUERY_DV_TIMINGS as the V4L2 documentation defines it.
pub fn verdict(errno: Errno) -> Signal {
    match errno {
        // Not a receiver with DV timings: a camera or an analogue input.
        Errno::ENOTTY | Errno::ENODATA | Errno::EINVAL => Signal::Locked,
        Errno::ENOLCK => Signal::NoSync,
        Errno::ERANGE => Signal::OutOfRange,
        Errno::ENODEV | Errno::ENXIO => Signal::NoDevice,
        _ => Signal::NoSignal,
    }
}

/// In thousandths of a frame, at the rates that are in use; pixel clocks are told too coarsely for more.
fn rate(pixels_per_second: u64, pixels: u64) -> Rate {
    let millis = (pixels_per_second * 1000 + pixels / 2).checked_div(pixels).unwrap_or(0);
    let known = [(24_000, 1001), (30_000, 1001), (60_000, 1001)];
    for (numerator, denominator) in known {
        if millis.abs_diff(u64::from(numerator) * 1000 / u64::from(denominator)) <= 4 {
            return Rate { numerator, denominator };
        }
    }
    match millis.checked_rem(1000) {
        Some(0 | 1 | 999) => Rate { numerator: ((millis + 500) / 1000) as u32, denominator: 1 },
        _ => Rate { numerator: millis as u32, denominator: 1000 },
    }
}

/// What the driver will put into memory. `picture_aspect` is width to height of the whole picture, where it is known.
pub fn native(layout: &Layout, timings: Option<Timings>, rate: Rate, picture_aspect: Option<(u32, u32)>) -> Native {
    let alternate = layout.field == sys::v4l2_field_V4L2_FIELD_ALTERNATE;
    let height = if alternate { layout.height * 2 } else { layout.height };
    Native {
        fourcc: layout.fourcc,
        width: layout.width,
        height,
        stride: layout.stride,
        scan: scan(layout.field, height),
        matrix: matrix(layout, height),
        range: range(layout),
        pixel_aspect: pixel_aspect(layout.width, height, picture_aspect),
        rate: timings.map_or(rate, |timings| timings.rate),
    }
}

/// "V4L2_FIELD_INTERLACED: … the temporal order of the fields depends on the current video standard": bottom first with 525 lines.
fn scan(field: u32, height: u32) -> Scan {
    match field {
        sys::v4l2_field_V4L2_FIELD_ALTERNATE => Scan::Alternate,
        sys::v4l2_field_V4L2_FIELD_INTERLACED_TB => Scan::TopFirst,
        sys::v4l2_field_V4L2_FIELD_INTERLACED_BT => Scan::BottomFirst,
        sys::v4l2_field_V4L2_FIELD_INTERLACED if height <= 486 => Scan::BottomFirst,
        sys::v4l2_field_V4L2_FIELD_INTERLACED => Scan::TopFirst,
        _ => Scan::Progressive,
    }
}

fn matrix(layout: &Layout, height: u32) -> Matrix {
    match (layout.ycbcr_enc, layout.colorspace) {
        (sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_601 | sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_XV601, _) => Matrix::Bt601,
        (sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_709 | sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_XV709, _) => Matrix::Bt709,
        (sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_BT2020, _) => Matrix::Bt2020,
        (_, sys::v4l2_colorspace_V4L2_COLORSPACE_REC709 | sys::v4l2_colorspace_V4L2_COLORSPACE_DCI_P3) => Matrix::Bt709,
        (_, sys::v4l2_colorspace_V4L2_COLORSPACE_BT2020) => Matrix::Bt2020,
        (_, sys::v4l2_colorspace_V4L2_COLORSPACE_DEFAULT) if height >= 720 => Matrix::Bt709,
        _ => Matrix::Bt601,
    }
}

fn range(layout: &Layout) -> Range {
    let is_rgb = matches!(&layout.fourcc, b"RGB3" | b"BGR3" | b"XR24" | b"BX24" | b"AR24" | b"BA24" | b"RGB4" | b"BGR4");
    match (layout.quantization, layout.colorspace) {
        (sys::v4l2_quantization_V4L2_QUANTIZATION_FULL_RANGE, _) => Range::Full,
        (sys::v4l2_quantization_V4L2_QUANTIZATION_LIM_RANGE, _) => Range::Limited,
        (_, sys::v4l2_colorspace_V4L2_COLORSPACE_JPEG) => Range::Full,
        _ if is_rgb => Range::Full,
        _ => Range::Limited,
    }
}

/// Pixels are square but for standard definition, which is 4:3 unless the source says otherwise (CTA-861, table of video timings).
fn pixel_aspect(width: u32, height: u32, picture: Option<(u32, u32)>) -> (u32, u32) {
    let is_sd = matches!(width, 704 | 720 | 1440) && matches!(height, 480 | 486 | 576);
    let (across, down) = match picture {
        Some((across, down)) if across > 0 && down > 0 => (across, down),
        _ if is_sd => (4, 3),
        _ => return (1, 1),
    };
    // 704 of the 720 samples of a line are the picture's width (ITU-R BT.601), but receivers show all: so does the program.
    let (numerator, denominator) = (u64::from(across * height), u64::from(down * width));
    let divisor = gcd(numerator, denominator);
    ((numerator / divisor) as u32, (denominator / divisor) as u32)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout {
        fourcc: *b"YUYV",
        width: 1920,
        height: 1080,
        stride: 3840,
        field: sys::v4l2_field_V4L2_FIELD_NONE,
        colorspace: sys::v4l2_colorspace_V4L2_COLORSPACE_DEFAULT,
        ycbcr_enc: sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_DEFAULT,
        quantization: sys::v4l2_quantization_V4L2_QUANTIZATION_DEFAULT,
    };

    fn of(layout: Layout) -> Native {
        native(&layout, None, Rate::default(), None)
    }

    fn bt(width: u32, height: u32, interlaced: u32, clock: u64, blanking: (u32, u32)) -> Timings {
        let plain = sys::v4l2_bt_timings {
            width,
            height,
            interlaced,
            polarities: 0,
            pixelclock: clock,
            hfrontporch: blanking.0,
            hsync: 0,
            hbackporch: 0,
            vfrontporch: blanking.1,
            vsync: 0,
            vbackporch: 0,
            il_vfrontporch: 0,
            il_vsync: 0,
            il_vbackporch: 0,
            standards: 0,
            flags: 0,
            picture_aspect: sys::v4l2_fract { numerator: 0, denominator: 0 },
            cea861_vic: 0,
            hdmi_vic: 0,
            reserved: [0; 46],
        };
        timings(&plain)
    }

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
    fn rates_are_those_of_the_standards() {
        let table = [
            (bt(1920, 1080, 0, 148_500_000, (280, 45)), "1920x1080p 60.00 fps"),
            (bt(1920, 1080, 0, 148_351_648, (280, 45)), "1920x1080p 59.94 fps"),
            (bt(1920, 1080, 1, 74_250_000, (720, 45)), "1920x1080i 25.00 fps"),
            (bt(1920, 1080, 0, 74_175_824, (830, 45)), "1920x1080p 23.98 fps"),
            (bt(720, 480, 1, 13_500_000, (138, 45)), "720x480i 29.97 fps"),
            (bt(720, 576, 1, 13_500_000, (144, 49)), "720x576i 25.00 fps"),
            (bt(640, 480, 0, 25_175_000, (160, 45)), "640x480p 59.94 fps"),
            (bt(0, 0, 0, 0, (0, 0)), "0x0p 0.00 fps"),
        ];
        for (found, want) in table {
            assert_eq!(found.to_string(), want);
        }
        assert_eq!(bt(720, 480, 1, 13_500_000, (138, 45)).rate, Rate { numerator: 30_000, denominator: 1001 });
    }

    #[test]
    fn colours_follow_the_documentation_of_v4l2() {
        assert_eq!((of(LAYOUT).matrix, of(LAYOUT).range), (Matrix::Bt709, Range::Limited));
        let small = of(Layout { width: 640, height: 480, ..LAYOUT });
        assert_eq!(small.matrix, Matrix::Bt601);
        let srgb = of(Layout { colorspace: sys::v4l2_colorspace_V4L2_COLORSPACE_SRGB, ..LAYOUT });
        assert_eq!(srgb.matrix, Matrix::Bt601, "the default encoding of sRGB");
        let jpeg = of(Layout { colorspace: sys::v4l2_colorspace_V4L2_COLORSPACE_JPEG, fourcc: *b"MJPG", ..LAYOUT });
        assert_eq!((jpeg.matrix, jpeg.range), (Matrix::Bt601, Range::Full));
        assert_eq!(of(Layout { fourcc: *b"RGB3", ..LAYOUT }).range, Range::Full);
        let tv = Layout { fourcc: *b"RGB3", quantization: sys::v4l2_quantization_V4L2_QUANTIZATION_LIM_RANGE, ..LAYOUT };
        assert_eq!(of(tv).range, Range::Limited);
    }

    #[test]
    fn fields_and_pixels_are_told_as_they_are() {
        let field = |field, height| of(Layout { field, width: 720, height, ..LAYOUT });
        let pal = field(sys::v4l2_field_V4L2_FIELD_INTERLACED, 576);
        assert_eq!((pal.scan, pal.pixel_aspect), (Scan::TopFirst, (16, 15)));
        let ntsc = field(sys::v4l2_field_V4L2_FIELD_INTERLACED, 480);
        assert_eq!((ntsc.scan, ntsc.pixel_aspect), (Scan::BottomFirst, (8, 9)));
        let fields = field(sys::v4l2_field_V4L2_FIELD_ALTERNATE, 288);
        assert_eq!((fields.scan, fields.height, fields.pixel_aspect), (Scan::Alternate, 576, (16, 15)));
        assert_eq!(of(LAYOUT).pixel_aspect, (1, 1));
        let wide = native(&Layout { width: 720, height: 576, ..LAYOUT }, None, Rate::default(), Some((16, 9)));
        assert_eq!(wide.pixel_aspect, (64, 45));
    }
}
