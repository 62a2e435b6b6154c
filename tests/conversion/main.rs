//! Recipes by what they make: known pictures in every native format go through the real pipelines, and colours, geometry and
//! motion are measured in what comes out. No device takes part.

mod scene;
mod stage;

use onaird::capture::native::{Matrix, Native, Range, Rate, Scan};
use onaird::capture::recipe::{self, Conversion};
use onaird::media::raw::{Pixels, RawFormat};
use onaird::units::FrameRate;

use scene::Rgb;
use stage::{Picture, convert};

/// A size, a rate or a proportion.
type Pair = (u32, u32);

fn native(fourcc: &[u8; 4], (width, height): (u32, u32), rate: (u32, u32)) -> Native {
    Native {
        fourcc: *fourcc,
        width,
        height,
        stride: 0,
        scan: Scan::Progressive,
        matrix: Matrix::Bt601,
        range: Range::Limited,
        pixel_aspect: (1, 1),
        rate: Rate { numerator: rate.0, denominator: rate.1 },
    }
}

fn program(width: u32, height: u32, rate: (u32, u32), pixels: Pixels) -> RawFormat {
    RawFormat { width, height, framerate: FrameRate::new(rate.0, rate.1).unwrap(), pixels }
}

/// Of 75 %, but for white.
const BARS: [Rgb; 8] = [
    [1.0, 1.0, 1.0],
    [0.75, 0.75, 0.0],
    [0.0, 0.75, 0.75],
    [0.0, 0.75, 0.0],
    [0.75, 0.0, 0.75],
    [0.75, 0.0, 0.0],
    [0.0, 0.0, 0.75],
    [0.0, 0.0, 0.0],
];

/// The largest error of a colour of the bars, from 0 to 1, and where it was.
fn bar_error(picture: &Picture, format: &RawFormat) -> (f64, String) {
    let width = format.width / 8;
    let mut worst = (0.0, String::new());
    for (index, want) in BARS.iter().enumerate() {
        for (x, y) in [(width / 2, format.height / 4), (width / 3, format.height / 2), (width * 2 / 3, format.height * 3 / 4)] {
            let got = picture.rgb(index as u32 * width + x, y);
            let error = got.iter().zip(want).map(|(got, want)| (got - want).abs()).fold(0.0, f64::max);
            if error > worst.0 {
                worst = (error, format!("bar {index}: {got:.3?}, want {want:?}"));
            }
        }
    }
    worst
}

/// In RGB: what GStreamer's 8-bit arithmetic and rounding twice may cost. A wrong matrix costs more than twice, a wrong range three
/// times as much.
const COLOUR_TOLERANCE: f64 = 0.03;

const COLOUR_FORMATS: [&[u8; 4]; 26] = [
    b"NV12", b"YU12", b"YV12", b"NV21", b"UYVY", b"YUYV", b"YVYU", b"VYUY", b"NV16", b"NV61", b"422P", b"P010", b"NV24", b"v210",
    b"YUV3", b"RGB3", b"BGR3", b"XR24", b"AR24", b"BGR4", b"XB24", b"AB24", b"BX24", b"RGB4", b"RX24", b"RA24",
];

fn bars_are_right(program: &RawFormat) {
    let mut faults = Vec::new();
    for fourcc in COLOUR_FORMATS {
        for matrix in [Matrix::Bt601, Matrix::Bt709, Matrix::Bt2020] {
            for range in [Range::Limited, Range::Full] {
                let native = Native { matrix, range, ..native(fourcc, (192, 108), (30, 1)) };
                let pictures = convert(&native, program, &|x, _, _| BARS[(x * 8 / 192) as usize], 1);
                let (error, place) = bar_error(&pictures[0], program);
                if error > COLOUR_TOLERANCE {
                    faults.push(format!("{} {matrix:?} {range:?}: {error:.3} at {place}", native.fourcc_text()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn colours_of_every_format_matrix_and_range_arrive_in_a_small_program() {
    bars_are_right(&program(640, 360, (30, 1), Pixels::I420));
}

#[test]
fn colours_of_every_format_matrix_and_range_arrive_in_a_large_program() {
    bars_are_right(&program(1280, 720, (30, 1), Pixels::Nv12));
}

/// Formats without colour keep their greys.
#[test]
fn greys_stay_greys() {
    let format = program(640, 360, (30, 1), Pixels::I420);
    let native = native(b"GREY", (192, 108), (30, 1));
    let picture = &convert(&native, &format, &|x, _, _| [f64::from(x / 24) / 7.0; 3], 1)[0];
    for bar in 0..8 {
        let got = picture.rgb(bar * 80 + 40, 180);
        assert!(got.iter().all(|value| (value - f64::from(bar) / 7.0).abs() < COLOUR_TOLERANCE), "{bar}: {got:?}");
    }
}

/// Coded bars, made by GStreamer's encoders from pictures that are packed here.
#[test]
fn colours_of_compressed_formats_arrive() {
    let format = program(1280, 720, (30, 1), Pixels::I420);
    for (fourcc, range, encoder) in [
        (b"MJPG", Range::Full, "jpegenc quality=95"),
        (b"JPEG", Range::Full, "jpegenc quality=95"),
        (b"H264", Range::Limited, "x264enc tune=zerolatency speed-preset=ultrafast quantizer=5 pass=quant"),
    ] {
        let raw = Native { range, ..native(b"YU12", (384, 216), (30, 1)) };
        let frames = stage::encode(&raw, encoder, &|x, _, _| BARS[(x * 8 / 384) as usize], 8);
        let coded = Native { fourcc: *fourcc, ..raw };
        let pictures = stage::run(&coded, &format, frames.into_iter());
        assert_eq!(pictures.len(), 8, "{coded}");
        // What a JPEG is made of stands in it, not in what the driver says.
        let lied = Native { range: Range::Limited, ..coded };
        assert!(fourcc == b"H264" || recipe::conversion(&lied, &format) == recipe::conversion(&coded, &format));
        let (error, place) = bar_error(&pictures[3], &format);
        assert!(error < 2.0 * COLOUR_TOLERANCE, "{coded}: {error:.3} at {place}");
    }
}

/// A white disk on grey, in the middle, of four fifths of the height, whatever the shape of a pixel is.
fn disk(native: &Native) -> impl Fn(u32, u32, f64) -> Rgb {
    let Native { width, height, pixel_aspect: (across, down), .. } = *native;
    let aspect = f64::from(across) / f64::from(down);
    let (width, height) = (f64::from(width), f64::from(height));
    let radius = 0.4 * height.min(width * aspect);
    move |x, y, _| {
        let (dx, dy) = ((f64::from(x) + 0.5 - width / 2.0) * aspect, f64::from(y) + 0.5 - height / 2.0);
        if dx.hypot(dy) < radius { [1.0; 3] } else { [0.3; 3] }
    }
}

/// First and last of the places that fit, and how many fit.
fn span(length: u32, fits: impl Fn(u32) -> bool) -> (u32, u32, u32) {
    let places = (0..length).filter(|place| fits(*place)).collect::<Vec<_>>();
    (places.first().copied().unwrap_or(0), places.last().copied().unwrap_or(0), places.len() as u32)
}

/// Luma of black with some noise, of grey, of white.
const BORDER: u8 = 24;
const WHITE: u8 = 160;

fn geometry_is_right(native: &Native, format: &RawFormat) {
    let pictures = convert(native, format, &disk(native), if native.scan == Scan::Progressive { 1 } else { 6 });
    let picture = &pictures[pictures.len() / 2];
    let RawFormat { width, height, .. } = *format;
    // What the source's picture covers: as large as fits.
    let aspect = f64::from(native.width * native.pixel_aspect.0) / f64::from(native.height * native.pixel_aspect.1);
    let (across, down) = (f64::from(height) * aspect, f64::from(width) / aspect);
    let active = (across.min(f64::from(width)), down.min(f64::from(height)));
    let diameter = 0.8 * active.0.min(active.1);
    let near = |got: u32, want: f64| (f64::from(got) - want).abs() <= 2.5;
    let centred = |(first, last, _): (u32, u32, u32), length: u32| (first + last + 1).abs_diff(length) <= 3;
    let rows = span(height, |y| picture.luma(width / 2, y) > WHITE);
    let columns = span(width, |x| picture.luma(x, height / 2) > WHITE);
    let name = format!("{native} {:?} in {width}x{height}", native.pixel_aspect);
    assert!(near(rows.2, diameter) && near(columns.2, diameter), "{name}: a circle of {columns:?} by {rows:?}, not {diameter}");
    assert!(centred(rows, height) && centred(columns, width), "{name}: {columns:?} {rows:?}");
    let wide = span(width, |x| picture.luma(x, height / 2) > BORDER);
    let high = span(height, |y| picture.luma(width / 2, y) > BORDER);
    assert!(near(wide.2, active.0) && near(high.2, active.1), "{name}: covers {wide:?} by {high:?}, not {active:?}");
    assert!(centred(wide, width) && centred(high, height), "{name}: {wide:?} {high:?}");
}

#[test]
fn a_circle_stays_a_circle() {
    let shapes: &[(&str, Pair, Pair, Scan)] = &[
        ("480i, 4:3", (720, 480), (8, 9), Scan::BottomFirst),
        ("480p, 16:9", (720, 480), (32, 27), Scan::Progressive),
        ("576i, 4:3", (720, 576), (16, 15), Scan::TopFirst),
        ("576i, 16:9", (720, 576), (64, 45), Scan::Alternate),
        ("VGA", (640, 480), (1, 1), Scan::Progressive),
        ("720p", (1280, 720), (1, 1), Scan::Progressive),
        ("1080p", (1920, 1080), (1, 1), Scan::Progressive),
        ("WUXGA", (1920, 1200), (1, 1), Scan::Progressive),
        ("2160p", (3840, 2160), (1, 1), Scan::Progressive),
        ("21:9", (1280, 540), (1, 1), Scan::Progressive),
        ("portrait", (720, 1280), (1, 1), Scan::Progressive),
    ];
    for (index, (_, size, pixel_aspect, scan)) in shapes.iter().enumerate() {
        let fourcc = if size.0 * size.1 > 2_000_000 { b"NV12" } else { b"UYVY" };
        let native = Native { pixel_aspect: *pixel_aspect, scan: *scan, ..native(fourcc, *size, (25, 1)) };
        let programs = [
            program(1280, 720, (25, 1), Pixels::I420),
            program(640, 360, (25, 1), Pixels::Nv12),
            program(720, 576, (25, 1), Pixels::I420),
            program(720, 1280, (25, 1), Pixels::I420),
        ];
        geometry_is_right(&native, &programs[index % 2]);
        if size.0 < 1000 {
            geometry_is_right(&native, &programs[2 + index % 2]);
        }
    }
}

/// A white bar that moves to the right: its centre at a time, as a share of the width.
fn bar_place(time: f64) -> f64 {
    0.15 + 0.6 * time
}

fn bar(width: u32) -> impl Fn(u32, u32, f64) -> Rgb {
    move |x, _, time| {
        let distance = (f64::from(x) + 0.5) / f64::from(width) - bar_place(time);
        // A soft edge of two pixels, as a lens makes it.
        let soft = 2.0 / f64::from(width);
        [(((0.05 - distance.abs()) / soft) + 0.5).clamp(0.0, 1.0); 3]
    }
}

/// Where the bar is in a row, as a share of the width.
fn bar_in_row(picture: &Picture, y: u32, width: u32) -> f64 {
    let weight = |x: u32| f64::from(picture.luma(x, y).saturating_sub(24));
    let (mass, moment) =
        (0..width).fold((0.0, 0.0), |(mass, moment), x| (mass + weight(x), moment + weight(x) * (f64::from(x) + 0.5)));
    moment / mass / f64::from(width)
}

/// Times and places of the moving bar, as they come out of the pipeline once it runs.
fn motion(native: &Native, format: &RawFormat, frames: u32) -> Vec<(f64, f64)> {
    let pictures = convert(native, format, &bar(native.width), frames);
    let name = format!("{native} {:?} at {}", native.scan, format.framerate);
    let mut track = Vec::new();
    for picture in pictures.iter().skip(4) {
        let rows = (format.height / 4..format.height * 3 / 4).map(|y| bar_in_row(picture, y, format.width));
        let rows = rows.collect::<Vec<_>>();
        let (least, most) = rows.iter().fold((1.0f64, 0.0f64), |(least, most), row| (least.min(*row), most.max(*row)));
        // Between two fields the bar moves by more than 1 % of the width.
        assert!(most - least < 0.002, "{name}: a comb of {:.4} at {:.3} s", most - least, picture.time);
        track.push((picture.time, rows[rows.len() / 2]));
    }
    track
}

fn motion_is_right(native: &Native, format: &RawFormat, frames: u32, fps: f64) {
    let name = format!("{native} {:?} at {}", native.scan, format.framerate);
    let track = motion(native, format, frames);
    // The last ones are flushed at the end of the stream, which never comes in real life.
    let track = &track[..track.len() - 6];
    let seconds = f64::from(frames) / native.rate.fps();
    let expected = seconds * fps;
    assert!((track.len() as f64 + 10.0 - expected).abs() <= 4.0, "{name}: {} pictures in {seconds:.2} s", track.len());
    for (time, place) in track {
        let error = (place - bar_place(*time)) / 0.6;
        assert!(error.abs() < 0.004, "{name}: the picture at {time:.4} s shows what was {:.1} ms away", error * 1000.0);
    }
    for pair in track.windows(2) {
        let step = (pair[1].0 - pair[0].0) * fps;
        assert!((0.9..1.1).contains(&step), "{name}: a step of {step:.2} pictures at {:.3} s", pair[0].0);
    }
}

#[test]
fn fields_become_pictures_in_their_order_and_time() {
    let table: &[(Pair, Scan, Pair, Pair, f64)] = &[
        ((360, 576), Scan::TopFirst, (25, 1), (50, 1), 50.0),
        ((360, 576), Scan::BottomFirst, (25, 1), (50, 1), 50.0),
        ((360, 576), Scan::Alternate, (25, 1), (50, 1), 50.0),
        ((360, 576), Scan::TopFirst, (25, 1), (25, 1), 25.0),
        ((360, 576), Scan::BottomFirst, (25, 1), (25, 1), 25.0),
        ((360, 576), Scan::Alternate, (25, 1), (25, 1), 25.0),
        ((360, 480), Scan::BottomFirst, (30_000, 1001), (60_000, 1001), 59.94),
        ((360, 480), Scan::BottomFirst, (30_000, 1001), (30, 1), 29.97),
        // More pictures than frames: all fields are wanted.
        ((360, 576), Scan::TopFirst, (25, 1), (30, 1), 50.0),
    ];
    for (size, scan, rate, fps, out) in table {
        for fourcc in [b"UYVY", b"NV12"] {
            // Anamorphic, so that it fills the program.
            let pixel_aspect = (16 * size.1, 9 * size.0);
            let native = Native { scan: *scan, pixel_aspect, ..native(fourcc, *size, *rate) };
            motion_is_right(&native, &program(320, 180, *fps, Pixels::I420), 24, *out);
        }
    }
}

#[test]
fn what_the_program_would_not_show_is_left_out_early_and_the_rest_keeps_its_time() {
    let table: &[(Pair, Pair, f64)] = &[
        ((60, 1), (30, 1), 30.0),
        ((60_000, 1001), (30, 1), 29.97),
        ((60_000, 1001), (30_000, 1001), 29.97),
        ((60, 1), (25, 1), 30.0),
        ((50, 1), (25, 1), 25.0),
        ((60, 1), (50, 1), 60.0),
        ((50, 1), (30, 1), 50.0),
        ((30, 1), (30, 1), 30.0),
        ((25, 1), (50, 1), 25.0),
        ((24_000, 1001), (30, 1), 23.976),
    ];
    for (rate, fps, out) in table {
        let native = native(b"YUYV", (320, 96), *rate);
        let frames = (native.rate.fps()) as u32;
        motion_is_right(&native, &program(320, 180, *fps, Pixels::Nv12), frames, *out);
    }
}

#[test]
fn the_programs_own_format_is_taken_as_it_is() {
    let format = program(1280, 720, (30, 1), Pixels::Nv12);
    let own = Native { matrix: Matrix::Bt709, ..native(b"NV12", (1280, 720), (60, 1)) };
    assert_eq!(recipe::conversion(&own, &format), Conversion::AsIs);
    let others = [
        Native { fourcc: *b"YU12", ..own },
        Native { width: 1278, ..own },
        Native { scan: Scan::TopFirst, ..own },
        Native { matrix: Matrix::Bt601, ..own },
        Native { range: Range::Full, ..own },
        Native { pixel_aspect: (8, 9), ..own },
    ];
    for other in others {
        assert_ne!(recipe::conversion(&other, &format), Conversion::AsIs, "{other:?}");
    }
}
