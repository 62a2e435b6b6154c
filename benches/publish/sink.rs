//! The receiver as those see it who start it: a process with some ports.

use std::io::{BufRead, BufReader};

use crate::control::Control;
use crate::process::{Running, myself, on_cpu};

/// Before the number and the time in a stamped packet.
pub const STAMP: &[u8] = b"stamped:";

/// Each takes what is published to it in its own way.
#[derive(Clone, Copy)]
pub struct Ports {
    /// Any bytes.
    pub raw: u16,
    /// RTMP; says nothing once media flows.
    pub rtmp: u16,
    /// RTMP; acknowledges as often as the publisher wishes.
    pub acking: u16,
    /// RTMP; reads every packet's stamp.
    pub stamps: u16,
    /// RTMP; takes nothing once media flows.
    pub hole: u16,
    pub control: u16,
}

pub struct Sink {
    pub ports: Ports,
    pub control: Control,
    _process: Running,
}

impl Sink {
    pub fn start(cpu: Option<usize>) -> Self {
        let mut command = myself();
        command.arg("receiver");
        let mut process = Running::start(&mut on_cpu(command, cpu));
        let mut line = String::new();
        let output = process.child.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("the receiver's ports");
        let mut ports = line.split_whitespace().map(|word| word.parse().expect("a port"));
        let mut port = || ports.next().expect("six ports");
        let ports = Ports { raw: port(), rtmp: port(), acking: port(), stamps: port(), hole: port(), control: port() };
        Self { ports, control: Control::connect(ports.control), _process: process }
    }
}
