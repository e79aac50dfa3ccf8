//! The system's notices of what happens in folders.
//!
//! They only say that a look is due. A system that gives none, or no more, is
//! told of once: the clock goes on.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::look::{Folder, Others, Sight, is_hidden};

/// The most folders that are watched: of 8,192 that a user has on small
/// machines, for all of their programs.
pub(super) const FOLDERS_MAX: usize = 1_024;

/// Who is told by the system.
pub(super) struct Events {
    watcher: RecommendedWatcher,
    interest: Arc<Mutex<Interest>>,
    /// Those of which the system tells, and those it refused to, by device
    /// and inode: another folder of the name is watched anew.
    watched: HashMap<PathBuf, Option<(u64, u64)>>,
    /// The sight by which they were chosen.
    followed: Option<u64>,
    worked: Worked,
}

/// Whether all folders could be watched so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worked {
    All,
    /// Not all, and that was told.
    NotAll,
}

/// What notices are sorted by, on the thread on which they come.
#[derive(Default)]
struct Interest {
    folders: HashMap<PathBuf, Folder>,
    /// Folders that have gone or moved since they were watched.
    gone: HashSet<PathBuf>,
}

/// What came of watching folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// All were watched.
    Already,
    /// Some are watched from now on.
    More,
    /// None are any more.
    Ended,
}

impl Events {
    /// `touched` is notified of what may matter. `None`, and a warning, if the
    /// system tells nothing.
    pub(super) fn new(touched: &Arc<Notify>) -> Option<Self> {
        let interest: Arc<Mutex<Interest>> = Arc::default();
        let (heard, touched) = (interest.clone(), touched.clone());
        let handler = move |event: notify::Result<Event>| {
            if locked(&heard).heeds(&event) {
                touched.notify_one();
            }
        };
        match RecommendedWatcher::new(handler, Config::default()) {
            Ok(watcher) => Some(Self {
                watcher,
                interest,
                watched: HashMap::new(),
                followed: None,
                worked: Worked::All,
            }),
            Err(error) => {
                warn(&error);
                None
            }
        }
    }

    /// Watches the folders of a sight, and no others. Blocks.
    pub(super) fn follow(&mut self, sight: &Sight) -> Followed {
        let folders = &sight.folders;
        let gone = mem::take(&mut locked(&self.interest).gone);
        if gone.is_empty() && self.followed == Some(sight.sum) {
            return Followed::Already;
        }
        // Its thread may have failed to start or have ended. All but this would
        // panic then, its drop as well.
        if let Err(error) = self.watcher.configure(Config::default()) {
            warn(&error);
            return Followed::Ended;
        }
        let copied = |(path, folder): (&PathBuf, &Folder)| (path.clone(), folder.clone());
        locked(&self.interest).folders = folders.iter().map(copied).collect();
        self.followed = Some(sight.sum);
        let watched = mem::take(&mut self.watched);
        for (path, id) in watched {
            let stays = folders.get(&path).is_some_and(|folder| folder.id == id);
            if stays && !gone.contains(&path) {
                self.watched.insert(path, id);
            } else {
                // Nothing is lost if it is not there any more.
                let _ = self.watcher.unwatch(&path);
            }
        }
        let mut followed = Followed::Already;
        for (path, folder) in folders {
            if self.watched.contains_key(path) {
                continue;
            }
            if self.watched.len() >= FOLDERS_MAX {
                self.not_all(&"there are too many folders");
                break;
            }
            match self.watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => followed = Followed::More,
                Err(error) if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) => {
                    self.not_all(&error);
                    break;
                }
                // The next look sees it.
                Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => continue,
                Err(error) => {
                    tracing::debug!(folder = %path.display(), %error, "a folder is not watched");
                }
            }
            self.watched.insert(path.clone(), folder.id);
        }
        followed
    }

    fn not_all(&mut self, why: &dyn std::fmt::Display) {
        if mem::replace(&mut self.worked, Worked::NotAll) == Worked::All {
            warn(why);
        }
    }
}

fn warn(why: &dyn std::fmt::Display) {
    tracing::warn!(
        %why,
        every_s = super::POLL_INTERVAL.as_secs(),
        "the system does not tell of all changes of files: they are looked at instead",
    );
}

fn locked(interest: &Mutex<Interest>) -> MutexGuard<'_, Interest> {
    interest.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Interest {
    /// Whether it may matter.
    fn heeds(&mut self, event: &notify::Result<Event>) -> bool {
        // Something was lost.
        let Ok(event) = event else {
            return true;
        };
        let what = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => What::Content,
            // Reading is no change, and our own would call for the next.
            EventKind::Access(_) => return false,
            EventKind::Create(_)
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(_)) => What::Name,
            EventKind::Modify(_) => What::Content,
            EventKind::Any | EventKind::Other => return true,
        };
        let mut heeded = event.need_rescan();
        for path in &event.paths {
            if self.folders.contains_key(path) {
                heeded = true;
                if what == What::Name {
                    self.gone.insert(path.clone());
                }
            }
            let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
                continue;
            };
            heeded |= self.folders.get(folder).is_some_and(|folder| {
                let listed = folder.others == Others::Listed && what == What::Name;
                folder.names.contains(name) || listed && !is_hidden(name)
            });
        }
        heeded
    }
}

/// What has changed of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Name,
    Content,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use notify::event::{CreateKind, RemoveKind, RenameMode};

    use super::*;

    #[test]
    fn only_what_may_matter_calls_for_a_look() {
        let folder = |name: &str, others| Folder {
            id: None,
            names: HashSet::from([name.into()]),
            others,
        };
        let mut interest = Interest {
            folders: HashMap::from([
                ("/etc".into(), folder("sites.yaml", Others::Ignored)),
                ("/etc/certs".into(), folder("a.pem", Others::Listed)),
            ]),
            gone: HashSet::new(),
        };
        let mut check = |kind: EventKind, path: &str, want: bool| {
            let event = Event::new(kind).add_path(path.into());
            assert_eq!(interest.heeds(&Ok(event)), want, "{kind:?} {path}");
        };
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        check(written, "/etc/sites.yaml", true);
        check(renamed, "/etc/sites.yaml", true);
        check(
            EventKind::Create(CreateKind::File),
            "/etc/certs/a.pem",
            true,
        );
        check(written, "/etc/other", false);
        check(written, "/var/sites.yaml", false);
        // Its own reading would call for the next one.
        let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
        check(opened, "/etc/sites.yaml", false);
        check(opened, "/etc/certs", false);
        let gone = EventKind::Remove(RemoveKind::Folder);
        check(gone, "/etc/certs", true);
        assert!(interest.gone.contains(Path::new("/etc/certs")));
        assert!(interest.heeds(&Err(notify::Error::generic("lost"))));
    }
}
