//! Segments that were torn off while they were written: at every byte of their last 64 KiB, and what the archive makes of them.

mod recorder;
mod support;

use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::Duration;

use onaird::archive::recover;
use onaird::status::ArchiveState;
use recorder::{Archive, Clip, assert_plays, files};
use support::judge;
use support::mp4::Movie;

const TAIL: usize = 64 << 10;

/// Torn segments that are put before the archive itself.
const TORN: usize = 96;

/// One segment of 6 s, as the archive wrote it.
async fn segment(folder: &Path) -> Vec<u8> {
    let archive = Archive::start(folder, |config| config.segment = Duration::from_secs(600));
    archive.publish(Clip::make(6, 320, 180).packets(Duration::ZERO)).await;
    archive.wait_for("all written", |archive| archive.written_bytes > 0).await;
    archive.stop().await;
    std::fs::read(&files(folder, ".mp4")[0]).unwrap()
}

/// Where each fragment ends, by a reader of boxes that shares nothing with the archive.
fn ends(whole: &[u8]) -> Vec<usize> {
    let movie = Movie::parse(whole).unwrap();
    assert!(movie.rest == 0 && movie.faults().is_empty(), "{:?}", movie.faults());
    movie.fragments.iter().map(|fragment| fragment.bytes.end).collect()
}

fn last_end(ends: &[usize], at: usize) -> Option<usize> {
    ends.iter().copied().rfind(|end| *end <= at)
}

/// What is left of a torn segment is one of few files, each a beginning of the whole one: all of these are decoded.
#[tokio::test(flavor = "multi_thread")]
async fn torn_at_every_byte_of_its_last_64_kib_a_segment_is_saved_to_its_last_whole_fragment_and_plays() {
    let home = tempfile::tempdir().unwrap();
    let whole = segment(home.path()).await;
    let ends = ends(&whole);
    assert!(whole.len() > 2 * TAIL && last_end(&ends, whole.len() - TAIL).is_some(), "{} bytes: {ends:?}", whole.len());
    let mut left = BTreeSet::new();
    for at in whole.len() - TAIL..=whole.len() {
        let sound = recover::sound(&mut Cursor::new(&whole[..at])).unwrap().map(|sound| sound.bytes as usize);
        assert_eq!(sound, last_end(&ends, at), "torn at byte {at} of {}", whole.len());
        left.extend(sound);
    }
    println!("{} offsets leave {} different files: {left:?}", TAIL + 1, left.len());
    assert!(left.len() >= 2, "more than one fragment in 64 KiB");
    for length in left {
        let file = home.path().join(format!("{length}.mp4"));
        std::fs::write(&file, &whole[..length]).unwrap();
        judge::whole(&file);
        assert_plays(&file);
    }
}

/// The archive itself, over a folder full of them: around every border of the last fragments, and anywhere; every other one with the
/// rest of its place on the disk kept and never filled.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_full_of_torn_segments_is_put_in_order_at_the_start() {
    let home = tempfile::tempdir().unwrap();
    let whole = segment(&home.path().join("first")).await;
    let ends = ends(&whole);
    let begin = whole.len() - TAIL;
    let borders = ends.iter().filter(|end| **end > begin).flat_map(|end| [end - 1, *end, end + 1, end + 7, end + 9]);
    let mut offsets: Vec<usize> = borders.filter(|at| *at <= whole.len()).collect();
    let mut rng = fastrand::Rng::with_seed(64);
    offsets.extend(std::iter::repeat_with(|| rng.usize(begin..whole.len())).take(TORN - offsets.len()));

    let torn = home.path().join("torn");
    std::fs::create_dir(&torn).unwrap();
    let name = |index: usize| format!("20260101T00{:02}{:02}Z.mp4", index / 60, index % 60);
    for (index, at) in offsets.iter().enumerate() {
        let mut bytes = whole[..*at].to_vec();
        if index % 2 == 1 {
            bytes.resize(whole.len(), 0);
        }
        std::fs::write(torn.join(name(index) + ".part"), bytes).unwrap();
    }
    let archive = Archive::start(&torn, |_| {});
    archive.publish(Clip::make(2, 320, 180).packets(Duration::ZERO)).await;
    archive.wait_for("recording", |archive| archive.state == ArchiveState::Recording).await;
    for (index, at) in offsets.iter().enumerate() {
        let saved = std::fs::read(torn.join(name(index))).unwrap_or_else(|error| panic!("torn at {at}: {error}"));
        let wanted = last_end(&ends, *at).unwrap();
        assert_eq!(
            saved.len(),
            wanted,
            "torn at byte {at} of {}, {} by zeros",
            whole.len(),
            ["not followed", "followed"][index % 2]
        );
        assert!(saved == whole[..wanted], "torn at byte {at}: what was saved is not what was written");
    }
    archive.stop().await;
    assert!(files(&torn, ".part").is_empty());
    let sample: Vec<PathBuf> = (0..offsets.len()).step_by(offsets.len() / 16).map(|index| torn.join(name(index))).collect();
    sample.iter().for_each(|file| assert_plays(file));
}
