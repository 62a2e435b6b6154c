//! A small JPEG of every input's newest picture, once a second, for whoever wants to see what could be switched to.
//!
//! One thread of the lowest priority for all inputs. It takes a reference to the newest picture out of the feed, scales and encodes
//! it by GStreamer elements that run in this very thread, and renames a finished file into place, so that nobody ever reads half a
//! picture. It never touches the live path: if it is slow, thumbnails come later. An input without a picture has no file.
#![allow(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tokio_util::sync::CancellationToken;

use crate::capture::Port;
use crate::media::raw::RawFormat;
use crate::units::MediaTime;

const WIDTH: u32 = 320;
const PAUSE: Duration = Duration::from_secs(1);

/// A picture that is older than this is none.
const STALE: Duration = Duration::from_secs(2);

/// Lowest of all.
const NICE: i32 = 19;

/// Runs until `stop`; without thumbnails if the thread cannot be started.
pub async fn run(ports: Vec<Port>, folder: PathBuf, stop: CancellationToken) {
    let until = stop.clone();
    let work = move || {
        step_back();
        let mut album = Album::open(ports, folder);
        while !until.is_cancelled() {
            album.refresh();
            album.pause(&until);
        }
        album.close();
    };
    if let Err(error) = std::thread::Builder::new().name("thumbnails".into()).spawn(work) {
        tracing::warn!("there are no thumbnails: their thread cannot be started ({error})");
    }
    stop.cancelled().await;
}

/// For this thread alone. A system that does not allow it has thumbnails of normal priority.
fn step_back() {
    // SAFETY: setpriority takes integers and touches no memory; on Linux, process 0 is the calling thread.
    let result = unsafe { nix::libc::setpriority(nix::libc::PRIO_PROCESS, 0, NICE) };
    if result != 0 {
        tracing::debug!("thumbnails run with normal priority: {}", std::io::Error::last_os_error());
    }
}

struct Album {
    shots: Vec<Shot>,
    folder: PathBuf,
    /// The fault that was told last.
    told: Option<String>,
}

struct Shot {
    port: Port,
    file: PathBuf,
    /// Built with the first picture.
    camera: Option<Camera>,
    /// The picture that the file shows.
    of: Option<MediaTime>,
}

impl Album {
    fn open(ports: Vec<Port>, folder: PathBuf) -> Self {
        let shot = |port: Port| Shot { file: folder.join(format!("{}.jpg", port.name)), port, camera: None, of: None };
        let shots = ports.into_iter().map(shot).collect();
        let album = Self { shots, folder, told: None };
        album.clean();
        album
    }

    /// What an earlier life left behind would be taken for a picture of now.
    fn clean(&self) {
        let files = std::fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "jpg" || extension == "part")) {
            let _ = std::fs::remove_file(file);
        }
    }

    fn refresh(&mut self) {
        let made = std::fs::create_dir_all(&self.folder).map_err(|error| error.to_string());
        let fault = self.shots.iter_mut().filter_map(|shot| made.clone().and_then(|()| shot.refresh()).err()).last();
        if let Some(fault) = fault.as_ref().filter(|fault| self.told.as_ref() != Some(fault)) {
            tracing::warn!("thumbnails in {}: {fault}; the program is not touched by it", self.folder.display());
        }
        self.told = fault;
    }

    fn pause(&self, stop: &CancellationToken) {
        let Some(shot) = self.shots.first() else { return };
        let clock = &shot.port.clock;
        let end = clock.now() + PAUSE;
        while clock.now() < end && !stop.is_cancelled() {
            let until = clock.gst_clock().time() + gst::ClockTime::from_mseconds(100);
            let _ = clock.gst_clock().new_single_shot_id(until).wait();
        }
    }

    fn close(&mut self) {
        self.shots.iter_mut().for_each(Shot::remove);
        let _ = std::fs::remove_dir(&self.folder);
    }
}

impl Shot {
    fn refresh(&mut self) -> Result<(), String> {
        let newest = self.port.feed.with_frames(|frames| frames.back().cloned());
        let now = self.port.clock.now();
        let Some(frame) = newest.filter(|frame| now.since(frame.time) <= STALE) else {
            self.remove();
            return Ok(());
        };
        if self.of == Some(frame.time) {
            return Ok(());
        }
        let jpeg = self.develop(&frame.buffer)?;
        self.write(&jpeg).map_err(|error| format!("{}: {error}", self.file.display()))?;
        self.of = Some(frame.time);
        let path = self.file.display().to_string();
        self.port.report.update(|input| input.thumbnail = Some(path));
        Ok(())
    }

    fn develop(&mut self, picture: &gst::Buffer) -> Result<gst::Buffer, String> {
        let camera = match self.camera.take() {
            Some(camera) => camera,
            None => Camera::build(&self.port.format)?,
        };
        // After a fault it is built anew.
        let jpeg = camera.shoot(picture)?;
        self.camera = Some(camera);
        Ok(jpeg)
    }

    fn write(&self, jpeg: &gst::Buffer) -> std::io::Result<()> {
        let part = self.file.with_extension("jpg.part");
        let bytes = jpeg.map_readable().map_err(std::io::Error::other)?;
        std::fs::write(&part, &bytes)?;
        std::fs::rename(&part, &self.file)
    }

    fn remove(&mut self) {
        if self.of.take().is_some() {
            self.port.report.update(|input| input.thumbnail = None);
            let _ = std::fs::remove_file(&self.file);
        }
    }
}

/// Scales and encodes one picture at a time. None of its elements has a thread: all work is done in the one that pushes, and so
/// with its priority.
struct Camera {
    pipeline: gst::Pipeline,
    entry: gst::Pad,
    sink: gst_app::AppSink,
}

impl Camera {
    fn build(format: &RawFormat) -> Result<Self, String> {
        let text = recipe(format);
        let pipeline = gst::parse::launch(&text).map_err(|error| error.to_string())?;
        let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_| "not a pipeline")?;
        let sink = pipeline.by_name("out").and_downcast::<gst_app::AppSink>().ok_or("no sink")?;
        let first = pipeline.by_name("in").and_then(|element| element.static_pad("sink")).ok_or("no entry")?;
        let entry = gst::Pad::builder(gst::PadDirection::Src).name("newest").build();
        let camera = Self { pipeline, entry, sink };
        camera.start(&first, format).ok_or("it cannot be started; are GStreamer's good plugins installed?")?;
        Ok(camera)
    }

    fn start(&self, first: &gst::Pad, format: &RawFormat) -> Option<()> {
        self.pipeline.set_state(gst::State::Playing).ok()?;
        self.entry.set_active(true).ok()?;
        self.entry.link(first).ok()?;
        let caps: gst::Caps = format.program_caps().parse().ok()?;
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        let events =
            [gst::event::StreamStart::new("thumbnail"), gst::event::Caps::new(&caps), gst::event::Segment::new(&segment)];
        events.into_iter().all(|event| self.entry.push_event(event)).then_some(())
    }

    fn shoot(&self, picture: &gst::Buffer) -> Result<gst::Buffer, String> {
        let mut picture = picture.copy();
        if let Some(picture) = picture.get_mut() {
            picture.set_pts(gst::ClockTime::ZERO);
        }
        self.entry.push(picture).map_err(|error| format!("a picture cannot be encoded ({error})"))?;
        let sample = self.sink.try_pull_sample(gst::ClockTime::ZERO);
        sample.and_then(|sample| sample.buffer_owned()).ok_or_else(|| "the encoder gave no picture".into())
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        let _ = self.entry.set_active(false);
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// JPEG's colours are full range by BT.601, whatever the program's are. The way leads through RGB, because `videoconvert` passes pictures
/// of one layout and one matrix on as they are, though their ranges differ.
fn recipe(format: &RawFormat) -> String {
    let width = WIDTH.min(format.width);
    let height = (format.height * width / format.width).max(2) & !1;
    format!(
        "videoscale name=in ! video/x-raw,width={width},height={height},pixel-aspect-ratio=(fraction)1/1 ! videoconvert ! video/x-raw,format=RGB \
         ! videoconvert ! video/x-raw,format=I420,colorimetry=1:4:7:1 ! jpegenc quality=75 ! appsink name=out sync=false async=false max-buffers=2 drop=true"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::raw::Pixels;
    use crate::units::FrameRate;

    #[test]
    fn a_camera_makes_one_jpeg_of_each_picture_in_both_layouts() {
        gst::init().unwrap();
        for pixels in [Pixels::I420, Pixels::Nv12] {
            let format = RawFormat { width: 1280, height: 720, framerate: FrameRate::new(30, 1).unwrap(), pixels };
            let camera = Camera::build(&format).unwrap();
            for value in [16u8, 120, 235] {
                let picture = gst::Buffer::from_slice(vec![value; format.layout().size()]);
                let jpeg = camera.shoot(&picture).unwrap();
                let map = jpeg.map_readable().unwrap();
                assert!(map.starts_with(&[0xff, 0xd8]) && map.ends_with(&[0xff, 0xd9]), "{pixels:?} {value}");
            }
        }
    }

    #[test]
    fn proportions_are_kept_and_sides_even() {
        let framerate = FrameRate::new(30, 1).unwrap();
        let scaled = |width, height| recipe(&RawFormat { width, height, framerate, pixels: Pixels::I420 });
        assert!(scaled(1280, 720).contains("width=320,height=180"));
        assert!(scaled(720, 576).contains("width=320,height=256"));
        assert!(scaled(160, 90).contains("width=160,height=90"));
    }
}
