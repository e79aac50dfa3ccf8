//! Who may import whom: the table of `src/lib.rs`, held against every file.
//!
//! Read as text, without comments and tests: a path that begins with `crate::`
//! or with the name of a dependency counts, in a `use` or anywhere else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A row: its modules, with all below them, may name those of its own row and
/// of the rows before it, and these dependencies.
struct Row {
    modules: &'static [&'static str],
    outside: &'static [&'static str],
}

/// Bottom first.
const ROWS: [Row; 10] = [
    // Values.
    Row {
        modules: &["host", "path", "units", "diagnostic", "body", "framing"],
        outside: &[
            "bytes",
            "foldhash",
            "http",
            "http_body",
            "httparse",
            "idna",
            "serde",
            "thiserror",
        ],
    },
    // What belongs to a thread.
    Row {
        modules: &["rt"],
        outside: &["bytes", "http", "jiff", "tokio", "tracing"],
    },
    // Words.
    Row {
        modules: &["error", "exchange"],
        outside: &["http", "thiserror"],
    },
    // Parts.
    Row {
        modules: &["upstream", "tls"],
        outside: &[
            "arc_swap",
            "aws_lc_rs",
            "bytes",
            "foldhash",
            "h2",
            "hickory_resolver",
            "http",
            "http_body",
            "httparse",
            "jiff",
            "rcgen",
            "rustix",
            "rustls",
            "rustls_native_certs",
            "rustls_pemfile",
            "thiserror",
            "socket2",
            "tokio",
            "tokio_rustls",
            "tracing",
            "x509_parser",
        ],
    },
    Row {
        modules: &["config"],
        outside: &[
            "ipnet",
            "saphyr_parser",
            "serde",
            "serde_yaml",
            "strsim",
            "thiserror",
        ],
    },
    Row {
        modules: &["snapshot", "site"],
        outside: &["arc_swap", "http", "ipnet", "tokio"],
    },
    Row {
        modules: &["observe"],
        outside: &["http", "jiff", "serde_json", "tracing"],
    },
    Row {
        modules: &["proxy"],
        outside: &[
            "bytes",
            "http",
            "http_body",
            "ipnet",
            "serde_json",
            "tokio",
            "tracing",
        ],
    },
    Row {
        modules: &["server"],
        outside: &[
            "bytes",
            "foldhash",
            "h2",
            "http",
            "http_body",
            "hyper",
            "hyper_util",
            "listenfd",
            "memchr",
            "notify",
            "rustix",
            "rustls",
            "sd_notify",
            "serde",
            "serde_json",
            "socket2",
            "thiserror",
            "tokio",
            "tracing",
        ],
    },
    // `demo` is three small servers as well.
    Row {
        modules: &["cli", "main"],
        outside: &[
            "anyhow",
            "bytes",
            "clap",
            "http",
            "hyper",
            "hyper_util",
            "rustix",
            "serde_json",
            "tokio",
            "tokio_rustls",
            "tracing",
            "tracing_subscriber",
        ],
    },
];

/// What only these files (and those below them) may name, of what their rows allow.
const ONLY: &[(&str, &[&str])] = &[
    ("anyhow", &["cli"]),
    (
        "arc_swap",
        &["snapshot", "tls/tickets", "upstream/registry"],
    ),
    ("aws_lc_rs", &["tls", "upstream/sticky"]),
    ("clap", &["cli"]),
    // A module of the server has the name as well.
    ("h2", &["upstream/client/mux", "server"]),
    ("hickory_resolver", &["upstream/discovery/names"]),
    ("httparse", &["framing/chunks", "upstream/h1"]),
    ("hyper", &["cli/demo", "server/control"]),
    ("hyper_util", &["cli/demo", "server/control"]),
    ("idna", &["host"]),
    ("ipnet", &["config", "snapshot", "proxy/origin"]),
    ("listenfd", &["server/inherit"]),
    ("jiff", &["observe/access_log", "rt/date", "tls/identity"]),
    ("notify", &["server/watch/events"]),
    ("rcgen", &["tls/local_ca"]),
    ("rustls_native_certs", &["tls/authority"]),
    ("rustls_pemfile", &["tls/pem"]),
    ("saphyr_parser", &["config/locate"]),
    ("sd_notify", &["server/inherit", "server/systemd"]),
    ("serde_yaml", &["config/file"]),
    (
        "socket2",
        &[
            "server/control/socket",
            "server/listener",
            "server/transport",
            "upstream/client/wire",
        ],
    ),
    ("strsim", &["config/check/words"]),
    ("tokio::signal", &["cli/run"]),
    // Sockets to endpoints, and sockets of clients.
    (
        "tokio::net",
        &[
            "upstream/client/wire",
            "server",
            "cli/demo",
            "cli/doctor/endpoints/probe",
        ],
    ),
    (
        "tokio_rustls",
        &["upstream/client/wire", "cli/doctor/endpoints/probe"],
    ),
    // Every task has an owner who waits for it at drain. That of a connection
    // to an endpoint has nothing left to do once the exchanges have ended,
    // which are waited for, and ends with its thread's runtime.
    (
        "tokio::task::spawn_local",
        &[
            "server/background",
            "server/control",
            "server/h2",
            "server/worker",
            "upstream/client/mux/link",
            "upstream/health/supervise",
            "cli/demo",
        ],
    ),
    ("tracing_subscriber", &["cli"]),
    ("x509_parser", &["tls/identity"]),
    // What a request reads is chosen once, in `Proxy::serve`.
    ("crate::snapshot::Live", &["proxy", "snapshot"]),
    // A listener knows its address, and so does a socket that is handed over; a
    // reload reads the file, and a command may name an endpoint; no other part of the server knows a setting.
    (
        "crate::config",
        &[
            "config",
            "snapshot",
            "site",
            "proxy",
            "server/control",
            "server/handover",
            "server/inherit",
            "server/listener",
            "server/reload",
            "cli",
        ],
    ),
    ("crate::site", &["snapshot", "proxy", "server/control"]),
    (
        "serde",
        &[
            "config",
            "diagnostic",
            "server/control",
            "server/handover",
            "server/reload",
        ],
    ),
    (
        "serde_json",
        &[
            "observe",
            "proxy/reply",
            "server/control",
            "server/handover",
            "server/reload",
            "cli",
        ],
    ),
];

/// What nobody may name.
const NEVER: &[&str] = &[
    "tokio::spawn",
    "tokio::task::spawn",
    "hyper::client",
    "hyper_util::client",
    "std::process::exit",
];

/// Parts stand side by side: each names itself alone.
const STRANGERS: &[(&str, &str)] = &[("tls", "upstream"), ("upstream", "tls")];

#[test]
fn each_file_names_only_what_stands_below_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let outside = dependencies();
    let mut faults = Vec::new();
    let mut read = 0;
    for file in files(&source) {
        let name = file.strip_prefix(&source).unwrap().with_extension("");
        let name = name.to_str().unwrap();
        if name == "lib"
            || name
                .split('/')
                .any(|part| part == "tests" || part == "specimen")
        {
            continue;
        }
        read += 1;
        let paths = paths(&code(&std::fs::read_to_string(&file).unwrap()));
        for path in &paths {
            if let Some(fault) = judge(name, path, &outside) {
                faults.push(format!("src/{name}.rs names `{path}`: {fault}"));
            }
        }
    }
    assert!(read > 50, "only {read} files were found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The table speaks of nothing that is not there.
#[test]
fn the_table_is_about_what_there_is() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let outside = dependencies();
    for row in &ROWS {
        for module in row.modules {
            assert!(
                source.join(module).with_extension("rs").exists(),
                "{module}"
            );
        }
        for name in row.outside {
            assert!(outside.contains(*name), "{name} is no dependency");
        }
    }
    for file in ONLY.iter().flat_map(|(_, files)| *files) {
        assert!(source.join(file).with_extension("rs").exists(), "{file}");
    }
    let told: BTreeSet<&str> = ROWS.iter().flat_map(|row| row.outside).copied().collect();
    let untold: Vec<_> = outside
        .iter()
        .filter(|name| !told.contains(name.as_str()))
        .collect();
    assert!(
        untold.is_empty(),
        "no row may name these dependencies: {untold:?}"
    );
}

#[test]
fn a_forbidden_name_is_found() {
    let outside = dependencies();
    let check = |file: &str, path: &str, allowed: bool| {
        assert_eq!(
            judge(file, path, &outside).is_none(),
            allowed,
            "{file} {path}"
        );
    };
    check("proxy/forward", "crate::upstream::Upstream", true);
    check("proxy/forward", "crate::server::Server", false);
    check("upstream", "crate::proxy::Proxy", false);
    check("upstream/h1", "crate::tls::Tls", false);
    check("tls/pem", "crate::config::Config", false);
    check("server/worker", "crate::site::Site", false);
    check("host", "tokio::net::TcpStream", false);
    check("config/check", "serde_yaml::from_str", false);
    check("config/file", "serde_yaml::from_str", true);
    check("server/worker", "tokio::spawn", false);
    check("proxy/strict", "std::fs::read", true);
    let code = code(
        "//! crate::a\nuse crate::b::C; // crate::d\nfn f() { hyper::e() }\n#[cfg(test)]\nmod tests {\n crate::g }",
    );
    assert_eq!(
        paths(&code).into_iter().collect::<Vec<_>>(),
        ["crate::b::C", "hyper::e"]
    );
}

/// Why a file may not name a path.
fn judge(file: &str, path: &str, outside: &BTreeSet<String>) -> Option<String> {
    let row = row_of(file.split('/').next()?)?;
    let mut parts = path.split("::");
    let first = parts.next()?;
    let is = |of: &str| {
        path.strip_prefix(of)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    if NEVER.iter().any(|name| is(name)) {
        return Some("nobody may".to_owned());
    }
    if first == "crate" {
        let module = parts.next()?;
        match row_of(module) {
            None => return Some(format!("`{module}` has no row")),
            Some(other) if other > row => return Some(format!("`{module}` stands above it")),
            Some(_) => {}
        }
        if STRANGERS
            .iter()
            .any(|(part, other)| within(file, part) && module == *other)
        {
            return Some("parts do not know each other".to_owned());
        }
    } else if !outside.contains(first) {
        return None;
    } else if !ROWS[row].outside.contains(&first) {
        return Some(format!("its row does without `{first}`"));
    }
    let (name, files) = ONLY.iter().find(|(name, _)| is(name))?;
    let allowed = files.iter().any(|allowed| within(file, allowed));
    (!allowed).then(|| format!("only {files:?} may name `{name}`"))
}

fn within(file: &str, module: &str) -> bool {
    file.strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn row_of(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.modules.contains(&module))
}

/// Code without comments, and without the tests at its foot.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..end].lines();
    lines
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Everything of the form `a::b`, with the groups of a `use` taken apart at their first level.
fn paths(code: &str) -> BTreeSet<String> {
    let part_of = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut found = BTreeSet::new();
    let mut rest = code;
    while let Some(start) = rest.find(part_of) {
        rest = &rest[start..];
        let end = rest.find(|c| !part_of(c)).unwrap_or(rest.len());
        let path = &rest[..end];
        rest = &rest[end..];
        match path.strip_suffix("::") {
            Some(path) if rest.starts_with('{') => {
                let group = &rest[1..rest.find(['}', ';']).unwrap_or(rest.len())];
                let items = group
                    .split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty());
                found.extend(
                    items.map(|item| {
                        format!("{path}::{}", item.split(' ').next().unwrap_or_default())
                    }),
                );
            }
            _ if path.contains("::") => {
                found.insert(path.trim_end_matches(':').to_owned());
            }
            _ => {}
        }
    }
    found
}

/// The dependencies of the program, as code names them.
fn dependencies() -> BTreeSet<String> {
    let manifest =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap();
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    lines
        .filter_map(|line| Some(line.split_once(" = ")?.0.replace('-', "_")))
        .collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
