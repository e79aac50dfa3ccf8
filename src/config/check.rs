//! From `File` to `Config`: what the keys mean, and every fault in them.
//!
//! No check stops at the first fault. A value that is wrong is told once and
//! then left out, so that nothing is said that only follows from it.

mod endpoint;
mod host;
mod listen;
mod policy;
mod redirect;
mod site;
mod words;

use std::path::PathBuf;

use self::policy::is_absent;
use super::file::{Entries, File, Shape, Unreadable, Value};
use super::locate::{self, Located, Places};
use super::{Certificates, Config, FILE_BYTES_MAX, Listen, Log, LogFormat, Otherwise};
use crate::diagnostic::{Colour, Diagnostic, Entry, Path, Place, Severity, Source};
use crate::units::{self, NotAQuantity};

/// What became of a text.
#[derive(Debug)]
pub struct Checked {
    /// There exactly if no error was found.
    pub config: Option<Config>,
    /// Errors and warnings, in the order of the text.
    pub found: Vec<Diagnostic>,
    /// Where the keys and values stand, for faults found later.
    pub places: Places,
}

impl Checked {
    /// How many of the faults keep hostmux from running.
    pub fn errors(&self) -> usize {
        self.found
            .iter()
            .filter(|fault| fault.severity == Severity::Error)
            .count()
    }

    /// Adds what was found elsewhere, such as in the certificates that the
    /// configuration names. An error takes the configuration away.
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
        if self.errors() > 0 {
            self.config = None;
        }
    }
}

/// Reads and judges the text of a `sites.yaml`. `env` gives what `${NAME}` in
/// a value stands for.
pub fn check(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Checked {
    if text.len() > FILE_BYTES_MAX {
        let most = units::show_size(FILE_BYTES_MAX as u64);
        return Checked {
            config: None,
            found: vec![Diagnostic::error(
                Place::File,
                format!("the file is larger than {most}"),
            )],
            places: Places::default(),
        };
    }
    let Located {
        places,
        mut found,
        text: readable,
        whole,
    } = locate::locate(text);
    let file = readable.as_deref().and_then(|readable| {
        File::read(readable)
            .map_err(|error| {
                // Of a text with faults of form, this would only say them again.
                if found.is_empty() {
                    found.extend(unreadable(readable, &error));
                }
            })
            .ok()
    });
    let mut config = None;
    if let Some(file) = file {
        let mut check = Check {
            found,
            env,
            places: &places,
            whole,
            listen: None,
        };
        config = check.file(&file, text);
        found = check.found;
    }
    let mut checked = Checked {
        config,
        found,
        places,
    };
    checked.settle();
    checked
}

fn unreadable(text: &str, error: &Unreadable) -> Vec<Diagnostic> {
    match error.at {
        Some((line, column)) => locate::refused(text, line, column, &error.message),
        None => vec![
            Diagnostic::error(Place::Value(Path::root()), error.message.clone())
                .label("expected a mapping")
                .help(SMALLEST),
        ],
    }
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
}

/// What is wrong with a text, still without its place.
#[derive(Debug, PartialEq)]
struct Wrong {
    message: String,
    label: String,
    help: Option<String>,
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
        let fallback = match fallback {
            Shape::Other(Value::Absent) => None,
            written => Some(self.site(
                "fallback",
                Vec::new(),
                written,
                &top.key("fallback"),
                &policies,
            )),
        };
        let needed = fallback.is_none() && !stray;
        let sites = self.sites(sites, &top.key("sites"), &policies, needed);
        Some(Config {
            listen: listen?,
            certificates: certificates?,
            trusted_proxies: trusted_proxies?,
            log: log?,
            sites: sites?,
            fallback: match fallback {
                None => None,
                Some(site) => Some(site?),
            },
        })
    }

    /// Tells of unknown keys at the top; whether one of them is a site that
    /// was not indented.
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

/// Reading one value. The outer `None` of an answer means that a fault was
/// told, the inner one that the key is absent.
impl Check<'_> {
    fn add(&mut self, fault: Diagnostic) {
        self.found.push(fault);
    }

    /// The text of a single value, with `${NAME}` replaced.
    fn text(&mut self, value: &Value, at: &Path, what: &str) -> Option<Option<String>> {
        match value {
            Value::Absent => Some(None),
            Value::Switch(on) => Some(Some(on.to_string())),
            Value::Number(number) => Some(Some(number.clone())),
            Value::Text(text) => self.expanded(text, at).map(Some),
            Value::Null => {
                self.no_value(at, what);
                None
            }
            Value::List(_) => {
                self.wrong_kind(at, what, "a list");
                None
            }
            Value::Mapping(_) => {
                self.wrong_kind(at, what, "a mapping");
                None
            }
        }
    }

    fn no_value(&mut self, at: &Path, what: &str) {
        // With lines left out, the value may stand in one of these.
        if self.whole {
            self.add(
                Diagnostic::error(
                    Place::Value(at.clone()),
                    format!("`{}` has no value", at.name()),
                )
                .label(format!("expected {what}"))
                .help("remove the key where the default is meant"),
            );
        }
    }

    fn wrong_kind(&mut self, at: &Path, what: &str, found: &str) {
        self.add(
            Diagnostic::error(
                Place::Value(at.clone()),
                format!("`{}` cannot be {found}", at.name()),
            )
            .label(format!("expected {what}")),
        );
    }

    /// A mapping with known keys.
    fn mapping<'f, T>(
        &mut self,
        shape: &'f Shape<T>,
        at: &Path,
        what: &str,
    ) -> Option<Option<&'f T>> {
        match shape {
            Shape::Mapping(mapping) => Some(Some(mapping)),
            Shape::Other(Value::Absent) => Some(None),
            Shape::Other(Value::Null) if !self.whole => Some(None),
            Shape::Other(other) => {
                if let Some(kind) = kind(other) {
                    self.wrong_kind(at, what, kind);
                } else {
                    self.no_value(at, what);
                }
                None
            }
        }
    }

    fn expanded(&mut self, text: &str, at: &Path) -> Option<String> {
        let place = || Place::Value(at.clone());
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                self.add(
                    Diagnostic::error(place(), "`${` is not closed")
                        .label("no `}` follows")
                        .help("write `${NAME}` for a variable of the environment"),
                );
                return None;
            };
            let valid = !name.is_empty()
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !valid {
                self.add(
                    Diagnostic::error(place(), format!("`${{{name}}}` does not name a variable"))
                        .label("letters, digits and `_` make a name")
                        .help("write `${NAME}` for a variable of the environment"),
                );
                return None;
            }
            let Some(value) = (self.env)(name) else {
                self.add(
                    Diagnostic::error(place(), format!("the environment has no variable `{name}`"))
                        .label("not set")
                        .help("set it where hostmux is started"),
                );
                return None;
            };
            out.push_str(&value);
            rest = after;
        }
        out.push_str(rest);
        if let Some(odd) = out.chars().find(|c| c.is_control()) {
            let code = format!("U+{:04X}", u32::from(odd));
            self.add(
                Diagnostic::error(
                    place(),
                    format!("a value cannot hold the control character {code}"),
                )
                .label("a line break or another control character"),
            );
            return None;
        }
        Some(out)
    }

    /// A text that is a text: `1.10` would lose its zero as a number.
    fn word(&mut self, value: &Value, at: &Path, what: &str) -> Option<Option<String>> {
        let odd = match value {
            Value::Number(_) => "a number",
            Value::Switch(_) => "a truth value",
            Value::Absent | Value::Null | Value::Text(_) | Value::List(_) | Value::Mapping(_) => {
                return self.text(value, at, what);
            }
        };
        self.add(
            Diagnostic::error(
                Place::Value(at.clone()),
                format!("`{}` cannot be {odd}", at.name()),
            )
            .label(format!("expected {what}"))
            .help("put it in quotes if it is meant"),
        );
        None
    }

    fn path(&mut self, value: &Value, at: &Path, what: &str) -> Option<Option<PathBuf>> {
        let Some(text) = self.word(value, at, what)? else {
            return Some(None);
        };
        if text.trim().is_empty() {
            self.add(
                Diagnostic::error(Place::Value(at.clone()), "a path is empty")
                    .label(format!("expected {what}")),
            );
            return None;
        }
        Some(Some(PathBuf::from(text)))
    }

    /// `on` or `off`, in the spellings that YAML has had for them.
    fn switch(&mut self, value: &Value, at: &Path) -> Option<Option<bool>> {
        let Some(text) = self.text(value, at, "`on` or `off`")? else {
            return Some(None);
        };
        match text.to_ascii_lowercase().as_str() {
            "on" | "true" => Some(Some(true)),
            "off" | "false" => Some(Some(false)),
            other => {
                let meant = match other {
                    "yes" | "y" | "1" | "enable" | "enabled" => Some("on"),
                    "no" | "n" | "0" | "disable" | "disabled" | "none" => Some("off"),
                    _ => None,
                };
                self.add(words::not_a_value(&text, at, &["on", "off"], meant));
                None
            }
        }
    }

    fn choice<T: Copy>(
        &mut self,
        value: &Value,
        at: &Path,
        choices: &[(&str, T)],
    ) -> Option<Option<T>> {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let Some(text) = self.text(value, at, &words::listed(&names, "or"))? else {
            return Some(None);
        };
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(Some(*choice));
        }
        self.add(words::not_a_value(&text, at, &names, None));
        None
    }

    fn quantity<T>(
        &mut self,
        value: &Value,
        at: &Path,
        what: &str,
        parse: impl Fn(&str) -> Result<T, NotAQuantity>,
    ) -> Option<Option<T>> {
        let Some(text) = self.text(value, at, what)? else {
            return Some(None);
        };
        match parse(&text) {
            Ok(quantity) => Some(Some(quantity)),
            Err(wrong) => {
                self.add(not_a_quantity(&text, &wrong, at, what));
                None
            }
        }
    }

    fn duration(&mut self, value: &Value, at: &Path) -> Option<Option<std::time::Duration>> {
        self.quantity(value, at, "a duration such as `30s`", units::duration)
    }

    /// A duration that is a bound, which would let nothing through at zero.
    fn bound(&mut self, value: &Value, at: &Path) -> Option<Option<std::time::Duration>> {
        let bound = self.duration(value, at)?;
        if bound.is_some_and(|bound| bound.is_zero()) {
            self.add(
                Diagnostic::error(
                    Place::Value(at.clone()),
                    format!("a `{}` of zero lets nothing through", at.name()),
                )
                .label("more than zero"),
            );
            return None;
        }
        Some(bound)
    }

    fn keys(
        &mut self,
        unknown: &Entries<serde::de::IgnoredAny>,
        at: &Path,
        known: &[&str],
        of: &str,
    ) {
        for (key, _) in &unknown.0 {
            self.unknown_key(key, &at.key(key), known, of);
        }
    }

    fn unknown_key(&mut self, key: &str, at: &Path, known: &[&str], of: &str) {
        // Told by the first pass.
        if key != "<<" {
            self.add(words::unknown_key(key, at, known, of));
        }
    }
}

fn not_a_quantity(text: &str, wrong: &NotAQuantity, at: &Path, what: &str) -> Diagnostic {
    let fault = Diagnostic::error(Place::Value(at.clone()), format!("`{text}` is not {what}"))
        .label(wrong.to_string());
    Diagnostic {
        help: wrong.help(),
        ..fault
    }
}

/// What a value is where it should be a mapping; `None` for no value.
fn kind(value: &Value) -> Option<&'static str> {
    match value {
        Value::Absent | Value::Null => None,
        Value::Switch(_) | Value::Number(_) | Value::Text(_) => Some("a single value"),
        Value::List(_) => Some("a list"),
        Value::Mapping(_) => Some("a mapping"),
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
