//! A name server of the bench's own: it gives one address for every name, another one from a moment on, or no answer at all.
//! It knows the one question that a resolver asks here and caches nothing.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Of an A record (RFC 1035).
const TYPE_A: [u8; 2] = [0, 1];

pub struct Dns {
    /// `None`: no answer. Dropped with the owner.
    address: Arc<Mutex<Option<Ipv4Addr>>>,
}

impl Dns {
    /// Listens where `/etc/resolv.conf` says from now on.
    pub fn start(address: Ipv4Addr) -> Self {
        std::fs::write("/etc/resolv.conf", "nameserver 127.0.0.53\n").unwrap();
        let socket = UdpSocket::bind("127.0.0.53:53").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let address = Arc::new(Mutex::new(Some(address)));
        let watched = Arc::downgrade(&address);
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Some(address) = watched.upgrade() {
                let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
                let answer = address.lock().unwrap().and_then(|address| answer(&buffer[..length], address));
                let _ = answer.map(|answer| socket.send_to(&answer, peer));
            }
        });
        Self { address }
    }

    pub fn change(&self, address: Ipv4Addr) {
        *self.address.lock().unwrap() = Some(address);
    }

    /// From now on it hears and says nothing.
    pub fn die(&self) {
        *self.address.lock().unwrap() = None;
    }
}

/// The question again, with one address of no lifetime behind it if it is about addresses.
fn answer(question: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    let name_end = 12 + question.get(12..)?.iter().position(|byte| *byte == 0)?;
    let kind = question.get(name_end + 1..name_end + 3)?;
    let mut answer = question.get(..name_end + 5)?.to_vec();
    // A response without error; one question, and nothing but an answer.
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[6..12].copy_from_slice(&[0, u8::from(kind == TYPE_A), 0, 0, 0, 0]);
    if kind == TYPE_A {
        // The name is the one at byte 12; class IN, 0 s, 4 bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

#[test]
fn a_question_gets_the_address_and_one_about_ipv6_gets_none() {
    let question = |kind: u8| [&[7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'h', 0, 0, kind, 0, 1][..]].concat();
    let told = answer(&question(1), Ipv4Addr::new(10, 77, 1, 2)).unwrap();
    assert_eq!((&told[..2], told[7], &told[told.len() - 4..]), (&[7, 7][..], 1, &[10, 77, 1, 2][..]));
    let told = answer(&question(28), Ipv4Addr::LOCALHOST).unwrap();
    assert_eq!((told[7], told.len()), (0, 19));
    assert_eq!(answer(&question(1)[..14], Ipv4Addr::LOCALHOST), None);
}
