//! The local CA: certificates for names that no file covers.
//!
//! Made once and kept in `STATE/local-ca`: `ca.pem`, which a browser is told
//! to trust, and `ca.key`, which stays here. Leaves are made on the first
//! handshake for a name and live in memory; they share one key, which is never
//! written anywhere.
//!
//! What browsers ask of a leaf: serverAuth, a subjectAltName, a life of at
//! most 825 days, serial numbers that never repeat.

mod fault;

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::crypto::{SecureRandom, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::directory::exposed;
use super::identity::{Facts, Identity, Key, Origin, day};
use super::leaf_cache::LeafCache;
use super::pem::{Fault, Pem};
use crate::diagnostic::{Diagnostic, Place};
use crate::host::{HostName, HostPattern};

pub use fault::CaFault;
use fault::otherwise;

/// The folder of the CA in the state folder.
const FOLDER: &str = "local-ca";
const CERTIFICATE_FILE: &str = "ca.pem";
const KEY_FILE: &str = "ca.key";

const DAY: Duration = Duration::from_secs(86_400);
/// How long the CA lives: ten years.
const CA_LIFE: Duration = DAY.saturating_mul(3_650);
/// How long a leaf lives; browsers take at most 825 days from a CA of the user's own.
const LEAF_LIFE: Duration = DAY.saturating_mul(90);
/// How far back a life begins, for clients whose clock is behind.
const BACKDATED: Duration = Duration::from_secs(3_600);

/// How many leaves are kept for names that only a client said.
const LEAVES_OF_STRANGERS_MAX: usize = 1_024;
/// How many such leaves are made a second; one takes some 30 µs.
const LEAVES_OF_STRANGERS_A_SECOND: u32 = 50;
/// How many leaves are kept for names that sites have. They are as many as the
/// file names, so making them needs no bound.
const LEAVES_OF_SITES_MAX: usize = 16_384;

/// The longest common name (RFC 5280, ub-common-name), in characters.
const COMMON_NAME_MAX: usize = 64;

/// hostmux's own CA, opened.
pub struct LocalCa {
    folder: PathBuf,
    certificate: CertificateDer<'static>,
    /// The permission bits of the key, where other users can read it.
    exposed: Option<u32>,
    not_before: SystemTime,
    not_after: SystemTime,
    issuer: Issuer<'static, KeyPair>,
    /// The key of all leaves.
    leaf_key: KeyPair,
    leaf_signing: Key,
    random: &'static dyn SecureRandom,
    of_sites: LeafCache,
    of_strangers: LeafCache,
}

/// Who asks for a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A name that stands in the configuration.
    BySite,
    /// A name that only the client said: it could say any.
    ByStranger,
}

impl LocalCa {
    /// Opens the CA of this state folder, and makes it if there is none. Safe
    /// with several processes at once: the first one's is taken by all.
    pub fn open(state: &Path, now: SystemTime) -> Result<Self, CaFault> {
        let folder = state.join(FOLDER);
        if let Some(ca) = Self::load(state, now)? {
            return Ok(ca);
        }
        make(state, &folder, now)?;
        Self::load(state, now)?.ok_or_else(|| CaFault::Store {
            path: folder.clone(),
            source: io::ErrorKind::NotFound.into(),
        })
    }

    /// Opens the CA, if there is one. Writes nothing.
    pub fn load(state: &Path, now: SystemTime) -> Result<Option<Self>, CaFault> {
        let folder = state.join(FOLDER);
        let (path, key_path) = (folder.join(CERTIFICATE_FILE), folder.join(KEY_FILE));
        let read = || (Pem::read(&path), Pem::read(&key_path));
        let mut files = read();
        if is_missing(&files.0) != is_missing(&files.1) {
            // Another process may have moved both here between the two reads.
            files = read();
        }
        if is_missing(&files.0) && is_missing(&files.1) {
            return Ok(None);
        }
        let (file, key_file) = (files.0?, files.1?);
        file.require_certificate()?;
        key_file.require_key()?;

        let unusable = |path: &Path, why: &dyn fmt::Display| CaFault::Unusable {
            path: path.to_owned(),
            why: why.to_string(),
        };
        let certificate = file.certificates[0].clone();
        let facts = Facts::of(&certificate).map_err(|why| unusable(&path, &why))?;
        let key = Key::load(&key_file.keys[0]).map_err(|bad| unusable(&key_path, &bad))?;
        if key.public != facts.public {
            return Err(unusable(&key_path, &"it does not belong to `ca.pem`"));
        }
        if !facts.is_ca {
            return Err(unusable(&path, &"it is no CA certificate"));
        }
        let (not_before, not_after) = facts.validity();
        if now > not_after {
            return Err(CaFault::Expired {
                path,
                on: not_after,
            });
        }
        if now < not_before {
            return Err(CaFault::NotYetValid {
                path,
                from: not_before,
            });
        }
        let pair =
            KeyPair::try_from(&key_file.keys[0]).map_err(|error| unusable(&key_path, &error))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, pair)
            .map_err(|error| unusable(&path, &error))?;
        let leaf_key = KeyPair::generate().map_err(CaFault::Make)?;
        let leaf_signing = signing(&leaf_key)?;
        Ok(Some(Self {
            folder,
            certificate,
            exposed: key_file.exposed(),
            not_before,
            not_after,
            issuer,
            leaf_key,
            leaf_signing,
            random: aws_lc_rs::default_provider().secure_random,
            of_sites: LeafCache::new(LEAVES_OF_SITES_MAX, None),
            of_strangers: LeafCache::new(
                LEAVES_OF_STRANGERS_MAX,
                Some(LEAVES_OF_STRANGERS_A_SECOND),
            ),
        }))
    }

    /// The file that browsers and `curl --cacert` are given.
    pub fn certificate_path(&self) -> PathBuf {
        self.folder.join(CERTIFICATE_FILE)
    }

    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// What `check` and `run` warn of: a key that other users can read.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let exposed = self.exposed.map(|mode| {
            let (message, help) = exposed(&self.folder.join(KEY_FILE), mode);
            Diagnostic::warning(Place::Value(otherwise()), message).help(help)
        });
        exposed.into_iter().collect()
    }

    /// A leaf for a canonical name, from the cache or made now. `None` when
    /// too many were made in this second, or when the CA has expired.
    pub(super) fn leaf(&self, name: &str, asked: Asked, now: SystemTime) -> Option<Arc<Identity>> {
        let cache = match asked {
            Asked::BySite => &self.of_sites,
            Asked::ByStranger => &self.of_strangers,
        };
        cache.leaf(name, now, || {
            let name = HostName::parse(name).map_err(|_| NoLeaf)?;
            self.issue(&[name], now)
        })
    }

    /// One leaf for several names, at least one: for clients that say no name.
    pub(super) fn leaf_of_all(&self, names: &[HostName], now: SystemTime) -> Option<Arc<Identity>> {
        let texts: Vec<&str> = names.iter().map(HostName::as_str).collect();
        // No name holds a space, so that no client can ask for this key.
        self.of_sites
            .leaf(&texts.join(" "), now, || self.issue(names, now))
    }

    fn issue(&self, names: &[HostName], now: SystemTime) -> Result<Identity, NoLeaf> {
        let not_before = whole_seconds(now).checked_sub(BACKDATED).ok_or(NoLeaf)?;
        let not_before = not_before.max(self.not_before);
        // Both ends belong to the life of a certificate (RFC 5280 §4.1.2.5).
        let not_after = not_before + LEAF_LIFE - Duration::from_secs(1);
        let not_after = not_after.min(self.not_after);
        if now > not_after {
            return Err(NoLeaf);
        }
        let mut params = CertificateParams::default();
        valid_between(&mut params, not_before, not_after);
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = names
            .first()
            .filter(|name| name.as_str().len() <= COMMON_NAME_MAX)
        {
            params
                .distinguished_name
                .push(DnType::CommonName, name.as_str());
        }
        let alt_names: Result<_, _> = names.iter().map(alt_name).collect();
        params.subject_alt_names = alt_names.map_err(|_| NoLeaf)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial_number(self.random)?);
        let certificate = params
            .signed_by(&self.leaf_key, &self.issuer)
            .map_err(|_| NoLeaf)?;
        // The root is not sent: who trusts it has it, for others it is of no use.
        let chain = vec![certificate.der().clone()];
        Ok(Identity::new(
            CertifiedKey::new(chain, Arc::clone(&self.leaf_signing.signing)),
            names.iter().cloned().map(HostPattern::Exact).collect(),
            (not_before, not_after),
            Origin::LocalCa,
        ))
    }
}

impl fmt::Debug for LocalCa {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCa")
            .field("folder", &self.folder)
            .field("not_after", &day(self.not_after))
            .finish_non_exhaustive()
    }
}

/// A leaf could not be made; the client sees a failed handshake.
#[derive(Debug)]
struct NoLeaf;

fn is_missing(file: &Result<Pem, Fault>) -> bool {
    file.as_ref().is_err_and(Fault::is_missing)
}

/// The name of this machine, as far as it is a host name.
pub(super) fn machine_name() -> Option<HostName> {
    let system = rustix::system::uname();
    HostName::parse(system.nodename().to_str().ok()?).ok()
}

/// Sets both ends: the defaults of the package are 1975 and 4096.
pub(super) fn valid_between(params: &mut CertificateParams, from: SystemTime, to: SystemTime) {
    let since_epoch = |time: SystemTime| {
        Duration::from_secs(
            time.duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs(),
        )
    };
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(from);
    params.not_after = epoch + since_epoch(to);
}

/// Makes a new CA in a folder of its own and moves it to its place whole, so
/// that no one ever reads half of it or a pair of two makers.
fn make(state: &Path, folder: &Path, now: SystemTime) -> Result<(), CaFault> {
    let random = aws_lc_rs::default_provider().secure_random;
    let key = KeyPair::generate().map_err(CaFault::Make)?;
    let mut params = CertificateParams::default();
    let not_before = whole_seconds(now).checked_sub(BACKDATED).unwrap_or(now);
    valid_between(&mut params, not_before, not_before + CA_LIFE);
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "hostmux");
    params
        .distinguished_name
        .push(DnType::CommonName, ca_name());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.serial_number = serial_number(random).ok();
    let certificate = params.self_signed(&key).map_err(CaFault::Make)?;

    let store = |source| CaFault::Store {
        path: state.to_owned(),
        source,
    };
    let mut suffix = [0; 8];
    random
        .fill(&mut suffix)
        .map_err(|_| store(io::Error::other("no random numbers")))?;
    let new = state.join(format!(".{FOLDER}.{:016x}", u64::from_be_bytes(suffix)));
    let stored = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&new)
        .and_then(|()| write(&new.join(KEY_FILE), 0o600, &key.serialize_pem()))
        .and_then(|()| write(&new.join(CERTIFICATE_FILE), 0o644, &certificate.pem()))
        .and_then(|()| fs::rename(&new, folder))
        .and_then(|()| fs::File::open(state)?.sync_all());
    let Err(error) = stored else {
        return Ok(());
    };
    // Nothing is left to do if it cannot be removed; it is not in the way.
    let _ = fs::remove_dir_all(&new);
    let was_second = matches!(
        error.kind(),
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
    );
    if was_second {
        Ok(())
    } else {
        Err(store(error))
    }
}

fn write(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn ca_name() -> String {
    let (before, after) = ("hostmux local CA (", ")");
    let room = COMMON_NAME_MAX - before.len() - after.len();
    let machine = machine_name().map_or_else(|| "this machine".to_owned(), |name| name.to_string());
    let machine: String = machine.chars().take(room).collect();
    format!("{before}{machine}{after}")
}

fn alt_name(name: &HostName) -> Result<SanType, rcgen::Error> {
    let text = name.as_str();
    let address = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    match address.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(text.try_into()?)),
    }
}

/// 127 random bits (RFC 5280 §4.1.2.2: positive, unique, at most 20 octets).
/// The package's default is made of the key, which the leaves share.
fn serial_number(random: &dyn SecureRandom) -> Result<SerialNumber, NoLeaf> {
    let mut bytes = [0; 16];
    random.fill(&mut bytes).map_err(|_| NoLeaf)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn signing(key: &KeyPair) -> Result<Key, CaFault> {
    Key::load(&PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .map_err(|_| CaFault::Make(rcgen::Error::KeyGenerationUnavailable))
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

#[cfg(test)]
mod tests;
