//! The last good copy: the text that was last taken over from a file, kept in
//! the state folder.
//!
//! A file whose fault is no single site's is not taken over. What ran before
//! runs on, and at a restart it is found here.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::OFlags;

use crate::config::FILE_BYTES_MAX;
use crate::upstream::balance::stable_hash;

/// The folder of such copies, in the state folder.
const FOLDER: &str = "last-good";

/// Where the copy of a file is.
#[derive(Clone, Debug)]
pub struct LastGood(PathBuf);

/// A copy that was found.
pub struct Copy {
    pub text: String,
    /// When it was taken over.
    pub at: SystemTime,
}

impl LastGood {
    /// `file`: its absolute path. Several hostmux may share a state folder.
    pub fn of(file: &Path, state: &Path) -> Self {
        let hash = stable_hash(file.as_os_str().as_bytes());
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        Self(state.join(FOLDER).join(format!("{stem}-{hash:016x}.yaml")))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Keeps a text, whole or not at all. Only its owner may read it: it may
    /// hold secrets.
    pub fn keep(&self, text: &str) -> io::Result<()> {
        if self.find()?.is_some_and(|copy| copy.text == text) {
            return Ok(());
        }
        let folder = self.0.parent().unwrap_or_else(|| Path::new("."));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let new = self.0.with_extension(format!("new-{}", std::process::id()));
        let written = write(&new, text).and_then(|()| fs::rename(&new, &self.0));
        if written.is_err() {
            // Nothing is left to do if it cannot be removed.
            let _ = fs::remove_file(&new);
        }
        written
    }

    /// `None`: nothing was ever taken over from the file.
    pub fn find(&self) -> io::Result<Option<Copy>> {
        let mut options = OpenOptions::new();
        let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let file = match options.read(true).custom_flags(flags).open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let at = file.metadata()?.modified()?;
        let mut text = String::new();
        file.take(FILE_BYTES_MAX as u64).read_to_string(&mut text)?;
        Ok(Some(Copy { text, at }))
    }
}

fn write(new: &Path, text: &str) -> io::Result<()> {
    // One that a killed process of the same number has left.
    let _ = fs::remove_file(new);
    let mut options = OpenOptions::new();
    let mut file: File = options.write(true).create_new(true).mode(0o600).open(new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_copy_is_kept_by_file_and_for_its_owner_alone() {
        let state = tempfile::tempdir().unwrap();
        let here = LastGood::of(Path::new("/etc/hostmux/sites.yaml"), state.path());
        let there = LastGood::of(Path::new("/home/ann/sites.yaml"), state.path());
        assert!(here.find().unwrap().is_none());
        here.keep("one").unwrap();
        here.keep("two").unwrap();
        assert_eq!(here.find().unwrap().unwrap().text, "two");
        assert!(there.find().unwrap().is_none());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(here.path()), 0o600);
        assert_eq!(mode(here.path().parent().unwrap()), 0o700);
        let left = fs::read_dir(state.path().join(FOLDER)).unwrap().count();
        assert_eq!(left, 1, "nothing is left over");
    }

    #[test]
    fn a_text_that_is_kept_already_is_not_written_again() {
        let state = tempfile::tempdir().unwrap();
        let copy = LastGood::of(Path::new("/sites.yaml"), state.path());
        copy.keep("one").unwrap();
        let at = copy.find().unwrap().unwrap().at;
        copy.keep("one").unwrap();
        assert_eq!(copy.find().unwrap().unwrap().at, at);
    }

    #[test]
    fn what_is_no_file_is_told() {
        let state = tempfile::tempdir().unwrap();
        let copy = LastGood::of(Path::new("/sites.yaml"), state.path());
        fs::create_dir_all(copy.path()).unwrap();
        assert!(copy.find().is_err() && copy.keep("one").is_err());
    }
}
