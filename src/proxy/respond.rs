//! An endpoint's answer as its client gets it.

use std::time::Duration;

use http::header::{ALT_SVC, CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderMap, HeaderValue, Response};

use super::forward::Request;
use super::grpc;
use crate::body::Body;
use crate::upstream::client::{Answer, AnswerBody};

/// How long an answer that is open to wait may pause between two bytes:
/// server-sent events and gRPC.
const EVENT_PAUSE_MAX: Duration = Duration::from_secs(3600);

/// The last attempt has answered: no other will follow.
pub(super) fn respond(answer: Answer, request: &Request<'_>) -> Response<Body> {
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
