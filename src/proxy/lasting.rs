//! Exchanges that never end by themselves: tunnels, and streams of events.
//!
//! They must not hold up a stop. So each is told when: until then that costs it
//! a look at a cell. How it ends is its own.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};

use super::Tie;

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
}

#[derive(Debug, Default)]
struct Entry {
    word: Cell<Word>,
    /// Its task, whose waker is always the same.
    waker: RefCell<Option<Waker>>,
}

/// What it was told last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Word {
    #[default]
    Stay,
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

    /// Waking one may end another.
    fn entries(&self) -> Vec<Rc<Entry>> {
        self.entries.borrow().clone()
    }
}

impl Lasting {
    pub(super) fn begin(tie: &Rc<Tie>) -> Self {
        let entry = Rc::<Entry>::default();
        if tie.lasting.is_leaving() {
            entry.word.set(Word::Leave);
        }
        tie.lasting.entries.borrow_mut().push(entry.clone());
        Self {
            tie: tie.clone(),
            entry,
        }
    }

    /// Ready once it has to end. Always of one task, which is woken for it.
    pub fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.entry.word.get() {
            Word::Stay => {
                let mut waker = self.entry.waker.borrow_mut();
                if waker.is_none() {
                    *waker = Some(cx.waker().clone());
                }
                Poll::Pending
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
    fn tell(&self, word: Word) {
        self.word.set(word);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
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
        let mut first = Lasting::begin(&tie);
        assert!(poll(&mut first).is_pending());
        assert_eq!(tie.lasting.count(), 1);
        tie.lasting.leave();
        assert!(poll(&mut first).is_ready());
        let mut second = Lasting::begin(&tie);
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
        let _lasting = Lasting::begin(&tie);
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
