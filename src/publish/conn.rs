//! One connection to an origin, plain or encrypted: bytes between the kernel and a [`Session`]. A thin shell: it decides nothing
//! about RTMP and nothing about when to give up.
//!
//! Setting up never waits longer than [`STEP_LIMIT`] for one step. Afterwards nothing here waits at all: what the socket does
//! not take at once stays in the session.

use std::io::{self, ErrorKind, IoSlice};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::auth::Login;
use super::dial::{Door, Route, STEP_LIMIT};
use super::health::SocketTruth;
use super::session::{Event, Session, Step, Target};
use super::tls::Tls;
use super::{PublishError, tcp_info};

/// Read at once, at most; a publisher receives little.
const READ: usize = 8 << 10;

/// Reads in a row, before others get their turn.
const MAX_READS: usize = 8;

/// Places that one attempt may be sent on to.
const MAX_HOPS: u32 = 3;

/// Pieces that one system call is given.
const SLICES: usize = 256;

pub struct Conn {
    stream: TcpStream,
    tls: Option<Box<Tls>>,
}

/// A connection on which the origin is ready for "publish": logged in if it asks for that, at another place if it sends us there.
/// `device` and `started_at` stand in the stream's metadata.
pub async fn open(route: &mut Route, device: &str, started_at: Option<&str>) -> Result<(Conn, Session), PublishError> {
    let login = route.origin.login.as_ref();
    let mut login = login.map(|login| Login::new(login.user.clone(), login.password.clone()));
    let (mut authorization, mut hops) = (None, 0);
    loop {
        let target = target(route, device, started_at, authorization.take());
        let refusal = match open_once(&mut route.door, target).await {
            Err(PublishError::Refused(refusal)) => refusal,
            other => return other,
        };
        let elsewhere = refusal.redirect.as_deref().and_then(|named| route.redirected(named));
        match (&refusal.challenge, &mut login, elsewhere) {
            (Some(challenge), Some(login), _) => authorization = Some(login.next(challenge, fastrand::u32(..))?),
            (_, _, Some(elsewhere)) if hops < MAX_HOPS => {
                hops += 1;
                *route = elsewhere;
            }
            _ => return Err(PublishError::Refused(refusal)),
        }
    }
}

/// What a session to this origin says.
pub fn target(route: &Route, device: &str, started_at: Option<&str>, authorization: Option<String>) -> Target {
    Target {
        app: route.url.app.clone(),
        url: route.url.to_string(),
        key: route.origin.key.clone(),
        device: device.to_owned(),
        started_at: started_at.map(str::to_owned),
        authorization,
    }
}

async fn open_once(door: &mut Door, target: Target) -> Result<(Conn, Session), PublishError> {
    let mut conn = Conn::connect(door).await?;
    let mut session = Session::new(target)?;
    while session.step() < Step::Ready {
        conn.pass(&mut session).await?;
    }
    Ok((conn, session))
}

impl Conn {
    /// Name, TCP, TLS.
    pub async fn connect(door: &mut Door) -> Result<Self, PublishError> {
        let stream = door.reach().await?;
        Self::secured(stream, door).await
    }

    /// TLS if the place asks for it.
    pub async fn secured(stream: TcpStream, door: &mut Door) -> Result<Self, PublishError> {
        if !door.secure {
            return Ok(Self { stream, tls: None });
        }
        let trust = door.trust().await?;
        match timeout(STEP_LIMIT, Tls::connect(&stream, &door.host, trust)).await {
            Ok(tls) => Ok(Self { stream, tls: Some(Box::new(tls?)) }),
            Err(_) => Err(PublishError::SilentTls { limit: STEP_LIMIT }),
        }
    }

    /// Carries bytes to and fro until the session has left its present step.
    pub async fn pass(&mut self, session: &mut Session) -> Result<(), PublishError> {
        let step = session.step();
        let moved = timeout(STEP_LIMIT, async {
            while session.step() == step {
                self.write_all(session).await?;
                self.readable(session).await?;
                let read = self.read(session);
                // Many servers say no and close at once: their word counts, not the end after it.
                refused(session)?;
                read?;
            }
            Ok(())
        });
        moved.await.unwrap_or(Err(PublishError::Silent { step, limit: STEP_LIMIT }))
    }

    pub async fn readable(&self, session: &Session) -> io::Result<()> {
        if session.step() < Step::Live {
            // A server that waits for our ACK before its next small packet would cost 40 ms each; the kernel forgets this
            // wish after some packets, hence at every read.
            self.stream.set_quickack(true)?;
        }
        self.stream.readable().await
    }

    pub async fn writable(&self) -> io::Result<()> {
        self.stream.writable().await
    }

    /// Whether bytes wait for the kernel to take them.
    pub fn is_blocked(&self, session: &Session) -> bool {
        session.has_pending() || self.tls.as_ref().is_some_and(|tls| tls.has_pending())
    }

    /// Hands all that has arrived to the session.
    pub fn read(&mut self, session: &mut Session) -> Result<(), PublishError> {
        let mut buffer = [0; READ];
        for _ in 0..MAX_READS {
            match self.try_read(&mut buffer) {
                Ok(0) => return Err(PublishError::Closed { step: session.step() }),
                Ok(count) => session.receive(&buffer[..count])?,
                Err(PublishError::Broken(error)) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes what the socket takes now; returns how much of the session that was.
    pub fn write(&mut self, session: &mut Session) -> Result<usize, PublishError> {
        let mut total = 0;
        if let Some(tls) = &mut self.tls {
            tls.flush(&self.stream)?;
        }
        while session.has_pending() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = session.pending_slices(&mut slices);
            match self.try_write(&slices[..filled]) {
                Ok(0) => break,
                Ok(count) => {
                    session.sent(count);
                    total += count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(total)
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> Result<usize, PublishError> {
        match &mut self.tls {
            Some(tls) => tls.read(&self.stream, buffer),
            None => Ok(self.stream.try_read(buffer)?),
        }
    }

    fn try_write(&mut self, slices: &[IoSlice]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => tls.write(&self.stream, slices),
            None => self.stream.try_write_vectored(slices),
        }
    }

    /// Bytes of another protocol than a session's: waits for some, 0 at the end. The caller sets the limit.
    pub async fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, PublishError> {
        loop {
            match self.try_read(buffer) {
                Err(PublishError::Broken(error)) if error.kind() == ErrorKind::WouldBlock => self.stream.readable().await?,
                other => return other,
            }
        }
    }

    /// Writes all of these bytes. The caller sets the limit.
    pub async fn send(&mut self, mut bytes: &[u8]) -> Result<(), PublishError> {
        while !bytes.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.has_pending()) {
            match self.try_write(&[IoSlice::new(bytes)]) {
                Ok(count) if count > 0 => bytes = &bytes[count..],
                Ok(_) => self.stream.writable().await?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.stream.writable().await?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Writes all that is pending; the caller sets the limit.
    pub async fn write_all(&mut self, session: &mut Session) -> Result<(), PublishError> {
        self.write(session)?;
        while self.is_blocked(session) {
            self.stream.writable().await?;
            self.write(session)?;
        }
        Ok(())
    }

    /// Says good-bye within the limit, so that the key is free at once; one that does not get through changes nothing.
    pub async fn farewell(mut self, mut session: Session, limit: Duration) {
        let goodbye = async {
            session.close()?;
            self.write_all(&mut session).await?;
            Ok::<(), PublishError>(self.finish().await?)
        };
        match timeout(limit, goodbye).await {
            Ok(Ok(())) => tracing::debug!("the origin has ended its side too"),
            Ok(Err(error)) => tracing::debug!("closed without ceremony: {error}"),
            Err(_) => tracing::debug!("closed without ceremony: no end from the origin within {limit:?}"),
        }
    }

    /// Ends the connection at once, by a reset: what was not acknowledged is forgotten, and the origin knows it if it hears it.
    pub fn abort(self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Ends our side and reads until the origin has ended its own: closing with bytes unread would send a reset, which may
    /// overtake the last bytes written.
    pub async fn finish(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.end();
            tls.flush(&self.stream)?;
        }
        self.stream.shutdown().await?;
        let mut buffer = [0; READ];
        loop {
            self.stream.readable().await?;
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return Ok(()),
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }

    /// From so many unsent bytes on the kernel takes no more.
    pub fn limit_unsent(&self, bytes: usize) -> io::Result<()> {
        socket2::SockRef::from(&self.stream).set_tcp_notsent_lowat(bytes as u32)
    }

    pub fn truth(&self) -> io::Result<SocketTruth> {
        tcp_info::truth(&self.stream)
    }
}

/// A refusal ends the set-up; what else the session tells is for later.
fn refused(session: &mut Session) -> Result<(), PublishError> {
    while let Some(event) = session.event() {
        if let Event::Refused(refusal) = event {
            return Err(PublishError::Refused(refusal));
        }
    }
    Ok(())
}
