//! HTTP/1.1: one request after another over a connection.

use std::{future::poll_fn, pin::Pin, rc::Rc, task::Poll, time::Instant};

use anyhow::{Context, Error, Result, ensure};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    sync::mpsc::UnboundedReceiver,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use super::{ANSWER_WITHIN, Load, Request, check, dial::Dial};
use crate::answer;

pub(super) struct Connection {
    dial: Dial,
    /// Absent: the next request dials.
    stream: Option<TlsStream<TcpStream>>,
}

impl Connection {
    pub(super) async fn open(dial: Dial) -> Result<Self> {
        let stream = Some(dial.connect().await?);
        Ok(Self { dial, stream })
    }

    pub(super) async fn work(mut self, all: Rc<Load>, mut turns: UnboundedReceiver<Instant>) {
        while let Some(request) = all.due(&mut turns).await {
            let began = Instant::now();
            let answered = timeout(ANSWER_WITHIN, self.exchange(&all.host, &request))
                .await
                .map_err(Error::from)
                .flatten();
            all.ledger.end(&request, "h1", began, answered);
        }
    }

    /// Keeps the connection only if it can take another request.
    async fn exchange(&mut self, host: &str, request: &Request) -> Result<()> {
        let mut stream = match still_open(self.stream.take()).await {
            Some(stream) => stream,
            None => self.dial.connect().await?,
        };
        stream.write_all(&bytes(host, request)).await?;
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
        if !head.closes {
            self.stream = Some(stream);
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
async fn still_open(stream: Option<TlsStream<TcpStream>>) -> Option<TlsStream<TcpStream>> {
    let mut stream = stream?;
    let mut byte = [0];
    let mut byte = ReadBuf::new(&mut byte);
    let nothing = poll_fn(|cx| {
        let read = Pin::new(&mut stream).poll_read(cx, &mut byte);
        Poll::Ready(read.is_pending())
    });
    nothing.await.then_some(stream)
}

async fn receive(stream: &mut TlsStream<TcpStream>, came: &mut Vec<u8>) -> Result<()> {
    let long = stream
        .read_buf(came)
        .await
        .context("waiting for the answer")?;
    ensure!(long > 0, "closed after {} bytes of the answer", came.len());
    Ok(())
}
