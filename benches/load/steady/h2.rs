//! HTTP/2: as many requests at once over a connection as are due.

use std::{rc::Rc, time::Instant};

use anyhow::{Context, Error, Result};
use bytes::Bytes;
use h2::{Reason, client::SendRequest};
use tokio::{
    sync::{Mutex, mpsc::UnboundedReceiver},
    task::{AbortHandle, JoinSet, spawn_local},
    time::timeout,
};

use super::{ANSWER_WITHIN, Client, Load, Request, check, dial::Dial, ledger::Happened};

/// How often a request is sent at most, if it comes back unserved.
const SENT_MAX: usize = 3;

pub(super) struct Connection {
    dial: Dial,
    /// Held while dialling, so that one does for all.
    now: Mutex<Open>,
}

#[derive(Clone)]
struct Open {
    requests: SendRequest<Bytes>,
    moving: Rc<Moving>,
}

/// What moves a connection's bytes. It ends with the last request: after a GOAWAY the
/// library may keep a connection open for a stream that came back unserved.
struct Moving(AbortHandle);

impl Drop for Moving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    pub(super) async fn open(dial: Dial, all: &Load) -> Result<Self> {
        let now = Mutex::new(connect(&dial, all).await?);
        Ok(Self { dial, now })
    }

    pub(super) async fn work(self, all: Rc<Load>, mut turns: UnboundedReceiver<Instant>) {
        let connection = Rc::new(self);
        let mut asking = JoinSet::new();
        while let Some(request) = all.due(&mut turns).await {
            let began = Instant::now();
            let (connection, all) = (connection.clone(), all.clone());
            asking.spawn_local(async move {
                let answered = timeout(ANSWER_WITHIN, connection.exchange(&all, &request))
                    .await
                    .map_err(Error::from)
                    .flatten();
                all.ledger.end(&request, Client::Http2, began, answered);
            });
        }
        while asking.join_next().await.is_some() {}
    }

    /// Sends a request again that was not looked at, as every client does (RFC 9113 §8.7).
    async fn exchange(&self, all: &Load, request: &Request) -> Result<()> {
        let mut sent = 0;
        loop {
            let open = self.ready(all).await?;
            sent += 1;
            match ask(open.requests, &all.host, request).await {
                Err(failure) if sent < SENT_MAX && is_unserved(&failure) => {
                    all.ledger.count(Client::Http2, Happened::Unserved);
                }
                answered => return answered,
            }
        }
    }

    /// Dials again if the connection takes no more requests.
    async fn ready(&self, all: &Load) -> Result<Open> {
        let mut now = self.now.lock().await;
        let ended = match now.requests.clone().ready().await {
            Ok(requests) => {
                let moving = now.moving.clone();
                return Ok(Open { requests, moving });
            }
            Err(ended) if ended.is_go_away() && ended.is_remote() => Happened::Told,
            Err(_) => Happened::Closed,
        };
        all.ledger.count(Client::Http2, ended);
        *now = connect(&self.dial, all).await?;
        Ok(now.clone())
    }
}

async fn connect(dial: &Dial, all: &Load) -> Result<Open> {
    let (requests, connection) = h2::client::handshake(dial.connect().await?).await?;
    all.ledger.count(Client::Http2, Happened::Opened);
    let moving = spawn_local(async move {
        // How it ended is told to each of its requests.
        let _ = connection.await;
    });
    let moving = Rc::new(Moving(moving.abort_handle()));
    Ok(Open { requests, moving })
}

/// Whether the other side says that it has not looked at the request: its stream is behind
/// the last one of a GOAWAY, or was refused.
fn is_unserved(failure: &Error) -> bool {
    failure.downcast_ref::<h2::Error>().is_some_and(|failure| {
        failure.is_remote()
            && match failure.reason() {
                Some(Reason::NO_ERROR) => failure.is_go_away(),
                Some(Reason::REFUSED_STREAM) => failure.is_reset(),
                _ => false,
            }
    })
}

async fn ask(mut requests: SendRequest<Bytes>, host: &str, request: &Request) -> Result<()> {
    let body = request.body();
    let mut head = http::Request::builder()
        .method(request.method.clone())
        .uri(format!("https://{host}{}", request.path()));
    if !body.is_empty() {
        head = head.header(http::header::CONTENT_LENGTH, body.len());
    }
    let (response, mut upload) = requests.send_request(head.body(())?, body.is_empty())?;
    if !body.is_empty() {
        upload.send_data(body, true)?;
    }
    let (head, mut download) = response
        .await
        .context("waiting for the answer")?
        .into_parts();
    let mut came = Vec::new();
    while let Some(piece) = download.data().await {
        let piece = piece.context("waiting for the rest of the answer")?;
        came.extend_from_slice(&piece);
        download.flow_control().release_capacity(piece.len())?;
    }
    check(request, head.status.as_u16(), &came)
}
