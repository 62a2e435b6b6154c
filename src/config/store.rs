//! Which configuration is used: the user's, else the last one of theirs that was good, else the factory's.
//!
//! A bad user file never stops the box: it is reported, and what worked before is used. Only if nothing at all can be read
//! does the daemon refuse to start.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::config::parse::{Parsed, Surroundings, parse};

/// Where configurations are looked for, in this order.
#[derive(Clone, Debug)]
pub struct Places {
    pub user: PathBuf,
    /// The daemon's own copy of the user's last good file; `None` where it has no state folder.
    pub last_good: Option<PathBuf>,
    pub factory: PathBuf,
}

#[derive(Clone)]
pub struct Loaded {
    pub config: Config,
    /// What a person should know: faults of a file that is not used, files that are missing.
    pub remarks: Vec<String>,
}

/// Everything that is wrong with a file, as "FILE:LINE: text"; missing media files included.
pub fn check(path: &Path) -> Vec<String> {
    match read(path, path) {
        Ok(parsed) => remarks(path, &parsed),
        Err(faults) => faults,
    }
}

/// The configuration to run with, or all that is wrong with every candidate.
pub fn load(places: &Places) -> Result<Loaded, Vec<String>> {
    let mut faults = match read(&places.user, &places.user) {
        Ok(parsed) => {
            let mut remarks = remarks(&places.user, &parsed);
            remarks.extend(keep(places).err());
            return Ok(Loaded { config: parsed.config, remarks });
        }
        Err(faults) => faults,
    };
    let candidates = places.last_good.iter().chain([&places.factory]);
    for path in candidates.filter(|path| path.exists()) {
        // Relative paths mean what they meant in the user's file.
        match read(path, &places.user) {
            Ok(parsed) => {
                faults.push(format!("{} cannot be used; {} is used instead", places.user.display(), path.display()));
                return Ok(Loaded { config: parsed.config, remarks: faults });
            }
            Err(more) => faults.extend(more),
        }
    }
    Err(faults)
}

/// Reads `path`; relative paths in it are relative to the folder of `home`.
fn read(path: &Path, home: &Path) -> Result<Parsed, Vec<String>> {
    let text = fs::read_to_string(path).map_err(|error| vec![unreadable(path, &error)])?;
    let home = std::path::absolute(home).map_err(|error| vec![unreadable(home, &error)])?;
    let base = home.parent().unwrap_or(Path::new("/"));
    let surroundings = Surroundings { base, read: &|path| fs::read_to_string(path) };
    let named = |faults: Vec<crate::config::Fault>| faults.iter().map(|fault| format!("{}:{fault}", path.display())).collect();
    parse(&text, &surroundings).map_err(named)
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "create it, or name another with --config",
        io::ErrorKind::PermissionDenied => "let the user onaird read it",
        _ => "check the file and its disk",
    };
    format!("{}: cannot be read: {error}; {remedy}", path.display())
}

fn remarks(path: &Path, parsed: &Parsed) -> Vec<String> {
    let warnings = parsed.warnings.iter().map(|fault| format!("{}:{fault}", path.display()));
    let missing = parsed.files.iter().filter(|file| !file.path.exists());
    let missing = missing.map(|file| {
        format!(
            "{}:{}: the file {} is not there; put it there, or correct the path",
            path.display(),
            file.line,
            file.path.display()
        )
    });
    warnings.chain(missing).collect()
}

/// Keeps a copy of the user's file, so that it is whole or not there: written beside, synced, renamed.
fn keep(places: &Places) -> Result<(), String> {
    let Some(copy) = &places.last_good else { return Ok(()) };
    let fault = |error: io::Error| format!("{}: the last good configuration cannot be kept: {error}", copy.display());
    let text = fs::read(&places.user).map_err(fault)?;
    if fs::read(copy).is_ok_and(|kept| kept == text) {
        return Ok(());
    }
    write_whole(copy, &text).map_err(fault)
}

fn write_whole(path: &Path, text: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let beside = path.with_extension("toml.new");
    // Keys may stand in it.
    let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "version = 1\n[device]\nname = \"mine\"\n[[input]]\nname = \"t\"\nkind = \"test\"\n";

    struct Folder {
        folder: tempfile::TempDir,
        places: Places,
    }

    fn folder() -> Folder {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let places = Places { user: at("user.toml"), last_good: Some(at("last-good.toml")), factory: at("factory.toml") };
        Folder { folder, places }
    }

    #[test]
    fn a_bad_file_gives_way_to_the_last_good_one_and_is_reported() {
        let Folder { folder: _folder, places } = folder();
        fs::write(&places.user, GOOD).unwrap();
        assert!(load(&places).is_ok_and(|loaded| loaded.remarks.is_empty()));
        fs::write(&places.user, "version = 1\nnonsense = true\n").unwrap();
        let loaded = load(&places).ok().unwrap();
        assert_eq!(loaded.config.device.name, "mine");
        assert!(loaded.remarks.iter().any(|remark| remark.contains("user.toml:2: ") && remark.contains("nonsense")));
        assert!(loaded.remarks.last().unwrap().contains("last-good.toml is used instead"));
    }

    #[test]
    fn then_the_factory_one_then_nothing() {
        let Folder { folder: _folder, places } = folder();
        assert!(load(&places).is_err_and(|faults| faults[0].contains("create it")));
        fs::write(&places.factory, GOOD).unwrap();
        assert!(load(&places).is_ok_and(|loaded| loaded.config.device.name == "mine"));
    }

    #[test]
    fn missing_files_are_found_by_the_check_and_do_not_keep_the_box_from_running() {
        let Folder { folder: _folder, places } = folder();
        let text = format!("{GOOD}[[input]]\nname = \"f\"\nkind = \"file\"\npaths = [\"a.mp4\"]\n[program]\nslate = \"s.png\"\n");
        fs::write(&places.user, text).unwrap();
        assert_eq!(check(&places.user).len(), 2, "{:?}", check(&places.user));
        assert!(load(&places).is_ok_and(|loaded| loaded.remarks.len() == 2));
    }
}
