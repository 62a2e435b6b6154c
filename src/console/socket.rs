//! The local door: a Unix socket that takes command lines and gives one JSON line for each.
//!
//! Bounded in every way: so many visitors at a time, so long a line, so long a silence. Who may open it is decided by the
//! file's mode (0660): the daemon's user and its group.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::console::client::Answer;
use crate::console::command::{self, Line};
use crate::control::{Command, Commands, Reply, Request};
use crate::status::Status;

/// Visitors at a time; more wait at the door.
const VISITORS: usize = 16;

/// Longest line in bytes.
const LINE: u64 = 4096;

/// A visitor that says nothing for so long is shown out.
const SILENCE: Duration = Duration::from_secs(600);

/// A visitor that does not read its answer for so long, likewise.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Error)]
pub enum Error {
    #[error("control socket {}: another onaird is running; stop it, or give --socket another path", .0.display())]
    Busy(PathBuf),
    #[error("control socket {}: {error}; the folder must exist and be writable, or give --socket another path", path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// The door, open.
pub struct Door {
    listener: UnixListener,
    path: PathBuf,
}

impl Door {
    /// Makes the socket; one that a dead daemon left behind is replaced.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let fault = |error| Error::Io { path: path.into(), error };
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(Error::Busy(path.into()));
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fault(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(fault)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(fault)?;
        Ok(Self { listener, path: path.into() })
    }

    /// Serves for ever.
    pub async fn serve(self, status: watch::Receiver<Status>, orders: Orders) -> Result<(), Error> {
        let places = Arc::new(Semaphore::new(VISITORS));
        let desk = Desk { status, orders };
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let desk = desk.clone();
                    tokio::spawn(async move {
                        // A visitor who leaves in the middle is no fault of the daemon.
                        let _ = desk.attend(stream).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!("control socket: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Where orders go.
#[derive(Clone)]
pub struct Orders {
    pub program: Commands,
    pub preflight: Commands,
}

#[derive(Clone)]
struct Desk {
    status: watch::Receiver<Status>,
    orders: Orders,
}

impl Desk {
    async fn attend(&self, mut stream: UnixStream) -> io::Result<()> {
        let (reader, mut writer) = stream.split();
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut limited = (&mut reader).take(LINE);
            let read = limited.read_until(b'\n', &mut line);
            if tokio::time::timeout(SILENCE, read).await.map_err(io::Error::from)?? == 0 {
                return Ok(());
            }
            let answer = self.answer(&String::from_utf8_lossy(&line)).await;
            let mut json = serde_json::to_vec(&answer).map_err(io::Error::from)?;
            json.push(b'\n');
            tokio::time::timeout(PATIENCE, writer.write_all(&json)).await.map_err(io::Error::from)??;
            if !line.ends_with(b"\n") {
                return Ok(());
            }
        }
    }

    async fn answer(&self, line: &str) -> Answer {
        match command::parse(line) {
            Ok(Line::Status) => Answer { ok: true, text: String::new(), status: Some(self.status.borrow().clone()) },
            Ok(Line::Help) => Answer { ok: true, text: command::help(), status: None },
            Ok(Line::Order(command)) => spoken(self.order(command).await),
            Err(text) => spoken(Err(text)),
        }
    }

    async fn order(&self, command: Command) -> Reply {
        let (reply, answer) = oneshot::channel();
        let gone = || "the daemon is stopping".to_string();
        let room = if command == Command::Preflight { &self.orders.preflight } else { &self.orders.program };
        room.send(Request { command, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn spoken(reply: Reply) -> Answer {
    match reply {
        Ok(text) => Answer { ok: true, text, status: None },
        Err(text) => Answer { ok: false, text, status: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::client::ask;
    use tokio::sync::mpsc;

    #[tokio::test(flavor = "multi_thread")]
    async fn lines_get_answers_and_noise_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let (program, mut orders) = mpsc::channel::<Request>(1);
        let (status, watched) = watch::channel(Status::default());
        status.send_modify(|status| status.on_air = true);
        let serving = tokio::spawn(Door::open(&path).unwrap().serve(watched, Orders { preflight: program.clone(), program }));
        tokio::spawn(async move {
            while let Some(request) = orders.recv().await {
                let _ = request.reply.send(Err(format!("{:?} refused", request.command)));
            }
        });
        let ask = move |line: &'static str| {
            let path = path.clone();
            tokio::task::spawn_blocking(move || ask(&path, line).unwrap())
        };
        assert!(ask("status").await.unwrap().status.unwrap().on_air);
        let refused = ask("switch promo").await.unwrap();
        assert!(!refused.ok && refused.text.contains("promo"), "{refused:?}");
        assert!(!ask("\u{1}\u{2}garbage").await.unwrap().ok);
        serving.abort();
    }

    #[tokio::test]
    async fn a_second_daemon_is_told_and_a_dead_ones_socket_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let door = Door::open(&path).unwrap();
        assert!(matches!(Door::open(&path), Err(Error::Busy(_))));
        drop(door);
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists() && Door::open(&path).is_ok());
    }
}
