//! What two legs' recordings say of each other. All legs carry the same bytes with the same distances in time, so the untouched
//! leg's recording is the truth about what should be in the others'. A rule over marks; it reads no file.

use std::collections::{HashMap, HashSet};

use super::recording::Mark;
use super::support::flv::Track;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Pictures and sounds of the reference that no recording has, between the first and the last that one of them has.
    pub missing_pictures: usize,
    pub missing_sounds: usize,
    /// Pictures that a later recording has again.
    pub repeated_pictures: usize,
}

/// Compares the recordings of a leg, oldest first, with the reference's.
pub fn compare(reference: &[Mark], recordings: &[Vec<Mark>]) -> Result<Compared, String> {
    let recordings: Vec<Vec<Mark>> =
        recordings.iter().filter_map(|marks| aligned(reference, marks).transpose()).collect::<Result<_, _>>()?;
    let times = || recordings.iter().flatten().map(|mark| mark.millis);
    let (Some(first), Some(last)) = (times().min(), times().max()) else {
        return Err("nothing of the reference was recorded".into());
    };
    let have: HashSet<Mark> = recordings.iter().flatten().copied().collect();
    let inside = reference.iter().filter(|mark| (first..=last).contains(&mark.millis));
    let missing: Vec<&Mark> = inside.filter(|mark| !have.contains(mark)).collect();
    let count = |track| missing.iter().filter(|mark| mark.track == track).count();
    Ok(Compared {
        missing_pictures: count(Track::Video),
        missing_sounds: count(Track::Audio),
        repeated_pictures: repeated(&recordings),
    })
}

/// A recording begins at a time of its own; with the reference's times it can be compared. `None` if they share no picture.
/// Sounds cannot be told apart by their bytes alone: all silence is the same.
fn aligned(reference: &[Mark], marks: &[Mark]) -> Result<Option<Vec<Mark>>, String> {
    let pictures = |mark: &&Mark| mark.track == Track::Video;
    // Pictures that repeat the last one may look alike, byte for byte, every 16 frames: these tell no time.
    let mut places: HashMap<u64, Option<i64>> = HashMap::new();
    for mark in reference.iter().filter(pictures) {
        places.entry(mark.hash).and_modify(|place| *place = None).or_insert(Some(mark.millis));
    }
    let place = |mark: &Mark| *places.get(&mark.hash)?;
    let mut shifts = marks.iter().filter(pictures).filter_map(|mark| Some(place(mark)? - mark.millis));
    let Some(shift) = shifts.next() else { return Ok(None) };
    match shifts.find(|other| *other != shift) {
        Some(other) => Err(format!("times within one recording differ by {} ms from the reference's", other - shift)),
        None => Ok(Some(marks.iter().map(|mark| Mark { millis: mark.millis + shift, ..*mark }).collect())),
    }
}

fn repeated(recordings: &[Vec<Mark>]) -> usize {
    let (mut have, mut count) = (HashSet::<Mark>::new(), 0);
    for recording in recordings {
        let pictures: Vec<&Mark> = recording.iter().filter(|mark| mark.track == Track::Video).collect();
        count += pictures.iter().filter(|mark| have.contains(**mark)).count();
        have.extend(pictures.into_iter().copied());
    }
    count
}

/// The largest distance of two neighbours of a track, in milliseconds.
pub fn largest_gap(marks: &[Mark], track: Track) -> i64 {
    let times: Vec<i64> = marks.iter().filter(|mark| mark.track == track).map(|mark| mark.millis).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
}

/// Every gap between pictures ends at a keyframe: whole GOPs are left out or none.
pub fn gaps_are_gops(marks: &[Mark], frame_ms: i64) -> bool {
    let video: Vec<&Mark> = marks.iter().filter(|mark| mark.track == Track::Video).collect();
    video.windows(2).all(|pair| pair[1].keyframe || pair[1].millis - pair[0].millis <= frame_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two sounds beside each picture; all sounds are alike.
    fn marks(pictures: std::ops::Range<i64>, start: i64) -> Vec<Mark> {
        let picture =
            |index: i64| Mark { track: Track::Video, millis: 33 * index - start, keyframe: index % 30 == 0, hash: index as u64 };
        let sound = |index: i64, late| Mark { track: Track::Audio, millis: 33 * index + late - start, keyframe: false, hash: 0 };
        pictures.flat_map(|index| [picture(index), sound(index, 0), sound(index, 16)]).collect()
    }

    #[test]
    fn what_lies_between_two_origins_is_missing_and_what_both_have_is_repeated() {
        let reference = marks(0..300, 0);
        let compared =
            |old, new: std::ops::Range<i64>| compare(&reference, &[marks(old, 990), marks(new.clone(), 33 * new.start)]);
        let of = |missing, sounds, repeated| {
            Ok(Compared { missing_pictures: missing, missing_sounds: sounds, repeated_pictures: repeated })
        };
        assert_eq!(compared(30..100, 100..200), of(0, 0, 0));
        assert_eq!(compared(30..100, 90..200), of(0, 0, 10));
        assert_eq!(compared(30..100, 120..200), of(20, 40, 0));
        assert_eq!(compared(30..100, 120..400), of(20, 40, 0), "beyond the reference nothing can be said");
    }

    #[test]
    fn a_lost_picture_or_a_single_lost_sound_is_missing() {
        let reference = marks(0..300, 0);
        let mut holed = marks(0..300, 0);
        holed.remove(100);
        holed.remove(300);
        let compared = compare(&reference, &[holed]).unwrap();
        assert_eq!((compared.missing_pictures, compared.missing_sounds), (0, 2));
        let mut holed = marks(0..300, 0);
        holed.remove(99);
        assert_eq!(compare(&reference, &[holed]).unwrap().missing_pictures, 1);
    }

    #[test]
    fn other_times_and_strangers_are_faults() {
        let reference = marks(0..300, 0);
        let mut late = marks(0..300, 0);
        late[300].millis += 1;
        assert!(compare(&reference, &[late]).is_err());
        assert!(compare(&reference, &[marks(1000..1100, 0)]).is_err() && compare(&reference, &[]).is_err());
    }

    #[test]
    fn gaps() {
        let mut list = marks(0..90, 0);
        assert_eq!((largest_gap(&list, Track::Video), largest_gap(&list, Track::Audio)), (33, 17));
        list.retain(|mark| !(33 * 40..33 * 60).contains(&mark.millis));
        assert_eq!(largest_gap(&list, Track::Video), 33 * 21);
        assert!(gaps_are_gops(&list, 34));
        list.retain(|mark| mark.millis != 33 * 70);
        assert!(!gaps_are_gops(&list, 34));
    }
}
