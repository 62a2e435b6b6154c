//! What the kernel knows of a connection: `TCP_INFO` and the output queue. A shell around two system calls, because nothing
//! above the kernel can tell bytes that wait from bytes that the peer has. It judges nothing: see [`health`](super::health).
#![allow(unsafe_code, reason = "getsockopt(TCP_INFO) and ioctl(SIOCOUTQ) have no safe form in the crates at hand")]

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use nix::libc;

use super::health::SocketTruth;

/// Offsets in `struct tcp_info` (linux/tcp.h), which only ever grows at its end.
const RTT_MICROS: usize = 68;
const BYTES_ACKED: usize = 120;

/// More than any kernel fills in so far; a longer one is cut.
type Info = [u8; 512];

pub fn truth(socket: &impl AsRawFd) -> io::Result<SocketTruth> {
    let info = tcp_info(socket.as_raw_fd())?;
    let rtt = u32::from_ne_bytes(*info[RTT_MICROS..].first_chunk().expect("the offset lies within the array"));
    let acked_bytes = u64::from_ne_bytes(*info[BYTES_ACKED..].first_chunk().expect("the offset lies within the array"));
    let unacked_bytes = output_queue(socket.as_raw_fd())?;
    Ok(SocketTruth { acked_bytes, unacked_bytes, rtt: Duration::from_micros(rtt.into()) })
}

fn tcp_info(socket: RawFd) -> io::Result<Info> {
    let mut info: Info = [0; 512];
    let mut length = info.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which is the size of the array behind the pointer.
    let result = unsafe { libc::getsockopt(socket, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &mut length) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if (length as usize) < BYTES_ACKED + 8 {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel does not count acknowledged bytes"));
    }
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
    }
}
