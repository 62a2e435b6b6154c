//! The stage for tests of the whole: a daemon as the process that it is on a box, real origins, and judges that share no code
//! with what they judge. It waits for conditions with generous limits and holds no verdict itself.

#![allow(dead_code, reason = "each test program uses its own part of the stage")]

pub mod flv;
pub mod judge;
pub mod mp4;
pub mod picture;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use onaird::console::client;
use onaird::demo::child::{self, Child, Ended};
use onaird::demo::origin::{Origin, Wishes};
use onaird::status::{Leg, LegState, Status};

/// For anything that must happen at all, on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

pub const BINARY: &str = env!("CARGO_BIN_EXE_onaird");

/// A daemon of its own, with its configuration, state, socket and log in one folder.
pub struct Daemon {
    child: Child,
    folder: PathBuf,
}

impl Daemon {
    /// Starts `onaird run` with this configuration.
    pub fn start(folder: &Path, config: &str) -> Self {
        let file = folder.join("onaird.toml");
        std::fs::write(&file, config).unwrap();
        std::fs::create_dir_all(folder.join("state")).unwrap();
        let mut command = child::command(Path::new(BINARY));
        command.arg("run").arg("--config").arg(&file).arg("--socket").arg(folder.join("control.sock"));
        command.env("STATE_DIRECTORY", folder.join("state")).env("ONAIRD_FACTORY_CONFIG", folder.join("no-factory.toml"));
        command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC").env_remove("RUST_LOG");
        let child = Child::spawn(&mut command, &folder.join("onaird.log")).unwrap();
        Self { child, folder: folder.into() }
    }

    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.ended().is_some()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("onaird.log")).unwrap_or_default()
    }

    /// The status; `None` while the daemon does not answer.
    pub fn status(&self) -> Option<Status> {
        client::ask(&self.folder.join("control.sock"), "status").ok()?.status
    }

    /// Waits until the status is as wanted, and returns that one.
    pub fn wait_until(&mut self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let mut last = None;
        let found = poll(LIMIT, || {
            let ended = self.child.ended();
            assert!(ended.is_none(), "waiting for {what}, the daemon ended ({ended:?}):\n{}", self.log());
            last = self.status();
            last.clone().filter(|status| wanted(status))
        });
        found.unwrap_or_else(|| panic!("{what} did not come; the last status: {last:#?}\nthe log:\n{}", self.log()))
    }

    /// Waits until the program has made so many more frames.
    pub fn frames(&mut self, count: u64) -> Status {
        let first = self.wait_until("an answer", |_| true).program.frames;
        self.wait_until("the program's frames", |status| status.program.frames >= first + count)
    }

    pub fn all_live(&mut self) -> Status {
        self.wait_until("all legs live", |status| status.legs.iter().all(is_live) && !status.legs.is_empty())
    }

    /// `onaird ctl …`, as a person types it.
    pub fn ctl(&self, words: &[&str]) -> Output {
        let socket = self.folder.join("control.sock");
        Command::new(BINARY).arg("ctl").arg("--socket").arg(socket).args(words).output().unwrap()
    }

    /// SIGTERM; it must end within the promised 3 s, and well.
    pub fn stop(mut self) -> Stopped {
        let ended = self.child.end(Duration::from_secs(10)).unwrap();
        let log = self.log();
        assert!(ended.took <= Duration::from_secs(3), "it took {:?} to stop:\n{log}", ended.took);
        assert_eq!(ended.status.code(), Some(0), "it did not end well:\n{log}");
        Stopped { ended, log }
    }
}

#[derive(Debug)]
pub struct Stopped {
    pub ended: Ended,
    pub log: String,
}

pub fn is_live(leg: &Leg) -> bool {
    leg.state == LegState::Live && leg.taken
}

/// An origin that records all that it gets.
pub fn recorder(folder: &Path) -> Origin {
    Origin::start(folder, Wishes { hls: false, record: true }).unwrap()
}

/// The one recording under this key, once nothing is added to it any more; the origin is ended, which closes the file.
pub fn record_of(origin: &mut Origin, key: &str) -> PathBuf {
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |data| data.len());
    let records = origin.records(key);
    assert_eq!(records.len(), 1, "one publication under {key}: {records:?}");
    let path = records.into_iter().next().unwrap();
    let (mut last, mut calm) = (size(&path), 0);
    let still = poll(LIMIT, || {
        calm = if size(&path) == last { calm + 1 } else { 0 };
        last = size(&path);
        (calm >= 10).then_some(())
    });
    assert!(still.is_some(), "{} goes on growing", path.display());
    origin.stop();
    path
}

/// Looks again and again until there is something, or the limit is over.
pub fn poll<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let begin = now();
    loop {
        let found = look();
        if found.is_some() || begin.elapsed() > limit {
            return found;
        }
        pause(Duration::from_millis(20));
    }
}

#[expect(clippy::disallowed_methods, reason = "a test waits for processes")]
pub fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "between two looks at a condition, never instead of one")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Runs a tool that must succeed; what it prints.
pub fn tool(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {complaint}");
    output.stdout
}
