//! Who may read and write what hostmux lives on: `sites.yaml`, private keys and
//! other secrets, the state folder, the control socket.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::finding::{Check, Finding};
use crate::server::control::MODE as SOCKET_MODE;

const CHECK: Check = Check::Permissions;

const ROOT: u32 = 0;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
/// In a folder with it, who may write may still not remove another's files.
const STICKY: u32 = 0o1000;

/// A file or folder, and what was seen of it.
#[derive(Debug)]
pub struct Seen {
    pub path: PathBuf,
    pub role: Role,
    /// An error: it could not be looked at.
    pub rights: Result<Rights, io::ErrorKind>,
}

/// What it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Configuration,
    /// The folder of the configuration: who writes it can put another there.
    ConfigurationFolder,
    /// A private key, of a certificate or of the local CA.
    PrivateKey,
    /// The secret of sticky cookies.
    Secret,
    /// The keys of TLS session tickets.
    TicketKeys,
    State,
    ControlSocket,
}

/// Whose it is, and what they and others may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    pub mode: u32,
    pub user: u32,
    pub group: u32,
}

/// Looks at a path; what a symbolic link leads to counts.
pub(super) fn look(path: &Path, role: Role) -> Seen {
    let rights = fs::metadata(path).map(|found| Rights {
        mode: found.mode() & 0o7777,
        user: found.uid(),
        group: found.gid(),
    });
    Seen {
        path: path.to_owned(),
        role,
        rights: rights.map_err(|error| error.kind()),
    }
}

/// What is to be said; `None`: it is not there, and need not be. `user`: who
/// would run hostmux here.
pub(super) fn judge(seen: &Seen, user: u32) -> Option<Finding> {
    let path = seen.path.display();
    let rights = match seen.rights {
        Ok(rights) => rights,
        Err(io::ErrorKind::NotFound) => return None,
        Err(kind) => {
            return Some(
                Finding::note(CHECK, format!("{path} was not looked at: {kind}"))
                    .why("this user may not look there")
                    .fix("`sudo hostmux doctor`"),
            );
        }
    };
    Some(match seen.role {
        Role::Configuration => configuration(&seen.path, rights),
        Role::ConfigurationFolder => folder(&seen.path, rights)?,
        Role::PrivateKey => kept(
            &seen.path,
            rights,
            "the private key",
            "who reads it can pass as these sites",
        ),
        Role::Secret => kept(
            &seen.path,
            rights,
            "the secret of sticky cookies",
            "who reads it can choose the endpoint that serves them",
        ),
        Role::TicketKeys => kept(
            &seen.path,
            rights,
            "the file of TLS ticket keys",
            "who reads it can read what resumed sessions say; hostmux makes new keys, and sessions from before are not resumed",
        ),
        Role::State => state(&seen.path, rights, user),
        Role::ControlSocket => socket(&seen.path, rights),
    })
}

/// Whether others than its owner may write. A group that has its user's number
/// is that user's own, as most systems make them.
fn writers(rights: Rights) -> Option<(&'static str, &'static str)> {
    if rights.mode & OTHERS_WRITE != 0 {
        Some(("by every user", "o-w"))
    } else if rights.mode & GROUP_WRITES != 0 && rights.group != rights.user {
        Some(("by its group", "g-w"))
    } else {
        None
    }
}

fn configuration(path: &Path, rights: Rights) -> Finding {
    let shown = path.display();
    let mode = rights.mode;
    match writers(rights) {
        None => Finding::ok(
            CHECK,
            format!("{shown} is its owner's to write (mode {mode:04o})"),
        ),
        Some((who, less)) => Finding::warning(
            CHECK,
            format!("{shown} can be written {who} (mode {mode:04o})"),
        )
        .why("who writes it decides where the visitors of all sites are sent")
        .fix(format!("`chmod {less} {shown}`")),
    }
}

fn folder(path: &Path, rights: Rights) -> Option<Finding> {
    let (who, less) = writers(rights)?;
    if rights.mode & STICKY != 0 {
        return None;
    }
    let (shown, mode) = (path.display(), rights.mode);
    let what = format!("the folder {shown} can be written {who} (mode {mode:04o})");
    Some(
        Finding::warning(CHECK, what)
            .why("who writes the folder can put another sites.yaml into it")
            .fix(format!("`chmod {less} {shown}`")),
    )
}

fn kept(path: &Path, rights: Rights, what: &str, why: &str) -> Finding {
    let (shown, mode) = (path.display(), rights.mode);
    match mode & 0o077 {
        0 => Finding::ok(
            CHECK,
            format!("{what} {shown} is its owner's alone (mode {mode:04o})"),
        ),
        _ => Finding::warning(
            CHECK,
            format!("{what} {shown} can be read by other users (mode {mode:04o})"),
        )
        .why(why)
        .fix(format!("`chmod 600 {shown}`")),
    }
}

fn state(path: &Path, rights: Rights, user: u32) -> Finding {
    let (shown, mode) = (path.display(), rights.mode);
    if user != ROOT && rights.user != user {
        let what = format!(
            "the state folder {shown} belongs to another user ({})",
            rights.user
        );
        return Finding::warning(CHECK, what)
            .why("`hostmux run` by this user cannot keep its CA there, and does not start")
            .fix("run hostmux as that user, or set STATE_DIRECTORY")
            .fix(format!(
                "`sudo chown -R {user} {shown}`, if no other hostmux uses it"
            ));
    }
    match writers(rights) {
        None => Finding::ok(
            CHECK,
            format!("the state folder {shown} is its owner's (mode {mode:04o})"),
        ),
        Some((who, _)) => Finding::error(
            CHECK,
            format!("the state folder {shown} can be written {who} (mode {mode:04o})"),
        )
        .why("who writes it can put a CA of their own in the place of hostmux's")
        .fix(format!("`chmod 700 {shown}`")),
    }
}

fn socket(path: &Path, rights: Rights) -> Finding {
    let (shown, mode) = (path.display(), rights.mode);
    match mode & !SOCKET_MODE & 0o777 {
        0 => Finding::ok(
            CHECK,
            format!("the control socket {shown} is for its user and group (mode {mode:04o})"),
        ),
        _ => Finding::error(
            CHECK,
            format!("the control socket {shown} is open to other users (mode {mode:04o})"),
        )
        .why("who may connect can add endpoints, pause and stop sites")
        .fix(format!("`chmod {SOCKET_MODE:o} {shown}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    #[test]
    fn rights_are_judged_by_what_a_thing_is_for() {
        let check = |role: Role, mode: u32, want: Option<(Severity, &str)>| {
            let rights = Rights {
                mode,
                user: 1000,
                group: 100,
            };
            let seen = Seen {
                path: "/x".into(),
                role,
                rights: Result::Ok(rights),
            };
            let found = judge(&seen, 1000);
            assert_eq!(
                found.as_ref().map(|found| found.severity),
                want.map(|(severity, _)| severity),
                "{role:?} {mode:o}"
            );
            let all = format!("{found:?}");
            assert!(all.contains(want.map_or("", |(_, words)| words)), "{all}");
        };
        use Severity::{Error, Ok, Warning};
        check(Role::Configuration, 0o644, Some((Ok, "")));
        check(
            Role::Configuration,
            0o664,
            Some((Warning, "`chmod g-w /x`")),
        );
        check(
            Role::Configuration,
            0o646,
            Some((Warning, "`chmod o-w /x`")),
        );
        check(Role::ConfigurationFolder, 0o755, None);
        check(Role::ConfigurationFolder, 0o1777, None);
        check(
            Role::ConfigurationFolder,
            0o777,
            Some((Warning, "chmod o-w /x")),
        );
        check(Role::PrivateKey, 0o600, Some((Ok, "")));
        check(Role::PrivateKey, 0o640, Some((Warning, "`chmod 600 /x`")));
        check(Role::Secret, 0o644, Some((Warning, "`chmod 600 /x`")));
        check(Role::State, 0o700, Some((Ok, "")));
        check(Role::State, 0o777, Some((Error, "`chmod 700 /x`")));
        check(Role::ControlSocket, 0o660, Some((Ok, "")));
        check(Role::ControlSocket, 0o666, Some((Error, "`chmod 660 /x`")));
    }

    #[test]
    fn a_state_folder_of_another_user_is_of_no_use() {
        let rights = Rights {
            mode: 0o700,
            user: 0,
            group: 0,
        };
        let said = |user| state(Path::new("/x"), rights, user);
        assert_eq!(said(1000).severity, Severity::Warning);
        let fixes = said(1000).fixes;
        assert!(fixes[1].starts_with("`sudo chown -R 1000 /x`"), "{fixes:?}");
        assert_eq!(said(0).severity, Severity::Ok);
    }

    #[test]
    fn a_users_own_group_is_the_user() {
        let own = Rights {
            mode: 0o664,
            user: 1000,
            group: 1000,
        };
        assert_eq!(writers(own), None);
    }

    #[test]
    fn what_may_not_be_seen_is_told() {
        let seen = |kind| Seen {
            path: "/x".into(),
            role: Role::PrivateKey,
            rights: Err(kind),
        };
        assert_eq!(judge(&seen(io::ErrorKind::NotFound), 1000), None);
        let told = judge(&seen(io::ErrorKind::PermissionDenied), 1000).unwrap();
        assert_eq!(told.severity, Severity::Note);
        assert_eq!(told.fixes, ["`sudo hostmux doctor`"]);
    }
}
