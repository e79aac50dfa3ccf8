//! Certificates for tests, made at run time.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, RsaKeySize,
    SerialNumber,
};
use rustls::pki_types::CertificateDer;

use super::local_ca::valid_between;

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// A certificate with its key, valid from ten days ago for a hundred, unless said otherwise.
pub(crate) struct Specimen {
    pub(crate) certificate: Certificate,
    pub(crate) key: KeyPair,
    params: CertificateParams,
}

impl Specimen {
    /// Self-signed, for these names (host names or addresses).
    pub(crate) fn of(names: &[&str]) -> Self {
        Self::made(params(names), KeyPair::generate().unwrap())
    }

    pub(crate) fn rsa(names: &[&str]) -> Self {
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        Self::made(params(names), key)
    }

    /// Valid between two days, counted from now.
    pub(crate) fn between(names: &[&str], from: i64, to: i64) -> Self {
        let mut params = params(names);
        valid_between(&mut params, days_from_now(from), days_from_now(to));
        Self::made(params, KeyPair::generate().unwrap())
    }

    pub(crate) fn with(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = params(names);
        change(&mut params);
        Self::made(params, KeyPair::generate().unwrap())
    }

    pub(crate) fn ca(name: &str) -> Self {
        Self::with(&[], |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, name);
        })
    }

    /// The same with another key, signed by an issuer.
    pub(crate) fn signed_by(self, issuer: &Self) -> Self {
        let by = Issuer::from_params(&issuer.params, &issuer.key);
        let certificate = self.params.signed_by(&self.key, &by).unwrap();
        Self {
            certificate,
            ..self
        }
    }

    pub(crate) fn der(&self) -> &CertificateDer<'static> {
        self.certificate.der()
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The P-256 key without its PKCS#8 envelope, which takes 29 bytes.
    pub(crate) fn sec1_pem(&self) -> String {
        self.unwrapped("EC PRIVATE KEY", 29)
    }

    /// The RSA key without its PKCS#8 envelope, which takes 26 bytes.
    pub(crate) fn pkcs1_pem(&self) -> String {
        self.unwrapped("RSA PRIVATE KEY", 26)
    }

    fn unwrapped(&self, label: &str, envelope_bytes: usize) -> String {
        let inner = self.key.serialized_der()[envelope_bytes..].to_vec();
        let pem = pem_of(label, &inner);
        assert!(pem.contains(label));
        pem
    }

    fn made(mut params: CertificateParams, key: KeyPair) -> Self {
        params.serial_number = Some(SerialNumber::from_slice(&key.public_key_raw()[1..9]));
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate,
            key,
            params,
        }
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    valid_between(&mut params, days_from_now(-10), days_from_now(90));
    params
}

fn days_from_now(days: i64) -> SystemTime {
    let distance = DAY * u32::try_from(days.unsigned_abs()).unwrap();
    if days < 0 {
        SystemTime::now() - distance
    } else {
        SystemTime::now() + distance
    }
}

/// PEM by hand: the label is not one that a certificate maker would write.
fn pem_of(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in der.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for n in 0..4 {
            let sextet = (bits >> (18 - 6 * n)) as usize & 63;
            text.push(if n > chunk.len() {
                '='
            } else {
                char::from(ALPHABET[sextet])
            });
        }
    }
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// A folder that goes with the test.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, its folder too, readable by its owner only.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    /// Writes chain and key of one pair: `NAME.pem`, `NAME.key`.
    pub(crate) fn pair(&self, name: &str, specimen: &Specimen) {
        self.write(&format!("{name}.pem"), specimen.pem());
        self.write(&format!("{name}.key"), specimen.key_pem());
    }
}
