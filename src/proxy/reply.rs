//! A failure as its client can read it: a page, problem+json, gRPC or text.
//!
//! A stranger sees the status, one plain sentence, the site's own name and the
//! request id. A visitor from this machine also sees what was tried, what
//! happened and what to do. Nothing is loaded from outside, everything is
//! escaped, nothing is stored.

use std::fmt::Write;

use http::header::{ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};

use super::grpc;
use crate::body::Body;
use crate::error::{Facts, ProxyError};
use crate::exchange::Exchange;

/// What a client can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Html,
    /// `application/problem+json` (RFC 9457).
    Problem,
    Grpc,
    Text,
}

impl Form {
    /// By what the request says of itself.
    pub fn wanted(headers: &HeaderMap) -> Self {
        let content_type = headers
            .get(CONTENT_TYPE)
            .map_or(&b""[..], HeaderValue::as_bytes);
        if grpc::is_meant(content_type) {
            return Self::Grpc;
        }
        let accept = headers
            .get(ACCEPT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if accept.contains("text/html") {
            Self::Html
        } else if accept.contains("json") {
            Self::Problem
        } else {
            Self::Text
        }
    }
}

/// The answer to a request that failed.
pub fn to(error: &ProxyError, exchange: &Exchange, form: Form) -> Response<Body> {
    let facts = error.facts();
    let body = match form {
        Form::Html => page(error, &facts, exchange),
        Form::Problem => problem(error, &facts, exchange),
        Form::Text => text(error, &facts, exchange),
        Form::Grpc => String::new(),
    };
    let mut response = Response::new(if body.is_empty() {
        Body::Empty
    } else {
        Body::from(body)
    });
    let headers = response.headers_mut();
    let content_type = match form {
        Form::Html => "text/html; charset=utf-8",
        Form::Problem => "application/problem+json",
        Form::Text => "text/plain; charset=utf-8",
        Form::Grpc => "application/grpc",
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(status) = HeaderValue::try_from(format!("hostmux; error={}", facts.reason)) {
        headers.insert("proxy-status", status);
    }
    if let Some(seconds) = error.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if facts.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(
            http::header::ALLOW,
            HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        );
    }
    if error.closes() && exchange.version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if form == Form::Grpc {
        // gRPC tells its own status in the trailers of an HTTP 200.
        headers.insert(
            "grpc-status",
            HeaderValue::from_static(grpc_status(facts.status)),
        );
        headers.insert("grpc-message", grpc::message(sentence(error, &facts)));
    } else {
        *response.status_mut() = facts.status;
    }
    response
}

/// gRPC over HTTP/2, "HTTP to gRPC Status Code Mapping", and where that has
/// nothing the code that gRPC itself would give.
fn grpc_status(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 | 431 => "13",
        401 => "16",
        413 => "8",
        403 => "7",
        404 | 405 | 501 => "12",
        504 => "4",
        429 | 502 | 503 => "14",
        _ => "2",
    }
}

/// The failure and its causes in full: for the log, and for visitors from this machine.
pub fn detail(error: &ProxyError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// What a stranger is told, in one sentence: by whoever runs the site, or by us.
fn sentence<'a>(error: &'a ProxyError, facts: &Facts) -> &'a str {
    error.notice().unwrap_or(facts.sentence)
}

fn text(error: &ProxyError, facts: &Facts, exchange: &Exchange) -> String {
    let mut text = format!("{}\n{}\n", facts.status, facts.sentence);
    if let Some(notice) = error.notice() {
        let _ = writeln!(text, "{notice}");
    }
    if exchange.is_near() {
        let _ = write!(text, "\n{}\n{}\n", clip(&detail(error)), facts.help);
    }
    let _ = writeln!(text, "\nrequest id {}", exchange.id);
    text
}

fn problem(error: &ProxyError, facts: &Facts, exchange: &Exchange) -> String {
    let mut problem = serde_json::json!({
        "type": "about:blank",
        "title": facts.status.canonical_reason().unwrap_or_default(),
        "status": facts.status.as_u16(),
        "detail": sentence(error, facts),
        "reason": facts.reason,
        "request_id": exchange.id.as_str(),
    });
    if exchange.is_near() {
        problem["cause"] = clip(&detail(error)).into();
        problem["fix"] = facts.help.into();
    }
    problem.to_string()
}

fn page(error: &ProxyError, facts: &Facts, exchange: &Exchange) -> String {
    let site = exchange
        .host_name()
        .map(|name| escape(&name))
        .unwrap_or_default();
    // An endpoint that is starting will be there soon: the page asks again by itself.
    let starting = matches!(
        error,
        ProxyError::Refused { .. }
            | ProxyError::NoEndpoint { .. }
            | ProxyError::TooManyWaiting { .. }
            | ProxyError::Paused { .. }
            | ProxyError::TooManyPaused { .. }
    );
    let again = if starting {
        "<meta http-equiv=\"refresh\" content=\"2\">\n"
    } else {
        ""
    };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n{again}<title>{status}</title>\n\
         <style>body{{font:1.1em/1.5 system-ui,sans-serif;max-width:40em;margin:12vh auto;padding:0 1em;\
         color:#222;background:#fff}}h1{{font-size:1.4em}}small,pre{{color:#666}}pre{{white-space:pre-wrap}}\
         @media(prefers-color-scheme:dark){{body{{color:#ddd;background:#181818}}small,pre{{color:#999}}}}</style>\n\
         <h1>{sentence}</h1>\n<p>{site}</p>\n",
        status = facts.status,
        sentence = facts.sentence,
    );
    if let Some(notice) = error.notice() {
        let _ = writeln!(page, "<p>{}</p>", escape(notice));
    }
    if exchange.is_near() {
        let _ = write!(
            page,
            "<pre>{}</pre>\n<p>{}</p>\n",
            escape(&clip(&detail(error))),
            escape(facts.help)
        );
    }
    let _ = writeln!(
        page,
        "<p><small>{} &middot; {} &middot; request id {}</small></p>",
        facts.status,
        facts.reason,
        escape(exchange.id.as_str()),
    );
    page
}

/// What is shown of a cause at most, so that an answer stays under 4 KiB.
const DETAIL_CHARS_MAX: usize = 400;

fn clip(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(DETAIL_CHARS_MAX).collect()
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}
