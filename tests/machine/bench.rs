//! The host's side: two real origins, what the guest is given, and the machine itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use onaird::demo::child;
use onaird::demo::origin::Origin;

use crate::diary::Diary;
use crate::plan::{self, Plan};
use crate::support::{BINARY, recorder};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The host's loopback, as the guest sees it.
const HOST: &str = "10.0.2.2";

/// 15 pictures a second of 640x360: an emulated CPU draws, converts and encodes them.
pub const FRAME_MS: u32 = 67;

const PROGRAM: &str = "version = 1\n[device]\nname = \"bench\"\n[program]\nwidth = 640\nheight = 360\nframerate = \"15\"\n\
    video_bitrate = \"800k\"\nkeyframe_interval = 1\n";

const ONE: &str = "[[input]]\nname = \"one\"\nkind = \"v4l2\"\ndevice = \"/dev/bench/one\"\n";
const TWO: &str = "[[input]]\nname = \"two\"\nkind = \"v4l2\"\ndevice = \"/dev/bench/two\"\naudio = \"none\"\n";

/// What is recorded there is played on the other end of the card.
const SOUND: &str = "audio = \"hw:CARD=Loopback,DEV=1\"\n";

/// One machine; its folder stays if something was wrong.
pub struct Bench {
    folder: PathBuf,
    origins: [Origin; 2],
    keep: bool,
}

impl Bench {
    pub fn set() -> Self {
        let folder = folder();
        let origins = ["origin-a", "origin-b"].map(|name| recorder(&folder.join(name)));
        Self { folder, origins, keep: true }
    }

    /// Boots, runs the guest's side, and returns its diary.
    pub fn run(&self, plan: &Plan, limit_s: u64) -> Diary {
        let failover = is_accepted(&self.config("input = [\"one\", \"two\"]\n", &[ONE, TWO]), &self.folder);
        let plan = Plan { folder: "/out".into(), failover, ..plan.clone() };
        self.fill_product(&plan);
        let variable = format!("{}={}", plan::VARIABLE, serde_json::to_string(&plan).unwrap());
        let mut command = machine(&self.folder, limit_s);
        command.args(["--", "env", &variable, "onaird-bench", "--ignored", "--exact", "--nocapture", "guest::plays"]);
        let status = command.stdin(Stdio::null()).status().unwrap();
        let diary = fs::read(self.folder.join(plan::DIARY)).ok().map(|text| serde_json::from_slice(&text).unwrap());
        let mut diary: Diary = diary.unwrap_or_default();
        if !status.success() || !diary.complete {
            diary.faults.push(format!("the guest did not come to its end ({status})"));
        }
        diary
    }

    /// What each origin has recorded, once per life of the daemon.
    pub fn records(&mut self) -> [Vec<PathBuf>; 2] {
        self.origins.iter_mut().for_each(Origin::stop);
        [self.origins[0].records("bench-a"), self.origins[1].records("bench-b")]
    }

    /// What the daemon itself has recorded: its segments, without the index beside them.
    pub fn archive(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.join("archive")).into_iter().flatten();
        let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| is_segment(path)).collect();
        files.sort();
        files
    }

    /// All was well: nothing is kept.
    pub fn forget(&mut self) {
        self.keep = keeps_all();
    }

    fn fill_product(&self, plan: &Plan) {
        let product = self.folder.join("product");
        fill_product(&product);
        let own = std::env::current_exe().unwrap();
        // The guest maps it over 9p: what it does not need is left out.
        let stripped = Command::new("strip").arg("--strip-debug").arg("-o").arg(product.join("machine")).arg(&own).status();
        if !stripped.is_ok_and(|status| status.success()) {
            fs::copy(&own, product.join("machine")).unwrap();
        }
        fs::write(product.join("bench"), "cards=2\nsound=1\nprogram=/out/product/machine\n").unwrap();
        fs::write(product.join("onaird.toml"), self.config("", &[ONE, SOUND])).unwrap();
        let second = if plan.failover { "input = [\"one\", \"two\"]\nreturn_after = \"1s\"\n" } else { "input = \"one\"\n" };
        fs::write(product.join(plan::SECOND), self.config(second, &[ONE, TWO])).unwrap();
    }

    fn config(&self, program: &str, inputs: &[&str]) -> String {
        let leg = |(name, origin): (&str, &Origin)| {
            let url = url_in_guest(origin);
            format!("[[leg]]\nname = \"{name}\"\n[[leg.origin]]\nurl = \"{url}\"\nstream_key = \"bench-{name}\"\n")
        };
        let legs: String = ["a", "b"].into_iter().zip(&self.origins).map(leg).collect();
        format!("{PROGRAM}{program}{}[archive]\ndirectory = \"/var/lib/onaird/archive\"\n{legs}", inputs.concat())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("machine: logs, recordings and the diary are in {}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A new folder that the machine shares with the host.
pub fn folder() -> PathBuf {
    let cache = std::env::var_os("ONAIRD_VM_CACHE").map_or_else(|| Path::new(ROOT).join("target/vm"), PathBuf::from);
    fs::create_dir_all(&cache).unwrap();
    let folder = tempfile::Builder::new().prefix("machine.").tempdir_in(&cache).unwrap().keep();
    // The guest's services are not root there.
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

/// Good runs leave their recordings too.
pub fn keeps_all() -> bool {
    std::env::var_os("ONAIRD_VM_KEEP").is_some_and(|keep| keep == "1")
}

/// Boots it, with the product installed; what it shall do there is still to be said.
pub fn machine(folder: &Path, limit_s: u64) -> Command {
    let mut command = child::command(&Path::new(ROOT).join("tests/vm/run.sh"));
    command.arg("-t").arg(limit_s.to_string()).arg("-o").arg(folder);
    command.arg("-p").arg(Path::new(ROOT).join("tests/vm/guest-install.sh"));
    command
}

/// All that a package would hold.
pub fn fill_product(product: &Path) {
    fs::create_dir_all(product).unwrap();
    let copy = |from: &Path| fs::copy(from, product.join(from.file_name().unwrap())).unwrap();
    fs::copy(binary(), product.join("onaird")).unwrap();
    for name in ["onaird.service", "onaird.sysusers.conf", "onaird.tmpfiles.conf", "onaird.modules.conf"] {
        copy(&Path::new(ROOT).join("systemd").join(name));
    }
    copy(&Path::new(ROOT).join("udev/70-onaird.rules"));
}

/// Where the guest finds an origin of the host.
pub fn url_in_guest(origin: &Origin) -> String {
    origin.url().replace("127.0.0.1", HOST)
}

/// The daemon as it is installed.
fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "mp4" || extension == "part")
}

fn binary() -> PathBuf {
    std::env::var_os("ONAIRD_BIN").map_or_else(|| BINARY.into(), PathBuf::from)
}

/// Whether the daemon understands this configuration.
fn is_accepted(config: &str, folder: &Path) -> bool {
    let file = folder.join("asked.toml");
    fs::write(&file, config).unwrap();
    let output = Command::new(binary()).arg("check").arg("--config").arg(&file).output().unwrap();
    output.status.success()
}
