//! What each word of the command line does, up to its exit code: 0 ok, 1 refused or failed, 2 usage, 78 no usable configuration.

pub mod archive;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use crate::clock::MediaClock;
use crate::config::store;
use crate::console::client::{self, Answer};
use crate::program::trial::Trials;
use crate::publish::preflight::Running;
use crate::publish::probe::Preflight;
use crate::{app, capture, demo, program};

/// EX_CONFIG of sysexits.h: systemd must not try again.
const EX_CONFIG: u8 = 78;

/// Logs go to stderr, where the journal takes them; with times only for people at a terminal.
pub fn init_log(level: &str) {
    let filter = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new(level));
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).with_ansi(ansi).with_target(false);
    if std::env::var_os("JOURNAL_STREAM").is_some() { log.without_time().init() } else { log.init() }
}

pub fn run(config: PathBuf, socket: PathBuf) -> ExitCode {
    // systemd's StateDirectory=; without it, nothing is remembered.
    let state = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from);
    let last_good = state.as_ref().map(|state| state.join("last-good.toml"));
    let factory = std::env::var_os("ONAIRD_FACTORY_CONFIG").map_or_else(|| store::FACTORY.into(), PathBuf::from);
    let loaded = match store::load(&store::Places { user: config, last_good, factory }) {
        Ok(loaded) => loaded,
        Err(faults) => {
            faults.iter().for_each(|fault| eprintln!("{fault}"));
            eprintln!("no usable configuration; correct the file and start again");
            return ExitCode::from(EX_CONFIG);
        }
    };
    // In the unit's RuntimeDirectory=, where the socket is too.
    let thumbnails = socket.with_file_name("thumbnails");
    report(with_runtime(|| app::run(loaded.config, app::Places { socket, state, thumbnails }, loaded.reports)))
}

pub fn check(config: &Path) -> ExitCode {
    let faults = store::check(config).map_or_else(|faults| faults, |checked| checked.warnings);
    faults.iter().for_each(|fault| println!("{fault}"));
    if faults.is_empty() {
        println!("{}: no faults", config.display());
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}

/// The file, then the network as far as the file can be used.
pub fn check_network(path: &Path, socket: &Path) -> ExitCode {
    let verdict = check(path);
    let Ok(checked) = store::check(path) else { return verdict };
    // A daemon that runs here may be publishing with the very keys that are to be checked.
    let legs = client::ask(socket, "status").ok().and_then(|answer| answer.status).map_or(vec![], |status| status.legs);
    let mut good = verdict == ExitCode::SUCCESS;
    let checking = with_runtime(async || {
        let preflight = Preflight::new(&checked.config, MediaClock::start());
        let running = || Running { legs: legs.clone(), same: false };
        good &= preflight.run(&running, |line| println!("{line}")).await;
        Ok(())
    });
    match report(checking) {
        ExitCode::SUCCESS if good => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

pub fn status(socket: &Path, json: bool, watch: bool) -> ExitCode {
    loop {
        let Some(status) = asked(socket, "status").and_then(|answer| answer.status) else { return ExitCode::FAILURE };
        match json {
            true => println!("{}", serde_json::to_string_pretty(&status).unwrap_or_default()),
            false => demo::view::lines(&status).iter().for_each(|line| println!("{line}")),
        }
        if !watch {
            return ExitCode::SUCCESS;
        }
        pause(Duration::from_secs(1));
    }
}

pub fn ctl(socket: &Path, line: &str) -> ExitCode {
    let Some(answer) = asked(socket, line) else { return ExitCode::FAILURE };
    match (answer.ok, answer.status) {
        (true, Some(status)) => println!("{}", serde_json::to_string_pretty(&status).unwrap_or_default()),
        (true, None) => println!("{}", answer.text),
        (false, _) => {
            eprintln!("{}", answer.text);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

pub fn devices() -> ExitCode {
    report(init_gstreamer().map(|()| {
        section("Capture devices:", &capture::devices::list(), "none; plug one in, and see `dmesg` if it does not appear");
        section("Sound cards:", &capture::devices::sound(), "none that can record; `arecord -L` lists what else there may be");
        println!("Encoders:");
        // A fresh look at everything: what is remembered may be what the person came to check.
        let mut trials = Trials::new(None);
        let chosen = trials.choose("auto").map(|recipe| recipe.element);
        for recipe in program::encoder::RECIPES {
            let verdict = match (trials.verdict(recipe).fault, chosen == Ok(recipe.element)) {
                (Some(fault), _) => fault,
                (None, true) => "works; \"auto\" takes it".into(),
                (None, false) => "works; comes after the one that \"auto\" takes".into(),
            };
            println!("  {:<14} {verdict}", recipe.element);
        }
    }))
}

fn section(title: &str, lines: &[String], none: &str) {
    println!("{title}");
    lines.iter().for_each(|line| println!("  {line}"));
    if lines.is_empty() {
        println!("  {none}");
    }
}

pub fn demo(options: demo::Options) -> ExitCode {
    match init_gstreamer().and_then(|()| demo::run(options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => report(Err(error)),
    }
}

fn asked(socket: &Path, line: &str) -> Option<Answer> {
    match client::ask(socket, line) {
        Ok(answer) => Some(answer),
        Err(error) => {
            eprintln!(
                "no answer from onaird at {} ({error}); is it running? `systemctl status onaird` tells, --socket names another path",
                socket.display()
            );
            None
        }
    }
}

fn with_runtime<F: Future<Output = anyhow::Result<()>>>(work: impl FnOnce() -> F) -> anyhow::Result<()> {
    init_gstreamer()?;
    // Two threads: the legs and the rest; encoders and capture have their own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(work());
    runtime.shutdown_timeout(Duration::from_millis(300));
    result
}

fn init_gstreamer() -> anyhow::Result<()> {
    gstreamer::init().map_err(|error| anyhow::anyhow!("GStreamer cannot be initialised: {error}; install its base plugins"))
}

fn report(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("onaird: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// For a person who watches.
#[expect(clippy::disallowed_methods, reason = "a command in a terminal, not the daemon")]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
