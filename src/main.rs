//! The command line: words, exit codes, nothing else.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use onaird::commands::archive::{self, Chosen, Place, Target};
use onaird::config::store;
use onaird::recorded::name::Name;
use onaird::recorded::when::Span;
use onaird::{commands, demo};

#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
    /// Where the daemon listens, and where the other commands ask.
    #[arg(long, global = true, env = "ONAIRD_SOCKET", default_value = "/run/onaird/control.sock")]
    socket: PathBuf,
    /// error, warn, info, debug or trace; RUST_LOG says it in more detail.
    #[arg(long, global = true, default_value = "info")]
    log: String,
}

#[derive(Subcommand)]
enum Verb {
    /// The daemon.
    Run {
        #[arg(long, default_value = store::USER)]
        config: PathBuf,
    },
    /// All that is wrong with a configuration, as FILE:LINE: text.
    Check {
        #[arg(long, default_value = store::USER)]
        config: PathBuf,
        /// Then every origin, step by step (dns, tcp, tls, rtmp, publish), and the uplink.
        #[arg(long)]
        network: bool,
    },
    /// The running daemon's state.
    Status {
        /// As JSON, for scripts.
        #[arg(long)]
        json: bool,
        /// Again every second, until Ctrl-C.
        #[arg(long)]
        watch: bool,
    },
    /// One command to the running daemon, such as `switch promo`; `help` lists them.
    Ctl {
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<String>,
    },
    /// Capture devices with their signal, and encoders: which one "auto" takes, and why not the others.
    Devices,
    /// What is recorded on this machine, with or without a running daemon.
    Archive {
        #[command(subcommand)]
        verb: ArchiveVerb,
    },
    /// The whole job on this machine, for a person to watch.
    Demo {
        /// End after so many seconds on air, check everything, exit 0 only if all is well.
        #[arg(long)]
        seconds: Option<u64>,
        /// What is shown.
        #[arg(long, value_enum, default_value_t = DemoInput::Test)]
        input: DemoInput,
    },
}

#[derive(Subcommand)]
enum ArchiveVerb {
    /// Segments with their size and state, the gaps between them, and sums.
    List {
        #[command(flatten)]
        times: Times,
        /// As JSON, for scripts.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Folder,
    },
    /// Reads segments and says which are not what was recorded; exit code 1 if any.
    Verify {
        /// Such as 20261123T051656Z.mp4; without one, all.
        #[arg(value_parser = archive::name)]
        names: Vec<Name>,
        #[command(flatten)]
        place: Folder,
    },
    /// Keeps segments, whatever room is needed.
    Protect {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        place: Folder,
    },
    /// Lets them be deleted again when their turn comes.
    Unprotect {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        place: Folder,
    },
    /// Copies what is not there yet onto another disk, proves each copy, and writes a manifest of each day.
    Export {
        /// A folder that is there.
        #[arg(long, value_name = "DIR", required_unless_present = "disk")]
        to: Option<PathBuf>,
        /// A disk such as /dev/sdb1, mounted for as long as it takes; its udev rule does this by itself.
        #[arg(long, value_name = "DEVICE", conflicts_with = "to")]
        disk: Option<PathBuf>,
        #[command(flatten)]
        times: Times,
        #[command(flatten)]
        place: Folder,
    },
    /// Makes the index anew from the files.
    Rebuild {
        #[command(flatten)]
        place: Folder,
    },
}

#[derive(Args)]
struct Times {
    /// 2026-11-23, 2026-11-23T14:00 (both UTC), or RFC 3339 with any offset. Without it, from the oldest on.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// A day includes all of that day. Without it, to the newest.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

#[derive(Args)]
struct Which {
    /// Such as 20261123T051656Z.mp4.
    #[arg(value_parser = archive::name, required_unless_present_any = ["from", "until"], conflicts_with_all = ["from", "until"])]
    names: Vec<Name>,
    #[command(flatten)]
    times: Times,
}

#[derive(Args)]
struct Folder {
    /// The configuration that names the archive's folder.
    #[arg(long, value_name = "FILE", default_value = store::USER)]
    config: PathBuf,
    /// The archive's folder itself.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Folder {
    fn place(self) -> Place {
        Place { config: self.config, directory: self.directory }
    }
}

impl Times {
    /// What is no time is a fault of the command line.
    fn span(&self) -> Span {
        let span = Span::read(self.from.as_deref(), self.until.as_deref());
        span.unwrap_or_else(|fault| Arguments::command().error(ErrorKind::ValueValidation, fault).exit())
    }
}

impl Which {
    fn chosen(self) -> Chosen {
        if self.names.is_empty() { Chosen::Begun(self.times.span()) } else { Chosen::Names(self.names) }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum DemoInput {
    /// The test picture.
    Test,
    /// A capture device if there is one, else the test picture.
    Auto,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    commands::init_log(&arguments.log);
    let socket = arguments.socket;
    match arguments.command {
        Verb::Run { config } => commands::run(config, socket),
        Verb::Check { config, network: false } => commands::check(&config),
        Verb::Check { config, network: true } => commands::check_network(&config, &socket),
        Verb::Status { json, watch } => commands::status(&socket, json, watch),
        Verb::Ctl { command } => commands::ctl(&socket, &command.join(" ")),
        Verb::Devices => commands::devices(),
        Verb::Archive { verb } => archive_command(verb, &socket),
        Verb::Demo { seconds, input } => {
            let input = match input {
                DemoInput::Test => demo::Input::Test,
                DemoInput::Auto => demo::Input::Auto,
            };
            commands::demo(demo::Options { seconds, input })
        }
    }
}

fn archive_command(verb: ArchiveVerb, socket: &Path) -> ExitCode {
    match verb {
        ArchiveVerb::List { times, json, place } => archive::list(&place.place(), times.span(), json),
        ArchiveVerb::Verify { names, place } => archive::verify(&place.place(), &names),
        ArchiveVerb::Protect { which, place } => archive::protect(&place.place(), &which.chosen(), true),
        ArchiveVerb::Unprotect { which, place } => archive::protect(&place.place(), &which.chosen(), false),
        ArchiveVerb::Export { to, disk, times, place } => {
            // clap sees to it that there is one.
            let target = disk.map(Target::Disk).unwrap_or_else(|| Target::Folder(to.unwrap_or_default()));
            archive::export(&place.place(), &target, times.span(), socket)
        }
        ArchiveVerb::Rebuild { place } => archive::rebuild(&place.place()),
    }
}
