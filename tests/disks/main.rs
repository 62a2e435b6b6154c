//! What happens to disks, to the daemon as a whole: full in mid-fragment, read-only after a fault, dead, pulled out, renamed away.
//! Each time it must record again by itself within 5 s of the cure, and the origin must have every picture: the stream knows
//! nothing of it.
//!
//! The disks are real ones to the kernel: ext4 on a loop device. Errors of the device itself are put by `strace` into what the
//! archive's thread asks of the kernel, because few kernels have a device that fails on demand.

mod disk;
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use disk::Disk;
use onaird::demo::verify;
use onaird::status::{ArchiveState, Status};
use support::flv::Flv;
use support::picture::{self, Shot};
use support::{Daemon, judge, now, record_of, recorder};

/// From the cure to what has been recorded again.
const GOAL: Duration = Duration::from_secs(5);

/// A fragment is at most this long: what may be missing beside the outage.
const FRAGMENT_S: f64 = 0.75;

const FPS: f64 = 30.0;

/// One fault, done and undone by itself.
struct Fault<'a> {
    name: &'a str,
    /// What the daemon must say of it.
    words: &'a [&'a str],
    state: ArchiveState,
    strike: Box<dyn FnMut(&Daemon) + 'a>,
    cure: Box<dyn FnMut() + 'a>,
}

/// Puts a recording daemon through it; `folder` holds everything, `records` is the archive.
fn endure(folder: &Path, records: &Path, mut fault: Fault<'_>) {
    let mut origin = recorder(&folder.join("origin"));
    let mut daemon = Daemon::start(folder, &config(records, &origin.url()));
    daemon.all_live();
    daemon.wait_until("the archive", recording);
    // Some closed segments, and an open one with some fragments.
    daemon.frames(150);
    let struck = now();
    (fault.strike)(&daemon);
    let status = daemon.wait_until(fault.name, |status| status.archive.state == fault.state);
    let said = status.archive.last_error.clone().unwrap_or_default();
    assert!(fault.words.iter().any(|words| said.contains(words)), "{}: it says {said:?}", fault.name);
    daemon.wait_until("the alarm", |status| status.alarms.iter().any(|alarm| alarm.id.contains("archive")));
    daemon.frames(45);
    (fault.cure)();
    let cured = now();
    daemon.wait_until("recording again", recording);
    let (back, outage) = (cured.elapsed(), struck.elapsed());
    let status = daemon.frames(90);
    assert_eq!(status.legs.iter().map(|leg| (leg.reconnects, leg.dropped_gops)).collect::<Vec<_>>(), [(0, 0)]);
    let stopped = daemon.stop();

    let stream = whole_stream(&record_of(&mut origin, "a"), &status);
    let lost = lost_pictures(records, &status);
    let lost_s = lost as f64 / FPS;
    println!(
        "{}: recording again {:.1} s after the cure; the archive misses {lost_s:.1} s of an outage of {:.1} s, \
         the origin nothing of {stream} pictures",
        fault.name,
        back.as_secs_f64(),
        outage.as_secs_f64()
    );
    assert!(back <= GOAL, "{}: recording again only {back:?} after the cure:\n{}", fault.name, stopped.log);
    assert!(lost == 0 || status.archive.dropped_gops > 0, "what is missing was counted");
    assert!(lost_s <= outage.as_secs_f64() + 2.0 * FRAGMENT_S, "{lost_s} s of {outage:?}:\n{}", stopped.log);
}

fn recording(status: &Status) -> bool {
    status.archive.state == ArchiveState::Recording
}

fn config(records: &Path, url: &str) -> String {
    format!(
        "version = 1\n[program]\nwidth = 640\nheight = 360\nframerate = \"30\"\nvideo_bitrate = \"1M\"\nkeyframe_interval = 1\n\
         [[input]]\nname = \"test\"\nkind = \"test\"\n\
         [archive]\ndirectory = '{}'\nsegment_seconds = 3\nkeep_free = \"0\"\n\
         [[leg]]\nname = \"a\"\n[[leg.origin]]\nurl = \"{url}\"\nstream_key = \"a\"\n",
        records.display()
    )
}

/// The origin has every picture; how many.
fn whole_stream(file: &Path, status: &Status) -> usize {
    judge::decodes(file);
    judge::no_gaps(&Flv::read(file));
    let shots = picture::shots(file);
    // Only what was shown before the status was read: it knows nothing of the moments after.
    let known = shots.len().saturating_sub(FPS as usize);
    judge::every_frame_once(&shots[..known], status).0
}

/// Pictures that no segment has, between the first and the last that is there: one hole. Every segment is whole, and no picture is
/// there twice.
fn lost_pictures(records: &Path, status: &Status) -> i64 {
    let segments = segments(records);
    let shots: Vec<Vec<Shot>> = segments
        .iter()
        .map(|segment| {
            judge::whole(segment);
            judge::decodes(segment);
            picture::shots(segment)
        })
        .collect();
    let card = shots.iter().flatten().filter(|shot| judge::is_card(shot));
    let counts: Vec<i64> = card.map(|shot| i64::from(shot.count)).collect();
    let steps: Vec<i64> = counts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps.iter().all(|step| *step >= 0), "no picture is there twice: {steps:?}");
    // A busy machine repeats a picture here and there or shows the slate, and leaps with the next.
    let slates = shots.iter().flatten().filter(|shot| !judge::is_card(shot)).count() as u64;
    let little = (status.program.frames_repeated + status.program.frames_dropped + slates) as i64 + 1;
    let holes: Vec<i64> = steps.iter().map(|step| step - 1).filter(|missing| *missing > little).collect();
    assert!(holes.len() <= 1, "one hole for one fault: {holes:?}");
    holes.iter().sum()
}

/// In order of time, which is not that of names within one second.
fn segments(records: &Path) -> Vec<PathBuf> {
    let mut segments = verify::recordings(records);
    assert!(segments.len() >= 3, "before and after: {segments:?}");
    segments.sort_by_key(|segment| segment.metadata().unwrap().modified().unwrap());
    segments
}

#[test]
fn a_disk_that_is_full_in_mid_fragment() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(folder.path()) else { return };
    let fault = Fault {
        name: "full (ENOSPC)",
        words: &["no space left"],
        state: ArchiveState::Full,
        strike: Box::new(|_| disk.fill()),
        cure: Box::new(|| disk.make_room()),
    };
    endure(folder.path(), &disk.place().join("archive"), fault);
}

#[test]
fn a_disk_that_turns_read_only_while_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(folder.path()) else { return };
    let Some(switch) = disk.fault_switch() else {
        eprintln!("skipped: this kernel does not let a fault be found in an ext4 on demand");
        return;
    };
    let fault = Fault {
        name: "read-only (EROFS)",
        words: &["read-only", "Read-only", "does not work"],
        state: ArchiveState::Failed,
        strike: Box::new(|_| std::fs::write(&switch, "1").unwrap()),
        cure: Box::new(|| disk.repair()),
    };
    endure(folder.path(), &disk.place().join("archive"), fault);
}

#[test]
fn a_disk_that_is_pulled_out_and_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(folder.path()) else { return };
    let fault = Fault {
        name: "pulled out",
        words: &["vanished", "read-only", "Read-only"],
        state: ArchiveState::Failed,
        strike: Box::new(|_| disk.pull()),
        cure: Box::new(|| disk.plug()),
    };
    endure(folder.path(), &disk.place().join("archive"), fault);
}

/// Something else has its name in the meantime: root could make the folder anew otherwise.
#[test]
fn a_folder_that_is_renamed_and_renamed_back() {
    let folder = tempfile::tempdir().unwrap();
    let (place, away) = (folder.path().join("disk"), folder.path().join("away"));
    let fault = Fault {
        name: "renamed",
        words: &["vanished", "something else has that name"],
        state: ArchiveState::Failed,
        strike: Box::new(|_| {
            std::fs::rename(&place, &away).unwrap();
            std::fs::write(&place, "in the way").unwrap();
        }),
        cure: Box::new(|| {
            std::fs::remove_file(&place).unwrap();
            std::fs::rename(&away, &place).unwrap();
        }),
    };
    endure(folder.path(), &place.join("archive"), fault);
}

#[test]
fn a_disk_that_gives_errors() {
    let folder = tempfile::tempdir().unwrap();
    if !may_trace() {
        eprintln!("skipped: strace may not attach to a process here");
        return;
    }
    let tracer = std::cell::RefCell::new(None);
    let fault = Fault {
        name: "errors (EIO)",
        words: &["does not work"],
        state: ArchiveState::Failed,
        strike: Box::new(|daemon| *tracer.borrow_mut() = Some(Tracer::attach(daemon.pid()))),
        cure: Box::new(|| drop(tracer.borrow_mut().take())),
    };
    endure(folder.path(), &folder.path().join("archive"), fault);
}

/// Every attempt of the archive's thread to write something out gives EIO, as long as this lives. No other thread is touched.
struct Tracer(Child);

impl Tracer {
    fn attach(pid: u32) -> Self {
        let thread = archive_thread(pid).unwrap_or_else(|| panic!("process {pid} has no thread of the archive's"));
        let mut command = Command::new("strace");
        command.args(["-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:error=EIO"]);
        command.args(["-p", &thread.to_string()]).stdin(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Tracer {
    /// Asked to end, it lets go of the thread.
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.0.wait().unwrap();
    }
}

fn archive_thread(pid: u32) -> Option<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let name = |path: &Path| std::fs::read_to_string(path.join("comm")).unwrap_or_default();
    let thread = threads.map(|entry| entry.path()).find(|path| name(path).trim() == "archive")?;
    thread.file_name()?.to_str()?.parse().ok()
}

/// Tried with a process of our own.
fn may_trace() -> bool {
    let tried = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}
