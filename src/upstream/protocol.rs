//! What is spoken to an endpoint: HTTP/1.1, HTTP/2 by prior knowledge, or
//! either of them inside TLS, by ALPN (RFC 9113 §3.2, §3.3).
//!
//! ```yaml
//! grpc.example.com: h2c://9000
//! far.example.com: https://10.0.0.7:8443
//! own.example.com: { upstream: { endpoints: https://10.0.0.8:8443, tls: { ca: ca.pem, name: own.internal } } }
//! ```
//!
//! A certificate is always verified; there is no key that says otherwise.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::{Address, NoTrust};

/// An endpoint as meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointSettings {
    pub address: Address,
    pub protocol: ProtocolSettings,
    /// Its share of the requests beside the others'. Default 1; 0: none but
    /// those that stick to it.
    pub weight: u16,
    /// Asked only when none of the others can be. Default: no.
    pub backup: bool,
}

/// The scheme of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProtocolSettings {
    /// None, or `http://`.
    #[default]
    Http1,
    /// `h2c://`
    H2c,
    /// `https://`
    Tls(TlsSettings),
}

/// `tls` of an endpoint, or of all of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// A PEM file of the only CAs, or endpoints' own certificates, that are
    /// trusted. As written; a relative path is beside the configuration file.
    /// `None`: the system's.
    pub ca: Option<PathBuf>,
    /// The name that the certificate must be for. `None`: the address's host.
    pub name: Option<EndpointName>,
}

/// A name or an address that a certificate can be for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointName(ServerName<'static>);

impl EndpointName {
    pub fn parse(text: &str) -> Option<Self> {
        ServerName::try_from(text.to_owned()).ok().map(Self)
    }
}

impl From<Address> for EndpointSettings {
    fn from(address: Address) -> Self {
        Self {
            address,
            protocol: ProtocolSettings::Http1,
            weight: 1,
            backup: false,
        }
    }
}

impl fmt::Display for EndpointSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            ProtocolSettings::Http1 => "",
            ProtocolSettings::H2c => "h2c://",
            ProtocolSettings::Tls(_) => "https://",
        };
        write!(f, "{scheme}{}", self.address)
    }
}

/// How a running endpoint is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    Http1,
    H2c,
    Tls {
        trust: Trust,
        name: ServerName<'static>,
    },
}

impl Protocol {
    pub(super) fn of(
        settings: &EndpointSettings,
        trust: impl FnOnce(&Option<PathBuf>) -> Option<Trust>,
    ) -> Result<Self, NoTrust> {
        Ok(match &settings.protocol {
            ProtocolSettings::Http1 => Self::Http1,
            ProtocolSettings::H2c => Self::H2c,
            ProtocolSettings::Tls(tls) => Self::Tls {
                trust: trust(&tls.ca).ok_or(NoTrust)?,
                name: match &tls.name {
                    Some(EndpointName(name)) => name.clone(),
                    None => name_of(&settings.address),
                },
            },
        })
    }
}

/// The host of an address, as its certificate has to have it.
fn name_of(address: &Address) -> ServerName<'static> {
    match address {
        Address::Port(_) => {
            ServerName::try_from("localhost").expect("`localhost` can stand in a certificate")
        }
        Address::Socket(address) => ServerName::from(address.ip()),
        // No endpoint with TLS has such an address.
        Address::Unix(_) => ServerName::from(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    }
}

/// Whose certificates are believed, ready for connections.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Two with the same CAs have the same.
    pub fingerprint: u64,
    /// Offers HTTP/2 and HTTP/1.1.
    pub any: Arc<ClientConfig>,
    /// Offers HTTP/1.1 alone: for what HTTP/2 cannot carry to an endpoint.
    pub http1: Arc<ClientConfig>,
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Trust {}

impl Hash for Trust {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}
