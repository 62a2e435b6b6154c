//! Another store, `moto`: it forgets everything at its end, but lists unfinished uploads, keeps checksums and knows ETags, as AWS's
//! own does. What it has is asked of it by the AWS CLI, which shares no code with what is judged.

use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use super::{ACCESS, BUCKET, SECRET, peers, poll};

pub struct Moto {
    process: Child,
    pub port: u16,
}

impl Moto {
    /// With an empty bucket.
    pub fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let program = peers().join("python/bin/moto_server");
        assert!(program.exists(), "moto is needed for this test: run tools/install-peers");
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let moto = Self { process: command.spawn().unwrap(), port };
        poll("the store's port", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        moto.ask(&["create-bucket"]);
        moto
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// `aws s3api …`: its answer.
    pub fn ask(&self, words: &[&str]) -> Value {
        let output = aws(&self.endpoint(), &[&["s3api"], words, &["--bucket", BUCKET]].concat());
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {complaint}");
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The AWS CLI.
pub fn aws(endpoint: &str, words: &[&str]) -> Output {
    let mut command = Command::new(peers().join("python/bin/aws"));
    command.args(["--endpoint-url", endpoint]).args(words).stdin(Stdio::null());
    command.env("AWS_ACCESS_KEY_ID", ACCESS).env("AWS_SECRET_ACCESS_KEY", SECRET).env("AWS_DEFAULT_REGION", "us-east-1");
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_PAGER", "");
    command.output().unwrap()
}
