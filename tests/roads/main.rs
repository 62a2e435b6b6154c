//! The roads that a leg can take: encrypted, by another name, through another interface, with a password, sent on by the origin
//! itself, from one origin to the next and back. All through the leg as the daemon runs it, to real origins where they can be
//! had, and judged by what those have recorded: what the clip holds is the truth.

#[path = "../authority/mod.rs"]
mod authority;
mod back;
#[path = "../faults/compare.rs"]
#[allow(dead_code, reason = "the fault bench uses more of it")]
mod compare;
#[path = "../fake/mod.rs"]
mod fake;
mod judge;
#[path = "../legs/mod.rs"]
mod legs;
mod places;
#[path = "../faults/recording.rs"]
#[allow(dead_code, reason = "the fault bench uses more of it")]
mod recording;
mod secure;
mod sent_on;
mod spare;
#[path = "../support/mod.rs"]
mod support;
mod times;
