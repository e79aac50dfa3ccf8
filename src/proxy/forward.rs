//! The attempt loop: an endpoint, a connection, a try, and again where it may be.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::header::{ALT_SVC, CONNECTION, CONTENT_TYPE, UPGRADE};
use http::request::Parts;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Response};

use super::headers::{self, Outgoing};
use super::intake::Intake;
use super::origin::Origin;
use super::retry::{self, Verdict};
use super::strict::Admitted;
use super::{Peer, content_length, grpc};
use crate::body::Body;
use crate::config::HostHeader;
use crate::error::ProxyError;
use crate::exchange::{Exchange, Interim};
use crate::framing::Framing;
use crate::rt::clock::{self, Wait};
use crate::site::Site;
use crate::upstream::client::wire::{ConnectError, Offer};
use crate::upstream::client::{
    self, Answer, AnswerBody, Carrier, Failed, Failure, Outbound, mux, pool,
};
use crate::upstream::protocol::Protocol;
use crate::upstream::{Address, Endpoint, Upstream};

/// How long an answer may pause between two bytes.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// The same for what is open to wait: server-sent events and gRPC.
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

/// Asks the upstream's endpoints until one answers, none may be asked any more,
/// or the client's own deadline (`grpc-timeout`) is over.
pub(super) async fn forward(
    site: &Site,
    upstream: &Upstream,
    exchange: &mut Exchange,
    request: &Request<'_>,
) -> Result<Response<Body>, ProxyError> {
    let Some(after) = grpc::deadline(request.parts) else {
        return attempts(site, upstream, exchange, request).await;
    };
    let mut wait = Wait::of(after);
    let answered = {
        let mut attempts = std::pin::pin!(attempts(site, upstream, exchange, request));
        std::future::poll_fn(|cx| match attempts.as_mut().poll(cx) {
            Poll::Ready(answered) => Poll::Ready(Some(answered)),
            Poll::Pending => Pin::new(&mut wait).poll(cx).map(|()| None),
        })
        .await
    };
    answered.unwrap_or_else(|| {
        let endpoint = exchange.endpoint.as_deref().unwrap_or("no endpoint");
        Err(ProxyError::ResponseTimedOut {
            endpoint: endpoint.to_owned(),
            after,
        })
    })
}

/// The attempt loop.
async fn attempts(
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
    let mut refused: Option<(&Arc<Endpoint>, Rc<ConnectError>)> = None;
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
        let carrier = match idle {
            Some(wire) => Carrier::Wire(wire),
            None => match client::connect(endpoint, offer(request)).await {
                Ok(carrier) => carrier,
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
        let told = Told {
            site,
            upstream,
            endpoint,
            exchange,
            request,
        };
        let sent = match carrier {
            Carrier::Wire(wire) => {
                let (head, outbound) = told.as_lines();
                client::send(wire, head, outbound).await
            }
            Carrier::Stream(lease) => {
                let (head, outbound) = told.as_fields()?;
                Box::pin(mux::send(lease, head, outbound)).await
            }
        };
        let failure = match sent {
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
        // One that did nothing with it may take it in a moment.
        let declined = matches!(failure.cause, Failed::Declined(_));
        if !declined && (!going || std::mem::replace(&mut seen_going, true)) {
            return Err(failed(failure, endpoint));
        }
        tokio::time::sleep(PAUSE_FIRST).await;
        tried.clear();
    }
}

/// A request for an upgrade goes over HTTP/1.1.
fn offer(request: &Request<'_>) -> Offer {
    match upgrades(request) {
        true => Offer::Http1,
        false => Offer::Any,
    }
}

fn scheme(endpoint: &Endpoint) -> Scheme {
    match endpoint.protocol {
        Protocol::Http1 | Protocol::H2c => Scheme::HTTP,
        Protocol::Tls { .. } => Scheme::HTTPS,
    }
}

/// What an attempt tells its endpoint.
struct Told<'a> {
    site: &'a Site,
    upstream: &'a Upstream,
    endpoint: &'a Endpoint,
    exchange: &'a Exchange,
    request: &'a Request<'a>,
}

impl Told<'_> {
    /// For HTTP/1.1.
    fn as_lines(&self) -> (Vec<u8>, Outbound) {
        let host = self.host();
        let outgoing = self.outgoing(&host);
        (headers::request_head(&outgoing), self.outbound(&outgoing))
    }

    /// For HTTP/2.
    fn as_fields(&self) -> Result<(http::Request<()>, Outbound), ProxyError> {
        let host = self.host();
        let outgoing = self.outgoing(&host);
        let head = headers::request_fields(&outgoing, scheme(self.endpoint))
            .ok_or_else(|| ProxyError::BadHost(host.to_string()))?;
        Ok((head, self.outbound(&outgoing)))
    }

    fn host(&self) -> Cow<'_, str> {
        match &self.site.host {
            HostHeader::Preserve => self.request.admitted.host.into(),
            HostHeader::Name(name) => name.into(),
            HostHeader::Endpoint => host_of(&self.endpoint.address).into(),
        }
    }

    fn outgoing<'o>(&'o self, host: &'o str) -> Outgoing<'o> {
        let request = self.request;
        let parts = request.parts;
        let framing = match content_length(&parts.headers) {
            _ if request.intake.is_empty() => Framing::Length(0),
            Some(length) => Framing::Length(length),
            None => Framing::Chunked,
        };
        Outgoing {
            parts,
            host,
            asked: request.admitted.host,
            origin: request.origin,
            request_id: self.exchange.id.as_str(),
            via: request.via,
            framing,
            expects_continue: request.admitted.expects_continue && !request.intake.is_empty(),
            upgrades: upgrades(request),
        }
    }

    fn outbound(&self, outgoing: &Outgoing<'_>) -> Outbound {
        Outbound {
            method: outgoing.parts.method.clone(),
            body: self.request.intake.body(),
            framing: outgoing.framing,
            expects_continue: outgoing.expects_continue,
            may_switch: outgoing.upgrades,
            response_timeout: self.upstream.settings().response_timeout,
            pause_max: PAUSE_MAX,
            flow: self.request.peer.tie.flow.clone(),
            interim: self.request.interim.clone(),
        }
    }
}

fn upgrades(request: &Request<'_>) -> bool {
    headers::asks_websocket(request.parts) && request.intake.is_empty()
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
    let Answer {
        status,
        headers,
        body,
    } = answer;
    let waits = is_open_to_wait(&headers);
    if waits {
        request.intake.may_pause(EVENT_PAUSE_MAX);
    }
    let body = match body {
        AnswerBody::Whole(bytes) if bytes.is_empty() => Body::Empty,
        AnswerBody::Whole(bytes) => Body::Full(bytes),
        AnswerBody::Stream(mut download) => {
            if waits {
                download.may_pause(EVENT_PAUSE_MAX);
            }
            Body::Stream(Box::into_pin(download))
        }
        AnswerBody::Mux(mut download) => {
            if waits {
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
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    // RFC 7838: where the endpoint can be reached besides is no place of ours.
    response.headers_mut().remove(ALT_SVC);
    if request.peer.tie.switched.borrow().is_some() {
        // RFC 9110 §7.8: the switch is told hop by hop.
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    response
}

/// Whether an answer may be silent for long, and its request with it:
/// server-sent events and gRPC.
fn is_open_to_wait(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes().starts_with(b"text/event-stream") || grpc::is_meant(kind.as_bytes())
    })
}

fn stage(failure: &Failure) -> retry::Failed {
    match &failure.cause {
        Failed::ClientBody(_) => retry::Failed::Client,
        Failed::Declined(_) => retry::Failed::Declined,
        _ if failure.answered => retry::Failed::Answered,
        Failed::Closed | Failed::Lost(_) | Failed::Reset(_) | Failed::Malformed(_) => {
            retry::Failed::NoHead
        }
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
        Failed::Declined(error) => ProxyError::Declined {
            endpoint: name,
            source: error,
        },
        error @ (Failed::Closed | Failed::Lost(_) | Failed::Reset(_)) => ProxyError::ResponseLost {
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
    let cause = |error: &dyn std::error::Error| error.to_string().into();
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
        ConnectError::Certificate(error) => ProxyError::Certificate {
            endpoint,
            source: cause(error),
        },
        ConnectError::Handshake(error) => ProxyError::Handshake {
            endpoint,
            source: cause(error.as_ref()),
        },
        ConnectError::NotHttp2(error) => ProxyError::NotHttp2 {
            endpoint,
            source: cause(error.as_ref()),
        },
        ConnectError::NoUpgrade => ProxyError::NoUpgrade { endpoint },
        ConnectError::Busy(after) => ProxyError::StreamsUsedUp {
            endpoint,
            after: *after,
        },
    }
}
