//! A rough line: delay, jitter and loss, for a kernel without netem. The kernel hands every packet of a line to this thread by
//! NFQUEUE; it lets the packet go later, or never. The order is kept: this is a long line, not several.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nfq::{Message, Queue, Verdict};

use super::network::Line;
use super::support::{now, pause};

/// Between two looks while nothing is due.
const LOOK: Duration = Duration::from_micros(500);

/// Packets that wait in one direction, at most: seconds of a fast stream.
const WAITING: u32 = 20_000;

/// Of each direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    pub delay: Duration,
    /// Added to it, up to so much.
    pub jitter: Duration,
    pub loss_percent: f64,
}

/// The weather lasts as long as this.
pub struct Rough {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    line: Line,
}

impl Rough {
    pub fn start(line: Line, weather: Weather) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = sync_channel(1);
        let thread = line.thread({
            let end = end.clone();
            move || {
                let mut ways = [Way::open(1, weather), Way::open(2, weather)];
                ready.send(()).unwrap();
                while !end.load(Ordering::Relaxed) {
                    let busy = ways.iter_mut().map(Way::turn).fold(false, |one, other| one | other);
                    if !busy {
                        pause(LOOK);
                    }
                }
            }
        });
        is_ready.recv().unwrap();
        line.through_queues();
        Self { end, thread: Some(thread), line }
    }
}

impl Drop for Rough {
    fn drop(&mut self) {
        // First the rules: packets for a queue that nobody reads are lost.
        if !std::thread::panicking() {
            self.line.heal();
        }
        self.end.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// One direction.
struct Way {
    queue: Queue,
    weather: Weather,
    waiting: VecDeque<(Instant, Message)>,
    last_due: Instant,
}

impl Way {
    fn open(number: u16, weather: Weather) -> Self {
        let mut queue = Queue::open().unwrap();
        queue.bind(number).unwrap();
        queue.set_queue_max_len(number, WAITING).unwrap();
        queue.set_recv_enobufs(false).unwrap();
        queue.set_nonblocking(true);
        Self { queue, weather, waiting: VecDeque::new(), last_due: now() }
    }

    /// Takes what has come and lets go what is due; whether there was anything.
    fn turn(&mut self) -> bool {
        let mut busy = false;
        loop {
            match self.queue.recv() {
                Ok(message) => self.take(message),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("NFQUEUE: {error}"),
            }
            busy = true;
        }
        while self.waiting.front().is_some_and(|(due, _)| *due <= now()) {
            let (_, message) = self.waiting.pop_front().unwrap();
            self.decide(message, Verdict::Accept);
            busy = true;
        }
        busy
    }

    fn take(&mut self, message: Message) {
        if fastrand::f64() * 100.0 < self.weather.loss_percent {
            return self.decide(message, Verdict::Drop);
        }
        let due = now() + self.weather.delay + self.weather.jitter.mul_f64(fastrand::f64());
        self.last_due = self.last_due.max(due);
        self.waiting.push_back((self.last_due, message));
    }

    fn decide(&mut self, mut message: Message, verdict: Verdict) {
        message.set_verdict(verdict);
        match self.queue.verdict(message) {
            // The kernel has forgotten the packet, as it does when an interface goes down.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            result => result.unwrap(),
        }
    }
}
