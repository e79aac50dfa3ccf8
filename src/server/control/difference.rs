//! How the file differs from what ran before it, or runs.

use serde_json::{Value, json};

use super::refusal::Refusal;
use crate::diagnostic::{Colour, Severity};
use crate::rt::date;
use crate::server::reload::{Loaded, Rejected, Taken};

/// What became of a reload, or would. `refused`: in words.
pub(super) fn told(taken: Result<Taken, Rejected>, refused: &str) -> Result<Value, Refusal> {
    match taken {
        Ok(taken) => {
            let mut told = serde_json::to_value(&taken.changes)
                .map_err(|_| Refusal::failed("what has changed could not be told"))?;
            told["config"] = taken.loaded.name.as_str().into();
            told["since"] = date::rfc3339(taken.since).into();
            told["degraded"] = taken.degraded.into();
            told["faults"] = taken.loaded.told();
            told["drawn"] = drawn(&taken.loaded).into();
            Ok(told)
        }
        Err(Rejected::Faults(loaded)) => {
            let mut found = loaded.checked.found.iter();
            let first = found.find(|fault| fault.severity == Severity::Error);
            let first = first.map_or("it cannot be read", |fault| fault.message.as_str());
            let error = format!("{} {refused}: {first}", loaded.name);
            let found = json!({ "faults": loaded.told(), "drawn": drawn(&loaded) });
            Err(Refusal::faulty(error, found))
        }
        Err(Rejected::Open(error)) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            Err(Refusal::failed(format!(
                "{error}{}",
                cause.unwrap_or_default()
            )))
        }
    }
}

/// As `check` prints them: who asks may not be allowed to read the file.
fn drawn(loaded: &Loaded) -> String {
    loaded.render(Colour::Plain)
}
