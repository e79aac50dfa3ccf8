//! What a failed attempt means: to the next one, and to the client.

use std::time::Duration;

use http::StatusCode;

use super::retry;
use crate::error::ProxyError;
use crate::upstream::Endpoint;
use crate::upstream::client::wire::ConnectError;
use crate::upstream::client::{Failed, Failure};

/// How far an attempt came.
pub(super) fn stage(failure: &Failure) -> retry::Failed {
    match &failure.cause {
        Failed::ClientBody(_) => retry::Failed::Client,
        Failed::Declined(_) => retry::Failed::Declined,
        _ if failure.answered => retry::Failed::Answered,
        Failed::Closed
        | Failed::Lost(_)
        | Failed::Reset(_)
        | Failed::Malformed(_)
        | Failed::TimedOut(_)
        | Failed::FoundDown => retry::Failed::NoHead,
    }
}

/// An attempt that reached its endpoint.
pub(super) fn failed(failure: Failure, endpoint: &Endpoint) -> ProxyError {
    let name = endpoint.name.to_string();
    match failure.cause {
        Failed::ClientBody(error) => match error.downcast::<ProxyError>() {
            Ok(error) => *error,
            Err(error) => ProxyError::BodyBroken(error),
        },
        Failed::TimedOut(after) => ProxyError::ResponseTimedOut {
            endpoint: name,
            after,
        },
        Failed::Malformed(error) => ProxyError::ResponseMalformed {
            endpoint: name,
            source: error.into(),
        },
        Failed::Declined(error) => ProxyError::Declined {
            endpoint: name,
            source: error,
        },
        Failed::FoundDown => ProxyError::FoundDown { endpoint: name },
        error @ (Failed::Closed | Failed::Lost(_) | Failed::Reset(_)) => ProxyError::ResponseLost {
            endpoint: name,
            source: error.into(),
        },
    }
}

/// Whether a failure speaks against its endpoint.
pub(super) fn is_its_own(failure: &Failure) -> bool {
    match failure.cause {
        Failed::ClientBody(_) | Failed::Declined(_) | Failed::FoundDown => false,
        // The keep-alive race: the connection was old, and the endpoint may be well.
        Failed::Closed | Failed::Lost(_) | Failed::Reset(_) => !failure.reused,
        Failed::Malformed(_) | Failed::TimedOut(_) => true,
    }
}

/// Whether a connect that failed speaks against its endpoint.
pub(super) fn speaks_against(error: &ConnectError) -> bool {
    match error {
        ConnectError::Refused(_)
        | ConnectError::TimedOut(_)
        | ConnectError::Unreachable(_)
        | ConnectError::Certificate(_)
        | ConnectError::Handshake(_)
        | ConnectError::NotHttp2(_) => true,
        ConnectError::Exhausted(_) | ConnectError::NoUpgrade | ConnectError::Busy(_) => false,
    }
}

/// An answer by which an endpoint says that it cannot serve: another may.
/// With the word for it in the log.
pub(super) fn unfit(status: StatusCode) -> Option<&'static str> {
    match status {
        StatusCode::BAD_GATEWAY => Some("status_502"),
        StatusCode::SERVICE_UNAVAILABLE => Some("status_503"),
        StatusCode::GATEWAY_TIMEOUT => Some("status_504"),
        _ => None,
    }
}

/// An attempt that got no connection. `waited`: for how long it was made again and again.
pub(super) fn unconnected(error: &ConnectError, endpoint: &str, waited: Duration) -> ProxyError {
    let endpoint = endpoint.to_owned();
    let cause = |error: &dyn std::error::Error| error.to_string().into();
    match error {
        ConnectError::Refused(error) => ProxyError::Refused {
            endpoint,
            waited,
            source: cause(error),
        },
        ConnectError::TimedOut(after) => ProxyError::ConnectTimedOut {
            endpoint,
            after: *after,
        },
        ConnectError::Unreachable(error) => ProxyError::Unreachable {
            endpoint,
            source: cause(error),
        },
        ConnectError::Exhausted(error) => ProxyError::Exhausted {
            endpoint,
            source: cause(error),
        },
        ConnectError::Certificate(error) => ProxyError::Certificate {
            endpoint,
            source: cause(error),
        },
        ConnectError::Handshake(error) => ProxyError::Handshake {
            endpoint,
            source: cause(error.as_ref()),
        },
        ConnectError::NotHttp2(error) => ProxyError::NotHttp2 {
            endpoint,
            source: cause(error.as_ref()),
        },
        ConnectError::NoUpgrade => ProxyError::NoUpgrade { endpoint },
        ConnectError::Busy(after) => ProxyError::StreamsUsedUp {
            endpoint,
            after: *after,
        },
    }
}
