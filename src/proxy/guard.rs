//! A panic in one exchange harms no other.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// What a future gives, or `None` if it panicked. The panic hook has told of
/// it by then; the future is not polled again.
pub(super) async fn catch_panic<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Some),
            Err(panic) => {
                tracing::error!(panic = said(panic.as_ref()), "a request made hostmux panic");
                Poll::Ready(None)
            }
        },
    )
    .await
}

fn said(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Waker};

    fn run<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(catch_panic(future)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(got) => got,
            Poll::Pending => unreachable!("nothing here waits"),
        }
    }

    #[test]
    fn a_panic_is_told_from_an_answer() {
        assert_eq!(run(async { 7 }), Some(7));
        assert_eq!(run(async { panic!("oh") }), None::<()>);
    }
}
