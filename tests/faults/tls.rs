//! TLS before an origin: an authority made for the occasion, a certificate that has expired, and an nginx that shows it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use onaird::demo::child::{self, Child};

use super::network::Line;
use super::support::{LIMIT, poll, tool};

const STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

pub struct Tls {
    /// Of the authority, for the daemon.
    pub authority: PathBuf,
    _nginx: Child,
}

impl Tls {
    /// From one port to another of the same origin, with a certificate whose time is over.
    pub fn expired(line: Line, from: u16, to: u16, folder: &Path) -> Self {
        let folder = folder.join("tls");
        fs::create_dir_all(folder.join("temp")).unwrap();
        let authority = certificates(&folder, &line.address().to_string());
        let (address, place) = (line.address(), folder.display());
        let config = format!(
            "load_module {STREAM};\nuser root;\ndaemon off;\nworker_processes 1;\npid \"{place}/pid\";\nerror_log \"{place}/error.log\";\n\
             events {{ worker_connections 64; }}\n\
             stream {{ server {{ listen {address}:{from} ssl; ssl_certificate \"{place}/leaf.pem\";\n\
             ssl_certificate_key \"{place}/leaf.key\"; proxy_pass {address}:{to}; }} }}\n"
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, config).unwrap();
        let mut command = child::command(Path::new(&line.entry()[0]));
        command
            .args(&line.entry()[1..])
            .args(["nginx", "-p"])
            .arg(&folder)
            .arg("-c")
            .arg(&file)
            .arg("-e")
            .arg(folder.join("error.log"));
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let nginx = Child::spawn(&mut command, &folder.join("log")).unwrap();
        let listens = poll(LIMIT, || std::net::TcpStream::connect((address, from)).ok());
        assert!(listens.is_some(), "nginx does not listen for TLS: {:?}", fs::read_to_string(folder.join("log")));
        Self { authority, _nginx: nginx }
    }
}

/// `openssl ca` is the only one of its commands that can date a certificate back.
fn certificates(folder: &Path, address: &str) -> PathBuf {
    let place = folder.display();
    let config = format!(
        "[ca]\ndefault_ca = own\n[own]\nnew_certs_dir = {place}\ndatabase = {place}/index\nserial = {place}/serial\ndefault_md = sha256\n\
         policy = any\nx509_extensions = leaf\n[any]\ncommonName = supplied\n[leaf]\nbasicConstraints = CA:FALSE\n\
         subjectAltName = IP:{address}\nextendedKeyUsage = serverAuth\n[req]\ndistinguished_name = name\n[name]\n\
         [root]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\nsubjectKeyIdentifier = hash\n"
    );
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    fs::write(file("conf"), config).unwrap();
    fs::write(file("index"), "").unwrap();
    fs::write(file("serial"), "01\n").unwrap();
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let request = |rest: &[&str]| tool("openssl", &[&["req", "-config", &file("conf"), "-new"], &new_key[..], rest].concat());
    let (root, root_key, leaf_key) = (file("root.pem"), file("root.key"), file("leaf.key"));
    request(&["-x509", "-extensions", "root", "-days", "3650", "-subj", "/CN=bench", "-keyout", &root_key, "-out", &root]);
    request(&["-subj", "/CN=origin", "-keyout", &leaf_key, "-out", &file("leaf.csr")]);
    let dates = ["-startdate", "20200101000000Z", "-enddate", "20210101000000Z"];
    let signing =
        ["-batch", "-notext", "-cert", &root, "-keyfile", &root_key, "-in", &file("leaf.csr"), "-out", &file("leaf.pem")];
    tool("openssl", &[&["ca", "-config", &file("conf")], &dates[..], &signing[..]].concat());
    root.into()
}

#[test]
fn the_certificate_has_expired_and_is_good_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let authority = certificates(folder.path(), "10.77.1.2");
    let leaf = folder.path().join("leaf.pem");
    let verify = |options: &[&str]| {
        let trust = ["verify", "-CAfile", authority.to_str().unwrap(), "-verify_ip", "10.77.1.2"];
        let output = Command::new("openssl").args(trust).args(options).arg(&leaf).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(verify(&["-no_check_time"]), (true, String::new()));
    let (good, why) = verify(&[]);
    assert!(!good && why.contains("expired"), "{why}");
}
