//! How the end of a message body is known (RFC 9112 §6), read and written.
//!
//! Pure: bytes in, meaning out, and the other way round. Used for both sides,
//! clients and endpoints; no byte of framing of one side reaches the other.

pub mod chunks;

/// How the end of a body is known (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
    /// The body ends when the connection does.
    UntilClose,
}

/// A `Content-Length`: digits alone (RFC 9110 §8.6), no sign, no list, no space
/// inside; up to 2⁶³ − 1, the most that everyone can count.
pub fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length = std::str::from_utf8(value).ok()?.parse().ok()?;
    (length <= i64::MAX as u64).then_some(length)
}
