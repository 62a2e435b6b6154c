//! The bench's network: the box in the middle, and each origin in a namespace of its own at the end of a line of its own.
//!
//! ```text
//!              ┌─ to-a ───── uplink ─ namespace a      10.77.1.2   preferred origin of leg a
//!  box (here) ─┼─ to-spare ─ uplink ─ namespace spare  10.77.2.2   its spare
//!              └─ to-b ───── uplink ─ namespace b      10.77.3.2   leg b: never touched, the reference
//! ```
//!
//! Faults are what the kernel does with packets: it drops, rejects or slows them. Packets are dropped where they arrive, so that
//! no sender learns of it. Delay and loss are [`super::rough`]'s.

use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns};

use super::support::tool;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Of the namespace at its end.
    pub name: &'static str,
    /// The interface at the box.
    pub device: &'static str,
    subnet: u8,
}

pub const A: Line = Line { name: "a", device: "to-a", subnet: 1 };
pub const SPARE: Line = Line { name: "spare", device: "to-spare", subnet: 2 };
pub const B: Line = Line { name: "b", device: "to-b", subnet: 3 };

const LINES: [Line; 3] = [A, SPARE, B];

/// All lines; they go with it.
pub struct Network(());

impl Network {
    pub fn build() -> Self {
        let network = Self(());
        for line in LINES {
            let Line { name, device, subnet } = line;
            tool("ip", &["netns", "add", name]);
            let pair = format!("link add {device} type veth peer name uplink netns {name}");
            batch(&[], &format!("{pair}\naddress add 10.77.{subnet}.1/24 dev {device}\nlink set {device} up\n"));
            let end = format!("address add 10.77.{subnet}.2/24 dev uplink\nlink set uplink up\nlink set lo up\n");
            batch(&["-netns", name], &format!("{end}route add default via 10.77.{subnet}.1\n"));
        }
        network
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The box's ends of the lines go with the others.
        for line in LINES {
            let _ = Command::new("ip").args(["netns", "delete", line.name]).stderr(Stdio::null()).status();
            let _ = Command::new("ip").args(["link", "delete", line.device]).stderr(Stdio::null()).status();
        }
        let _ = Command::new("iptables").arg("--flush").status();
    }
}

impl Line {
    /// Of the origin.
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.subnet, 2)
    }

    /// What a command begins with to run at the line's end.
    pub fn entry(self) -> Vec<String> {
        vec!["nsenter".into(), format!("--net={}", self.path()), "--".into()]
    }

    /// Runs `body` in a thread whose sockets belong to the line's end.
    pub fn thread<T: Send + 'static>(self, body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        thread::spawn(move || {
            setns(File::open(self.path()).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            body()
        })
    }

    /// Nothing arrives any more, at either end, and nobody is told.
    pub fn go_silent(self) {
        self.firewall("-A INPUT -i uplink -j DROP");
        tool("iptables", &["--append", "INPUT", "--in-interface", self.device, "--jump", "DROP"]);
    }

    /// Every packet to the origin's RTMP port is answered by a reset.
    pub fn reset_all(self) {
        self.firewall("-A INPUT -i uplink -p tcp --dport 1935 -j REJECT --reject-with tcp-reset");
    }

    /// All packets, both ways, through a queue: 1 what arrives at the origin, 2 what leaves it.
    pub fn through_queues(self) {
        self.firewall("-A INPUT -i uplink -j NFQUEUE --queue-num 1\n-A OUTPUT -o uplink -j NFQUEUE --queue-num 2");
    }

    /// Takes the firewall's rules away again, at both ends.
    pub fn heal(self) {
        self.firewall("-F");
        let rule = ["--in-interface", self.device, "--jump", "DROP"];
        let _ = Command::new("iptables").args([&["--delete", "INPUT"], &rule[..]].concat()).stderr(Stdio::null()).status();
    }

    /// Limits what leaves the box here.
    pub fn limit(self, bits_per_second: u64) {
        let rate = format!("{bits_per_second}bit");
        let shape = ["root", "tbf", "rate", &rate, "burst", "32kb", "latency", "400ms"];
        tool("tc", &[&["qdisc", "replace", "dev", self.device], &shape[..]].concat());
    }

    pub fn unlimited(self) {
        let _ = Command::new("tc").args(["qdisc", "delete", "dev", self.device, "root"]).stderr(Stdio::null()).status();
    }

    pub fn pull_out(self) {
        tool("ip", &["link", "set", self.device, "down"]);
    }

    pub fn plug_in(self) {
        tool("ip", &["link", "set", self.device, "up"]);
    }

    fn path(self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Rules at the line's end, all at once.
    fn firewall(self, rules: &str) {
        let entry = self.entry();
        let mut command: Vec<&str> = entry.iter().map(String::as_str).collect();
        command.extend(["iptables-restore", "--noflush"]);
        feed(&command, &format!("*filter\n{rules}\nCOMMIT\n"));
    }
}

fn batch(options: &[&str], lines: &str) {
    feed(&[&["ip"], options, &["-batch", "-"]].concat(), lines);
}

fn feed(command: &[&str], text: &str) {
    let mut child = Command::new(command[0]).args(&command[1..]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{command:?} did not take: {text}");
}
