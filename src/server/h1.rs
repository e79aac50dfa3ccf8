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
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};

use self::head::Head;
use self::inbound::{Inbound, RequestBody};
use self::outbound::{Reader, Sending, Sent};
use super::clocks::{HEAD_TIMEOUT, Struck};
use super::connection::{self, Driver, Ended};
use super::transport::Io;
use super::tunnel::{self, End};
use crate::body::Body;
use crate::error::ProxyError;
use crate::exchange::{Interim, TakesInterim};
use crate::framing::Framing;
use crate::proxy::{Peer, strict};
use crate::rt::clock::Wait;

/// How much of a request is still read once its answer is whole.
const REST_BYTES_MAX: usize = 64 * 1024;
/// And for how long.
const REST_TIMEOUT: Duration = Duration::from_secs(2);

type Exchange = Pin<Box<dyn Future<Output = Response<Body>>>>;

/// Serves a connection to its end.
pub(super) async fn serve(driver: Driver, peer: Rc<Peer>) {
    peer.tie.flow.set_alone();
    let inbound = Rc::new(RefCell::new(Inbound::new(driver.io.clone())));
    let mut connection = Connection {
        hints: Rc::new(Hints(driver.io.clone())),
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
                let io = connection.driver.io.clone();
                if tunnel::run(io, early, *tunnel).await == End::Told {
                    connection::close(connection.driver).await;
                }
                return;
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
    hints: Rc<dyn TakesInterim>,
}

/// Takes interim answers for as long as the client takes what it is sent.
struct Hints(Io);

impl TakesInterim for Hints {
    fn take(&self, status: StatusCode, headers: HeaderMap) {
        let mut transport = self.0.0.borrow_mut();
        if !transport.is_full() {
            // That the client is gone is met again with the answer.
            let _ = transport.put(&outbound::interim(status, &headers));
        }
    }
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
                    if driver.worker.is_draining() {
                        driver.end_soon();
                    }
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
        let io = self.driver.io.clone();
        self.turn(move |cx| {
            // A client that asks and does not read waits for itself, and one
            // that asks without a pause leaves the thread to others.
            if io.0.borrow().is_blocked() {
                return Poll::Pending;
            }
            if io.0.borrow().is_full() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let polled = inbound.borrow_mut().poll_head(cx);
            polled.map(|head| head.unwrap_or_default())
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
        self.exchange(Head::unread(ProxyError::HeadTimedOut(HEAD_TIMEOUT)))
            .await
    }

    /// Answers one request.
    async fn exchange(&mut self, head: Head) -> Result<Next, Ended> {
        let reader = Reader {
            head_only: head.parts.method == Method::HEAD,
            reads_chunks: head.parts.version != Version::HTTP_10,
        };
        let (serving, keeps_alive) = self.begin(head);
        let Some(mut response) = self.response(serving).await? else {
            return Ok(Next::Cut);
        };
        let framing = outbound::framing(&response, reader);
        let tunnel = self.peer.tie.tunnel.take();
        let goes_on = keeps_alive && self.goes_on(&response, framing);
        let connection = match (&tunnel, goes_on) {
            (Some(_), _) => "upgrade",
            (None, false) => "close",
            (None, true) if !reader.reads_chunks => "keep-alive",
            (None, true) => "",
        };
        let head = outbound::head(&response, framing, connection);
        let body = std::mem::take(response.body_mut());
        match (self.send(head, body, framing).await?, tunnel) {
            (Sent::Broken, _) => {
                // Bytes that end with the connection look whole unless it breaks.
                let abrupt = framing == Some(Framing::UntilClose);
                self.driver.cut(abrupt).await;
                Ok(Next::Cut)
            }
            (Sent::Whole, Some(tunnel)) => Ok(Next::Tunnel(Box::new(tunnel))),
            (Sent::Whole, None) if goes_on && !self.is_over() && self.rest().await? => {
                Ok(Next::Request)
            }
            (Sent::Whole, None) => Ok(Next::Close),
        }
    }

    /// Begins a request's exchange; and whether its connection may go on behind it.
    fn begin(&mut self, head: Head) -> (Exchange, bool) {
        let Head { parts, fault } = head;
        if fault.is_some() {
            self.driver.worker.noise.request();
        }
        // What is wrong with the framing is found again, and told, when the request is admitted.
        let framing = match strict::framing(&parts) {
            Ok(framing) if fault.is_none() => Some(framing),
            _ => None,
        };
        self.inbound.borrow_mut().begin(
            framing.unwrap_or(Framing::Length(0)),
            strict::expects_continue(&parts),
        );
        let keeps_alive = framing.is_some() && head::keeps_alive(&parts);
        let body = match self.inbound.borrow().is_ended() {
            true => Body::Empty,
            false => Body::stream(RequestBody(self.inbound.clone())),
        };
        let request = Request::from_parts(parts, body);
        (self.serving(request, fault), keeps_alive)
    }

    /// Whether the connection goes on behind this answer, which begins now.
    fn goes_on(&self, response: &Response<Body>, framing: Option<Framing>) -> bool {
        let mut inbound = self.inbound.borrow_mut();
        // RFC 9110 §10.1.1: a client that still waits for a 100 may send its
        // body or not.
        let unsure = inbound.answer_begins();
        let streams = matches!(response.body(), Body::Stream(_));
        if !streams {
            // Nobody will read what is left of the request; often it is there already.
            inbound.skip();
        }
        !unsure
            && (streams || inbound.is_ended())
            && framing != Some(Framing::UntilClose)
            && !says_close(response.headers())
            && !self.driver.worker.is_ending()
    }

    /// Whether the process ends so soon that no other request is waited for.
    fn is_over(&self) -> bool {
        self.peer.tie.lasting.is_leaving()
    }

    /// Reads what is left of a request whose answer is whole; whether it has
    /// ended, so that another may follow.
    async fn rest(&mut self) -> Result<bool, Ended> {
        let inbound = self.inbound.clone();
        let mut wait = Wait::of(REST_TIMEOUT);
        let mut left_bytes = REST_BYTES_MAX;
        self.turn(move |cx| {
            while !inbound.borrow().is_ended() {
                match inbound.borrow_mut().poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        let bytes = frame.data_ref().map_or(0, |data| data.len());
                        match left_bytes.checked_sub(bytes) {
                            Some(left) => left_bytes = left,
                            None => return Poll::Ready(false),
                        }
                    }
                    Poll::Ready(Some(Err(_)) | None) => break,
                    Poll::Pending => return Pin::new(&mut wait).poll(cx).map(|()| false),
                }
            }
            Poll::Ready(inbound.borrow().is_ended())
        })
        .await
    }

    /// The exchange, as the proxy answers it.
    fn serving(&self, request: Request<Body>, fault: Option<ProxyError>) -> Exchange {
        let proxy = self.driver.worker.proxy.clone();
        let peer = self.peer.clone();
        // RFC 9110 §15.2: HTTP/1.0 knows no interim answers.
        let hints = (request.version() != Version::HTTP_10).then(|| self.hints.clone());
        let interim = Interim::to(hints);
        Box::pin(async move { proxy.serve(&peer, request, fault, interim).await })
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
