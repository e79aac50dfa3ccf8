//! What `steady` sends, and what became of it.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Error;
use bytes::Bytes;
use http::Method;

use super::Client;
use crate::pacer::throw;

/// What [`Ledger`] throws, as `of` in [`throw`]: not the dice of the pacer.
const LEDGER: u64 = 2;

/// A request, known by its number.
#[derive(Clone)]
pub(super) struct Request {
    number: u64,
    pub(super) method: Method,
}

impl Request {
    pub(super) fn path(&self) -> String {
        format!("/{}", self.number)
    }

    /// What a POST carries; nothing for a GET.
    pub(super) fn body(&self) -> Bytes {
        match self.method {
            Method::POST => Bytes::from(format!("the body of {}", self.number)),
            _ => Bytes::new(),
        }
    }

    /// What the right answer carries.
    pub(super) fn answer(&self) -> String {
        let body = self.body();
        let body = String::from_utf8_lossy(&body);
        format!("{} {} {body}", self.method, self.path())
    }
}

/// Counts requests, and keeps those that failed: `rate × seconds` at most.
pub(super) struct Ledger {
    /// How many of the requests are POSTs, from 0 to 1.
    posts: f64,
    start: Cell<Option<Instant>>,
    next: Cell<u64>,
    gets: RefCell<Count>,
    others: RefCell<Count>,
    clients: RefCell<BTreeMap<Client, Connections>>,
    failures: RefCell<Vec<serde_json::Value>>,
}

/// What a client saw of its connections, besides failed requests.
pub(super) enum Happened {
    Opened,
    /// The other side has said that it is the end: `Connection: close`, GOAWAY.
    Told,
    /// It closed the connection between two requests, and had not said so.
    Closed,
    /// It gave a request back that it has not looked at (HTTP/2).
    Unserved,
}

#[derive(Default, serde::Serialize)]
struct Connections {
    sent: u64,
    failed: u64,
    opened: u64,
    told: u64,
    closed: u64,
    unserved: u64,
}

#[derive(Default)]
struct Count {
    sent: u64,
    failed: u64,
    /// Of those that succeeded: how long it took, and its path.
    slowest: (Duration, String),
}

impl Count {
    fn report(&self) -> serde_json::Value {
        serde_json::json!({
            "sent": self.sent,
            "failed": self.failed,
            "slowest_s": self.slowest.0.as_secs_f64(),
            "slowest": self.slowest.1,
        })
    }
}

impl Ledger {
    pub(super) fn new(posts: f64) -> Self {
        Self {
            posts,
            start: Cell::default(),
            next: Cell::default(),
            gets: RefCell::default(),
            others: RefCell::default(),
            clients: RefCell::default(),
            failures: RefCell::default(),
        }
    }

    pub(super) fn start(&self, at: Instant) {
        self.start.set(Some(at));
    }

    pub(super) fn next(&self) -> Request {
        let number = self.next.get();
        self.next.set(number + 1);
        let dice = throw(number, LEDGER) as f64 / u64::MAX as f64;
        let method = match dice < self.posts {
            true => Method::POST,
            false => Method::GET,
        };
        Request { number, method }
    }

    pub(super) fn count(&self, client: Client, happened: Happened) {
        let mut clients = self.clients.borrow_mut();
        let connections = clients.entry(client).or_default();
        *match happened {
            Happened::Opened => &mut connections.opened,
            Happened::Told => &mut connections.told,
            Happened::Closed => &mut connections.closed,
            Happened::Unserved => &mut connections.unserved,
        } += 1;
    }

    /// Counts a request that has ended, after so long.
    pub(super) fn end(
        &self,
        request: &Request,
        client: Client,
        began: Instant,
        answered: Result<(), Error>,
    ) {
        let mut count = match request.method {
            Method::GET => self.gets.borrow_mut(),
            _ => self.others.borrow_mut(),
        };
        let took = began.elapsed();
        count.sent += 1;
        let mut clients = self.clients.borrow_mut();
        let connections = clients.entry(client).or_default();
        connections.sent += 1;
        let Err(failure) = answered else {
            if took > count.slowest.0 {
                count.slowest = (took, request.path());
            }
            return;
        };
        count.failed += 1;
        connections.failed += 1;
        let start = self.start.get().unwrap_or(began);
        self.failures.borrow_mut().push(serde_json::json!({
            "method": request.method.as_str(),
            "path": request.path(),
            "protocol": client,
            "at_s": began.saturating_duration_since(start).as_secs_f64(),
            "took_s": took.as_secs_f64(),
            "why": format!("{failure:#}"),
        }));
    }

    pub(super) fn report(&self) -> serde_json::Value {
        serde_json::json!({
            "GET": self.gets.borrow().report(),
            "POST": self.others.borrow().report(),
            "clients": *self.clients.borrow(),
            "failures": *self.failures.borrow(),
        })
    }
}
