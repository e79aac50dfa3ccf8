//! One request: from its head to the answer that ends it.
//!
//! [`Proxy::serve`] is the outer ring: it never fails, an error becomes its
//! response there and nowhere else. `Proxy::answer` is the inner ring, top
//! to bottom: admit, find the site, forward.

mod failure;
mod forward;
pub mod gate;
mod grpc;
mod guard;
pub mod headers;
mod hold;
pub mod intake;
pub mod lasting;
mod lookout;
pub mod origin;
mod prefix;
pub mod reply;
mod respond;
pub mod retry;
pub mod strict;
mod told;
mod watch;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::{
    CONTENT_LENGTH, DATE, HOST, LOCATION, REFERER, STRICT_TRANSPORT_SECURITY, USER_AGENT,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};

use self::intake::Intake;
use self::lasting::{Lasting, Lastings};
use self::origin::Origin;
use self::reply::Form;
use self::strict::Admitted;
use crate::body::Body;
use crate::config::{PlainHttp, Redirect};
use crate::error::ProxyError;
use crate::exchange::{Agent, Exchange, Interim, RequestId};
use crate::observe::access_log::AccessLog;
use crate::path::spelling::Ambiguous;
use crate::rt::{self, flow::Flow};
use crate::site::{Site, Target};
use crate::snapshot::{Live, Snapshot};
use crate::tls;
use crate::upstream::client::wire::Wire;

pub use self::watch::{Busy, Watch};

/// The most requests that wait for one upstream's endpoints, and the most that
/// wait for one paused site: each keeps a connection or a stream, and no more
/// of its body than is kept for another attempt.
pub const HELD_MAX: usize = 1024;

/// How long an answer may pause between two bytes.
const PAUSE_MAX: Duration = Duration::from_secs(300);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Who is at the other end of a client's connection. One a connection.
pub struct Peer {
    pub address: SocketAddr,
    /// Over TLS.
    pub secure: bool,
    /// What the client was shown in its handshake.
    pub chosen: Option<tls::Chosen>,
    pub tie: Rc<Tie>,
}

/// What a connection and its exchanges tell each other.
#[derive(Default)]
pub struct Tie {
    /// Exchanges that have begun and not ended.
    pub busy: Cell<u32>,
    /// Exchanges that have begun, ever.
    pub served: Cell<u64>,
    /// The thread knows whom to wake for a drain.
    pub known: Cell<bool>,
    /// Whether the client keeps up.
    pub flow: Flow,
    /// The endpoint's connection behind a 101 that is being answered.
    switched: RefCell<Option<Box<Wire>>>,
    /// After a 101: what the connection (or stream) becomes behind its answer.
    pub tunnel: RefCell<Option<Tunnel>>,
    /// Exchanges under way that never end by themselves.
    pub lasting: Lastings,
}

impl Tie {
    /// Whether all that is under way, and something is, never ends by itself.
    pub fn only_lasts(&self) -> bool {
        let busy = self.busy.get() as usize;
        busy > 0 && busy == self.lasting.count()
    }

    /// Gives up what was to become a tunnel, if anything.
    pub fn abandon(&self) {
        // Taken first, dropped then: their ends may look at the tie.
        let (tunnel, switched) = (self.tunnel.take(), self.switched.take());
        drop((tunnel, switched));
    }
}

/// The endpoint's side of an upgraded connection, and its exchange, which ends with it.
pub struct Tunnel {
    pub wire: Box<Wire>,
    pub watch: Watch,
    pub lasting: Lasting,
}

/// What answers requests. Outlives snapshots; one a process, shared by all threads.
pub struct Proxy {
    live: Live,
    /// How this hostmux calls itself in `Via`, told from all others.
    via: String,
    access_log: Option<AccessLog>,
}

impl Proxy {
    pub fn new(snapshot: Snapshot, access_log: Option<AccessLog>) -> Self {
        Self {
            live: Live::new(snapshot),
            via: format!("hostmux-{:08x}", rt::random() as u32),
            access_log,
        }
    }

    pub fn live(&self) -> &Live {
        &self.live
    }

    pub fn access_log(&self) -> Option<&AccessLog> {
        self.access_log.as_ref()
    }

    /// Answers one request. Never fails. Dropping the future gives the request up.
    ///
    /// `fault`: what was found wrong with it while it was read.
    pub async fn serve(
        &self,
        peer: &Peer,
        request: Request<Body>,
        fault: Option<ProxyError>,
        interim: Interim,
    ) -> Response<Body> {
        let busy = Busy::begin(&peer.tie);
        let snapshot = self.live.current();
        let (parts, body) = request.into_parts();
        let origin = Origin::of(
            peer.address.ip(),
            peer.secure,
            &parts.headers,
            &snapshot.trusted_proxies,
        );
        let mut watch = Watch::begin(
            self.exchange(&snapshot, &origin, &parts),
            self.access_log.as_ref(),
            busy,
        );
        let answered = match fault {
            Some(fault) => Some(Err(fault)),
            None => {
                let asked = Asked {
                    parts: &parts,
                    origin: &origin,
                    peer,
                    interim: &interim,
                };
                guard::catch_panic(self.answer(&snapshot, &mut watch, asked, body)).await
            }
        };
        let exchange = watch.exchange_mut();
        let mut response = match answered.unwrap_or(Err(ProxyError::Panicked)) {
            Ok(response) => response,
            Err(error) => {
                exchange.reason = Some(error.facts().reason);
                exchange.detail = Some(reply::detail(&error));
                reply::to(&error, exchange, Form::wanted(&parts.headers))
            }
        };
        exchange.status = Some(response.status());
        if parts.method == Method::HEAD {
            without_body(&mut response);
        }
        if let Ok(id) = HeaderValue::from_str(exchange.id.as_str()) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        // RFC 9110 §6.6.1: whoever forwards an answer without a date adds one.
        let date = rt::date::of(watch.exchange_mut().at);
        response.headers_mut().entry(DATE).or_insert(date);
        watch.over(response, peer, &self.live)
    }

    fn exchange(&self, snapshot: &Snapshot, origin: &Origin, parts: &Parts) -> Exchange {
        let at = SystemTime::now();
        let given = match origin.trusted {
            true => parts
                .headers
                .get(REQUEST_ID)
                .and_then(|value| RequestId::given(value.to_str().ok()?)),
            false => None,
        };
        let text = |name: HeaderName| {
            parts.headers.get(name).map_or_else(String::new, |value| {
                String::from_utf8_lossy(value.as_bytes()).into()
            })
        };
        Exchange {
            id: given.unwrap_or_else(|| {
                let since_epoch = at
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap_or_default();
                RequestId::new(since_epoch, rt::random())
            }),
            started: Instant::now(),
            at,
            client: origin.client,
            secure: origin.secure,
            version: parts.version,
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            host: parts.headers.get(HOST).cloned(),
            agent: snapshot.log_agents.then(|| {
                Arc::new(Agent {
                    user_agent: text(USER_AGENT),
                    referer: text(REFERER),
                })
            }),
            site: None,
            route: None,
            endpoint: None,
            attempts: 0,
            failed_attempts: Vec::new(),
            not_retried: None,
            status: None,
            reason: None,
            detail: None,
            bytes_in: None,
            bytes_out: 0,
            complete: false,
        }
    }

    async fn answer(
        &self,
        snapshot: &Snapshot,
        watch: &mut Watch,
        asked: Asked<'_>,
        body: Body,
    ) -> Result<Response<Body>, ProxyError> {
        let Asked {
            parts,
            origin,
            peer,
            interim,
        } = asked;
        let exchange = watch.exchange_mut();
        let admitted = strict::admit(parts)?;
        let name = admitted.authority.name.as_ref();
        let mut snapshot = snapshot;
        let after_pause;
        let mut site = self.site(snapshot, peer, name)?;
        exchange.site = Some(site.name.clone());
        if site.gate.is_shut() {
            gate::pass(site).await?;
            // Who pauses a site changes it meanwhile: what it is now holds.
            after_pause = self.live.current();
            snapshot = &after_pause;
            site = self.site(snapshot, peer, name)?;
        }
        if headers::has_passed(&parts.headers, &self.via) {
            return Err(ProxyError::Loop(site.name.to_string()));
        }
        let (route, path) = site
            .find(parts.uri.path())
            .map_err(|Ambiguous| ProxyError::AmbiguousPath)?
            .ok_or_else(|| nothing_at(site))?;
        exchange.route = (!route.prefix.is_root()).then(|| route.prefix.clone());
        if !origin.secure {
            match route.plain_http {
                PlainHttp::Serve => {}
                PlainHttp::Redirect => return Ok(to_https(&admitted, parts, snapshot.https_port)),
                PlainHttp::Refuse => return Err(ProxyError::PlainRefused(name.to_owned())),
            }
        }
        let mut response = match &route.target {
            Target::Redirect(redirect) => redirected(redirect, parts),
            Target::Upstream(upstream) => {
                let intake = declared(parts, route.max_body).map(|()| {
                    Intake::new(
                        body,
                        route.max_body,
                        parts.method.is_idempotent() || upstream.may_decline(),
                    )
                })?;
                let request = forward::Request {
                    parts,
                    path: (path != parts.uri.path()).then_some(&*path),
                    admitted: &admitted,
                    origin,
                    intake,
                    via: &self.via,
                    peer,
                    interim,
                };
                let forwarded = forward::forward(route, upstream, exchange, &request).await?;
                switched(&forwarded.response, parts, exchange)?;
                watch.lease = Some(forwarded.lease);
                forwarded.response
            }
        };
        if let Some(hsts) = &route.hsts
            && origin.secure
        {
            response
                .headers_mut()
                .insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
        Ok(response)
    }

    /// The site of a name; 421 where the connection was made for another.
    fn site<'s>(
        &self,
        snapshot: &'s Snapshot,
        peer: &Peer,
        name: &str,
    ) -> Result<&'s Site, ProxyError> {
        let Some(site) = snapshot.sites.get(name) else {
            return match &snapshot.fallback {
                Some(fallback) => Ok(fallback),
                None => Err(ProxyError::NoSite(name.to_owned())),
            };
        };
        // RFC 9110 §15.5.20: a browser may use one connection for all names its certificate covers.
        match &peer.chosen {
            Some(chosen)
                if chosen.server_name.as_deref() != Some(name) && !chosen.identity.covers(name) =>
            {
                Err(ProxyError::Misdirected(name.to_owned()))
            }
            _ => Ok(site),
        }
    }
}

/// A request's head, and who asks.
#[derive(Clone, Copy)]
struct Asked<'a> {
    parts: &'a Parts,
    origin: &'a Origin,
    peer: &'a Peer,
    interim: &'a Interim,
}

/// Over HTTP/2 any success is a handshake accepted (RFC 8441 §5); an endpoint
/// that answers otherwise than with 101 has accepted none.
fn switched(
    response: &Response<Body>,
    parts: &Parts,
    exchange: &Exchange,
) -> Result<(), ProxyError> {
    let asked = parts.version == Version::HTTP_2 && headers::asks_websocket(parts);
    if asked && response.status().is_success() {
        return Err(ProxyError::NotSwitched {
            endpoint: exchange.endpoint.as_deref().unwrap_or_default().to_owned(),
            status: response.status(),
        });
    }
    Ok(())
}

/// Takes the body off an answer and tells its length (RFC 9110 §9.3.2).
fn without_body(response: &mut Response<Body>) {
    if let Body::Full(bytes) = std::mem::take(response.body_mut()) {
        let length = HeaderValue::from(bytes.len());
        response
            .headers_mut()
            .entry(CONTENT_LENGTH)
            .or_insert(length);
    }
}

/// A length that is over the site's bound is refused before the body is read.
fn declared(parts: &Parts, max_body: Option<u64>) -> Result<(), ProxyError> {
    let length = content_length(&parts.headers);
    match (max_body, length) {
        (Some(max), Some(length)) if length > max => Err(ProxyError::BodyTooLarge { max }),
        _ => Ok(()),
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Why no route of a site holds a path.
fn nothing_at(site: &Site) -> ProxyError {
    let name = site.name.to_string();
    match &site.broken {
        None => ProxyError::NoRoute(name),
        Some(broken) => ProxyError::SiteBroken {
            site: name,
            line: broken.line,
            message: broken.message.clone(),
        },
    }
}

/// 308 keeps method, path and query (RFC 9110 §15.4.9).
fn to_https(admitted: &Admitted<'_>, parts: &Parts, https_port: u16) -> Response<Body> {
    let port = if https_port == 443 {
        String::new()
    } else {
        format!(":{https_port}")
    };
    let path = location_path(parts);
    permanent(&format!("https://{}{port}{path}", admitted.authority.name))
}

fn redirected(redirect: &Redirect, parts: &Parts) -> Response<Body> {
    permanent(&redirect.template.replace("{path}", &location_path(parts)))
}

/// Path and query behind a host in `Location`: `OPTIONS *` has no path to go to.
fn location_path(parts: &Parts) -> Cow<'_, str> {
    match headers::origin_form(&parts.uri) {
        path if path == "*" => "/".into(),
        path => path,
    }
}

fn permanent(location: &str) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}
