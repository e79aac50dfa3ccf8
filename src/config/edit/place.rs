//! The words of an edit, read: whose endpoints, and which.

use super::{Refusal, Target};
use crate::config::check;
use crate::config::file::Value;
use crate::host::HostPattern;
use crate::path::{NotAPrefix, PathPrefix};

/// The key of the site of all other names.
pub(super) const FALLBACK: &str = "fallback";

/// One key on the way from the top of the document to a site or a route.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Key(&'static str),
    /// A key of `sites`, in any spelling of one name.
    Host(HostPattern, String),
    /// A key of `routes`, perhaps with a `/` at its end.
    Prefix(PathPrefix),
}

impl Step {
    pub(super) fn is(&self, key: &str) -> bool {
        match self {
            Self::Key(name) => *name == key,
            Self::Host(host, _) => HostPattern::parse(key).as_ref() == Ok(host),
            Self::Prefix(prefix) => PathPrefix::parse(key).as_ref() == Ok(prefix),
        }
    }

    /// As it is written where it is not there yet.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Key(name) => name,
            Self::Host(_, name) => name,
            Self::Prefix(prefix) => prefix.as_str(),
        }
    }
}

/// A site or a route.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) steps: Vec<Step>,
    /// How many of the steps lead to the site.
    pub(super) site: usize,
}

impl Place {
    pub(super) fn read(target: &Target<'_>) -> Result<Self, Refusal> {
        let mut steps = if target.host == FALLBACK {
            vec![Step::Key(FALLBACK)]
        } else {
            let host = check::read_host(target.host).map_err(|wrong| Refusal::NotAHost {
                message: wrong.message,
                help: wrong.help,
            })?;
            vec![Step::Key("sites"), Step::Host(host, target.host.to_owned())]
        };
        let site = steps.len();
        let prefix = target.prefix.map(prefix).transpose()?;
        if let Some(prefix) = prefix.filter(|prefix| !prefix.is_root()) {
            steps.extend([Step::Key("routes"), Step::Prefix(prefix)]);
        }
        Ok(Self { steps, site })
    }

    pub(super) fn host(&self) -> &str {
        self.steps[self.site - 1].name()
    }

    pub(super) fn prefix(&self) -> Option<&str> {
        (self.steps.len() > self.site)
            .then(|| self.steps.last().map(Step::name))
            .flatten()
    }

    /// As a message names it: `a.com/api`.
    pub(super) fn name(&self) -> String {
        format!("{}{}", self.host(), self.prefix().unwrap_or_default())
    }
}

/// A prefix as it can be written down.
fn prefix(text: &str) -> Result<PathPrefix, Refusal> {
    let wrong = |why: &str| Refusal::NotAPrefix {
        prefix: text.to_owned(),
        why: why.to_owned(),
    };
    if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(wrong("it has a blank in it"));
    }
    if text.contains(['?', '#']) {
        return Err(wrong("it has more than a path in it"));
    }
    let read = match PathPrefix::parse(text) {
        // Who asks by hand need not know how paths are compared.
        Err(NotAPrefix::NotNormal(normal)) => PathPrefix::parse(&normal),
        read => read,
    };
    read.map_err(|fault| wrong(&fault.to_string()))
}

/// An endpoint, in the spelling that it is written with.
#[derive(Debug)]
pub(super) struct Endpoint<'a> {
    pub(super) text: &'a str,
    meaning: String,
}

impl<'a> Endpoint<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, Refusal> {
        let text = text.trim();
        // What a variable of the environment stands for is known at the check.
        if let (false, Err(wrong)) = (text.contains("${"), check::read_endpoint(text)) {
            return Err(Refusal::NotAnEndpoint {
                message: wrong.message,
                help: wrong.help,
            });
        }
        if text.contains(char::is_control) {
            return Err(Refusal::NotAnEndpoint {
                message: "an endpoint holds no control character".to_owned(),
                help: None,
            });
        }
        Ok(Self {
            text,
            meaning: meaning(text),
        })
    }

    /// Whether a text means the same endpoint: `8080` is `http://localhost:8080`.
    pub(super) fn is(&self, text: &str) -> bool {
        meaning(text) == self.meaning
    }
}

/// The one spelling of an endpoint; of what is none, the text itself.
fn meaning(text: &str) -> String {
    check::read_endpoint(text).map_or_else(|_| text.to_owned(), |endpoint| endpoint.to_string())
}

/// A text as YAML writes it, in a block as in brackets: in quotes where a plain
/// one would be read as something else.
pub(super) fn scalar(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn is_plain(text: &str) -> bool {
    is_plain_in_flow(text)
        && match Value::read(text) {
            Ok(Value::Text(read) | Value::Number(read)) => read == text,
            Ok(
                Value::Absent | Value::Null | Value::Switch(_) | Value::List(_) | Value::Mapping(_),
            )
            | Err(_) => false,
        }
}

/// Whether a text without quotes ends where it should in brackets as well: a
/// narrow reading of YAML 1.2.2 §7.3.3.
pub(super) fn is_plain_in_flow(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphanumeric() || c == '/')
        && !text.ends_with(':')
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || "._/-:+~@%".contains(c))
}
