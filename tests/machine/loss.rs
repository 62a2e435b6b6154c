//! What a power cut cost: the pictures that the origin got, against those that the archive still has.
//!
//! Both get the same bytes for every picture, and no two key pictures have the same: each carries the time at which it was made.
//! So the first key picture that is in both says where one lies in the other, and from there on they are compared one by one.

use std::path::{Path, PathBuf};

use crate::support::flv::{Flv, Tag, Track};
use crate::support::mp4::{Movie, VIDEO};
use crate::support::picture;

/// Pictures per second.
const FPS: f64 = 15.0;

#[derive(Debug, Default)]
pub struct Loss {
    /// Pictures of the archive that the origin has too.
    pub pictures: usize,
    /// Pictures that the origin has, between the first and the last of the archive, and the archive has not.
    pub holes: usize,
    /// From the last picture of the archive to the last one of the origin: by the origin's time stamps …
    pub by_time_s: f64,
    /// … and by the count in the picture.
    pub by_count_s: f64,
}

/// Where two rows of pictures lie beside each other.
#[derive(Debug, PartialEq, Eq)]
struct Overlap {
    pictures: usize,
    holes: usize,
    /// Places of the last picture that is in both.
    last_of_stream: usize,
    last_of_archive: usize,
}

/// `stream`: pictures, and whether each is a key picture. Of the archive's pictures those of other lives do not count.
fn overlap(stream: &[(bool, &[u8])], archive: &[&[u8]]) -> Option<Overlap> {
    let find = |picture: &[u8]| stream.iter().position(|(key, other)| *key && *other == picture);
    let (mut to, mut at) = archive.iter().enumerate().find_map(|(place, picture)| Some((place, find(picture)?)))?;
    let mut found = Overlap { pictures: 0, holes: 0, last_of_stream: at, last_of_archive: to };
    while to < archive.len() {
        let Some(missing) = stream[at..].iter().position(|(_, picture)| *picture == archive[to]) else { break };
        found.holes += missing;
        at += missing;
        (found.pictures, found.last_of_stream, found.last_of_archive) = (found.pictures + 1, at, to);
        (at, to) = (at + 1, to + 1);
    }
    Some(found)
}

/// `closed`: segments of any life, in order. A fault if the archive has nothing of this life.
pub fn measure(records: &[PathBuf], closed: &[PathBuf]) -> Result<Loss, String> {
    let tags: Vec<Tag> = records.iter().flat_map(|record| Flv::read(record).tags).collect();
    let pictures: Vec<&Tag> = tags.iter().filter(|tag| tag.track == Track::Video && tag.media).collect();
    // Behind the five bytes that FLV puts before a picture.
    let stream: Vec<(bool, &[u8])> = pictures.iter().map(|tag| (tag.keyframe, &tag.body[5..])).collect();
    let movies: Vec<(Movie, Vec<u8>)> = closed.iter().map(|segment| Movie::read(segment)).collect();
    let (mut archive, mut owners) = (Vec::new(), Vec::new());
    for ((movie, bytes), segment) in movies.iter().zip(closed) {
        archive.extend(movie.samples(VIDEO).map(|sample| &bytes[sample.bytes.clone()]));
        owners.resize(archive.len(), segment);
    }
    let found = overlap(&stream, &archive).ok_or("nothing that the origin got is in the archive")?;
    let segment = owners[found.last_of_archive];
    let within = owners[..=found.last_of_archive].iter().rev().take_while(|owner| **owner == segment).count() - 1;
    let record = records.last().ok_or("the origin has recorded nothing")?;
    let lost = i64::from(count(record, None)) - i64::from(count(segment, Some(within)));
    let millis = |place: usize| f64::from(pictures[place].millis) / 1000.0;
    Ok(Loss {
        pictures: found.pictures,
        holes: found.holes,
        by_time_s: millis(pictures.len() - 1) - millis(found.last_of_stream),
        by_count_s: lost as f64 / FPS,
    })
}

/// Burnt into this picture, or the last one.
fn count(file: &Path, place: Option<usize>) -> u32 {
    let shots = picture::shots(file);
    shots[place.unwrap_or(shots.len() - 1)].count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Capitals are key pictures.
    fn between(stream: &str, archive: &str) -> Option<(usize, usize, usize, usize)> {
        let rows = |text: &str| text.chars().map(|letter| vec![letter as u8]).collect::<Vec<_>>();
        let (stream, archive) = (rows(stream), rows(archive));
        let stream: Vec<_> = stream.iter().map(|picture| (picture[0].is_ascii_uppercase(), &picture[..])).collect();
        let archive: Vec<_> = archive.iter().map(|picture| &picture[..]).collect();
        overlap(&stream, &archive).map(|found| (found.pictures, found.holes, found.last_of_stream, found.last_of_archive))
    }

    #[test]
    fn what_the_archive_lacks_is_at_its_end() {
        assert_eq!(between("AxxxBxxxCxx", "AxxxBx"), Some((6, 0, 5, 5)));
        assert_eq!(between("BxxxCxx", "AyyyBxxxCx"), Some((6, 0, 5, 9)), "the origin joined later");
        assert_eq!(between("AxxxBxxx", "BxxxZz"), Some((4, 0, 7, 3)), "what follows is another life's");
    }

    #[test]
    fn holes_are_counted() {
        assert_eq!(between("AxyzBxyzCxyz", "AxyzCxy"), Some((7, 4, 10, 6)));
        assert_eq!(between("AxyzBxyz", "QxyzRxyz"), None);
    }
}
