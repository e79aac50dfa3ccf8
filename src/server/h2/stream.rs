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
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;

use super::abuse::Abuse;
use super::body::{self, RequestBody};
use super::websocket;
use crate::body::Body;
use crate::exchange::Interim;
use crate::framing::Framing;
use crate::proxy::{Peer, Proxy, strict};
use crate::rt::clock::Wait;
use crate::server::clocks::{HEAD_TIMEOUT, STALL_TIMEOUT};
use crate::server::connection;

/// How much of a request that was answered early is still read.
const DISCARDED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// And for how long.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// The answering side of a stream until its answer begins.
pub(super) struct Answering {
    respond: RefCell<SendResponse<Bytes>>,
    begun: Cell<bool>,
}

impl Answering {
    /// Tells the client to send its body (RFC 9110 §15.2.1).
    pub(super) fn go_on(&self) {
        self.interim(StatusCode::CONTINUE, HeaderMap::new());
    }

    /// That the stream is gone is met again with the answer.
    fn interim(&self, status: StatusCode, headers: HeaderMap) {
        if self.begun.get() {
            return;
        }
        let mut head = Response::new(());
        *head.status_mut() = status;
        *head.headers_mut() = headers;
        let _ = self.respond.borrow_mut().send_informational(head);
    }

    /// Begins the answer; the body, if it has one, goes behind it.
    pub(super) fn begin(&self, head: Response<()>, ends: bool) -> Result<SendStream<Bytes>, Error> {
        self.begun.set(true);
        self.respond.borrow_mut().send_response(head, ends)
    }

    fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.respond.borrow_mut().poll_reset(cx).map(|_| ())
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
    let answering = Rc::new(Answering {
        respond: RefCell::new(respond),
        begun: Cell::new(false),
    });
    let (mut parts, received) = request.into_parts();
    let bridged = websocket::is_asked(&parts) && {
        websocket::bridge(&mut parts);
        true
    };
    let ends = received.is_end_stream() || bridged;
    let received = Rc::new(RefCell::new(received));
    // A length of none must be one: the endpoint would be told that the request is whole.
    if !ends && matches!(strict::framing(&parts), Ok(Framing::Length(0))) && has_length(&parts) {
        let first = |cx: &mut Context<'_>| received.borrow_mut().poll_data(cx).map(Ok);
        let first = connection::within(HEAD_TIMEOUT, first).await;
        if !matches!(&first, Ok(None)) && !matches!(&first, Ok(Some(Ok(data))) if data.is_empty()) {
            answering
                .respond
                .borrow_mut()
                .send_reset(Reason::PROTOCOL_ERROR);
            return;
        }
    }
    let body = match ends {
        true => Body::Empty,
        false => {
            let owes_continue = strict::expects_continue(&parts).then(|| answering.clone());
            Body::stream(RequestBody::new(received.clone(), owes_continue))
        }
    };
    let interim = {
        let answering = answering.clone();
        Interim::to(move |status, headers| answering.interim(status, headers))
    };
    let head_only = parts.method == Method::HEAD;
    let request = Request::from_parts(parts, body);
    let response = {
        let mut serving = pin!(proxy.serve(&peer, request, None, interim));
        poll_fn(|cx| {
            // A stream that is reset already costs the endpoint nothing.
            if answering.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            serving.as_mut().poll(cx).map(Some)
        })
        .await
    };
    let Some(mut response) = response else {
        abuse.unserved();
        return;
    };
    let tunnel = peer.tie.tunnel.take();
    response.headers_mut().remove(CONNECTION);
    if let Some(tunnel) = tunnel {
        return websocket::run(response, &answering, received, tunnel).await;
    }
    if answer(&answering, response, head_only).await.is_err() {
        return;
    }
    if !received.borrow().is_end_stream() {
        discard(&received).await;
    }
}

fn has_length(parts: &http::request::Parts) -> bool {
    parts.headers.contains_key(CONTENT_LENGTH)
}

/// Sends an answer to its end, or to the client's.
async fn answer(
    answering: &Answering,
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
    let stream = answering.begin(response.map(|_| ()), ends)?;
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
}

impl Sending {
    /// A client that takes nothing of its answer holds an endpoint with it.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let stall = self.stall.get_or_insert_with(|| Wait::of(STALL_TIMEOUT));
        ready!(Pin::new(stall).poll(cx));
        self.stream.send_reset(Reason::CANCEL);
        Poll::Ready(Err(Reason::CANCEL.into()))
    }
}

async fn discard(received: &RefCell<RecvStream>) {
    let mut wait = Wait::of(DISCARD_TIMEOUT);
    let mut discarding = pin!(body::discard(received, DISCARDED_BYTES_MAX));
    poll_fn(|cx| match discarding.as_mut().poll(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => Pin::new(&mut wait).poll(cx),
    })
    .await;
}
