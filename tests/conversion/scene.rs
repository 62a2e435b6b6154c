//! Pictures that are known exactly, packed into every native format by code that shares nothing with what is tested.

use onaird::capture::native::{Matrix, Native, Range, Scan};

/// Red, green and blue, from 0 to 1.
pub type Rgb = [f64; 3];

/// A colour for each pixel, and each moment in seconds.
pub type Scene<'a> = &'a dyn Fn(u32, u32, f64) -> Rgb;

/// Weights of red and blue in luma.
fn weights(matrix: Matrix) -> (f64, f64) {
    match matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
        Matrix::Bt2020 => (0.2627, 0.0593),
    }
}

/// Luma from 0 to 1, colour differences from -0.5 to 0.5.
fn to_yuv([r, g, b]: Rgb, matrix: Matrix) -> [f64; 3] {
    let (kr, kb) = weights(matrix);
    let y = kr * r + (1.0 - kr - kb) * g + kb * b;
    [y, (b - y) / (2.0 * (1.0 - kb)), (r - y) / (2.0 * (1.0 - kr))]
}

pub fn to_rgb([y, u, v]: [f64; 3], matrix: Matrix) -> Rgb {
    let (kr, kb) = weights(matrix);
    let (r, b) = (y + 2.0 * (1.0 - kr) * v, y + 2.0 * (1.0 - kb) * u);
    [r, (y - kr * r - kb * b) / (1.0 - kr - kb), b]
}

/// As 8-bit numbers of a range, still with their fractions.
fn levels(yuv: [f64; 3], range: Range) -> [f64; 3] {
    match range {
        Range::Limited => [16.0 + 219.0 * yuv[0], 128.0 + 224.0 * yuv[1], 128.0 + 224.0 * yuv[2]],
        Range::Full => [255.0 * yuv[0], 128.0 + 255.0 * yuv[1], 128.0 + 255.0 * yuv[2]],
    }
}

fn byte(level: f64) -> u8 {
    level.round().clamp(0.0, 255.0) as u8
}

/// What a driver would deliver of the scene at a time; of woven fields, each has its own moment.
pub fn frame(native: &Native, scene: Scene, time: f64) -> Vec<u8> {
    let field = 0.5 / native.rate.fps();
    let moment = |line: u32| match (native.scan, line % 2) {
        (Scan::TopFirst, 1) | (Scan::BottomFirst, 0) => time + field,
        _ => time,
    };
    pack(native, native.height, &|x, y| scene(x, y, moment(y)))
}

/// One field of the scene, the top one or the other.
pub fn field(native: &Native, scene: Scene, time: f64, top: bool) -> Vec<u8> {
    pack(native, native.height / 2, &|x, y| scene(x, 2 * y + u32::from(!top), time))
}

fn pack(native: &Native, height: u32, colour: &dyn Fn(u32, u32) -> Rgb) -> Vec<u8> {
    let width = native.width;
    let pixel = |x, y| levels(to_yuv(colour(x, y), native.matrix), native.range);
    let mut data = Vec::new();
    let chroma = |data: &mut Vec<u8>, order: &[usize], step: (u32, u32)| {
        for y in (0..height).step_by(step.1 as usize) {
            for x in (0..width).step_by(step.0 as usize) {
                data.extend(order.iter().map(|plane| byte(pixel(x, y)[*plane])));
            }
        }
    };
    let packed = |data: &mut Vec<u8>, order: [(u32, usize); 4]| {
        for y in 0..height {
            for x in (0..width).step_by(2) {
                data.extend(order.map(|(dx, plane)| byte(pixel(x + dx, y)[plane])));
            }
        }
    };
    let rgb = |data: &mut Vec<u8>, order: &[usize]| {
        for y in 0..height {
            for x in 0..width {
                let limited = native.range == Range::Limited;
                let level = |value: f64| byte(if limited { 16.0 + 219.0 * value } else { 255.0 * value });
                let [r, g, b] = colour(x, y).map(level);
                let values = [r, g, b, 0xff];
                data.extend(order.iter().map(|channel| values[*channel]));
            }
            data.resize(data.len().next_multiple_of(4), 0);
        }
    };
    match &native.fourcc {
        b"UYVY" => packed(&mut data, [(0, 1), (0, 0), (0, 2), (1, 0)]),
        b"VYUY" => packed(&mut data, [(0, 2), (0, 0), (0, 1), (1, 0)]),
        b"YUYV" => packed(&mut data, [(0, 0), (0, 1), (1, 0), (0, 2)]),
        b"YVYU" => packed(&mut data, [(0, 0), (0, 2), (1, 0), (0, 1)]),
        b"NV12" | b"NV21" | b"NV16" | b"NV61" | b"NV24" | b"YU12" | b"YV12" | b"422P" => {
            chroma(&mut data, &[0], (1, 1));
            match &native.fourcc {
                b"NV12" => chroma(&mut data, &[1, 2], (2, 2)),
                b"NV21" => chroma(&mut data, &[2, 1], (2, 2)),
                b"NV16" => chroma(&mut data, &[1, 2], (2, 1)),
                b"NV61" => chroma(&mut data, &[2, 1], (2, 1)),
                b"NV24" => chroma(&mut data, &[1, 2], (1, 1)),
                b"YU12" => [1, 2].iter().for_each(|plane| chroma(&mut data, &[*plane], (2, 2))),
                b"YV12" => [2, 1].iter().for_each(|plane| chroma(&mut data, &[*plane], (2, 2))),
                _ => [1, 2].iter().for_each(|plane| chroma(&mut data, &[*plane], (2, 1))),
            }
        }
        b"YUV3" => chroma(&mut data, &[0, 1, 2], (1, 1)),
        b"GREY" => chroma(&mut data, &[0], (1, 1)),
        b"P010" => {
            let mut word = |level: f64| data.extend(((level * 4.0).round().clamp(0.0, 1023.0) as u16 * 64).to_le_bytes());
            (0..height).for_each(|y| (0..width).for_each(|x| word(pixel(x, y)[0])));
            for (y, x) in (0..height).step_by(2).flat_map(|y| (0..width).step_by(2).map(move |x| (y, x))) {
                [1, 2].iter().for_each(|plane| word(pixel(x, y)[*plane]));
            }
        }
        b"v210" => {
            for y in 0..height {
                let line = data.len();
                for x in (0..width).step_by(6) {
                    let ten = |dx: u32, plane: usize| {
                        let x = (x + dx).min(width - 1);
                        (pixel(x, y)[plane] * 4.0).round() as u32
                    };
                    let words = [
                        [ten(0, 1), ten(0, 0), ten(0, 2)],
                        [ten(1, 0), ten(2, 1), ten(2, 0)],
                        [ten(2, 2), ten(3, 0), ten(4, 1)],
                        [ten(4, 0), ten(4, 2), ten(5, 0)],
                    ];
                    data.extend(words.iter().flat_map(|[a, b, c]| (a | b << 10 | c << 20).to_le_bytes()));
                }
                data.resize(line + width.div_ceil(48) as usize * 128, 0);
            }
        }
        b"RGB3" => rgb(&mut data, &[0, 1, 2]),
        b"BGR3" => rgb(&mut data, &[2, 1, 0]),
        b"XR24" | b"AR24" | b"BGR4" => rgb(&mut data, &[2, 1, 0, 3]),
        b"XB24" | b"AB24" => rgb(&mut data, &[0, 1, 2, 3]),
        b"BX24" | b"BA24" | b"RGB4" => rgb(&mut data, &[3, 0, 1, 2]),
        b"RX24" | b"RA24" => rgb(&mut data, &[3, 2, 1, 0]),
        other => panic!("no packer for {}", String::from_utf8_lossy(other)),
    }
    data
}
