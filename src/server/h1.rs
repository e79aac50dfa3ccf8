//! HTTP/1 as clients speak it: one exchange after another on one connection
//! (RFC 9112).
//!
//! Everything runs in the connection's own task: the exchange's future, the
//! request's body, and the answer's. Messages are framed anew on their way;
//! no byte of framing of one side reaches the other.

pub mod head;
mod inbound;
mod outbound;

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};

use self::head::Head;
use self::inbound::{Inbound, RequestBody};
use self::outbound::{Asked, Sending, Sent};
use super::clocks::{HEAD_TIMEOUT, Struck};
use super::connection::{self, Driver, Ended};
use super::tunnel;
use crate::body::Body;
use crate::error::ProxyError;
use crate::exchange::Interim;
use crate::framing::Framing;
use crate::proxy::{Peer, strict};

type Exchange = Pin<Box<dyn Future<Output = Response<Body>>>>;

/// Serves a connection to its end.
pub(super) async fn serve(driver: Driver, peer: Rc<Peer>) {
    peer.tie.flow.set_alone();
    let inbound = Rc::new(RefCell::new(Inbound::new(driver.io.clone())));
    let mut connection = Connection {
        driver,
        peer,
        inbound,
    };
    loop {
        let next = match connection.head().await {
            Ok(Some(head)) => connection.exchange(head).await,
            Ok(None) => Ok(Next::Close),
            Err(Ended::Struck(Struck::Head)) => connection.late().await,
            Err(Ended::Struck(Struck::Idle)) => Ok(Next::Close),
            Err(ended) => Err(ended),
        };
        match next {
            Ok(Next::Request) => {}
            Ok(Next::Close) => return connection::close(connection.driver).await,
            Ok(Next::Tunnel(tunnel)) => {
                let early = connection.inbound.borrow_mut().take_received();
                return tunnel::run(connection.driver.io.clone(), early, *tunnel).await;
            }
            // The client is gone, or must see that its answer is not whole.
            Ok(Next::Cut) | Err(_) => return,
        }
    }
}

/// What comes after an exchange.
enum Next {
    Request,
    Close,
    /// Not even a goodbye: the answer is not whole.
    Cut,
    Tunnel(Box<crate::proxy::Tunnel>),
}

struct Connection {
    driver: Driver,
    peer: Rc<Peer>,
    inbound: Rc<RefCell<Inbound>>,
}

impl Connection {
    /// Polls what the connection waits for, with all that a wake-up brings.
    async fn turn<T>(
        &mut self,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Ended> {
        let inbound = &self.inbound;
        let driver = &mut self.driver;
        std::future::poll_fn(|cx| {
            driver.before(cx);
            match poll(cx) {
                Poll::Ready(ready) => Poll::Ready(Ok(ready)),
                Poll::Pending => {
                    let begun = inbound.borrow().has_begun();
                    driver.after(cx, begun).map(Err)
                }
            }
        })
        .await
    }

    /// The next request's head; `None` when there is none to come.
    async fn head(&mut self) -> Result<Option<Head>, Ended> {
        let inbound = self.inbound.clone();
        let worker = self.driver.worker.clone();
        self.turn(move |cx| {
            let mut inbound = inbound.borrow_mut();
            match inbound.poll_head(cx) {
                Poll::Ready(Ok(head)) => Poll::Ready(head),
                Poll::Ready(Err(_)) => Poll::Ready(None),
                // What has arrived is read first; a head that was begun is waited for.
                Poll::Pending if worker.is_draining() && !inbound.has_begun() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// The head did not come in time: RFC 9110 §15.5.9.
    async fn late(&mut self) -> Result<Next, Ended> {
        self.driver.worker.noise.head();
        // A client that takes nothing is not told.
        if self.driver.io.0.borrow().is_blocked() {
            return Ok(Next::Cut);
        }
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.uri = Uri::from_static("*");
        parts.method = Method::from_bytes(b"-").unwrap_or_default();
        let fault = Some(ProxyError::HeadTimedOut(HEAD_TIMEOUT));
        self.exchange(Head { parts, fault }).await
    }

    /// Answers one request.
    async fn exchange(&mut self, head: Head) -> Result<Next, Ended> {
        let Head { parts, fault } = head;
        let faulty = fault.is_some();
        // What is wrong with the framing is found again, and told, when the request is admitted.
        let framing = match strict::framing(&parts) {
            Ok(framing) if !faulty => Some(framing),
            _ => None,
        };
        if faulty {
            self.driver.worker.noise.request();
        }
        self.inbound.borrow_mut().begin(
            framing.unwrap_or(Framing::Length(0)),
            strict::expects_continue(&parts),
        );
        let asked = Asked {
            head_only: parts.method == Method::HEAD,
            reads_chunks: parts.version != Version::HTTP_10,
        };
        let version = parts.version;
        let keeps = framing.is_some() && head::keeps_alive(&parts);

        let body = match self.inbound.borrow().is_ended() {
            true => Body::Empty,
            false => Body::stream(RequestBody(self.inbound.clone())),
        };
        let serving = self.serving(Request::from_parts(parts, body), fault);
        let Some(mut response) = self.response(serving).await? else {
            return Ok(Next::Cut);
        };
        let tunnel = self.peer.tie.tunnel.take();
        let framing = outbound::framing(&response, asked);
        if tunnel.is_none() && !matches!(response.body(), Body::Stream(_)) {
            // Nobody will read what is left of the request; often it is there already.
            self.inbound.borrow_mut().skip();
        }
        let whole = self.inbound.borrow().is_ended() || matches!(response.body(), Body::Stream(_));
        let goes_on = keeps
            && whole
            && framing != Some(Framing::UntilClose)
            && !says_close(response.headers())
            && !self.driver.worker.is_ending();
        let connection = match (&tunnel, goes_on) {
            (Some(_), _) => "upgrade",
            (None, false) => "close",
            (None, true) if version == Version::HTTP_10 => "keep-alive",
            (None, true) => "",
        };
        let head = outbound::head(&response, framing, connection);
        let body = std::mem::take(response.body_mut());
        let sent = self.send(head, body, framing).await?;
        match (sent, tunnel) {
            (Sent::Broken, _) => {
                // Bytes that end with the connection look whole unless it breaks.
                let abrupt = framing == Some(Framing::UntilClose);
                self.driver.cut(abrupt).await;
                Ok(Next::Cut)
            }
            (Sent::Whole, Some(tunnel)) => Ok(Next::Tunnel(Box::new(tunnel))),
            (Sent::Whole, None) if goes_on && self.inbound.borrow().is_ended() => Ok(Next::Request),
            (Sent::Whole, None) => Ok(Next::Close),
        }
    }

    /// The exchange, as the proxy answers it.
    fn serving(&self, request: Request<Body>, fault: Option<ProxyError>) -> Exchange {
        let proxy = self.driver.worker.proxy.clone();
        let peer = self.peer.clone();
        let interim = self.interim(request.version());
        Box::pin(async move { proxy.serve(&peer, request, fault, interim).await })
    }

    /// Interim answers go out at once, where the client knows them (RFC 9110
    /// §15.2) and takes what it is sent: they are hints, and never waited for.
    fn interim(&self, version: Version) -> Interim {
        if version == Version::HTTP_10 {
            return Interim::default();
        }
        let io = self.driver.io.clone();
        Interim::to(move |status: StatusCode, headers: HeaderMap| {
            let mut transport = io.0.borrow_mut();
            if !transport.is_full() {
                // That the client is gone is met again with the answer.
                let _ = transport.put(&outbound::interim(status, &headers));
            }
        })
    }

    /// The answer; `None` if the client went before it came.
    async fn response(&mut self, mut serving: Exchange) -> Result<Option<Response<Body>>, Ended> {
        let inbound = self.inbound.clone();
        self.turn(move |cx| {
            if let Poll::Ready(response) = serving.as_mut().poll(cx) {
                return Poll::Ready(Some(response));
            }
            inbound.borrow_mut().poll_gone(cx).map(|()| None)
        })
        .await
    }

    /// Sends head and body; what is left of them leaves with the next wake-up's send.
    async fn send(
        &mut self,
        head: Vec<u8>,
        body: Body,
        framing: Option<Framing>,
    ) -> Result<Sent, Ended> {
        let io = self.driver.io.clone();
        let inbound = self.inbound.clone();
        let mut head = Some(head);
        let mut sending = framing.map(|framing| Sending::new(body, framing));
        let sent = self
            .turn(move |cx| {
                if let Some(bytes) = head.take() {
                    if io.0.borrow().is_blocked() {
                        // A client that sends requests and takes no answers waits for itself.
                        head = Some(bytes);
                        return Poll::Pending;
                    }
                    io.0.borrow_mut().put(&bytes)?;
                }
                let Some(sending) = &mut sending else {
                    return Poll::Ready(Ok(Sent::Whole));
                };
                let sent = sending.poll(cx, &io.0);
                if sent.is_pending() && inbound.borrow_mut().poll_gone(cx).is_ready() {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                }
                sent
            })
            .await?;
        sent.map_err(|_| Ended::Gone)
    }
}

/// Whether the proxy wants the connection to end with this answer.
fn says_close(headers: &HeaderMap) -> bool {
    headers
        .get(CONNECTION)
        .is_some_and(|value| value == HeaderValue::from_static("close"))
}
