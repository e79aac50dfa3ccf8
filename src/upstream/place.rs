//! Where an endpoint is: as `sites.yaml` says it, and the one address that it
//! comes to.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::host::HostName;

/// Where an endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A port of this machine: `127.0.0.1` and `::1` are both tried, the last
    /// that worked first.
    Port(u16),
    Socket(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    /// Whether the endpoint is on this machine.
    pub fn is_near(&self) -> bool {
        match self {
            Self::Port(_) | Self::Unix(_) => true,
            Self::Socket(address) => address.ip().is_loopback(),
        }
    }

    /// The `Host` of a request to it that shall not tell a public name.
    pub fn host(&self) -> String {
        match self {
            Self::Port(port) => format!("localhost:{port}"),
            Self::Socket(address) => address.to_string(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "localhost:{port}"),
            Self::Socket(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A name of another machine, with the port it listens on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Named {
    pub host: HostName,
    pub port: u16,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Where `sites.yaml` says that endpoints are. What is no address is followed
/// by [`super::discovery`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    At(Address),
    /// Every address of a name.
    Name(Named),
    /// Every target of a service's SRV records (RFC 2782), such as `_web._tcp.internal`.
    Service(HostName),
}

impl Place {
    /// The address, where one is written.
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::At(address) => Some(address),
            Self::Name(_) | Self::Service(_) => None,
        }
    }

    /// The name that a certificate of what is found must be for; `None`: it
    /// must be for the address, or for none that there could be.
    ///
    /// Of a service, it is the domain that was written: targets come from an
    /// answer that anybody on the way can write (RFC 9525 §6.1).
    pub fn certified(&self) -> Option<&str> {
        match self {
            Self::At(_) => None,
            Self::Name(named) => Some(named.host.as_str()),
            Self::Service(service) => {
                let mut rest = service.as_str();
                while let Some((label, parent)) = rest.split_once('.')
                    && label.starts_with('_')
                {
                    rest = parent;
                }
                (!rest.starts_with('_')).then_some(rest)
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Name(named) => named.fmt(f),
            Self::Service(service) => service.fmt(f),
        }
    }
}

/// Where connections of one endpoint go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spot {
    pub address: Address,
    /// The name that it was found behind.
    pub behind: Option<Named>,
}

impl Spot {
    /// The `Host` of a request to it that shall not tell a public name: the
    /// name it was found behind, without the scheme's own port (RFC 9110 §7.2).
    pub fn host(&self, default_port: u16) -> Cow<'_, str> {
        match &self.behind {
            Some(named) if named.port == default_port => named.host.as_str().into(),
            Some(named) => named.to_string().into(),
            None => self.address.host().into(),
        }
    }
}

/// `db.internal:8080@10.0.0.7`: each address of a name has a name of its own.
impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.behind, &self.address) {
            (Some(named), Address::Socket(address)) => write!(f, "{named}@{}", address.ip()),
            (Some(named), Address::Port(_) | Address::Unix(_)) => {
                write!(f, "{named}@{}", self.address)
            }
            (None, address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_for_what_was_written() {
        let check = |service: &str, want: Option<&str>| {
            let service = Place::Service(HostName::parse(service).unwrap());
            assert_eq!(service.certified(), want, "{service}");
        };
        check("_web._tcp.internal", Some("internal"));
        check("_web._tcp.app.internal", Some("app.internal"));
        check("web.service.consul", Some("web.service.consul"));
        check("_web._tcp", None);
    }

    #[test]
    fn each_address_of_a_name_is_told_apart() {
        let check = |ip: &str, told: &str, host: &str| {
            let host_name = HostName::parse("db.internal").unwrap();
            let spot = Spot {
                address: Address::Socket(SocketAddr::new(ip.parse().unwrap(), 80)),
                behind: Some(Named {
                    host: host_name,
                    port: 80,
                }),
            };
            assert_eq!((spot.to_string().as_str(), &*spot.host(443)), (told, host));
            assert_eq!(spot.host(80), "db.internal");
        };
        check("10.0.0.7", "db.internal:80@10.0.0.7", "db.internal:80");
        check("fd00::7", "db.internal:80@fd00::7", "db.internal:80");
    }
}
