//! `sites.yaml` as users write it: broken files with exactly what is printed,
//! and valid ones with what they mean.
//!
//! Beside each `faults/NAME.yaml` stands `NAME.txt`; `UPDATE=1` rewrites it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hostmux::config::{
    CertificateFiles, Checked, Config, HostHeader, Hsts, ListenAddress, LogFormat, Otherwise,
    PlainHttp, RouteConfig, SiteConfig, Target,
};
use hostmux::diagnostic::{Colour, Severity};
use hostmux::upstream::balance::Balance;
use hostmux::upstream::eject::Eject;
use hostmux::upstream::health::HealthCheck;
use hostmux::upstream::protocol::EndpointName;
use hostmux::upstream::{Address, ConnectTimeout, ProtocolSettings, Settings, TlsSettings};

/// The least number of broken files; fewer means that the folder was not found.
const FILES_MIN: usize = 70;
const SOURCE: &str = env!("CARGO_MANIFEST_DIR");

fn env(name: &str) -> Option<String> {
    (name == "PORT").then(|| "8080".to_owned())
}

fn check(text: &str) -> Checked {
    hostmux::config::check(text, &env)
}

fn drawn(text: &str) -> String {
    check(text).render("sites.yaml", text, Colour::Plain, 100)
}

#[track_caller]
fn valid(text: &str) -> Config {
    let checked = check(text);
    let drawn = checked.render("sites.yaml", text, Colour::Plain, 100);
    assert_eq!(drawn, "", "of {text}");
    checked.config.unwrap()
}

#[track_caller]
fn only_site(text: &str) -> SiteConfig {
    let mut sites = valid(text).sites;
    assert_eq!(sites.len(), 1);
    sites.pop().unwrap()
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(SOURCE).join("tests/it/faults");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    files
}

#[test]
fn every_broken_file_is_told_as_expected() {
    let files = files();
    assert!(files.len() >= FILES_MIN, "{}", files.len());
    let mut different = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let got = drawn(&text);
        assert_ne!(got, "", "{} is valid", file.display());
        let expected = file.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&expected, &got).unwrap();
        }
        let want = std::fs::read_to_string(&expected).unwrap_or_default();
        if got != want {
            different.push(format!(
                "== {}\n-- expected\n{want}\n-- got\n{got}",
                file.display()
            ));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn the_commented_reference_is_valid() {
    let text = std::fs::read_to_string(Path::new(SOURCE).join("sites.yaml")).unwrap();
    let config = valid(&text);
    assert!(config.fallback.is_some());
    assert!(config.sites.len() > 5);
}

#[test]
fn the_defaults_are_as_documented() {
    let config = valid("sites: { app.localhost: 3000 }\n");
    assert_eq!(config.listen.https, [ListenAddress::Port(443)]);
    assert_eq!(config.listen.http, [ListenAddress::Port(80)]);
    assert_eq!(config.listen.proxy_protocol_from, []);
    assert_eq!(config.certificates.directory, Path::new("certs"));
    assert_eq!(config.certificates.otherwise, Otherwise::LocalCa);
    assert_eq!(config.trusted_proxies, []);
    assert_eq!(config.log.format, None);
    assert!(config.log.requests);
    assert_eq!(config.fallback, None);
    let site = &config.sites[0];
    assert_eq!((site.name.as_str(), site.line), ("app.localhost", 1));
    assert_eq!(
        site.hosts
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["app.localhost"]
    );
    assert_eq!(site.routes[0].host, HostHeader::Preserve);
    assert_eq!(site.routes[0].plain_http, PlainHttp::Redirect);
    assert_eq!(
        (
            site.routes[0].hsts,
            site.routes[0].max_body,
            &site.certificate
        ),
        (None, None, &None)
    );
    let Target::Upstream(upstream) = &site.routes[0].target else {
        panic!("{site:?}");
    };
    assert_eq!(upstream.endpoints, [Address::Port(3000).into()]);
    assert_eq!(upstream.connect_timeout, ConnectTimeout::ByDistance);
    assert_eq!(upstream.response_timeout, Duration::from_secs(300));
    assert_eq!(upstream.wait_for_endpoint, Duration::from_secs(5));
    assert_eq!(upstream.balance, Balance::RoundRobin);
    assert_eq!(upstream.eject, Some(Eject::default()));
    let off = (upstream.sticky, upstream.max_connections);
    assert_eq!((off, &upstream.health_check), ((false, None), &None));
}

#[test]
fn every_spelling_of_an_endpoint() {
    let check = |written: &str, want: &[&str]| {
        for text in [
            format!("sites:\n  a.test: {written}\n"),
            format!("sites:\n  a.test:\n    upstream: {written}\n"),
            format!("sites:\n  a.test:\n    upstream:\n      endpoints: {written}\n"),
            format!("sites: {{}}\nfallback: {written}\n"),
        ] {
            let config = valid(&text);
            let site = config.sites.first().or(config.fallback.as_ref()).unwrap();
            let Target::Upstream(upstream) = &site.routes[0].target else {
                panic!("{site:?}");
            };
            let got: Vec<String> = upstream.endpoints.iter().map(ToString::to_string).collect();
            assert_eq!(got, want, "{text}");
        }
    };
    check("8080", &["localhost:8080"]);
    check("\"8080\"", &["localhost:8080"]);
    check("0x1F90", &["localhost:8080"]); // YAML's own way to write 8080
    check("${PORT}", &["localhost:8080"]);
    check("localhost:8080", &["localhost:8080"]);
    check("http://localhost:8080", &["localhost:8080"]);
    check("127.0.0.1:8080", &["127.0.0.1:8080"]);
    check("http://10.0.0.7:8080", &["10.0.0.7:8080"]);
    check("\"[::1]:8080\"", &["[::1]:8080"]);
    check("unix:/run/app.sock", &["unix:/run/app.sock"]);
    check("h2c://9000", &["h2c://localhost:9000"]);
    check("https://10.0.0.7:8443", &["https://10.0.0.7:8443"]);
    check(
        "[8080, { address: https://8443, tls: { name: a.test } }]",
        &["localhost:8080", "https://localhost:8443"],
    );
    check("[8080]", &["localhost:8080"]);
    check("[8080, 8081]", &["localhost:8080", "localhost:8081"]);
    check(
        "[8080, { address: 127.0.0.1:81 }]",
        &["localhost:8080", "127.0.0.1:81"],
    );
}

#[test]
fn tls_of_an_upstream_is_that_of_its_endpoints_unless_they_have_their_own() {
    let text = "sites:
  a.test:
    upstream:
      endpoints: [https://1, { address: https://2, tls: { name: b.test } }, 3]
      tls: { ca: own.pem, name: a.test }
";
    let config = valid(text);
    let Target::Upstream(upstream) = &config.sites[0].routes[0].target else {
        panic!("{config:?}");
    };
    let tls = |ca: Option<&str>, name: &str| {
        ProtocolSettings::Tls(TlsSettings {
            ca: ca.map(Into::into),
            name: EndpointName::parse(name),
        })
    };
    let got: Vec<_> = upstream
        .endpoints
        .iter()
        .map(|endpoint| endpoint.protocol.clone())
        .collect();
    let want = [
        tls(Some("own.pem"), "a.test"),
        tls(None, "b.test"),
        ProtocolSettings::Http1,
    ];
    assert_eq!(got, want);
    let read: Vec<_> = config
        .authorities
        .iter()
        .map(|authority| (authority.at.to_string(), authority.ca.clone()))
        .collect();
    let want = [
        (
            "sites.a.test.upstream.tls.ca".to_owned(),
            Some("own.pem".into()),
        ),
        (
            "sites.a.test.upstream.endpoints[1].address".to_owned(),
            None,
        ),
    ];
    assert_eq!(read, want);
}

#[track_caller]
fn upstream_of(site: &SiteConfig) -> &Settings {
    let Target::Upstream(upstream) = &site.routes[0].target else {
        panic!("{site:?}");
    };
    upstream
}

#[track_caller]
fn upstream_with(keys: &str) -> Settings {
    let text = format!("sites: {{ a.test: {{ upstream: {{ endpoints: [1, 2], {keys} }} }} }}\n");
    upstream_of(&only_site(&text)).clone()
}

#[test]
fn how_endpoints_share_requests() {
    for (word, want) in [
        ("round_robin", Balance::RoundRobin),
        ("random", Balance::Random),
        ("least_requests", Balance::LeastRequests),
        ("two_choices", Balance::TwoChoices),
        ("client_hash", Balance::ClientHash),
    ] {
        assert_eq!(upstream_with(&format!("balance: {word}")).balance, want);
    }
    assert!(upstream_with("sticky: cookie").sticky);
    assert!(!upstream_with("sticky: off").sticky && !upstream_with("sticky: false").sticky);
    assert_eq!(upstream_with("max_connections: 7").max_connections, Some(7));
    assert_eq!(upstream_with("max_connections: off").max_connections, None);
    let site = only_site(
        "sites: { a.test: [1, { address: 2, weight: 256 }, { address: 3, weight: 0, backup: on }] }",
    );
    let endpoints = upstream_of(&site).endpoints.iter();
    let got: Vec<_> = endpoints
        .map(|endpoint| (endpoint.weight, endpoint.backup))
        .collect();
    assert_eq!(got, [(1, false), (256, false), (0, true)]);
}

#[test]
fn when_an_endpoint_is_left_alone() {
    let check = |written: &str, want: Option<(u32, u64)>| {
        let got = upstream_with(&format!("eject: {written}")).eject;
        let got = got.map(|eject| (eject.after, eject.first.as_secs()));
        assert_eq!(got, want, "{written}");
    };
    check("on", Some((5, 10)));
    check("off", None);
    check("false", None);
    check("{}", Some((5, 10)));
    check("{ after: 1 }", Some((1, 10)));
    check("{ after: 3, for: 1h }", Some((3, 3600)));
}

#[test]
fn how_endpoints_are_asked_if_they_are_well() {
    let path = |path: &str| HealthCheck {
        path: Some(path.to_owned()),
        host: Some("a.test".to_owned()),
        every: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        status: 200..=399,
        down_after: 3,
        up_after: 2,
    };
    let tcp = HealthCheck {
        path: None,
        host: None,
        ..path("/")
    };
    let check = |written: &str, want: Option<HealthCheck>| {
        let got = upstream_with(&format!("health_check: {written}")).health_check;
        assert_eq!(got, want, "{written}");
    };
    check("off", None);
    check("tcp", Some(tcp.clone()));
    check("{}", Some(tcp));
    check("/healthz", Some(path("/healthz")));
    check("{ path: /healthz }", Some(path("/healthz")));
    let quick = HealthCheck {
        every: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        ..path("/")
    };
    check("{ path: /, every: 1s }", Some(quick));
    let all = HealthCheck {
        host: Some("b.test:81".to_owned()),
        every: Duration::from_secs(60),
        timeout: Duration::from_secs(60),
        status: 204..=204,
        down_after: 1,
        up_after: 9,
        ..path("/a?b=c")
    };
    check(
        "{ path: /a?b=c, host: \"b.test:81\", every: 1m, timeout: 60s, status: 204, down_after: 1, up_after: 9 }",
        Some(all),
    );
}

#[test]
fn a_health_check_asks_for_the_host_that_clients_do() {
    let check = |text: &str, want: Option<&str>| {
        let config = valid(text);
        let site = config.sites.first().or(config.fallback.as_ref()).unwrap();
        let check = upstream_of(site).health_check.as_ref().unwrap();
        assert_eq!(check.host.as_deref(), want, "{text}");
    };
    let of = |site: &str, more: &str| {
        format!("{site}: {{ upstream: {{ endpoints: 1, health_check: {{ path: / }} }}{more} }}")
    };
    let sites = |site: &str, more: &str| format!("sites: {{ {} }}\n", of(site, more));
    check(&sites("Bücher.test", ""), Some("xn--bcher-kva.test"));
    check(&sites("a.test", ", host: preserve"), Some("a.test"));
    check(&sites("a.test", ", host: endpoint"), None);
    check(&sites("a.test", ", host: b.test:1"), Some("b.test:1"));
    check(&sites("\"*.a.test\"", ""), None);
    check(&sites("\"*.a.test\"", ", host: b.test"), Some("b.test"));
    check(&of("fallback", ""), None);
    let defaults = format!("defaults: {{ host: endpoint }}\n{}", sites("a.test", ""));
    check(&defaults, None);
}

#[test]
fn a_site_in_long() {
    let site = only_site(
        "sites:
  \"*.Bücher.example\":
    upstream:
      endpoints:
        - 3000
        - unix:/run/app.sock
      wait_for_endpoint: 0s
      connect_timeout: 250ms
      response_timeout: 1h
    host: endpoint
    plain_http: serve
    hsts: { max_age: 30d, include_subdomains: true, preload: off }
    certificate: { chain: certs/app.pem, key: /etc/app.key }
    max_body: 10MiB
",
    );
    assert_eq!(site.name, "*.Bücher.example");
    assert_eq!(site.hosts[0].to_string(), "*.xn--bcher-kva.example");
    assert_eq!(site.line, 2);
    let Target::Upstream(upstream) = &site.routes[0].target else {
        panic!("{site:?}");
    };
    assert_eq!(
        upstream.endpoints,
        [
            Address::Port(3000).into(),
            Address::Unix("/run/app.sock".into()).into()
        ]
    );
    assert_eq!(upstream.wait_for_endpoint, Duration::ZERO);
    assert_eq!(
        upstream.connect_timeout,
        ConnectTimeout::Of(Duration::from_millis(250))
    );
    assert_eq!(upstream.response_timeout, Duration::from_secs(3_600));
    assert_eq!(site.routes[0].host, HostHeader::Endpoint);
    assert_eq!(site.routes[0].plain_http, PlainHttp::Serve);
    let hsts = Hsts {
        max_age: Duration::from_secs(30 * 86_400),
        include_subdomains: true,
        preload: false,
    };
    assert_eq!(site.routes[0].hsts, Some(hsts));
    let files = CertificateFiles {
        chain: "certs/app.pem".into(),
        key: "/etc/app.key".into(),
    };
    assert_eq!(site.certificate, Some(files));
    assert_eq!(site.routes[0].max_body, Some(10 << 20));
}

#[test]
fn a_site_overrides_the_defaults() {
    let config = valid(
        "defaults: { host: endpoint, plain_http: refuse, hsts: on, max_body: 1GiB }
sites:
  a.test: 3000
  b.test: { upstream: 3001, host: preserve, plain_http: serve, hsts: off, max_body: off }
fallback: { redirect: \"https://a.test{path}\" }
",
    );
    let got = |site: &SiteConfig| {
        (
            site.routes[0].host.clone(),
            site.routes[0].plain_http,
            site.routes[0].hsts.map(|h| h.max_age),
            site.routes[0].max_body,
        )
    };
    let year = Duration::from_secs(365 * 86_400);
    assert_eq!(
        got(&config.sites[0]),
        (
            HostHeader::Endpoint,
            PlainHttp::Refuse,
            Some(year),
            Some(1 << 30)
        )
    );
    assert_eq!(
        got(&config.sites[1]),
        (HostHeader::Preserve, PlainHttp::Serve, None, None)
    );
    let fallback = config.fallback.unwrap();
    assert_eq!(
        (fallback.name.as_str(), fallback.hosts.len()),
        ("fallback", 0)
    );
    assert_eq!(fallback.routes[0].plain_http, PlainHttp::Refuse);
    let Target::Redirect(redirect) = fallback.routes[0].target.clone() else {
        panic!("{:?}", fallback.routes[0].target);
    };
    assert_eq!(redirect.template, "https://a.test{path}");
}

#[test]
fn a_route_says_what_differs_from_its_site() {
    let site = only_site(
        "defaults: { max_body: 1GiB }
sites:
  a.test:
    upstream: 3000
    host: endpoint
    routes:
      /api/: [3001, 3002]
      /api/v2: { upstream: 3003, strip_prefix: on, host: b.test, max_body: off }
      /%7B: { plain_http: serve }
      /old: { redirect: \"https://a.test/new\" }
",
    );
    let seen = |route: &RouteConfig| {
        let leads_to = match &route.target {
            Target::Upstream(upstream) => upstream.endpoints.len().to_string(),
            Target::Inherited => "inherited".to_owned(),
            Target::Redirect(redirect) => redirect.template.clone(),
        };
        let strips = if route.strip_prefix { " stripped" } else { "" };
        let (prefix, line) = (&route.prefix, route.line);
        let (host, plain_http, max_body) = (&route.host, route.plain_http, route.max_body);
        format!("{prefix} {line} {leads_to}{strips} {host:?} {plain_http:?} {max_body:?}")
    };
    let got: Vec<String> = site.routes.iter().map(seen).collect();
    let want = [
        "/api/v2 8 1 stripped Name(\"b.test\") Redirect None",
        "/%7B 9 inherited Endpoint Serve Some(1073741824)",
        "/api 7 2 Endpoint Redirect Some(1073741824)",
        "/old 10 https://a.test/new Endpoint Redirect Some(1073741824)",
        "/ 3 1 Endpoint Redirect Some(1073741824)",
    ];
    assert_eq!(got, want);
}

#[test]
fn a_site_may_have_routes_alone() {
    let prefixes = |site: &SiteConfig| -> Vec<String> {
        let routes = site.routes.iter();
        routes.map(|route| route.prefix.to_string()).collect()
    };
    let config = valid(
        "sites:
  a.test: { routes: { /a: 3000 } }
  b.test: { routes: { /: 3000, /b: { hsts: on } } }
fallback: { routes: { /c: { upstream: 3000, strip_prefix: on } } }
",
    );
    assert_eq!(prefixes(&config.sites[0]), ["/a"]);
    assert_eq!(prefixes(&config.sites[1]), ["/b", "/"]);
    assert_eq!(config.sites[1].routes[0].target, Target::Inherited);
    assert_eq!(prefixes(&config.fallback.unwrap()), ["/c"]);
}

#[test]
fn on_and_off_in_every_spelling() {
    for on in ["on", "true", "On", "TRUE", "\"on\""] {
        let text = format!(
            "sites: {{ a.test: {{ upstream: 1, hsts: {on} }} }}\nlog: {{ requests: {on} }}\n"
        );
        let config = valid(&text);
        assert!(
            config.log.requests && config.sites[0].routes[0].hsts.is_some(),
            "{on}"
        );
    }
    for off in ["off", "false", "Off", "FALSE", "\"off\""] {
        let text = format!(
            "sites: {{ a.test: {{ upstream: 1, hsts: {off}, max_body: {off} }} }}\nlog: {{ requests: {off} }}\nlisten: {{ http: {off} }}\n"
        );
        let config = valid(&text);
        assert!(
            !config.log.requests && config.sites[0].routes[0].hsts.is_none(),
            "{off}"
        );
        assert_eq!(config.listen.http, [], "{off}");
    }
}

#[test]
fn the_rest_of_the_keys() {
    let config = valid(
        "listen: { https: [8443, \"127.0.0.1:9443\", \"[::1]:9443\"], http: \"127.0.0.1:0\", proxy_protocol_from: [10.0.0.1, \"fd00::/8\"] }
certificates: { directory: /etc/certs, otherwise: refuse }
trusted_proxies: [10.0.0.0/8, 192.168.1.7, \"fd00::/8\", \"::1\"]
log: { format: combined, requests: off }
sites: {}
fallback: { upstream: 1, host: app.internal:8080, hsts: 1d }
",
    );
    let shown = |addresses: &[ListenAddress]| {
        addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        shown(&config.listen.https),
        ["port 8443", "127.0.0.1:9443", "[::1]:9443"]
    );
    assert_eq!(shown(&config.listen.http), ["127.0.0.1:0"]);
    let before_us: Vec<String> = config
        .listen
        .proxy_protocol_from
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(before_us, ["10.0.0.1/32", "fd00::/8"]);
    assert_eq!(config.certificates.directory, Path::new("/etc/certs"));
    assert_eq!(config.certificates.otherwise, Otherwise::Refuse);
    let networks: Vec<String> = config
        .trusted_proxies
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        networks,
        ["10.0.0.0/8", "192.168.1.7/32", "fd00::/8", "::1/128"]
    );
    assert_eq!(config.log.format, Some(LogFormat::Combined));
    assert!(!config.log.requests);
    let fallback = config.fallback.unwrap();
    assert_eq!(
        fallback.routes[0].host,
        HostHeader::Name("app.internal:8080".to_owned())
    );
    assert_eq!(
        fallback.routes[0].hsts.unwrap().max_age,
        Duration::from_secs(86_400)
    );
}

#[test]
fn line_ends_and_a_byte_order_mark_change_nothing() {
    let text = "sites:\n  a.test: 3000\n  b.test:\n    upstream: 3001\n";
    let want = valid(text);
    assert_eq!(valid(&text.replace('\n', "\r\n")), want);
    assert_eq!(valid(&format!("\u{feff}{text}")), want);
    assert_eq!(valid(&format!("---\n{text}...\n")).sites.len(), 2);
}

#[test]
fn a_warning_does_not_stop_hostmux() {
    let checked = check("sites: { a.test: [3000, 3000], b.test: 443 }\n");
    assert!(checked.config.is_some());
    assert_eq!(checked.errors(), 0);
    assert!(
        checked
            .found
            .iter()
            .all(|fault| fault.severity == Severity::Warning)
    );
    assert_eq!(checked.found.len(), 2);
}

/// A fault among 10,000 sites is found at its place. (How fast, `time hostmux check` tells.)
#[test]
fn one_broken_line_among_ten_thousand() {
    let line = |n: usize| match n {
        7_777 => format!("  s{n}.example.com: 8O80\n"),
        n if n % 3 == 0 => format!("  s{n}.example.com: {{ upstream: [3000, 3001], hsts: on }}\n"),
        n => format!("  s{n}.example.com: 3000\n"),
    };
    let text: String = std::iter::once("sites:\n".to_owned())
        .chain((0..10_000).map(line))
        .collect();
    let got = drawn(&text);
    let want = "error: `8O80` is not a port
    --> sites.yaml:7779:22
     |
7779 |   s7777.example.com: 8O80
     |                      ^^^^ the letter `O` is not the digit `0`
     = help: did you mean `8080`?
";
    assert_eq!(got, want);
}

/// A small generator of numbers, the same in every run (Steele's SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}

/// Every place that is told stands in the text, and what is served has no fault.
#[track_caller]
fn holds_together(text: &str) {
    let checked = check(text);
    match &checked.config {
        None => assert_ne!(checked.errors(), 0, "{text:?}"),
        Some(config) => {
            let degraded = !config.broken.is_empty();
            assert_eq!(checked.errors() > 0, degraded, "{text:?}");
            assert!(config.fallback.is_some() || !degraded || !config.sites.is_empty());
            for broken in &config.broken {
                assert!(
                    broken.line > 0 && !broken.message.is_empty(),
                    "{broken:?} of {text:?}"
                );
                let served = config.sites.iter().chain(&config.fallback);
                assert!(
                    served.into_iter().all(|site| site.name != broken.name),
                    "{broken:?} of {text:?}"
                );
            }
        }
    }
    let lines = hostmux::diagnostic::lines(text);
    for fault in &checked.found {
        if let Some(span) = checked.places.span(&fault.place) {
            let line = lines.get(span.line - 1).copied().unwrap_or_default();
            let inside = span.line <= lines.len().max(1) && span.column <= line.chars().count() + 1;
            assert!(inside, "{fault:?} of {text:?}");
        }
    }
    checked.render("sites.yaml", text, Colour::Ansi, 100);
}

fn sample() -> String {
    std::fs::read_to_string(Path::new(SOURCE).join("sites.yaml")).unwrap()
}

#[test]
fn no_prefix_of_a_file_is_too_much() {
    let text = sample();
    for (end, _) in text.char_indices() {
        holds_together(&text[..end]);
    }
}

#[test]
fn no_change_to_a_file_is_too_much() {
    const ROUNDS: usize = 3_000;
    const ODD: &[&str] = &[
        "\t",
        " ",
        "\n",
        "  ",
        ":",
        ": ",
        "- ",
        "*",
        "&a ",
        "!!t ",
        "\"",
        "'",
        "[",
        "]",
        "{",
        "}",
        ",",
        "#",
        "|",
        ">",
        "?",
        "? ",
        "%",
        "@",
        "`",
        "\\",
        "\r",
        "\u{feff}",
        "\u{a0}",
        "\u{1f600}",
        "\0",
        "---\n",
        "...\n",
        "<<: ",
        "~",
        "${",
        "${X}",
        "0",
        "99999",
        "日本",
    ];
    let whole = sample();
    let lines: Vec<&str> = whole
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect();
    let mut numbers = Numbers(2);
    for _ in 0..ROUNDS {
        // A part of the file, so that many rounds are quick.
        let start = numbers.below(lines.len());
        let end = (start + 1 + numbers.below(12)).min(lines.len());
        let mut text: Vec<char> = lines[start..end].join("\n").chars().collect();
        for _ in 0..=numbers.below(4) {
            let at = numbers.below(text.len() + 1);
            match numbers.below(3) {
                0 if at < text.len() => {
                    text.remove(at);
                }
                1 if at < text.len() => text[at] = char::from(numbers.below(128) as u8),
                _ => {
                    text.splice(at..at, ODD[numbers.below(ODD.len())].chars());
                }
            }
        }
        holds_together(&text.into_iter().collect::<String>());
    }
}

#[test]
fn broken_files_cut_short_are_still_told() {
    for file in files() {
        let text = std::fs::read_to_string(&file).unwrap();
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).take(400).collect();
        for end in ends {
            holds_together(&text[..end]);
        }
    }
}
