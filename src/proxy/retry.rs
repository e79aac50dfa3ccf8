//! May a failed attempt be made again? Pure, so that a table tests it.

use http::Method;

/// The most attempts at one request that reached an endpoint.
pub const ATTEMPTS_MAX: u32 = 4;

/// How far an attempt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// No connection: nothing was sent.
    Connect,
    /// The endpoint said that it did nothing with it (RFC 9113 §8.7).
    Declined,
    /// Something was sent, and not a byte of an answer came.
    NoHead,
    /// An answer had begun, or the endpoint took its whole time.
    Answered,
    /// The fault was not the endpoint's.
    Client,
}

/// The request's body, for another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// There is none, or all that was read of it is at hand.
    Whole,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Again,
    Stop(Why),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The endpoint may have acted on it (RFC 9110 §9.2.2).
    NotIdempotent,
    BodyGone,
    Answered,
    /// [`ATTEMPTS_MAX`].
    Enough,
    ClientFault,
}

/// Whether a failed attempt may be followed by another.
///
/// Nothing was sent if the connect failed, and nothing done where an endpoint
/// of HTTP/2 says so: any method may go again. Else only idempotent ones (RFC
/// 9110 §9.2.2), with the body still at hand, and only before a byte of the
/// answer came: a reused connection that dies then is the keep-alive race (RFC
/// 9112 §9.3.1).
pub fn verdict(failed: Failed, method: &Method, body: Replay, attempts: u32) -> Verdict {
    match (failed, body) {
        (Failed::Client, _) => Verdict::Stop(Why::ClientFault),
        (Failed::Answered, _) => Verdict::Stop(Why::Answered),
        (_, Replay::Gone) => Verdict::Stop(Why::BodyGone),
        (Failed::Connect, Replay::Whole) => Verdict::Again,
        (Failed::Declined, Replay::Whole) if attempts >= ATTEMPTS_MAX => Verdict::Stop(Why::Enough),
        (Failed::Declined, Replay::Whole) => Verdict::Again,
        (Failed::NoHead, Replay::Whole) if !method.is_idempotent() => {
            Verdict::Stop(Why::NotIdempotent)
        }
        (Failed::NoHead, Replay::Whole) if attempts >= ATTEMPTS_MAX => Verdict::Stop(Why::Enough),
        (Failed::NoHead, Replay::Whole) => Verdict::Again,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_go_again() {
        use {Failed::*, Replay::*, Verdict::*};
        let check = |failed, method: Method, body, attempts, want| {
            assert_eq!(
                verdict(failed, &method, body, attempts),
                want,
                "{failed:?} {method} {body:?} {attempts}"
            );
        };
        check(Connect, Method::GET, Whole, 1, Again);
        check(Connect, Method::POST, Whole, 9, Again);
        check(Connect, Method::POST, Gone, 1, Stop(Why::BodyGone));
        check(Declined, Method::POST, Whole, 1, Again);
        check(Declined, Method::POST, Gone, 1, Stop(Why::BodyGone));
        check(
            Declined,
            Method::GET,
            Whole,
            ATTEMPTS_MAX,
            Stop(Why::Enough),
        );
        check(NoHead, Method::GET, Whole, 1, Again);
        check(NoHead, Method::PUT, Whole, 1, Again);
        check(NoHead, Method::PUT, Gone, 1, Stop(Why::BodyGone));
        check(NoHead, Method::POST, Whole, 1, Stop(Why::NotIdempotent));
        check(NoHead, Method::PATCH, Whole, 1, Stop(Why::NotIdempotent));
        check(NoHead, Method::GET, Whole, ATTEMPTS_MAX, Stop(Why::Enough));
        check(Answered, Method::GET, Whole, 1, Stop(Why::Answered));
        check(Client, Method::GET, Whole, 1, Stop(Why::ClientFault));
    }
}
