//! The archive over minutes: every segment decodes without a word from ffmpeg, plays alone, joins on the one before it without a
//! missing or double picture, and all together are as long as the run was.

mod support;

use std::path::{Path, PathBuf};

use onaird::demo::verify;
use onaird::media::stamp;
use onaird::status::{ArchiveState, Status};
use support::mp4::{SOUND, VIDEO};
use support::picture::{self, Shot};
use support::{Daemon, judge, tool};

const FPS: u64 = 30;
const FRAME_S: f64 = 1.0 / FPS as f64;

/// Of sound: 1024 samples.
const SOUND_S: f64 = 1024.0 / 48_000.0;

#[test]
fn half_a_minute_in_segments_of_5_s() {
    run(30, 5);
}

#[test]
#[ignore = "takes eleven minutes: make soak-archive"]
fn ten_minutes_in_segments_of_30_s() {
    run(600, 30);
}

fn run(seconds: u64, segment_s: u64) {
    let folder = tempfile::tempdir().unwrap();
    let records = folder.path().join("archive");
    let mut daemon = Daemon::start(folder.path(), &config(&records, segment_s));
    daemon.wait_until("the archive", |status| status.archive.state == ArchiveState::Recording);
    let mut status = daemon.frames(0);
    // In parts that end within the limit of any condition.
    for _ in 0..seconds / 10 {
        status = daemon.frames(10 * FPS);
    }
    daemon.stop();

    // A second has one segment at most: their names are in order.
    let segments = verify::recordings(&records);
    assert!(segments.len() as u64 >= seconds / segment_s, "{} segments", segments.len());
    let (mut shots, mut pictures_s, mut sound_s) = (Vec::new(), 0.0, 0.0);
    for segment in &segments {
        judge::decodes(segment);
        let movie = judge::whole(segment);
        assert!(status.program.frames_dropped > 0 || movie.gap(VIDEO) == 0, "{}: a gap in the picture", segment.display());
        pictures_s += duration(segment, "v");
        // The last one may end before its first sound.
        let (pictures, sounds) = (movie.samples(VIDEO).count(), movie.samples(SOUND).count());
        assert!(pictures > 0 && (sounds > 0 || segment == &segments[segments.len() - 1]), "{pictures} pictures, {sounds} sounds");
        sound_s += if sounds > 0 { duration(segment, "a") } else { 0.0 };
        shots.extend(picture::shots(segment));
    }
    let (run_s, counted_s) = (length(&segments), counted(&shots, &status));
    println!(
        "{} segments, {} pictures: {run_s:.3} s by the program's time line, {counted_s:.3} s by the count in the picture, \
         {pictures_s:.3} s of pictures and {sound_s:.3} s of sound by ffprobe",
        segments.len(),
        shots.len()
    );
    // A starved machine holds a picture, so that the count stays behind.
    let held_s = status.program.frames_repeated as f64 * FRAME_S;
    assert!((counted_s - run_s).abs() <= FRAME_S + held_s, "{counted_s} s by the count in a run of {run_s} s");
    assert!((pictures_s - run_s).abs() <= FRAME_S, "{pictures_s} s of pictures in a run of {run_s} s");
    assert!((sound_s - run_s).abs() <= FRAME_S + SOUND_S, "{sound_s} s of sound in a run of {run_s} s");
}

/// From the first picture to the last one's end: each key picture carries its time on the program's time line.
fn length(segments: &[PathBuf]) -> f64 {
    let begin = |segment: &PathBuf| {
        let marks = stamp::find(&std::fs::read(segment).unwrap(), stamp::Framing::Lengths);
        marks.first().expect("a mark in the first key picture").stamp.time_ms as f64 / 1000.0
    };
    let last = &segments[segments.len() - 1];
    begin(last) - begin(&segments[0]) + judge::whole(last).samples(VIDEO).count() as f64 * FRAME_S
}

/// From the first to the last picture's count, all of which are there once. At either end there may be a slate.
fn counted(shots: &[Shot], status: &Status) -> f64 {
    let before = shots.iter().take_while(|shot| !judge::is_card(shot)).count();
    let known = shots.len() - FPS as usize;
    judge::every_frame_once(&shots[..known], status);
    let after = shots.iter().rev().take_while(|shot| !judge::is_card(shot)).count();
    let (first, last) = (&shots[before], &shots[shots.len() - 1 - after]);
    (f64::from(last.count - first.count + 1) + (before + after) as f64) * FRAME_S
}

fn config(records: &Path, segment_s: u64) -> String {
    format!(
        "version = 1\n[program]\nwidth = 640\nheight = 360\nframerate = \"30\"\nvideo_bitrate = \"1M\"\nkeyframe_interval = 1\n\
         [[input]]\nname = \"test\"\nkind = \"test\"\n\
         [archive]\ndirectory = '{}'\nsegment_seconds = {segment_s}\nkeep_free = \"0\"\n",
        records.display()
    )
}

/// Of one track, as ffprobe tells it.
fn duration(file: &Path, track: &str) -> f64 {
    let wanted = ["-select_streams", track, "-show_entries", "stream=duration", "-of", "csv=p=0", file.to_str().unwrap()];
    let text = String::from_utf8(tool("ffprobe", &[&["-v", "error"], &wanted[..]].concat())).unwrap();
    text.trim().trim_end_matches(',').parse().unwrap_or_else(|_| panic!("a duration of {}: {text:?}", file.display()))
}
