//! Recipes: from what comes in to the program's raw format, as the text of a GStreamer pipeline. Pure.
//!
//! ```text
//!  native ─▶ appsrc ─▶ [decode] ─▶ [de-interlace] ─▶ [thin out] ─▶ colours, size, borders ─▶ appsink     what is in brackets: if needed
//! ```
//!
//! The costly comes last, on as few pictures as possible. Scaling keeps proportions (letter-box or pillar-box); the exact rate is
//! left to the synchroniser. What a device delivers is said in caps, never guessed by GStreamer.

mod choice;
pub mod pixels;

pub use self::choice::{Offer, choose};
use self::pixels::Packing;
use crate::capture::native::{Matrix, Native, Range, Rate, Scan};
use crate::media::raw::{CHANNELS, Pixels, RawFormat, SAMPLE_RATE};

/// What has to be done to a device's pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// Nothing: they are the program's already. They are to be copied, for the driver wants its memory back soon.
    AsIs,
    /// A pipeline from the appsrc called `source` to the appsink called `pictures`.
    Pipeline(String),
}

/// Between a device and its pipeline at most this many pictures wait; then the oldest is lost.
const WAITING: u32 = 2;

/// The caps of a device's buffers; `None` if it delivers what cannot be used.
///
/// Buffers of interlaced pictures that hold one field each ([`Scan::Alternate`]) must be flagged as top or bottom field.
pub fn native_caps(native: &Native) -> Option<String> {
    let Native { width, height, pixel_aspect: (across, down), .. } = native;
    let Rate { numerator, denominator } = told_rate(native);
    let size = format!("width={width},height={height},framerate=(fraction){numerator}/{denominator}");
    let aspect = format!("pixel-aspect-ratio=(fraction){across}/{down}");
    let colorimetry = |rgb| format!("colorimetry=(string){}", pixels::colorimetry(native, rgb));
    Some(match pixels::packing(native.fourcc)? {
        // JPEG is full range by its own standard, whatever a driver says: its decoder knows.
        Packing::Jpeg => format!("image/jpeg,{size},{aspect}"),
        Packing::H264 => {
            format!("video/x-h264,stream-format=byte-stream,alignment=au,{size},{aspect},{}", colorimetry(false))
        }
        Packing::Raw(name) => {
            let (feature, scan) = scan_caps(native.scan);
            format!("video/x-raw{feature},format={name},{size},{scan},{aspect},{}", colorimetry(pixels::is_rgb(name)))
        }
    })
}

/// The feature, and the fields, of caps.
fn scan_caps(scan: Scan) -> (&'static str, &'static str) {
    match scan {
        Scan::Progressive => ("", "interlace-mode=progressive"),
        Scan::TopFirst => ("", "interlace-mode=interleaved,field-order=top-field-first"),
        Scan::BottomFirst => ("", "interlace-mode=interleaved,field-order=bottom-field-first"),
        Scan::Alternate => ("(format:Interlaced)", "interlace-mode=alternate"),
    }
}

/// Fields are put in their places in time by their rate, so that there must be one: that of the standard with as many lines.
fn told_rate(native: &Native) -> Rate {
    let known = native.rate.numerator > 0 && native.rate.denominator > 0;
    match (known, native.scan, native.height) {
        (true, ..) => native.rate,
        (false, Scan::Progressive, _) => Rate { numerator: 0, denominator: 1 },
        (false, _, ..=500) => Rate { numerator: 30_000, denominator: 1001 },
        (false, ..) => Rate { numerator: 25, denominator: 1 },
    }
}

/// What turns a device's pictures into the program's, if every element of GStreamer is there. Of a format that cannot be used
/// ([`native_caps`] is `None`), nothing comes out.
pub fn conversion(native: &Native, format: &RawFormat) -> Conversion {
    conversion_with(native, format, |_| true)
}

/// The same with the elements that `there_is`.
pub fn conversion_with(native: &Native, format: &RawFormat, there_is: impl Fn(&str) -> bool) -> Conversion {
    if is_programs(native, format) {
        return Conversion::AsIs;
    }
    let caps = native_caps(native).unwrap_or_else(|| "video/x-raw".into());
    let mut steps = vec![format!(
        "appsrc name=source is-live=true format=time do-timestamp=false block=false leaky-type=downstream \
         max-buffers={WAITING} max-bytes=0 max-time=0 caps=\"{caps}\""
    )];
    let packing = pixels::packing(native.fourcc);
    let intra = packing != Some(Packing::H264);
    let thinned = thinning(native, format, if packing == Some(Packing::Jpeg) { "image/jpeg" } else { "video/x-raw" });
    // Every picture of H.264 is needed to decode the next.
    steps.extend(thinned.clone().filter(|_| intra));
    steps.extend(packing.and_then(|packing| decoder(packing, there_is)));
    steps.extend(thinned.filter(|_| !intra));
    steps.extend(deinterlacing(native, format));
    steps.push(colours_and_size(native, format));
    steps.push("appsink name=pictures sync=false async=false max-buffers=4 enable-last-sample=false".into());
    Conversion::Pipeline(steps.join(" ! "))
}

fn is_programs(native: &Native, format: &RawFormat) -> bool {
    let (fourcc, matrix) = match (format.pixels, format.height) {
        (Pixels::I420, height) => (b"YU12", program_matrix(height)),
        (Pixels::Nv12, height) => (b"NV12", program_matrix(height)),
    };
    let square = native.pixel_aspect.0 == native.pixel_aspect.1;
    (native.fourcc, native.width, native.height) == (*fourcc, format.width, format.height)
        && (native.scan, native.matrix, native.range) == (Scan::Progressive, matrix, Range::Limited)
        && square
}

/// The matrix of [`RawFormat::picture_caps`].
fn program_matrix(height: u32) -> Matrix {
    if height >= 720 { Matrix::Bt709 } else { Matrix::Bt601 }
}

/// Colours first, since most formats are dearer to scale than the program's; only 4:2:0 is scaled down first, because less is
/// left to convert then. Catmull-Rom is as sharp and as free of aliasing as Lanczos and cheaper; two-tap "bilinear" is neither.
fn colours_and_size(native: &Native, format: &RawFormat) -> String {
    const SCALE: &str = "videoscale method=catrom add-borders=true";
    let (caps, range) = (format.picture_caps(), range_alone(native, format));
    let cheap = matches!(&native.fourcc, b"NV12" | b"YU12" | b"YV12" | b"NV21" | b"MJPG" | b"JPEG" | b"H264");
    let shrinks = u64::from(native.width) * u64::from(native.height) > u64::from(format.width) * u64::from(format.height);
    if cheap && shrinks && range.is_empty() {
        return format!("{SCALE} ! videoconvert ! {caps}");
    }
    let (pixels, colorimetry) = (format.pixels.word(), format.colorimetry());
    format!("videoconvert ! video/x-raw,format={pixels},colorimetry={colorimetry} ! {range}{SCALE} ! {caps}")
}

/// From full range to limited where nothing else changes: `videoconvert` computes colours only where the matrix changes, and
/// passes a range on as it is. So 219/255 of luma, begun at 16, and 224/255 of chroma, before there are black borders.
fn range_alone(native: &Native, format: &RawFormat) -> &'static str {
    let (range, matrix) = match pixels::packing(native.fourcc) {
        Some(Packing::Jpeg) => (Range::Full, Matrix::Bt601),
        Some(Packing::Raw(name)) if pixels::is_rgb(name) => return "",
        _ => (native.range, native.matrix),
    };
    let alone = range == Range::Full && matrix == program_matrix(format.height);
    if alone { "videobalance contrast=0.858824 brightness=0.053887 saturation=0.878431 ! " } else { "" }
}

/// Software first: it is what everybody's pictures were tried with.
fn decoder(packing: Packing, there_is: impl Fn(&str) -> bool) -> Option<String> {
    let (before, names): (&str, &[&str]) = match packing {
        Packing::Raw(_) => return None,
        Packing::Jpeg => ("", &["jpegdec", "avdec_mjpeg", "v4l2jpegdec", "vajpegdec"]),
        Packing::H264 => ("h264parse ! ", &["avdec_h264", "openh264dec", "v4l2h264dec", "v4l2slh264dec", "vah264dec"]),
    };
    let name = names.iter().find(|name| there_is(name)).unwrap_or(&names[0]);
    Some(format!("{before}{name} ! {QUEUE}"))
}

/// What stands before and behind works at the same time.
const QUEUE: &str = "queue max-size-buffers=2 max-size-bytes=0 max-size-time=0";

/// Leaves out pictures that the program would never show: all but one of n, as long as it is left one for each of its own.
fn thinning(native: &Native, format: &RawFormat, media: &str) -> Option<String> {
    let (rate, wanted) = (native.rate, format.framerate.fps());
    if native.scan != Scan::Progressive {
        return None;
    }
    if rate.numerator == 0 {
        return Some(format!("videorate drop-only=true max-rate={}", wanted.ceil()));
    }
    let one_in = (rate.fps() / wanted + 0.02).floor() as u32;
    let (numerator, denominator) = (rate.numerator, rate.denominator.max(1) * one_in);
    (one_in > 1).then(|| format!("videorate drop-only=true ! {media},framerate=(fraction){numerator}/{denominator}"))
}

/// From fields to pictures: one of each field if the program shows more pictures than the source has frames, else one of each
/// frame. Of a driver's memory nothing is kept, as the comparison of fields would: it is repacked first.
fn deinterlacing(native: &Native, format: &RawFormat) -> Option<String> {
    // Told by force, it does not take single fields; of them, each buffer says what it is.
    let (first, order, feature) = match native.scan {
        Scan::Progressive => return None,
        Scan::TopFirst => ("top", "mode=interlaced tff=tff", ""),
        Scan::BottomFirst => ("bottom", "mode=interlaced tff=bff", ""),
        Scan::Alternate => ("top", "mode=auto", "(format:Interlaced)"),
    };
    let fields = if format.framerate.fps() > told_rate(native).fps() * 1.1 { "all" } else { first };
    let planar = match pixels::packing(native.fourcc)? {
        Packing::Raw("NV12" | "NV21" | "YV12" | "P010_10LE") => "I420",
        _ => "Y42B",
    };
    Some(format!(
        "videoconvert ! capsfilter caps=\"video/x-raw{feature},format={planar}\" ! deinterlace {order} fields={fields} method=yadif ! {QUEUE}"
    ))
}

/// From any raw pictures to the program's, into the appsink called `pictures`.
pub fn picture_tail(format: &RawFormat, sync: bool) -> String {
    format!(
        "videoconvert ! videoscale add-borders=true ! {} ! appsink name=pictures sync={sync} max-buffers=4 async=false",
        format.picture_caps()
    )
}

/// From any raw sound to the program's, into the appsink called `sound`.
pub fn sound_tail(sync: bool) -> String {
    format!(
        "audioconvert ! audioresample ! audio/x-raw,format=S16LE,layout=interleaved,rate={SAMPLE_RATE},channels={CHANNELS} \
         ! appsink name=sound sync={sync} max-buffers=50 async=false"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::raw::Pixels;
    use crate::units::FrameRate;

    const FORMAT: RawFormat =
        RawFormat { width: 640, height: 360, framerate: FrameRate::new(30, 1).unwrap(), pixels: Pixels::Nv12 };

    const NATIVE: Native = Native {
        fourcc: *b"UYVY",
        width: 1920,
        height: 1080,
        stride: 3840,
        scan: Scan::Progressive,
        matrix: Matrix::Bt709,
        range: Range::Limited,
        pixel_aspect: (1, 1),
        rate: Rate { numerator: 60, denominator: 1 },
    };

    /// What stands between source and sink.
    fn steps(native: &Native, format: &RawFormat) -> String {
        let Conversion::Pipeline(text) = conversion(native, format) else { panic!("nothing to do for {native}") };
        let (source, steps) = text.split_once("\" ! ").unwrap();
        assert!(source.starts_with("appsrc name=source is-live=true format=time ") && source.contains("leaky-type=downstream"));
        let (steps, sink) = steps.rsplit_once(" ! ").unwrap();
        assert!(sink.starts_with("appsink name=pictures ") && sink.contains("enable-last-sample=false"), "{sink}");
        let caps = format!(" ! {}", format.picture_caps());
        steps.strip_suffix(&caps).unwrap_or_else(|| panic!("{steps}")).to_owned()
    }

    #[test]
    fn caps_of_buffers() {
        let tail = "interlace-mode=progressive,pixel-aspect-ratio=(fraction)1/1,colorimetry=(string)";
        let table = [
            (NATIVE, format!("video/x-raw,format=UYVY,width=1920,height=1080,framerate=(fraction)60/1,{tail}2:3:5:1")),
            (
                Native { fourcc: *b"XR24", range: Range::Full, rate: Rate::default(), ..NATIVE },
                format!("video/x-raw,format=BGRx,width=1920,height=1080,framerate=(fraction)0/1,{tail}1:1:7:1"),
            ),
            (
                Native {
                    scan: Scan::BottomFirst,
                    matrix: Matrix::Bt601,
                    width: 720,
                    height: 480,
                    pixel_aspect: (8, 9),
                    rate: Rate::default(),
                    ..NATIVE
                },
                "video/x-raw,format=UYVY,width=720,height=480,framerate=(fraction)30000/1001,interlace-mode=interleaved,\
                 field-order=bottom-field-first,pixel-aspect-ratio=(fraction)8/9,colorimetry=(string)2:4:16:4"
                    .into(),
            ),
            (
                Native { fourcc: *b"NV12", scan: Scan::Alternate, matrix: Matrix::Bt2020, ..NATIVE },
                "video/x-raw(format:Interlaced),format=NV12,width=1920,height=1080,framerate=(fraction)60/1,\
                 interlace-mode=alternate,pixel-aspect-ratio=(fraction)1/1,colorimetry=(string)2:6:13:7"
                    .into(),
            ),
            (
                Native { fourcc: *b"MJPG", ..NATIVE },
                "image/jpeg,width=1920,height=1080,framerate=(fraction)60/1,pixel-aspect-ratio=(fraction)1/1".into(),
            ),
        ];
        for (native, want) in table {
            assert_eq!(native_caps(&native).as_deref(), Some(want.as_str()));
        }
        assert_eq!(native_caps(&Native { fourcc: *b"pBAA", ..NATIVE }), None);
    }

    #[test]
    fn only_what_is_needed_is_done_and_the_costly_on_few_pictures() {
        const COLOURS: &str = "videoconvert ! video/x-raw,format=NV12,colorimetry=bt601 ! ";
        const SCALE: &str = "videoscale method=catrom add-borders=true";
        const THIN: &str = "videorate drop-only=true ! video/x-raw,framerate=(fraction)60/2 ! ";
        let fields = |fields: &str| {
            format!(
                "videoconvert ! capsfilter caps=\"video/x-raw,format=Y42B\" ! deinterlace mode=interlaced {fields} \
                 method=yadif ! {QUEUE} ! {COLOURS}{SCALE}"
            )
        };
        let interlaced = |scan, numerator| Native { scan, rate: Rate { numerator, denominator: 1 }, ..NATIVE };
        let slow = Native { rate: Rate { numerator: 50, denominator: 1 }, ..NATIVE };
        let table = [
            (NATIVE, format!("{THIN}{COLOURS}{SCALE}")),
            (slow, format!("{COLOURS}{SCALE}")),
            (Native { fourcc: *b"NV12", ..slow }, format!("{SCALE} ! videoconvert")),
            (Native { rate: Rate::default(), ..NATIVE }, format!("videorate drop-only=true max-rate=30 ! {COLOURS}{SCALE}")),
            (interlaced(Scan::TopFirst, 25), fields("tff=tff fields=all")),
            (interlaced(Scan::BottomFirst, 30), fields("tff=bff fields=bottom")),
            (
                Native { fourcc: *b"MJPG", ..NATIVE },
                format!(
                    "videorate drop-only=true ! image/jpeg,framerate=(fraction)60/2 ! jpegdec ! {QUEUE} ! {COLOURS}videobalance \
                     contrast=0.858824 brightness=0.053887 saturation=0.878431 ! {SCALE}"
                ),
            ),
            (Native { fourcc: *b"H264", ..NATIVE }, format!("h264parse ! avdec_h264 ! {QUEUE} ! {THIN}{SCALE} ! videoconvert")),
        ];
        for (native, want) in table {
            assert_eq!(steps(&native, &FORMAT), want, "{native}");
        }
    }

    #[test]
    fn the_first_decoder_that_there_is_decodes() {
        let coded = Native { fourcc: *b"H264", ..NATIVE };
        for there in ["avdec_h264", "openh264dec", "v4l2h264dec"] {
            let Conversion::Pipeline(text) = conversion_with(&coded, &FORMAT, |name| name == there) else { panic!("as is") };
            assert!(text.contains(&format!("h264parse ! {there} !")), "{text}");
        }
    }
}
