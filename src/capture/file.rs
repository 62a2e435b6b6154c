//! A list of files as an input: cued at the first picture, rolled when it is wanted on air, one after the other.
//!
//! ```text
//!            roll                    end of file: the next one, cued meanwhile, starts at once
//!   Cued ──────────▶ Rolling ───────────────┐
//!    ▲                │   ▲──────────────────┘
//!    └──── cue ───────┘
//! ```
//!
//! A file that cannot be read is reported by name and left out; while none can be read, the list is tried again with a pause. What
//! the list means by `archive:` is looked up whenever it begins anew, so that what has been recorded since is played too.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::capture::clip::Clip;
use crate::capture::playlist::Playlist;
use crate::capture::sink::Said;
use crate::capture::{Port, RETRY_LONGEST, recordings};
use crate::control::{Command, Request};
use crate::status::Signal;
use crate::units::MediaTime;

/// How long a file may show nothing at all before it counts as unreadable.
const STALL: Duration = Duration::from_secs(5);

/// A file that has waited for so long at its first picture without a fault can be played.
const READY: Duration = Duration::from_millis(700);

pub async fn run(playlist: Playlist, port: Port, mut orders: mpsc::Receiver<Request>, stop: CancellationToken) {
    let mut player = Player::new(playlist, port);
    player.cue();
    let mut interval = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(request) = orders.recv() => player.obey(request),
            said = heard(&mut player.rolling) => player.next_clip(said),
            said = heard(&mut player.ready) => player.replace_ready(said),
            _ = interval.tick() => player.look(),
        }
    }
}

/// A clip with its file's name and what is known of its progress.
struct Deck {
    path: PathBuf,
    clip: Clip,
    count: u64,
    news: MediaTime,
}

struct Player {
    playlist: Playlist,
    port: Port,
    /// At its first picture.
    ready: Option<Deck>,
    rolling: Option<Deck>,
    /// Told to roll, and not to cue since.
    wanted: bool,
    /// The list came to its end; it has a picture again only when it is told to roll.
    over: bool,
    /// Files in a row that could not be played.
    faults: usize,
    /// Nothing is opened before this time.
    rest_until: MediaTime,
    /// Files whose fault was said already.
    reported: HashSet<PathBuf>,
}

/// What a deck's clip says; for ever silent without one.
async fn heard(deck: &mut Option<Deck>) -> Said {
    match deck {
        Some(deck) => match deck.clip.said.recv().await {
            Some(said) => said,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

impl Player {
    fn new(playlist: Playlist, port: Port) -> Self {
        let (rest_until, reported) = (MediaTime::ZERO, HashSet::new());
        Self { playlist, port, ready: None, rolling: None, wanted: false, over: false, faults: 0, rest_until, reported }
    }

    fn obey(&mut self, request: Request) {
        let reply = match request.command {
            Command::Roll { .. } => {
                self.roll();
                Ok("rolling".into())
            }
            Command::Cue { .. } => {
                self.cue();
                Ok("cued".into())
            }
            _ => Err("an input can only be rolled or cued".into()),
        };
        let _ = request.reply.send(reply);
    }

    /// Back to the first picture of the first file.
    fn cue(&mut self) {
        self.rolling = None;
        self.ready = None;
        self.port.feed.clear();
        self.playlist.rewind();
        self.load_ready();
        self.set_wanted(false);
    }

    fn roll(&mut self) {
        self.over = false;
        self.set_wanted(true);
        if self.rolling.is_none() {
            self.start_ready();
        }
    }

    /// Starts what is ready now and makes the next one ready.
    fn start_ready(&mut self) {
        self.rolling = self.ready.take();
        let now = self.port.clock.now();
        if let Some(deck) = &mut self.rolling {
            deck.clip.roll(&self.port, now);
            deck.news = now;
        }
        self.load_ready();
    }

    fn set_wanted(&mut self, wanted: bool) {
        self.wanted = wanted;
        self.port.report.update(|input| input.rolling = wanted);
    }

    /// Makes the next file ready, unless a whole round of them has just failed.
    fn load_ready(&mut self) {
        let now = self.port.clock.now();
        if self.ready.is_some() || now < self.rest_until {
            return;
        }
        if self.playlist.wants_round() {
            self.begin_round();
        }
        let Some(path) = self.playlist.advance() else { return };
        match Clip::cue(&path, &self.port) {
            Ok(clip) => self.ready = Some(Deck { path, clip, count: 0, news: now }),
            Err(fault) => self.fault(&path, &fault),
        }
    }

    /// Finds out what there is to play by now.
    fn begin_round(&mut self) {
        let (mut round, mut absent) = (Vec::new(), Vec::new());
        for played in self.playlist.listed().to_vec() {
            match recordings::files_of(&played) {
                Ok(files) => round.extend(files),
                Err(fault) => {
                    let name = PathBuf::from(played.to_string());
                    self.report(&name, &fault);
                    absent.push(name);
                }
            }
        }
        self.forget_faults_except(|path| round.contains(path) || absent.contains(path));
        if round.is_empty() {
            self.rest();
        }
        self.playlist.begin(round);
    }

    /// What is no longer in the list is no longer at fault.
    fn forget_faults_except(&mut self, listed: impl Fn(&PathBuf) -> bool) {
        let before = self.reported.len();
        self.reported.retain(listed);
        if self.reported.is_empty() && before > 0 {
            self.port.report.update(|input| input.last_error = None);
        }
    }

    /// Nothing can be played for now.
    fn rest(&mut self) {
        self.rest_until = self.port.clock.now() + RETRY_LONGEST;
        self.port.report.update(|input| input.signal = Signal::NoSignal);
    }

    /// The clip on air has ended or failed.
    fn next_clip(&mut self, said: Said) {
        if let Some(deck) = self.rolling.take() {
            match said {
                Said::Fault(fault) => self.fault(&deck.path, &fault),
                // It would be played again and again in no time.
                Said::Ended if deck.clip.pictures.get() == 0 => self.fault(&deck.path, "there is nothing in it to play"),
                Said::Ended => {}
            }
        }
        self.start_ready();
    }

    /// The clip that waits cannot be played, or is so short that it has ended while waiting.
    fn replace_ready(&mut self, said: Said) {
        let Some(deck) = self.ready.take() else { return };
        match said {
            Said::Fault(fault) => self.fault(&deck.path, &fault),
            Said::Ended => self.fault(&deck.path, "there is nothing in it to play"),
        }
        self.load_ready();
        if self.rolling.is_none() && self.wanted {
            self.start_ready();
        }
    }

    /// Progress, for the status and against files that stall.
    fn look(&mut self) {
        let now = self.port.clock.now();
        let Some(deck) = &mut self.rolling else {
            self.load_ready();
            if self.wanted {
                self.start_ready();
            }
            if self.wanted && self.rolling.is_none() {
                // The list is at its end, or nothing of it can be played.
                self.over = self.playlist.is_over() && self.faults < self.playlist.files();
                self.port.report.update(|input| input.signal = Signal::NoSignal);
            } else if !self.over && self.ready.as_ref().is_some_and(|deck| now.since(deck.news) > READY) {
                self.port.report.update(|input| input.signal = Signal::Locked);
            }
            return;
        };
        let count = deck.clip.pictures.get();
        if count != deck.count {
            (deck.count, deck.news) = (count, now);
            self.faults = 0;
            let mode = deck.clip.mode();
            let mended = self.reported.remove(&deck.path);
            let all_well = mended && self.reported.is_empty();
            self.port.report.update(|input| {
                if all_well {
                    input.last_error = None;
                }
                input.signal = Signal::Locked;
                input.mode = mode.unwrap_or_default();
            });
        } else if now.since(deck.news) > STALL {
            self.next_clip(Said::Fault(format!("nothing came out of it for {} s", STALL.as_secs())));
        }
        self.load_ready();
    }

    fn fault(&mut self, path: &Path, fault: &str) {
        self.faults += 1;
        if self.faults.is_multiple_of(self.playlist.files().max(1)) {
            self.rest();
        }
        self.report(path, fault);
    }

    fn report(&mut self, path: &Path, fault: &str) {
        let text = format!("{} cannot be played ({fault}); the next file is taken", path.display());
        if self.reported.insert(path.into()) {
            self.port.fault(&text, true);
        }
    }
}
