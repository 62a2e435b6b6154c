//! TLS before an origin: an nginx that shows a certificate which has expired.

use std::fs;
use std::path::{Path, PathBuf};

use onaird::demo::child::{self, Child};

use super::authority::{self, Authority};
use super::network::Line;
use super::support::{LIMIT, poll};

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
        let authority = Authority::make("bench", &folder);
        let leaf = authority.sign("leaf", &format!("IP:{}", line.address()), &authority::EXPIRED);
        let (certificate, key) = (leaf.certificate.display(), leaf.key.display());
        let (address, place) = (line.address(), folder.display());
        let config = format!(
            "load_module {STREAM};\nuser root;\ndaemon off;\nworker_processes 1;\npid \"{place}/pid\";\nerror_log \"{place}/error.log\";\n\
             events {{ worker_connections 64; }}\n\
             stream {{ server {{ listen {address}:{from} ssl; ssl_certificate \"{certificate}\";\n\
             ssl_certificate_key \"{key}\"; proxy_pass {address}:{to}; }} }}\n"
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
        Self { authority: authority.certificate(), _nginx: nginx }
    }
}
