//! The other end of the control socket: one question, one answer.
//!
//! Just enough of HTTP/1.1 (RFC 9112) for a server that we know: it answers
//! with `Content-Length` and closes.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

use crate::cli::load;

/// Where the service's socket is, if systemd starts it.
pub(in crate::cli) const SERVICE_SOCKET: &str = "/run/hostmux/hostmux.sock";
/// How long hostmux may be silent: a little more than it gives a command.
const SILENCE_MAX: Duration = Duration::from_secs(40);
/// The largest answer that is read, in bytes: many times the status of 10,000 sites.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// A hostmux that runs, as far as we know.
pub(in crate::cli) struct Running {
    pub(in crate::cli) socket: PathBuf,
}

/// What came of looking for one.
pub(in crate::cli) enum Found {
    Running(Running),
    /// Nobody listens on any of these.
    Nobody(Vec<PathBuf>),
}

impl Found {
    /// Looks where hostmux listens; `named`: only there.
    pub(in crate::cli) fn look(named: Option<PathBuf>) -> anyhow::Result<Self> {
        let places = match named {
            Some(named) => vec![named],
            None => vec![load::control_socket()?, PathBuf::from(SERVICE_SOCKET)],
        };
        for place in &places {
            match UnixStream::connect(place) {
                Ok(_) => {
                    return Ok(Self::Running(Running {
                        socket: place.clone(),
                    }));
                }
                Err(error) if is_nobody(error.kind()) => {}
                Err(error) => return Err(unreachable(place, &error)),
            }
        }
        Ok(Self::Nobody(places))
    }

    /// The one that runs, where one has to.
    pub(in crate::cli) fn required(self) -> anyhow::Result<Running> {
        match self {
            Self::Running(running) => Ok(running),
            Self::Nobody(tried) => {
                let tried: Vec<String> = tried
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                bail!(
                    "no hostmux is running: nobody listens on {}\n  \
                     = help: start it with `hostmux run`, or name its socket with `--socket PATH`",
                    tried.join(" or "),
                )
            }
        }
    }
}

impl Running {
    pub(in crate::cli) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask("GET", path, None)
    }

    /// Asks; what it refuses is an error with its `fix`.
    pub(super) fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        match self.answer(method, path, body)? {
            Answer::Done(told) => Ok(told),
            Answer::Refused(refusal) => Err(refusal.error()),
        }
    }

    /// Asks; what it refuses is an answer, too.
    pub(super) fn answer(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let broken = || format!("hostmux does not answer on {}", self.socket.display());
        let answer = exchange(&self.socket, method, path, body).with_context(broken)?;
        let (status, value) = parsed(&answer).with_context(broken)?;
        if (200..300).contains(&status) {
            return Ok(Answer::Done(value));
        }
        Ok(Answer::Refused(Refusal {
            status,
            told: value,
        }))
    }
}

/// What hostmux said to a command.
pub(super) enum Answer {
    Done(Value),
    Refused(Refusal),
}

/// A command that was not followed.
pub(super) struct Refusal {
    status: u16,
    pub(super) told: Value,
}

impl Refusal {
    /// As a command that failed tells it.
    pub(super) fn error(&self) -> anyhow::Error {
        let text = |key: &str| self.told.get(key).and_then(Value::as_str);
        let error = text("error").map_or_else(
            || format!("hostmux answered {}", self.status),
            str::to_owned,
        );
        match text("fix") {
            Some(fix) => anyhow!("{error}\n  = help: {fix}"),
            None => anyhow!(error),
        }
    }
}

/// Nobody listens: there is no socket, or its process is gone.
fn is_nobody(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

fn unreachable(place: &Path, error: &io::Error) -> anyhow::Error {
    let place = place.display();
    if error.kind() == io::ErrorKind::PermissionDenied {
        return anyhow!(
            "permission to use {place} is denied\n  \
             = help: be the user that hostmux runs as, or of the socket's group; or use sudo"
        );
    }
    anyhow!("{place} cannot be used: {error}")
}

fn exchange(
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: hostmux\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Status and body of an answer that has come whole.
fn parsed(answer: &[u8]) -> anyhow::Result<(u16, Value)> {
    let text = std::str::from_utf8(answer).context("the answer is not in UTF-8")?;
    let (head, body) = text.split_once("\r\n\r\n").context("it broke off")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.and_then(|status| status.parse().ok());
    let status = status.context("the answer is not HTTP")?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    if length != Some(body.len()) {
        bail!("the answer is not whole");
    }
    Ok((
        status,
        serde_json::from_str(body).context("the answer is not JSON")?,
    ))
}

/// A text as one segment of a path (RFC 3986 §3.3).
pub(super) fn segment(text: &str) -> String {
    text.bytes().fold(String::new(), |mut path, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                path.push(char::from(byte));
            }
            _ => path.push_str(&format!("%{byte:02X}")),
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_if_it_is_whole() {
        let whole = b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\n{}\n";
        let (status, value) = parsed(whole).unwrap();
        assert_eq!((status, value), (404, serde_json::json!({})));
        for broken in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n{}\n",
            b"HTTP/1.1 200 OK\r\n\r\n{}\n",
            b"SSH-2.0-x\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{]\n",
        ] {
            assert!(
                parsed(broken).is_err(),
                "{}",
                String::from_utf8_lossy(broken)
            );
        }
    }

    #[test]
    fn a_segment_holds_no_slash() {
        assert_eq!(segment("*.a.test"), "%2A.a.test");
        assert_eq!(segment("unix:/run/ä"), "unix%3A%2Frun%2F%C3%A4");
    }
}
