//! A bucket of a real store: `s3s-fs`, a server of the S3 protocol over a folder, as `tools/install-peers` puts it into
//! `target/peers`. What is in the bucket is read from that folder, without the program that is judged. It holds no verdict.

#![allow(dead_code, reason = "each program uses its own part")]

pub mod moto;
pub mod shelf;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use onaird::config::{Keys, Upload};
use onaird::secret::Secret;
use onaird::units::ByteSize;

pub const BUCKET: &str = "recordings";
pub const ACCESS: &str = "AKIAONAIRD";
pub const SECRET: &str = "secret/of+the.bucket";
pub const LIMIT: Duration = Duration::from_secs(180);

/// The folder that `tools/install-peers` fills.
pub fn peers() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    target.join("peers")
}

/// The store, killed when it is dropped.
pub struct Server {
    process: Option<Child>,
    root: PathBuf,
    pub port: u16,
}

impl Server {
    /// With an empty bucket, or the one that the folder has.
    pub fn start(root: &Path) -> Self {
        fs::create_dir_all(root.join(BUCKET)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { process: None, root: root.to_owned(), port };
        server.restart();
        server
    }

    /// Under the same address, as after a crash.
    pub fn restart(&mut self) {
        let program = peers().join("s3s-fs/bin/s3s-fs");
        assert!(program.exists(), "s3s-fs is needed for this test: run tools/install-peers");
        let mut command = Command::new(program);
        command.args(["--host", "127.0.0.1", "--port", &self.port.to_string(), "--access-key", ACCESS, "--secret-key", SECRET]);
        command.arg(&self.root).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        let address = ("127.0.0.1", self.port);
        poll("the store's port", || std::net::TcpStream::connect(address).ok());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Neither reads nor answers, or does so again.
    pub fn freeze(&self, freeze: bool) {
        let pid = Pid::from_raw(self.process.as_ref().unwrap().id() as i32);
        kill(pid, if freeze { Signal::SIGSTOP } else { Signal::SIGCONT }).unwrap();
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Names of all objects, each with the file that holds it.
    pub fn objects(&self) -> BTreeMap<String, PathBuf> {
        let bucket = self.root.join(BUCKET);
        let mut found = BTreeMap::new();
        let mut folders = vec![bucket.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => drop(found.insert(path.strip_prefix(&bucket).unwrap().to_str().unwrap().to_owned(), path)),
                }
            }
        }
        found
    }

    /// Multipart uploads that were begun and not ended.
    pub fn unfinished(&self) -> usize {
        self.names(|name| name.starts_with(".upload-") && name.ends_with(".json"))
    }

    /// Parts of such uploads.
    pub fn parts(&self) -> usize {
        self.names(|name| name.starts_with(".upload_id-") && name.contains(".part-"))
    }

    fn names(&self, wanted: impl Fn(&str) -> bool) -> usize {
        let names = fs::read_dir(&self.root).unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| wanted(name)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The configuration of this bucket.
pub fn config(endpoint: &str) -> Upload {
    Upload {
        bucket: BUCKET.into(),
        region: "us-east-1".into(),
        endpoint: Some(endpoint.into()),
        prefix: "station/north".into(),
        keys: Keys::Written { access: ACCESS.into(), secret: Secret::new(SECRET) },
        part_size: ByteSize::from_bytes(5 << 20),
        bandwidth: None,
        ca_file: None,
    }
}

/// Looks again and again until there is something.
pub fn poll<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < LIMIT, "waited in vain for {what}");
        pause(Duration::from_millis(5));
    }
}

#[expect(clippy::disallowed_methods, reason = "a test waits for processes")]
pub fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "between two looks at a condition, never instead of one")]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
