//! HTTP/1.1: one request after another, over a connection that is kept or a new one for each.

use std::{future::poll_fn, pin::Pin, rc::Rc, task::Poll, time::Instant};

use anyhow::{Context, Error, Result, ensure};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    sync::mpsc::UnboundedReceiver,
    task::yield_now,
    time::timeout,
};

use super::{
    ANSWER_WITHIN, Client, Load, Request, check,
    dial::{Dial, Wire},
    ledger::Happened,
};
use crate::answer;

pub(super) struct Connection {
    dial: Dial,
    client: Client,
    /// Absent: the next request dials.
    stream: Option<Box<dyn Wire>>,
}

impl Connection {
    /// Opens what is to be kept.
    pub(super) async fn open(dial: Dial, client: Client, all: &Load) -> Result<Self> {
        let mut connection = Self {
            dial,
            client,
            stream: None,
        };
        if client == Client::Http1 {
            connection.stream = Some(connection.connect(all).await?);
        }
        Ok(connection)
    }

    pub(super) async fn work(mut self, all: Rc<Load>, mut turns: UnboundedReceiver<Instant>) {
        while let Some(request) = all.due(&mut turns).await {
            let began = Instant::now();
            let answered = timeout(ANSWER_WITHIN, self.exchange(&all, &request))
                .await
                .map_err(Error::from)
                .flatten();
            all.ledger.end(&request, self.client, began, answered);
            if self.client == Client::New {
                self.close().await;
            }
        }
    }

    async fn close(&mut self) {
        if let Some(mut stream) = self.stream.take() {
            // Whether the end arrives is not what is asked about.
            let _ = timeout(ANSWER_WITHIN, stream.shutdown()).await;
        }
    }

    async fn connect(&self, all: &Load) -> Result<Box<dyn Wire>> {
        let stream = self.dial.connect().await?;
        all.ledger.count(self.client, Happened::Opened);
        Ok(stream)
    }

    /// The connection that was kept, if it still takes a request.
    async fn kept(&mut self, all: &Load) -> Option<Box<dyn Wire>> {
        let kept = still_open(self.stream.take()?).await;
        if kept.is_none() {
            all.ledger.count(self.client, Happened::Closed);
        }
        kept
    }

    /// Keeps the connection only if it can take another request.
    async fn exchange(&mut self, all: &Load, request: &Request) -> Result<()> {
        let mut stream = match self.kept(all).await {
            Some(stream) => stream,
            None => self.connect(all).await?,
        };
        stream.write_all(&bytes(&all.host, request)).await?;
        let mut came = Vec::new();
        let head = loop {
            if let Some(head) = answer::parse(&came)? {
                break head;
            }
            receive(&mut stream, &mut came).await?;
        };
        let whole = head.long + usize::try_from(head.body)?;
        while came.len() < whole {
            receive(&mut stream, &mut came).await?;
        }
        ensure!(came.len() == whole, "more came than the answer's length");
        match head.closes {
            true => all.ledger.count(self.client, Happened::Told),
            false => self.stream = Some(stream),
        }
        check(request, head.status, &came[head.long..])
    }
}

fn bytes(host: &str, request: &Request) -> Vec<u8> {
    let (method, path, body) = (&request.method, request.path(), request.body());
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
    if !body.is_empty() {
        bytes += &format!("Content-Length: {}\r\n", body.len());
    }
    bytes += "\r\n";
    [bytes.as_bytes(), &body].concat()
}

/// The connection, if nothing has come over it since the last answer, not even its end.
async fn still_open(mut stream: Box<dyn Wire>) -> Option<Box<dyn Wire>> {
    yield_now().await; // what has come by now is seen
    let mut byte = [0];
    let mut byte = ReadBuf::new(&mut byte);
    let nothing = poll_fn(|cx| {
        let read = Pin::new(&mut stream).poll_read(cx, &mut byte);
        Poll::Ready(read.is_pending())
    });
    nothing.await.then_some(stream)
}

async fn receive(stream: &mut Box<dyn Wire>, came: &mut Vec<u8>) -> Result<()> {
    let long = stream
        .read_buf(came)
        .await
        .context("waiting for the answer")?;
    ensure!(long > 0, "closed after {} bytes of the answer", came.len());
    Ok(())
}
