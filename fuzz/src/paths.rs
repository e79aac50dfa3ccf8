//! Paths: however one is spelled, it has one route, and no endpoint is asked for
//! a path of another's.

use hostmux::path::spelling::{normal, resolve};
use hostmux::path::{PathPrefix, longest};

/// In their order: the longest first.
const ROUTES: [&str; 6] = ["/admin/x", "/admin", "/a%20b", "/@x", "/s", "/"];

/// Any reader of what is sent finds the route that was found.
pub fn route(text: &str) {
    if let Ok(prefix) = PathPrefix::parse(text) {
        assert_eq!(normal(prefix.as_str()), prefix.as_str());
        assert_eq!(PathPrefix::parse(prefix.as_str()), Ok(prefix));
    }
    let path = format!("/{text}");
    if path.contains(['\\', '?', '#']) || path.contains("%00") {
        return; // refused before, or no path
    }
    let prefixes = ROUTES.map(|prefix| PathPrefix::parse(prefix).unwrap());
    let find = |path: &str| longest(&prefixes, |prefix| prefix, path).unwrap();
    let whole = normal(&path);
    assert!(!whole.contains("//") && whole.starts_with('/'), "{whole}");
    assert!(
        whole
            .split('/')
            .all(|segment| segment != "." && segment != "..")
    );
    assert_eq!(normal(&whole), whole);
    let Ok((found, sent)) = resolve(&path, find) else {
        return;
    };
    let route = &prefixes[found];
    assert_eq!(normal(&sent), whole, "{path}");
    assert_eq!(find(&whole), found, "{path}");
    assert_eq!(find(&sent), found, "{path}: a reader of {sent}");
    let eager = read_eagerly(&sent);
    assert_eq!(find(&normal(&eager)), found, "{path}: a reader of {sent}");
    // What is stripped is what stands behind the prefix, and nothing above it.
    let stripped = route.strip(&sent);
    let below = match whole.strip_prefix(route.as_str()) {
        _ if route.is_root() => &whole,
        Some("") => "/",
        Some(below) => below,
        None => panic!("{path} is not in {route}"),
    };
    assert_eq!(normal(&stripped), below, "{path}");
    assert!(stripped.starts_with('/'));
    assert!(route.is_root() || !stripped.starts_with("//"), "{path}");
}

/// As a server that decodes first, and drops parameters of segments.
fn read_eagerly(path: &str) -> String {
    let mut decoded = path.to_owned();
    for (escape, text) in [
        ("%2f", "/"),
        ("%5c", "/"),
        ("%3b", ";"),
        ("%2e", "."),
        ("%40", "@"),
    ] {
        decoded = decoded
            .replace(escape, text)
            .replace(&escape.to_uppercase(), text);
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}
