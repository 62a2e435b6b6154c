//! Something was plugged in or pulled out: wakes inputs that wait for a device. One thread for the whole process.
//!
//! ```text
//!   udevd runs:     its messages, sent when names and permissions are in place ─┐
//!   it does not:    the kernel's own messages                                   ├─▶ generation + 1 ─▶ who waits looks again
//!   always:         a look at sysfs every second, where no message arrives     ─┘
//! ```
//!
//! It does not say what happened, and it may wake for nothing: whoever is woken looks, as it would have anyway.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use udev::{MonitorBuilder, MonitorSocket};

/// Cards, and the sound cards that belong to them.
const CLASSES: [&str; 2] = ["video4linux", "sound"];

/// udevd's socket: it is there while udevd runs.
const UDEVD: &str = "/run/udev/control";

/// Messages get lost, and in a container none may come at all.
const LOOK: Duration = Duration::from_secs(1);

/// The process's watch over its plugs.
#[derive(Clone)]
pub struct Plug(Arc<Shared>);

#[derive(Default)]
struct Shared {
    generation: Mutex<u64>,
    changed: Condvar,
}

impl Plug {
    /// The one watch; its thread starts with the first call and lives as long as the process.
    pub fn shared() -> Self {
        static PLUG: OnceLock<Plug> = OnceLock::new();
        PLUG.get_or_init(|| {
            let plug = Self(Arc::default());
            let own = plug.clone();
            let body = move || watch(&own, Path::new("/sys/class"));
            if let Err(error) = std::thread::Builder::new().name("plug".into()).spawn(body) {
                tracing::warn!("devices are found by their inputs' own retries only: no thread for the watch: {error}");
            }
            plug
        })
        .clone()
    }

    /// The present count of changes: to be taken before the look at the devices, so that nothing falls in between.
    pub fn generation(&self) -> u64 {
        *self.lock()
    }

    /// Waits until something has changed since `seen`, at most for `limit`; true if it has. `seen` is brought up to date.
    pub fn wait(&self, seen: &mut u64, limit: Duration) -> bool {
        let before = *seen;
        let waited = self.0.changed.wait_timeout_while(self.lock(), limit, |generation| *generation == before);
        *seen = *waited.unwrap_or_else(PoisonError::into_inner).0;
        *seen != before
    }

    /// Wakes everybody who waits, for instance to tell an input to stop.
    pub fn wake(&self) {
        *self.lock() += 1;
        self.0.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.0.generation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn watch(plug: &Plug, classes: &Path) {
    let mut socket = None;
    let mut udevd = None;
    let mut known = nodes(classes);
    loop {
        let runs = Path::new(UDEVD).exists();
        if udevd != Some(runs) {
            (socket, udevd) = (listen(runs), Some(runs));
        }
        let heard = hear(socket.as_ref(), LOOK);
        let now = nodes(classes);
        if heard || now != known {
            known = now;
            plug.wake();
        }
    }
}

/// From udevd, which has set names and permissions by then, or from the kernel.
fn listen(udevd: bool) -> Option<MonitorSocket> {
    let builder = if udevd { MonitorBuilder::new() } else { MonitorBuilder::new_kernel() };
    let builder = builder.and_then(|builder| CLASSES.iter().try_fold(builder, |builder, class| builder.match_subsystem(class)));
    builder
        .and_then(MonitorBuilder::listen)
        .inspect_err(|error| tracing::warn!("plugging is noticed by looking only: {error}"))
        .ok()
}

/// Waits for messages and takes them all; false if none came in time. True also if some were lost on the way.
fn hear(socket: Option<&MonitorSocket>, limit: Duration) -> bool {
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    let mut waits: Vec<_> = socket.iter().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
    let heard = poll(&mut waits, timeout).is_ok_and(|ready| ready > 0);
    if heard {
        socket.into_iter().for_each(|socket| socket.iter().for_each(drop));
    }
    heard
}

/// Class, name and sysfs's own number of every node: the number is another one when a device has come back under its old name.
fn nodes(classes: &Path) -> BTreeSet<(&'static str, String, u64)> {
    let mut found = BTreeSet::new();
    for class in CLASSES {
        for entry in fs::read_dir(classes.join(class)).into_iter().flatten().flatten() {
            let number = fs::metadata(entry.path()).map(|node| node.ino()).unwrap_or_default();
            found.insert((class, entry.file_name().to_string_lossy().into_owned(), number));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn plug() -> Plug {
        Plug(Arc::default())
    }

    #[test]
    fn who_waits_is_woken_and_what_happened_before_counts() {
        let plug = plug();
        let mut seen = plug.generation();
        assert!(!plug.wait(&mut seen, Duration::ZERO));
        plug.wake();
        assert!(plug.wait(&mut seen, Duration::ZERO), "a change between the look and the wait is not lost");
        let waiter = std::thread::spawn({
            let plug = plug.clone();
            move || plug.wait(&mut seen, LONG)
        });
        plug.wake();
        assert!(waiter.join().unwrap());
    }

    /// The look that works without any messages, on folders as sysfs has them.
    #[test]
    fn a_node_that_comes_goes_or_is_another_one_is_noticed() {
        let classes = tempfile::tempdir().unwrap();
        let video = classes.path().join("video4linux");
        fs::create_dir_all(video.join("video0")).unwrap();
        let first = nodes(classes.path());
        assert_eq!(first.len(), 1);
        fs::create_dir(video.join("video1")).unwrap();
        let second = nodes(classes.path());
        assert_ne!(first, second);
        // Made before the old one goes, so that it cannot get its number.
        fs::create_dir(classes.path().join("spare")).unwrap();
        fs::remove_dir(video.join("video1")).unwrap();
        fs::rename(classes.path().join("spare"), video.join("video1")).unwrap();
        assert_ne!(nodes(classes.path()), second);
    }

    #[test]
    fn the_thread_wakes_waiters_with_or_without_udev() {
        let classes = tempfile::tempdir().unwrap();
        let video = classes.path().join("video4linux");
        fs::create_dir(&video).unwrap();
        let plug = plug();
        let mut seen = plug.generation();
        let (own, folder) = (plug.clone(), classes.path().to_path_buf());
        std::thread::spawn(move || watch(&own, &folder));
        // The watch may not have had its first look when the first node appears; it will have had before the last one does.
        let noticed = (0..60).any(|number| {
            fs::create_dir(video.join(format!("video{number}"))).unwrap();
            plug.wait(&mut seen, Duration::from_secs(2))
        });
        assert!(noticed);
    }
}
