//! `hostmux run`: load, bind or take over, serve until told to stop.

mod signals;

use std::convert::Infallible;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;

use self::signals::Signals;
use super::{FAILED, NOT_DRAINED, load};
use crate::config::Config;
use crate::observe::access_log::{AccessLog, Format};
use crate::proxy::Proxy;
use crate::rt::date;
use crate::server::control::{Socket, repeat};
use crate::server::handover::{Claim, Heritage, Program};
use crate::server::inherit::Inherited;
use crate::server::listener::Listener;
use crate::server::reload::{Cause, Ready, Source, Start};
use crate::server::{self, DRAIN_TIMEOUT, Drain, Server, Speaks, reload, systemd};
use crate::snapshot::Snapshot;
use crate::tls::Tickets;

/// How long a thread that may block is waited for at the end: an upgrade that was
/// broken off has a process to kill. A reload may hang for ever.
const BLOCKED_TIMEOUT: Duration = Duration::from_secs(3);

/// `strict`: a file with any fault is not served.
pub(super) fn run(named: Option<PathBuf>, strict: bool) -> anyhow::Result<ExitCode> {
    // First of all: descriptors and standard input are as they were given.
    let inherited = Inherited::from_systemd();
    let (mut claim, heritage) = match Claim::take()? {
        Some((claim, heritage)) => (Some(claim), heritage),
        None => (None, Heritage::none(inherited)),
    };
    signals::survive()?;
    let ended = start(named, strict, heritage, &mut claim);
    if let Some(claim) = claim {
        claim.give_up(&match &ended {
            Ok(_) => "the configuration has faults".to_owned(),
            Err(error) => format!("{error:#}"),
        });
    }
    ended
}

/// `claim`: to what another process serves; taken once this one does.
fn start(
    named: Option<PathBuf>,
    strict: bool,
    heritage: Heritage,
    claim: &mut Option<Claim>,
) -> anyhow::Result<ExitCode> {
    let state = load::state_directory()?;
    let file = load::find_to_serve(named, &state)?;
    let Start { loaded, ready } = Start::read(&file, &state, strict);
    eprint!(
        "{}",
        loaded.render(super::colour(std::io::stderr().is_terminal()))
    );
    let Some(ready) = ready else {
        if loaded.checked.config.is_some() {
            anyhow::bail!(
                "{} is not served: a site of it is broken, and `--strict` wants the whole of it\n  \
                 = help: without `--strict` the others would be served",
                loaded.name
            );
        }
        return Ok(ExitCode::from(FAILED));
    };
    let Ready {
        config,
        inventory,
        text,
        read_at,
        instead,
    } = ready;
    let format = super::log_format(config.log.format);
    super::start_log(format);
    let limit = server::raise_descriptor_limit();
    let listeners = bind(&config, heritage.inherited)?;
    let tickets = Tickets::open(&load::runtime_directory()?, SystemTime::now());
    let snapshot = reload::open(&config, inventory, Arc::new(tickets), &state, None)?;
    tracing::info!(
        config = %file.display(),
        sites = config.sites.len(),
        broken = config.broken.len(),
        open_files_max = limit,
        "hostmux {} starts", env!("CARGO_PKG_VERSION"),
    );
    if let Some(authority) = snapshot.tls.authority() {
        tracing::info!(
            ca = %authority.certificate_path().display(),
            "names that no certificate covers get one of hostmux's own CA",
        );
    }
    for site in config.broken.iter().take(reload::TOLD_MAX) {
        reload::broken(&site.name, site.line, &site.message);
    }
    let degraded = degraded(&config, instead.is_some());
    let refused = instead.map(|(refused, since)| {
        tracing::error!(
            config = %file.display(),
            line = refused.line,
            fault = refused.message,
            since = date::rfc3339(since),
            "configuration refused: the last good copy is served in its place; `hostmux check {}` shows every fault",
            file.display(),
        );
        refused
    });
    let source = (file != Path::new("-")).then(|| {
        let source = Source::new(&file, state, config.clone(), text, refused);
        let named = snapshot.tls.inventory().files();
        Arc::new(source.strictly(strict).watched(named, read_at, &loaded))
    });
    let control = source
        .as_ref()
        .and_then(|_| heritage.control.or_else(control));
    repeat(&snapshot, &heritage.by_hand);
    let served = Served {
        snapshot,
        listeners,
        source,
        control,
    };
    serve(&config, served, format, |server| {
        for (speaks, address) in server.addresses() {
            tracing::info!(%address, tls = *speaks == Speaks::Https, "listening");
        }
        // Systemd hears this process once the one before has named it.
        if let Some(claim) = claim.take() {
            claim.ready(degraded.as_deref());
        }
        Ok(())
    })
}

/// What of a configuration is not served as it is written.
fn degraded(config: &Config, is_copy: bool) -> Option<String> {
    if is_copy {
        return Some("the file was refused, and its last good copy is served".to_owned());
    }
    let first = config.broken.first()?;
    let what = format!(
        "`{}` (config line {}: {})",
        first.name, first.line, first.message
    );
    Some(match config.broken.len() - 1 {
        0 => format!("not served: {what}"),
        more => format!("not served: {what} and {more} more"),
    })
}

/// Listens for commands. Without it sites are served all the same.
fn control() -> Option<Socket> {
    let path = match load::control_socket() {
        Ok(path) => path,
        Err(error) => {
            tracing::warn!(%error, "no control socket");
            return None;
        }
    };
    match Socket::bind(&path) {
        Ok(socket) => {
            tracing::info!(socket = %path.display(), "commands are taken");
            Some(socket)
        }
        Err(error) => {
            tracing::warn!(%error, "no control socket: `hostmux status` and the like will not reach this process");
            None
        }
    }
}

/// A listener for each address, or a word on every one that cannot be had.
pub(super) fn bind(config: &Config, inherited: Inherited) -> anyhow::Result<Vec<Listener>> {
    inherited.open(&config.listen).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        anyhow::anyhow!(faults.join("\nerror: "))
    })
}

/// What is to be served, and where.
pub(super) struct Served {
    pub(super) snapshot: Snapshot,
    pub(super) listeners: Vec<Listener>,
    /// The file that it came from; `None`: nothing that could be read again.
    pub(super) source: Option<Arc<Source>>,
    pub(super) control: Option<Socket>,
}

/// Serves until a signal says otherwise; `ready` is called once all listen.
pub(super) fn serve(
    config: &Config,
    served: Served,
    format: Format,
    ready: impl FnOnce(&Server) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let (access_log, writer) = match config.log.requests {
        false => (None, None),
        true => {
            let (log, writer) = AccessLog::start(format, std::io::stdout())?;
            (Some(log), Some(writer))
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let program = Program::of_this_process();
    let left = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let proxy = Arc::new(Proxy::new(served.snapshot, access_log));
        let source = served.source.clone();
        let mut server = Server::prepare(
            proxy.clone(),
            served.listeners,
            served.source,
            served.control,
        )
        .context("the threads could not be started")?;
        ready(&server)?;
        // Of a process that was given up meanwhile, no connection ends with it.
        server.accept();
        systemd::ready(&status(&proxy, source.as_deref()));
        let (button, watchdog) = (server.button(), systemd::watchdog(server.pulse()));
        let reload = async || reload(&proxy, source.as_ref()).await;
        let why = tokio::select! {
            signal = signals.end(&button, reload) => {
                tracing::info!(signal, drain_s = DRAIN_TIMEOUT.as_secs(), "draining");
                systemd::stopping();
                Drain::Stop
            }
            upgraded = server.until_upgraded(&program) => {
                tracing::info!(to = upgraded.pid, drain_s = DRAIN_TIMEOUT.as_secs(), "draining");
                Drain::Upgrade
            }
            never = watchdog => match never {},
            never = keep_told(&proxy, source.as_ref()) => match never {},
        };
        let left = tokio::select! {
            left = server.drain(why, DRAIN_TIMEOUT) => Some(left),
            name = signals.stop() => {
                tracing::warn!(signal = name, "stopped at once");
                None
            }
        };
        anyhow::Ok(left)
    });
    runtime.shutdown_timeout(BLOCKED_TIMEOUT);
    let left = left?;
    if let Some(writer) = writer {
        writer.finish();
    }
    match left {
        Some(0) => {
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        Some(connections) => {
            tracing::warn!(connections, "stopped before everything had drained");
            Ok(ExitCode::from(NOT_DRAINED))
        }
        None => Ok(ExitCode::from(NOT_DRAINED)),
    }
}

/// Reads the file again, as SIGHUP asks; what comes of it is told there.
async fn reload(proxy: &Arc<Proxy>, source: Option<&Arc<Source>>) {
    let Some(source) = source else {
        return tracing::warn!("there is no file to read again: it came from standard input");
    };
    systemd::reloading();
    let _ = source.take_over(proxy, Cause::Signal).await;
    systemd::ready(&status(proxy, Some(source)));
}

/// Tells systemd how things are whenever the file was read. Never ends: to be dropped.
async fn keep_told(proxy: &Proxy, source: Option<&Arc<Source>>) -> Infallible {
    let Some(source) = source else {
        return std::future::pending().await;
    };
    let mut read = source.read();
    // The other end is in the source itself.
    while read.changed().await.is_ok() {
        systemd::status(&status(proxy, Some(source)));
    }
    std::future::pending().await
}

/// One line for `systemctl status`.
fn status(proxy: &Proxy, source: Option<&Source>) -> String {
    let snapshot = proxy.live().current();
    let (sites, broken) = snapshot.all().fold((0, 0), |(all, broken), site| {
        (all + 1, broken + usize::from(site.broken.is_some()))
    });
    let refused = source.and_then(Source::refused);
    match (refused, broken) {
        (Some(_), _) => {
            format!("{sites} sites, of an older sites.yaml: what stands there now is refused")
        }
        (None, 0) => format!("{sites} sites"),
        (None, broken) => format!("{sites} sites, of which {broken} are broken"),
    }
}
