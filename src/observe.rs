//! What is told to people.

pub mod access_log;
