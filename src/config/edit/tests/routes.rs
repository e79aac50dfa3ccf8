//! Endpoints of a route.

use super::{add, force, remove};

#[test]
fn a_route_gets_one_more() {
    let check = |routes: &str, want: &str| {
        add(
            &format!(
                "sites:\n  a.com:\n    upstream: 1 # root\n    routes:{routes}\n    hsts: on\n"
            ),
            "a.com/serviceone/v1",
            &["9093"],
            &format!("sites:\n  a.com:\n    upstream: 1 # root\n    routes:{want}\n    hsts: on\n"),
        );
    };
    check(
        " # two\n      /serviceone/v1: { upstream: [9091, 9092], strip_prefix: true } # one\n      /serviceone: 1",
        " # two\n      /serviceone/v1: { upstream: [9091, 9092, 9093], strip_prefix: true } # one\n      /serviceone: 1",
    );
    check(
        "\n      /serviceone/v1: 9091 # one",
        "\n      /serviceone/v1: [9091, 9093] # one",
    );
    check(
        "\n      /serviceone/v1/:\n      - 9091",
        "\n      /serviceone/v1/:\n      - 9091\n      - 9093",
    );
    check(
        "\n      \"/serviceone/v1\":\n        upstream:\n          endpoints: 9091",
        "\n      \"/serviceone/v1\":\n        upstream:\n          endpoints: [9091, 9093]",
    );
    check(
        " { /serviceone/v1: 9091 }",
        " { /serviceone/v1: [9091, 9093] }",
    );
    // A route that inherits its endpoints gets its own.
    check(
        "\n      /serviceone/v1:\n        strip_prefix: true",
        "\n      /serviceone/v1:\n        upstream: 9093\n        strip_prefix: true",
    );
    // New ones.
    check(
        "\n      /api: 9091 # one\n      # more to come",
        "\n      /api: 9091 # one\n      /serviceone/v1: 9093\n      # more to come",
    );
    check(" { /api: 1 }", " { /api: 1, /serviceone/v1: 9093 }");
    check(" {}", "\n      /serviceone/v1: 9093");
    check("", "\n      /serviceone/v1: 9093");
}

#[test]
fn a_first_route_makes_a_site_long() {
    let check = |site: &str, want: &str| {
        add(
            &format!("sites:\n  {site}\n  z.com: 1\n"),
            "a.com/api",
            &["9091"],
            &format!("sites:\n  {want}\n  z.com: 1\n"),
        );
    };
    check(
        "a.com: 8080",
        "a.com:\n    upstream: 8080\n    routes:\n      /api: 9091",
    );
    check(
        "a.com: 8080 # one",
        "a.com:\n    upstream: 8080 # one\n    routes:\n      /api: 9091",
    );
    check(
        "a.com: [8080, 8081]",
        "a.com:\n    upstream: [8080, 8081]\n    routes:\n      /api: 9091",
    );
    check(
        "a.com: [ # two\n    8080,\n    8081, # b\n  ] # end",
        "a.com:\n    upstream: [ # two\n      8080,\n      8081, # b\n    ] # end\n    routes:\n      /api: 9091",
    );
    check(
        "a.com:\n    8080",
        "a.com:\n    upstream:\n      8080\n    routes:\n      /api: 9091",
    );
    check(
        "a.com: # two\n    - 8080\n\n    # b\n    - 8081",
        "a.com:\n    upstream: # two\n      - 8080\n\n      # b\n      - 8081\n    routes:\n      /api: 9091",
    );
    check(
        "a.com:\n  - 8080",
        "a.com:\n    upstream:\n    - 8080\n    routes:\n      /api: 9091",
    );
    check("a.com:", "a.com:\n    routes:\n      /api: 9091");
    check(
        "a.com: { upstream: 8080 }",
        "a.com: { upstream: 8080, routes: { /api: 9091 } }",
    );
    check(
        "a.com:\n    upstream: 8080\n    # hsts: on\n    # and on",
        "a.com:\n    upstream: 8080\n    routes:\n      /api: 9091\n    # hsts: on\n    # and on",
    );
}

#[test]
fn a_route_may_need_all_above_it() {
    add(
        "",
        "a.com/api",
        &["1", "2"],
        "sites:\n  a.com:\n    routes:\n      /api: [1, 2]\n",
    );
    add(
        "sites: { a.com: 1 }\n",
        "a.com/api",
        &["2"],
        "sites: { a.com: { upstream: 1, routes: { /api: 2 } } }\n",
    );
    add(
        "sites: { a.com: [1] }\n",
        "b.com/api",
        &["2"],
        "sites: { a.com: [1], b.com: { routes: { /api: 2 } } }\n",
    );
    add(
        "sites: { a.com: }\n",
        "a.com/api",
        &["2"],
        "sites: { a.com: { routes: { /api: 2 } } }\n",
    );
    add(
        "fallback: 1\n",
        "fallback/api",
        &["2"],
        "fallback:\n  upstream: 1\n  routes:\n    /api: 2\n",
    );
    add(
        "sites:\n    a.com: 1\r\n",
        "a.com/api/",
        &["2"],
        "sites:\n    a.com:\n        upstream: 1\n        routes:\n            /api: 2\r\n",
    );
    // `/` is the site.
    add(
        "sites:\n  a.com: 1\n",
        "a.com/",
        &["2"],
        "sites:\n  a.com: [1, 2]\n",
    );
    add(
        "sites:\n  a.com: 1\n",
        "a.com/ü",
        &["2"],
        "sites:\n  a.com:\n    upstream: 1\n    routes:\n      /%C3%BC: 2\n",
    );
    add(
        "sites:\n  a.com: 1\n",
        "a.com/x:",
        &["2"],
        "sites:\n  a.com:\n    upstream: 1\n    routes:\n      \"/x:\": 2\n",
    );
}

#[test]
fn a_route_loses_one() {
    remove(
        "sites:\n  a.com:\n    upstream: 1\n    routes:\n      /api: { upstream: [9091, 9092] } # two\n",
        "a.com/api/",
        &["9091"],
        "sites:\n  a.com:\n    upstream: 1\n    routes:\n      /api: { upstream: [9092] } # two\n",
    );
    let text = "sites:\n  a.com:\n    upstream: 1\n    routes:\n      # of api\n      /api: 9091\n\n      /b:\n        upstream: 9092\n  c.com: 1\n";
    force(
        text,
        "a.com/api",
        &["9091"],
        "sites:\n  a.com:\n    upstream: 1\n    routes:\n\n      /b:\n        upstream: 9092\n  c.com: 1\n",
    );
    force(
        text,
        "a.com/b",
        &[],
        "sites:\n  a.com:\n    upstream: 1\n    routes:\n      # of api\n      /api: 9091\n\n  c.com: 1\n",
    );
    // A site with routes keeps them.
    force(
        text,
        "a.com",
        &["1"],
        "sites:\n  a.com:\n    routes:\n      # of api\n      /api: 9091\n\n      /b:\n        upstream: 9092\n  c.com: 1\n",
    );
    force(text, "a.com", &[], "sites:\n  c.com: 1\n");
}

#[test]
fn the_last_route_takes_what_led_to_it() {
    force(
        "sites:\n  a.com:\n    upstream: 1\n    routes: # few\n      /api: 2\n  c.com: 1\n",
        "a.com/api",
        &[],
        "sites:\n  a.com:\n    upstream: 1\n  c.com: 1\n",
    );
    force(
        "sites:\n  a.com:\n    routes:\n      /api: 2\n  c.com: 1\n",
        "a.com/api",
        &["2"],
        "sites:\n  c.com: 1\n",
    );
    force(
        "sites: { a.com: { upstream: 1, routes: { /api: 2 } } }\n",
        "a.com/api",
        &[],
        "sites: { a.com: { upstream: 1 } }\n",
    );
    force(
        "fallback:\n  routes:\n    /api: 2\n",
        "fallback/api",
        &[],
        "",
    );
}
