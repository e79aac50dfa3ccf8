//! A request before a gate that is shut: it waits, or is turned away.

use std::time::{Duration, Instant};

use super::HELD_MAX;
use crate::error::ProxyError;
use crate::site::Site;
use crate::site::gate::State;

/// How long each of them waits: less than a drain takes, so that a stop need
/// not cut them.
pub const HELD_TIMEOUT: Duration = Duration::from_secs(25);

/// Waits until a request may come in.
///
/// Dropping the future gives the place in line up.
pub(super) async fn pass(site: &Site) -> Result<(), ProxyError> {
    let gate = &site.gate;
    let waiting = gate.waiting();
    if waiting >= HELD_MAX && gate.state() == State::Paused {
        return Err(ProxyError::TooManyPaused {
            site: site.name.to_string(),
            waiting,
        });
    }
    let began = Instant::now();
    match tokio::time::timeout(HELD_TIMEOUT, gate.wait()).await {
        Ok(State::Open) => Ok(()),
        Ok(State::Stopped(notice)) => Err(ProxyError::Stopped {
            site: site.name.to_string(),
            notice: notice.map(|notice| notice.as_str().to_owned()),
        }),
        Ok(State::Paused) | Err(_) => Err(ProxyError::Paused {
            site: site.name.to_string(),
            waited: began.elapsed(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::site::gate::Gate;

    #[test]
    fn the_line_before_a_paused_site_is_bounded() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let _timers = runtime.enter();
        let site = Site {
            name: "a.test".into(),
            line: 1,
            routes: Vec::new(),
            broken: None,
            gate: Arc::new(Gate::default()),
        };
        site.gate.set(State::Paused);
        let mut cx = Context::from_waker(Waker::noop());
        let mut held: Vec<_> = (0..HELD_MAX).map(|_| Box::pin(pass(&site))).collect();
        for request in &mut held {
            assert!(request.as_mut().poll(&mut cx).is_pending());
        }
        assert_eq!(site.gate.waiting(), HELD_MAX);
        let refused = ProxyError::TooManyPaused {
            site: "a.test".to_owned(),
            waiting: HELD_MAX,
        };
        match Box::pin(pass(&site)).as_mut().poll(&mut cx) {
            Poll::Ready(Err(error)) => assert_eq!(error.to_string(), refused.to_string()),
            other @ (Poll::Ready(_) | Poll::Pending) => panic!("{other:?}"),
        }
        // One that leaves the line makes room for another.
        held.pop();
        assert!(Box::pin(pass(&site)).as_mut().poll(&mut cx).is_pending());
    }
}
