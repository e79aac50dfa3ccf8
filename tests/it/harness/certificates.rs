//! Certificates of a CA of their own, made at run time.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// A folder of certificates with their keys, as `certificates.directory` names it.
pub(crate) struct Certificates {
    directory: tempfile::TempDir,
    /// Apart: a CA's certificate is none of a server's.
    authority: tempfile::TempDir,
    pub(crate) issuer: CertificateDer<'static>,
}

impl Certificates {
    /// One certificate for each list of names.
    pub(crate) fn of(certificates: &[&[&str]]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut ca = CertificateParams::new([]).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let certificate = ca.self_signed(&ca_key).unwrap();
        let issuer = certificate.der().clone();
        let authority = tempfile::tempdir().unwrap();
        write(&authority.path().join("ca.pem"), &certificate.pem());
        let signer = Issuer::new(ca, ca_key);
        for (n, names) in certificates.iter().enumerate() {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let key = KeyPair::generate().unwrap();
            let leaf = CertificateParams::new(names)
                .unwrap()
                .signed_by(&key, &signer)
                .unwrap();
            write(&directory.path().join(format!("{n}.pem")), &leaf.pem());
            write(
                &directory.path().join(format!("{n}.key")),
                &key.serialize_pem(),
            );
        }
        Self {
            directory,
            authority,
            issuer,
        }
    }

    /// One for these names that signs itself and calls itself a CA, as
    /// `openssl req -x509` makes it; it is what [`Self::ca`] holds, too.
    pub(crate) fn self_signed(names: &[&str]) -> Self {
        let (directory, authority) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        write(&authority.path().join("ca.pem"), &certificate.pem());
        write(&directory.path().join("0.pem"), &certificate.pem());
        write(&directory.path().join("0.key"), &key.serialize_pem());
        Self {
            directory,
            authority,
            issuer: certificate.der().clone(),
        }
    }

    /// The file of the CA.
    pub(crate) fn ca(&self) -> String {
        let path = self.authority.path().join("ca.pem");
        path.to_str().unwrap().to_owned()
    }

    /// A server with the first certificate.
    pub(crate) fn acceptor(&self, alpn: &[&str]) -> TlsAcceptor {
        let file = |name: &str| self.directory.path().join(name);
        let chain = CertificateDer::pem_file_iter(file("0.pem")).unwrap();
        let chain = chain.map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(file("0.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    pub(crate) fn path(&self) -> &str {
        self.directory.path().to_str().unwrap()
    }
}

/// As keys have to be: nobody else may read them.
fn write(path: &std::path::Path, text: &str) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}
