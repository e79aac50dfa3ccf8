//! The text of a `sites.yaml`.

use hostmux::config;
use hostmux::diagnostic::{Colour, Place, lines};

/// Any text is judged: it is a configuration, or has faults that can be shown.
pub fn holds(text: &str) {
    let env = |name: &str| (name == "PORT").then(|| "8080".to_owned());
    let checked = config::check(text, &env);
    assert_eq!(checked.config.is_some(), checked.errors() == 0);
    let lines = lines(text);
    for fault in &checked.found {
        assert!(!fault.message.is_empty());
        let Some(span) = checked.places.span(&fault.place) else {
            assert_eq!(fault.place, Place::File, "{fault:?}");
            continue;
        };
        // The end of the text is a place, too.
        let line = lines.get(span.line.wrapping_sub(1)).copied();
        let columns = line.unwrap_or_default().chars().count() + 1;
        assert!((1..=lines.len() + 1).contains(&span.line), "{fault:?}");
        assert!((1..=columns).contains(&span.column), "{fault:?}");
    }
    for colour in [Colour::Plain, Colour::Ansi] {
        let drawn = checked.render("sites.yaml", text, colour, 100);
        assert_eq!(drawn.is_empty(), checked.found.is_empty());
        let control = |c: char| c.is_control() && !matches!(c, '\n' | '\x1b');
        assert!(!drawn.contains(control), "{drawn:?}");
    }
    assert_eq!(checked.entries("sites.yaml").len(), checked.found.len());
}
