//! Cuts between inputs that have nothing in common: neither an origin nor the archive can tell from the stream's form that
//! there were any.

mod support;

use std::path::Path;

use onaird::demo::verify;
use onaird::status::{ArchiveState, Shows};
use support::flv::{Flv, Track};
use support::{Daemon, judge, record_of, recorder, tool};

const CUTS: usize = 20;

/// A file of 10 s, with or without sound.
fn film(path: &Path, picture: &str, sound: bool) {
    let tone = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100", "-c:a", "aac"];
    let tone = if sound { &tone[..] } else { &[] };
    let begin = ["-nostdin", "-v", "error", "-f", "lavfi", "-i", picture];
    let end = ["-t", "10", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", path.to_str().unwrap()];
    tool("ffmpeg", &[&begin[..], tone, &end[..]].concat());
}

fn config(folder: &Path, url: &str) -> String {
    format!(
        "version = 1\n[program]\nwidth = 640\nheight = 360\nframerate = \"30\"\nvideo_bitrate = \"1M\"\nkeyframe_interval = 1\n\
         input = \"test\"\n\
         [[input]]\nname = \"test\"\nkind = \"test\"\n\
         [[input]]\nname = \"film\"\nkind = \"file\"\npaths = [\"film.mp4\"]\n\
         [[input]]\nname = \"mute\"\nkind = \"file\"\npaths = [\"mute.mp4\"]\n\
         [archive]\ndirectory = '{}'\nsegment_seconds = 600\nkeep_free = \"0\"\n\
         [[leg]]\nname = \"a\"\n[[leg.origin]]\nurl = \"{url}\"\nstream_key = \"a\"\n",
        folder.join("archive").display()
    )
}

#[test]
fn twenty_cuts_leave_no_trace_in_the_form_of_the_stream() {
    let folder = tempfile::tempdir().unwrap();
    film(&folder.path().join("film.mp4"), "testsrc2=size=640x480:rate=25", true);
    film(&folder.path().join("mute.mp4"), "testsrc2=size=320x240:rate=30000/1001", false);
    let mut origin = recorder(&folder.path().join("origin"));
    let mut daemon = Daemon::start(folder.path(), &config(folder.path(), &origin.url()));
    daemon.all_live();
    daemon.wait_until("the archive", |status| status.archive.state == ArchiveState::Recording);
    daemon.frames(30);
    for input in ["film", "mute", "test"].into_iter().cycle().take(CUTS) {
        let answer = daemon.ctl(&["switch", input]);
        assert!(answer.status.success(), "{answer:?}");
        let status = daemon.wait_until(input, |status| status.program.input == input && status.program.shows == Shows::Live);
        assert_eq!(status.program.selected, input);
        daemon.frames(10);
    }
    let refused = daemon.ctl(&["switch", "nothing"]);
    assert_eq!(refused.status.code(), Some(1));
    let status = daemon.frames(30);
    assert_eq!((status.program.frames_dropped, status.legs[0].reconnects, status.legs[0].dropped_gops), (0, 0, 0));
    daemon.stop();

    let file = record_of(&mut origin, "a");
    judge::decodes(&file);
    one_form(&Flv::read(&file));
    judge::no_gaps(&Flv::read(&file));
    let segments = verify::recordings(&folder.path().join("archive"));
    assert_eq!(segments.len(), 1, "one segment, whatever was switched: {segments:?}");
    judge::decodes(&segments[0]);
    judge::no_gaps_in_file(&segments[0], 1.0 / 30.0);
}

/// One header per track, before everything else, and no parameter set inside the pictures that says anything else. nginx writes a
/// sound header that comes while it records twice: once of its own, once as what came.
fn one_form(recording: &Flv) {
    let media = recording.tags.iter().position(|tag| tag.media).expect("there is media");
    for (track, times) in [(Track::Video, 1..=1), (Track::Audio, 1..=2)] {
        let headers = recording.headers(track);
        assert!(times.contains(&headers.len()), "{} headers for {track:?}", headers.len());
        assert!(headers.iter().all(|header| header.body == headers[0].body), "{track:?} has changed its form");
    }
    assert!(recording.tags[media..].iter().all(|tag| !tag.header), "no header after the first media");
    let header = &recording.headers(Track::Video)[0].body;
    let within = |set: &[u8]| header.windows(set.len()).any(|window| window == set);
    for tag in recording.media(Track::Video) {
        for unit in units(&tag.body[5..]) {
            // 7: sequence parameter set, 8: picture parameter set.
            assert!(!matches!(unit[0] & 0x1f, 7 | 8) || within(unit), "another parameter set at {} ms", tag.millis);
        }
    }
}

/// The NAL units of an access unit whose lengths stand before them in 4 bytes.
fn units(mut data: &[u8]) -> Vec<&[u8]> {
    let mut units = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk::<4>() {
        let (unit, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        units.push(unit);
        data = rest;
    }
    units
}
