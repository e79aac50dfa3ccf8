//! Exchanges that never end by themselves: tunnels, and streams of events.
//!
//! They must not hold up a stop, and a tunnel to what a changed configuration
//! leads nobody to any more has to end some day. So each is told when: until
//! then that costs it a look at a cell. How it ends is its own.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Uri};

use super::Tie;
use crate::exchange::Exchange;
use crate::rt::clock::Wait;
use crate::snapshot::Snapshot;
use crate::upstream::Upstream;
use crate::upstream::member::{Lease, Member, Origin};

/// Whether an answer is a stream of events that its client comes back for
/// after whatever end. Only a GET asks for one: what answers a POST in this
/// form (a language model, say) has an end of its own, and is waited for.
pub(super) fn is_event_stream(method: &Method, headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE);
    *method == Method::GET
        && kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// Those of a connection.
#[derive(Debug, Default)]
pub struct Lastings {
    entries: RefCell<Vec<Rc<Entry>>>,
    leaving: Cell<bool>,
}

/// One that is under way. Dropped, it is over.
pub struct Lasting {
    tie: Rc<Tie>,
    entry: Rc<Entry>,
    /// Runs while it is retired.
    wait: Option<Wait>,
}

#[derive(Debug, Default)]
struct Entry {
    word: Cell<Word>,
    /// Its task, whose waker is always the same.
    waker: RefCell<Option<Waker>>,
    /// `None`: no change of the configuration ends it.
    led: Option<Led>,
}

/// What it was told last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Word {
    #[default]
    Stay,
    /// Nothing leads to its endpoint any more: it has until then.
    Retire(Instant),
    Leave,
}

impl Lastings {
    pub fn count(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Tells them all to leave, and whoever begins from now on.
    pub fn leave(&self) {
        self.leaving.set(true);
        for entry in self.entries() {
            entry.tell(Word::Leave);
        }
    }

    /// Whether they were told to leave: the connection has no future either.
    pub fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Tells each whether it may stay, now that this is what runs.
    pub fn judge(&self, snapshot: &Snapshot) {
        for entry in self.entries() {
            entry.judge(snapshot);
        }
    }

    /// Waking one may end another.
    fn entries(&self) -> Vec<Rc<Entry>> {
        self.entries.borrow().clone()
    }
}

impl Lasting {
    /// `led`: what has to hold for it to stay.
    pub(super) fn begin(tie: &Rc<Tie>, led: Option<Led>) -> Self {
        let entry = Rc::new(Entry {
            led,
            ..Entry::default()
        });
        if tie.lasting.is_leaving() {
            entry.word.set(Word::Leave);
        }
        tie.lasting.entries.borrow_mut().push(entry.clone());
        Self {
            tie: tie.clone(),
            entry,
            wait: None,
        }
    }

    pub(super) fn judge(&self, snapshot: &Snapshot) {
        self.entry.judge(snapshot);
    }

    /// Ready once it has to end. Always of one task, which is woken for it.
    pub fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.entry.word.get() {
            Word::Stay => {
                let mut waker = self.entry.waker.borrow_mut();
                if waker.is_none() {
                    *waker = Some(cx.waker().clone());
                }
                self.wait = None;
                Poll::Pending
            }
            Word::Retire(due) => {
                let wait = self.wait.get_or_insert_with(|| Wait::until(due));
                Pin::new(wait).poll(cx)
            }
            Word::Leave => Poll::Ready(()),
        }
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        let mut entries = self.tie.lasting.entries.borrow_mut();
        entries.retain(|entry| !Rc::ptr_eq(entry, &self.entry));
    }
}

impl Entry {
    fn judge(&self, snapshot: &Snapshot) {
        let Some(led) = &self.led else {
            return;
        };
        match (self.word.get(), led.still_leads(snapshot)) {
            (Word::Stay, false) => {
                let due = Instant::now() + snapshot.commons.retire_timeout;
                self.tell(Word::Retire(due));
            }
            // The change was taken back.
            (Word::Retire(_), true) => self.tell(Word::Stay),
            (Word::Stay, true) | (Word::Retire(_), false) | (Word::Leave, _) => {}
        }
    }

    fn tell(&self, word: Word) {
        self.word.set(word);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// What led a request to its endpoint.
#[derive(Debug)]
pub(super) struct Led {
    /// The name asked for, in its canonical spelling.
    host: String,
    uri: Uri,
    member: Arc<Member>,
}

impl Led {
    pub(super) fn of(exchange: &Exchange, lease: &Lease) -> Option<Self> {
        Some(Self {
            host: exchange.host_name()?,
            uri: exchange.uri.clone(),
            member: lease.member.clone(),
        })
    }

    /// Whether the same request could still come to the endpoint.
    fn still_leads(&self, snapshot: &Snapshot) -> bool {
        let site = snapshot.sites.get(&self.host);
        let Some(site) = site.or(snapshot.fallback.as_ref()) else {
            return false;
        };
        // Where it leads is known once it is mended.
        if site.broken.is_some() {
            return true;
        }
        match site.find(self.uri.path()) {
            Ok(Some((route, _))) => route
                .upstream()
                .is_some_and(|upstream| self.is_of(upstream)),
            Ok(None) | Err(_) => false,
        }
    }

    /// Whether the endpoint is one of these, as far as the configuration says:
    /// who was removed by hand, or is not found behind a name any more, gets no
    /// new requests, and those under way go on.
    fn is_of(&self, upstream: &Upstream) -> bool {
        // By name: under other settings it is another to the upstream.
        let name = &self.member.endpoint.name;
        let mut declared = upstream.declared().iter();
        let mut settings = upstream.settings().endpoints.iter();
        match &self.member.origin {
            // No file has it: who knows of it is the upstream that it was added to.
            Origin::Runtime => {
                let leaving = || upstream.registry.leaving();
                let is_it = |member: &Arc<Member>| member.id == self.member.id;
                upstream.registry.find(name).is_some() || leaving().iter().any(is_it)
            }
            Origin::File | Origin::Discovered(_)
                if declared.any(|(endpoint, _)| endpoint.name == *name) =>
            {
                true
            }
            Origin::File => upstream.registry.find(name).is_some(),
            origin @ Origin::Discovered(_) => {
                settings.any(|endpoint| Origin::behind(endpoint) == *origin)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http::HeaderValue;

    use super::*;

    fn poll(lasting: &mut Lasting) -> Poll<()> {
        lasting.poll_leave(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn who_is_told_to_leave_leaves_and_who_comes_then_too() {
        let tie = Rc::<Tie>::default();
        let mut first = Lasting::begin(&tie, None);
        assert!(poll(&mut first).is_pending());
        assert_eq!(tie.lasting.count(), 1);
        tie.lasting.leave();
        assert!(poll(&mut first).is_ready());
        let mut second = Lasting::begin(&tie, None);
        assert!(poll(&mut second).is_ready());
        drop(first);
        assert_eq!(tie.lasting.count(), 1);
        drop(second);
        assert_eq!(tie.lasting.count(), 0);
    }

    #[test]
    fn a_connection_only_lasts_if_nothing_else_is_under_way() {
        let tie = Rc::<Tie>::default();
        assert!(!tie.only_lasts());
        let _lasting = Lasting::begin(&tie, None);
        tie.busy.set(1);
        assert!(tie.only_lasts());
        tie.busy.set(2);
        assert!(!tie.only_lasts());
    }

    #[test]
    fn events_are_what_a_get_listens_to() {
        let check = |method: Method, kind: &'static str, want: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(is_event_stream(&method, &headers), want, "{method} {kind}");
        };
        check(Method::GET, "text/event-stream", true);
        check(Method::GET, "text/event-stream; charset=utf-8", true);
        check(Method::POST, "text/event-stream", false);
        check(Method::GET, "text/html", false);
    }
}
