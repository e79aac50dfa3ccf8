//! The certificate that each name gets, and how long it lives.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::finding::{Check, Finding};
use super::names::asked_for;
use crate::config::{Config, Otherwise};
use crate::rt::date::rfc3339;
use crate::tls::{CaFault, Identity, Inventory, LocalCa, Origin, Which};

const CHECK: Check = Check::Certificates;

const DAY: Duration = Duration::from_secs(86_400);
/// Less life than this is told: enough to renew by hand.
const SOON: Duration = DAY.saturating_mul(14);
/// The key of hostmux's own CA, in the state folder.
pub(super) const CA_KEY: &str = "local-ca/ca.key";
/// How many names of the local CA are told by name.
const NAMES_TOLD_MAX: usize = 5;
/// Where systems keep what they trust, in one file.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];
/// The largest of them that is read, in bytes.
const BUNDLE_BYTES_MAX: u64 = 4 << 20;

/// What a name of a site gets.
#[derive(Debug)]
pub struct Covered {
    /// As `sites.yaml` has it.
    pub name: String,
    pub by: By,
}

#[derive(Debug)]
pub enum By {
    Files(File),
    LocalCa,
    Nothing,
}

/// A certificate from files.
#[derive(Clone, Debug)]
pub struct File {
    pub chain: PathBuf,
    pub key: PathBuf,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// It names the site.
    pub covers: bool,
}

/// hostmux's own CA.
#[derive(Debug)]
pub enum Authority {
    /// None was made yet.
    Absent,
    /// This user may not read its key.
    Unseen(PathBuf),
    Fault(CaFault),
    Open {
        file: PathBuf,
        not_after: SystemTime,
        /// The system's programs believe it; `None`: the system keeps its CAs
        /// in no file that is known.
        trusted: Option<bool>,
    },
}

pub(super) fn gather(config: &Config, inventory: &Inventory) -> Vec<Covered> {
    let hosts = config.sites.iter().flat_map(|site| &site.hosts);
    let covered = hosts.map(|pattern| {
        let name = asked_for(pattern);
        let by = match (inventory.identity_for(&name), config.certificates.otherwise) {
            (Which::Files(identity), _) => match file(identity, &name) {
                Some(file) => By::Files(file),
                None => By::LocalCa,
            },
            (Which::LocalCa, Otherwise::LocalCa) => By::LocalCa,
            (Which::LocalCa, Otherwise::Refuse) | (Which::Refused, _) => By::Nothing,
        };
        Covered {
            name: pattern.to_string(),
            by,
        }
    });
    covered.collect()
}

fn file(identity: &Identity, name: &str) -> Option<File> {
    let Origin::Files { chain, key } = &identity.origin else {
        return None;
    };
    Some(File {
        chain: chain.clone(),
        key: key.clone(),
        not_before: identity.not_before,
        not_after: identity.not_after,
        covers: identity.covers(name),
    })
}

/// Looks at the CA in a state folder. Makes none.
pub(super) fn authority(state: &Path, now: SystemTime) -> Authority {
    let key = state.join(CA_KEY);
    if fs::File::open(&key).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
        return Authority::Unseen(key);
    }
    match LocalCa::load(state, now) {
        Ok(None) => Authority::Absent,
        Err(fault) => Authority::Fault(fault),
        Ok(Some(ca)) => Authority::Open {
            file: ca.certificate_path(),
            not_after: ca.not_after(),
            trusted: is_trusted(&ca.certificate_path()),
        },
    }
}

fn is_trusted(file: &Path) -> Option<bool> {
    let read = |path: &Path| {
        let mut text = String::new();
        let file = fs::File::open(path).ok()?;
        file.take(BUNDLE_BYTES_MAX).read_to_string(&mut text).ok()?;
        Some(text)
    };
    let certificate = read(file)?;
    let bundle = BUNDLES.iter().find_map(|bundle| read(Path::new(bundle)))?;
    Some(holds(&bundle, &certificate))
}

/// Whether a certificate stands in a bundle, however its lines are broken.
fn holds(bundle: &str, certificate: &str) -> bool {
    let bare = |text: &str| -> String {
        let lines = text.lines().filter(|line| !line.starts_with("-----"));
        lines.map(str::trim).collect()
    };
    let wanted = bare(certificate);
    !wanted.is_empty() && bare(bundle).contains(&wanted)
}

/// What is said of all names; `authority` is asked for where it matters.
pub(super) fn judge(
    covered: &[Covered],
    now: SystemTime,
    authority: impl FnOnce() -> Option<Authority>,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = covered.iter().filter_map(|it| of_name(it, now)).collect();
    let local: Vec<&str> = covered
        .iter()
        .filter(|it| matches!(it.by, By::LocalCa))
        .map(|it| it.name.as_str())
        .collect();
    if !local.is_empty()
        && let Some(authority) = authority()
    {
        findings.extend(of_authority(&authority, &local, now));
    }
    findings
}

fn of_name(covered: &Covered, now: SystemTime) -> Option<Finding> {
    let name = &covered.name;
    let file = match &covered.by {
        By::LocalCa => return None,
        By::Nothing => {
            return Some(
                Finding::error(CHECK, format!("no certificate covers {name}"))
                    .why("the handshake of its clients is refused (`certificates.otherwise: refuse`)")
                    .fix("put a pair for it into the certificates directory")
                    .fix("`certificates: { otherwise: local_ca }` in sites.yaml"),
            );
        }
        By::Files(file) => file,
    };
    let chain = file.chain.display();
    let renew = format!(
        "renew it: `certbot renew` or whoever made it, then `hostmux lookup https://{name}/` shows which one counts"
    );
    if !file.covers {
        return Some(
            Finding::error(CHECK, format!("{name}: {chain} does not name it"))
                .why("browsers refuse a certificate for another name")
                .fix(
                    "name a certificate that does; without `certificate` one is found by its names",
                ),
        );
    }
    if now < file.not_before {
        let from = rfc3339(file.not_before);
        return Some(
            Finding::error(CHECK, format!("{name}: {chain} is not valid before {from}"))
                .why("browsers refuse it until then")
                .fix("`date` shows whether the clock of this machine is right"),
        );
    }
    let Ok(left) = file.not_after.duration_since(now) else {
        let on = rfc3339(file.not_after);
        return Some(
            Finding::error(CHECK, format!("{name}: {chain} expired on {on}"))
                .why("browsers refuse it")
                .fix(renew),
        );
    };
    let days = left.as_secs() / DAY.as_secs();
    Some(match left < SOON {
        true => Finding::warning(
            CHECK,
            format!("{name}: {chain} expires in {}", counted(days)),
        )
        .why("browsers refuse it from then on")
        .fix(renew),
        false => Finding::ok(CHECK, format!("{name}: {chain}, {} left", counted(days))),
    })
}

fn of_authority(authority: &Authority, local: &[&str], now: SystemTime) -> Vec<Finding> {
    let told: BTreeSet<&str> = local.iter().copied().collect();
    let shown: Vec<&str> = told.iter().copied().take(NAMES_TOLD_MAX).collect();
    let more = match told.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let names = format!("{}{more}", shown.join(", "));
    let by = match told.len() {
        1 => "gets a certificate of hostmux's own CA",
        _ => "get certificates of hostmux's own CA",
    };
    match authority {
        Authority::Absent => {
            vec![Finding::note(
                CHECK,
                format!("{names} {by}, which the first start makes"),
            )]
        }
        Authority::Unseen(key) => vec![
            Finding::note(CHECK, format!("{names} {by}, which this user may not read"))
                .why(format!("{} is for another user", key.display()))
                .fix("`sudo hostmux doctor`"),
        ],
        Authority::Fault(fault) => {
            vec![
                Finding::error(CHECK, fault.to_string())
                    .why(format!(
                        "{names} {by}, and hostmux does not start without it"
                    ))
                    .fix(fault.help()),
            ]
        }
        Authority::Open {
            file,
            not_after,
            trusted,
        } => {
            let shown = file.display();
            let mut findings = Vec::new();
            if let Ok(left) = not_after.duration_since(now)
                && left < SOON
            {
                let days = counted(left.as_secs() / DAY.as_secs());
                findings.push(
                    Finding::warning(CHECK, format!("hostmux's own CA expires in {days}"))
                        .why("then hostmux does not start, and no certificate of it is believed")
                        .fix(format!("remove {shown} and its key; the next start makes a new CA, which is to be trusted anew")),
                );
            }
            findings.push(match trusted {
                Some(true) => Finding::ok(CHECK, format!("{names} {by}, which this system trusts")),
                Some(false) => Finding::note(CHECK, format!("{names} {by}, which this system does not trust"))
                    .why("its programs, and browsers that were not told, refuse these certificates")
                    .fix(format!("`sudo cp {shown} /usr/local/share/ca-certificates/hostmux.crt && sudo update-ca-certificates`; browsers import it in their settings"))
                    .fix(format!("once: `curl --cacert {shown} …`")),
                None => Finding::note(CHECK, format!("{names} {by} ({shown})"))
                    .why("whether this system trusts it is not known"),
            });
            findings
        }
    }
}

fn counted(days: u64) -> String {
    match days {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    #[test]
    fn a_certificate_is_judged_by_its_days_and_names() {
        let now = SystemTime::now();
        let check = |from: i32, to: i32, covers: bool, want: Severity, words: &str| {
            let at = |days: i32| match u32::try_from(days) {
                Ok(days) => now + DAY * days,
                Err(_) => now - DAY * days.unsigned_abs(),
            };
            let file = File {
                chain: "a.pem".into(),
                key: "a.key".into(),
                not_before: at(from),
                not_after: at(to),
                covers,
            };
            let covered = Covered {
                name: "a.test".to_owned(),
                by: By::Files(file),
            };
            let found = of_name(&covered, now).unwrap();
            let all = format!("{found:?}");
            assert_eq!(found.severity, want, "{all}");
            assert!(all.contains(words), "{all}");
        };
        check(-1, 60, true, Severity::Ok, "60 days left");
        check(-1, 13, true, Severity::Warning, "expires in 13 days");
        check(-1, 0, true, Severity::Warning, "less than a day");
        check(-9, -1, true, Severity::Error, "expired on");
        check(1, 9, true, Severity::Error, "is not valid before");
        check(-1, 60, false, Severity::Error, "does not name it");
    }

    #[test]
    fn a_name_without_a_certificate_is_an_error() {
        let covered = Covered {
            name: "a.test".to_owned(),
            by: By::Nothing,
        };
        let found = judge(&[covered], SystemTime::now(), || None);
        assert_eq!(found[0].severity, Severity::Error);
    }

    #[test]
    fn a_ca_is_found_in_a_bundle() {
        let one = "-----BEGIN CERTIFICATE-----\nAAAA\nBBBB\n-----END CERTIFICATE-----\n";
        let other = "-----BEGIN CERTIFICATE-----\nCCCC\n-----END CERTIFICATE-----\n";
        let broken = "-----BEGIN CERTIFICATE-----\nAA\nAABB\nBB\n-----END CERTIFICATE-----\n";
        assert!(holds(&format!("{other}{broken}"), one));
        assert!(!holds(other, one));
        assert!(!holds(other, ""));
    }

    #[test]
    fn names_of_the_own_ca_are_told_together() {
        let now = SystemTime::now();
        let open = |trusted, days: u32| Authority::Open {
            file: "/s/ca.pem".into(),
            not_after: now + DAY * days,
            trusted,
        };
        let six = ["a", "b", "c", "d", "e", "f"];
        let found = of_authority(&open(Some(false), 900), &six, now);
        assert!(
            found[0].what.starts_with("a, b, c, d, e and 1 more get"),
            "{found:?}"
        );
        assert_eq!(found[0].severity, Severity::Note);
        assert!(found[0].fixes[0].contains("update-ca-certificates"));
        assert_eq!(
            of_authority(&open(Some(true), 900), &six, now)[0].severity,
            Severity::Ok
        );
        assert_eq!(
            of_authority(&open(Some(true), 3), &six, now)[0].severity,
            Severity::Warning
        );
        assert_eq!(
            of_authority(&Authority::Absent, &six, now)[0].severity,
            Severity::Note
        );
    }
}
