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

/// So much of the file's own name stands in that of its copy, which must not be
/// longer than a name may be.
const STEM_CHARS_MAX: usize = 40;

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
        let stem: String = stem.chars().take(STEM_CHARS_MAX).collect();
        Self(state.join(FOLDER).join(format!("{stem}-{hash:016x}.yaml")))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Keeps a text, whole or not at all. Only its owner may read it: it may
    /// hold secrets.
    pub fn keep(&self, text: &str) -> io::Result<()> {
        // One that cannot be read is replaced, as is what somebody put in its place.
        if matches!(self.find(), Ok(Some(copy)) if copy.text == text) {
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
        // To open a pipe would wait for its writer, and so would the start.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let file = match options.read(true).custom_flags(flags).open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let at = metadata.modified()?;
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

    /// Nothing was ever kept again.
    #[test]
    fn a_copy_that_cannot_be_read_is_replaced() {
        let state = tempfile::tempdir().unwrap();
        let copy = LastGood::of(Path::new("/sites.yaml"), state.path());
        copy.keep("one").unwrap();
        let elsewhere = state.path().join("elsewhere");
        fs::write(&elsewhere, "not ours").unwrap();
        let spoil: [&dyn Fn(&Path); 3] = [
            &|path| fs::write(path, [0xff, 0]).unwrap(),
            &|path| std::os::unix::fs::symlink(&elsewhere, path).unwrap(),
            &|path| {
                let mode = rustix::fs::Mode::RUSR;
                rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).unwrap();
            },
        ];
        for spoil in spoil {
            fs::remove_file(copy.path()).unwrap();
            spoil(copy.path());
            assert!(copy.find().is_err());
            copy.keep("two").unwrap();
            assert_eq!(copy.find().unwrap().unwrap().text, "two");
        }
        assert_eq!(fs::read(elsewhere).unwrap(), b"not ours");
    }

    #[test]
    fn a_file_may_have_the_longest_name() {
        let state = tempfile::tempdir().unwrap();
        let name = format!("/{}.yaml", "ü".repeat(125));
        let copy = LastGood::of(Path::new(&name), state.path());
        copy.keep("one").unwrap();
        assert_eq!(copy.find().unwrap().unwrap().text, "one");
    }

    #[test]
    fn what_is_no_file_is_told() {
        let state = tempfile::tempdir().unwrap();
        let copy = LastGood::of(Path::new("/sites.yaml"), state.path());
        fs::create_dir_all(copy.path()).unwrap();
        assert!(copy.find().is_err() && copy.keep("one").is_err());
    }
}
