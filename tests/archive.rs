//! The archive against real packets, a real folder and ffmpeg's opinion of the files.

mod recorder;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use onaird::media::packet::{AAC_FRAME_SAMPLES, Track};
use onaird::status::ArchiveState;
use onaird::units::ByteSize;
use recorder::{Archive, Clip, RATE, assert_plays, count, files, probe, run};

#[tokio::test(flavor = "multi_thread")]
async fn segments_play_and_nothing_is_lost() {
    let clip = Clip::make(10, 320, 180);
    let home = tempfile::tempdir().unwrap();
    let archive = Archive::start(&home.path().join("archive"), |_| {});
    archive.publish(clip.packets(Duration::from_secs(7))).await;
    let status = archive.wait_for("three segments closed", |archive| archive.segments == 3).await;
    assert_eq!((status.state, status.dropped_gops, status.last_error), (ArchiveState::Recording, 0, None));
    let status = archive.wait_for("a measured rate", |archive| archive.seconds_left.is_some()).await;
    assert!(status.free_bytes > 0 && status.seconds_left.unwrap() > 0);
    let directory = archive.directory.clone();
    let last = archive.stop().await;
    assert_eq!((last.archive.state, last.archive.segments, &last.archive.file), (ArchiveState::Off, 4, &None));

    assert!(files(&directory, ".part").is_empty());
    let segments = files(&directory, ".mp4");
    let bytes: u64 = segments.iter().map(|file| file.metadata().unwrap().len()).sum();
    assert_eq!(bytes, last.archive.written_bytes);
    let mut order = segments.clone();
    order.sort_by_key(|file| file.metadata().unwrap().modified().unwrap());
    let pictures: Vec<usize> = order.iter().map(|file| count(file, "v")).collect();
    assert_eq!(pictures, [90, 90, 90, 30]);
    let sounds: usize = segments.iter().map(|file| count(file, "a")).sum();
    let published = clip.packets(Duration::ZERO).iter().filter(|packet| packet.track == Track::Audio).count();
    assert_eq!(sounds, published);
    for file in &segments {
        assert_plays(file);
        assert_eq!(probe(file, "v", "stream=codec_name,width,height,r_frame_rate"), ["h264,320,180,30/1"]);
        assert_eq!(probe(file, "a", "stream=codec_name,sample_rate,channels"), ["aac,48000,2"]);
    }
    assert_in_step(&order);
}

/// The first sound of each segment stands where it was made, to the sample: at its place on the grid of 1024.
fn assert_in_step(segments: &[PathBuf]) {
    for (index, file) in segments.iter().enumerate() {
        assert_eq!(probe(file, "v", "packet=pts,flags")[0], "0,K_");
        let begin = index * 3 * RATE as usize;
        let wanted = begin.next_multiple_of(AAC_FRAME_SAMPLES as usize) - begin;
        assert_eq!(probe(file, "a", "packet=pts")[0], wanted.to_string(), "{}", file.display());
        let pictures = probe(file, "v", "packet=pts");
        let steps = pictures.windows(2).map(|pair| pair[1].parse::<u64>().unwrap() - pair[0].parse::<u64>().unwrap());
        assert!(steps.into_iter().all(|step| step == 3000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_segment_plays_at_any_moment() {
    let clip = Clip::make(8, 320, 180);
    let home = tempfile::tempdir().unwrap();
    let archive = Archive::start(home.path(), |config| config.segment = Duration::from_secs(600));
    let mut packets = clip.packets(Duration::ZERO);
    let mut seen = 0;
    // Chunks that are longer than a fragment.
    while packets.len() >= 60 {
        let rest = packets.split_off(60);
        archive.publish(std::mem::replace(&mut packets, rest)).await;
        let written = archive.wait_for("more written", |archive| archive.written_bytes > seen).await;
        seen = written.written_bytes;
        let open = archive.directory.join(written.file.unwrap());
        if written.state == ArchiveState::Recording {
            // While it grows a reader may see half of a fragment, as any reader of a growing file may.
            assert_eq!(run("ffprobe", &["-v", "quiet", "FILE"], &open).status.code(), Some(0));
            assert!(count_in_copy(&open) > 0);
        }
    }
    archive.stop().await;
}

/// As of one moment, without what is being added while it is looked at.
fn count_in_copy(open: &Path) -> usize {
    let home = tempfile::tempdir().unwrap();
    let copy = home.path().join("copy.mp4");
    std::fs::copy(open, &copy).unwrap();
    let output =
        run("ffprobe", &["-v", "quiet", "-select_streams", "v", "-show_entries", "packet=pts", "-of", "csv=p=0", "FILE"], &copy);
    String::from_utf8(output.stdout).unwrap().lines().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_segment_is_saved_at_the_next_start() {
    let clip = Clip::make(6, 320, 180);
    let home = tempfile::tempdir().unwrap();
    let archive = Archive::start(&home.path().join("first"), |config| config.segment = Duration::from_secs(600));
    archive.publish(clip.packets(Duration::ZERO)).await;
    let directory = archive.directory.clone();
    archive.stop().await;
    let whole = std::fs::read(&files(&directory, ".mp4")[0]).unwrap();

    let torn = home.path().join("torn");
    std::fs::create_dir(&torn).unwrap();
    let mut offsets: Vec<usize> = (0..12).map(|_| fastrand::usize(..whole.len())).collect();
    offsets.extend([0, 1, 700, whole.len() - 1]);
    for (index, at) in offsets.iter().enumerate() {
        let mut bytes = whole[..*at].to_vec();
        if index % 2 == 1 {
            bytes.resize(whole.len(), 0);
        }
        std::fs::write(torn.join(format!("20260101T0000{index:02}Z.mp4.part")), bytes).unwrap();
    }
    let archive = Archive::start(&torn, |_| {});
    archive.publish(clip.packets(Duration::ZERO)).await;
    archive.wait_for("recording", |archive| archive.segments > 0 && archive.state == ArchiveState::Recording).await;
    let saved: Vec<PathBuf> =
        files(&torn, ".mp4").into_iter().filter(|file| file.to_str().unwrap().contains("20260101T")).collect();
    assert_eq!(files(&torn, ".part").len(), archive.files(".part").len());
    for (index, at) in offsets.iter().enumerate() {
        let file = torn.join(format!("20260101T0000{index:02}Z.mp4"));
        assert!(!torn.join(format!("20260101T0000{index:02}Z.mp4.part")).exists());
        match saved.contains(&file) {
            true => assert_plays(&file),
            false => assert!(*at < whole.len() / 4, "torn at {at} of {} and not saved", whole.len()),
        }
        // What is lost is less than one fragment.
        let lost = at.saturating_sub(file.metadata().map_or(0, |metadata| metadata.len() as usize));
        assert!(lost < whole.len() / 6, "{lost} of {at} bytes lost");
    }
    let status = archive.stop().await;
    assert!(status.events.iter().any(|event| event.text.contains("began")), "{:?}", status.events);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_used_is_told_and_tried_again() {
    let clip = Clip::make(6, 320, 180);
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("archive");
    std::fs::write(&path, "in the way").unwrap();
    let archive = Archive::start(&path, |_| {});
    let status = archive.wait_for("failed before the first packet", |archive| archive.state == ArchiveState::Failed).await;
    assert!(status.last_error.unwrap().contains(path.to_str().unwrap()));
    for part in 0..3 {
        archive.publish(clip.packets(Duration::from_secs(6 * part))).await;
    }
    let status = archive.wait_for("lost GOPs counted", |archive| archive.dropped_gops >= 5).await;
    assert_eq!(status.state, ArchiveState::Failed);

    std::fs::remove_file(&path).unwrap();
    archive.publish(clip.packets(Duration::from_secs(18))).await;
    let status = archive.wait_for("recording once cured", |archive| archive.state == ArchiveState::Recording).await;
    assert!(status.last_error.is_none_or(|words| words.contains("are not in the archive")), "no fault stands any more");

    // At once, with all that is being written into it.
    std::fs::rename(&path, home.path().join("gone")).unwrap();
    archive.publish(clip.packets(Duration::from_secs(24))).await;
    archive.wait_for("recording into a new folder", |archive| archive.state == ArchiveState::Recording && path.exists()).await;
    archive.publish(clip.packets(Duration::from_secs(30))).await;
    archive.wait_for("a segment there", |archive| archive.segments > 0).await;
    let status = archive.stop().await;
    let told = |words: &str| status.events.iter().any(|event| event.text.contains(words));
    assert!(told("vanished") && told("recording again"), "{:#?}", status.events);
    files(&path, ".mp4").iter().for_each(|file| assert_plays(file));
}

/// On one thread nothing is read while this test publishes: as a disk would have it that takes nothing for 20 s.
#[tokio::test]
async fn what_a_slow_disk_loses_is_whole_gops_and_counted() {
    let clip = Clip::make(4, 320, 180);
    let home = tempfile::tempdir().unwrap();
    let archive = Archive::start(home.path(), |config| config.segment = Duration::from_secs(600));
    archive.publish(clip.packets(Duration::ZERO)).await;
    let part: u64 = clip.packets(Duration::ZERO).iter().map(|packet| packet.data.len() as u64).sum();
    archive.wait_for("more than half of 4 s written", |archive| archive.written_bytes > part * 5 / 8).await;
    for part in 1..7 {
        clip.packets(Duration::from_secs(4 * part)).into_iter().for_each(|packet| archive.hub.publish(packet));
    }
    let status = archive.wait_for("losses", |archive| archive.dropped_gops > 0).await;
    assert!((11..=13).contains(&status.dropped_gops), "28 s without the last 12 and the first 4: {status:?}");
    archive.wait_for("most of 16 s written", |archive| archive.written_bytes > part * 7 / 2).await;
    archive.publish(clip.packets(Duration::from_secs(28))).await;
    let status = archive.wait_for("told", |archive| archive.last_error.is_some()).await;
    assert!(status.last_error.unwrap().contains("too slow"));
    archive.stop().await;
    let segments = files(home.path(), ".mp4");
    assert_eq!(segments.len(), 2);
    segments.iter().for_each(|file| assert_plays(file));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_format_begins_another_segment() {
    let (small, large) = (Clip::make(2, 320, 180), Clip::make(2, 640, 360));
    let home = tempfile::tempdir().unwrap();
    let archive = Archive::start(home.path(), |config| config.segment = Duration::from_secs(600));
    archive.publish(small.packets(Duration::ZERO)).await;
    archive.publish(large.packets(Duration::from_secs(2))).await;
    archive.wait_for("the first is closed", |archive| archive.segments == 1).await;
    archive.stop().await;
    let mut sizes: Vec<String> =
        files(home.path(), ".mp4").iter().flat_map(|file| probe(file, "v", "stream=width,height")).collect();
    sizes.sort();
    assert_eq!(sizes, ["320,180", "640,360"]);
    files(home.path(), ".mp4").iter().for_each(|file| {
        assert_plays(file);
        assert_eq!(count(file, "v"), 60);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_go_when_space_is_short() {
    let clip = Clip::make(8, 320, 180);
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("20200101T000000Z.mp4"), "old").unwrap();
    std::fs::write(home.path().join("holiday.mp4"), "not ours").unwrap();
    // More than any disk has: everything that may go goes.
    let archive = Archive::start(home.path(), |config| config.keep_free = ByteSize::from_bytes(u64::MAX));
    archive.publish(clip.packets(Duration::ZERO)).await;
    let status = archive.wait_for("a word about space", |archive| archive.last_error.is_some()).await;
    assert_eq!((status.state, status.seconds_left.unwrap_or(0)), (ArchiveState::Recording, 0));
    assert!(status.last_error.unwrap().contains("to be kept"));
    let last = archive.stop().await;
    assert!(!home.path().join("20200101T000000Z.mp4").exists() && home.path().join("holiday.mp4").exists());
    assert_eq!(last.archive.segments, files(home.path(), "Z.mp4").len() as u64 + files(home.path(), "Z-1.mp4").len() as u64);
    assert!(last.events.iter().any(|event| event.text.contains("deleted 20200101T000000Z.mp4")));
}

/// A disk of 24 MiB in memory; unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where one may not mount.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=24m", "onaird-test"]).arg(folder.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_recording_goes_on_when_there_is_room() {
    let Some(small) = SmallDisk::mount() else {
        eprintln!("skipped: a small disk can only be mounted by root");
        return;
    };
    let disk = small.0.path().to_path_buf();
    let clip = Clip::make(6, 320, 180);
    let archive = Archive::start(&disk.join("archive"), |config| config.segment = Duration::from_secs(600));
    archive.publish(clip.packets(Duration::ZERO)).await;
    archive.wait_for("recording", |archive| archive.state == ArchiveState::Recording).await;
    let filler = disk.join("filler");
    std::fs::write(&filler, vec![1; 24 << 20]).unwrap_err();
    archive.publish(clip.packets(Duration::from_secs(6))).await;
    let status = archive.wait_for("full", |archive| archive.state == ArchiveState::Full).await;
    assert!(status.last_error.unwrap().contains("no space left"));
    std::fs::remove_file(&filler).unwrap();
    archive.publish(clip.packets(Duration::from_secs(12))).await;
    archive.wait_for("recording again", |archive| archive.state == ArchiveState::Recording && archive.segments == 1).await;
    archive.stop().await;
    let segments = files(&disk.join("archive"), ".mp4");
    assert_eq!(segments.len(), 2);
    segments.iter().for_each(|file| assert_plays(file));
}

#[tokio::test]
async fn switched_off_it_writes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("archive");
    let archive = Archive::start(&path, |config| config.enabled = false);
    archive.publish(Clip::make(1, 320, 180).packets(Duration::ZERO)).await;
    assert_eq!(archive.stop().await.archive.state, ArchiveState::Off);
    assert!(!path.exists());
}
