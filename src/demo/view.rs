//! The daemon's state as lines for a person: one rule for the demo's live view and for `onaird status`.
//!
//! [`lines`] is a pure function from the status to text; [`stage_lines`] adds what only the demo knows. [`Screen`] is the thin
//! shell that puts lines on a terminal, in place, and leaves the terminal as it was; where there is none, it prints a short
//! line now and then.

use std::io::{self, IsTerminal, Write};

use crate::status::{
    ArchiveState, Export, ExportState, IndexState, Leg, LegState, Proof, ProofState, Shows, Status, Upload, UploadState,
};
use crate::units::{BitRate, ByteSize};

/// How many events are shown to who asks once.
const EVENTS: usize = 10;

/// How many the live view has room for, if it is to fit 24 rows.
const STAGE_EVENTS: usize = 4;

/// Loudness of the meter's left end.
const QUIET_DBFS: f64 = -60.0;

const METER: usize = 20;

/// How a line is meant; colour on a terminal, nothing elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Plain,
    Faint,
    Good,
    Bad,
    /// The first line: on air, or not.
    Banner(bool),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    pub mood: Mood,
}

/// What the demo knows beside the daemon's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    pub origins: Vec<OriginView>,
    /// Where each leg can be played when it is at one of the origins.
    pub plays: Vec<Play>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginView {
    pub name: String,
    pub pid: u32,
    pub running: bool,
    /// When it is not running: seconds until it is started again.
    pub back_in_s: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Play {
    pub leg: String,
    /// The origin's URL, as the status names it.
    pub origin: String,
    pub rtmp: String,
    pub hls: String,
}

/// The status in plain text, as `onaird status` shows it.
pub fn lines(status: &Status) -> Vec<String> {
    status_lines(status, EVENTS).into_iter().map(|line| line.text).collect()
}

/// The status, then how to play it, then what to try.
pub fn stage_lines(status: &Status, stage: &Stage) -> Vec<Line> {
    let mut lines = status_lines(status, STAGE_EVENTS);
    lines.push(plain(""));
    let at = |play: &&Play, leg: &Leg| play.leg == leg.name && play.origin == leg.origin;
    for leg in status.legs.iter().filter(|leg| leg.state == LegState::Live) {
        let play = stage.plays.iter().find(|play| at(play, leg));
        lines.extend(play.map(|play| plain(format!("{:<12} {}   {}", format!("play leg {}", leg.name), play.rtmp, play.hls))));
    }
    lines.extend(stage.origins.iter().filter(|origin| !origin.running).map(dead_line));
    lines.push(plain(kill_hint(stage)));
    lines.push(faint(format!("{:<12} ends the demo; the recordings stay", "Ctrl-C")));
    lines
}

/// What a log is told once: where to play, what to kill.
pub fn introduction(stage: &Stage) -> Vec<String> {
    let plays = stage.plays.iter().map(|play| format!("leg {} at {}: {} and {}", play.leg, play.origin, play.rtmp, play.hls));
    plays.chain([kill_hint(stage)]).collect()
}

/// One short line, for a log.
pub fn short_line(status: &Status) -> String {
    let on_air = if status.on_air { "ON AIR" } else { "not on air" };
    let leg = |leg: &Leg| {
        format!("{} {} {} {} queue {} ms", leg.name, leg.state, leg.origin, BitRate::from_bps(leg.bitrate_bps), leg.queue_ms)
    };
    let legs: Vec<_> = status.legs.iter().map(leg).collect();
    let archive = &status.archive;
    let left = archive.seconds_left.map(|left| format!(", {} left", span(left))).unwrap_or_default();
    format!("{} s: {on_air} | {} | archive {}{left}", status.device.uptime_s, legs.join(" | "), archive.state)
}

fn status_lines(status: &Status, events: usize) -> Vec<Line> {
    let mut lines = vec![banner(status)];
    lines.extend(program_lines(status));
    lines.push(plain(""));
    lines.push(faint(format!("{:<12} {:<10} {:<27} {:>12} {:>8} {:>8}", "leg", "state", "origin", "bit rate", "queue", "rtt")));
    lines.extend(status.legs.iter().flat_map(leg_lines));
    lines.push(plain(""));
    lines.extend(archive_lines(status));
    for alarm in &status.alarms {
        lines.push(Line { text: format!("! {}. {}.", alarm.text, alarm.remedy), mood: Mood::Bad });
    }
    lines.push(plain(""));
    let first = status.events.len().saturating_sub(events);
    lines.extend(status.events[first..].iter().map(|event| faint(format!("{:>8.1} s   {}", event.at_s, event.text))));
    lines
}

fn banner(status: &Status) -> Line {
    let word = if status.on_air { "ON AIR" } else { "NOT ON AIR" };
    let device = &status.device;
    let text = format!("{word:<12} {} · onaird {} · up {}", device.name, device.version, span(device.uptime_s));
    Line { text, mood: Mood::Banner(status.on_air) }
}

fn program_lines(status: &Status) -> Vec<Line> {
    let program = &status.program;
    let signal = status.inputs.iter().find(|input| input.name == program.input);
    let signal = signal.map(|input| format!("{}, {}", input.kind, input.signal)).unwrap_or_default();
    let mood = if program.shows == Shows::Live { Mood::Plain } else { Mood::Bad };
    let (rate, limit) = (BitRate::from_bps(program.video_bitrate_bps), BitRate::from_bps(program.video_bitrate_limit_bps));
    let rate = if rate < limit { format!("{rate} of {limit}") } else { rate.to_string() };
    let encoding = format!("{}x{} {:.2} fps, {} {rate}", program.width, program.height, program.fps, program.encoder);
    let picture = format!("{:<12} {:<10} {} ({signal}), {encoding}", "program", program.shows.to_string(), program.input);
    let frames = format!("{} frames, {} repeated, {} dropped", program.frames, program.frames_repeated, program.frames_dropped);
    let meters: Vec<_> = program.audio_dbfs.iter().map(|dbfs| meter(*dbfs)).collect();
    let sound = plain(format!("{:<12} {}", "sound", meters.join("   ")));
    vec![Line { text: picture, mood }, faint(format!("{:<12} {frames}", "")), sound]
}

/// `[||||||||......] -12 dBFS`
fn meter(dbfs: f64) -> String {
    let share = ((dbfs - QUIET_DBFS) / -QUIET_DBFS).clamp(0.0, 1.0);
    let bars = (share * METER as f64).round() as usize;
    format!("[{}{}] {dbfs:>4.0} dBFS", "|".repeat(bars), ".".repeat(METER - bars))
}

fn leg_lines(leg: &Leg) -> Vec<Line> {
    let rate = BitRate::from_bps(leg.bitrate_bps).to_string();
    let rtt = leg.rtt_ms.map(|rtt| format!("{rtt:.1} ms")).unwrap_or_default();
    let queue = format!("{} ms", leg.queue_ms);
    let text = format!("{:<12} {:<10} {:<27} {rate:>12} {queue:>8} {rtt:>8}", leg.name, leg.state, leg.origin);
    let text = text.trim_end().to_string();
    let mood = match leg.state {
        LegState::Live => Mood::Good,
        LegState::Off => Mood::Faint,
        _ => Mood::Bad,
    };
    let past = format!(
        "{:<12} for {}, {} sent, {} reconnects, {} failovers, {} GOPs dropped",
        "",
        span(leg.since_s),
        ByteSize::from_bytes(leg.sent_bytes),
        leg.reconnects,
        leg.failovers,
        leg.dropped_gops
    );
    let mut lines = vec![Line { text, mood }, faint(past)];
    lines.extend(leg.proof.as_ref().map(proof_line));
    let fault = leg.last_error.as_ref().filter(|_| leg.state != LegState::Live);
    lines.extend(fault.map(|fault| Line { text: format!("{:<12} {fault}", ""), mood: Mood::Bad }));
    lines
}

fn proof_line(proof: &Proof) -> Line {
    let seen = match (proof.delay_ms, proof.age_s) {
        (Some(delay), Some(age)) => format!(", last seen {} ago with a delay of {delay} ms", span(age)),
        _ => String::new(),
    };
    let fault = proof.last_error.as_ref().map(|fault| format!("; {fault}")).unwrap_or_default();
    let (words, mood) = match proof.state {
        ProofState::Waiting => ("not seen behind the origin yet", Mood::Faint),
        ProofState::Seen => ("comes back from the origin as it was sent", Mood::Faint),
        ProofState::Missing => ("does not come back from the origin", Mood::Bad),
        ProofState::Mismatch => ("another stream comes back from the origin", Mood::Bad),
    };
    Line { text: format!("{:<12} {words}{seen}{fault}", ""), mood }
}

fn archive_lines(status: &Status) -> Vec<Line> {
    let archive = &status.archive;
    let mood = match archive.state {
        ArchiveState::Recording => Mood::Good,
        ArchiveState::Off => Mood::Faint,
        ArchiveState::Full | ArchiveState::Failed => Mood::Bad,
    };
    let left = archive.seconds_left.map(|left| format!(", {} left", span(left))).unwrap_or_default();
    let loss = archive.seconds_to_loss.map(|left| format!(", full without a way out in {}", span(left))).unwrap_or_default();
    let written = ByteSize::from_bytes(archive.written_bytes);
    let text =
        format!("{:<12} {:<10} {written} written, {} segments done{left}{loss}", "archive", archive.state, archive.segments);
    let mut lines = vec![Line { text, mood }];
    lines.extend(archive.file.as_ref().map(|file| faint(format!("{:<12} {file}", ""))));
    if archive.dropped_gops + archive.lost_segments > 0 {
        let (gops, segments) = (archive.dropped_gops, archive.lost_segments);
        let text = format!("{:<12} {gops} GOPs dropped, {segments} segments deleted before their upload", "");
        lines.push(Line { text, mood: Mood::Bad });
    }
    if archive.index.state == IndexState::Building {
        lines.push(faint(format!("{:<12} index: {} segments are still to be read", "", archive.index.to_read)));
    }
    let fault = archive.last_error.as_ref().filter(|_| mood == Mood::Bad);
    lines.extend(fault.map(|fault| Line { text: format!("{:<12} {fault}", ""), mood: Mood::Bad }));
    lines.extend(export_line(&archive.export));
    lines.extend(upload_lines(&archive.upload));
    lines
}

fn upload_lines(upload: &Upload) -> Vec<Line> {
    let mood = match upload.state {
        UploadState::Off => return Vec::new(),
        UploadState::Idle | UploadState::Uploading => Mood::Good,
        UploadState::Yielding => Mood::Plain,
        UploadState::Waiting | UploadState::Rejected => Mood::Bad,
    };
    let failed = if upload.failed > 0 { format!(", {} cannot be", upload.failed) } else { String::new() };
    let speed = BitRate::from_bps(upload.bytes_per_s * 8);
    let speed = if upload.bytes_per_s > 0 { format!(", {speed}") } else { String::new() };
    let text =
        format!("{:<12} {:<10} {} uploaded, {} wait{failed}{speed}", "upload", upload.state, upload.uploaded, upload.pending);
    let mut lines = vec![Line { text, mood }];
    lines.extend(upload.object.as_ref().map(|object| faint(format!("{:<12} {object}", ""))));
    let fault = upload.last_error.as_ref().filter(|_| mood == Mood::Bad);
    lines.extend(fault.map(|fault| Line { text: format!("{:<12} {fault}", ""), mood: Mood::Bad }));
    lines
}

fn export_line(export: &Export) -> Option<Line> {
    let (done, all) = (ByteSize::from_bytes(export.bytes_done), ByteSize::from_bytes(export.bytes));
    let far = format!("{} of {} files, {done} of {all}", export.files_done, export.files);
    let (words, mood) = match export.state {
        ExportState::None => return None,
        ExportState::Running => (format!("{far}, to {}", export.to), Mood::Plain),
        ExportState::Done => (format!("{far}: {} is safe to remove", export.to), Mood::Good),
        ExportState::Failed => (format!("{far}, to {}", export.to), Mood::Bad),
    };
    Some(Line { text: format!("{:<12} {:<10} {words}", "export", export.state), mood })
}

/// One command per origin that can be killed.
fn kill_hint(stage: &Stage) -> String {
    let running = stage.origins.iter().filter(|origin| origin.running);
    let commands: Vec<_> = running.map(|origin| format!("kill {} ({})", origin.pid, origin.name)).collect();
    format!("{:<12} {}", "try, watch", commands.join("   or   "))
}

fn dead_line(origin: &OriginView) -> Line {
    Line { text: format!("{:<12} dead; it comes back in {} s", origin.name, origin.back_in_s), mood: Mood::Bad }
}

fn plain(text: impl Into<String>) -> Line {
    Line { text: text.into(), mood: Mood::Plain }
}

fn faint(text: impl Into<String>) -> Line {
    Line { text: text.into(), mood: Mood::Faint }
}

/// "41 h 12 min", "2 min 5 s", "7 s".
fn span(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// A terminal while the demo runs; restored when dropped.
pub struct Screen {
    terminal: bool,
}

impl Screen {
    pub fn open() -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let terminal = io::stdout().is_terminal() && !dumb;
        if terminal {
            // The other screen, no cursor, no wrapping of long lines.
            print("\x1b[?1049h\x1b[?25l\x1b[?7l");
        }
        Self { terminal }
    }

    /// It can be drawn on; else only lines can be added.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Puts these lines in place of the last ones.
    pub fn draw(&self, lines: &[Line]) {
        print(&body(lines));
    }

    pub fn add(&self, line: &str) {
        print(&format!("{line}\n"));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.terminal {
            print("\x1b[?7h\x1b[?25h\x1b[?1049l");
        }
    }
}

/// Every line is put at its row: what does not fit falls on the last one, and nothing scrolls.
fn body(lines: &[Line]) -> String {
    let rows = lines.iter().zip(1..);
    let body: String = rows.map(|(line, row)| format!("\x1b[{row};1H{}\x1b[K", paint(line))).collect();
    format!("{body}\x1b[J")
}

fn paint(line: &Line) -> String {
    let code = match line.mood {
        Mood::Plain => return line.text.clone(),
        Mood::Faint => "2",
        Mood::Good => "32",
        Mood::Bad => "1;31",
        Mood::Banner(true) => "1;97;41",
        Mood::Banner(false) => "7",
    };
    format!("\x1b[{code}m{}\x1b[0m", line.text)
}

/// A reader who has left is no fault of the demo.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Alarm, Archive, ArchiveIndex, Device, Event, Input, Program, Signal};

    fn leg(name: &str, state: LegState, origin: &str) -> Leg {
        let (name, origin) = (name.into(), origin.into());
        Leg { name, state, origin, since_s: 65, bitrate_bps: 3_120_000, queue_ms: 12, sent_bytes: 5 << 20, ..Leg::default() }
    }

    fn status() -> Status {
        Status {
            device: Device { name: "demo".into(), version: "0.1.0".into(), uptime_s: 70, config_faults: vec![] },
            on_air: true,
            program: Program {
                input: "test".into(),
                shows: Shows::Live,
                width: 1280,
                height: 720,
                fps: 30.0,
                encoder: "x264enc".into(),
                video_bitrate_bps: 3_000_000,
                frames: 2100,
                frames_repeated: 1,
                audio_dbfs: vec![-12.0, -100.0],
                ..Program::default()
            },
            inputs: vec![Input { name: "test".into(), kind: "test".into(), signal: Signal::Locked, ..Input::default() }],
            legs: vec![
                Leg {
                    rtt_ms: Some(0.04),
                    proof: Some(Proof { state: ProofState::Seen, delay_ms: Some(68), age_s: Some(3), last_error: None }),
                    ..leg("a", LegState::Live, "rtmp://127.0.0.1:4001/live")
                },
                Leg { last_error: Some("refused".into()), ..leg("b", LegState::Waiting, "rtmp://127.0.0.1:4002/live") },
            ],
            archive: Archive {
                state: ArchiveState::Recording,
                file: Some("/tmp/demo/1.mp4".into()),
                seconds_left: Some(148_320),
                segments: 1,
                written_bytes: 25 << 20,
                ..Archive::default()
            },
            alarms: vec![Alarm { text: "Leg b is not on air".into(), remedy: "Check the cable".into(), ..Alarm::default() }],
            events: (7..9).map(|number| Event { at_s: f64::from(number), text: format!("event {number}") }).collect(),
        }
    }

    #[test]
    fn what_the_archive_lost_and_what_it_will_lose() {
        let index = ArchiveIndex { state: IndexState::Building, to_read: 3, last_error: None };
        let archive = Archive { dropped_gops: 2, seconds_to_loss: Some(600), index, ..status().archive };
        let lines = lines(&Status { archive, ..status() });
        for words in ["full without a way out in 10 min 0 s", "2 GOPs dropped, 0 segments deleted", "index: 3 segments are still"]
        {
            assert!(lines.iter().any(|line| line.contains(words)), "{words} in {lines:#?}");
        }
    }

    #[test]
    fn a_status_as_people_read_it() {
        let expected = "\
ON AIR       demo · onaird 0.1.0 · up 1 min 10 s
program      live       test (test, locked), 1280x720 30.00 fps, x264enc 3.0 Mbit/s
             2100 frames, 1 repeated, 0 dropped
sound        [||||||||||||||||....]  -12 dBFS   [....................] -100 dBFS

leg          state      origin                          bit rate    queue      rtt
a            live       rtmp://127.0.0.1:4001/live    3.1 Mbit/s    12 ms   0.0 ms
             for 1 min 5 s, 5.0 MiB sent, 0 reconnects, 0 failovers, 0 GOPs dropped
             comes back from the origin as it was sent, last seen 3 s ago with a delay of 68 ms
b            waiting    rtmp://127.0.0.1:4002/live    3.1 Mbit/s    12 ms
             for 1 min 5 s, 5.0 MiB sent, 0 reconnects, 0 failovers, 0 GOPs dropped
             refused

archive      recording  25.0 MiB written, 1 segments done, 41 h 12 min left
             /tmp/demo/1.mp4
! Leg b is not on air. Check the cable.

     7.0 s   event 7
     8.0 s   event 8";
        assert_eq!(lines(&status()).join("\n"), expected);
        assert_eq!(lines(&Status::default())[0], "NOT ON AIR    · onaird  · up 0 s");
    }

    #[test]
    fn an_upload_is_told_if_there_is_one() {
        let mut status = status();
        status.archive.upload = Upload {
            state: UploadState::Uploading,
            pending: 3,
            uploaded: 41,
            bytes_per_s: 250_000,
            object: Some("box/2026/11/23/20261123T051656Z.mp4".into()),
            ..Upload::default()
        };
        let lines = lines(&status);
        let place = lines.iter().position(|line| line.starts_with("upload")).unwrap();
        assert_eq!(lines[place], "upload       uploading  41 uploaded, 3 wait, 2.0 Mbit/s");
        assert_eq!(lines[place + 1], "             box/2026/11/23/20261123T051656Z.mp4");
    }

    #[test]
    fn the_stage_says_where_to_play_and_what_to_kill() {
        let play = |leg: &str, port: u16, key: &str| Play {
            leg: leg.into(),
            origin: format!("rtmp://127.0.0.1:{port}/live"),
            rtmp: format!("rtmp://127.0.0.1:{port}/live/{key}"),
            hls: format!("http://127.0.0.1:5000/hls/{key}.m3u8"),
        };
        let stage = Stage {
            origins: vec![
                OriginView { name: "origin 1".into(), pid: 77, running: true, back_in_s: 0 },
                OriginView { name: "origin 2".into(), pid: 78, running: false, back_in_s: 9 },
            ],
            plays: vec![play("a", 4001, "a"), play("a", 4002, "a-spare"), play("b", 4002, "b")],
        };
        let lines: Vec<_> = stage_lines(&status(), &stage).into_iter().map(|line| line.text).collect();
        let tail = &lines[lines.len() - 5..];
        assert_eq!(
            tail,
            [
                "",
                "play leg a   rtmp://127.0.0.1:4001/live/a   http://127.0.0.1:5000/hls/a.m3u8",
                "origin 2     dead; it comes back in 9 s",
                "try, watch   kill 77 (origin 1)",
                "Ctrl-C       ends the demo; the recordings stay",
            ]
        );
    }

    #[test]
    fn a_live_view_on_air_fits_a_terminal_of_24_rows() {
        let mut status = Status { alarms: vec![], ..status() };
        status.legs[1] = leg("b", LegState::Live, "rtmp://127.0.0.1:4002/live");
        status.events = vec![Event::default(); 20];
        let play = |leg: &Leg| Play { leg: leg.name.clone(), origin: leg.origin.clone(), ..Play::default() };
        let stage = Stage { plays: status.legs.iter().map(play).collect(), ..Stage::default() };
        assert!(stage_lines(&status, &stage).len() <= 24);
    }

    #[test]
    fn a_log_gets_one_line() {
        let line = short_line(&status());
        assert!(
            line.starts_with("70 s: ON AIR | a live rtmp://127.0.0.1:4001/live 3.1 Mbit/s queue 12 ms | b waiting"),
            "{line}"
        );
        assert!(line.ends_with("archive recording, 41 h 12 min left") && !line.contains('\n'), "{line}");
    }

    #[test]
    fn every_line_is_painted_and_closed() {
        for line in stage_lines(&status(), &Stage::default()) {
            let painted = paint(&line);
            assert!(painted == line.text || painted.ends_with("\x1b[0m"), "{painted}");
        }
    }
}
