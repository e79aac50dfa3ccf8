//! Certificates of a CA of their own, made at run time.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;

/// A folder of certificates with their keys, as `certificates.directory` names it.
pub(crate) struct Certificates {
    directory: tempfile::TempDir,
    pub(crate) issuer: CertificateDer<'static>,
}

impl Certificates {
    /// One certificate for each list of names.
    pub(crate) fn of(certificates: &[&[&str]]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut ca = CertificateParams::new([]).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let issuer = ca.self_signed(&ca_key).unwrap().der().clone();
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
        Self { directory, issuer }
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
