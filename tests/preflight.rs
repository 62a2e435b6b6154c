//! Pre-flight against real origins: what a person reads before a show, and that a running stream does not feel it.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use onaird::demo::child::{self, Child};
use onaird::demo::origin::Origin;
use support::flv::{Flv, Track};
use support::{BINARY, Daemon, judge, poll, record_of, recorder};

const PROGRAM: &str = "version = 1\n[device]\nname = \"test\"\n[program]\nwidth = 640\nheight = 360\nframerate = \"30\"\n\
    video_bitrate = \"1M\"\nkeyframe_interval = 1\n[archive]\nenabled = false\n[[input]]\nname = \"test\"\nkind = \"test\"\n";

fn leg(name: &str, origins: &[(&str, &str)]) -> String {
    let origin = |(url, key): &(&str, &str)| format!("[[leg.origin]]\nurl = \"{url}\"\nstream_key = \"{key}\"\n");
    format!("[[leg]]\nname = \"{name}\"\n{}", origins.iter().map(origin).collect::<String>())
}

fn written(folder: &Path, legs: &[String]) -> PathBuf {
    let path = folder.join("checked.toml");
    std::fs::write(&path, [PROGRAM, &legs.concat()].concat()).unwrap();
    path
}

fn check(folder: &Path, config: &Path) -> Output {
    let mut command = Command::new(BINARY);
    command.args(["check", "--network", "--config"]).arg(config).arg("--socket").arg(folder.join("control.sock"));
    command.env_remove("RUST_LOG").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The line of this step; its words, without the time.
fn line<'t>(text: &'t str, leg: &str, origin: &str, step: &str) -> &'t str {
    let start = format!("{leg} {origin}  {step} ");
    let found = text.lines().find(|line| line.starts_with(&start));
    found.unwrap_or_else(|| panic!("no line {start:?} in\n{text}"))
}

fn assert_line(text: &str, place: (&str, &str, &str), words: &[&str]) {
    let line = line(text, place.0, place.1, place.2);
    assert!(words.iter().all(|word| line.contains(word)), "{words:?} in {line:?}");
}

/// Somebody else who publishes; until the value is dropped.
fn publisher(folder: &Path, url: &str) -> Child {
    let mut command = child::command(Path::new("ffmpeg"));
    let source = "-nostdin -v error -re -f lavfi -i testsrc2=size=320x180:rate=30 -c:v libx264 -preset ultrafast -g 30 -f flv";
    command.args(source.split(' ')).arg(url);
    Child::spawn(&mut command, &folder.join("ffmpeg.log")).unwrap()
}

fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn every_fault_has_its_line_and_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let mut good = recorder(&folder.path().join("1"));
    let url = good.url();
    let nowhere = url.replace("/live", "/nowhere");
    let closed = format!("rtmp://127.0.0.1:{}/live", closed_port());
    let nameless = "rtmp://no-such-host.invalid/live".to_owned();
    let silent_listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("rtmp://{}/live", silent_listener.local_addr().unwrap());
    let mut other = publisher(folder.path(), &format!("{url}/SECRET-busy"));
    assert!(poll(support::LIMIT, || good.records("SECRET-busy").first().cloned()).is_some(), "the other publisher is on");
    let places = [(&nowhere, "SECRET-1"), (&closed, "SECRET-2"), (&nameless, "SECRET-3"), (&silent, "SECRET-4")];
    let legs = [
        leg("a", &[&[(url.as_str(), "SECRET-good")], &places.map(|(url, key)| (url.as_str(), key))[..]].concat()),
        leg("b", &[(&url, "SECRET-busy")]),
    ];
    let output = check(folder.path(), &written(folder.path(), &legs));
    let said = text(&output.stdout);
    println!("{said}{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
    for step in ["dns", "tcp", "rtmp", "publish"] {
        assert_line(&said, ("a", &url, step), &["ok", " ms"]);
    }
    assert_line(&said, ("a", &url, "tls"), &["skipped", "not encrypted"]);
    assert_line(&said, ("a", &nowhere, "rtmp"), &["failed", "Check the application"]);
    assert_line(&said, ("a", &closed, "tcp"), &["failed", "refused", "Nothing listens"]);
    assert_line(&said, ("a", &nameless, "dns"), &["failed", "no-such-host.invalid", "name server"]);
    assert_line(&said, ("a", &silent, "rtmp"), &["failed", "handshake", "does not speak RTMP"]);
    assert_line(&said, ("b", &url, "publish"), &["failed", "BadName", "in use"]);
    assert!(!said.contains(&format!("a {nowhere}  publish")), "no step comes after one that has failed");
    let uplink = said.lines().last().unwrap();
    assert!(uplink.starts_with("all legs  uplink") && uplink.contains("ok") && uplink.contains("at least"), "{uplink}");
    assert!(uplink.ends_with("not measured: b: none of its origins took a publication"), "{uplink}");
    assert!(!said.contains("SECRET") && !text(&output.stderr).contains("SECRET"), "a stream key is shown");

    // The busy one was not thrown out, and what the uplink was measured with is a stream like any other.
    let bytes = || good.records("SECRET-busy").iter().map(|path| path.metadata().map_or(0, |data| data.len())).sum::<u64>();
    let before = bytes();
    assert!(poll(support::LIMIT, || (bytes() > before).then_some(())).is_some() && other.ended().is_none());
    filler_is_harmless(&mut good);
}

/// What was recorded under the good key: the attempt without media leaves no file, or an empty one.
fn filler_is_harmless(origin: &mut Origin) {
    origin.stop();
    let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |data| data.len());
    let record = origin.records("SECRET-good").into_iter().max_by_key(size).expect("the filler is recorded");
    assert!(size(&record) > 1_000_000, "{} bytes", size(&record));
    judge::decodes(&record);
    let record = Flv::read(&record);
    let video = record.media(Track::Video);
    assert!(video.len() > 100 && video.iter().all(|tag| tag.keyframe));
}

#[test]
fn all_is_well_and_the_figures_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (recorder(&folder.path().join("1")), recorder(&folder.path().join("2")));
    let legs = [leg("a", &[(&one.url(), "k")]), leg("b", &[(&two.url(), "k")])];
    let output = check(folder.path(), &written(folder.path(), &legs));
    let said = text(&output.stdout);
    println!("{said}");
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("checked.toml: no faults"));
    let uplink = said.lines().last().unwrap();
    // 1 Mbit/s of picture, 128 kbit/s of sound, 4 % of protocols; asked for is twice as much.
    assert!(uplink.contains("you need 1.2 Mbit/s per leg, 2.3 Mbit/s for both"), "{uplink}");
    let rate: f64 = uplink.split("at least ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((3.5..=5.2).contains(&rate), "{uplink}");
}

/// A line of 1 Mbit/s to this port: what its kernel acknowledges but has not passed on does not matter over 4 s.
fn narrow_line(port: u16) -> u16 {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.set_recv_buffer_size(32 << 10).unwrap();
    // Segments of 64 KiB, the loopback's, hardly fit into such a buffer.
    listener.set_tcp_mss(1460).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    listener.listen(8).unwrap();
    let listener = TcpListener::from(listener);
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut origin) = (client.unwrap(), TcpStream::connect(("127.0.0.1", port)).unwrap());
            let (mut back, mut to_client) = (origin.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut back, &mut to_client);
                let _ = to_client.shutdown(std::net::Shutdown::Write);
            });
            std::thread::spawn(move || {
                let mut buffer = [0; 2500];
                while let Ok(count @ 1..) = client.read(&mut buffer) {
                    if origin.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                    wait(Duration::from_millis(20) * count as u32 / 2500);
                }
                let _ = origin.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    address.port()
}

#[expect(clippy::disallowed_methods, reason = "a line that is slow on purpose")]
fn wait(duration: Duration) {
    std::thread::sleep(duration);
}

#[test]
fn a_line_that_is_too_narrow_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let origin = recorder(&folder.path().join("1"));
    let port = origin.url().rsplit(':').next().unwrap().split('/').next().unwrap().parse().unwrap();
    let narrow = format!("rtmp://127.0.0.1:{}/live", narrow_line(port));
    let output = check(folder.path(), &written(folder.path(), &[leg("a", &[(&narrow, "k")])]));
    let said = text(&output.stdout);
    let uplink = said.lines().last().unwrap();
    println!("{uplink}");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(uplink.contains("failed") && uplink.contains("Lower `video_bitrate`"), "{uplink}");
    let rate: f64 = uplink.split("at least ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((0.3..=1.1).contains(&rate), "the line carries 1 Mbit/s: {uplink}");
}

#[test]
fn a_running_stream_does_not_feel_it() {
    let folder = tempfile::tempdir().unwrap();
    let (mut main, spare) = (recorder(&folder.path().join("1")), recorder(&folder.path().join("2")));
    let legs = [leg("a", &[(&main.url(), "SECRET-a"), (&spare.url(), "SECRET-a")])];
    let config = [PROGRAM, &legs.concat()].concat();
    let mut daemon = Daemon::start(folder.path(), &config);
    daemon.all_live();
    daemon.frames(60);
    let output = daemon.ctl(&["preflight"]);
    let said = text(&output.stdout);
    println!("{said}{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
    assert_line(&said, ("a", &main.url(), "rtmp"), &["ok"]);
    assert_line(&said, ("a", &main.url(), "publish"), &["skipped", "publishing already (live)"]);
    assert_line(&said, ("a", &spare.url(), "publish"), &["ok"]);
    assert!(said.lines().last().unwrap().contains("not measured while a stream is running"), "{said}");

    let output = check(folder.path(), &written(folder.path(), &legs));
    let said = text(&output.stdout);
    println!("{said}");
    assert_line(&said, ("a", &main.url(), "publish"), &["skipped", "leg a of the running onaird is publishing there"]);
    assert_eq!(output.status.code(), Some(0));

    let status = daemon.frames(60);
    assert_eq!((status.legs[0].reconnects, status.legs[0].dropped_gops), (0, 0));
    let log = daemon.stop().log;
    assert!(!said.contains("SECRET") && !log.contains("SECRET"), "a stream key is shown");
    judge::no_gaps(&Flv::read(&record_of(&mut main, "SECRET-a")));
}
