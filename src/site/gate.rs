//! The gate of a site: whether its requests come in, wait, or are turned away.
//!
//! Set by hand (`hostmux pause`, `resume`, `stop`), never by `sites.yaml`, and
//! kept across reloads. A request that comes to an open gate pays one load.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::watch;

use crate::rt::counted::Counted;

/// The longest notice, in characters: escaped, it fits into a page of 4 KiB.
pub const NOTICE_CHARS_MAX: usize = 300;

/// Whether requests come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Open,
    /// New requests wait; those under way go on.
    Paused,
    /// New requests are turned away, perhaps with a word of why.
    Stopped(Option<Notice>),
}

impl State {
    /// One word in logs and `status`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Paused => "paused",
            Self::Stopped(_) => "stopped",
        }
    }
}

/// What visitors of a stopped site are told: one line of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice(String);

/// Why a text is no notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotANotice {
    TooLong,
    /// A line feed, or another control character.
    Control,
}

impl fmt::Display for NotANotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "a message has {NOTICE_CHARS_MAX} characters at most"),
            Self::Control => f.write_str("a message is one line without control characters"),
        }
    }
}

impl Notice {
    /// `None` for an empty text, or one of white space alone.
    pub fn parse(text: &str) -> Result<Option<Self>, NotANotice> {
        let text = text.trim();
        if text.chars().count() > NOTICE_CHARS_MAX {
            return Err(NotANotice::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(NotANotice::Control);
        }
        Ok((!text.is_empty()).then(|| Self(text.to_owned())))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A site's gate. Outlives snapshots.
#[derive(Debug, Default)]
pub struct Gate {
    /// Not open: the rest is worth a look.
    shut: AtomicBool,
    state: watch::Sender<State>,
    waiting: AtomicUsize,
}

impl Gate {
    /// Whether a request has to look closer.
    pub fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Relaxed)
    }

    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Sets it and tells all that wait; gives what it was.
    pub fn set(&self, state: State) -> State {
        self.shut.store(state != State::Open, Ordering::Relaxed);
        self.state.send_replace(state)
    }

    /// How many requests wait before it.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits while it is paused; gives what it is then.
    ///
    /// Dropping the future leaves the line.
    pub async fn wait(&self) -> State {
        let _in_line = Counted::one_more(&self.waiting);
        let mut state = self.state.subscribe();
        match state.wait_for(|state| *state != State::Paused).await {
            Ok(state) => state.clone(),
            Err(_) => State::Open, // the gate itself holds the other end
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_one_bounded_line() {
        let check = |text: &str, want: Result<Option<&str>, NotANotice>| {
            let got = Notice::parse(text);
            let got = got
                .as_ref()
                .map(|notice| notice.as_ref().map(Notice::as_str));
            assert_eq!(got, want.as_ref().map(|want| *want), "{text:?}");
        };
        check("back at noon ", Ok(Some("back at noon")));
        check("  ", Ok(None));
        check("a\nb", Err(NotANotice::Control));
        check("a\u{1b}[31mb", Err(NotANotice::Control));
        check(
            &"ü".repeat(NOTICE_CHARS_MAX),
            Ok(Some(&"ü".repeat(NOTICE_CHARS_MAX))),
        );
        check(&"a".repeat(NOTICE_CHARS_MAX + 1), Err(NotANotice::TooLong));
    }

    #[test]
    fn who_waits_goes_on_when_it_opens_or_is_stopped() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        for next in [State::Open, State::Stopped(None)] {
            let gate = Gate::default();
            gate.set(State::Paused);
            assert!(gate.is_shut());
            let waited = runtime.block_on(async {
                tokio::join!(gate.wait(), async {
                    assert_eq!(gate.waiting(), 1);
                    gate.set(next.clone());
                })
            });
            assert_eq!((waited.0, gate.waiting()), (next, 0));
        }
    }
}
