//! One round's stage: the network, three origins that record, and the daemon, with eyes on what is being recorded. All of it is
//! new in every round, so that no round can suffer from the one before it.
//!
//! Leg `a` has what the scenario gives it; leg `b` has its own origin, is never touched, and is what leg `a` is measured by.

use std::any::Any;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use onaird::demo::origin::{Origin, Ports, Site, Wishes};
use onaird::status::{self, Status};
use tempfile::TempDir;

use super::compare::{Compared, compare, largest_gap};
use super::network::{A, B, Line, Network, SPARE};
use super::recording::Shelf;
use super::sandbox::say;
use super::support::flv::Track;
use super::support::{Daemon, LIMIT, is_live, now, pause};

/// How often the recordings are looked at: the figures are as exact as this.
const LOOK: Duration = Duration::from_millis(2);

/// A frame at 30 per second, and RTMP's rounding to whole milliseconds.
pub const FRAME_MS: i64 = 34;

/// 1024 samples at 48 kHz, likewise.
pub const SOUND_MS: i64 = 22;

/// Media at the preferred origin before a fault.
const WARM_MS: i64 = 4000;

const GOP_MS: i64 = 1000;

/// Stream keys.
pub const KEY_A: &str = "key-of-a";
pub const KEY_B: &str = "key-of-b";

const PROGRAM: &str = "version = 1\n[device]\nname = \"faults\"\n[program]\nwidth = 640\nheight = 360\nframerate = \"30\"\n\
    video_bitrate = \"3M\"\nkeyframe_interval = 1\n[archive]\nenabled = false\n[[input]]\nname = \"test\"\nkind = \"test\"\n";

#[derive(Clone, Copy, Debug)]
pub struct Round {
    pub number: usize,
    pub of: usize,
}

/// How the preferred origin of leg `a` differs from the usual.
#[derive(Clone, Copy, Debug)]
pub struct Preferred {
    /// Its RTMP port: another one if something stands in front of it.
    pub port: u16,
    pub refuses: bool,
}

impl Default for Preferred {
    fn default() -> Self {
        Self { port: 1935, refuses: false }
    }
}

/// What is recorded where, and when it came.
pub struct Sights {
    pub a: Shelf,
    pub spare: Shelf,
    pub b: Shelf,
    /// When leg `b` was seen to grow last, and the longest time in which it was seen not to.
    b_grew: Instant,
    pub b_pause: Duration,
}

/// It comes down in this order, the network last.
pub struct Stage {
    daemon: Option<Daemon>,
    /// What else the scenario needs until the end.
    props: Vec<Box<dyn Any>>,
    pub a: Origin,
    pub spare: Origin,
    pub b: Origin,
    pub sights: Sights,
    /// The recordings of the preferred origin are somebody else's.
    pub a_is_others: bool,
    round: Round,
    /// Between two looks at the recordings.
    pub look_every: Duration,
    _network: Network,
    folder: TempDir,
}

/// What a round has shown.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// From the fault to the first picture recorded at the origin that took over.
    pub back: Option<Duration>,
    pub compared: Option<Compared>,
    /// Largest distances of two neighbours on the other leg.
    pub other_picture_gap_ms: i64,
    pub other_sound_gap_ms: i64,
    /// Longest time in which nothing was recorded of the other leg.
    pub other_pause: Duration,
    pub legs: Vec<status::Leg>,
    pub faults: Vec<String>,
}

impl Stage {
    /// Network and origins; no daemon yet.
    pub fn set(round: Round, preferred: Preferred) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let network = Network::build();
        let origin = |line: Line, Preferred { port, refuses }: Preferred| {
            let site =
                Site { through: line.entry(), address: line.address(), ports: Some(Ports { rtmp: port, http: 8080 }), refuses };
            Origin::start_at(&folder.path().join(line.name), Wishes { hls: false, record: true }, site).unwrap()
        };
        let (a, spare, b) = (origin(A, preferred), origin(SPARE, Preferred::default()), origin(B, Preferred::default()));
        let [shelf_a, shelf_spare, shelf_b] = [(); 3].map(|()| Shelf::default());
        let sights = Sights { a: shelf_a, spare: shelf_spare, b: shelf_b, b_grew: now(), b_pause: Duration::ZERO };
        Self {
            daemon: None,
            props: vec![],
            a,
            spare,
            b,
            sights,
            a_is_others: false,
            round,
            look_every: LOOK,
            _network: network,
            folder,
        }
    }

    /// The usual: leg `a` with its preferred origin and its spare, on air and warm.
    pub fn on_air(round: Round) -> Self {
        let mut stage = Self::set(round, Preferred::default());
        let origins = [origin(A), origin(SPARE)].concat();
        stage.start(&origins);
        stage.warm();
        stage
    }

    pub fn folder(&self) -> PathBuf {
        self.folder.path().into()
    }

    /// Keeps something until the end of the round or [`Self::clear`].
    pub fn keep(&mut self, prop: impl Any) {
        self.props.push(Box::new(prop));
    }

    /// Drops what was kept.
    pub fn clear(&mut self) {
        self.props.clear();
    }

    /// Starts the daemon; `origins`: those of leg `a`, as TOML.
    pub fn start(&mut self, origins: &str) {
        let legs = format!("[[leg]]\nname = \"a\"\n{origins}[[leg]]\nname = \"b\"\n{}", origin(B));
        self.start_legs(&legs);
    }

    pub fn start_legs(&mut self, legs: &str) {
        self.daemon = Some(Daemon::start(self.folder.path(), &format!("{PROGRAM}{legs}")));
    }

    pub fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().unwrap()
    }

    pub fn status(&mut self) -> Status {
        self.daemon().wait_until("an answer", |_| true)
    }

    /// Until leg `a` has been at its preferred origin for some seconds, and then up to a GOP longer, so that the rounds' faults
    /// fall into all phases of a GOP.
    pub fn warm(&mut self) {
        self.daemon().all_live();
        let wanted = WARM_MS + GOP_MS * self.round.number as i64 / self.round.of as i64;
        self.watch("media at the preferred origin", LIMIT, |sights| sights.a.newest_millis() >= wanted);
        self.sights.b_pause = Duration::ZERO;
    }

    /// Looks at the recordings until they are as wanted; the time of that moment.
    pub fn watch(&mut self, what: &str, limit: Duration, wanted: impl FnMut(&Sights) -> bool) -> Instant {
        let found = self.watch_for(limit, wanted);
        found.unwrap_or_else(|| {
            say(&format!("the daemon's log:\n{}", self.daemon().log()));
            assert!(!self.daemon().has_ended(), "the daemon has ended, before {what}");
            panic!("{what} did not come within {} s", limit.as_secs())
        })
    }

    /// `None` if the limit, or the daemon's end, comes first.
    pub fn watch_for(&mut self, limit: Duration, mut wanted: impl FnMut(&Sights) -> bool) -> Option<Instant> {
        let begin = now();
        loop {
            let moment = self.look();
            if wanted(&self.sights) {
                return Some(moment);
            }
            if begin.elapsed() > limit || self.daemon().has_ended() {
                return None;
            }
            pause(self.look_every);
        }
    }

    fn look(&mut self) -> Instant {
        let sights = &mut self.sights;
        if !self.a_is_others {
            sights.a.look(self.a.records(KEY_A));
        }
        sights.spare.look(self.spare.records(KEY_A));
        let before = sights.b.pictures();
        sights.b.look(self.b.records(KEY_B));
        let moment = now();
        if sights.b.pictures() > before {
            sights.b_grew = moment;
        } else if before > 0 {
            sights.b_pause = sights.b_pause.max(moment - sights.b_grew);
        }
        moment
    }

    /// Until the spare records pictures, from `fault` on.
    pub fn back_at_spare(&mut self, fault: Instant) -> Duration {
        self.watch("media at the spare", LIMIT, |sights| sights.spare.pictures() > 0) - fault
    }

    /// Until the preferred origin has begun its second recording.
    pub fn back_at_preferred(&mut self, fault: Instant) -> Duration {
        let begun = |sights: &Sights| sights.a.recordings.len() > 1 && sights.a.newest_millis() > 0;
        self.watch("media at the origin again", LIMIT, begun) - fault
    }

    /// Lets the stream settle, stops the daemon, and compares what was recorded.
    pub fn finish(mut self, back: Option<Duration>) -> Figures {
        if std::env::var_os("FAULT_LOG").is_some() {
            say(&format!("the daemon's log:\n{}", self.daemon().log()));
        }
        let mut faults = Vec::new();
        if !self.settles() {
            faults.push("leg a never caught up with leg b".to_owned());
        }
        let status = self.status();
        let legs_live = status.legs.iter().all(is_live);
        if !legs_live {
            faults.push(format!("not all legs are live at the end: {:?}", status.legs[0].last_error));
        }
        let other_pause = self.sights.b_pause;
        self.daemon.take().unwrap().stop();
        self.b.stop();
        self.look();
        let sights = &self.sights;
        let reference = sights.b.marks().concat();
        let recordings = [sights.a.marks(), sights.spare.marks()].concat();
        // A reference of several pieces is none.
        let whole = sights.b.recordings.len() == 1;
        let compared = whole.then(|| compare(&reference, &recordings).map_err(|fault| faults.push(fault)).ok()).flatten();
        Figures {
            back,
            compared,
            other_picture_gap_ms: largest_gap(&reference, Track::Video),
            other_sound_gap_ms: largest_gap(&reference, Track::Audio),
            other_pause,
            legs: status.legs,
            faults,
        }
    }

    /// Stops the daemon; nothing is compared.
    pub fn finish_unseen(mut self) {
        self.daemon.take().unwrap().stop();
    }

    /// Two seconds more on leg `a`, until its newest picture is one of leg `b`'s newest.
    fn settles(&mut self) -> bool {
        let b_end = self.sights.b.last_picture().map_or(0, |mark| mark.millis);
        let settled = |sights: &Sights| {
            let newest = [&sights.a, &sights.spare].into_iter().filter_map(Shelf::last_picture).map(|mark| mark.hash);
            let newest: Vec<u64> = newest.collect();
            let fresh = sights.b.recordings.iter().flat_map(|recording| recording.marks.iter().rev().take(60));
            let caught_up = fresh.filter(|mark| mark.track == Track::Video).any(|mark| newest.contains(&mark.hash));
            caught_up && sights.b.last_picture().is_some_and(|mark| mark.millis > b_end + 2000)
        };
        self.watch_for(LIMIT / 2, settled).is_some()
    }
}

/// An origin's section, under its leg's key.
pub fn origin(line: Line) -> String {
    origin_at(&format!("rtmp://{}/live", line.address()), if line == B { KEY_B } else { KEY_A })
}

pub fn origin_at(url: &str, key: &str) -> String {
    format!("[[leg.origin]]\nurl = \"{url}\"\nstream_key = \"{key}\"\n")
}

/// To an origin with all its processes.
pub fn signal(origin: &Origin, signal: Signal) {
    killpg(Pid::from_raw(origin.pid() as i32), signal).unwrap();
}
