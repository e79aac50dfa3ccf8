//! Why there is no local CA, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::diagnostic::{self, Diagnostic, Place};
use crate::tls::identity::day;
use crate::tls::pem::{Fault, Wrong};

/// Why there is no local CA.
#[derive(Debug, thiserror::Error)]
pub enum CaFault {
    #[error("the local CA's {0}")]
    File(#[from] Fault),
    #[error("the local CA's `{}` cannot be used: {why}", path.display())]
    Unusable { path: PathBuf, why: String },
    #[error("the local CA's `{}` expired on {}", path.display(), day(*on))]
    Expired { path: PathBuf, on: SystemTime },
    #[error("the local CA's `{}` is not valid before {}", path.display(), day(*from))]
    NotYetValid { path: PathBuf, from: SystemTime },
    #[error("the local CA could not be stored in `{}`: {source}", path.display())]
    Store { path: PathBuf, source: io::Error },
    #[error("the local CA could not be made: {0}")]
    Make(#[source] rcgen::Error),
}

impl CaFault {
    /// What to do.
    pub fn help(&self) -> String {
        match self {
            Self::NotYetValid { .. } => "is the clock of this machine right?".to_owned(),
            Self::Store { path, .. } => format!(
                "let the user who runs hostmux write to `{}`, or set `certificates.otherwise: refuse`",
                path.display()
            ),
            Self::Make(_) => "set `certificates.otherwise: refuse` to do without".to_owned(),
            Self::File(Fault {
                path,
                wrong: Wrong::Unreadable(_),
            }) => {
                format!("let the user who runs hostmux read `{}`", path.display())
            }
            Self::File(Fault { path, .. })
            | Self::Unusable { path, .. }
            | Self::Expired { path, .. } => {
                let folder = path.parent().unwrap_or(path).display();
                format!(
                    "move `{folder}` away and a new CA is made, which browsers must be told to trust"
                )
            }
        }
    }

    /// The fault at `certificates.otherwise`, which asks for the CA.
    pub fn diagnostic(&self) -> Diagnostic {
        Diagnostic::error(Place::Value(otherwise()), self.to_string())
            .label("needs the local CA")
            .help(self.help())
    }
}

/// The key that asks for the CA.
pub(super) fn otherwise() -> diagnostic::Path {
    diagnostic::Path::root()
        .key("certificates")
        .key("otherwise")
}
