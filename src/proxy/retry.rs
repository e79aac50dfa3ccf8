//! May a failed attempt be made again? Pure, so that a table tests it.

use std::time::Duration;

use http::Method;

/// The most attempts at one request that reached an endpoint.
pub const ATTEMPTS_MAX: u32 = 4;
/// How long attempts at one request may take before no other follows, what it
/// waited for an endpoint to come up not counted: who waited so long is not made
/// to wait as long again.
pub const RETRY_TIME_MAX: Duration = Duration::from_secs(60);

/// How far an attempt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// No connection: nothing was sent.
    Connect,
    /// The endpoint said that it did nothing with it (RFC 9113 §8.7).
    Declined,
    /// Something was sent, and not a byte of an answer came, in time or at all.
    NoHead,
    /// 502, 503 or 504: the endpoint says that it cannot serve, and the client
    /// has seen nothing of it.
    Unfit,
    /// An answer had begun.
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

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Again,
    Stop(Why),
}

/// Why no other attempt follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The endpoint may have acted on it (RFC 9110 §9.2.2).
    NotIdempotent,
    /// More of the body came than is kept.
    BodyGone,
    /// It was answered before all of its body had come.
    BodyUnderWay,
    Answered,
    /// [`ATTEMPTS_MAX`].
    Enough,
    /// [`RETRY_TIME_MAX`].
    TooLate,
    ClientFault,
}

impl Why {
    /// The word for it in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotIdempotent => "not_idempotent",
            Self::BodyGone => "body_gone",
            Self::BodyUnderWay => "body_under_way",
            Self::Answered => "answer_begun",
            Self::Enough => "attempts_max",
            Self::TooLate => "retry_time_max",
            Self::ClientFault => "client_fault",
        }
    }
}

/// An attempt that failed.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    pub failed: Failed,
    pub method: &'a Method,
    pub body: Replay,
    /// Attempts that reached an endpoint, with this one.
    pub sent: u32,
    /// Since the first attempt began, without what was waited between.
    pub elapsed: Duration,
}

/// Whether a failed attempt may be followed by another.
///
/// Nothing was sent if the connect failed, and nothing done where an endpoint
/// of HTTP/2 says so: any method may go again. Else only idempotent ones (RFC
/// 9110 §9.2.2), with the body still at hand, and only before the client has
/// seen a byte of an answer: a reused connection that dies then is the
/// keep-alive race (RFC 9112 §9.3.1).
pub fn verdict(attempt: &Attempt<'_>) -> Verdict {
    match (attempt.failed, attempt.body) {
        (Failed::Client, _) => Verdict::Stop(Why::ClientFault),
        (Failed::Answered, _) => Verdict::Stop(Why::Answered),
        (Failed::NoHead | Failed::Unfit, _) if !attempt.method.is_idempotent() => {
            Verdict::Stop(Why::NotIdempotent)
        }
        (_, Replay::Gone) => Verdict::Stop(Why::BodyGone),
        (Failed::Declined | Failed::NoHead | Failed::Unfit, Replay::Whole)
            if attempt.sent >= ATTEMPTS_MAX =>
        {
            Verdict::Stop(Why::Enough)
        }
        (Failed::Connect | Failed::Declined | Failed::NoHead | Failed::Unfit, Replay::Whole) => {
            match attempt.elapsed < RETRY_TIME_MAX {
                true => Verdict::Again,
                false => Verdict::Stop(Why::TooLate),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_go_again() {
        use {Failed::*, Replay::*, Verdict::*};
        let check = |failed, method: Method, body, sent, elapsed_s, want| {
            let attempt = Attempt {
                failed,
                method: &method,
                body,
                sent,
                elapsed: Duration::from_secs(elapsed_s),
            };
            assert_eq!(verdict(&attempt), want, "{attempt:?}");
        };
        check(Connect, Method::GET, Whole, 0, 0, Again);
        check(Connect, Method::POST, Whole, 9, 59, Again);
        check(Connect, Method::GET, Whole, 0, 60, Stop(Why::TooLate));
        check(Connect, Method::POST, Gone, 1, 0, Stop(Why::BodyGone));
        check(Declined, Method::POST, Whole, 1, 0, Again);
        check(Declined, Method::POST, Gone, 1, 0, Stop(Why::BodyGone));
        check(
            Declined,
            Method::GET,
            Whole,
            ATTEMPTS_MAX,
            0,
            Stop(Why::Enough),
        );
        for failed in [NoHead, Unfit] {
            check(failed, Method::GET, Whole, 1, 0, Again);
            check(failed, Method::HEAD, Whole, 3, 59, Again);
            check(failed, Method::PUT, Whole, 1, 0, Again);
            check(failed, Method::PUT, Gone, 1, 0, Stop(Why::BodyGone));
            check(failed, Method::POST, Whole, 1, 0, Stop(Why::NotIdempotent));
            check(failed, Method::POST, Gone, 1, 0, Stop(Why::NotIdempotent));
            check(failed, Method::PATCH, Whole, 1, 0, Stop(Why::NotIdempotent));
            check(
                failed,
                Method::GET,
                Whole,
                ATTEMPTS_MAX,
                0,
                Stop(Why::Enough),
            );
            check(failed, Method::GET, Whole, 1, 60, Stop(Why::TooLate));
        }
        check(Answered, Method::GET, Whole, 1, 0, Stop(Why::Answered));
        check(Client, Method::GET, Whole, 1, 0, Stop(Why::ClientFault));
    }
}
