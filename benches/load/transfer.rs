//! `download`, `upload`: large bodies over HTTP/1.1, one after another.

use anyhow::Result;
use rustls::client::Resumption;

use crate::{
    answer::Answer,
    run::{Tally, Window, Work},
    stream::{Stream, Target, Tls},
};

/// Received at once.
const RECEIVE_BYTES: usize = 256 << 10;
/// Sent at once.
const SEND_BYTES: usize = 128 << 10;

pub(crate) struct Transfer {
    target: Target,
    tls: Option<Tls>,
    head: Vec<u8>,
    /// Bytes of the body to send; none for a download.
    upload: u64,
}

impl Transfer {
    pub(crate) fn download(target: Target, path: &str) -> Result<Self> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", target.host);
        Self::new(target, head, 0)
    }

    pub(crate) fn upload(target: Target, path: &str, bytes: u64) -> Result<Self> {
        let host = &target.host;
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {bytes}\r\n\r\n");
        Self::new(target, head, bytes)
    }

    fn new(target: Target, head: String, upload: u64) -> Result<Self> {
        let tls = target.tls(b"http/1.1", Resumption::disabled())?;
        Ok(Self {
            target,
            tls,
            head: head.into_bytes(),
            upload,
        })
    }
}

impl Work for Transfer {
    type Connection = Stream;

    async fn open(&self, _: usize) -> Result<Stream> {
        Stream::connect(self.target.connect, self.tls.as_ref(), RECEIVE_BYTES).await
    }

    async fn work(&self, stream: &mut Stream, window: Window, tally: &mut Tally) -> Result<()> {
        let piece = vec![b'u'; SEND_BYTES];
        let mut answer = Answer::with_status(200);
        let once = async || {
            stream.send(&self.head).await?;
            let mut missing = self.upload;
            while missing > 0 {
                let long = missing.min(SEND_BYTES as u64);
                stream.send(&piece[..long as usize]).await?;
                missing -= long;
            }
            let body = answer.await_on(stream).await?;
            Ok(if self.upload > 0 { self.upload } else { body })
        };
        tally.repeat(window, once).await
    }
}
