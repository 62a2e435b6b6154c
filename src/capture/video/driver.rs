//! A V4L2 node as a [`Card`]: the order of calls that makes a driver stream, and what its errnos mean.
//!
//! ```text
//!   open ─▶ look (QUERY_DV_TIMINGS) ─▶ start: S_DV_TIMINGS, S_FMT, S_PARM, REQBUFS, mmap, QBUF, STREAMON ─▶ wait: poll, DQBUF
//!              ▲                                                                                              │
//!              └──────────────────────── stop: STREAMOFF, REQBUFS(0) ◀────────────────────────────────────────┘
//! ```
//!
//! Buffers that are lent to an encoder are exported (EXPBUF) instead of mapped. When to do any of it is not decided here: see
//! [`super`] and [`super::lock`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use v4l::frameinterval::FrameIntervalEnum;
use v4l::framesize::FrameSizeEnum;
use v4l::v4l_sys as sys;
use v4l::video::Capture;

use super::calls::{self, Filled, Layout, Node};
use super::memory::Pool;
use super::{format, lend};
use crate::capture::analogue::{self, Found, Standard};
use crate::capture::card::{Card, Cards, Fault, Field, Look, Picture, Seat, Wake, Wanted};
use crate::capture::find::claims::Claims;
use crate::capture::find::plug::Plug;
use crate::capture::find::scan::scan;
use crate::capture::native::{Native, Rate, Timings};
use crate::capture::recipe::{self, Offer};
use crate::capture::{analogue_io, edid_io, find};
use crate::clock::MediaClock;
use crate::status::Signal;

/// The cards of this machine.
pub struct Driver {
    claims: Claims,
    clock: MediaClock,
    plug: Plug,
}

impl Driver {
    /// For these inputs, each with its `device`: all of them are entered before the first one takes a card.
    pub fn new<'a>(inputs: impl IntoIterator<Item = (&'a str, &'a Path)>, clock: MediaClock) -> Self {
        let claims = Claims::default();
        for (input, device) in inputs {
            claims.enter(input, find::Wanted::parse(device));
        }
        Self { claims, clock, plug: Plug::shared() }
    }
}

impl Cards for Driver {
    fn open(&self, seat: &Seat) -> Result<Box<dyn Card>, Fault> {
        let path = self.claims.resolve(&seat.input, &scan(), self.clock.now())?;
        let node = Node::open(&path).map_err(|errno| opening(&path, errno))?;
        let connector = analogue_io::select(node.fd(), &seat.connector).map_err(Fault::Unusable)?;
        if let Some(edid) = &seat.edid {
            let written = edid_io::write_edid(node.fd(), connector.unwrap_or(0), edid);
            written.map_err(|errno| failed("VIDIOC_S_EDID", errno))?;
        }
        // Without events, looking every now and then must do.
        let _ = node.subscribe();
        Ok(Box::new(V4l2 { node, path, stream: None }))
    }

    fn path(&self, seat: &Seat) -> Option<PathBuf> {
        self.claims.resolve(&seat.input, &scan(), self.clock.now()).ok()
    }

    fn plugged(&self, seen: &mut u64, limit: Duration) -> bool {
        self.plug.wait(seen, limit)
    }
}

struct V4l2 {
    node: Node,
    path: PathBuf,
    stream: Option<Pool>,
}

impl Card for V4l2 {
    fn look(&mut self) -> Result<Look, Fault> {
        if let Some(Found { signal, standard, remark }) = analogue_io::look_analogue(self.node.fd()) {
            return Ok(Look { signal, timings: standard.map(Standard::timings), remark });
        }
        match self.node.timings() {
            Ok(timings) => Ok(Look::new(Signal::Locked, Some(format::timings(&calls::bt(&timings))))),
            Err(Errno::ENODEV | Errno::ENXIO) => Err(Fault::Gone),
            Err(errno) => {
                let power = analogue_io::power_present(self.node.fd());
                Ok(Look::new(analogue::with_power(format::verdict(errno), power), None))
            }
        }
    }

    fn start(&mut self, wanted: &Wanted) -> Result<Native, Fault> {
        self.stop();
        let standard = self.take_standard()?;
        let timings = match standard {
            Some(standard) => Some(standard.timings()),
            None => self.take_timings()?,
        };
        let offers = self.offers(timings);
        let offer = recipe::choose(&offers, wanted).ok_or_else(|| self.unusable(&offers))?;
        let layout = self.set_format(&offer)?;
        let mut native = format::native(&layout, timings, self.rate(&offer), None);
        if let Some(standard) = standard {
            native.pixel_aspect = standard.pixel_aspect();
        }
        if let Err(fault) = self.start_stream(self.lent_buffers(&native, wanted)) {
            self.stop();
            return Err(fault);
        }
        Ok(native)
    }

    fn wait(&mut self, limit: Duration) -> Result<Wake, Fault> {
        if let Some(pool) = &self.stream {
            pool.requeue(&self.node).map_err(|errno| failed("VIDIOC_QBUF", errno))?;
        }
        let ready = match self.node.wait(self.stream.is_some(), limit) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => return Ok(Wake::Nothing),
            Err(errno) => return Err(failed("poll", errno)),
        };
        if ready.event && self.node.source_changed() {
            return Ok(Wake::SourceChange);
        }
        match &self.stream {
            Some(pool) if ready.buffer || ready.error => self.take(pool),
            None if ready.error => Err(Fault::Gone),
            _ => Ok(Wake::Nothing),
        }
    }

    fn stop(&mut self) {
        if self.stream.take().is_some() {
            let _ = self.node.stream_off();
        }
        // Drivers keep their format and timings locked while there are buffers.
        let _ = self.node.request_buffers(0);
    }
}

impl Drop for V4l2 {
    fn drop(&mut self) {
        self.stop();
    }
}

impl V4l2 {
    /// Makes an analogue card follow the standard that it receives; `None` if the connector is not analogue.
    fn take_standard(&self) -> Result<Option<Standard>, Fault> {
        analogue_io::follow_standard(self.node.fd()).map_err(|errno| self.busy_or("VIDIOC_S_STD", errno))?;
        Ok(analogue_io::look_analogue(self.node.fd()).and_then(|found| found.standard))
    }

    /// Makes what is on the cable what the driver works with; `None` if it is no receiver.
    fn take_timings(&self) -> Result<Option<Timings>, Fault> {
        let timings = match self.node.timings() {
            Ok(timings) => timings,
            Err(errno) if format::verdict(errno) == Signal::Locked => return Ok(None),
            Err(errno) => return Err(failed("VIDIOC_QUERY_DV_TIMINGS", errno)),
        };
        let seen = format::timings(&calls::bt(&timings));
        match self.node.set_timings(timings) {
            Ok(()) => Ok(Some(seen)),
            Err(Errno::EINVAL | Errno::ERANGE) => Err(Fault::Refused(seen.to_string())),
            Err(errno) => Err(self.busy_or("VIDIOC_S_DV_TIMINGS", errno)),
        }
    }

    /// All that the device can deliver now. A receiver has one size, its signal's; a camera has many, each with its rates.
    fn offers(&self, timings: Option<Timings>) -> Vec<Offer> {
        let formats = self.node.formats();
        match timings {
            Some(Timings { width, height, rate, .. }) => {
                formats.into_iter().map(|fourcc| Offer { fourcc, width, height, rate }).collect()
            }
            None => formats.into_iter().flat_map(|fourcc| self.camera_offers(fourcc)).collect(),
        }
    }

    fn camera_offers(&self, fourcc: [u8; 4]) -> Vec<Offer> {
        let code = v4l::FourCC::new(&fourcc);
        let sizes = self.node.device().enum_framesizes(code).unwrap_or_default();
        let mut sizes: Vec<(u32, u32)> = sizes.iter().flat_map(|size| extremes(&size.size)).collect();
        if sizes.is_empty() {
            sizes.extend(self.node.format().ok().map(|layout| (layout.width, layout.height)));
        }
        let rates = |(width, height): (u32, u32)| {
            let intervals = self.node.device().enum_frameintervals(code, width, height).unwrap_or_default();
            let mut rates: Vec<Rate> = intervals.iter().flat_map(|interval| fastest(&interval.interval)).collect();
            if rates.is_empty() {
                rates.push(self.told_rate());
            }
            rates.into_iter().map(move |rate| Offer { fourcc, width, height, rate })
        };
        sizes.into_iter().flat_map(rates).collect()
    }

    fn set_format(&self, offer: &Offer) -> Result<Layout, Fault> {
        let Offer { fourcc, width, height, rate } = *offer;
        let layout = self.node.set_format(fourcc, width, height).map_err(|errno| self.busy_or("VIDIOC_S_FMT", errno))?;
        if layout.fourcc != fourcc {
            let (asked, got) =
                (String::from_utf8_lossy(&fourcc).into_owned(), String::from_utf8_lossy(&layout.fourcc).into_owned());
            return Err(Fault::Unusable(format!(
                "{} offers {asked} and then gives {got}; it cannot be used",
                self.path.display()
            )));
        }
        if rate.numerator > 0 {
            // A receiver's rate is its signal's, and it refuses; a camera takes the nearest that it has.
            let _ = self.node.set_frame_interval(rate.denominator, rate.numerator);
        }
        Ok(layout)
    }

    fn rate(&self, offer: &Offer) -> Rate {
        let told = self.told_rate();
        if told.numerator > 0 { told } else { offer.rate }
    }

    fn told_rate(&self) -> Rate {
        let told = self.node.frame_interval();
        told.map_or(Rate::default(), |(numerator, denominator)| Rate { numerator: denominator, denominator: numerator })
    }

    /// How many buffers to lend to the program; `None` if its pictures are converted or copied.
    fn lent_buffers(&self, native: &Native, wanted: &Wanted) -> Option<u32> {
        let wanted = wanted.lend.as_ref()?;
        match lend::obstacle(native, &wanted.format) {
            None => Some(lend::buffers(wanted)),
            Some(why) => {
                tracing::info!("{}: no picture goes to the encoder without a copy: {why}", self.path.display());
                None
            }
        }
    }

    fn start_stream(&mut self, lent: Option<u32>) -> Result<(), Fault> {
        let pool = Pool::new(&self.node, &self.path, lent).map_err(|(call, errno)| self.busy_or(call, errno))?;
        self.node.stream_on().map_err(|errno| self.busy_or("VIDIOC_STREAMON", errno))?;
        self.stream = Some(pool);
        Ok(())
    }

    fn take(&self, pool: &Pool) -> Result<Wake, Fault> {
        let filled = match self.node.dequeue() {
            Ok(filled) => filled,
            Err(Errno::EAGAIN) => return Ok(Wake::Nothing),
            Err(errno) => return Err(failed("VIDIOC_DQBUF", errno)),
        };
        let Some(buffer) = pool.lend(filled.index, filled.bytes) else { return Ok(Wake::Nothing) };
        Ok(Wake::Picture(Picture {
            time: stamp(&filled),
            flawed: filled.flags & sys::V4L2_BUF_FLAG_ERROR != 0 || filled.bytes == 0,
            field: field(filled.field),
            spare: pool.exports().is_some_and(|(granted, lent)| lend::may_keep(granted, lent)),
            buffer,
        }))
    }

    fn busy_or(&self, call: &'static str, errno: Errno) -> Fault {
        match errno {
            Errno::EBUSY => Fault::Busy(self.path.display().to_string()),
            errno => failed(call, errno),
        }
    }

    fn unusable(&self, offers: &[Offer]) -> Fault {
        let mut names: Vec<String> = offers.iter().map(|offer| String::from_utf8_lossy(&offer.fourcc).into_owned()).collect();
        names.dedup();
        let device = self.path.display();
        Fault::Unusable(match names.is_empty() {
            true => format!("{device} offers no pictures at all; it is no capture device, or its driver is faulty"),
            false => format!("{device} offers nothing that can be used here, only {}", names.join(", ")),
        })
    }
}

fn opening(device: &Path, errno: Errno) -> Fault {
    let name = device.display().to_string();
    match errno {
        Errno::ENOENT | Errno::ENODEV | Errno::ENXIO | Errno::ELOOP | Errno::ENOTDIR => Fault::Absent(name),
        Errno::EBUSY => Fault::Busy(name),
        Errno::EACCES | Errno::EPERM => {
            Fault::Unusable(format!("{name} may not be opened; the daemon's user must be in the group that owns it (video)"))
        }
        errno => failed("open", errno),
    }
}

fn failed(call: &'static str, errno: Errno) -> Fault {
    match errno {
        Errno::ENODEV | Errno::ENXIO => Fault::Gone,
        errno => Fault::Driver { call, cause: errno.desc().into() },
    }
}

fn stamp(filled: &Filled) -> Option<Duration> {
    let monotonic = filled.flags & sys::V4L2_BUF_FLAG_TIMESTAMP_MASK == sys::V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
    (monotonic && !filled.time.is_zero()).then_some(filled.time)
}

fn field(field: u32) -> Option<Field> {
    match field {
        sys::v4l2_field_V4L2_FIELD_TOP => Some(Field::Top),
        sys::v4l2_field_V4L2_FIELD_BOTTOM => Some(Field::Bottom),
        _ => None,
    }
}

/// The sizes of an enumeration: each one, or the ends and the usual ones of a range.
fn extremes(size: &FrameSizeEnum) -> Vec<(u32, u32)> {
    const USUAL: [(u32, u32); 5] = [(640, 360), (640, 480), (1280, 720), (1920, 1080), (3840, 2160)];
    match size {
        FrameSizeEnum::Discrete(size) => vec![(size.width, size.height)],
        FrameSizeEnum::Stepwise(range) => {
            let fits = |(width, height): &(u32, u32)| {
                (range.min_width..=range.max_width).contains(width) && (range.min_height..=range.max_height).contains(height)
            };
            let ends = [(range.min_width, range.min_height), (range.max_width, range.max_height)];
            USUAL.into_iter().filter(fits).chain(ends).collect()
        }
    }
}

fn fastest(interval: &FrameIntervalEnum) -> Option<Rate> {
    let shortest = match interval {
        FrameIntervalEnum::Discrete(interval) => interval,
        FrameIntervalEnum::Stepwise(range) => &range.min,
    };
    (shortest.numerator > 0).then_some(Rate { numerator: shortest.denominator, denominator: shortest.numerator })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_there_is_absent_and_its_sentence_says_what_to_do() {
        let fault =
            opening(Path::new("/dev/onair/never"), Node::open(Path::new("/dev/onair/never")).err().expect("there is none"));
        assert_eq!(fault.to_string(), "/dev/onair/never is not there; plug the capture device in, or correct `device`");
    }
}
