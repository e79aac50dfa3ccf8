//! A start: what can be served of a file, or of its last good copy.

use std::path::Path;
use std::time::SystemTime;

use super::last_good::LastGood;
use super::{Loaded, Refused, judge, load, load_alone};
use crate::config::Config;
use crate::rt::date;
use crate::tls::Inventory;

/// What was found at a start.
pub struct Start {
    /// The file itself, with all that was found in it.
    pub loaded: Loaded,
    /// There where something can be served.
    pub ready: Option<Ready>,
}

/// What a start serves.
pub struct Ready {
    pub config: Config,
    pub inventory: Inventory,
    pub text: String,
    /// When the file and what it names were read, or a little before.
    pub read_at: SystemTime,
    /// Why it is the last good copy, and since when that had been served.
    pub instead: Option<(Refused, SystemTime)>,
}

impl Start {
    /// Reads a file. `strict`: nothing but the whole of it will do.
    pub fn read(file: &Path, state: &Path, strict: bool) -> Self {
        let read_at = SystemTime::now();
        let mut loaded = load(file);
        let whole = |config: &Config| !(strict && config.is_degraded());
        if loaded.checked.config.as_ref().is_some_and(whole) {
            let text = loaded.text.clone();
            let ready = loaded.take().map(|(config, inventory)| Ready {
                config,
                inventory,
                text,
                read_at,
                instead: None,
            });
            return Self { loaded, ready };
        }
        let from_file = file != Path::new("-") && !strict;
        let copy = || last_good(file, state, &loaded, read_at);
        let ready = from_file.then(copy).flatten();
        Self { loaded, ready }
    }
}

fn last_good(file: &Path, state: &Path, refused: &Loaded, read_at: SystemTime) -> Option<Ready> {
    let absolute = std::path::absolute(file).ok()?;
    // One that cannot be read is as good as none: the faults are told anyway.
    let copy = LastGood::of(&absolute, state).find().ok()??;
    let mut judged = judge(refused.name.clone(), copy.text, super::folder_of(file));
    let text = judged.text.clone();
    let (config, inventory) = judged.take()?;
    // By the name that a reload tells, for which it is refused the first time then.
    let mut refused = Refused::of(&load_alone(&absolute), SystemTime::now());
    refused.instead = format!("the last good copy of {}", date::rfc3339(copy.at));
    Some(Ready {
        config,
        inventory,
        text,
        read_at,
        instead: Some((refused, copy.at)),
    })
}
