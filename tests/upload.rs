//! The archive's way into a bucket, against a real store that is killed, frozen and started again, as is the uploader. Judged by
//! what lies in the store's folder.

mod authority;
mod bucket;
mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use onaird::archive::index::{Gap, Missing, Upload};
use onaird::archive::upload::{Room, run};
use onaird::clock::MediaClock;
use onaird::config::{self, Keys};
use onaird::control::UploadShare;
use onaird::report::{Events, Report};
use onaird::secret::Secret;
use onaird::status::{self, Status, UploadState};
use onaird::units::BitRate;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use authority::{Authority, Leaf};
use bucket::moto::Moto;
use bucket::shelf::{BEGIN, STEP, Shelf, sha256};
use bucket::{BUCKET, LIMIT, Server, config, now, poll};

const DEVICE: &str = "Box 7";
const PLACE: &str = "station/north/Box-7/";
const MIB: usize = 1 << 20;

/// An uploader in this process.
struct Uploader {
    status: watch::Sender<Status>,
    share: watch::Sender<UploadShare>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Uploader {
    fn start(folder: &Path, config: config::Upload) -> Self {
        Self::start_with(folder, config, UploadShare::WHOLE)
    }

    fn start_with(folder: &Path, config: config::Upload, share: UploadShare) -> Self {
        gstreamer::init().unwrap();
        let status = watch::Sender::new(Status::default());
        let (sender, share) = watch::channel(share);
        let clock = MediaClock::start();
        let room = Room {
            config,
            device: DEVICE.into(),
            folder: folder.to_owned(),
            share,
            report: Report::new(&status, |status| &mut status.archive.upload),
            events: Events::new(&status, clock.clone()),
            clock,
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(room, stop.clone()));
        Self { status, share: sender, stop, task }
    }

    async fn wait_for(&self, what: &str, mut wanted: impl FnMut(&status::Upload) -> bool) -> status::Upload {
        let mut watch = self.status.subscribe();
        match tokio::time::timeout(LIMIT, watch.wait_for(|status| wanted(&status.archive.upload))).await {
            Ok(status) => status.unwrap().archive.upload.clone(),
            Err(_) => panic!("waited in vain for {what}: {:#?}", self.status.borrow()),
        }
    }

    fn told(&self, words: &str) -> bool {
        self.status.borrow().events.iter().any(|event| event.text.contains(words))
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(2), self.task).await.expect("it stops at once").unwrap();
    }
}

fn object(number: usize) -> String {
    let start = jiff::Timestamp::from_second(BEGIN + number as i64 * STEP).unwrap();
    format!("{PLACE}{}.mp4", start.strftime("%Y/%m/%d/%Y%m%dT%H%M%SZ"))
}

/// Every segment is there once, as it lies on the disk, and nothing else but manifests.
fn assert_copied(server: &Server, shelf: &Shelf) {
    let objects = server.objects();
    let (manifests, segments): (Vec<_>, Vec<_>) = objects.iter().partition(|(name, _)| name.ends_with("/manifest.json"));
    assert_eq!(segments.len(), shelf.names.len(), "{segments:#?}");
    for number in 0..shelf.names.len() {
        let file = objects.get(&object(number)).unwrap_or_else(|| panic!("{} is not there: {objects:#?}", object(number)));
        assert_eq!(sha256(&fs::read(file).unwrap()), shelf.entry(number).sha256, "{}", object(number));
        assert_eq!(shelf.entry(number).upload, Upload::Done { object: object(number) });
    }
    assert_eq!(server.unfinished(), 0, "multipart uploads that nobody ended");
    let told: Vec<Value> =
        manifests.iter().flat_map(|(_, file)| manifest(file)["segments"].as_array().cloned().unwrap_or_default()).collect();
    assert_eq!(told.len(), shelf.names.len());
    for (number, segment) in told.iter().enumerate() {
        let entry = shelf.entry(number);
        assert_eq!(segment["sha256"], entry.sha256.to_string());
        assert_eq!((&segment["object"], &segment["bytes"]), (&object(number).into(), &entry.bytes.into()));
    }
}

fn manifest(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// Every twentieth segment goes in parts.
fn sizes() -> impl Iterator<Item = usize> {
    (0..200).map(|number| if number % 20 == 10 { 11 * MIB + number } else { 20_000 + number * 997 })
}

/// The uploader as a process that can be killed. Its keys stand in its environment, as does a proxy that is not there.
fn process(folder: &Path, endpoint: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "uploader_until_it_is_killed", "--ignored"]).env(SHELF, folder).env(ENDPOINT, endpoint);
    command.env("AWS_ACCESS_KEY_ID", bucket::ACCESS).env("AWS_SECRET_ACCESS_KEY", bucket::SECRET);
    command
        .env("http_proxy", "http://127.0.0.1:1")
        .env("HTTP_PROXY", "http://127.0.0.1:1")
        .env("ALL_PROXY", "http://127.0.0.1:1");
    command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

const SHELF: &str = "ONAIRD_TEST_SHELF";
const ENDPOINT: &str = "ONAIRD_TEST_ENDPOINT";

#[test]
#[ignore = "a process of the test below"]
fn uploader_until_it_is_killed() {
    let (Some(folder), Ok(endpoint)) = (std::env::var_os(SHELF), std::env::var(ENDPOINT)) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let bandwidth = Some(BitRate::from_bps(100_000_000));
        let config = config::Upload { bandwidth, keys: Keys::Surroundings, ..config(&endpoint) };
        Uploader::start(Path::new(&folder), config).task.await.unwrap();
    });
}

/// The store is killed at the first of many small segments and in the middle of a large one, in turn, ten times; and the uploader
/// twice. No kill falls between the beginning of a multipart upload and the index's knowing of it: this store cannot list such an
/// upload, so that nobody could end it. What ends those is another test, against a store that can.
#[test]
fn two_hundred_segments_arrive_whole_whatever_is_killed() {
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::start(&home.path().join("store"));
    let shelf = Shelf::fill(&home.path().join("archive"), sizes());
    let cause = "neither origin took it".to_owned();
    let gap = Gap { from_ms: BEGIN * 1000, until_ms: BEGIN * 1000 + 90_000, missing: Missing::Air, cause: cause.clone() };
    shelf.index.add_gap(&gap).unwrap();
    let mut uploader = process(&shelf.folder, &server.endpoint());
    for kill in 0..10 {
        let state = |number: usize| shelf.entry(number).upload;
        if kill % 2 == 0 {
            let last = if kill == 0 { 0 } else { kill * 20 - 10 };
            poll("a segment before small ones", || matches!(state(last), Upload::Done { .. }).then_some(()));
        } else {
            let large = kill * 20 + 10;
            poll("a part", || (matches!(state(large), Upload::Begun { .. }) && server.parts() > 0).then_some(()));
        }
        server.kill();
        if kill == 3 || kill == 6 {
            uploader.kill().unwrap();
            uploader.wait().unwrap();
            uploader = process(&shelf.folder, &server.endpoint());
        }
        server.restart();
    }
    poll("all of it", || {
        assert!(uploader.try_wait().unwrap().is_none(), "the uploader has ended");
        shelf.is_copied().then_some(())
    });
    uploader.kill().unwrap();
    uploader.wait().unwrap();
    assert_copied(&server, &shelf);
    let days = ["2026/11/23", "2026/11/24"].map(|day| manifest(&server.objects()[&format!("{PLACE}{day}/manifest.json")]));
    assert_eq!(days[0]["segments"].as_array().unwrap().len(), 120);
    let holes = days[0]["gaps"].as_array().unwrap();
    assert_eq!((holes.len(), &holes[0]["missing"], &holes[0]["cause"]), (1, &"air".into(), &cause.into()));
    assert_eq!(days[1]["gaps"].as_array().map(Vec::len), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_are_there_are_not_sent_again() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(&home.path().join("store"));
    let shelf = Shelf::fill(&home.path().join("archive"), [21 * MIB]);
    let slow = config::Upload { bandwidth: Some(BitRate::from_bps(40_000_000)), ..config(&server.endpoint()) };
    let uploader = Uploader::start(&shelf.folder, slow.clone());
    tokio::task::block_in_place(|| poll("two parts", || (server.parts() >= 2).then_some(())));
    uploader.stop().await;
    let Upload::Begun { id, .. } = shelf.entry(0).upload else { panic!("{:?}", shelf.entry(0).upload) };
    let before = modified(&home.path().join("store"), &id);
    let uploader = Uploader::start(&shelf.folder, slow);
    tokio::task::block_in_place(|| poll("the rest", || (server.parts() > 3).then(|| modified(&home.path().join("store"), &id))))
        .into_iter()
        .zip(before)
        .for_each(|(after, before)| assert_eq!(after, before, "a part was sent again"));
    uploader.wait_for("the end", |_| shelf.is_copied()).await;
    uploader.stop().await;
    assert_copied(&server, &shelf);
}

/// The two first parts of an upload: when each was written.
fn modified(store: &Path, id: &str) -> Vec<std::time::SystemTime> {
    let parts = (1..=2).map(|number| store.join(format!(".upload_id-{id}.part-{number}")));
    parts.filter_map(|part| fs::metadata(part).ok()?.modified().ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_a_persons_business() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(&home.path().join("store"));
    let shelf = Shelf::fill(&home.path().join("archive"), [1000]);
    for (access, secret, words) in [(bucket::ACCESS, "SECRETwrong", "`secret_key`"), ("AKIAWRONG", "SECRETwrong", "`access_key`")]
    {
        let keys = Keys::Written { access: access.into(), secret: Secret::new(secret) };
        let uploader = Uploader::start(&shelf.folder, config::Upload { keys, ..config(&server.endpoint()) });
        let upload = uploader.wait_for("a refusal", |upload| upload.state == UploadState::Rejected).await;
        let text = upload.last_error.unwrap_or_default();
        assert!(text.contains(words) && text.contains(BUCKET), "{text}");
        assert!(!format!("{:?}", uploader.status.borrow()).contains("SECRET"), "a key is never told");
        uploader.stop().await;
    }
    assert!(server.objects().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_or_frozen_is_waited_for() {
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::start(&home.path().join("store"));
    server.kill();
    let mut shelf = Shelf::fill(&home.path().join("archive"), [1000]);
    let uploader = Uploader::start(&shelf.folder, config(&server.endpoint()));
    let upload = uploader.wait_for("waiting", |upload| upload.state == UploadState::Waiting && upload.last_error.is_some()).await;
    assert!(upload.last_error.unwrap().contains("cannot be reached"));
    server.restart();
    uploader.wait_for("the end", |upload| upload.uploaded == 1 && upload.last_error.is_none()).await;
    server.freeze(true);
    shelf.add(1000);
    uploader.wait_for("something to do", |upload| upload.pending == 1).await;
    server.freeze(false);
    uploader.wait_for("the end", |upload| upload.uploaded == 2 && shelf.is_copied()).await;
    uploader.stop().await;
    assert_copied(&server, &shelf);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bandwidth_is_kept() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(&home.path().join("store"));
    let shelf = Shelf::fill(&home.path().join("archive"), [4 * MIB]);
    let begin = now();
    let config = config::Upload { bandwidth: Some(BitRate::from_bps(16_777_216)), ..config(&server.endpoint()) };
    let uploader = Uploader::start(&shelf.folder, config);
    uploader.wait_for("the end", |_| shelf.is_copied()).await;
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(1900), "4 MiB at 2 MiB/s came in {took:?}");
    uploader.stop().await;
    assert_copied(&server, &shelf);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_legs_go_first() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(&home.path().join("store"));
    let shelf = Shelf::fill(&home.path().join("archive"), [21 * MIB]);
    let slow = config::Upload { bandwidth: Some(BitRate::from_bps(40_000_000)), ..config(&server.endpoint()) };
    let uploader = Uploader::start_with(&shelf.folder, slow, UploadShare::NONE);
    uploader.wait_for("yielding", |upload| upload.state == UploadState::Yielding && upload.pending == 1).await;
    assert_eq!((server.parts(), server.unfinished()), (0, 0));
    uploader.share.send_replace(UploadShare::WHOLE);
    tokio::task::block_in_place(|| poll("a part", || (server.parts() > 0).then_some(())));
    uploader.share.send_replace(UploadShare::NONE);
    uploader.wait_for("silence", |upload| upload.bytes_per_s == 0).await;
    uploader.wait_for("yielding", |upload| upload.state == UploadState::Yielding).await;
    assert!(!shelf.is_copied());
    uploader.share.send_replace(UploadShare::WHOLE);
    uploader.wait_for("the end", |_| shelf.is_copied()).await;
    uploader.stop().await;
    assert_copied(&server, &shelf);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_never_taken_for_good() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(&home.path().join("store"));
    let shelf = Shelf::fill(&home.path().join("archive"), [1000, 6 * MIB, 1000, 2000]);
    for number in [0, 1] {
        let mut bytes = fs::read(shelf.path(number)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(shelf.path(number), bytes).unwrap();
    }
    fs::write(shelf.path(2), "short").unwrap();
    let uploader = Uploader::start(&shelf.folder, config(&server.endpoint()));
    let upload = uploader.wait_for("the good one", |upload| upload.uploaded == 1 && upload.failed == 3).await;
    assert!(upload.last_failed.unwrap().contains("recorded"));
    assert_eq!(upload.pending, 3);
    assert!(uploader.told("left out for an hour"));
    tokio::task::block_in_place(|| poll("the manifest", || shelf.index.days_due().unwrap().is_empty().then_some(())));
    uploader.stop().await;
    let objects: Vec<String> = server.objects().into_keys().collect();
    assert_eq!(objects, [object(3), format!("{PLACE}2026/11/23/manifest.json")]);
    assert_eq!(server.unfinished(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_deleted_is_told_and_what_was_begun_is_ended() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(&home.path().join("store"));
    let shelf = Shelf::fill(&home.path().join("archive"), [21 * MIB, 1000]);
    let slow = config::Upload { bandwidth: Some(BitRate::from_bps(40_000_000)), ..config(&server.endpoint()) };
    let uploader = Uploader::start(&shelf.folder, slow.clone());
    tokio::task::block_in_place(|| poll("a part", || (server.parts() > 0).then_some(())));
    uploader.stop().await;
    fs::remove_file(shelf.path(0)).unwrap();
    let uploader = Uploader::start(&shelf.folder, slow);
    uploader.wait_for("the other one", |upload| upload.uploaded == 1 && shelf.is_copied()).await;
    assert!(uploader.told("was deleted before it was uploaded"));
    uploader.stop().await;
    assert!(shelf.entry(0).gone);
    assert_eq!((server.unfinished(), server.parts()), (0, 0));
    let manifest = manifest(&server.objects()[&format!("{PLACE}2026/11/23/manifest.json")]);
    assert_eq!(manifest["segments"][0]["deleted"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_boxs_recording_is_not_overwritten() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(&home.path().join("store"));
    let first = Shelf::fill(&home.path().join("first"), [1000]);
    let uploader = Uploader::start(&first.folder, config(&server.endpoint()));
    uploader.wait_for("the end", |_| first.is_copied()).await;
    uploader.stop().await;
    let second = Shelf::fill(&home.path().join("second"), [1001]);
    let uploader = Uploader::start(&second.folder, config(&server.endpoint()));
    let upload = uploader.wait_for("a refusal", |upload| upload.failed == 1).await;
    assert!(upload.last_failed.unwrap().contains("device.name"));
    uploader.stop().await;
    assert_copied(&server, &first);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_made_anew_sends_nothing_twice_and_keeps_the_ledger() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(&home.path().join("store"));
    let (folder, sizes) = (home.path().join("archive"), [1000, 6 * MIB, 3000]);
    let before = Shelf::fill(&folder, sizes);
    let gap = Gap { from_ms: BEGIN * 1000, until_ms: BEGIN * 1000 + 1, missing: Missing::Archive, cause: "the disk".into() };
    before.index.add_gap(&gap).unwrap();
    let uploader = Uploader::start(&folder, config(&server.endpoint()));
    uploader.wait_for("the end", |_| before.is_copied()).await;
    uploader.stop().await;
    let written = |server: &Server| {
        let objects = server.objects().into_iter().filter(|(name, _)| name.ends_with(".mp4"));
        objects.map(|(_, file)| fs::metadata(file).unwrap().modified().unwrap()).collect::<Vec<_>>()
    };
    let times = written(&server);
    drop(before);
    for file in ["index.sqlite3", "index.sqlite3-wal", "index.sqlite3-shm"] {
        let _ = fs::remove_file(folder.join(file));
    }
    let after = Shelf::fill(&folder, sizes);
    let uploader = Uploader::start(&folder, config(&server.endpoint()));
    uploader.wait_for("the end", |_| after.is_copied()).await;
    uploader.stop().await;
    assert_eq!(written(&server), times);
    assert_copied(&server, &after);
    let manifest = manifest(&server.objects()[&format!("{PLACE}2026/11/23/manifest.json")]);
    assert_eq!(manifest["gaps"][0]["cause"], "the disk");
}

/// An nginx that takes TLS off and passes the rest on to the store.
struct Front {
    process: Child,
    port: u16,
}

impl Front {
    fn start(folder: &Path, leaf: &Leaf, to: u16) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (certificate, key) = (leaf.certificate.display(), leaf.key.display());
        let text = format!(
            "load_module /usr/lib/nginx/modules/ngx_stream_module.so;
            daemon off; master_process off; user root; pid nginx.pid; error_log error.log info;
            events {{ worker_connections 64; }}
            stream {{ server {{
                listen 127.0.0.1:{port} ssl; ssl_certificate \"{certificate}\"; ssl_certificate_key \"{key}\";
                proxy_pass 127.0.0.1:{to};
            }} }}"
        );
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("nginx.conf"), text).unwrap();
        let mut command = Command::new("/usr/sbin/nginx");
        command.args(["-c", "nginx.conf", "-e", "error.log", "-p"]).arg(folder).stderr(Stdio::null());
        let process = command.spawn().expect("nginx with its stream module is needed for this test");
        poll("nginx's port", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Self { process, port }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_store_is_believed_by_its_authority_only() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(&home.path().join("store"));
    let shelf = Shelf::fill(&home.path().join("archive"), [1000, 6 * MIB]);
    let [ours, other] = ["ours", "other"].map(|name| {
        let folder = home.path().join(name);
        fs::create_dir(&folder).unwrap();
        Authority::make(name, &folder)
    });
    let leaf = ours.sign("leaf", "IP:127.0.0.1", &authority::VALID);
    let front = Front::start(&home.path().join("front"), &leaf, server.port);
    let trusting = |ca_file| config::Upload { ca_file: Some(ca_file), ..config(&format!("https://127.0.0.1:{}", front.port)) };
    let uploader = Uploader::start(&shelf.folder, trusting(other.certificate()));
    let upload = uploader.wait_for("a refusal", |upload| upload.state == UploadState::Rejected).await;
    assert!(upload.last_error.as_ref().is_some_and(|text| text.contains("certificate")), "{upload:?}");
    uploader.stop().await;
    let uploader = Uploader::start(&shelf.folder, trusting(ours.certificate()));
    uploader.wait_for("the end", |_| shelf.is_copied()).await;
    uploader.stop().await;
    assert_copied(&server, &shelf);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_may_stand_in_a_file_of_profiles() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(&home.path().join("store"));
    let shelf = Shelf::fill(&home.path().join("archive"), [1000]);
    let file = home.path().join("credentials");
    let with_file = || config::Upload { keys: Keys::File(file.clone()), ..config(&server.endpoint()) };
    let uploader = Uploader::start(&shelf.folder, with_file());
    let upload = uploader.wait_for("a refusal", |upload| upload.state == UploadState::Rejected).await;
    assert!(upload.last_error.as_ref().is_some_and(|text| text.contains("keys")), "{upload:?}");
    uploader.stop().await;
    let text = format!("[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n", bucket::ACCESS, bucket::SECRET);
    fs::write(&file, text).unwrap();
    let uploader = Uploader::start(&shelf.folder, with_file());
    uploader.wait_for("the end", |_| shelf.is_copied()).await;
    uploader.stop().await;
    assert_copied(&server, &shelf);
}

/// What the daemon records is in the bucket as it is on its disk.
#[test]
fn the_daemon_uploads_what_it_records() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(&home.path().join("store"));
    let archive = home.path().join("archive");
    let config = format!(
        "version = 1\n[device]\nname = '{DEVICE}'\n[program]\nwidth = 320\nheight = 180\nkeyframe_interval = 0.5\n\
         [[input]]\nkind = 'test'\n[archive]\ndirectory = '{}'\nsegment_seconds = 1\nkeep_free = '0'\n\
         [archive.upload]\nbucket = '{BUCKET}'\nendpoint = '{}'\nprefix = 'station/north'\naccess_key = '{}'\nsecret_key = '{}'\n",
        archive.display(),
        server.endpoint(),
        bucket::ACCESS,
        bucket::SECRET
    );
    let mut daemon = support::Daemon::start(home.path(), &config);
    daemon.wait_until("three segments in the bucket", |status| status.archive.upload.uploaded >= 3);
    let objects = || server.objects().into_iter().filter(|(name, _)| name.starts_with(PLACE));
    poll("a manifest", || objects().any(|(name, _)| name.ends_with("manifest.json")).then_some(()));
    let log = daemon.stop().log;
    assert!(!log.contains(bucket::SECRET), "a key is never told");
    let segments: Vec<_> = objects().filter(|(name, _)| name.ends_with(".mp4")).collect();
    assert!(segments.len() >= 3, "{segments:?}");
    for (name, file) in segments {
        let recorded = fs::read(archive.join(name.rsplit('/').next().unwrap())).unwrap();
        assert_eq!(sha256(&fs::read(file).unwrap()), sha256(&recorded), "{name}");
    }
}

/// A store that lists what is unfinished and keeps checksums.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knows_is_ended_and_checksums_are_kept() {
    let home = tempfile::tempdir().unwrap();
    let moto = tokio::task::block_in_place(Moto::start);
    let begin = |key: &str| moto.ask(&["create-multipart-upload", "--key", key]);
    tokio::task::block_in_place(|| {
        begin(&format!("{PLACE}2026/11/20/lost.mp4"));
        begin("station/north/Box-70/2026/11/20/of-another-box.mp4");
    });
    let shelf = Shelf::fill(&home.path().join("archive"), [1000, 11 * MIB]);
    let uploader = Uploader::start(&shelf.folder, config(&moto.endpoint()));
    uploader.wait_for("the end", |_| shelf.is_copied()).await;
    assert!(uploader.told("ended an unfinished upload"));
    uploader.stop().await;
    tokio::task::block_in_place(|| {
        let left = moto.ask(&["list-multipart-uploads"]);
        let left: Vec<_> = left["Uploads"].as_array().unwrap().iter().map(|upload| upload["Key"].as_str().unwrap()).collect();
        assert_eq!(left, ["station/north/Box-70/2026/11/20/of-another-box.mp4"], "another box's is not touched");
        for number in 0..2 {
            let head = moto.ask(&["head-object", "--checksum-mode", "ENABLED", "--key", &object(number)]);
            assert_eq!(head["Metadata"]["sha256"], shelf.entry(number).sha256.to_string());
            assert_eq!(head["Metadata"]["duration"], "60.000");
            assert_eq!(head["ContentLength"], shelf.entry(number).bytes);
            assert_eq!(head["ContentType"], "video/mp4");
            // Of small objects this store forgets it.
            assert!(number == 0 || head["ChecksumSHA256"].is_string(), "{head:#}");
        }
        let copy = home.path().join("copy");
        moto.ask(&["get-object", "--key", &object(1), copy.to_str().unwrap()]);
        assert_eq!(sha256(&fs::read(copy).unwrap()), shelf.entry(1).sha256);
    });
}
