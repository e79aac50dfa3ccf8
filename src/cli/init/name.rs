//! Names for what was found: the folder of a project, or the program.

use std::collections::HashSet;
use std::path::Path;

use super::page::Found;

/// The longest label that is made, in bytes: with a number behind it it is
/// still one (RFC 1035 §2.3.4).
pub(super) const LABEL_BYTES_MAX: usize = 40;
/// Programs that run others: their names say nothing of what it is.
const RUNNERS: &[&str] = &[
    "beam",
    "bun",
    "deno",
    "docker-proxy",
    "dotnet",
    "gunicorn",
    "java",
    "main",
    "mainthread",
    "node",
    "npm",
    "perl",
    "php",
    "puma",
    "python",
    "python2",
    "python3",
    "rootlessport",
    "ruby",
    "server",
    "uvicorn",
];
/// Folders that are not a project's: those of the system, and what is no name.
const NO_PROJECTS: &[&str] = &[
    "bin", "boot", "dev", "etc", "lib", "opt", "proc", "root", "run", "sbin", "sys", "tmp", "usr",
    "var",
];

/// Gives each a label of its own, in the order of their ports.
pub(super) fn all(found: &mut [Found]) {
    let mut taken = HashSet::new();
    for found in found {
        let port = found.address.port();
        let base = found
            .folder
            .as_deref()
            .and_then(project)
            .or_else(|| program(&found.holder.as_ref()?.name));
        let label = match base {
            Some(Base::Own(label)) if !taken.contains(&label) => label,
            Some(Base::Own(label) | Base::Common(label)) => format!("{label}-{port}"),
            None => format!("app-{port}"),
        };
        // A folder may have the name that another one's port makes.
        let label = match taken.contains(&label) {
            true => format!("{label}-{port}"),
            false => label,
        };
        taken.insert(label.clone());
        found.label = label;
    }
}

enum Base {
    Own(String),
    /// Many have it: it never stands alone.
    Common(String),
}

/// The last folder of a path that is a project's.
fn project(folder: &Path) -> Option<Base> {
    let mut parts = folder.components().skip(1);
    let first = parts.next()?.as_os_str().to_str()?;
    let last = match (first, parts.count()) {
        // The home itself, `/home/ann`, is none.
        ("home", 0 | 1) | ("srv", 0) => return None,
        ("home" | "srv", _) => folder.file_name()?,
        ("root", 1..) => folder.file_name()?,
        (first, _) if NO_PROJECTS.contains(&first) => {
            let inside = folder.strip_prefix("/var/www").ok()?;
            inside.file_name()?
        }
        _ => folder.file_name()?,
    };
    label(&last.to_string_lossy()).map(Base::Own)
}

fn program(name: &str) -> Option<Base> {
    let label = label(name)?;
    let plain = label.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
    Some(
        match RUNNERS.contains(&&*label) || RUNNERS.contains(&plain) {
            true => Base::Common(label),
            false => Base::Own(label),
        },
    )
}

/// A text as a label of a host name: letters, digits and single hyphens inside.
fn label(text: &str) -> Option<String> {
    let mut label = String::new();
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        if label.len() == LABEL_BYTES_MAX {
            break;
        }
        match c {
            'a'..='z' | '0'..='9' => label.push(c),
            _ if label.is_empty() || label.ends_with('-') => {}
            _ => label.push('-'),
        }
    }
    label.truncate(label.trim_end_matches('-').len());
    (!label.is_empty()).then_some(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostName;
    use crate::server::holder::Holder;

    fn named(found: &[(u16, Option<&str>, &str)]) -> Vec<String> {
        let mut found: Vec<Found> = found
            .iter()
            .map(|(port, program, folder)| Found {
                address: ([127, 0, 0, 1], *port).into(),
                holder: program.map(|name| Holder {
                    name: name.to_owned(),
                    pid: 1,
                }),
                folder: (!folder.is_empty()).then(|| folder.into()),
                speaks: super::super::probe::Speaks::Http,
                label: String::new(),
            })
            .collect();
        all(&mut found);
        found.into_iter().map(|found| found.label).collect()
    }

    #[test]
    fn a_site_is_named_after_its_folder_or_its_program() {
        let check = |program: Option<&str>, folder: &str, want: &str| {
            assert_eq!(
                named(&[(3000, program, folder)]),
                [want],
                "{program:?} {folder}"
            );
        };
        check(Some("node"), "/home/ann/shop", "shop");
        check(Some("node"), "/home/ann/My Shop_2.0!", "my-shop-2-0");
        check(Some("node"), "/home/ann", "node-3000");
        check(Some("node"), "/", "node-3000");
        check(Some("python3.11"), "", "python3-11-3000");
        check(Some("grafana"), "/usr/share/grafana", "grafana");
        check(Some("nginx"), "/var/www/blog", "blog");
        check(Some("prometheus"), "/var/lib/prometheus", "prometheus");
        check(Some("node"), "/root/tool", "tool");
        check(Some("x"), "/workspace", "workspace");
        check(Some("日本"), "", "app-3000");
        check(None, "", "app-3000");
        check(None, "/home/ann/xn--a", "xn-a");
        check(
            None,
            &format!("/srv/{}", "b".repeat(300)),
            &"b".repeat(LABEL_BYTES_MAX),
        );
    }

    #[test]
    fn every_name_is_its_own_and_a_host_name() {
        let found = [
            (3000, Some("node"), "/home/ann/shop"),
            (3001, Some("node"), "/home/ann/shop"),
            (3002, Some("node"), "/home/bob/shop-3001"),
            (3003, None, ""),
            (3004, Some("app-3003"), ""),
        ];
        let names = named(&found);
        assert_eq!(
            names,
            [
                "shop",
                "shop-3001",
                "shop-3001-3002",
                "app-3003",
                "app-3003-3004"
            ]
        );
        for name in names {
            HostName::parse(&format!("{name}.localhost")).unwrap();
        }
    }
}
