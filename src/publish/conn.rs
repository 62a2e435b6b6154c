//! The socket of a leg: name, address, TCP options, and bytes between kernel and [`Session`]. A thin shell: it decides
//! nothing about RTMP and nothing about when to give up, but it never waits without a limit.
//!
//! Names are resolved at every attempt, and every address is tried in turn: what an operator changes in DNS takes effect at
//! the next attempt. Writing never blocks: what the socket does not take at once stays in the session.

use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::health::SocketTruth;
use super::session::{Event, Session, Step, Target};
use super::{PublishError, tcp_info};
use crate::config::OriginUrl;

/// Limit of each step of the set-up: name, each address, handshake, connect, createStream, publish.
pub const STEP_LIMIT: Duration = Duration::from_secs(2);

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Unsent bytes beyond which the kernel takes no more: media should age in the hub, where it can be dropped, not there.
const UNSENT_LIMIT: u32 = 64 << 10;

/// A backstop behind the stall rule. Not shorter: the kernel counts the time since the peer's window was too small for the
/// next segment, and would end a path that is slow but moves.
const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// Read at once, at most; a publisher receives little.
const READ: usize = 8 << 10;

/// Slices of one write.
const SLICES: usize = 64;

/// Reads in a row, before others get their turn.
const MAX_READS: usize = 8;

pub struct Conn {
    stream: TcpStream,
}

/// A connection on which the origin waits for media.
pub async fn publish(url: &OriginUrl, target: Target) -> Result<(Conn, Session), PublishError> {
    let mut conn = Conn::open(url).await?;
    let mut session = Session::new(target)?;
    while session.step() != Step::Live {
        if session.step() == Step::Ready {
            session.publish()?;
        }
        let step = session.step();
        match timeout(STEP_LIMIT, conn.advance(&mut session, step)).await {
            Ok(result) => result?,
            Err(_) => return Err(PublishError::Silent { step, limit: STEP_LIMIT }),
        }
    }
    Ok((conn, session))
}

impl Conn {
    async fn open(url: &OriginUrl) -> Result<Self, PublishError> {
        let mut last = None;
        for address in resolve(url).await? {
            match timeout(STEP_LIMIT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Self::new(stream).map_err(PublishError::Broken),
                Ok(Err(error)) => last = Some(PublishError::Connect { address, error }),
                Err(_) => last = Some(PublishError::Unreachable { address, limit: STEP_LIMIT }),
            }
        }
        Err(last.unwrap_or_else(|| PublishError::NoAddress { host: url.host.clone() }))
    }

    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let options = socket2::SockRef::from(&stream);
        options.set_tcp_notsent_lowat(UNSENT_LIMIT)?;
        options.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        Ok(Self { stream })
    }

    /// Carries bytes to and fro until the session has left `step`.
    async fn advance(&mut self, session: &mut Session, step: Step) -> Result<(), PublishError> {
        while session.step() == step {
            self.write_all(session).await?;
            // A server that waits for our ACK before its next small packet would cost 40 ms each; the kernel forgets this
            // wish after some packets, hence at every read.
            self.stream.set_quickack(true)?;
            self.stream.readable().await?;
            self.read(session)?;
        }
        Ok(())
    }

    pub async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    pub async fn writable(&self) -> io::Result<()> {
        self.stream.writable().await
    }

    /// Hands all that has arrived to the session, and says what the session makes of it.
    pub fn read(&self, session: &mut Session) -> Result<(), PublishError> {
        let mut buffer = [0; READ];
        for _ in 0..MAX_READS {
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return Err(PublishError::Closed { step: session.step() }),
                Ok(count) => session.receive(&buffer[..count])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
            refused(session)?;
        }
        Ok(())
    }

    /// Writes what the socket takes now; returns how much that was.
    pub fn write(&self, session: &mut Session) -> Result<usize, PublishError> {
        let mut total = 0;
        while session.has_pending() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = session.pending_slices(&mut slices);
            match self.stream.try_write_vectored(&slices[..count]) {
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

    /// Writes all that is pending; the caller sets the limit.
    pub async fn write_all(&self, session: &mut Session) -> Result<(), PublishError> {
        self.write(session)?;
        while session.has_pending() {
            self.stream.writable().await?;
            self.write(session)?;
        }
        Ok(())
    }

    /// Ends our side and reads until the origin has ended its own: closing with bytes unread would send a reset, which may
    /// overtake the last bytes written. The caller sets the limit.
    pub async fn finish(&mut self) -> io::Result<()> {
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

    pub fn truth(&self) -> Result<SocketTruth, PublishError> {
        Ok(tcp_info::truth(&self.stream)?)
    }
}

async fn resolve(url: &OriginUrl) -> Result<Vec<SocketAddr>, PublishError> {
    let host = url.host.clone();
    match timeout(STEP_LIMIT, tokio::net::lookup_host((url.host.as_str(), url.port))).await {
        Ok(Ok(addresses)) => Ok(addresses.take(MAX_ADDRESSES).collect()),
        Ok(Err(error)) => Err(PublishError::Resolve { host, error }),
        Err(_) => Err(PublishError::NoAnswerFromDns { host, limit: STEP_LIMIT }),
    }
}

fn refused(session: &mut Session) -> Result<(), PublishError> {
    while let Some(event) = session.event() {
        if let Event::Refused(refusal) = event {
            return Err(PublishError::Refused(refusal));
        }
    }
    Ok(())
}
