//! The invariants of `fuzz/`, tried on some inputs in every run: texts built
//! from the words that matter where they are read, with odd bytes between them.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

// To the fuzz targets it is another crate.
#[allow(unreachable_pub)]
#[path = "../../fuzz/src/lib.rs"]
mod invariants;

/// Cases of one property; each is about a second without optimisation.
const CASES: u32 = 3000;

/// Tries a property on texts of these words: the same ones in every run.
fn check(words: &'static [&'static [u8]], cases: u32, holds: fn(&[u8])) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let result = TestRunner::new_with_rng(config, rng).run(&texts(words), |text| {
        holds(&text);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// A byte that chooses, then words and now and then anything.
fn texts(words: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        24 => prop::sample::select(words).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..4),
        1 => prop::sample::select(&[0x00, b'\n', b'\r', b' ', b':', b',', 0x7f, 0xff][..])
            .prop_map(|byte| vec![byte]),
    ];
    (any::<u8>(), prop::collection::vec(piece, 0..24))
        .prop_map(|(first, pieces)| [vec![first], pieces.concat()].concat())
}

/// The property of a text, without the byte that chooses.
fn of_text(input: &[u8], holds: fn(&str)) {
    holds(&String::from_utf8_lossy(input.get(1..).unwrap_or_default()));
}

#[test]
fn any_sites_yaml_is_judged() {
    const WORDS: &[&[u8]] = &[
        b"sites:",
        b"\n",
        b"\n  ",
        b"\n    ",
        b"\n- ",
        b"a.test",
        b"\"*.test\"",
        b": ",
        b"3000",
        b"[",
        b"]",
        b"{ ",
        b" }",
        b", ",
        b"upstream",
        b"endpoints",
        b"redirect",
        b"https://b{path}",
        b"routes",
        b"strip_prefix",
        b"/a",
        b"/b/",
        b"/%2e%2e",
        b"listen",
        b"https",
        b"http",
        b"off",
        b"proxy_protocol_from",
        b"trusted_proxies",
        b"10.0.0.0/8",
        b"certificates",
        b"directory",
        b"fallback",
        b"defaults",
        b"hsts",
        b"max_age",
        b"30s",
        b"10MiB",
        b"${PORT}",
        b"${NO}",
        b"\"",
        b"'",
        b"#",
        b"*",
        b"&a ",
        b"!!x ",
        b"|",
        b">",
        b"? ",
        b"---\n",
        b"\t",
        b"~",
        b"true",
        b"[::1]:80",
        b"unix:/x",
        "\u{feff}".as_bytes(),
        "\u{202e}".as_bytes(),
        "b\u{fc}cher".as_bytes(),
        "\u{1f600}".as_bytes(),
    ];
    check(WORDS, CASES, |input| {
        of_text(input, invariants::config::holds)
    });
}

const NAMES: &[&[u8]] = &[
    b"a",
    b"B",
    b"test",
    b".",
    b".",
    b"*.",
    b"-",
    b"_",
    b"\n",
    b"\n",
    b"\n\n",
    b":",
    b"80",
    b"65536",
    b"[",
    b"]",
    b"[::1]",
    b"::",
    b"ffff",
    b"127.0.0.1",
    b"1.2.3",
    b"@",
    b"/",
    b"%41",
    b"xn--",
    b"xn--bcher-kva",
    "b\u{fc}cher".as_bytes(),
    "\u{3002}".as_bytes(),
    "\u{200d}".as_bytes(),
    "\u{df}".as_bytes(),
    b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    b"localhost",
];

#[test]
fn names_have_one_spelling() {
    check(NAMES, CASES, |input| {
        of_text(input, invariants::names::authority)
    });
}

#[test]
fn a_path_has_one_route() {
    const WORDS: &[&[u8]] = &[
        b"/",
        b"/",
        b"/",
        b"//",
        b".",
        b"..",
        b"/../",
        b"/./",
        b"%2e",
        b"%2E%2e",
        b"%2f",
        b"%2F",
        b"%5c",
        b"%3b",
        b";",
        b";x=y",
        b"..;/",
        b"admin",
        b"%61dmin",
        b"ADMIN",
        b"/admin/x",
        b"x",
        b"/s/",
        b"s",
        b"%73",
        b"@x",
        b"%40x",
        b"a%20b",
        b"a b",
        b"%41",
        b"%",
        b"%2",
        b"%25",
        b"%252f",
        b"*",
        b"{",
        b"~",
        "\u{fc}".as_bytes(),
        b"a.test",
    ];
    check(WORDS, CASES * 4, |input| {
        of_text(input, invariants::paths::route)
    });
}

#[test]
fn names_are_found_as_in_a_list() {
    check(NAMES, CASES, |input| {
        of_text(input, invariants::names::host_map)
    });
}

#[test]
fn a_request_is_the_same_in_pieces_and_is_written_anew() {
    const WORDS: &[&[u8]] = &[
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\n",
        b"Expect: 100-continue\r\n",
        b"Connection: close, ",
        b"Connection: ",
        b"Upgrade",
        b", ",
        b"\r\n",
        b"X-Forwarded-For: 6.6.6.6\r\n",
        b"X_Forwarded_For: 6.6.6.6\r\n",
        b"Forwarded: for=6.6.6.6\r\n",
        b"Via: 1.1 x\r\n",
        b"TE: trailers, gzip\r\n",
        b"Upgrade: websocket\r\n",
        b"Keep-Alive: 5\r\n",
        b"Cookie: a=1\r\n",
        b"Cookie: b=2\r\n",
        b"X-Request-ID: x\r\n",
        b"Proxy-Authorization: x\r\n",
        b"HTTP2-Settings: x\r\n",
        b"X-Forwarded-Host: x\r\n",
        b"x-hop: 1\r\n",
        b"x-hop",
        b"host",
        b"\tx-hop",
        b"X-Real-IP: 1\r\n",
        b"\xff",
        b"Trailer: x\r\n",
        b"authorization: x\r\n",
    ];
    check(WORDS, CASES, |input| {
        let (first, rest) = input.split_first().expect("the byte that chooses");
        let lines = [
            &b"GET /a?b=c HTTP/1.1\r\nHost: a.test\r\n"[..],
            b"POST http://A.test:80?q HTTP/1.1\r\nHost: a.test:80\r\n",
            b"OPTIONS * HTTP/1.0\r\nHost: [::1]\r\n",
        ];
        for line in lines {
            let head = [&[*first], line, rest, b"\r\n\r\n"].concat();
            invariants::request::head(&head);
            invariants::request::scanned(&head);
        }
        invariants::request::scanned(input);
    });
}

#[test]
fn a_client_is_named_by_whom_we_trust() {
    const WORDS: &[&[u8]] = &[
        b"6.6.6.6",
        b"10.0.0.2",
        b"fd00::1",
        b"2001:db8::1",
        b"[",
        b"]",
        b":99",
        b", ",
        b",",
        b" ",
        b"\n",
        b"x-forwarded-for: ",
        b"x-forwarded-proto: https",
        b"x-forwarded-proto: ",
        b"x-forwarded-host: ",
        b"b.test",
        b":444",
        b"unknown",
        b"_hidden",
        b"\"",
        b"\x09",
        b"::ffff:10.0.0.3",
        b"x-forwarded-host: c.test:\n",
    ];
    check(WORDS, CASES, invariants::origin::holds);
}

#[test]
fn a_proxy_header_is_the_same_in_pieces() {
    const WORDS: &[&[u8]] = &[
        b"PROXY ",
        b"TCP4 ",
        b"TCP6 ",
        b"UNKNOWN",
        b"192.0.2.7 ",
        b"::1 ",
        b"443",
        b"0",
        b" ",
        b"\r\n",
        b"\r",
        b"\n",
        b"\r\n\r\n\0\r\nQUIT\n",
        b"\x20",
        b"\x21",
        b"\x11",
        b"\x31",
        b"\0\x0c",
        b"\0\x24",
        b"\x0f\xf0",
        b"\x0f\xf1",
        b"\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07",
    ];
    check(WORDS, CASES, |input| {
        let rest = &input[1..];
        invariants::proxy_protocol::holds(rest);
        for begin in [&b"PROXY "[..], b"\r\n\r\n\0\r\nQUIT\n\x21"] {
            invariants::proxy_protocol::holds(&[begin, rest].concat());
        }
    });
}

#[test]
fn an_answers_head_is_the_same_in_pieces() {
    const WORDS: &[&[u8]] = &[
        b"HTTP/1.1 200 OK",
        b"HTTP/1.0 ",
        b"204",
        b"101 x",
        b"304",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r\n\r\n",
        b"Content-Length: ",
        b"5",
        b"6, 5",
        b"Transfer-Encoding: chunked",
        b"gzip, chunked",
        b"Connection: ",
        b"close",
        b"keep-alive",
        b", x-hop",
        b"x-hop: 1",
        b"Keep-Alive: timeout=5",
        b"Upgrade: h2c",
        b" folded",
        b": ",
        b"x: y",
        b"\0",
        b"\xff",
    ];
    check(WORDS, CASES, |input| {
        let (first, rest) = input.split_first().expect("the byte that chooses");
        let begun = [
            &[*first],
            &b"HTTP/1.1 200 OK\r\n"[..],
            rest,
            b"\r\n\r\nbody",
        ]
        .concat();
        invariants::answer::head(&begun);
        invariants::answer::head(input);
    });
}

#[test]
fn a_chunked_body_is_the_same_in_pieces() {
    const WORDS: &[&[u8]] = &[
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\n",
        b"\r\n",
        b"1",
        b"a",
        b"F",
        b";ext=1",
        b";",
        b"\"",
        b"X-Sum: 1\r\n",
        b"Content-Length: 5\r\n",
        b"\n",
        b"\r",
        b" ",
        b"2\r\nab",
        b"0x5\r\n",
        b"ffffffffffffffff\r\n",
        b"fffffffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\n",
    ];
    check(WORDS, CASES, invariants::answer::chunks);
}
