//! Text to [`Config`], or everything that is wrong with it at once. Pure: files that the text names are read by the caller's hand.
//!
//! Unknown keys are faults, since a misspelt key that is ignored is found out on air; only a file of a newer version than
//! ours may hold keys that we do not know, and gets warnings.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use crate::config::reader::{Faults, Table};
use crate::config::{Archive, Config, Device, Input, InputKind, Leg, Origin, Program, VERSION, url};
use crate::secret::Secret;
use crate::units::{BitRate, ByteSize, FrameRate, parse_duration};

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// From 1.
    pub line: usize,
    /// What is wrong and what to write instead.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.text)
    }
}

/// A usable configuration and what else is to be said of it.
#[derive(Clone)]
pub struct Parsed {
    pub config: Config,
    /// Does not keep it from being used.
    pub warnings: Vec<Fault>,
    /// Files that it names and that should be there.
    pub files: Vec<NamedFile>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    pub line: usize,
    pub path: PathBuf,
}

/// What the text may refer to.
pub struct Surroundings<'a> {
    /// Relative paths are relative to this folder.
    pub base: &'a Path,
    /// Reads a key file.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// Keys that the contract names for rooms to come.
const LATER_SECTIONS: &[&str] = &["panel", "console", "update", "metrics", "profile"];
const LATER_LEG: &[&str] = &["interface", "policy", "failback", "resume", "warm", "timestamps"];
const LATER_ORIGIN: &[&str] = &["weight", "verify", "ca_file"];
const LATER_INPUT: &[&str] = &["edid", "pattern", "delay"];

/// Reads a configuration.
pub fn parse(text: &str, surroundings: &Surroundings<'_>) -> Result<Parsed, Vec<Fault>> {
    let mut faults = Faults::new(text);
    let (document, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        let line = faults.line_of(error.span().map_or(0, |span| span.start));
        faults.add(line, format!("this is not TOML: {}", error.message()));
    }
    if !syntax.is_empty() {
        return Err(sorted(faults));
    }
    let mut root = Table::new("at the top", 1, Some(document.get_ref()));
    let newer = version(&mut root, &mut faults);
    let mut reading = Reading { surroundings, files: vec![], unknown: Faults::new(text) };
    let config = reading.config(&mut root, &mut faults);
    root.finish(LATER_SECTIONS, &mut reading.unknown);
    let mut warnings = Vec::new();
    match newer {
        true => warnings = sorted(reading.unknown),
        false => faults.list.extend(reading.unknown.list),
    }
    if !faults.list.is_empty() {
        return Err(sorted(faults));
    }
    Ok(Parsed { config, warnings, files: reading.files })
}

fn sorted(mut faults: Faults<'_>) -> Vec<Fault> {
    faults.list.sort_by_key(|fault| fault.line);
    faults.list
}

/// True if the file is of a newer version than this program.
fn version(root: &mut Table<'_, '_>, faults: &mut Faults<'_>) -> bool {
    if !root.has("version") {
        faults.add(1, format!("the file must begin with `version = {VERSION}`"));
    }
    let version = root.number("version", 1.0..=1e9, faults);
    version.is_some_and(|version| version > VERSION as f64)
}

/// What is gathered on the way.
struct Reading<'a> {
    surroundings: &'a Surroundings<'a>,
    files: Vec<NamedFile>,
    unknown: Faults<'a>,
}

/// An origin's place in the file, to find two that are the same.
struct OriginPlace {
    line: usize,
    leg: String,
    target: String,
}

impl Reading<'_> {
    fn config(&mut self, root: &mut Table<'_, '_>, faults: &mut Faults<'_>) -> Config {
        let device = self.device(&mut root.table("device", faults), faults);
        let inputs = self.inputs(root, faults);
        let program = self.program(&mut root.table("program", faults), &inputs, faults);
        let archive = self.archive(&mut root.table("archive", faults), faults);
        let legs = self.legs(root, faults);
        Config { device, program, inputs, archive, legs }
    }

    fn device(&mut self, table: &mut Table<'_, '_>, faults: &mut Faults<'_>) -> Device {
        let name = table.text("name", faults).unwrap_or_else(|| "onair".into());
        table.finish(&[], &mut self.unknown);
        Device { name }
    }

    fn program(&mut self, table: &mut Table<'_, '_>, inputs: &[Input], faults: &mut Faults<'_>) -> Program {
        let program = Program {
            width: even(table, "width", 1280, 4096, faults),
            height: even(table, "height", 720, 2304, faults),
            framerate: table.quantity("framerate", default_framerate(), faults),
            video_bitrate: table.quantity("video_bitrate", BitRate::from_bps(4_000_000), faults),
            min_video_bitrate: table.quantity("min_video_bitrate", BitRate::from_bps(500_000), faults),
            keyframe_interval: seconds(table, "keyframe_interval", 2.0, 0.2..=10.0, faults),
            latency: duration(table, "latency", 200, 20..=2000, faults),
            encoder: table.text("encoder", faults).unwrap_or_else(|| "auto".into()),
            audio_bitrate: table.quantity("audio_bitrate", BitRate::from_bps(128_000), faults),
            input: self.first_input(table, inputs, faults),
            slate: self.file(table, "slate", faults),
        };
        if program.min_video_bitrate > program.video_bitrate {
            let line = table.line_of("min_video_bitrate", faults);
            faults.add(line, "[program]: `min_video_bitrate` is above `video_bitrate`; lower it");
        }
        table.finish(&[], &mut self.unknown);
        program
    }

    fn first_input(&self, table: &mut Table<'_, '_>, inputs: &[Input], faults: &mut Faults<'_>) -> String {
        let first = inputs.first().map(|input| input.name.clone()).unwrap_or_default();
        let Some(name) = table.text("input", faults) else { return first };
        if !inputs.iter().any(|input| input.name == name) {
            let names: Vec<_> = inputs.iter().map(|input| input.name.as_str()).collect();
            let line = table.line_of("input", faults);
            faults.add(line, format!("[program]: there is no input called \"{name}\"; the inputs are: {}", names.join(", ")));
        }
        name
    }

    fn inputs(&mut self, root: &mut Table<'_, '_>, faults: &mut Faults<'_>) -> Vec<Input> {
        let mut tables = root.tables("input", "input", faults);
        if tables.is_empty() {
            faults.add(1, "there is no input; add [[input]] with name = \"camera\", kind = \"v4l2\" and its device");
        }
        let mut inputs: Vec<Input> = Vec::new();
        for table in &mut tables {
            let name = name(table, faults);
            if inputs.iter().any(|input| input.name == name) {
                let line = table.line_of("name", faults);
                faults.add(line, format!("[[input]]: there are two inputs called \"{name}\"; give each a name of its own"));
            }
            let kind = self.input_kind(table, faults);
            let hold = duration(table, "hold", 300, 0..=10_000, faults);
            table.finish(LATER_INPUT, &mut self.unknown);
            inputs.push(Input { name, kind, hold });
        }
        inputs
    }

    fn input_kind(&mut self, table: &mut Table<'_, '_>, faults: &mut Faults<'_>) -> InputKind {
        let kind = table.text("kind", faults).unwrap_or_default();
        match kind.as_str() {
            "v4l2" => self.v4l2(table, faults),
            "file" => self.file_list(table, faults),
            "test" => InputKind::Test,
            _ => {
                // Its other keys cannot be judged.
                ["device", "audio", "paths", "loop"].into_iter().for_each(|key| table.ignore(key));
                let line = table.line_of("kind", faults);
                faults.add(line, "[[input]]: `kind` must be \"v4l2\" (a capture device), \"file\" or \"test\"");
                InputKind::Test
            }
        }
    }

    fn v4l2(&mut self, table: &mut Table<'_, '_>, faults: &mut Faults<'_>) -> InputKind {
        let device = table.path("device", Path::new("/dev"), faults);
        if !table.has("device") {
            faults.add(
                table.line,
                "[[input]]: a v4l2 input needs `device`, such as \"/dev/onair/capture-0\"; `onaird devices` lists them",
            );
        }
        let audio = table.text("audio", faults).filter(|name| name != "none");
        InputKind::V4l2 { device: device.unwrap_or_default(), audio }
    }

    fn file_list(&mut self, table: &mut Table<'_, '_>, faults: &mut Faults<'_>) -> InputKind {
        let named = table.texts("paths", faults);
        if named.is_empty() {
            faults.add(table.line_of("paths", faults), "[[input]]: a file input needs `paths`, a list of at least one file");
        }
        let mut paths = Vec::new();
        for (path, line) in named {
            let path = self.surroundings.base.join(path);
            self.files.push(NamedFile { line, path: path.clone() });
            paths.push(path);
        }
        InputKind::File { paths, looped: table.boolean("loop", true, faults) }
    }

    fn archive(&mut self, table: &mut Table<'_, '_>, faults: &mut Faults<'_>) -> Archive {
        let archive = Archive {
            enabled: table.boolean("enabled", true, faults),
            directory: table
                .path("directory", self.surroundings.base, faults)
                .unwrap_or_else(|| "/var/lib/onaird/archive".into()),
            segment: seconds(table, "segment_seconds", 300.0, 1.0..=86_400.0, faults),
            keep_free: table.quantity("keep_free", ByteSize::from_bytes(2 << 30), faults),
            max_age: table.number("max_age_days", 0.001..=36_500.0, faults).map(|days| Duration::from_secs_f64(days * 86_400.0)),
        };
        table.finish(&["upload"], &mut self.unknown);
        archive
    }

    fn legs(&mut self, root: &mut Table<'_, '_>, faults: &mut Faults<'_>) -> Vec<Leg> {
        let mut legs: Vec<Leg> = Vec::new();
        let mut places: Vec<OriginPlace> = Vec::new();
        for table in &mut root.tables("leg", "leg", faults) {
            let name = name(table, faults);
            if legs.iter().any(|leg| leg.name == name) {
                let line = table.line_of("name", faults);
                faults.add(line, format!("[[leg]]: there are two legs called \"{name}\"; give each a name of its own"));
            }
            let enabled = table.boolean("enabled", true, faults);
            let backlog = duration(table, "backlog", 5000, 500..=10_000, faults);
            let origins = self.origins(table, &name, &mut places, faults);
            table.finish(LATER_LEG, &mut self.unknown);
            legs.push(Leg { name, enabled, origins, backlog });
        }
        legs
    }

    fn origins(
        &mut self,
        leg: &mut Table<'_, '_>,
        leg_name: &str,
        places: &mut Vec<OriginPlace>,
        faults: &mut Faults<'_>,
    ) -> Vec<Origin> {
        let mut tables = leg.tables("origin", "leg.origin", faults);
        if tables.is_empty() {
            faults.add(leg.line, format!("[[leg]]: leg \"{leg_name}\" has no origin; add [[leg.origin]] with its url"));
        }
        let mut origins = Vec::new();
        for table in &mut tables {
            if let Some(origin) = self.origin(table, faults) {
                let target = format!("{}/{}", origin.url, origin.key.expose());
                let same = places.iter().find(|place| place.target == target && place.leg != leg_name);
                if let Some(OriginPlace { line, leg, .. }) = same {
                    let text = format!(
                        "[[leg.origin]]: leg \"{leg}\" (line {line}) publishes to the same url and key; give one of them another key"
                    );
                    faults.add(table.line, text);
                }
                places.push(OriginPlace { line: table.line, leg: leg_name.into(), target });
                origins.push(origin);
            }
            table.finish(LATER_ORIGIN, &mut self.unknown);
        }
        origins
    }

    fn origin(&self, table: &mut Table<'_, '_>, faults: &mut Faults<'_>) -> Option<Origin> {
        let key = self.key(table, faults);
        let Some(text) = table.text("url", faults) else {
            if !table.has("url") {
                faults.add(table.line, "[[leg.origin]]: `url` is missing; write rtmp://HOST/APP");
            }
            return None;
        };
        let key_apart = table.has("stream_key") || table.has("stream_key_file");
        match url::split(&text, key_apart) {
            Ok((url, key_in_url)) => Some(Origin { url, key: key.or(key_in_url)? }),
            Err(fault) => {
                faults.add(table.line_of("url", faults), format!("[[leg.origin]]: {fault}"));
                None
            }
        }
    }

    /// The key that stands apart from the URL, in the file or in one of its own.
    fn key(&self, table: &mut Table<'_, '_>, faults: &mut Faults<'_>) -> Option<Secret> {
        let inline = table.text("stream_key", faults);
        let path = table.path("stream_key_file", self.surroundings.base, faults);
        let line = table.line_of("stream_key", faults);
        if inline.is_some() && path.is_some() {
            faults.add(line, "[[leg.origin]]: give either `stream_key` or `stream_key_file`, not both");
        }
        let key = match (inline, path) {
            (Some(key), _) => key,
            (None, Some(path)) => match (self.surroundings.read)(&path) {
                Ok(key) => key.trim().to_string(),
                Err(error) => {
                    let line = table.line_of("stream_key_file", faults);
                    faults.add(line, format!("[[leg.origin]]: the key file {} cannot be read: {error}", path.display()));
                    return None;
                }
            },
            (None, None) => return None,
        };
        if key.is_empty() || key.contains(char::is_whitespace) {
            faults.add(line, "[[leg.origin]]: the stream key is empty or has a blank in it; copy it again");
            return None;
        }
        Some(Secret::new(key))
    }

    fn file(&mut self, table: &mut Table<'_, '_>, key: &'static str, faults: &mut Faults<'_>) -> Option<PathBuf> {
        let path = table.path(key, self.surroundings.base, faults)?;
        self.files.push(NamedFile { line: table.line_of(key, faults), path: path.clone() });
        Some(path)
    }
}

fn default_framerate() -> FrameRate {
    const { FrameRate::new(30, 1).expect("30 is a frame rate") }
}

/// A name that can be typed after a command.
fn name(table: &mut Table<'_, '_>, faults: &mut Faults<'_>) -> String {
    let name = table.text("name", faults).unwrap_or_default();
    if name.is_empty() || name.len() > 64 || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        let line = table.line_of("name", faults);
        faults.add(line, format!("{}: `name` must be a short text without blanks", table.name));
    }
    name
}

fn even(table: &mut Table<'_, '_>, key: &'static str, default: u32, highest: u32, faults: &mut Faults<'_>) -> u32 {
    let number = table.number(key, 64.0..=f64::from(highest), faults).unwrap_or(f64::from(default));
    if number % 2.0 != 0.0 {
        let line = table.line_of(key, faults);
        faults.add(line, format!("{}: `{key}` must be an even whole number of pixels, not {number}", table.name));
    }
    number as u32
}

fn seconds(
    table: &mut Table<'_, '_>,
    key: &'static str,
    default: f64,
    range: std::ops::RangeInclusive<f64>,
    faults: &mut Faults<'_>,
) -> Duration {
    Duration::from_secs_f64(table.number(key, range, faults).unwrap_or(default))
}

fn duration(
    table: &mut Table<'_, '_>,
    key: &'static str,
    default_ms: u64,
    range_ms: std::ops::RangeInclusive<u64>,
    faults: &mut Faults<'_>,
) -> Duration {
    let default = Duration::from_millis(default_ms);
    let duration = table.quantity_with(key, parse_duration, faults).unwrap_or(default);
    if !range_ms.contains(&(duration.as_millis() as u64)) {
        let (low, high) = range_ms.into_inner();
        let line = table.line_of(key, faults);
        faults.add(line, format!("{}: `{key}` must lie between {low}ms and {high}ms", table.name));
    }
    duration
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Parsed, Vec<Fault>> {
        let missing = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
        parse(text, &Surroundings { base: Path::new("/base"), read: &missing })
    }

    fn faults(text: &str) -> Vec<String> {
        read(text).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    const SMALL: &str = "version = 1\n[[input]]\nname = \"t\"\nkind = \"test\"\n";

    #[test]
    fn the_example_and_the_factory_file_are_good() {
        for text in [include_str!("../../docs/onaird.example.toml"), include_str!("../../docs/factory.toml")] {
            let good = |_: &Path| Ok("key".to_string());
            let parsed = parse(text, &Surroundings { base: Path::new("/"), read: &good });
            assert!(parsed.is_ok_and(|parsed| parsed.warnings.is_empty()));
        }
    }

    #[test]
    fn defaults_are_as_documented() {
        let config = read(SMALL).ok().unwrap().config;
        assert_eq!((config.program.width, config.program.height), (1280, 720));
        assert_eq!(config.program.input, "t");
        assert_eq!(config.program.latency, Duration::from_millis(200));
        assert!(config.archive.enabled && config.legs.is_empty());
    }

    #[test]
    fn all_faults_come_at_once_each_with_its_line() {
        let text = "version = 1\n[program]\nwidht = 640\nheight = 361\nvideo_bitrate = \"6Q\"\nkeyframe_interval = \"x\"\n\
                    [[input]]\nname = \"a\"\nkind = \"tets\"\n[[input]]\nname = \"a\"\nkind = \"test\"\n\
                    [[leg]]\nname = \"one\"\n[panel]\ndisplay = \"none\"\n";
        let lines: Vec<_> = faults(text).iter().map(|fault| fault.split(':').next().unwrap().parse::<usize>().unwrap()).collect();
        assert_eq!(lines, [3, 4, 5, 6, 9, 11, 13, 15], "{:#?}", faults(text));
        assert!(faults(text)[0].contains("did you mean `width`?"));
        assert!(faults(text)[7].contains("not supported by this version yet"));
    }

    #[test]
    fn two_legs_never_publish_to_the_same_place() {
        let leg = |name: &str, key: &str| format!("[[leg]]\nname = \"{name}\"\n[[leg.origin]]\nurl = \"rtmp://h/live/{key}\"\n");
        assert!(read(&format!("{SMALL}{}{}", leg("a", "x"), leg("b", "y"))).is_ok());
        let text = format!("{SMALL}{}{}", leg("a", "sesame"), leg("b", "sesame"));
        assert!(faults(&text)[0].contains("same url and key") && !faults(&text)[0].contains("sesame"));
    }

    #[test]
    fn a_newer_file_is_read_with_warnings() {
        let text = SMALL.replace("version = 1", "version = 2\nnovelty = 3");
        assert_eq!(read(&text).ok().unwrap().warnings[0].line, 2);
        assert!(faults(&SMALL.replace("version = 1\n", ""))[0].starts_with("1: the file must begin with"));
    }

    #[test]
    fn a_missing_key_file_is_named() {
        let text = format!("{SMALL}[[leg]]\nname = \"a\"\n[[leg.origin]]\nurl = \"rtmp://h/live\"\nstream_key_file = \"key\"\n");
        assert!(faults(&text)[0].contains("/base/key"), "{:?}", faults(&text));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,400}") {
            let _ = read(&text);
        }

        #[test]
        fn a_damaged_file_is_answered_and_keys_are_never_repeated(at in 0usize..2000, with in "[\\[\\]=\"'\\n a-z0-9]{0,3}") {
            let example = include_str!("../../docs/onaird.example.toml").replace("REPLACE-ME", "sesame42");
            let at = (0..=at.min(example.len())).rev().find(|at| example.is_char_boundary(*at)).unwrap();
            let text = format!("{}{with}{}", &example[..at], &example[at..]);
            for fault in faults(&text) {
                prop_assert!(!fault.contains("sesame42"), "{}", fault);
            }
        }
    }
}
