//! What is to be said of an endpoint, by what was seen of it.

use super::probe::{Families, Heard, TIMEOUT};
use super::refusal::Program;
use super::{Asked, CHECK, Seen};
use crate::cli::doctor::finding::{Finding, Severity};

pub(in crate::cli::doctor) fn judge(seen: &Seen) -> Finding {
    let asked = &seen.asked;
    if let Some(program) = seen.refusal {
        return refused(seen, program);
    }
    let name = format!("{}: {}", asked.site, asked.endpoint);
    let edit = |to: String| format!("`{to}` in sites.yaml, line {}", asked.line);
    let address = &asked.address;
    // With others beside it, visitors lose nothing or little.
    let grave = if asked.others {
        Severity::Warning
    } else {
        Severity::Error
    };
    let bad = |what: String| Finding::new(grave, CHECK, what);
    match &seen.heard {
        Heard::Answered(answer) if answer.status >= 500 => Finding::warning(
            CHECK,
            format!("{name} answers {} to a GET", answer.status),
        )
        .why("its visitors see an error of the server's own")
        .fix("its own log says why"),
        Heard::Answered(answer) => Finding::ok(
            CHECK,
            format!("{name} answers {}{}", answer.status, listening(seen.families)),
        ),
        Heard::Http2 => Finding::ok(
            CHECK,
            format!("{name} speaks HTTP/2{}", listening(seen.families)),
        ),
        Heard::Refused { beside: None } if address.starts_with("unix:") => {
            bad(format!("{name}: nobody listens on the socket"))
                .why("visitors wait, and then get a 502")
                .fix("start the server; its own configuration says where its socket is")
        }
        Heard::Refused { beside: None } => bad(format!("{name}: nobody listens there"))
            .why("visitors wait, and then get a 502")
            .fix("start the server")
            .fix(format!(
                "`ss -ltn` shows the ports where somebody listens: correct it in sites.yaml, line {}",
                asked.line
            )),
        Heard::Refused {
            beside: Some(other),
        } => bad(format!("{name}: nobody listens there, but somebody does on {other}"))
            .why("visitors wait, and then get a 502")
            .fix(edit(format!("{}{}", asked.scheme, other.port())) + ": a bare port tries both"),
        Heard::Denied => Finding::note(
            CHECK,
            format!("{name} was not asked: this user may not connect to the socket"),
        )
        .why("whether hostmux may depends on the user it runs as")
        .fix("`sudo -u USER hostmux doctor`, with the user it runs as"),
        Heard::Unreachable(why) => bad(format!("{name} cannot be reached: {why}"))
            .why("visitors get a 502 or a 504")
            .fix("is the address right, the machine up, and no firewall between?"),
        Heard::Silent => Finding::warning(
            CHECK,
            format!("{name} took a request and did not answer for {TIMEOUT:?}"),
        )
        .why("it compiles, or hangs; visitors wait for up to `response_timeout`")
        .fix("ask again in a while; its own log says what it does"),
        Heard::Closed => bad(format!("{name} closes the connection without an answer"))
            .why("visitors get a 502")
            .fix("its own log says why; is it a server of HTTP?"),
        Heard::TlsUnasked => bad(format!("{name} speaks TLS, and is asked without"))
            .why("visitors get a 400 of its own, or a 502")
            .fix(edit(format!("https://{}", bare(address))) + "; its certificate is verified: `tls: { ca: FILE }` names its CA"),
        Heard::NoTls => bad(format!("{name} speaks plain HTTP, and is asked with TLS"))
            .why("visitors get a 502")
            .fix(edit(bare(address).to_owned())),
        Heard::Http2Unasked => bad(format!("{name} speaks HTTP/2 alone"))
            .why("visitors get a 502")
            .fix(edit(format!("h2c://{}", bare(address)))),
        Heard::NoHttp2 => bad(format!("{name} does not speak HTTP/2"))
            .why("visitors get a 502")
            .fix(edit(bare(address).to_owned())),
        Heard::Foreign(bytes) => bad(format!("{name} does not speak HTTP: it says `{bytes}`"))
            .why("visitors get a 502")
            .fix(format!("another port in sites.yaml, line {}", asked.line)),
        Heard::Distrusted(why) => bad(format!("{name}: the handshake failed: {why}"))
            .why("visitors get a 502: the certificate of an endpoint is always verified")
            .fix(format!("`tls: {{ ca: FILE }}` beside `endpoints`, with its CA's or its own certificate (line {})", asked.line))
            .fix("`tls: { name: NAME }`, if the certificate is for another name"),
    }
}

/// The name of an endpoint leads to nothing.
pub(super) fn nameless(asked: &Asked, why: &str) -> Finding {
    let Asked { site, endpoint, .. } = asked;
    let what = format!("{site}: {endpoint} leads to no endpoint: {why}");
    let finding = match asked.others {
        true => Finding::warning(CHECK, what),
        false => Finding::error(CHECK, what),
    };
    finding
        .why("visitors wait, and then get a 503")
        .fix(format!(
            "correct the name in sites.yaml, line {}",
            asked.line
        ))
        .fix("a record for it, or a line in /etc/hosts")
}

fn refused(seen: &Seen, program: Program) -> Finding {
    let asked = &seen.asked;
    let Asked { site, endpoint, .. } = asked;
    let name = match &asked.pattern {
        Some(pattern) => pattern.to_string(),
        None => "this name".to_owned(),
    };
    let who = match program.name() {
        None => format!("{endpoint} refuses"),
        Some(known) => format!("{endpoint} ({known}) refuses"),
    };
    let mut finding = Finding::error(CHECK, format!("{site}: {who} the name {name}"));
    finding = finding.why(match program {
        Program::Django { debug: false } => {
            "it answers 400 to all visitors: with DEBUG = False Django tells no more, and `ALLOWED_HOSTS` is mostly why"
        }
        Program::Webpack => "all that visitors see is `Invalid Host header`",
        Program::Unknown => {
            "it answers its own address and refuses the site's name, so that all visitors are refused"
        }
        Program::Vite { .. }
        | Program::Django { debug: true }
        | Program::Rails
        | Program::Jupyter
        | Program::Starlette => "visitors see its refusal, and none of the site",
    });
    if let Some(pattern) = &asked.pattern
        && let Some(setting) = program.setting(pattern)
    {
        finding = finding.fix(setting);
    }
    // Rails looks at X-Forwarded-Host as well, which has the site's name.
    if seen.own_host_helps {
        finding = finding.fix(format!(
            "`host: endpoint` for this site in sites.yaml, line {}: the server then sees its own address",
            asked.line
        ));
    }
    finding
}

fn listening(families: Option<Families>) -> &'static str {
    match families {
        Some(Families {
            v4: false,
            v6: true,
        }) => " (it listens on ::1 alone)",
        Some(Families { v4: true, v6: true }) => " (on 127.0.0.1 and ::1)",
        Some(_) | None => "",
    }
}

/// `localhost:3000` is written as a port, in short; behind a scheme too.
fn bare(address: &str) -> &str {
    address.strip_prefix("localhost:").unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use super::super::answer::Answer;
    use super::*;
    use crate::host::HostPattern;

    fn seen(address: &str, scheme: &'static str, heard: Heard) -> Seen {
        Seen {
            asked: Asked {
                site: "a.test".to_owned(),
                line: 4,
                pattern: HostPattern::parse("a.test").ok(),
                endpoint: format!("{scheme}{address}"),
                scheme,
                address: address.to_owned(),
                others: false,
            },
            families: None,
            heard,
            refusal: None,
            own_host_helps: false,
        }
    }

    fn answered(status: u16) -> Heard {
        Heard::Answered(Answer {
            status,
            head: String::new(),
            body: String::new(),
        })
    }

    #[test]
    fn what_was_heard_decides() {
        let check = |address: &str, scheme, heard: Heard, want: Severity, words: &str| {
            let found = judge(&seen(address, scheme, heard));
            let all = format!("{found:?}");
            assert_eq!(found.severity, want, "{all}");
            assert!(all.contains(words), "{all}");
        };
        use Severity::{Error, Note, Ok, Warning};
        let (port, none) = ("localhost:3000", "");
        check(port, none, answered(404), Ok, "answers 404");
        check(port, none, answered(502), Warning, "answers 502");
        let refused = |beside: Option<&str>| Heard::Refused {
            beside: beside.map(|at| at.parse().unwrap()),
        };
        check(port, none, refused(None), Error, "start the server");
        check("unix:/x", none, refused(None), Error, "on the socket");
        check(
            "127.0.0.1:3000",
            none,
            refused(Some("[::1]:3000")),
            Error,
            "`3000` in sites.yaml, line 4",
        );
        check(
            "127.0.0.1:3000",
            "h2c://",
            refused(Some("[::1]:3000")),
            Error,
            "`h2c://3000`",
        );
        check("unix:/x", none, Heard::Denied, Note, "sudo -u USER");
        check(port, none, Heard::Silent, Warning, "did not answer for 5s");
        check(port, none, Heard::Closed, Error, "without an answer");
        check(
            port,
            none,
            Heard::TlsUnasked,
            Error,
            "`https://3000` in sites.yaml, line 4",
        );
        check(
            port,
            "https://",
            Heard::NoTls,
            Error,
            "`3000` in sites.yaml, line 4",
        );
        check(
            "localhost:9000",
            none,
            Heard::Http2Unasked,
            Error,
            "`h2c://",
        );
        check("localhost:9000", "h2c://", Heard::NoHttp2, Error, "`9000`");
        check(
            port,
            none,
            Heard::Foreign("SSH".to_owned()),
            Error,
            "it says `SSH`",
        );
        check(
            port,
            "https://",
            Heard::Distrusted("no".to_owned()),
            Error,
            "tls: { ca: FILE }",
        );
        check(
            "db:1",
            none,
            Heard::Unreachable("no route".to_owned()),
            Error,
            "no route",
        );
    }

    #[test]
    fn one_of_several_is_a_warning() {
        let mut one = seen("localhost:3000", "", Heard::Refused { beside: None });
        one.asked.others = true;
        assert_eq!(judge(&one).severity, Severity::Warning);
        assert_eq!(nameless(&one.asked, "gone").severity, Severity::Warning);
    }

    #[test]
    fn a_refusal_names_both_ways_out() {
        let mut one = seen("localhost:3000", "", answered(403));
        one.refusal = Some(Program::Vite { preview: false });
        assert_eq!(judge(&one).fixes.len(), 1);
        one.own_host_helps = true;
        let found = judge(&one);
        assert_eq!(found.severity, Severity::Error);
        assert!(found.fixes[0].contains("allowedHosts"), "{found:?}");
        assert!(found.fixes[1].contains("`host: endpoint`"), "{found:?}");
    }
}
