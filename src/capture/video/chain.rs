//! From the driver's pictures to the program's: the conversion pipeline of one stream, and the feed behind it.
//!
//! What to convert is a table ([`recipe`]); this is its shell. A picture enters as the driver's own memory and is read once: by
//! the first element that changes it, or, if nothing has to be changed, by the one copy that sets the driver's buffer free. Only a
//! picture that the driver can spare goes on as it is.
//! Dropped, it gives every buffer back before it returns, so that the device can be closed.

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;
use tokio::sync::mpsc;

use crate::capture::Port;
use crate::capture::card::{Field, Picture};
use crate::capture::native::{Native, Scan};
use crate::capture::recipe::{self, Conversion, pixels};
use crate::capture::sink::{self, Counter, Running, Said};
use crate::media::raw::Frame;
use crate::units::MediaTime;

pub struct Chain {
    way: Way,
    /// Pictures that the feed was given.
    pub delivered: Counter,
    /// Bytes of a whole picture, where they are known: a shorter one would not be read.
    least: usize,
}

enum Way {
    /// Nothing to convert.
    AsIs(Port),
    Convert {
        running: Running,
        source: gst_app::AppSrc,
        shape: Option<Shape>,
        said: mpsc::Receiver<Said>,
    },
}

/// How the planes lie in a driver's buffer, where that is not what GStreamer would assume.
struct Shape {
    info: gst_video::VideoInfo,
    offsets: Vec<usize>,
    strides: Vec<i32>,
}

impl Chain {
    pub fn new(native: &Native, port: &Port) -> Result<Self, String> {
        let delivered = Counter::default();
        let there_is = |element: &str| gst::ElementFactory::find(element).is_some();
        let way = match recipe::conversion_with(native, &port.format, there_is) {
            Conversion::AsIs => Way::AsIs(port.clone()),
            Conversion::Pipeline(text) => Self::converting(&text, native, port, &delivered)?,
        };
        Ok(Self { way, delivered, least: least(native) })
    }

    fn converting(text: &str, native: &Native, port: &Port, delivered: &Counter) -> Result<Way, String> {
        let running = Running::parse(text)?;
        let source: gst_app::AppSrc = running.element("source").ok_or("a conversion without a source")?;
        let pictures = running.element("pictures").ok_or("a conversion without a sink")?;
        sink::pictures(&pictures, port.clone(), delivered.clone());
        running.start_at(&port.clock, MediaTime::ZERO);
        let said = sink::listen(&running.0);
        running.0.set_state(gst::State::Playing).map_err(|_| "the conversion does not start".to_string())?;
        Ok(Way::Convert { running, shape: Shape::of(native), source, said })
    }

    /// Takes a picture that was captured at `time`. Never waits: if the conversion is behind, an older picture is left out.
    pub fn push(&self, picture: Picture, time: MediaTime) {
        let Picture { mut buffer, field, spare, .. } = picture;
        match &self.way {
            Way::AsIs(port) => {
                let own = if spare { described(buffer, &port.format.layout()) } else { buffer.copy_deep().ok() };
                if let Some(buffer) = own {
                    self.delivered.add();
                    port.picture(Frame { time, buffer });
                }
            }
            Way::Convert { source, shape, .. } => {
                let fresh = buffer.make_mut();
                fresh.set_pts(gst::ClockTime::from_nseconds(time.nanos()));
                set_field(fresh, field);
                if let Some(shape) = shape {
                    shape.describe(fresh);
                }
                let _ = source.push_buffer(buffer);
            }
        }
    }

    /// A picture that is all there.
    pub fn accepts(&self, buffer: &gst::Buffer) -> bool {
        buffer.size() >= self.least.max(1)
    }

    /// What went wrong since it was asked last.
    pub fn fault(&mut self) -> Option<String> {
        let Way::Convert { said, .. } = &mut self.way else { return None };
        match said.try_recv().ok()? {
            Said::Fault(fault) => Some(fault),
            Said::Ended => Some("the conversion ended".into()),
        }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        if let Way::Convert { running, .. } = &self.way {
            let _ = running.0.set_state(gst::State::Null);
        }
    }
}

/// A driver's picture with its layout, for those who import it.
fn described(mut buffer: gst::Buffer, layout: &gst_video::VideoInfo) -> Option<gst::Buffer> {
    gst_video::VideoMeta::add_from_info(buffer.get_mut()?, gst_video::VideoFrameFlags::empty(), layout).ok()?;
    Some(buffer)
}

fn set_field(buffer: &mut gst::BufferRef, field: Option<Field>) {
    let flags = match field {
        Some(Field::Top) => gst_video::VideoBufferFlags::TOP_FIELD,
        Some(Field::Bottom) => gst_video::VideoBufferFlags::BOTTOM_FIELD,
        None => return,
    };
    buffer.set_video_flags(flags | gst_video::VideoBufferFlags::INTERLACED);
}

/// How GStreamer sees uncompressed pictures; `None` for compressed ones.
fn info(native: &Native) -> Option<gst_video::VideoInfo> {
    let caps: gst::Caps = recipe::native_caps(native)?.parse().ok()?;
    gst_video::VideoInfo::from_caps(&caps).ok()
}

/// Bytes of a picture without any padding, or of a field where these come one by one.
fn least(native: &Native) -> usize {
    let Some(info) = info(native) else { return 0 };
    let usual = info.stride().first().map_or(1, |stride| (*stride).max(1) as usize);
    let stride = if native.stride == 0 { usual } else { (native.stride as usize).min(usual) };
    let fields = if native.scan == Scan::Alternate { 2 } else { 1 };
    info.size() * stride / usual / fields
}

impl Shape {
    /// `None` if the planes lie as GStreamer assumes, or if the picture is compressed.
    fn of(native: &Native) -> Option<Self> {
        let info = info(native)?;
        let (offsets, strides): (Vec<_>, Vec<_>) = pixels::planes(native).into_iter().unzip();
        let usual = native.stride == 0 || (strides == info.stride() && (offsets.len() == 1 || offsets == info.offset()));
        (!usual).then_some(Self { info, offsets, strides })
    }

    fn describe(&self, buffer: &mut gst::BufferRef) {
        let (info, flags) = (&self.info, gst_video::VideoFrameFlags::empty());
        let (width, height) = (info.width(), info.height());
        let _ = gst_video::VideoMeta::add_full(buffer, flags, info.format(), width, height, &self.offsets, &self.strides);
    }
}
