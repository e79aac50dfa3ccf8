//! hostmux: the front door of one machine. Names to local ports, over TLS.
//!
//! Text becomes meaning, meaning becomes a snapshot, and every request reads
//! one snapshot from top to bottom.
//!
//! ```text
//! sites.yaml ──▶ config::file ──check──▶ Config ──build(previous)──▶ Snapshot ──▶ Live
//!    text         shape              meaning, plain data         what must be open    │
//!                                                                                     │ once a request
//! TCP ─▶ listener ─▶ transport (TLS by SNI) ─▶ h1 or h2 ─▶ Proxy::serve ─▶ answer ─▶ Site ◀──┘
//!                                                              ▲             │
//!                     request id, HSTS, access line ───────────┘          forward ─▶ endpoint
//! ```
//!
//! # A request's life
//!
//! 1. [`server`] accepts on one thread and hands the connection to the thread
//!    with the fewest. It stays there: each thread has a runtime of its own,
//!    its own idle connections to endpoints, and its own coarse clock ([`rt`]).
//! 2. `server::transport` is the client's socket. What a wake-up writes leaves
//!    in one send; over TLS it is sealed into full records first.
//! 3. `server::h1` or `server::h2`, chosen by ALPN, reads a request. What no one
//!    could read is a fault that the proxy tells like every other.
//! 4. [`proxy::Proxy::serve`] answers one request. Its inner ring admits it
//!    ([`proxy::strict`], before any endpoint is asked), finds the [`site`],
//!    waits before its [`site::gate`] if that is shut, finds the route, and
//!    forwards it. An error becomes a response there and nowhere else.
//! 5. `proxy::forward` is the attempt loop: pick an endpoint ([`upstream::balance`]),
//!    take or open a connection, send, and again where [`proxy::retry`] allows
//!    it. Who has to wait for an endpoint is held by `proxy::hold`.
//! 6. [`upstream::client`] speaks HTTP/1.1 to the endpoint, in the same task.
//!    The answer's body carries the connection and gives it back at its end.
//!    Over HTTP/2 ([`upstream::client::mux`]) it is a stream of a connection
//!    that the thread's exchanges share, which a task of its own drives.
//! 7. `proxy::watch` sees the answer's end and writes its one access line.
//!
//! Meanwhile, on the background thread, [`upstream::health`] asks endpoints
//! whether they are well, [`upstream::discovery`] follows their names,
//! [`server::control`] takes commands, `server::watch` notices that files have
//! changed, and [`server::reload`] takes them over. What they learn goes to the [`upstream::registry`], where the
//! next request finds it.
//!
//! Listening sockets outlive a process: systemd may have opened them
//! ([`server::inherit`]), and an upgrade gives them to the next process
//! ([`server::handover`]). The main thread minds signals, upgrades and what
//! [`server::systemd`] is to know.
//!
//! # Who may import whom
//!
//! Bottom first; a file names only its own row or a row above it.
//!
//! | row | modules |
//! |---|---|
//! | values | [`host`] [`path`] [`units`] [`diagnostic`] [`body`] [`framing`] |
//! | thread | [`rt`] |
//! | words | [`error`] [`exchange`] |
//! | parts | [`upstream`] [`tls`] |
//! | config | [`config`] |
//! | snapshot | [`snapshot`] [`site`] |
//! | observe | [`observe`] |
//! | proxy | [`proxy`] |
//! | server | [`server`] |
//! | cli | [`cli`] |
//!
//! `tests/it/layers.rs` enforces it.
//!
//! # Invariants, most of them absences
//!
//! - Only [`error`] chooses a status for a failure; only [`proxy`] turns an
//!   error into a response; only [`observe::access_log`] writes an access
//!   line, exactly one an exchange, when its body has ended.
//! - A request sees one snapshot. A snapshot never changes.
//! - No byte of framing of one side reaches the other: requests and answers
//!   are framed anew ([`framing`]).
//! - Every queue, buffer, retry, header section, body kept in memory and wait
//!   has a bound, with a name and a default in one place.
//! - Tasks: one a client's connection, one a stream of HTTP/2, two a thread
//!   (its clock, and who tells tunnels of a changed configuration), one for
//!   each listener, one a connection of HTTP/2 to an endpoint, one a member that
//!   a health check asks, one a name of an upstream, one a command; one that
//!   watches over each of these last three; and one that watches files. Each
//!   ends at drain.
//! - No `unwrap` or `expect` on anything a client, an upstream or a file said.

pub mod body;
pub mod cli;
pub mod config;
pub mod diagnostic;
pub mod error;
pub mod exchange;
pub mod framing;
pub mod host;
pub mod observe;
pub mod path;
pub mod proxy;
pub mod rt;
pub mod server;
pub mod site;
pub mod snapshot;
pub mod tls;
pub mod units;
pub mod upstream;
