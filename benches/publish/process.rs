//! A process that is measured from outside: its CPU time and how often it was woken.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// Killed at the end of this value.
pub struct Running {
    pub child: Child,
}

impl Running {
    /// What it says on stderr goes to a file below `target/`.
    pub fn start(command: &mut Command) -> Self {
        let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("publish.log");
        let log = File::options().create(true).append(true).open(log).expect("a log");
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn();
        Self { child: child.unwrap_or_else(|error| panic!("{command:?}: {error}")) }
    }

    /// User and system time of all its threads so far; `None` if it has ended.
    pub fn cpu(&mut self) -> Option<Duration> {
        if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return None;
        }
        let clock = clock_getcpuclockid(self.pid()).ok()?;
        Some(clock_gettime(clock).ok()?.into())
    }

    /// Of these, what its first thread took.
    pub fn first_thread_cpu(&self) -> Option<Duration> {
        let text = std::fs::read_to_string(format!("/proc/{0}/task/{0}/schedstat", self.pid())).ok()?;
        text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    }

    /// How often its threads have gone to sleep of their own will.
    pub fn sleeps(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).into_iter().flatten().flatten();
        let texts = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
        texts.filter_map(|text| text.split_once("\nvoluntary_ctxt_switches:")?.1.lines().next()?.trim().parse::<u64>().ok()).sum()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This program again, to be given a verb.
pub fn myself() -> Command {
    Command::new(std::env::current_exe().expect("this program's path"))
}

/// The same command, on one CPU only if one is named.
pub fn on_cpu(command: Command, cpu: Option<usize>) -> Command {
    let Some(cpu) = cpu else { return command };
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", &cpu.to_string()]).arg(command.get_program()).args(command.get_args());
    pinned
}
