//! TLS: which certificate a name gets, and how connections are protected.
//!
//! ```yaml
//! certificates: { directory: certs, otherwise: local_ca }
//! sites:
//!   app.example.com: { upstream: 8080, certificate: { chain: app.pem, key: app.key } }
//! ```
//!
//! [`Inventory::load`] reads what lies in files, finds every fault, and keeps
//! what it read before where a renewal is half done; [`LocalCa`] makes
//! certificates for the other names; [`Tickets`] let clients resume what they
//! had, after a restart too; [`Tls`] joins all three to what a listener needs.
//! Bytes are the server's business: nothing here reads a socket. TLS 1.3 is RFC
//! 8446, TLS 1.2 is RFC 5246 with RFC 9325's advice.

mod authority;
mod directory;
mod identity;
mod inventory;
mod kept;
mod leaf_cache;
mod local_ca;
mod pem;
mod resolver;
#[cfg(test)]
mod specimen;
mod tickets;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedCipherSuite};

pub use authority::{Authorities, Authority, AuthoritySettings};
pub use identity::{Identity, Origin, Validity};
pub use inventory::{FILES_TOLD_MAX, Inventory, Told, Which};
pub use local_ca::{CaFault, LocalCa};
pub use resolver::{Chosen, take_chosen};
pub use tickets::{FILE as TICKETS_FILE, Tickets};

use crate::diagnostic;
use crate::host::HostPattern;
use resolver::Resolver;

/// The protocols spoken over TLS, most wanted first (RFC 7301).
const ALPN: [&[u8]; 3] = [b"h2", b"http/1.1", b"http/1.0"];

/// In the order in which they are chosen, whatever the client's: Mozilla's
/// "intermediate" list. AES-128 first: no client is the less safe for it, and
/// it costs the least where processors know AES.
const CIPHER_SUITES: [SupportedCipherSuite; 9] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// How many tickets a new TLS 1.3 session gets. A browser that comes back gets
/// the next one then; a second one costs every handshake a record.
const TICKETS: usize = 1;

/// What the configuration says of certificates.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `certificates.directory`; a relative path is beside the configuration file.
    pub directory: PathBuf,
    /// The directory was written down, so that it has to be there.
    pub directory_is_required: bool,
    pub otherwise: Otherwise,
    /// All sites, the fallback too.
    pub sites: Vec<SiteSettings>,
    /// Whom endpoints that speak TLS are vouched for by.
    pub authorities: Vec<AuthoritySettings>,
}

/// What one site says of certificates.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteSettings {
    /// Where the site stands: `sites.NAME`, or `fallback`.
    pub at: diagnostic::Path,
    /// Empty for the fallback.
    pub hosts: Vec<HostPattern>,
    pub certificate: Option<CertificateFiles>,
}

/// `certificates.otherwise`: what a name that no certificate covers gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Otherwise {
    /// A certificate issued by hostmux's own CA.
    #[default]
    LocalCa,
    /// A failed handshake.
    Refuse,
}

/// `certificate`: a pair of PEM files, as written, or one file named twice;
/// relative paths are beside the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// What listeners need: a rustls configuration that chooses certificates.
#[derive(Debug)]
pub struct Tls {
    config: Arc<ServerConfig>,
    resolver: Arc<Resolver>,
    tickets: Arc<Tickets>,
}

impl Tls {
    /// Without an authority, names that no file covers are refused. Clients
    /// resume the sessions that `tickets` can open.
    pub fn new(
        inventory: Inventory,
        authority: Option<Arc<LocalCa>>,
        tickets: Arc<Tickets>,
    ) -> Result<Self, rustls::Error> {
        let resolver = Arc::new(Resolver::new(inventory, authority));
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&resolver) as _);
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
        config.ignore_client_order = true;
        config.send_tls13_tickets = TICKETS;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::clone(&tickets) as _;
        // RFC 8446 §8: what is sent early can be replayed.
        config.max_early_data_size = 0;
        Ok(Self {
            config: Arc::new(config),
            resolver,
            tickets,
        })
    }

    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    pub fn inventory(&self) -> &Inventory {
        &self.resolver.inventory
    }

    /// Hand it on to the next [`Tls::new`], with the leaves it has made.
    pub fn authority(&self) -> Option<&Arc<LocalCa>> {
        self.resolver.authority.as_ref()
    }

    /// Hand them on to the next [`Tls::new`], so that clients resume across a reload.
    pub fn tickets(&self) -> &Arc<Tickets> {
        &self.tickets
    }

    /// What a name gets, in any spelling of it. Issues nothing.
    pub fn identity_for(&self, name: &str) -> Which<'_> {
        let which = self.inventory().identity_for(name);
        if matches!(which, Which::LocalCa) && self.authority().is_none() {
            return Which::Refused;
        }
        which
    }
}

/// The cryptography of all connections.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: CIPHER_SUITES.to_vec(),
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
        ],
        ..aws_lc_rs::default_provider()
    }
}

#[cfg(test)]
mod tests;
