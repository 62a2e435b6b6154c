//! How long a packet takes from the hub to the reader of a socket, and whether a sibling leg in a black hole changes that.
//!
//! Both ends read the same clock. The time ends when the receiver holds the packet's last byte, so that its own waking up is
//! in the figures.

use std::time::Duration;

use crate::peer::{Job, Pace};
use crate::process::Running;
use crate::sink::Sink;
use crate::{seconds, time};

pub fn run() {
    println!("\nfrom hub to receiver at the same rate, one leg; goal: 99 % within 5 ms");
    println!("{:<28} {:>9} {:>9} {:>9} {:>9} {:>9}", "", "packets", "missing", "50 % ms", "99 % ms", "max ms");
    let mut sink = Sink::start(None);
    let ports = sink.ports;
    line("alone", &mut sink, vec![ports.stamps]);
    line("beside a healthy leg", &mut sink, vec![ports.stamps, ports.rtmp]);
    line("beside a leg in a black hole", &mut sink, vec![ports.stamps, ports.hole]);
    println!("connections that the black hole has swallowed: {}", sink.control.swallowed());
}

fn line(name: &str, sink: &mut Sink, ports: Vec<u16>) {
    let job = Job { pace: Pace::Stamped, control: sink.ports.control, ports };
    let publisher = Running::start(&mut job.command("onaird"));
    time::pause(Duration::from_secs(1));
    // What came while it started does not count.
    sink.control.latencies();
    time::pause(seconds() * 3);
    let (mut latencies, missing) = sink.control.latencies();
    drop(publisher);
    latencies.sort_unstable();
    let part = |part: f64| latencies.get(((latencies.len() as f64 * part).ceil() as usize).saturating_sub(1));
    let millis = |nanos: Option<&u64>| nanos.map_or("-".to_owned(), |nanos| format!("{:.2}", *nanos as f64 / 1e6));
    let [half, most, all] = [0.5, 0.99, 1.0].map(|wanted| millis(part(wanted)));
    println!("{name:<28} {:>9} {missing:>9} {half:>9} {most:>9} {all:>9}", latencies.len());
}
