//! A request's body on its way into a stream, as far as the endpoint takes it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;
use http_body::Body as _;

use crate::body::{Body, BoxError};
use crate::framing::Framing;

/// Why a request could not be sent whole.
#[derive(Debug)]
pub(super) enum Error {
    Client(BoxError),
    /// The stream was reset: why is told by the answer, or in its place.
    Endpoint,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// The body waits for the endpoint's 100.
    Held,
    Streaming,
}

/// What is still to be sent. Holds one piece of the body at a time. Dropped
/// before its end, it resets the stream.
pub(super) struct Upload {
    stream: SendStream<Bytes>,
    body: Body,
    data: Bytes,
    /// What the length that was announced leaves.
    left: Option<u64>,
    state: State,
    sent_bytes: u64,
}

impl Upload {
    pub(super) fn new(stream: SendStream<Bytes>, body: Body, framing: Framing, held: bool) -> Self {
        Self {
            stream,
            body,
            data: Bytes::new(),
            left: match framing {
                Framing::Length(length) => Some(length),
                Framing::Chunked | Framing::UntilClose => None,
            },
            state: if held { State::Held } else { State::Streaming },
            sent_bytes: 0,
        }
    }

    /// Grows while the endpoint takes.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// The endpoint wants the body.
    pub(super) fn go_on(&mut self) {
        self.state = State::Streaming;
    }

    /// All that came from the client is on its way, and more is to come.
    pub(super) fn awaits_client(&self) -> bool {
        self.state == State::Streaming && self.data.is_empty()
    }

    /// Sends what there is; ready at the end of the request.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.state == State::Held {
            return Poll::Pending;
        }
        loop {
            while !self.data.is_empty() {
                ready!(self.poll_data(cx)).map_err(|_| Error::Endpoint)?;
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(self.end(None)),
                Some(Err(error)) => return Poll::Ready(Err(Error::Client(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.take(data)?,
                    Err(frame) => return Poll::Ready(self.end(frame.into_trailers().ok())),
                },
            }
        }
    }

    fn take(&mut self, data: Bytes) -> Result<(), Error> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(data.len() as u64).ok_or_else(|| {
                Error::Client("the body is longer than its Content-Length".into())
            })?;
        }
        self.data = data;
        Ok(())
    }

    /// Sends as much of the piece at hand as the windows allow (RFC 9113 §6.9).
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.stream.reserve_capacity(self.data.len());
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Err(h2::Reason::STREAM_CLOSED.into())),
            }
        }
        let bytes = self.stream.capacity().min(self.data.len());
        self.stream.send_data(self.data.split_to(bytes), false)?;
        self.sent_bytes += bytes as u64;
        Poll::Ready(Ok(()))
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Error> {
        if self.left.is_some_and(|left| left > 0) {
            return Err(Error::Client(
                "the body is shorter than its Content-Length".into(),
            ));
        }
        let sent = match trailers {
            Some(trailers) => self.stream.send_trailers(trailers),
            None => self.stream.send_data(Bytes::new(), true),
        };
        sent.map_err(|_| Error::Endpoint)
    }
}
