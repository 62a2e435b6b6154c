//! Reads the sources and keeps the house's plan true: imports point down, rooms do not know each other, every file says why
//! it exists.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms: none may import another.
const ROOMS: &[&str] = &["capture", "program", "publish", "archive", "console"];

/// Modules and their layers; a module below a listed one belongs to the listed one's layer unless listed itself.
const LAYERS: &[(&str, u8)] = &[
    ("main", 4),
    ("commands", 4),
    ("app", 4),
    ("demo", 4),
    ("capture", 3),
    ("program", 3),
    ("publish", 3),
    ("archive", 3),
    ("console", 3),
    ("conductor", 3),
    ("notify", 3),
    ("media::hub", 2),
    ("media::raw", 2),
    ("media::meter", 2),
    ("media::canvas", 2),
    ("media::dmabuf", 2),
    ("report", 2),
    ("tasks", 2),
    ("clock", 2),
    ("identity", 2),
    ("config::store", 2),
    ("backoff", 1),
    ("media::interleave", 1),
    ("media::flv", 1),
    ("media::stamp", 1),
    ("config::parse", 1),
    ("config::fault", 1),
    ("config::legs", 1),
    ("config::upload", 1),
    ("config::reader", 1),
    ("config::url", 1),
    ("config::values", 1),
    ("units", 0),
    ("secret", 0),
    ("status", 0),
    ("control", 0),
    ("config", 1),
    ("media::packet", 0),
    ("recorded", 0),
    ("media", 0),
    ("lib", 5),
];

fn sources() -> Vec<(String, PathBuf)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    let name = |path: &PathBuf| {
        let module = path.strip_prefix(&root).unwrap().with_extension("");
        let parts: Vec<_> = module.iter().map(|part| part.to_string_lossy().into_owned()).filter(|part| part != "mod").collect();
        (parts.join("::"), path.clone())
    };
    found.iter().map(name).collect()
}

/// The source without its unit tests, which may reach for what they like.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]").next().unwrap_or_default().to_string()
}

/// Everything that a source names of its own crate, as module paths.
fn imports(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in source.lines().filter(|line| !line.trim_start().starts_with("//")) {
        let mut rest = line;
        while let Some(place) = rest.find("crate::") {
            rest = &rest[place + "crate::".len()..];
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
            let path = rest[..end].trim_end_matches(':');
            match rest[end..].strip_prefix('{') {
                Some(list) if rest[..end].is_empty() || rest[..end].ends_with("::") => {
                    let names = list.split('}').next().unwrap_or_default().split(',').map(str::trim);
                    found.extend(names.filter(|name| !name.is_empty()).map(|name| format!("{path}::{name}")));
                }
                _ => found.push(path.to_string()),
            }
        }
    }
    found.into_iter().map(|path| path.trim_start_matches(':').to_string()).collect()
}

fn layer(module: &str) -> Option<u8> {
    let fits = |name: &str| module == name || module.starts_with(&format!("{name}::"));
    LAYERS.iter().filter(|(name, _)| fits(name)).max_by_key(|(name, _)| name.len()).map(|(_, layer)| *layer)
}

fn room(module: &str) -> Option<&'static str> {
    ROOMS.iter().copied().find(|room| module.split("::").next() == Some(room))
}

#[test]
fn imports_point_down() {
    let mut faults = Vec::new();
    for (module, path) in sources() {
        let Some(own) = layer(&module) else {
            faults.push(format!("{module} has no place in the table of layers"));
            continue;
        };
        for import in imports(&code(&path)) {
            let Some(other) = layer(&import) else {
                faults.push(format!("{module} imports {import}, which has no place in the table of layers"));
                continue;
            };
            let same_module = import.split("::").next() == module.split("::").next();
            if other > own && !same_module {
                faults.push(format!("{module} (layer {own}) imports {import} (layer {other})"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn rooms_do_not_know_each_other() {
    for (module, path) in sources() {
        let Some(own) = room(&module) else { continue };
        for import in imports(&code(&path)) {
            let other = room(&import);
            assert!(other.is_none() || other == Some(own), "{module} imports {import}");
        }
    }
}

/// Rules: no runtime, no clock, no file, no socket.
#[test]
fn rules_are_pure() {
    const RULES: &[&str] = &[
        "backoff",
        "units",
        "media::interleave",
        "media::flv",
        "media::stamp",
        "media::meter",
        "config::parse",
        "config::reader",
        "config::legs",
        "config::upload",
        "config::url",
        "config::values",
        "program::sync",
        "program::fade",
        "program::blend",
        "program::encoder",
        "program::vigil",
        "conductor::alarms",
        "capture::native",
        "capture::video::lock",
        "capture::video::format",
        "capture::analogue",
        "capture::edid",
        "capture::find",
        "capture::find::claims",
        "capture::playlist",
        "capture::recipe",
        "capture::recipe::choice",
        "capture::recipe::pixels",
        "capture::testcard",
        "capture::watch",
        "capture::sound::drift",
        "capture::sound::resample",
        "capture::sound::chain",
        "console::command",
        "publish::session",
        "publish::speech",
        "publish::event",
        "publish::refusal",
        "publish::redirect",
        "publish::auth",
        "publish::acks",
        "publish::outbox",
        "publish::failover",
        "publish::circuit",
        "publish::backlog",
        "publish::preflight",
        "publish::hls",
        "publish::player",
        "publish::verify",
        "publish::filler",
        "publish::chunk_reader",
        "publish::chunk_writer",
        "publish::amf0",
        "publish::command",
        "publish::health",
        "publish::detect",
        "publish::resume",
        "publish::pace",
        "publish::preference",
        "publish::address",
        "publish::wire_clock",
        "publish::rate",
        "publish::rate::path",
        "publish::wire",
        "conductor::agreement",
        "conductor::selection",
        "conductor::yielding",
        "archive::segment",
        "archive::fmp4",
        "archive::retention",
        "archive::recover",
        "archive::upload::object",
        "archive::upload::pace",
        "archive::upload::plan",
        "archive::upload::trouble",
        "archive::entry",
        "archive::epoch",
        "archive::origin",
        "archive::structure",
        "archive::catalogue::stock",
        "archive::writer::pause",
        "recorded",
        "recorded::name",
        "recorded::when",
        "archive::manifest",
        "archive::notice",
        "archive::shelf::list",
        "archive::shelf::place",
        "archive::shelf::progress",
    ];
    const SHELL: &[&str] = &[
        "tokio::",
        "std::fs",
        "std::net::Tcp",
        "std::net::Udp",
        "ToSocketAddrs",
        "std::time::Instant",
        "SystemTime",
        "std::thread",
        "MediaClock",
        "std::env",
    ];
    let sources: BTreeMap<_, _> = sources().into_iter().collect();
    for rule in RULES {
        let path = sources.get(*rule).unwrap_or_else(|| panic!("{rule} is listed as a rule and does not exist"));
        for (number, line) in code(path).lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            let shell = SHELL.iter().find(|shell| line.contains(**shell));
            assert!(shell.is_none(), "{rule}, line {}: a rule that uses {}", number + 1, shell.unwrap());
        }
    }
}

#[test]
fn every_file_says_why_it_exists() {
    for (module, path) in sources() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{module} does not begin with its reason");
    }
}

/// The map in the crate's documentation names every module at the top.
#[test]
fn the_map_is_complete() {
    let map = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let modules = map.lines().filter_map(|line| line.strip_prefix("pub mod ")).map(|name| name.trim_end_matches(';'));
    for module in modules.filter(|module| *module != "media") {
        let named = map.contains(&format!("[`{module}`]"));
        assert!(named, "{module} is not in the map of src/lib.rs");
    }
}
