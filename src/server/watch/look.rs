//! One look at files: what is seen of them without opening any.
//!
//! A FIFO, a device or a folder in a file's place holds nobody up.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::tls::FILES_TOLD_MAX;

/// The most files and folders that are looked at; more are passed over.
pub(super) const PATHS_MAX: usize = FILES_TOLD_MAX;
/// The most names of files in folders, all folders together.
pub(super) const NAMES_MAX: usize = 20_000;
/// The most links on the way to one file: as many as Linux follows (path_resolution(7)).
const LINKS_MAX: usize = 40;
/// The most steps on the way to one file, with those that links add.
const STEPS_MAX: usize = 4_096;
/// How coarsely a file system may count time that tells no fraction of a
/// second (FAT: two seconds), and one that does (Linux: a tick of its clock).
const COARSE: Duration = Duration::from_secs(2);
const FINE: Duration = Duration::from_millis(50);

/// What was seen.
#[derive(Default)]
pub(super) struct Sight {
    /// Another one if something has changed.
    pub(super) sum: u64,
    /// The folders in which what happens may change it.
    pub(super) folders: BTreeMap<PathBuf, Folder>,
    /// Whether there was more than is looked at.
    pub(super) cut: bool,
    /// Whether whatever changes from this look on makes another sum: not so of
    /// what changed just before, by the clock of a file system.
    pub(super) settled: bool,
    pub(super) took: Duration,
    /// Of what is there.
    youngest: Option<Time>,
    /// Of folders in which something was looked for, and may have been.
    folders_youngest: Option<Time>,
}

/// A folder, and what of it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Folder {
    /// Device and inode; `None` if they are not known.
    pub(super) id: Option<(u64, u64)>,
    /// What happens to these.
    pub(super) names: HashSet<OsString>,
    pub(super) others: Others,
}

/// What of a folder matters besides the names that were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Others {
    #[default]
    Ignored,
    /// That they come and go, but for hidden ones.
    Listed,
}

/// When something changed last: seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Time(i64, i64);

impl Time {
    /// Writing sets both; one of them can be set to the past by hand.
    fn of(seen: &Metadata) -> Self {
        let changed = Self(seen.ctime(), seen.ctime_nsec());
        changed.max(Self(seen.mtime(), seen.mtime_nsec()))
    }

    /// How it stands to another time.
    fn beside(self, other: SystemTime) -> Order {
        let grain = if self.1 == 0 { COARSE } else { FINE };
        let (Ok(seconds), Ok(nanos)) = (u64::try_from(self.0), u32::try_from(self.1)) else {
            return Order::Before;
        };
        let since = Duration::new(seconds, nanos);
        let Some(at) = SystemTime::UNIX_EPOCH.checked_add(since) else {
            return Order::After;
        };
        match other.duration_since(at) {
            Ok(age) if age >= grain => Order::Before,
            Err(ahead) if ahead.duration() >= grain => Order::After,
            Ok(_) | Err(_) => Order::Near,
        }
    }
}

/// Before or after, as far as the clock of a file system tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Before,
    Near,
    After,
}

impl Sight {
    /// Looks at files and folders, by absolute paths. Blocks.
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        let (begun, now) = (Instant::now(), SystemTime::now());
        let mut look = Look::default();
        look.sight.cut = paths.len() > PATHS_MAX;
        for path in paths.iter().take(PATHS_MAX) {
            path.hash(&mut look.sum);
            look.path(path);
        }
        for (path, folder) in &mut look.sight.folders {
            let seen = fs::symlink_metadata(path);
            folder.id = seen.ok().map(|seen| (seen.dev(), seen.ino()));
            folder.id.hash(&mut look.sum);
        }
        Self {
            sum: look.sum.finish(),
            // The clock of a file server that is far ahead tells nothing.
            settled: look
                .sight
                .youngest
                .is_none_or(|youngest| youngest.beside(now) != Order::Near),
            took: begun.elapsed(),
            ..look.sight
        }
    }

    /// Whether all that is there was what it is before that time.
    pub(super) fn is_older_than(&self, time: SystemTime) -> bool {
        let all = self.youngest.max(self.folders_youngest);
        all.is_none_or(|youngest| youngest.beside(time) == Order::Before)
    }
}

#[derive(Default)]
struct Look {
    sight: Sight,
    sum: DefaultHasher,
    /// Where folders on the way really are, by how they are written.
    ways: HashMap<PathBuf, Option<PathBuf>>,
    names: usize,
}

impl Look {
    fn path(&mut self, path: &Path) {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return;
        };
        let Some(folder) = self.way(folder) else {
            return;
        };
        let Some((real, seen)) = self.follow(&folder, Path::new(name)) else {
            return;
        };
        self.saw(&seen);
        if seen.is_dir() {
            self.looked_in(&seen);
            self.list(&real);
        }
    }

    /// Where a folder that is written so really is.
    fn way(&mut self, written: &Path) -> Option<PathBuf> {
        if let Some(known) = self.ways.get(written) {
            return known.clone();
        }
        let found = self.follow(Path::new("/"), written);
        let real = found.and_then(|(real, seen)| seen.is_dir().then_some(real));
        self.ways.insert(written.to_owned(), real.clone());
        real
    }

    /// Walks from a real folder, through links; what is there in the end.
    /// Links, and what is missing, count as seen.
    fn follow(&mut self, from: &Path, rest: &Path) -> Option<(PathBuf, Metadata)> {
        let mut at = from.to_owned();
        let mut ahead: Vec<OsString> = steps(rest).collect();
        ahead.reverse();
        let mut links = 0;
        for _ in 0..STEPS_MAX {
            let Some(name) = ahead.pop() else {
                let seen = fs::symlink_metadata(&at);
                return seen
                    .map(|seen| (at, seen))
                    .map_err(|error| self.failed(&error))
                    .ok();
            };
            match name.as_encoded_bytes() {
                b"/" => at = PathBuf::from("/"),
                b".." => {
                    at.pop();
                }
                _ => {
                    let next = at.join(&name);
                    let seen = match fs::symlink_metadata(&next) {
                        Ok(seen) => seen,
                        Err(error) => {
                            self.name_matters(&at, &name);
                            if let Ok(folder) = fs::symlink_metadata(&at) {
                                self.looked_in(&folder);
                            }
                            self.failed(&error);
                            return None;
                        }
                    };
                    if seen.is_symlink() {
                        self.name_matters(&at, &name);
                        self.saw(&seen);
                        links += 1;
                        if links > LINKS_MAX {
                            return None;
                        }
                        let target = fs::read_link(&next)
                            .map_err(|error| self.failed(&error))
                            .ok()?;
                        target.hash(&mut self.sum);
                        let first = ahead.len();
                        ahead.extend(steps(&target));
                        ahead[first..].reverse();
                    } else if seen.is_dir() {
                        at = next;
                    } else {
                        self.name_matters(&at, &name);
                        // A file in the place of a folder leads nowhere.
                        return ahead.is_empty().then_some((next, seen));
                    }
                }
            }
        }
        None
    }

    /// What lies in a folder, by name.
    fn list(&mut self, folder: &Path) {
        self.matters(folder).others = Others::Listed;
        let mut names = match self.names(folder) {
            Ok(names) => names,
            Err(error) => return self.failed(&error),
        };
        // A folder tells them in any order.
        names.sort_unstable();
        names.hash(&mut self.sum);
    }

    fn names(&mut self, folder: &Path) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            if is_hidden(&name) {
                continue;
            }
            if self.names == NAMES_MAX {
                self.sight.cut = true;
                break;
            }
            self.names += 1;
            names.push(name);
        }
        Ok(names)
    }

    fn matters(&mut self, folder: &Path) -> &mut Folder {
        self.sight.folders.entry(folder.to_owned()).or_default()
    }

    /// What happens to this name in that folder matters.
    fn name_matters(&mut self, folder: &Path, name: &OsStr) {
        self.matters(folder).names.insert(name.to_owned());
    }

    fn saw(&mut self, seen: &Metadata) {
        (seen.dev(), seen.ino(), seen.mode()).hash(&mut self.sum);
        // What happens in a folder is seen by its names, as far as it matters.
        if !seen.is_dir() {
            (seen.size(), seen.mtime(), seen.mtime_nsec()).hash(&mut self.sum);
            (seen.ctime(), seen.ctime_nsec()).hash(&mut self.sum);
            self.sight.youngest = self.sight.youngest.max(Some(Time::of(seen)));
        }
    }

    /// A folder is as young as what has gone from it.
    fn looked_in(&mut self, seen: &Metadata) {
        let youngest = &mut self.sight.folders_youngest;
        *youngest = (*youngest).max(Some(Time::of(seen)));
    }

    fn failed(&mut self, error: &io::Error) {
        error.kind().hash(&mut self.sum);
    }
}

/// Files of editors, and the links of Kubernetes, which are followed if they
/// lie on the way.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn steps(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|step| match step {
        Component::CurDir | Component::Prefix(_) => None,
        Component::RootDir | Component::ParentDir | Component::Normal(_) => {
            Some(step.as_os_str().to_owned())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An edit within one tick of a file system's clock leaves no other time:
    /// it was not noticed if it came right after a look.
    #[test]
    fn what_changed_just_now_may_change_unseen() {
        let now = SystemTime::UNIX_EPOCH + Duration::new(1_000_000, 500_000_000);
        let check = |seconds: i64, nanos: i64, want: Order| {
            assert_eq!(Time(seconds, nanos).beside(now), want, "{seconds} {nanos}");
        };
        check(1_000_000, 499_000_000, Order::Near);
        check(1_000_000, 400_000_000, Order::Before);
        // No fraction: it may count seconds, or two.
        check(1_000_000, 0, Order::Near);
        check(999_999, 0, Order::Near);
        check(999_998, 0, Order::Before);
        // Clocks that are ahead, a little and a lot.
        check(1_000_000, 520_000_000, Order::Near);
        check(1_000_001, 0, Order::Near);
        check(2_000_000, 0, Order::After);
        check(-1, 0, Order::Before);
        check(i64::MAX, 1, Order::After);
    }
}
