//! Pre-flight: what is looked at before a show, what each finding means, and what a person does about it. Pure.
//!
//! ```text
//! for each origin of each leg:   dns ─▶ tcp ─▶ tls ─▶ rtmp ─▶ publish        the first step that fails ends the origin
//! at the end, for all legs together:   uplink
//! ```
//!
//! *rtmp* ends when the origin has accepted `connect`: up to there no stream key has been sent. *publish* sends the key, and
//! is therefore left out where a running leg has it in use: an origin would refuse the second publisher, or throw the first
//! one out. A leg that has failed and waits is no reason to leave it out.
//!
//! The figure of the uplink is a lower bound and is called one: nobody asks for more than twice of what is needed, so that a
//! check on a metered line stays cheap. It knows nothing of what the line does an hour later.

use std::fmt;
use std::time::Duration;

use super::PublishError;
use super::command::{Refusal, RefusalKind};
use super::session;
use crate::status::{self, LegState};
use crate::units::BitRate;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Dns,
    Tcp,
    Tls,
    Rtmp,
    Publish,
    Uplink,
}

impl Step {
    fn word(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Rtmp => "rtmp",
            Self::Publish => "publish",
            Self::Uplink => "uplink",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// And what was found.
    Ok(String),
    /// Not done, for a good reason.
    Skipped(String),
    Failed {
        cause: String,
        remedy: &'static str,
    },
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Empty for all legs together.
    pub leg: String,
    /// Without its key.
    pub origin: String,
    pub step: Step,
    pub took: Duration,
    pub finding: Finding,
}

impl Line {
    pub fn has_failed(&self) -> bool {
        matches!(self.finding, Finding::Failed { .. })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.leg.is_empty() { "all legs".into() } else { format!("{} {}", self.leg, self.origin) };
        let (word, millis) = (self.step.word(), self.took.as_millis());
        match &self.finding {
            Finding::Ok(found) => write!(f, "{place}  {word:<7}  ok       {millis:>5} ms  {found}"),
            Finding::Skipped(why) => write!(f, "{place}  {word:<7}  skipped            {why}"),
            Finding::Failed { cause, remedy } => write!(f, "{place}  {word:<7}  failed   {millis:>5} ms  {cause}. {remedy}"),
        }
    }
}

/// Legs that run while the check is made.
#[derive(Clone, Debug, Default)]
pub struct Running {
    pub legs: Vec<status::Leg>,
    /// The running legs are the very ones that are checked; else only the origins' names can be compared.
    pub same: bool,
}

impl Running {
    /// Why the key of `leg` must not be sent to `origin` now, if it must not.
    pub fn objection(&self, leg: &str, origin: &str) -> Option<String> {
        let there = |running: &&status::Leg| running.origin == origin && (!self.same || running.name == leg);
        let running = self.legs.iter().filter(there).min_by_key(|running| running.state != LegState::Live)?;
        match (running.state, self.same) {
            (LegState::Live, true) => Some("publishing already (live)".into()),
            (LegState::Live, false) => Some(format!("leg {} of the running onaird is publishing there (live)", running.name)),
            (LegState::Connecting, _) => Some(format!("leg {} is connecting to it at this moment", running.name)),
            _ => None,
        }
    }

    /// Why the uplink is not loaded now, if it must not be.
    pub fn objection_to_load(&self) -> Option<String> {
        if self.legs.iter().all(|leg| leg.state == LegState::Off) {
            return None;
        }
        let live: Vec<_> = self.legs.iter().filter(|leg| leg.state == LegState::Live).collect();
        if live.is_empty() {
            return Some("not measured while legs are trying to get on air, which it would delay".into());
        }
        let rates = live.iter().map(|leg| format!("{} {}", leg.name, mbps(leg.bitrate_bps))).collect::<Vec<_>>().join(", ");
        Some(format!("not measured while a stream is running, which it would disturb; now on air: {rates}"))
    }
}

/// What a step's error means.
pub fn failed(step: Step, error: &PublishError) -> Finding {
    Finding::Failed { cause: error.to_string(), remedy: remedy(step, error) }
}

fn remedy(step: Step, error: &PublishError) -> &'static str {
    match (step, error) {
        (_, PublishError::Resolve { .. } | PublishError::NoAnswerFromDns { .. } | PublishError::NoAddress { .. })
        | (Step::Dns, _) => "Check the host in `url`, and that this network has a name server",
        (_, PublishError::Connect { error, .. }) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            "Nothing listens on that port: check the port in `url`, and that the origin runs"
        }
        (_, PublishError::Connect { .. } | PublishError::Unreachable { .. }) | (Step::Tcp, _) => {
            "Check the cable, the gateway and the firewall: outgoing TCP to this port must be allowed"
        }
        (Step::Tls, _) => "Check this box's clock, `ca_file`, and that the port speaks TLS",
        (_, PublishError::Refused(Refusal { kind: RefusalKind::Busy, .. })) => BUSY,
        (Step::Rtmp, PublishError::Refused(_)) => "Check application, user and password in `url`",
        (_, PublishError::Closed { step: session::Step::Connect }) => "Check the application in `url`",
        (Step::Rtmp, _) => "Check the port in `url`: what answers there does not speak RTMP as an origin does",
        (Step::Publish, PublishError::Refused(Refusal { kind: RefusalKind::ForGood, .. })) => "Check the stream key",
        (Step::Publish, PublishError::Closed { step: session::Step::Live }) => BUSY,
        (Step::Publish, _) => "Check the stream key, and that no other encoder uses it",
        (Step::Uplink, _) => "Check again; if it stays so, the origin does not keep a connection",
    }
}

const BUSY: &str = "The key is in use: stop the other encoder; after a crash of this box, wait a minute";

/// Bytes of the protocols beside the media: RTMP, TCP and IP headers.
const OVERHEAD_PERCENT: u64 = 4;

/// Nobody asks the line for more than this multiple of the need.
const ASKED: u64 = 2;

/// A line with less than this above the need will feel every neighbour.
const HEADROOM_PERCENT: u64 = 25;

/// What one leg needs of the uplink.
pub fn need(video: BitRate, audio: BitRate) -> BitRate {
    BitRate::from_bps((video.bps() + audio.bps()) * (100 + OVERHEAD_PERCENT) / 100)
}

/// How fast filler is offered to each leg's origin.
pub fn offer(need: BitRate) -> BitRate {
    BitRate::from_bps(need.bps() * ASKED)
}

/// What each leg's origin acknowledged while all of them were sent to at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub leg: String,
    pub rate: Result<BitRate, String>,
}

/// The verdict on the uplink.
pub fn uplink(need: BitRate, taken: &[Taken]) -> Finding {
    let good: Vec<_> = taken.iter().filter_map(|taken| Some((&taken.leg, *taken.rate.as_ref().ok()?))).collect();
    let faults = taken.iter().filter_map(|taken| Some(format!("{}: {}", taken.leg, taken.rate.as_ref().err()?)));
    let faults = faults.collect::<Vec<_>>().join("; ");
    if good.is_empty() {
        return Finding::Skipped(format!("not measured: no origin took a test stream ({faults})"));
    }
    let total: u64 = good.iter().map(|(_, rate)| rate.bps()).sum();
    let each = good.iter().map(|(leg, rate)| format!("{leg} {}", mbps(rate.bps()))).collect::<Vec<_>>().join(", ");
    let all = need.bps() * good.len() as u64;
    let mut text = format!("at least {} ({each}); {}", mbps(total), needed(need, good.len()));
    if !faults.is_empty() {
        text += &format!("; not measured: {faults}");
    }
    let short = total < all || good.iter().any(|(_, rate)| rate.bps() < need.bps() * 9 / 10);
    match short {
        true => Finding::Failed { cause: text, remedy: "Lower `video_bitrate`, or use another line for one leg" },
        false if total < all * (100 + HEADROOM_PERCENT) / 100 => Finding::Ok(format!("{text}; that is tight")),
        false => Finding::Ok(text),
    }
}

fn needed(need: BitRate, legs: usize) -> String {
    match legs {
        1 => format!("you need {}", mbps(need.bps())),
        2 => format!("you need {} per leg, {} for both", mbps(need.bps()), mbps(2 * need.bps())),
        more => format!("you need {} per leg, {} for all {more}", mbps(need.bps()), mbps(more as u64 * need.bps())),
    }
}

fn mbps(bps: u64) -> String {
    format!("{:.1} Mbit/s", bps as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use proptest::prelude::*;
    use std::io;

    fn leg(name: &str, origin: &str, state: LegState) -> status::Leg {
        status::Leg { name: name.into(), origin: origin.into(), state, bitrate_bps: 4_200_000, ..status::Leg::default() }
    }

    fn rate(bps: u64) -> BitRate {
        BitRate::from_bps(bps)
    }

    fn taken(leg: &str, bps: u64) -> Taken {
        Taken { leg: leg.into(), rate: Ok(rate(bps)) }
    }

    #[test]
    fn a_line_has_its_step_its_time_and_what_to_do() {
        let error =
            PublishError::Connect { address: "127.0.0.1:1935".parse().unwrap(), error: io::ErrorKind::ConnectionRefused.into() };
        let (took, origin) = (Duration::from_millis(12), "rtmp://h/live".to_owned());
        let mut line = Line { leg: "a".into(), origin, step: Step::Tcp, took, finding: failed(Step::Tcp, &error) };
        assert_eq!(
            line.to_string(),
            "a rtmp://h/live  tcp      failed      12 ms  no connection to 127.0.0.1:1935 (connection refused). Nothing listens on \
             that port: check the port in `url`, and that the origin runs"
        );
        assert!(line.has_failed());
        line.finding = Finding::Ok("127.0.0.1".into());
        assert_eq!(line.to_string(), "a rtmp://h/live  tcp      ok          12 ms  127.0.0.1");
        line.finding = Finding::Skipped("why".into());
        assert_eq!(line.to_string(), "a rtmp://h/live  tcp      skipped            why");
        assert!(!line.has_failed());
    }

    #[test]
    fn every_error_has_a_remedy_that_fits() {
        let refused = |kind| {
            let info = super::super::command::Info { code: "c".into(), ..Default::default() };
            PublishError::Refused(Refusal { kind, ..Refusal::new(&info, &Secret::new("key")) })
        };
        let closed = |step| PublishError::Closed { step };
        let io = |kind: io::ErrorKind| PublishError::Broken(kind.into());
        let table = [
            (Step::Dns, io(io::ErrorKind::Other), "name server"),
            (Step::Tcp, PublishError::NoAddress { host: "h".into() }, "name server"),
            (
                Step::Tcp,
                PublishError::Unreachable { address: "[::1]:1".parse().unwrap(), limit: Duration::from_secs(2) },
                "firewall",
            ),
            (Step::Tcp, io(io::ErrorKind::PermissionDenied), "firewall"),
            (Step::Tls, io(io::ErrorKind::InvalidData), "clock"),
            (Step::Rtmp, refused(RefusalKind::ForGood), "user and password"),
            (Step::Rtmp, closed(session::Step::Connect), "application"),
            (Step::Rtmp, closed(session::Step::Handshake), "does not speak RTMP"),
            (Step::Publish, refused(RefusalKind::Busy), "in use"),
            (Step::Publish, refused(RefusalKind::ForGood), "Check the stream key"),
            (Step::Publish, closed(session::Step::Publish), "no other encoder"),
            (Step::Publish, closed(session::Step::Live), "in use"),
        ];
        for (step, error, words) in table {
            assert!(remedy(step, &error).contains(words), "{step:?} {error}: {}", remedy(step, &error));
        }
    }

    #[test]
    fn a_key_in_use_is_not_sent_again() {
        use LegState::*;
        let here = "rtmp://h/live";
        let table = [
            (true, leg("a", here, Live), Some("publishing already (live)")),
            (true, leg("a", here, Connecting), Some("leg a is connecting to it at this moment")),
            (true, leg("a", here, Waiting), None),
            (true, leg("a", here, Rejected), None),
            (true, leg("a", "rtmp://spare/live", Live), None),
            (true, leg("b", here, Live), None),
            (false, leg("b", here, Live), Some("leg b of the running onaird is publishing there (live)")),
            (false, leg("b", here, Off), None),
        ];
        for (same, running, want) in table {
            let running = Running { legs: vec![running], same };
            assert_eq!(running.objection("a", here).as_deref(), want, "{running:?}");
        }
        assert_eq!(Running::default().objection("a", here), None);
    }

    #[test]
    fn the_uplink_is_left_alone_while_a_stream_runs() {
        let mut running = Running { legs: vec![leg("a", "o", LegState::Live), leg("b", "o", LegState::Waiting)], same: true };
        let text = running.objection_to_load().unwrap();
        assert!(text.contains("not measured while a stream is running") && text.ends_with("now on air: a 4.2 Mbit/s"), "{text}");
        running.legs.remove(0);
        assert!(running.objection_to_load().unwrap().contains("trying to get on air"));
        running.legs[0].state = LegState::Off;
        assert_eq!(running.objection_to_load(), None);
    }

    #[test]
    fn the_uplink_in_words() {
        let need = need(rate(4_000_000), rate(128_000));
        assert_eq!(mbps(need.bps()), "4.3 Mbit/s");
        let text = |finding| match finding {
            Finding::Ok(text) => format!("ok: {text}"),
            Finding::Skipped(text) => format!("skipped: {text}"),
            Finding::Failed { cause, .. } => format!("failed: {cause}"),
        };
        let table = [
            (
                vec![taken("a", 6_200_000), taken("b", 6_100_000)],
                "ok: at least 12.3 Mbit/s (a 6.2 Mbit/s, b 6.1 Mbit/s); you need 4.3 Mbit/s per leg, 8.6 Mbit/s for both",
            ),
            (vec![taken("a", 5_000_000)], "ok: at least 5.0 Mbit/s (a 5.0 Mbit/s); you need 4.3 Mbit/s; that is tight"),
            (vec![taken("a", 3_000_000)], "failed: at least 3.0 Mbit/s (a 3.0 Mbit/s); you need 4.3 Mbit/s"),
            (
                vec![taken("a", 8_000_000), taken("b", 1_000_000)],
                "failed: at least 9.0 Mbit/s (a 8.0 Mbit/s, b 1.0 Mbit/s); you need 4.3 Mbit/s per leg, 8.6 Mbit/s for both",
            ),
            (
                vec![taken("a", 8_000_000), Taken { leg: "b".into(), rate: Err("busy".into()) }],
                "ok: at least 8.0 Mbit/s (a 8.0 Mbit/s); you need 4.3 Mbit/s; not measured: b: busy",
            ),
            (
                vec![Taken { leg: "b".into(), rate: Err("busy".into()) }],
                "skipped: not measured: no origin took a test stream (b: busy)",
            ),
        ];
        for (taken, want) in table {
            assert_eq!(text(uplink(need, &taken)), want);
        }
    }

    proptest! {
        #[test]
        fn an_uplink_below_the_need_never_passes(need in 100_000u64..50_000_000, parts in prop::collection::vec(0u64..100, 1..5)) {
            let rates: Vec<_> = parts.iter().map(|part| taken("x", need * part / 100)).collect();
            let failed = matches!(uplink(rate(need), &rates), Finding::Failed { .. });
            prop_assert!(failed);
        }
    }
}
