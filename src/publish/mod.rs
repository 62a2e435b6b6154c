//! Publishing: one actor per leg that keeps the program on one of the leg's origins, for ever.
//!
//! # Theory of operation
//!
//! A leg reads the hub at its own pace and writes to one RTMP connection. It holds no queue: what waits for a slow origin
//! waits in the hub, and when more than the configured backlog waits, whole GOPs are left out ([`backlog`]). Nothing it does
//! can delay the program or another leg. Every leg and every connection sends the same bytes with the same times, those of
//! the program's clock, so that two origins can be compared and exchanged picture by picture.
//!
//! ```text
//!              ┌───────── hold of an origin is over ────────┐
//!              ▼                                            │
//!        ┌────────────┐  refused, unreachable   ┌───────────┴──────────┐
//!   ────▶│ connecting ├────────────────────────▶│ waiting (if by the   │
//!        └─┬────────▲─┘   and all are held      │ origin's word:       │
//!          │        │                           │ rejected)            │
//!    media │        │ another origin            └───────────▲──────────┘
//!    taken │        │ is free: at once                      │
//!          ▼        │                                       │
//!        ┌──────────┴─┐      all are held                   │
//!        │    live    ├─────────────────────────────────────┘           off: switched off, or told to stop
//!        └────────────┘
//! ```
//!
//! *Live* means that the peer's kernel has acknowledged media, not that a handshake went well ([`health`]). A live connection
//! is lost when it ends, when the origin says so, or when nothing is acknowledged for 2 s while bytes are outstanding; which
//! origin is tried then, and when, is [`failover`]'s decision. A new connection starts at the hub's newest keyframe.
//!
//! | file | what |
//! | --- | --- |
//! | [`failover`], [`backlog`], [`health`] | rules: which origin, what to leave out, what the kernel's figures mean |
//! | [`session`], with `command`, `amf0`, `chunk_reader`, `chunk_writer`, `outbox`, `wire` | rule: RTMP as bytes in, bytes and events out |
//! | `conn`, `tcp_info` | shells: the socket, and what the kernel knows of it |
//! | `leg`, `live`, `view` | the actor: for ever; one live connection; its face in the status |
//!
//! # What it refuses to do
//!
//! It does not speak RTMPS yet, sends no pings (some servers end the connection on one), and shows no stream key anywhere.

pub mod acks;
pub mod amf0;
pub mod backlog;
pub mod chunk_reader;
pub mod chunk_writer;
pub mod command;
mod conn;
pub mod failover;
pub mod health;
mod leg;
mod live;
pub mod outbox;
pub mod session;
mod tcp_info;
mod view;
pub mod wire;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::command::{Refusal, RefusalKind};
use self::failover::Outcome;
use self::session::{SessionError, Step};
use crate::clock::MediaClock;
use crate::config;
use crate::media::hub::Hub;
use crate::report::{Events, Report};
use crate::status;

/// Keeps a leg on air until `stop`; returns within about half a second of it.
pub async fn run(
    leg: config::Leg,
    device_name: String,
    hub: Hub,
    clock: MediaClock,
    report: Report<status::Leg>,
    events: Events,
    stop: CancellationToken,
) {
    leg::Leg::new(leg, device_name, hub, clock, report, events, stop).run().await;
}

/// Why a connection could not be had, or was lost; in words for people.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("the name {host} cannot be resolved ({error})")]
    Resolve { host: String, error: io::Error },
    #[error("the name server did not answer for {host} within {} s", .limit.as_secs())]
    NoAnswerFromDns { host: String, limit: Duration },
    #[error("the name {host} has no address")]
    NoAddress { host: String },
    #[error("no connection to {address} ({error})")]
    Connect { address: SocketAddr, error: io::Error },
    #[error("{address} did not answer within {} s", .limit.as_secs())]
    Unreachable { address: SocketAddr, limit: Duration },
    #[error("the origin did not answer {} within {} s", words(*.step), .limit.as_secs())]
    Silent { step: Step, limit: Duration },
    #[error("the origin closed the connection {}", closed(*.step))]
    Closed { step: Step },
    #[error("the connection broke ({0})")]
    Broken(#[from] io::Error),
    #[error("the origin cannot be understood: {0}")]
    Session(#[from] SessionError),
    #[error("the origin refused: {0}")]
    Refused(Refusal),
    #[error("the origin stopped taking data: nothing acknowledged for {:.1} s, {outstanding} bytes outstanding", .quiet.as_secs_f64())]
    Stalled { quiet: Duration, outstanding: u64 },
}

impl PublishError {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Refused(Refusal { kind: RefusalKind::ForGood, .. }) => Outcome::Refused,
            Self::Refused(Refusal { kind: RefusalKind::Busy, .. }) => Outcome::Busy,
            _ => Outcome::Failed,
        }
    }
}

fn words(step: Step) -> &'static str {
    match step {
        Step::Handshake => "the handshake",
        Step::Connect => "\"connect\"",
        Step::CreateStream => "\"createStream\"",
        Step::Ready => "while armed",
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
        Step::Ready => "before anything was published",
        Step::Publish => "after \"publish\" (is the stream key right, and not in use?)",
        Step::Live => "while live",
    }
}
