//! The attempt loop: an endpoint, a connection, a try, and again where it may be.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Response};

use super::headers::{self, Outgoing};
use super::intake::Intake;
use super::origin::Origin;
use super::retry::{self, Verdict};
use super::strict::Admitted;
use super::{Peer, content_length};
use crate::body::Body;
use crate::config::HostHeader;
use crate::error::ProxyError;
use crate::exchange::{Exchange, Interim};
use crate::framing::Framing;
use crate::rt::clock;
use crate::site::Site;
use crate::upstream::client::wire::{ConnectError, Wire};
use crate::upstream::client::{self, Answer, AnswerBody, Failed, Failure, Outbound, pool};
use crate::upstream::{Address, Endpoint, Upstream};

/// How long an answer may pause between two bytes.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// The same for what is open to wait: server-sent events.
const EVENT_PAUSE_MAX: Duration = Duration::from_secs(3600);
/// The most requests that wait for one upstream's endpoints to come up.
const HELD_MAX: usize = 1024;
/// The first pause between two tries at a refusing endpoint; doubles up to [`PAUSE_LAST`].
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LAST: Duration = Duration::from_millis(250);

/// A request that was admitted.
pub(super) struct Request<'a> {
    pub(super) parts: &'a Parts,
    pub(super) admitted: &'a Admitted<'a>,
    pub(super) origin: &'a Origin,
    pub(super) intake: Intake,
    pub(super) via: &'a str,
    pub(super) peer: &'a Peer,
    pub(super) interim: &'a Interim,
}

/// Asks the upstream's endpoints until one answers or none may be asked any more.
pub(super) async fn forward(
    site: &Site,
    upstream: &Upstream,
    exchange: &mut Exchange,
    request: &Request<'_>,
) -> Result<Response<Body>, ProxyError> {
    exchange.bytes_in = request.intake.received_bytes();
    let mut tried: Vec<u64> = Vec::new();
    let mut hold = Hold::new(upstream);
    // After a kept connection turned out dead, only a new one tells the truth.
    let mut fresh = false;
    let mut refused = None;
    let mut seen_going = false;
    loop {
        let Some(endpoint) = upstream.pick(&tried) else {
            let (endpoint, error) = refused
                .take()
                .expect("endpoints are tried before they run out");
            hold.pause(&error, endpoint).await?;
            tried.clear();
            continue;
        };
        let idle = if fresh {
            None
        } else {
            pool::take(
                endpoint,
                clock::now(),
                !request.parts.method.is_idempotent(),
            )
        };
        let wire = match idle {
            Some(wire) => wire,
            None => match Wire::connect(endpoint).await {
                Ok(wire) => wire,
                Err(error) => {
                    tried.push(endpoint.id);
                    refused = Some((endpoint, error));
                    continue;
                }
            },
        };
        hold.end();
        exchange.attempts += 1;
        exchange.endpoint = Some(endpoint.name.clone());
        let failure =
            match client::send(wire, outbound(site, upstream, endpoint, exchange, request)).await {
                Ok(answer) => return Ok(respond(answer, request)),
                Err(failure) => failure,
            };
        let verdict = retry::verdict(
            stage(&failure),
            &request.parts.method,
            request.intake.replay(),
            exchange.attempts,
        );
        if let Verdict::Stop(_) = verdict {
            return Err(failed(failure, endpoint));
        }
        tracing::debug!(endpoint = %endpoint.name, cause = %failure.cause, reused = failure.reused, "attempt failed, trying again");
        if failure.reused {
            fresh = true;
            continue;
        }
        tried.push(endpoint.id);
        if tried.len() < upstream.endpoints().len() {
            continue;
        }
        // A server of this machine that is just going away still listens: the
        // kernel accepts for it, and resets when it is gone. Then it refuses.
        let going = matches!(failure.cause, Failed::Closed | Failed::Lost(_))
            && endpoint.address.is_near()
            && !upstream.settings().wait_for_endpoint.is_zero();
        if !going || std::mem::replace(&mut seen_going, true) {
            return Err(failed(failure, endpoint));
        }
        tokio::time::sleep(PAUSE_FIRST).await;
        tried.clear();
    }
}

fn outbound(
    site: &Site,
    upstream: &Upstream,
    endpoint: &Endpoint,
    exchange: &Exchange,
    request: &Request<'_>,
) -> Outbound {
    let parts = request.parts;
    let framing = match content_length(&parts.headers) {
        _ if request.intake.is_empty() => Framing::Length(0),
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    };
    let upgrades = headers::asks_websocket(parts) && request.intake.is_empty();
    let expects_continue = request.admitted.expects_continue && !request.intake.is_empty();
    let endpoint_host;
    let host = match &site.host {
        HostHeader::Preserve => request.admitted.host,
        HostHeader::Name(name) => name,
        HostHeader::Endpoint => {
            endpoint_host = host_of(&endpoint.address);
            &endpoint_host
        }
    };
    let head = headers::request_head(&Outgoing {
        parts,
        host,
        asked: request.admitted.host,
        origin: request.origin,
        request_id: exchange.id.as_str(),
        via: request.via,
        framing,
        expects_continue,
        upgrades,
    });
    Outbound {
        method: parts.method.clone(),
        head,
        body: request.intake.body(),
        framing,
        expects_continue,
        may_switch: upgrades,
        response_timeout: upstream.settings().response_timeout,
        pause_max: PAUSE_MAX,
        flow: request.peer.tie.flow.clone(),
        interim: request.interim.clone(),
    }
}

/// What a dev server accepts without being told a public name.
fn host_of(address: &Address) -> String {
    match address {
        Address::Port(port) => format!("localhost:{port}"),
        Address::Socket(address) => address.to_string(),
        Address::Unix(_) => "localhost".to_owned(),
    }
}

fn respond(answer: Answer, request: &Request<'_>) -> Response<Body> {
    request.intake.settle();
    let Answer { head, body } = answer;
    let events = head
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let body = match body {
        AnswerBody::Whole(bytes) if bytes.is_empty() => Body::Empty,
        AnswerBody::Whole(bytes) => Body::Full(bytes),
        AnswerBody::Stream(mut download) => {
            if events {
                download.may_pause(EVENT_PAUSE_MAX);
            }
            Body::Stream(Box::into_pin(download))
        }
        AnswerBody::Switched(wire) => {
            request.peer.tie.switched.replace(Some(wire));
            Body::Empty
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    if request.peer.tie.switched.borrow().is_some() {
        // RFC 9110 §7.8: the switch is told hop by hop.
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    response
}

fn stage(failure: &Failure) -> retry::Failed {
    match &failure.cause {
        Failed::ClientBody(_) => retry::Failed::Client,
        _ if failure.answered => retry::Failed::Answered,
        Failed::Closed | Failed::Lost(_) | Failed::Malformed(_) => retry::Failed::NoHead,
        // It had all its time: another would be asked to take as long.
        Failed::TimedOut(_) => retry::Failed::Answered,
    }
}

fn failed(failure: Failure, endpoint: &Endpoint) -> ProxyError {
    let name = endpoint.name.to_string();
    match failure.cause {
        Failed::ClientBody(error) => match error.downcast::<ProxyError>() {
            Ok(error) => *error,
            Err(error) => ProxyError::BodyBroken(error),
        },
        Failed::TimedOut(after) => ProxyError::ResponseTimedOut {
            endpoint: name,
            after,
        },
        Failed::Malformed(error) => ProxyError::ResponseMalformed {
            endpoint: name,
            source: error.into(),
        },
        error @ (Failed::Closed | Failed::Lost(_)) => ProxyError::ResponseLost {
            endpoint: name,
            source: error.into(),
        },
    }
}

/// A request that waits for a restarting endpoint. Dropped, it waits no more.
struct Hold<'a> {
    upstream: &'a Upstream,
    since: Option<Instant>,
    pause: Duration,
}

impl<'a> Hold<'a> {
    fn new(upstream: &'a Upstream) -> Self {
        Self {
            upstream,
            since: None,
            pause: PAUSE_FIRST,
        }
    }

    /// Pauses before all endpoints are tried again; gives the failure once
    /// that is no use: not refused, not near, or too long already.
    async fn pause(
        &mut self,
        error: &ConnectError,
        endpoint: &Arc<Endpoint>,
    ) -> Result<(), ProxyError> {
        let limit = self.upstream.settings().wait_for_endpoint;
        let restarting = matches!(error, ConnectError::Refused(_)) && endpoint.address.is_near();
        let waited = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        if !restarting || waited >= limit {
            return Err(unconnected(error, &endpoint.name, waited));
        }
        if self.since.is_none() {
            let waiting = self.upstream.held.fetch_add(1, Ordering::Relaxed);
            self.since = Some(Instant::now());
            if waiting >= HELD_MAX {
                return Err(ProxyError::TooManyWaiting { waiting });
            }
        }
        tokio::time::sleep(self.pause.min(limit - waited)).await;
        self.pause = (self.pause * 2).min(PAUSE_LAST);
        Ok(())
    }

    /// An endpoint accepted.
    fn end(&mut self) {
        if self.since.take().is_some() {
            self.upstream.held.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

fn unconnected(error: &ConnectError, endpoint: &str, waited: Duration) -> ProxyError {
    let endpoint = endpoint.to_owned();
    let cause = |error: &std::io::Error| error.to_string().into();
    match error {
        ConnectError::Refused(error) => ProxyError::Refused {
            endpoint,
            waited,
            source: cause(error),
        },
        ConnectError::TimedOut(after) => ProxyError::ConnectTimedOut {
            endpoint,
            after: *after,
        },
        ConnectError::Unreachable(error) => ProxyError::Unreachable {
            endpoint,
            source: cause(error),
        },
        ConnectError::Exhausted(error) => ProxyError::Exhausted {
            endpoint,
            source: cause(error),
        },
    }
}
