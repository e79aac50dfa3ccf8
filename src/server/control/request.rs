//! What a command says: its method, its path and its body, read once.

use std::future::poll_fn;
use std::pin::pin;

use http::{Method, Request};
use http_body::Body as _;
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::refusal::Refusal;
use crate::path::{NotAPrefix, PathPrefix};
use crate::site::gate::{Notice, State};
use crate::upstream::registry::{MEMBERS_MAX, WEIGHT_MAX};

/// The largest body that is read, in bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// A command.
#[derive(Debug)]
pub(super) enum Asked {
    Server,
    Status,
    Sites,
    Reload,
    Upgrade,
    Diff,
    /// Of the site of this name, endpoints more.
    Add(String, Endpoints),
    /// Of the site of this name, endpoints less.
    Remove(String, Endpoints),
    /// Of the site of this name, the endpoint of that name.
    Change(String, String, Change),
    Gate(String, State),
}

/// Endpoints of one route.
#[derive(Debug)]
pub(super) struct Endpoints {
    pub(super) prefix: PathPrefix,
    /// As they were said.
    pub(super) endpoints: Vec<String>,
    pub(super) force: bool,
}

/// What is to become of one endpoint; what is `None` stays.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) prefix: PathPrefix,
    pub(super) weight: Option<u16>,
    pub(super) draining: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointsBody {
    endpoints: Vec<Word>,
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    runtime: bool,
    #[serde(default)]
    force: bool,
}

/// A port may be a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    Text(String),
    Number(u64),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    weight: Option<u64>,
    #[serde(default)]
    draining: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StopBody {
    #[serde(default)]
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoBody {}

/// Reads a command whole.
pub(super) async fn read(request: Request<Incoming>) -> Result<Asked, Refusal> {
    let (parts, body) = request.into_parts();
    let body = bytes_of(body).await?;
    let segments = segments(parts.uri.path())?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let only = |method: Method, allow: &'static str| match parts.method == method {
        true => Ok(()),
        false => Err(Refusal::wrong_method(allow)),
    };
    match segments.as_slice() {
        ["v1", "server"] => only(Method::GET, "GET").map(|()| Asked::Server),
        ["v1", "status"] => only(Method::GET, "GET").map(|()| Asked::Status),
        ["v1", "sites"] => only(Method::GET, "GET").map(|()| Asked::Sites),
        ["v1", "diff"] => only(Method::GET, "GET").map(|()| Asked::Diff),
        ["v1", "reload"] => {
            only(Method::POST, "POST")?;
            json::<NoBody>(&body, "nothing")?;
            Ok(Asked::Reload)
        }
        ["v1", "upgrade"] => {
            only(Method::POST, "POST")?;
            json::<NoBody>(&body, "nothing")?;
            Ok(Asked::Upgrade)
        }
        ["v1", "sites", host, "endpoints"] => {
            let host = (*host).to_owned();
            match parts.method {
                Method::POST => Ok(Asked::Add(host, endpoints(&body)?)),
                Method::DELETE => Ok(Asked::Remove(host, endpoints(&body)?)),
                _ => Err(Refusal::wrong_method("POST, DELETE")),
            }
        }
        ["v1", "sites", host, "endpoints", endpoint] => {
            only(Method::PATCH, "PATCH")?;
            Ok(Asked::Change(
                (*host).to_owned(),
                (*endpoint).to_owned(),
                change(&body)?,
            ))
        }
        ["v1", "sites", host, what @ ("pause" | "resume" | "stop")] => {
            only(Method::POST, "POST")?;
            let state = match *what {
                "stop" => stop(&body)?,
                what => {
                    json::<NoBody>(&body, "nothing")?;
                    match what {
                        "pause" => State::Paused,
                        _ => State::Open,
                    }
                }
            };
            Ok(Asked::Gate((*host).to_owned(), state))
        }
        _ => Err(Refusal::absent(
            format!("there is nothing at {}", parts.uri.path()),
            "see /v1/server, /v1/status, /v1/sites, /v1/reload, /v1/diff, /v1/upgrade, /v1/sites/HOST/endpoints, \
             /v1/sites/HOST/endpoints/ENDPOINT and /v1/sites/HOST/pause, resume or stop",
        )),
    }
}

fn endpoints(body: &[u8]) -> Result<Endpoints, Refusal> {
    let said: EndpointsBody = json(body, "`endpoints`, `prefix`, `runtime` and `force`")?;
    if !said.runtime {
        return Err(Refusal::senseless(
            "over the socket only the running table is changed, and `runtime` is not true",
            "say `\"runtime\": true`, or edit sites.yaml (`hostmux add`, `hostmux remove`) and POST /v1/reload",
        ));
    }
    if said.endpoints.len() > MEMBERS_MAX {
        return Err(Refusal::senseless(
            format!(
                "{} endpoints are more than one upstream has",
                said.endpoints.len()
            ),
            format!("the most is {MEMBERS_MAX}"),
        ));
    }
    let words = said.endpoints.into_iter().map(|word| match word {
        Word::Text(text) => text,
        Word::Number(port) => port.to_string(),
    });
    Ok(Endpoints {
        prefix: prefix(said.prefix)?,
        endpoints: words.collect(),
        force: said.force,
    })
}

fn change(body: &[u8]) -> Result<Change, Refusal> {
    let said: ChangeBody = json(body, "`weight`, `draining` and `prefix`")?;
    if said.weight.is_none() && said.draining.is_none() {
        return Err(Refusal::senseless(
            "the request changes nothing",
            "say `weight`, `draining` or both",
        ));
    }
    let weight = said.weight.map(|weight| match u16::try_from(weight) {
        Ok(weight) if weight <= WEIGHT_MAX => Ok(weight),
        _ => Err(Refusal::senseless(
            format!("{weight} is not a weight"),
            format!("a weight is from 0 to {WEIGHT_MAX}"),
        )),
    });
    Ok(Change {
        prefix: prefix(said.prefix)?,
        weight: weight.transpose()?,
        draining: said.draining,
    })
}

fn stop(body: &[u8]) -> Result<State, Refusal> {
    let said: StopBody = json(body, "`message`")?;
    let notice = Notice::parse(said.message.as_deref().unwrap_or_default());
    match notice {
        Ok(notice) => Ok(State::Stopped(notice)),
        Err(wrong) => Err(Refusal::senseless(
            wrong.to_string(),
            "say it shorter, in one line",
        )),
    }
}

fn prefix(said: Option<String>) -> Result<PathPrefix, Refusal> {
    let Some(said) = said else {
        return Ok(PathPrefix::root());
    };
    PathPrefix::parse(&said).map_err(|wrong| {
        let fix = match &wrong {
            NotAPrefix::NoSlash => format!("write `/{said}`"),
            NotAPrefix::NotNormal(normal) => format!("write `{normal}`"),
            NotAPrefix::TooLong
            | NotAPrefix::NotOfThePath(_)
            | NotAPrefix::Pattern
            | NotAPrefix::Odd(_)
            | NotAPrefix::BadEscape
            | NotAPrefix::Nul
            | NotAPrefix::Unclear(_)
            | NotAPrefix::EmptySegment
            | NotAPrefix::DotSegment(_) => "write a path such as `/api`".to_owned(),
        };
        Refusal::senseless(
            format!("`{said}` is not the prefix of a route: {wrong}"),
            fix,
        )
    })
}

/// `fields`: what can be said. No body says nothing.
fn json<T: DeserializeOwned>(body: &[u8], fields: &str) -> Result<T, Refusal> {
    let body = match body.trim_ascii() {
        [] => b"{}",
        body => body,
    };
    // The message has the place: line and column.
    serde_json::from_slice(body).map_err(|error| {
        Refusal::senseless(
            format!("the body is not what it should be: {error}"),
            format!("send a JSON object; what can be said here is {fields}"),
        )
    })
}

async fn bytes_of(body: Incoming) -> Result<Vec<u8>, Refusal> {
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|error| {
            Refusal::senseless(format!("the body broke off: {error}"), "send it whole")
        })?;
        let data = frame.data_ref().map_or(&b""[..], |data| data);
        if bytes.len() + data.len() > BODY_BYTES_MAX {
            return Err(Refusal::too_large(BODY_BYTES_MAX));
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}

/// The segments of a path, decoded (RFC 3986 §2.1).
fn segments(path: &str) -> Result<Vec<String>, Refusal> {
    let decoded = path.trim_start_matches('/').split('/').map(decoded);
    decoded.collect::<Option<_>>().ok_or_else(|| {
        Refusal::senseless(
            format!("the path {path} is not well encoded"),
            "`%` is followed by two hexadecimal digits, and all is UTF-8",
        )
    })
}

fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_after_they_are_split() {
        let check = |path: &str, want: &[&str]| assert_eq!(segments(path).unwrap(), want, "{path}");
        check("/v1/sites", &["v1", "sites"]);
        check(
            "/v1/sites/%2A.a.test/endpoints",
            &["v1", "sites", "*.a.test", "endpoints"],
        );
        check("/unix:%2Frun%2Fa.sock", &["unix:/run/a.sock"]);
        for path in ["/%", "/%4", "/%zz", "/%ff"] {
            assert!(segments(path).is_err(), "{path}");
        }
    }
}
