//! Real sockets around the real server: endpoints that do as they are told,
//! the proxy in this process, and clients that may break every rule.
//!
//! Nothing sleeps to be in time: whatever is waited for is waited for, at most
//! [`PATIENCE`].

mod backend;
mod backend_h2;
mod certificates;
mod client;
mod dns;
mod front;
mod h2;
mod proxy;
mod websocket;
mod wire;

use std::future::Future;
use std::time::Duration;

pub(crate) use backend::{Backend, Conn, Refusing, answer, ok};
pub(crate) use backend_h2::{Call, H2Backend, reset};
pub(crate) use certificates::Certificates;
pub(crate) use client::{Client, get};
pub(crate) use dns::Dns;
pub(crate) use front::Front;
pub(crate) use h2::{END_STREAM, Frames, H2, Heard, Kind, frame, headers, literal, taken};
pub(crate) use proxy::Proxy;
pub(crate) use websocket::{Chat, GOING_AWAY, said, told};
pub(crate) use wire::{Answer, Message, joined, text};

/// How long anything may take before a test has failed.
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits for what must come.
#[track_caller]
pub(crate) fn within<F: Future>(what: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, what).await {
            Ok(done) => done,
            Err(_) => panic!("nothing happened for {PATIENCE:?} at {place}"),
        }
    }
}

/// Waits until something holds that has to be asked for.
#[track_caller]
pub(crate) fn until_asked<F: Future<Output = bool>>(
    mut ask: impl FnMut() -> F,
) -> impl Future<Output = ()> {
    within(async move {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
}

/// Waits until something holds that tells nobody when it begins to.
#[track_caller]
pub(crate) fn until(holds: impl Fn() -> bool) -> impl Future<Output = ()> {
    within(async move {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
}
