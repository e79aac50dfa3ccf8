//! The secret of sticky cookies, kept in the state folder: `sticky.key`.
//!
//! Made at the first start, so that a client finds its endpoint again after a
//! restart. Who has it can choose the endpoint of a request, and no more.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The file of the secret, in the state folder.
pub const FILE: &str = "sticky.key";
/// Bytes of the secret: as many as HMAC-SHA-256 takes in.
pub(super) const BYTES: usize = 32;

/// Why the secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    #[error("the secret of sticky cookies cannot be kept in {}", path.display())]
    Store {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} does not hold {BYTES} bytes: delete it, and another is made", path.display())]
    Unusable { path: PathBuf },
    #[error("the system gives no random numbers")]
    NoRandom,
}

/// A secret as it lies in its file.
pub(super) struct Key {
    pub(super) bytes: [u8; BYTES],
    /// Its permission bits, where other users can read it.
    pub(super) exposed: Option<u32>,
    pub(super) path: PathBuf,
}

/// Opens the secret of this state folder, and makes it if there is none. Safe
/// with several processes at once: the first one's is taken by all.
pub(super) fn open(state: &Path) -> Result<Key, KeyFault> {
    let path = state.join(FILE);
    let store = |source| KeyFault::Store {
        path: path.clone(),
        source,
    };
    if let Some(key) = load(&path)? {
        return Ok(key);
    }
    let (mut bytes, mut suffix) = ([0; BYTES], [0; 8]);
    for random in [&mut bytes[..], &mut suffix[..]] {
        aws_lc_rs::rand::fill(random).map_err(|_| KeyFault::NoRandom)?;
    }
    let new = state.join(format!(".{FILE}.{:016x}", u64::from_be_bytes(suffix)));
    let written = make(state, &new, &bytes).and_then(|()| match fs::hard_link(&new, &path) {
        // Another process was quicker: its secret is taken.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked.and_then(|()| File::open(state)?.sync_all()),
    });
    // Nothing is left to do if it cannot be removed; it is not in the way.
    let _ = fs::remove_file(&new);
    written.map_err(store)?;
    load(&path)?.ok_or_else(|| store(io::ErrorKind::NotFound.into()))
}

fn make(state: &Path, new: &Path, bytes: &[u8]) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)?;
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(new)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn load(path: &Path) -> Result<Option<Key>, KeyFault> {
    let read = || {
        let file = File::open(path)?;
        let mode = file.metadata()?.permissions().mode() & 0o7777;
        let mut bytes = Vec::new();
        file.take(BYTES as u64 + 1).read_to_end(&mut bytes)?;
        Ok((mode, bytes))
    };
    let (mode, bytes) = match read() {
        Ok(read) => read,
        Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(KeyFault::Store {
                path: path.to_owned(),
                source,
            });
        }
    };
    let path = path.to_owned();
    match <[u8; BYTES]>::try_from(bytes) {
        Ok(bytes) => Ok(Some(Key {
            bytes,
            exposed: (mode & 0o077 != 0).then_some(mode),
            path,
        })),
        Err(_) => Err(KeyFault::Unusable { path }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let first = open(&state).unwrap();
        let again = open(&state).unwrap();
        assert_eq!(first.bytes, again.bytes);
        assert_ne!(first.bytes, [0; BYTES]);
        assert_eq!(again.exposed, None);
        let mode = fs::metadata(state.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(&state).unwrap().count(),
            1,
            "nothing is left over"
        );

        fs::set_permissions(state.join(FILE), fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(open(&state).unwrap().exposed, Some(0o644));
        for broken in [&b""[..], &[1; BYTES - 1], &[1; BYTES + 1]] {
            fs::write(state.join(FILE), broken).unwrap();
            assert!(matches!(open(&state), Err(KeyFault::Unusable { .. })));
        }
    }
}
