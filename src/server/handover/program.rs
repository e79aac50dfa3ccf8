//! How this process was started, to start it once more.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    pub fn new(path: PathBuf, arguments: Vec<OsString>) -> Self {
        Self { path, arguments }
    }

    /// This one, by the path by which it was started: what lies there at an
    /// upgrade, a new file or a link that leads elsewhere, is the new program.
    /// To be asked at the start, before anything can have been replaced.
    pub fn of_this_process() -> Self {
        let mut arguments = std::env::args_os();
        let named = arguments.next().unwrap_or_default();
        let running = std::env::current_exe().unwrap_or_else(|_| PathBuf::from(&named));
        let search = std::env::var_os("PATH").unwrap_or_default();
        let path = started_as(&named, &search, &running).unwrap_or(running);
        Self::new(path, arguments.collect())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn arguments(&self) -> &[OsString] {
        &self.arguments
    }
}

/// The path that a name meant, with its links, if it leads to what runs:
/// anybody may start a program under another name.
fn started_as(named: &OsStr, search: &OsStr, running: &Path) -> Option<PathBuf> {
    let file = |path: &Path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.dev(), found.ino()))
    };
    let this = file(running)?;
    let named = Path::new(named);
    let candidates = match named.components().count() {
        0 => Vec::new(),
        // A shell looks along PATH for what has no slash.
        1 if !named.is_absolute() && !named.starts_with(".") => std::env::split_paths(search)
            .map(|folder| folder.join(named))
            .collect(),
        _ => vec![named.to_owned()],
    };
    let found = candidates
        .into_iter()
        .find(|path| file(path) == Some(this))?;
    std::path::absolute(found).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_again_by_the_path_that_led_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("v1"), folder.path().join("v2"));
        std::fs::write(&one, "1").unwrap();
        std::fs::write(&other, "2").unwrap();
        let link = folder.path().join("hostmux");
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let check = |named: &Path, want: Option<&Path>| {
            let search = folder.path().as_os_str();
            let found = started_as(named.as_os_str(), search, &one);
            assert_eq!(found.as_deref(), want, "{}", named.display());
        };
        check(&link, Some(&link));
        check(Path::new("hostmux"), Some(&link));
        check(&one, Some(&one));
        check(&other, None);
        check(Path::new("v2"), None);
        check(Path::new("a name that was made up"), None);
        check(Path::new(""), None);
    }
}
