//! The conductor: the one place where a room's state becomes another room's order, and where all states together become words.
//!
//! [`decide`] is pure, as are the [`agreement`] on a bit rate, the [`selection`] of an input, the upload's [`yielding`] to the legs
//! and the [`alarms`]; the loop below them looks at the status a few times a second, writes what follows from it (on air, alarms, events) and sends the orders. No room asks another for anything.

pub mod agreement;
pub mod airtime;
pub mod alarms;
pub mod selection;
pub mod yielding;

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use self::agreement::Agreement;
use self::airtime::Airtime;
use self::alarms::{alarms, keep_times};
use self::selection::{Move, Selection};
use self::yielding::Yielding;
use crate::clock::MediaClock;
use crate::config::{self, Config, InputKind};
use crate::control::{Chooser, Command, Commands, Rates, Reply, Request, UploadShare};
use crate::report::Events;
use crate::status::{self, Status};
use crate::units::{BitRate, MediaTime, Span};

/// How often the conductor looks.
const LOOK: Duration = Duration::from_millis(100);

/// Who is given an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Room {
    Program,
    Input(String),
    Archive,
}

/// What a room is told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub to: Room,
    pub command: Command,
}

/// Orders that follow from what is, and from what was agreed before.
pub fn decide(status: &Status, config: &Config, agreement: &Agreement, now: MediaTime) -> Vec<Order> {
    let bitrate = agreement.next(status, config.program.min_video_bitrate, now);
    let bitrate = bitrate.map(|rate| Order { to: Room::Program, command: Command::AgreedBitrate(rate) });
    let files = config.inputs.iter().filter(|input| matches!(input.kind, InputKind::File { .. }));
    let rolls = files.filter_map(|input| {
        roll_or_cue(&input.name, status).map(|command| Order { to: Room::Input(input.name.clone()), command })
    });
    bitrate.into_iter().chain(rolls).collect()
}

/// A file plays while it is on air, being faded out, or about to be on air; else it waits at its first picture.
fn roll_or_cue(name: &str, status: &Status) -> Option<Command> {
    let rolling = status.inputs.iter().any(|input| input.name == name && input.rolling);
    let status::Program { selected, input, fading_out, .. } = &status.program;
    let wanted = selected == name || input == name || fading_out.iter().any(|leaving| leaving == name);
    match (wanted, rolling) {
        (true, false) => Some(Command::Roll { input: name.into() }),
        (false, true) => Some(Command::Cue { input: name.into() }),
        _ => None,
    }
}

/// The program's bit rates, as the legs are told them.
pub fn rates(program: &config::Program, now: &status::Program) -> Rates {
    let known = |bps: u64| if bps > 0 { BitRate::from_bps(bps) } else { program.video_bitrate };
    Rates {
        video: known(now.video_bitrate_bps),
        audio: program.audio_bitrate,
        floor: program.min_video_bitrate,
        ceiling: known(now.video_bitrate_limit_bps),
    }
}

/// At least one leg has media taken by its origin.
pub fn on_air(status: &Status) -> bool {
    status.legs.iter().any(|leg| leg.taken)
}

/// The offset of the sound on air.
fn av_offset_ms(status: &Status) -> Option<f64> {
    let shown = status.inputs.iter().find(|input| input.name == status.program.input)?;
    shown.sound.as_ref()?.offset_ms
}

/// What is told to many at once, and changes by and by.
pub struct Told {
    /// To the legs.
    pub rates: watch::Sender<Rates>,
    /// To the upload.
    pub share: watch::Sender<UploadShare>,
}

/// Never ends. `rooms`: the way to each one that takes orders.
pub async fn run(
    config: Config,
    status: watch::Sender<Status>,
    clock: MediaClock,
    events: Events,
    rooms: HashMap<Room, Commands>,
    told: Told,
) -> Result<(), Infallible> {
    let mut interval = tokio::time::interval(LOOK);
    let mut agreement = Agreement::default();
    let mut selection = Selection::new(&config);
    let mut airtime = Airtime::default();
    let mut yielding = Yielding::default();
    loop {
        interval.tick().await;
        let now = clock.now();
        summarize(&status, now.millis() / 1000);
        let rates = rates(&config.program, &status.borrow().program);
        told.rates.send_if_modified(|told| std::mem::replace(told, rates) != rates);
        let share = yielding.next(&status.borrow(), now);
        told.share.send_if_modified(|told| std::mem::replace(told, share) != share);
        let orders = decide(&status.borrow(), &config, &agreement, now);
        for Order { to, command } in orders {
            if to == Room::Program {
                agreement.changed(now);
            }
            if let Some(commands) = rooms.get(&to) {
                order(commands, command).await;
            }
        }
        let to = selection.next(&status.borrow(), now);
        if let (Some(to), Some(program)) = (to, rooms.get(&Room::Program))
            && let Some(Ok(_)) = order(program, switch(&to)).await
        {
            selection.moved(&to, now);
            events.add(to.why);
        }
        let news = agreement.news(&status.borrow(), now);
        if let Some(news) = news {
            events.add(news);
        }
        let dark = airtime.news(&status.borrow(), now);
        for span in dark {
            events.add(reached_nobody(span));
            if let Some(archive) = rooms.get(&Room::Archive) {
                order(archive, Command::NotOnAir(span)).await;
            }
        }
    }
}

fn summarize(status: &watch::Sender<Status>, now_s: u64) {
    status.send_if_modified(|status| {
        let alarms = keep_times(&status.alarms, now_s, alarms(status));
        let (on_air, av_offset_ms) = (on_air(status), av_offset_ms(status));
        let changed = status.alarms != alarms
            || status.on_air != on_air
            || status.program.av_offset_ms != av_offset_ms
            || status.device.uptime_s != now_s;
        status.program.av_offset_ms = av_offset_ms;
        status.alarms = alarms;
        status.on_air = on_air;
        status.device.uptime_s = now_s;
        changed
    });
}

fn reached_nobody(span: Span) -> String {
    let seconds = |ms: u64| ms as f64 / 1000.0;
    format!(
        "{:.1} s of the program ({:.1} s to {:.1} s) reached no origin",
        seconds(span.length_ms()),
        seconds(span.from_ms),
        seconds(span.until_ms)
    )
}

fn switch(to: &Move) -> Command {
    Command::Switch { input: to.input.clone(), fade: to.fade, by: Chooser::List }
}

/// Sends an order and waits, for a moment, until it is carried out: so none is given twice.
async fn order(commands: &Commands, command: Command) -> Option<Reply> {
    let (reply, answer) = oneshot::channel();
    commands.try_send(Request { command, reply }).ok()?;
    tokio::time::timeout(Duration::from_secs(1), answer).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conductor::alarms::tests::status_with_leg;
    use crate::status::{Input, LegState};
    use crate::units::BitRate;

    #[test]
    fn on_air_needs_media_taken_not_a_connection() {
        let mut status = status_with_leg(LegState::Live, 9);
        assert!(!on_air(&status));
        status.legs[0].taken = true;
        assert!(on_air(&status));
    }

    #[test]
    fn a_file_rolls_while_asked_for_or_on_air_and_is_cued_else() {
        let mut status = Status { inputs: vec![Input { name: "promo".into(), ..Input::default() }], ..Status::default() };
        assert_eq!(roll_or_cue("promo", &status), None);
        status.program.selected = "promo".into();
        assert_eq!(roll_or_cue("promo", &status), Some(Command::Roll { input: "promo".into() }));
        status.inputs[0].rolling = true;
        assert_eq!(roll_or_cue("promo", &status), None);
        status.program.selected = "camera".into();
        status.program.input = "promo".into();
        assert_eq!(roll_or_cue("promo", &status), None, "still on air until the cut");
        status.program.input = "camera".into();
        status.program.fading_out = vec!["promo".into()];
        assert_eq!(roll_or_cue("promo", &status), None, "still in the picture until the fade is over");
        status.program.fading_out.clear();
        assert_eq!(roll_or_cue("promo", &status), Some(Command::Cue { input: "promo".into() }));
    }

    #[test]
    fn orders_go_to_the_room_that_they_are_for() {
        let text = "version = 1\n[[input]]\nname = 'promo'\nkind = 'file'\npaths = ['/a.mp4']\n[[leg]]\n[[leg.origin]]\nurl = 'rtmp://a/b/key'";
        let config = crate::config::parse(text).expect("a valid configuration").config;
        let mut status = status_with_leg(LegState::Live, 0);
        status.legs[0].wanted_bitrate_bps = Some(2_000_000);
        (status.program.video_bitrate_bps, status.program.video_bitrate_limit_bps) = (4_000_000, 4_000_000);
        status.program.selected = "promo".into();
        let orders = decide(&status, &config, &Agreement::default(), MediaTime::ZERO);
        let bitrate = Command::AgreedBitrate(BitRate::from_bps(2_000_000));
        let roll = Command::Roll { input: "promo".into() };
        assert_eq!(
            orders,
            [Order { to: Room::Program, command: bitrate }, Order { to: Room::Input("promo".into()), command: roll },]
        );
    }
}
