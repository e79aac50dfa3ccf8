//! The ticket keys in their file: `tickets.key`.
//!
//! ```text
//! hostmux ticket keys, version 1
//! 1795291200 <name, 16 bytes in hex> <secret, 32 bytes in hex>
//! ```
//!
//! Whoever reads it can read what resumed TLS 1.2 sessions said: it is its
//! owner's alone, or its keys are not used. It is replaced whole, under a lock,
//! so that no process overwrites what another has just made.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::key::{Key, NAME_BYTES, SECRET_BYTES};
use super::ring::{KEYS_MAX, Ring};

/// The file of the keys, beside the control socket.
pub const FILE: &str = "tickets.key";
/// Locked while the file is replaced. It stays, and is its owner's alone:
/// whoever could open it could keep others from new keys.
const LOCK: &str = "tickets.lock";
const HEADER: &str = "hostmux ticket keys, version 1";
/// The largest file that is read, in bytes; [`KEYS_MAX`] keys are 1 KiB.
const FILE_BYTES_MAX: u64 = 4_096;

/// The file of a folder.
pub(super) struct KeyFile {
    folder: PathBuf,
    pub(super) path: PathBuf,
}

/// The right to replace the file, as long as it is held.
pub(super) struct Lock(#[expect(dead_code, reason = "unlocked when it is closed")] File);

/// Why keys in the file are not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("it could not be read: {0}")]
    Io(io::Error),
    #[error("it is no file")]
    NotAFile,
    #[error("it belongs to user {0}, not to this process")]
    Owner(u32),
    #[error("other users can read it (mode {0:04o})")]
    Exposed(u32),
    #[error("it is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("it is damaged, or of another version")]
    Damaged,
}

impl KeyFile {
    pub(super) fn of(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            path: folder.join(FILE),
        }
    }

    /// The keys that lie there; none where there is no file.
    pub(super) fn read(&self, now: u64) -> Result<Ring, Fault> {
        let mut options = OpenOptions::new();
        // To open a pipe would wait for its writer.
        let options = options
            .read(true)
            .custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK));
        let file = match options.open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ring::default()),
            Err(error) => return Err(Fault::Io(error)),
        };
        let metadata = file.metadata().map_err(Fault::Io)?;
        if !metadata.is_file() {
            return Err(Fault::NotAFile);
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(Fault::Owner(metadata.uid()));
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(Fault::Exposed(metadata.mode() & 0o7777));
        }
        let mut bytes = Vec::new();
        let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
        if read.map_err(Fault::Io)? as u64 > FILE_BYTES_MAX {
            return Err(Fault::TooLarge);
        }
        let keys = std::str::from_utf8(&bytes).ok().and_then(parse);
        Ok(Ring::of(keys.ok_or(Fault::Damaged)?, now))
    }

    /// Makes the folder if need be. `None`: another process has the lock.
    pub(super) fn lock(&self) -> io::Result<Option<Lock>> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK));
        let file = options.open(self.folder.join(LOCK))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces the file, whatever it was. Not synced: after a power failure
    /// no client waits for its session, and a torn file is replaced.
    pub(super) fn write(&self, _lock: &Lock, ring: &Ring) -> io::Result<()> {
        let new = self.folder.join(format!(".{FILE}.new"));
        // What a process that died has left: under the lock nobody else writes it.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(text(ring).as_bytes())?;
        fs::rename(&new, &self.path)
    }
}

fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap_or_default()
}

fn text(ring: &Ring) -> String {
    let mut text = format!("{HEADER}\n");
    for key in ring.keys() {
        let _ = writeln!(text, "{} {} {}", key.made, hex(&key.name), hex(&key.secret));
    }
    text
}

fn parse(text: &str) -> Option<Vec<Key>> {
    // The last line ends, too: a file that was cut off is none.
    let mut lines = text.strip_suffix('\n')?.split('\n');
    if lines.next()? != HEADER {
        return None;
    }
    let keys = lines.map(|line| {
        let mut words = line.split(' ');
        let (made, name, secret) = (words.next()?, words.next()?, words.next()?);
        let name = unhex::<NAME_BYTES>(name)?;
        let secret = unhex::<SECRET_BYTES>(secret)?;
        words.next().is_none().then_some(())?;
        Key::new(made.parse().ok()?, name, secret)
    });
    let keys: Vec<Key> = keys.collect::<Option<_>>()?;
    (keys.len() <= KEYS_MAX).then_some(keys)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    if text.len() != 2 * BYTES {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = [0; BYTES];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(bytes)
}
