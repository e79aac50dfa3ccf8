//! One HTTP/1.1 answer, recognised as its bytes come in.

use anyhow::{Context, Result, bail};

use crate::stream::Stream;

/// Header lines that are looked at.
const HEADERS_MAX: usize = 64;

/// Tells when an answer is complete; the body is counted, not kept.
///
/// Serves one answer after another, over one connection. An answer must have
/// the wanted status and, but for 101, a `Content-Length`.
pub(crate) struct Answer {
    wanted: u16,
    /// The head so far, when it comes in parts.
    head: Vec<u8>,
    /// Bytes of the whole body and of what is missing; `None` while the head is not complete.
    body: Option<(u64, u64)>,
}

impl Answer {
    pub(crate) fn with_status(wanted: u16) -> Self {
        Self {
            wanted,
            head: Vec::new(),
            body: None,
        }
    }

    /// Sends a request and waits for the whole answer; the bytes of its body.
    pub(crate) async fn exchange(&mut self, stream: &mut Stream, request: &[u8]) -> Result<u64> {
        stream.send(request).await?;
        self.await_on(stream).await
    }

    /// Waits for the whole answer; the bytes of its body.
    pub(crate) async fn await_on(&mut self, stream: &mut Stream) -> Result<u64> {
        self.body = None;
        loop {
            stream
                .receive(|bytes| self.feed(bytes))
                .await
                .context("waiting for the answer")?;
            if let Some((whole, 0)) = self.body {
                return Ok(whole);
            }
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let (whole, missing, came) = match self.body {
            Some((whole, missing)) => (whole, missing, bytes.len()),
            None => {
                let earlier = self.head.len();
                if earlier > 0 {
                    self.head.extend_from_slice(bytes);
                }
                let Some(head) = parse(if earlier > 0 { &self.head } else { bytes })? else {
                    if earlier == 0 {
                        self.head.extend_from_slice(bytes);
                    }
                    return Ok(());
                };
                self.head.clear();
                if head.status != self.wanted {
                    bail!("status {} instead of {}", head.status, self.wanted);
                }
                (head.body, head.body, earlier + bytes.len() - head.long)
            }
        };
        let missing = missing
            .checked_sub(came as u64)
            .context("more came than the answer's length")?;
        self.body = Some((whole, missing));
        Ok(())
    }
}

pub(crate) struct Head {
    pub(crate) status: u16,
    /// Bytes of the head.
    pub(crate) long: usize,
    /// Bytes of the body.
    pub(crate) body: u64,
    /// The connection takes no other request (RFC 9112 §9.6).
    pub(crate) closes: bool,
}

/// The head at the front of `bytes`; `None` when it is not complete.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(long) = response.parse(bytes)? else {
        return Ok(None);
    };
    let status = response.code.unwrap_or_default();
    let named = |name: &str| {
        let mut headers = response.headers.iter();
        headers.find(|header| header.name.eq_ignore_ascii_case(name))
    };
    let closes = named("connection").is_some_and(|one| one.value.eq_ignore_ascii_case(b"close"));
    let length = named("content-length");
    let body = match length {
        Some(header) => std::str::from_utf8(header.value)?.trim().parse()?,
        None if status == 101 => 0,
        None => bail!("an answer with status {status} and without Content-Length"),
    };
    Ok(Some(Head {
        status,
        long,
        body,
        closes,
    }))
}
