//! WebSocket over a stream of HTTP/2 (RFC 8441), bridged to an endpoint of HTTP/1.1.
//!
//! The extended CONNECT becomes the handshake of RFC 6455 that endpoints
//! know, and its 101 becomes a 200. Behind that, bytes are bytes.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use ::h2::SendStream;
use ::h2::ext::Protocol;
use bytes::{Buf, Bytes};
use http::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use super::stream::Stream;
use crate::body::Body;
use crate::proxy::Tunnel;
use crate::rt;
use crate::server::tunnel::{self, Client, Sink, Source};

/// The most that is given to a stream at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// Whether the request is an extended CONNECT for WebSocket.
pub(super) fn is_asked(parts: &Parts) -> bool {
    parts.method == Method::CONNECT && protocol(parts) == Some("websocket")
}

/// The protocol other than HTTP that is asked for (RFC 8441 §4).
fn protocol(parts: &Parts) -> Option<&str> {
    parts.extensions.get::<Protocol>().map(Protocol::as_str)
}

/// Makes of an extended CONNECT the handshake that an endpoint of HTTP/1.1 knows.
pub(super) fn bridge(parts: &mut Parts) {
    parts.method = Method::GET;
    let fields = &mut parts.headers;
    fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
    // RFC 8441 §5: the client sends none over HTTP/2.
    let key = base64(&rt::random().to_be_bytes());
    if let Ok(key) = HeaderValue::try_from(key) {
        fields.insert(SEC_WEBSOCKET_KEY, key);
    }
    fields
        .entry(SEC_WEBSOCKET_VERSION)
        .or_insert(HeaderValue::from_static("13"));
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let of = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = of(0) << 16 | of(1) << 8 | of(2);
        for digit in 0..4 {
            text.push(match digit <= three.len() {
                true => char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]),
                false => '=',
            });
        }
    }
    text
}

/// Tells the client that the endpoint switched, and joins the two.
pub(super) async fn run(response: Response<Body>, stream: Rc<Stream>, tunnel: Tunnel) {
    let mut head = response.map(|_| ());
    *head.status_mut() = StatusCode::OK;
    for field in [UPGRADE, SEC_WEBSOCKET_ACCEPT] {
        head.headers_mut().remove(field);
    }
    if let Ok(sending) = stream.begin(head, false) {
        let client = Side {
            stream,
            unread: Bytes::new(),
            sending,
        };
        tunnel::run(client, Bytes::new(), tunnel).await;
    }
}

/// A stream as the client's side of a tunnel.
struct Side {
    stream: Rc<Stream>,
    unread: Bytes,
    sending: SendStream<Bytes>,
}

impl Source for Side {
    fn poll_take(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut received = self.stream.received.borrow_mut();
        while self.unread.is_empty() {
            match ready!(received.poll_data(cx)) {
                Some(data) => self.unread = data.map_err(io::Error::other)?,
                None => return Poll::Ready(Ok(0)),
            }
        }
        let bytes = self.unread.len().min(into.len());
        into[..bytes].copy_from_slice(&self.unread[..bytes]);
        self.unread.advance(bytes);
        received
            .flow_control()
            .release_capacity(bytes)
            .map_err(io::Error::other)?;
        Poll::Ready(Ok(bytes))
    }
}

impl Sink for Side {
    fn poll_put(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.sending.reserve_capacity(bytes.len().min(PIECE_BYTES));
        while self.sending.capacity() == 0 {
            match ready!(self.sending.poll_capacity(cx)) {
                Some(capacity) => capacity.map_err(io::Error::other)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
        }
        let taken = bytes.len().min(self.sending.capacity()).min(PIECE_BYTES);
        self.sending
            .send_data(Bytes::copy_from_slice(&bytes[..taken]), false)
            .map_err(io::Error::other)?;
        Poll::Ready(Ok(taken))
    }

    fn poll_end(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(
            self.sending
                .send_data(Bytes::new(), true)
                .map_err(io::Error::other),
        )
    }
}

impl Client for Side {
    /// The connection's own task sends. A client that has said its last may
    /// still give the stream up, or be gone.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.sending.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (text, want) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(text.as_bytes()), want);
        }
    }
}
