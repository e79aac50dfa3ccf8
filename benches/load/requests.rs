//! `requests`: GETs over kept-alive HTTP/1.1 connections.

use std::time::Instant;

use anyhow::{Result, bail};
use rustls::client::Resumption;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::{
    answer::Answer,
    pacer::{Order, Pacer},
    run::{Tally, Window, Work},
    stream::{RECORD_BYTES_MAX, Stream, Target, Tls},
};

/// Exchanges on a new connection before it counts as open.
const WARM_UP: usize = 3;
/// From one connection's host to the next one's: a prime, so that they lie apart.
const HOST_STRIDE: usize = 7919;

pub(crate) struct Requests {
    target: Target,
    tls: Option<Tls>,
    path: String,
    /// How many the `{}` of the host stands for.
    hosts: Option<usize>,
    /// Absent: the next request follows the answer.
    pacer: Option<Pacer>,
}

impl Requests {
    pub(crate) fn new(
        target: Target,
        path: &str,
        hosts: Option<usize>,
        rate: Option<f64>,
    ) -> Result<Self> {
        if hosts.is_some() != target.host.contains("{}") || hosts == Some(0) {
            bail!("--hosts N, at least 1, and a host with {{}} belong together");
        }
        let pacer = match rate {
            Some(rate) if rate > 0.0 => Some(Pacer::new(rate, Order::Turns)?),
            Some(_) => bail!("--rate is more than 0"),
            None => None,
        };
        let tls = target.tls(b"http/1.1", Resumption::disabled())?;
        let path = path.to_owned();
        Ok(Self {
            target,
            tls,
            path,
            hosts,
            pacer,
        })
    }

    fn host(&self, number: usize) -> String {
        let number = number * HOST_STRIDE % self.hosts.unwrap_or(1);
        self.target.host.replace("{}", &format!("{number:05}"))
    }
}

pub(crate) struct Connection {
    stream: Stream,
    answer: Answer,
    request: Vec<u8>,
    /// When the requests are due, in an open loop.
    due: Option<UnboundedReceiver<Instant>>,
}

impl Connection {
    async fn exchange(&mut self) -> Result<u64> {
        self.answer.exchange(&mut self.stream, &self.request).await
    }
}

impl Work for Requests {
    type Connection = Connection;

    async fn open(&self, number: usize) -> Result<Connection> {
        let host = self.host(number);
        let request = format!("GET {} HTTP/1.1\r\nHost: {host}\r\n\r\n", self.path);
        let tls = self.tls.as_ref().map(|tls| tls.named(&host)).transpose()?;
        let mut connection = Connection {
            stream: Stream::connect(self.target.connect, tls.as_ref(), RECORD_BYTES_MAX).await?,
            answer: Answer::with_status(200),
            request: request.into_bytes(),
            due: self.pacer.as_ref().map(|pacer| pacer.join(number)),
        };
        for _ in 0..WARM_UP {
            connection.exchange().await?;
        }
        Ok(connection)
    }

    fn begin(&self, window: Window) {
        if let Some(pacer) = &self.pacer {
            pacer.start(window);
        }
    }

    async fn work(
        &self,
        connection: &mut Connection,
        window: Window,
        tally: &mut Tally,
    ) -> Result<()> {
        let Some(mut due) = connection.due.take() else {
            return tally
                .repeat(window, async || connection.exchange().await)
                .await;
        };
        while let Some(due) = due.recv().await {
            connection.exchange().await?;
            tally.exchange(due.elapsed());
        }
        Ok(())
    }
}
