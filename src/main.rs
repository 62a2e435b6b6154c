//! The command line: words, exit codes, nothing else.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use onaird::config::store;
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
        Verb::Demo { seconds, input } => {
            let input = match input {
                DemoInput::Test => demo::Input::Test,
                DemoInput::Auto => demo::Input::Auto,
            };
            commands::demo(demo::Options { seconds, input })
        }
    }
}
