//! A ticket key: what seals sessions for some hours, and opens them for some more.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};

/// A key seals for so long, in seconds: 6 h.
pub(super) const SEALS_S: u64 = 6 * 3_600;
/// It opens for so long, in seconds: as much again.
pub(super) const OPENS_S: u64 = 2 * SEALS_S;
/// How far ahead of our clock a key may have been made, in seconds, before it
/// counts as none: a clock that was set back must not make keys immortal.
const AHEAD_MAX_S: u64 = SEALS_S;

/// The name that stands before a ticket, in bytes (RFC 5077 §4).
pub(super) const NAME_BYTES: usize = 16;
pub(super) const SECRET_BYTES: usize = 32;

pub(super) type Name = [u8; NAME_BYTES];

/// A key, with its cipher ready.
pub(super) struct Key {
    pub(super) name: Name,
    /// When it was made, in seconds of the Unix epoch.
    pub(super) made: u64,
    pub(super) secret: [u8; SECRET_BYTES],
    cipher: RandomizedNonceKey,
}

impl Key {
    pub(super) fn new(made: u64, name: Name, secret: [u8; SECRET_BYTES]) -> Option<Self> {
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, &secret).ok()?;
        Some(Self {
            name,
            made,
            secret,
            cipher,
        })
    }

    /// `None`: the system gives no random numbers.
    pub(super) fn random(now: u64) -> Option<Self> {
        let (mut name, mut secret) = ([0; NAME_BYTES], [0; SECRET_BYTES]);
        aws_lc_rs::rand::fill(&mut name).ok()?;
        aws_lc_rs::rand::fill(&mut secret).ok()?;
        Self::new(now, name, secret)
    }

    pub(super) fn seals(&self, now: u64) -> bool {
        self.age(now).is_some_and(|age| age < SEALS_S)
    }

    pub(super) fn opens(&self, now: u64) -> bool {
        self.age(now).is_some_and(|age| age < OPENS_S)
    }

    fn age(&self, now: u64) -> Option<u64> {
        let ahead = self.made.saturating_sub(now);
        (ahead <= AHEAD_MAX_S).then(|| now.saturating_sub(self.made))
    }

    /// Name, nonce, sealed text, tag. A random nonce is enough for 2^32
    /// tickets of one key (NIST SP 800-38D §8.3): 190,000 a second.
    pub(super) fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let aad = Aad::from(self.name);
        let nonce = self.cipher.seal_in_place_append_tag(aad, &mut sealed);
        let mut ticket = Vec::with_capacity(NAME_BYTES + NONCE_LEN + sealed.len());
        ticket.extend_from_slice(&self.name);
        ticket.extend_from_slice(nonce.ok()?.as_ref());
        ticket.append(&mut sealed);
        Some(ticket)
    }

    /// What is behind the name, opened. `None`: it was not sealed so.
    pub(super) fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut bytes = sealed.to_vec();
        let aad = Aad::from(self.name);
        let opened = self
            .cipher
            .open_in_place(Nonce::from(nonce), aad, &mut bytes);
        let length = opened.ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}

impl fmt::Debug for Key {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("made", &self.made)
            .finish_non_exhaustive()
    }
}
