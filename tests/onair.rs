//! The product as a whole on one machine: what real origins and the archive got, measured from what they recorded.

#[path = "support/selftest.rs"]
mod selftest;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use onaird::demo::verify;
use onaird::status::{ArchiveState, Shows, Status};
use support::flv::{Flv, Track};
use support::picture::{self, Shot};
use support::{BINARY, Daemon, judge, record_of, recorder};

/// Seconds that are measured.
const SECONDS: u64 = 12;

/// Largest distance of beep and flash, in seconds.
const OFFSET: f64 = 0.020;

/// 640x360 at 30 frames per second, a keyframe every second.
const PROGRAM: &str = "version = 1\n[device]\nname = \"test\"\n[program]\nwidth = 640\nheight = 360\nframerate = \"30\"\n\
    video_bitrate = \"1M\"\nkeyframe_interval = 1\n";

const TEST_INPUT: &str = "[[input]]\nname = \"test\"\nkind = \"test\"\n";

fn leg(name: &str, url: &str) -> String {
    format!("[[leg]]\nname = \"{name}\"\n[[leg.origin]]\nurl = \"{url}\"\nstream_key = \"{name}\"\n")
}

fn archive(directory: &Path) -> String {
    format!("[archive]\ndirectory = '{}'\nsegment_seconds = 5\nkeep_free = \"0\"\n", directory.display())
}

const NO_ARCHIVE: &str = "[archive]\nenabled = false\n";

fn alarm(status: &Status, words: &[&str]) -> bool {
    let says = |text: &str| words.iter().all(|word| text.contains(word));
    status.alarms.iter().any(|alarm| says(&format!("{} {} {}", alarm.id, alarm.text, alarm.remedy)))
}

/// All segments below `folder`, each of which decodes without a complaint.
fn good_segments(folder: &Path) -> Vec<PathBuf> {
    let segments = verify::recordings(folder);
    assert!(!segments.is_empty(), "there are segments in {}", folder.display());
    segments.iter().for_each(|segment| judge::decodes(segment));
    segments
}

#[test]
fn two_origins_get_the_same_program_without_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let (mut one, mut two) = (recorder(&folder.path().join("1")), recorder(&folder.path().join("2")));
    let records = folder.path().join("archive");
    let config = [PROGRAM, TEST_INPUT, &archive(&records), &leg("a", &one.url()), &leg("b", &two.url())].concat();
    let mut daemon = Daemon::start(folder.path(), &config);
    daemon.all_live();
    daemon.wait_until("the archive", |status| status.archive.state == ArchiveState::Recording);
    let last = daemon.frames(30 * SECONDS);
    daemon.stop();

    let files = [record_of(&mut one, "a"), record_of(&mut two, "b")];
    let [a, b] = [Flv::read(&files[0]), Flv::read(&files[1])];
    for recording in [&a, &b] {
        judge::no_gaps(recording);
        keyframes_are_regular(recording);
    }
    for track in [Track::Video, Track::Audio] {
        let (common, beside) = judge::same_media(&a, &b, track);
        assert!(common as u64 >= 30 * (SECONDS - 1), "{track:?}: only {common} in common");
        // They join at a keyframe, at most a second apart, and end when the daemon does.
        assert!(beside <= 30 + 47, "{track:?}: {beside} in one recording alone");
    }
    for file in &files {
        judge::decodes(file);
        every_frame_once(&picture::shots(file), &last);
        assert!(beep_and_flash_together(file) as u64 >= SECONDS - 1);
    }
    let segments = good_segments(&records);
    assert!(segments.len() >= 2, "a segment every 5 s: {segments:?}");
    segments.iter().for_each(|segment| judge::no_gaps_in_file(segment, 1.0 / 30.0));
    let archived: Vec<_> = segments.iter().flat_map(|segment| picture::shots(segment)).collect();
    // At a stop the encoders get 0.4 s for what they still hold.
    assert!(archived.len() as u64 >= 30 * SECONDS - 12, "only {} pictures in the archive", archived.len());
    every_frame_once(&archived, &last);
    let marks: usize = segments.iter().map(|segment| beep_and_flash_together(segment)).sum();
    assert!(marks as u64 >= SECONDS - 1, "only {marks} marks in the archive");
}

/// From the second keyframe on; the first one is where the leg joined, which may be the program's very first picture.
fn keyframes_are_regular(recording: &Flv) {
    let video = recording.media(Track::Video);
    assert!(video[0].keyframe, "it begins with a keyframe");
    let keyframes: Vec<_> = video.iter().enumerate().filter(|(_, tag)| tag.keyframe).skip(1).collect();
    assert!(keyframes.len() as u64 >= SECONDS - 2);
    for pair in keyframes.windows(2) {
        let ((index, tag), (next, next_tag)) = (pair[0], pair[1]);
        assert_eq!((next - index, next_tag.millis - tag.millis), (30, 1000), "at {} ms", tag.millis);
    }
}

/// Only what was shown before the status was read: it knows nothing of the moments after.
fn every_frame_once(shots: &[Shot], status: &Status) {
    let known = &shots[..shots.len().min(30 * SECONDS as usize)];
    let (pictures, repeated) = judge::every_frame_once(known, status);
    assert!(pictures as u64 >= 30 * (SECONDS - 2), "only {pictures} pictures of the card");
    assert_eq!(status.program.frames_dropped, 0, "the encoder keeps up");
    assert!(repeated * 100 <= pictures as u64, "{repeated} of {pictures} repeated");
}

/// How many beeps were measured.
fn beep_and_flash_together(file: &Path) -> usize {
    let flashes = picture::flashes(&picture::shots(file));
    let offsets = picture::offsets(&flashes, &picture::beeps(file));
    // One at either end may have lost its partner to the cut.
    assert!(offsets.len() + 1 >= flashes.len(), "{}: flashes {flashes:?}, offsets {offsets:?}", file.display());
    assert!(offsets.iter().all(|offset| offset.abs() <= OFFSET), "{}: beep after flash by {offsets:?} s", file.display());
    offsets.len()
}

#[test]
fn a_stop_is_quick_and_closes_the_segment() {
    let folder = tempfile::tempdir().unwrap();
    let records = folder.path().join("archive");
    let mut origin = recorder(&folder.path().join("1"));
    let config = [PROGRAM, TEST_INPUT, &archive(&records), &leg("a", &origin.url())].concat();
    let mut daemon = Daemon::start(folder.path(), &config);
    daemon.all_live();
    daemon.wait_until("the archive", |status| status.archive.state == ArchiveState::Recording);
    daemon.frames(60);
    daemon.stop();
    good_segments(&records);
    let recording = record_of(&mut origin, "a");
    judge::decodes(&recording);
    assert!(!folder.path().join("control.sock").exists(), "the door is closed");
}

#[test]
fn an_origin_that_dies_is_left_for_the_spare_and_the_other_leg_never_notices() {
    let folder = tempfile::tempdir().unwrap();
    let (mut one, mut two) = (recorder(&folder.path().join("1")), recorder(&folder.path().join("2")));
    let spare = format!("[[leg.origin]]\nurl = \"{}\"\nstream_key = \"a-spare\"\n", two.url());
    let config = [PROGRAM, TEST_INPUT, NO_ARCHIVE, &leg("a", &one.url()), &spare, &leg("b", &two.url())].concat();
    let mut daemon = Daemon::start(folder.path(), &config);
    daemon.all_live();
    daemon.frames(60);
    one.kill();
    let home = two.url();
    daemon.wait_until("leg a on its spare", |status| support::is_live(&status.legs[0]) && status.legs[0].origin == home);
    let status = daemon.frames(90);
    assert_eq!((status.legs[0].failovers, status.legs[1].failovers, status.legs[1].reconnects), (1, 0, 0));
    daemon.stop();
    let spare = two.records("a-spare");
    let b = record_of(&mut two, "b");
    judge::no_gaps(&Flv::read(&b));
    judge::decodes(&b);
    let spare = Flv::read(&spare[0]);
    judge::no_gaps(&spare);
    assert!(spare.media(Track::Video)[0].keyframe, "the spare begins with a keyframe");
}

#[test]
fn all_faults_of_a_configuration_come_at_once_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    let text =
        "version = 1\n[program]\nwidht = 640\nheight = 361\nvideo_bitrate = \"6Q\"\n[[input]]\nname = \"x\"\nkind = \"tets\"\n";
    std::fs::write(&file, text).unwrap();
    let check = Command::new(BINARY).arg("check").arg("--config").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    for line in [3, 4, 5, 8] {
        assert!(said.contains(&format!("{}:{line}: ", file.display())), "line {line} in:\n{said}");
    }
    assert_eq!((check.status.code(), said.lines().count()), (Some(1), 4), "{said}");

    let run = Command::new(BINARY)
        .args(["run", "--config"])
        .arg(&file)
        .arg("--socket")
        .arg(folder.path().join("control.sock"))
        .env("ONAIRD_FACTORY_CONFIG", folder.path().join("none.toml"))
        .env_remove("STATE_DIRECTORY")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(78), "{said}");
    assert!(said.contains("bad.toml:3: "), "{said}");
}

#[test]
fn an_archive_that_cannot_be_written_is_an_alarm_and_no_hindrance() {
    let folder = tempfile::tempdir().unwrap();
    let origin = recorder(&folder.path().join("1"));
    // A file where a folder should be: nobody can write into it, root included.
    let wall = folder.path().join("wall");
    std::fs::write(&wall, "").unwrap();
    let config = [PROGRAM, TEST_INPUT, &archive(&wall.join("archive")), &leg("a", &origin.url())].concat();
    let mut daemon = Daemon::start(folder.path(), &config);
    let status = daemon.wait_until("the alarm, on air", |status| status.on_air && alarm(status, &["archive"]));
    assert_eq!(status.archive.state, ArchiveState::Failed);
    let status = daemon.frames(60);
    assert!(status.on_air && support::is_live(&status.legs[0]));
    daemon.stop();
}

#[test]
fn a_corrupt_file_is_named_the_slate_stands_in_and_the_next_file_plays() {
    let folder = tempfile::tempdir().unwrap();
    let origin = recorder(&folder.path().join("1"));
    let (bad, good) = (folder.path().join("bad.mp4"), folder.path().join("good.mp4"));
    std::fs::write(&bad, b"this is no film".repeat(4000)).unwrap();
    let picture = ["-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25", "-t", "3", "-pix_fmt", "yuv420p"];
    support::tool("ffmpeg", &[&["-nostdin", "-v", "error"], &picture[..], &[good.to_str().unwrap()]].concat());
    let files = |name: &str, paths: &str| format!("[[input]]\nname = \"{name}\"\nkind = \"file\"\npaths = [{paths}]\n");
    let (alone, mixed) = (files("alone", "\"bad.mp4\""), files("mixed", "\"bad.mp4\", \"good.mp4\""));
    let config = [PROGRAM, &alone, &mixed, NO_ARCHIVE, &leg("a", &origin.url())].concat();
    let mut daemon = Daemon::start(folder.path(), &config);
    let named = |status: &Status, input: &str| alarm(status, &[&format!("input.{input}"), "bad.mp4"]);
    daemon.wait_until("the slate, on air, and the alarm", |status| {
        status.on_air && status.program.shows == Shows::Slate && named(status, "alone")
    });
    let switched = daemon.ctl(&["switch", "mixed"]);
    assert!(switched.status.success(), "{switched:?}");
    daemon.wait_until("the next file", |status| status.program.input == "mixed" && status.program.shows == Shows::Live);
    daemon.wait_until("the alarm of the second list", |status| named(status, "mixed"));
    daemon.stop();
}
