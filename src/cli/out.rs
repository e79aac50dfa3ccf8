//! What a command says on standard output.

use std::fmt::Display;
use std::io::{self, Write};

/// Says a line.
pub(super) fn say(line: impl Display) -> io::Result<()> {
    write(|out| writeln!(out, "{line}"))
}

/// Writes; that nobody reads any more (`| head`) is no failure.
pub(super) fn write(
    print: impl FnOnce(&mut io::StdoutLock<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match print(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}
