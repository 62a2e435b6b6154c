//! `onaird archive …` as a person runs it: real segments, real disks, the real program, killed in the middle; hashes are those of
//! sha256sum. What needs root says so and is left out without it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use onaird::clock::MediaClock;
use onaird::console::socket::{Door, Orders};
use onaird::media::hub::Hub;
use onaird::media::packet::{AAC_FRAME_SAMPLES, AudioFormat, Format, Packet, Track, VideoFormat};
use onaird::report::{Events, Report};
use onaird::status::{ExportState, Status};
use onaird::units::{BitRate, FrameRate, MediaTime};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

const BINARY: &str = env!("CARGO_BIN_EXE_onaird");

/// No condition takes nearly as long on a machine that works.
const LIMIT: Duration = Duration::from_secs(60);

const FPS: u64 = 30;

/// An archive with this many segments of one second, each of about 30 times `picture` bytes.
fn record(folder: &Path, segments: u64, picture: usize) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run_archive(folder, segments, picture));
    assert_eq!(names(folder).len() as u64, segments);
    let output = archive(folder, &["rebuild"]);
    assert!(output.status.success(), "{output:?}");
}

async fn run_archive(folder: &Path, segments: u64, picture: usize) {
    gstreamer::init().unwrap();
    let text = format!(
        "version = 1\n[[input]]\nkind = 'test'\n[archive]\ndirectory = '{}'\nsegment_seconds = 1\nkeep_free = '0'\n",
        folder.display()
    );
    let config = onaird::config::parse(&text).ok().unwrap().config.archive;
    let (hub, stop) = (Hub::new(), CancellationToken::new());
    let status = watch::Sender::new(Status::default());
    let report = Report::new(&status, |status| &mut status.archive);
    let clock = MediaClock::start();
    let events = Events::new(&status, clock.clone());
    let task = tokio::spawn(onaird::archive::run(
        config,
        hub.clone(),
        clock,
        report,
        events,
        tokio::sync::mpsc::channel(1).1,
        stop.clone(),
    ));
    let mut watch = status.subscribe();
    for segment in 0..segments {
        packets(segment, picture).into_iter().for_each(|packet| hub.publish(packet));
        let written = |status: &Status| status.archive.written_bytes > segment * FPS * picture as u64;
        tokio::time::timeout(LIMIT, watch.wait_for(written)).await.expect("it is written").unwrap();
    }
    stop.cancel();
    tokio::time::timeout(LIMIT, task).await.expect("it stops").unwrap();
}

/// One second of them, in which nothing is a picture but all is in its place.
fn packets(second: u64, picture: usize) -> Vec<Packet> {
    let format = format();
    let start = MediaTime::from_millis(1000 * second);
    let length = |samples: u64| Duration::from_nanos(samples * 1_000_000_000 / 48_000);
    let frame = Duration::from_nanos(1_000_000_000 / FPS);
    let video = (0..FPS).map(|index| Packet {
        track: Track::Video,
        time: start + Duration::from_nanos(index * 1_000_000_000 / FPS),
        duration: frame,
        keyframe: index == 0,
        data: unit(picture),
        format: format.clone(),
    });
    let sounds = (0..46).map(|index| Packet {
        track: Track::Audio,
        time: start + length(index * u64::from(AAC_FRAME_SAMPLES)),
        duration: length(AAC_FRAME_SAMPLES.into()),
        keyframe: false,
        data: Bytes::from_static(&[0x21, 0x10]),
        format: format.clone(),
    });
    let mut packets: Vec<Packet> = video.chain(sounds).collect();
    packets.sort_by_key(|packet| (packet.time, packet.track == Track::Audio));
    packets
}

/// A NAL unit with its length before it.
fn unit(length: usize) -> Bytes {
    let mut unit = (length as u32 + 1).to_be_bytes().to_vec();
    unit.extend((0..length).map(|_| fastrand::u8(1..)));
    unit.push(1);
    unit.into()
}

fn format() -> Arc<Format> {
    const AVCC: &[u8] =
        &[1, 0x42, 0xc0, 0x1e, 0xff, 0xe1, 0, 8, 0x67, 0x42, 0xc0, 0x1e, 0xd9, 0, 0xa0, 0x10, 1, 0, 4, 0x68, 0xce, 0x3c, 0x80];
    let video = VideoFormat {
        width: 320,
        height: 180,
        framerate: FrameRate::new(FPS as u32, 1).unwrap(),
        bitrate: BitRate::from_bps(1_000_000),
        avcc: Bytes::from_static(AVCC),
    };
    let asc = Bytes::from_static(&[0x11, 0x90]);
    Arc::new(Format { video, audio: AudioFormat { rate: 48_000, channels: 2, bitrate: BitRate::from_bps(128_000), asc } })
}

/// `onaird archive WORDS --directory FOLDER`, without a daemon.
fn command(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("archive").args(words).arg("--directory").arg(folder).arg("--config").arg(folder.join("none.toml"));
    command.env("ONAIRD_SOCKET", folder.join("none.sock")).env_remove("RUNTIME_DIRECTORY");
    command
}

fn archive(folder: &Path, words: &[&str]) -> Output {
    command(folder, words).output().unwrap()
}

fn export(folder: &Path, to: &Path) -> Output {
    archive(folder, &["export", "--to", to.to_str().unwrap()])
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The closed segments in a folder, by name.
fn names(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = files.filter(|file| file.ends_with(".mp4")).collect();
    names.sort();
    names
}

/// All files below a folder that have this ending, by their names.
fn below(folder: &Path, end: &str) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            match path.is_dir() {
                true => folders.push(path),
                false if name.ends_with(end) => drop(found.insert(name, path)),
                false => {}
            }
        }
    }
    found
}

fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap_or_default().to_owned()
}

/// Every exported file is what was recorded; returns how many there are.
fn assert_whole(folder: &Path, to: &Path) -> usize {
    let copies = below(to, ".mp4");
    for (name, copy) in &copies {
        assert_eq!(sha256(copy), sha256(&folder.join(name)), "{}", copy.display());
    }
    copies.len()
}

fn flip(path: &Path, at_end: u64) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.len() - 1 - at_end as usize;
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A disk in memory, unmounted at the end.
struct Disk(tempfile::TempDir);

impl Disk {
    /// `None` where one may not mount.
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "onaird-test"]).arg(folder.path()).output();
        let disk = mounted.is_ok_and(|output| output.status.success()).then_some(Self(folder));
        if disk.is_none() {
            eprintln!("skipped: a small disk can only be mounted by root");
        }
        disk
    }

    fn remount(&self, options: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(self.0.path()).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[test]
fn listed_for_people_and_for_scripts() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path();
    record(folder, 4, 100);
    let output = archive(folder, &["list"]);
    let text = out(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((output.status.code(), lines.len()), (Some(0), 5), "{output:?}");
    assert!(lines[0].contains(&names(folder)[0]) || lines[1].contains(&names(folder)[0]), "{text}");
    assert!(lines[4].starts_with("4 segments, 0:00:04.0,"), "{text}");

    let json: serde_json::Value = serde_json::from_str(&out(&archive(folder, &["list", "--json"]))).unwrap();
    assert_eq!(json, serde_json::from_str::<serde_json::Value>(&out(&archive(folder, &["list", "--json"]))).unwrap());
    let segments = json["segments"].as_array().unwrap();
    assert_eq!((segments.len(), json["total"]["segments"].as_u64()), (4, Some(4)));
    for segment in segments {
        let path = folder.join(segment["file"].as_str().unwrap());
        assert_eq!(segment["sha256"], sha256(&path));
        assert_eq!(segment["bytes"].as_u64(), Some(path.metadata().unwrap().len()));
        assert_eq!(segment["frames"], 30);
    }
    let nothing = archive(folder, &["list", "--until", "2020-01-01"]);
    assert!(out(&nothing).starts_with("0 segments"), "{nothing:?}");
    let wrong = archive(folder, &["list", "--from", "yesterday"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(error(&wrong).contains("2026-11-23T14:00"), "{wrong:?}");
}

#[test]
fn what_is_wrong_is_found_and_named() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path();
    record(folder, 4, 100);
    let names = names(folder);
    let good = archive(folder, &["verify"]);
    assert_eq!((good.status.code(), out(&good).trim()), (Some(0), "4 segments are what was recorded"), "{good:?}");

    flip(&folder.join(&names[0]), 5);
    let file = std::fs::OpenOptions::new().write(true).open(folder.join(&names[1])).unwrap();
    file.set_len(file.metadata().unwrap().len() - 7).unwrap();
    std::fs::remove_file(folder.join(&names[2])).unwrap();
    std::fs::copy(folder.join(&names[3]), folder.join("20200101T000000Z.mp4")).unwrap();
    let bad = archive(folder, &["verify"]);
    let text = out(&bad);
    assert_eq!(bad.status.code(), Some(1), "{bad:?}");
    for (file, words) in [
        (names[0].as_str(), "its bytes are not those that were recorded"),
        (&names[1], "was recorded with"),
        (&names[1], "its structure is broken"),
        (&names[2], "the file is missing; `onaird archive rebuild`"),
        ("20200101T000000Z.mp4", "the index does not know it"),
    ] {
        assert!(
            text.lines().any(|line| line.starts_with(&format!("{file}: ")) && line.contains(words)),
            "{file} {words}: {text}"
        );
    }
    assert!(!text.contains(&format!("{}: ", names[3])), "{text}");
    let one = archive(folder, &["verify", &names[3]]);
    assert_eq!(one.status.code(), Some(0), "{one:?}");
    assert_eq!(archive(folder, &["verify", "20990101T000000Z"]).status.code(), Some(1));

    let rebuilt = archive(folder, &["rebuild"]);
    assert!(out(&rebuilt).contains("4 segments are in the index: 1 new, 2 changed; 1 have no file any more"), "{rebuilt:?}");
    assert_eq!(rebuilt.status.code(), Some(1), "one of them is still torn");
}

#[test]
fn what_is_protected_stays_so_without_an_index() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path();
    record(folder, 3, 100);
    let names = names(folder);
    let done = archive(folder, &["protect", &names[1]]);
    assert_eq!((done.status.code(), out(&done).starts_with("1 segments are protected")), (Some(0), true), "{done:?}");
    let mode = |name: &str| folder.join(name).metadata().unwrap().permissions().mode() & 0o222;
    assert_eq!((mode(&names[1]), mode(&names[0]) != 0), (0, true));
    for file in ["index.sqlite3", "index.sqlite3-wal", "index.sqlite3-shm"] {
        let _ = std::fs::remove_file(folder.join(file));
    }
    let without = archive(folder, &["list"]);
    assert_eq!(without.status.code(), Some(1));
    assert!(error(&without).contains("`onaird archive rebuild`"), "{without:?}");
    assert_eq!(archive(folder, &["rebuild"]).status.code(), Some(0));
    let protected = || out(&archive(folder, &["list"])).lines().filter(|line| line.contains(" protected")).count();
    assert_eq!(protected(), 2, "the segment and the sum");
    assert!(archive(folder, &["unprotect", "--from", "2020-01-01"]).status.success());
    assert_eq!((protected(), mode(&names[1]) != 0), (1, true));
    let unknown = archive(folder, &["protect", "20990101T000000Z"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(error(&unknown).contains("20990101T000000Z.mp4"), "{unknown:?}");
}

#[test]
fn another_user_reads_without_a_trace_and_is_told_what_is_not_allowed() {
    if !is_root() {
        eprintln!("skipped: only root can run something as another user");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let folder = home.path();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    record(folder, 2, 100);
    // The program too must be where another user can get at it.
    let binary = home.path().join("onaird");
    std::fs::copy(BINARY, &binary).unwrap();
    let files = || std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    let before = files();
    let as_nobody = |words: &[&str]| {
        let mut command = Command::new(&binary);
        command.arg("archive").args(words).arg("--directory").arg(folder).current_dir("/").uid(65534).gid(65534);
        command.output().unwrap()
    };
    let listed = as_nobody(&["list"]);
    assert_eq!((listed.status.code(), out(&listed).lines().count()), (Some(0), 3), "{listed:?}");
    assert_eq!(as_nobody(&["verify"]).status.code(), Some(0));
    assert_eq!(files(), before);
    for words in [&["protect", "--from", "2020-01-01"][..], &["rebuild"]] {
        let refused = as_nobody(words);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(error(&refused).contains("sudo -u root onaird archive"), "{refused:?}");
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    let refused = Command::new(BINARY).args(["archive", "list", "--directory"]).arg(folder).output().unwrap();
    assert!(refused.status.success(), "root may");
}

#[test]
fn exported_once_and_proven() {
    let (home, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (folder, to) = (home.path(), target.path());
    record(folder, 3, 1000);
    std::fs::write(folder.join("20260101T000000Z.mp4.part"), "the open segment").unwrap();
    let first = export(folder, to);
    assert_eq!(first.status.code(), Some(0), "{first:?}");
    let text = out(&first);
    assert!(text.contains("3 segments copied, 0 were there") && text.contains("safe to remove"), "{text}");
    assert_eq!(assert_whole(folder, to), 3);
    let copies = below(to, ".mp4");
    let (name, copy) = copies.first_key_value().unwrap();
    let place = format!("onair/{}/{}/{}/{name}", &name[..4], &name[4..6], &name[6..8]);
    assert_eq!(copy, &to.join(place));

    let manifests = below(to, ".json");
    let segments: Vec<serde_json::Value> = manifests
        .values()
        .flat_map(|path| {
            serde_json::from_slice::<serde_json::Value>(&std::fs::read(path).unwrap()).unwrap()["segments"]
                .take()
                .as_array()
                .cloned()
                .unwrap()
        })
        .collect();
    assert_eq!(segments.len(), 3);
    for segment in &segments {
        assert_eq!(segment["sha256"], sha256(&copies[segment["file"].as_str().unwrap()]));
        assert_eq!((&segment["deleted"], &segment["protected"]), (&false.into(), &false.into()));
    }

    let written = |path: &PathBuf| path.metadata().unwrap().modified().unwrap();
    let before: Vec<_> = copies.values().chain(manifests.values()).map(written).collect();
    let second = export(folder, to);
    assert!(out(&second).contains("0 segments copied, 3 were there"), "{second:?}");
    let after: Vec<_> = copies.values().chain(manifests.values()).map(written).collect();
    assert_eq!(before, after, "nothing is written twice");
    assert!(below(to, ".part").is_empty());

    flip(copy, 3);
    let third = export(folder, to);
    assert!(out(&third).contains("1 segments copied, 2 were there"), "{third:?}");
    assert_eq!(assert_whole(folder, to), 3);
}

#[test]
fn only_what_is_wanted_and_what_is_damaged_is_told() {
    let (home, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (folder, to) = (home.path(), target.path());
    record(folder, 3, 1000);
    let none = archive(folder, &["export", "--to", to.to_str().unwrap(), "--until", "2020-01-01"]);
    assert!(none.status.success() && below(to, ".mp4").is_empty(), "{none:?}");
    flip(&folder.join(&names(folder)[1]), 3);
    let output = export(folder, to);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(out(&output).contains(&format!("{}: it is not what was recorded", names(folder)[1])), "{output:?}");
    assert_eq!(assert_whole(folder, to), 2);
    let nowhere = export(folder, &to.join("not mounted"));
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(error(&nowhere).contains("--to wants a folder that is there"), "{nowhere:?}");
    assert!(!to.join("not mounted").exists());
}

#[expect(clippy::disallowed_methods, reason = "a test's own limit")]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "waited for: {what}");
        std::thread::yield_now();
    }
}

/// A running export, killed if it is dropped.
struct Exporting(Child);

impl Exporting {
    fn start(mut command: Command, to: &Path) -> Self {
        command.args(["--to", to.to_str().unwrap()]).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// In the middle of its work: something is there, and something is not. False if it was too fast for that.
    fn kill_in_the_middle(mut self, to: &Path, all: usize) -> bool {
        wait_until("the first file", || !below(to, ".mp4").is_empty() || self.0.try_wait().unwrap().is_some());
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        below(to, ".mp4").len() < all
    }
}

impl Drop for Exporting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn killed_in_the_middle_it_leaves_nothing_half_written_and_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path();
    record(folder, 8, 200_000);
    for _ in 0..5 {
        let target = tempfile::tempdir().unwrap();
        let to = target.path();
        if !Exporting::start(command(folder, &["export"]), to).kill_in_the_middle(to, 8) {
            continue;
        }
        let there = assert_whole(folder, to);
        let output = export(folder, to);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(out(&output).contains(&format!("{} segments copied, {there} were there", 8 - there)), "{output:?}");
        assert_eq!((assert_whole(folder, to), below(to, ".part").len()), (8, 0));
        return;
    }
    panic!("five exports were over before they could be killed");
}

#[test]
fn a_full_disk_is_told_and_the_next_export_goes_on() {
    let Some(disk) = Disk::mount("10m") else { return };
    let home = tempfile::tempdir().unwrap();
    let (folder, to) = (home.path(), disk.0.path());
    record(folder, 6, 100_000);
    let output = export(folder, to);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(out(&output).contains("free and") && error(&output).contains("it is full"), "{output:?}");
    let there = assert_whole(folder, to);
    assert!((1..6).contains(&there), "{there}");
    assert!(below(to, ".part").is_empty());
    disk.remount("size=40m");
    let output = export(folder, to);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(assert_whole(folder, to), 6);
}

#[test]
fn a_read_only_disk_is_told() {
    let Some(disk) = Disk::mount("10m") else { return };
    let home = tempfile::tempdir().unwrap();
    record(home.path(), 1, 1000);
    disk.remount("ro");
    let output = export(home.path(), disk.0.path());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(error(&output).contains("read-only"), "{output:?}");
}

/// The daemon's end: its socket, and the room that takes an export's word.
struct Daemon {
    status: watch::Sender<Status>,
    stop: CancellationToken,
}

impl Daemon {
    fn start(socket: &Path) -> Self {
        gstreamer::init().unwrap();
        let (status, stop) = (watch::Sender::new(Status::default()), CancellationToken::new());
        let (archive, requests) = mpsc::channel(8);
        let clock = MediaClock::start();
        let report = Report::new(&status, |status| &mut status.archive.export);
        let events = Events::new(&status, clock.clone());
        tokio::spawn(onaird::archive::hear_exports(requests, clock, report, events, stop.clone()));
        let (nobody, _) = mpsc::channel(1);
        let orders = Orders { program: nobody.clone(), preflight: nobody, archive };
        tokio::spawn(Door::open(socket).unwrap().serve(status.subscribe(), orders));
        Self { status, stop }
    }

    async fn until(&self, state: ExportState) -> Status {
        let mut watch = self.status.subscribe();
        let reached = watch.wait_for(|status| status.archive.export.state == state);
        let status = tokio::time::timeout(LIMIT, reached).await;
        status.unwrap_or_else(|_| panic!("waited for {state}: {:#?}", self.status.borrow())).unwrap().clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_knows_how_far_it_is_and_when_it_dies() {
    let (home, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (folder, to) = (home.path().to_path_buf(), target.path().to_path_buf());
    let recording = folder.clone();
    tokio::task::spawn_blocking(move || record(&recording, 8, 200_000)).await.unwrap();
    let socket = folder.join("control.sock");
    let daemon = Daemon::start(&socket);
    let telling = |folder: &Path| {
        let mut command = command(folder, &["export"]);
        command.env("ONAIRD_SOCKET", &socket);
        command
    };
    let exporting = Exporting::start(telling(&folder), &to);
    let running = daemon.until(ExportState::Running).await.archive.export;
    assert_eq!((running.files, running.to.as_str()), (8, to.to_str().unwrap()));
    drop(exporting);
    let failed = daemon.until(ExportState::Failed).await;
    assert!(failed.archive.export.last_error.unwrap().contains("without a word"));

    let mut exporting = Exporting::start(telling(&folder), &to);
    let done = daemon.until(ExportState::Done).await;
    let export = &done.archive.export;
    assert_eq!((export.files_done, export.files, export.bytes_done), (8, 8, export.bytes));
    assert!(done.events.iter().any(|event| event.text.contains("safe to remove")), "{:#?}", done.events);
    let ended = tokio::task::spawn_blocking(move || exporting.0.wait().unwrap()).await.unwrap();
    assert!(ended.success());
}
