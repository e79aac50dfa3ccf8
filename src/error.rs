//! What can go wrong with an exchange, and the one table that says what it means.

use std::time::Duration;

use http::StatusCode;

use crate::body::BoxError;

/// Seconds after which it is worth asking a stopped site again: maintenance is
/// nothing of a second.
const MAINTENANCE_RETRY_S: u64 = 60;

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Client,
    Proxy,
    Upstream,
}

/// Why an exchange ended otherwise than with its endpoint's answer.
///
/// The text is for the log and for visitors from this machine; what a stranger
/// is told is [`Facts::sentence`].
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    // what the client sent
    #[error("the head of the request cannot be read: {0}")]
    BadHead(&'static str),
    #[error("the request is of HTTP/{0}, which is not spoken here in this form")]
    VersionRefused(char),
    #[error("the head of the request was not complete within {0:?}")]
    HeadTimedOut(Duration),
    #[error("the request names no host, or several")]
    HostCount,
    #[error("the host {0:?} is not a host name")]
    BadHost(String),
    #[error("the request names two hosts: {0:?} and {1:?}")]
    HostsDiffer(String, String),
    #[error("the request target holds a character that two readers read differently")]
    BadTarget,
    #[error("the path leads to one route or another, as it is read")]
    AmbiguousPath,
    #[error("the request target is {bytes} bytes long; the most is {max}")]
    TargetTooLong { bytes: usize, max: usize },
    #[error("the header is longer than {lines_max} lines or {bytes_max} bytes")]
    HeaderTooLarge { lines_max: usize, bytes_max: usize },
    #[error("the length of the request's body is given in two ways, or is no number")]
    BadLength,
    #[error("the transfer coding {0:?} is none that a proxy may read")]
    BadCoding(String),
    #[error("the transfer coding {0:?} is not implemented")]
    UnknownCoding(String),
    #[error("the expectation {0:?} is not known")]
    UnknownExpectation(String),
    #[error("the method {0} is not served")]
    MethodRefused(String),
    #[error("the body is larger than max_body, {max} bytes")]
    BodyTooLarge { max: u64 },
    #[error("the client sent nothing of its body for {0:?}")]
    BodyPaused(Duration),
    #[error("the client's body broke off")]
    BodyBroken(#[source] BoxError),
    #[error("the certificate that this connection was given does not cover {0}")]
    Misdirected(String),
    #[error("{0} is served over https only")]
    PlainRefused(String),
    #[error("no site has the name {0}, and there is no fallback")]
    NoSite(String),
    #[error("no route of {0} holds this path, and it has no endpoint of its own")]
    NoRoute(String),
    #[error(
        "the request has come through this hostmux before: the endpoint of {0} is hostmux itself"
    )]
    Loop(String),

    // what an endpoint did
    #[error("{endpoint} refused the connection, again and again for {:.1} s", waited.as_secs_f64())]
    Refused {
        endpoint: String,
        waited: Duration,
        #[source]
        source: BoxError,
    },
    #[error("{endpoint} did not accept a connection within {after:?}")]
    ConnectTimedOut { endpoint: String, after: Duration },
    #[error("{endpoint} could not be reached")]
    Unreachable {
        endpoint: String,
        #[source]
        source: BoxError,
    },
    #[error("{endpoint} showed a certificate that cannot be believed")]
    Certificate {
        endpoint: String,
        #[source]
        source: BoxError,
    },
    #[error("{endpoint} broke off the TLS handshake")]
    Handshake {
        endpoint: String,
        #[source]
        source: BoxError,
    },
    #[error("{endpoint} does not speak HTTP/2")]
    NotHttp2 {
        endpoint: String,
        #[source]
        source: BoxError,
    },
    #[error("{endpoint} speaks HTTP/2 alone, over which a WebSocket does not go to it")]
    NoUpgrade { endpoint: String },
    #[error("{endpoint} took no further stream within {after:?}")]
    StreamsUsedUp { endpoint: String, after: Duration },
    #[error("{endpoint} declined the request, again and again")]
    Declined {
        endpoint: String,
        #[source]
        source: BoxError,
    },
    #[error("{endpoint} did not begin its answer within {after:?}")]
    ResponseTimedOut { endpoint: String, after: Duration },
    #[error("{endpoint} closed the connection before it answered")]
    ResponseLost {
        endpoint: String,
        #[source]
        source: BoxError,
    },
    #[error("{endpoint} did not answer in HTTP: {source}")]
    ResponseMalformed {
        endpoint: String,
        #[source]
        source: BoxError,
    },
    #[error("{endpoint} broke off in the middle of its answer: {source}")]
    ResponseBroken {
        endpoint: String,
        #[source]
        source: BoxError,
    },
    #[error("{endpoint} did not switch to WebSocket: it answered {status}")]
    NotSwitched {
        endpoint: String,
        status: StatusCode,
    },
    #[error("the health check found {endpoint} down while it was asked")]
    FoundDown { endpoint: String },
    #[error(
        "{upstream} has no endpoint that takes requests, for {:.1} s already",
        waited.as_secs_f64()
    )]
    NoEndpoint { upstream: String, waited: Duration },
    #[error(
        "every endpoint of {upstream} has as many requests as `max_connections` allows, for {:.1} s already",
        waited.as_secs_f64()
    )]
    EndpointsFull { upstream: String, waited: Duration },
    #[error("{waiting} requests already wait for the endpoints of this site")]
    TooManyWaiting { waiting: usize },

    // what we were told
    #[error("{site} is paused, and the request waited for {:.1} s", waited.as_secs_f64())]
    Paused { site: String, waited: Duration },
    #[error("{site} is paused, and {waiting} requests wait for it already")]
    TooManyPaused { site: String, waiting: usize },
    #[error("{site} was stopped by hand")]
    Stopped {
        site: String,
        /// What its visitors are told.
        notice: Option<String>,
    },

    // what we could not do
    #[error(
        "no connection to {endpoint} could be opened: this machine's descriptors or ports are used up"
    )]
    Exhausted {
        endpoint: String,
        #[source]
        source: BoxError,
    },
    #[error("{site} is not served: config line {line}: {message}")]
    SiteBroken {
        site: String,
        line: usize,
        message: String,
    },
    #[error("hostmux itself failed over this request")]
    Panicked,
}

/// What a failure means to the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub status: StatusCode,
    /// One word, the same in page, log and metric; from RFC 9209 §2.3 where one fits.
    pub reason: &'static str,
    pub fault: Fault,
    /// What a stranger is told.
    pub sentence: &'static str,
    /// What would help; shown to visitors from this machine.
    pub help: &'static str,
}

impl ProxyError {
    /// The one table: no `_` arm, so that a new failure must be thought about.
    pub fn facts(&self) -> Facts {
        use Fault::{Client, Proxy, Upstream};
        let (status, reason, fault, sentence, help) = match self {
            Self::BadHead(_) => (
                StatusCode::BAD_REQUEST,
                "http_request_error",
                Client,
                "The request is not well formed.",
                "Send HTTP/1.1 as RFC 9112 has it: lines end in CRLF, and none is folded.",
            ),
            Self::VersionRefused(_) => (
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "http_protocol_error",
                Client,
                "This version of HTTP is not spoken here.",
                "Speak HTTP/1.1, or HTTP/2 over TLS (ALPN `h2`).",
            ),
            Self::HeadTimedOut(_) => (
                StatusCode::REQUEST_TIMEOUT,
                "connection_read_timeout",
                Client,
                "The head of the request did not come in time.",
                "Send the head at once; a slow link may need another try.",
            ),
            Self::HostCount | Self::BadHost(_) | Self::HostsDiffer(..) => (
                StatusCode::BAD_REQUEST,
                "http_request_error",
                Client,
                "The request does not name one host.",
                "Send one Host header with a name, and perhaps a port (RFC 9112 §3.2).",
            ),
            Self::BadTarget => (
                StatusCode::BAD_REQUEST,
                "http_request_error",
                Client,
                "The address of the request is not well formed.",
                "Encode a backslash as %5C; an encoded NUL (%00) is never served.",
            ),
            Self::AmbiguousPath => (
                StatusCode::BAD_REQUEST,
                "http_request_error",
                Client,
                "The address of the request can be read in two ways.",
                "Write a path without `%2F`, `%5C` or `;` where its route begins.",
            ),
            Self::TargetTooLong { .. } => (
                StatusCode::URI_TOO_LONG,
                "http_request_error",
                Client,
                "The address of the request is too long.",
                "Send what is long in the body.",
            ),
            Self::HeaderTooLarge { .. } => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "http_request_error",
                Client,
                "The header of the request is too large.",
                "Often it is cookies: delete those of this site.",
            ),
            Self::BadLength => (
                StatusCode::BAD_REQUEST,
                "http_request_error",
                Client,
                "The length of the request's body is not clear.",
                "Send one Content-Length, or Transfer-Encoding: chunked, never both (RFC 9112 §6.3).",
            ),
            Self::BadCoding(_) => (
                StatusCode::BAD_REQUEST,
                "http_request_error",
                Client,
                "The request's body is coded in a way that is not served.",
                "Send Transfer-Encoding: chunked once, over HTTP/1.1, or a Content-Length.",
            ),
            Self::UnknownCoding(_) => (
                StatusCode::NOT_IMPLEMENTED,
                "http_request_error",
                Client,
                "The request's body is coded in a way that is not served.",
                "Send Transfer-Encoding: chunked alone; compress with Content-Encoding.",
            ),
            Self::UnknownExpectation(_) => (
                StatusCode::EXPECTATION_FAILED,
                "http_request_error",
                Client,
                "The request expects what is not served.",
                "Only Expect: 100-continue is known (RFC 9110 §10.1.1).",
            ),
            Self::MethodRefused(_) => (
                StatusCode::METHOD_NOT_ALLOWED,
                "http_request_denied",
                Client,
                "This method is not served.",
                "CONNECT and TRACE are never passed on.",
            ),
            Self::BodyTooLarge { .. } => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "http_request_denied",
                Client,
                "The body of the request is too large.",
                "Raise `max_body` of the site in sites.yaml.",
            ),
            Self::BodyPaused(_) => (
                StatusCode::REQUEST_TIMEOUT,
                "connection_read_timeout",
                Client,
                "The body of the request did not come in time.",
                "Send the body without long pauses.",
            ),
            Self::BodyBroken(_) => (
                StatusCode::BAD_REQUEST,
                "http_request_error",
                Client,
                "The body of the request broke off.",
                "Send the body whole, as its Content-Length or its chunks say.",
            ),
            Self::Misdirected(_) => (
                StatusCode::MISDIRECTED_REQUEST,
                "http_request_denied",
                Client,
                "This connection was made for another name.",
                "Use one name in the URL and in Host (curl: --resolve, not -H Host); RFC 9110 §15.5.20.",
            ),
            Self::PlainRefused(_) => (
                StatusCode::FORBIDDEN,
                "http_request_denied",
                Client,
                "This site is served over https only.",
                "Use https://, or set `plain_http: redirect` for the site.",
            ),
            Self::NoSite(_) => (
                StatusCode::NOT_FOUND,
                "destination_not_found",
                Client,
                "hostmux answers here, but it has no site of this name.",
                "Add the name under `sites` in sites.yaml, or a `fallback` for all unknown names.",
            ),
            Self::NoRoute(_) => (
                StatusCode::NOT_FOUND,
                "destination_not_found",
                Client,
                "This site has nothing at this address.",
                "Give the site an `upstream` of its own, or a route that holds this path.",
            ),
            Self::Loop(_) => (
                StatusCode::LOOP_DETECTED,
                "proxy_loop_detected",
                Proxy,
                "This site leads back to itself.",
                "Point the site at its own server's port, not at one of hostmux's.",
            ),
            Self::Refused { .. } => (
                StatusCode::BAD_GATEWAY,
                "connection_refused",
                Upstream,
                "The server behind this site is not running.",
                "Start it, or correct the site's endpoint in sites.yaml.",
            ),
            Self::ConnectTimedOut { .. } => (
                StatusCode::GATEWAY_TIMEOUT,
                "connection_timeout",
                Upstream,
                "The server behind this site does not accept connections.",
                "See whether it hangs, or raise `connect_timeout`.",
            ),
            Self::Unreachable { .. } => (
                StatusCode::BAD_GATEWAY,
                "destination_unavailable",
                Upstream,
                "The server behind this site cannot be reached.",
                "Check the endpoint's address and the rights to it.",
            ),
            Self::Certificate { .. } => (
                StatusCode::BAD_GATEWAY,
                "tls_certificate_error",
                Upstream,
                "The server behind this site could not be verified.",
                "If its certificate is of a CA of your own or signed by itself, give that CA's or its own certificate with `tls: { ca: FILE }`; if it is for another name, say which with `tls: { name: NAME }`; if it has expired, renew it.",
            ),
            Self::Handshake { .. } => (
                StatusCode::BAD_GATEWAY,
                "tls_protocol_error",
                Upstream,
                "The server behind this site does not speak TLS as it should.",
                "See whether the port speaks TLS at all: `http://` or `h2c://` are for one that does not.",
            ),
            Self::NotHttp2 { .. } => (
                StatusCode::BAD_GATEWAY,
                "http_protocol_error",
                Upstream,
                "The server behind this site does not speak HTTP/2.",
                "`h2c://` is for HTTP/2 without TLS; leave it out for HTTP/1.1, or write `https://` for TLS.",
            ),
            Self::NoUpgrade { .. } => (
                StatusCode::BAD_GATEWAY,
                "http_upgrade_failed",
                Upstream,
                "The server behind this site takes no WebSockets.",
                "WebSockets go to endpoints that speak HTTP/1.1: give one without `h2c://`.",
            ),
            Self::StreamsUsedUp { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "connection_limit_reached",
                Upstream,
                "The server behind this site has too much to do.",
                "It limits the streams of a connection (SETTINGS_MAX_CONCURRENT_STREAMS), and all are in use: raise its limit.",
            ),
            Self::Declined { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "destination_unavailable",
                Upstream,
                "The server behind this site takes no requests at the moment.",
                "It refused the stream or went away (REFUSED_STREAM, GOAWAY): its own log may say why.",
            ),
            Self::ResponseTimedOut { .. } => (
                StatusCode::GATEWAY_TIMEOUT,
                "http_response_timeout",
                Upstream,
                "The server behind this site did not answer in time.",
                "See what it does so long, or raise `response_timeout`.",
            ),
            Self::ResponseLost { .. } => (
                StatusCode::BAD_GATEWAY,
                "connection_terminated",
                Upstream,
                "The server behind this site gave no answer.",
                "Its own log may say why. If it speaks TLS, write its endpoint as `https://`; HTTP/2 alone, `h2c://`.",
            ),
            Self::ResponseMalformed { .. } => (
                StatusCode::BAD_GATEWAY,
                "http_protocol_error",
                Upstream,
                "The server behind this site gave an answer that is not HTTP.",
                "If the port speaks TLS, write its endpoint as `https://`; HTTP/2 alone (gRPC), `h2c://`.",
            ),
            Self::ResponseBroken { .. } => (
                StatusCode::BAD_GATEWAY,
                "http_response_incomplete",
                Upstream,
                "The server behind this site broke off in the middle of its answer.",
                "Its own log may say why.",
            ),
            Self::NotSwitched { .. } => (
                StatusCode::BAD_GATEWAY,
                "http_upgrade_failed",
                Upstream,
                "The server behind this site does not speak WebSocket at this address.",
                "See whether the path is the one it serves WebSocket on.",
            ),
            Self::FoundDown { .. } => (
                StatusCode::GATEWAY_TIMEOUT,
                "destination_unavailable",
                Upstream,
                "The server behind this site does not answer.",
                "Its `health_check` fails: see its own log, and `hostmux status`.",
            ),
            Self::NoEndpoint { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "destination_unavailable",
                Upstream,
                "No server behind this site takes requests at the moment.",
                "`hostmux status` tells why: drained, without weight, removed, or a name without an address.",
            ),
            Self::EndpointsFull { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "connection_limit_reached",
                Upstream,
                "The server behind this site has too much to do.",
                "Raise `max_connections`, or add an endpoint.",
            ),
            Self::TooManyWaiting { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "destination_unavailable",
                Upstream,
                "No server behind this site takes requests at the moment, and many already wait.",
                "`hostmux status` tells why: start what does not run, and raise `max_connections` where all is in use.",
            ),
            Self::Paused { .. } | Self::TooManyPaused { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "destination_unavailable",
                Proxy,
                "This site pauses for a moment.",
                "`hostmux resume` with the site's name lets requests on.",
            ),
            Self::Stopped { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "destination_unavailable",
                Proxy,
                "This site is closed for maintenance.",
                "`hostmux resume` with the site's name opens it again.",
            ),
            Self::Exhausted { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "connection_limit_reached",
                Proxy,
                "This server has too much to do.",
                "Raise the limit of open files (LimitNOFILE in systemd, ulimit -n).",
            ),
            Self::SiteBroken { .. } => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "proxy_configuration_error",
                Proxy,
                "The configuration of this site has a fault.",
                "`hostmux check` shows the fault; once sites.yaml is right, the site is served again.",
            ),
            Self::Panicked => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "proxy_internal_error",
                Proxy,
                "This server made a mistake.",
                "This is a bug in hostmux: please report it with the request id.",
            ),
        };
        Facts {
            status,
            reason,
            fault,
            sentence,
            help,
        }
    }

    /// Seconds after which a client may try again, where that can help.
    pub fn retry_after(&self) -> Option<u64> {
        if matches!(self, Self::Stopped { .. }) {
            return Some(MAINTENANCE_RETRY_S);
        }
        matches!(self.facts().status, StatusCode::SERVICE_UNAVAILABLE).then_some(1)
    }

    /// What whoever runs the site has to say to its visitors.
    pub fn notice(&self) -> Option<&str> {
        let Self::Stopped { notice, .. } = self else {
            return None;
        };
        notice.as_deref()
    }

    /// Whether the connection must end with this answer: what follows on it
    /// could be read in two ways.
    pub fn closes(&self) -> bool {
        self.facts().fault == Fault::Client
            && !matches!(
                self,
                Self::NoSite(_) | Self::NoRoute(_) | Self::PlainRefused(_)
            )
    }
}
