//! Connections to endpoints: HTTP/1.1 here, HTTP/2 in [`mux`].
//!
//! A connection of HTTP/1.1 ([`Wire`]) is one exchange's at a time and is driven by that
//! exchange's own task: no task of its own, no channel, no wake-up between
//! tasks. Between exchanges it lies in its thread's [`pool`]. The answer's
//! body ([`Download`]) carries the connection on, with
//! whatever is left of the request to send, and gives it back when both ended.

pub mod download;
pub mod mux;
pub mod pool;
pub mod upload;
pub mod wire;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use self::download::Download;
use self::mux::Lease;
use self::upload::Upload;
use self::wire::{ConnectError, Offer, Wire};
use super::Endpoint;
use super::h1::{self, Head, Malformed};
use super::protocol::Protocol;
use crate::body::{Body, BoxError};
use crate::exchange::Interim;
use crate::framing::Framing;
use crate::rt::clock::Wait;
use crate::rt::flow::Flow;

/// How long an endpoint may leave `Expect: 100-continue` unanswered before the
/// body is sent all the same (RFC 9110 §10.1.1).
const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);

/// What carries an exchange to its endpoint and back.
pub enum Carrier {
    /// HTTP/1.1: a connection that is the exchange's alone.
    Wire(Box<Wire>),
    /// HTTP/2: a stream of a connection that many share.
    Stream(Lease),
}

/// A new connection, or a stream of one that stands.
///
/// Errors are shared by all who waited for the same connection. Dropping the
/// future gives the attempt up; others who wait for it make their own.
pub async fn connect(endpoint: &Arc<Endpoint>, offer: Offer) -> Result<Carrier, Rc<ConnectError>> {
    if endpoint.protocol == Protocol::Http1 {
        let wire = Wire::connect(endpoint, offer).await;
        return wire.map(Carrier::Wire).map_err(Rc::new);
    }
    // Apart, so that the common case is no larger for it.
    Box::pin(mux::connect(endpoint, offer)).await
}

/// A new connection for one exchange alone, which is closed behind its answer.
///
/// Over HTTP/1.1 the request's head has to say so (RFC 9112 §9.6).
pub async fn connect_once(endpoint: &Arc<Endpoint>) -> Result<Carrier, ConnectError> {
    let carrier = match endpoint.protocol {
        Protocol::Http1 => Carrier::Wire(Wire::connect(endpoint, Offer::Any).await?),
        Protocol::H2c | Protocol::Tls { .. } => mux::connect_once(endpoint).await?,
    };
    Ok(match carrier {
        Carrier::Wire(mut wire) => {
            wire.set_last();
            Carrier::Wire(wire)
        }
        stream @ Carrier::Stream(_) => stream,
    })
}

/// A request, but for its head.
pub struct Outbound {
    pub method: Method,
    pub body: Body,
    pub framing: Framing,
    /// The body waits for the endpoint's 100.
    pub expects_continue: bool,
    /// The endpoint may answer 101.
    pub may_switch: bool,
    pub response_timeout: Duration,
    /// How long an answer's body may pause.
    pub pause_max: Duration,
    /// Whether the client keeps up.
    pub flow: Flow,
    /// Where interim answers go.
    pub interim: Interim,
}

/// An answer.
pub struct Answer {
    pub status: StatusCode,
    /// Without what speaks of the connection.
    pub headers: HeaderMap,
    pub body: AnswerBody,
}

pub enum AnswerBody {
    /// The rest of the answer was there with its head (or there is none).
    Whole(Bytes),
    Stream(Box<Download>),
    /// The same over HTTP/2.
    Mux(Box<mux::Download>),
    /// 101: the connection is the client's now, with what came behind the head.
    Switched(Box<Wire>),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("the endpoint closed the connection before it answered")]
    Closed,
    #[error("the connection broke before the answer")]
    Lost(#[source] io::Error),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the client's body broke off")]
    ClientBody(#[source] BoxError),
    #[error("the endpoint reset the stream before it answered")]
    Reset(#[source] BoxError),
    /// HTTP/2: it is certain that the endpoint did nothing with the request.
    #[error("the endpoint declined the request")]
    Declined(#[source] BoxError),
    #[error("the health check found the endpoint down meanwhile")]
    FoundDown,
}

/// A failure, and what is known about the attempt.
#[derive(Debug)]
pub struct Failure {
    pub cause: Failed,
    /// Whether a byte of the answer had come.
    pub answered: bool,
    /// Whether the connection had served an exchange before.
    pub reused: bool,
}

/// Sends a request and waits for the head of its answer. `head`: request line
/// and header, with the blank line.
///
/// Dropping the future closes the connection.
pub async fn send(
    mut wire: Box<Wire>,
    head: Vec<u8>,
    outbound: Outbound,
) -> Result<Answer, Failure> {
    let Outbound {
        method,
        body,
        framing,
        expects_continue,
        may_switch,
        ..
    } = outbound;
    let streams = framing != Framing::Length(0);
    let mut upload = Upload::new(head, body, framing, expects_continue);
    let mut wait = Wait::of(outbound.response_timeout);
    let mut may_continue = expects_continue.then(|| Wait::of(CONTINUE_TIMEOUT));
    let mut broken = None;
    let mut sent_bytes = 0;
    let head = poll_fn(|cx| {
        loop {
            if broken.is_none()
                && let Poll::Ready(Err(error)) = upload.poll(cx, &mut wire)
            {
                match error {
                    upload::Error::Client(error) => {
                        return Poll::Ready(Err(Failed::ClientBody(error)));
                    }
                    // The endpoint may have answered before it stopped reading.
                    upload::Error::Endpoint(error) => broken = Some(error),
                }
            }
            // The endpoint's time runs from the last it was sent; a client
            // that pauses has a clock of its own.
            if streams && upload.sent_bytes() != sent_bytes {
                sent_bytes = upload.sent_bytes();
                wait.reset(outbound.response_timeout);
            }
            if let Some(wait) = &mut may_continue
                && Pin::new(wait).poll(cx).is_ready()
            {
                may_continue = None;
                upload.go_on();
                continue;
            }
            match poll_head(
                cx,
                &mut wire,
                &method,
                may_switch,
                outbound.flow.first_max(),
            ) {
                Poll::Ready(Ok(head)) if head.status == StatusCode::CONTINUE => {
                    may_continue = None;
                    upload.go_on();
                }
                Poll::Ready(Ok(head)) if is_interim(&head) => {
                    outbound.interim.tell(head.status, head.headers);
                }
                Poll::Ready(Err(Failed::Closed)) => {
                    return Poll::Ready(Err(broken.take().map_or(Failed::Closed, Failed::Lost)));
                }
                Poll::Ready(other) => return Poll::Ready(other),
                Poll::Pending if Pin::new(&mut wait).poll(cx).is_ready() => {
                    if upload.awaits_client() {
                        wait.reset(outbound.response_timeout);
                        continue;
                    }
                    return Poll::Ready(Err(Failed::TimedOut(outbound.response_timeout)));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    match head {
        Ok(head) => {
            let body = answer_body(
                wire,
                upload,
                wait,
                broken.is_some(),
                &head,
                &outbound.flow,
                outbound.pause_max,
            );
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body,
            })
        }
        Err(cause) => Err(Failure {
            cause,
            answered: wire.answered(),
            reused: wire.is_reused(),
        }),
    }
}

fn is_interim(head: &Head) -> bool {
    head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS
}

fn poll_head(
    cx: &mut Context<'_>,
    wire: &mut Wire,
    method: &Method,
    may_switch: bool,
    read_bytes: usize,
) -> Poll<Result<Head, Failed>> {
    loop {
        if !wire.received.is_empty()
            && let Some(head) = h1::head(&mut wire.received, method)?
        {
            if head.status == StatusCode::SWITCHING_PROTOCOLS && !may_switch {
                return Poll::Ready(Err(Malformed::Switched.into()));
            }
            return Poll::Ready(Ok(head));
        }
        match wire.poll_receive(cx, read_bytes) {
            Poll::Ready(Ok(0)) if wire.received.is_empty() => {
                return Poll::Ready(Err(Failed::Closed));
            }
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(Malformed::Head.into())),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(Failed::Lost(error))),
            Poll::Pending => return Poll::Pending,
        }
    }
}

fn answer_body(
    mut wire: Box<Wire>,
    mut upload: Upload,
    wait: Wait,
    broken: bool,
    head: &Head,
    flow: &Flow,
    pause_max: Duration,
) -> AnswerBody {
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return AnswerBody::Switched(wire);
    }
    wire.keeps(head.keep_alive && !broken, head.keep_for);
    if head.status.is_success() {
        // It answers without a word about the body, and may be reading it.
        upload.go_on();
    }
    if let Framing::Length(length) = head.framing
        && let Ok(length) = usize::try_from(length)
        && length <= wire.received.len()
        && upload.is_done()
    {
        let whole = wire.received.split_to(length).freeze();
        pool::park(wire);
        return AnswerBody::Whole(whole);
    }
    AnswerBody::Stream(Box::new(Download::new(
        wire,
        (!broken && !upload.is_done()).then_some(upload),
        wait,
        head.framing,
        flow.clone(),
        pause_max,
    )))
}
