//! Cuts between inputs that have nothing in common: neither an origin nor the archive can tell from the stream's form that
//! there were any.

mod support;

use std::path::Path;

use onaird::demo::verify;
use onaird::status::{ArchiveState, Shows};
use support::flv::{Flv, Track};
use support::{Daemon, judge, picture, record_of, recorder, tool};

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

/// A minute of one shade of grey with a tone.
fn shade(path: &Path, color: &str, hertz: u32) {
    let picture = format!("color={color}:size=320x180:rate=30");
    let tone = format!("sine=frequency={hertz}:sample_rate=48000");
    let begin = ["-nostdin", "-v", "error", "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &tone, "-t", "60"];
    let end = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "pcm_s16le", path.to_str().unwrap()];
    tool("ffmpeg", &[&begin[..], &end[..]].concat());
}

/// Four inputs: two test pictures that show the same count, a black file and a white one.
fn fading_config(first: &str, url: &str) -> String {
    let input = |name: &str| match name {
        "black" | "white" => format!("[[input]]\nname = \"{name}\"\nkind = \"file\"\npaths = [\"{name}.mkv\"]\n"),
        _ => format!("[[input]]\nname = \"{name}\"\nkind = \"test\"\n"),
    };
    format!(
        "version = 1\n[program]\nwidth = 640\nheight = 360\nframerate = \"30\"\nvideo_bitrate = \"1M\"\nkeyframe_interval = 1\n\
         audio_bitrate = \"192k\"\nfade = 30\ninput = \"{first}\"\n{}\
         [archive]\nenabled = false\n\
         [[leg]]\nname = \"a\"\n[[leg.origin]]\nurl = \"{url}\"\nstream_key = \"a\"\n",
        ["one", "two", "black", "white"].map(input).concat()
    )
}

fn switch(daemon: &mut Daemon, words: &[&str]) {
    let answer = daemon.ctl(&[&["switch"], words].concat());
    assert!(answer.status.success(), "{answer:?}");
}

/// Waits until this input alone is shown.
fn settled(daemon: &mut Daemon, input: &str) {
    daemon.wait_until(input, |status| {
        let program = &status.program;
        program.input == input && program.shows == Shows::Live && program.fading_out.is_empty()
    });
}

#[test]
fn a_fade_leads_in_even_steps_from_one_shade_to_another_and_turns_round_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    shade(&folder.path().join("black.mkv"), "black", 440);
    shade(&folder.path().join("white.mkv"), "white", 553);
    let mut origin = recorder(&folder.path().join("origin"));
    let mut daemon = Daemon::start(folder.path(), &fading_config("black", &origin.url()));
    daemon.all_live();
    settled(&mut daemon, "black");
    daemon.frames(30);
    // As the configuration says: 30 frames.
    switch(&mut daemon, &["white"]);
    let status = daemon.wait_until("the fade", |status| status.program.input == "white");
    assert_eq!((status.program.selected.as_str(), &status.program.fading_out[..]), ("white", &["black".to_string()][..]));
    let rolling =
        |status: &onaird::status::Status, name: &str| status.inputs.iter().any(|input| input.name == name && input.rolling);
    assert!(rolling(&status, "black") && rolling(&status, "white"), "files go on until the fade is over");
    settled(&mut daemon, "white");
    daemon.wait_until("the black file at rest", |status| !rolling(status, "black"));
    daemon.frames(15);
    switch(&mut daemon, &["black", "fade", "300"]);
    daemon.wait_until("the long fade", |status| status.program.input == "black");
    daemon.frames(60);
    switch(&mut daemon, &["white", "fade", "20"]);
    settled(&mut daemon, "white");
    daemon.frames(15);
    for input in ["black", "white", "black", "white", "black", "white"] {
        switch(&mut daemon, &[input, "fade", "0"]);
        settled(&mut daemon, input);
        daemon.frames(15);
    }
    for (words, wanted) in
        [(["switch", "white", "fade", "601"], "0 (a cut) to 600"), (["switch", "nothing", "fade", "3"], "white")]
    {
        let refused = daemon.ctl(&words);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && said.contains(wanted), "{said}");
    }
    let status = daemon.frames(15);
    assert_eq!((status.program.frames_dropped, status.legs[0].dropped_gops), (0, 0));
    daemon.stop();

    let file = record_of(&mut origin, "a");
    judge::decodes(&file);
    one_form(&Flv::read(&file));
    judge::no_gaps(&Flv::read(&file));
    let lumas: Vec<f64> = picture::lumas(&file).iter().map(|luma| luma / 255.0).collect();
    let start = lumas.iter().position(|luma| *luma < 0.02).expect("black before the first fade");
    let lumas = &lumas[start..];
    even_steps(lumas);
    turns_round(lumas);
    no_clicks(&picture::samples(&file));
}

/// 30 mixed pictures, each by a 31st whiter than the one before.
fn even_steps(lumas: &[f64]) {
    let first = lumas.iter().position(|luma| *luma > 0.02).expect("a fade");
    let steps = &lumas[first - 1..first + 31];
    for (index, luma) in steps.iter().enumerate() {
        let wanted = index as f64 / 31.0;
        assert!(
            (luma - wanted).abs() < 0.03,
            "picture {index} of the fade has {luma:.3} of white, wanted {wanted:.3}: {steps:.2?}"
        );
    }
}

/// The second fade never gets to black: it goes down by 1/301 at a time and, from where it is, up again in 21 even steps.
fn turns_round(lumas: &[f64]) {
    let white = lumas.iter().position(|luma| *luma > 0.98).expect("the end of the first fade");
    let down = white + lumas[white..].iter().position(|luma| *luma < 0.97).expect("the second fade");
    let up = down + lumas[down..].windows(2).position(|pair| pair[1] > pair[0] + 0.004).expect("its turn");
    let lowest = lumas[up];
    assert!((0.2..0.9).contains(&lowest), "it turned at {lowest:.3}");
    assert!(lumas[down..=up].windows(2).all(|pair| (pair[1] - pair[0]).abs() < 0.02), "{:.3?}", &lumas[down..=up]);
    for (index, luma) in lumas[up..=up + 21].iter().enumerate() {
        let wanted = lowest + (1.0 - lowest) * index as f64 / 21.0;
        assert!((luma - wanted).abs() < 0.03, "picture {index} of the way back has {luma:.3} of white, wanted {wanted:.3}");
    }
}

/// The sharpest bend of the wave, anywhere, is not much sharper than that of the tones by themselves. A step of a tenth of the tones'
/// height would be four times as sharp.
fn no_clicks(samples: &[f32]) {
    let height = samples.iter().fold(0f32, |height, sample| height.max(sample.abs()));
    let bend = |index: usize| (samples[index + 1] - 2.0 * samples[index] + samples[index - 1]).abs();
    let sharpest = (1..samples.len() - 1).max_by(|one, other| bend(*one).total_cmp(&bend(*other))).expect("sound");
    println!("sharpest bend {:.4} of the tone's height, at {:.3} s", bend(sharpest) / height, sharpest as f64 / 48_000.0);
    assert!(height > 0.05, "there is a tone");
    assert!(bend(sharpest) < 0.025 * height, "a click at {:.3} s: {:.4}", sharpest as f64 / 48_000.0, bend(sharpest) / height);
}

/// Two test pictures show the same count at the same time: mixed, it can be read as well as alone, if both are in step.
#[test]
fn during_a_fade_both_inputs_are_live_and_no_frame_is_lost_or_added() {
    let folder = tempfile::tempdir().unwrap();
    let mut origin = recorder(&folder.path().join("origin"));
    let config = fading_config("one", &origin.url());
    for name in ["black", "white"] {
        shade(&folder.path().join(format!("{name}.mkv")), name, 440);
    }
    let mut daemon = Daemon::start(folder.path(), &config);
    daemon.all_live();
    settled(&mut daemon, "one");
    for input in ["two", "one", "two"] {
        switch(&mut daemon, &[input, "fade", "40"]);
        settled(&mut daemon, input);
    }
    let status = daemon.frames(30);
    daemon.stop();
    let file = record_of(&mut origin, "a");
    judge::decodes(&file);
    judge::no_gaps(&Flv::read(&file));
    let shots = picture::shots(&file);
    let counts: Vec<_> = shots.iter().map(|shot| shot.count).skip_while(|count| *count == 0).collect();
    let steps: Vec<_> = counts.windows(2).map(|pair| i64::from(pair[1]) - i64::from(pair[0])).collect();
    let odd = steps.iter().filter(|step| **step != 1).count() as u64;
    assert!(counts.len() > 3 * 40, "{} pictures, fewer than those of the fades", counts.len());
    // On a busy machine the input itself may be late: then a picture is repeated, and the next one leaps.
    assert!(steps.iter().all(|step| (0..=3).contains(step)) && odd <= 2 * status.program.frames_repeated, "{steps:?}");
    let beeps = picture::offsets(&picture::flashes(&shots), &picture::beeps(&file));
    assert!(beeps.len() >= 4 && beeps.iter().all(|offset| offset.abs() <= 0.02), "{beeps:?}");
}

/// Waits until an event with these words has come.
fn event(daemon: &mut Daemon, words: &str) {
    daemon.wait_until(words, |status| status.events.iter().any(|event| event.text.contains(words)));
}

#[test]
fn a_list_of_inputs_takes_the_next_one_when_a_film_ends_and_an_operator_s_choice_holds() {
    let folder = tempfile::tempdir().unwrap();
    film(&folder.path().join("film.mp4"), "testsrc2=size=320x180:rate=30", true);
    std::fs::write(folder.path().join("broken.mp4"), b"this is no film".repeat(4000)).unwrap();
    let mut origin = recorder(&folder.path().join("origin"));
    let config = format!(
        "version = 1\n[program]\nwidth = 640\nheight = 360\nframerate = \"30\"\nvideo_bitrate = \"1M\"\nkeyframe_interval = 1\n\
         input = [\"broken\", \"film\", \"bars\"]\nreturn_after = \"2s\"\n\
         [[input]]\nname = \"broken\"\nkind = \"file\"\npaths = [\"broken.mp4\"]\n\
         [[input]]\nname = \"film\"\nkind = \"file\"\npaths = [\"film.mp4\"]\nloop = false\n\
         [[input]]\nname = \"bars\"\nkind = \"test\"\n\
         [[input]]\nname = \"spare\"\nkind = \"test\"\n\
         [archive]\nenabled = false\n\
         [[leg]]\nname = \"a\"\n[[leg.origin]]\nurl = \"{}\"\nstream_key = \"a\"\n",
        origin.url()
    );
    let mut daemon = Daemon::start(folder.path(), &config);
    let status = daemon.wait_until("the film", |status| status.program.input == "film" && status.program.shows == Shows::Live);
    assert!(status.program.automatic && status.program.selected == "film", "{:?}", status.program);
    event(&mut daemon, "input broken has no picture: film is on air");
    daemon.all_live();
    // The film ends; it is not taken again, for it was not to be repeated.
    let status = daemon.wait_until("the bars", |status| status.program.input == "bars" && status.program.shows == Shows::Live);
    event(&mut daemon, "input film has nothing more to show: bars is on air");
    let on_bars = status.program.frames;
    daemon.frames(120);
    assert_eq!(daemon.status().unwrap().program.input, "bars");

    let answer = daemon.ctl(&["switch", "spare"]);
    assert!(String::from_utf8_lossy(&answer.stdout).contains("until `auto`"), "{answer:?}");
    settled(&mut daemon, "spare");
    let status = daemon.frames(120);
    assert_eq!((status.program.input.as_str(), status.program.automatic), ("spare", false), "the operator's choice holds");
    // What has no picture cannot be held.
    switch(&mut daemon, &["broken"]);
    event(&mut daemon, "input broken has no picture: bars is on air");
    settled(&mut daemon, "bars");
    switch(&mut daemon, &["spare"]);
    settled(&mut daemon, "spare");
    assert!(daemon.ctl(&["auto"]).status.success());
    let status = daemon.wait_until("the list", |status| status.program.input == "bars" && status.program.automatic);
    daemon.frames(15);
    daemon.stop();

    let file = record_of(&mut origin, "a");
    judge::decodes(&file);
    one_form(&Flv::read(&file));
    judge::no_gaps(&Flv::read(&file));
    assert!(status.program.frames > on_bars);
    no_slate(&file);
}

/// The built-in slate is dark all over; neither the film nor the bars ever are. It may be shown at the start, until it is known
/// that the first input has no picture.
fn no_slate(file: &Path) {
    let lumas: Vec<_> = picture::lumas(file).into_iter().skip_while(|luma| *luma < 50.0).collect();
    let dark = lumas.iter().filter(|luma| **luma < 50.0).count();
    assert!(lumas.len() > 300, "{} pictures", lumas.len());
    println!("darkest picture {:.0}, {} pictures", lumas.iter().fold(255.0, |least: f64, luma| least.min(*luma)), lumas.len());
    assert_eq!(dark, 0, "of {} pictures", lumas.len());
}

#[test]
fn one_input_alone_has_no_list_to_return_to() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["black", "white"] {
        shade(&folder.path().join(format!("{name}.mkv")), name, 440);
    }
    let origin = recorder(&folder.path().join("origin"));
    let mut daemon = Daemon::start(folder.path(), &fading_config("one", &origin.url()));
    settled(&mut daemon, "one");
    let refused = daemon.ctl(&["auto"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("input = ["), "{said}");
    assert!(!daemon.status().unwrap().program.automatic);
    daemon.stop();
}

#[test]
fn every_input_with_a_picture_has_a_thumbnail_that_decodes_and_the_others_have_none() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["black", "white"] {
        shade(&folder.path().join(format!("{name}.mkv")), name, 440);
    }
    let origin = recorder(&folder.path().join("origin"));
    let thumbnails = folder.path().join("thumbnails");
    std::fs::create_dir(&thumbnails).unwrap();
    std::fs::write(thumbnails.join("black.jpg"), "of an earlier life").unwrap();
    let config = fading_config("one", &origin.url()).replace("fade = 30", "fade = 0\nthumbnails = true");
    let mut daemon = Daemon::start(folder.path(), &config);
    let path = |status: &onaird::status::Status, name: &str| {
        status.inputs.iter().find(|input| input.name == name).and_then(|input| input.thumbnail.clone())
    };
    let status = daemon.wait_until("two thumbnails", |status| path(status, "one").is_some() && path(status, "two").is_some());
    assert_eq!(path(&status, "one"), Some(thumbnails.join("one.jpg").display().to_string()));
    assert!(path(&status, "white").is_none() && !thumbnails.join("black.jpg").exists(), "waiting files have no picture");
    assert_eq!(picture::size(thumbnails.join("one.jpg").to_str().unwrap()), (320, 180));
    assert!((60.0..180.0).contains(&picture::lumas(&thumbnails.join("two.jpg"))[0]));
    switch(&mut daemon, &["white"]);
    daemon.wait_until("its thumbnail", |status| path(status, "white").is_some());
    let white = picture::lumas(&thumbnails.join("white.jpg"))[0];
    assert!(white > 250.0, "white is white, whatever the ranges, and not {white}");
    switch(&mut daemon, &["one"]);
    daemon.wait_until("no thumbnail of a file at rest", |status| path(status, "white").is_none());
    assert!(!thumbnails.join("white.jpg").exists());
    let first = std::fs::metadata(thumbnails.join("one.jpg")).unwrap().modified().unwrap();
    let again = support::poll(support::LIMIT, || {
        let now = std::fs::metadata(thumbnails.join("one.jpg")).ok()?.modified().ok()?;
        (now > first).then_some(())
    });
    assert!(again.is_some(), "it is kept new");
    assert_eq!(daemon.frames(30).program.frames_dropped, 0);
    daemon.stop();
}
