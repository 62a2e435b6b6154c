//! The archive with real packets and a real disk: files that play, at any moment, after a cut, and after the disk was away.

mod station;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use onaird::archive::{self, disk};
use onaird::config;
use onaird::config::InputKind;
use onaird::media::hub::Item;
use onaird::media::packet::Track;
use onaird::report::Report;
use onaird::status::ArchiveState;
use onaird::units::ByteSize;
use station::{Station, start};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Recording {
    task: JoinHandle<Result<(), archive::Error>>,
    stop: CancellationToken,
}

fn record(station: &Station, directory: &Path, segment: Duration) -> Recording {
    let keep_free = ByteSize::from_bytes(0);
    let config = config::Archive { enabled: true, directory: directory.into(), segment, keep_free, max_age: None };
    let report = Report::new(&station.status, |status| &mut status.archive);
    let stop = CancellationToken::new();
    let (hub, clock, events) = (station.hub.clone(), station.clock.clone(), station.events.clone());
    Recording { task: tokio::spawn(archive::run(config, hub, clock, report, events, stop.clone())), stop }
}

impl Recording {
    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(3), self.task).await.expect("in time").unwrap().unwrap();
    }
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).map(|entries| entries.map(|entry| entry.unwrap().path()).collect());
    let mut paths: Vec<PathBuf> = entries.unwrap_or_default();
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    paths
}

/// Decodes a file to its end; what ffmpeg complains of.
fn complaints(path: &Path) -> String {
    let arguments = ["-nostdin", "-v", "error", "-xerror", "-i", path.to_str().unwrap(), "-f", "null", "-"];
    let output = Command::new("ffmpeg").args(arguments).output().expect("ffmpeg");
    assert!(output.status.success() || !output.stderr.is_empty());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn pictures(path: &Path) -> usize {
    let selection = ["-v", "error", "-select_streams", "v", "-show_entries", "packet=pts", "-of", "csv=p=0"];
    let output = Command::new("ffprobe").args(selection).arg(path).output().expect("ffprobe");
    String::from_utf8_lossy(&output.stdout).lines().filter(|line| !line.trim().is_empty()).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_play_hold_every_picture_and_are_whole_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let station = start(&[("one", InputKind::Test)]);
    let mut reader = station.hub.reader();
    let recording = record(&station, folder.path(), Duration::from_secs(2));
    let mut seen = 0;
    let mut part_played = false;
    while files(folder.path(), "mp4").len() < 3 {
        let item = tokio::time::timeout(Duration::from_secs(30), reader.next()).await.expect("packets keep coming");
        let Item::Packet(packet) = item else { panic!("lost packets") };
        seen += usize::from(packet.track == Track::Video);
        if !part_played && seen > 45 {
            let part = files(folder.path(), "part").pop().expect("an open segment");
            part_played = pictures(&part) > 0;
            assert!(part_played, "the open segment can be read while it is written");
        }
    }
    recording.end().await;
    assert!(files(folder.path(), "part").is_empty(), "the last segment is closed");
    let recorded: usize = files(folder.path(), "mp4").iter().map(|path| pictures(path)).sum();
    assert!(recorded >= seen, "{recorded} pictures recorded, {seen} seen before the stop");
    for path in files(folder.path(), "mp4") {
        assert_eq!(complaints(&path), "", "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_segment_keeps_all_its_whole_fragments() {
    let folder = tempfile::tempdir().unwrap();
    let station = start(&[("one", InputKind::Test)]);
    let recording = record(&station, folder.path(), Duration::from_secs(60));
    station.until("four seconds of packets", |status| status.program.frames > 150).await;
    recording.end().await;
    let whole = fs::read(files(folder.path(), "mp4").pop().unwrap()).unwrap();
    let torn = tempfile::tempdir().unwrap();
    let part = torn.path().join("20260101T000000Z.mp4.part");
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..12 {
        let length = random.usize(whole.len() / 4..whole.len());
        fs::write(&part, &whole[..length]).unwrap();
        let recovered = disk::recover(torn.path()).unwrap();
        let path = files(torn.path(), "mp4").pop().unwrap_or_else(|| panic!("{recovered:?} of {length} bytes"));
        assert_eq!(complaints(&path), "", "cut at {length}");
        let lost = length as u64 - fs::metadata(&path).unwrap().len();
        assert!(lost < whole.len() as u64 / 4, "{lost} bytes of {length} lost");
        fs::remove_file(path).unwrap();
    }
    fs::write(&part, &whole[..500]).unwrap();
    assert!(matches!(disk::recover(torn.path()).unwrap()[..], [disk::Recovered::Empty { .. }]));
    assert!(files(torn.path(), "part").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_cannot_be_written_is_a_state_and_recording_resumes_once_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("archive");
    fs::write(&directory, "a file where the folder should be").unwrap();
    let station = start(&[("one", InputKind::Test)]);
    let recording = record(&station, &directory, Duration::from_secs(60));
    station.until("the failure", |status| status.archive.state == ArchiveState::Failed).await;
    let sentence = station.status.borrow().archive.last_error.clone().unwrap();
    assert!(sentence.contains("must be a folder"), "{sentence}");
    fs::remove_file(&directory).unwrap();
    station.until("recording again", |status| status.archive.state == ArchiveState::Recording).await;
    assert_eq!(station.status.borrow().archive.last_error, None);
    recording.end().await;
    assert_eq!(complaints(&files(&directory, "mp4").pop().unwrap()), "");
    assert_eq!(station.status.borrow().program.frames_dropped, 0, "the program did not notice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_vanishes_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("archive");
    let station = start(&[("one", InputKind::Test)]);
    let recording = record(&station, &directory, Duration::from_secs(2));
    station.until("recording", |status| status.archive.state == ArchiveState::Recording).await;
    fs::remove_dir_all(&directory).unwrap();
    station.until("the failure", |status| status.archive.state == ArchiveState::Failed).await;
    station.until("recording again", |status| status.archive.state == ArchiveState::Recording).await;
    recording.end().await;
    assert_eq!(complaints(&files(&directory, "mp4").pop().unwrap()), "");
}
