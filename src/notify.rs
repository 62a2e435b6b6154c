//! What systemd is told: READY once the program runs, a status line for people, WATCHDOG only while packets flow.
//!
//! A daemon that is alive but sends nothing is not alive to a broadcaster: the watchdog is fed by progress, so an encoder
//! that stays hung restarts the process as surely as a crash does. Progress is that of the slower track: sound alone is none.

use std::convert::Infallible;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;

use crate::status::{LegState, Status};

/// Pause between looks when there is no watchdog to feed.
const PAUSE: Duration = Duration::from_secs(1);

/// Never ends.
pub async fn run(status: watch::Receiver<Status>) -> Result<(), Infallible> {
    let third = sd_notify::watchdog_enabled().map_or(PAUSE, |limit| limit / 3);
    let mut interval = tokio::time::interval(third.min(PAUSE).max(Duration::from_millis(50)));
    let mut teller = Teller::default();
    loop {
        interval.tick().await;
        let words = teller.look(&status.borrow());
        if !words.is_empty() {
            let states: Vec<_> = words.iter().map(Word::as_notify).collect();
            // Without systemd there is nobody to tell.
            let _ = sd_notify::notify(&states);
        }
    }
}

#[derive(Debug, PartialEq)]
enum Word {
    Ready,
    Status(String),
    Watchdog,
}

impl Word {
    fn as_notify(&self) -> NotifyState<'_> {
        match self {
            Self::Ready => NotifyState::Ready,
            Self::Status(text) => NotifyState::Status(text),
            Self::Watchdog => NotifyState::Watchdog,
        }
    }
}

/// The rule of what to tell; remembers what was told.
#[derive(Default)]
struct Teller {
    progress: u64,
    line: String,
}

impl Teller {
    fn look(&mut self, status: &Status) -> Vec<Word> {
        let mut words = Vec::new();
        let progress = status.program.progress;
        if progress > self.progress {
            if self.progress == 0 {
                words.push(Word::Ready);
            }
            words.push(Word::Watchdog);
            self.progress = progress;
        }
        let line = line(status);
        if line != self.line {
            words.push(Word::Status(line.clone()));
            self.line = line;
        }
        words
    }
}

/// One line for `systemctl status`.
fn line(status: &Status) -> String {
    let air = if status.on_air { "ON AIR" } else { "off air" };
    let live = status.legs.iter().filter(|leg| leg.state == LegState::Live).count();
    let program = &status.program;
    format!(
        "{air}, input {} ({}), {live} of {} legs live, archive {}",
        program.input,
        program.shows,
        status.legs.len(),
        status.archive.state
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_with_the_first_packet_and_the_watchdog_only_with_progress() {
        let mut teller = Teller::default();
        let mut status = Status::default();
        assert!(!teller.look(&status).contains(&Word::Watchdog));
        status.program.progress = 10;
        assert_eq!(teller.look(&status), [Word::Ready, Word::Watchdog]);
        assert_eq!(teller.look(&status), []);
        status.program.progress = 11;
        assert_eq!(teller.look(&status), [Word::Watchdog]);
    }
}
