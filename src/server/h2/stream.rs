//! One stream: a request and its answer.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::h2::server::SendResponse;
use ::h2::{Error, Reason, RecvStream, SendStream};
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;

use super::abuse::Abuse;
use super::body::{self, RequestBody};
use super::websocket;
use crate::body::Body;
use crate::exchange::{Interim, TakesInterim};
use crate::framing::Framing;
use crate::proxy::{Peer, Proxy, strict};
use crate::rt::clock::Wait;
use crate::server::clocks::{HEAD_TIMEOUT, STALL_TIMEOUT};
use crate::server::connection;

/// How much of a request that was answered early is still read.
const DISCARDED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// And for how long.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// A stream, as its request's body, its interim answers and its answer share
/// it. Its request is kept open to the end: given up before, the stream would
/// end with a reset.
pub(super) struct Stream {
    respond: RefCell<SendResponse<Bytes>>,
    begun: Cell<bool>,
    pub(super) received: RefCell<RecvStream>,
}

impl Stream {
    /// Tells the client to send its body (RFC 9110 §15.2.1).
    pub(super) fn go_on(&self) {
        self.take(StatusCode::CONTINUE, HeaderMap::new());
    }

    /// Begins the answer; the body, if it has one, goes behind it.
    pub(super) fn begin(&self, head: Response<()>, ends: bool) -> Result<SendStream<Bytes>, Error> {
        self.begun.set(true);
        self.respond.borrow_mut().send_response(head, ends)
    }

    pub(super) fn poll_data(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        self.received.borrow_mut().poll_data(cx)
    }

    fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.respond.borrow_mut().poll_reset(cx).map(|_| ())
    }

    fn reset(&self, reason: Reason) {
        self.respond.borrow_mut().send_reset(reason);
    }
}

impl TakesInterim for Stream {
    /// That the stream is gone is met again with the answer.
    fn take(&self, status: StatusCode, headers: HeaderMap) {
        if self.begun.get() {
            return;
        }
        let mut head = Response::new(());
        *head.status_mut() = status;
        *head.headers_mut() = headers;
        let _ = self.respond.borrow_mut().send_informational(head);
    }
}

/// Serves one stream. Dropping the future gives its exchange up.
pub(super) async fn serve(
    proxy: Arc<Proxy>,
    peer: Rc<Peer>,
    abuse: Rc<Abuse>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let (mut parts, received) = request.into_parts();
    let bridged = websocket::is_asked(&parts);
    if bridged {
        websocket::bridge(&mut parts);
    }
    let ends = received.is_end_stream() || bridged;
    let stream = Rc::new(Stream {
        respond: RefCell::new(respond),
        begun: Cell::new(false),
        received: RefCell::new(received),
    });
    // A stream that is reset already costs the endpoint nothing.
    if poll_fn(|cx| Poll::Ready(stream.poll_reset(cx).is_ready())).await {
        return abuse.unserved();
    }
    if !ends && says_none(&parts) && !is_none(&stream).await {
        abuse.unserved();
        return stream.reset(Reason::PROTOCOL_ERROR);
    }
    let body = match ends {
        true => Body::Empty,
        false => Body::stream(RequestBody::new(
            stream.clone(),
            strict::expects_continue(&parts),
        )),
    };
    let head_only = parts.method == Method::HEAD;
    let request = Request::from_parts(parts, body);
    let interim = Interim::to(Some(stream.clone()));
    let response = {
        let mut serving = pin!(proxy.serve(&peer, request, None, interim));
        poll_fn(|cx| match serving.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => stream.poll_reset(cx).map(|()| None),
        })
        .await
    };
    let Some(mut response) = response else {
        return abuse.unserved();
    };
    response.headers_mut().remove(CONNECTION);
    if let Some(tunnel) = peer.tie.tunnel.take() {
        return websocket::run(response, stream, tunnel).await;
    }
    if answer(&stream, response, head_only).await.is_err() {
        return;
    }
    if !stream.received.borrow().is_end_stream() {
        discard(&stream).await;
    }
}

/// Whether a request that may have a body says that it has none.
fn says_none(parts: &Parts) -> bool {
    parts.headers.contains_key(CONTENT_LENGTH)
        && matches!(strict::framing(parts), Ok(Framing::Length(0)))
}

/// Whether there is none indeed: the endpoint would be told that the request
/// is whole. It comes in the time of a head.
async fn is_none(stream: &Stream) -> bool {
    match connection::within(HEAD_TIMEOUT, |cx| stream.poll_data(cx).map(Ok)).await {
        Ok(None) => true,
        Ok(Some(Ok(data))) => data.is_empty(),
        Ok(Some(Err(_))) | Err(_) => false,
    }
}

/// Sends an answer to its end, or to the client's.
async fn answer(
    stream: &Stream,
    mut response: Response<Body>,
    head_only: bool,
) -> Result<(), Error> {
    let bodiless = head_only
        || matches!(
            response.status(),
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    let body = std::mem::take(response.body_mut());
    if !bodiless
        && let Some(length) = body.size_hint().exact()
        && !response.headers().contains_key(CONTENT_LENGTH)
    {
        let length = HeaderValue::from(length);
        response.headers_mut().insert(CONTENT_LENGTH, length);
    }
    // An empty DATA frame behind trailers-only gRPC is refused by its clients.
    let ends = bodiless || body.is_end_stream();
    let stream = stream.begin(response.map(|_| ()), ends)?;
    if ends {
        return Ok(());
    }
    let mut sending = Sending {
        stream,
        body,
        stall: None,
    };
    poll_fn(|cx| sending.poll(cx)).await
}

/// A body on its way into a stream.
struct Sending {
    stream: SendStream<Bytes>,
    body: Body,
    /// Runs while the client gives no room (RFC 9113 §6.9).
    stall: Option<Wait>,
}

impl Sending {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            // A piece is read once there is room for some of it.
            self.stream.reserve_capacity(1);
            while self.stream.capacity() == 0 {
                match self.stream.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) => return Poll::Ready(Err(Reason::CANCEL.into())),
                    Poll::Pending => return self.poll_stall(cx),
                }
            }
            self.stall = None;
            if let Poll::Ready(reason) = self.stream.poll_reset(cx)? {
                return Poll::Ready(Err(reason.into()));
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => {
                    self.stream.send_data(Bytes::new(), true)?;
                    return Poll::Ready(Ok(()));
                }
                Some(Err(_)) => {
                    // The client must be able to tell that the answer is not whole.
                    self.stream.send_reset(Reason::INTERNAL_ERROR);
                    return Poll::Ready(Err(Reason::INTERNAL_ERROR.into()));
                }
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(data) => {
                    let ends = self.body.is_end_stream();
                    self.stream.send_data(data, ends)?;
                    if ends {
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(frame) => {
                    // No window is wanted any more; trailers need none.
                    self.stream.reserve_capacity(0);
                    let trailers = frame.into_trailers().unwrap_or_default();
                    self.stream.send_trailers(trailers)?;
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// A client that takes nothing of its answer holds an endpoint with it.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let stall = self.stall.get_or_insert_with(|| Wait::of(STALL_TIMEOUT));
        ready!(Pin::new(stall).poll(cx));
        self.stream.send_reset(Reason::CANCEL);
        Poll::Ready(Err(Reason::CANCEL.into()))
    }
}

async fn discard(stream: &Stream) {
    let mut discarding = pin!(body::discard(stream, DISCARDED_BYTES_MAX));
    let _ = connection::within(DISCARD_TIMEOUT, |cx| discarding.as_mut().poll(cx).map(Ok)).await;
}
