//! Why a command was not followed, and what to do instead. The one place that
//! chooses a status for that.

use http::StatusCode;
use serde_json::{Value, json};

/// A command that was refused: nothing has changed.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    error: String,
    fix: String,
    /// What was found in the configuration: `faults` and `drawn`.
    found: Option<Value>,
    pub(super) allow: Option<&'static str>,
}

impl Refusal {
    fn new(status: StatusCode, error: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
            fix: fix.into(),
            found: None,
            allow: None,
        }
    }

    /// What was said makes no sense.
    pub(super) fn senseless(error: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, fix)
    }

    /// What it is about is not there.
    pub(super) fn absent(error: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error, fix)
    }

    /// It makes sense, but not as things are.
    pub(super) fn conflict(error: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, error, fix)
    }

    pub(super) fn wrong_method(allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this method is not served here",
                format!("here it is {allow}"),
            )
        }
    }

    pub(super) fn too_large(max_bytes: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {max_bytes} bytes"),
            "ask for less at once",
        )
    }

    /// The file has faults.
    pub(super) fn faulty(error: String, found: Value) -> Self {
        Self {
            found: Some(found),
            ..Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                error,
                "`hostmux check` shows each with its place",
            )
        }
    }

    /// We could not do it.
    pub(super) fn failed(error: impl Into<String>) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            error,
            "the log of hostmux may say more",
        )
    }

    /// What is wrong, without what to do.
    pub(super) fn why(&self) -> &str {
        &self.error
    }

    pub(super) fn told(&self) -> Value {
        let mut told = json!({
            "status": self.status.as_u16(),
            "error": self.error,
            "fix": self.fix,
        });
        if let Some(Value::Object(found)) = &self.found {
            for (key, value) in found {
                told[key] = value.clone();
            }
        }
        told
    }
}
