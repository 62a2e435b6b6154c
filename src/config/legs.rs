//! The `[[leg]]` sections: where the program is published, and with which key.
//!
//! A stream key is taken from one place only and never told; two legs never get the same one for the same origin.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::fault::Findings;
use super::parse::{Around, Names};
use super::reader::Section;
use super::url::{self, KeyPlace};
use super::values::*;
use super::{Leg, Origin};
use crate::secret::Secret;

/// Keys of the format that this version does not implement yet.
mod later {
    pub const LEG: &[&str] = &["interface", "policy", "failback", "resume", "warm", "timestamps"];
    pub const ORIGIN: &[&str] = &["weight", "verify", "ca_file"];
}

/// The program's packets are kept for 12 s: nothing that waits longer could be sent whole.
const BACKLOGS: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(10);

pub(super) fn legs(top: &mut Section, around: &Around) -> Vec<Leg> {
    let (mut names, mut places) = (Names::default(), Vec::new());
    let sections = top.sections("leg", "[[leg]]").into_iter().zip(1..);
    sections.map(|(section, number)| leg(section, number, &mut names, &mut places, around)).collect()
}

fn leg(mut section: Section, number: usize, names: &mut Names, places: &mut Vec<Place>, around: &Around) -> Leg {
    let name = names.take(&mut section, format!("leg-{number}"), "legs");
    let enabled = section.value("enabled", true, boolean);
    let backlog = section.value("backlog", Leg::BACKLOG, duration(BACKLOGS));
    let sections = section.sections("origin", "[[leg.origin]]");
    if sections.is_empty() && !section.has_refused("origin") {
        section.findings().missing(section.line(), format!("leg \"{name}\" has no origin; add a [[leg.origin]] with its `url`"));
    }
    let mut origins = Vec::new();
    for origin_section in sections {
        let (findings, line) = (origin_section.findings(), origin_section.line_of("url"));
        let Some(origin) = origin(origin_section, around) else { continue };
        claim(places, Place { leg: number, line, origin: origin.clone() }, &name, findings);
        origins.push(origin);
    }
    section.finish(later::LEG);
    Leg { enabled, backlog, ..Leg::new(name, origins) }
}

fn origin(mut section: Section, around: &Around) -> Option<Origin> {
    let apart = section.has("stream_key") || section.has("stream_key_file");
    let place = if apart { KeyPlace::Apart } else { KeyPlace::InUrl };
    let example = "write where to publish, such as `url = \"rtmp://origin.example/live\"`";
    let split = section.required("url", example, |value| url::split(&text(value)?, place));
    let key_apart = stream_key(&mut section, around);
    let origin = split.and_then(|(url, key_in_url)| Some(Origin::new(url, key_apart.or(key_in_url)?)));
    if let Some(Origin { url, key, .. }) = &origin {
        let twice = apart && url::ends_with_key(url, key);
        section.rule(&["url"], !twice, || format!("the URL to {} has the stream key in it too; remove it there", url.host));
    }
    section.finish(later::ORIGIN);
    origin
}

/// The key that stands apart from the URL. No path is quoted: it happens that the key itself is written in its place.
fn stream_key(section: &mut Section, around: &Around) -> Option<Secret> {
    let both = section.has("stream_key") && section.has("stream_key_file");
    let written = section.optional("stream_key", |value| url::stream_key(&text(value)?));
    let filed = section.optional("stream_key_file", |value| {
        let told = around.files.text(&around.path(text(value)?));
        let fault = |reason| format!("the file cannot be read ({reason}); put the stream key there or correct the path");
        url::stream_key(&told.map_err(fault)?)
    });
    section.rule(&["stream_key_file"], !both, || "the origin has a `stream_key` too; keep one of the two".into());
    written.or(filed)
}

/// An origin with the leg that publishes there.
struct Place {
    leg: usize,
    line: usize,
    origin: Origin,
}

/// An origin takes one publisher per key: a second leg would be refused, or throw the first one out.
fn claim(places: &mut Vec<Place>, place: Place, leg: &str, findings: &Findings) {
    if let Some(other) = places
        .iter()
        .find(|other| other.leg != place.leg && other.origin.url == place.origin.url && other.origin.key == place.origin.key)
    {
        let host = &place.origin.url.host;
        let text = format!("`url`: leg \"{leg}\" publishes to {host} with the key of another leg, in line {}", other.line);
        findings.fault(place.line, format!("{text}; give each leg its own origin or key"));
    }
    places.push(place);
}
