//! A pair that a site names, and what is to be said of it.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::diagnostic::{self, Diagnostic, Place, Severity};
use crate::tls::CertificateFiles;
use crate::tls::directory::exposed;
use crate::tls::identity::{BadPair, Flaw, Identity, Key, Origin, Validity, day};
use crate::tls::pem::{Fault, Pem};

/// What an explicit pair turned out to be. Kept, because several sites may name it.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) findings: Vec<Finding>,
}

/// A fault of an explicit pair, before it is known which sites name it.
#[derive(Clone)]
pub(super) struct Finding {
    severity: Severity,
    /// `chain` or `key`.
    key: &'static str,
    pub(super) message: String,
    label: &'static str,
    help: String,
}

impl Pair {
    pub(super) fn read(files: &CertificateFiles, base: &Path, now: SystemTime) -> Self {
        let mut findings = Vec::new();
        let mut read = |key: &'static str, path: &Path, require: fn(&Pem) -> Result<(), Fault>| {
            let pem = Pem::read(&base.join(path)).and_then(|pem| require(&pem).map(|()| pem));
            pem.map_err(|fault| findings.push(Finding::of_file(key, &fault)))
                .ok()
        };
        let chain = read("chain", &files.chain, Pem::require_certificate);
        let key = read("key", &files.key, Pem::require_key);
        let mut identity = None;
        if let (Some(chain), Some(key)) = (chain, key) {
            findings.extend(key.exposed().map(|mode| Finding::exposed(&key, mode)));
            match joined(&chain, &key) {
                Ok(joined) => {
                    findings.extend(concerns(&joined, now));
                    identity = Some(Arc::new(joined));
                }
                Err(bad) => findings.push(Finding::of_pair(&chain, &bad)),
            }
        }
        Self { identity, findings }
    }
}

fn joined(chain: &Pem, key: &Pem) -> Result<Identity, BadPair> {
    let keys: Result<Vec<_>, _> = key.keys.iter().map(Key::load).collect();
    let origin = Origin::Files {
        chain: chain.path.clone(),
        key: key.path.clone(),
    };
    Identity::from_pair(&chain.certificates, &keys?, origin)
}

impl Finding {
    fn of_file(key: &'static str, fault: &Fault) -> Self {
        Self {
            severity: Severity::Error,
            key,
            message: fault.to_string(),
            label: if fault.is_missing() {
                "no such file"
            } else {
                "cannot be used"
            },
            help: fault.help(),
        }
    }

    fn of_pair(chain: &Pem, bad: &BadPair) -> Self {
        let path = chain.path.display();
        let (key, label, help) = match bad {
            BadPair::Unparsable { .. } => (
                "chain",
                "cannot be used",
                format!("`openssl x509 -in {path} -noout -text` shows what a certificate says"),
            ),
            BadPair::UnsupportedKey => (
                "key",
                "cannot be used",
                "use ECDSA P-256, P-384, Ed25519, or RSA of 2048 bits or more".to_owned(),
            ),
            BadPair::KeyMismatch => (
                "key",
                "belongs to another certificate",
                format!(
                    "`openssl x509 -in {path} -noout -pubkey` and `openssl pkey -in KEY -pubout` \
                     print the same for a pair"
                ),
            ),
            BadPair::NoName => (
                "chain",
                "names no host",
                "a certificate names its hosts as subject alternative names".to_owned(),
            ),
        };
        Self {
            severity: Severity::Error,
            key,
            message: format!("{bad} (`{path}`)"),
            label,
            help,
        }
    }

    fn exposed(key: &Pem, mode: u32) -> Self {
        let (message, help) = exposed(&key.path, mode);
        Self {
            severity: Severity::Warning,
            key: "key",
            message,
            label: "readable by others",
            help,
        }
    }

    /// As it is for a pair that a site names.
    pub(super) fn at(self, certificate: &diagnostic::Path) -> Diagnostic {
        let place = Place::Value(certificate.key(self.key));
        Diagnostic {
            severity: self.severity,
            ..self.warning(place)
        }
    }

    /// As it is in the directory, where nothing is an error.
    pub(super) fn warning(self, place: Place) -> Diagnostic {
        Diagnostic::warning(place, self.message)
            .label(self.label)
            .help(self.help)
    }
}

/// What is to be said of a pair that fits together.
pub(super) fn concerns(identity: &Identity, now: SystemTime) -> Vec<Finding> {
    let path = match &identity.origin {
        Origin::Files { chain, .. } => chain.display().to_string(),
        Origin::LocalCa => "the local CA's leaf".to_owned(),
    };
    let finding = |severity, message: String, label, help: &str| Finding {
        severity,
        key: "chain",
        message,
        label,
        help: help.to_owned(),
    };
    let mut findings = Vec::new();
    match identity.validity(now) {
        Validity::Valid => {}
        Validity::Expired => findings.push(finding(
            Severity::Error,
            format!(
                "the certificate `{path}` expired on {}",
                day(identity.not_after)
            ),
            "expired",
            "renew it; browsers refuse it",
        )),
        Validity::NotYet => findings.push(finding(
            Severity::Error,
            format!(
                "the certificate `{path}` is not valid before {}",
                day(identity.not_before)
            ),
            "not valid yet",
            "is the clock of this machine right?",
        )),
    }
    findings.extend(identity.flaws.iter().map(|flaw| match flaw {
        Flaw::IsCa => finding(
            Severity::Warning,
            format!("the certificate `{path}` says that it is a CA"),
            "some clients refuse it",
            "make it with `-addext basicConstraints=critical,CA:FALSE`",
        ),
        Flaw::CommonNameOnly => finding(
            Severity::Warning,
            format!("the certificate `{path}` has no subject alternative name"),
            "browsers refuse it",
            "make it with `-addext subjectAltName=DNS:NAME`",
        ),
    }));
    findings
}
