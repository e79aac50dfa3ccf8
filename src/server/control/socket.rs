//! The Unix socket in the file system: made so that nobody else can ever
//! connect, taken over from a process that is gone, never from one that runs.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, fchmod, flock};
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Type};

/// The permission bits of the socket: its user's and its group's.
pub const MODE: u32 = 0o660;
/// Connections that wait to be accepted.
const LINE_MAX: i32 = 64;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum BindFault {
    #[error("another hostmux listens for commands on {}: give this one its own RUNTIME_DIRECTORY", .0.display())]
    InUse(PathBuf),
    #[error("{} is there, and is no socket", .0.display())]
    NotASocket(PathBuf),
    #[error("{} cannot be listened on: {source}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Which file a control socket is, for the process that is to have it next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// A bound control socket. Dropped, it is gone from the file system, unless
/// another process has it as well.
pub struct Socket {
    // Closed first: see `Place`.
    listener: UnixListener,
    place: Place,
}

impl Socket {
    /// Listens at a path, whose folder is made if it is not there.
    pub fn bind(path: &Path) -> Result<Self, BindFault> {
        let fault = |source| BindFault::Io {
            path: path.to_owned(),
            source,
        };
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(fault)?;
        // Held until all is done: of two that start at once one comes first.
        let lock = lock(path).map_err(fault)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| fault(error.into()))?;
        let address = SockAddr::unix(path).map_err(fault)?;
        clear(path, &address)?;
        let socket = bound(&address).map_err(fault)?;
        let place = Place::of(path).map_err(fault)?;
        // The umask may have taken the group's rights; it never gives any.
        fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(fault)?;
        socket.listen(LINE_MAX).map_err(fault)?;
        socket.set_nonblocking(true).map_err(fault)?;
        Ok(Self {
            listener: socket.into(),
            place,
        })
    }

    /// Takes a socket over that listens already, if its file is where it was.
    /// Who starts another hostmux meanwhile finds it served all the time.
    pub fn adopt(listener: UnixListener, deed: Deed) -> io::Result<Self> {
        let place = Place::of(&deed.path)?;
        if place.deed != deed {
            return Err(io::Error::other("another file is in its place"));
        }
        listener.set_nonblocking(true)?;
        Ok(Self { listener, place })
    }

    pub fn path(&self) -> &Path {
        &self.place.deed.path
    }

    pub(super) fn split(self) -> (UnixListener, Place) {
        (self.listener, self.place)
    }
}

/// The file beside the socket that is locked while the socket is made. It
/// stays, and nobody else can open it: whoever could, as anybody can a folder
/// that is to be looked into, could keep hostmux from its socket.
fn lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    options
        .custom_flags(flags)
        .open(path.with_extension("lock"))
}

/// Removes what a process that is gone has left.
fn clear(path: &Path, address: &SockAddr) -> Result<(), BindFault> {
    let fault = |source| BindFault::Io {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fault(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindFault::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    // Without waiting: one that is stopped, its line full, runs as well.
    let probe = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).map_err(fault)?;
    probe.set_nonblocking(true).map_err(fault)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(fault)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(fault(error)),
        Ok(()) | Err(_) => Err(BindFault::InUse(path.to_owned())),
    }
}

/// The bits of a socket before it is bound are those of its file (unix(7) does
/// not say so, Linux does it), so that it never has more.
fn bound(address: &SockAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    fchmod(&socket, Mode::from_raw_mode(MODE))?;
    socket.bind(address)?;
    Ok(socket)
}

/// The socket's file. Dropped, it is removed, if it is still the same and
/// nobody listens on it: at an upgrade two processes have it for a while, and
/// either may be the one that stays.
pub struct Place {
    deed: Deed,
}

impl Place {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self {
            deed: Deed {
                path: std::path::absolute(path)?,
                device: found.dev(),
                inode: found.ino(),
            },
        })
    }

    pub(in crate::server) fn deed(&self) -> &Deed {
        &self.deed
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Deed {
            path,
            device,
            inode,
        } = &self.deed;
        let same = |found: fs::Metadata| (found.dev(), found.ino()) == (*device, *inode);
        if !fs::symlink_metadata(path).is_ok_and(same) {
            return;
        }
        if let Ok(address) = SockAddr::unix(path) {
            // One that stays is replaced at the next start.
            let _ = clear(path, &address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_its_users_and_its_groups_and_goes_with_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/hostmux.sock");
        let socket = Socket::bind(&path).unwrap();
        let found = fs::symlink_metadata(&path).unwrap();
        assert!(found.file_type().is_socket());
        assert_eq!(found.permissions().mode() & 0o7777, MODE);
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_dead_ones_socket_is_taken_over_and_a_living_ones_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hostmux.sock");
        // A listener that is dropped leaves its file, as a killed process does.
        drop(UnixListener::bind(&path).unwrap());
        let living = Socket::bind(&path).unwrap();
        assert!(matches!(Socket::bind(&path), Err(BindFault::InUse(_))));
        assert!(path.exists());
        drop(living);
        let later = Socket::bind(&path).unwrap();
        drop(later);
        fs::write(&path, "mine").unwrap();
        assert!(matches!(Socket::bind(&path), Err(BindFault::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn a_socket_outlives_its_holder_if_another_one_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hostmux.sock");
        let (listener, place) = Socket::bind(&path).unwrap().split();
        let deed = place.deed().clone();
        let next = Socket::adopt(listener.try_clone().unwrap(), deed.clone()).unwrap();
        drop(listener);
        drop(place);
        assert!(matches!(Socket::bind(&path), Err(BindFault::InUse(_))));
        let copy = next.listener.try_clone().unwrap();
        drop(next);
        assert!(path.exists());
        // Somebody takes the file away, and another one comes there.
        fs::remove_file(&path).unwrap();
        let other = Socket::bind(&path).unwrap();
        assert!(Socket::adopt(copy, deed).is_err());
        drop(other);
        assert!(!path.exists());
    }

    #[test]
    fn another_ones_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hostmux.sock");
        let first = Socket::bind(&path).unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        let second = Socket::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn who_may_only_look_into_the_folder_keeps_nobody_from_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hostmux.sock");
        let watcher = File::open(folder.path()).unwrap();
        flock(&watcher, FlockOperation::NonBlockingLockExclusive).unwrap();
        drop(Socket::bind(&path).unwrap());
        let lock = fs::metadata(path.with_extension("lock")).unwrap();
        assert_eq!(lock.permissions().mode() & 0o777, 0o600);
        // Of two that start at once, the second one sees that the first is at it.
        let first = super::lock(&path).unwrap();
        flock(&first, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(matches!(Socket::bind(&path), Err(BindFault::Io { .. })));
    }
}
