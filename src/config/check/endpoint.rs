//! Endpoints as written in short: a port, an address, a name, a Unix socket.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::Wrong;
use crate::host::HostName;
use crate::upstream::protocol::EndpointName;
use crate::upstream::{Address, EndpointSettings, Named, Place, ProtocolSettings, TlsSettings};

/// The port of a name behind `https://` that has none (RFC 9110 §4.2.2).
const HTTPS_PORT: u16 = 443;

/// The longest path of a Unix socket, in bytes: what `sockaddr_un` holds, less its NUL.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// Reads an endpoint: a place, perhaps behind `http://`, `h2c://` or
/// `https://`, or a service behind `srv+` and one of these.
pub(super) fn endpoint(text: &str) -> Result<EndpointSettings, Wrong> {
    let tls = || ProtocolSettings::Tls(TlsSettings::default());
    let (protocol, rest) = match text.split_once("://") {
        Some(("h2c", rest)) => (ProtocolSettings::H2c, rest),
        Some(("https", rest)) => (tls(), rest),
        Some(("srv+http", rest)) => return service(text, ProtocolSettings::Http1, rest),
        Some(("srv+h2c", rest)) => return service(text, ProtocolSettings::H2c, rest),
        Some(("srv+https", rest)) => return service(text, tls(), rest),
        _ => return place(text).map(|place| of(place, ProtocolSettings::Http1)),
    };
    let scheme = &text[..text.len() - rest.len()];
    if rest.starts_with(['/', '.']) || rest.starts_with("unix:") {
        return Err(Wrong::new(
            format!("`{scheme}` does not lead to a Unix socket"),
            "a port, or an address with one",
        )
        .help("`unix:/path` is an endpoint that speaks HTTP/1.1"));
    }
    let endpoint = of(host_and_port(scheme, rest)?, protocol);
    certified(rest, &endpoint)?;
    Ok(endpoint)
}

fn of(place: Place, protocol: ProtocolSettings) -> EndpointSettings {
    EndpointSettings {
        place,
        protocol,
        ..Address::Port(0).into()
    }
}

/// `srv+http://_web._tcp.internal`: the name of a service, whose records have
/// targets and ports (RFC 2782).
fn service(text: &str, protocol: ProtocolSettings, name: &str) -> Result<EndpointSettings, Wrong> {
    let fault = |label: &str| {
        Wrong::new(format!("`{text}` does not name a service"), label)
            .help("write the name that has SRV records, such as `srv+http://_web._tcp.internal`")
    };
    let scheme = &text[..text.len() - name.len()];
    if let Some((name, rest)) = name.split_once([':', '/'])
        && HostName::parse(name).is_ok()
    {
        return Err(match rest.bytes().all(|byte| byte.is_ascii_digit()) {
            true => fault("its records say which ports"),
            false => fault("a name without a path"),
        }
        .help(format!("write `{scheme}{name}`")));
    }
    match HostName::parse(name) {
        Ok(host) if !host.is_address() && !looks_like_an_address(host.as_str()) => {
            let endpoint = of(Place::Service(host), protocol);
            certified(name, &endpoint)?;
            Ok(endpoint)
        }
        Ok(_) => Err(fault("an address has no SRV records")),
        Err(wrong) => Err(fault(&wrong.to_string())),
    }
}

/// Refuses a name that the endpoint's certificate cannot be for.
fn certified(text: &str, endpoint: &EndpointSettings) -> Result<(), Wrong> {
    let is_secured = matches!(endpoint.protocol, ProtocolSettings::Tls(_));
    if !is_secured || endpoint.place.address().is_some() {
        return Ok(());
    }
    match endpoint.place.certified().and_then(EndpointName::parse) {
        Some(_) => Ok(()),
        None => Err(Wrong::new(
            format!("no certificate can be for `{text}`"),
            "not a name that a certificate can have",
        )
        .help("write a name such as `app.internal:8443`, or `srv+https://_web._tcp.internal`")),
    }
}

/// Reads `8080`, `addr:8080`, `[v6]:8080`, `localhost:8080` (each perhaps
/// behind `http://`) or `unix:/path`: no name.
pub(super) fn address(text: &str) -> Result<Address, Wrong> {
    let no_address = || not_an_endpoint(text, "neither a port nor an address with one");
    if is_name_with_dots(text) {
        return Err(no_address());
    }
    match place(text)? {
        Place::At(address) => Ok(address),
        Place::Name(_) | Place::Service(_) => Err(no_address()),
    }
}

/// Reads what [`address`] does, or `name:8080`.
fn place(text: &str) -> Result<Place, Wrong> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(text, path).map(Place::At);
    }
    if text.starts_with('/') || text.starts_with("./") {
        return Err(Wrong::new(format!("`{text}` is not an endpoint"), "a path")
            .help(format!("a Unix socket is written `unix:{text}`")));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return host_and_port("", text);
    };
    match scheme {
        "http" => host_and_port("", rest),
        "srv" => Err(Wrong::new(
            "`srv://` does not say what is spoken",
            "expected `srv+http://`, `srv+https://` or `srv+h2c://`",
        )
        .help(format!("write `srv+http://{rest}`, or one of the others"))),
        "ws" | "wss" => Err(Wrong::new(
            format!("`{scheme}://` is not a scheme of an endpoint"),
            "WebSockets need no scheme of their own",
        )
        .help(format!(
            "write `{}{rest}`: WebSockets pass with all else",
            if scheme == "wss" { "https://" } else { "" }
        ))),
        "grpc" | "grpcs" | "h2" | "http2" => Err(Wrong::new(
            format!("`{scheme}://` is not a scheme of an endpoint"),
            "HTTP/2 is `h2c://`, or `https://` over TLS",
        )
        .help(format!(
            "write `{}{rest}`",
            if scheme == "grpcs" {
                "https://"
            } else {
                "h2c://"
            }
        ))),
        _ => Err(Wrong::new(
            format!("`{scheme}://` is not a scheme of an endpoint"),
            "expected `http://`, `https://`, `h2c://` or none",
        )
        .help("write a port such as `8080`, an address such as `10.0.0.7:8080`, or `unix:/path`")),
    }
}

fn unix(text: &str, path: &str) -> Result<Address, Wrong> {
    if !path.starts_with('/') || path.starts_with("//") {
        let path = path.trim_start_matches('/');
        return Err(Wrong::new(
            format!("`{text}` is not the path of a Unix socket"),
            "expected an absolute path",
        )
        .help(match path {
            "" => "write `unix:/run/app.sock`".to_owned(),
            path => format!("write `unix:/{path}` if that is where it is"),
        }));
    }
    // It is printed, on the terminal of whoever asks what runs.
    if let Some(odd) = path.chars().find(|c| c.is_control()) {
        return Err(Wrong::new(
            "the path of a Unix socket has a control character in it",
            format!("`{}` cannot stand here", odd.escape_default()),
        )
        .help("give the socket a path of what can be seen"));
    }
    if path.len() > UNIX_PATH_BYTES_MAX {
        return Err(Wrong::new(
            "the path of a Unix socket is too long",
            format!(
                "{} bytes, and the system takes {UNIX_PATH_BYTES_MAX}",
                path.len()
            ),
        ));
    }
    Ok(Address::Unix(PathBuf::from(path)))
}

/// `scheme`: what stands before it, for advice.
fn host_and_port(scheme: &str, text: &str) -> Result<Place, Wrong> {
    if text.starts_with(['“', '”', '„', '‘', '’']) {
        return Err(Wrong::new(
            format!("`{text}` is in typographic quotes"),
            "not YAML's quotes",
        )
        .help("use straight quotes, `\"…\"`, or none"));
    }
    if text.is_empty() {
        return Err(Wrong::new(
            "an endpoint is empty",
            "expected a port such as `8080`",
        ));
    }
    if let Some(separator) = text.find([' ', ',', ';']) {
        let several: Vec<&str> = text
            .split([' ', ',', ';'])
            .filter(|part| !part.is_empty())
            .collect();
        let right = several.iter().all(|part| is_surely_right(part));
        return Err(match several.as_slice() {
            [one] if right => Wrong::new(
                format!("`{text}` is not an endpoint"),
                format!("`{}` is one too many", &text[separator..=separator]),
            )
            .help(format!("write `{scheme}{one}`")),
            [host, digits] if is_surely_right(&format!("{host}:{digits}")) => {
                not_an_endpoint(text, "`:` stands between an address and its port")
                    .help(format!("write `{scheme}{host}:{digits}`"))
            }
            _ if right => Wrong::new(
                format!("`{text}` is not one endpoint"),
                "several endpoints are a list",
            )
            .help(format!(
                "write `[{scheme}{}]`",
                several.join(&format!(", {scheme}"))
            )),
            _ => not_an_endpoint(
                text,
                &format!("`{}` cannot stand here", &text[separator..=separator]),
            ),
        });
    }
    if let Some((before, _)) = text.split_once('/') {
        let fault = Wrong::new(
            format!("`{text}` has a path, and an endpoint has none"),
            "without the path",
        );
        if matches!(before, "http" | "http:") {
            let rest = text[before.len()..].trim_start_matches('/');
            return Err(not_an_endpoint(text, "looks like `http://`")
                .help(format!("write `http://{rest}`")));
        }
        return Err(match is_surely_right(&format!("{scheme}{before}")) {
            true => fault.help(format!(
                "write `{scheme}{before}`: an endpoint gets the path as the client sent it"
            )),
            false => {
                fault.help("write a port such as `8080`, or an address such as `10.0.0.7:8080`")
            }
        });
    }
    if text.starts_with('[') {
        return bracketed(scheme, text).map(Place::At);
    }
    match text.rsplit_once(':') {
        Some((host, digits)) if host.contains(':') => Err(Wrong::new(
            format!("`{text}` is not an endpoint"),
            "more than one `:` outside brackets",
        )
        .help(match (host.parse::<IpAddr>(), port(digits)) {
            (Ok(_), Ok(port)) => {
                format!("an IPv6 address stands in quotes and brackets: `\"{scheme}[{host}]:{port}\"`")
            }
            (_, _) if text.parse::<IpAddr>().is_ok() => {
                format!("an IPv6 address stands in quotes and brackets, with a port: `\"{scheme}[{text}]:8080\"`")
            }
            (_, _) => "an endpoint is `ADDRESS:PORT`; an IPv6 address stands in brackets".to_owned(),
        })),
        Some((host, digits)) => named(scheme, text, host, port(digits)?),
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            port(text).map(|port| Place::At(Address::Port(port)))
        }
        None => without_colon(scheme, text),
    }
}

fn bracketed(scheme: &str, text: &str) -> Result<Address, Wrong> {
    let (host, rest) = text[1..]
        .split_once(']')
        .unwrap_or_else(|| (&text[1..], ""));
    let Ok(ip) = host.parse() else {
        return Err(not_an_endpoint(
            text,
            &format!("`{host}` is not an IPv6 address"),
        ));
    };
    let Some(digits) = rest.strip_prefix(':') else {
        return Err(
            Wrong::new(format!("`{text}` has no port"), "expected `:` and a port").help(format!(
                "write `\"{scheme}[{host}]:8080\"` with the port it listens on"
            )),
        );
    };
    Ok(Address::Socket(SocketAddr::new(
        IpAddr::V6(ip),
        port(digits)?,
    )))
}

fn named(scheme: &str, text: &str, host: &str, port: u16) -> Result<Place, Wrong> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(Place::At(Address::Socket(SocketAddr::new(ip, port))));
    }
    if host.is_empty() {
        return Err(Wrong::new(
            format!("`{text}` is not an endpoint"),
            "no address stands before the `:`",
        )
        .help(format!("write `{scheme}{port}` for a port of this machine")));
    }
    if looks_like_an_address(host) {
        return Err(not_an_endpoint(
            text,
            &format!("`{host}` is not an IPv4 address"),
        ));
    }
    if let Some((meant, letter, digit)) = digits_for_letters(host)
        && meant.parse::<Ipv4Addr>().is_ok()
    {
        return Err(not_an_endpoint(
            text,
            &format!("the letter `{letter}` is not the digit `{digit}`"),
        )
        .help(format!("did you mean `{scheme}{meant}:{port}`?")));
    }
    if matches!(host, "http" | "https" | "h2c" | "ws" | "wss" | "srv") {
        return Err(not_an_endpoint(text, &format!("looks like `{host}://`"))
            .help(format!("write `{host}://{port}`")));
    }
    match HostName::parse(host) {
        Ok(host) if host.as_str() == "localhost" => Ok(Place::At(Address::Port(port))),
        Ok(host) => Ok(Place::Name(Named { host, port })),
        Err(wrong) => Err(not_an_endpoint(text, &wrong.to_string())),
    }
}

/// Without a port: of a name behind `https://` it is 443.
fn without_colon(scheme: &str, text: &str) -> Result<Place, Wrong> {
    let no_port = |port: u16| {
        Wrong::new(format!("`{text}` has no port"), "expected `:` and a port").help(format!(
            "write `{scheme}{text}:{port}` with the port it listens on"
        ))
    };
    if text.parse::<IpAddr>().is_ok() || text.eq_ignore_ascii_case("localhost") {
        return Err(no_port(8080));
    }
    if text.starts_with('_') && scheme.is_empty() && is_name_with_dots(text) {
        return Err(not_an_endpoint(text, "looks like the name of a service")
            .help(format!("write `srv+http://{text}` for its SRV records")));
    }
    let is_word = text.contains(|c: char| c.is_alphabetic()) && digits_for_letters(text).is_none();
    if scheme == "https://" && is_word && HostName::parse(text).is_ok() {
        return named(scheme, text, text, HTTPS_PORT);
    }
    if is_name_with_dots(text) {
        return Err(no_port(8080));
    }
    port(text).map(|port| Place::At(Address::Port(port)))
}

/// Whether it can be advised to be written: a word with a port could be a
/// name, and is not what was meant.
fn is_surely_right(text: &str) -> bool {
    endpoint(text).is_ok_and(|endpoint| match &endpoint.place {
        Place::At(_) | Place::Service(_) => true,
        Place::Name(named) => named.host.as_str().contains('.'),
    })
}

/// Whether it is the name of another machine beyond doubt, without a port.
fn is_name_with_dots(text: &str) -> bool {
    let inside = text.trim_end_matches('.');
    inside.contains('.')
        && inside
            .rsplit('.')
            .next()
            .is_some_and(|last| last.starts_with(|c: char| c.is_alphabetic()))
        && HostName::parse(text).is_ok()
}

/// Reads a port.
pub(super) fn port(text: &str) -> Result<u16, Wrong> {
    const RANGE: &str = "ports go from 1 to 65535";
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty();
    if digits && (text.len() == 1 || !text.starts_with('0')) {
        return match text.parse::<u16>() {
            Ok(0) => Err(Wrong::new(
                "0 is not a port that can be connected to",
                RANGE,
            )),
            Ok(port) => Ok(port),
            Err(_) => Err(Wrong::new(format!("{text} is not a port"), RANGE)),
        };
    }
    if text
        .strip_prefix('-')
        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
        && text.len() > 1
    {
        return Err(Wrong::new(format!("{text} is not a port"), RANGE));
    }
    let fault = |label: &str| Wrong::new(format!("`{text}` is not a port"), label);
    if let Some((wrong, letter, right)) = look_alikes(text) {
        return Err(
            fault(&format!("the letter `{letter}` is not the digit `{right}`"))
                .help(format!("did you mean `{wrong}`?")),
        );
    }
    let plain = text.replace('_', "");
    let plain = plain
        .strip_suffix(".0")
        .unwrap_or(&plain)
        .trim_start_matches('0');
    if let Ok(meant @ 1..) = plain.parse::<u16>()
        && plain.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(
            fault("a port is written in plain digits").help(format!("did you mean `{meant}`?"))
        );
    }
    Err(not_an_endpoint(
        text,
        "neither a port nor an address with one",
    ))
}

/// A port with letters that look like digits: what was meant, the first of
/// them, and its digit.
fn look_alikes(text: &str) -> Option<(String, char, char)> {
    let (meant, letter, right) = digits_for_letters(text)?;
    meant.parse::<u16>().ok().filter(|port| *port > 0)?;
    Some((meant, letter, right))
}

/// Digits, dots, and letters that look like digits: what was meant, the first
/// of the letters, and its digit.
fn digits_for_letters(text: &str) -> Option<(String, char, char)> {
    let digit = |c: char| match c {
        'O' | 'o' => '0',
        'l' | 'I' => '1',
        other => other,
    };
    let meant: String = text.chars().map(digit).collect();
    if !looks_like_an_address(&meant) {
        return None;
    }
    let letter = text.chars().find(|c| digit(*c) != *c)?;
    // `Ol` is a word, not a port.
    text.contains(|c: char| c.is_ascii_digit())
        .then(|| (meant, letter, digit(letter)))
}

fn looks_like_an_address(host: &str) -> bool {
    host.bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
}

fn not_an_endpoint(text: &str, label: &str) -> Wrong {
    Wrong::new(format!("`{text}` is not an endpoint"), label)
        .help("write a port such as `8080`, an address such as `10.0.0.7:8080`, or `unix:/path`")
}

#[cfg(test)]
mod tests;
