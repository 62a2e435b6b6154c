//! A world of the bench's own, so that nothing can be left behind in this one: the test runs itself again, as the first process
//! of new process, network and mount namespaces.
//!
//! ```text
//! the test ── setpriv ── unshare ── the same test again, process 1 of its own world
//!   (waits)     (ended when the test ends, however it ends, and all below with it)
//! ```
//!
//! When process 1 ends, or the test that waits for it (Ctrl-C, a panic, SIGKILL), the kernel ends every process of that world,
//! and its interfaces, firewall rules, queues, mounts and files go with the last one. Names and addresses in it cannot collide
//! with anything outside, nor with a second bench at the same time. Where that is not allowed, nothing is run at all.

use std::io::Write;
use std::process::{Command, Stdio};

/// Set in the inner run.
const INSIDE: &str = "ONAIRD_FAULTS_INSIDE";

/// Files of the inner world, all in memory.
pub const FOLDER: &str = "/run/faults";

/// A `/run` of our own hides the sockets of resolvers and name caches; what resolves names reads our `resolv.conf`.
const PREPARE: &str = r#"set -e
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/faults /run/lock
conf=$(readlink -m /etc/resolv.conf)
case $conf in
  /run/*) mkdir -p "${conf%/*}"; : > "$conf" ;;
  *) : > /run/resolv.conf; [ ! -e "$conf" ] || mount --bind /run/resolv.conf "$conf" ;;
esac
ip link set lo up
exec "$@""#;

/// The same where it is allowed; elsewhere the test is left out, loudly.
pub fn run_or_skip(name: &str, body: impl FnOnce()) {
    match std::env::var_os(INSIDE).is_some() || is_allowed() {
        true => run(name, body),
        false => say(&format!("\n*** SKIPPED: {name}; this user may not make network namespaces, run it as root ***\n")),
    }
}

/// Runs `body` of the test called `name` in there.
pub fn run(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    assert!(is_allowed(), "this user may not make network namespaces; run it as root");
    let mut command = unshare();
    command.args(["sh", "-c", PREPARE, "sh"]).arg(std::env::current_exe().unwrap());
    command.args(["--include-ignored", "--exact", name, "--nocapture", "--test-threads=1"]);
    command.env(INSIDE, "1").env("TMPDIR", FOLDER).env_remove("XDG_RUNTIME_DIR").stdin(Stdio::null());
    let status = command.status().unwrap();
    assert!(status.success(), "{name} failed in its namespaces: {status}");
}

fn is_allowed() -> bool {
    let tried = unshare().arg("true").stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

fn unshare() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    if !nix::unistd::geteuid().is_root() {
        // Many systems let everybody be root among namespaces of their own.
        command.args(["--user", "--map-root-user"]);
    }
    command
}

/// Not through `println!`, which the test harness keeps to itself while all is well.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
