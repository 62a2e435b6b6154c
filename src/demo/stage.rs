//! What the demo sets up and takes away again: a folder, two origins, a configuration, and the daemon as a process of its own.
//!
//! ```text
//!  leg a ──▶ origin 1, key a        spare: origin 2, key a-spare
//!  leg b ──▶ origin 2, key b        spare: origin 1, key b-spare
//! ```
//!
//! Everything lies in one folder that is removed at the end; only the recordings stand in a folder of their own that stays.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::Input;
use super::child::{self, Child, Ended};
use super::device;
use super::origin::{Origin, Wishes};
use super::view::{self, OriginView, Play};

/// How long a killed origin stays dead: long enough to see both legs at the other one.
const DEAD: Duration = Duration::from_secs(20);

/// What the daemon promises.
pub const STOP_LIMIT: Duration = Duration::from_secs(3);

/// After this, in the words of the people who wait for it.
const STOP_PATIENCE: Duration = Duration::from_millis(2900);

/// Lines of the daemon's log that are shown if something went wrong.
const LOG_TAIL: usize = 25;

/// A new folder below the system's temporary one, removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> io::Result<Self> {
        let base = std::env::temp_dir();
        // A Unix socket's path must fit in 108 bytes.
        let base = if base.as_os_str().len() > 60 { PathBuf::from("/tmp") } else { base };
        let path = base.join(format!("onaird-demo.{:08x}", fastrand::u32(..)));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An origin with the time of its death.
struct Place {
    name: &'static str,
    origin: Origin,
    died: Option<Instant>,
}

/// In the order of their end: the daemon first, the folder last.
pub struct Stage {
    daemon: Child,
    places: [Place; 2],
    recordings: PathBuf,
    scratch: Scratch,
}

impl Stage {
    pub fn set(input: Input) -> anyhow::Result<Self> {
        let scratch = Scratch::new().context("making a temporary folder")?;
        let place = |name: &'static str, folder: &str| -> anyhow::Result<Place> {
            let wishes = Wishes { hls: true, record: false };
            let origin = Origin::start(&scratch.path().join(folder), wishes).with_context(|| format!("starting {name}"))?;
            Ok(Place { name, origin, died: None })
        };
        let places = [place("origin 1", "origin-1")?, place("origin 2", "origin-2")?];
        let recordings = recordings_folder()?;
        let daemon = config(input, &places, &recordings).and_then(|config| start_daemon(scratch.path(), &config));
        let daemon = daemon.inspect_err(|_| drop(fs::remove_dir(&recordings)))?;
        Ok(Self { daemon, places, recordings, scratch })
    }

    pub fn socket(&self) -> PathBuf {
        self.scratch.path().join("control.sock")
    }

    pub fn recordings(&self) -> &Path {
        &self.recordings
    }

    /// The two URLs that must be playable, and the same as HLS.
    pub fn urls(&self) -> [String; 4] {
        let [one, two] = &self.places;
        [one.origin.rtmp_url("a"), two.origin.rtmp_url("b"), one.origin.hls_url("a"), two.origin.hls_url("b")]
    }

    /// The daemon's last words, if it has ended by itself.
    pub fn daemon_ended(&mut self) -> Option<String> {
        let status = self.daemon.ended()?;
        Some(format!("the daemon ended by itself ({status})"))
    }

    pub fn log_tail(&self) -> Vec<String> {
        let log = fs::read_to_string(self.scratch.path().join("onaird.log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().map(String::from).collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].to_vec()
    }

    /// Notices dead origins and starts them again after a while.
    pub fn tend(&mut self) -> anyhow::Result<()> {
        for place in &mut self.places {
            if place.origin.is_running() {
                place.died = None;
            } else if place.died.get_or_insert_with(now).elapsed() > DEAD {
                place.origin.restart().with_context(|| format!("starting {} again", place.name))?;
            }
        }
        Ok(())
    }

    /// What the view needs beside the status.
    pub fn view(&self) -> view::Stage {
        let origin = |place: &Place| OriginView {
            name: place.name.into(),
            pid: place.origin.pid(),
            running: place.died.is_none(),
            back_in_s: place.died.map_or(0, |died| DEAD.saturating_sub(died.elapsed()).as_secs()),
        };
        let [one, two] = &self.places;
        let play = |leg: &str, place: &Place, key: &str| Play {
            leg: leg.into(),
            origin: place.origin.url(),
            rtmp: place.origin.rtmp_url(key),
            hls: place.origin.hls_url(key),
        };
        let plays = vec![play("a", one, "a"), play("a", two, "a-spare"), play("b", two, "b"), play("b", one, "b-spare")];
        view::Stage { origins: vec![origin(one), origin(two)], plays }
    }

    pub fn end_daemon(&mut self) -> io::Result<Ended> {
        self.daemon.end(STOP_PATIENCE)
    }

    /// Ends what runs and removes everything but the recordings; an empty folder of recordings is none.
    pub fn strike(mut self) -> Option<PathBuf> {
        for place in &mut self.places {
            place.origin.stop();
        }
        let recordings = self.recordings.clone();
        drop(self);
        fs::remove_dir(&recordings).is_err().then_some(recordings)
    }
}

fn start_daemon(folder: &Path, config: &str) -> anyhow::Result<Child> {
    let (file, state) = (folder.join("onaird.toml"), folder.join("state"));
    fs::write(&file, config).with_context(|| format!("writing {}", file.display()))?;
    fs::create_dir(&state).with_context(|| format!("making {}", state.display()))?;
    let own = std::env::current_exe().context("finding the program itself")?;
    let mut command = child::command(&own);
    command.arg("run").arg("--config").arg(&file).arg("--socket").arg(folder.join("control.sock"));
    // What a service manager would set is not ours to pass on.
    command.env("STATE_DIRECTORY", &state).env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
    Child::spawn(&mut command, &folder.join("onaird.log")).context("starting the daemon")
}

/// A folder whose name says when: it stays.
#[expect(clippy::disallowed_methods, reason = "a name for people")]
fn recordings_folder() -> anyhow::Result<PathBuf> {
    let name = jiff::Timestamp::now().strftime("onaird-demo-%Y%m%dT%H%M%SZ").to_string();
    let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
    fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

fn config(input: Input, places: &[Place; 2], recordings: &Path) -> anyhow::Result<String> {
    let [one, two] = places;
    let leg = |name: &str, first: &Place, spare: &Place| {
        format!(
            "[[leg]]\nname = \"{name}\"\n[[leg.origin]]\nurl = \"{}\"\nstream_key = \"{name}\"\n\
             [[leg.origin]]\nurl = \"{}\"\nstream_key = \"{name}-spare\"\n",
            first.origin.url(),
            spare.origin.url()
        )
    };
    let directory = recordings.to_str().context("the temporary folder's name is not text")?;
    Ok(format!(
        "version = 1\n[device]\nname = \"demo\"\n\
         [program]\nwidth = 1280\nheight = 720\nframerate = \"30\"\nvideo_bitrate = \"3M\"\nkeyframe_interval = 1\n\
         {}[archive]\ndirectory = '{directory}'\nsegment_seconds = 60\nkeep_free = \"200MB\"\n{}{}",
        input_text(input),
        leg("a", one, two),
        leg("b", two, one)
    ))
}

fn input_text(input: Input) -> String {
    let device = (input == Input::Auto).then(crate::capture::devices::first).flatten();
    match device {
        Some(path) => {
            let audio = device::sound_of(&path, Path::new("/sys")).unwrap_or_else(|| "none".into());
            format!("[[input]]\nname = \"camera\"\nkind = \"v4l2\"\ndevice = '{}'\naudio = \"{audio}\"\n", path.display())
        }
        None => "[[input]]\nname = \"test\"\nkind = \"test\"\n".into(),
    }
}

#[expect(clippy::disallowed_methods, reason = "a shell that tends processes; no media passes here")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_goes_with_its_owner() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.path().to_path_buf();
        fs::write(path.join("something"), "x").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn the_configuration_is_a_good_one() {
        let scratch = Scratch::new().unwrap();
        let place = |name: &'static str| Place {
            name,
            origin: Origin::start(&scratch.path().join(name), Wishes { hls: false, record: false }).unwrap(),
            died: None,
        };
        let text = config(Input::Test, &[place("1"), place("2")], Path::new("/tmp/recordings")).unwrap();
        let file = scratch.path().join("onaird.toml");
        fs::write(&file, text).unwrap();
        let faults = crate::config::store::check(&file).map_or_else(|faults| faults, |checked| checked.warnings);
        assert_eq!(faults, Vec::<String>::new());
    }
}
