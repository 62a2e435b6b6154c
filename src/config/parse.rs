//! Text to [`Config`]: the format's sections, keys, defaults and rules, as a table that can be read.
//!
//! All faults are found at the same time, each with its line. Nothing here opens a file: what the configuration refers to is
//! asked of [`Files`], so that the same text and the same answers always give the same result. A stream key never becomes
//! part of a fault.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fault::{self, Fault, Findings};
use super::reader::Section;
use super::values::*;
use super::{Archive, Config, Connector, Device, Edid, Input, InputKind, Played, Program, VERSION, Watch, is_path};
use super::{legs, upload};
use crate::control::MAX_FADE;
use crate::recorded::{self, Reference};
use crate::units::{BitRate, ByteSize, FrameRate, SignedDuration};

/// Sections and keys of the format that this version does not implement yet, by the section they belong to.
mod later {
    pub const TOP: &[&str] = &["panel", "console", "update", "metrics", "profile"];
    pub const INPUT: &[&str] = &["pattern"];
}

const THIRTY: FrameRate = FrameRate::new(30, 1).expect("30 lies within 1 and 240");

const LONGEST_DELAY: SignedDuration = SignedDuration::from_millis(2000);

/// From a sound's capture to its place in the feed: the card's period, the resampler's look-ahead, a thread's hiccup.
const SOUND_NEEDS: Duration = Duration::from_millis(60);

/// The kinds of input, each with the keys that it alone has.
const KINDS: [(&str, &[&str]); 3] =
    [("v4l2", &["device", "connector", "edid", "audio"]), ("file", &["paths", "loop"]), ("test", &[])];

/// What a configuration refers to outside its own text.
pub trait Files {
    /// The text of a file that is not large, or why there is none.
    fn text(&self, path: &Path) -> Result<String, String>;

    /// Whether a file is there and can be read, or why not.
    fn readable(&self, path: &Path) -> Result<(), String>;
}

/// A configuration that can be used.
pub struct Parsed {
    pub config: Config,
    /// What is wrong but can be lived with: a file that may appear later, a key of a newer version.
    pub warnings: Vec<Fault>,
}

/// Text to types, or all that is wrong with it, as if every file were there but none with a stream key in it.
pub fn parse(text: &str) -> Result<Parsed, Vec<Fault>> {
    struct Nowhere;
    impl Files for Nowhere {
        fn text(&self, _: &Path) -> Result<String, String> {
            Err("a text that stands alone has no files".into())
        }
        fn readable(&self, _: &Path) -> Result<(), String> {
            Ok(())
        }
    }
    parse_with(text, Path::new(""), &Nowhere)
}

/// Text to types, or all that is wrong with it; relative paths start at `folder`.
pub fn parse_with(text: &str, folder: &Path, files: &dyn Files) -> Result<Parsed, Vec<Fault>> {
    let mut blanked = String::new();
    let (table, findings) = fault::read_syntax(text, &mut blanked);
    let config = config(Section::top(&table, &findings), &Around { folder, files });
    findings.verdict().map(|warnings| Parsed { config, warnings })
}

/// Where the text stands.
pub(super) struct Around<'a> {
    folder: &'a Path,
    pub(super) files: &'a dyn Files,
}

impl Around<'_> {
    pub(super) fn path(&self, text: String) -> PathBuf {
        self.folder.join(text)
    }

    /// A file that the box can do without, but that somebody counts on.
    pub(super) fn expect(&self, findings: &Findings, line: usize, key: &str, path: &Path) {
        if let Err(reason) = self.files.readable(path) {
            let text = format!("`{key}`: {} cannot be read ({reason}); put the file there or correct the path", path.display());
            findings.warn(line, text);
        }
    }
}

fn config(mut top: Section, around: &Around) -> Config {
    version(&mut top);
    let device = device(top.section("device", "[device]"));
    let mut program_section = top.section("program", "[program]");
    let mut program = program(&mut program_section, around);
    let archive = archive(top.section("archive", "[archive]"), around);
    let inputs = inputs(&mut top, &program, &archive, around);
    start_input(&mut program_section, &mut program, &inputs);
    program_section.finish(&[]);
    let legs = legs::legs(&mut top, around);
    top.finish(later::TOP);
    Config { device, program, inputs, archive, legs }
}

fn version(top: &mut Section) {
    if !top.has("version") {
        top.findings().missing(1, format!("the file does not tell its version; begin it with `version = {VERSION}`"));
    }
    let version = top.value("version", VERSION, integer(1..=i64::from(u32::MAX)));
    let first = !top.has("version") || top.is_first("version");
    top.rule(&["version"], first, || "want it before everything else, as the first line of the file".into());
    if version > VERSION {
        top.findings().set_newer(version);
        let line = top.line_of("version");
        top.findings().warn(line, format!("the file says version {version}, this program knows version {VERSION}"));
    }
}

fn device(mut section: Section) -> Device {
    let device = Device { name: section.value("name", "onair".into(), title) };
    section.finish(&[]);
    device
}

fn program(section: &mut Section, around: &Around) -> Program {
    let rates = mbps(0.1)..=mbps(200.0);
    let latencies = Duration::from_millis(20)..=Duration::from_secs(2);
    let returns = Duration::from_secs(1)..=Duration::from_secs(60);
    let video_bitrate = section.value("video_bitrate", mbps(4.0), bit_rate(rates.clone()));
    let program = Program {
        width: section.value("width", 1280, side(64..=4096)),
        height: section.value("height", 720, side(64..=2304)),
        framerate: section.value("framerate", THIRTY, frame_rate),
        video_bitrate,
        min_video_bitrate: section.value("min_video_bitrate", mbps(0.5).min(video_bitrate), bit_rate(rates)),
        keyframe_interval: Duration::from_secs_f64(section.value("keyframe_interval", 2.0, number(0.2..=10.0, "seconds"))),
        latency: section.value("latency", Duration::from_millis(200), duration(latencies)),
        encoder: section.value("encoder", "auto".into(), text),
        audio_bitrate: section.value("audio_bitrate", mbps(0.128), bit_rate(mbps(0.032)..=mbps(0.512))),
        input: Vec::new(),
        return_after: section.value("return_after", Duration::from_secs(5), duration(returns)),
        slate: section.optional("slate", text).map(|slate| around.path(slate)),
        slate_text: section.value("slate_text", String::new(), line),
        thumbnails: section.value("thumbnails", false, boolean),
        fade: section.value("fade", 0, integer(0..=i64::from(MAX_FADE))) as u32,
    };
    if let Some(slate) = &program.slate {
        around.expect(section.findings(), section.line_of("slate"), "slate", slate);
    }
    let (least, most) = (program.min_video_bitrate, program.video_bitrate);
    section.rule(&["min_video_bitrate", "video_bitrate"], least <= most, || {
        format!("{least} is more than the `video_bitrate` of {most}; lower it, or raise `video_bitrate`")
    });
    program
}

fn mbps(mbps: f64) -> BitRate {
    BitRate::from_bps((mbps * 1e6).round() as u64)
}

/// Whether the inputs that go on air exist is known only when all inputs are.
fn start_input(section: &mut Section, program: &mut Program, inputs: &[Input]) {
    let names = inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>();
    let chosen = section.optional("input", text_or_texts).unwrap_or_default();
    for (index, (name, at)) in chosen.iter().enumerate() {
        let line = at.map_or(section.line_of("input"), |at| section.findings().line_at(at));
        if !inputs.is_empty() && !names.contains(&name.as_str()) {
            let text = format!("`input`: there is no input \"{name}\"; want one of: {}", names.join(", "));
            section.findings().missing(line, text);
        } else if chosen[..index].iter().any(|(other, _)| other == name) {
            section.findings().fault(line, format!("`input`: \"{name}\" stands in the list twice; remove one of them"));
        }
    }
    let first = names.first().map(|name| name.to_string());
    program.input =
        if chosen.is_empty() { first.into_iter().collect() } else { chosen.into_iter().map(|(name, _)| name).collect() };
}

fn inputs(top: &mut Section, program: &Program, archive: &Archive, around: &Around) -> Vec<Input> {
    let sections = top.sections("input", "[[input]]");
    if sections.is_empty() && !top.has_refused("input") {
        top.findings().missing(1, "there is no input; add an [[input]] with `kind = \"v4l2\"`, \"file\" or \"test\"");
    }
    let mut names = Names::default();
    let read = |(section, number)| input(section, number, &mut names, program, archive, around);
    sections.into_iter().zip(1..).map(read).collect()
}

fn input(mut section: Section, number: usize, names: &mut Names, program: &Program, archive: &Archive, around: &Around) -> Input {
    let name = names.take(&mut section, format!("input-{number}"), "inputs");
    let word = section.value("kind", "v4l2", one_of(KINDS.map(|(kind, _)| (kind, kind))));
    for (kind, keys) in KINDS.iter().filter(|(kind, _)| *kind != word) {
        section.misplaced(keys, "kind", &format!("an input of kind \"{word}\" has no such key, one of kind \"{kind}\" has"));
    }
    let kind = match word {
        "file" => file(&mut section, archive, around),
        "test" => InputKind::Test,
        _ => v4l2(&mut section, around),
    };
    let hold = section.value("hold", Duration::from_millis(300), duration(Duration::ZERO..=Duration::from_secs(600)));
    let delay = delay(&mut section, program);
    let watch = watch(section.section("watch", "[input.watch]"), Watch::of(&kind));
    sound_in_time(&mut section, program, &kind);
    section.finish(later::INPUT);
    Input { name, kind, hold, delay, watch }
}

fn watch(mut section: Section, default: Watch) -> Watch {
    let time = || duration_or_off(Duration::from_secs(1)..=Duration::from_secs(3600));
    let watch = Watch {
        frozen: section.value("frozen", default.frozen, time()),
        frozen_noise: section.value("frozen_noise", i64::from(default.frozen_noise), integer(0..=50)) as u8,
        black: section.value("black", default.black, time()),
        black_level: section.value("black_level", default.black_level, number(0.0..=50.0, "per cent")),
        silence: section.value("silence", default.silence, time()),
        silence_dbfs: section.value("silence_dbfs", default.silence_dbfs, number(-90.0..=-10.0, "dBFS")),
    };
    section.finish(&[]);
    watch
}

/// Sound cannot go out before it has come: of the program's latency, `SOUND_NEEDS` and the frame that goes out with it are its own, the
/// rest can be given away.
fn delay(section: &mut Section, program: &Program) -> SignedDuration {
    let delay = section.value("delay", SignedDuration::ZERO, quantity("\"120ms\" or \"-80ms\""));
    let needs = SOUND_NEEDS + program.framerate.frame_duration();
    let to_spare = program.latency.saturating_sub(needs).as_millis() as i64;
    section.rule(&["delay"], delay <= LONGEST_DELAY, || format!("want at most {LONGEST_DELAY}, got {delay}"));
    section.rule(&["delay"], delay.millis() >= -to_spare, || {
        let (latency, needed) = (program.latency.as_millis(), needs.as_millis() as i64 + 1 - delay.millis());
        format!(
            "with the `latency` of {latency}ms, sound can be at most {to_spare}ms earlier, got {delay}; raise `latency` to \
             \"{needed}ms\", or ask for less"
        )
    });
    delay
}

/// What a sound device gives comes in pieces: with less latency than they need there would be holes between them.
fn sound_in_time(section: &mut Section, program: &Program, kind: &InputKind) {
    let has_sound = matches!(kind, InputKind::V4l2 { audio: Some(_), .. });
    let needs = SOUND_NEEDS + program.framerate.frame_duration();
    section.rule(&["audio"], !has_sound || program.latency >= needs, || {
        let (latency, needed) = (program.latency.as_millis(), needs.as_millis() + 1);
        format!(
            "the program's `latency` of {latency}ms is too short for sound; raise it to \"{needed}ms\", or set audio = \"none\""
        )
    });
}

fn v4l2(section: &mut Section, around: &Around) -> InputKind {
    InputKind::V4l2 {
        device: device_name(section, around),
        connector: section.value("connector", Connector::Auto, connector),
        edid: edid(section, around),
        audio: section.optional("audio", text).filter(|audio| audio != "none"),
    }
}

fn device_name(section: &mut Section, around: &Around) -> PathBuf {
    let device = section.value("device", "/dev/onair/capture-0".into(), text);
    if is_path(&device) { around.path(device) } else { device.into() }
}

fn edid(section: &mut Section, around: &Around) -> Edid {
    match section.value("edid", "auto".into(), text).as_str() {
        "auto" => Edid::Auto,
        "keep" => Edid::Keep,
        path => {
            let path = around.path(path.into());
            around.expect(section.findings(), section.line_of("edid"), "edid", &path);
            Edid::File(path)
        }
    }
}

fn file(section: &mut Section, archive: &Archive, around: &Around) -> InputKind {
    let listed =
        section.required("paths", "list the files to play, such as `paths = [\"promo.mp4\"]`", texts).unwrap_or_default();
    let mut paths = Vec::new();
    for text in listed {
        let line = section.findings().line_at(text.span().start);
        match played(text.into_inner(), archive, around) {
            Ok(played) => {
                if let Played::File(path) = &played {
                    around.expect(section.findings(), line, "paths", path);
                }
                paths.push(played);
            }
            Err(fault) => section.findings().fault(line, format!("`paths`: {fault}")),
        }
    }
    InputKind::File { paths, looped: section.value("loop", true, boolean) }
}

/// What the archive holds is looked up when it is played: it changes all the time.
fn played(text: String, archive: &Archive, around: &Around) -> Result<Played, String> {
    match text.strip_prefix(recorded::PREFIX) {
        Some(what) => Ok(Played::Archive { directory: archive.directory.clone(), what: Reference::parse(what)? }),
        None => Ok(Played::File(around.path(text))),
    }
}

fn archive(mut section: Section, around: &Around) -> Archive {
    const DAY: f64 = 86_400.0;
    let archive = Archive {
        enabled: section.value("enabled", true, boolean),
        directory: around.path(section.value("directory", "/var/lib/onaird/archive".into(), text)),
        segment: Duration::from_secs_f64(section.value("segment_seconds", 300.0, number(1.0..=DAY, "seconds"))),
        keep_free: section.value("keep_free", ByteSize::from_bytes(2 << 30), quantity("\"2GiB\"")),
        max_age: section
            .optional("max_age_days", number(0.01..=36_500.0, "days"))
            .map(|days| Duration::from_secs_f64(days * DAY)),
        upload: upload::upload(&mut section, around),
    };
    section.finish(&[]);
    archive
}

/// Names in use, each with its line.
#[derive(Default)]
pub(super) struct Names(Vec<(String, usize)>);

impl Names {
    pub(super) fn take(&mut self, section: &mut Section, default: String, what: &str) -> String {
        let taken = section.value("name", default, name);
        if let Some((_, line)) = self.0.iter().find(|(other, _)| *other == taken) {
            let text = format!("two {what} have the name \"{taken}\", the other one in line {line}; change one of them");
            section.rule(&["name"], false, || text);
        }
        self.0.push((taken.clone(), section.line_of("name")));
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::InputKind::{File, Test, V4l2};
    use crate::config::{Leg, Origin, Policy, Resume, Timestamps};
    use crate::secret::Secret;
    use proptest::prelude::*;

    const EXAMPLE: &str = include_str!("../../docs/onaird.example.toml");

    /// The least that is a configuration, in three lines.
    const LEAST: &str = "version = 1\n[[input]]\nkind = \"test\"\n";

    /// Files of which each holds the same text, or none is there.
    struct Told(Option<&'static str>);

    /// A PEM file as far as this room looks at it.
    const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB+w/=\n-----END CERTIFICATE-----\n";

    impl Files for Told {
        fn text(&self, path: &Path) -> Result<String, String> {
            let pem = path.extension().is_some_and(|extension| extension == "pem");
            self.0.map(|text| if pem { PEM } else { text }.to_owned()).ok_or("not there".into())
        }
        fn readable(&self, _: &Path) -> Result<(), String> {
            self.0.map(drop).ok_or("not there".into())
        }
    }

    fn good(text: &str) -> Config {
        parse_with(text, Path::new("/etc/onaird"), &Told(Some("key-in-file\n")))
            .map(|parsed| parsed.config)
            .unwrap_or_else(|faults| panic!("{faults:?}"))
    }

    /// "LINE: text" of each fault.
    fn faults(text: &str) -> Vec<String> {
        parse(text).err().unwrap_or_default().iter().map(Fault::to_string).collect()
    }

    fn assert_faults(text: &str, want: &[&str]) {
        let got = faults(text);
        assert!(got.len() == want.len(), "{text}\n{got:#?}");
        for (got, want) in got.iter().zip(want) {
            assert!(got.starts_with(want.split('…').next().unwrap_or_default()), "got  {got}\nwant {want}");
            assert!(want.split('…').all(|part| got.contains(part)), "got  {got}\nwant {want}");
        }
    }

    /// The example with all that is commented out in it.
    fn whole_example() -> String {
        let uncomment = |line: &'static str| {
            line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_alphabetic() || c == '[')).unwrap_or(line)
        };
        EXAMPLE.lines().map(uncomment).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_least_configuration_has_every_default() {
        let config = good(LEAST);
        let want = Program {
            width: 1280,
            height: 720,
            framerate: THIRTY,
            video_bitrate: BitRate::from_bps(4_000_000),
            min_video_bitrate: BitRate::from_bps(500_000),
            keyframe_interval: Duration::from_secs(2),
            latency: Duration::from_millis(200),
            encoder: "auto".into(),
            audio_bitrate: BitRate::from_bps(128_000),
            input: vec!["input-1".into()],
            return_after: Duration::from_secs(5),
            slate: None,
            slate_text: String::new(),
            thumbnails: false,
            fade: 0,
        };
        assert_eq!(config.program, want);
        assert_eq!(config.device.name, "onair");
        assert_eq!(
            config.inputs,
            [Input {
                name: "input-1".into(),
                kind: Test,
                hold: Duration::from_millis(300),
                delay: SignedDuration::ZERO,
                watch: Watch::default()
            }]
        );
        assert_eq!(config.archive.directory, Path::new("/var/lib/onaird/archive"));
        assert_eq!((config.archive.enabled, config.archive.segment), (true, Duration::from_secs(300)));
        assert_eq!((config.archive.keep_free.bytes(), config.archive.max_age), (2 << 30, None));
        assert!(config.legs.is_empty());
    }

    #[test]
    fn sound_cannot_be_earlier_than_the_latency_allows() {
        let delay = |latency: &str, delay: &str| {
            format!("version = 1\n[program]\nlatency = \"{latency}\"\n[[input]]\nkind = \"test\"\ndelay = \"{delay}\"\n")
        };
        for (millis, text) in [(-106, "-106ms"), (2000, "2s"), (0, "0ms")] {
            assert_eq!(good(&delay("200ms", text)).inputs[0].delay, SignedDuration::from_millis(millis));
        }
        let early = "6: `delay`: with the `latency` of 200ms, sound can be at most 106ms earlier, got -500ms; raise `latency` to \"594ms\"…";
        assert_faults(&delay("200ms", "-500ms"), &[early]);
        good(&delay("594ms", "-500ms"));
        assert_faults(&delay("20ms", "-1ms"), &["6: `delay`: with the `latency` of 20ms, sound can be at most 0ms earlier…"]);
        assert_faults(&delay("200ms", "2001ms"), &["6: `delay`: want at most 2000ms, got 2001ms"]);
        assert_faults(&delay("200ms", "5"), &["6: `delay`: want a duration such as \"120ms\" or \"-80ms\", got \"5\""]);
    }

    #[test]
    fn sound_needs_some_latency() {
        let input = |latency: &str, audio: &str| {
            let program = format!("version = 1\n[program]\nlatency = \"{latency}\"\n");
            format!("{program}[[input]]\nkind = \"v4l2\"\naudio = \"{audio}\"\n")
        };
        let short = "6: `audio`: the program's `latency` of 50ms is too short for sound; raise it to \"94ms\"…";
        assert_faults(&input("50ms", "auto"), &[short]);
        good(&input("94ms", "auto"));
        good(&input("50ms", "none"));
    }

    #[test]
    fn the_example_shows_the_defaults() {
        let (example, least) = (good(EXAMPLE), good("version = 1\n[[input]]\n[[leg]]\norigin = [{ url = \"rtmp://h/a/k\" }]"));
        assert_eq!(example.device, least.device);
        assert_eq!(example.program, Program { input: vec!["camera".into()], ..least.program.clone() });
        assert!(example.archive == least.archive);
        assert_eq!(example.inputs, [Input { name: "camera".into(), ..least.inputs[0].clone() }]);
        let bare = |config: &Config| Leg { name: String::new(), origins: Vec::new(), ..config.legs[0].clone() };
        assert!(bare(&example) == bare(&least) && bare(&least) == Leg::new("", Vec::new()));
        let origin = &example.legs[0].origins[0];
        assert!(*origin == Origin::new(origin.url.clone(), origin.key.clone()));
        assert_eq!(parse(EXAMPLE).ok().unwrap().warnings, []);
    }

    #[test]
    fn the_whole_example_is_understood() {
        let config = good(&whole_example());
        assert_eq!(config.program.slate.as_deref(), Some(Path::new("/etc/onaird/slate.png")));
        let kinds = config.inputs.iter().map(|input| (input.name.as_str(), input.kind.clone())).collect::<Vec<_>>();
        let paths = ["/etc/onaird/promo-1.mp4", "/etc/onaird/promo-2.mp4"].map(|path| Played::File(path.into())).to_vec();
        let what = Reference::parse("2026-11-23T14:00/2026-11-23T15:00").unwrap();
        let rerun = vec![Played::Archive { directory: "/var/lib/onaird/archive".into(), what }];
        let camera = V4l2 { device: "/dev/onair/capture-0".into(), connector: Connector::Auto, edid: Edid::Auto, audio: None };
        let (promo, rerun) = (File { paths, looped: true }, File { paths: rerun, looped: false });
        assert_eq!(kinds, [("camera", camera), ("promo", promo), ("rerun", rerun), ("bars", Test)]);
        assert_eq!(config.archive.max_age, Some(Duration::from_secs(30 * 86_400)));
        let origins = config.legs.iter().flat_map(|leg| &leg.origins).map(|origin| (origin.url.to_string(), origin.key.expose()));
        let want = [
            ("rtmp://origin-a.example/live", "stream-key-of-leg-a"),
            ("rtmp://spare-a.example:1936/app/instance", "stream-key-of-leg-a?token=1"),
            ("rtmps://origin-b.example/live", "key-in-file"),
            ("rtmps://spare-b.example/live", "key-in-file"),
        ];
        assert_eq!(origins.collect::<Vec<_>>(), want.map(|(url, key)| (url.to_owned(), key)));
        let b = &config.legs[1];
        let want = ("b", Some("wwan0".to_owned()), Policy::Weighted, false, Resume::Live, true, Timestamps::Rebased);
        let got = (b.name.as_str(), b.interface.clone(), b.policy, b.failback, b.resume, b.warm, b.timestamps);
        assert_eq!(got, want);
        let login = b.origins[0].login.as_ref().map(|login| (login.user.as_str(), login.password.expose()));
        assert_eq!(login, Some(("box-7", "pass/word")));
        assert_eq!((b.origins[0].weight, b.origins[1].weight), (3, 1));
        assert_eq!(b.origins[0].ca_file.as_deref(), Some(Path::new("/etc/onaird/origins-ca.pem")));
        let verify = b.origins[0].verify.as_ref().map(Secret::expose);
        assert_eq!(verify, Some("https://cdn.example/live/stream.m3u8"));
    }

    #[test]
    fn inputs_that_go_on_air_are_one_or_a_list_of_those_that_there_are() {
        let with = |input: &str| {
            format!(
                "version = 1\n[program]\ninput = {input}\n[[input]]\nname = 'a'\nkind = 'test'\n[[input]]\nname = 'b'\nkind = 'test'\n"
            )
        };
        assert_eq!(good(&with("'b'")).program.input, ["b"]);
        assert_eq!(good(&with("['b', 'a']")).program.input, ["b", "a"]);
        assert_eq!(good(&with("['b']")).program.input, ["b"]);
        assert_faults(&with("[]"), &["3: `input`: want the name of an input or a list of them, got an empty list"]);
        assert_faults(&with("5"), &["3: `input`: want the name of an input or a list of them, got an integer"]);
        assert_faults(
            &with("[\n'a',\n'c',\n'a',\n'd']"),
            &[
                "5: `input`: there is no input \"c\"; want one of: a, b",
                "6: `input`: \"a\" stands in the list twice",
                "7: `input`: there is no input \"d\"",
            ],
        );
    }

    #[test]
    fn a_line_for_the_audience_may_be_empty_and_has_no_breaks() {
        let with = |text: &str| format!("version = 1\n[program]\nslate_text = {text}\n[[input]]\nkind = 'test'\n");
        assert_eq!(good(&with("''")).program.slate_text, "");
        assert_eq!(good(&with("'Gleich geht es weiter – пока'")).program.slate_text, "Gleich geht es weiter – пока");
        assert_faults(&with("\"a\\nb\""), &["3: `slate_text`: want one line of at most 120 characters"]);
        assert_faults(&with("7"), &["3: `slate_text`: want a text in quotes, got an integer"]);
    }

    #[test]
    fn values_are_taken_as_written() {
        let text =
            "version = 1\nprogram.framerate = \"30000/1001\"\nprogram.video_bitrate = \"300k\"\nprogram.keyframe_interval = 0.5
            input = [{ kind = \"v4l2\", audio = \"hw:CARD=Capture\" }]";
        let Config { program, inputs, .. } = good(text);
        assert_eq!(program.framerate, FrameRate::new(30000, 1001).unwrap());
        assert_eq!(program.min_video_bitrate, BitRate::from_bps(300_000));
        assert_eq!(program.keyframe_interval, Duration::from_millis(500));
        assert!(matches!(&inputs[0].kind, V4l2 { audio: Some(audio), .. } if audio == "hw:CARD=Capture"));
    }

    #[test]
    fn devices_connectors_and_edids_in_their_forms() {
        let read = |keys: &str| match &good(&format!("version = 1\n[[input]]\n{keys}")).inputs[0].kind {
            V4l2 { device, connector, edid, .. } => (device.clone(), connector.clone(), edid.clone()),
            _ => unreachable!(),
        };
        let devices = [
            ("auto", "auto"),
            ("serial:A1", "serial:A1"),
            ("bus:usb-0000:00:14.0-2", "bus:usb-0000:00:14.0-2"),
            ("/dev/video0", "/dev/video0"),
            ("./auto", "/etc/onaird/./auto"),
        ];
        for (text, want) in devices {
            assert_eq!(read(&format!("device = '{text}'")).0, Path::new(want));
        }
        let connectors = [
            ("'auto'", Connector::Auto),
            ("0", Connector::Number(0)),
            ("'2'", Connector::Number(2)),
            ("'HDMI 0'", Connector::Name("HDMI 0".into())),
        ];
        for (text, want) in connectors {
            assert_eq!(read(&format!("connector = {text}")).1, want);
        }
        let file = Edid::File("/etc/onaird/tv.bin".into());
        for (text, want) in [("auto", Edid::Auto), ("keep", Edid::Keep), ("tv.bin", file)] {
            assert_eq!(read(&format!("edid = '{text}'")).2, want);
        }
        let table: &[(&str, &[&str])] = &[
            ("connector = -1", &["3: `connector`: want \"auto\", a number from 0 to 63, or a name such as \"HDMI 0\", got -1"]),
            ("connector = true", &["3: `connector`: want \"auto\", a number from 0 to 63, or a name…got a boolean"]),
            ("edid = ''", &["3: `edid`: want a text, got an empty one"]),
            ("kind = 'test'\nedid = 'keep'", &["4: `edid`: an input of kind \"test\" has no such key"]),
        ];
        for (keys, want) in table {
            assert_faults(&format!("version = 1\n[[input]]\n{keys}"), want);
        }
        let absent = parse_with("version = 1\n[[input]]\nedid = 'tv.bin'", Path::new("/x"), &Told(None)).ok().unwrap();
        assert!(absent.warnings[0].to_string().starts_with("3: `edid`: /x/tv.bin cannot be read"), "{:?}", absent.warnings);
    }

    #[test]
    fn all_faults_come_at_once_with_their_lines() {
        let text = r#"version = 1
[device]
name = 5
[program]
widht = 1280
width = 1281
height = 9000
framerate = "fast"
video_bitrate = 6000000
min_video_bitrate = "5M"
keyframe_interval = 0.1
latency = "3s"
input = "camera"
[[input]]
name = "cam"
kind = "v4l"
[[input]]
name = "cam"
kind = "file"
device = "/dev/video0"
hold = "x"
[archive]
keep_free = "2 gigs"
enabled = "yes"
upload = 5
[[leg]]
name = "a"
policy = "prioritty"
interface = "sixteen-bytes-16"
failback = "no"
resume = "rerun"
warm = 1
timestamps = "zero"
[[leg]]
name = "b c"
backlog = "1h"
[[leg.origin]]
url = "rtmps://h:x/app"
stream_key = "SECRET"
stream_key_file = "f"
weight = 1001
ca_file = "f"
verify = "http://h/SECRET"
[[leg.origin]]
stream_key = 12345678
[panel]
"#;
        let want = [
            "3: `name`: want a text in quotes, got an integer",
            "5: unknown key `widht` in [program], did you mean `width`?; known keys: video_bitrate, …",
            "6: `width`: want an even number of pixels from 64 to 4096, got 1281",
            "7: `height`: want an even number of pixels from 64 to 2304, got 9000",
            "8: `framerate`: want a frame rate…",
            "9: `video_bitrate`: want a quantity in quotes such as \"6M\" or \"500k\", got an integer",
            "11: `keyframe_interval`: want a number of seconds from 0.2 to 10, got 0.1",
            "12: `latency`: want a duration from 20ms to 2s, got \"3s\"",
            "13: `input`: there is no input \"camera\"; want one of: cam",
            "16: `kind`: want \"v4l2\" or \"file\" or \"test\", got \"v4l\"",
            "17: [[input]] has no `paths`; list the files",
            "18: `name`: two inputs have the name \"cam\", the other one in line 15",
            "20: `device`: an input of kind \"file\" has no such key, one of kind \"v4l2\" has",
            "21: `hold`: want a duration such as",
            "23: `keep_free`: want a size such as",
            "24: `enabled`: want true or false, got a text",
            "25: `upload`: want a section [archive.upload], got an integer",
            "26: leg \"a\" has no origin; add a [[leg.origin]]",
            "28: `policy`: want \"priority\" or \"latency\" or \"weighted\", got \"prioritty\"",
            "29: `interface`: want the name of a network interface",
            "30: `failback`: want true or false, got a text",
            "31: `resume`: want \"replay\" or \"live\", got \"rerun\"",
            "32: `warm`: want true or false, got an integer",
            "33: `timestamps`: want \"shared\" or \"rebased\", got \"zero\"",
            "35: `name`: want at most 32 letters, digits",
            "36: `backlog`: want a duration from 500ms to 10s, got \"1h\"",
            "38: `url`: want a port from 1 to 65535",
            "40: `stream_key_file`: the file cannot be read (a text that stands alone has no files)",
            "41: `weight`: want an integer from 0 to 1000, got 1001",
            "42: `ca_file`: f cannot be read (a text that stands alone has no files)",
            "43: `verify`: want a playlist behind http:// or https://",
            "44: [[leg.origin]] has no `url`; write where to publish",
            "45: `stream_key`: want a text in quotes, got an integer",
            "46: `panel` at the top level is not supported by this version yet",
        ];
        assert_faults(text, &want);
    }

    #[test]
    fn single_faults() {
        let table: &[(&str, &[&str])] = &[
            ("", &["1: the file does not tell its version", "1: there is no input; add an [[input]]"]),
            ("[[input]]", &["1: the file does not tell its version"]),
            ("device.name = 'x'\nversion = 1\n[[input]]", &["2: `version`: want it before everything else"]),
            ("version = 0\n[[input]]", &["1: `version`: want an integer from 1"]),
            ("version = '1'\n[[input]]", &["1: `version`: want an integer…got a text"]),
            ("version = 1\ninput = 5", &["2: `input`: want sections headed [[input]] in double brackets, got an integer"]),
            (
                "version = 1\n[input]\nkind = 'test'",
                &["2: `input`: want sections headed [[input]] in double brackets, got a section"],
            ),
            ("version = 1\nprogram = 1\n[[input]]", &["2: `program`: want a section [program], got an integer"]),
            ("version = 1\n[[input]]\n[[archive]]", &["3: `archive`: want one section [archive], got a list"]),
            (
                "version = 1\n[[inputs]]",
                &["1: there is no input", "2: unknown key `inputs` at the top level, did you mean `input`?"],
            ),
            (
                "version = 1\n[[input]]\ncolour = 1",
                &[
                    "3: unknown key `colour` in [[input]]; known keys: name, kind, paths, loop, device, connector, edid, audio, hold",
                ],
            ),
            ("version = 1\n[[input]]\nkind = 'file'\npaths = []", &["4: `paths`: want a list of texts, got an empty one"]),
            ("version = 1\n[[input]]\nhold = '''\nx\ny'''", &["3: `hold`: want a duration…got \"x y\""]),
            (
                "version = 1\n[program]\nmin_video_bitrate = '5M'\n[[input]]",
                &["3: `min_video_bitrate`: 5.0 Mbit/s is more than the `video_bitrate` of 4.0 Mbit/s"],
            ),
            (
                "version = 1\n[program]\nvideo_bitrate = '6000'\n[[input]]",
                &["3: `video_bitrate`: want a bit rate from 100 kbit/s to 200.0 Mbit/s, got 6 kbit/s; write the unit"],
            ),
        ];
        for (text, want) in table {
            assert_faults(text, want);
        }
    }

    #[test]
    fn faults_of_origins() {
        let leg = |origins: &str| format!("{LEAST}[[leg]]\norigin = [\n{origins}\n]\n");
        let table: &[(&str, &[&str])] = &[
            ("", &["4: leg \"leg-1\" has no origin"]),
            ("{ url = 'rtmp://h/a' }", &["6: `url`: the URL to h has only one part after the host"]),
            ("{ url = 'rtmp://h/a/b', stream_key = '' }", &["6: `stream_key`: want a text, got an empty one"]),
            ("{ url = 'rtmp://h/a/SECRET', stream_key = 'SECRET' }", &["6: `url`: the URL to h has the stream key in it too"]),
            (
                "{ url = 'http://h/a/SECRET', x = 1 }",
                &["6: `url`: want a URL that begins with rtmp://", "6: unknown key `x` in [[leg.origin]]"],
            ),
            ("{ url = ['rtmp://h/a/SECRET'] }", &["6: `url`: want a text in quotes, got a list"]),
            ("{ url = 'rtmp://h/a', stream_key_file = 'SECRET' }", &["6: `stream_key_file`: the file cannot be read"]),
        ];
        for (origins, want) in table {
            assert_faults(&leg(origins), want);
        }
        let filed = leg("{ url = 'rtmp://h/a', stream_key_file = 'f' }");
        let faults = parse_with(&filed, Path::new(""), &Told(Some("SECRET\nSECRET"))).err().unwrap();
        assert!(faults[0].text.contains("want one stream key") && !faults[0].text.contains("SECRET"), "{}", faults[0]);
        let both = leg("{ url = 'rtmp://h/a', stream_key = 'k', stream_key_file = 'f' }");
        let faults = parse_with(&both, Path::new(""), &Told(Some("k"))).err().unwrap();
        assert_eq!(faults[0].to_string(), "6: `stream_key_file`: the origin has a `stream_key` too; keep one of the two");
    }

    #[test]
    fn two_legs_cannot_publish_to_one_place() {
        let leg = |key: &str| format!("[[leg]]\norigin = [{{ url = 'rtmp://H/app/{key}' }}]\n");
        let text = format!(
            "{LEAST}{}{}[[leg]]\n[[leg.origin]]\nurl = 'rtmp://h:1935/app/'\nstream_key = 'SECRET'",
            leg("SECRET"),
            leg("other")
        );
        assert_faults(&text, &["10: `url`: leg \"leg-3\" publishes to h with the key of another leg, in line 5"]);
        assert_eq!(faults(&format!("{LEAST}{}{}", leg("one"), leg("two"))), Vec::<String>::new());
    }

    #[test]
    fn an_encrypted_and_a_plain_door_lead_to_one_place() {
        let leg = |url: &str| format!("[[leg]]\norigin = [{{ url = '{url}' }}]\n");
        let twice = |one: &str, other: &str| format!("{LEAST}{}{}", leg(one), leg(other));
        let text = twice("rtmps://u:SECRET@h/app/SECRET", "rtmp://h:1936/app/SECRET");
        assert_faults(&text, &["7: `url`: leg \"leg-2\" publishes to h with the key of another leg, in line 5"]);
        assert_faults(&twice("rtmp://h:1935/app/k", "rtmp://h:1936/app/k"), &[]);
        assert_faults(&twice("rtmps://h/app/k", "rtmp://h/app/other"), &[]);
    }

    #[test]
    fn authorities_are_for_encrypted_origins_and_in_pem() {
        let leg = |origin: &str| format!("{LEAST}[[leg]]\norigin = [{{ {origin} }}]\n");
        let faults = |origin: &str, file| {
            let faults = parse_with(&leg(origin), Path::new("/x"), &Told(file)).err().unwrap_or_default();
            faults.iter().map(Fault::to_string).collect::<Vec<_>>()
        };
        assert_eq!(faults("url = 'rtmps://h/a/k', ca_file = 'ca.pem'", Some("")), Vec::<String>::new());
        let plain = faults("url = 'rtmp://h/a/k', ca_file = 'ca.pem'", Some(""));
        assert_eq!(
            plain,
            ["5: `ca_file`: the connection to h is not encrypted; write rtmps:// in its `url`, or remove `ca_file`"]
        );
        let absent = faults("url = 'rtmps://h/a/k', ca_file = 'ca.pem'", None);
        assert_eq!(absent, ["5: `ca_file`: /x/ca.pem cannot be read (not there); put the file there or correct the path"]);
        let key = faults("url = 'rtmps://h/a/k', ca_file = 'f'", Some("-----BEGIN PRIVATE KEY-----\nSECRET\n"));
        assert_eq!(key, ["5: `ca_file`: /x/f holds no certificate; want PEM text with \"-----BEGIN CERTIFICATE-----\""]);
    }

    #[test]
    fn weights_have_a_meaning_only_where_the_policy_is_weighted() {
        let leg = |policy: &str, weights: [&str; 2]| {
            let origins = weights.map(|weight| format!("{{ url = 'rtmp://h/a/k', weight = {weight} }}")).join(",\n");
            format!("{LEAST}[[leg]]\npolicy = '{policy}'\norigin = [\n{origins}\n]\n")
        };
        let parsed = parse(&leg("weighted", ["0", "1"])).ok().unwrap();
        assert_eq!(parsed.warnings, []);
        assert_eq!(parsed.config.legs[0].origins.iter().map(|origin| origin.weight).collect::<Vec<_>>(), [0, 1]);
        let warnings = parse(&leg("latency", ["0", "1"])).ok().unwrap().warnings;
        assert_eq!(warnings.iter().map(|warning| warning.line).collect::<Vec<_>>(), [7, 8]);
        assert!(warnings[0].text.starts_with("`weight`: has no meaning while the leg's `policy` is not \"weighted\""));
        assert_faults(&leg("weighted", ["0", "0"]), &["5: `policy`: every origin of leg \"leg-1\" has the weight 0"]);
        assert_faults(&leg("heavy", ["0", "0"]), &["5: `policy`: want \"priority\""]);
    }

    #[test]
    fn a_newer_file_may_have_unknown_keys_but_not_wrong_values() {
        let text = LEAST.replace('1', "2") + "glow = 1\n[panel]\n[program]\nheight = 720\n";
        let parsed = parse(&text).ok().unwrap();
        let lines = parsed.warnings.iter().map(|fault| fault.line).collect::<Vec<_>>();
        assert_eq!(lines, [1, 4, 5]);
        assert!(parsed.warnings[1].text.contains("ignored: the file says version 2"));
        let faults = parse(&text.replace("720", "721")).err().unwrap();
        assert_eq!(faults.iter().map(|fault| fault.line).collect::<Vec<_>>(), [1, 4, 5, 7]);
    }

    #[test]
    fn devices_are_watched_by_default_and_others_if_told() {
        let watch = |text: &str| good(&format!("version = 1\n[[input]]\n{text}")).inputs[0].watch.clone();
        let (ten, twenty) = (Some(Duration::from_secs(10)), Some(Duration::from_secs(20)));
        let found = |watch: Watch| (watch.frozen, watch.black, watch.silence);
        assert_eq!(found(watch("")), (ten, ten, None));
        assert_eq!(found(watch("audio = 'hw:CARD=Capture'\n")), (ten, ten, twenty));
        assert_eq!(found(watch("kind = 'file'\npaths = ['a.mp4']\n")), (None, None, None));
        assert_eq!(watch("kind = 'test'\n"), Watch::default());
        let keys = "[input.watch]\nfrozen = false\nblack = '2s'\nsilence = '1min'\nblack_level = 5\nsilence_dbfs = -50.5\nfrozen_noise = 4\n";
        let told = watch(&format!("kind = 'test'\n{keys}"));
        assert_eq!(found(told.clone()), (None, Some(Duration::from_secs(2)), Some(Duration::from_secs(60))));
        assert_eq!((told.black_level, told.silence_dbfs, told.frozen_noise), (5.0, -50.5, 4));
        let wrong =
            "[input.watch]\nfrozen = true\nblack = '100ms'\nsilence = 5\nblack_level = 60\nsilence_dbfs = 0\nfreeze = '1s'\n";
        assert_faults(
            &format!("{LEAST}{wrong}"),
            &[
                "5: `frozen`: want a duration in quotes such as \"10s\", or false, got true",
                "6: `black`: want a duration from 1s to",
                "7: `silence`: want a duration",
                "8: `black_level`: ",
                "9: `silence_dbfs`: ",
                "10: unknown key `freeze` in [input.watch]",
            ],
        );
    }

    #[test]
    fn missing_files_are_warnings_with_the_line_of_each() {
        let text = "version = 1\n[program]\nslate = 's.png'\n[[input]]\nkind = 'file'\npaths = [\n  'a.mp4',\n  '/b.mp4',\n]\n";
        let warnings = parse_with(text, Path::new("/x"), &Told(None)).ok().unwrap().warnings;
        let texts =
            warnings.iter().map(|fault| fault.to_string().split(" (").next().unwrap_or_default().to_owned()).collect::<Vec<_>>();
        let want =
            ["3: `slate`: /x/s.png cannot be read", "7: `paths`: /x/a.mp4 cannot be read", "8: `paths`: /b.mp4 cannot be read"];
        assert_eq!(texts, want);
    }

    #[test]
    fn recordings_are_played_from_the_archive_s_own_folder() {
        let text = |paths: &str| {
            format!("version = 1\n[[input]]\nkind = 'file'\npaths = [\n{paths}\n]\n[archive]\ndirectory = '/media/usb'\n")
        };
        let File { paths, .. } = &good(&text("'archive:2026-11-23',\n'a.mp4'")).inputs[0].kind else { panic!("a file input") };
        let what = Reference::parse("2026-11-23").unwrap();
        let archive = Played::Archive { directory: "/media/usb".into(), what };
        assert_eq!(paths[..], [archive, Played::File("/etc/onaird/a.mp4".into())]);
        assert_eq!(paths[0].to_string(), "archive:2026-11-23");
        assert_faults(
            &text("'a.mp4',\n'archive:yesterday',\n'archive:'"),
            &[
                "6: `paths`: want a time such as 2026-11-23…got \"yesterday\"; or the name of a segment",
                "7: `paths`: want a time…",
            ],
        );
    }

    #[test]
    fn broken_syntax_does_not_hide_what_is_wrong_elsewhere() {
        let text = "version = 1\n[program]\nwidth 1280\nheight =\nlatency = 200ms\nwidth = 1281\n[[input]\nkind = 'tset'\n[[leg]]\nbacklog = 5\n";
        assert_faults(
            text,
            &["3: not TOML: ", "4: not TOML: ", "5: not TOML: ", "6: `width`: ", "7: not TOML: ", "10: `backlog`: "],
        );
        assert_faults("version = 1\n[[input]]\n[archive\nenabled = yes\nkeep_free = 5\nx = 1\n", &["3: not TOML: "]);
        assert_faults(&format!("{LEAST}kind = 'file'\n"), &["4: not TOML: duplicate key"]);
        assert_faults(&format!("{LEAST}[[leg]]\nname = 'a\n"), &["5: not TOML: "]);
    }

    /// A stream key of the characters that services use, and some that break quotes and lines.
    fn any_key() -> impl Strategy<Value = String> {
        prop_oneof!["[A-Z0-9]{12,24}", "[A-Z]{8}[A-Za-z0-9 ?=&/@:#'\"_.-]{4,12}[0-9]{6}"]
    }

    proptest! {
        #[test]
        fn no_stream_key_is_ever_told(key in any_key(), shape in 0usize..16, spoil in 0usize..6) {
            let origin = match shape {
                0 => format!("url = \"rtmp://h/app/{key}\""),
                1 => format!("url = \"rtmp://h/{key}\""),
                2 => format!("url = \"http://h/app/{key}\""),
                3 => format!("url = rtmp://h/app/{key}"),
                4 => format!("url = \"rtmp://h:99999/app/{key}\""),
                5 => format!("url = \"rtmp://u:{key}@h/app/k\""),
                6 => format!("url = \"rtmp://h/app\"\nstream_key = \"{key}\""),
                7 => format!("url = \"rtmp://h/app\"\nstream_key = {key}"),
                8 => format!("url = \"rtmp://h/app\"\nstream_key = \"{key}"),
                9 => format!("url = \"rtmp://h/app/{key}\"\nstream_key = \"{key}\""),
                10 => format!("url = \"rtmp://h/app?{key}\"\nstream_key = [\"{key}\"]"),
                11 => format!("url = \"rtmps://{key}@h/app/k\"\nca_file = \"c\""),
                12 => format!("url = \"rtmp://h/app/k\"\nverify = \"{key}\""),
                13 => format!("url = \"rtmp://h/app/k\"\nverify = \"http://u:{key}@h/{key}\""),
                14 => format!("url = \"rtmp://h/app/k\"\nverify = \"rtmp://h/{key}"),
                _ => format!("url = \"rtmp://h/app\"\nstream_key_file = \"{key}\""),
            };
            let spoiled = ["", "weight = 1\n", "[[leg]\n", "name = \n", "[[leg]]\norigin = 5\n", "url = 1\n"][spoil];
            let text = format!("{LEAST}[[leg]]\n[[leg.origin]]\n{origin}\n{spoiled}[[leg]]\n[[leg.origin]]\n{origin}\n");
            let all = faults(&text).join("\n");
            for part in [&key[..8], &key[key.len() - 6..]] {
                prop_assert!(!all.contains(part), "{part} in\n{all}\nof\n{text}");
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,80}|[\\[\\]{}=\"'#.,a-z0-9 \\n\\r\\t\\\\]{0,120}") {
            let _ = parse(&text);
        }

        #[test]
        fn mutated_text_never_panics_and_faults_stand_on_its_lines(
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..30, "[\\[\\]{}=\"'#., a-z0-9\\n\\r\\\\é]{0,6}"), 1..6)
        ) {
            let mut text = whole_example().lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n").chars().collect::<Vec<_>>();
            for (at, cut, put) in edits {
                let at = at.index(text.len() + 1);
                text.splice(at..(at + cut).min(text.len()), put.chars());
            }
            let text = text.into_iter().collect::<String>();
            let lines = text.split('\n').count();
            for fault in parse(&text).err().unwrap_or_default() {
                prop_assert!((1..=lines).contains(&fault.line) && !fault.text.contains('\n'), "{fault}");
            }
        }
    }
}
