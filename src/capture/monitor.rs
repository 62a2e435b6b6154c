//! The shell of [`watch`](super::watch): looks at an input's pictures and listens to its sound on the threads that bring them,
//! and puts what changes into the status.
//!
//! It keeps no picture and waits for nobody: its locks are its input's own, held for a look and never over I/O.

use std::sync::{Arc, Mutex};

use crate::capture::watch::{Luma, PictureWatch, Sight, SoundWatch};
use crate::config::Watch;
use crate::media::raw::{Frame, RawFormat};
use crate::report::Report;
use crate::status;
use crate::units::MediaTime;

/// A handle on one input's watch; clones share it.
#[derive(Clone)]
pub struct Monitor {
    pictures: Arc<Mutex<Told<PictureWatch, Sight>>>,
    sound: Arc<Mutex<Told<SoundWatch, bool>>>,
    watch: Watch,
    format: RawFormat,
    stride: usize,
    report: Report<status::Input>,
}

/// A rule, and what was told of it last.
struct Told<R, F> {
    rule: R,
    told: F,
}

impl Monitor {
    pub fn new(watch: &Watch, format: RawFormat, report: Report<status::Input>) -> Self {
        let pictures = Told { rule: PictureWatch::new(watch), told: Sight::default() };
        let sound = Told { rule: SoundWatch::new(watch), told: false };
        let stride = format.layout().stride()[0] as usize;
        let (pictures, sound) = (Arc::new(Mutex::new(pictures)), Arc::new(Mutex::new(sound)));
        Self { pictures, sound, watch: watch.clone(), format, stride, report }
    }

    /// Looks at a picture of the program's format, or lets it pass if the last one looked at is not old.
    pub fn see(&self, frame: &Frame) {
        let mut pictures = self.pictures.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !pictures.rule.is_due(frame.time) {
            return;
        }
        let Ok(data) = frame.buffer.map_readable() else { return };
        let (width, height) = (self.format.width as usize, self.format.height as usize);
        let sight = pictures.rule.look(&Luma { data: &data, stride: self.stride, width, height }, frame.time);
        if std::mem::replace(&mut pictures.told, sight) != sight {
            self.report.update(|input| (input.frozen, input.black) = (sight.frozen, sight.black));
        }
    }

    /// No picture comes any more: what was found of the last ones is over.
    pub fn blind(&self) {
        let mut pictures = self.pictures.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        pictures.rule = PictureWatch::new(&self.watch);
        if std::mem::take(&mut pictures.told) != Sight::default() {
            self.report.update(|input| (input.frozen, input.black) = (false, false));
        }
    }

    /// Listens to interleaved samples whose first is due at `time`.
    pub fn hear(&self, time: MediaTime, samples: &[i16]) {
        let mut sound = self.sound.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !sound.rule.is_on() {
            return;
        }
        let silent = sound.rule.hear(samples, time);
        if std::mem::replace(&mut sound.told, silent) != silent {
            self.report.update(|input| input.silent = silent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::raw::Pixels;
    use crate::status::Status;
    use crate::units::FrameRate;
    use gstreamer as gst;
    use std::time::Duration;
    use tokio::sync::watch;

    #[test]
    fn what_is_found_stands_in_the_status_until_it_is_over() {
        gst::init().unwrap();
        let status = watch::Sender::new(Status { inputs: vec![status::Input::default()], ..Status::default() });
        let format = RawFormat { width: 64, height: 36, framerate: FrameRate::new(25, 1).unwrap(), pixels: Pixels::Nv12 };
        let second = Some(Duration::from_secs(1));
        let watch = Watch { frozen: second, black: second, silence: second, ..Watch::default() };
        let monitor = Monitor::new(&watch, format, Report::new(&status, |status| &mut status.inputs[0]));
        let mut index = 0;
        let mut play = |luma: &dyn Fn(u64) -> u8, sample: i16| {
            for _ in 0..75 {
                let time = format.framerate.time_of(index);
                let buffer = gst::Buffer::from_slice(vec![luma(index); format.layout().size()]);
                monitor.see(&Frame { time, buffer });
                monitor.hear(time, &[sample; 3840]);
                index += 1;
            }
            let input = status.borrow().inputs[0].clone();
            (input.frozen, input.black, input.silent)
        };
        assert_eq!(play(&|index| 40 + (index % 100) as u8, 5_000), (false, false, false));
        assert_eq!(play(&|_| 120, 0), (true, false, true));
        assert_eq!(play(&|_| 17, 1), (true, true, true));
        assert_eq!(play(&|index| 40 + (index % 100) as u8, 5_000), (false, false, false));
        assert_eq!(play(&|_| 120, 5_000), (true, false, false));
        monitor.blind();
        assert!(!status.borrow().inputs[0].frozen);
    }
}
