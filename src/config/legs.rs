//! The `[[leg]]` sections: where the program is published, and with which key.
//!
//! A stream key is taken from one place only and never told; two legs never get the same one for the same origin.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::fault::Findings;
use super::parse::{Around, Names};
use super::reader::Section;
use super::url::{self, KeyPlace, Split};
use super::values::*;
use super::{Leg, Origin, OriginUrl, Policy, Resume, Timestamps};
use crate::secret::Secret;

const POLICIES: [(&str, Policy); 3] =
    [("priority", Policy::Priority), ("latency", Policy::Latency), ("weighted", Policy::Weighted)];
const RESUMES: [(&str, Resume); 2] = [("replay", Resume::Replay), ("live", Resume::Live)];
const TIMESTAMPS: [(&str, Timestamps); 2] = [("shared", Timestamps::Shared), ("rebased", Timestamps::Rebased)];

const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";

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
    let policy = section.value("policy", Policy::default(), one_of(POLICIES));
    let mut leg = Leg {
        enabled,
        backlog,
        policy,
        interface: section.optional("interface", interface),
        failback: section.value("failback", true, boolean),
        resume: section.value("resume", Resume::default(), one_of(RESUMES)),
        warm: section.value("warm", false, boolean),
        timestamps: section.value("timestamps", Timestamps::default(), one_of(TIMESTAMPS)),
        ..Leg::new(name, Vec::new())
    };
    leg.origins = origins(&mut section, number, &leg, places, around);
    let all_spare = policy == Policy::Weighted && !leg.origins.is_empty() && leg.origins.iter().all(|origin| origin.weight == 0);
    section.rule(&["policy"], !all_spare, || {
        format!("every origin of leg \"{}\" has the weight 0; give one of them at least 1", leg.name)
    });
    section.finish(&[]);
    leg
}

fn origins(section: &mut Section, number: usize, leg: &Leg, places: &mut Vec<Place>, around: &Around) -> Vec<Origin> {
    let sections = section.sections("origin", "[[leg.origin]]");
    if sections.is_empty() && !section.has_refused("origin") {
        let text = format!("leg \"{}\" has no origin; add a [[leg.origin]] with its `url`", leg.name);
        section.findings().missing(section.line(), text);
    }
    let weighted = leg.policy == Policy::Weighted || section.has_refused("policy");
    let mut origins = Vec::new();
    for mut origin_section in sections {
        let (findings, line) = (origin_section.findings(), origin_section.line_of("url"));
        let weight = weight(&mut origin_section, weighted);
        let Some(origin) = origin(origin_section, weight, around) else { continue };
        claim(places, Place { leg: number, line, origin: origin.clone() }, &leg.name, findings);
        origins.push(origin);
    }
    origins
}

fn weight(section: &mut Section, weighted: bool) -> u32 {
    let weight = section.optional("weight", integer(0..=1000));
    if weight.is_some() && !weighted {
        let text = "`weight`: has no meaning while the leg's `policy` is not \"weighted\"; remove it or set the policy";
        section.findings().warn(section.line_of("weight"), text);
    }
    weight.map_or(1, |weight| weight as u32)
}

fn origin(mut section: Section, weight: u32, around: &Around) -> Option<Origin> {
    let apart = section.has("stream_key") || section.has("stream_key_file");
    let place = if apart { KeyPlace::Apart } else { KeyPlace::InUrl };
    let example = "write where to publish, such as `url = \"rtmp://origin.example/live\"`";
    let split = section.required("url", example, |value| url::split(&text(value)?, place));
    let key_apart = stream_key(&mut section, around);
    let ca_file = ca_file(&mut section, split.as_ref().map(|split| &split.url), around);
    let verify = section.optional("verify", |value| url::verify(&text(value)?));
    let origin = split.and_then(|Split { url, login, key }| {
        Some(Origin { login, weight, ca_file, verify, ..Origin::new(url, key_apart.or(key)?) })
    });
    if let Some(Origin { url, key, .. }) = &origin {
        let twice = apart && url::ends_with_key(url, key);
        section.rule(&["url"], !twice, || format!("the URL to {} has the stream key in it too; remove it there", url.host));
    }
    section.finish(&[]);
    origin
}

fn ca_file(section: &mut Section, url: Option<&OriginUrl>, around: &Around) -> Option<PathBuf> {
    let path = authorities(section, around)?;
    let plain = url.filter(|url| !url.secure);
    section.rule(&["ca_file"], plain.is_none(), || {
        let host = plain.map_or("", |url| &url.host);
        format!("the connection to {host} is not encrypted; write rtmps:// in its `url`, or remove `ca_file`")
    });
    Some(path)
}

/// Without its authorities a server can never be reached, so that an absent file is a fault; as with a stream key's file.
pub(super) fn authorities(section: &mut Section, around: &Around) -> Option<PathBuf> {
    section.optional("ca_file", |value| {
        let path = around.path(text(value)?);
        let fault = |reason| format!("{} cannot be read ({reason}); put the file there or correct the path", path.display());
        match is_pem(&around.files.text(&path).map_err(fault)?) {
            true => Ok(path),
            false => Err(format!("{} holds no certificate; want PEM text with \"{PEM_BEGIN}\"", path.display())),
        }
    })
}

/// What stands in the certificates is seen when a connection is made.
fn is_pem(text: &str) -> bool {
    text.split_once(PEM_BEGIN).and_then(|(_, rest)| rest.split_once(PEM_END)).is_some_and(|(body, _)| {
        let mut body = body.chars().filter(|c| !c.is_whitespace()).peekable();
        body.peek().is_some() && body.all(|c| c.is_ascii_alphanumeric() || "+/=".contains(c))
    })
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
    if let Some(other) = places.iter().find(|other| other.leg != place.leg && other.origin.is_same_place(&place.origin)) {
        let host = &place.origin.url.host;
        let text = format!("`url`: leg \"{leg}\" publishes to {host} with the key of another leg, in line {}", other.line);
        findings.fault(place.line, format!("{text}; give each leg its own origin or key"));
    }
    places.push(place);
}
