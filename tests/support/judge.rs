//! Verdicts that several tests need: on the time stamps of a recording, on its decoding, on the count in its pictures, on a segment's
//! structure, on two recordings of the same program.

use std::path::Path;

use onaird::demo::verify;
use onaird::status::Status;

use super::flv::{Flv, Tag, Track};
use super::mp4::Movie;
use super::picture::{self, Shot};

/// RTMP's times are whole milliseconds, rounded down: two neighbours may be 1 ms farther apart than they are.
const ROUNDING: u32 = 1;

/// Every time is later than the one before it, by no more than `frame_ms`.
pub fn no_gap(tags: &[&Tag], frame_ms: u32) {
    for pair in tags.windows(2) {
        let (before, after) = (pair[0].millis, pair[1].millis);
        assert!(after > before, "{:?} at {after} ms after {before} ms", pair[1].track);
        assert!(after - before <= frame_ms + ROUNDING, "{:?}: a gap from {before} to {after} ms", pair[1].track);
    }
}

/// Both tracks of what an origin recorded at 30 frames per second: strictly rising, without a gap.
pub fn no_gaps(recording: &Flv) {
    no_gap(&recording.media(Track::Video), 34);
    // An AAC frame is 1024 samples: 21.33 ms.
    no_gap(&recording.media(Track::Audio), 22);
}

/// The same of any file, by the times that ffprobe reads.
pub fn no_gaps_in_file(file: &Path, frame: f64) {
    let name = file.to_str().unwrap();
    for (track, step) in [("v", frame), ("a", 1024.0 / 48_000.0)] {
        let times = picture::times(name, track);
        assert!(times.len() > 10, "{name} holds {} packets of {track}", times.len());
        for pair in times.windows(2) {
            let gap = pair[1] - pair[0];
            assert!(gap > 0.0 && gap < step + 0.0015, "{name}, {track}: from {} to {} s", pair[0], pair[1]);
        }
    }
}

/// ffmpeg decodes all of it without a complaint.
pub fn decodes(file: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let check = runtime.block_on(verify::decodes(file));
    assert!(check.result.is_ok(), "{check}");
}

/// Where two recordings of one program overlap, they hold the same bytes with the same distances in time. Returns the overlap in
/// tags, and how many tags each has beside it.
pub fn same_media(one: &Flv, other: &Flv, track: Track) -> (usize, usize) {
    let (one, other) = (one.media(track), other.media(track));
    let place = |needle: &Tag, hay: &[&Tag]| hay.iter().position(|tag| tag.hash() == needle.hash() && tag.body == needle.body);
    // The one that joined later begins somewhere inside the other.
    let (long, short, start) = match (place(other[0], &one), place(one[0], &other)) {
        (Some(start), _) => (&one, &other, start),
        (None, Some(start)) => (&other, &one, start),
        (None, None) => panic!("two recordings without a common {track:?}"),
    };
    let common = (long.len() - start).min(short.len());
    let shift = i64::from(long[start].millis) - i64::from(short[0].millis);
    for index in 0..common {
        let (a, b) = (long[start + index], short[index]);
        assert_eq!(a.hash(), b.hash(), "{track:?} {index} differs");
        assert_eq!(i64::from(a.millis) - i64::from(b.millis), shift, "{track:?} {index} has another time");
    }
    (common, long.len() + short.len() - 2 * common)
}

/// A segment is whole: nothing behind its last fragment, and all that is in it holds together.
pub fn whole(file: &Path) -> Movie {
    let (movie, _) = Movie::read(file);
    let faults = movie.faults();
    assert!(
        movie.rest == 0 && !movie.fragments.is_empty(),
        "{}: {} bytes at its end are no fragment",
        file.display(),
        movie.rest
    );
    assert!(faults.is_empty(), "{}: {faults:?}", file.display());
    movie
}

/// The count in the picture rises by exactly one per frame: nothing was lost or doubled on the way. On a machine so busy that the
/// input itself is late, the program repeats a picture, shows the slate or leaves a picture out; no more repetitions than it says are
/// forgiven, and no more missing than that explains. What is before the card's first picture does not count. Returns how many
/// pictures did, and how many of them were no new ones.
pub fn every_frame_once(shots: &[Shot], status: &Status) -> (usize, u64) {
    let shown: Vec<_> = shots.iter().skip_while(|shot| !is_card(shot)).collect();
    let card: Vec<_> = shown.iter().filter(|shot| is_card(shot)).collect();
    let slates = (shown.len() - card.len()) as u64;
    let steps = card.windows(2).map(|pair| i64::from(pair[1].count) - i64::from(pair[0].count));
    let (mut repeated, mut missing) = (0, 0);
    for step in steps {
        assert!(step >= 0, "the count goes back by {}", -step);
        repeated += u64::from(step == 0);
        missing += (step - 1).max(0) as u64;
    }
    let (said, left_out) = (status.program.frames_repeated, status.program.frames_dropped);
    assert!(repeated <= said, "{repeated} repeated, {said} said");
    let explained = repeated + slates + left_out;
    assert!(
        missing <= explained,
        "{missing} missing, {repeated} repeated, {slates} slates, {left_out} left out: lost behind the input"
    );
    (shown.len(), repeated + slates)
}

/// The slate's strip is dark all over.
pub fn is_card(shot: &Shot) -> bool {
    (1..1 << 24).contains(&shot.count)
}
