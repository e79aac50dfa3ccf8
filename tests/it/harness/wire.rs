//! HTTP/1.1 read by hand, as the other side of the proxy sees it.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::within;

/// Another handle on a socket.
pub(crate) fn handle(socket: &impl std::os::fd::AsFd) -> socket2::Socket {
    socket2::SockRef::from(socket).try_clone().unwrap()
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A socket, and what was received and not yet read.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    received: Vec<u8>,
    /// The same socket, for what only a socket can do.
    socket: socket2::Socket,
}

/// A request or an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// The head as it came, with the blank line.
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

/// An answer, as far as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// The body ended as its framing says.
    pub(crate) whole: bool,
    /// Statuses of interim answers before it.
    pub(crate) interim: Vec<u16>,
}

impl Wire {
    /// `socket`: another handle on what `stream` reads.
    pub(crate) fn new(stream: impl Stream + 'static, socket: socket2::Socket) -> Self {
        Self {
            stream: Box::new(stream),
            received: Vec::new(),
            socket,
        }
    }

    /// Sends and flushes. That the other side is gone is seen by reading.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_send(bytes).await;
    }

    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within(async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        })
        .await
    }

    /// Says that nothing more is sent.
    pub(crate) async fn end(&mut self) {
        let _ = within(self.stream.shutdown()).await;
    }

    /// Lets the system hold little of what comes.
    pub(crate) fn take_little(&self) {
        self.socket.set_recv_buffer_size(65536).unwrap();
    }

    /// Sends until the other side takes no more for a while; how much it took, or `most`.
    pub(crate) async fn send_until_stuck(&mut self, most: usize) -> usize {
        const A_WHILE: std::time::Duration = std::time::Duration::from_millis(500);
        let bytes = vec![0; 64 * 1024];
        let mut sent = 0;
        while sent < most {
            match tokio::time::timeout(A_WHILE, self.stream.write(&bytes)).await {
                Ok(written) => sent += written.unwrap(),
                Err(_) => break,
            }
        }
        sent
    }

    /// Sends as much as the other side takes at once.
    pub(crate) async fn try_send_some(&mut self, bytes: &[u8]) {
        let once = std::future::poll_fn(|cx| {
            let _ = std::pin::Pin::new(&mut self.stream).poll_write(cx, bytes);
            std::task::Poll::Ready(())
        });
        once.await;
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        let _ = self.socket.set_linger(Some(std::time::Duration::ZERO));
    }

    /// Receives more; 0 is the end, however it came.
    pub(crate) async fn receive(&mut self) -> usize {
        within(self.stream.read_buf(&mut self.received))
            .await
            .unwrap_or(0)
    }

    /// Everything up to the end.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.receive().await > 0 {}
        std::mem::take(&mut self.received)
    }

    /// Exactly so many bytes; fewer at the end.
    pub(crate) async fn exactly(&mut self, bytes: usize) -> Vec<u8> {
        while self.received.len() < bytes && self.receive().await > 0 {}
        let bytes = bytes.min(self.received.len());
        self.received.drain(..bytes).collect()
    }

    /// Up to and with a mark; `None` if the end came first.
    pub(crate) async fn up_to(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        loop {
            let found = self.received.windows(mark.len()).position(|at| at == mark);
            if let Some(at) = found {
                return Some(self.received.drain(..at + mark.len()).collect());
            }
            if self.receive().await == 0 {
                return None;
            }
        }
    }

    /// The next chunk of a body; empty at its end.
    pub(crate) async fn chunk(&mut self) -> Vec<u8> {
        let line = self.up_to(b"\r\n").await.unwrap();
        let size = std::str::from_utf8(&line).unwrap().trim();
        let data = self.exactly(usize::from_str_radix(size, 16).unwrap()).await;
        assert_eq!(self.exactly(2).await, b"\r\n");
        data
    }

    /// Reads a chunked body; whether it came to its end.
    pub(crate) async fn chunks(
        &mut self,
        body: &mut Vec<u8>,
        trailers: &mut Vec<(String, String)>,
    ) -> bool {
        loop {
            let Some(line) = self.up_to(b"\r\n").await else {
                return false;
            };
            let size = std::str::from_utf8(&line).unwrap().trim();
            let size = usize::from_str_radix(size, 16).unwrap();
            if size == 0 {
                break;
            }
            let data = self.exactly(size).await;
            let short = data.len() < size;
            body.extend(data);
            if short || self.exactly(2).await != b"\r\n" {
                return false;
            }
        }
        loop {
            match self.up_to(b"\r\n").await {
                None => return false,
                Some(line) if line == b"\r\n" => return true,
                Some(line) => trailers.extend(field(&line)),
            }
        }
    }
}

impl Message {
    pub(crate) fn first_line(&self) -> String {
        let end = self.head.windows(2).position(|at| at == b"\r\n").unwrap();
        text(&self.head[..end])
    }

    /// The request line's second word.
    pub(crate) fn target(&self) -> String {
        self.first_line().split(' ').nth(1).unwrap().to_owned()
    }

    pub(crate) fn fields(&self) -> Vec<(String, String)> {
        self.head
            .split_inclusive(|byte| *byte == b'\n')
            .skip(1)
            .filter_map(field)
            .collect()
    }

    /// All values of a name, joined.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        joined(&self.fields(), name)
    }

    pub(crate) fn text(&self) -> String {
        text(&self.body)
    }
}

impl Answer {
    /// All values of a name, joined.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        joined(&self.fields, name)
    }

    pub(crate) fn text(&self) -> String {
        text(&self.body)
    }
}

/// A line as name (lower case) and value; `None` for the blank line.
fn field(line: &[u8]) -> Option<(String, String)> {
    let line = text(line.trim_ascii_end());
    let (name, value) = line.split_once(':')?;
    Some((name.to_ascii_lowercase(), value.trim().to_owned()))
}

pub(crate) fn joined(fields: &[(String, String)], name: &str) -> Option<String> {
    let values: Vec<&str> = fields
        .iter()
        .filter(|(field, _)| field == name)
        .map(|(_, value)| value.as_str())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// Every byte as the character of its number: nothing is lost.
pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}
