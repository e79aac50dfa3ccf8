//! Endpoints as written in short: a port, an address, a Unix socket.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::Wrong;
use crate::upstream::{Address, EndpointSettings, ProtocolSettings, TlsSettings};

/// The longest path of a Unix socket, in bytes: what `sockaddr_un` holds, less its NUL.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// Reads an endpoint: an address, perhaps behind `http://`, `h2c://` or `https://`.
pub(super) fn endpoint(text: &str) -> Result<EndpointSettings, Wrong> {
    let (protocol, rest) = match text.split_once("://") {
        Some(("h2c", rest)) => (ProtocolSettings::H2c, rest),
        Some(("https", rest)) => (ProtocolSettings::Tls(TlsSettings::default()), rest),
        _ => return address(text).map(EndpointSettings::from),
    };
    let scheme = &text[..text.len() - rest.len()];
    if rest.starts_with(['/', '.']) || rest.starts_with("unix:") {
        return Err(Wrong::new(
            format!("`{scheme}` does not lead to a Unix socket"),
            "a port, or an address with one",
        )
        .help("`unix:/path` is an endpoint that speaks HTTP/1.1"));
    }
    let address = host_and_port(scheme, rest)?;
    Ok(EndpointSettings {
        protocol,
        ..address.into()
    })
}

/// Reads `8080`, `addr:8080`, `[v6]:8080`, `localhost:8080` (each perhaps
/// behind `http://`) or `unix:/path`.
pub(super) fn address(text: &str) -> Result<Address, Wrong> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(text, path);
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
fn host_and_port(scheme: &str, text: &str) -> Result<Address, Wrong> {
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
        let right = several.iter().all(|part| address(part).is_ok());
        return Err(match several.as_slice() {
            [one] if right => Wrong::new(
                format!("`{text}` is not an endpoint"),
                format!("`{}` is one too many", &text[separator..=separator]),
            )
            .help(format!("write `{scheme}{one}`")),
            [host, digits] if address(&format!("{host}:{digits}")).is_ok() => {
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
        return Err(match address(before) {
            Ok(_) => fault.help(format!(
                "write `{scheme}{before}`: an endpoint gets the path as the client sent it"
            )),
            Err(_) => {
                fault.help("write a port such as `8080`, or an address such as `10.0.0.7:8080`")
            }
        });
    }
    if text.starts_with('[') {
        return bracketed(scheme, text);
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
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => port(text).map(Address::Port),
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

fn named(scheme: &str, text: &str, host: &str, port: u16) -> Result<Address, Wrong> {
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(Address::Port(port));
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(Address::Socket(SocketAddr::new(ip, port)));
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
    Err(Wrong::new(
        "names of other machines are not in this version of hostmux yet",
        format!("`{host}` is a name"),
    )
    .help(format!(
        "write its address, such as `{scheme}10.0.0.7:{port}`{}",
        if scheme == "https://" {
            ", and the name in `tls: { name: … }`"
        } else {
            ""
        }
    )))
}

fn without_colon(scheme: &str, text: &str) -> Result<Address, Wrong> {
    if text.parse::<IpAddr>().is_ok() || text.eq_ignore_ascii_case("localhost") {
        return Err(
            Wrong::new(format!("`{text}` has no port"), "expected `:` and a port").help(format!(
                "write `{scheme}{text}:8080` with the port it listens on"
            )),
        );
    }
    port(text).map(Address::Port)
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

/// Letters that look like digits: what was meant, the first of them, and its digit.
fn look_alikes(text: &str) -> Option<(String, char, char)> {
    let digit = |c: char| match c {
        'O' | 'o' => '0',
        'l' | 'I' => '1',
        other => other,
    };
    let meant: String = text.chars().map(digit).collect();
    meant.parse::<u16>().ok().filter(|port| *port > 0)?;
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
mod tests {
    use super::*;

    #[test]
    fn every_short_form_is_read() {
        let check = |text: &str, want: &str| {
            assert_eq!(
                endpoint(text).map(|a| a.to_string()),
                Ok(want.to_owned()),
                "{text}"
            );
        };
        check("8080", "localhost:8080");
        check("localhost:8080", "localhost:8080");
        check("LocalHost:8080", "localhost:8080");
        check("127.0.0.1:8080", "127.0.0.1:8080");
        check("[::1]:8080", "[::1]:8080");
        check("http://8080", "localhost:8080");
        check("http://localhost:8080", "localhost:8080");
        check("http://10.0.0.7:80", "10.0.0.7:80");
        check("unix:/run/app.sock", "unix:/run/app.sock");
        check("h2c://9000", "h2c://localhost:9000");
        check("h2c://10.0.0.7:9000", "h2c://10.0.0.7:9000");
        check("https://8443", "https://localhost:8443");
        check("https://[fd00::7]:8443", "https://[fd00::7]:8443");
    }

    #[test]
    fn what_is_no_endpoint_says_why() {
        let check = |text: &str, want: &str| {
            let wrong = endpoint(text).unwrap_err();
            let all = format!(
                "{} / {} / {}",
                wrong.message,
                wrong.label,
                wrong.help.unwrap_or_default()
            );
            assert!(all.contains(want), "{text}: {all}");
        };
        check(
            "8O80",
            "letter `O` is not the digit `0` / did you mean `8080`?",
        );
        check(
            "l0o0",
            "the letter `l` is not the digit `1` / did you mean `1000`?",
        );
        check("8080/", "write `8080`");
        check("http://localhost:3000/", "write `localhost:3000`");
        check("8080 8081", "write `[8080, 8081]`");
        check("8080, 8081", "write `[8080, 8081]`");
        check("8080,", "write `8080`");
        check("localhost 8080", "write `localhost:8080`");
        check("http:/localhost:3000", "write `http://localhost:3000`");
        check("http//localhost:3000", "write `http://localhost:3000`");
        check("99999", "99999 is not a port / ports go from 1 to 65535");
        check("99999999999999999999999", "ports go from 1 to 65535");
        check("0", "0 is not a port");
        check("-8080", "-8080 is not a port");
        check("08080", "did you mean `8080`?");
        check("8080.0", "did you mean `8080`?");
        check("8_080", "did you mean `8080`?");
        check("22:22", "`22` is not an IPv4 address");
        check(":8080", "write `8080`");
        check("localhost", "write `localhost:8080`");
        check("127.0.0.1", "write `127.0.0.1:8080`");
        check("127.0.0.1:", "not an endpoint");
        check("300.0.0.1:80", "`300.0.0.1` is not an IPv4 address");
        check("::1", "`\"[::1]:8080\"`");
        check("[::1]", "write `\"[::1]:8080\"`");
        check("[::1", "has no port");
        check("[::g]:80", "`::g` is not an IPv6 address");
        check("a:b:c", "more than one `:`");
        check("db.internal:80", "not in this version of hostmux yet");
        check(
            "https://db.internal:80",
            "write its address, such as `https://10.0.0.7:80`",
        );
        check("https://localhost:8443/", "write `https://localhost:8443`");
        check("https://8443 8444", "write `[https://8443, https://8444]`");
        check("https://10.0.0.7", "write `https://10.0.0.7:8080`");
        check(
            "https://unix:/run/app.sock",
            "does not lead to a Unix socket",
        );
        check("h2c:///run/app.sock", "does not lead to a Unix socket");
        check("h2c://", "an endpoint is empty");
        check("ws://8080", "WebSockets");
        check("wss://8080", "write `https://8080`");
        check("grpc://8080", "write `h2c://8080`");
        check("ftp://8080", "`ftp://` is not a scheme");
        check("unix:", "write `unix:/run/app.sock`");
        check("unix:run/app.sock", "write `unix:/run/app.sock`");
        check("unix:///run/app.sock", "write `unix:/run/app.sock`");
        check(&format!("unix:/{}", "a".repeat(107)), "108 bytes");
        check("/run/app.sock", "`unix:/run/app.sock`");
        check("", "an endpoint is empty");
        check("banana", "`banana` is not an endpoint");
    }
}
