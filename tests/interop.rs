//! Publishing to servers of other make, and to one of our own that is as odd as a server may be, and odder.
//!
//! Judged is what the servers have got: recordings are decoded by ffmpeg and compared with what was sent.

mod fake;
mod legs;

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fake::Act::{Close, Dribble, HalfClose, Login, Reply, Reset, Say, Sleep};
use fake::Cue::{self, Accepted, Greeted, Hello, Media};
use fake::{AMF3_COMMAND, COMMAND, DATA, Fake, Script, command, control, header, message, object, on_status, start};
use legs::*;
use onaird::config;
use onaird::media::packet::Track;
use onaird::publish::amf0::{Value, encode};
use onaird::publish::session::{Session, Step, Target};
use onaird::secret::Secret;
use onaird::status::{self, LegState};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server process that ends with this value.
struct Peer {
    process: Child,
    folder: TempDir,
    port: u16,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Peer {
    fn origin(&self) -> config::Origin {
        origin(self.port, "live")
    }

    /// Starts it and waits until it listens; one that takes a single client must not be tried by connecting.
    async fn start(command: &mut Command, folder: TempDir, port: u16, what: &str) -> Self {
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = command.spawn().unwrap_or_else(|error| panic!("{what} is needed for this test: {error}"));
        let peer = Self { process, folder, port };
        eventually(what, || is_listening(port)).await;
        peer
    }

    /// Waits until it has ended by itself.
    async fn ends(&mut self) {
        let process = &mut self.process;
        eventually("the end of the server", || process.try_wait().unwrap().is_some()).await;
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// By the kernel's table of sockets (state 0A).
fn is_listening(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let wanted = format!("0100007F:{port:04X}");
    table.lines().map(str::split_whitespace).any(|mut words| words.nth(1) == Some(&wanted) && words.nth(1) == Some("0A"))
}

/// Decodes all of a recording; ffmpeg must not find a single fault.
fn assert_decodes(path: &Path) {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-xerror", "-i"])
        .arg(path)
        .args(["-f", "null", "-"])
        .output()
        .expect("ffmpeg is needed for this test");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaint.is_empty(), "{}: {complaint}", path.display());
}

/// A recording has what was sent, at the same distances, and from a keyframe on; returns how much that was.
fn assert_faithful(path: &Path, clip: &Clip) {
    assert_decodes(path);
    let tags = read_flv(path);
    assert!(tags.iter().find(|tag| tag.is_video()).unwrap().is_header());
    for track in [Track::Video, Track::Audio] {
        let count = common(&media(&tags, track), &media(&clip.tags, track));
        println!("{}: {count} tags of {track:?} as they were sent", path.display());
        assert!(count > 60, "{count} {track:?}");
    }
}

/// A leg is live on the server for some seconds and is then told to stop.
async fn publish_for(origin: &config::Origin, clip: &Clip, time: u64) {
    let mut studio = Studio::open();
    let leg = studio.simple_leg(vec![origin.clone()]);
    let feeder = feed(&studio.hub, &studio.clock, clip.clone());
    studio.goes_live(leg, origin).await;
    seconds(time).await;
    let figures = studio.figures(leg);
    assert_eq!((figures.state, figures.reconnects), (LegState::Live, 0), "{figures:?}");
    let took = studio.close().await;
    feeder.abort();
    assert!(took < Duration::from_secs(1), "{took:?} to stop");
}

#[tokio::test]
async fn ffmpeg_takes_the_stream_and_decodes_it() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let url = format!("rtmp://127.0.0.1:{port}/live/{KEY}");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "warning", "-nostdin", "-listen", "1", "-f", "flv", "-i", &url, "-c", "copy", "out.flv"]);
    let mut ffmpeg = Peer::start(&mut command, folder, port, "ffmpeg listens").await;
    let clip = Clip::make("1M");
    publish_for(&ffmpeg.origin(), &clip, 4).await;
    ffmpeg.ends().await;
    println!("ffmpeg: {}", ffmpeg.log());
    assert_faithful(&ffmpeg.folder.path().join("out.flv"), &clip);
}

/// The folder that `tools/install-peers` fills.
fn peers() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    let peers = target.join("peers/node_modules");
    assert!(peers.join("node-media-server").is_dir(), "node-media-server is needed for this test: run tools/install-peers");
    peers
}

/// RTMP on `port`; with `tls`, a key and a certificate in PEM files, RTMPS on another one too.
async fn node_media_server(port: u16, tls: Option<(u16, &Path, &Path)>) -> Peer {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = serde_json::json!({
        "bind": "127.0.0.1",
        "rtmp": { "port": port },
        "auth": { "play": false, "publish": false },
        "store": { "path": folder.path().join("data") },
        "record": { "auto": true, "path": folder.path().join("records") },
    });
    if let Some((port, key, certificate)) = tls {
        settings["rtmps"] = serde_json::json!({ "port": port, "key": key, "cert": certificate });
    }
    let file = folder.path().join("settings.json");
    std::fs::write(&file, settings.to_string()).unwrap();
    let mut command = Command::new("node");
    command.env("NODE_PATH", peers());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/node-media-server.js")).arg(file);
    Peer::start(&mut command, folder, port, "node-media-server listens").await
}

/// Waits until nothing is added to a file any more: node-media-server does not tell when a recording is complete.
async fn is_at_rest(path: &Path) {
    let size = || std::fs::metadata(path).map_or(0, |data| data.len());
    let (mut last, mut calm) = (size(), 0);
    eventually("the end of the recording", || {
        calm = if size() == last { calm + 1 } else { 0 };
        last = size();
        calm >= 30
    })
    .await;
}

fn node_records(server: &Peer) -> Vec<PathBuf> {
    let folder = server.folder.path().join("records/live").join(KEY);
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// It never acknowledges anything.
#[tokio::test]
async fn node_media_server_takes_the_stream() {
    let server = node_media_server(free_port(), None).await;
    let clip = Clip::make("1M");
    publish_for(&server.origin(), &clip, 4).await;
    let records = node_records(&server);
    assert_eq!(records.len(), 1, "{records:?}");
    is_at_rest(&records[0]).await;
    assert_faithful(&records[0], &clip);
}

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
    let output = output.expect("openssl is needed for this test");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An authority (`ca.pem`) and a server's key and certificate by it (`key.pem`, `cert.pem`), for 127.0.0.1.
fn certificates() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("names"), "subjectAltName=IP:127.0.0.1").unwrap();
    let new = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(folder.path(), &format!("{new} -x509 -days 30 -subj /CN=authority -keyout ca.key -out ca.pem"));
    openssl(folder.path(), &format!("{new} -subj /CN=server -keyout key.pem -out request.pem"));
    openssl(
        folder.path(),
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile names -out cert.pem",
    );
    folder
}

#[tokio::test]
async fn node_media_server_takes_the_stream_encrypted() {
    let (files, port) = (certificates(), free_port());
    let file = |name| files.path().join(name);
    let server = node_media_server(free_port(), Some((port, &file("key.pem"), &file("cert.pem")))).await;
    eventually("the encrypted port", || is_listening(port)).await;
    let mut encrypted = origin(port, "live");
    encrypted.url.secure = true;
    let distrusted = encrypted.clone();
    encrypted.ca_file = Some(file("ca.pem"));
    let clip = Clip::make("1M");
    publish_for(&encrypted, &clip, 4).await;
    let records = node_records(&server);
    assert_eq!(records.len(), 1, "{records:?}");
    is_at_rest(&records[0]).await;
    assert_faithful(&records[0], &clip);

    let mut studio = Studio::open();
    let leg = studio.simple_leg(vec![distrusted]);
    let error = studio.reaches(leg, "a refusal of its certificate", |leg| leg.last_error.is_some()).await.last_error.unwrap();
    println!("{error}");
    assert!(error.contains("certificate") && error.contains("authority"), "{error}");
    studio.close().await;
}

#[tokio::test]
async fn a_login_is_answered_and_a_wrong_password_told() {
    let server = Fake::start(Script::friendly().instead(CONNECT, vec![Login("box 7", "correct horse")])).await;
    let with = |password| {
        let login = config::Login { user: "box 7".into(), password: Secret::new(password) };
        config::Origin { login: Some(login), ..origin(server.port, "live") }
    };
    let mut studio = Studio::open();
    let feeder = feed(&studio.hub, &studio.clock, Clip::make("200k"));
    let leg = studio.simple_leg(vec![with("correct horse")]);
    studio.goes_live(leg, &with("")).await;
    let apps = server.seen().apps;
    println!("{apps:#?}");
    assert_eq!((apps.len(), apps[0].as_str(), apps[1].as_str()), (3, "live", "live?authmod=adobe&user=box%207"));
    let leg = studio.simple_leg(vec![with("wrong")]);
    let error = studio.reaches(leg, "a refusal", |leg| leg.state == LegState::Rejected).await.last_error.unwrap();
    println!("{error}");
    assert!(error.contains("user name or the password"), "{error}");
    let leg = studio.simple_leg(vec![origin(server.port, "live")]);
    let error = studio.reaches(leg, "a refusal", |leg| leg.state == LegState::Rejected).await.last_error.unwrap();
    println!("{error}");
    assert!(error.contains("wants a user name and a password"), "{error}");
    let shown = serde_json::to_string(&*studio.status.borrow()).unwrap();
    assert!(!shown.contains("correct horse") && !shown.contains("response="), "{shown}");
    studio.close().await;
    feeder.abort();
}

fn redirection(port: u16) -> Vec<fake::Act> {
    let ex = Value::Object(vec![
        ("code".into(), Value::Number(302.0)),
        ("redirect".into(), Value::string(format!("rtmp://127.0.0.1:{port}/other"))),
    ]);
    let info = Value::Object(vec![
        ("level".into(), Value::string("error")),
        ("code".into(), Value::string("NetConnection.Connect.Rejected")),
        ("ex".into(), ex),
    ]);
    vec![Reply(COMMAND, "_error", vec![Value::Null, info])]
}

/// One sends us away at the door, one while we are live; each time the stream goes on where it was sent.
#[tokio::test]
async fn servers_may_send_us_elsewhere() {
    let home = Fake::start(friendly()).await;
    let at_the_door = Fake::start(friendly().instead(CONNECT, redirection(home.port))).await;
    let mut studio = Studio::open();
    let feeder = feed(&studio.hub, &studio.clock, Clip::make("200k"));
    let leg = studio.simple_leg(vec![origin(at_the_door.port, "live")]);
    studio.reaches(leg, "live", |leg| leg.state == LegState::Live && leg.taken).await;
    assert_eq!((at_the_door.seen().connections, home.seen().connections), (1, 1));
    assert_eq!(home.seen().apps, ["other"]);

    let next = Fake::start(friendly()).await;
    let url = format!("//127.0.0.1:{}/new", next.port);
    let info = object(&[("level", "status"), ("code", "NetConnection.Connect.ReconnectRequest"), ("tcUrl", &url)]);
    let sends_away = Fake::start(friendly().after(Media, Say(message(3, COMMAND, &on_status(info))))).await;
    let leg = studio.simple_leg(vec![origin(sends_away.port, "live")]);
    eventually("the stream at its new place", || next.seen().media.len() > 60).await;
    let left = || sends_away.seen().commands.ends_with(&["FCUnpublish".into(), "deleteStream".into()]);
    eventually("a good-bye at the old one", left).await;
    assert_eq!(next.seen().apps, ["new"]);
    assert_eq!(studio.figures(leg).state, LegState::Live);
    studio.close().await;
    feeder.abort();
}

/// Writes all that the session has to say.
async fn write_all(stream: &mut TcpStream, session: &mut Session) {
    while session.has_pending() {
        let mut slices = [IoSlice::new(&[]); 16];
        let count = session.pending_slices(&mut slices);
        let written = stream.write_vectored(&slices[..count]).await.unwrap();
        assert!(written > 0);
        session.sent(written);
    }
}

/// A session over a socket of the test's own, on which the server waits for media.
async fn session_on(origin: &config::Origin) -> (TcpStream, Session) {
    let mut stream = TcpStream::connect(("127.0.0.1", origin.url.port)).await.unwrap();
    let (app, url, device) = (origin.url.app.clone(), origin.url.to_string(), "test box".to_owned());
    let target = Target { app, url, key: Secret::new(KEY), device, started_at: None, authorization: None };
    let mut session = Session::new(target).unwrap();
    let mut buffer = [0; 4096];
    loop {
        if session.step() == Step::Ready {
            session.publish().unwrap();
        }
        write_all(&mut stream, &mut session).await;
        if session.step() == Step::Live {
            return (stream, session);
        }
        let count = tokio::time::timeout(LIMIT, stream.read(&mut buffer)).await.expect("an answer").unwrap();
        assert!(count > 0, "the server closed at {:?}", session.step());
        session.receive(&buffer[..count]).unwrap();
    }
}

/// Times on the wire begin 2 s before the limits of their fields and go on behind them.
#[tokio::test]
async fn times_live_through_every_limit_of_the_wire() {
    let clip = Clip::make("1M");
    for limit in [1u64 << 24, 1 << 31, 1 << 32] {
        let server = Origin::start().await;
        let (mut stream, mut session) = session_on(&server.config()).await;
        let wire = |tag: &Tag| (limit - 2000 + tag.millis) as u32;
        session.send_format(&clip.format, wire(&clip.tags[0])).unwrap();
        for tag in &clip.tags {
            session.send_packet(&clip.packet(tag, onaird::units::MediaTime::ZERO), wire(tag)).unwrap();
            write_all(&mut stream, &mut session).await;
        }
        session.close().unwrap();
        write_all(&mut stream, &mut session).await;
        stream.shutdown().await.unwrap();
        let recorded =
            || server.recordings().first().map_or(0, |path| read_flv(path).iter().filter(|tag| tag.is_media()).count());
        eventually("all of the recording", || recorded() == clip.tags.len()).await;
        for track in [Track::Video, Track::Audio] {
            let (sent, got) = (media(&clip.tags, track), media(&server.recording(), track));
            assert_eq!(common(&got, &sent), sent.len(), "{limit:#x} {track:?}");
        }
        drop(stream);
    }
}

const CONNECT: Cue = Cue::Command("connect");
const CREATE_STREAM: Cue = Cue::Command("createStream");
const PUBLISH: Cue = Cue::Command("publish");

fn friendly() -> Script {
    Script::friendly()
}

fn publish_start() -> Vec<u8> {
    on_status(object(&[("level", "status"), ("code", "NetStream.Publish.Start")]))
}

/// The last answer in this form.
fn starting(bytes: impl Into<Vec<u8>>) -> Script {
    friendly().instead(PUBLISH, vec![Say(bytes.into())])
}

/// Two messages whose chunks take turns.
fn interleaved() -> Vec<u8> {
    let (answer, other) = ([publish_start(), vec![5; 100]].concat(), [7; 200]);
    let mut bytes = [header(3, COMMAND, answer.len()), answer[..128].to_vec()].concat();
    bytes.extend([header(5, DATA, 200), other[..128].to_vec()].concat());
    bytes.push(0xC3);
    bytes.extend(&answer[128..]);
    bytes.push(0xC5);
    bytes.extend(&other[128..]);
    bytes
}

/// The same answer, with a header that leaves out what no message before has said.
fn compressed(head: &[u8]) -> Vec<u8> {
    let answer = publish_start();
    [head, &[0, 0, answer.len() as u8, COMMAND], &answer].concat()
}

fn chunk_size(size: u32) -> Vec<u8> {
    control(1, &size.to_be_bytes())
}

/// The size of chunks changes in the middle of the answer.
fn resized() -> Vec<u8> {
    let answer = [publish_start(), vec![5; 150]].concat();
    let mut bytes = [header(3, COMMAND, answer.len()), answer[..128].to_vec(), chunk_size(7)].concat();
    for part in answer[128..].chunks(7) {
        bytes.push(0xC3);
        bytes.extend(part);
    }
    bytes
}

/// An answer with such a value before its information.
fn with_odd_value(odd: &[u8]) -> Vec<u8> {
    let head = encode(&[Value::string("onStatus"), Value::Number(0.0), Value::Null]);
    let info = publish_start()[head.len()..].to_vec();
    message(3, COMMAND, &[&head, odd, &info].concat())
}

/// What a server may do, or what many do though they may not.
fn oddities() -> Vec<(&'static str, Script)> {
    let number = Value::Number;
    let unknown_control: Vec<u8> =
        [0u8, 1, 3, 4, 5, 23, 26, 27, 31, 32, 33, 255].iter().flat_map(|event| control(4, &[0, *event, 0, 0, 0, 1])).collect();
    let short: Vec<u8> = ["onFCPublish", "onBWDone", "onStatus", ""]
        .iter()
        .flat_map(|name| command(&[Value::string(*name), Value::Number(0.0)]))
        .collect();
    let empty: Vec<u8> = (1..=22).filter(|kind| *kind != 1).flat_map(|kind| message(3, kind, &[])).collect();
    let ping = control(4, &[0, 6, 1, 2, 3, 4]);
    let media = [message(4, 8, &[0xAF, 1, 2, 3]), message(6, 9, &[0x17, 1, 0, 0, 0, 9])].concat();
    let bandwidth: Vec<u8> = (0..=3).flat_map(|kind| control(6, &[0, 0x4C, 0x4B, 0x40, kind])).chain(control(6, &[1])).collect();
    let acks: Vec<u8> = [&[0, 1][..], &[], &[0xFF; 4], &[0; 4], &[0, 1, 0, 0]].iter().flat_map(|ack| control(3, ack)).collect();
    let windows: Vec<u8> = [&[0; 4][..], &[0, 0, 0, 1], &[1]].iter().flat_map(|window| control(5, window)).collect();
    let early =
        [control(5, &[0, 0x26, 0x25, 0xA0]), bandwidth.clone(), chunk_size(4096), control(4, &[0, 0, 0, 0, 0, 0])].concat();
    let aborted = [header(7, COMMAND, 200), vec![1; 128], control(2, &[0, 0, 0, 7])].concat();
    let failed =
        Value::Object(vec![("level".into(), Value::string("error")), ("code".into(), Value::string("NetStream.Failed"))]);
    let no_object = command(&[Value::string("onStatus"), number(0.0), Value::Null, Value::Null]);
    let amf3 = |name| vec![Reply(AMF3_COMMAND, name, vec![Value::Null, number(1.0)])];
    vec![
        ("friendly", friendly()),
        ("says all before it is asked", friendly().after(Greeted, Say(early))),
        ("dribbles its handshake", friendly().instead(Hello, vec![Dribble(fake::handshake(), 100)])),
        ("dribbles its answer", friendly().instead(PUBLISH, vec![Dribble(start(), 1)])),
        ("interleaves chunks", starting(interleaved())),
        ("begins with type 1", starting(compressed(&[0x47, 0, 0, 0]))),
        ("begins with type 2", starting([&[0x87, 0, 0, 0][..], &message(7, COMMAND, &publish_start())].concat())),
        ("begins with type 3", starting([&[0xC7][..], &message(7, COMMAND, &publish_start())].concat())),
        ("long chunk stream ids", starting([&[0, 200][..], &message(3, COMMAND, &publish_start())[1..]].concat())),
        ("longer chunk stream ids", starting([&[1, 200, 3][..], &message(3, COMMAND, &publish_start())[1..]].concat())),
        (
            "small extended time",
            starting(
                [&[0x47, 0xFF, 0xFF, 0xFF, 0, 0, publish_start().len() as u8, COMMAND, 0, 0, 0, 9][..], &publish_start()]
                    .concat(),
            ),
        ),
        ("unknown user control", friendly().always(&unknown_control)),
        ("short commands", friendly().always(&short)),
        ("empty messages", friendly().always(&empty)),
        ("unknown messages", friendly().always(&[message(3, 77, &[1]), message(3, 255, &[2; 500])].concat())),
        ("answers in AMF3's name", friendly().instead(CONNECT, amf3("_result")).instead(CREATE_STREAM, amf3("_result"))),
        ("AMF3 with a format byte", starting(message(3, AMF3_COMMAND, &[&[0], &publish_start()[..]].concat()))),
        ("a date", starting(with_odd_value(&[11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))),
        ("a long string", starting(with_odd_value(&[12, 0, 0, 0, 1, b'x']))),
        ("a reference", starting(with_odd_value(&[7, 0, 1]))),
        ("unsupported", starting(with_odd_value(&[13]))),
        ("a typed object", starting(with_odd_value(&[16, 0, 1, b'T', 0, 1, b'a', 5, 0, 0, 9]))),
        ("a tail of AMF3", starting(message(3, COMMAND, &[&publish_start()[..], &[17, 1, 2]].concat()))),
        ("bandwidths", friendly().always(&bandwidth)),
        ("windows", friendly().always(&windows)),
        ("acknowledgements of all sorts", friendly().always(&acks)),
        ("resizes within a message", starting(resized())),
        (
            "chunks of 1 byte",
            friendly().before(PUBLISH, Say(chunk_size(1))).instead(
                PUBLISH,
                vec![
                    Say(chunk_size(1)),
                    Say(header(3, COMMAND, publish_start().len())),
                    Say(publish_start().iter().flat_map(|byte| [*byte, 0xC3]).take(2 * publish_start().len() - 1).collect()),
                ],
            ),
        ),
        ("chunks of 2 GiB", friendly().before(CREATE_STREAM, Say(chunk_size(0x7FFF_FFFF)))),
        ("pings", friendly().always(&ping)),
        ("three starts", starting(start().repeat(3))),
        ("media for us", friendly().always(&media)),
        ("aborts a message", friendly().always(&aborted)),
        ("replaces a message", friendly().always(&[header(8, COMMAND, 200), vec![1; 128], message(8, DATA, &[1])].concat())),
        (
            "refuses what is optional",
            friendly()
                .after(Cue::Command("releaseStream"), Reply(COMMAND, "_error", vec![Value::Null, failed.clone()]))
                .after(Cue::Command("FCPublish"), Reply(COMMAND, "_error", vec![Value::Null, failed])),
        ),
        ("status without information", friendly().always(&no_object)),
        ("names no stream", friendly().instead(CREATE_STREAM, vec![Reply(COMMAND, "_result", vec![])])),
        (
            "answers another question",
            friendly()
                .instead(CREATE_STREAM, vec![Say(command(&[Value::string("_result"), number(99.0), Value::Null, number(1.0)]))]),
        ),
        (
            "names a large stream",
            friendly().instead(CREATE_STREAM, vec![Reply(COMMAND, "_result", vec![Value::Null, number(4e9)])]),
        ),
        ("says much of no use", friendly().always(&message(9, DATA, &[0; 200_000]))),
        (
            "unpublishes in a warning",
            friendly().after(
                Media,
                Say(message(3, COMMAND, &on_status(object(&[("level", "warning"), ("code", "NetStream.Play.InsufficientBW")])))),
            ),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_servers_are_published_to() {
    let mut studio = Studio::open();
    let feeder = feed(&studio.hub, &studio.clock, Clip::make("200k"));
    let mut cases = Vec::new();
    for (name, script) in oddities() {
        let server = Fake::start(script).await;
        let origin = origin(server.port, "live");
        cases.push((name, studio.simple_leg(vec![origin.clone()]), origin, server));
    }
    for (name, leg, origin, server) in &cases {
        let live = tokio::time::timeout(LIMIT, studio.goes_live(*leg, origin)).await;
        assert!(live.is_ok(), "{name}: {:?}", server.seen());
    }
    seconds(2).await;
    for (name, leg, _, server) in &cases {
        let (figures, seen) = (studio.figures(*leg), server.seen());
        assert_eq!((figures.state, figures.reconnects, seen.connections), (LegState::Live, 0, 1), "{name}: {figures:?} {seen:?}");
        assert_eq!((seen.fault, &seen.media[..4]), (None, &[DATA, 9, 8, 9][..]), "{name}");
        assert!(seen.media.len() > 40, "{name}: only {} messages", seen.media.len());
        let commands = ["connect", "createStream", "releaseStream", "FCPublish", "publish"];
        assert_eq!(seen.commands, commands, "{name}");
    }
    studio.close().await;
    feeder.abort();
    for (name, _, _, server) in &cases {
        eventually(name, || server.seen().commands.ends_with(&["FCUnpublish".into(), "deleteStream".into()])).await;
    }
}

/// Servers that cannot be published to, and words of which one must be in the report of it.
fn dead_ends() -> Vec<(String, Script, &'static [&'static str])> {
    const ENDED: &[&str] = &["closed the connection", "closed at once", "broke", "reset"];
    const SILENT: &[&str] = &["did not answer"];
    const NONSENSE: &[&str] = &["cannot be understood"];
    let refusal = |code| Value::Object(vec![("level".into(), Value::string("error")), ("code".into(), Value::string(code))]);
    let error = |code| vec![Reply(COMMAND, "_error", vec![Value::Null, refusal(code)])];
    let status = |code| message(3, COMMAND, &on_status(refusal(code)));
    let mut all: Vec<(String, Script, &'static [&'static str])> = Vec::new();
    for cue in [Accepted, Hello, Greeted, CONNECT, CREATE_STREAM, PUBLISH, Media] {
        all.push((format!("closes at {cue:?}"), friendly().instead(cue, vec![Close]), ENDED));
        all.push((format!("resets at {cue:?}"), friendly().instead(cue, vec![Reset]), ENDED));
        all.push((format!("ends its half at {cue:?}"), friendly().instead(cue, vec![HalfClose, Sleep]), ENDED));
    }
    for cue in [Accepted, Hello, Greeted, CONNECT, CREATE_STREAM, PUBLISH] {
        all.push((format!("falls silent at {cue:?}"), friendly().instead(cue, vec![Sleep]), SILENT));
    }
    let half = fake::handshake()[..2000].to_vec();
    all.push(("half a handshake, then silence".into(), friendly().instead(Hello, vec![Say(half.clone())]), SILENT));
    all.push(("half a handshake, then the end".into(), friendly().instead(Hello, vec![Say(half), Close]), ENDED));
    let http = b"HTTP/1.1 400 Bad Request\r\n\r\n".repeat(200);
    all.push(("speaks HTTP".into(), friendly().instead(Hello, vec![Say(http)]), NONSENSE));
    let many: Vec<u8> = (0..=200u8).flat_map(|id| [&[0, id], &header(3, COMMAND, 200)[1..], &[0; 128]].concat()).collect();
    for (name, bytes, words) in [
        ("chunks of 0 bytes", chunk_size(0), &["0 bytes"]),
        ("a giant message", header(3, COMMAND, 0xFF_FFFF), &["a message of 16777215 bytes"]),
        ("endless beginnings", many, &["unfinished"]),
        ("a flood of questions", control(4, &[0, 6, 1, 2, 3, 4]).repeat(100_000), &["asks more"]),
    ] {
        for cue in [Greeted, CONNECT, CREATE_STREAM, PUBLISH, Media] {
            all.push((format!("{name} at {cue:?}"), friendly().before(cue, Say(bytes.clone())), words));
        }
    }
    let deep: Vec<u8> = [10, 0, 0, 0, 1].repeat(20_000);
    all.push(("nests without end".into(), friendly().instead(CONNECT, vec![Say(message(3, COMMAND, &deep))]), SILENT));
    all.push(("refuses connect".into(), friendly().instead(CONNECT, error("Odd")), &["refused: Odd"]));
    all.push(("refuses createStream".into(), friendly().instead(CREATE_STREAM, error("Odd")), &["refused: Odd"]));
    all.push(("refuses publish".into(), friendly().instead(PUBLISH, error("Odd")), &["refused: Odd"]));
    all.push(("key in use".into(), starting(status("NetStream.Publish.BadName")), &["the key is in use"]));
    all.push(("unpublishes".into(), friendly().after(Media, Say(status("NetStream.Unpublish.Success"))), &["ended the stream"]));
    all.push((
        "closes by word".into(),
        friendly().after(Media, Say(command(&[Value::string("close")]))),
        &["closes the connection"],
    ));
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impossible_servers_are_left_in_words_and_tried_again() {
    let healthy = Origin::start().await;
    let mut studio = Studio::open();
    let feeder = feed(&studio.hub, &studio.clock, Clip::make("200k"));
    let sibling = studio.simple_leg(vec![healthy.config()]);
    studio.goes_live(sibling, &healthy.config()).await;
    let mut cases = Vec::new();
    for (name, script, words) in dead_ends() {
        let server = Fake::start(script).await;
        let leg = studio.simple_leg(vec![origin(server.port, "live")]);
        cases.push((name, words, leg, server));
    }
    for (name, words, leg, server) in &cases {
        let told = |leg: &status::Leg| leg.last_error.as_ref().is_some_and(|error| words.iter().any(|word| error.contains(word)));
        let figures = studio.reaches(*leg, &format!("{name}: one of {words:?}"), told).await;
        println!("{name}: {}", figures.last_error.unwrap_or_default());
        eventually(&format!("{name}: another try"), || server.seen().connections >= 2).await;
    }
    let figures = studio.figures(sibling);
    assert_eq!((figures.state, figures.reconnects, figures.dropped_gops), (LegState::Live, 0, 0), "the sibling has noticed");
    let took = studio.close().await;
    assert!(took < Duration::from_secs(2), "{took:?} to stop");
    feeder.abort();
    let video = media(&healthy.recording(), Track::Video);
    assert!(video.windows(2).all(|pair| (33..=34).contains(&(pair[1].millis - pair[0].millis))), "the sibling has lost pictures");
}
