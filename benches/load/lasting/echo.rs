//! A WebSocket that sends a numbered message every now and then, and has each one echoed (RFC 6455).

use std::time::Duration;

use anyhow::{Context, Error, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};

use super::{All, Kept};
use crate::{
    answer::Answer,
    stream::Stream,
    websocket::{BINARY, KEY, MASKED},
};

/// From one message to the next.
const EVERY: Duration = Duration::from_millis(50);
/// Until the echoes that are still under way must have come.
const LAST_WITHIN: Duration = Duration::from_secs(5);
const MESSAGE_BYTES: usize = 64;
/// A whole close frame; its payload begins with the status (RFC 6455 §5.5.1).
const CLOSE: u8 = 0x88;
/// We are done with it (RFC 6455 §7.4.1).
const NORMAL: [u8; 2] = 1000_u16.to_be_bytes();

pub(super) struct WebSocket {
    stream: Stream,
    came: Vec<u8>,
    due: Instant,
    sent: u64,
    echoed: u64,
}

/// What the message of this number is.
fn message(number: u64) -> Vec<u8> {
    format!("{number:0MESSAGE_BYTES$}").into_bytes()
}

impl WebSocket {
    async fn send(&mut self, kind: u8, payload: &[u8]) -> Result<()> {
        let mut frame = vec![kind, MASKED | u8::try_from(payload.len())?];
        frame.extend([0; 4]); // a mask, which changes nothing
        frame.extend(payload);
        self.stream.send(&frame).await.context("sending")
    }

    /// Waits for bytes once, and checks the frames that are whole. Cancel safe.
    async fn receive(&mut self) -> Result<()> {
        let came = &mut self.came;
        let received = self.stream.receive(|bytes| {
            came.extend_from_slice(bytes);
            Ok(())
        });
        let received = received.await;
        while let &[kind, long, ..] = &self.came[..] {
            ensure!(long <= 125, "a longer frame than any that was sent");
            let whole = 2 + usize::from(long);
            if self.came.len() < whole {
                break;
            }
            let payload: Vec<u8> = self.came.drain(..whole).skip(2).collect();
            match kind {
                BINARY if payload == message(self.echoed) => self.echoed += 1,
                BINARY => bail!("message {} did not come back as it was", self.echoed),
                CLOSE => match payload[..] {
                    [high, low, ..] => bail!("closed, {}", u16::from_be_bytes([high, low])),
                    _ => bail!("closed, without a status"),
                },
                _ => bail!("a frame of the kind {kind:#x}"),
            }
        }
        received
    }

    async fn next(&mut self) -> Result<()> {
        match timeout_at(self.due, self.receive()).await {
            Ok(received) => received,
            Err(_) => {
                self.due += EVERY;
                self.sent += 1;
                self.send(BINARY, &message(self.sent - 1)).await
            }
        }
    }
}

impl Kept for WebSocket {
    const NAME: &'static str = "WebSocket";

    async fn open(all: &All, _: &str) -> Result<Self> {
        let mut stream = all.connect().await?;
        let request = format!(
            "GET /echo HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n",
            all.target.host
        );
        let none = Answer::with_status(101)
            .exchange(&mut stream, request.as_bytes())
            .await?;
        ensure!(none == 0, "an upgrade with a body");
        Ok(Self {
            stream,
            came: Vec::new(),
            due: Instant::now(),
            sent: 0,
            echoed: 0,
        })
    }

    async fn live(&mut self) -> Error {
        loop {
            if let Err(ended) = self.next().await {
                return ended;
            }
        }
    }

    async fn end(&mut self) -> Result<()> {
        let rest = async {
            while self.echoed < self.sent {
                self.receive().await?;
            }
            Ok::<_, Error>(())
        };
        timeout(LAST_WITHIN, rest)
            .await
            .context("the last echoes")??;
        self.send(CLOSE, &NORMAL).await
    }

    fn report(&self) -> Value {
        json!({ "messages": self.echoed, "lost": self.sent - self.echoed })
    }
}
