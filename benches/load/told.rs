//! A load that ends when it is told to, by the end of standard input.

use std::{future::pending, io, thread, time::Duration};

use tokio::sync::watch;

#[derive(Clone)]
pub(crate) struct Told(watch::Receiver<bool>);

impl Told {
    /// Listens from now on, for so long; absent: it is never told.
    pub(crate) fn new(listen: Option<Duration>) -> Self {
        let (tell, told) = watch::channel(false);
        if let Some(most) = listen {
            let late = tell.clone();
            thread::spawn(move || {
                #[expect(clippy::disallowed_methods, reason = "this thread serves nobody")]
                thread::sleep(most);
                late.send_replace(true);
            });
            thread::spawn(move || {
                // An error is an end too.
                let _ = io::copy(&mut io::stdin(), &mut io::sink());
                tell.send_replace(true);
            });
        }
        Self(told)
    }

    /// Until it is told. Cancel safe.
    pub(crate) async fn wait(&self) {
        if self.0.clone().wait_for(|told| *told).await.is_err() {
            pending().await
        }
    }
}
