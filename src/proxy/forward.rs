//! The attempt loop: an endpoint, a connection, a try, and again where it may be.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::Response;
use http::header::SET_COOKIE;
use http::request::Parts;

use super::hold::{Hold, PAUSE_FIRST};
use super::intake::Intake;
use super::lookout::unless_down;
use super::origin::Origin;
use super::prefix::Stripped;
use super::respond::respond;
use super::retry::{self, Verdict, Why};
use super::strict::Admitted;
use super::told::{self, Told};
use super::{Peer, failure, grpc};
use crate::body::Body;
use crate::error::ProxyError;
use crate::exchange::{Exchange, Interim};
use crate::rt::clock::{self, Wait};
use crate::site::Route;
use crate::upstream::client::wire::ConnectError;
use crate::upstream::client::{self, Answer, Carrier, Failed, Failure, Outbound, mux, pool};
use crate::upstream::member::Lease;
use crate::upstream::registry::Outcome;
use crate::upstream::{Endpoint, Pick, Upstream, Wish};

/// A request that was admitted.
pub(super) struct Request<'a> {
    pub(super) parts: &'a Parts,
    /// The path that endpoints see, where it is not as it was sent.
    pub(super) path: Option<&'a str>,
    pub(super) admitted: &'a Admitted<'a>,
    pub(super) origin: &'a Origin,
    pub(super) intake: Intake,
    pub(super) via: &'a str,
    pub(super) peer: &'a Peer,
    pub(super) interim: &'a Interim,
}

/// An answer, and the place of its request at the endpoint until it has ended.
pub(super) struct Forwarded {
    pub(super) response: Response<Body>,
    pub(super) lease: Lease,
}

/// Asks the upstream's endpoints until one answers, none may be asked any more,
/// or the client's own deadline (`grpc-timeout`) is over.
pub(super) async fn forward(
    route: &Route,
    upstream: &Upstream,
    exchange: &mut Exchange,
    request: &Request<'_>,
) -> Result<Forwarded, ProxyError> {
    let Some(after) = grpc::deadline(request.parts) else {
        return run(route, upstream, exchange, request).await;
    };
    let mut wait = Wait::of(after);
    let answered = {
        let mut attempts = std::pin::pin!(run(route, upstream, exchange, request));
        poll_fn(|cx| match attempts.as_mut().poll(cx) {
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

async fn run(
    route: &Route,
    upstream: &Upstream,
    exchange: &mut Exchange,
    request: &Request<'_>,
) -> Result<Forwarded, ProxyError> {
    exchange.bytes_in = request.intake.received_bytes();
    let sticky = upstream.sticky.as_ref();
    let mut attempts = Attempts {
        route,
        upstream,
        exchange,
        request,
        token: sticky.and_then(|sticky| sticky.of(&request.parts.headers, request.origin.secure)),
        tried: Vec::new(),
        hold: Hold::new(upstream),
        began: clock::now(),
        fresh: false,
        refused: None,
        unfit: None,
        seen_going: false,
        sent: 0,
    };
    let (answer, lease) = attempts.run().await?;
    let mut response = respond(answer, request);
    if route.strip_prefix {
        Stripped::of(route, request).put_back(response.headers_mut());
    }
    if let Some(sticky) = sticky
        && attempts.token != Some(lease.member.token())
        && let Some(cookie) = sticky.set(lease.member.token(), request.origin.secure)
    {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(Forwarded { response, lease })
}

/// The attempts at one request so far.
struct Attempts<'a> {
    route: &'a Route,
    upstream: &'a Upstream,
    exchange: &'a mut Exchange,
    request: &'a Request<'a>,
    /// What the client's sticky cookie says.
    token: Option<&'a str>,
    /// Members that are not to be asked again, until all were.
    tried: Vec<u64>,
    hold: Hold<'a>,
    began: Instant,
    /// After a kept connection turned out dead, only a new one tells the truth.
    fresh: bool,
    /// The last connect that failed.
    refused: Option<(Arc<Endpoint>, Rc<ConnectError>)>,
    /// An answer that says that its endpoint cannot serve, for want of a better one.
    unfit: Option<(Answer, Lease)>,
    seen_going: bool,
    /// Attempts that reached an endpoint.
    sent: u32,
}

impl<'a> Attempts<'a> {
    async fn run(&mut self) -> Result<(Answer, Lease), ProxyError> {
        match self.until_answered().await {
            Ok(answered) => Ok(answered),
            // What an endpoint itself said is better than that others failed.
            Err(error) => self.take_unfit().ok_or(error),
        }
    }

    async fn until_answered(&mut self) -> Result<(Answer, Lease), ProxyError> {
        loop {
            let Some(lease) = self.lease().await? else {
                match self.take_unfit() {
                    Some(answered) => return Ok(answered),
                    None => continue,
                }
            };
            let began = match self.exchange.attempts {
                0 => self.exchange.started,
                _ => Instant::now(),
            };
            self.exchange.endpoint = Some(lease.endpoint().name.clone());
            self.exchange.attempts += 1;
            let Some(carrier) = self.carrier(&lease, began).await? else {
                continue;
            };
            self.hold.end();
            self.sent += 1;
            match self.send(carrier, &lease).await? {
                Ok(answer) if self.suffices(&answer, &lease, began) => return Ok((answer, lease)),
                Ok(answer) => self.unfit = Some((answer, lease)),
                Err(failure) => Box::pin(self.failed(failure, &lease, began)).await?,
            }
        }
    }

    /// The endpoint whose turn it is, once there is one; `None`: look again.
    async fn lease(&mut self) -> Result<Option<Lease>, ProxyError> {
        let wish = Wish {
            tried: &self.tried,
            client: self.exchange.client,
            token: self.token,
        };
        match self.upstream.pick(&wish, clock::now()) {
            Pick::Lease(lease) => Ok(Some(lease)),
            Pick::Full | Pick::Nobody if self.unfit.is_some() => Ok(None),
            Pick::Full => {
                let pick = || self.upstream.pick(&wish, clock::now());
                // Apart, as what follows, so that the common case is no larger for it.
                Box::pin(self.hold.for_room(pick)).await
            }
            Pick::Nobody => {
                match self.refused.take() {
                    Some((endpoint, error)) => {
                        Box::pin(self.hold.for_restart(&error, &endpoint)).await?;
                    }
                    None => Box::pin(self.hold.for_somebody()).await?,
                }
                self.tried.clear();
                Ok(None)
            }
        }
    }

    fn take_unfit(&mut self) -> Option<(Answer, Lease)> {
        let (answer, lease) = self.unfit.take()?;
        self.exchange.endpoint = Some(lease.endpoint().name.clone());
        Some((answer, lease))
    }

    /// An idle connection or a new one; `None` if there is none to be had.
    async fn carrier(
        &mut self,
        lease: &Lease,
        began: Instant,
    ) -> Result<Option<Carrier>, ProxyError> {
        let endpoint = lease.endpoint();
        if !self.fresh {
            let sure = !self.request.parts.method.is_idempotent();
            if let Some(wire) = pool::take(endpoint, clock::now(), sure) {
                return Ok(Some(Carrier::Wire(wire)));
            }
        }
        let error = match client::connect(endpoint, told::offer(self.request)).await {
            Ok(carrier) => return Ok(Some(carrier)),
            Err(error) => error,
        };
        if failure::speaks_against(&error) {
            self.upstream.report(lease, Outcome::Failure, clock::now());
        }
        let told = failure::unconnected(&error, &endpoint.name, Duration::ZERO);
        if let Verdict::Stop(why) = self.verdict(retry::Failed::Connect) {
            self.exchange.not_retried = Some(why.as_str());
            return Err(told);
        }
        self.exchange.attempt_failed(told.facts().reason, began);
        self.tried.push(lease.member.id);
        // One that is restarting is worth waiting for, whatever others are.
        let restarting = |error: &ConnectError| matches!(error, ConnectError::Refused(_));
        if restarting(&error) || !matches!(&self.refused, Some((_, last)) if restarting(last)) {
            self.refused = Some((endpoint.clone(), error));
        }
        Ok(None)
    }

    async fn send(
        &self,
        carrier: Carrier,
        lease: &Lease,
    ) -> Result<Result<Answer, Failure>, ProxyError> {
        let told = Told {
            route: self.route,
            upstream: self.upstream,
            endpoint: lease.endpoint(),
            exchange: self.exchange,
            request: self.request,
        };
        Ok(match carrier {
            Carrier::Wire(wire) => {
                let (head, mut outbound) = told.as_lines();
                let leaves = self.leaves(lease, &mut outbound);
                // Pinned where it is: it is large, and not to be moved about.
                let attempt = std::pin::pin!(client::send(wire, head, outbound));
                match leaves {
                    None => attempt.await,
                    Some(leaves) => unless_down(leaves, attempt).await,
                }
            }
            Carrier::Stream(stream) => {
                let (head, mut outbound) = told.as_fields()?;
                let leaves = self.leaves(lease, &mut outbound);
                let mut attempt = Box::pin(mux::send(stream, head, outbound));
                match leaves {
                    None => attempt.await,
                    Some(leaves) => unless_down(leaves, attempt.as_mut()).await,
                }
            }
        })
    }

    /// Says, while an attempt is under way, whether it is to be given up: its
    /// endpoint was found down, nothing of an answer has come, and another that
    /// is not down may take the request. One that can go nowhere waits on.
    fn leaves<'s>(
        &'s self,
        lease: &'s Lease,
        outbound: &mut Outbound,
    ) -> Option<impl Fn() -> bool + use<'s, 'a>> {
        if !self.watches(lease) {
            return None;
        }
        let hinted = outbound.interim.watched();
        Some(move || {
            lease.member.is_down()
                && !hinted.get()
                && self.verdict(retry::Failed::NoHead) == Verdict::Again
                && self.upstream.has_another_up(&self.tried)
        })
    }

    /// Whether an attempt may have to be given up because the health check
    /// finds its endpoint down.
    fn watches(&self, lease: &Lease) -> bool {
        self.upstream.settings().health_check.is_some()
            && !lease.member.is_down()
            && self.request.parts.method.is_idempotent()
            && self.upstream.registry.table().members.len() > 1
    }

    /// Whether an answer is the client's, or says that its endpoint cannot
    /// serve, and another may.
    fn suffices(&mut self, answer: &Answer, lease: &Lease, began: Instant) -> bool {
        let Some(reason) = failure::unfit(answer.status) else {
            self.upstream.report(lease, Outcome::Success, clock::now());
            return true;
        };
        self.upstream.report(lease, Outcome::Failure, clock::now());
        self.tried.push(lease.member.id);
        if !self.upstream.has_another(&self.tried) {
            return true;
        }
        if let Verdict::Stop(why) = self.verdict(retry::Failed::Unfit) {
            self.exchange.not_retried = Some(why.as_str());
            return true;
        }
        // With the body still under way, this answer could not be gone back to.
        if !self.request.intake.is_read() {
            self.exchange.not_retried = Some(Why::BodyUnderWay.as_str());
            return true;
        }
        self.exchange.attempt_failed(reason, began);
        false
    }

    /// Prepares for another attempt, or gives the failure.
    async fn failed(
        &mut self,
        failure: Failure,
        lease: &Lease,
        began: Instant,
    ) -> Result<(), ProxyError> {
        let endpoint = lease.endpoint();
        if failure::is_its_own(&failure) {
            self.upstream.report(lease, Outcome::Failure, clock::now());
        }
        let verdict = self.verdict(failure::stage(&failure));
        // The keep-alive race: the connection was old, and a fresh one may do.
        let raced =
            failure.reused && !matches!(failure.cause, Failed::TimedOut(_) | Failed::FoundDown);
        // A server of this machine that is just going away still listens: the
        // kernel accepts for it, and resets when it is gone. Then it refuses.
        let going = matches!(failure.cause, Failed::Closed | Failed::Lost(_))
            && endpoint.address.is_near()
            && !self.upstream.settings().wait_for_endpoint.is_zero();
        // One that did nothing with it may take it in a moment.
        let declined = matches!(failure.cause, Failed::Declined(_));
        let error = failure::failed(failure, endpoint);
        if let Verdict::Stop(why) = verdict {
            self.exchange.not_retried = Some(why.as_str());
            return Err(self.last(error, began));
        }
        if raced {
            self.exchange.attempt_failed(error.facts().reason, began);
            self.fresh = true;
            return Ok(());
        }
        self.tried.push(lease.member.id);
        if !self.upstream.has_another(&self.tried) {
            if !declined && (!going || std::mem::replace(&mut self.seen_going, true)) {
                return Err(self.last(error, began));
            }
            tokio::time::sleep(PAUSE_FIRST).await;
            self.tried.clear();
        }
        self.exchange.attempt_failed(error.facts().reason, began);
        Ok(())
    }

    /// The failure of the last attempt. Where an answer from before it is the
    /// client's, nothing else tells of it.
    fn last(&mut self, error: ProxyError, began: Instant) -> ProxyError {
        if self.unfit.is_some() {
            self.exchange.attempt_failed(error.facts().reason, began);
        }
        error
    }

    fn verdict(&self, failed: retry::Failed) -> Verdict {
        retry::verdict(&retry::Attempt {
            failed,
            method: &self.request.parts.method,
            body: self.request.intake.replay(),
            sent: self.sent,
            elapsed: self.began.elapsed().saturating_sub(self.hold.total()),
        })
    }
}
