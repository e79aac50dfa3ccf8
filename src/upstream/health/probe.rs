//! A probe: one question to an endpoint, and what comes of it.

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Method, Request, Uri};
use http_body::Body as HttpBody;
use tokio::time::{Instant, timeout_at};

use super::HealthCheck;
use super::count::Word;
use crate::body::Body;
use crate::exchange::Interim;
use crate::framing::Framing;
use crate::rt::flow::Flow;
use crate::upstream::Endpoint;
use crate::upstream::client::wire::ConnectError;
use crate::upstream::client::{self, Answer, AnswerBody, Carrier, Failure, Outbound, mux};

/// How a probe calls itself, so that endpoints can leave it out of their logs.
const AGENT: &str = "hostmux-health-check";
/// How much of an answer's body is read, and thrown away: an endpoint that can
/// send its small answer whole sees no connection break.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What an endpoint was found to be, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) word: Word,
    pub(super) why: String,
}

impl Found {
    fn up(why: impl Into<String>) -> Self {
        let why = why.into();
        Self {
            word: Word::Up,
            why,
        }
    }

    fn down(why: impl Into<String>) -> Self {
        let why = why.into();
        Self {
            word: Word::Down,
            why,
        }
    }
}

/// Asks once, within `timeout`. `None`: it could not be asked, through no
/// fault of its own.
///
/// Dropping the future closes its connection.
pub(super) async fn probe(endpoint: &Arc<Endpoint>, check: &HealthCheck) -> Option<Found> {
    let until = Instant::now() + check.timeout;
    let carrier = match timeout_at(until, client::connect_once(endpoint)).await {
        Ok(Ok(carrier)) => carrier,
        Ok(Err(ConnectError::Exhausted(_))) => return None,
        Ok(Err(ConnectError::Refused(_))) => return Some(Found::down("connection refused")),
        Ok(Err(error)) => return Some(Found::down(text(&error))),
        Err(_) => {
            let why = format!("no connection within {:?}", check.timeout);
            return Some(Found::down(why));
        }
    };
    let Some(path) = &check.path else {
        return Some(Found::up("it takes connections"));
    };
    let host = check.host.clone();
    let host = host.unwrap_or_else(|| endpoint.host().to_owned());
    let Some(request) = request(endpoint, &host, path) else {
        let why = format!("{host:?} and {path:?} make no request");
        return Some(Found::down(why));
    };
    Some(
        match timeout_at(until, send(carrier, request, check)).await {
            Ok(Ok(answer)) => {
                let status = answer.status.as_u16();
                // The head has said it all; that the rest is cut off says nothing.
                let _ = timeout_at(until, discard(answer.body)).await;
                let why = format!("status {status}");
                match check.status.contains(&status) {
                    true => Found::up(why),
                    false => Found::down(why),
                }
            }
            Ok(Err(failure)) => Found::down(text(&failure.cause)),
            Err(_) => Found::down(format!("no answer within {:?}", check.timeout)),
        },
    )
}

/// `None`: such a host or path can be in no request.
fn request(endpoint: &Endpoint, host: &str, path: &str) -> Option<Request<()>> {
    let uri = Uri::builder()
        .scheme(endpoint.protocol.scheme())
        .authority(host)
        .path_and_query(path);
    Request::get(uri.build().ok()?)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .body(())
        .ok()
}

/// The request as HTTP/1.1 has it (RFC 9112 §3); no other follows it (§9.6).
fn lines(request: &Request<()>) -> Vec<u8> {
    let uri = request.uri();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let mut lines = format!("GET {path} HTTP/1.1\r\n{HOST}: {host}\r\n").into_bytes();
    for (name, value) in request.headers() {
        lines.extend_from_slice(name.as_str().as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(value.as_bytes());
        lines.extend_from_slice(b"\r\n");
    }
    lines.extend_from_slice(b"connection: close\r\n\r\n");
    lines
}

async fn send(
    carrier: Carrier,
    request: Request<()>,
    check: &HealthCheck,
) -> Result<Answer, Failure> {
    let outbound = Outbound {
        method: Method::GET,
        body: Body::Empty,
        framing: Framing::Length(0),
        expects_continue: false,
        may_switch: false,
        response_timeout: check.timeout,
        pause_max: check.timeout,
        flow: Flow::default(),
        interim: Interim::to(None),
    };
    match carrier {
        Carrier::Wire(wire) => client::send(wire, lines(&request), outbound).await,
        Carrier::Stream(stream) => mux::send(stream, request, outbound).await,
    }
}

async fn discard(body: AnswerBody) {
    match body {
        AnswerBody::Whole(_) | AnswerBody::Switched(_) => {}
        AnswerBody::Stream(body) => read_out(*body).await,
        AnswerBody::Mux(body) => read_out(*body).await,
    }
}

/// Reads to the end, or to [`BODY_BYTES_MAX`].
async fn read_out(mut body: impl HttpBody<Data = Bytes> + Unpin) {
    let mut left = BODY_BYTES_MAX;
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        left = match left.checked_sub(bytes) {
            Some(left) => left,
            None => return,
        };
    }
}

/// An error with what it came from.
fn text(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
