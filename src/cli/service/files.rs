//! The files of the service: the text of `packaging/` as it has to be here.

use std::fs;
use std::io;
use std::path::Path;

use super::{At, CONFIG};
use crate::config::{Listen, ListenAddress};
use crate::upstream::balance::stable_hash;

const SERVICE_TEXT: &str = include_str!("../../../packaging/hostmux.service");
const SOCKET_TEXT: &str = include_str!("../../../packaging/hostmux.socket");
const SYSUSERS_TEXT: &str = include_str!("../../../packaging/hostmux.sysusers");
const TMPFILES_TEXT: &str = include_str!("../../../packaging/hostmux.tmpfiles");

pub(super) const SERVICE_FILE: &str = "/etc/systemd/system/hostmux.service";
pub(super) const SOCKET_FILE: &str = "/etc/systemd/system/hostmux.socket";
pub(super) const SYSUSERS_FILE: &str = "/etc/sysusers.d/hostmux.conf";
pub(super) const TMPFILES_FILE: &str = "/etc/tmpfiles.d/hostmux.conf";
/// All that `install` writes.
pub(super) const ALL: [&str; 4] = [SERVICE_FILE, SOCKET_FILE, SYSUSERS_FILE, TMPFILES_FILE];

/// The unit of a package, which no file of ours has to repeat.
const PACKAGED: [&str; 2] = [
    "/usr/lib/systemd/system/hostmux.service",
    "/lib/systemd/system/hostmux.service",
];
/// The binary of a package.
const PACKAGED_BINARY: &str = "/usr/bin/hostmux";
/// The first systemd that knows `Type=notify-reload`.
const NOTIFY_RELOAD_SINCE: u32 = 253;
/// How the first line of a file that we wrote begins; a sum of the rest follows.
const MARK: &str =
    "# Written by `hostmux service install`; edited by hand if this is not its sum: ";

/// A file as it is to be.
pub(super) struct Wanted {
    pub(super) path: &'static str,
    pub(super) text: String,
}

/// A file as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Is {
    Absent,
    /// As `install` wrote it, now or in another version.
    Ours,
    /// By hand, at least in part.
    Edited,
}

pub(super) fn is(path: &Path) -> io::Result<Is> {
    match fs::read(path) {
        Ok(bytes) => Ok(match is_ours(&String::from_utf8_lossy(&bytes)) {
            true => Is::Ours,
            false => Is::Edited,
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Is::Absent),
        Err(error) => Err(error),
    }
}

/// Whether a package has brought the service, for this binary and this configuration.
pub(super) fn packaged(at: &At, binary: &Path, config: &Path) -> bool {
    binary == Path::new(PACKAGED_BINARY)
        && config == Path::new(CONFIG)
        && PACKAGED.iter().any(|unit| at.path(unit).exists())
}

/// The unit of the service. `systemd`: its version, if it told.
pub(super) fn service(binary: &str, config: &str, systemd: Option<u32>) -> Wanted {
    let mut text = SERVICE_TEXT
        .replace(PACKAGED_BINARY, &escaped(binary))
        .replace(CONFIG, &escaped(config));
    if systemd.is_some_and(|version| version < NOTIFY_RELOAD_SINCE) {
        let both = "# systemd before 253 does not know the second: it says so, and keeps the first.\n\
                    Type=notify\nType=notify-reload\n";
        text = text.replace(both, "Type=notify\n");
    }
    wanted(SERVICE_FILE, &text)
}

/// The unit of the sockets that are listened on.
pub(super) fn socket(listen: &Listen) -> Wanted {
    let all: Vec<&ListenAddress> = listen.https.iter().chain(&listen.http).collect();
    let streams: String = all
        .iter()
        .map(|address| match address {
            ListenAddress::Port(port) => format!("ListenStream={port}\n"),
            ListenAddress::Address(address) => format!("ListenStream={address}\n"),
        })
        .collect();
    let mut text = SOCKET_TEXT.replace("ListenStream=443\nListenStream=80\n", &streams);
    let bare = |address: &&ListenAddress| matches!(address, ListenAddress::Port(_));
    if !all.iter().any(bare) {
        // As hostmux binds an address that is written out.
        text = text.replace("BindIPv6Only=both\n", "BindIPv6Only=ipv6-only\n");
    }
    wanted(SOCKET_FILE, &text)
}

pub(super) fn sysusers() -> Wanted {
    wanted(SYSUSERS_FILE, SYSUSERS_TEXT)
}

pub(super) fn tmpfiles() -> Wanted {
    wanted(TMPFILES_FILE, TMPFILES_TEXT)
}

fn wanted(path: &'static str, text: &str) -> Wanted {
    Wanted {
        path,
        text: format!("{MARK}{:016x}\n{text}", sum(text)),
    }
}

fn is_ours(text: &str) -> bool {
    let marked = text
        .strip_prefix(MARK)
        .and_then(|rest| rest.split_once('\n'));
    marked.is_some_and(|(said, rest)| said == format!("{:016x}", sum(rest)))
}

/// It is to see an edit, not an attack.
fn sum(text: &str) -> u64 {
    stable_hash(text.as_bytes())
}

/// A path as one word of a command line (systemd.service(5), COMMAND LINES).
fn escaped(path: &str) -> String {
    let path = path.replace('%', "%%").replace('$', "$$");
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+%$@:".contains(c);
    match path.chars().all(plain) {
        true => path,
        false => format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

/// Where a service's binary belongs: below these, nobody but root may change it,
/// and `ProtectHome=` and `PrivateTmp=` hide nothing.
const SYSTEM_FOLDERS: [&str; 6] = ["/usr", "/opt", "/bin", "/sbin", "/nix/store", "/gnu/store"];
/// What the service does not see.
const HIDDEN_FOLDERS: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// Why the service cannot or should not run a binary where it lies.
pub(super) fn misplaced(binary: &Path) -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt;
    if hidden(binary).is_some() {
        return Some("the service does not see that folder");
    }
    if !SYSTEM_FOLDERS
        .iter()
        .any(|folder| binary.starts_with(folder))
    {
        return Some("it is not where the programs of a system are");
    }
    let others = |path: &Path| {
        let found = fs::metadata(path);
        found.is_ok_and(|found| found.uid() != 0 || found.mode() & 0o022 != 0)
    };
    if others(binary) || binary.parent().is_some_and(others) {
        return Some("others than root may change it");
    }
    None
}

/// The folder that hides a path from the service.
pub(super) fn hidden(path: &Path) -> Option<&'static str> {
    let mut folders = HIDDEN_FOLDERS.into_iter();
    folders.find(|folder| path.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_known_again_and_an_edit_is_seen() {
        let text = service("/usr/bin/hostmux", CONFIG, None).text;
        assert!(is_ours(&text));
        assert!(!is_ours(&text.replace("WatchdogSec=30", "WatchdogSec=31")));
        assert!(!is_ours(&format!("{text}\n")));
        assert!(!is_ours(SERVICE_TEXT) && !is_ours("") && !is_ours(MARK));
    }

    #[test]
    fn the_unit_names_the_binary_and_the_configuration() {
        let text = service(
            "/usr/local/bin/hostmux",
            "/srv/my sites/50%.yaml",
            Some(255),
        )
        .text;
        for line in [
            "ExecStart=/usr/local/bin/hostmux run -c \"/srv/my sites/50%%.yaml\"\n",
            "ExecReload=/usr/local/bin/hostmux reload\n",
            "Type=notify-reload\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let old = service("/usr/bin/hostmux", CONFIG, Some(252)).text;
        assert!(old.contains("\nType=notify\n") && !old.contains("notify-reload"));
    }

    #[test]
    fn the_sockets_are_those_of_the_configuration() {
        let check = |listen: &str, want: &str| {
            let text = format!("listen: {listen}\nsites: {{ a.test: 1 }}\n");
            let config = crate::config::check(&text, &|_| None).config.unwrap();
            let text = socket(&config.listen).text;
            assert!(text.contains(want), "{text}");
        };
        check(
            "{}",
            "\nListenStream=443\nListenStream=80\nBindIPv6Only=both\n",
        );
        check(
            "{ https: [\"127.0.0.1:443\", \"[::1]:443\"], http: off }",
            "\nListenStream=127.0.0.1:443\nListenStream=[::1]:443\nBindIPv6Only=ipv6-only\n",
        );
    }

    #[test]
    fn a_binary_in_a_home_is_misplaced() {
        for path in [
            "/home/ann/hostmux",
            "/root/hostmux",
            "/tmp/x/hostmux",
            "/src/target/hostmux",
        ] {
            assert!(misplaced(Path::new(path)).is_some(), "{path}");
        }
        assert_eq!(misplaced(Path::new("/usr/bin/env")), None);
    }
}
