//! What must hold of any input. Each function panics where it does not.
//!
//! Used twice: by the targets of `cargo fuzz`, which look for an input for
//! minutes, and by `tests/it/properties.rs`, which tries some in every run.
//!
//! ```sh
//! cargo +nightly fuzz run --sanitizer none TARGET -- \
//!     -max_total_time=600 -timeout=10 -rss_limit_mb=2048 -dict=fuzz/http.dict
//! ```
//!
//! No sanitizer: nothing here is `unsafe`. What a target finds is mended, and
//! becomes a case of a table test beside the code.

pub mod answer;
pub mod config;
pub mod names;
pub mod origin;
pub mod paths;
pub mod proxy_protocol;
pub mod request;
