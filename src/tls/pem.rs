//! PEM files: certificates and private keys as they lie on disk.
//!
//! Whether a key belongs to a certificate is judged in `identity`. This is the
//! only user of the PEM package. Text encodings: RFC 7468.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls_pemfile::Item;

/// The largest file that is read, in bytes: some hundred certificates.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The certificates and keys of one file, in its order.
#[derive(Debug)]
pub(super) struct Pem {
    pub(super) path: PathBuf,
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) keys: Vec<PrivateKeyDer<'static>>,
    /// A private key that is none without its passphrase.
    encrypted: bool,
    /// The permission bits of the file.
    mode: u32,
}

/// What is wrong with a file that was to hold a certificate or a key.
#[derive(Debug, thiserror::Error)]
#[error("`{}` {wrong}", path.display())]
pub struct Fault {
    pub path: PathBuf,
    pub wrong: Wrong,
}

/// See [`Fault`].
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    #[error("does not exist")]
    Missing,
    #[error("could not be read: {0}")]
    Unreadable(io::Error),
    #[error("is not a file")]
    NotAFile,
    #[error("is larger than 1 MiB")]
    TooLarge,
    #[error("is empty")]
    Empty,
    #[error("is DER, not PEM")]
    Der,
    #[error("is PKCS#12, not PEM")]
    Pkcs12,
    #[error("is not PEM: no line begins with `-----BEGIN`")]
    NotPem,
    #[error("is damaged: {0}")]
    Damaged(io::Error),
    #[error("holds no certificate")]
    NoCertificate,
    #[error("holds a private key, but no certificate")]
    KeyOnly,
    #[error("holds no private key")]
    NoKey,
    #[error("holds a certificate, but no private key")]
    CertificateOnly,
    #[error("holds neither a certificate nor a private key")]
    Neither,
    #[error("holds an encrypted private key")]
    Encrypted,
}

impl Fault {
    pub(super) fn is_missing(&self) -> bool {
        matches!(self.wrong, Wrong::Missing)
    }

    /// What would be right.
    pub fn help(&self) -> String {
        let path = self.path.display();
        match &self.wrong {
            Wrong::Missing => "a relative path is beside the configuration file".to_owned(),
            Wrong::Unreadable(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                "let the user who runs hostmux read it".to_owned()
            }
            Wrong::Der => format!(
                "convert it: `openssl x509 -inform der -in {path} -out chain.pem` for a \
                 certificate, `openssl pkey -inform der -in {path} -out key.pem` for a key"
            ),
            Wrong::Pkcs12 => {
                format!("convert it: `openssl pkcs12 -in {path} -nodes -out pair.pem`")
            }
            Wrong::KeyOnly | Wrong::CertificateOnly => {
                "perhaps `chain` and `key` are exchanged".to_owned()
            }
            Wrong::Encrypted => format!(
                "take the passphrase off: `openssl pkey -in {path} -out key.pem`, then `chmod 600 key.pem`"
            ),
            Wrong::NoKey => {
                "a private key begins with `-----BEGIN PRIVATE KEY-----`, or RSA or EC PRIVATE KEY"
                    .to_owned()
            }
            Wrong::Unreadable(_)
            | Wrong::NotAFile
            | Wrong::TooLarge
            | Wrong::Empty
            | Wrong::NotPem
            | Wrong::Damaged(_)
            | Wrong::Neither
            | Wrong::NoCertificate => {
                "a PEM file of certificates, the server's own first, begins with \
                 `-----BEGIN CERTIFICATE-----`"
                    .to_owned()
            }
        }
    }
}

impl Pem {
    /// Reads a file whole. A file with neither certificate nor key is no fault
    /// here: see [`Pem::require_certificate`] and [`Pem::require_key`].
    pub(super) fn read(path: &Path) -> Result<Self, Fault> {
        let fault = |wrong| Fault {
            path: path.to_owned(),
            wrong,
        };
        let (bytes, mode) = read_bounded(path).map_err(fault)?;
        let (certificates, keys) = sections(&bytes).map_err(fault)?;
        Ok(Self {
            path: path.to_owned(),
            encrypted: is_encrypted(&bytes),
            certificates,
            keys,
            mode,
        })
    }

    pub(super) fn require_certificate(&self) -> Result<(), Fault> {
        match (self.certificates.is_empty(), self.keys.is_empty()) {
            (false, _) => Ok(()),
            (true, false) => Err(self.fault(Wrong::KeyOnly)),
            (true, true) => Err(self.fault(Wrong::NoCertificate)),
        }
    }

    pub(super) fn require_key(&self) -> Result<(), Fault> {
        if !self.keys.is_empty() {
            return Ok(());
        }
        Err(self.fault(if self.encrypted {
            Wrong::Encrypted
        } else if self.certificates.is_empty() {
            Wrong::NoKey
        } else {
            Wrong::CertificateOnly
        }))
    }

    pub(super) fn require_either(&self) -> Result<(), Fault> {
        if self.certificates.is_empty() && self.keys.is_empty() && !self.encrypted {
            return Err(self.fault(Wrong::Neither));
        }
        self.require_certificate().or_else(|_| self.require_key())
    }

    /// The permission bits, where the file holds a key that users other than
    /// its owner can read.
    pub(super) fn exposed(&self) -> Option<u32> {
        (!self.keys.is_empty() && self.mode & 0o077 != 0).then_some(self.mode)
    }

    fn fault(&self, wrong: Wrong) -> Fault {
        Fault {
            path: self.path.clone(),
            wrong,
        }
    }
}

fn read_bounded(path: &Path) -> Result<(Vec<u8>, u32), Wrong> {
    let unreadable = |error: io::Error| {
        if error.kind() == io::ErrorKind::NotFound {
            Wrong::Missing
        } else {
            Wrong::Unreadable(error)
        }
    };
    // Asked before opening: to open a pipe would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Wrong::NotAFile);
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Wrong::TooLarge);
    }
    Ok((bytes, metadata.mode() & 0o7777))
}

type Sections = (Vec<CertificateDer<'static>>, Vec<PrivateKeyDer<'static>>);

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "another package's list of sections"
)]
fn sections(bytes: &[u8]) -> Result<Sections, Wrong> {
    // Some editors begin a file with a byte order mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Wrong::Empty);
    }
    if !contains(bytes, "-----BEGIN") {
        return Err(not_pem(bytes));
    }
    let (mut certificates, mut keys) = (Vec::new(), Vec::new());
    if is_encrypted_in_place(bytes) {
        // RFC 1421 header lines stand before its base64: the parser would call it damaged.
        return Ok((certificates, keys));
    }
    for item in rustls_pemfile::read_all(&mut &*bytes) {
        match item.map_err(Wrong::Damaged)? {
            Item::X509Certificate(certificate) => certificates.push(certificate),
            Item::Pkcs1Key(key) => keys.push(key.into()),
            Item::Pkcs8Key(key) => keys.push(key.into()),
            Item::Sec1Key(key) => keys.push(key.into()),
            _ => {}
        }
    }
    Ok((certificates, keys))
}

/// What a file without a PEM section is. DER begins with a SEQUENCE whose
/// length takes several bytes; PKCS#12 then says version 3 (RFC 7292 §4).
fn not_pem(bytes: &[u8]) -> Wrong {
    let [0x30, length, rest @ ..] = bytes else {
        return Wrong::NotPem;
    };
    let body = match length {
        0x80 => rest,
        0x81..=0x84 => rest.get(usize::from(length & 0x7f)..).unwrap_or_default(),
        0..=0x7f if rest.len() == usize::from(*length) => rest,
        _ => return Wrong::NotPem,
    };
    if body.starts_with(&[0x02, 0x01, 0x03]) {
        Wrong::Pkcs12
    } else {
        Wrong::Der
    }
}

fn is_encrypted(bytes: &[u8]) -> bool {
    contains(bytes, "-----BEGIN ENCRYPTED PRIVATE KEY-----") || is_encrypted_in_place(bytes)
}

fn is_encrypted_in_place(bytes: &[u8]) -> bool {
    contains(bytes, "Proc-Type: 4,ENCRYPTED")
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::tls::specimen::{Folder, Specimen};

    #[test]
    fn every_encoding_of_a_key_is_read() {
        let folder = Folder::new();
        let check = |name: &str, text: String, kind: fn(&PrivateKeyDer<'_>) -> bool| {
            let pem = Pem::read(&folder.write(name, text)).unwrap();
            assert_eq!(pem.keys.len(), 1, "{name}");
            assert!(kind(&pem.keys[0]), "{name}");
            rustls::crypto::aws_lc_rs::sign::any_supported_type(&pem.keys[0]).unwrap();
        };
        let (ec, rsa) = (Specimen::of(&["a.test"]), Specimen::rsa(&["a.test"]));
        check("ec8.key", ec.key_pem(), |key| {
            matches!(key, PrivateKeyDer::Pkcs8(_))
        });
        check("rsa8.key", rsa.key_pem(), |key| {
            matches!(key, PrivateKeyDer::Pkcs8(_))
        });
        check("ec.key", ec.sec1_pem(), |key| {
            matches!(key, PrivateKeyDer::Sec1(_))
        });
        check("rsa.key", rsa.pkcs1_pem(), |key| {
            matches!(key, PrivateKeyDer::Pkcs1(_))
        });
    }

    #[test]
    fn chain_and_key_may_share_a_file_with_other_text() {
        let folder = Folder::new();
        let specimen = Specimen::of(&["a.test"]);
        let text = format!(
            "\u{feff}Bag Attributes: none\r\n{}\n-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{}",
            specimen.key_pem(),
            specimen.pem()
        );
        let pem = Pem::read(&folder.write("both.pem", text)).unwrap();
        assert_eq!((pem.certificates.len(), pem.keys.len()), (1, 1));
    }

    #[test]
    fn each_broken_file_is_told_apart() {
        let folder = Folder::new();
        let specimen = Specimen::of(&["a.test"]);
        let der = specimen.certificate.der().to_vec();
        let key_der = specimen.key.serialize_der();
        let check = |name: &str, bytes: &[u8], want: &str| {
            let path = folder.write(name, bytes);
            let read = Pem::read(&path);
            let found =
                read.and_then(|pem| pem.require_certificate().and_then(|()| pem.require_key()));
            let fault = found.unwrap_err();
            assert_eq!(
                fault.to_string(),
                format!("`{}` {want}", path.display()),
                "{name}"
            );
            assert!(!fault.help().is_empty());
        };
        check("empty", b"", "is empty");
        check("blank", b" \r\n\n", "is empty");
        check("der", &der, "is DER, not PEM");
        check("key.der", &key_der, "is DER, not PEM");
        check(
            "pfx",
            &[0x30, 0x82, 0x0a, 0, 0x02, 0x01, 0x03, 0x30],
            "is PKCS#12, not PEM",
        );
        check(
            "text",
            b"hello\n",
            "is not PEM: no line begins with `-----BEGIN`",
        );
        check(
            "zero",
            b"0x",
            "is not PEM: no line begins with `-----BEGIN`",
        );
        check("big", &vec![b'-'; (1 << 20) + 1], "is larger than 1 MiB");
        check(
            "key",
            specimen.key_pem().as_bytes(),
            "holds a private key, but no certificate",
        );
        check(
            "chain",
            specimen.pem().as_bytes(),
            "holds a certificate, but no private key",
        );
        let both = specimen.pem() + &specimen.key_pem();
        check(
            "locked",
            both.replace(" PRIVATE", " ENCRYPTED PRIVATE").as_bytes(),
            "holds an encrypted private key",
        );
        check(
            "other",
            both.replace("PRIVATE KEY", "OTHER")
                .replace("CERTIFICATE", "OTHER")
                .as_bytes(),
            "holds no certificate",
        );
        let cut = &both.as_bytes()[..both.len() / 4];
        check(
            "cut",
            cut,
            "is damaged: section end \"CERTIFICATE\" missing",
        );

        let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        let pem = Pem::read(&folder.write("legacy", legacy)).unwrap();
        assert!(matches!(
            pem.require_key().unwrap_err().wrong,
            Wrong::Encrypted
        ));

        let missing = Pem::read(&folder.path().join("none")).unwrap_err();
        assert!(matches!(missing.wrong, Wrong::Missing));
        assert!(matches!(
            Pem::read(folder.path()).unwrap_err().wrong,
            Wrong::NotAFile
        ));
    }

    #[test]
    fn a_key_that_others_can_read_is_noticed() {
        let folder = Folder::new();
        let specimen = Specimen::of(&["a.test"]);
        let check = |text: String, mode: u32, want: Option<u32>| {
            let path = folder.write("file.pem", text);
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(Pem::read(&path).unwrap().exposed(), want, "{mode:o}");
        };
        check(specimen.key_pem(), 0o600, None);
        check(specimen.key_pem(), 0o640, Some(0o640));
        check(specimen.key_pem(), 0o644, Some(0o644));
        check(specimen.pem(), 0o644, None);
    }
}
