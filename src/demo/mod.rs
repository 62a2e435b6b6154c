//! `onaird demo`: the whole job on one machine, for a person to watch, or checked without one.
//!
//! Two real origins, the daemon as the process that it is on a box, and a view of what goes on, read over the daemon's own
//! control socket. The demo is a user like any other: it has no way into the daemon that others have not.
//!
//! ```text
//!  set ──▶ starting ──▶ on air ──┬── Ctrl-C ────────▶ strike: daemon (≤ 3 s), origins, folder; recordings stay
//!             │                  └── time is up ────▶ strike, with checks ──▶ summary
//!             └── daemon ended, or nothing for 60 s ─▶ strike, with the daemon's last words
//! ```

pub mod child;
mod device;
pub mod origin;
mod stage;
pub mod verify;
pub mod view;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::console::client;
use crate::status::Status;
use stage::{STOP_LIMIT, Stage};
use verify::Check;
use view::Screen;

/// Between two looks at the daemon.
const LOOK: Duration = Duration::from_millis(250);

/// Between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(5);

/// How long it may take to be on air.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long the origins may take to serve what they are sent; a playlist needs a few seconds.
const SERVE_LIMIT: Duration = Duration::from_secs(40);

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    Test,
    /// A capture device if there is one, else the test picture.
    Auto,
}

#[derive(Clone, Debug)]
pub struct Options {
    /// End after so many seconds on air, with checks.
    pub seconds: Option<u64>,
    pub input: Input,
}

/// Why the show ended.
enum End {
    /// A person, or the system, asked for it.
    Asked,
    TimeIsUp(Vec<Check>),
    Fault(String),
}

/// Runs the demo; true if all is well.
pub fn run(options: Options) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(show(options));
    // A question to the daemon may still be on its way; nobody waits for the answer.
    runtime.shutdown_background();
    result
}

async fn show(options: Options) -> anyhow::Result<bool> {
    let mut signals = Signals::listen()?;
    println!("Starting two origins and the daemon; the first picture takes a few seconds.");
    let mut stage = Stage::set(options.input)?;
    let end = Play::new(&mut stage, &options).run(&mut signals).await;
    let (log, recordings) = (stage.log_tail(), stage.recordings().to_path_buf());
    let mut checks = Vec::new();
    let stopped = stage.end_daemon().context("ending the daemon")?;
    checks.push(stop_check(stopped));
    let kept = stage.strike();
    let asked = matches!(end, End::Asked);
    match end {
        End::Asked => {}
        End::Fault(fault) => checks.insert(0, Check::new("on air", Err(fault))),
        End::TimeIsUp(served) => {
            checks.splice(0..0, served);
            checks.extend(checked_recordings(&recordings, &mut signals).await);
        }
    }
    let well = checks.iter().all(|check| check.result.is_ok());
    tell(&checks, asked, &log, kept);
    // Who asked for checks and stopped them has not got them.
    Ok(well && !(asked && options.seconds.is_some()))
}

fn stop_check(ended: child::Ended) -> Check {
    let result = match (ended.forced, ended.status.success()) {
        (true, _) => Err(format!("not within {} s; it was killed", STOP_LIMIT.as_secs())),
        (false, false) => Err(format!("it ended with {}", ended.status)),
        (false, true) => Ok(format!("after {:.2} s", ended.took.as_secs_f64())),
    };
    Check::new("daemon stops when it is told to", result)
}

async fn checked_recordings(folder: &std::path::Path, signals: &mut Signals) -> Vec<Check> {
    println!("Checking the recordings.");
    tokio::select! {
        checks = verify::recordings_decode(folder) => checks,
        () = signals.next() => vec![Check::new("recordings", Err("the check was interrupted".into()))],
    }
}

fn tell(checks: &[Check], asked: bool, log: &[String], kept: Option<PathBuf>) {
    let well = checks.iter().all(|check| check.result.is_ok());
    if !well {
        println!("The daemon's last words:");
        log.iter().for_each(|line| println!("  {line}"));
    }
    if !(asked && well) {
        checks.iter().for_each(|check| println!("{check}"));
    }
    match kept {
        Some(folder) => println!("The recordings are in {}; everything else is removed.", folder.display()),
        None => println!("There are no recordings; everything is removed."),
    }
}

/// The show while it lasts.
struct Play<'a> {
    stage: &'a mut Stage,
    seconds: Option<Duration>,
    screen: Screen,
    begin: Instant,
    on_air_since: Option<Instant>,
    last_line: Option<Instant>,
    checks: Option<JoinHandle<Vec<Check>>>,
}

impl<'a> Play<'a> {
    fn new(stage: &'a mut Stage, options: &Options) -> Self {
        let (seconds, screen) = (options.seconds.map(Duration::from_secs), Screen::open());
        Self { stage, seconds, screen, begin: now(), on_air_since: None, last_line: None, checks: None }
    }

    async fn run(mut self, signals: &mut Signals) -> End {
        let mut interval = tokio::time::interval(LOOK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let asked = loop {
            tokio::select! {
                () = signals.next() => break End::Asked,
                end = self.look() => if let Some(end) = end { break end },
            }
            tokio::select! {
                () = signals.next() => break End::Asked,
                _ = interval.tick() => {}
            }
        };
        if let Some(checks) = self.checks.take() {
            checks.abort();
        }
        asked
    }

    /// Asks, shows, and says whether it is over.
    async fn look(&mut self) -> Option<End> {
        if let Err(error) = self.stage.tend() {
            return Some(End::Fault(format!("{error:#}")));
        }
        if let Some(fault) = self.stage.daemon_ended() {
            return Some(End::Fault(fault));
        }
        let socket = self.stage.socket();
        let answer = tokio::task::spawn_blocking(move || client::ask(&socket, "status")).await;
        if let Some(status) = answer.ok().and_then(Result::ok).and_then(|answer| answer.status) {
            if status.on_air {
                self.on_air_since.get_or_insert_with(now);
            }
            self.show(&status);
        }
        self.judge().await
    }

    fn show(&mut self, status: &Status) {
        if self.screen.is_terminal() {
            self.screen.draw(&view::stage_lines(status, &self.stage.view()));
        } else if self.last_line.is_none_or(|last| last.elapsed() >= LINE) {
            if self.last_line.is_none() {
                view::introduction(&self.stage.view()).iter().for_each(|line| self.screen.add(line));
            }
            self.last_line = Some(now());
            self.screen.add(&view::short_line(status));
        }
    }

    async fn judge(&mut self) -> Option<End> {
        let Some(since) = self.on_air_since else {
            let late = self.begin.elapsed() > START_LIMIT;
            return late.then(|| End::Fault(format!("not on air after {} s", START_LIMIT.as_secs())));
        };
        let seconds = self.seconds?;
        let urls = self.stage.urls();
        let checks = self.checks.get_or_insert_with(|| tokio::spawn(served(urls)));
        // The checks have their own limit, so this ends.
        if since.elapsed() < seconds || !checks.is_finished() {
            return None;
        }
        let checks = self.checks.take()?.await;
        Some(End::TimeIsUp(checks.unwrap_or_else(|error| vec![Check::new("origins", Err(error.to_string()))])))
    }
}

async fn served(urls: [String; 4]) -> Vec<Check> {
    let mut checks = Vec::new();
    for url in urls {
        checks.push(verify::serves(&url, SERVE_LIMIT).await);
    }
    checks
}

/// All that asks for an end: Ctrl-C, a service manager, a closed terminal.
struct Signals([Signal; 3]);

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("listening for signals");
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        Ok(Self([listen(kinds[0])?, listen(kinds[1])?, listen(kinds[2])?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a shell for a person who watches; no media passes here")]
fn now() -> Instant {
    Instant::now()
}
