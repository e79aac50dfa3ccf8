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
use std::path::PathBuf;
use std::sync::Arc;

use http::uri::Scheme;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::Unfit;
use super::discovery::Found;
use super::place::{Address, Place, Spot};

/// An endpoint as meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointSettings {
    pub place: Place,
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
    /// The name that the certificate must be for. `None`: the host as written;
    /// of a service, the domain behind `_service._proto`.
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
            place: Place::At(address),
            protocol: ProtocolSettings::Http1,
            weight: 1,
            backup: false,
        }
    }
}

impl EndpointSettings {
    /// What it comes to, where an address is written.
    pub fn written(&self) -> Option<Found> {
        let address = self.place.address()?.clone();
        Some(Found {
            spot: Spot {
                address,
                behind: None,
            },
            weight: self.weight,
            backup: self.backup,
        })
    }
}

impl ProtocolSettings {
    /// As it stands before an address; none for HTTP/1.1.
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::Http1 => "",
            Self::H2c => "h2c://",
            Self::Tls(_) => "https://",
        }
    }
}

/// As `sites.yaml` has it; what is found behind one name is told under this.
impl fmt::Display for EndpointSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, &self.protocol) {
            (Place::Service(service), ProtocolSettings::Http1) => {
                write!(f, "srv+http://{service}")
            }
            (Place::Service(service), protocol) => write!(f, "srv+{}{service}", protocol.scheme()),
            (place, protocol) => write!(f, "{}{place}", protocol.scheme()),
        }
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
    /// The scheme of a request over it (RFC 9110 §4.2).
    pub fn scheme(&self) -> Scheme {
        match self {
            Self::Http1 | Self::H2c => Scheme::HTTP,
            Self::Tls { .. } => Scheme::HTTPS,
        }
    }

    /// The port that a URL of it leaves out.
    pub(super) fn default_port(&self) -> u16 {
        match self {
            Self::Http1 | Self::H2c => 80,
            Self::Tls { .. } => 443,
        }
    }

    pub(super) fn of(
        settings: &EndpointSettings,
        trust: impl FnOnce(&Option<PathBuf>) -> Option<Trust>,
    ) -> Result<Self, Unfit> {
        Ok(match &settings.protocol {
            ProtocolSettings::Http1 => Self::Http1,
            ProtocolSettings::H2c => Self::H2c,
            ProtocolSettings::Tls(tls) => Self::Tls {
                trust: trust(&tls.ca).ok_or(Unfit::NoTrust)?,
                name: match &tls.name {
                    Some(EndpointName(name)) => name.clone(),
                    None => name_of(&settings.place)?,
                },
            },
        })
    }
}

/// The host of a place, as a certificate has to have it.
fn name_of(place: &Place) -> Result<ServerName<'static>, Unfit> {
    match place {
        Place::At(Address::Port(_)) => {
            Ok(ServerName::try_from("localhost").expect("`localhost` can stand in a certificate"))
        }
        Place::At(Address::Socket(address)) => Ok(ServerName::from(address.ip())),
        // No endpoint with TLS has such an address.
        Place::At(Address::Unix(_)) => Err(Unfit::NoCertificate),
        Place::Name(_) | Place::Service(_) => {
            let name = place.certified().ok_or(Unfit::NoCertificate)?;
            ServerName::try_from(name.to_owned()).map_err(|_| Unfit::NoCertificate)
        }
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
