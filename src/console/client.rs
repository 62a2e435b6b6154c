//! The asking end of the control socket: one line out, one answer back. Blocking, for commands that run and end.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::console::command;
use crate::status::Status;

/// How long the daemon may take to hear the question.
const LIMIT: Duration = Duration::from_secs(5);

/// One JSON line on the socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Accepted, or refused.
    pub ok: bool,
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// Asks the daemon that listens on `socket`.
pub fn ask(socket: &Path, line: &str) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(command::limit(line)))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(format!("{}\n", line.replace('\n', " ")).as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    serde_json::from_str(&answer).map_err(io::Error::from)
}
