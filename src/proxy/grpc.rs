//! What a proxy has to know of gRPC ("gRPC over HTTP2"): which messages are,
//! and how long their client waits.

use std::fmt::Write;
use std::time::Duration;

use http::HeaderValue;
use http::header::CONTENT_TYPE;
use http::request::Parts;

/// Whether a media type is gRPC's: `application/grpc`, `application/grpc+proto`
/// (gRPC-Web is another).
pub(super) fn is_meant(content_type: &[u8]) -> bool {
    const NAME: &[u8] = b"application/grpc";
    let Some((name, rest)) = content_type.split_at_checked(NAME.len()) else {
        return false;
    };
    name.eq_ignore_ascii_case(NAME) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// `grpc-timeout`: how long the client waits in all. `None` where it does not say.
pub(super) fn deadline(parts: &Parts) -> Option<Duration> {
    let content_type = parts.headers.get(CONTENT_TYPE)?;
    if !is_meant(content_type.as_bytes()) {
        return None;
    }
    timeout(parts.headers.get("grpc-timeout")?.to_str().ok()?)
}

/// A text as a value of `grpc-message`: what is not plain ASCII is
/// percent-encoded ("gRPC over HTTP2", Responses).
pub(super) fn message(text: &str) -> HeaderValue {
    let mut value = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => value.push(char::from(byte)),
            _ => {
                let _ = write!(value, "%{byte:02X}");
            }
        }
    }
    HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static(""))
}

/// Up to eight digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count = digits.parse::<u64>().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_from_what_begins_like_it() {
        let check = |kind: &str, want: bool| assert_eq!(is_meant(kind.as_bytes()), want, "{kind}");
        check("application/grpc", true);
        check("Application/gRPC+proto", true);
        check("application/grpc; x=y", true);
        check("application/grpc-web+proto", false);
        check("application/grp", false);
    }

    #[test]
    fn a_message_is_plain_ascii() {
        assert_eq!(message("100 % zurück"), "100 %25 zur%C3%BCck");
    }

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        let check = |text: &str, want: Option<Duration>| assert_eq!(timeout(text), want, "{text}");
        check("1H", Some(Duration::from_secs(3600)));
        check("2M", Some(Duration::from_secs(120)));
        check("99999999S", Some(Duration::from_secs(99_999_999)));
        check("250m", Some(Duration::from_millis(250)));
        check("5u", Some(Duration::from_micros(5)));
        check("7n", Some(Duration::from_nanos(7)));
        for text in ["", "S", "1", "1s", "-1S", "100000000S", "1.5S", "1ä"] {
            check(text, None);
        }
    }
}
