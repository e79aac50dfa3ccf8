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
    check("db.internal:8080", "db.internal:8080");
    check("DB.Internal.:8080", "db.internal:8080");
    check("http://db.internal:80", "db.internal:80");
    check("db:5432", "db:5432");
    check("my_app:80", "my_app:80");
    check("localhost.:8080", "localhost:8080");
    check("https://api.example.com", "https://api.example.com:443");
    check("https://api:8443", "https://api:8443");
    check("https://my_app:8443", "https://my_app:8443");
    check(
        "h2c://bücher.internal:80",
        "h2c://xn--bcher-kva.internal:80",
    );
    check(
        "srv+http://_web._tcp.internal",
        "srv+http://_web._tcp.internal",
    );
    check(
        "srv+https://Web.Service.Consul",
        "srv+https://web.service.consul",
    );
    check(
        "srv+h2c://_grpc._tcp.internal",
        "srv+h2c://_grpc._tcp.internal",
    );
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
    check(
        "db.internal",
        "`db.internal` has no port / expected `:` and a port / write `db.internal:8080`",
    );
    check("http://db.internal", "write `db.internal:8080`");
    check("h2c://db.internal", "write `h2c://db.internal:8080`");
    check("db.internal 8080", "write `db.internal:8080`");
    check("db.internal:80/x", "write `db.internal:80`");
    check("https://db.internal/x", "write `https://db.internal`");
    check("db.internal:8O80", "did you mean `8080`?");
    check("1O.0.0.7:80", "did you mean `10.0.0.7:80`?");
    check("https://8O43", "did you mean `8043`?");
    check("http:8080", "write `http://8080`");
    check("*.internal:80", "'*' cannot stand in a host name");
    check("a..b:80", "a label of a host name");
    check("https://-.internal", "no certificate can be for");
    check(
        "_web._tcp.internal",
        "write `srv+http://_web._tcp.internal`",
    );
    check(
        "srv://_web._tcp.internal",
        "write `srv+http://_web._tcp.internal`",
    );
    check(
        "srv+http://_web._tcp.internal:80",
        "write `srv+http://_web._tcp.internal`",
    );
    check(
        "srv+h2c://a.internal/x",
        "a name without a path / write `srv+h2c://a.internal`",
    );
    check("srv+http://10.0.0.7", "an address has no SRV records");
    check(
        "srv+http://",
        "does not name a service / a host name is empty",
    );
    check(
        "srv+https://_web._tcp",
        "no certificate can be for `_web._tcp`",
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
