//! Whose certificates endpoints may show: the system's CAs, or those of a file.
//!
//! Read once, with everything else that lies in files; a connection finds its
//! configuration ready. Nothing here can be told not to verify.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};

use super::pem::Pem;
use crate::diagnostic::{self, Diagnostic, Place};

/// What an endpoint that speaks TLS needs.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthoritySettings {
    /// Where the file is named; for the system's, where the endpoint is.
    pub at: diagnostic::Path,
    /// As written; a relative path is beside the configuration file. `None`:
    /// the system's.
    pub ca: Option<PathBuf>,
}

/// Some CAs, and how to connect to those they vouch for.
#[derive(Clone, Debug)]
pub struct Authority {
    /// The same for the same CAs.
    pub fingerprint: u64,
    /// Offers HTTP/2 and HTTP/1.1 (RFC 7301).
    pub any: Arc<ClientConfig>,
    /// Offers HTTP/1.1 alone.
    pub http1: Arc<ClientConfig>,
}

/// All that a configuration names, by its file; `None`: the system's.
#[derive(Clone, Debug, Default)]
pub struct Authorities(HashMap<Option<PathBuf>, Authority>);

impl Authorities {
    pub fn iter(&self) -> impl Iterator<Item = (&Option<PathBuf>, &Authority)> {
        self.0.iter()
    }

    /// Reads what is named; relative paths are beside `base`.
    pub(super) fn load(
        settings: &[AuthoritySettings],
        base: &Path,
        found: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut authorities = HashMap::new();
        for wanted in settings {
            if authorities.contains_key(&wanted.ca) {
                continue;
            }
            let roots = match &wanted.ca {
                None => system(&wanted.at, found),
                Some(file) => match read(&base.join(file), &wanted.at) {
                    Ok(roots) => Arc::new(roots),
                    Err(fault) => {
                        found.push(*fault);
                        continue;
                    }
                },
            };
            match Authority::of(roots) {
                Ok(authority) => {
                    authorities.insert(wanted.ca.clone(), authority);
                }
                Err(error) => found.push(Diagnostic::error(
                    Place::Value(wanted.at.clone()),
                    format!("TLS to endpoints cannot be set up: {error}"),
                )),
            }
        }
        Self(authorities)
    }
}

impl Authority {
    fn of(roots: Arc<RootCertStore>) -> Result<Self, rustls::Error> {
        let mut hasher = DefaultHasher::new();
        for root in &roots.roots {
            (&root.subject[..], &root.subject_public_key_info[..]).hash(&mut hasher);
            root.name_constraints.as_deref().hash(&mut hasher);
        }
        let config = |alpn: &[&[u8]]| -> Result<_, rustls::Error> {
            let mut config = ClientConfig::builder_with_provider(Arc::new(super::provider()))
                .with_protocol_versions(&[&TLS13, &TLS12])?
                .with_root_certificates(Arc::clone(&roots))
                .with_no_client_auth();
            config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            Ok(Arc::new(config))
        };
        Ok(Self {
            fingerprint: hasher.finish(),
            any: config(&[b"h2", b"http/1.1"])?,
            http1: config(&[b"http/1.1"])?,
        })
    }
}

/// The system's CAs, read once a process.
fn system(at: &diagnostic::Path, found: &mut Vec<Diagnostic>) -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    if roots.is_empty() {
        found.push(
            Diagnostic::warning(
                Place::Value(at.clone()),
                "this system trusts no CA, so that no certificate will be believed",
            )
            .label("verified against the system's CAs")
            .help("install them (`ca-certificates`), or name a file: `tls: { ca: FILE }`"),
        );
    }
    Arc::clone(roots)
}

fn read(file: &Path, at: &diagnostic::Path) -> Result<RootCertStore, Box<Diagnostic>> {
    let place = || Place::Value(at.clone());
    let pem = Pem::read(file).and_then(|pem| pem.require_certificate().map(|()| pem));
    let pem = pem.map_err(|fault| {
        Diagnostic::error(place(), fault.to_string())
            .label("expected a PEM file of CA certificates")
            .help(fault.help())
    })?;
    let mut roots = RootCertStore::empty();
    for certificate in pem.certificates {
        roots.add(certificate).map_err(|error| {
            let message = format!(
                "`{}` holds what is no CA certificate: {error}",
                file.display()
            );
            Diagnostic::error(place(), message).label("cannot be trusted")
        })?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(ca: &Path) -> (Authorities, Vec<String>) {
        let at = diagnostic::Path::root().key("ca");
        let settings = AuthoritySettings {
            at,
            ca: Some(ca.to_owned()),
        };
        let mut found = Vec::new();
        let authorities = Authorities::load(&[settings], Path::new("/"), &mut found);
        (
            authorities,
            found.into_iter().map(|fault| fault.message).collect(),
        )
    }

    #[test]
    fn a_file_that_holds_no_ca_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let check = |text: Option<&str>, want: &str| {
            if let Some(text) = text {
                std::fs::write(&file, text).unwrap();
            }
            let (authorities, found) = load(&file);
            assert_eq!(authorities.iter().count(), 0, "{want}");
            assert!(found.len() == 1 && found[0].contains(want), "{found:?}");
        };
        check(None, "does not exist");
        check(Some(""), "is empty");
        check(Some("hello"), "is not PEM");
        check(
            Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "holds what is no CA certificate",
        );
    }

    #[test]
    fn the_same_cas_are_known_again() {
        let certificate = |name: &str| {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
            params.self_signed(&key).unwrap().pem()
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let fingerprint = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let (authorities, found) = load(&file);
            assert_eq!(found, [""; 0]);
            authorities.iter().next().unwrap().1.fingerprint
        };
        let (one, two) = (certificate("one"), certificate("two"));
        assert_eq!(fingerprint(&one), fingerprint(&one));
        assert_ne!(fingerprint(&one), fingerprint(&two));
    }
}
