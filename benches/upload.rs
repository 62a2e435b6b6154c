//! What the upload carries, beside `aws s3 cp --recursive` with the same files to the same store, one run each: throughput, and CPU
//! of the sender. Printed, not judged.

#[path = "../tests/bucket/mod.rs"]
mod bucket;

use std::path::Path;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use onaird::archive::upload::{Room, run};
use onaird::clock::MediaClock;
use onaird::config;
use onaird::control::UploadShare;
use onaird::report::{Events, Report};
use onaird::status::Status;
use onaird::units::ByteSize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use bucket::moto::aws;
use bucket::shelf::Shelf;
use bucket::{BUCKET, Server, config, now};

const MIB: usize = 1 << 20;

fn main() {
    let home = tempfile::tempdir().expect("a folder");
    for (what, sizes) in [("8 segments of 64 MiB", vec![64 * MIB; 8]), ("100 segments of 1 MiB", vec![MIB; 100])] {
        let folder = home.path().join(format!("archive {what}"));
        let shelf = Shelf::fill(&folder, sizes.iter().copied());
        let total = sizes.iter().sum::<usize>() as f64 / MIB as f64;
        // Both from the page cache.
        shelf.names.iter().for_each(|name| drop(std::fs::read(folder.join(name.closed()))));
        let (seconds, cpu) = ours(&home.path().join(format!("store of onaird, {what}")), &shelf);
        print(what, "onaird", total, seconds, cpu);
        let (seconds, cpu) = theirs(&home.path().join(format!("store of aws, {what}")), &folder);
        print(what, "aws s3 cp", total, seconds, cpu);
    }
}

fn print(what: &str, who: &str, mib: f64, seconds: f64, cpu: Duration) {
    let each = cpu.as_secs_f64() * 1000.0 / mib;
    println!("{what:<24} {who:<10} {:>7.1} MiB/s {each:>7.2} ms CPU per MiB", mib / seconds);
}

fn ours(store: &Path, shelf: &Shelf) -> (f64, Duration) {
    let server = Server::start(store);
    gstreamer::init().expect("GStreamer");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (begin, before) = (now(), cpu(UsageWho::RUSAGE_SELF));
    runtime.block_on(async {
        let status = watch::Sender::new(Status::default());
        let (_share, share) = watch::channel(UploadShare::WHOLE);
        let clock = MediaClock::start();
        let config = config::Upload { part_size: ByteSize::from_bytes(8 << 20), ..config(&server.endpoint()) };
        let report = Report::new(&status, |status| &mut status.archive.upload);
        let events = Events::new(&status, clock.clone());
        let room = Room { config, device: "bench".into(), folder: shelf.folder.clone(), share, clock, report, events };
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(room, stop.clone()));
        let wanted = shelf.names.len() as u64;
        let all = status.subscribe().wait_for(|status| status.archive.upload.uploaded == wanted).await.is_ok();
        assert!(all, "the uploader has ended");
        stop.cancel();
        task.await.expect("it ends well");
    });
    (begin.elapsed().as_secs_f64(), cpu(UsageWho::RUSAGE_SELF) - before)
}

fn theirs(store: &Path, folder: &Path) -> (f64, Duration) {
    let server = Server::start(store);
    let (begin, before) = (now(), cpu(UsageWho::RUSAGE_CHILDREN));
    let from = folder.to_str().expect("a plain name");
    let to = format!("s3://{BUCKET}/copy/");
    let output = aws(&server.endpoint(), &["s3", "cp", "--recursive", "--quiet", "--exclude", "index*", from, &to]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (begin.elapsed().as_secs_f64(), cpu(UsageWho::RUSAGE_CHILDREN) - before)
}

fn cpu(who: UsageWho) -> Duration {
    let usage = getrusage(who).expect("the kernel tells");
    let spent = |time: TimeVal| Duration::from_micros(time.tv_sec() as u64 * 1_000_000 + time.tv_usec() as u64);
    spent(usage.user_time()) + spent(usage.system_time())
}
