//! `idle`: connections that do nothing after one answer.

use anyhow::Result;
use rustls::client::Resumption;

use crate::{
    Protocol,
    answer::Answer,
    http2,
    run::{Tally, Window, Work},
    stream::{RECORD_BYTES_MAX, Stream, Target, Tls},
};

pub(crate) struct Idle {
    target: Target,
    tls: Option<Tls>,
    protocol: Protocol,
    path: String,
}

impl Idle {
    pub(crate) fn new(target: Target, path: &str, protocol: Protocol) -> Result<Self> {
        let alpn: &[u8] = match protocol {
            Protocol::Http1 => b"http/1.1",
            Protocol::Http2 => b"h2",
        };
        let tls = target.tls(alpn, Resumption::disabled())?;
        Ok(Self {
            target,
            tls,
            protocol,
            path: path.to_owned(),
        })
    }
}

impl Work for Idle {
    type Connection = Stream;

    async fn open(&self, _: usize) -> Result<Stream> {
        let mut stream =
            Stream::connect(self.target.connect, self.tls.as_ref(), RECORD_BYTES_MAX).await?;
        match self.protocol {
            Protocol::Http1 => {
                let host = &self.target.host;
                let request = format!("GET {} HTTP/1.1\r\nHost: {host}\r\n\r\n", self.path);
                Answer::with_status(200)
                    .exchange(&mut stream, request.as_bytes())
                    .await?;
            }
            Protocol::Http2 => http2::ask_once(&mut stream, &self.target.host, &self.path).await?,
        }
        Ok(stream)
    }

    async fn work(&self, _: &mut Stream, _: Window, _: &mut Tally) -> Result<()> {
        Ok(())
    }
}
