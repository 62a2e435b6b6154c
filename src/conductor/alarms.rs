//! What needs a person: the states of all rooms as alarms, each with its cause in words and what to do about it. A rule.
//!
//! Each kind of alarm has an id that scripts can hold on to. What passes by itself within a few seconds is none, and nothing here
//! decides anything: the box acts by itself, an alarm is for what it cannot do.

use crate::status::{
    self, Alarm, ArchiveState, ExportState, IndexState, LegState, ProofState, Shows, Signal, SoundState, Status, UploadState,
};

/// A state must last this long before it is an alarm, so that a start or a reconnect is none.
const GRACE_S: u64 = 5;

/// Segments that wait for the bucket so long, without one getting there, are more than bad weather.
const STUCK_S: u64 = 3600;
/// Recording time left, below which a person should make room.
const SPACE_S: u64 = 2 * 3600;

const SPACE_REMEDY: &str = "Delete other files, unprotect segments, look why the upload is slow, or use a larger disk";

const LOSS_REMEDY: &str = "Use a disk that is fast and large enough; this ends when a segment has been recorded without a loss";

/// What needs a person, most urgent first. `since_s` is filled in by [`keep_times`].
pub fn alarms(status: &Status) -> Vec<Alarm> {
    let mut alarms = Alarms::default();
    status.legs.iter().for_each(|leg| alarms.leg(leg));
    status.legs.iter().for_each(|leg| alarms.proof(leg));
    alarms.configuration(&status.device);
    alarms.archive(&status.archive);
    alarms.export(&status.archive.export);
    alarms.upload(&status.archive.upload);
    if let Some(shown) = status.inputs.iter().find(|input| input.name == status.program.input) {
        alarms.picture(shown, status);
        alarms.sound(shown);
    }
    status.inputs.iter().for_each(|input| alarms.file(input));
    alarms.0
}

#[derive(Default)]
struct Alarms(Vec<Alarm>);

impl Alarms {
    fn raise(&mut self, id: String, text: String, remedy: &str) {
        self.0.push(Alarm { id, since_s: 0, text, remedy: remedy.into() });
    }

    fn leg(&mut self, leg: &status::Leg) {
        let cause = leg.last_error.as_deref().unwrap_or("no answer yet");
        match leg.state {
            LegState::Rejected => self.raise(
                format!("leg.{}.rejected", leg.name),
                format!("Leg {} is refused: {cause}", leg.name),
                "Check the stream key and the URL of this origin",
            ),
            LegState::Connecting | LegState::Waiting if leg.down_s >= GRACE_S => self.raise(
                format!("leg.{}.down", leg.name),
                format!("Leg {} is not on air: {cause}", leg.name),
                "Check the network cable and the origin; the box keeps trying",
            ),
            _ => {}
        }
    }

    fn proof(&mut self, leg: &status::Leg) {
        let Some(proof) = &leg.proof else { return };
        let cause = proof.last_error.as_deref().unwrap_or("nothing has come back");
        let found = match proof.state {
            ProofState::Waiting | ProofState::Seen => return,
            ProofState::Missing => "its stream cannot be seen behind the origin",
            ProofState::Mismatch => "another stream is seen behind the origin",
        };
        self.raise(
            format!("leg.{}.proof", leg.name),
            format!("Leg {} sends, but {found}: {cause}", leg.name),
            "Look at the stream as a viewer would; check the origin and its `verify` URL. The box goes on sending",
        );
    }

    fn configuration(&mut self, device: &status::Device) {
        let Some(first) = device.config_faults.first() else { return };
        let count = device.config_faults.len();
        let text = if count == 1 { first.clone() } else { format!("{first} (and {} more)", count - 1) };
        self.raise("config".into(), text, "Correct the configuration and restart; `onaird check` lists all faults");
    }

    fn archive(&mut self, archive: &status::Archive) {
        if matches!(archive.state, ArchiveState::Failed | ArchiveState::Full) {
            let cause = archive.last_error.as_deref().unwrap_or("unknown cause");
            self.raise("archive".into(), format!("Not recording: {cause}"), "Check the disk; recording resumes by itself");
        }
        if let Some(left) = archive.seconds_to_loss.filter(|left| *left < SPACE_S) {
            self.raise("archive.space".into(), space(left), SPACE_REMEDY);
        }
        if let Some(loss) = &archive.loss {
            self.raise("archive.loss".into(), format!("The archive is not whole: {loss}"), LOSS_REMEDY);
        }
        if archive.index.state == IndexState::Failed {
            let cause = archive.index.last_error.as_deref().unwrap_or("unknown cause");
            let text = format!("The archive's index fails: {cause}");
            self.raise("archive.index".into(), text, "Recording goes on; the index is made anew by itself once it works");
        }
    }

    fn export(&mut self, export: &status::Export) {
        if export.state == ExportState::Failed {
            let cause = export.last_error.as_deref().unwrap_or("unknown cause");
            let text = format!("The export to {} is not complete: {cause}", export.to);
            self.raise("archive.export".into(), text, "Plug the disk in again, or start the export again; it goes on");
        }
    }

    fn upload(&mut self, upload: &status::Upload) {
        let cause = upload.last_error.as_deref().unwrap_or("the line is too slow, or taken by the legs");
        let failed = upload.last_failed.as_deref().unwrap_or("unknown cause");
        let (text, remedy) = match upload.state {
            UploadState::Rejected => (
                format!("Recordings are not uploaded: {cause}"),
                "Correct [archive.upload] in the configuration and restart; until then it is tried every few minutes",
            ),
            _ if upload.failed > 0 => (
                format!("{} recordings cannot be uploaded: {failed}", upload.failed),
                "Check the disk and keep what is on it; the other recordings are uploaded",
            ),
            _ if upload.stuck_s >= STUCK_S => (
                format!("No recording has been uploaded for {} h, {} wait: {cause}", upload.stuck_s / 3600, upload.pending),
                "Check the network and the store; the box keeps trying, and recordings stay on its disk as long as there is room",
            ),
            _ => return,
        };
        self.raise("archive.upload".into(), text, remedy);
    }

    fn picture(&mut self, shown: &status::Input, status: &Status) {
        if status.program.shows == Shows::Slate && status.device.uptime_s >= GRACE_S {
            let (cause, remedy) = no_picture(shown);
            self.raise(format!("input.{}", shown.name), format!("Input {} gives no picture: {cause}", shown.name), remedy);
        }
        // A moment of the slate between two pictures is no change for the better.
        if status.program.shows != Shows::Slate {
            for (word, text, remedy) in unwell(shown) {
                self.raise(format!("input.{}.{word}", shown.name), format!("Input {} {text}", shown.name), remedy);
            }
        }
    }

    fn sound(&mut self, shown: &status::Input) {
        let Some(sound) = shown.sound.as_ref().filter(|sound| sound.down_s >= GRACE_S) else { return };
        let cause = sound.last_error.clone().unwrap_or_else(|| sound.state.to_string());
        let text = format!("Input {} gives no sound, silence is sent: {cause}", shown.name);
        self.raise(format!("input.{}.sound", shown.name), text, sound_remedy(sound.state));
    }

    fn file(&mut self, input: &status::Input) {
        let Some(fault) = input.last_error.as_ref().filter(|_| input.kind == "file") else { return };
        let text = format!("Input {}: {fault}", input.name);
        self.raise(format!("input.{}.file", input.name), text, "Replace the file, or correct `paths`; the rest is played");
    }
}

fn space(seconds_left: u64) -> String {
    let (hours, minutes) = (seconds_left / 3600, seconds_left / 60 % 60);
    format!("In {hours} h {minutes} min recording stops, or costs what is not uploaded: the disk is nearly full")
}

/// Why an input shows nothing, and what to do.
fn no_picture(input: &status::Input) -> (String, &'static str) {
    let known = input.last_error.clone().or_else(|| input.remark.clone());
    match (&known, input.signal) {
        _ if input.kind == "file" => {
            (known.unwrap_or_else(|| input.signal.to_string()), "Replace the file or choose another input")
        }
        (None, Signal::Locked) if input.rolling => (
            format!("its pictures ({}) come too late to be shown", input.mode),
            "The box is too slow for them: set the camera to a smaller mode or a lower rate, or the program to a smaller size",
        ),
        (None, Signal::Locked) => ("its signal has just come back".into(), "It is shown after a moment without a fault"),
        (_, signal) => (known.unwrap_or_else(|| signal.to_string()), remedy_for(signal)),
    }
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::conductor::av_offset_ms;
    use crate::status::{Input, Leg, Proof, Sound};

    pub fn status_with_leg(state: LegState, down_s: u64) -> Status {
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
    fn an_upload_needs_a_person_when_it_is_refused_or_stuck() {
        let upload = |state, failed, stuck_s| {
            let text = Some("why".to_owned());
            let (last_error, last_failed) = (text.clone(), text);
            let upload =
                status::Upload { state, failed, stuck_s, pending: 3, last_error, last_failed, ..status::Upload::default() };
            let mut status = Status::default();
            status.archive.upload = upload;
            alarms(&status).first().map(|alarm| (alarm.id.clone(), alarm.text.clone()))
        };
        let told = |text: &str| Some(("archive.upload".to_owned(), text.to_owned()));
        assert_eq!(upload(UploadState::Waiting, 0, 3599), None);
        assert_eq!(upload(UploadState::Waiting, 0, 7300), told("No recording has been uploaded for 2 h, 3 wait: why"));
        assert_eq!(upload(UploadState::Idle, 2, 0), told("2 recordings cannot be uploaded: why"));
        assert_eq!(upload(UploadState::Rejected, 2, 9999), told("Recordings are not uploaded: why"));
    }

    #[test]
    fn what_the_archive_cannot_cure_by_itself() {
        let ids = |archive: status::Archive| {
            let status = Status { archive, ..Status::default() };
            alarms(&status).into_iter().map(|alarm| alarm.id).collect::<Vec<_>>()
        };
        let recording =
            || status::Archive { state: ArchiveState::Recording, seconds_left: Some(0), ..status::Archive::default() };
        assert!(ids(recording()).is_empty(), "what goes round for ever needs nobody");
        assert!(ids(status::Archive { seconds_to_loss: Some(SPACE_S), ..recording() }).is_empty());
        assert_eq!(ids(status::Archive { seconds_to_loss: Some(SPACE_S - 1), ..recording() }), ["archive.space"]);
        assert_eq!(ids(status::Archive { loss: Some("3.0 s are missing".into()), ..recording() }), ["archive.loss"]);
        let counted = status::Archive { dropped_gops: 7, lost_segments: 1, ..recording() };
        assert!(ids(counted).is_empty(), "what was lost long ago is counted and no alarm");
        let index = status::ArchiveIndex { state: IndexState::Failed, ..status::ArchiveIndex::default() };
        assert_eq!(ids(status::Archive { index, ..recording() }), ["archive.index"]);
        assert!(space(5400).contains("1 h 30 min"));
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
    fn an_input_without_a_picture_is_told_why_as_far_as_anybody_knows() {
        let mut status = Status::default();
        status.device.uptime_s = 60;
        status.program.input = "camera".into();
        let camera = Input { name: "camera".into(), kind: "v4l2".into(), mode: "1920x1080p".into(), ..Input::default() };
        let fault = Some("VIDIOC_STREAMON: I/O error".to_owned());
        for (input, words) in [
            (Input { signal: Signal::NoSync, ..camera.clone() }, "gives no picture: no sync"),
            (Input { signal: Signal::Locked, last_error: fault, ..camera.clone() }, "gives no picture: VIDIOC_STREAMON"),
            (Input { signal: Signal::Locked, rolling: true, ..camera.clone() }, "(1920x1080p) come too late"),
            (Input { signal: Signal::Locked, ..camera.clone() }, "has just come back"),
        ] {
            status.inputs = vec![input];
            let alarms = alarms(&status);
            assert!(alarms.len() == 1 && alarms[0].text.contains(words), "{alarms:?}, wanted: {words}");
        }
    }

    #[test]
    fn an_export_that_is_not_complete_is_an_alarm() {
        let mut status = Status::default();
        for (state, alarm) in
            [(ExportState::Running, None), (ExportState::Failed, Some("archive.export")), (ExportState::Done, None)]
        {
            status.archive.export.state = state;
            assert_eq!(alarms(&status).first().map(|alarm| alarm.id.as_str()), alarm);
        }
    }

    #[test]
    fn alarms_keep_the_time_of_their_raising() {
        let first = keep_times(&[], 7, alarms(&status_with_leg(LegState::Waiting, 9)));
        let later = keep_times(&first, 20, alarms(&status_with_leg(LegState::Waiting, 22)));
        assert_eq!(later[0].since_s, 7);
    }
}
