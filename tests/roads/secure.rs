//! RTMPS, and certificates that are not right.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use onaird::config::{self, OriginUrl};
use onaird::secret::Secret;
use onaird::status::{self, LegState};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::authority::{self, Authority, Leaf};
use super::judge::assert_whole;
use super::legs::*;

/// An nginx that takes TLS off and passes the rest on to an origin.
struct Front {
    process: Child,
    _folder: TempDir,
    port: u16,
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Front {
    async fn start(leaf: &Leaf, to: u16) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
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
        std::fs::write(folder.path().join("nginx.conf"), text).unwrap();
        let process = Command::new("/usr/sbin/nginx")
            .args(["-c", "nginx.conf", "-e", "error.log", "-p"])
            .arg(folder.path())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx with its stream module is needed for this test");
        eventually("nginx listens for TLS", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
        Self { process, _folder: folder, port }
    }

    fn config(&self, key: &str, ca_file: Option<PathBuf>) -> config::Origin {
        let url = OriginUrl { secure: true, ..origin(self.port, "live").url };
        config::Origin { ca_file, ..config::Origin::new(url, Secret::new(key)) }
    }
}

fn authority(name: &str, folder: &Path) -> Authority {
    std::fs::create_dir(folder).unwrap();
    Authority::make(name, folder)
}

/// A proxy whose answers come a byte at a time, each in a packet of its own.
async fn dribbling(to: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            client.set_nodelay(true).unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_front, mut to_front) = TcpStream::connect(("127.0.0.1", to)).await.unwrap().into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_front).await });
            tokio::spawn(async move {
                while let Ok(byte) = from_front.read_u8().await {
                    to_client.write_u8(byte).await?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_answer_may_come_in_any_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority("ours", &folder.path().join("ours"));
    let server = Origin::start().await;
    let front = Front::start(&authority.sign("leaf", "IP:127.0.0.1", &authority::VALID), server.port).await;
    let port = dribbling(front.port).await;
    let mut studio = Studio::open();
    let feeder = feed(&studio.hub, &studio.clock, Clip::make("200k"));
    let mut legs = Vec::new();
    for number in 0..8 {
        let there = front.config(&format!("key-{number}"), Some(authority.certificate()));
        let there = config::Origin { url: OriginUrl { port, ..there.url.clone() }, ..there };
        legs.push((studio.simple_leg(vec![there.clone()]), there));
    }
    for (leg, there) in &legs {
        let figures = studio.goes_live(*leg, there).await;
        assert_eq!(figures.last_error, None, "not at the first try");
    }
    studio.close().await;
    feeder.abort();
}

#[tokio::test]
async fn an_encrypted_origin_gets_the_stream() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority("ours", &folder.path().join("ours"));
    let server = Origin::start().await;
    let front = Front::start(&authority.sign("leaf", "IP:127.0.0.1", &authority::VALID), server.port).await;
    let clip = Clip::make("1M");
    let mut studio = Studio::open();
    let there = front.config(KEY, Some(authority.certificate()));
    let leg = studio.simple_leg(vec![there.clone()]);
    let feeder = feed(&studio.hub, &studio.clock, clip.clone());
    studio.goes_live(leg, &there).await;
    seconds(2).await;
    assert_eq!(studio.figures(leg).reconnects, 0);
    studio.close().await;
    feeder.abort();
    let recorded = server.recording();
    assert_decodable(&recorded);
    assert_whole(&clip, &[recorded], 45);
}

#[tokio::test]
async fn a_wrong_certificate_is_told_in_words_and_the_spare_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let (ours, strange) = (authority("ours", &place("ours")), authority("strange", &place("strange")));
    // As after an authority has been made anew.
    let namesake = authority("ours", &place("namesake"));
    let server = Origin::start().await;
    let here = "IP:127.0.0.1";
    let leaves = [
        ("expired", ours.sign("expired", here, &authority::EXPIRED), "has expired"),
        ("other", ours.sign("other", "DNS:other.example", &authority::VALID), "for another name"),
        ("unknown", strange.sign("unknown", here, &authority::VALID), "not trusted"),
        ("namesake", namesake.sign("namesake", here, &authority::VALID), "not trusted"),
    ];
    let mut studio = Studio::open();
    let feeder = feed(&studio.hub, &studio.clock, Clip::make("200k"));
    let mut cases = Vec::new();
    for (name, leaf, words) in &leaves {
        let front = Front::start(leaf, server.port).await;
        let there = front.config(name, Some(ours.certificate()));
        let spare = config::Origin::new(server.config().url, Secret::new(*name));
        let alone = studio.simple_leg(vec![there.clone()]);
        let spared = studio.simple_leg(vec![there.clone(), spare.clone()]);
        cases.push((front, there, spare, alone, spared, *words));
    }
    for (_front, there, spare, alone, spared, words) in &cases {
        let told = |leg: &status::Leg| leg.state == LegState::Rejected && leg.last_error.is_some();
        let error = studio.reaches(*alone, words, told).await.last_error.unwrap();
        println!("{error}");
        assert!(error.contains(words) && error.contains(&there.url.to_string()), "{error}");
        let error = studio.goes_live(*spared, spare).await.last_error.unwrap();
        assert!(error.contains(words) && error.contains("next origin"), "{error}");
    }
    studio.close().await;
    feeder.abort();
    assert_eq!(server.recordings().len(), cases.len(), "only spares were published to");
}
