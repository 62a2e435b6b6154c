//! How far a long piece of work is, and what a person reads of it. A rule: who shows it brings the time.

use std::time::Duration;

use crate::units::ByteSize;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub files_done: u64,
    pub files: u64,
    pub bytes_done: u64,
    pub bytes: u64,
}

/// Who wants to know how far the work is and what it meets on its way.
pub trait Watch {
    /// Called often.
    fn progress(&mut self, progress: &Progress);

    /// Something that a person should know.
    fn tell(&mut self, line: &str);
}

impl Progress {
    /// "12 of 288 files, 1.7 GiB of 41.0 GiB, 38.2 MiB/s, 17 min left", `elapsed` after the begin.
    pub fn line(&self, elapsed: Duration) -> String {
        let (done, all) = (ByteSize::from_bytes(self.bytes_done), ByteSize::from_bytes(self.bytes));
        let rate = self.bytes_done as f64 / elapsed.as_secs_f64().max(0.001);
        let pace = match self.bytes_done {
            0 => String::new(),
            _ => {
                let left = Duration::from_secs_f64((self.bytes.saturating_sub(self.bytes_done) as f64 / rate).min(1e9));
                format!(", {}/s, {} left", ByteSize::from_bytes(rate as u64), spell(left))
            }
        };
        format!("{} of {} files, {done} of {all}{pace}", self.files_done, self.files)
    }
}

/// "3 h 12 min", "17 min", "40 s".
fn spell(left: Duration) -> String {
    match left.as_secs() {
        seconds if seconds >= 3600 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        seconds if seconds >= 60 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_reads() {
        let mut progress = Progress { files_done: 0, files: 288, bytes_done: 0, bytes: 41 << 30 };
        assert_eq!(progress.line(Duration::ZERO), "0 of 288 files, 0 KiB of 41.0 GiB");
        (progress.files_done, progress.bytes_done) = (12, 1 << 30);
        let line = progress.line(Duration::from_secs(32));
        assert_eq!(line, "12 of 288 files, 1.0 GiB of 41.0 GiB, 32.0 MiB/s, 22 min left");
        (progress.files_done, progress.bytes_done) = (288, 41 << 30);
        assert_eq!(progress.line(Duration::from_secs(41)), "288 of 288 files, 41.0 GiB of 41.0 GiB, 1.0 GiB/s, 0 s left");
        assert_eq!(spell(Duration::from_secs(2 * 3600 + 61)), "2 h 1 min");
    }
}
