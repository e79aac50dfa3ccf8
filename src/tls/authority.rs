//! Whose certificates endpoints may show: the system's CAs, or those of a file.
//!
//! Read once, with everything else that lies in files; a connection finds its
//! configuration ready. Nothing here can be told not to verify.
//!
//! A file may hold an endpoint's own certificate, too. A dev server's mostly
//! signs itself and calls itself a CA (`openssl req -x509` makes such), which
//! the usual verification refuses in a server's place; [`Named`] takes it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::identity::Facts;
use super::kept::kept;
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

/// Some CAs or endpoints' own certificates, and how to connect to those they vouch for.
#[derive(Clone, Debug)]
pub struct Authority {
    /// The same for the same certificates.
    pub fingerprint: u64,
    /// Offers HTTP/2 and HTTP/1.1 (RFC 7301).
    pub any: Arc<ClientConfig>,
    /// Offers HTTP/1.1 alone.
    pub http1: Arc<ClientConfig>,
    read_at: SystemTime,
}

/// All that a configuration names, by its file; `None`: the system's.
#[derive(Clone, Debug, Default)]
pub struct Authorities(HashMap<Option<PathBuf>, Authority>);

impl Authorities {
    pub fn iter(&self) -> impl Iterator<Item = (&Option<PathBuf>, &Authority)> {
        self.0.iter()
    }

    /// Reads what is named; relative paths are beside `base`. A file that was
    /// good in `previous` and does not load now stays as it was.
    pub(super) fn load(
        settings: &[AuthoritySettings],
        base: &Path,
        now: SystemTime,
        previous: Option<&Self>,
        found: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut authorities = HashMap::new();
        for wanted in settings {
            if authorities.contains_key(&wanted.ca) {
                continue;
            }
            let roots = match &wanted.ca {
                None => Ok((system(&wanted.at, found), Vec::new())),
                Some(file) => read(&base.join(file), &wanted.at),
            };
            let loaded = roots.and_then(|(roots, named)| {
                Authority::of(roots, named, now).map_err(|error| {
                    Box::new(Diagnostic::error(
                        Place::Value(wanted.at.clone()),
                        format!("TLS to endpoints cannot be set up: {error}"),
                    ))
                })
            });
            let before = previous.and_then(|previous| previous.0.get(&wanted.ca));
            let authority = match (loaded, before) {
                (Ok(authority), _) => authority,
                (Err(fault), Some(before)) => {
                    found.push(kept(*fault, before.read_at));
                    before.clone()
                }
                (Err(fault), None) => {
                    found.push(*fault);
                    continue;
                }
            };
            authorities.insert(wanted.ca.clone(), authority);
        }
        Self(authorities)
    }
}

impl Authority {
    /// `named`: what the file holds; empty for the system's.
    fn of(
        roots: Arc<RootCertStore>,
        named: Vec<CertificateDer<'static>>,
        read_at: SystemTime,
    ) -> Result<Self, rustls::Error> {
        let mut hasher = DefaultHasher::new();
        for root in &roots.roots {
            (&root.subject[..], &root.subject_public_key_info[..]).hash(&mut hasher);
            root.name_constraints.as_deref().hash(&mut hasher);
        }
        // A certificate that was renewed may keep its name and its key.
        named.hash(&mut hasher);
        let provider = Arc::new(super::provider());
        let verifier = if named.is_empty() {
            None
        } else {
            let builder = WebPkiServerVerifier::builder_with_provider(
                Arc::clone(&roots),
                Arc::clone(&provider),
            );
            let usual = builder
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?;
            Some(Arc::new(Named { named, usual }))
        };
        let config = |alpn: &[&[u8]]| -> Result<_, rustls::Error> {
            let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[&TLS13, &TLS12])?;
            let builder = match &verifier {
                None => builder.with_root_certificates(Arc::clone(&roots)),
                Some(verifier) => builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::clone(verifier) as _),
            };
            let mut config = builder.with_no_client_auth();
            config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            Ok(Arc::new(config))
        };
        Ok(Self {
            fingerprint: hasher.finish(),
            any: config(&[b"h2", b"http/1.1"])?,
            http1: config(&[b"http/1.1"])?,
            read_at,
        })
    }
}

/// Verifies as usual, but that a certificate which the file itself holds needs
/// no CA to vouch for it, and may be one.
///
/// It is the same to the byte, so that who named the file named it. What it
/// says of itself counts all the same: its names, its time, its use; and the
/// endpoint proves that it has the key, as always.
#[derive(Debug)]
struct Named {
    named: Vec<CertificateDer<'static>>,
    usual: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.named.contains(end_entity) {
            return self.usual.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            );
        }
        usable_now(end_entity, now)?;
        // RFC 6125 §6.4, RFC 9110 §4.3.4.
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// Whether a certificate counts now (RFC 5280 §4.1.2.5), and for a server.
fn usable_now(certificate: &[u8], now: UnixTime) -> Result<(), CertificateError> {
    let facts = Facts::of(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let (not_before, not_after) = facts.validity();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
    if now < not_before {
        Err(CertificateError::NotValidYet)
    } else if now > not_after {
        Err(CertificateError::Expired)
    } else if !facts.is_for_servers {
        Err(CertificateError::InvalidPurpose)
    } else {
        Ok(())
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

/// What the file's certificates vouch for, and they themselves.
fn read(
    file: &Path,
    at: &diagnostic::Path,
) -> Result<(Arc<RootCertStore>, Vec<CertificateDer<'static>>), Box<Diagnostic>> {
    let place = || Place::Value(at.clone());
    let pem = Pem::read(file).and_then(|pem| pem.require_certificate().map(|()| pem));
    let pem = pem.map_err(|fault| {
        Diagnostic::error(place(), fault.to_string())
            .label("expected a PEM file of CA certificates")
            .help(fault.help())
    })?;
    let mut roots = RootCertStore::empty();
    for certificate in &pem.certificates {
        roots.add(certificate.clone()).map_err(|error| {
            let message = format!(
                "`{}` holds what is no CA certificate: {error}",
                file.display()
            );
            Diagnostic::error(place(), message).label("cannot be trusted")
        })?;
    }
    Ok((Arc::new(roots), pem.certificates))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa};
    use rustls::crypto::aws_lc_rs::sign::any_supported_type;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::sign::{CertifiedKey, SingleCertAndKey};
    use rustls::{ClientConnection, ServerConfig, ServerConnection, SupportedProtocolVersion};

    use super::*;
    use crate::tls::specimen::{Folder, Specimen};

    fn load(ca: &Path) -> (Authorities, Vec<String>) {
        load_after(ca, SystemTime::now(), None)
    }

    fn load_after(
        ca: &Path,
        now: SystemTime,
        previous: Option<&Authorities>,
    ) -> (Authorities, Vec<String>) {
        let at = diagnostic::Path::root().key("ca");
        let settings = AuthoritySettings {
            at,
            ca: Some(ca.to_owned()),
        };
        let mut found = Vec::new();
        let authorities = Authorities::load(&[settings], Path::new("/"), now, previous, &mut found);
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
    fn a_file_that_loads_no_more_stays_as_it_was() {
        let folder = Folder::new();
        let file = folder.write("ca.pem", Specimen::ca("one").pem());
        let read = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let (first, found) = load_after(&file, read, None);
        assert_eq!(found, [""; 0]);
        let fingerprint = |authorities: &Authorities| {
            let (_, authority) = authorities.iter().next().unwrap();
            authority.fingerprint
        };
        folder.write("ca.pem", "");
        let (second, found) = load_after(&file, read + Duration::from_secs(60), Some(&first));
        assert_eq!(fingerprint(&first), fingerprint(&second));
        assert_eq!(
            found,
            [format!(
                "`{}` is empty; the one read at 2027-01-15 08:00:00 UTC is kept",
                file.display()
            )]
        );
        std::fs::remove_file(&file).unwrap();
        let (third, found) = load_after(&file, SystemTime::now(), Some(&second));
        assert_eq!(fingerprint(&first), fingerprint(&third));
        assert!(
            found[0].ends_with("read at 2027-01-15 08:00:00 UTC is kept"),
            "{found:?}"
        );
        folder.write("ca.pem", Specimen::ca("two").pem());
        let (fourth, found) = load_after(&file, SystemTime::now(), Some(&third));
        assert_eq!(found, [""; 0]);
        assert_ne!(fingerprint(&first), fingerprint(&fourth));
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

    #[test]
    fn a_certificate_renewed_with_its_key_is_another() {
        let folder = Folder::new();
        let key = rcgen::KeyPair::generate().unwrap();
        let known = [1, 2].map(|day| {
            let mut params = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(2090, 1, day);
            let certificate = params.self_signed(&key).unwrap();
            let file = folder.write("ca.pem", certificate.pem());
            load(&file).0.iter().next().unwrap().1.fingerprint
        });
        assert_ne!(known[0], known[1]);
    }

    /// Self-signed, and a CA: what `openssl req -x509` makes.
    fn own(names: &[&str]) -> Specimen {
        Specimen::with(names, |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        })
    }

    /// What a client that was given `file` says of a server that shows
    /// `shown` and signs with `key`.
    fn handshake(
        file: &str,
        name: &str,
        shown: &Specimen,
        key: &Specimen,
        version: &'static SupportedProtocolVersion,
    ) -> Result<(), rustls::Error> {
        let folder = Folder::new();
        let (authorities, found) = load(&folder.write("ca.pem", file));
        assert_eq!(found, [""; 0]);
        let authority = authorities.iter().next().unwrap().1;
        let key = PrivateKeyDer::try_from(key.key.serialize_der()).unwrap();
        let certified =
            CertifiedKey::new(vec![shown.der().clone()], any_supported_type(&key).unwrap());
        let config = ServerConfig::builder_with_provider(Arc::new(crate::tls::provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        let mut server = ServerConnection::new(Arc::new(config)).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::clone(&authority.any), name).unwrap();
        while client.is_handshaking() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            server.read_tls(&mut &wire[..]).unwrap();
            server.process_new_packets().unwrap();
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut wire = &wire[..];
            while !wire.is_empty() {
                client.read_tls(&mut wire).unwrap();
                client.process_new_packets()?;
            }
        }
        Ok(())
    }

    #[test]
    fn an_endpoints_own_certificate_is_believed_as_what_it_says() {
        let check = |named: &[&Specimen], name: &str, shown: &Specimen, want: &str| {
            let file: String = named.iter().map(|specimen| specimen.pem()).collect();
            for version in [&TLS12, &TLS13] {
                let said = match handshake(&file, name, shown, shown, version) {
                    Ok(()) => "believed".to_owned(),
                    Err(error) => error.to_string(),
                };
                assert!(said.contains(want), "{name}: {said}, not {want}");
            }
        };
        let (mine, other) = (own(&["a.test", "*.b.test", "127.0.0.1"]), own(&["a.test"]));
        check(&[&mine], "a.test", &mine, "believed");
        check(&[&mine], "x.b.test", &mine, "believed");
        check(&[&mine], "127.0.0.1", &mine, "believed");
        check(&[&other, &mine], "a.test", &mine, "believed");
        check(&[&mine], "c.test", &mine, "not valid for name");
        check(&[&mine], "127.0.0.2", &mine, "not valid for");
        check(&[&mine], "a.test", &other, "invalid peer certificate");

        let dated = |from, to| Specimen::between(&["a.test"], from, to);
        let (past, future) = (dated(-9, -1), dated(1, 9));
        check(&[&past], "a.test", &past, "Expired");
        check(&[&future], "a.test", &future, "NotValidYet");

        let of_client = Specimen::with(&["a.test"], |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        });
        check(&[&of_client], "a.test", &of_client, "InvalidPurpose");
        let nameless = Specimen::ca("a.test");
        check(&[&nameless], "a.test", &nameless, "not valid for name");

        // A CA is still one: it vouches for others.
        let root = Specimen::ca("root");
        let leaf = Specimen::of(&["a.test"]).signed_by(&root);
        check(&[&root], "a.test", &leaf, "believed");
        check(&[&mine], "a.test", &leaf, "UnknownIssuer");
    }

    #[test]
    fn who_has_not_the_key_of_a_certificate_that_is_named_is_refused() {
        let (mine, other) = (own(&["a.test"]), own(&["a.test"]));
        for version in [&TLS12, &TLS13] {
            let said = handshake(&mine.pem(), "a.test", &mine, &other, version);
            assert_eq!(said, Err(CertificateError::BadSignature.into()));
        }
    }
}
