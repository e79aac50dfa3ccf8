//! HTTP/2: as many requests at once over a connection as are due.

use std::{rc::Rc, time::Instant};

use anyhow::{Context, Error, Result};
use bytes::Bytes;
use h2::client::SendRequest;
use tokio::{sync::mpsc::UnboundedReceiver, task::JoinSet, time::timeout};

use super::{ANSWER_WITHIN, Load, Request, check, dial::Dial};

pub(super) struct Connection {
    dial: Dial,
    requests: SendRequest<Bytes>,
    /// What moves the connections' bytes.
    moving: JoinSet<()>,
}

impl Connection {
    pub(super) async fn open(dial: Dial) -> Result<Self> {
        let mut moving = JoinSet::new();
        let requests = connect(&dial, &mut moving).await?;
        Ok(Self {
            dial,
            requests,
            moving,
        })
    }

    pub(super) async fn work(mut self, all: Rc<Load>, mut turns: UnboundedReceiver<Instant>) {
        let mut asking = JoinSet::new();
        while let Some(request) = all.due(&mut turns).await {
            let began = Instant::now();
            let requests = timeout(ANSWER_WITHIN, self.ready()).await;
            let all = all.clone();
            asking.spawn_local(async move {
                let answered = match requests.map_err(Error::from).flatten() {
                    Ok(requests) => timeout(ANSWER_WITHIN, ask(requests, &all.host, &request))
                        .await
                        .map_err(Error::from)
                        .flatten(),
                    Err(error) => Err(error),
                };
                all.ledger.end(&request, "h2", began, answered);
            });
        }
        while asking.join_next().await.is_some() {}
    }

    /// Dials again if the connection takes no more requests.
    async fn ready(&mut self) -> Result<SendRequest<Bytes>> {
        if let Ok(requests) = self.requests.clone().ready().await {
            return Ok(requests);
        }
        self.requests = connect(&self.dial, &mut self.moving).await?;
        Ok(self.requests.clone())
    }
}

async fn connect(dial: &Dial, moving: &mut JoinSet<()>) -> Result<SendRequest<Bytes>> {
    let (requests, connection) = h2::client::handshake(dial.connect().await?).await?;
    moving.spawn_local(async move {
        // How it ended is told to each of its requests.
        let _ = connection.await;
    });
    Ok(requests)
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
