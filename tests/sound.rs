//! The sound of an input over a pretended card, behind the same trait as ALSA's: what stands in the feed afterwards, where and
//! how clean, and what the status says while the card comes, goes and changes.

mod pretended;

use std::collections::VecDeque;
use std::f64::consts::TAU;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use onaird::capture::Port;
use onaird::capture::monitor::Monitor;
use onaird::capture::sound::card::{Fault, Native, SoundCard, SoundCards, Wake};
use onaird::capture::sound::{self, Spec};
use onaird::clock::MediaClock;
use onaird::config::Watch;
use onaird::media::raw::{CHANNELS, Feed, Pixels, RawFormat, SAMPLE_RATE};
use onaird::report::{Events, Report};
use onaird::status::{Input, Sound, SoundState, Status};
use onaird::units::FrameRate;
use pretended::Slot;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// As far behind the newest sound as a program is.
const LATENCY: Duration = Duration::from_millis(200);

/// Left, to be heard; right, so slow that its phase tells the place within ±20 ms.
const HZ: [f64; CHANNELS] = [1000.0, 25.0];

/// What a pretended card does, one after the other.
#[derive(Clone, Debug)]
enum Act {
    /// Opening fails so.
    Refuse(Fault),
    /// Runs for so many seconds of its own time, as fast as it is read.
    Play { rate_hz: u32, ppm: f64, jitter_s: f64, seconds: f64 },
    /// So many seconds of samples are lost in an overrun.
    Lose(f64),
    /// Nothing comes, for so many looks.
    Still(usize),
    /// Reading fails so.
    Fail(Fault),
}

/// All pretended cards of a test: their script, their clock, what the program would have read.
struct Stage {
    acts: Mutex<VecDeque<Act>>,
    feed: Feed,
    /// CLOCK_MONOTONIC at the program's epoch.
    epoch_s: f64,
    /// On the program's time line: runs with the samples, not with the world.
    time_s: Mutex<f64>,
    heard: Mutex<Vec<i16>>,
    open: AtomicUsize,
    opened: AtomicUsize,
    over: Condvar,
}

impl Stage {
    fn next(&self) -> Option<Act> {
        let mut acts = self.acts.lock().unwrap();
        let act = acts.pop_front();
        self.over.notify_all();
        act
    }

    /// Reads on as the program does: everything up to its latency behind.
    fn hear(&self, until_s: f64) {
        let mut heard = self.heard.lock().unwrap();
        let from = heard.len() / CHANNELS;
        let until = ((until_s - LATENCY.as_secs_f64()) * f64::from(SAMPLE_RATE)).max(0.0) as usize;
        let mut samples = vec![0; until.saturating_sub(from) * CHANNELS];
        self.feed.read_sound(from as u64, &mut samples);
        heard.extend(samples);
    }
}

struct Cards(Arc<Stage>);

impl SoundCards for Cards {
    fn open(&self, name: &str) -> Result<Box<dyn SoundCard>, Fault> {
        assert_eq!(name, "hw:CARD=Pretended");
        let act = match self.0.acts.lock().unwrap().front() {
            None => return Err(Fault::Absent(name.into())),
            Some(Act::Refuse(fault)) => Some(fault.clone()),
            Some(_) => None,
        };
        if let Some(fault) = act {
            self.0.next();
            return Err(fault);
        }
        assert_eq!(self.0.open.fetch_add(1, Ordering::SeqCst), 0, "the last one was not closed");
        self.0.opened.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Pretended { stage: self.0.clone(), played_s: 0.0, seed: 1 }))
    }
}

struct Pretended {
    stage: Arc<Stage>,
    /// Of the present act.
    played_s: f64,
    seed: u32,
}

impl Drop for Pretended {
    fn drop(&mut self) {
        self.stage.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl SoundCard for Pretended {
    fn start(&mut self) -> Result<Native, Fault> {
        let acts = self.stage.acts.lock().unwrap();
        let rate = acts.iter().find_map(|act| if let Act::Play { rate_hz, .. } = act { Some(*rate_hz) } else { None });
        Ok(Native { rate_hz: rate.unwrap_or(48_000), channels: 2 })
    }

    fn read(&mut self, limit: Duration, samples: &mut Vec<f32>) -> Result<Wake, Fault> {
        let act = self.stage.acts.lock().unwrap().front().cloned();
        match act {
            Some(Act::Play { rate_hz, ppm, jitter_s, seconds }) if self.played_s < seconds => {
                Ok(Wake::Sound(self.block(f64::from(rate_hz) * (1.0 + ppm * 1e-6), jitter_s, samples)))
            }
            Some(Act::Fail(fault)) => {
                self.stage.next();
                Err(fault)
            }
            Some(Act::Lose(seconds)) => {
                self.stage.next();
                *self.stage.time_s.lock().unwrap() += seconds;
                Ok(Wake::Overrun)
            }
            Some(Act::Still(looks)) => {
                let left = looks.checked_sub(1).map(Act::Still);
                let mut acts = self.stage.acts.lock().unwrap();
                acts.pop_front();
                left.into_iter().for_each(|left| acts.push_front(left));
                drop(self.stage.over.wait_timeout(acts, limit));
                Ok(Wake::Nothing)
            }
            Some(_) => {
                self.played_s = 0.0;
                self.stage.next();
                Ok(Wake::Nothing)
            }
            None => {
                drop(self.stage.over.wait_timeout(self.stage.acts.lock().unwrap(), limit));
                Ok(Wake::Nothing)
            }
        }
    }

    fn stop(&mut self) {}
}

impl Pretended {
    /// Ten milliseconds, as a card with this true rate takes them up.
    fn block(&mut self, hz: f64, jitter_s: f64, samples: &mut Vec<f32>) -> Duration {
        let frames = (hz / 100.0).round();
        let mut time_s = self.stage.time_s.lock().unwrap();
        samples.clear();
        for place in 0..frames as usize {
            let at_s = *time_s + place as f64 / hz;
            samples.extend(HZ.map(|tone| ((at_s * tone * TAU).sin() * 0.5) as f32));
        }
        self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let jitter_s = jitter_s * (f64::from(self.seed >> 8) / f64::from(1 << 24) - 0.5);
        let stamp = Duration::from_secs_f64(self.stage.epoch_s + *time_s + jitter_s);
        *time_s += frames / hz;
        self.played_s += frames / hz;
        self.stage.hear(*time_s);
        stamp
    }
}

struct Bench {
    stage: Arc<Stage>,
    status: watch::Sender<Status>,
    stop: CancellationToken,
    run: JoinHandle<Result<(), onaird::capture::Error>>,
}

fn start(acts: impl IntoIterator<Item = Act>) -> Bench {
    gstreamer::init().unwrap();
    let clock = MediaClock::start();
    let status = watch::Sender::new(Status { inputs: vec![Input::default()], ..Status::default() });
    let format = RawFormat { width: 320, height: 180, framerate: FrameRate::new(30, 1).unwrap(), pixels: Pixels::I420 };
    let port = Port {
        name: "camera".into(),
        format,
        feed: Feed::new(LATENCY),
        clock: clock.clone(),
        report: Report::new(&status, |status| &mut status.inputs[0]),
        events: Events::new(&status, clock.clone()),
        cards: Arc::new(Slot::new()),
        lends: false,
        monitor: Monitor::new(&Watch::default(), format, Report::new(&status, |status| &mut status.inputs[0])),
    };
    let stage = Arc::new(Stage {
        acts: Mutex::new(acts.into_iter().collect()),
        feed: port.feed.clone(),
        epoch_s: Duration::from_nanos(clock.epoch().nseconds()).as_secs_f64(),
        time_s: Mutex::new(1.0),
        heard: Mutex::default(),
        open: AtomicUsize::new(0),
        opened: AtomicUsize::new(0),
        over: Condvar::new(),
    });
    let stop = CancellationToken::new();
    let spec = Spec { name: "hw:CARD=Pretended".into(), beside: Box::new(|| None) };
    let run = tokio::spawn(sound::run(Arc::new(Cards(stage.clone())), spec, port, stop.clone()));
    Bench { stage, status, stop, run }
}

impl Bench {
    /// Waits, with a generous limit, until the sound's status is so.
    async fn until(&self, what: &str, mut condition: impl FnMut(&Sound) -> bool) -> Sound {
        let mut watched = self.status.subscribe();
        let fits = |status: &Status| status.inputs[0].sound.as_ref().is_some_and(&mut condition);
        let waited = tokio::time::timeout(Duration::from_secs(60), watched.wait_for(fits)).await;
        match waited {
            Ok(status) => status.unwrap().inputs[0].sound.clone().unwrap(),
            Err(_) => panic!("{what} did not come: {:#?}", self.status.borrow().inputs[0].sound),
        }
    }

    /// Waits until the script is played to its end.
    async fn until_played(&self) {
        let stage = self.stage.clone();
        let waiting = tokio::task::spawn_blocking(move || {
            let acts = stage.acts.lock().unwrap();
            let limit = Duration::from_secs(120);
            let (acts, waited) = stage.over.wait_timeout_while(acts, limit, |acts| !acts.is_empty()).unwrap();
            assert!(!waited.timed_out(), "the script was not played: {:?}", *acts);
        });
        waiting.await.unwrap();
    }

    async fn end(self) -> Vec<i16> {
        self.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(30), self.run).await;
        ended.expect("it ends when it is told to").unwrap().unwrap();
        assert_eq!(self.stage.open.load(Ordering::SeqCst), 0, "a card was left open");
        std::mem::take(&mut *self.stage.heard.lock().unwrap())
    }

    fn events(&self) -> String {
        self.status.borrow().events.iter().map(|event| event.text.clone() + "\n").collect()
    }
}

/// One channel in full scale.
fn channel(heard: &[i16], channel: usize) -> Vec<f64> {
    heard.iter().skip(channel).step_by(CHANNELS).map(|sample| f64::from(*sample) / 32_768.0).collect()
}

/// How much later than the program's time the slow tone stands in the 0.2 s from here on, in milliseconds; none where it is not heard.
fn late_ms(tone: &[f64], from: usize) -> Option<f64> {
    let window = tone.get(from..from + 9600)?;
    let angle = |place: usize| (from + place) as f64 / f64::from(SAMPLE_RATE) * HZ[1] * TAU;
    let sum = |wave: fn(f64) -> f64| window.iter().enumerate().map(|(place, x)| x * wave(angle(place))).sum::<f64>();
    let (sine, cosine) = (sum(f64::sin) * 2.0 / 9600.0, sum(f64::cos) * 2.0 / 9600.0);
    (sine.hypot(cosine) > 0.4).then(|| (-cosine).atan2(sine) / TAU / HZ[1] * 1000.0)
}

fn sharpest(tone: &[f64]) -> f64 {
    tone.windows(3).map(|x| (x[0] - 2.0 * x[1] + x[2]).abs()).fold(0.0, f64::max)
}

/// Where the tone begins for good.
fn begin(tone: &[f64]) -> usize {
    tone.iter().position(|x| x.abs() > 0.0).expect("something is heard")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_off_is_heard_by_nobody() {
    for ppm in [200.0, -200.0] {
        let bench = start([Act::Play { rate_hz: 48_000, ppm, jitter_s: 0.006, seconds: 60.0 }]);
        bench.until_played().await;
        let sound = bench.until("the figures", |sound| sound.drift_ppm.is_some_and(|found| (found - ppm).abs() < 10.0)).await;
        assert_eq!((sound.state, sound.rate_hz, sound.resets), (SoundState::Running, 48_000, 0));
        assert!(sound.offset_ms.is_some_and(|offset| offset.abs() < 1.0), "{sound:?}");
        assert_eq!((&sound.peak_dbfs[..], &sound.rms_dbfs[..]), (&[-6.0, -6.0][..], &[-9.0, -9.0][..]));
        assert!((sound.loudness_lufs + 10.0).abs() < 2.0 && sound.silent_s == 0.0, "{sound:?}");
        let heard = bench.end().await;
        let (tone, slow) = (channel(&heard, 0), channel(&heard, 1));
        let begin = begin(&tone);
        assert!((1.2..1.3).contains(&(begin as f64 / 48_000.0)), "heard after a moment's listening: {begin}");
        // From the fade-in to the end not one missing sample, not one click: the sine's own sharpness and the rounding.
        let limit = 0.5 * (TAU / 48.0).powi(2) + 1e-4;
        assert!(sharpest(&tone[begin + 480..]) <= limit, "{} of {limit}", sharpest(&tone[begin + 480..]));
        let offsets = (begin + 480..slow.len()).step_by(4800).map_while(|from| late_ms(&slow, from));
        let worst = offsets.fold(0f64, |worst, late| worst.max(late.abs()));
        println!("{ppm} ppm: at most {worst:.2} ms off");
        assert!(worst > 0.0 && worst <= 3.0, "{worst} ms");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_that_comes_goes_and_changes_its_rate() {
    let play = |rate_hz| Act::Play { rate_hz, ppm: 50.0, jitter_s: 0.002, seconds: 5.0 };
    let busy = Fault::Busy("hw:CARD=Pretended".into());
    let suspended = Fault::Driver { call: "snd_pcm_wait".into(), cause: "suspended".into() };
    let bench = start([]);
    let sound = bench.until("absence", |sound| sound.last_error.is_some()).await;
    assert_eq!((sound.state, sound.rate_hz, sound.offset_ms), (SoundState::NoDevice, 0, None));
    assert!(sound.last_error.unwrap().contains("arecord -L"));
    let acts = [Act::Refuse(busy), play(48_000), Act::Fail(Fault::Gone), play(44_100), Act::Fail(suspended), play(96_000)];
    bench.stage.acts.lock().unwrap().extend(acts);
    bench.until("another's hold", |sound| sound.state == SoundState::Busy).await;
    bench.until("sound", |sound| sound.state == SoundState::Running && sound.last_error.is_none()).await;
    bench.until_played().await;
    bench.until("the last rate", |sound| sound.rate_hz == 96_000 && sound.drift_ppm.is_some()).await;
    let events = bench.events();
    for told in ["is not there", "another program uses", "has gone", "runs at 44100 Hz", "suspended", "runs at 96000 Hz"] {
        assert!(events.contains(told), "no \"{told}\" in\n{events}");
    }
    assert_eq!(bench.stage.opened.load(Ordering::SeqCst), 3);
    let heard = bench.end().await;
    let slow = channel(&heard, 1);
    let mut lives = 0;
    let mut quiet = true;
    for from in (0..slow.len().saturating_sub(9600)).step_by(4800) {
        let late = late_ms(&slow, from);
        // Windows that reach into the silence of a pause tell nothing of the place.
        let whole = slow[from..from + 9600].windows(480).all(|window| window.iter().any(|x| x.abs() > 0.01));
        if let Some(late) = late.filter(|_| whole) {
            assert!(late.abs() <= 3.0, "{late} ms at {from}");
            lives += usize::from(quiet);
        }
        quiet = !whole;
    }
    assert_eq!(lives, 3, "three lives, silence between them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_that_stands_still_is_no_sound_and_is_opened_anew() {
    let play = Act::Play { rate_hz: 48_000, ppm: 0.0, jitter_s: 0.0, seconds: 3.0 };
    let bench = start([play.clone(), Act::Still(33), play]);
    let sound = bench.until("no sound", |sound| sound.state == SoundState::NoSound && sound.silent_s >= 1.0).await;
    assert_eq!((sound.offset_ms, &sound.peak_dbfs[..]), (None, &[-100.0, -100.0][..]));
    let sound = bench.until("the fault", |sound| sound.last_error.is_some()).await;
    assert!(sound.last_error.unwrap().contains("stands still"));
    bench.until_played().await;
    let sound = bench.until("sound", |sound| sound.state == SoundState::Running && sound.down_s == 0).await;
    assert_eq!(sound.last_error, None);
    assert_eq!(bench.stage.opened.load(Ordering::SeqCst), 2);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_overrun_loses_is_silence_and_the_rest_keeps_its_place() {
    let play = Act::Play { rate_hz: 48_000, ppm: -120.0, jitter_s: 0.002, seconds: 4.0 };
    let bench = start([play.clone(), Act::Lose(0.15), play.clone(), Act::Lose(0.1), play]);
    bench.until_played().await;
    bench.until("two losses", |sound| sound.resets == 2).await;
    let events = bench.events();
    assert!(events.contains("ms of sound were lost"), "{events}");
    let heard = bench.end().await;
    let (tone, slow) = (channel(&heard, 0), channel(&heard, 1));
    let begin = begin(&tone);
    // Shorter than the program's latency: it has not read past the hole before the hole is known.
    let silent = tone[begin..].windows(480).filter(|window| window.iter().all(|x| *x == 0.0)).count();
    let lost = f64::from(SAMPLE_RATE) * 0.25;
    assert!((silent as f64 - lost).abs() < 2000.0, "{silent} of {lost}");
    assert!(sharpest(&tone[begin + 480..]) < 0.5 * TAU / 48.0, "no cut: {}", sharpest(&tone[begin + 480..]));
    let last = late_ms(&slow, slow.len() - 9600).expect("heard to the end");
    assert!(last.abs() < 2.0, "{last} ms");
}
