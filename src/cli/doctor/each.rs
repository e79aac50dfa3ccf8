//! Many questions at once: some at a time, and not for long.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How many names and endpoints are asked at one time.
const AT_ONCE: usize = 32;
/// How long all names, and all endpoints, may take together.
pub const TIME_MAX: Duration = Duration::from_secs(60);

/// What tasks gave, in their order, and how many of them did not end in time.
pub(super) struct Done<T> {
    pub(super) given: Vec<T>,
    pub(super) late: usize,
}

/// Runs these, some at a time, for at most so long. Needs a place where local tasks
/// can be spawned.
pub(super) async fn each<T: 'static>(
    tasks: Vec<impl Future<Output = T> + 'static>,
    time: Duration,
) -> Done<T> {
    let places = Rc::new(Semaphore::new(AT_ONCE));
    let all = tasks.len();
    let mut running = JoinSet::new();
    for (n, task) in tasks.into_iter().enumerate() {
        let places = places.clone();
        running.spawn_local(async move {
            let _place = places.acquire().await;
            (n, task.await)
        });
    }
    let mut done = Vec::with_capacity(all);
    let _ = tokio::time::timeout(time, async {
        while let Some(ended) = running.join_next().await {
            done.extend(ended);
        }
    })
    .await;
    done.sort_by_key(|(n, _)| *n);
    let given: Vec<T> = done.into_iter().map(|(_, given)| given).collect();
    let late = all - given.len();
    Done { given, late }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    #[test]
    fn results_come_in_order_however_many_there_are() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let tasks = (0..3 * AT_ONCE).map(|n| async move {
            if n % 2 == 0 {
                tokio::task::yield_now().await;
            }
            n
        });
        let done = LocalSet::new().block_on(&runtime, each(tasks.collect(), TIME_MAX));
        assert_eq!(done.given, (0..3 * AT_ONCE).collect::<Vec<_>>());
        assert_eq!(done.late, 0);
    }

    #[test]
    fn who_does_not_end_is_counted() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let tasks = (0..3).map(|n| async move {
            if n == 1 {
                std::future::pending::<()>().await;
            }
            n
        });
        let soon = Duration::from_millis(10);
        let done = LocalSet::new().block_on(&runtime, each(tasks.collect(), soon));
        assert_eq!((done.given, done.late), (vec![0, 2], 1));
    }
}
