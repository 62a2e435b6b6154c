//! The conductor: the one place where a room's state becomes another room's order, and where all states together become words.
//!
//! [`decide`] and [`alarms`] are pure, as are the [`agreement`] on a bit rate and the [`selection`] of an input; the loop below them
//! looks at the status a few times a second, writes what follows from it (on air, alarms, events) and sends the orders. No room asks another for anything.

pub mod agreement;
pub mod selection;

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use self::agreement::Agreement;
use self::selection::{Move, Selection};
use crate::clock::MediaClock;
use crate::config::{self, Config, InputKind};
use crate::control::{Chooser, Command, Commands, Rates, Reply, Request};
use crate::report::Events;
use crate::status::{self, Alarm, ArchiveState, LegState, ProofState, Shows, Signal, SoundState, Status};
use crate::units::{BitRate, MediaTime};

/// How often the conductor looks.
const LOOK: Duration = Duration::from_millis(100);

/// A state must last this long before it is an alarm, so that a start or a reconnect is none.
const GRACE_S: u64 = 5;

/// Who is given an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Room {
    Program,
    Input(String),
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

/// What needs a person, most urgent first. `since_s` is filled in by [`keep_times`].
pub fn alarms(status: &Status) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    let mut raise = |id: String, text: String, remedy: &str| {
        alarms.push(Alarm { id, since_s: 0, text, remedy: remedy.into() });
    };
    for leg in status.legs.iter().filter(|leg| leg.down_s >= GRACE_S || leg.state == LegState::Rejected) {
        let cause = leg.last_error.as_deref().unwrap_or("no answer yet");
        match leg.state {
            LegState::Live | LegState::Off => {}
            LegState::Rejected => raise(
                format!("leg.{}.rejected", leg.name),
                format!("Leg {} is refused: {cause}", leg.name),
                "Check the stream key and the URL of this origin",
            ),
            LegState::Connecting | LegState::Waiting => raise(
                format!("leg.{}.down", leg.name),
                format!("Leg {} is not on air: {cause}", leg.name),
                "Check the network cable and the origin; the box keeps trying",
            ),
        }
    }
    for (leg, proof) in status.legs.iter().filter_map(|leg| Some((leg, leg.proof.as_ref()?))) {
        let cause = proof.last_error.as_deref().unwrap_or("nothing has come back");
        let found = match proof.state {
            ProofState::Waiting | ProofState::Seen => continue,
            ProofState::Missing => "its stream cannot be seen behind the origin",
            ProofState::Mismatch => "another stream is seen behind the origin",
        };
        raise(
            format!("leg.{}.proof", leg.name),
            format!("Leg {} sends, but {found}: {cause}", leg.name),
            "Look at the stream as a viewer would; check the origin and its `verify` URL. The box goes on sending",
        );
    }
    if let Some(first) = status.device.config_faults.first() {
        let count = status.device.config_faults.len();
        let text = if count == 1 { first.clone() } else { format!("{first} (and {} more)", count - 1) };
        raise("config".into(), text, "Correct the configuration and restart; `onaird check` lists all faults");
    }
    let archive = &status.archive;
    if matches!(archive.state, ArchiveState::Failed | ArchiveState::Full) {
        let cause = archive.last_error.as_deref().unwrap_or("unknown cause");
        raise("archive".into(), format!("Not recording: {cause}"), "Check the disk; recording resumes by itself");
    }
    let shown = status.inputs.iter().find(|input| input.name == status.program.input);
    if let Some(input) = shown.filter(|_| status.program.shows == Shows::Slate && status.device.uptime_s >= GRACE_S) {
        let known = input.last_error.clone().or_else(|| input.remark.clone());
        let cause = known.unwrap_or_else(|| input.signal.to_string());
        let remedy = if input.kind == "file" { "Replace the file or choose another input" } else { remedy_for(input.signal) };
        raise(format!("input.{}", input.name), format!("Input {} gives no picture: {cause}", input.name), remedy);
    }
    if let Some(input) = shown.filter(|_| status.program.shows == Shows::Live) {
        for (word, text, remedy) in unwell(input) {
            raise(format!("input.{}.{word}", input.name), format!("Input {} {text}", input.name), remedy);
        }
    }
    let sound = shown.and_then(|input| Some((input, input.sound.as_ref()?)));
    if let Some((input, sound)) = sound.filter(|(_, sound)| sound.down_s >= GRACE_S) {
        let cause = sound.last_error.clone().unwrap_or_else(|| sound.state.to_string());
        let text = format!("Input {} gives no sound, silence is sent: {cause}", input.name);
        raise(format!("input.{}.sound", input.name), text, sound_remedy(sound.state));
    }
    for input in status.inputs.iter().filter(|input| input.kind == "file") {
        if let Some(fault) = input.last_error.as_ref() {
            raise(format!("input.{}.file", input.name), format!("Input {}: {fault}", input.name), "Replace or remove the file");
        }
    }
    alarms
}

/// What comes from an input and is not what anybody wants to see or hear. A black picture does not move either.
fn unwell(input: &status::Input) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    const FROZEN: &str = "Look at the camera: paused, in playback or hung? Restart it, or switch to another input";
    const BLACK: &str = "Look at the camera: lens cap, aperture, standby? Or switch to another input";
    const SILENT: &str = "Check the microphone, its switch and battery, and the level at the camera or mixer";
    let found = [
        (input.frozen && !input.black, "frozen", "shows a picture that does not change", FROZEN),
        (input.black, "black", "shows black", BLACK),
        (input.silent, "silent", "has no sound", SILENT),
    ];
    found.into_iter().filter(|(is, ..)| *is).map(|(_, word, text, remedy)| (word, text, remedy))
}

fn sound_remedy(state: SoundState) -> &'static str {
    match state {
        SoundState::NoDevice => "Plug in the sound device, or correct `audio` in the configuration",
        SoundState::Busy => "Stop the program that uses the sound device; the box takes it as soon as it is free",
        SoundState::NoSound | SoundState::Running => {
            "Check the cable and that the source sends sound (HDMI: stereo PCM); the box keeps trying"
        }
    }
}

/// The offset of the sound on air.
fn av_offset_ms(status: &Status) -> Option<f64> {
    let shown = status.inputs.iter().find(|input| input.name == status.program.input)?;
    shown.sound.as_ref()?.offset_ms
}

fn remedy_for(signal: Signal) -> &'static str {
    match signal {
        Signal::NoDevice => "Plug in the capture device, or correct `device` in the configuration",
        Signal::NoSignal | Signal::NoCable => "Check the cable and that the camera is on and sends a signal",
        Signal::NoSync => "Check the cable; try another mode on the camera, such as 1080p60",
        Signal::OutOfRange => "Set the camera to a mode that the capture device knows, such as 1080p60",
        Signal::Locked => "The cable is fine but no pictures come; the box keeps trying",
    }
}

/// Alarms that stood before keep the time at which they were raised.
pub fn keep_times(before: &[Alarm], now_s: u64, mut alarms: Vec<Alarm>) -> Vec<Alarm> {
    for alarm in &mut alarms {
        let known = before.iter().find(|known| known.id == alarm.id);
        alarm.since_s = known.map_or(now_s, |known| known.since_s);
    }
    alarms
}

/// Never ends. `rooms`: the way to each one that takes orders.
pub async fn run(
    config: Config,
    status: watch::Sender<Status>,
    clock: MediaClock,
    events: Events,
    rooms: HashMap<Room, Commands>,
    legs: watch::Sender<Rates>,
) -> Result<(), Infallible> {
    let mut interval = tokio::time::interval(LOOK);
    let mut agreement = Agreement::default();
    let mut selection = Selection::new(&config);
    loop {
        interval.tick().await;
        let now = clock.now();
        summarize(&status, now.millis() / 1000);
        let rates = rates(&config.program, &status.borrow().program);
        legs.send_if_modified(|told| std::mem::replace(told, rates) != rates);
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
    use crate::status::{Input, Leg, Proof, Sound};
    use crate::units::BitRate;

    fn status_with_leg(state: LegState, down_s: u64) -> Status {
        let leg = Leg { name: "a".into(), state, down_s, ..Leg::default() };
        Status { legs: vec![leg], ..Status::default() }
    }

    #[test]
    fn a_short_reconnect_is_no_alarm_and_a_refusal_is_one_at_once() {
        assert!(alarms(&status_with_leg(LegState::Connecting, 1)).is_empty());
        assert_eq!(alarms(&status_with_leg(LegState::Waiting, 9))[0].id, "leg.a.down");
        assert_eq!(alarms(&status_with_leg(LegState::Rejected, 0))[0].id, "leg.a.rejected");
        assert!(alarms(&status_with_leg(LegState::Off, 99)).is_empty());
    }

    #[test]
    fn a_faulty_configuration_is_an_alarm_for_as_long_as_it_is_in_use() {
        let mut status = Status::default();
        status.device.config_faults = vec!["a.toml:3: bad".into(), "a.toml: the factory's is used".into()];
        let alarms = alarms(&status);
        assert_eq!((alarms.len(), alarms[0].text.as_str()), (1, "a.toml:3: bad (and 1 more)"));
    }

    #[test]
    fn a_stream_that_does_not_come_back_is_an_alarm_and_no_more() {
        let mut status = status_with_leg(LegState::Live, 0);
        for (state, words) in [
            (ProofState::Waiting, None),
            (ProofState::Seen, None),
            (ProofState::Missing, Some("Leg a sends, but its stream cannot be seen behind the origin: no connection")),
            (ProofState::Mismatch, Some("Leg a sends, but another stream is seen behind the origin: no connection")),
        ] {
            status.legs[0].proof = Some(Proof { state, last_error: Some("no connection".into()), ..Proof::default() });
            let alarms = alarms(&status);
            assert_eq!(alarms.first().map(|alarm| alarm.text.as_str()), words);
            assert!(alarms.iter().all(|alarm| alarm.id == "leg.a.proof"));
        }
    }

    #[test]
    fn no_sound_is_an_alarm_only_on_air_and_only_if_it_lasts() {
        let sound = Sound { state: SoundState::NoDevice, down_s: GRACE_S, offset_ms: Some(1.5), ..Sound::default() };
        let input = Input { name: "camera".into(), sound: Some(sound), ..Input::default() };
        let mut status = Status { inputs: vec![input], ..Status::default() };
        assert_eq!((alarms(&status), av_offset_ms(&status)), (vec![], None));
        status.program.input = "camera".into();
        status.program.shows = Shows::Live;
        let alarm = &alarms(&status)[0];
        assert_eq!(alarm.id, "input.camera.sound");
        assert_eq!(alarm.text, "Input camera gives no sound, silence is sent: no device");
        assert_eq!(av_offset_ms(&status), Some(1.5));
        status.inputs[0].sound.as_mut().unwrap().down_s = GRACE_S - 1;
        assert_eq!(alarms(&status), []);
    }

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

    #[test]
    fn what_is_found_is_an_alarm_only_of_the_input_on_air() {
        let input = |name: &str| Input { name: name.into(), kind: "v4l2".into(), ..Input::default() };
        let mut status = Status { inputs: vec![input("camera"), input("spare")], ..Status::default() };
        (status.program.input, status.program.shows) = ("camera".into(), Shows::Live);
        let ids = |status: &Status| alarms(status).into_iter().map(|alarm| alarm.id).collect::<Vec<_>>();
        (status.inputs[1].frozen, status.inputs[1].black, status.inputs[1].silent) = (true, true, true);
        assert!(ids(&status).is_empty());
        (status.inputs[0].frozen, status.inputs[0].silent) = (true, true);
        assert_eq!(ids(&status), ["input.camera.frozen", "input.camera.silent"]);
        status.inputs[0].black = true;
        assert_eq!(ids(&status), ["input.camera.black", "input.camera.silent"], "black does not move either");
        status.program.shows = Shows::Slate;
        assert!(ids(&status).is_empty(), "nothing of it is seen; that is another alarm");
    }

    #[test]
    fn alarms_keep_the_time_of_their_raising() {
        let first = keep_times(&[], 7, alarms(&status_with_leg(LegState::Waiting, 9)));
        let later = keep_times(&first, 20, alarms(&status_with_leg(LegState::Waiting, 22)));
        assert_eq!(later[0].since_s, 7);
    }
}
