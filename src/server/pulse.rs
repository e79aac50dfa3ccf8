//! Whether every thread still answers: for the watchdog of systemd.

use std::time::Duration;

use tokio::sync::mpsc::{Sender, UnboundedSender};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::background::Word;
use super::worker::Job;

/// A way to every thread of a server.
pub struct Pulse {
    pub(super) workers: Vec<UnboundedSender<Job>>,
    pub(super) background: Sender<Word>,
}

/// A thread that does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silent {
    Worker(usize),
    Background,
}

impl std::fmt::Display for Silent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Worker(number) => write!(f, "worker-{number}"),
            Self::Background => f.write_str("background"),
        }
    }
}

impl Pulse {
    /// Asks all of them at once, and gives them so long.
    pub async fn beats(&self, within: Duration) -> Result<(), Silent> {
        let until = Instant::now() + within;
        let mut asked = Vec::with_capacity(self.workers.len() + 1);
        for (number, worker) in self.workers.iter().enumerate() {
            let (beat, heard) = oneshot::channel();
            let silent = Silent::Worker(number);
            worker.send(Job::Beat(beat)).map_err(|_| silent)?;
            asked.push((silent, heard));
        }
        let (beat, heard) = oneshot::channel();
        let silent = Silent::Background;
        // A full line is an answer, too.
        self.background
            .try_send(Word::Beat(beat))
            .map_err(|_| silent)?;
        asked.push((silent, heard));
        for (silent, heard) in asked {
            let heard = timeout_at(until, heard).await;
            heard.map_err(|_| silent)?.map_err(|_| silent)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    /// A worker that answers, if it does.
    async fn answers(mut jobs: mpsc::UnboundedReceiver<Job>) {
        while let Some(job) = jobs.recv().await {
            if let Job::Beat(beat) = job {
                let _ = beat.send(());
            }
        }
    }

    #[tokio::test]
    async fn one_silent_thread_is_enough() {
        let (lively, jobs) = mpsc::unbounded_channel();
        let (stuck, kept) = mpsc::unbounded_channel();
        let (background, mut words) = mpsc::channel(1);
        let mut pulse = Pulse {
            workers: vec![lively, stuck],
            background,
        };
        let soon = Duration::from_millis(20);
        let threads = async {
            let background = async {
                while let Some(Word::Beat(beat)) = words.recv().await {
                    let _ = beat.send(());
                }
            };
            tokio::join!(answers(jobs), background)
        };
        let asked = async {
            assert_eq!(pulse.beats(soon).await, Err(Silent::Worker(1)));
            drop(kept);
            assert_eq!(pulse.beats(soon).await, Err(Silent::Worker(1)));
            pulse.workers.pop();
            assert_eq!(pulse.beats(Duration::from_secs(60)).await, Ok(()));
        };
        tokio::select! {
            () = asked => {}
            _ = threads => {}
        }
    }
}
