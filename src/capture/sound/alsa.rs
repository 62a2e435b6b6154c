//! The ALSA shell: sound devices as `libasound` has them, by name, with the kernel's own time stamps.
//!
//! The device is opened as it is: its own rate, channels and sample format, nothing converted behind our back (`hw:` and
//! `plughw:` alike: resampling is switched off), so that a rate that follows an HDMI source is seen when it is opened anew. A block's
//! time is that of the last movement of the hardware's pointer, less what was captured since the first sample that waits: one
//! call of the kernel gives both. Numbers of cards are never asked for.

use std::time::Duration;

use alsa::pcm::{Access, Format, HwParams, PCM, TstampType};
use alsa::{Direction, Output, ValueOr};
use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};

use crate::capture::sound::card::{Fault, Native, SoundCard, SoundCards, Wake};
use crate::media::raw::{CHANNELS, SAMPLE_RATE};

/// How often the device wakes us.
const PERIOD: Duration = Duration::from_millis(10);

/// How much the device keeps if we are late: a busy machine's hiccup.
const BUFFER: Duration = Duration::from_millis(500);

/// A time stamp that differs from now by more is not of our clock.
const MOST_OFF: Duration = Duration::from_secs(10);

/// Formats that are understood, the cheapest first.
const FORMATS: [(Format, Width); 4] =
    [(Format::S16LE, Width::Two), (Format::S32LE, Width::Four), (Format::S24LE, Width::Low), (Format::S243LE, Width::Three)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Two,
    Three,
    /// Three bytes of four.
    Low,
    Four,
}

pub struct Alsa;

impl SoundCards for Alsa {
    fn open(&self, name: &str) -> Result<Box<dyn SoundCard>, Fault> {
        // What libasound would write to stderr goes into a buffer that is dropped at the next opening.
        let _quiet = Output::local_error_handler();
        let pcm = PCM::new(name, Direction::Capture, true).map_err(|error| opening(error, name))?;
        Ok(Box::new(Device { pcm, native: Native { rate_hz: SAMPLE_RATE, channels: 2 }, width: Width::Two, bytes: Vec::new() }))
    }
}

struct Device {
    /// Closed when it is dropped.
    pcm: PCM,
    native: Native,
    width: Width,
    bytes: Vec<u8>,
}

impl SoundCard for Device {
    fn start(&mut self) -> Result<Native, Fault> {
        self.stop();
        (self.native, self.width) = self.agree()?;
        self.stamp().map_err(driver)?;
        self.pcm.start().map_err(driver)?;
        Ok(self.native)
    }

    fn read(&mut self, limit: Duration, samples: &mut Vec<f32>) -> Result<Wake, Fault> {
        match self.try_read(limit, samples) {
            Ok(wake) => Ok(wake),
            Err(error) => match Errno::from_raw(error.errno()) {
                Errno::EAGAIN | Errno::EINTR => Ok(Wake::Nothing),
                Errno::EPIPE => {
                    self.pcm.prepare().and_then(|()| self.pcm.start()).map_err(driver)?;
                    Ok(Wake::Overrun)
                }
                // Suspended and in a wrong state included: what is opened anew is right again.
                _ => Err(driver(error)),
            },
        }
    }

    fn stop(&mut self) {
        let _ = self.pcm.drop();
        let _ = self.pcm.hw_free();
    }
}

impl Device {
    /// Takes what the device likes best; 48 kHz if it has the choice.
    fn agree(&self) -> Result<(Native, Width), Fault> {
        let params = HwParams::any(&self.pcm).map_err(driver)?;
        params.set_rate_resample(false).and_then(|()| params.set_access(Access::RWInterleaved)).map_err(driver)?;
        let format = FORMATS.into_iter().find(|(format, _)| params.test_format(*format).is_ok());
        let unusable =
            || Fault::Unusable("the sound device has no PCM format of 16, 24 or 32 bits; choose another `audio`".into());
        let (format, width) = format.ok_or_else(unusable)?;
        params.set_format(format).map_err(driver)?;
        params.set_channels_near(CHANNELS as u32).map_err(driver)?;
        params.set_rate_near(SAMPLE_RATE, ValueOr::Nearest).map_err(driver)?;
        params.set_period_time_near(PERIOD.as_micros() as u32, ValueOr::Nearest).map_err(driver)?;
        params.set_buffer_time_near(BUFFER.as_micros() as u32, ValueOr::Nearest).map_err(driver)?;
        self.pcm.hw_params(&params).map_err(driver)?;
        let (rate_hz, channels) = (params.get_rate().map_err(driver)?, params.get_channels().map_err(driver)?.max(1));
        Ok((Native { rate_hz, channels }, width))
    }

    /// Time stamps of CLOCK_MONOTONIC; wakes once per period.
    fn stamp(&self) -> alsa::Result<()> {
        let params = self.pcm.sw_params_current()?;
        params.set_tstamp_mode(true)?;
        params.set_tstamp_type(TstampType::Monotonic)?;
        params.set_avail_min(self.pcm.hw_params_current()?.get_period_size()?)?;
        self.pcm.sw_params(&params)
    }

    fn try_read(&mut self, limit: Duration, samples: &mut Vec<f32>) -> alsa::Result<Wake> {
        samples.clear();
        if !self.pcm.wait(Some(limit.as_millis() as u32))? {
            return Ok(Wake::Nothing);
        }
        let status = self.pcm.status()?;
        let stamp = status.get_htstamp();
        let moved = Duration::new(stamp.tv_sec.max(0) as u64, stamp.tv_nsec.max(0) as u32);
        let waiting = status.get_avail().max(0) as usize;
        let behind = Duration::from_secs_f64(status.get_delay().max(0) as f64 / f64::from(self.native.rate_hz));
        self.bytes.resize(self.pcm.frames_to_bytes(waiting as i64) as usize, 0);
        let frames = self.pcm.io_bytes().readi(&mut self.bytes)?;
        let read = self.pcm.frames_to_bytes(frames as i64) as usize;
        decode(self.width, &self.bytes[..read], samples);
        match frames {
            0 => Ok(Wake::Nothing),
            _ => Ok(Wake::Sound(plausible(moved, now()).saturating_sub(behind))),
        }
    }
}

/// The stamp, or the time now for drivers and plugins that give none of our clock.
fn plausible(stamp: Duration, now: Duration) -> Duration {
    if stamp.abs_diff(now) < MOST_OFF { stamp } else { now }
}

fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

fn decode(width: Width, bytes: &[u8], samples: &mut Vec<f32>) {
    let high = |bytes: [u8; 4]| i32::from_le_bytes(bytes) as f32 / 2f32.powi(31);
    match width {
        Width::Two => samples.extend(bytes.as_chunks().0.iter().map(|&[a, b]| high([0, 0, a, b]))),
        Width::Three => samples.extend(bytes.as_chunks().0.iter().map(|&[a, b, c]| high([0, a, b, c]))),
        Width::Low => samples.extend(bytes.as_chunks().0.iter().map(|&[a, b, c, _]| high([0, a, b, c]))),
        Width::Four => samples.extend(bytes.as_chunks().0.iter().map(|&bytes| high(bytes))),
    }
}

fn opening(error: alsa::Error, name: &str) -> Fault {
    match Errno::from_raw(error.errno()) {
        Errno::ENOENT | Errno::ENODEV | Errno::ENXIO => Fault::Absent(name.into()),
        Errno::EBUSY => Fault::Busy(name.into()),
        _ => driver(error),
    }
}

fn driver(error: alsa::Error) -> Fault {
    let errno = Errno::from_raw(error.errno());
    match errno {
        Errno::ENODEV | Errno::ENXIO => Fault::Gone,
        _ => Fault::Driver { call: error.func().into(), cause: errno.desc().into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_scale_is_one_in_every_format() {
        for (width, bytes) in [
            (Width::Two, vec![0, 0x80, 0, 0x40]),
            (Width::Three, vec![0, 0, 0x80, 0, 0, 0x40]),
            (Width::Low, vec![0, 0, 0x80, 9, 0, 0, 0x40, 0]),
            (Width::Four, vec![0, 0, 0, 0x80, 0, 0, 0, 0x40]),
        ] {
            let mut samples = Vec::new();
            decode(width, &bytes, &mut samples);
            assert_eq!(samples, [-1.0, 0.5], "{width:?}");
        }
    }

    #[test]
    fn stamps_of_another_clock_are_not_believed() {
        let second = Duration::from_secs;
        assert_eq!(plausible(second(99), second(100)), second(99));
        assert_eq!(plausible(second(1_700_000_000), second(100)), second(100));
        assert_eq!(plausible(Duration::ZERO, second(100)), second(100));
    }

    /// The one device that there is everywhere: it shows that the way through opening, agreement and start is right; it has no clock.
    #[test]
    fn the_null_device_opens_and_starts() {
        let mut device = Alsa.open("null").expect("ALSA's null device");
        assert_eq!(device.start(), Ok(Native { rate_hz: SAMPLE_RATE, channels: 2 }));
        let (mut samples, mut came) = (Vec::new(), 0);
        for _ in 0..3 {
            came += usize::from(matches!(device.read(PERIOD, &mut samples), Ok(Wake::Sound(_))));
            assert!(samples.len() % 2 == 0 && samples.iter().all(|sample| *sample == 0.0));
        }
        assert!(came > 0, "the null device always has samples");
        device.stop();
        assert!(device.start().is_ok());
    }

    #[test]
    fn a_card_that_is_not_there_is_told_by_its_name() {
        let fault = Alsa.open("hw:CARD=NoSuchCard").err().expect("no such card");
        assert_eq!(fault, Fault::Absent("hw:CARD=NoSuchCard".into()));
        assert!(fault.to_string().contains("arecord -L"), "{fault}");
    }
}
