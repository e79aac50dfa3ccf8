//! The background thread: what is no request: health checks, names of
//! endpoints, commands.
//!
//! It has a runtime of its own, with its own connections to endpoints, so that
//! what it does costs no request a wait.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::control::{self, Listening, Place, Socket};
use super::reload::Source;
use crate::proxy::Proxy;
use crate::rt::{self, clock};
use crate::upstream::client::pool;
use crate::upstream::{Upstream, discovery, health};

/// The thread. Dropped, it ends by itself.
pub(super) struct Background {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
    /// The control socket's file, which goes with this.
    _place: Option<Place>,
}

impl Background {
    pub(super) fn start(
        proxy: Arc<Proxy>,
        source: Option<Arc<Source>>,
        control: Option<Socket>,
    ) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let both = source.zip(control);
        let (place, listening) = both
            .map(|(source, socket)| Listening::new(socket, source))
            .unzip();
        let thread = rt::thread("background", move || run(proxy, listening, stopped))?;
        Ok(Self {
            stop,
            thread,
            _place: place,
        })
    }

    /// Ends its tasks and waits for the thread.
    pub(super) fn end(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the background thread ended by a panic");
        }
    }
}

/// Its tasks end with its runtime.
async fn run(proxy: Arc<Proxy>, listening: Option<Listening>, stopped: oneshot::Receiver<()>) {
    tokio::task::spawn_local(clock::run(pool::sweep));
    if let Some(listening) = listening {
        tokio::task::spawn_local(control::run(listening, proxy.clone()));
    }
    let commons = proxy.live().current().commons.clone();
    let changed = commons.changed.subscribe();
    let all = move || upstreams(&proxy);
    tokio::task::spawn_local(health::supervise(all.clone(), changed));
    tokio::task::spawn_local(discovery::supervise(all, commons));
    let _ = stopped.await;
}

/// Those that requests may go to; one that several routes have comes several times.
fn upstreams(proxy: &Proxy) -> Vec<Arc<Upstream>> {
    let snapshot = proxy.live().current();
    let sites = snapshot.all();
    sites.flat_map(|site| site.upstreams().cloned()).collect()
}
