//! An exchange as one line of a log.

use std::fmt::Write;

use http::Version;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Format;
use crate::exchange::Exchange;

/// What a client that went before its answer gets, in the log only.
const CLIENT_GONE: u16 = 499;

/// An exchange as one line, with its line feed.
pub(super) fn of(format: Format, exchange: &Exchange) -> String {
    match format {
        Format::Text => text(exchange),
        Format::Json => json(exchange),
        Format::Combined => combined(exchange),
    }
}

fn text(exchange: &Exchange) -> String {
    let mut line = String::with_capacity(160);
    let time = local(exchange).strftime("%H:%M:%S%.3f").to_string();
    let host = exchange.host_name().unwrap_or_else(|| "-".to_owned());
    let _ = write!(
        line,
        "{time} {} {} {}{} {:.1}ms",
        status(exchange),
        escape(exchange.method.as_str()),
        escape(&host),
        escape(&target(exchange)),
        millis(exchange),
    );
    let _ = write!(line, " client={}", exchange.client);
    if let Some(route) = &exchange.route {
        let _ = write!(line, " route={route}");
    }
    if let Some(endpoint) = &exchange.endpoint {
        let _ = write!(line, " endpoint={endpoint}");
    }
    if exchange.attempts > 1 {
        let _ = write!(line, " attempts={}", exchange.attempts);
    }
    if !exchange.failed_attempts.is_empty() {
        let _ = write!(line, " failed={}", failed(exchange));
    }
    if let Some(why) = exchange.not_retried {
        let _ = write!(line, " not_retried={why}");
    }
    let _ = write!(
        line,
        " in={} out={}",
        exchange.received_bytes(),
        exchange.bytes_out
    );
    if let Some(reason) = reason(exchange) {
        let _ = write!(line, " reason={reason}");
    }
    if let Some(detail) = &exchange.detail {
        let _ = write!(line, " detail=\"{}\"", escape(detail));
    }
    let _ = writeln!(line, " id={}", exchange.id);
    line
}

fn json(exchange: &Exchange) -> String {
    let at = Timestamp::try_from(exchange.at).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut line = serde_json::json!({
        "time": format!("{at:.3}"),
        "client": exchange.client.to_string(),
        "host": exchange.host_name(),
        "site": exchange.site.as_deref(),
        "route": exchange.route.as_ref().map(|prefix| prefix.as_str()),
        "endpoint": exchange.endpoint.as_deref(),
        "attempts": exchange.attempts,
        "failed_attempts": failed_attempts(exchange),
        "not_retried": exchange.not_retried,
        "method": exchange.method.as_str(),
        "path": target(exchange),
        "protocol": protocol(exchange.version),
        "tls": exchange.secure,
        "status": status(exchange),
        "bytes_in": exchange.received_bytes(),
        "bytes_out": exchange.bytes_out,
        "duration_ms": (millis(exchange) * 1000.0).round() / 1000.0,
        "reason": reason(exchange),
        "detail": exchange.detail,
        "request_id": exchange.id.as_str(),
    });
    // What is not known is not told.
    if let Some(fields) = line.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    format!("{line}\n")
}

/// `localhost:8080/connection_refused/0.1ms*3`, one after another.
fn failed(exchange: &Exchange) -> String {
    let attempts = exchange.failed_attempts.iter().map(|failed| {
        let took = failed.took.as_secs_f64() * 1000.0;
        let times = match failed.times {
            1 => String::new(),
            times => format!("*{times}"),
        };
        format!("{}/{}/{took:.1}ms{times}", failed.endpoint, failed.reason)
    });
    attempts.collect::<Vec<_>>().join(",")
}

fn failed_attempts(exchange: &Exchange) -> Option<serde_json::Value> {
    let attempts = exchange.failed_attempts.iter().map(|failed| {
        serde_json::json!({
            "endpoint": &*failed.endpoint,
            "reason": failed.reason,
            "duration_ms": (failed.took.as_secs_f64() * 1e6).round() / 1000.0,
            "times": failed.times,
        })
    });
    let attempts: Vec<_> = attempts.collect();
    (!attempts.is_empty()).then(|| attempts.into())
}

fn combined(exchange: &Exchange) -> String {
    let agent = exchange.agent.as_deref();
    let or_dash = |text: Option<&str>| match text {
        Some(text) if !text.is_empty() => escape(text),
        _ => "-".to_owned(),
    };
    format!(
        "{} - - [{}] \"{} {} {}\" {} {} \"{}\" \"{}\"\n",
        exchange.client,
        local(exchange).strftime("%d/%b/%Y:%H:%M:%S %z"),
        escape(exchange.method.as_str()),
        escape(&target(exchange)),
        protocol(exchange.version),
        status(exchange),
        exchange.bytes_out,
        or_dash(agent.map(|agent| referer(&agent.referer)).as_deref()),
        or_dash(agent.map(|agent| agent.user_agent.as_str())),
    )
}

fn referer(text: &str) -> String {
    match text.split_once('?') {
        None => text.to_owned(),
        Some((before, query)) => format!("{before}?{}", without_secrets(query)),
    }
}

fn local(exchange: &Exchange) -> jiff::Zoned {
    Timestamp::try_from(exchange.at)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_zoned(TimeZone::system())
}

fn millis(exchange: &Exchange) -> f64 {
    exchange.started.elapsed().as_secs_f64() * 1000.0
}

fn status(exchange: &Exchange) -> u16 {
    exchange
        .status
        .map_or(CLIENT_GONE, |status| status.as_u16())
}

/// A client that went is no failure of anyone's, but it is told.
fn reason(exchange: &Exchange) -> Option<&'static str> {
    exchange
        .reason
        .or_else(|| (!exchange.complete).then_some("client_gone"))
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// Path and query, as they may be told.
fn target(exchange: &Exchange) -> String {
    let path = exchange.uri.path();
    match exchange.uri.query() {
        None => path.to_owned(),
        Some(query) => format!("{path}?{}", without_secrets(query)),
    }
}

/// A query without the values that look like secrets.
fn without_secrets(query: &str) -> String {
    let mut target = String::with_capacity(query.len());
    for (n, pair) in query.split('&').enumerate() {
        if n > 0 {
            target.push('&');
        }
        match pair.split_once('=') {
            Some((name, _)) if is_secret(name) => {
                let _ = write!(target, "{name}=…");
            }
            _ => target.push_str(pair),
        }
    }
    target
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "token",
        "secret",
        "password",
        "passwd",
        "api_key",
        "apikey",
        "code",
        "signature",
        "session",
        "auth",
    ]
    .iter()
    .any(|word| name.contains(word))
        || matches!(name.as_str(), "key" | "sig" | "pwd" | "jwt")
}

/// Quotes, backslashes and control characters, so that a line stays one line.
fn escape(text: &str) -> String {
    if !text
        .chars()
        .any(|c| c.is_control() || matches!(c, '"' | '\\'))
    {
        return text.to_owned();
    }
    text.chars().flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Agent, RequestId};
    use crate::path::PathPrefix;
    use http::{HeaderValue, Method, StatusCode};
    use std::sync::Arc;
    use std::time::{Duration, Instant, SystemTime};

    fn exchange(uri: &str) -> Exchange {
        Exchange {
            id: RequestId::given("id-1").unwrap(),
            started: Instant::now(),
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            client: [203, 0, 113, 9].into(),
            secure: true,
            version: Version::HTTP_11,
            method: Method::GET,
            uri: uri.parse().unwrap(),
            host: Some(HeaderValue::from_static("A.com:8443")),
            agent: Some(Arc::new(Agent {
                user_agent: "x\"y\n".to_owned(),
                referer: String::new(),
            })),
            site: Some("a.com".into()),
            route: None,
            endpoint: Some("localhost:8080".into()),
            attempts: 1,
            failed_attempts: Vec::new(),
            not_retried: None,
            status: Some(StatusCode::OK),
            reason: None,
            detail: None,
            bytes_in: None,
            bytes_out: 5,
            complete: true,
        }
    }

    #[test]
    fn a_line_says_who_asked_what_of_whom_and_what_became_of_it() {
        let json = json(&exchange("/a?b=c"));
        let line: serde_json::Value = serde_json::from_str(&json).unwrap();
        let want = [
            ("client", "203.0.113.9"),
            ("host", "a.com"),
            ("site", "a.com"),
            ("endpoint", "localhost:8080"),
            ("method", "GET"),
            ("path", "/a?b=c"),
            ("time", "2023-11-14T22:13:20.123Z"),
            ("request_id", "id-1"),
        ];
        for (field, value) in want {
            assert_eq!(line[field], value, "{json}");
        }
        assert_eq!(
            (&line["status"], &line["bytes_out"]),
            (&200.into(), &5.into())
        );
        assert!(line.get("reason").is_none());
        let text = text(&exchange("/a?b=c"));
        assert!(text.contains(" 200 GET a.com/a?b=c "), "{text}");
    }

    #[test]
    fn a_route_is_told_by_its_prefix() {
        let mut routed = exchange("/api/x");
        routed.route = PathPrefix::parse("/api").ok();
        assert!(text(&routed).contains(" route=/api "));
        assert!(json(&routed).contains("\"route\":\"/api\""));
    }

    #[test]
    fn secrets_do_not_appear() {
        for format in [Format::Text, Format::Json, Format::Combined] {
            let line = of(
                format,
                &exchange("/a?access_token=hush&x=1&API_KEY=hush&code=hush"),
            );
            assert!(!line.contains("hush") && line.contains("x=1"), "{line}");
        }
    }

    #[test]
    fn a_line_stays_one_line() {
        let combined = combined(&exchange("/"));
        assert!(
            combined.ends_with("\"GET / HTTP/1.1\" 200 5 \"-\" \"x\\\"y\\n\"\n"),
            "{combined}"
        );
        let mut broken = exchange("/");
        broken.detail = Some("a\nb".to_owned());
        assert_eq!(text(&broken).lines().count(), 1);
    }

    #[test]
    fn a_client_that_went_is_told_as_499() {
        let mut gone = exchange("/");
        (gone.status, gone.complete) = (None, false);
        let line = text(&gone);
        assert!(
            line.contains(" 499 ") && line.contains("reason=client_gone"),
            "{line}"
        );
    }
}
