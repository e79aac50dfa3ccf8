//! A request on its way to an endpoint: head, then body, as the body comes.

use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::Body as _;

use super::wire::Wire;
use crate::body::{Body, BoxError};
use crate::framing::Framing;

/// Why a request could not be sent whole.
#[derive(Debug)]
pub(super) enum Error {
    Client(BoxError),
    Endpoint(io::Error),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// The body waits for the endpoint's 100.
    Held,
    Streaming,
    /// The body's end has been framed; the rest is to be written.
    Ended,
}

/// What is still to be sent. Holds one chunk of the body at a time.
pub(super) struct Upload {
    /// The head, later a chunk's size line or the trailers.
    lead: Vec<u8>,
    lead_sent: usize,
    data: Bytes,
    tail: &'static [u8],
    body: Body,
    framing: Framing,
    state: State,
    sent_bytes: u64,
}

impl Upload {
    pub(super) fn new(head: Vec<u8>, body: Body, framing: Framing, held: bool) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Ended,
            Framing::Length(_) | Framing::Chunked | Framing::UntilClose if held => State::Held,
            Framing::Length(_) | Framing::Chunked | Framing::UntilClose => State::Streaming,
        };
        Self {
            lead: head,
            lead_sent: 0,
            data: Bytes::new(),
            tail: b"",
            body,
            framing,
            state,
            sent_bytes: 0,
        }
    }

    /// Grows while the endpoint takes.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// The endpoint wants the body.
    pub(super) fn go_on(&mut self) {
        if self.state == State::Held {
            self.state = State::Streaming;
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Ended && self.is_flushed()
    }

    /// All that came from the client is on its way, and more is to come.
    pub(super) fn awaits_client(&self) -> bool {
        self.state == State::Streaming && self.is_flushed()
    }

    fn is_flushed(&self) -> bool {
        self.lead_sent == self.lead.len() && self.data.is_empty() && self.tail.is_empty()
    }

    /// Sends what there is. The head and a first chunk that is at hand leave together.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut Wire,
    ) -> Poll<Result<(), Error>> {
        loop {
            let mut starved = false;
            // A chunk may join a head that has not left, but not another chunk.
            if self.state == State::Streaming && self.data.is_empty() && self.tail.is_empty() {
                starved = self.poll_body(cx)?.is_pending();
            }
            while !self.is_flushed() {
                ready!(self.poll_write(cx, wire)).map_err(Error::Endpoint)?;
            }
            match self.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Held => return Poll::Pending,
                State::Streaming if starved => return Poll::Pending,
                State::Streaming => {}
            }
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Error> {
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(frame) => frame,
        };
        if self.lead_sent == self.lead.len() {
            self.lead.clear();
            self.lead_sent = 0;
        }
        match frame {
            None => self.end(None)?,
            Some(Err(error)) => return Err(Error::Client(error)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.data(data)?,
                Err(frame) => self.end(frame.into_trailers().ok())?,
            },
        }
        Ok(Poll::Ready(()))
    }

    fn data(&mut self, data: Bytes) -> Result<(), Error> {
        if data.is_empty() {
            return Ok(()); // an empty chunk would be the last one
        }
        match &mut self.framing {
            Framing::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or_else(|| {
                    Error::Client("the body is longer than its Content-Length".into())
                })?;
            }
            Framing::Chunked | Framing::UntilClose => {
                write!(self.lead, "{:x}\r\n", data.len()).map_err(Error::Endpoint)?;
                self.tail = b"\r\n";
            }
        }
        self.data = data;
        if self.framing == Framing::Length(0) {
            self.state = State::Ended;
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<http::HeaderMap>) -> Result<(), Error> {
        match self.framing {
            Framing::Length(0) => {}
            Framing::Length(_) => {
                return Err(Error::Client(
                    "the body is shorter than its Content-Length".into(),
                ));
            }
            Framing::Chunked | Framing::UntilClose => {
                self.lead.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.iter().flatten() {
                    self.lead.extend_from_slice(name.as_str().as_bytes());
                    self.lead.extend_from_slice(b": ");
                    self.lead.extend_from_slice(value.as_bytes());
                    self.lead.extend_from_slice(b"\r\n");
                }
                self.tail = b"\r\n";
            }
        }
        self.state = State::Ended;
        Ok(())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, wire: &mut Wire) -> Poll<io::Result<()>> {
        let lead = &self.lead[self.lead_sent..];
        let written = if self.data.is_empty() && self.tail.is_empty() {
            ready!(wire.poll_send(cx, &[IoSlice::new(lead)]))?
        } else {
            let slices = [lead, &self.data, self.tail].map(IoSlice::new);
            ready!(wire.poll_send(cx, &slices))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.sent_bytes += written as u64;
        let of_lead = written.min(lead.len());
        self.lead_sent += of_lead;
        let of_data = (written - of_lead).min(self.data.len());
        self.data.advance(of_data);
        self.tail = &self.tail[written - of_lead - of_data..];
        Poll::Ready(Ok(()))
    }
}
