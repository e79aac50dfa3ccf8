//! The `Date` of an answer (RFC 9110 §6.6.1), written once a second and thread.

use std::cell::RefCell;
use std::time::SystemTime;

use http::HeaderValue;
use jiff::Timestamp;

thread_local! {
    static LAST: RefCell<Option<(i64, HeaderValue)>> = const { RefCell::new(None) };
}

/// This time as a field's value (RFC 9110 §5.6.7).
pub fn of(at: SystemTime) -> HeaderValue {
    let at = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
    LAST.with_borrow_mut(|last| match last {
        Some((second, value)) if *second == at.as_second() => value.clone(),
        _ => {
            let value = written(at);
            *last = Some((at.as_second(), value.clone()));
            value
        }
    })
}

/// This time as RFC 3339 has it, in whole seconds.
pub fn rfc3339(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn written(at: Timestamp) -> HeaderValue {
    let text = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_date_is_written_as_http_has_it() {
        let check = |seconds: u64, want: &str| {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(of(at), want);
        };
        check(0, "Thu, 01 Jan 1970 00:00:00 GMT");
        check(784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT");
        check(784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
