//! Host names: their one spelling, and who answers for them.

use hostmux::host::{Authority, HostMap, HostName, HostPattern, canonical};

/// What parses prints to what parses to the same, and nothing odd is in it.
pub fn authority(text: &str) {
    if let Ok(authority) = Authority::parse(text) {
        let name = authority.name.as_ref();
        spelled(name);
        assert_eq!(name.to_ascii_lowercase(), name);
        assert_eq!(canonical(name).as_deref(), Ok(name), "{text:?}");
        let printed = match authority.port {
            Some(port) => format!("{name}:{port}"),
            None => name.to_owned(),
        };
        assert_eq!(Authority::parse(&printed), Ok(authority.clone()));
        // Neither case nor one trailing dot makes another name.
        let upper = text.to_ascii_uppercase();
        assert_eq!(Authority::parse(&upper), Ok(authority));
    }
    if let Ok(name) = canonical(text) {
        spelled(&name);
        assert_eq!(HostName::parse(text).unwrap().as_str(), name);
    }
    if let Ok(name) = HostName::parse(text) {
        spelled(name.as_str());
        assert_eq!(HostName::parse(&name.to_string()), Ok(name.clone()));
        assert_eq!(canonical(name.as_str()).as_deref(), Ok(name.as_str()));
        if let Some(parent) = name.parent() {
            assert!(!name.is_address());
            assert_eq!(canonical(parent).as_deref(), Ok(parent));
        }
    }
    if let Ok(pattern) = HostPattern::parse(text) {
        assert_eq!(HostPattern::parse(&pattern.to_string()), Ok(pattern));
    }
}

/// Nothing that ends a name, a field or a path stands in one.
fn spelled(name: &str) {
    let literal = name.starts_with('[');
    let fits = |byte: u8| match byte {
        b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' => true,
        b'_' => !literal,
        b'[' | b']' | b':' => literal,
        _ => false,
    };
    assert!(!name.is_empty() && name.bytes().all(fits), "{name:?}");
}

/// Lines before a blank one are patterns, lines behind it are asked for. The
/// map answers as a list would that is searched from its beginning.
pub fn host_map(text: &str) {
    let (patterns, asked) = text.split_once("\n\n").unwrap_or((text, text));
    let mut map = HostMap::default();
    let mut list: Vec<(HostPattern, usize)> = Vec::new();
    for (n, line) in patterns.lines().enumerate() {
        let Ok(pattern) = HostPattern::parse(line) else {
            continue;
        };
        let before = list.iter().position(|(other, _)| *other == pattern);
        let before = before.map(|at| list.remove(at).1);
        assert_eq!(map.insert(pattern.clone(), n), before);
        list.push((pattern, n));
    }
    assert_eq!((map.len(), map.is_empty()), (list.len(), list.is_empty()));
    assert_eq!(map.values().count(), list.len());
    for (pattern, n) in &list {
        assert_eq!(map.of(pattern), Some(n));
    }
    let names = asked.lines().filter_map(|line| canonical(line).ok());
    for name in names {
        let exact = list.iter().find(|(pattern, _)| pattern.to_string() == name);
        // A wildcard stands for one label, of what is no address.
        let address = name.starts_with('[') || name.parse::<std::net::Ipv4Addr>().is_ok();
        let above = name
            .split_once('.')
            .map(|(_, parent)| format!("*.{parent}"));
        let above = above.filter(|_| !address);
        let wildcard = list
            .iter()
            .find(|(pattern, _)| Some(pattern.to_string()) == above);
        assert_eq!(map.get(&name), exact.or(wildcard).map(|(_, n)| n), "{name}");
        let holds = list.iter().any(|(pattern, _)| pattern.holds(&name));
        assert_eq!(map.get(&name).is_some(), holds, "{name}");
    }
}
