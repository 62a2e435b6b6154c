//! What the kernel knows of a connection: `TCP_INFO` and the output queue. A shell around two system calls, because nothing
//! above the kernel can tell bytes that wait from bytes that the peer has. It judges nothing: see [`detect`](super::detect).
#![allow(unsafe_code, reason = "getsockopt(TCP_INFO) and ioctl(SIOCOUTQ) have no safe form in the crates at hand")]

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use nix::libc;

use super::health::SocketTruth;

/// Offsets in `struct tcp_info` (linux/tcp.h), which only ever grows at its end.
mod offset {
    /// RTOs in a row without an answer.
    pub const RETRANSMITS: usize = 2;
    pub const RTO_MICROS: usize = 8;
    /// Since the last ACK came.
    pub const ACK_MILLIS: usize = 56;
    pub const RTT_MICROS: usize = 68;
    pub const TOTAL_RETRANS: usize = 100;
    pub const BYTES_ACKED: usize = 120;
    pub const NOTSENT_BYTES: usize = 144;
    /// Since Linux 5.4.
    pub const SEND_WINDOW: usize = 228;
}

/// More than any kernel fills in so far; a longer one is cut.
struct Info {
    bytes: [u8; 512],
    length: usize,
}

impl Info {
    fn u32(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes[..self.length].get(at..at + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    }

    fn u64(&self, at: usize) -> Option<u64> {
        let bytes = self.bytes[..self.length].get(at..at + 8)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    }

    fn micros(&self, at: usize) -> Duration {
        Duration::from_micros(self.u32(at).unwrap_or_default().into())
    }
}

/// One look at a socket.
pub fn truth(socket: &impl AsRawFd) -> io::Result<SocketTruth> {
    let info = tcp_info(socket.as_raw_fd())?;
    let unsupported = || io::Error::new(io::ErrorKind::Unsupported, "the kernel does not count acknowledged bytes");
    Ok(SocketTruth {
        acked_bytes: info.u64(offset::BYTES_ACKED).ok_or_else(unsupported)?,
        unacked_bytes: output_queue(socket.as_raw_fd())?,
        unsent_bytes: info.u32(offset::NOTSENT_BYTES).unwrap_or_default().into(),
        rtt: info.micros(offset::RTT_MICROS),
        rto: info.micros(offset::RTO_MICROS),
        retransmits: info.bytes[offset::RETRANSMITS],
        resent: info.u32(offset::TOTAL_RETRANS).unwrap_or_default(),
        window_bytes: info.u32(offset::SEND_WINDOW).map(u64::from),
        heard_ago: info.u32(offset::ACK_MILLIS).map(|millis| Duration::from_millis(millis.into())),
    })
}

fn tcp_info(socket: RawFd) -> io::Result<Info> {
    let mut info = Info { bytes: [0; 512], length: 0 };
    let mut length = info.bytes.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which is the size of the array behind the pointer.
    let result =
        unsafe { libc::getsockopt(socket, libc::IPPROTO_TCP, libc::TCP_INFO, info.bytes.as_mut_ptr().cast(), &mut length) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    info.length = (length as usize).min(info.bytes.len());
    Ok(info)
}

/// Bytes that the peer has not acknowledged, sent or not (SIOCOUTQ, which has the number of TIOCOUTQ).
fn output_queue(socket: RawFd) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: this request writes one int, to which the pointer leads.
    let result = unsafe { libc::ioctl(socket, libc::TIOCOUTQ, &mut bytes) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(bytes.max(0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn counts_what_the_peer_s_kernel_has() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let before = truth(&client).unwrap();
        client.write_all(&[7; 10_000]).unwrap();
        server.read_exact(&mut [0; 10_000]).unwrap();
        let after = (0..1_000_000).map(|_| truth(&client).unwrap()).find(|truth| truth.unacked_bytes == 0).unwrap();
        assert_eq!(after.acked_bytes - before.acked_bytes, 10_000);
        assert!(after.rtt > Duration::ZERO && after.rtt < Duration::from_secs(1));
        assert!(after.rto >= Duration::from_millis(1) && after.rto < Duration::from_secs(10), "{:?}", after.rto);
        assert!(after.window_bytes.is_none_or(|bytes| bytes > 10_000), "{:?}", after.window_bytes);
        assert!(after.heard_ago.is_some_and(|ago| ago < Duration::from_secs(1)), "{:?}", after.heard_ago);
        assert_eq!((after.unsent_bytes, after.retransmits, after.resent), (0, 0, 0));
    }
}
