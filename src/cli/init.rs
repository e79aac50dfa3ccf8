//! `hostmux init`: a first `sites.yaml`, from what listens on this machine.
//!
//! It asks nothing, and changes nothing that is there.

mod name;
mod page;
mod probe;

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use self::page::{Found, Listen, Page};
use self::probe::Speaks;
use super::control::file;
use super::out;
use crate::config::Config;
use crate::diagnostic::Colour;
use crate::host::HostName;
use crate::server::holder::{self, Listening};
use crate::server::reload::{folder_of, judge};

/// What a service reads.
const SERVICE_CONFIG: &str = "/etc/hostmux/sites.yaml";
/// How many ports are asked what they speak.
const ASKED_MAX: usize = 256;
/// Ports of programs that speak no HTTP and may take a question amiss: mail,
/// databases, remote desktops and the like. They are not asked.
const OTHERS: &[u16] = &[
    21, 22, 23, 25, 53, 88, 110, 111, 113, 119, 135, 139, 143, 179, 389, 427, 445, 465, 512, 513,
    514, 515, 543, 544, 548, 554, 587, 631, 636, 646, 853, 873, 993, 995, 1433, 1521, 1723, 2049,
    3306, 3389, 4369, 5060, 5061, 5355, 5432, 5433, 5671, 5672, 5900, 5901, 5902, 6000, 6001, 6379,
    6380, 6432, 9042, 9092, 11211, 26379, 27017, 27018, 33060,
];
/// What is listened on where 443 and 80 cannot be: the first that is free.
const HTTPS_INSTEAD: &[u16] = &[8443, 9443, 10443, 4443];
const HTTP_INSTEAD: &[u16] = &[8080, 8081, 9080, 10080];

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The file to write
    #[arg(short, long, value_name = "FILE", default_value = "sites.yaml")]
    output: PathBuf,
    /// What the names of the sites end in
    #[arg(long, value_name = "DOMAIN", default_value = "localhost")]
    domain: String,
    /// Ask only this port; may be given again
    #[arg(long = "port", value_name = "PORT")]
    ports: Vec<u16>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// Print it, and write nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(asked: Arguments) -> anyhow::Result<ExitCode> {
    let domain = domain(&asked.domain)?;
    let there = asked.output.symlink_metadata().is_ok();
    if there && !asked.force && !asked.dry_run {
        bail!(
            "{} is there already, and nothing was written\n  \
             = help: `-o FILE` names another file, `--force` replaces this one, `--dry-run` only prints",
            asked.output.display()
        );
    }
    let all = holder::listening();
    let (found, left_out) = look(&all, &asked.ports);
    let page = Page {
        listen: listen(&all, &domain),
        domain: &domain,
        found: &found,
    };
    let text = page.text();
    right(&asked.output, &text)?;
    if asked.dry_run {
        out::write(|out| out.write_all(text.as_bytes()))?;
    } else {
        write(&asked.output, &text, asked.force)
            .with_context(|| format!("cannot write {}", asked.output.display()))?;
    }
    // Beside the text, which may go to a file.
    let told = told(&page, &left_out, (!asked.dry_run).then_some(&*asked.output));
    eprint!("{told}");
    Ok(ExitCode::SUCCESS)
}

/// The domain in its one spelling.
fn domain(said: &str) -> anyhow::Result<String> {
    let said = said.strip_prefix('.').unwrap_or(said);
    let name =
        HostName::parse(said).with_context(|| format!("`{said}` cannot end the names of sites"))?;
    if name.is_address() {
        bail!("`{said}` is an address: names cannot end in it");
    }
    // Room for the longest label that is put before it (RFC 1035 §2.3.4).
    HostName::parse(&format!("{}.{name}", "a".repeat(name::LABEL_BYTES_MAX)))
        .with_context(|| format!("`{said}` leaves no room for a name before it"))?;
    Ok(name.to_string())
}

/// What speaks HTTP, with a name each, and what was left out, in words.
/// `only`: these ports; without any, all.
fn look(all: &[Listening], only: &[u16]) -> (Vec<Found>, Vec<String>) {
    let mut found: Vec<Found> = Vec::new();
    let mut left_out = Vec::new();
    for socket in all {
        let port = socket.address.port();
        let wanted = only.is_empty() || only.contains(&port);
        if !wanted || !is_of_this_machine(socket.address.ip()) || is_own(socket) {
            continue;
        }
        match found.last_mut() {
            // Both families, or several processes.
            Some(last) if last.address.port() == port => {
                if is_usual(socket.address.ip()) {
                    last.address = socket.address;
                }
                last.holder = last.holder.take().or_else(|| socket.holder.clone());
            }
            _ => found.push(Found::new(socket)),
        }
    }
    left_out.extend(only.iter().filter_map(|port| unasked(*port, all, &found)));
    found.retain(|found| {
        let port = found.address.port();
        let why = match port {
            443 | 80 => "hostmux's own port, if it can have it",
            _ if OTHERS.contains(&port) => "usually no HTTP, not asked",
            _ => return true,
        };
        left_out.push(format!("{}: {why}", found.who()));
        false
    });
    if found.len() > ASKED_MAX {
        let more = found.len() - ASKED_MAX;
        left_out.push(format!("{more} more ports: only {ASKED_MAX} are asked"));
        found.truncate(ASKED_MAX);
    }
    let addresses: Vec<SocketAddr> = found.iter().map(|found| found.address).collect();
    let spoken = probe::all(&addresses);
    for (found, speaks) in found.iter_mut().zip(spoken) {
        found.speaks = speaks;
    }
    found.retain(|found| {
        let why = match found.speaks {
            Speaks::Other => "no HTTP",
            Speaks::Hostmux => "a hostmux answers there",
            Speaks::Nothing => "it refused a connection",
            Speaks::Http | Speaks::H2c | Speaks::Tls | Speaks::Silent => return true,
        };
        left_out.push(format!("{}: {why}", found.who()));
        false
    });
    name::all(&mut found);
    (found, left_out)
}

/// Why a port that was named is not asked, if it is not.
fn unasked(port: u16, all: &[Listening], found: &[Found]) -> Option<String> {
    if found.iter().any(|found| found.address.port() == port) {
        return None;
    }
    let why = match all.iter().find(|socket| socket.address.port() == port) {
        None => "nobody listens there",
        Some(socket) if is_own(socket) => "it is hostmux's own",
        Some(_) => "it listens on neither loopback nor all addresses",
    };
    Some(format!("port {port}: {why}"))
}

/// A socket that a site can lead to: on loopback or on all addresses.
fn is_of_this_machine(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || ip.is_unspecified()
}

/// What `PORT` in `sites.yaml` reaches: 127.0.0.1 and ::1.
fn is_usual(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_unspecified() || ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST
}

fn is_own(socket: &Listening) -> bool {
    let holder = socket.holder.as_ref();
    holder.is_some_and(|holder| holder.name == "hostmux" || holder.pid == std::process::id())
}

/// Where clients are to connect.
///
/// Names below `localhost` are of this machine alone, and what is found here
/// often trusts whoever reaches it: then only this machine may connect.
fn listen(all: &[Listening], domain: &str) -> Listen {
    let local = domain == "localhost" || domain.ends_with(".localhost");
    let ports = [443, 80].map(|port| (port, bindable((Ipv4Addr::LOCALHOST, port))));
    let right = ports
        .iter()
        .all(|(_, bound)| !matches!(bound, Err(ErrorKind::PermissionDenied)));
    let taken = |port: u16| all.iter().any(|socket| socket.address.port() == port);
    let held: Vec<u16> = [443, 80]
        .into_iter()
        .filter(|port| taken(*port) && !all.iter().any(|s| s.address.port() == *port && is_own(s)))
        .collect();
    let instead = |ports: &[u16]| {
        let free = |port: &&u16| !taken(**port) && bindable((Ipv4Addr::LOCALHOST, **port)).is_ok();
        ports.iter().find(free).copied()
    };
    let (https, http, why) = if right && held.is_empty() {
        (443, 80, None)
    } else {
        let why = match held.first() {
            Some(port) => {
                let who = all.iter().find(|socket| socket.address.port() == *port);
                let who = who.and_then(|socket| socket.holder.as_ref());
                let who = who.map_or_else(|| "another program".to_owned(), |who| page::plain(&who.name));
                format!("Port {port} is held by {who}")
            }
            None => "Ports 443 and 80 need a right that this user has not (`sudo hostmux service install` \
                 gives it to a service)".to_owned(),
        };
        match (instead(HTTPS_INSTEAD), instead(HTTP_INSTEAD)) {
            (Some(https), Some(http)) => (https, http, Some(why)),
            _ => (443, 80, Some(why)),
        }
    };
    Listen {
        https,
        http,
        why,
        local: local.then(|| bindable((Ipv6Addr::LOCALHOST, 0)).is_ok()),
    }
}

fn bindable(address: impl Into<SocketAddr>) -> Result<(), ErrorKind> {
    match TcpListener::bind(address.into()) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.kind()),
    }
}

/// What is written has to pass `hostmux check`.
fn right(output: &Path, text: &str) -> anyhow::Result<()> {
    let name = output.display().to_string();
    let judged = judge(name, text.to_owned(), folder_of(output));
    let config = judged.checked.config.as_ref();
    if config.is_none_or(Config::is_degraded) {
        bail!(
            "what would be written is not right, and nothing was:\n{}",
            judged.render(Colour::Plain)
        );
    }
    Ok(())
}

/// Writes a new file; with `force` in the place of one that is there, whose
/// rights and owner it gets. A link stays one.
fn write(output: &Path, text: &str, force: bool) -> anyhow::Result<()> {
    // `/etc/hostmux` is not there on a new machine; what is above it is.
    if let Err(error) = fs::create_dir(folder_of(output))
        && error.kind() != ErrorKind::AlreadyExists
    {
        return Err(error.into());
    }
    if force && let Ok(real) = fs::canonicalize(output) {
        return file::replace(&real, text, || Ok(()));
    }
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).open(output)?;
    file.write_all(text.as_bytes())?;
    Ok(file.sync_all()?)
}

/// What was found, and what comes next.
fn told(page: &Page<'_>, left_out: &[String], written: Option<&Path>) -> String {
    let mut told = String::new();
    for line in left_out {
        told.push_str(&format!("left out: {line}\n"));
    }
    let sites = page.sites();
    told.push_str(&match sites {
        0 => "no port speaks HTTP here: the site is an example\n".to_owned(),
        1 => "1 site was found\n".to_owned(),
        _ => format!("{sites} sites were found\n"),
    });
    let Some(file) = written else {
        return told;
    };
    let name = file.display();
    let named = match file == Path::new("sites.yaml") {
        true => String::new(),
        false => format!(" -c {name}"),
    };
    told.push_str(&format!(
        "{name} is written; next:\n  hostmux check{named}\n"
    ));
    told.push_str(&match file == Path::new(SERVICE_CONFIG) {
        true => "  sudo hostmux service install\n".to_owned(),
        false => format!("  hostmux run{named}\n"),
    });
    told
}
