//! Which file the configuration comes from, and what happens to a bad one.
//!
//! A bad file never stops the box: the user's file, else the last good copy of it, else the factory's file is used, and every
//! fault on the way is reported. Nothing is repaired and the user's file is never written. The last good copy holds stream
//! keys as the original does, so only its owner may read it; what the original only refers to is not copied.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::parse::{Files, Parsed, parse_with};
use super::{Config, Fault};

/// Where the user's file is unless the command line says otherwise.
pub const USER: &str = "/etc/onaird/onaird.toml";
/// Where the last good copy is kept.
pub const LAST_GOOD: &str = "/var/lib/onaird/last-good.toml";
/// What the box is delivered with.
pub const FACTORY: &str = "/usr/share/onaird/factory.toml";

/// A larger file is no configuration, and `/dev/zero` has no end.
const MAX_CONFIG: u64 = 1 << 20;
/// A system's whole list of authorities is a quarter of this.
const MAX_OTHER_FILE: u64 = 1 << 20;

/// The files to try, in this order.
#[derive(Clone, Debug)]
pub struct Places {
    pub user: PathBuf,
    /// `None`: no copy is kept, and none is used.
    pub last_good: Option<PathBuf>,
    pub factory: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { user: USER.into(), last_good: Some(LAST_GOOD.into()), factory: FACTORY.into() }
    }
}

/// Which of the [`Places`] a configuration is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    User,
    LastGood,
    Factory,
}

/// The configuration to run with.
pub struct Loaded {
    pub config: Config,
    pub source: Source,
    /// What a person should be told, as `FILE:LINE: text` or `FILE: text`; empty if the user's file is all right.
    pub reports: Vec<String>,
}

/// One file that can be used.
pub struct Checked {
    pub config: Config,
    /// What can be lived with, as `FILE:LINE: text`.
    pub warnings: Vec<String>,
}

/// The configuration by the boot rule; the reports alone if no place has one that can be used.
pub fn load(places: &Places) -> Result<Loaded, Vec<String>> {
    let mut reports = Vec::new();
    for (source, path) in places.in_order() {
        // The copy stands elsewhere, but its relative paths mean what they meant in the user's file.
        let written_at = if source == Source::LastGood { &places.user } else { path };
        match read(path, &folder_of(written_at)) {
            Ok((text, parsed)) => {
                reports.extend(lines(path, parsed.warnings));
                reports.extend(after_choice(places, source, path, &text));
                return Ok(Loaded { config: parsed.config, source, reports });
            }
            // Before the first good file there is no copy: nothing to report.
            Err(_) if source == Source::LastGood && !path.exists() => {}
            Err(faults) => reports.extend(faults),
        }
    }
    Err(reports)
}

/// All that is wrong with one file, as `FILE:LINE: text`; what it says if it can be used.
pub fn check(path: &Path) -> Result<Checked, Vec<String>> {
    let (_, Parsed { config, warnings }) = read(path, &folder_of(path))?;
    Ok(Checked { config, warnings: lines(path, warnings).collect() })
}

impl Places {
    fn in_order(&self) -> impl Iterator<Item = (Source, &Path)> {
        let last_good = self.last_good.iter().map(|path| (Source::LastGood, path.as_path()));
        [(Source::User, self.user.as_path())].into_iter().chain(last_good).chain([(Source::Factory, self.factory.as_path())])
    }
}

/// Keeps a copy of a good user file; of another one, says that it is in use.
fn after_choice(places: &Places, source: Source, path: &Path, text: &str) -> Option<String> {
    let copy = match (source, &places.last_good) {
        (Source::User, None) => return None,
        (Source::User, Some(copy)) => copy,
        (Source::LastGood, _) => return Some(format!("{}: used instead, the last good configuration", path.display())),
        (Source::Factory, _) => return Some(format!("{}: used instead, the factory's configuration", path.display())),
    };
    let error = keep(copy, text).err()?;
    Some(format!("{}: no last good copy could be kept ({error}); make its folder writable", copy.display()))
}

fn read(path: &Path, folder: &Path) -> Result<(String, Parsed), Vec<String>> {
    let text = File::open(path).and_then(|file| read_limited(file, MAX_CONFIG));
    let text = text.map_err(|error| vec![unreadable(path, &error)])?;
    let text = String::from_utf8(text).map_err(|error| vec![not_utf8(path, &error)])?;
    match parse_with(&text, folder, &Disk) {
        Ok(parsed) => Ok((text, parsed)),
        Err(faults) => Err(lines(path, faults).collect()),
    }
}

fn lines(path: &Path, faults: Vec<Fault>) -> impl Iterator<Item = String> {
    faults.into_iter().map(move |fault| format!("{}:{fault}", path.display()))
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "put a configuration there, or name one with --config",
        io::ErrorKind::PermissionDenied => "let the daemon's user read it",
        _ => "put a readable configuration there, or name one with --config",
    };
    format!("{}: cannot be read ({error}); {remedy}", path.display())
}

fn not_utf8(path: &Path, error: &std::string::FromUtf8Error) -> String {
    let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
    let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
    format!("{}:{line}: not UTF-8 text; save the file in that encoding", path.display())
}

/// Absolute, since media files are opened by URIs later.
fn folder_of(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    path.parent().map(Path::to_path_buf).unwrap_or_default()
}

fn read_limited(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(io::Error::other(format!("larger than {} KiB", limit >> 10))),
        false => Ok(bytes),
    }
}

/// Writes the copy so that a power cut leaves the old one or the new one; an unchanged one is left alone, to spare the flash.
fn keep(copy: &Path, text: &str) -> io::Result<()> {
    if fs::read(copy).is_ok_and(|kept| kept == text.as_bytes()) {
        return Ok(());
    }
    let mut draft = copy.as_os_str().to_owned();
    draft.push(".tmp");
    // A draft that a power cut left behind would keep its owner and mode.
    fs::remove_file(&draft).or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, copy)?;
    let folder = folder_of(copy);
    File::open(folder)?.sync_all()
}

/// The real files. Only regular ones are opened: a pipe would block until somebody writes into it.
struct Disk;

impl Files for Disk {
    fn text(&self, path: &Path) -> Result<String, String> {
        let bytes = open_regular(path).and_then(|file| read_limited(file, MAX_OTHER_FILE)).map_err(|error| error.to_string())?;
        String::from_utf8(bytes).map_err(|_| "not UTF-8 text".into())
    }

    fn readable(&self, path: &Path) -> Result<(), String> {
        open_regular(path).map(drop).map_err(|error| error.to_string())
    }
}

fn open_regular(path: &Path) -> io::Result<File> {
    match fs::metadata(path)?.is_file() {
        true => File::open(path),
        false => Err(io::Error::other("not a regular file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factory_file_is_good() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/factory.toml");
        assert!(check(&path).is_ok_and(|checked| checked.warnings.is_empty()));
    }
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    const GOOD: &str = "version = 1\n[[input]]\nkind = \"test\"\n";
    const BAD: &str = "version = 1\n[[input]]\nkind = \"tset\"\n";

    struct Scene {
        folder: TempDir,
        places: Places,
    }

    /// The places of a box with the given texts in its files.
    fn scene(user: Option<&str>, last_good: Option<&str>, factory: Option<&str>) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str, text: Option<&str>| {
            let path = folder.path().join(name);
            if let Some(text) = text {
                fs::write(&path, text).unwrap();
            }
            path
        };
        let places = Places {
            user: place("user.toml", user),
            last_good: Some(place("last-good.toml", last_good)),
            factory: place("factory.toml", factory),
        };
        Scene { folder, places }
    }

    fn named(name: &str) -> String {
        format!("version = 1\n[device]\nname = \"{name}\"\n[[input]]\nkind = \"test\"\n")
    }

    /// The device name that tells where the configuration is from, the source, and the reports without the folder.
    fn outcome(scene: &Scene) -> Result<(String, Source, Vec<String>), Vec<String>> {
        let folder = format!("{}/", scene.folder.path().display());
        let bare = |reports: Vec<String>| reports.iter().map(|report| report.replace(&folder, "")).collect::<Vec<_>>();
        load(&scene.places).map(|loaded| (loaded.config.device.name, loaded.source, bare(loaded.reports))).map_err(bare)
    }

    #[test]
    fn a_good_user_file_is_used_and_copied() {
        let scene = scene(Some(&named("user")), None, Some(&named("factory")));
        assert_eq!(outcome(&scene), Ok(("user".into(), Source::User, vec![])));
        let copy = scene.places.last_good.as_ref().unwrap();
        assert_eq!(fs::read_to_string(copy).unwrap(), named("user"));
        assert_eq!(fs::metadata(copy).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!scene.folder.path().join("last-good.toml.tmp").exists());
    }

    #[test]
    fn a_newer_good_file_replaces_the_copy_and_a_draft_left_behind() {
        let scene = scene(Some(&named("new")), Some(&named("old")), None);
        fs::write(scene.folder.path().join("last-good.toml.tmp"), "half a dra").unwrap();
        assert_eq!(outcome(&scene), Ok(("new".into(), Source::User, vec![])));
        assert_eq!(fs::read_to_string(scene.places.last_good.as_ref().unwrap()).unwrap(), named("new"));
    }

    #[test]
    fn a_bad_user_file_is_reported_and_the_last_good_copy_used() {
        let scene = scene(Some(BAD), Some(&named("copy")), Some(&named("factory")));
        let reports = vec![
            "user.toml:3: `kind`: want \"v4l2\" or \"file\" or \"test\", got \"tset\"".to_owned(),
            "last-good.toml: used instead, the last good configuration".to_owned(),
        ];
        assert_eq!(outcome(&scene), Ok(("copy".into(), Source::LastGood, reports)));
        assert_eq!(fs::read_to_string(scene.places.last_good.as_ref().unwrap()).unwrap(), named("copy"));
    }

    #[test]
    fn without_user_file_and_copy_the_factory_file_is_used() {
        let reports = vec![
            "user.toml: cannot be read (No such file or directory (os error 2)); put a configuration there, or name one with --config"
                .to_owned(),
            "factory.toml: used instead, the factory's configuration".to_owned(),
        ];
        let scene = scene(None, None, Some(&named("factory")));
        assert_eq!(outcome(&scene), Ok(("factory".into(), Source::Factory, reports)));
    }

    #[test]
    fn with_nothing_usable_every_place_is_told() {
        let reports = outcome(&scene(Some(BAD), Some("version = 0\n"), None)).unwrap_err();
        let starts = ["user.toml:3: ", "last-good.toml:1: ", "last-good.toml:1: ", "factory.toml: cannot be read"];
        assert_eq!(reports.len(), starts.len(), "{reports:?}");
        for (report, start) in reports.iter().zip(starts) {
            assert!(report.starts_with(start), "{report}");
        }
    }

    #[test]
    fn a_copy_that_cannot_be_kept_is_reported_and_no_hindrance() {
        let mut scene = scene(Some(&named("user")), None, None);
        scene.places.last_good = Some(scene.folder.path().join("absent/last-good.toml"));
        let (name, source, reports) = outcome(&scene).unwrap();
        assert_eq!((name.as_str(), source), ("user", Source::User));
        assert!(reports.len() == 1 && reports[0].contains("no last good copy could be kept"), "{reports:?}");
        scene.places.last_good = None;
        assert_eq!(outcome(&scene).unwrap().2, Vec::<String>::new());
    }

    #[test]
    fn relative_paths_start_at_the_users_folder_also_in_the_copy() {
        let text = "version = 1\n[[input]]\nkind = \"file\"\npaths = [\"clip.mp4\"]\n[[leg]]\n[[leg.origin]]\nurl = \"rtmp://h/live\"\nstream_key_file = \"key\"\n";
        let scene = scene(Some(BAD), None, None);
        let state = tempfile::tempdir().unwrap();
        let places = Places { last_good: Some(state.path().join("copy.toml")), ..scene.places.clone() };
        fs::write(state.path().join("copy.toml"), text).unwrap();
        fs::write(scene.folder.path().join("key"), "live_1\n").unwrap();
        let loaded = load(&places).ok().unwrap();
        assert_eq!(loaded.config.legs[0].origins[0].key.expose(), "live_1");
        let clip = scene.folder.path().join("clip.mp4");
        assert!(
            loaded.reports[1].contains(&format!("copy.toml:4: `paths`: {} cannot be read", clip.display())),
            "{:?}",
            loaded.reports
        );
    }

    #[test]
    fn files_that_are_missing_are_warnings_but_a_missing_key_is_a_fault() {
        let scene = scene(Some("version = 1\n[program]\nslate = \"no.png\"\n[[input]]\nkind = \"test\"\n"), None, None);
        let checked = check(&scene.places.user).ok().unwrap();
        assert!(checked.warnings.len() == 1 && checked.warnings[0].contains("user.toml:3: `slate`"), "{:?}", checked.warnings);
        fs::write(
            &scene.places.user,
            format!("{GOOD}[[leg]]\norigin = [{{ url = \"rtmp://h/a\", stream_key_file = \"no\" }}]\n"),
        )
        .unwrap();
        let faults = check(&scene.places.user).err().unwrap();
        assert!(faults.len() == 1 && faults[0].contains("user.toml:5: `stream_key_file`"), "{faults:?}");
    }

    #[test]
    fn what_is_no_text_or_has_no_end_is_refused() {
        let scene = scene(None, None, None);
        fs::write(&scene.places.user, b"version = 1\nname = \"\xff\"\n").unwrap();
        assert!(check(&scene.places.user).err().unwrap()[0].contains("user.toml:2: not UTF-8"));
        assert!(check(Path::new("/dev/zero")).err().unwrap()[0].contains("larger than 1024 KiB"));
        assert!(check(scene.folder.path()).err().unwrap()[0].contains("cannot be read"));
        assert_eq!(Disk.text(Path::new("/dev/zero")), Err("not a regular file".into()));
    }
}
