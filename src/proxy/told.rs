//! What an attempt tells its endpoint: the head, and how the body goes.

use std::borrow::Cow;

use super::PAUSE_MAX;
use super::content_length;
use super::forward::Request;
use super::headers::{self, Outgoing};
use crate::config::HostHeader;
use crate::error::ProxyError;
use crate::exchange::Exchange;
use crate::framing::Framing;
use crate::site::Route;
use crate::upstream::client::Outbound;
use crate::upstream::client::wire::Offer;
use crate::upstream::{Endpoint, Upstream};

/// A request for an upgrade goes over HTTP/1.1.
pub(super) fn offer(request: &Request<'_>) -> Offer {
    match upgrades(request) {
        true => Offer::Http1,
        false => Offer::Any,
    }
}

/// What an attempt tells its endpoint.
pub(super) struct Told<'a> {
    pub(super) route: &'a Route,
    pub(super) upstream: &'a Upstream,
    pub(super) endpoint: &'a Endpoint,
    pub(super) exchange: &'a Exchange,
    pub(super) request: &'a Request<'a>,
}

impl Told<'_> {
    /// For HTTP/1.1.
    pub(super) fn as_lines(&self) -> (Vec<u8>, Outbound) {
        let host = self.host();
        let outgoing = self.outgoing(&host);
        (headers::request_head(&outgoing), self.outbound(&outgoing))
    }

    /// For HTTP/2.
    pub(super) fn as_fields(&self) -> Result<(http::Request<()>, Outbound), ProxyError> {
        let host = self.host();
        let outgoing = self.outgoing(&host);
        let head = headers::request_fields(&outgoing, self.endpoint.protocol.scheme())
            .ok_or_else(|| ProxyError::BadHost(host.to_string()))?;
        Ok((head, self.outbound(&outgoing)))
    }

    fn host(&self) -> Cow<'_, str> {
        match &self.route.host {
            HostHeader::Preserve => self.request.admitted.host.into(),
            HostHeader::Name(name) => name.into(),
            HostHeader::Endpoint => self.endpoint.host().into(),
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
            path: request.path,
            prefix: self.route.strip_prefix.then_some(&self.route.prefix),
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
