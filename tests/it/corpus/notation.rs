//! How a corpus is written down, so that any byte can be read and changed by hand.
//!
//! ```text
//! // a comment
//! # Topic | where its rule stands
//! > POST / HTTP/1.1\r\nhost: a.test\r\n{}\r\n\r\n      what surrounds the cases below
//! the name of a case | its verdict | what stands in the place of {}
//! ```
//!
//! `a or b`: both are right. `a ~ b`: a is right, b is what is known to happen
//! because the library below decides it; the document says so.
//!
//! In bytes: `\r \n \t \0 \s` (a space), `\xNN`, `\\ \{ \}`, and `{TEXT*COUNT}`
//! for what is repeated. All else stands for itself.

/// One case of a corpus.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) topic: &'static str,
    /// The paragraph that decides it.
    pub(crate) rule: &'static str,
    pub(crate) name: String,
    /// What must be seen.
    pub(crate) verdict: String,
    /// Its text, within what surrounds it, not yet read as bytes.
    pub(crate) text: String,
}

impl Case {
    /// What it says of a message that is clean, if it may be.
    pub(crate) fn clean(&self) -> &str {
        let mut verdicts = self.verdict.split(" ~ ").flat_map(|v| v.split(" or "));
        verdicts.find(|v| v.starts_with("clean")).unwrap_or("")
    }

    /// What is right, without what is known to be seen in its place.
    pub(crate) fn right(&self) -> &str {
        self.verdict.split(" ~ ").next().unwrap_or_default()
    }

    /// Whether this is the right verdict, or one of several. A request that is
    /// `malformed` is a stream error, before which an answer may go (RFC 9113
    /// §8.1.1) and that may end the connection (§5.4.1).
    pub(crate) fn is_right(&self, seen: &str) -> bool {
        self.right().split(" or ").any(|verdict| match verdict {
            "malformed" => matches!(
                seen,
                "stream PROTOCOL_ERROR" | "refused 400" | "connection PROTOCOL_ERROR"
            ),
            other => other == seen,
        })
    }

    /// Whether it is right, or the known way in which it is not.
    pub(crate) fn admits(&self, seen: &str) -> bool {
        let known = self.verdict.split_once(" ~ ").map(|(_, known)| known);
        self.is_right(seen) || known == Some(seen)
    }
}

/// Reads a corpus; panics at a line that cannot be read.
pub(crate) fn cases(corpus: &'static str) -> Vec<Case> {
    let (mut topic, mut rule, mut around) = ("", "", "{}");
    let mut cases: Vec<Case> = Vec::new();
    for line in corpus.lines() {
        if line.is_empty() || line.starts_with("//") {
            continue;
        }
        if let Some(heading) = line.strip_prefix("# ") {
            (topic, rule) = heading.split_once(" | ").expect("a topic has its rule");
            around = "{}";
        } else if let Some(text) = line.strip_prefix("> ") {
            around = text;
        } else {
            let parts: Vec<&str> = line.splitn(3, " | ").collect();
            let [name, verdict, text] = parts[..] else {
                panic!("a case has three parts: {line}");
            };
            cases.push(Case {
                topic,
                rule,
                name: name.trim().to_owned(),
                verdict: verdict.trim().to_owned(),
                text: around.replace("{}", text),
            });
        }
    }
    let mut names: Vec<_> = cases.iter().map(|case| (case.topic, &case.name)).collect();
    names.sort_unstable();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
    assert_eq!(twice, None, "a name stands for one case");
    cases
}

/// The bytes that a text stands for.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match first {
            b'\\' => {
                let (name, behind) = rest.split_first().expect("an escape has a name");
                rest = behind;
                out.push(match name {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'0' => 0,
                    b's' => b' ',
                    b'x' => {
                        let digits = std::str::from_utf8(&rest[..2]).unwrap();
                        rest = &rest[2..];
                        u8::from_str_radix(digits, 16).unwrap()
                    }
                    b'\\' | b'{' | b'}' => *name,
                    other => panic!("\\{} in {text}", char::from(*other)),
                });
            }
            b'{' => {
                let end = closing(rest).expect("a repeat is closed");
                let inner = std::str::from_utf8(&rest[..end]).unwrap();
                rest = &rest[end + 1..];
                let (what, count) = inner.rsplit_once('*').expect("a repeat has a count");
                let what = bytes(what);
                for _ in 0..count.parse().unwrap() {
                    out.extend_from_slice(&what);
                }
            }
            other => out.push(*other),
        }
    }
    out
}

/// Where the brace closes that was opened before; one may stand in another.
fn closing(text: &[u8]) -> Option<usize> {
    let (mut depth, mut escaped) = (0, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => depth += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[test]
fn a_text_stands_for_its_bytes() {
    assert_eq!(bytes(r"a\r\n\0\x7f\s\\"), b"a\r\n\0\x7f \\");
    assert_eq!(bytes(r"{ab*3}{\r\n*2}\{*\}"), b"ababab\r\n\r\n{*}");
    assert_eq!(bytes(r"{x{y*2}*2}"), b"xyyxyy");
    let read = cases("# t | r\n> <{}>\n// no\none | clean | a | b\n");
    assert_eq!((read.len(), read[0].text.as_str()), (1, "<a | b>"));
}
