//! What the status says of an export, and for how long. A rule.
//!
//! ```text
//!   none ──told──▶ running ──told──▶ done ──a minute, or the disk is gone──▶ none
//!                    │  ▲
//!                  told │ the next export
//!                    ▼  │
//!                  failed ──an hour──▶ none
//! ```

use std::time::Duration;

use crate::status::{Export, ExportState};
use crate::units::{ByteSize, MediaTime};

/// "Safe to remove" is soon no news.
const DONE: Duration = Duration::from_secs(60);

/// Somebody will have looked by then.
const FAILED: Duration = Duration::from_secs(3600);

/// Longest text that is taken over.
const LONGEST: usize = 1000;

#[derive(Default)]
pub struct Notice {
    export: Export,
    since: MediaTime,
}

impl Notice {
    /// What the process that exports says; returns a line for people if that is an event.
    pub fn told(&mut self, mut export: Export, now: MediaTime) -> Result<Option<String>, String> {
        export.to = shortened(&export.to);
        let running = self.export.state == ExportState::Running;
        if running && export.to != self.export.to {
            return Err(format!("an export to {} is running: wait for its end", self.export.to));
        }
        export.last_error = export.last_error.as_deref().map(shortened);
        let event = (self.export.state != export.state).then(|| event(&export)).flatten();
        (self.export, self.since) = (export, now);
        Ok(event)
    }

    /// What the status is to say now.
    pub fn at(&mut self, now: MediaTime) -> &Export {
        let limit = match self.export.state {
            ExportState::None | ExportState::Running => return &self.export,
            ExportState::Done => DONE,
            ExportState::Failed => FAILED,
        };
        if now.since(self.since) >= limit {
            self.export = Export::default();
        }
        &self.export
    }
}

fn event(export: &Export) -> Option<String> {
    let Export { to, files_done, files, .. } = export;
    let size = ByteSize::from_bytes(export.bytes);
    match export.state {
        ExportState::None => None,
        ExportState::Running => Some(format!("archive: export to {to} begins, {files} segments, {size}")),
        ExportState::Done => Some(format!("archive: export to {to} is complete, {files} segments, {size}: safe to remove")),
        ExportState::Failed => {
            let cause = export.last_error.as_deref().unwrap_or("no cause is known");
            Some(format!("archive: export to {to} has stopped after {files_done} of {files} segments: {cause}"))
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(state: ExportState) -> Export {
        let last_error = (state == ExportState::Failed).then(|| "the disk was pulled out".to_owned());
        Export { state, files_done: 3, files: 12, bytes: 5 << 30, to: "/dev/sdb1".into(), last_error, ..Export::default() }
    }

    fn at(seconds: u64) -> MediaTime {
        MediaTime::from_millis(1000 * seconds)
    }

    #[test]
    fn each_change_is_an_event_and_progress_is_none() {
        let mut notice = Notice::default();
        let mut told = |state| notice.told(export(state), at(0)).unwrap();
        assert_eq!(told(ExportState::Running).unwrap(), "archive: export to /dev/sdb1 begins, 12 segments, 5.0 GiB");
        assert_eq!(told(ExportState::Running), None);
        let stopped = told(ExportState::Failed).unwrap();
        assert_eq!(stopped, "archive: export to /dev/sdb1 has stopped after 3 of 12 segments: the disk was pulled out");
        told(ExportState::Running);
        assert!(told(ExportState::Done).unwrap().ends_with("safe to remove"));
        assert_eq!(told(ExportState::None), None);
    }

    #[test]
    fn it_is_shown_for_a_while() {
        for (state, seconds) in [(ExportState::Done, 60), (ExportState::Failed, 3600), (ExportState::Running, 1_000_000)] {
            let mut notice = Notice::default();
            notice.told(export(state), at(5)).unwrap();
            assert_eq!(notice.at(at(4 + seconds)).state, state);
            let after = notice.at(at(5 + seconds)).state;
            assert_eq!(after, if state == ExportState::Running { state } else { ExportState::None });
        }
    }

    #[test]
    fn two_at_once_do_not_mix() {
        let mut notice = Notice::default();
        notice.told(export(ExportState::Running), at(0)).unwrap();
        let other = Export { to: "/media/usb".into(), ..export(ExportState::Running) };
        assert!(notice.told(other.clone(), at(1)).unwrap_err().contains("/dev/sdb1"));
        notice.told(export(ExportState::Done), at(2)).unwrap();
        notice.told(other, at(3)).unwrap();
        assert_eq!(notice.at(at(3)).to, "/media/usb");
    }
}
