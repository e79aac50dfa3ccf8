//! The text of a first `sites.yaml`.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::is_usual;
use super::probe::Speaks;
use crate::server::holder::{Holder, Listening};

/// How much of a folder's or a program's name a comment shows, in characters.
const NAME_CHARS_MAX: usize = 80;

/// A port that something listens on.
pub(super) struct Found {
    pub(super) address: SocketAddr,
    pub(super) holder: Option<Holder>,
    pub(super) folder: Option<PathBuf>,
    pub(super) speaks: Speaks,
    /// The first label of its name.
    pub(super) label: String,
}

impl Found {
    /// Not yet asked, nor named.
    pub(super) fn new(socket: &Listening) -> Self {
        Self {
            address: socket.address,
            holder: socket.holder.clone(),
            folder: socket.holder.as_ref().and_then(Holder::folder),
            speaks: Speaks::Other,
            label: String::new(),
        }
    }

    /// `port 3000, node in /home/ann/shop`
    pub(super) fn who(&self) -> String {
        let mut who = format!("port {}", self.address.port());
        if let Some(holder) = &self.holder {
            who.push_str(&format!(", {}", plain(&holder.name)));
        }
        if let Some(folder) = &self.folder {
            who.push_str(&format!(" in {}", plain(&folder.to_string_lossy())));
        }
        who
    }

    /// As `sites.yaml` writes an endpoint.
    fn endpoint(&self) -> String {
        let at = match is_usual(self.address.ip()) {
            true => self.address.port().to_string(),
            false => self.address.to_string(),
        };
        match self.speaks {
            Speaks::H2c => format!("h2c://{at}"),
            Speaks::Tls => format!("https://{at}"),
            Speaks::Http | Speaks::Hostmux | Speaks::Silent | Speaks::Other | Speaks::Nothing => {
                match &*at {
                    // An IPv6 literal begins like a list.
                    at if at.starts_with('[') => format!("\"{at}\""),
                    at => at.to_owned(),
                }
            }
        }
    }

    /// Whether its line counts, or stands as a comment.
    fn counts(&self) -> bool {
        matches!(self.speaks, Speaks::Http | Speaks::H2c)
    }

    fn remark(&self) -> String {
        let who = self.who();
        match self.speaks {
            Speaks::Tls => format!(
                "{who}: speaks TLS; its certificate is verified, see `tls` in the reference"
            ),
            Speaks::Silent => format!("{who}: did not answer a GET"),
            Speaks::Http | Speaks::Hostmux | Speaks::H2c | Speaks::Other | Speaks::Nothing => who,
        }
    }
}

/// Where clients connect.
pub(super) struct Listen {
    pub(super) https: u16,
    pub(super) http: u16,
    /// Why these are not 443 and 80, or who has those.
    pub(super) why: Option<String>,
    /// Only this machine may connect; whether it has IPv6.
    pub(super) local: Option<bool>,
}

impl Listen {
    fn text(&self) -> String {
        let mut text = String::new();
        if let Some(why) = &self.why {
            text.push_str(&format!("# {why}.\n"));
        }
        let places = |port: u16| match self.local {
            None => port.to_string(),
            Some(false) => format!("\"127.0.0.1:{port}\""),
            Some(true) => format!("[\"127.0.0.1:{port}\", \"[::1]:{port}\"]"),
        };
        let usual = (self.https, self.http) == (443, 80);
        match self.local {
            Some(_) if usual => text.push_str(
                "# Only this machine may connect. Without this line all may, on ports 443 and 80.\n",
            ),
            Some(_) => text.push_str("# Only this machine may connect; a bare port is all addresses.\n"),
            None => text.push_str(
                "# Whoever reaches this machine reaches the sites below, also those whose programs\n\
                 # listen on loopback alone: take out what is not for all.\n",
            ),
        }
        if self.local.is_some() || !usual {
            text.push_str(&format!(
                "listen:\n  https: {}\n  http: {}       # redirects to https\n",
                places(self.https),
                places(self.http)
            ));
        }
        text
    }
}

pub(super) struct Page<'a> {
    pub(super) listen: Listen,
    pub(super) domain: &'a str,
    pub(super) found: &'a [Found],
}

impl Page<'_> {
    /// How many sites were found.
    pub(super) fn sites(&self) -> usize {
        self.found.iter().filter(|found| found.counts()).count()
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "# The sites of this machine, first written by `hostmux init`. A line is a site:\n\
             # its name, and the port that answers for it. `hostmux check` says whether the\n\
             # file is right.\n\n{}\nsites:\n",
            self.listen.text()
        );
        if self.sites() == 0 {
            text.push_str(&format!(
                "  app.{}: 3000   # an example: nothing here speaks HTTP yet\n",
                self.domain
            ));
        }
        let lines: Vec<(String, String)> = self
            .found
            .iter()
            .map(|found| {
                let off = if found.counts() { "" } else { "# " };
                let line = format!("{off}{}.{}: {}", found.label, self.domain, found.endpoint());
                (line, found.remark())
            })
            .collect();
        let width = lines.iter().map(|(line, _)| line.len()).max();
        let width = width.unwrap_or_default();
        for (line, remark) in lines {
            text.push_str(&format!("  {line:width$}   # {remark}\n"));
        }
        text
    }
}

/// A name from outside, as a comment can hold it: one line of what is visible.
pub(super) fn plain(name: &str) -> String {
    let mut plain: String = name
        .chars()
        .take(NAME_CHARS_MAX)
        .map(|c| match c {
            ' '..='~' => c,
            c if c.is_alphanumeric() => c,
            _ => '?',
        })
        .collect();
    if name.chars().nth(NAME_CHARS_MAX).is_some() {
        plain.push('…');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Severity;

    fn found(label: &str, address: &str, speaks: Speaks, program: &str) -> Found {
        Found {
            address: address.parse().unwrap(),
            holder: Some(Holder {
                name: program.to_owned(),
                pid: 7,
            }),
            folder: None,
            speaks,
            label: label.to_owned(),
        }
    }

    fn listen(local: Option<bool>) -> Listen {
        Listen {
            https: 8443,
            http: 8080,
            why: Some("Port 443 is held by nginx".to_owned()),
            local,
        }
    }

    #[test]
    fn every_page_is_a_right_configuration() {
        let odd = [
            found("shop", "127.0.0.1:3000", Speaks::Http, "node"),
            found("grpc", "[::]:9000", Speaks::H2c, "x\n  evil.test: 1"),
            found(
                "far",
                "127.0.0.9:3001",
                Speaks::Http,
                "\u{feff}\u{202e}a\u{7f}",
            ),
            found("tls", "127.0.0.1:8444", Speaks::Tls, &"ä".repeat(500)),
            found("slow", "[::1]:3002", Speaks::Silent, "# x: y"),
        ];
        for found in [&odd[..], &odd[3..], &[]] {
            for local in [None, Some(false), Some(true)] {
                let page = Page {
                    listen: listen(local),
                    domain: "xyz.com",
                    found,
                };
                let text = page.text();
                let checked = crate::config::check(&text, &|_| None);
                let wrong = checked
                    .found
                    .iter()
                    .find(|fault| fault.severity == Severity::Error);
                assert!(wrong.is_none(), "{text}{wrong:?}");
                let sites = checked.config.unwrap().sites.len();
                assert_eq!(sites, page.sites().max(1), "{text}");
            }
        }
    }

    #[test]
    fn a_page_reads_like_this() {
        let page = Page {
            listen: listen(Some(true)),
            domain: "localhost",
            found: &[
                found("shop", "127.0.0.1:3000", Speaks::Http, "node"),
                found("mail", "[::1]:8025", Speaks::Silent, "mailpit"),
            ],
        };
        let want = "\
# Port 443 is held by nginx.
# Only this machine may connect; a bare port is all addresses.
listen:
  https: [\"127.0.0.1:8443\", \"[::1]:8443\"]
  http: [\"127.0.0.1:8080\", \"[::1]:8080\"]       # redirects to https

sites:
  shop.localhost: 3000     # port 3000, node
  # mail.localhost: 8025   # port 8025, mailpit: did not answer a GET
";
        let text = page.text();
        assert!(text.ends_with(want), "{text}");
    }
}
