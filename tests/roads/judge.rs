//! What recordings hold of a clip. All times are moved onto the clip's, so that what is missing or there twice can be counted.

use std::hash::{DefaultHasher, Hash, Hasher};

use onaird::media::packet::Track;

use super::compare::{self, Compared};
use super::fake::Sample;
use super::legs::{Clip, Tag};
use super::recording::Mark;
use super::support::flv;

fn mark(tag: &Tag) -> Mark {
    let mut hasher = DefaultHasher::new();
    tag.body.hash(&mut hasher);
    let track = if tag.is_video() { flv::Track::Video } else { flv::Track::Audio };
    Mark { track, millis: tag.millis as i64, keyframe: tag.is_keyframe(), hash: hasher.finish() }
}

fn marks(tags: &[Tag]) -> Vec<Mark> {
    tags.iter().filter(|tag| tag.is_media()).map(mark).collect()
}

/// Compares what was recorded of one leg, oldest first, with what was sent; the times within each recording must be right.
pub fn compare(clip: &Clip, recordings: &[Vec<Tag>]) -> Compared {
    let recordings: Vec<Vec<Mark>> = recordings.iter().map(|tags| marks(tags)).collect();
    compare::compare(&marks(&clip.tags), &recordings).unwrap()
}

/// Nothing is missing between the first and the last of what was recorded; that is so many pictures at least.
pub fn assert_whole(clip: &Clip, recordings: &[Vec<Tag>], least: usize) -> Compared {
    let compared = compare(clip, recordings);
    println!("{compared:?}");
    assert_eq!((compared.missing_pictures, compared.missing_sounds), (0, 0), "{compared:?}");
    let span = picture_at(clip, recordings.last().unwrap(), true) - picture_at(clip, &recordings[0], false);
    assert!(span > 33 * least as u64, "only {span} ms were recorded");
    compared
}

/// Where in the clip the first or the last picture of a recording stands, in milliseconds.
pub fn picture_at(clip: &Clip, recording: &[Tag], last: bool) -> u64 {
    let mut pictures = recording.iter().filter(|tag| tag.is_video() && tag.is_media());
    let picture = if last { pictures.next_back() } else { pictures.next() }.expect("a picture");
    clip.tags.iter().find(|tag| tag.body == picture.body).expect("a picture of the clip").millis
}

/// What a scripted server has got, as a recording.
pub fn tape(samples: &[Sample]) -> Vec<Tag> {
    let track = |kind| if kind == 9 { Track::Video } else { Track::Audio };
    samples
        .iter()
        .map(|Sample { kind, millis, body }| Tag { track: track(*kind), millis: (*millis).into(), body: body.clone() })
        .collect()
}
