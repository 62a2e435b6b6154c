//! A process that the demo started: in a group of its own, ended with its whole group, never left behind.
//!
//! A group of its own keeps the terminal's Ctrl-C away from it, so that the order of ending is ours. Should this process be killed
//! without a word, `setpriv` (where it exists) has asked the kernel to end the child too. It knows no program by name and
//! reads no output.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

const SETPRIV: &str = "/usr/bin/setpriv";

const LOOK: Duration = Duration::from_millis(10);

pub struct Child {
    process: process::Child,
    ended: Option<ExitStatus>,
}

/// How a child ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub took: Duration,
    /// It did not end when it was asked to.
    pub forced: bool,
}

/// A command that ends with this thread, whatever ends it.
pub fn command(program: &Path) -> Command {
    if !Path::new(SETPRIV).exists() {
        return Command::new(program);
    }
    let mut command = Command::new(SETPRIV);
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command
}

impl Child {
    /// Starts it with nothing to read; what it says goes to the file `log`.
    pub fn spawn(command: &mut Command, log: &Path) -> io::Result<Self> {
        let log = File::create(log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        Ok(Self { process: command.spawn()?, ended: None })
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.process.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Asks it to end, waits, and forces it when the time is up.
    pub fn end(&mut self, limit: Duration) -> io::Result<Ended> {
        let begin = now();
        self.ask();
        let asked = self.wait(limit);
        self.sweep();
        let status = match asked {
            Some(status) => status,
            None => self.process.wait()?,
        };
        self.ended = Some(status);
        Ok(Ended { status, took: begin.elapsed(), forced: asked.is_none() })
    }

    /// SIGTERM, and no waiting.
    pub fn ask(&self) {
        let _ = kill(self.id(), Signal::SIGTERM);
    }

    /// Waits until it has ended by itself, or the time is up.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let begin = now();
        while self.ended().is_none() && begin.elapsed() < limit {
            pause(LOOK);
        }
        self.ended()
    }

    /// Ends it and everything that it started, at once.
    pub fn kill(&mut self) {
        self.sweep();
        self.ended = self.process.wait().ok();
    }

    fn sweep(&self) {
        let _ = killpg(self.id(), Signal::SIGKILL);
    }

    fn id(&self) -> Pid {
        Pid::from_raw(self.process.id() as i32)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.kill();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a shell that waits for a process; no media passes here")]
fn now() -> Instant {
    Instant::now()
}

/// Looks again after a moment: a process gives no other sign without a runtime.
#[expect(clippy::disallowed_methods, reason = "not the live path: the demo and the tests wait for a process")]
pub(super) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Child {
        let mut command = command(Path::new("/bin/sh"));
        Child::spawn(command.args(["-c", script]), Path::new("/dev/null")).unwrap()
    }

    #[test]
    fn who_ends_when_asked_is_not_forced_and_who_does_not_is() {
        let polite = shell("exec sleep 60").end(Duration::from_secs(10)).unwrap();
        assert!(!polite.forced, "{polite:?}");
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready");
        let mut deaf = shell(&format!("trap '' TERM; touch {}; while :; do sleep 1; done", ready.display()));
        while !ready.exists() {
            pause(LOOK);
        }
        assert!(deaf.end(Duration::from_millis(50)).unwrap().forced);
        assert!(deaf.ended().is_some());
    }

    #[test]
    fn its_own_children_end_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("pid");
        let child = shell(&format!("sleep 60 & echo $! > {}; wait", note.display()));
        let grandchild = loop {
            match std::fs::read_to_string(&note).ok().and_then(|text| text.trim().parse().ok()) {
                Some(pid) => break Pid::from_raw(pid),
                None => pause(LOOK),
            }
        };
        assert!(kill(grandchild, None).is_ok());
        drop(child);
        // A zombie that nobody reaps still answers; its state tells.
        let gone = || std::fs::read_to_string(format!("/proc/{grandchild}/stat")).map_or(true, |stat| stat.contains(") Z "));
        while !gone() {
            pause(LOOK);
        }
    }
}
