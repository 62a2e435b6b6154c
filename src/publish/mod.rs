//! Publishing: one actor per leg that keeps the program on one of the leg's origins, for ever.
//!
//! # Theory of operation
//!
//! A leg reads the hub at its own pace and writes to one RTMP connection, at times to a second one beside it. It holds no
//! queue: what waits for a slow origin waits in the hub, and when more than the configured backlog waits, whole GOPs are left
//! out ([`backlog`]). Nothing it does can delay the program or another leg. Every leg and every connection sends the same bytes
//! with the same times, those of the program's clock, so that two origins can be compared and exchanged picture by picture.
//!
//! ```text
//!  hub ──▶ flow (active) ──▶ origin           look at the sockets ──▶ detect ──▶ failover ──▶ orders
//!     └──▶ flow (next)   ──▶ spare                                      │           ▲
//!                                                     resume: where the next one starts  other legs: uplink
//! ```
//!
//! What the status says of a leg:
//!
//! ```text
//!              ┌───────── hold of an origin is over ────────┐
//!              ▼                                            │
//!        ┌────────────┐  refused, unreachable   ┌───────────┴──────────┐
//!   ────▶│ connecting ├────────────────────────▶│ waiting (if by the   │
//!        └─┬────────▲─┘   and all are held      │ origin's word:       │
//!          │        │                           │ rejected)            │
//!    media │        │ the connection ended;     └───────────▲──────────┘
//!    taken │        │ another origin is free                │
//!          ▼        │                                       │
//!        ┌──────────┴─┐      all are held                   │
//!   ┌───▶│    live    ├─────────────────────────────────────┘           off: switched off, or told to stop
//!   │    └───┬────────┘
//!   └────────┘ make before break: the next connection is proven before the old one is left
//! ```
//!
//! *Live* means that the peer's kernel has acknowledged media, not that a handshake went well ([`health`]). Whether a connection
//! is still good is judged by what its kernel and its process acknowledge ([`detect`]); which connections a leg has then, and
//! to which origin, is decided by [`failover`]. After a loss the next connection starts at the last keyframe that the lost
//! origin may not have got ([`resume`]) and catches up with the present ([`pace`]).
//!
//! | file | what |
//! | --- | --- |
//! | [`detect`], [`failover`], [`circuit`], [`preference`], [`resume`], [`pace`], [`backlog`], [`batch`], [`health`], [`wire_clock`], [`address`] | rules: is it there, where to, from where on, how fast |
//! | [`session`], with `command`, `amf0`, `chunk_reader`, `chunk_writer`, `outbox`, `speech`, `event`, `wire` | rule: RTMP as bytes in, bytes and events out |
//! | [`refusal`], [`redirect`], [`auth`], [`acks`] | rules: what an origin's no means, where it sends us, how it is told a password, what it has read |
//! | `dial`, `tls`, `conn`, `tcp_info` | shells: name and address, encryption, the socket, and what the kernel knows of it |
//! | `leg`, `line`, `flow`, `supply` | the actor: for ever; one connection; open; its media |
//! | `ballot`, `ranging`, `uplink`, `view` | its vote for the bit rate; round trips; what legs know of each other; the face in the status |
//! | [`rate`] | rule: which video bit rate the leg can carry |
//! | [`preflight`], [`filler`] | rules: what is looked at before a show, and what the uplink is measured with |
//! | [`probe`], `steps` | shells: the check itself; a connection one step at a time |
//! | [`verify`], [`player`], [`hls`] | rules: what it proves when a picture comes back; how to get one |
//! | `pull` | shell: pulls the stream back now and then |
//!
//! # What it refuses to do
//!
//! It sends no pings (some servers end the connection on one), obeys no server's wish for a slower pace, and shows no stream key
//! anywhere.

pub mod acks;
pub mod address;
pub mod amf0;
pub mod auth;
pub mod backlog;
mod ballot;
pub mod batch;
pub mod chunk_reader;
pub mod chunk_writer;
pub mod circuit;
pub mod command;
mod conn;
pub mod coverage;
pub mod detect;
mod dial;
mod event;
pub mod failover;
pub mod filler;
mod flow;
pub mod health;
pub mod hls;
mod leg;
mod line;
pub mod outbox;
pub mod pace;
mod places;
pub mod player;
pub mod preference;
pub mod preflight;
pub mod probe;
mod pull;
mod ranging;
pub mod rate;
pub mod redirect;
pub mod refusal;
pub mod resume;
pub mod session;
mod speech;
mod steps;
mod supply;
mod tcp_info;
mod tls;
mod uplink;
pub mod verify;
mod view;
pub mod wire;
pub mod wire_clock;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::auth::Denied;
use self::command::{Refusal, RefusalKind};
use self::detect::{Evidence, Verdict};
use self::failover::Outcome;
use self::places::Places;
use self::session::{SessionError, Step};
use self::uplink::Uplink;
use crate::clock::MediaClock;
use crate::config;
use crate::control::Rates;
use crate::media::hub::Hub;
use crate::report::{Events, Report};
use crate::status;

/// The currents that legs stand in, and which box they belong to.
#[derive(Clone)]
pub struct Currents {
    /// Stands in the stream's metadata, as does …
    pub device: String,
    /// … when the program began, by the wall clock (RFC 3339).
    pub started_at: Option<String>,
    /// Of this box: so that many boxes do not act alike.
    pub seed: u64,
    pub hub: Hub,
    pub clock: MediaClock,
    pub events: Events,
    /// What the program makes.
    pub rates: watch::Receiver<Rates>,
}

/// What all legs of a box share.
#[derive(Clone)]
pub struct Room {
    currents: Currents,
    uplink: Uplink,
    places: Places,
}

impl Room {
    pub fn new(currents: Currents) -> Self {
        Self { currents, uplink: Uplink::default(), places: Places::default() }
    }
}

/// What a leg's configuration says of each of its connections.
#[derive(Clone, Copy)]
struct Terms {
    backlog: Duration,
    timestamps: config::Timestamps,
}

/// Keeps a leg on air until `stop`; returns within about half a second of it.
pub async fn run(leg: config::Leg, room: Room, report: Report<status::Leg>, stop: CancellationToken) {
    leg::Leg::new(leg, room, report, stop).run().await;
}

/// Pulls a leg's stream back now and then, for ever, if any of its origins says where from.
pub async fn prove(leg: config::Leg, room: Room, report: Report<status::Leg>) {
    pull::run(leg, room.currents.hub, room.currents.clock, report).await;
    std::future::pending().await
}

/// Why a connection could not be had, or was lost; in words for people.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("the name {host} cannot be resolved ({error})")]
    Resolve { host: String, error: io::Error },
    #[error("the name server did not answer for {host} within {:.1} s", .limit.as_secs_f64())]
    NoAnswerFromDns { host: String, limit: Duration },
    #[error("the name {host} has no address")]
    NoAddress { host: String },
    #[error("the network interface {name} cannot be used ({error})")]
    Interface { name: String, error: io::Error },
    #[error("no connection to {address} ({error})")]
    Connect { address: SocketAddr, error: io::Error },
    #[error("{address} did not answer within {} s", .limit.as_secs())]
    Unreachable { address: SocketAddr, limit: Duration },
    #[error("{0}")]
    Trust(String),
    #[error("the certificates that are trusted could not be read in time")]
    SlowTrust,
    #[error("\"{0}\" cannot be the name in a certificate")]
    ServerName(String),
    #[error("the origin did not answer the TLS handshake within {} s (is it an RTMPS port?)", .limit.as_secs())]
    SilentTls { limit: Duration },
    #[error("{}", tls_words(.0))]
    Tls(#[from] rustls::Error),
    #[error("the origin did not answer {} within {} s", words(*.step), .limit.as_secs())]
    Silent { step: Step, limit: Duration },
    #[error("the origin closed the connection {}", closed(*.step))]
    Closed { step: Step },
    #[error(
        "the origin took the stream and closed at once (does somebody else use the stream key, or our connection of before?)"
    )]
    TakenBack,
    #[error("the connection broke ({0})")]
    Broken(#[from] io::Error),
    #[error("the origin cannot be understood: {0}")]
    Session(#[from] SessionError),
    #[error("{0}")]
    Refused(Refusal),
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("{}", stalled(*.0))]
    Stalled(Verdict),
    #[error("the time stamps begin anew after 24 days")]
    RolledOver,
    #[error("the origin asked for a new connection")]
    AskedToReconnect,
}

impl PublishError {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Refused(Refusal { kind: RefusalKind::ForGood, .. }) | Self::Denied(_) => Outcome::Refused,
            // At a start without a battery, clocks are wrong for some seconds.
            Self::Tls(error) if tls::is_too_early(error) => Outcome::Failed,
            Self::Trust(_) | Self::ServerName(_) | Self::Tls(rustls::Error::InvalidCertificate(_)) => Outcome::Refused,
            Self::Refused(Refusal { kind: RefusalKind::Busy, .. }) => Outcome::Busy,
            Self::TakenBack | Self::Closed { step: Step::Publish } => Outcome::Busy,
            Self::Resolve { .. } | Self::NoAnswerFromDns { .. } | Self::Unreachable { .. } | Self::Interface { .. } => {
                Outcome::Unanswered
            }
            Self::Connect { error, .. } | Self::Broken(error) if is_unanswered(error) => Outcome::Unanswered,
            Self::Stalled(Verdict::Dead(Evidence::Path { .. }, _)) => Outcome::Unanswered,
            Self::RolledOver | Self::AskedToReconnect => Outcome::Planned,
            _ => Outcome::Failed,
        }
    }
}

/// Nobody said no: the network, or our own end of it.
fn is_unanswered(error: &io::Error) -> bool {
    use ErrorKind::*;
    matches!(error.kind(), HostUnreachable | NetworkUnreachable | NetworkDown | TimedOut | AddrNotAvailable)
}

fn words(step: Step) -> &'static str {
    match step {
        Step::Handshake => "the handshake",
        Step::Connect => "\"connect\"",
        Step::CreateStream | Step::Ready => "\"createStream\"",
        Step::Publish => "\"publish\"",
        Step::Live => "the media",
    }
}

/// Many servers close instead of giving a reason; when they do it tells a little.
fn closed(step: Step) -> &'static str {
    match step {
        Step::Handshake => "during the handshake (is it an RTMP server?)",
        Step::Connect => "after \"connect\" (does it know the application in the URL?)",
        Step::CreateStream => "after \"createStream\"",
        Step::Ready => "while it was kept as a spare",
        Step::Publish => "after \"publish\" (is the stream key right, and not in use?)",
        Step::Live => "while live",
    }
}

fn tls_words(error: &rustls::Error) -> String {
    match tls::certificate_fault(error) {
        Some(fault) => format!("the origin's certificate {fault}"),
        None => format!("TLS failed ({error})"),
    }
}

fn stalled(verdict: Verdict) -> String {
    let (Verdict::Suspect(evidence, quiet) | Verdict::Dead(evidence, quiet)) = verdict else {
        return "another connection has taken its place".into();
    };
    let quiet = quiet.as_secs_f64();
    match evidence {
        Evidence::Path { outstanding } => {
            format!("nothing gets through: no acknowledgement for {quiet:.1} s, {outstanding} bytes outstanding")
        }
        Evidence::Frozen => format!("the origin has stopped reading: its last word was {quiet:.1} s ago"),
        Evidence::ClosedWindow | Evidence::ShrinkingWindow => {
            format!("the origin has stopped reading: its receive buffer has been filling for {quiet:.1} s")
        }
    }
}
