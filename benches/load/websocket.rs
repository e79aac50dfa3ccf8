//! `websocket`: a message of 64 bytes, wait for its echo, again (RFC 6455).

use anyhow::{Context, Result, bail};
use rustls::client::Resumption;

use crate::{
    answer::Answer,
    run::{Tally, Window, Work},
    stream::{RECORD_BYTES_MAX, Stream, Target, Tls},
};

/// The key of RFC 6455 §1.3, always the same, so that the answer to it is known too.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What [`KEY`] is answered with.
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// A whole binary message in one frame (RFC 6455 §5.2).
pub(crate) const BINARY: u8 = 0x82;
/// A client's frame is masked.
pub(crate) const MASKED: u8 = 0x80;
const MESSAGE_BYTES: usize = 64;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub(crate) struct PingPong {
    target: Target,
    tls: Option<Tls>,
    /// The message as it is sent, and as it must come back.
    ping: Vec<u8>,
    pong: Vec<u8>,
}

impl PingPong {
    pub(crate) fn new(target: Target) -> Result<Self> {
        let tls = target.tls(b"http/1.1", Resumption::disabled())?;
        let message: Vec<u8> = (0..MESSAGE_BYTES as u8).collect();
        let mut ping = vec![BINARY, MASKED | MESSAGE_BYTES as u8];
        ping.extend(MASK);
        ping.extend(
            message
                .iter()
                .zip(MASK.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        let mut pong = vec![BINARY, MESSAGE_BYTES as u8];
        pong.extend(message);
        Ok(Self {
            target,
            tls,
            ping,
            pong,
        })
    }

    /// A ping and its pong; the bytes of the message.
    async fn once(&self, stream: &mut Stream) -> Result<u64> {
        stream.send(&self.ping).await?;
        let mut missing = &self.pong[..];
        while !missing.is_empty() {
            stream
                .receive(|bytes| {
                    missing = missing
                        .strip_prefix(bytes)
                        .context("not the echo of what was sent")?;
                    Ok(())
                })
                .await?;
        }
        Ok(MESSAGE_BYTES as u64)
    }
}

impl Work for PingPong {
    type Connection = Stream;

    async fn open(&self, _: usize) -> Result<Stream> {
        let mut stream =
            Stream::connect(self.target.connect, self.tls.as_ref(), RECORD_BYTES_MAX).await?;
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n",
            self.target.host
        );
        if Answer::with_status(101)
            .exchange(&mut stream, request.as_bytes())
            .await?
            != 0
        {
            bail!("an upgrade with a body");
        }
        self.once(&mut stream).await?;
        Ok(stream)
    }

    async fn work(&self, stream: &mut Stream, window: Window, tally: &mut Tally) -> Result<()> {
        tally.repeat(window, async || self.once(stream).await).await
    }
}
