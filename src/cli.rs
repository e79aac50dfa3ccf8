//! The command line: arguments to a command, a command to an exit code.
//!
//! Exit codes: 0 fine; 1 configuration or start-up failed; 2 wrong usage;
//! 3 stopped, but not everything drained; 4 sites would be broken (`check`), or
//! a warning is the worst (`doctor`).

mod check;
mod control;
mod demo;
pub mod doctor;
mod endpoints;
mod init;
mod load;
mod lookup;
mod out;
mod run;
mod service;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;
use crate::diagnostic::Colour;
use crate::observe::access_log::Format;

/// The front door of one machine: names to local ports, over TLS.
#[derive(Debug, Parser)]
#[command(name = "hostmux", version, about, after_help = AFTER_HELP, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArguments,
}

const AFTER_HELP: &str = "\
The configuration is FILE, else $HOSTMUX_CONFIG, else ./sites.yaml, else /etc/hostmux/sites.yaml.
`hostmux` alone is `hostmux run`. The log of events goes to standard error, one line for each request to
standard output; HOSTMUX_LOG=debug tells more.";

const AFTER_DOCTOR: &str = "\
Looks at the configuration, ports, permissions, names, certificates, endpoints, the clock, the limit of open
files and the service. It changes nothing; each endpoint that the file names gets a GET or two.
Exit: 0 if nothing is worse than a note, 4 if a warning is the worst, 1 for an error.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve in the foreground until told to stop (TERM or INT drains; a second one stops at once)
    Run(StartArguments),
    /// Show it at work: three example endpoints, the router before them, and lines to try
    Demo(DemoArguments),
    /// Print every fault and warning of sites.yaml; exit 1 if it would be refused, 4 if sites would be broken
    Check(CheckArguments),
    /// Write a first sites.yaml from the ports that something listens on here
    Init(init::Arguments),
    /// Tell which site, route, endpoint and certificate would serve a URL, and why
    Lookup(LookupArguments),
    /// Look at all that hostmux lives on, and say what is wrong, why it matters and what mends it
    #[command(after_help = AFTER_DOCTOR)]
    Doctor(doctor::DoctorArguments),
    /// List the sites of the running hostmux and their endpoints
    List(control::ShowArguments),
    /// Tell what runs: sites, endpoints with their conditions, and what was changed while it runs
    Status(control::ShowArguments),
    /// Have the running hostmux read sites.yaml again, and print what that changed; exit 1 if it was refused, 4 if sites are broken
    Reload(control::ShowArguments),
    /// Print what `reload` would change, and what was changed while it runs; exit as `reload` would
    Diff(control::DiffArguments),
    /// Add endpoints to a site: sites.yaml is edited, checked and taken over
    Add(control::AddArguments),
    /// Remove endpoints or a site: requests under way go on to their end
    Remove(control::RemoveArguments),
    /// Give an endpoint no more requests; those under way go on
    Drain(control::DrainArguments),
    /// Change an endpoint's share of the requests while it runs
    Weight(control::WeightArguments),
    /// Hold a site's new requests
    Pause(control::SiteArguments),
    /// Let a paused or stopped site's requests in again
    Resume(control::SiteArguments),
    /// Turn a site's visitors away with a page that says why
    Stop(control::StopArguments),
    /// Start the program anew in the place of the running one: nobody is refused, nothing is cut
    Upgrade(control::UpgradeArguments),
    /// Install hostmux as a service of systemd, take it away, or tell how it is
    Service(service::Arguments),
}

#[derive(Debug, Default, clap::Args)]
struct RunArguments {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct StartArguments {
    #[command(flatten)]
    run: RunArguments,
    /// Refuse a file with any fault, even one that harms a single site: at the start, where no last good copy helps, and at a reload
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, clap::Args)]
struct DemoArguments {
    /// The port of the router; a free one if it is taken
    #[arg(long, value_name = "PORT", default_value_t = 4433)]
    port: u16,
}

#[derive(Debug, clap::Args)]
struct CheckArguments {
    /// The configuration file; `-` reads standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    run: RunArguments,
    /// Print an array of objects for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct LookupArguments {
    /// For example https://app.xyz.com/path
    #[arg(value_name = "URL")]
    url: String,
    #[command(flatten)]
    run: RunArguments,
    /// Print an object for programs
    #[arg(long)]
    json: bool,
}

const FAILED: u8 = 1;
const NOT_DRAINED: u8 = 3;
/// Served, but for sites that have faults.
const DEGRADED: u8 = 4;

/// The whole program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        None => run::run(arguments.run.config, false),
        Some(Command::Run(asked)) => {
            run::run(asked.run.config.or(arguments.run.config), asked.strict)
        }
        Some(Command::Demo(demo)) => demo::run(demo.port),
        Some(Command::Check(check)) => check::run(
            check.file.or(check.run.config).or(arguments.run.config),
            check.json,
        ),
        Some(Command::Lookup(lookup)) => lookup::run(
            &lookup.url,
            lookup.run.config.or(arguments.run.config),
            lookup.json,
        ),
        Some(Command::Init(asked)) => init::run(asked),
        Some(Command::Doctor(asked)) => doctor::run(asked, arguments.run.config),
        Some(Command::List(asked)) => control::list(asked),
        Some(Command::Status(asked)) => control::status(asked),
        Some(Command::Reload(asked)) => control::reload(asked),
        Some(Command::Diff(asked)) => control::diff(asked, arguments.run.config),
        Some(Command::Add(asked)) => control::add(asked, arguments.run.config),
        Some(Command::Remove(asked)) => control::remove(asked, arguments.run.config),
        Some(Command::Drain(asked)) => control::drain(asked),
        Some(Command::Weight(asked)) => control::weight(asked),
        Some(Command::Pause(asked)) => control::pause(asked),
        Some(Command::Resume(asked)) => control::resume(asked),
        Some(Command::Stop(asked)) => control::stop(asked),
        Some(Command::Upgrade(asked)) => control::upgrade(asked),
        Some(Command::Service(asked)) => service::run(asked, arguments.run.config),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::from(FAILED)
        }
    }
}

/// A failure, with what led to it, as a compiler would put it.
fn complain(error: &anyhow::Error) {
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("\n  because: {cause}"));
    }
    eprintln!("{text}");
}

/// Starts the log of events, once what it looks like is known.
fn start_log(format: Format) {
    let wanted = std::env::var("HOSTMUX_LOG").unwrap_or_else(|_| "info".to_owned());
    // The library under us writes a line a frame; who wants that names it.
    let quiet = if wanted.contains("h2") {
        ""
    } else {
        ",h2=info"
    };
    let filter = EnvFilter::try_new(wanted + quiet).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(std::io::stderr)
        .with_ansi(colour(std::io::stderr().is_terminal()) == Colour::Ansi);
    let started = match format {
        Format::Json => builder.json().flatten_event(true).try_init(),
        Format::Text | Format::Combined => builder.try_init(),
    };
    if let Err(error) = started {
        eprintln!("warning: the log could not be started: {error}");
    }
}

/// Text on a terminal, JSON otherwise, unless it is said.
fn log_format(said: Option<LogFormat>) -> Format {
    match said {
        Some(LogFormat::Text) => Format::Text,
        Some(LogFormat::Json) => Format::Json,
        Some(LogFormat::Combined) => Format::Combined,
        None if std::io::stdout().is_terminal() => Format::Text,
        None => Format::Json,
    }
}

/// Colour on a terminal, unless `NO_COLOR` is set (no-color.org).
fn colour(terminal: bool) -> Colour {
    if terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) {
        Colour::Ansi
    } else {
        Colour::Plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn run_is_the_command_that_need_not_be_said() {
        let alone = Arguments::parse_from(["hostmux", "-c", "a.yaml"]);
        assert!(alone.command.is_none());
        assert_eq!(alone.run.config.unwrap().to_str(), Some("a.yaml"));
    }
}
