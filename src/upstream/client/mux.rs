//! HTTP/2 to endpoints: many exchanges share a connection (RFC 9113).
//!
//! A thread has its own connections (`links`); each is driven by one task of
//! the thread (`link`), which ends with its connection. An exchange holds a
//! [`Lease`] of a connection for as long as its stream lasts. Giving the
//! stream up resets it at once.

mod download;
mod link;
mod links;
mod upload;

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};

pub use self::download::Download;
pub use self::link::Lease;
use self::link::Opened;
pub(super) use self::links::sweep;
use self::upload::Upload;
use super::wire::{ConnectError, Offer, Wire};
use super::{Answer, AnswerBody, CONTINUE_TIMEOUT, Carrier, Failed, Failure, Outbound};
use crate::framing::{Framing, content_length};
use crate::rt::clock::Wait;
use crate::upstream::Endpoint;
use crate::upstream::h1::{HEADER_LINES_MAX, Malformed};
use crate::upstream::protocol::Protocol;

/// A stream of a connection that stands, or of a new one; for an endpoint that
/// chooses HTTP/1.1, a connection of that.
pub(super) async fn connect(
    endpoint: &Arc<Endpoint>,
    offer: Offer,
) -> Result<Carrier, Rc<ConnectError>> {
    if offer == Offer::Http1 {
        if endpoint.protocol == Protocol::H2c {
            return Err(Rc::new(ConnectError::NoUpgrade));
        }
        let wire = Wire::connect(endpoint, offer).await;
        return wire.map(Carrier::Wire).map_err(Rc::new);
    }
    if endpoint.chose_http1.load(Ordering::Relaxed) {
        // It may choose anew each time.
        return match link::open(endpoint).await {
            Ok(Opened::Link(link)) => Ok(Carrier::Stream(links::of(endpoint).add(link))),
            Ok(Opened::Http1(wire)) => Ok(Carrier::Wire(wire)),
            Err(error) => Err(Rc::new(error)),
        };
    }
    links::of(endpoint).lease().await
}

/// The only stream of a connection that nobody else uses.
pub(super) async fn connect_once(endpoint: &Arc<Endpoint>) -> Result<Carrier, ConnectError> {
    Ok(match link::open(endpoint).await? {
        Opened::Link(link) => Carrier::Stream(Lease::of(&link, &links::of(endpoint))),
        Opened::Http1(wire) => Carrier::Wire(wire),
    })
}

/// Sends a request and waits for the head of its answer.
///
/// Dropping the future resets the stream.
pub async fn send(
    lease: Lease,
    request: Request<()>,
    outbound: Outbound,
) -> Result<Answer, Failure> {
    let reused = lease.is_reused();
    let failure = |cause, answered| Failure {
        cause,
        answered,
        reused: false,
    };
    let bodiless = outbound.framing == Framing::Length(0);
    let (mut response, stream) = match lease.open(request, bodiless) {
        Ok(opened) => opened,
        // Not a byte of it has left.
        Err(error) => {
            return Err(Failure {
                cause: Failed::Declined(error.into()),
                answered: false,
                reused,
            });
        }
    };
    let Outbound {
        method,
        body,
        framing,
        expects_continue,
        response_timeout,
        ..
    } = outbound;
    let mut upload = (!bodiless).then(|| Upload::new(stream, body, framing, expects_continue));
    let mut wait = Wait::of(response_timeout);
    let mut may_continue = expects_continue.then(|| Wait::of(CONTINUE_TIMEOUT));
    let mut sent_bytes = 0;
    // Interim answers are the client's already.
    let mut answered = false;
    let head = poll_fn(|cx| {
        loop {
            if let Some(sending) = &mut upload {
                match sending.poll(cx) {
                    Poll::Ready(Ok(())) => upload = None,
                    Poll::Ready(Err(upload::Error::Client(error))) => {
                        return Poll::Ready(Err(failure(Failed::ClientBody(error), false)));
                    }
                    // It may have answered before it stopped reading; what
                    // became of the stream is told by the answer.
                    Poll::Ready(Err(upload::Error::Endpoint)) => upload = None,
                    Poll::Pending => {}
                }
            }
            if let Some(sending) = &upload
                && sending.sent_bytes() != sent_bytes
            {
                sent_bytes = sending.sent_bytes();
                wait.reset(response_timeout);
            }
            if let Some(wait) = &mut may_continue
                && Pin::new(wait).poll(cx).is_ready()
            {
                may_continue = None;
                go_on(&mut upload);
                continue;
            }
            match response.poll_informational(cx) {
                Poll::Ready(Some(Ok(interim))) => match interim.status() {
                    StatusCode::CONTINUE => {
                        answered = true;
                        may_continue = None;
                        go_on(&mut upload);
                    }
                    // RFC 9113 §8.6: there is no 101 in HTTP/2.
                    StatusCode::SWITCHING_PROTOCOLS => {
                        return Poll::Ready(Err(failure(Malformed::Switched.into(), true)));
                    }
                    status => {
                        answered = true;
                        let mut headers = interim.into_parts().0.headers;
                        headers.remove(CONTENT_LENGTH);
                        outbound.interim.tell(status, headers);
                    }
                },
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(told(error, reused, answered)));
                }
                Poll::Ready(None) => {
                    let head = Pin::new(&mut response).poll(cx);
                    return head.map_err(|error| told(error, reused, answered));
                }
                Poll::Pending if Pin::new(&mut wait).poll(cx).is_ready() => {
                    if upload.as_ref().is_some_and(Upload::awaits_client) {
                        wait.reset(response_timeout);
                        continue;
                    }
                    return Poll::Ready(Err(failure(Failed::TimedOut(response_timeout), answered)));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    let response = head?;
    if response.status().is_success() {
        // It answers without a word about the body, and may be reading it.
        go_on(&mut upload);
    }
    let (parts, recv) = response.into_parts();
    let (status, mut headers) = (parts.status, parts.headers);
    let length = judged(&method, status, &mut headers)
        .map_err(|malformed| failure(malformed.into(), true))?;
    // A body that may not be is reset with its stream, and so is what is left
    // of a request whose answer is whole.
    if length == Some(0) && is_bodiless(&method, status) || recv.is_end_stream() {
        let body = AnswerBody::Whole(Bytes::new());
        return Ok(Answer {
            status,
            headers,
            body,
        });
    }
    let body = AnswerBody::Mux(Box::new(Download::new(
        lease,
        recv,
        upload,
        wait,
        length,
        outbound.flow,
        outbound.pause_max,
    )));
    Ok(Answer {
        status,
        headers,
        body,
    })
}

fn go_on(upload: &mut Option<Upload>) {
    if let Some(upload) = upload {
        upload.go_on();
    }
}

fn is_bodiless(method: &Method, status: StatusCode) -> bool {
    method == Method::HEAD || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

/// The length of an answer's body, where its head tells it. What the library
/// has refused already: connection-specific and upper-case fields, pseudo-fields
/// out of place, differing lengths (RFC 9113 §8.1.1, §8.2).
fn judged(
    method: &Method,
    status: StatusCode,
    headers: &mut HeaderMap,
) -> Result<Option<u64>, Malformed> {
    if headers.len() > HEADER_LINES_MAX {
        return Err(Malformed::HeadTooLong);
    }
    headers.remove(http::header::TE);
    // RFC 9110 §8.6: this one has no length, whatever it says.
    if status == StatusCode::NO_CONTENT {
        headers.remove(CONTENT_LENGTH);
    }
    let length = match headers.get(CONTENT_LENGTH) {
        None => None,
        Some(value) => Some(content_length(value.as_bytes()).ok_or(Malformed::Length)?),
    };
    if let Some(length) = length {
        // One line, however often it was said.
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    match is_bodiless(method, status) {
        true => Ok(Some(0)),
        false => Ok(length),
    }
}

/// What an error of a stream means. `reused`: its connection had carried an
/// exchange before. `answered`: interim answers had come.
fn told(error: h2::Error, reused: bool, answered: bool) -> Failure {
    let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
    // Whether the connection took the stream with it.
    let gone = !error.is_reset();
    let (cause, answered) = if error.is_remote() && (gone || refused) {
        // RFC 9113 §6.8, §8.7: above the last stream of GOAWAY, or refused,
        // nothing was done with it.
        (Failed::Declined(error.into()), false)
    } else if error.is_remote() {
        (Failed::Reset(error.into()), answered)
    } else if !gone || error.reason().is_some() {
        // The library's judgement of what came.
        (Malformed::Http2.into(), true)
    } else {
        (Failed::Lost(lost(error)), answered)
    };
    Failure {
        cause,
        answered,
        reused: reused && gone,
    }
}

fn lost(error: h2::Error) -> std::io::Error {
    std::io::Error::other(error)
}
