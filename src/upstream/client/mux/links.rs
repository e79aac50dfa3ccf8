//! The connections of one thread that many streams share, by endpoint.
//!
//! One is opened at a time, and only where all others are full. Whoever finds
//! neither a stream nor leave to open waits, for a bounded time, in bounded
//! number; all who wait for a connection that fails share its failure.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::link::{self, Lease, Link, Opened};
use crate::rt::clock::Wait;
use crate::upstream::Endpoint;
use crate::upstream::client::Carrier;
use crate::upstream::client::wire::ConnectError;

/// The most connections of a thread to one endpoint.
const CONNECTIONS_MAX: usize = 4;
/// The most exchanges that wait for a stream to one endpoint.
const WAITING_MAX: usize = 1024;
/// How long an exchange waits for a stream: longer than a connect, and as long
/// as a held request waits for its endpoint.
const STREAM_WAIT: Duration = Duration::from_secs(5);
/// How long a connection without a stream is kept.
const IDLE_MAX: Duration = Duration::from_secs(60);

type Table = HashMap<u64, Rc<Links>, foldhash::fast::RandomState>;

thread_local! {
    static TABLE: RefCell<Table> = RefCell::default();
}

/// The connections to one endpoint.
pub(super) struct Links {
    endpoint: Arc<Endpoint>,
    links: RefCell<Vec<Rc<Link>>>,
    opening: Cell<bool>,
    waiting: Cell<usize>,
    /// The last connection that failed, and how many have.
    failed: RefCell<Option<Rc<ConnectError>>>,
    failures: Cell<u64>,
    /// A stream is free, or a connection was opened or failed.
    news: Notify,
}

/// The connections to an endpoint.
pub(super) fn of(endpoint: &Arc<Endpoint>) -> Rc<Links> {
    TABLE.with_borrow_mut(|table| {
        let links = table.entry(endpoint.id).or_insert_with(|| {
            Rc::new(Links {
                endpoint: endpoint.clone(),
                links: RefCell::default(),
                opening: Cell::new(false),
                waiting: Cell::new(0),
                failed: RefCell::default(),
                failures: Cell::new(0),
                news: Notify::new(),
            })
        });
        links.clone()
    })
}

/// Lets go of connections that lie idle or whose endpoint is no more; they
/// close once their streams have ended. Says whether any is left.
pub(in crate::upstream::client) fn sweep(now: Instant) -> bool {
    let table: Vec<Rc<Links>> = TABLE.with_borrow_mut(|table| {
        table.retain(|_, links| !links.is_unused());
        table.values().cloned().collect()
    });
    for links in &table {
        links.sweep(now);
    }
    !table.is_empty()
}

impl Links {
    fn is_unused(self: &Rc<Self>) -> bool {
        Rc::strong_count(self) == 1 && self.links.borrow().is_empty()
    }

    fn sweep(&self, now: Instant) {
        let retired = self.endpoint.is_retired();
        let gone: Vec<Rc<Link>> = self
            .links
            .borrow_mut()
            .extract_if(.., |link| {
                retired || !link.stands() || link.idle(now).is_some_and(|idle| idle >= IDLE_MAX)
            })
            .collect();
        // Outside the borrow: the end of a connection wakes its task.
        drop(gone);
    }

    /// A stream, as soon as there is one.
    pub(super) async fn lease(self: Rc<Self>) -> Result<Carrier, Rc<ConnectError>> {
        let mut wait = None;
        loop {
            if let Some(lease) = self.free() {
                return Ok(Carrier::Stream(lease));
            }
            if !self.opening.get() && self.links.borrow().len() < CONNECTIONS_MAX {
                return self.open().await;
            }
            let wait = match &mut wait {
                Some(wait) => wait,
                none => none.insert(Waiting::begin(&self)?),
            };
            let failures = self.failures.get();
            wait.for_news().await?;
            if self.failures.get() != failures
                && let Some(error) = &*self.failed.borrow()
            {
                return Err(error.clone());
            }
            if self.endpoint.chose_http1.load(Ordering::Relaxed) {
                return Box::pin(super::connect(&self.endpoint, super::Offer::Any)).await;
            }
        }
    }

    /// Opens a connection; nobody else does meanwhile.
    async fn open(self: &Rc<Self>) -> Result<Carrier, Rc<ConnectError>> {
        let opening = Opening::begin(self);
        let opened = link::open(&self.endpoint).await;
        let opened = match opened {
            Ok(Opened::Link(link)) => Ok(Carrier::Stream(self.add(link))),
            Ok(Opened::Http1(wire)) => Ok(Carrier::Wire(wire)),
            Err(error) => {
                let error = Rc::new(error);
                self.failed.replace(Some(error.clone()));
                self.failures.set(self.failures.get() + 1);
                Err(error)
            }
        };
        drop(opening);
        opened
    }

    /// Takes a new connection in, and a stream of it out.
    pub(super) fn add(self: &Rc<Self>, link: Rc<Link>) -> Lease {
        let lease = Lease::of(&link, self);
        self.links.borrow_mut().push(link);
        lease
    }

    /// A connection with room for a stream. The first that has any: the others
    /// may fall idle.
    fn free(self: &Rc<Self>) -> Option<Lease> {
        let mut links = self.links.borrow_mut();
        links.retain(|link| link.stands());
        let link = links.iter().find(|link| link.has_room())?;
        Some(Lease::of(link, self))
    }

    /// One of those who wait may look again.
    pub(super) fn tell_one(&self) {
        self.news.notify_one();
    }

    /// All who wait may look again.
    pub(super) fn tell_all(&self) {
        self.news.notify_waiters();
    }
}

/// A connection is being opened, for as long as this lives.
struct Opening<'a>(&'a Links);

impl<'a> Opening<'a> {
    fn begin(links: &'a Links) -> Self {
        links.opening.set(true);
        Self(links)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.set(false);
        self.0.tell_all();
    }
}

/// One who waits for a stream.
struct Waiting<'a> {
    links: &'a Links,
    wait: Wait,
}

impl<'a> Waiting<'a> {
    fn begin(links: &'a Links) -> Result<Self, Rc<ConnectError>> {
        if links.waiting.get() >= WAITING_MAX {
            return Err(Rc::new(ConnectError::Busy(Duration::ZERO)));
        }
        links.waiting.set(links.waiting.get() + 1);
        Ok(Self {
            links,
            wait: Wait::of(STREAM_WAIT),
        })
    }

    async fn for_news(&mut self) -> Result<(), Rc<ConnectError>> {
        let mut news = pin!(self.links.news.notified());
        poll_fn(|cx| {
            if news.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            pin!(&mut self.wait)
                .poll(cx)
                .map(|()| Err(Rc::new(ConnectError::Busy(STREAM_WAIT))))
        })
        .await
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.links.waiting.set(self.links.waiting.get() - 1);
    }
}
