//! What other proxies call our keys and values, so that a fault can name ours.

/// What other proxies call our keys.
pub(super) const KEYS: &[(&str, &[&str])] = &[
    (
        "upstream",
        &[
            "backend",
            "backends",
            "port",
            "ports",
            "proxy",
            "proxy_pass",
            "reverse_proxy",
            "server",
            "service",
            "target",
            "to",
            "url",
        ],
    ),
    (
        "endpoints",
        &["addresses", "backends", "ports", "servers", "targets"],
    ),
    (
        "sites",
        &[
            "domains",
            "hosts",
            "servers",
            "services",
            "virtual_hosts",
            "vhosts",
        ],
    ),
    (
        "fallback",
        &["catch_all", "default", "default_server", "default_site"],
    ),
    ("certificate", &["cert", "ssl", "ssl_certificate"]),
    (
        "routes",
        &["handle", "location", "locations", "paths", "prefixes"],
    ),
    (
        "strip_prefix",
        &[
            "handle_path",
            "strip_path",
            "stripprefix",
            "uri_strip_prefix",
        ],
    ),
    (
        "chain",
        &["cert", "certificate", "crt", "file", "fullchain"],
    ),
    ("key", &["private_key"]),
    (
        "ca",
        &[
            "ca_cert",
            "ca_file",
            "cacert",
            "cafile",
            "cert",
            "certificate",
            "root_ca",
            "roots",
            "ssl_trusted_certificate",
            "trusted_ca",
        ],
    ),
    (
        "name",
        &["host", "proxy_ssl_name", "server_name", "servername", "sni"],
    ),
    ("directory", &["dir", "folder", "path"]),
    ("https", &["port", "ssl", "tls"]),
    ("proxy_protocol_from", &["accept_proxy", "proxy_protocol"]),
    (
        "response_timeout",
        &["proxy_read_timeout", "read_timeout", "timeout"],
    ),
    (
        "max_body",
        &["body_limit", "client_max_body_size", "max_body_size"],
    ),
    ("plain_http", &["force_https", "http", "https_redirect"]),
    ("max_age", &["age", "for"]),
    (
        "balance",
        &[
            "algorithm",
            "balancing",
            "ip_hash",
            "lb",
            "lb_method",
            "lb_policy",
            "least_conn",
            "leastconn",
            "load_balance",
            "load_balancer",
            "load_balancing",
            "method",
            "policy",
            "random",
            "roundrobin",
            "strategy",
        ],
    ),
    (
        "sticky",
        &[
            "affinity",
            "cookie",
            "persistence",
            "session_affinity",
            "session_persistence",
            "stickiness",
            "sticky_session",
            "sticky_sessions",
        ],
    ),
    (
        "health_check",
        &[
            "active_health_check",
            "active_health_checks",
            "check",
            "health",
            "health_interval",
            "health_path",
            "health_uri",
            "healthz",
            "httpchk",
            "interval",
            "liveness",
            "probe",
        ],
    ),
    (
        "eject",
        &[
            "circuit_breaker",
            "ejection",
            "fail_duration",
            "fail_timeout",
            "max_fails",
            "outlier_detection",
            "passive_health_check",
            "passive_health_checks",
        ],
    ),
    (
        "max_connections",
        &[
            "concurrency",
            "connections",
            "limit",
            "max_conn",
            "max_conns",
            "max_in_flight",
            "max_requests",
            "maxconn",
        ],
    ),
    (
        "wait_for_endpoint",
        &["lb_try_duration", "queue_timeout", "try_duration"],
    ),
    ("weight", &["share"]),
    ("backup", &["reserve", "spare", "standby"]),
    (
        "path",
        &["endpoint", "health_path", "health_uri", "uri", "url"],
    ),
    (
        "host",
        &["headers", "health_headers", "hostname", "server_name"],
    ),
    (
        "every",
        &["freq", "health_interval", "inter", "interval", "period"],
    ),
    ("timeout", &["health_timeout"]),
    (
        "status",
        &[
            "code",
            "codes",
            "expect",
            "expect_status",
            "expected_status",
            "health_status",
            "status_code",
            "statuses",
        ],
    ),
    (
        "down_after",
        &[
            "fail",
            "failure_threshold",
            "failures",
            "fails",
            "fall",
            "health_fails",
            "max_fails",
            "retries",
            "unhealthy_threshold",
        ],
    ),
    (
        "up_after",
        &[
            "health_passes",
            "healthy_threshold",
            "passes",
            "rise",
            "success_threshold",
            "successes",
        ],
    ),
    (
        "after",
        &[
            "consecutive_5xx",
            "failures",
            "fails",
            "max_fails",
            "threshold",
        ],
    ),
    (
        "for",
        &[
            "base_ejection_time",
            "duration",
            "fail_duration",
            "fail_timeout",
            "time",
            "timeout",
        ],
    ),
    (
        "address",
        &[
            "endpoint", "host", "port", "server", "target", "upstream", "url",
        ],
    ),
];

/// What other proxies call our values, and what people take for them.
pub(super) const VALUES: &[(&str, &[&str])] = &[
    ("round_robin", &["rr", "turns", "weighted", "wrr"]),
    (
        "least_requests",
        &[
            "fewest",
            "least",
            "least_conn",
            "least_connections",
            "least_time",
            "lc",
            "leastconn",
            "wlc",
        ],
    ),
    (
        "two_choices",
        &[
            "p2c",
            "power_of_two",
            "power_of_two_choices",
            "random_choose",
            "random_two",
        ],
    ),
    (
        "client_hash",
        &[
            "client_ip_hash",
            "consistent_hash",
            "hash",
            "ip_hash",
            "iphash",
            "maglev",
            "ring_hash",
            "source",
            "source_hash",
            "source_ip",
        ],
    ),
    ("cookie", &["cookies", "on", "session", "true", "yes"]),
];

/// Ours for a word of theirs, if it is among these.
pub(super) fn translate<'a>(
    word: &str,
    known: &[&'a str],
    words: &[(&str, &[&str])],
) -> Option<&'a str> {
    let word = word.trim().to_lowercase().replace(['-', ' '], "_");
    let ours = |name: &str| {
        words
            .iter()
            .any(|(ours, theirs)| *ours == name && theirs.contains(&word.as_str()))
    };
    known.iter().copied().find(|name| ours(name))
}
