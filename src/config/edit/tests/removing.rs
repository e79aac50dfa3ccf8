//! Endpoints and sites less.

use super::{force, remove};

#[test]
fn an_item_in_brackets_goes_with_its_comma() {
    let check = |value: &str, endpoint: &str, want: &str| {
        remove(
            &format!("sites:\n  a.com: {value}\n  b.com: 1\n"),
            "a.com",
            &[endpoint],
            &format!("sites:\n  a.com: {want}\n  b.com: 1\n"),
        );
    };
    check("[8080, 8081] # two", "8080", "[8081] # two");
    check("[8080, 8081] # two", "8081", "[8080] # two");
    check("[ 8080, 8081, 8082 ]", "8081", "[ 8080, 8082 ]");
    check("[ 8080, 8081 , ]", "8081", "[ 8080 , ]");
    check("[8080,\n    8081]", "8080", "[8081]");
    check("[8080,\n    8081]", "8081", "[8080]");
    let lines = "[ # all\n    8080, # one\n    8081, # two\n    8082  # three\n  ]";
    check(
        lines,
        "8080",
        "[ # all\n    8081, # two\n    8082  # three\n  ]",
    );
    check(
        lines,
        "8081",
        "[ # all\n    8080, # one\n    8082  # three\n  ]",
    );
    check(
        lines,
        "8082",
        "[ # all\n    8080, # one\n    8081 # two\n  ]",
    );
    check("[\n    8080,\n    8081,\n  ]", "8081", "[\n    8080,\n  ]");
    check("[8080, # one\n    8081] # two", "8080", "[8081] # two");
    check(
        "[8080, # one\n    # of the next\n    8081] # two",
        "8080",
        "[\n    # of the next\n    8081] # two",
    );
    check(
        "[8080, # one\n    8081] # two",
        "8081",
        "[8080, # one\n    ] # two",
    );
    check("[8080, { address: 8081, weight: 2 }]", "8081", "[8080]");
    check(
        "[8080, { weight: 2, address: \"localhost:8081\" }, 1]",
        "8081",
        "[8080, 1]",
    );
    check("[8080, 8081, localhost:8080, 8082]", "8080", "[8081, 8082]");
}

#[test]
fn an_item_of_a_block_goes_with_its_line() {
    let check = |value: &str, endpoint: &str, want: &str| {
        remove(
            &format!("sites:\n  a.com:{value}\n  b.com: 1\n"),
            "a.com",
            &[endpoint],
            &format!("sites:\n  a.com:{want}\n  b.com: 1\n"),
        );
    };
    check(
        "\n    - 8080 # one\n    - 8081 # two",
        "8080",
        "\n    - 8081 # two",
    );
    check(
        "\n  - 8080 # one\n  - 8081 # two",
        "8081",
        "\n  - 8080 # one",
    );
    check(
        " # all\n    # first\n    - 8080 # one\n      # of it\n\n    # second\n    - 8081",
        "8080",
        " # all\n    # first\n\n    # second\n    - 8081",
    );
    check(
        "\n    - 8080\n    - address: 8081\n      weight: 2 # twice\n    - 8082",
        "8081",
        "\n    - 8080\n    - 8082",
    );
    check(
        "\n    - 8080\n    - # here\n      # or here\n      8081\n    - 8082",
        "8081",
        "\n    - 8080\n    - 8082",
    );
    check(
        "\n    upstream:\n      endpoints:\n      - 8080\n      - 8081",
        "8080",
        "\n    upstream:\n      endpoints:\n      - 8081",
    );
    remove(
        "sites:\n  a.com:\n  - 80\n  - 81",
        "a.com",
        &["81"],
        "sites:\n  a.com:\n  - 80",
    );
    remove(
        "sites:\r\n  a.com:\r\n  - 80\r\n  - 81\r\n",
        "a.com",
        &["80"],
        "sites:\r\n  a.com:\r\n  - 81\r\n",
    );
}

#[test]
fn endpoints_are_compared_by_what_they_mean() {
    let check = |written: &str, said: &str| {
        remove(
            &format!("sites:\n  a.com: [1, {written}]\n"),
            "A.com.",
            &[said],
            "sites:\n  a.com: [1]\n",
        );
    };
    check("8080", "localhost:8080");
    check("localhost:8080", "http://8080");
    check("http://localhost:8080", "8080");
    check("'[::1]:80'", "http://[0::1]:80");
    check("https://8443", "https://localhost:8443");
    check(
        "{ address: https://8443, tls: { name: a } }",
        "https://8443",
    );
    check("\"${PORT}\"", "${PORT}");
}

#[test]
fn several_go_at_once() {
    remove(
        "sites:\n  a.com: [1, 2, 3, 4]\n",
        "a.com",
        &["2", "4"],
        "sites:\n  a.com: [1, 3]\n",
    );
    force(
        "sites:\n  a.com: [1, 2]\n  b.com: 1\n",
        "a.com",
        &["2", "1"],
        "sites:\n  b.com: 1\n",
    );
    force(
        "sites:\n  a.com: [1, 1]\n  b.com: 1\n",
        "a.com",
        &["1"],
        "sites:\n  b.com: 1\n",
    );
}

#[test]
fn a_site_goes_with_all_below_it() {
    let text = "sites:\n  a.com: 1 # one\n  b.com:\n    # what answers\n    upstream:\n      endpoints: [2,\n        3]\n\n    # hsts: on\n  c.com: 3\n\nfallback: 4\n";
    force(
        text,
        "b.com",
        &[],
        "sites:\n  a.com: 1 # one\n  c.com: 3\n\nfallback: 4\n",
    );
    force(
        text,
        "a.com",
        &["1"],
        "sites:\n  b.com:\n    # what answers\n    upstream:\n      endpoints: [2,\n        3]\n\n    # hsts: on\n  c.com: 3\n\nfallback: 4\n",
    );
    force(
        text,
        "fallback",
        &[],
        "sites:\n  a.com: 1 # one\n  b.com:\n    # what answers\n    upstream:\n      endpoints: [2,\n        3]\n\n    # hsts: on\n  c.com: 3\n",
    );
    force(
        "sites:\n  a.com: 1\n  b.com: 2",
        "b.com",
        &[],
        "sites:\n  a.com: 1",
    );
    force(
        "sites:\n  a.com: 1\nfallback: 2\n",
        "a.com",
        &[],
        "sites:\nfallback: 2\n",
    );
    force(
        "sites: # few\n  old.com: { redirect: https://a }\n",
        "old.com",
        &[],
        "sites: # few\n",
    );
    force("fallback: 2\n", "fallback", &["2"], "");
    force(
        "sites: { a.com: 1, b.com: 2 }\n",
        "a.com",
        &[],
        "sites: { b.com: 2 }\n",
    );
    force(
        "sites: { a.com: 1, b.com: 2 }\n",
        "b.com",
        &["2"],
        "sites: { a.com: 1 }\n",
    );
    force(
        "sites: { a.com: 1 } # few\n",
        "a.com",
        &[],
        "sites: {} # few\n",
    );
    force(
        "sites: {\n  a.com: 1, # one\n  b.com: 2, # two\n}\n",
        "a.com",
        &[],
        "sites: {\n  b.com: 2, # two\n}\n",
    );
}

#[test]
fn comments_above_a_site_go_with_it_if_they_are_its_own() {
    let check = |before: &str, after: &str, want: &str| {
        let text = format!("sites:\n  z.com: 9\n{before}  a.com: 1\n{after}");
        force(&text, "a.com", &[], &format!("sites:\n  z.com: 9\n{want}"));
    };
    check("  # of a\n  # and more\n", "", "");
    check(
        "  # of a\n",
        "  # of b\n  b.com: 2\n",
        "  # of b\n  b.com: 2\n",
    );
    check("\n  # of a\n", "\n  b.com: 2\n", "\n  b.com: 2\n");
    check("  # of a\n", "fallback: 1\n", "fallback: 1\n");
    // They may be about both.
    check(
        "  # of a and b\n",
        "  b.com: 2\n",
        "  # of a and b\n  b.com: 2\n",
    );
    // A site that was commented out.
    check("  # c.com: 3\n", "\n", "  # c.com: 3\n\n");
    check(
        "  # c.com:\n  #   upstream\n",
        "",
        "  # c.com:\n  #   upstream\n",
    );
    // Not next to it, or not indented like it.
    check("  # of z\n\n", "\n", "  # of z\n\n");
    check("    # of z\n", "", "    # of z\n");
    check("# of what\n", "", "# of what\n");
    // What a file begins with is about the file.
    force(
        "# the front door\nfallback: 1\n\nsites:\n  a: 1\n",
        "fallback",
        &[],
        "# the front door\n\nsites:\n  a: 1\n",
    );
}
