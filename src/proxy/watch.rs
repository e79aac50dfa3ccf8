//! The end of an exchange: when the answer's body has ended, or the client went.
//!
//! Exactly one access line is written for each exchange, here. A small answer
//! that is whole costs nothing more where requests are not logged.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::lasting::{self, Lasting, Led};
use super::{Peer, Tie, Tunnel};
use crate::body::{Body, BoxError};
use crate::error::ProxyError;
use crate::exchange::Exchange;
use crate::observe::access_log::AccessLog;
use crate::snapshot::Live;
use crate::upstream::client::download::Broken;
use crate::upstream::member::Lease;

/// Counts an exchange of a connection for as long as it lasts.
pub struct Busy(Rc<Tie>);

impl Busy {
    pub fn begin(tie: &Rc<Tie>) -> Self {
        tie.busy.set(tie.busy.get() + 1);
        tie.served.set(tie.served.get() + 1);
        Self(tie.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get() - 1);
    }
}

/// An exchange under way. Dropped, it is over: its line is written.
pub struct Watch {
    exchange: Option<Box<Exchange>>,
    log: Option<AccessLog>,
    /// Its place at the endpoint.
    pub(super) lease: Option<Lease>,
    _busy: Busy,
}

impl Watch {
    pub(super) fn begin(exchange: Exchange, log: Option<&AccessLog>, busy: Busy) -> Self {
        Self {
            exchange: Some(Box::new(exchange)),
            log: log.cloned(),
            lease: None,
            _busy: busy,
        }
    }

    pub fn exchange_mut(&mut self) -> &mut Exchange {
        self.exchange
            .as_mut()
            .expect("an exchange is watched until it is over")
    }

    /// Follows the answer to its end.
    pub(super) fn over(
        mut self,
        mut response: Response<Body>,
        peer: &Peer,
        live: &Live,
    ) -> Response<Body> {
        if let Some(wire) = peer.tie.switched.take() {
            let lasting = Lasting::begin(&peer.tie, self.led());
            // What led to the endpoint may be no more: it may have thought for long.
            lasting.judge(&live.current());
            peer.tie.tunnel.replace(Some(Tunnel {
                wire,
                watch: self,
                lasting,
            }));
            return response;
        }
        let at_hand = match response.body() {
            Body::Empty => Some(0),
            Body::Full(bytes) => Some(bytes.len() as u64),
            // Nothing of it is left to come.
            Body::Stream(stream) if stream.is_end_stream() => Some(0),
            Body::Stream(_) => None,
        };
        if at_hand == Some(0) {
            *response.body_mut() = Body::Empty;
        }
        if let Some(bytes) = at_hand {
            let exchange = self.exchange_mut();
            exchange.bytes_out = bytes;
            exchange.complete = true;
            return response;
        }
        let is_lasting = lasting::is_event_stream(&self.exchange_mut().method, response.headers());
        let lasting = is_lasting.then(|| Lasting::begin(&peer.tie, None));
        response.map(|body| {
            Body::stream(Watched {
                body,
                lasting,
                watch: self,
            })
        })
    }

    /// What led its request to its endpoint.
    fn led(&self) -> Option<Led> {
        Led::of(self.exchange.as_deref()?, self.lease.as_ref()?)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let (Some(exchange), Some(log)) = (self.exchange.take(), &self.log) {
            log.write(&exchange);
        }
    }
}

/// A body with the exchange that ends with it.
struct Watched {
    body: Body,
    /// There for one that never ends by itself.
    lasting: Option<Lasting>,
    watch: Watch,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(lasting) = &mut self.lasting
            && lasting.poll_leave(cx).is_ready()
        {
            // Whoever listens to events takes any end for one to come back after.
            self.watch.exchange_mut().complete = true;
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let ended = self.body.is_end_stream();
        let exchange = self.watch.exchange_mut();
        match &polled {
            Poll::Pending => {}
            Poll::Ready(None) => exchange.complete = true,
            Poll::Ready(Some(Ok(frame))) => {
                exchange.bytes_out += frame.data_ref().map_or(0, |data| data.len() as u64);
                exchange.complete = ended;
            }
            Poll::Ready(Some(Err(error))) => {
                let endpoint = exchange.endpoint.as_deref().unwrap_or_default().to_owned();
                let broken = match error.downcast_ref::<Broken>() {
                    // The endpoint had answered early, and the client broke off.
                    Some(Broken::Request(cause)) => {
                        ProxyError::BodyBroken(cause.to_string().into())
                    }
                    _ => ProxyError::ResponseBroken {
                        endpoint,
                        source: error.to_string().into(),
                    },
                };
                exchange.reason = Some(broken.facts().reason);
                exchange.detail = Some(broken.to_string());
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
