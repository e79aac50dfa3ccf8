//! Idle connections of one thread, by endpoint: last in, first out.
//!
//! The one used last is the least likely to be closed by the endpoint, and
//! those at the bottom age out. A connection whose end was seen is never given
//! out; an end that was not seen yet is what a retry is for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Instant;

use super::wire::Wire;
use crate::upstream::Endpoint;

/// The most idle connections that a thread keeps to one endpoint.
const IDLE_MAX: usize = 128;

type Idle = HashMap<u64, Vec<Box<Wire>>, foldhash::fast::RandomState>;

thread_local! {
    static IDLE: RefCell<Idle> = RefCell::default();
}

/// An idle connection to the endpoint, if there is one that still stands.
///
/// `sure`: ask the kernel as well, for a request that may not be sent twice.
pub fn take(endpoint: &Endpoint, now: Instant, sure: bool) -> Option<Box<Wire>> {
    IDLE.with_borrow_mut(|idle| {
        let wires = idle.get_mut(&endpoint.id)?;
        while let Some(mut wire) = wires.pop() {
            let dead = wire.is_stale(now) || (sure && wire.has_ended());
            if !dead {
                return Some(wire);
            }
        }
        None
    })
}

/// Keeps a connection for the next exchange, if it may be kept.
pub fn park(mut wire: Box<Wire>) {
    if !wire.may_idle() {
        return;
    }
    wire.lay_down(Instant::now());
    IDLE.with_borrow_mut(|idle| {
        let wires = idle.entry(wire.endpoint.id).or_default();
        if wires.len() < IDLE_MAX {
            wires.push(wire);
        }
    });
}

/// Closes what has lain too long, and gives memory back; called at each tick.
/// Says whether anything is left to be swept.
pub fn sweep(now: Instant) -> bool {
    let links = super::mux::sweep(now);
    let wires = IDLE.with_borrow_mut(|idle| {
        idle.retain(|_, wires| {
            wires.retain_mut(|wire| {
                wire.shed();
                !wire.is_stale(now)
            });
            !wires.is_empty()
        });
        !idle.is_empty()
    });
    links || wires
}
