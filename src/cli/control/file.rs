//! `sites.yaml`, edited: checked whole before it is written, and written at once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use rustix::fs::{FlockOperation, Gid, Mode, Uid, fchmod, fchown, flock};

use crate::config::edit::{Edit, Target, edit};
use crate::config::{BrokenSite, Checked, FILE_BYTES_MAX};
use crate::diagnostic::{Colour, Diagnostic};
use crate::host::HostPattern;
use crate::server::reload::{folder_of, judge};

/// Edits a file. With an error in what it would become nothing is written.
pub(super) fn change(
    file: &Path,
    target: &Target<'_>,
    change: &Edit<'_>,
    colour: Colour,
) -> anyhow::Result<()> {
    let name = file.display().to_string();
    let reading = || format!("cannot read {name}");
    // A link stays one: what it leads to is replaced.
    let real = fs::canonicalize(file).with_context(reading)?;
    let folder = File::open(folder_of(&real)).with_context(reading)?;
    // Held to the end, so that of two edits one comes after the other.
    flock(&folder, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        anyhow!("another hostmux is at work in the folder of {name}\n  = help: try again")
    })?;
    let had = text_of(&real).with_context(reading)?;
    let text = edit(&had, target, change).map_err(|refusal| {
        let fix = refusal.fix();
        anyhow!("{refusal}\n  = help: {fix}")
    })?;
    let mut judged = judge(name.clone(), text, folder_of(file));
    let before = judge(name.clone(), had.clone(), folder_of(file)).checked;
    if !is_right(&judged.checked, &before, target) {
        eprintln!("{}", judged.render(colour));
        bail!(
            "{name} would not be right then: nothing was written\n  \
             = help: the faults above are in the file as it would be; `hostmux check` tells those it has now"
        );
    }
    let unchanged = || match text_of(&real)? == had {
        true => Ok(()),
        false => bail!("it was changed meanwhile, and nothing was written\n  = help: try again"),
    };
    replace(&real, &judged.text, unchanged).with_context(|| format!("cannot write {name}"))?;
    if !judged.checked.found.is_empty() {
        // What there was to be warned of before is not of this change.
        let is_new = |new: &Diagnostic| before.found.iter().all(|old| old.message != new.message);
        judged.checked.found.retain(is_new);
        eprint!("{}", judged.render(colour));
    }
    // The new name is to outlast a power cut; it is there for all others already.
    let _ = folder.sync_all();
    Ok(())
}

/// Whether an edited text can be served. Another site that was broken before
/// is none of this change's.
fn is_right(edited: &Checked, before: &Checked, target: &Target<'_>) -> bool {
    let Some(config) = &edited.config else {
        return false;
    };
    let was_broken = |name: &str| {
        let mut broken = before.config.iter().flat_map(|config| &config.broken);
        broken.any(|site| site.name == name)
    };
    let is_its = |site: &BrokenSite| {
        let meant = HostPattern::parse(target.host).ok();
        site.name == target.host || meant.is_some_and(|meant| site.hosts.contains(&meant))
    };
    config
        .broken
        .iter()
        .all(|site| was_broken(&site.name) && !is_its(site))
}

fn text_of(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(file)?;
    file.take(FILE_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)?;
    if text.len() > FILE_BYTES_MAX {
        // What was not read would be lost with the edit.
        return Err(io::Error::other(format!(
            "it is larger than {FILE_BYTES_MAX} bytes"
        )));
    }
    Ok(text)
}

/// Puts a new file in the place of one, with its rights and its owner: who reads
/// meanwhile sees the one or the other, whole. `may`: asked last; with an error
/// all stays as it is.
pub(in crate::cli) fn replace(
    real: &Path,
    text: &str,
    may: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let new = beside(real);
    let written = write(real, &new, text)
        .map_err(anyhow::Error::from)
        .and_then(|()| may())
        .and_then(|()| Ok(fs::rename(&new, real)?));
    if written.is_err() {
        // Nothing is left to do if it cannot be removed.
        let _ = fs::remove_file(&new);
    }
    written
}

/// A hidden name in the same folder, this process's own.
fn beside(real: &Path) -> PathBuf {
    let name = real.file_name().unwrap_or_default().to_string_lossy();
    real.with_file_name(format!(".{name}.hostmux.{}", std::process::id()))
}

/// Writes a file with the rights and the owner of another.
fn write(like: &Path, new: &Path, text: &str) -> io::Result<()> {
    let like = fs::metadata(like)?;
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(new)?;
    file.write_all(text.as_bytes())?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        let (user, group) = (Uid::from_raw(like.uid()), Gid::from_raw(like.gid()));
        fchown(&file, Some(user), Some(group))?;
    }
    // After the owner, whose change may take rights away.
    fchmod(
        &file,
        Mode::from_raw_mode(like.permissions().mode() & 0o7777),
    )?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "# mine\nsites:\n  a.test: 8080 # the app\n";

    fn add(file: &Path, host: &str, endpoint: &str) -> anyhow::Result<()> {
        let endpoints = [endpoint.to_owned()];
        let edit = Edit::Add {
            endpoints: &endpoints,
        };
        change(file, &Target::of(host), &edit, Colour::Plain)
    }

    fn names(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn comments_rights_and_links_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (
            folder.path().join("real.yaml"),
            folder.path().join("sites.yaml"),
        );
        fs::write(&real, BEFORE).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        add(&link, "a.test", "8081").unwrap();
        let text = fs::read_to_string(&real).unwrap();
        assert_eq!(text, "# mine\nsites:\n  a.test: [8080, 8081] # the app\n");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(
            fs::metadata(&real).unwrap().permissions().mode() & 0o777,
            0o640
        );
        assert_eq!(names(folder.path()), 2, "nothing is left over");
    }

    #[test]
    fn what_would_be_wrong_or_has_changed_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sites.yaml");
        fs::write(&file, "sites:\n  a.test: 8080\n  b.test: 8O80\n").unwrap();
        let refused = add(&file, "b.test", "8081").unwrap_err().to_string();
        assert!(refused.contains("nothing was written"), "{refused}");
        assert!(!fs::read_to_string(&file).unwrap().contains("8081"));
        // The fault of another site is none of this one's.
        add(&file, "a.test", "8082").unwrap();
        assert!(fs::read_to_string(&file).unwrap().contains("[8080, 8082]"));

        let refused = replace(&file, "sites: { a.test: 1 }\n", || bail!("changed")).unwrap_err();
        assert_eq!(refused.to_string(), "changed");
        assert!(fs::read_to_string(&file).unwrap().contains("8O80"));
        assert_eq!(names(folder.path()), 1, "nothing is left over");
    }

    #[test]
    fn a_file_too_large_to_be_read_whole_stays_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sites.yaml");
        let text = format!("{BEFORE}{}", "# more\n".repeat(FILE_BYTES_MAX / 7 + 1));
        // What is read of it is a right file once the endpoint is gone.
        let text = text.replace("8080", "[8080, 8081]");
        fs::write(&file, &text).unwrap();
        let endpoints = ["8081".to_owned()];
        let edit = Edit::Remove {
            endpoints: &endpoints,
            force: false,
        };
        let refused = change(&file, &Target::of("a.test"), &edit, Colour::Plain).unwrap_err();
        assert!(
            format!("{refused:#}").contains("larger than"),
            "{refused:#}"
        );
        assert!(fs::read_to_string(&file).unwrap() == text);
    }
}
