//! The endpoint behind a corpus: writes down what reached it, and judges
//! whether it is what an endpoint should ever get.

use std::sync::{Arc, Mutex};

use crate::harness::{Backend, Conn, Message};

/// An endpoint that answers every request with 200 and its target.
pub(super) struct Endpoint {
    backend: Backend,
    log: Arc<Mutex<Log>>,
}

/// What reached an endpoint.
#[derive(Clone, Default)]
pub(super) struct Log {
    /// Heads that came, whether or not their body came whole.
    pub(super) begun: usize,
    pub(super) whole: Vec<Message>,
}

impl Endpoint {
    pub(super) async fn new() -> Self {
        let log = Arc::new(Mutex::new(Log::default()));
        let writes = log.clone();
        let backend = Backend::script(move |conn| serve(conn, writes.clone())).await;
        Self { backend, log }
    }

    pub(super) fn at(&self) -> &str {
        self.backend.at()
    }

    /// What came since this was asked last.
    pub(super) fn news(&self) -> Log {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";

async fn serve(mut conn: Conn, log: Arc<Mutex<Log>>) {
    while let Some(mut request) = conn.head().await {
        log.lock().unwrap().begun += 1;
        if request.field("expect").is_some() {
            conn.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        }
        if !conn.body(&mut request).await {
            return;
        }
        log.lock().unwrap().whole.push(request.clone());
        if request.field("upgrade").is_some() {
            conn.send(SWITCHED).await;
            return conn.closed().await;
        }
        conn.send(answer(&request)).await;
    }
}

/// 200, with the target it is for.
fn answer(request: &Message) -> String {
    let body = match request.first_line().starts_with("HEAD ") {
        true => "",
        false => "served",
    };
    let target = request.target();
    let target = &target[..target.len().min(64)];
    format!(
        "HTTP/1.1 200 OK\r\nx-target: {}\r\ncontent-length: 6\r\n\r\n{body}",
        target.escape_default()
    )
}

/// Fields of a connection, which end at the proxy (RFC 9110 §7.6.1), and those
/// whose names collide with others.
fn ends_here(name: &str) -> bool {
    matches!(
        name,
        "keep-alive" | "proxy-connection" | "proxy-authorization" | "http2-settings"
    ) || name.contains('_')
}

/// What we say about the client, each once. Nothing of it is the client's own.
const OURS: [&str; 7] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-real-ip",
    "forwarded",
    "x-request-id",
];

/// What the corpora put into fields that a client may not set.
const SPOOFED: [&str; 2] = ["6.6.6.6", "evil"];

/// What is wrong with a request as the endpoint got it.
pub(super) fn faults(request: &Message) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |what: String| faults.push(what);
    let head = &request.head[..request.head.len() - 4];
    let lines: Vec<&[u8]> = split(head);
    for line in &lines {
        let odd = |byte: &u8| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f;
        if line.iter().any(odd) {
            fault(format!("control character in {:?}", shown(line)));
        }
    }
    let words: Vec<&[u8]> = lines[0].split(|byte| *byte == b' ').collect();
    let target = words.get(1).copied().unwrap_or_default();
    let formed = words.len() == 3
        && is_token(words[0])
        && words[2] == b"HTTP/1.1"
        && (target.starts_with(b"/") || (target == b"*" && words[0] == b"OPTIONS"))
        && !target.contains(&b'#');
    if !formed {
        fault(format!("request line {:?}", shown(lines[0])));
    }
    for line in &lines[1..] {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(0);
        if !is_token(&line[..colon]) {
            fault(format!("field line {:?}", shown(line)));
        }
    }
    let count = |name: &str| {
        let fields = request.fields();
        fields.iter().filter(|field| field.0 == name).count()
    };
    if count("host") != 1 {
        fault("not one host".into());
    }
    if count("content-length") + count("transfer-encoding") > 1 {
        fault("framed twice".into());
    }
    if !matches!(
        request.field("transfer-encoding").as_deref(),
        None | Some("chunked")
    ) {
        fault("a coding of its own".into());
    }
    let connection = request.field("connection");
    let hop = match connection.as_deref() {
        None => request.field("te").is_none() && request.field("upgrade").is_none(),
        Some("te") => request.field("te").as_deref() == Some("trailers"),
        Some("upgrade") => request.field("upgrade").as_deref() == Some("websocket"),
        Some(_) => false,
    };
    if !hop {
        fault(format!("connection {connection:?}"));
    }
    for (name, value) in request.fields() {
        if ends_here(&name) {
            fault(format!("{name} passed"));
        }
        let spoofed = OURS.contains(&name.as_str()) && SPOOFED.iter().any(|s| value.contains(s));
        if spoofed {
            fault(format!("{name} is the client's"));
        }
    }
    for name in OURS {
        if count(name) != 1 {
            fault(format!("{} of {name}", count(name)));
        }
    }
    for (name, value) in &request.trailers {
        let framing = matches!(
            name.as_str(),
            "host"
                | "content-length"
                | "transfer-encoding"
                | "trailer"
                | "te"
                | "connection"
                | "upgrade"
                | "authorization"
                | "cookie"
        );
        if framing || ends_here(name) || OURS.contains(&name.as_str()) {
            fault(format!("trailer {name}: {value}"));
        }
    }
    faults
}

fn split(head: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = head;
    while let Some(at) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    lines
}

/// RFC 9110 §5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    let in_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(in_token)
}

fn shown(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(80)];
    bytes.escape_ascii().to_string()
}
