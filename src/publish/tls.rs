//! TLS under a leg: what is trusted, and records between a socket and a session. A shell over `rustls`, whose own connection is a
//! machine without a socket too: so a leg writes to an encrypted origin just as to a plain one, and never waits in here.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore};
use tokio::net::TcpStream;

use super::PublishError;

/// What an origin's certificate must be signed by: the authorities of this file, else the system's.
pub fn trust(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let certificates = match ca_file {
        Some(path) => from_file(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        let place = ca_file.map_or("this system".into(), |path| path.display().to_string());
        return Err(format!("{place} has no certificate of an authority; give one with `ca_file`"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

fn from_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let fault = |error: rustls::pki_types::pem::Error| format!("{} cannot be read as PEM ({error:?})", path.display());
    CertificateDer::pem_file_iter(path).map_err(fault)?.collect::<Result<_, _>>().map_err(fault)
}

/// The encrypted side of one connection.
pub struct Tls {
    machine: ClientConnection,
}

impl Tls {
    /// Shakes hands; the caller sets the limit.
    pub async fn connect(stream: &TcpStream, host: &str, trust: Arc<ClientConfig>) -> Result<Self, PublishError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| PublishError::ServerName(host.to_owned()))?;
        let mut tls = Self { machine: ClientConnection::new(trust, name)? };
        while tls.machine.is_handshaking() {
            if tls.flush(stream)? {
                stream.readable().await?;
                match tls.receive(stream) {
                    // Readiness may be that of bytes already taken; now it is cleared.
                    Err(PublishError::Broken(error)) if error.kind() == ErrorKind::WouldBlock => {}
                    received => received?,
                }
            } else {
                stream.writable().await?;
            }
        }
        Ok(tls)
    }

    /// Encrypted bytes wait for the socket.
    pub fn has_pending(&self) -> bool {
        self.machine.wants_write()
    }

    /// Encrypts as much as fits, after all that was encrypted before is in the kernel; 0 while it is not.
    pub fn write(&mut self, stream: &TcpStream, slices: &[IoSlice]) -> io::Result<usize> {
        let count = if self.flush(stream)? { self.machine.writer().write_vectored(slices)? } else { 0 };
        self.flush(stream)?;
        Ok(count)
    }

    /// Hands what is encrypted to the socket; false if it takes no more now.
    pub fn flush(&mut self, stream: &TcpStream) -> io::Result<bool> {
        while self.machine.wants_write() {
            match self.machine.write_tls(&mut Socket(stream)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Reads plain bytes into `buffer` as [`Read`] does; `WouldBlock` if there are none now.
    pub fn read(&mut self, stream: &TcpStream, buffer: &mut [u8]) -> Result<usize, PublishError> {
        loop {
            match self.machine.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Many servers end without the closing alert.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                other => return Ok(other?),
            }
            self.receive(stream)?;
        }
    }

    /// Says that no more comes from us.
    pub fn end(&mut self) {
        self.machine.send_close_notify();
    }

    /// Takes records from the socket.
    fn receive(&mut self, stream: &TcpStream) -> Result<(), PublishError> {
        let count = self.machine.read_tls(&mut Socket(stream))?;
        if count == 0 && self.machine.is_handshaking() {
            return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
        }
        if let Err(error) = self.machine.process_new_packets() {
            // The peer is told why; whether it hears it changes nothing.
            let _ = self.flush(stream);
            return Err(error.into());
        }
        Ok(())
    }
}

/// The socket as the blocking reader and writer that `rustls` knows, but one that never blocks.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.try_write(buffer)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The certificate is good, but not yet, by this box's clock.
pub fn is_too_early(error: &rustls::Error) -> bool {
    use CertificateError::{NotValidYet, NotValidYetContext};
    matches!(error, rustls::Error::InvalidCertificate(NotValidYet | NotValidYetContext { .. }))
}

/// What is wrong with a certificate, in words; `None` if the error is of another kind.
pub fn certificate_fault(error: &rustls::Error) -> Option<&'static str> {
    let rustls::Error::InvalidCertificate(fault) = error else { return None };
    Some(match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet (is this box's clock right?)"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => "is for another name",
        // A bad signature: an authority of the same name with another key, as after it was made anew.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is signed by an authority that is not trusted here (see `ca_file`)"
        }
        CertificateError::Revoked => "was revoked",
        _ => "is not acceptable",
    })
}
