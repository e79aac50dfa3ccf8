//! The control socket: `list`, `status`, endpoints that come and go, sites
//! that pause. HTTP/1.1 and JSON over a Unix socket of mode 0660.
//!
//! ```text
//! GET    /v1/server                         version, pid, configuration
//! GET    /v1/status                         all of it: sites, routes, endpoints
//! GET    /v1/sites                          sites and their endpoints, in short
//! POST   /v1/reload                         {}: what it has changed, and what was found in the file
//! GET    /v1/diff                           what a reload would change, and what was changed by hand
//! POST   /v1/upgrade                        {}
//! POST   /v1/sites/HOST/endpoints           {"endpoints": ["8081"], "prefix": "/x", "runtime": true}
//! DELETE /v1/sites/HOST/endpoints           the same, and perhaps "force": true
//! PATCH  /v1/sites/HOST/endpoints/ENDPOINT  {"weight": 3, "draining": true, "prefix": "/x"}
//! POST   /v1/sites/HOST/pause, /resume      {}
//! POST   /v1/sites/HOST/stop                {"message": "back at noon"}
//! ```
//!
//! Who may connect to the socket may do all of this. What makes no sense is
//! told as JSON with `error` and `fix`, and nothing is changed by it. One
//! request a connection.

mod by_hand;
mod change;
mod difference;
mod refusal;
mod request;
mod socket;
mod status;

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;

use self::refusal::Refusal;
use self::request::Asked;
use super::handover::Button;
use super::reload::{Cause, Source, Turn};
use crate::body::Body;
use crate::proxy::Proxy;

pub(super) use self::by_hand::list as by_hand;
pub use self::by_hand::repeat;
pub use self::request::BODY_BYTES_MAX;
pub use self::socket::{BindFault, Deed, MODE, Place, Socket};

/// Commands are few and short: who comes later waits in the socket's line.
const CONNECTIONS_MAX: usize = 16;
/// How long one of them may take, from the first byte of its head to the last
/// of its answer: a little more than an upgrade ([`super::handover::READY_TIMEOUT`]).
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(35);
/// How long those that are under way may take when the process ends.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long nothing is accepted after that failed: descriptors may be used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the background thread listens on.
pub(super) struct Listening {
    listener: std::os::unix::net::UnixListener,
    source: Arc<Source>,
    button: Button,
    started: SystemTime,
    places: Arc<Semaphore>,
}

/// The commands that are under way.
pub(super) struct UnderWay(Arc<Semaphore>);

impl UnderWay {
    /// Waits for their end, once no more are taken.
    pub(super) async fn end(self) {
        let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(FAREWELL_TIMEOUT, self.0.acquire_many(all)).await;
    }
}

impl Listening {
    /// The socket's file in the file system, which goes with its holder, and
    /// the rest. `source`: the file that is served; `button`: for an upgrade.
    pub(super) fn new(socket: Socket, source: Arc<Source>, button: Button) -> (Place, Self) {
        let (listener, place) = socket.split();
        let listening = Self {
            listener,
            source,
            button,
            started: SystemTime::now(),
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        };
        (place, listening)
    }

    pub(super) fn under_way(&self) -> UnderWay {
        UnderWay(self.places.clone())
    }

    /// The same socket once more.
    pub(super) fn copy(&self) -> std::io::Result<std::os::unix::net::UnixListener> {
        self.listener.try_clone()
    }
}

/// What the commands of a process share.
struct Desk {
    proxy: Arc<Proxy>,
    source: Arc<Source>,
    button: Button,
    started: SystemTime,
}

/// Answers commands until it is dropped, and its connections with it.
pub(super) async fn run(listening: Listening, proxy: Arc<Proxy>) {
    let listener = match UnixListener::from_std(listening.listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the control socket cannot be served"),
    };
    let desk = Rc::new(Desk {
        proxy,
        source: listening.source,
        button: listening.button,
        started: listening.started,
    });
    let places = listening.places;
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((socket, _)) => {
                let desk = desk.clone();
                tokio::task::spawn_local(async move {
                    let served = serve(desk, socket);
                    let _ = tokio::time::timeout(EXCHANGE_TIMEOUT, served).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no command could be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(desk: Rc<Desk>, socket: tokio::net::UnixStream) {
    let service = service_fn(move |request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(answer(&desk, request).await) }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(socket), service)
        .await;
}

async fn answer(desk: &Desk, request: Request<Incoming>) -> Response<Body> {
    let done = match request::read(request).await {
        Ok(asked) => act(desk, asked).await,
        Err(refusal) => Err(refusal),
    };
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let (kind, text) = match done {
        Ok(told) => ("application/json", told.to_string()),
        Err(refusal) => {
            if let Some(allow) = refusal.allow {
                headers.insert(ALLOW, HeaderValue::from_static(allow));
            }
            let text = refusal.told().to_string();
            *response.status_mut() = refusal.status;
            ("application/problem+json", text)
        }
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    *response.body_mut() = Body::from(text + "\n");
    response
}

async fn act(desk: &Desk, asked: Asked) -> Result<Value, Refusal> {
    if matches!(asked, Asked::Reload) {
        let done = tokio::select! {
            done = desk.source.take_over(&desk.proxy, Cause::Command) => done,
            () = desk.button.over() => return Err(succeeded()),
        };
        return difference::told(done, "was not taken over, and what ran before runs on");
    }
    if matches!(asked, Asked::Diff) {
        let done = tokio::select! {
            done = desk.source.compare(&desk.proxy) => done,
            () = desk.button.over() => return Err(succeeded()),
        };
        let mut told = difference::told(done, "would not be taken over")?;
        told["runtime_changes"] = by_hand::told(&desk.proxy.live().current());
        return Ok(told);
    }
    if matches!(asked, Asked::Upgrade) {
        return change::upgraded(desk.button.ask().await);
    }
    let changes = !matches!(asked, Asked::Server | Asked::Status | Asked::Sites);
    // What is changed while a reload builds the next snapshot would be lost with this one.
    let _turn = match changes {
        true => Some(turn(desk).await?),
        false => None,
    };
    let snapshot = desk.proxy.live().current();
    match asked {
        // Those that read the file, and an upgrade, were followed above.
        Asked::Server | Asked::Reload | Asked::Diff | Asked::Upgrade => {
            Ok(status::server(&snapshot, &desk.source, desk.started))
        }
        Asked::Status => {
            let mut told = status::whole(&snapshot, &desk.source, desk.started);
            told["upgrade_failed"] = status::failure(desk.button.failed());
            Ok(told)
        }
        Asked::Sites => Ok(status::sites(&snapshot)),
        Asked::Add(host, asked) => change::add(&snapshot, &host, &asked),
        Asked::Remove(host, asked) => change::remove(&snapshot, &host, &asked),
        Asked::Change(host, endpoint, asked) => {
            change::endpoint(&snapshot, &host, &endpoint, &asked)
        }
        Asked::Gate(host, state) => change::gate(&snapshot, &host, state),
    }
}

/// The right to change what runs, which another process has after an upgrade.
async fn turn(desk: &Desk) -> Result<Turn, Refusal> {
    tokio::select! {
        turn = desk.source.turn() => Ok(turn),
        () = desk.button.over() => Err(succeeded()),
    }
}

fn succeeded() -> Refusal {
    Refusal::conflict(
        "another process has taken over meanwhile",
        "say it once more",
    )
}
