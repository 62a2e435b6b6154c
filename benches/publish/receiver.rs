//! The process that everything is published to. It takes bytes, counts them and throws them away, most of them before they
//! have left the kernel; how it takes them depends on the port.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};
use onaird::publish::wire::kind;
use socket2::SockRef;

use crate::rtmp::{self, Accepted};
use crate::sink::STAMP;
use crate::time;

/// At most so much is taken by one call: about what the kernel holds for one connection.
const READ: usize = 4 << 20;

/// Without a byte for so long, all connections have gone quiet.
const QUIET: Duration = Duration::from_millis(60);

struct Tally {
    total: AtomicU64,
    swallowed: AtomicU64,
    open: Mutex<Vec<Arc<AtomicU64>>>,
    /// Who waits until all open connections have brought `wanted` bytes.
    waiting: Mutex<Option<TcpStream>>,
    wanted: AtomicU64,
    latencies: Mutex<Vec<u64>>,
    missing: AtomicU64,
}

type Taker = fn(&mut TcpStream, &Arc<Tally>) -> io::Result<()>;

/// Serves until it is killed. Its ports, in the order of [`crate::sink::Ports`], are the one line that it prints.
pub fn serve() {
    let tally = Arc::new(Tally {
        total: AtomicU64::new(0),
        swallowed: AtomicU64::new(0),
        open: Mutex::default(),
        waiting: Mutex::default(),
        wanted: AtomicU64::new(u64::MAX),
        latencies: Mutex::default(),
        missing: AtomicU64::new(0),
    });
    let takers: [Taker; 6] = [discard_raw, discard_media, acknowledge_media, read_stamps, swallow, control];
    let ports = takers.map(|taker| listen(&tally, taker).to_string());
    println!("{}", ports.join(" "));
    loop {
        thread::park();
    }
}

fn listen(tally: &Arc<Tally>, taker: Taker) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (port, tally) = (listener.local_addr().expect("its address").port(), tally.clone());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let tally = tally.clone();
            thread::spawn(move || taker(&mut stream, &tally));
        }
    });
    port
}

/// A connection that is counted.
struct Open<'a> {
    tally: &'a Tally,
    count: Arc<AtomicU64>,
}

impl<'a> Open<'a> {
    fn new(tally: &'a Tally) -> Self {
        let count = Arc::<AtomicU64>::default();
        tally.open.lock().expect("no panic elsewhere").push(count.clone());
        Self { tally, count }
    }

    /// The number of bytes on this connection so far.
    fn add(&self, bytes: usize) -> u64 {
        self.tally.total.fetch_add(bytes as u64, Relaxed);
        let count = self.count.fetch_add(bytes as u64, Relaxed) + bytes as u64;
        if count >= self.tally.wanted.load(Relaxed) {
            self.tally.tell_who_waits();
        }
        count
    }

    /// Throws away what comes next; 0 at the end.
    fn discard(&self, stream: &TcpStream, buffer: &mut [u8]) -> io::Result<u64> {
        match recv(stream.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC)? {
            0 => Ok(0),
            count => Ok(self.add(count)),
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.tally.open.lock().expect("no panic elsewhere").retain(|count| !Arc::ptr_eq(count, &self.count));
    }
}

impl Tally {
    /// Number of open connections, and bytes of the one that has brought least.
    fn slowest(&self) -> (usize, u64) {
        let open = self.open.lock().expect("no panic elsewhere");
        (open.len(), open.iter().map(|count| count.load(Relaxed)).min().unwrap_or(0))
    }

    fn tell_who_waits(&self) {
        let mut waiting = self.waiting.lock().expect("no panic elsewhere");
        if self.slowest().1 >= self.wanted.load(Relaxed)
            && let Some(mut stream) = waiting.take()
        {
            self.wanted.store(u64::MAX, Relaxed);
            let _ = stream.write_all(b"0\n");
        }
    }

    /// The answer follows when it is true.
    fn wait(&self, stream: &TcpStream, bytes: u64) -> io::Result<()> {
        *self.waiting.lock().expect("no panic elsewhere") = Some(stream.try_clone()?);
        self.wanted.store(bytes, Relaxed);
        self.tell_who_waits();
        Ok(())
    }

    fn settled(&self, connections: usize) -> u64 {
        let mut last = (0, 0);
        loop {
            time::pause(QUIET);
            let seen = self.slowest();
            if seen == last && seen.0 == connections && seen.1 > 0 {
                return seen.1;
            }
            last = seen;
        }
    }
}

fn discard_raw(stream: &mut TcpStream, tally: &Arc<Tally>) -> io::Result<()> {
    let (open, mut buffer) = (Open::new(tally), vec![0; READ]);
    while open.discard(stream, &mut buffer)? > 0 {}
    Ok(())
}

fn discard_media(stream: &mut TcpStream, tally: &Arc<Tally>) -> io::Result<()> {
    rtmp::accept(stream)?;
    discard_raw(stream, tally)
}

/// As real servers do it: a word about the bytes whenever the window that the publisher wished for is full.
fn acknowledge_media(stream: &mut TcpStream, tally: &Arc<Tally>) -> io::Result<()> {
    let Accepted { window, .. } = rtmp::accept(stream)?;
    let (open, mut buffer, mut told) = (Open::new(tally), vec![0; READ], 0);
    loop {
        let count = open.discard(stream, &mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        if window > 0 && count - told >= window {
            rtmp::acknowledge(stream, count)?;
            told = count;
        }
    }
}

/// Reads packets that carry a number and the time of their publication.
fn read_stamps(stream: &mut TcpStream, tally: &Arc<Tally>) -> io::Result<()> {
    let mut reader = rtmp::accept(stream)?.reader;
    let (open, mut buffer, mut next) = (Open::new(tally), vec![0; 64 << 10], None);
    loop {
        let count = stream.read(&mut buffer)?;
        let now = time::now().as_nanos() as u64;
        if count == 0 {
            return Ok(());
        }
        open.add(count);
        reader.feed(&buffer[..count]);
        while let Some(message) = reader.message().map_err(io::Error::other)? {
            if let Some((number, published)) = stamp(message.kind, &message.payload) {
                tally.missing.fetch_add(number - next.unwrap_or(number), Relaxed);
                next = Some(number + 1);
                tally.latencies.lock().expect("no panic elsewhere").push(now - published);
            }
        }
    }
}

/// Number of the packet, and when it was published.
fn stamp(message: u8, body: &[u8]) -> Option<(u64, u64)> {
    let header = if message == kind::VIDEO { 5 } else { 2 };
    let stamp = body.get(header..)?.strip_prefix(STAMP)?;
    let number = |at: usize| Some(u64::from_be_bytes(stamp.get(at..at + 8)?.try_into().ok()?));
    Some((number(0)?, number(8)?))
}

/// Takes the publisher's first words, and then nothing, for ever.
fn swallow(stream: &mut TcpStream, tally: &Arc<Tally>) -> io::Result<()> {
    rtmp::accept(stream)?;
    SockRef::from(&*stream).set_recv_buffer_size(4096)?;
    tally.swallowed.fetch_add(1, Relaxed);
    loop {
        thread::park();
    }
}

/// The receiver's side of [`crate::control`].
fn control(stream: &mut TcpStream, tally: &Arc<Tally>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        let (question, argument) = line.split_once(' ').unwrap_or((&line, "0"));
        let argument: u64 = argument.parse().map_err(io::Error::other)?;
        let answer = match question {
            "bytes" => tally.total.load(Relaxed).to_string(),
            "settled" => tally.settled(argument as usize).to_string(),
            "swallowed" => tally.swallowed.load(Relaxed).to_string(),
            "latencies" => latencies(tally),
            "reached" => {
                tally.wait(stream, argument)?;
                continue;
            }
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        stream.write_all(format!("{answer}\n").as_bytes())?;
    }
    Ok(())
}

fn latencies(tally: &Tally) -> String {
    let latencies = std::mem::take(&mut *tally.latencies.lock().expect("no panic elsewhere"));
    let missing = tally.missing.swap(0, Relaxed);
    let words = latencies.into_iter().chain([missing]).map(|number| number.to_string());
    words.collect::<Vec<_>>().join(" ")
}
