//! From `File` to `Config`: what the keys mean, and every fault in them.
//!
//! No check stops at the first fault. A value that is wrong is told once and
//! then left out, so that nothing is said that only follows from it.

mod eject;
mod endpoint;
mod endpoints;
mod health;
mod host;
mod listen;
mod policy;
mod redirect;
mod route;
mod site;
mod upstream;
mod value;
mod words;

use std::path::PathBuf;

use self::policy::is_absent;
use super::broken::{self, BrokenSite};
use super::file::{Entries, File, Shape, Value};
use super::locate::{self, Located, Places};
use super::{
    CertificateFiles, Certificates, Config, FILE_BYTES_MAX, Listen, Log, LogFormat, Otherwise,
};
use crate::diagnostic::{Colour, Diagnostic, Entry, Path, Place, Severity, Source};
use crate::host::HostPattern;
use crate::tls::AuthoritySettings;
use crate::units;
use crate::upstream::EndpointSettings;

/// What became of a text.
#[derive(Debug)]
pub struct Checked {
    /// What can be served: there if every error is a single site's own, and
    /// something is left. Those sites are [`Config::broken`] then.
    pub config: Option<Config>,
    /// Errors and warnings, in the order of the text.
    pub found: Vec<Diagnostic>,
    /// Where the keys and values stand, for faults found later.
    pub places: Places,
    /// Whether the text was read without gaps.
    whole: bool,
}

impl Checked {
    /// What becomes of a text that could not even be read.
    pub fn refused(fault: Diagnostic) -> Self {
        Self {
            config: None,
            found: vec![fault],
            places: Places::default(),
            whole: false,
        }
    }

    /// How many of the faults keep hostmux from running.
    pub fn errors(&self) -> usize {
        self.found
            .iter()
            .filter(|fault| fault.severity == Severity::Error)
            .count()
    }

    /// Adds what was found elsewhere, such as in the certificates that the
    /// configuration names. An error takes a site away, or all.
    pub fn add(&mut self, more: Vec<Diagnostic>) {
        self.found.extend(more);
        self.settle();
    }

    /// The first `most` of what was found, as a compiler prints it.
    pub fn render(&self, file: &str, text: &str, colour: Colour, most: usize) -> String {
        let source = Source::new(file, text);
        let drawn = self.found.iter().take(most);
        let mut out: Vec<String> = drawn
            .map(|fault| fault.render(&source, |place| self.places.span(place), colour))
            .collect();
        let more = self.found.len().saturating_sub(most);
        if more > 0 {
            out.push(format!("and {more} more\n"));
        }
        out.join("\n")
    }

    /// All that was found, as data.
    pub fn entries<'a>(&'a self, file: &'a str) -> Vec<Entry<'a>> {
        let find = |place: &Place| self.places.span(place);
        self.found
            .iter()
            .map(|fault| fault.entry(file, find))
            .collect()
    }

    fn settle(&mut self) {
        let places = &self.places;
        self.found.sort_by_cached_key(|fault| {
            places
                .span(&fault.place)
                .map(|span| (span.line, span.column))
        });
        let config = self.config.take();
        self.config =
            config.and_then(|config| broken::take_out(config, &self.found, places, self.whole));
    }
}

/// Reads and judges the text of a `sites.yaml`. `env` gives what `${NAME}` in
/// a value stands for.
pub fn check(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Checked {
    if text.len() > FILE_BYTES_MAX {
        let most = units::show_size(FILE_BYTES_MAX as u64);
        return Checked::refused(Diagnostic::error(
            Place::File,
            format!("the file is larger than {most}"),
        ));
    }
    let Located {
        places,
        found,
        file,
        whole,
    } = locate::locate(text, File::read);
    let mut check = Check {
        found,
        env,
        places: &places,
        whole,
        listen: None,
        authorities: Vec::new(),
        broken: Vec::new(),
        certificate: None,
    };
    let config = file.and_then(|file| check.document(&file, text));
    let mut checked = Checked {
        config,
        found: check.found,
        places,
        whole,
    };
    checked.settle();
    checked
}

/// Reads a key of `sites`.
pub(super) fn read_host(key: &str) -> Result<HostPattern, Wrong> {
    host::pattern(key)
}

/// Reads an endpoint as written in short.
pub(super) fn read_endpoint(text: &str) -> Result<EndpointSettings, Wrong> {
    endpoint::endpoint(text)
}

/// What is wrong with an endpoint that was said in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadEndpoint {
    pub message: String,
    /// What would be right.
    pub help: String,
}

/// Reads an endpoint as written in short: `8080`, `10.0.0.7:8080`, `unix:/run/app.sock`.
pub fn parse_endpoint(text: &str) -> Result<EndpointSettings, BadEndpoint> {
    endpoint::endpoint(text).map_err(|wrong| BadEndpoint {
        help: wrong.help.unwrap_or(wrong.label),
        message: wrong.message,
    })
}

/// What was probably meant by a word that is none of these.
pub fn nearest<'a>(word: &str, among: &[&'a str]) -> Option<&'a str> {
    words::closest(word, among)
}

/// What a first file can look like.
const SMALLEST: &str = "a small one is:\nsites:\n  app.localhost: 3000";

/// The collector of faults, with what the checks need to know.
struct Check<'a> {
    found: Vec<Diagnostic>,
    env: &'a dyn Fn(&str) -> Option<String>,
    places: &'a Places,
    /// Whether the file is here without gaps, so that what lacks is absent.
    whole: bool,
    /// Where hostmux listens, once that is known.
    listen: Option<Listen>,
    /// Whom `https://` endpoints are to be vouched for by.
    authorities: Vec<AuthoritySettings>,
    /// Sites of which nothing can be made.
    broken: Vec<BrokenSite>,
    /// The certificate of the site that was read last.
    certificate: Option<CertificateFiles>,
}

/// What is wrong with a text, still without its place.
#[derive(Debug, PartialEq)]
pub(super) struct Wrong {
    pub(super) message: String,
    label: String,
    pub(super) help: Option<String>,
}

impl Wrong {
    fn new(message: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            label: label.into(),
            help: None,
        }
    }

    fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }

    fn at(self, place: Place) -> Diagnostic {
        let fault = Diagnostic::error(place, self.message).label(self.label);
        Diagnostic {
            help: self.help,
            ..fault
        }
    }
}

impl Check<'_> {
    fn document(&mut self, document: &Shape<File>, text: &str) -> Option<Config> {
        match document {
            Shape::Mapping(file) => self.file(file, text),
            Shape::Other(Value::Absent | Value::Null) => self.file(&File::default(), text),
            Shape::Other(_) => {
                self.add(
                    Diagnostic::error(
                        Place::Value(Path::root()),
                        "the file is not a mapping of keys to values",
                    )
                    .label("expected a mapping")
                    .help(SMALLEST),
                );
                None
            }
        }
    }

    fn file(&mut self, file: &File, text: &str) -> Option<Config> {
        let File {
            listen,
            certificates,
            trusted_proxies,
            log,
            defaults,
            sites,
            fallback,
            unknown,
        } = file;
        if is_empty(file) {
            if !self.whole {
                return None;
            }
            let what = match text.trim_start_matches('\u{feff}').trim() {
                "" => "the file is empty",
                text if text.contains('#') => "the file has nothing but comments",
                _ => "the file says nothing",
            };
            self.add(Diagnostic::error(Place::File, what).help(SMALLEST));
            return None;
        }
        let top = Path::root();
        let stray = self.top_keys(unknown, &top);
        let listen = self.listen(listen, &top.key("listen"));
        self.listen.clone_from(&listen);
        let certificates = self.certificates(certificates, &top.key("certificates"));
        let trusted_proxies = self.networks(trusted_proxies, &top.key("trusted_proxies"));
        let log = self.log(log, &top.key("log"));
        let policies = self.defaults(defaults, &top.key("defaults"));
        let fallback = (!is_absent(fallback)).then(|| {
            let at = top.key("fallback");
            let site = self.site("fallback", Vec::new(), fallback, &at, &policies);
            if site.is_none() {
                let certificate = self.certificate.take();
                self.breaks("fallback", Vec::new(), certificate, &at);
            }
            site
        });
        let needed = fallback.is_none() && !stray;
        let sites = self.sites(sites, &top.key("sites"), &policies, needed);
        let (mut sites, mut fallback) = (sites, fallback);
        for site in sites
            .iter_mut()
            .flatten()
            .chain(fallback.iter_mut().flatten())
        {
            health::ask_as_clients_do(site);
        }
        Some(Config {
            listen: listen?,
            certificates: certificates?,
            trusted_proxies: trusted_proxies?,
            log: log?,
            sites: sites?,
            broken: std::mem::take(&mut self.broken),
            fallback: fallback.flatten(),
            authorities: std::mem::take(&mut self.authorities),
        })
    }

    /// Tells of unknown keys at the top; whether one of them explains why there
    /// is no site.
    fn top_keys(&mut self, unknown: &Entries<serde::de::IgnoredAny>, top: &Path) -> bool {
        let mut stray = false;
        for (key, _) in &unknown.0 {
            if !words::NOT_YET.contains(&key.as_str()) && host::looks_like_one(key) {
                stray = true;
                self.add(
                    Diagnostic::error(
                        Place::Key(top.key(key)),
                        format!("`{key}` is not a key of sites.yaml"),
                    )
                    .label("looks like a site")
                    .help(format!(
                        "sites stand under `sites`, indented by two spaces:\nsites:\n  {key}: …"
                    )),
                );
            } else {
                stray |= matches!(words::meant(key, words::TOP), Some("sites" | "fallback"));
                self.unknown_key(key, &top.key(key), words::TOP, "sites.yaml");
            }
        }
        stray
    }

    fn certificates(
        &mut self,
        written: &Shape<super::file::Certificates>,
        at: &Path,
    ) -> Option<Certificates> {
        let mut certificates = Certificates {
            directory: PathBuf::from("certs"),
            directory_is_required: false,
            otherwise: Otherwise::default(),
        };
        let Some(written) = self.mapping(written, at, "the keys `directory` and `otherwise`")?
        else {
            return Some(certificates);
        };
        self.keys(&written.unknown, at, words::CERTIFICATES, "`certificates`");
        let directory = self.path(&written.directory, &at.key("directory"), "a folder");
        let otherwise = self.choice(
            &written.otherwise,
            &at.key("otherwise"),
            &[
                ("local_ca", Otherwise::LocalCa),
                ("refuse", Otherwise::Refuse),
            ],
        );
        if let Some(directory) = directory? {
            certificates.directory = directory;
            certificates.directory_is_required = true;
        }
        certificates.otherwise = otherwise?.unwrap_or_default();
        Some(certificates)
    }

    fn log(&mut self, written: &Shape<super::file::Log>, at: &Path) -> Option<Log> {
        let Some(written) = self.mapping(written, at, "the keys `format` and `requests`")? else {
            return Some(Log {
                format: None,
                requests: true,
            });
        };
        self.keys(&written.unknown, at, words::LOG, "`log`");
        let formats = [
            ("text", LogFormat::Text),
            ("json", LogFormat::Json),
            ("combined", LogFormat::Combined),
        ];
        let format = self.choice(&written.format, &at.key("format"), &formats);
        let requests = self.switch(&written.requests, &at.key("requests"));
        Some(Log {
            format: format?,
            requests: requests?.unwrap_or(true),
        })
    }
}

fn is_empty(file: &File) -> bool {
    let File {
        listen,
        certificates,
        trusted_proxies,
        log,
        defaults,
        sites,
        fallback,
        unknown,
    } = file;
    let absent = [
        is_absent(listen),
        is_absent(certificates),
        *trusted_proxies == Value::Absent,
        is_absent(log),
        is_absent(defaults),
        is_absent(sites),
        is_absent(fallback),
        unknown.0.is_empty(),
    ];
    absent.into_iter().all(|absent| absent)
}
