//! Endpoints more.

use super::add;

#[test]
fn a_new_site_stands_last_among_the_sites() {
    add(
        "listen:\n  https: 443\n\nsites: # ours\n  a.com: 8080 # one\n  b.com:\n    upstream: 8081\n    # hsts: on\n\n# all others\nfallback: 9000\n",
        "c.com",
        &["8082"],
        "listen:\n  https: 443\n\nsites: # ours\n  a.com: 8080 # one\n  b.com:\n    upstream: 8081\n    # hsts: on\n  c.com: 8082\n\n# all others\nfallback: 9000\n",
    );
    // Of the indentation of the others, before a site that was commented out.
    add(
        "sites:\n    a.com: 8080\n    # b.com: 8081\nfallback: 9000",
        "c.com",
        &["8082", "8083"],
        "sites:\n    a.com: 8080\n    c.com: [8082, 8083]\n    # b.com: 8081\nfallback: 9000",
    );
    add(
        "sites:\n  a.com: [\n    8080,\n  ] # two lines more\nlog:\n  format: json\n",
        "b.com",
        &["8082"],
        "sites:\n  a.com: [\n    8080,\n  ] # two lines more\n  b.com: 8082\nlog:\n  format: json\n",
    );
}

#[test]
fn sites_may_be_absent_or_empty() {
    add("", "a.com", &["8080"], "sites:\n  a.com: 8080\n");
    add(
        "# ours\n",
        "a.com",
        &["8080"],
        "# ours\nsites:\n  a.com: 8080\n",
    );
    add(
        "# ours",
        "a.com",
        &["8080"],
        "# ours\nsites:\n  a.com: 8080",
    );
    add("---\n", "a.com", &["8080"], "---\nsites:\n  a.com: 8080\n");
    add(
        "fallback: 9000\n# the end\n",
        "a.com",
        &["8080"],
        "fallback: 9000\n\nsites:\n  a.com: 8080\n# the end\n",
    );
    add("sites:\n", "a.com", &["8080"], "sites:\n  a.com: 8080\n");
    add(
        "sites: # none yet\n  # a.com: 1\n\n# others\nfallback: 9000\n",
        "b.com",
        &["8080"],
        "sites: # none yet\n  # a.com: 1\n  b.com: 8080\n\n# others\nfallback: 9000\n",
    );
    add(
        "sites: {} # none yet\nfallback: 1\n",
        "a.com",
        &["8080"],
        "sites: # none yet\n  a.com: 8080\nfallback: 1\n",
    );
    add("sites: ~\n", "a.com", &["8080"], "sites:\n  a.com: 8080\n");
}

#[test]
fn sites_may_stand_in_braces() {
    add(
        "sites: { a.com: 1 } # few\n",
        "*.b.com",
        &["8080"],
        "sites: { a.com: 1, \"*.b.com\": 8080 } # few\n",
    );
    add(
        "sites: {\n  a.com: 1, # one\n  b.com: 2  # two\n}\n",
        "c.com",
        &["3", "4"],
        "sites: {\n  a.com: 1, # one\n  b.com: 2,  # two\n  c.com: [3, 4]\n}\n",
    );
    add(
        "sites: {\n  a.com: 1,\n}\n",
        "c.com",
        &["3"],
        "sites: {\n  a.com: 1,\n  c.com: 3,\n}\n",
    );
    add(
        "{ fallback: 1 }\n",
        "c.com",
        &["3"],
        "{ fallback: 1, sites: { c.com: 3 } }\n",
    );
    add("{}\n", "c.com", &["3"], "{ sites: { c.com: 3 } }\n");
    add(
        "sites: {\n  # none\n  }\n",
        "c.com",
        &["3"],
        "sites: { c.com: 3\n  # none\n  }\n",
    );
}

#[test]
fn line_ends_and_a_byte_order_mark_stay() {
    add(
        "\u{feff}sites:\r\n  a.com: 8080 # one\r\n",
        "a.com",
        &["8081"],
        "\u{feff}sites:\r\n  a.com: [8080, 8081] # one\r\n",
    );
    add(
        "sites:\r\n  a.com:\r\n    - 8080\r\n\r\nfallback: 1\r\n",
        "a.com",
        &["8081"],
        "sites:\r\n  a.com:\r\n    - 8080\r\n    - 8081\r\n\r\nfallback: 1\r\n",
    );
    add(
        "sites:\r\n  ä.com: 8080\r\n  b.com: 1",
        "c.com",
        &["8081"],
        "sites:\r\n  ä.com: 8080\r\n  b.com: 1\r\n  c.com: 8081",
    );
    add(
        "sites:\r  a.com: 8080\r",
        "c.com",
        &["8081"],
        "sites:\r  a.com: 8080\r  c.com: 8081\r",
    );
    add("\u{feff}", "a.com", &["1"], "\u{feff}sites:\n  a.com: 1\n");
}

#[test]
fn one_endpoint_becomes_a_list() {
    let check = |value: &str, want: &str| {
        add(
            &format!("sites:\n  a.com: {value}\n  b.com: 1\n"),
            "a.com",
            &["8081"],
            &format!("sites:\n  a.com: {want}\n  b.com: 1\n"),
        );
    };
    check("8080", "[8080, 8081]");
    check("8080 # comment", "[8080, 8081] # comment");
    check("  8080", "  [8080, 8081]");
    check("\"8080\"", "[\"8080\", 8081]");
    check("'[::1]:80' # six", "['[::1]:80', 8081] # six");
    check("unix:/run/app.sock", "[unix:/run/app.sock, 8081]");
    check("http://[::1]:80", "[\"http://[::1]:80\", 8081]");
    check("${PORT}", "[\"${PORT}\", 8081]");
    check(
        "# still\n    8080 # here",
        "# still\n    [8080, 8081] # here",
    );
    check("~ # nothing", "8081 # nothing");
    check("# nothing", "8081 # nothing");
    check("", "8081 ");
}

#[test]
fn a_list_in_brackets_gets_one_more() {
    let check = |value: &str, want: &str| {
        add(
            &format!("sites:\n  a.com: {value}\n  b.com: 1\n"),
            "a.com",
            &["8082"],
            &format!("sites:\n  a.com: {want}\n  b.com: 1\n"),
        );
    };
    check("[8080, 8081] # two", "[8080, 8081, 8082] # two");
    check("[ 8080, 8081 ]", "[ 8080, 8081, 8082 ]");
    check("[8080, 8081,]", "[8080, 8081, 8082,]");
    check("[]", "[8082]");
    check("[ # none\n    ]", "[8082 # none\n    ]");
    check("[8080,\n    8081]", "[8080,\n    8081, 8082]");
    check(
        "[ # all\n    8080, # one\n    8081  # two\n    # three\n  ]",
        "[ # all\n    8080, # one\n    8081,  # two\n    8082\n    # three\n  ]",
    );
    check(
        "[\n    8080,\n    8081, # two, really\n  ] # end",
        "[\n    8080,\n    8081, # two, really\n    8082,\n  ] # end",
    );
    check("[\n    8080\n    ,\n  ]", "[\n    8080, 8082\n    ,\n  ]");
    check(
        "[\n    8080\n    , 8081\n    ,\n  ]",
        "[\n    8080\n    , 8081, 8082\n    ,\n  ]",
    );
    check(
        "[8080, { address: 8081, weight: 2 }]",
        "[8080, { address: 8081, weight: 2 }, 8082]",
    );
    check(
        "[\n    {\n      address: 8081 },\n  ]",
        "[\n    {\n      address: 8081 },\n    8082,\n  ]",
    );
    add(
        "sites:\n  a.com: [\n    8080\n  ]\n",
        "a.com",
        &["8081", "8082"],
        "sites:\n  a.com: [\n    8080,\n    8081,\n    8082\n  ]\n",
    );
}

#[test]
fn a_block_list_gets_one_more() {
    let check = |value: &str, want: &str| {
        add(
            &format!("sites:\n  a.com:{value}\n  b.com: 1\n"),
            "a.com",
            &["8082"],
            &format!("sites:\n  a.com:{want}\n  b.com: 1\n"),
        );
    };
    check("\n    - 8080", "\n    - 8080\n    - 8082");
    // At the key's own column.
    check("\n  - 8080", "\n  - 8080\n  - 8082");
    check("\n      -   8080", "\n      -   8080\n      -   8082");
    check(
        " # two\n    # first\n    - 8080 # one\n\n    # second\n    - 8081 # two\n      # of it",
        " # two\n    # first\n    - 8080 # one\n\n    # second\n    - 8081 # two\n      # of it\n    - 8082",
    );
    check(
        "\n    - 8080\n    - address: 8081\n      weight: 2 # twice",
        "\n    - 8080\n    - address: 8081\n      weight: 2 # twice\n    - 8082",
    );
    check(
        "\n    - { address: 8081,\n        weight: 2 } # twice",
        "\n    - { address: 8081,\n        weight: 2 } # twice\n    - 8082",
    );
    check(
        "\n    -\n      address: 8081",
        "\n    -\n      address: 8081\n    - 8082",
    );
    check(
        "\n    - # here\n      8081",
        "\n    - # here\n      8081\n    - 8082",
    );
}

#[test]
fn the_long_form_gets_one_more() {
    let check = |value: &str, want: &str| {
        add(
            &format!(
                "sites:\n  a.com:\n    # what answers\n    upstream: {value}\n    hsts: on # yes\n  b.com: 1\n"
            ),
            "a.com",
            &["8081"],
            &format!(
                "sites:\n  a.com:\n    # what answers\n    upstream: {want}\n    hsts: on # yes\n  b.com: 1\n"
            ),
        );
    };
    check("8080 # one", "[8080, 8081] # one");
    check("[8080]", "[8080, 8081]");
    check("\n      - 8080", "\n      - 8080\n      - 8081");
    check("\n    - 8080", "\n    - 8080\n    - 8081");
    check(
        "{ endpoints: 8080, connect_timeout: 1s }",
        "{ endpoints: [8080, 8081], connect_timeout: 1s }",
    );
    check(
        "{ endpoints: [8080] } # long",
        "{ endpoints: [8080, 8081] } # long",
    );
    check(
        "{ endpoints: { address: 8080, weight: 2 } }",
        "{ endpoints: [{ address: 8080, weight: 2 }, 8081] }",
    );
    check(
        "{ connect_timeout: 1s }",
        "{ endpoints: 8081, connect_timeout: 1s }",
    );
    check(
        "\n      connect_timeout: 1s\n      endpoints:\n        # all\n        - 8080 # one\n      response_timeout: 1s",
        "\n      connect_timeout: 1s\n      endpoints:\n        # all\n        - 8080 # one\n        - 8081\n      response_timeout: 1s",
    );
    check(
        "\n      endpoints: [8080]",
        "\n      endpoints: [8080, 8081]",
    );
    check("\n      endpoints:", "\n      endpoints: 8081");
    check(
        "# long\n      # more\n      connect_timeout: 1s",
        "# long\n      endpoints: 8081\n      # more\n      connect_timeout: 1s",
    );
    check("# nothing", "8081 # nothing");
    add(
        "sites: { a.com: { upstream: 1 } }",
        "a.com",
        &["2"],
        "sites: { a.com: { upstream: [1, 2] } }",
    );
    add(
        "sites: { a.com: {} }",
        "a.com",
        &["2"],
        "sites: { a.com: { upstream: 2 } }",
    );
    add(
        "sites: { a.com: , b.com }",
        "a.com",
        &["2"],
        "sites: { a.com: 2 , b.com }",
    );
    add(
        "sites: { a.com: , b.com }",
        "b.com",
        &["2"],
        "sites: { a.com: , b.com: 2 }",
    );
    add(
        "sites:\n  a.com: # policies alone\n    # first\n    hsts: on\n",
        "a.com",
        &["2"],
        "sites:\n  a.com: # policies alone\n    upstream: 2\n    # first\n    hsts: on\n",
    );
}

#[test]
fn a_host_is_found_in_every_spelling() {
    let check = |key: &str, host: &str, want: &str| {
        add(
            &format!("sites:\n  {key}: 8080\n"),
            host,
            &["8081"],
            &format!("sites:\n  {key}: {want}\n"),
        );
    };
    check("A.com.", "a.COM", "[8080, 8081]");
    check("\"*.a.com\"", "*.A.com", "[8080, 8081]");
    check("bücher.example", "xn--bcher-kva.example", "[8080, 8081]");
    check("'xn--bcher-kva.example'", "Bücher.example", "[8080, 8081]");
    check("\"[::1]\"", "[0:0::1]", "[8080, 8081]");
    check("a.com", "b.com", "8080\n  b.com: 8081");
    check("a.com", "*.a.com", "8080\n  \"*.a.com\": 8081");
    check("a.com", "[::1]", "8080\n  \"[::1]\": 8081");
    check("a.com", "bücher.example", "8080\n  bücher.example: 8081");
    check("a.com", "127.0.0.1", "8080\n  127.0.0.1: 8081");
}

#[test]
fn an_endpoint_is_written_as_it_was_said() {
    let check = |endpoint: &str, want: &str| {
        add(
            "sites:\n  a.com: 1\n",
            "b.com",
            &[endpoint],
            &format!("sites:\n  a.com: 1\n  b.com: {want}\n"),
        );
        add(
            "sites:\n  a.com: [1]\n",
            "a.com",
            &[endpoint],
            &format!("sites:\n  a.com: [1, {want}]\n"),
        );
    };
    check("8080", "8080");
    check("localhost:8080", "localhost:8080");
    check("http://localhost:8080", "http://localhost:8080");
    check("h2c://9000", "h2c://9000");
    check("https://10.0.0.7:8443", "https://10.0.0.7:8443");
    check("unix:/run/app.sock", "unix:/run/app.sock");
    check("unix:/run/a b.sock", "\"unix:/run/a b.sock\"");
    check(
        "unix:/run/\"a\\b\".sock",
        "\"unix:/run/\\\"a\\\\b\\\".sock\"",
    );
    check("[::1]:8080", "\"[::1]:8080\"");
    check("${PORT}", "\"${PORT}\"");
    check(" 8080 ", "8080");
}

#[test]
fn the_fallback_is_a_site() {
    add(
        "sites:\n  a.com: 1\nfallback: 2 # others\n",
        "fallback",
        &["3"],
        "sites:\n  a.com: 1\nfallback: [2, 3] # others\n",
    );
    add(
        "sites:\n  a.com: 1\n",
        "fallback",
        &["3"],
        "sites:\n  a.com: 1\n\nfallback: 3\n",
    );
    add("", "fallback", &["3", "4"], "fallback: [3, 4]\n");
}
