//! Input recipes: the text of the pipelines that turn what comes in into the program's raw format. Pure.
//!
//! Scaling keeps proportions (letter-box or pillar-box), the rate is left alone (the synchroniser's work), and the size is never
//! pinned right behind `v4l2src`, which would fail at the next change of the signal's mode.

use std::path::Path;

use crate::media::raw::{CHANNELS, RawFormat, SAMPLE_RATE};

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

/// A V4L2 device's pictures. `raw` says whether the device has an uncompressed format; else it must have MJPEG.
///
/// What comes faster than the program is thinned out before anything is converted. The pixel aspect ratio is set because drivers without cropping make `v4l2src` report 1/2147483647.
pub fn v4l2(device: &Path, raw: bool, format: &RawFormat) -> String {
    let source = format!("v4l2src name=source device={}", quoted(&device.to_string_lossy()));
    let tail = format!("videorate drop-only=true max-rate={} ! {}", format.framerate.fps().ceil(), picture_tail(format, false));
    match raw {
        true => format!(
            "{source} ! video/x-raw ! capssetter join=true caps=\"video/x-raw,pixel-aspect-ratio=(fraction)1/1\" \
             ! queue max-size-buffers=3 leaky=downstream ! {tail}"
        ),
        false => format!("{source} ! image/jpeg ! queue max-size-buffers=3 leaky=downstream ! jpegdec ! {tail}"),
    }
}

/// An ALSA device's sound.
pub fn alsa(device: &str) -> String {
    format!("alsasrc name=source device={} ! {}", quoted(device), sound_tail(false))
}

/// A text as a value in a pipeline description.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::raw::Pixels;
    use crate::units::FrameRate;

    const FORMAT: RawFormat =
        RawFormat { width: 640, height: 360, framerate: FrameRate::new(30, 1).unwrap(), pixels: Pixels::Nv12 };

    #[test]
    fn nothing_is_pinned_behind_the_source_but_everything_before_the_sink() {
        let text = v4l2(Path::new("/dev/onair/capture-0"), true, &FORMAT);
        let (front, back) = text.split_once("videoconvert").unwrap();
        assert!(!front.contains("width") && !front.contains("framerate"), "{text}");
        assert!(back.contains("add-borders=true") && back.contains("format=NV12,width=640,height=360"), "{text}");
    }

    #[test]
    fn names_with_spaces_and_quotes_stay_one_value() {
        assert!(alsa("hw:CARD=\"My Card\"").contains(r#"device="hw:CARD=\"My Card\"""#));
    }
}
