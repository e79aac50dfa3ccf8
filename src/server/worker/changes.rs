//! What a changed configuration means for the tunnels of a thread.

use std::rc::Rc;

use super::Worker;

/// How many tunnels are looked at before others get a turn.
const JUDGED_AT_ONCE: usize = 256;

/// Tells tunnels, whenever another configuration runs, whether they may stay.
/// Ends with the thread.
pub(super) async fn mind(worker: Rc<Worker>) {
    let mut replaced = worker.proxy.live().replaced();
    while replaced.changed().await.is_ok() {
        let snapshot = worker.proxy.live().current();
        let ties = worker.of_known(|known| {
            let lasts = known.tie.lasting.count() > 0;
            lasts.then(|| known.tie.clone())
        });
        for some in ties.chunks(JUDGED_AT_ONCE) {
            for tie in some {
                tie.lasting.judge(&snapshot);
            }
            tokio::task::yield_now().await;
        }
    }
}
