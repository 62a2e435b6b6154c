//! What nobody can undercut: the same bytes, written to TCP by one thread without any protocol.

use std::io::{self, IoSlice, Write};
use std::net::TcpStream;
use std::sync::mpsc::sync_channel;
use std::thread;

use crate::clip::{Clip, Tag};
use crate::peer::{Job, Pace};
use crate::time;

/// Tags in one write, if batched.
const BATCH: usize = 64;

/// Publishes until it is killed.
pub fn publish(job: &Job) {
    let clip = Clip::load();
    let mut streams: Vec<TcpStream> = job.ports.iter().map(|port| connect(*port)).collect();
    let result = match job.pace {
        Pace::Batched => batches(&clip, &mut streams),
        Pace::Full => tags(&clip, &mut streams, |_| {}),
        Pace::HandedOver => handed_over(&clip, &mut streams),
        _ => {
            let start = time::now();
            tags(&clip, &mut streams, |due| time::pause_until(start + due))
        }
    };
    result.expect("the receiver takes all");
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the receiver");
    stream.set_nodelay(true).expect("no delay");
    stream
}

fn tags(clip: &Clip, streams: &mut [TcpStream], wait: impl Fn(std::time::Duration)) -> io::Result<()> {
    for (due, tag) in clip.endless() {
        wait(due);
        for stream in &mut *streams {
            stream.write_all(&tag.body)?;
        }
    }
    Ok(())
}

/// As from an encoder's thread to a network thread: what any publisher costs that does not write from within the encoder.
fn handed_over(clip: &Clip, streams: &mut [TcpStream]) -> io::Result<()> {
    let (sender, receiver) = sync_channel::<Tag>(BATCH);
    thread::scope(|scope| {
        let writer = scope.spawn(move || {
            for tag in receiver {
                streams.iter_mut().try_for_each(|stream| stream.write_all(&tag.body))?;
            }
            Ok(())
        });
        let start = time::now();
        for (due, tag) in clip.endless() {
            time::pause_until(start + due);
            if sender.send(tag.clone()).is_err() {
                break;
            }
        }
        writer.join().expect("no panic in the writer")
    })
}

fn batches(clip: &Clip, streams: &mut [TcpStream]) -> io::Result<()> {
    loop {
        for batch in clip.tags.chunks(BATCH) {
            for stream in &mut *streams {
                write_all(stream, batch)?;
            }
        }
    }
}

fn write_all(stream: &mut TcpStream, tags: &[Tag]) -> io::Result<()> {
    let mut slices: Vec<IoSlice> = tags.iter().map(|tag| IoSlice::new(&tag.body)).collect();
    let mut slices = &mut slices[..];
    while !slices.is_empty() {
        let count = stream.write_vectored(slices)?;
        IoSlice::advance_slices(&mut slices, count);
    }
    Ok(())
}
