//! From an origin's name to a connected socket: resolver, addresses, interface, TCP options. A thin shell that never waits
//! without a limit and keeps, per origin, only what the next attempt may need.
//!
//! Names are resolved at every attempt: what an operator changes in DNS takes effect at the next one. If the name server is
//! slow or silent, the last good address is tried beside it, after a moment. All addresses are tried, each with a head start before the next
//! (RFC 8305). A leg's `interface` binds its sockets (SO_BINDTODEVICE); which way leads out of it is the routing table's business.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::places::Claim;
use super::{PublishError, address, batch, redirect, tls};
use crate::config::{Origin, OriginUrl};

/// Limit of each step of a set-up: name, addresses, TLS, handshake, connect, createStream, publish.
pub const STEP_LIMIT: Duration = Duration::from_secs(2);

/// Head start of an address before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(250);

/// How long a name server may take if there is an address that was good before.
const DNS_PATIENCE: Duration = Duration::from_millis(300);

/// A backstop behind the rules of detection. Not shorter: the kernel also counts the time since the peer's window was too small
/// for the next segment, and would end a path that is slow but moves; and a connection that is kept while the box's own uplink
/// is down must outlive that.
const USER_TIMEOUT: Duration = Duration::from_secs(120);

/// A place in the network, and what was learnt on the way to it.
#[derive(Clone)]
pub struct Door {
    pub secure: bool,
    pub host: String,
    pub port: u16,
    /// Authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Network interface that connections are bound to.
    pub interface: Option<String>,
    /// Kept between connections, so that TLS sessions are resumed.
    trust: Option<Arc<ClientConfig>>,
    last_good: Option<SocketAddr>,
}

impl Door {
    pub fn new(secure: bool, host: &str, port: u16, ca_file: Option<PathBuf>, interface: Option<String>) -> Self {
        Self { secure, host: host.to_owned(), port, ca_file, interface, trust: None, last_good: None }
    }

    /// What TLS trusts; read once.
    pub async fn trust(&mut self) -> Result<Arc<ClientConfig>, PublishError> {
        if let Some(trust) = &self.trust {
            return Ok(trust.clone());
        }
        let ca_file = self.ca_file.clone();
        let reading = tokio::task::spawn_blocking(move || tls::trust(ca_file.as_deref()));
        let read = timeout(STEP_LIMIT, reading).await.map_err(|_| PublishError::SlowTrust)?;
        let trust = read.map_err(|error| PublishError::Trust(error.to_string()))?.map_err(PublishError::Trust)?;
        self.trust = Some(trust.clone());
        Ok(trust)
    }

    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, PublishError> {
        let host = || self.host.clone();
        match timeout(STEP_LIMIT, tokio::net::lookup_host((self.host.as_str(), self.port))).await {
            Ok(Ok(found)) => Some(address::interleaved(found))
                .filter(|found| !found.is_empty())
                .ok_or_else(|| PublishError::NoAddress { host: host() }),
            Ok(Err(error)) => Err(PublishError::Resolve { host: host(), error }),
            Err(_) => Err(PublishError::NoAnswerFromDns { host: host(), limit: STEP_LIMIT }),
        }
    }

    /// Name and TCP. If the name server takes long, the address that was good before is tried beside it.
    pub async fn reach(&mut self) -> Result<TcpStream, PublishError> {
        let interface = self.interface.as_deref();
        let by_name = async { race(self.resolve().await?, interface).await };
        let stream = match self.last_good {
            None => by_name.await,
            Some(last_good) => {
                let by_memory = async {
                    sleep(DNS_PATIENCE).await;
                    race(vec![last_good], interface).await
                };
                either(by_name, by_memory).await
            }
        }?;
        self.prepared(stream)
    }

    /// The first of the addresses that answers.
    pub async fn connect(&mut self, addresses: Vec<SocketAddr>) -> Result<TcpStream, PublishError> {
        let stream = race(addresses, self.interface.as_deref()).await?;
        self.prepared(stream)
    }

    fn prepared(&mut self, stream: TcpStream) -> Result<TcpStream, PublishError> {
        stream.set_nodelay(true)?;
        let options = socket2::SockRef::from(&stream);
        // Media should age in the hub, where it can be dropped, not in the kernel.
        options.set_tcp_notsent_lowat(batch::SMALL as u32)?;
        options.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        self.last_good = stream.peer_addr().ok();
        Ok(stream)
    }

    /// Time of one round trip to the origin, by a connection that is ended at once.
    pub async fn round_trip(&self) -> Option<Duration> {
        let addresses = self.resolve().await.ok()?;
        let stream = race(addresses, self.interface.as_deref()).await.ok()?;
        super::tcp_info::truth(&stream).ok().map(|truth| truth.rtt)
    }
}

/// The way to one origin.
#[derive(Clone)]
pub struct Route {
    pub url: OriginUrl,
    pub origin: Origin,
    pub door: Door,
    claim: Claim,
}

impl Route {
    pub fn new(origin: &Origin, interface: Option<String>, claim: Claim) -> Self {
        let OriginUrl { secure, host, port, .. } = &origin.url;
        let door = Door::new(*secure, host, *port, origin.ca_file.clone(), interface);
        Self { url: origin.url.clone(), origin: origin.clone(), door, claim }
    }

    /// The same origin at the place that it has named itself, in full or relative to the present one; `None` if we cannot or
    /// will not go there: what was encrypted stays encrypted, and where another leg publishes with the same key is no place.
    pub fn redirected(&self, named: &str) -> Option<Self> {
        let url = OriginUrl::parse(&redirect::resolve(&self.url.to_string(), named))?;
        let there = Origin { url: url.clone(), ..self.origin.clone() };
        ((url.secure || !self.url.secure) && self.claim.take(&there)).then(|| self.at(url))
    }

    fn at(&self, url: OriginUrl) -> Self {
        let door = Door { secure: url.secure, host: url.host.clone(), port: url.port, last_good: None, ..self.door.clone() };
        Self { url, door, origin: self.origin.clone(), claim: self.claim.clone() }
    }

    /// Takes over what an attempt has learnt, wherever it was sent.
    pub fn learn(&mut self, other: Self) {
        self.door.trust = other.door.trust;
        if self.url == other.url {
            self.door.last_good = other.door.last_good;
        }
    }
}

/// The first that succeeds; if neither does, what the first one says.
async fn either<T>(
    one: impl Future<Output = Result<T, PublishError>>,
    other: impl Future<Output = Result<T, PublishError>>,
) -> Result<T, PublishError> {
    let (mut one, mut other) = (std::pin::pin!(one), std::pin::pin!(other));
    tokio::select! {
        first = &mut one => match first {
            Ok(value) => Ok(value),
            Err(error) => other.await.map_err(|_| error),
        },
        first = &mut other => match first {
            Ok(value) => Ok(value),
            Err(_) => one.await,
        },
    }
}

async fn race(addresses: Vec<SocketAddr>, interface: Option<&str>) -> Result<TcpStream, PublishError> {
    let (mut running, mut waiting, mut last) = (JoinSet::new(), addresses.into_iter(), None);
    loop {
        match waiting.next() {
            Some(address) => drop(running.spawn(attempt(address, interface.map(str::to_owned)))),
            None if running.is_empty() => break,
            None => {}
        }
        let more = waiting.len() > 0;
        tokio::select! {
            Some(ended) = running.join_next() => match ended {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = Some(error),
                Err(error) => last = Some(PublishError::Broken(error.into())),
            },
            () = sleep(HEAD_START), if more => {}
        }
    }
    Err(last.unwrap_or_else(|| PublishError::Broken(io::ErrorKind::AddrNotAvailable.into())))
}

async fn attempt(address: SocketAddr, interface: Option<String>) -> Result<TcpStream, PublishError> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(name) = interface {
        socket.bind_device(Some(name.as_bytes())).map_err(|error| PublishError::Interface { name, error })?;
    }
    match timeout(STEP_LIMIT, socket.connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(PublishError::Connect { address, error }),
        Err(_) => Err(PublishError::Unreachable { address, limit: STEP_LIMIT }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::places::Places;
    use crate::secret::Secret;

    #[test]
    fn a_redirection_is_followed_but_never_out_of_encryption() {
        let origin = |url| Origin::new(OriginUrl::parse(url).unwrap(), Secret::new("key"));
        let route = |url| Route::new(&origin(url), None, Places::default().join(&[origin(url)]));
        let table = [
            ("rtmp://a/live", "rtmp://b:1936/other", Some("rtmp://b:1936/other")),
            ("rtmp://a/live", "/other", Some("rtmp://a/other")),
            ("rtmp://a/live", "rtmps://b/other", Some("rtmps://b/other")),
            ("rtmps://a/live", "rtmp://b/other", None),
            ("rtmps://a/live", "http://b/other", None),
        ];
        for (from, named, wanted) in table {
            let to = route(from).redirected(named).map(|route| route.url.to_string());
            assert_eq!(to.as_deref(), wanted, "{from} {named}");
        }
    }
}
