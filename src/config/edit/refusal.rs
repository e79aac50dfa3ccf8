//! Why an edit was not made, and what to do instead.

/// Names of sites, routes or endpoints that are told where one was not found.
pub(super) const TOLD_MAX: usize = 5;

/// Why an edit was not made. Each is a sentence; [`fix`](Self::fix) is another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{message}")]
    NotAHost {
        message: String,
        help: Option<String>,
    },
    #[error("`{prefix}` is not a path prefix: {why}")]
    NotAPrefix { prefix: String, why: String },
    #[error("{message}")]
    NotAnEndpoint {
        message: String,
        help: Option<String>,
    },
    /// Nothing was said to add.
    #[error("no endpoint to add to `{place}`")]
    NoEndpoint { place: String },
    #[error("there is no site `{host}`")]
    NoSuchSite {
        host: String,
        /// Some of the sites there are.
        there: Vec<String>,
    },
    #[error("`{host}` has no route `{prefix}`")]
    NoSuchRoute {
        host: String,
        prefix: String,
        /// Some of its routes.
        there: Vec<String>,
    },
    #[error("`{place}` has no endpoint `{endpoint}`")]
    NoSuchEndpoint {
        place: String,
        endpoint: String,
        /// Some of its endpoints.
        there: Vec<String>,
    },
    #[error("`{place}` has the endpoint `{endpoint}` already, in line {line}")]
    AlreadyThere {
        place: String,
        endpoint: String,
        line: usize,
    },
    #[error("`{endpoint}` is the last endpoint of `{place}`")]
    LastEndpoint { place: String, endpoint: String },
    #[error("without an endpoint named, all of `{place}` would be removed")]
    Whole { place: String },
    #[error("`{place}` is a redirect (line {line}), which has no endpoints")]
    Redirect { place: String, line: usize },
    #[error("the file cannot be read: line {line}, column {column}: {message}")]
    Unreadable {
        line: usize,
        column: usize,
        message: String,
    },
    /// The text is one that only its author can change without harm.
    #[error("this layout cannot be edited: {why} (line {line})")]
    Layout {
        line: usize,
        why: &'static str,
        /// What to write by hand.
        write: String,
    },
}

impl Refusal {
    /// What to do.
    pub fn fix(&self) -> String {
        match self {
            Self::NotAHost { help, .. } => help.clone().unwrap_or_else(|| {
                "write a name such as `app.localhost`, `*.app.localhost`, or `fallback`".to_owned()
            }),
            Self::NotAPrefix { .. } => "write a path such as `/api`".to_owned(),
            Self::NotAnEndpoint { help, .. } => help.clone().unwrap_or_else(|| {
                "write a port such as `8080`, or an address such as `10.0.0.7:8080`".to_owned()
            }),
            Self::NoEndpoint { .. } => "name one, such as `8080`".to_owned(),
            Self::NoSuchSite { there, .. } => told("sites", there),
            Self::NoSuchRoute { there, .. } => told("routes", there),
            Self::NoSuchEndpoint { there, .. } => told("endpoints", there),
            Self::AlreadyThere { .. } => "there is nothing to do".to_owned(),
            Self::LastEndpoint { place, .. } => {
                format!("add another one first, or remove all of `{place}` with `--force`")
            }
            Self::Whole { .. } => "name an endpoint, or say `--force` if that is meant".to_owned(),
            Self::Redirect { place, .. } => {
                format!("remove all of `{place}` first, or write `upstream` in place of `redirect`")
            }
            Self::Unreadable { .. } => "`hostmux check` tells every fault of the file".to_owned(),
            Self::Layout { write, .. } => format!("by hand: {write}"),
        }
    }
}

fn told(what: &str, names: &[String]) -> String {
    if names.is_empty() {
        return format!("it has no {what}");
    }
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("{what} there: {}", names.join(", "))
}
