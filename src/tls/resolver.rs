//! Chooses the certificate of a connection, and tells the connection which.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::identity::Identity;
use super::inventory::{Inventory, Which};
use super::local_ca::{LocalCa, machine_name};
use crate::host::{HostName, canonical};

thread_local! {
    /// From `resolve` to `take_chosen`, within one call into rustls and on its
    /// thread. Its unbuffered connections do not tell the server name, and no
    /// connection tells the certificate.
    static CHOSEN: RefCell<Option<Chosen>> = const { RefCell::new(None) };
}

/// What a handshake came to.
#[derive(Clone, Debug)]
pub struct Chosen {
    pub identity: Arc<Identity>,
    /// As the client said it, in canonical spelling; `None` if it said none or
    /// an address (RFC 6066 §3).
    pub server_name: Option<String>,
}

/// Takes what the last ClientHello on this thread got, once.
///
/// Ask right after the call into rustls that read the ClientHello, before any
/// other connection of the thread has its turn, and at each call until the
/// handshake is done: after a HelloRetryRequest a second ClientHello chooses
/// again. A resumed handshake chooses too. `None`: none was read, or it was refused.
pub fn take_chosen() -> Option<Chosen> {
    CHOSEN.take()
}

#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) inventory: Inventory,
    pub(super) authority: Option<Arc<LocalCa>>,
    /// The names of the leaf for clients that say none.
    machine: Vec<HostName>,
}

impl Resolver {
    pub(super) fn new(inventory: Inventory, authority: Option<Arc<LocalCa>>) -> Self {
        let own = ["localhost", "127.0.0.1", "[::1]"];
        let own = own
            .into_iter()
            .filter_map(|name| HostName::parse(name).ok());
        let mut machine: Vec<HostName> = own.chain(machine_name()).collect();
        for address in inventory.addresses() {
            if !machine.contains(address) {
                machine.push(address.clone());
            }
        }
        Self {
            inventory,
            authority,
            machine,
        }
    }

    /// The identity for a canonical name, or for none. May sign a leaf: tens
    /// of microseconds, no input or output.
    fn choose(&self, name: Option<&str>, now: SystemTime) -> Option<Arc<Identity>> {
        let which = match name {
            Some(name) => self.inventory.which(name),
            None => self.inventory.identity_unnamed(),
        };
        match which {
            Which::Files(identity) => Some(Arc::clone(identity)),
            Which::LocalCa => {
                let authority = self.authority.as_ref()?;
                match name {
                    Some(name) => authority.leaf(name, self.inventory.asked(name), now),
                    None => authority.leaf_of_all(&self.machine, now),
                }
            }
            Which::Refused => None,
        }
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        CHOSEN.take();
        let name = match hello.server_name().map(canonical) {
            Some(Ok(name)) => Some(name),
            Some(Err(_)) => return None,
            None => None,
        };
        let identity = self.choose(name.as_deref(), SystemTime::now())?;
        let certified = Arc::clone(&identity.certified);
        CHOSEN.set(Some(Chosen {
            identity,
            server_name: name.map(String::from),
        }));
        Some(certified)
    }
}
