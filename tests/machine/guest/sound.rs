//! A sine into the loop-back sound card, whose clock can be put wrong: what the daemon records is a source of known pitch.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use alsa::ctl::{Ctl, ElemId, ElemIface, ElemType, ElemValue};
use alsa::pcm::{Access, Format, HwParams, PCM};
use alsa::{Direction, ValueOr};

use crate::support::{LIMIT, now, poll};
use crate::tone;

const OUTPUT: &str = "hw:CARD=Loopback,DEV=0,SUBDEV=0";
const CARD: &str = "hw:CARD=Loopback";

/// The player may be late by so much without a sound missing: it runs on a slow and busy machine.
const AHEAD: i64 = tone::RATE as i64;
const PERIOD: usize = 4800;

/// 100 000 is right; more is slower.
const SHIFT: &CStr = c"PCM Rate Shift 100000";

pub struct Player {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ends: AtomicBool,
    underruns: AtomicU64,
    /// Samples that have left the card, and when.
    played: Mutex<Option<(u64, Instant)>>,
}

impl Player {
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let its = shared.clone();
        let thread = thread::spawn(move || its.play());
        Self { shared, thread: Some(thread) }
    }

    pub fn underruns(&self) -> u64 {
        self.shared.underruns.load(Ordering::Relaxed)
    }

    /// To compare with another moment's, by [`slower_ppm`].
    pub fn played(&self) -> (u64, Instant) {
        poll(LIMIT, || *self.shared.played.lock().unwrap()).expect("something is played")
    }
}

/// How much slower than its rate the card has played in between.
pub fn slower_ppm(from: (u64, Instant), to: (u64, Instant)) -> f64 {
    let due = (to.1 - from.1).as_secs_f64() * f64::from(tone::RATE);
    (1.0 - (to.0 - from.0) as f64 / due) * 1e6
}

impl Drop for Player {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || ended.is_none_or(|ended| ended.is_ok()), "the player fell over");
    }
}

impl Shared {
    fn play(&self) {
        let output = open();
        let writer = output.io_i16().unwrap();
        let mut count = 0;
        while !self.ends.load(Ordering::Relaxed) {
            let samples: Vec<i16> = (count..count + PERIOD as u64).flat_map(|index| [tone::sample(index); 2]).collect();
            match writer.writei(&samples) {
                Ok(written) => count += written as u64,
                Err(error) => {
                    self.underruns.fetch_add(1, Ordering::Relaxed);
                    output.try_recover(error, true).unwrap();
                }
            }
            if let Ok(waiting) = output.delay() {
                *self.played.lock().unwrap() = Some((count.saturating_sub(waiting as u64), now()));
            }
        }
    }
}

fn open() -> PCM {
    let output = PCM::new(OUTPUT, Direction::Playback, false).unwrap();
    let wish = HwParams::any(&output).unwrap();
    wish.set_channels(2).unwrap();
    wish.set_rate(tone::RATE, ValueOr::Nearest).unwrap();
    wish.set_format(Format::s16()).unwrap();
    wish.set_access(Access::RWInterleaved).unwrap();
    wish.set_period_size_near(PERIOD as i64, ValueOr::Nearest).unwrap();
    wish.set_buffer_size_near(AHEAD).unwrap();
    output.hw_params(&wish).unwrap();
    drop(wish);
    output
}

/// Makes the card's clock slower by so many millionths, in steps of ten; on both of its sides, which are one clock's.
pub fn slow_down(ppm: i64) {
    let control = Ctl::new(CARD, false).unwrap();
    for device in [0, 1] {
        let mut id = ElemId::new(ElemIface::PCM);
        id.set_name(SHIFT);
        id.set_device(device);
        let mut value = ElemValue::new(ElemType::Integer).unwrap();
        value.set_id(&id);
        value.set_integer(0, 100_000 + i32::try_from(ppm / 10).unwrap()).unwrap();
        control.elem_write(&value).unwrap();
    }
}
