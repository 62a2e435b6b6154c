//! A capture card that is only pretended: the test is the camera, the cable and the driver. It sits behind the same seam as the real
//! one, keeps real time, and counts what it has lent out.
#![allow(dead_code, reason = "each test uses its own part of the card")]
#![allow(clippy::disallowed_methods, reason = "the pretended driver keeps real time")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use gstreamer as gst;
use onaird::capture::card::{Card, Cards, Fault, Look, Picture, Seat, Wake, Wanted};
use onaird::capture::native::{Matrix, Native, Range, Rate, Scan, Timings};
use onaird::status::Signal;

/// What is on the cable, and what the driver will do.
pub struct Cable {
    pub plugged: bool,
    pub signal: Signal,
    pub timings: Option<Timings>,
    /// Pictures come; also without a signal, as some cards do.
    pub flowing: bool,
    pub flawed: bool,
    /// Another program has the device.
    pub busy: bool,
    /// The next call of this kind fails.
    pub fail_start: bool,
    pub fail_wait: bool,
    /// Luma of all pictures.
    pub luma: u8,
    /// How often the source has changed.
    changes: u64,
    open: usize,
    starts: usize,
}

/// The place where the card is plugged in; clones are the same place.
#[derive(Clone)]
pub struct Slot {
    cable: Arc<(Mutex<Cable>, Condvar)>,
    lent: Arc<AtomicUsize>,
}

pub fn timings(width: u32, height: u32) -> Timings {
    Timings { width, height, interlaced: false, rate: Rate { numerator: 30, denominator: 1 } }
}

impl Slot {
    /// With a card in it, and a camera that sends 640x480.
    pub fn new() -> Self {
        let cable = Cable {
            plugged: true,
            signal: Signal::Locked,
            timings: Some(timings(640, 480)),
            flowing: true,
            flawed: false,
            busy: false,
            fail_start: false,
            fail_wait: false,
            luma: 180,
            changes: 0,
            open: 0,
            starts: 0,
        };
        Self { cable: Arc::new((Mutex::new(cable), Condvar::new())), lent: Arc::default() }
    }

    /// Changes something; the driver tells of it as real ones do.
    pub fn change(&self, change: impl FnOnce(&mut Cable)) {
        let mut cable = self.cable();
        change(&mut cable);
        cable.changes += 1;
        self.cable.1.notify_all();
    }

    /// Changes something of which the driver says nothing.
    pub fn change_silently(&self, change: impl FnOnce(&mut Cable)) {
        change(&mut self.cable());
    }

    /// Descriptors that are open, in a manner of speaking.
    pub fn open(&self) -> usize {
        self.cable().open
    }

    pub fn starts(&self) -> usize {
        self.cable().starts
    }

    /// Buffers that have not come back.
    pub fn lent(&self) -> usize {
        self.lent.load(Ordering::SeqCst)
    }

    fn cable(&self) -> MutexGuard<'_, Cable> {
        self.cable.0.lock().unwrap()
    }
}

impl Cards for Slot {
    fn open(&self, seat: &Seat) -> Result<Box<dyn Card>, Fault> {
        let mut cable = self.cable();
        if !cable.plugged {
            return Err(Fault::Absent(seat.device.display().to_string()));
        }
        cable.open += 1;
        let (slot, seen) = (self.clone(), cable.changes);
        Ok(Box::new(Pretended { slot, seen, stream: None }))
    }

    fn path(&self, seat: &Seat) -> Option<PathBuf> {
        Some(seat.device.clone())
    }

    fn plugged(&self, seen: &mut u64, limit: Duration) -> bool {
        let before = *seen;
        let waited = self.cable.1.wait_timeout_while(self.cable(), limit, |cable| cable.changes == before);
        *seen = waited.unwrap().0.changes;
        *seen != before
    }
}

struct Pretended {
    slot: Slot,
    /// Changes of the source that were told.
    seen: u64,
    stream: Option<Stream>,
}

struct Stream {
    timings: Timings,
    next: Instant,
}

impl Drop for Pretended {
    fn drop(&mut self) {
        self.slot.cable().open -= 1;
    }
}

impl Card for Pretended {
    fn look(&mut self) -> Result<Look, Fault> {
        let cable = self.slot.cable();
        if !cable.plugged {
            return Err(Fault::Gone);
        }
        let timings = cable.timings.filter(|_| cable.signal == Signal::Locked);
        Ok(Look::new(cable.signal, timings))
    }

    fn start(&mut self, _: &Wanted) -> Result<Native, Fault> {
        let mut cable = self.slot.cable();
        if !cable.plugged {
            return Err(Fault::Gone);
        }
        if cable.busy {
            return Err(Fault::Busy("the pretended card".into()));
        }
        if std::mem::take(&mut cable.fail_start) {
            return Err(Fault::Driver { call: "VIDIOC_STREAMON", cause: "Input/output error".into() });
        }
        cable.starts += 1;
        let timings = cable.timings.unwrap_or(timings(640, 480));
        self.stream = Some(Stream { timings, next: Instant::now() });
        Ok(Native {
            fourcc: *b"YUYV",
            width: timings.width,
            height: timings.height,
            stride: timings.width * 2,
            scan: Scan::Progressive,
            matrix: Matrix::Bt601,
            range: Range::Limited,
            pixel_aspect: (1, 1),
            rate: timings.rate,
        })
    }

    fn wait(&mut self, limit: Duration) -> Result<Wake, Fault> {
        let end = Instant::now() + limit;
        let slot = self.slot.clone();
        let mut cable = slot.cable();
        loop {
            if !cable.plugged {
                return Err(Fault::Gone);
            }
            if self.stream.is_some() && std::mem::take(&mut cable.fail_wait) {
                return Err(Fault::Driver { call: "VIDIOC_DQBUF", cause: "Input/output error".into() });
            }
            if std::mem::replace(&mut self.seen, cable.changes) != cable.changes {
                return Ok(Wake::SourceChange);
            }
            let now = Instant::now();
            let due = self.stream.as_ref().filter(|_| cable.flowing).map(|stream| stream.next);
            if due.is_some_and(|due| due <= now) {
                return Ok(Wake::Picture(self.picture(&cable)));
            }
            if now >= end {
                return Ok(Wake::Nothing);
            }
            let wake = due.map_or(end, |due| due.min(end));
            cable = slot.cable.1.wait_timeout(cable, wake - now).unwrap().0;
        }
    }

    fn stop(&mut self) {
        self.stream = None;
    }
}

impl Pretended {
    fn picture(&mut self, cable: &Cable) -> Picture {
        let stream = self.stream.as_mut().expect("a running stream");
        let now = Instant::now();
        stream.next = (stream.next + Duration::from_millis(33)).max(now);
        let pixels = (stream.timings.width * stream.timings.height) as usize;
        let bytes = [cable.luma, 128].repeat(pixels);
        self.slot.lent.fetch_add(1, Ordering::SeqCst);
        let buffer = gst::Buffer::from_slice(Lent { bytes, count: self.slot.lent.clone() });
        Picture { time: None, flawed: cable.flawed, field: None, spare: false, buffer }
    }
}

/// A buffer of the pretended driver.
struct Lent {
    bytes: Vec<u8>,
    count: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}
