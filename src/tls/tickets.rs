//! Session tickets (RFC 5077, RFC 8446 §4.6.1) whose keys outlive the process:
//! clients resume across a reload, a restart and an upgrade.
//!
//! Keys change every six hours; the last one opens for six more, and is then
//! erased. They lie in `tickets.key` of a folder that the caller names: under
//! systemd the runtime folder, which is memory, so that they never reach a
//! disk. Processes that overlap share the file: who meets a ticket of an
//! unknown key looks there again.
//!
//! Nothing here keeps hostmux from starting. Where the file cannot be read it
//! is replaced, where it cannot be written the keys are this process's own, and
//! either is said once.

mod file;
mod key;
mod ring;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, TryLockError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::server::ProducesTickets;

pub use self::file::FILE;

use self::file::KeyFile;
use self::key::{Key, NAME_BYTES, OPENS_S};
use self::ring::Ring;

/// How long clients may keep a ticket, in seconds: as long as its key may open.
const LIFETIME_S: u32 = OPENS_S as u32;
// RFC 8446 §4.6.1: seven days at most.
const _: () = assert!(LIFETIME_S <= 604_800);
/// The longest ticket, in bytes. Ours hold a secret, a server name and a
/// protocol; what is longer is not ours.
const TICKET_BYTES_MAX: usize = 1_024;

/// Makes tickets and opens them.
pub struct Tickets {
    ring: ArcSwap<Ring>,
    file: Option<KeyFile>,
    /// Held by who makes new keys, for which no other handshake waits: whether
    /// it was said that something is wrong with the file.
    told: Mutex<bool>,
    /// The file holds the newest key, or there is to be none.
    kept: AtomicBool,
    /// The second in which new keys were last tried for.
    tried_s: AtomicU64,
    /// The second in which the file was last read for the sake of an unknown name.
    looked_s: AtomicU64,
}

impl Tickets {
    /// With the keys of this folder, which are made if there are none. What is
    /// wrong with the folder is warned of.
    pub fn open(folder: &Path, now: SystemTime) -> Self {
        Self::with(Some(KeyFile::of(folder)), now)
    }

    /// With keys of this process alone.
    pub fn fleeting(now: SystemTime) -> Self {
        Self::with(None, now)
    }

    fn with(file: Option<KeyFile>, now: SystemTime) -> Self {
        let tickets = Self {
            ring: ArcSwap::default(),
            file,
            told: Mutex::new(false),
            kept: AtomicBool::new(false),
            tried_s: AtomicU64::new(0),
            looked_s: AtomicU64::new(0),
        };
        tickets.renew(seconds(now));
        tickets
    }

    fn seal(&self, plain: &[u8], now: u64) -> Option<Vec<u8>> {
        let stale = !self.ring.load().is_fresh(now) || !self.kept.load(Ordering::Relaxed);
        // Once a second: a folder that takes nothing is not tried at each handshake.
        if stale && self.tried_s.load(Ordering::Relaxed) != now {
            self.renew(now);
        }
        let ticket = self.ring.load().sealing(now)?.seal(plain)?;
        (ticket.len() <= TICKET_BYTES_MAX).then_some(ticket)
    }

    fn unseal(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_BYTES_MAX {
            return None;
        }
        let (name, sealed) = ticket.split_first_chunk::<NAME_BYTES>()?;
        if let Some(key) = self.ring.load().opening(name, now) {
            return key.open(sealed);
        }
        // Anybody can send an unknown name: it costs one look a second.
        if self.looked_s.swap(now, Ordering::Relaxed) == now {
            return None;
        }
        // What another process has put there meanwhile.
        let found = self.file.as_ref()?.read(now).ok()?;
        self.join(&found, now);
        self.ring.load().opening(name, now)?.open(sealed)
    }

    /// Sees to it that there is a fresh key, and that the file holds it.
    fn renew(&self, now: u64) {
        let mut told = match self.told.try_lock() {
            Ok(told) => told,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        self.tried_s.store(now, Ordering::Relaxed);
        let exchanged = match &self.file {
            None => Ok(true),
            Some(file) => self.exchange(file, *told, now),
        };
        // Without a file, too.
        self.make(now);
        self.kept
            .store(*exchanged.as_ref().unwrap_or(&false), Ordering::Relaxed);
        if let (Err(error), Some(file), false) = (&exchanged, &self.file, *told) {
            tracing::warn!(
                file = %file.path.display(), %error,
                "the keys of TLS tickets cannot be kept: no session is resumed after this process"
            );
        }
        *told = exchanged.is_err();
    }

    /// Takes in the file's keys and leaves ours there; whether it did.
    fn exchange(&self, file: &KeyFile, told: bool, now: u64) -> io::Result<bool> {
        // Another process is at it: what it makes is seen the next time.
        let Some(lock) = file.lock()? else {
            return Ok(false);
        };
        let found = file.read(now).unwrap_or_else(|fault| {
            if !told {
                tracing::warn!(
                    file = %file.path.display(), why = %fault,
                    "the keys of TLS tickets are made anew: sessions from before are not resumed"
                );
            }
            Ring::default()
        });
        self.join(&found, now);
        self.make(now);
        let ring = self.ring.load();
        if !ring.is_as(&found) {
            file.write(&lock, &ring)?;
        }
        Ok(true)
    }

    fn join(&self, found: &Ring, now: u64) {
        self.ring.rcu(|ring| ring.joined(found, now));
    }

    /// Adds a key if none is fresh, and erases those that open no more.
    fn make(&self, now: u64) {
        if self.ring.load().is_fresh(now) {
            return;
        }
        match Key::random(now) {
            Some(key) => self.join(&Ring::of(vec![key], now), now),
            None => tracing::error!("the system gives no random numbers"),
        }
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_S
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, seconds(SystemTime::now()))
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.unseal(cipher, seconds(SystemTime::now()))
    }
}

impl fmt::Debug for Tickets {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

/// Seconds of the Unix epoch.
fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
