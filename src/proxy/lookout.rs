//! An attempt that is watched: its endpoint may be found down meanwhile.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use crate::rt::clock::Wait;
use crate::upstream::client::{Answer, Failed, Failure};

/// How often an attempt looks whether its endpoint is still thought alive.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// An attempt, or that the health check found its endpoint down meanwhile.
/// `leaves`: whether it is to be given up for that now.
///
/// Dropping an attempt closes its connection, or resets its stream.
pub(super) async fn unless_down(
    leaves: impl Fn() -> bool,
    mut attempt: Pin<&mut impl Future<Output = Result<Answer, Failure>>>,
) -> Result<Answer, Failure> {
    let mut look = Wait::of(LOOK_EVERY);
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(done) = attempt.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            if Pin::new(&mut look).poll(cx).is_pending() {
                return Poll::Pending;
            }
            if leaves() {
                return Poll::Ready(Err(Failure {
                    cause: Failed::FoundDown,
                    answered: false,
                    reused: false,
                }));
            }
            look.reset(LOOK_EVERY);
        }
    })
    .await
}
