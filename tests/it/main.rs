//! The tests of the whole, in one binary.

#![allow(clippy::unwrap_used)] // a test may stop at once

mod faults;
