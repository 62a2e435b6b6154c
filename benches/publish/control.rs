//! Questions to the receiver, one line each, and its answers. Asked by the one who measures, and by our own publisher at full
//! speed: the hub forgets what a leg has not read in time, so its feeder must know how far the legs have got.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

pub struct Control {
    stream: BufReader<TcpStream>,
}

impl Control {
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the receiver's control port");
        stream.set_nodelay(true).expect("no delay");
        Self { stream: BufReader::new(stream) }
    }

    /// Bytes received on all connections since its start.
    pub fn bytes(&mut self) -> u64 {
        self.number("bytes")
    }

    /// Waits until so many connections exist and all have gone quiet; how many bytes the slowest has brought.
    pub fn settled(&mut self, connections: usize) -> u64 {
        self.number(&format!("settled {connections}"))
    }

    /// Waits until every open connection has brought so many bytes.
    pub fn reached(&mut self, bytes: u64) {
        self.number(&format!("reached {bytes}"));
    }

    /// Connections that the black hole has swallowed.
    pub fn swallowed(&mut self) -> u64 {
        self.number("swallowed")
    }

    /// Nanoseconds from hub to receiver of every packet since the last question, and how many were missing.
    pub fn latencies(&mut self) -> (Vec<u64>, u64) {
        let mut numbers =
            self.ask("latencies").split_whitespace().map(|word| word.parse().expect("a number")).collect::<Vec<_>>();
        let missing = numbers.pop().expect("the number of missing packets");
        (numbers, missing)
    }

    fn number(&mut self, question: &str) -> u64 {
        self.ask(question).trim().parse().expect("a number from the receiver")
    }

    fn ask(&mut self, question: &str) -> String {
        self.stream.get_mut().write_all(format!("{question}\n").as_bytes()).expect("the receiver listens");
        let mut answer = String::new();
        self.stream.read_line(&mut answer).expect("the receiver's answer");
        answer
    }
}
