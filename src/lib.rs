//! # onaird
//!
//! The daemon of a capture-to-cloud appliance: a camera's picture and sound, encoded once, published to two redundant
//! RTMP origins at the same time and recorded on disk, whatever happens to the cable, the network or the disk.
//!
//! ## The way of the data
//!
//! ```text
//! V4L2 / ALSA / file / test ── capture ── raw::Feed (pictures by time, a ring of sound; one per input)
//!                                             │
//!                          program::sync      ▼   one tick per frame on the monotonic clock, a constant latency behind:
//!                                             │   the picture nearest in time, else the last one, else the slate
//!                          program::encoders  ▼   appsrc → H.264 / AAC encoder → appsink, rebuilt when one fails or hangs
//!                          media::interleave  │
//!                          media::hub         ▼   packets: immutable, the last 12 s kept; readers lose alone
//!                        ┌────────────────────┼────────────────────┐
//!                   publish leg a        publish leg b           archive
//! ```
//!
//! ## Four currents, one kind of channel each
//!
//! | current | direction | channel |
//! | --- | --- | --- |
//! | media | to the right | [`media::raw::Feed`] into the program, [`media::hub::Hub`] out of it; neither ever blocks its writer |
//! | status | up | one `watch<Status>`; a room writes its own part through a [`report::Report`] |
//! | commands | down | bounded `mpsc` with a oneshot reply: [`control::Request`]; what the program makes is told to the legs as a `watch` of [`control::Rates`] |
//! | config | down | parsed once into [`config::Config`] |
//!
//! ## Layers: imports point down only (`tests/layers.rs` keeps this table true)
//!
//! | layer | modules |
//! | --- | --- |
//! | 4 | `main`, [`commands`], [`app`], [`demo`] |
//! | 3 | rooms: [`capture`], [`program`], [`publish`], [`archive`], [`console`]; [`conductor`], [`notify`] |
//! | 2 | plumbing: [`media::hub`], [`media::raw`], [`media::meter`], [`media::canvas`], [`media::dmabuf`], [`report`], [`tasks`], [`clock`], [`identity`], [`config::store`] |
//! | 1 | rules: [`backoff`], [`media::interleave`], [`media::flv`], [`media::stamp`], [`mod@config::parse`] and what it is made of |
//! | 0 | words: [`units`], [`secret`], [`status`], [`control`], [`config`], [`media::packet`], [`recorded`] |
//!
//! No room imports another; what one room's state means for another is decided in [`conductor`]. Inside a room, pure rules
//! (no clock, no socket, no file: `now` is an argument) stand beside thin shells that touch one outside thing each.
//!
//! ## Glossary
//!
//! *input*: one source of picture and sound. *signal*: what its device says of the cable. *program*: the one picture and
//! sound that goes out; it starts with the daemon and never stops. *slate*: the still that is shown when there is nothing
//! else. *packet*: one encoded access unit or AAC frame. *GOP*: from one keyframe to the next; the unit that may be dropped
//! or resumed at. *leg*: one outgoing stream. *origin*: a server that a leg can publish to. *failover*: a leg leaving a bad
//! origin. *segment*: one archive file; *fragment*: the piece inside that survives a power cut. *run*: one life of the daemon,
//! with a time line of its own. *gap*: a span of which there is no recording, or that reached no origin. *on air*: at least one
//! leg has had media taken by its origin within the last 2 s.

pub mod app;
pub mod archive;
pub mod backoff;
pub mod capture;
pub mod clock;
pub mod commands;
pub mod conductor;
pub mod config;
pub mod console;
pub mod control;
pub mod demo;
pub mod identity;
pub mod media;
pub mod notify;
pub mod program;
pub mod publish;
pub mod recorded;
pub mod report;
pub mod secret;
pub mod status;
pub mod tasks;
pub mod units;
