//! The signals of a process that serves: TERM and INT end it, HUP reads the
//! file again, USR2 asks for an upgrade.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::server::handover::Button;

/// The signals a server minds.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr1: Signal,
    usr2: Signal,
}

/// HUP, USR1 and USR2 end a process that does not mind them. One that only
/// starts has nothing to do for them yet: the file is about to be read.
pub(super) fn survive() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let _entered = runtime.enter();
    // Once minded, always minded: dropping these restores nothing.
    for kind in [
        SignalKind::hangup(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ] {
        drop(signal(kind)?);
    }
    Ok(())
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for one that ends this process, and does what the others ask for.
    pub(super) async fn end(&mut self, button: &Button, reload: impl AsyncFn()) -> &'static str {
        loop {
            tokio::select! {
                _ = self.term.recv() => return "TERM",
                _ = self.int.recv() => return "INT",
                // Those that come meanwhile are one more afterwards.
                _ = self.hup.recv() => tokio::select! {
                    () = reload() => {}
                    name = self.stop() => return name,
                },
                _ = self.usr1.recv() => {
                    tracing::info!("no log goes to a file of hostmux: there is none to open again");
                }
                _ = self.usr2.recv() => button.press(),
            }
        }
    }

    /// Waits for one that ends this process.
    pub(super) async fn stop(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "TERM",
            _ = self.int.recv() => "INT",
        }
    }
}
