//! What is to be done to the system, step by step: printed, or carried out.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::At;
use super::files::Wanted;
use super::system::{Line, said};
use crate::cli::{DEGRADED, out};

pub(super) enum Step {
    /// A file, whatever there is now.
    Write(Wanted),
    Remove(&'static str),
    Copy {
        from: PathBuf,
        to: &'static str,
        why: &'static str,
    },
    Run(Line),
    /// A command that tells whether to go on: not if it fails, but if it is degraded.
    Judge(Line),
}

pub(super) fn print(at: &At, steps: &[Step]) -> io::Result<()> {
    out::write(|out| {
        for step in steps {
            match step {
                Step::Write(file) => {
                    writeln!(out, "write {}:", at.path(file.path).display())?;
                    for line in file.text.lines() {
                        writeln!(out, "{}", format!("    {line}").trim_end())?;
                    }
                }
                Step::Remove(path) => writeln!(out, "remove {}", at.path(path).display())?,
                Step::Copy { from, to, why } => {
                    let (from, to) = (from.display(), at.path(to));
                    writeln!(out, "copy {from} to {}: {why}", to.display())?;
                }
                Step::Run(line) | Step::Judge(line) => writeln!(out, "run {line}")?,
            }
        }
        Ok(())
    })
}

/// Does one after the other, until one fails.
pub(super) fn carry_out(at: &At, steps: &[Step]) -> anyhow::Result<()> {
    for step in steps {
        match step {
            Step::Write(file) => {
                let path = at.path(file.path);
                place(&path, 0o644, |new| new.write_all(file.text.as_bytes()))?;
                out::say(format_args!("wrote {}", path.display()))?;
            }
            Step::Remove(path) => {
                let path = at.path(path);
                fs::remove_file(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
                out::say(format_args!("removed {}", path.display()))?;
            }
            Step::Copy { from, to, why } => {
                let path = at.path(to);
                let reading = || format!("cannot read {}", from.display());
                let mut binary = fs::File::open(from).with_context(reading)?;
                place(&path, 0o755, |new| io::copy(&mut binary, new).map(drop))?;
                out::say(format_args!(
                    "copied {} to {}: {why}",
                    from.display(),
                    path.display()
                ))?;
            }
            Step::Run(line) => line.run()?,
            Step::Judge(line) => judge(line)?,
        }
    }
    Ok(())
}

fn judge(line: &Line) -> anyhow::Result<()> {
    let output = line.output()?;
    let code = output.status.code();
    if output.status.success() || code == Some(i32::from(DEGRADED)) {
        out::say(format_args!(
            "as the service sees its file:{}",
            said(&output)
        ))?;
        return Ok(());
    }
    bail!(
        "`{line}` fails: the user of the service cannot read all that it needs, and nothing was started{}\n  \
         = help: the configuration may belong to root with mode 644, private keys to `{}` with mode 600",
        said(&output),
        super::USER
    )
}

/// Makes a file beside its place and renames it: whoever runs or reads the old
/// one goes on with it.
fn place(
    path: &Path,
    mode: u32,
    fill: impl FnOnce(&mut fs::File) -> io::Result<()>,
) -> anyhow::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let made = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = options.open(&new)?;
        fill(&mut file)?;
        // The umask may have taken some of it.
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(mode))?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    made().map_err(|error| {
        // Nothing is left to do if it cannot be removed.
        let _ = fs::remove_file(&new);
        anyhow::Error::new(error).context(format!("cannot write {}", path.display()))
    })
}
