//! The local door: a Unix socket that takes command lines and gives one JSON line for each.
//!
//! Bounded in every way: so many visitors at a time, so long a line, so long a silence. Who may open it is decided by the
//! file's mode (0660): the daemon's user and its group.
//!
//! An export of the archive keeps its connection as long as it works. One that ends without its last word has been killed, and
//! the archive is told so in its place.

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
use crate::status::{Export, ExportState, Status};

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
                        let mut export = None;
                        let _ = desk.attend(stream, &mut export).await;
                        desk.farewell(export).await;
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
    pub archive: Commands,
}

#[derive(Clone)]
struct Desk {
    status: watch::Receiver<Status>,
    orders: Orders,
}

impl Desk {
    /// `export`: what the visitor last said of an export that it makes.
    async fn attend(&self, mut stream: UnixStream, export: &mut Option<Export>) -> io::Result<()> {
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
            let answer = self.answer(&String::from_utf8_lossy(&line), export).await;
            let mut json = serde_json::to_vec(&answer).map_err(io::Error::from)?;
            json.push(b'\n');
            tokio::time::timeout(PATIENCE, writer.write_all(&json)).await.map_err(io::Error::from)??;
            if !line.ends_with(b"\n") {
                return Ok(());
            }
        }
    }

    async fn answer(&self, line: &str, export: &mut Option<Export>) -> Answer {
        match command::parse(line) {
            Ok(Line::Order(Command::Export(told))) => {
                let answer = self.order(Command::Export(told.clone())).await;
                *export = answer.is_ok().then_some(told);
                spoken(answer)
            }
            Ok(Line::Status) => Answer { ok: true, text: String::new(), status: Some(self.status.borrow().clone()) },
            Ok(Line::Help) => Answer { ok: true, text: command::help(), status: None },
            Ok(Line::Order(command)) => spoken(self.order(command).await),
            Err(text) => spoken(Err(text)),
        }
    }

    async fn order(&self, command: Command) -> Reply {
        let (reply, answer) = oneshot::channel();
        let gone = || "the daemon is stopping".to_string();
        let room = match command {
            Command::Preflight => &self.orders.preflight,
            Command::Export(_) => &self.orders.archive,
            _ => &self.orders.program,
        };
        room.send(Request { command, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// The connection has ended: an export that was running is no more.
    async fn farewell(&self, export: Option<Export>) {
        let Some(export) = export.filter(|export| export.state == ExportState::Running) else { return };
        let last_error =
            Some("it ended without a word; start it again, or plug the disk in again: it goes on where it was".into());
        // A daemon that is stopping has nobody left to tell.
        let _ = self.order(Command::Export(Export { state: ExportState::Failed, last_error, ..export })).await;
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
    use crate::console::client::Held;
    use crate::console::client::ask;
    use tokio::sync::mpsc;

    fn orders_to(room: Commands) -> Orders {
        Orders { preflight: room.clone(), archive: room.clone(), program: room }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_export_that_ends_without_a_word_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let (room, mut orders) = mpsc::channel::<Request>(1);
        let (_status, watched) = watch::channel(Status::default());
        let serving = tokio::spawn(Door::open(&path).unwrap().serve(watched, orders_to(room)));
        let last_words = [ExportState::Running, ExportState::Done];
        let telling = tokio::task::spawn_blocking(move || {
            for state in last_words {
                let mut held = Held::new(&path);
                for files_done in [1, 2] {
                    let export = Export { state, files_done, files: 9, ..Export::default() };
                    assert!(held.tell(&command::export_line(&export)).is_some_and(|answer| answer.ok));
                }
            }
        });
        let mut told = Vec::new();
        while told.len() < 5 {
            let request = orders.recv().await.unwrap();
            let Command::Export(export) = request.command else { panic!("{:?}", request.command) };
            told.push((export.state, export.files_done));
            let _ = request.reply.send(Ok(String::new()));
        }
        telling.await.unwrap();
        told.sort_by_key(|(state, files_done)| (*state as u8, *files_done));
        let (running, done) = (ExportState::Running, ExportState::Done);
        assert_eq!(told, [(running, 1), (running, 2), (done, 1), (done, 2), (ExportState::Failed, 2)]);
        serving.abort();
    }

    #[test]
    fn without_a_daemon_nothing_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut held = Held::new(&folder.path().join("control.sock"));
        assert_eq!((held.tell("status"), held.tell("status"), held.tell_at_once("status")), (None, None, None));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn lines_get_answers_and_noise_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let (program, mut orders) = mpsc::channel::<Request>(1);
        let (status, watched) = watch::channel(Status::default());
        status.send_modify(|status| status.on_air = true);
        let serving = tokio::spawn(Door::open(&path).unwrap().serve(watched, orders_to(program)));
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
