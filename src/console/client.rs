//! The asking end of the control socket: one line out, one answer back. Blocking, for commands that run and end.
//!
//! [`ask`] is a question and its answer; [`Held`] keeps its connection, for work whose end the daemon is to notice even if it
//! comes without a word.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
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
    exchange(&mut connect(socket)?, line)
}

fn connect(socket: &Path) -> io::Result<BufReader<UnixStream>> {
    let stream = UnixStream::connect(socket)?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(BufReader::new(stream))
}

fn exchange(connection: &mut BufReader<UnixStream>, line: &str) -> io::Result<Answer> {
    let stream = connection.get_mut();
    stream.set_read_timeout(Some(command::limit(line)))?;
    stream.write_all(format!("{}\n", line.replace('\n', " ")).as_bytes())?;
    let mut answer = String::new();
    connection.read_line(&mut answer)?;
    serde_json::from_str(&answer).map_err(io::Error::from)
}

/// A connection that stays open between the lines. Without a daemon it does nothing; one that comes later is found.
pub struct Held {
    socket: PathBuf,
    connection: Option<BufReader<UnixStream>>,
    /// Lines not to be tried, so that a daemon that hangs holds up the work once and not all the time.
    skip: u32,
}

impl Held {
    /// How many lines are left out after one that could not be told.
    const SKIPPED: u32 = 10;

    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.into(), connection: None, skip: 0 }
    }

    /// The answer, if there was one.
    pub fn tell(&mut self, line: &str) -> Option<Answer> {
        if self.connection.is_none() && self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        let answer = self.exchange(line);
        if answer.is_err() {
            (self.connection, self.skip) = (None, Self::SKIPPED);
        }
        answer.ok()
    }

    fn exchange(&mut self, line: &str) -> io::Result<Answer> {
        let mut connection = self.connection.take().map_or_else(|| connect(&self.socket), Ok)?;
        let answer = exchange(&mut connection, line)?;
        self.connection = Some(connection);
        Ok(answer)
    }

    /// The last word, which is not to be left out.
    pub fn tell_at_once(&mut self, line: &str) -> Option<Answer> {
        self.skip = 0;
        self.tell(line)
    }
}
