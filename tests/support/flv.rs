//! Reads an FLV file as an origin recorded it: tags with their times and what they carry. It decodes nothing.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Track {
    Audio,
    Video,
    Script,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    pub track: Track,
    pub millis: u32,
    /// AVCDecoderConfigurationRecord or AudioSpecificConfig.
    pub header: bool,
    /// A picture or sound: neither a header nor the mark of a stream's end.
    pub media: bool,
    pub keyframe: bool,
    /// The tag's body.
    pub body: Vec<u8>,
}

impl Tag {
    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.body.hash(&mut hasher);
        hasher.finish()
    }
}

/// A recording.
#[derive(Debug)]
pub struct Flv {
    pub tags: Vec<Tag>,
}

impl Flv {
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        Self::parse(&bytes).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.get(..3) != Some(b"FLV") {
            return Err("not an FLV file".into());
        }
        let start = number(bytes.get(5..9).ok_or("no header")?) as usize;
        let mut rest = bytes.get(start + 4..).ok_or("no tags")?;
        let mut tags = Vec::new();
        while !rest.is_empty() {
            let (tag, length) = next_tag(rest)?.ok_or_else(|| format!("tag {} is cut off", tags.len()))?;
            tags.push(tag);
            rest = &rest[length..];
        }
        Ok(Self { tags })
    }

    /// Pictures or sound alone.
    pub fn media(&self, track: Track) -> Vec<&Tag> {
        self.tags.iter().filter(|tag| tag.track == track && tag.media).collect()
    }

    pub fn headers(&self, track: Track) -> Vec<&Tag> {
        self.tags.iter().filter(|tag| tag.track == track && tag.header).collect()
    }
}

/// The first tag and how many bytes it takes with its trailer; `None` while it is not all there.
pub fn next_tag(bytes: &[u8]) -> Result<Option<(Tag, usize)>, String> {
    let Some(head) = bytes.get(..11) else { return Ok(None) };
    let size = number(&head[1..4]) as usize;
    let (Some(body), Some(trailer)) = (bytes.get(11..11 + size), bytes.get(11 + size..15 + size)) else { return Ok(None) };
    match number(trailer) as usize == size + 11 {
        true => Ok(Some((tag(head, body)?, size + 15))),
        false => Err("a tag does not end with its size".into()),
    }
}

fn tag(head: &[u8], body: &[u8]) -> Result<Tag, String> {
    let track = match head[0] {
        8 => Track::Audio,
        9 => Track::Video,
        18 => Track::Script,
        other => return Err(format!("a tag of type {other}")),
    };
    let first = *body.first().unwrap_or(&0);
    // H.264 and AAC say in their second byte what follows: 0 a header, 1 media, 2 the end of pictures.
    let coded = match track {
        Track::Video => first & 0x0f == 7,
        Track::Audio => first >> 4 == 10,
        Track::Script => false,
    };
    let kind = body.get(1).filter(|_| coded);
    let (header, media) = (kind == Some(&0), kind == Some(&1));
    // The highest byte stands last.
    let millis = number(&head[4..7]) | u32::from(head[7]) << 24;
    Ok(Tag { track, millis, header, media, keyframe: track == Track::Video && first >> 4 == 1, body: body.into() })
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}
