//! An identity: a certificate chain, its key, and what it says of itself.
//!
//! Names stand in the subjectAltName; the common name counts only without one
//! (RFC 6125 §6.4.4, and no browser follows even that).

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::host::{HostMap, HostPattern};

/// How many names a message lists before it counts the rest.
const NAMES_TOLD_MAX: usize = 5;

/// A certificate chain with its key, and the names it answers for.
pub struct Identity {
    pub(super) certified: Arc<CertifiedKey>,
    covered: HostMap<()>,
    names: Vec<HostPattern>,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    pub origin: Origin,
    pub(super) flaws: Vec<Flaw>,
}

/// Where an identity comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Two files, or one that holds both.
    Files { chain: PathBuf, key: PathBuf },
    /// hostmux's own CA.
    LocalCa,
}

/// Whether a certificate counts at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    NotYet,
    Valid,
    Expired,
}

/// What does not stop a certificate from being served, but some clients from taking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// `CA:TRUE`: what `openssl req -x509` makes unless told otherwise.
    IsCa,
    /// No subjectAltName.
    CommonNameOnly,
}

/// Why a chain and a key are no identity.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadPair {
    #[error("certificate {position} of the chain cannot be read: {why}")]
    Unparsable { position: usize, why: String },
    #[error("the private key is of a kind or size that TLS does not use here")]
    UnsupportedKey,
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    #[error("the certificate names no host")]
    NoName,
}

/// A private key that can sign, with the public key that finds its certificate.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) signing: Arc<dyn SigningKey>,
    /// SubjectPublicKeyInfo, DER.
    pub(super) public: Vec<u8>,
}

/// What is asked of one certificate of a chain.
pub(super) struct Facts {
    /// SubjectPublicKeyInfo, DER.
    pub(super) public: Vec<u8>,
    pub(super) is_ca: bool,
    /// Lists no use, or that of a server (RFC 5280 §4.2.1.12).
    pub(super) is_for_servers: bool,
    pub(super) names: Vec<HostPattern>,
    has_alt_names: bool,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Identity {
    /// Whether the certificate answers for a canonical name. Cheap enough to
    /// be asked at every request.
    pub fn covers(&self, name: &str) -> bool {
        self.covered.get(name).is_some()
    }

    /// Whether it answers for all that the pattern holds.
    pub fn covers_pattern(&self, pattern: &HostPattern) -> bool {
        match pattern {
            HostPattern::Exact(name) => self.covers(name.as_str()),
            HostPattern::Wildcard(_) => self.covered.of(pattern).is_some(),
        }
    }

    /// In the order of the certificate.
    pub fn names(&self) -> &[HostPattern] {
        &self.names
    }

    pub fn validity(&self, now: SystemTime) -> Validity {
        if now < self.not_before {
            Validity::NotYet
        } else if now > self.not_after {
            Validity::Expired
        } else {
            Validity::Valid
        }
    }

    /// The chain as it is sent, the host's own certificate first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// Joins a chain in any order with the one of the keys that belongs to it.
    pub(super) fn from_pair(
        chain: &[CertificateDer<'static>],
        keys: &[Key],
        origin: Origin,
    ) -> Result<Self, BadPair> {
        let facts = Facts::of_chain(chain)?;
        let (leaf, key) = leaf_and_key(&facts, keys).ok_or(BadPair::KeyMismatch)?;
        Self::of_leaf(chain, &facts, leaf, key, origin)
    }

    /// The identity of one certificate of the chain; the others follow it as issuers.
    pub(super) fn of_leaf(
        chain: &[CertificateDer<'static>],
        facts: &[Facts],
        leaf: usize,
        key: &Key,
        origin: Origin,
    ) -> Result<Self, BadPair> {
        let own = &facts[leaf];
        if own.names.is_empty() {
            return Err(BadPair::NoName);
        }
        let ordered = sent_order(facts, leaf)
            .into_iter()
            .map(|n| chain[n].clone())
            .collect();
        let mut flaws = Vec::new();
        if own.is_ca {
            flaws.push(Flaw::IsCa);
        }
        if !own.has_alt_names {
            flaws.push(Flaw::CommonNameOnly);
        }
        Ok(Self {
            flaws,
            ..Self::new(
                CertifiedKey::new(ordered, Arc::clone(&key.signing)),
                own.names.clone(),
                (own.not_before, own.not_after),
                origin,
            )
        })
    }

    pub(super) fn new(
        certified: CertifiedKey,
        names: Vec<HostPattern>,
        (not_before, not_after): (SystemTime, SystemTime),
        origin: Origin,
    ) -> Self {
        let mut covered = HostMap::default();
        for name in &names {
            covered.insert(name.clone(), ());
        }
        Self {
            certified: Arc::new(certified),
            covered,
            names,
            not_before,
            not_after,
            origin,
            flaws: Vec::new(),
        }
    }

    /// The day of its end.
    pub fn told_end(&self) -> String {
        day(self.not_after)
    }

    /// The names for a message: `` `a.com`, `*.a.com` and 3 more ``.
    pub fn told_names(&self) -> String {
        told(&self.names)
    }
}

impl fmt::Debug for Identity {
    /// Without the key and the bytes of the chain.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("names", &self.told_names())
            .field("not_after", &day(self.not_after))
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Key {
    pub(super) fn load(der: &PrivateKeyDer<'_>) -> Result<Self, BadPair> {
        let signing = any_supported_type(der).map_err(|_| BadPair::UnsupportedKey)?;
        let public = signing
            .public_key()
            .ok_or(BadPair::UnsupportedKey)?
            .to_vec();
        Ok(Self { signing, public })
    }
}

impl Facts {
    pub(super) fn of_chain(chain: &[CertificateDer<'_>]) -> Result<Vec<Self>, BadPair> {
        let parsed = chain.iter().enumerate().map(|(n, der)| {
            Self::of(der).map_err(|why| BadPair::Unparsable {
                position: n + 1,
                why,
            })
        });
        parsed.collect()
    }

    pub(super) fn of(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let alt_names = alt_names(&certificate)?;
        let (names, has_alt_names) = match alt_names {
            Some(names) => (names, true),
            None => (common_name(&certificate).into_iter().collect(), false),
        };
        let tbs = &certificate.tbs_certificate;
        Ok(Self {
            public: tbs.subject_pki.raw.to_vec(),
            is_ca: certificate.is_ca(),
            is_for_servers: certificate
                .extended_key_usage()
                .is_ok_and(|uses| uses.is_none_or(|uses| uses.value.server_auth)),
            names,
            has_alt_names,
            subject: tbs.subject.as_raw().to_vec(),
            issuer: tbs.issuer.as_raw().to_vec(),
            not_before: time(tbs.validity.not_before.timestamp()),
            not_after: time(tbs.validity.not_after.timestamp()),
        })
    }

    pub(super) fn validity(&self) -> (SystemTime, SystemTime) {
        (self.not_before, self.not_after)
    }

    /// A CA's own certificate, which no server shows as its own.
    pub(super) fn is_only_ca(&self) -> bool {
        self.is_ca && !self.has_alt_names
    }
}

/// The names that can be matched; what is no host name (an address of mail, a
/// partial wildcard) is passed over.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "another package's list of kinds of names"
)]
fn alt_names(certificate: &X509Certificate<'_>) -> Result<Option<Vec<HostPattern>>, String> {
    let extension = certificate
        .subject_alternative_name()
        .map_err(|error| error.to_string())?;
    let Some(extension) = extension else {
        return Ok(None);
    };
    let mut seen = BTreeSet::new();
    let names = extension.value.general_names.iter();
    let mut hosts = Vec::new();
    let mut found = false;
    for name in names {
        let host = match name {
            GeneralName::DNSName(name) => HostPattern::parse(name).ok(),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => continue,
        };
        found = true;
        hosts.extend(host.filter(|host| seen.insert(host.clone())));
    }
    // RFC 6125 §6.4.4 lets the common name count where no DNS name or address is.
    Ok(found.then_some(hosts))
}

fn address(bytes: &[u8]) -> Option<HostPattern> {
    let text = match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
        (Ok(v4), _) => IpAddr::from(v4).to_string(),
        (_, Ok(v6)) => format!("[{}]", IpAddr::from(v6)),
        (Err(_), Err(_)) => return None,
    };
    HostPattern::parse(&text).ok()
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<HostPattern> {
    let name = certificate.subject().iter_common_name().next()?;
    let name = name.as_str().ok()?;
    // One word is the title of a CA (`MyRootCA`), not a host.
    let is_title = certificate.is_ca() && !name.contains('.') && name != "localhost";
    if is_title {
        return None;
    }
    HostPattern::parse(name).ok()
}

/// The certificate that one of the keys belongs to; a host's before a CA's,
/// should both their keys be here.
fn leaf_and_key<'k>(facts: &[Facts], keys: &'k [Key]) -> Option<(usize, &'k Key)> {
    let with_key = |(n, facts): (usize, &Facts)| {
        let key = keys.iter().find(|key| key.public == facts.public)?;
        Some((n, key))
    };
    let hosts = facts
        .iter()
        .enumerate()
        .filter(|(_, facts)| !facts.is_only_ca());
    let authorities = facts
        .iter()
        .enumerate()
        .filter(|(_, facts)| facts.is_only_ca());
    hosts.chain(authorities).find_map(with_key)
}

/// The leaf, then each certificate's issuer (RFC 8446 §4.4.2), then what is
/// left: the other CAs in the order of the file. Other leaves are left out.
fn sent_order(facts: &[Facts], leaf: usize) -> Vec<usize> {
    let mut order = vec![leaf];
    let mut last = leaf;
    while let Some(next) = issuer_of(facts, last, &order) {
        order.push(next);
        last = next;
    }
    for (n, facts) in facts.iter().enumerate() {
        if facts.is_ca && !order.contains(&n) {
            order.push(n);
        }
    }
    order
}

fn issuer_of(facts: &[Facts], of: usize, taken: &[usize]) -> Option<usize> {
    let mut positions = 0..facts.len();
    positions
        .find(|n| !taken.contains(n) && facts[*n].is_ca && facts[*n].subject == facts[of].issuer)
}

/// A name as a certificate writes it, for messages.
pub(super) fn told(names: &[HostPattern]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(NAMES_TOLD_MAX)
        .map(|name| format!("`{name}`"))
        .collect();
    match names.len().saturating_sub(NAMES_TOLD_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The day in UTC, for messages: `2027-01-31`.
pub(super) fn day(time: SystemTime) -> String {
    in_utc(time, "%Y-%m-%d")
}

/// The second in UTC, for messages: `2027-01-31 17:30:00 UTC`.
pub(super) fn moment(time: SystemTime) -> String {
    in_utc(time, "%Y-%m-%d %H:%M:%S UTC")
}

fn in_utc(time: SystemTime, format: &str) -> String {
    match jiff::Timestamp::try_from(time) {
        Ok(time) => time.strftime(format).to_string(),
        Err(_) => "a day beyond the calendar".to_owned(),
    }
}

/// Seconds of the Unix epoch, as certificates count.
fn time(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
