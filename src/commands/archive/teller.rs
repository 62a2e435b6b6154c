//! How far a long command is: for whoever watches it, and for the daemon.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::archive::shelf::{Progress, Watch};
use crate::console::client::Held;
use crate::console::command::export_line;
use crate::status::{self, ExportState};

/// How often a terminal, a log and the daemon are told.
const TERMINAL: Duration = Duration::from_millis(250);
const LOG: Duration = Duration::from_secs(10);
const DAEMON: Duration = Duration::from_secs(1);

/// Progress on a terminal in one line that changes; in a log, a line now and then.
pub struct Screen {
    begun: Instant,
    shown: Instant,
    terminal: bool,
}

impl Screen {
    pub fn new() -> Self {
        Self { begun: now(), shown: now(), terminal: std::io::stderr().is_terminal() }
    }

    fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }

    /// What is said next stands on a line of its own.
    pub fn end(&self) {
        self.clear();
        let _ = std::io::stderr().flush();
    }
}

impl Watch for Screen {
    fn progress(&mut self, progress: &Progress) {
        if self.shown.elapsed() < if self.terminal { TERMINAL } else { LOG } {
            return;
        }
        self.shown = now();
        let line = progress.line(self.begun.elapsed());
        match self.terminal {
            true => eprint!("\r\x1b[K{line}"),
            false => eprintln!("{line}"),
        }
    }

    fn tell(&mut self, line: &str) {
        self.clear();
        println!("{line}");
    }
}

/// The screen, and the daemon if there is one.
pub struct Teller {
    pub screen: Screen,
    daemon: Held,
    export: status::Export,
    told: Option<Instant>,
}

impl Teller {
    /// `to`: as a person named it.
    pub fn new(socket: &Path, to: String) -> Self {
        let export = status::Export { state: ExportState::Running, to, ..status::Export::default() };
        Self { screen: Screen::new(), daemon: Held::new(socket), export, told: None }
    }

    pub fn last_word(&mut self, state: ExportState, last_error: Option<String>) {
        (self.export.state, self.export.last_error) = (state, last_error);
        self.daemon.tell_at_once(&export_line(&self.export));
    }
}

impl Watch for Teller {
    fn progress(&mut self, progress: &Progress) {
        self.screen.progress(progress);
        let Progress { files_done, files, bytes_done, bytes } = *progress;
        self.export = status::Export { files_done, files, bytes_done, bytes, ..self.export.clone() };
        if self.told.is_none_or(|told| told.elapsed() >= DAEMON) {
            self.told = Some(now());
            self.daemon.tell(&export_line(&self.export));
        }
    }

    fn tell(&mut self, line: &str) {
        self.screen.tell(line);
    }
}

/// For a person who watches.
#[expect(clippy::disallowed_methods, reason = "a command in a terminal, not the daemon")]
pub fn now() -> Instant {
    Instant::now()
}
