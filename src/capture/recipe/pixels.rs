//! What the pixel formats of V4L2 are called in GStreamer, how they lie in memory, and what it costs to use them. Pure.
//!
//! V4L2 names 32-bit colours after the order in a word, GStreamer after the order of bytes in memory, and two generations of V4L2's names
//! mean different orders: this table is the only place that knows. What is not in it cannot be used.

use crate::capture::native::{Matrix, Native, Range, Scan};

/// How a device packs pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// GStreamer's name of the format.
    Raw(&'static str),
    Jpeg,
    H264,
}

/// Chroma, or none of it, as far as the layout in memory goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// All in one plane.
    Packed,
    /// Luma, then a plane of chroma pairs with as many bytes per line, of all or half of the lines …
    Paired { vertical: u32 },
    /// … or with two such lines' bytes, as in 4:4:4.
    PairedFull,
    /// Luma, then two planes of chroma, each of half the width and all or half of the lines.
    Planar { vertical: u32 },
}

use Layout::{Packed, Paired, PairedFull, Planar};

/// V4L2's code, GStreamer's name, layout; the cheapest to turn into 4:2:0 first.
const RAW: &[(&[u8; 4], &str, Layout)] = &[
    (b"NV12", "NV12", Paired { vertical: 2 }),
    (b"YU12", "I420", Planar { vertical: 2 }),
    (b"YV12", "YV12", Planar { vertical: 2 }),
    (b"NV21", "NV21", Paired { vertical: 2 }),
    (b"UYVY", "UYVY", Packed),
    (b"YUYV", "YUY2", Packed),
    (b"YVYU", "YVYU", Packed),
    (b"VYUY", "VYUY", Packed),
    (b"NV16", "NV16", Paired { vertical: 1 }),
    (b"NV61", "NV61", Paired { vertical: 1 }),
    (b"422P", "Y42B", Planar { vertical: 1 }),
    (b"P010", "P010_10LE", Paired { vertical: 2 }),
    (b"NV24", "NV24", PairedFull),
    (b"v210", "v210", Packed),
    (b"Y210", "Y210", Packed),
    (b"YUV3", "v308", Packed),
    // Bytes in memory: B G R X.
    (b"XR24", "BGRx", Packed),
    (b"AR24", "BGRA", Packed),
    (b"BGR4", "BGRx", Packed),
    // R G B X.
    (b"XB24", "RGBx", Packed),
    (b"AB24", "RGBA", Packed),
    // X R G B.
    (b"BX24", "xRGB", Packed),
    (b"BA24", "ARGB", Packed),
    (b"RGB4", "xRGB", Packed),
    // X B G R.
    (b"RX24", "xBGR", Packed),
    (b"RA24", "ABGR", Packed),
    (b"BGR3", "BGR", Packed),
    (b"RGB3", "RGB", Packed),
    // Least wanted: no colour, or little of it.
    (b"RGBP", "RGB16", Packed),
    (b"GREY", "GRAY8", Packed),
    (b"Y16 ", "GRAY16_LE", Packed),
];

/// `None`: it cannot be used.
pub fn packing(fourcc: [u8; 4]) -> Option<Packing> {
    match &fourcc {
        b"MJPG" | b"JPEG" => Some(Packing::Jpeg),
        b"H264" => Some(Packing::H264),
        _ => row(fourcc).map(|index| Packing::Raw(RAW[index].1)),
    }
}

/// The more, the dearer it is to use, at the same size and rate.
pub fn cost(fourcc: [u8; 4]) -> Option<usize> {
    match packing(fourcc)? {
        Packing::Raw(_) => row(fourcc),
        Packing::Jpeg => Some(RAW.len()),
        Packing::H264 => Some(RAW.len() + 1),
    }
}

/// Where each plane of a raw picture starts, and the bytes from one of its lines to the next: what a buffer of the driver's is
/// described by. Empty for compressed pictures.
pub fn planes(native: &Native) -> Vec<(usize, i32)> {
    let Some(index) = row(native.fourcc) else { return Vec::new() };
    let lines = if native.scan == Scan::Alternate { native.height.div_ceil(2) } else { native.height };
    let (stride, luma) = (native.stride as i32, native.stride as usize * lines as usize);
    let half = |vertical: u32| stride as usize / 2 * lines.div_ceil(vertical) as usize;
    match RAW[index].2 {
        Packed => vec![(0, stride)],
        Paired { .. } => vec![(0, stride), (luma, stride)],
        PairedFull => vec![(0, stride), (luma, 2 * stride)],
        Planar { vertical } => vec![(0, stride), (luma, stride / 2), (luma + half(vertical), stride / 2)],
    }
}

/// Whether these are the primary colours themselves, without a matrix.
pub fn is_rgb(name: &str) -> bool {
    name.contains("RGB") || name.contains("BGR")
}

/// GStreamer's colorimetry, `range:matrix:transfer:primaries`.
pub fn colorimetry(native: &Native, rgb: bool) -> String {
    let range = match native.range {
        Range::Full => 1,
        Range::Limited => 2,
    };
    match (rgb, native.matrix) {
        (true, _) => format!("{range}:1:7:1"),
        (false, Matrix::Bt601) => format!("{range}:4:16:4"),
        (false, Matrix::Bt709) => format!("{range}:3:5:1"),
        (false, Matrix::Bt2020) => format!("{range}:6:13:7"),
    }
}

/// Width to height of a pixel of the old standards, whose pictures are 4:3 or (`wide`) 16:9 whatever their numbers say; square for
/// all others. As the standard of HDMI has it, by which 720 pixels are the whole width.
pub fn aspect(width: u32, height: u32, wide: bool) -> (u32, u32) {
    match (width, height, wide) {
        (704 | 720, 480 | 486, false) => (8, 9),
        (704 | 720, 480 | 486, true) => (32, 27),
        (704 | 720, 576, false) => (16, 15),
        (704 | 720, 576, true) => (64, 45),
        _ => (1, 1),
    }
}

fn row(fourcc: [u8; 4]) -> Option<usize> {
    RAW.iter().position(|(code, ..)| **code == fourcc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::native::Rate;

    fn native(fourcc: &[u8; 4]) -> Native {
        let rate = Rate { numerator: 30, denominator: 1 };
        let (matrix, range, scan) = (Matrix::Bt709, Range::Limited, Scan::Progressive);
        Native { fourcc: *fourcc, width: 8, height: 4, stride: 16, scan, matrix, range, pixel_aspect: (1, 1), rate }
    }

    #[test]
    fn planes_follow_the_driver_s_stride() {
        type Planes = &'static [(usize, i32)];
        let table: &[(&[u8; 4], Planes)] = &[
            (b"UYVY", &[(0, 16)]),
            (b"NV12", &[(0, 16), (64, 16)]),
            (b"NV16", &[(0, 16), (64, 16)]),
            (b"NV24", &[(0, 16), (64, 32)]),
            (b"YU12", &[(0, 16), (64, 8), (80, 8)]),
            (b"YV12", &[(0, 16), (64, 8), (80, 8)]),
            (b"422P", &[(0, 16), (64, 8), (96, 8)]),
            (b"MJPG", &[]),
            (b"????", &[]),
        ];
        for (fourcc, want) in table {
            assert_eq!(planes(&native(fourcc)), *want, "{}", native(fourcc).fourcc_text());
        }
        assert_eq!(planes(&Native { scan: Scan::Alternate, ..native(b"NV12") }), [(0, 16), (32, 16)]);
    }

    /// GStreamer knows every name, and codes are there once.
    #[test]
    fn names_are_gstreamer_s() {
        gstreamer::init().unwrap();
        for (index, (fourcc, name, layout)) in RAW.iter().enumerate() {
            let format = gstreamer_video::VideoFormat::from_string(name);
            assert_ne!(format, gstreamer_video::VideoFormat::Unknown, "{name}");
            let info = gstreamer_video::VideoFormatInfo::from_format(format);
            let want = match layout {
                Packed => 1,
                Paired { .. } | PairedFull => 2,
                Planar { .. } => 3,
            };
            assert_eq!(info.n_planes(), want, "{name}");
            assert_eq!(row(**fourcc), Some(index));
            assert_eq!(is_rgb(name), info.is_rgb(), "{name}");
        }
    }

    #[test]
    fn the_old_standards_are_four_by_three_or_sixteen_by_nine() {
        for (height, lines) in [(480, 480.0), (576, 576.0)] {
            for (wide, want) in [(false, 4.0 / 3.0), (true, 16.0 / 9.0)] {
                let (across, down) = aspect(720, height, wide);
                let got: f64 = 720.0 * f64::from(across) / (lines * f64::from(down));
                assert!((got - want).abs() < 1e-9, "{got} {want}");
            }
        }
        assert_eq!([aspect(640, 480, false), aspect(1280, 720, true)], [(1, 1); 2]);
    }
}
