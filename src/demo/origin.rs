//! An origin on this machine: a real nginx with its RTMP module on loopback or where it is told, in a folder and on ports of its own.
//!
//! It serves RTMP and, if wanted, HLS over HTTP, and records what it is sent, if wanted. Nothing of it lies outside its folder,
//! no system service is touched, and it ends with its owner.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, bail};

use super::child::{self, Child};

const MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";

/// Ports can be taken by another between the look and the start.
const ATTEMPTS: usize = 5;

/// How long nginx may take to listen.
const START_LIMIT: Duration = Duration::from_secs(10);

const STOP_LIMIT: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// HLS over HTTP.
    pub hls: bool,
    /// Every publication into a file of its own, as FLV, byte for byte.
    pub record: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    pub rtmp: u16,
    pub http: u16,
}

/// Where an origin stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// A command that nginx is started through, such as one that enters a network namespace; empty for none.
    pub through: Vec<String>,
    pub address: Ipv4Addr,
    /// `None`: any that are free, on an address of this machine.
    pub ports: Option<Ports>,
    /// It asks its own HTTP server about every publisher, and that says no.
    pub refuses: bool,
}

impl Site {
    /// On loopback, on ports that are free.
    pub fn local() -> Self {
        Self { through: vec![], address: Ipv4Addr::LOCALHOST, ports: None, refuses: false }
    }
}

pub struct Origin {
    folder: PathBuf,
    wishes: Wishes,
    site: Site,
    ports: Ports,
    child: Child,
}

impl Origin {
    /// Starts one that keeps everything in `folder`, which is made.
    pub fn start(folder: &Path, wishes: Wishes) -> anyhow::Result<Self> {
        Self::start_at(folder, wishes, Site::local())
    }

    /// The same, somewhere else.
    pub fn start_at(folder: &Path, wishes: Wishes, site: Site) -> anyhow::Result<Self> {
        for sub in ["hls", "records", "temp"] {
            fs::create_dir_all(folder.join(sub)).with_context(|| format!("making {}", folder.join(sub).display()))?;
        }
        let mut fault = None;
        for _ in 0..ATTEMPTS {
            let ports = site.ports.map_or_else(|| free_ports(site.address), Ok)?;
            match launch(folder, wishes, &site, ports) {
                Ok(child) => return Ok(Self { folder: folder.into(), wishes, site, ports, child }),
                Err(error) => fault = Some(error),
            }
        }
        Err(fault.unwrap_or_else(|| anyhow::anyhow!("no attempt was made")))
    }

    /// Starts it again where it was, after its end.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.child = launch(&self.folder, self.wishes, &self.site, self.ports)?;
        Ok(())
    }

    pub fn is_running(&mut self) -> bool {
        self.child.ended().is_none()
    }

    /// The process to kill.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Where to publish, without the key: `rtmp://ADDRESS:PORT/live`.
    pub fn url(&self) -> String {
        format!("rtmp://{}:{}/live", self.site.address, self.ports.rtmp)
    }

    pub fn rtmp_url(&self, key: &str) -> String {
        format!("{}/{key}", self.url())
    }

    pub fn hls_url(&self, key: &str) -> String {
        format!("http://{}:{}/hls/{key}.m3u8", self.site.address, self.ports.http)
    }

    /// Everything that was recorded under this key, oldest first.
    pub fn records(&self, key: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.folder.join("records")) else { return vec![] };
        // nginx names them KEY-SECONDS.flv.
        let stem = |path: &PathBuf| Some(path.file_stem()?.to_str()?.rsplit_once('-')?.0.to_string());
        let paths = entries.flatten().map(|entry| entry.path());
        let mut paths: Vec<_> = paths.filter(|path| stem(path).as_deref() == Some(key)).collect();
        paths.sort();
        paths
    }

    /// Ends it in an orderly way; by force if it does not.
    pub fn stop(&mut self) {
        if self.is_running() {
            let _ = self.child.end(STOP_LIMIT);
        }
    }

    /// Ends it as a crash would: connections are reset by the kernel.
    pub fn kill(&mut self) {
        self.child.kill();
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

fn launch(folder: &Path, wishes: Wishes, site: &Site, ports: Ports) -> anyhow::Result<Child> {
    let (config, log) = (folder.join("nginx.conf"), folder.join("nginx.log"));
    fs::write(&config, config_text(folder, wishes, site, ports)).with_context(|| format!("writing {}", config.display()))?;
    let mut command = command(site)?;
    command.arg("-p").arg(folder).arg("-c").arg(&config).arg("-e").arg(folder.join("error.log"));
    let mut child = Child::spawn(&mut command, &log).context("starting nginx")?;
    let listens = |port| TcpStream::connect((site.address, port)).is_ok();
    let mut looks = START_LIMIT.as_millis() / 20;
    while !(listens(ports.rtmp) && (!wishes.hls || listens(ports.http))) {
        let said = || fs::read_to_string(&log).unwrap_or_default();
        if child.ended().is_some() {
            bail!("nginx ended at once: {}", said().trim());
        }
        if looks == 0 {
            bail!("nginx does not listen on port {} after {} s: {}", ports.rtmp, START_LIMIT.as_secs(), said().trim());
        }
        looks -= 1;
        child::pause(Duration::from_millis(20));
    }
    Ok(child)
}

fn command(site: &Site) -> anyhow::Result<Command> {
    let nginx = program()?;
    let Some((first, rest)) = site.through.split_first() else { return Ok(child::command(&nginx)) };
    let mut command = child::command(Path::new(first));
    command.args(rest).arg(nginx);
    Ok(command)
}

/// Debian's nginx is not in everybody's PATH.
fn program() -> anyhow::Result<PathBuf> {
    if !Path::new(MODULE).exists() {
        bail!("{MODULE} is not there; run `tools/install-deps test`, or install nginx and libnginx-mod-rtmp");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join("nginx")).find(|path| path.is_file());
    found.context("nginx is not installed; run `tools/install-deps test`")
}

fn free_ports(address: Ipv4Addr) -> io::Result<Ports> {
    // Both are held until both are known, so that they differ.
    let (one, two) = (TcpListener::bind((address, 0))?, TcpListener::bind((address, 0))?);
    Ok(Ports { rtmp: one.local_addr()?.port(), http: two.local_addr()?.port() })
}

fn config_text(folder: &Path, wishes: Wishes, site: &Site, ports: Ports) -> String {
    let (folder, Ports { rtmp, http }, address) = (folder.display(), ports, site.address);
    let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
    let record = match wishes.record {
        true => format!("record all; record_path \"{folder}/records\"; record_unique on;"),
        false => String::new(),
    };
    let hls = match wishes.hls {
        true => format!("hls on; hls_path \"{folder}/hls\"; hls_fragment 2s; hls_playlist_length 12s; hls_nested off;"),
        false => String::new(),
    };
    let asked = match site.refuses {
        true => format!("on_publish http://{address}:{http}/refuse;"),
        false => String::new(),
    };
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path \"{folder}/temp/{kind}\"; "))
        .concat();
    let server = format!(
        "http {{ access_log off; {temp}
  server {{ listen {address}:{http};
    location = /refuse {{ return 403; }}
    location /hls/ {{ root \"{folder}\"; add_header Cache-Control no-cache; add_header Access-Control-Allow-Origin *;
      types {{ application/vnd.apple.mpegurl m3u8; video/mp2t ts; }} }} }} }}"
    );
    let server = if wishes.hls || site.refuses { server } else { String::new() };
    format!(
        "load_module {MODULE};
{user}
daemon off;
worker_processes 1;
pid \"{folder}/nginx.pid\";
error_log \"{folder}/error.log\" notice;
events {{ worker_connections 128; }}
rtmp {{ access_log off;
  server {{ listen {address}:{rtmp}; chunk_size 4096;
    application live {{ live on; {record} {hls} {asked} }} }} }}
{server}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Wishes = Wishes { hls: true, record: true };

    #[test]
    fn it_listens_ends_and_comes_back_on_the_same_ports() {
        let folder = tempfile::tempdir().unwrap();
        let mut origin = Origin::start(folder.path(), ALL).unwrap();
        let (url, pid) = (origin.url(), origin.pid());
        assert!(origin.is_running());
        origin.kill();
        assert!(!origin.is_running());
        origin.restart().unwrap();
        assert!(origin.is_running() && origin.pid() != pid && origin.url() == url);
        let port = origin.ports.rtmp;
        drop(origin);
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err(), "nothing is left behind");
    }

    #[test]
    fn two_stand_beside_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let one = Origin::start(&folder.path().join("1"), ALL).unwrap();
        let two = Origin::start(&folder.path().join("2"), Wishes { hls: false, record: false }).unwrap();
        assert_ne!(one.url(), two.url());
    }
}
