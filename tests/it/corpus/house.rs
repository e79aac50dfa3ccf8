//! A proxy with a site for every worker, so that many cases run at once and
//! each knows what reached the endpoint because of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::Seen;
use super::notation::Case;
use crate::harness::Proxy;

/// How many cases run at once: a site each, `a.test` to `x.test`.
const WORKERS: usize = 24;
/// How long a case may take before it counts as one that nobody answers.
const PATIENCE: Duration = Duration::from_secs(12);

/// The proxy, and what is behind its sites.
pub(super) struct House<E> {
    pub(super) proxy: Proxy,
    places: Vec<Place<E>>,
}

/// A site of one worker's, with its endpoint.
pub(super) struct Place<E> {
    /// `a` of `a.test`.
    letter: u8,
    pub(super) endpoint: E,
}

impl<E: Send + Sync + 'static> House<E> {
    pub(super) async fn new(endpoint: impl AsyncFn() -> (E, String)) -> Self {
        let (mut places, mut yaml) = (Vec::new(), "sites:\n".to_owned());
        for letter in (b'a'..).take(WORKERS) {
            let (endpoint, at) = endpoint().await;
            let name = char::from(letter);
            yaml += &format!("  {name}.test: {{ upstream: \"{at}\", plain_http: serve }}\n");
            places.push(Place { letter, endpoint });
        }
        Self {
            proxy: Proxy::start(&yaml),
            places,
        }
    }

    /// Runs all cases; what was seen of each, in their order.
    pub(super) async fn run<F>(
        self,
        cases: Vec<Case>,
        run: impl Fn(Arc<Self>, usize, Case) -> F + Clone + Send + Sync + 'static,
    ) -> Vec<Seen>
    where
        F: Future<Output = String> + Send + 'static,
    {
        let (house, cases) = (Arc::new(self), Arc::new(cases));
        let next = Arc::new(AtomicUsize::new(0));
        let mut workers = JoinSet::new();
        for place in 0..WORKERS {
            let (house, cases, next) = (house.clone(), cases.clone(), next.clone());
            let run = run.clone();
            workers.spawn(async move {
                let mut seen = Vec::new();
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // A task of its own: a case that panics is one that failed.
                    let mut task = JoinSet::new();
                    task.spawn(run(house.clone(), place, case.clone()));
                    let verdict = match tokio::time::timeout(PATIENCE, task.join_next()).await {
                        Ok(Some(Ok(verdict))) => verdict,
                        Ok(Some(Err(panicked))) => format!("{panicked}"),
                        Ok(None) | Err(_) => "nobody answers".to_owned(),
                    };
                    seen.push((case.clone(), verdict));
                }
                seen
            });
        }
        let mut seen = workers.join_all().await.concat();
        let order = |case: &Case| {
            let same = |other: &Case| (other.topic, &other.name) == (case.topic, &case.name);
            cases.iter().position(same)
        };
        seen.sort_by_key(|(case, _)| order(case));
        seen.into_iter()
            .map(|(case, verdict)| Seen { case, verdict })
            .collect()
    }

    pub(super) fn place(&self, at: usize) -> &Place<E> {
        &self.places[at]
    }
}

impl<E> Place<E> {
    pub(super) fn name(&self) -> String {
        format!("{}.test", char::from(self.letter))
    }

    /// The bytes of a case, with this site's name (as long as the other) for `a.test`.
    pub(super) fn own(&self, bytes: &[u8]) -> Vec<u8> {
        renamed(bytes, b'a', self.letter)
    }

    /// The other way round, so that what was seen does not hang on which site it was.
    pub(super) fn anyones(&self, bytes: &[u8]) -> Vec<u8> {
        renamed(bytes, self.letter, b'a')
    }
}

/// With one site's name for another's, in whatever letters it is written.
fn renamed(bytes: &[u8], from: u8, to: u8) -> Vec<u8> {
    let name = [from, b'.', b't', b'e', b's', b't'];
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len().saturating_sub(name.len() - 1) {
        if bytes[at..at + name.len()].eq_ignore_ascii_case(&name) {
            bytes[at] = match bytes[at].is_ascii_uppercase() {
                true => to.to_ascii_uppercase(),
                false => to,
            };
        }
    }
    bytes
}
