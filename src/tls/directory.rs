//! The certificates directory: every pair in it, found by what the files hold.
//!
//! File names say nothing, but for their endings: a key is matched with its
//! certificate by the public key. Sub-directories are read one level deep, as
//! certbot's `live/NAME/fullchain.pem` lies.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use super::identity::{BadPair, Facts, Identity, Key, Origin};
use super::pem::Pem;

/// How many files are read; more are passed over with a warning.
const FILES_MAX: usize = 10_000;
/// The endings of file names that are read.
const ENDINGS: [&str; 4] = ["pem", "crt", "cer", "key"];

/// What lies in the directory.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In the order of the paths; of several chains for one certificate the longest.
    pub(super) identities: Vec<Arc<Identity>>,
    pub(super) notices: Vec<Notice>,
    /// The folders in it.
    pub(super) folders: Vec<PathBuf>,
    /// The files that were looked at.
    pub(super) files: Vec<PathBuf>,
    /// Of both, those that something is wrong with: a pair that is half
    /// renewed is among them.
    pub(super) faulty: BTreeSet<PathBuf>,
}

/// Something about a file that does no harm to the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) message: String,
    pub(super) help: String,
}

/// Reads the directory. The error is the directory's own: missing, no directory, no permission.
pub(super) fn read(directory: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    let mut paths = found.list(directory)?;
    if paths.len() > FILES_MAX {
        found.notice(
            format!(
                "`{}` holds {} certificate files, of which {FILES_MAX} are read",
                directory.display(),
                paths.len()
            ),
            "put several certificates and keys into one file",
        );
        paths.truncate(FILES_MAX);
    }
    let pems = found.read_all(&paths);
    found.files = paths;
    found.pair(&pems);
    Ok(found)
}

/// The key of a file, and whether a certificate was found for it.
struct Held {
    key: Key,
    path: PathBuf,
    used: bool,
}

impl Found {
    fn notice(&mut self, message: String, help: impl Into<String>) {
        self.notices.push(Notice {
            message,
            help: help.into(),
        });
    }

    /// The files to read, sorted, those in folders behind the others.
    fn list(&mut self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let (mut files, folders) = entries(directory)?;
        for folder in folders {
            match entries(&folder) {
                Ok((inner, _)) => files.extend(inner),
                Err(error) => {
                    let message = format!("`{}` could not be read: {error}", folder.display());
                    self.faulty(&folder, message, "let the user who runs hostmux read it");
                }
            }
            self.folders.push(folder);
        }
        Ok(files)
    }

    /// A notice that is a file's own fault.
    fn faulty(&mut self, path: &Path, message: String, help: impl Into<String>) {
        self.faulty.insert(path.to_owned());
        self.notice(message, help);
    }

    fn read_all(&mut self, paths: &[PathBuf]) -> Vec<Pem> {
        let mut pems = Vec::with_capacity(paths.len());
        for path in paths {
            match Pem::read(path) {
                Ok(pem) => pems.push(pem),
                Err(fault) => self.faulty(path, fault.to_string(), fault.help()),
            }
        }
        for pem in &pems {
            if let Err(fault) = pem.require_either() {
                self.faulty(&pem.path, fault.to_string(), fault.help());
            }
            if let Some(mode) = pem.exposed() {
                let (message, help) = exposed(&pem.path, mode);
                self.notice(message, help);
            }
        }
        pems
    }

    fn pair(&mut self, pems: &[Pem]) {
        let mut keys = self.keys(pems);
        // By the leaf's bytes: certbot keeps it in cert.pem and in fullchain.pem.
        let mut by_leaf: HashMap<CertificateDer<'static>, usize> = HashMap::new();
        for pem in pems.iter().filter(|pem| !pem.certificates.is_empty()) {
            let facts = match Facts::of_chain(&pem.certificates) {
                Ok(facts) => facts,
                Err(bad) => {
                    self.unused(&pem.path, &bad);
                    continue;
                }
            };
            let mut found_one = false;
            for (n, own) in facts.iter().enumerate() {
                let Some(held) = keys.get_mut(&own.public) else {
                    continue;
                };
                held.used = true;
                found_one = true;
                // A CA's certificate and key, beside those it issued (mkcert's rootCA.pem).
                if own.is_only_ca() && own.names.is_empty() {
                    continue;
                }
                let origin = Origin::Files {
                    chain: pem.path.clone(),
                    key: held.path.clone(),
                };
                match Identity::of_leaf(&pem.certificates, &facts, n, &held.key, origin) {
                    Ok(identity) => self.keep(identity, &mut by_leaf),
                    Err(bad) => self.unused(&pem.path, &bad),
                }
            }
            let is_issuer = facts.iter().all(Facts::is_only_ca);
            if !found_one && !is_issuer {
                self.faulty(
                    &pem.path,
                    format!(
                        "no private key belongs to the certificate `{}`",
                        pem.path.display()
                    ),
                    "put its key beside it; the name of the file does not matter",
                );
            }
        }
        let mut stray: Vec<_> = keys.into_values().filter(|held| !held.used).collect();
        stray.sort_by(|one, other| one.path.cmp(&other.path));
        for held in stray {
            self.faulty(
                &held.path,
                format!(
                    "no certificate belongs to the private key `{}`",
                    held.path.display()
                ),
                "put its certificate beside it; the name of the file does not matter",
            );
        }
    }

    fn keys(&mut self, pems: &[Pem]) -> BTreeMap<Vec<u8>, Held> {
        let mut keys = BTreeMap::new();
        for pem in pems {
            for der in &pem.keys {
                match Key::load(der) {
                    Ok(key) => {
                        keys.entry(key.public.clone()).or_insert_with(|| Held {
                            key,
                            path: pem.path.clone(),
                            used: false,
                        });
                    }
                    Err(bad) => self.unused(&pem.path, &bad),
                }
            }
        }
        keys
    }

    fn keep(&mut self, identity: Identity, by_leaf: &mut HashMap<CertificateDer<'static>, usize>) {
        let leaf = identity.chain()[0].clone();
        let position = *by_leaf.entry(leaf).or_insert(self.identities.len());
        match self.identities.get_mut(position) {
            None => self.identities.push(Arc::new(identity)),
            Some(kept) if kept.chain().len() < identity.chain().len() => *kept = Arc::new(identity),
            Some(_) => {}
        }
    }

    fn unused(&mut self, path: &Path, bad: &BadPair) {
        let help = match bad {
            BadPair::NoName => "a certificate names its hosts as subject alternative names",
            BadPair::UnsupportedKey => {
                "use ECDSA P-256, P-384, Ed25519, or RSA of 2048 bits or more"
            }
            BadPair::Unparsable { .. } | BadPair::KeyMismatch => "it is not used",
        };
        self.faulty(path, format!("`{}`: {bad}", path.display()), help);
    }
}

/// What to say of a key that users other than its owner can read.
pub(super) fn exposed(path: &Path, mode: u32) -> (String, String) {
    let path = path.display();
    (
        format!("the private key `{path}` can be read by other users (mode {mode:04o})"),
        format!("`chmod 600 {path}`"),
    )
}

/// Files with one of the endings, and folders; hidden ones are passed over,
/// symbolic links followed.
fn entries(directory: &Path) -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            folders.push(path);
        } else if has_ending(&path) {
            files.push(path);
        }
    }
    files.sort_unstable();
    folders.sort_unstable();
    Ok((files, folders))
}

fn has_ending(path: &Path) -> bool {
    let Some(ending) = path.extension().and_then(|ending| ending.to_str()) else {
        return false;
    };
    ENDINGS
        .iter()
        .any(|known| ending.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::specimen::{Folder, Specimen};

    fn names(found: &Found) -> Vec<String> {
        found
            .identities
            .iter()
            .map(|identity| identity.told_names())
            .collect()
    }

    fn messages(folder: &Folder, found: &Found) -> Vec<String> {
        let prefix = format!("{}/", folder.path().display());
        found
            .notices
            .iter()
            .map(|notice| notice.message.replace(&prefix, ""))
            .collect()
    }

    #[test]
    fn pairs_are_found_by_what_they_hold() {
        let folder = Folder::new();
        let (a, b, c) = (
            Specimen::of(&["a.test"]),
            Specimen::of(&["*.b.test"]),
            Specimen::rsa(&["c.test"]),
        );
        folder.write("1.crt", a.pem());
        folder.write("z.KEY", a.key_pem());
        folder.write("both.pem", b.key_pem() + &b.pem());
        folder.write("sub/x.cer", c.pem());
        folder.write("y.key", c.pkcs1_pem());
        folder.write("README", "not read");
        folder.write(".gitignore", "*");
        folder.write(".hidden/x.pem", "not read");
        folder.write("sub/deeper/x.pem", "not read");
        let found = read(folder.path()).unwrap();
        assert_eq!(names(&found), ["`a.test`", "`*.b.test`", "`c.test`"]);
        assert_eq!(found.notices, []);
    }

    #[test]
    fn certbots_folder_gives_the_full_chain() {
        let folder = Folder::new();
        let root = Specimen::ca("root");
        let middle = Specimen::ca("middle").signed_by(&root);
        let leaf = Specimen::of(&["a.test"]).signed_by(&middle);
        folder.write("archive/a/cert1.txt", leaf.pem());
        folder.write("archive/a/fullchain1.txt", leaf.pem() + &middle.pem());
        folder.write("archive/a/chain1.txt", middle.pem());
        folder.write("archive/a/privkey1.txt", leaf.key_pem());
        folder.write("live/README", "");
        folder.write("live/a.test/README", "");
        for name in ["cert", "chain", "fullchain", "privkey"] {
            let target = format!("../../archive/a/{name}1.txt");
            let link = folder.path().join(format!("live/a.test/{name}.pem"));
            std::os::unix::fs::symlink(target, link).unwrap();
        }
        let found = read(&folder.path().join("live")).unwrap();
        assert_eq!(names(&found), ["`a.test`"]);
        assert_eq!(found.identities[0].chain().len(), 2);
        assert_eq!(found.notices, []);
    }

    #[test]
    fn a_ca_beside_its_leaf_is_not_served() {
        let folder = Folder::new();
        let ca = Specimen::ca("mkcert ann@host");
        let leaf = Specimen::of(&["a.test"]).signed_by(&ca);
        folder.pair("rootCA", &ca);
        folder.write("a.pem", ca.pem() + &leaf.pem());
        folder.write("a.key", leaf.key_pem());
        let found = read(folder.path()).unwrap();
        assert_eq!(names(&found), ["`a.test`"]);
        assert_eq!(found.identities[0].chain()[0], *leaf.der());
        assert_eq!(found.notices, []);
    }

    #[test]
    fn what_is_broken_is_told_and_harms_no_other() {
        let folder = Folder::new();
        folder.pair("good", &Specimen::of(&["a.test"]));
        folder.write("der.crt", Specimen::of(&["b.test"]).der());
        folder.write("empty.pem", "");
        folder.write("lonely.pem", Specimen::of(&["c.test"]).pem());
        folder.write("lonely.key", Specimen::of(&["d.test"]).key_pem());
        folder.write(
            "other.pem",
            "-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n",
        );
        std::os::unix::fs::symlink("nowhere", folder.path().join("broken.pem")).unwrap();
        let nameless = Specimen::with(&[], |_| {});
        folder.pair("nameless", &nameless);
        let found = read(folder.path()).unwrap();
        assert_eq!(names(&found), ["`a.test`"]);
        assert_eq!(
            messages(&folder, &found),
            [
                "`broken.pem` does not exist",
                "`der.crt` is DER, not PEM",
                "`empty.pem` is empty",
                "`other.pem` holds neither a certificate nor a private key",
                "no private key belongs to the certificate `lonely.pem`",
                "`nameless.pem`: the certificate names no host",
                "no certificate belongs to the private key `lonely.key`",
            ]
        );
    }

    #[test]
    fn a_missing_directory_is_an_error_of_its_own() {
        let folder = Folder::new();
        let missing = read(&folder.path().join("none")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert_eq!(
            read(&folder.write("file", "")).unwrap_err().kind(),
            io::ErrorKind::NotADirectory
        );
    }
}
