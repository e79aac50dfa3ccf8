//! `backend`: swallows uploads and echoes WebSocket messages.
//!
//! nginx, which answers everything else in `scripts/bench`, can do neither:
//! it answers before it has read an upload, or writes it to a file.

use std::{net::SocketAddr, thread};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::{JoinSet, LocalSet},
};

use crate::websocket::{ACCEPT, BINARY, KEY, MASKED};

/// Received at once.
const RECEIVE_BYTES: usize = 256 << 10;
/// Header lines that are looked at.
const HEADERS_MAX: usize = 64;
/// Accepted connections that wait for their thread.
const WAITING_MAX: usize = 4096;
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";

/// Serves until the process is ended; connections go to the threads in turn.
pub(crate) fn serve(listen: SocketAddr, threads: usize) -> Result<()> {
    let mut hands = Vec::new();
    for _ in 0..threads.max(1) {
        let (hand, taken) = mpsc::channel(WAITING_MAX);
        thread::spawn(move || serve_thread(taken));
        hands.push(hand);
    }
    runtime()?.block_on(async {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("listening on {listen}"))?;
        println!("ready");
        for hand in hands.iter().cycle() {
            let (tcp, _) = listener.accept().await?;
            tcp.set_nodelay(true)?;
            hand.send(tcp.into_std()?).await?;
        }
        Ok(())
    })
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?)
}

fn serve_thread(mut taken: mpsc::Receiver<std::net::TcpStream>) -> Result<()> {
    let local = LocalSet::new();
    local.block_on(&runtime()?, async {
        let mut serving = JoinSet::new();
        while let Some(tcp) = taken.recv().await {
            // A connection that fails is one that the proxy ended or broke: it sees that itself.
            serving.spawn_local(serve_connection(TcpStream::from_std(tcp)?));
            while serving.try_join_next().is_some() {}
        }
        Ok(())
    })
}

async fn serve_connection(mut tcp: TcpStream) -> Result<()> {
    let mut buffer = vec![0; RECEIVE_BYTES];
    let mut filled = 0;
    loop {
        let Some((long, request)) = parse(&buffer[..filled])? else {
            match tcp.read(&mut buffer[filled..]).await? {
                0 => return Ok(()),
                came => filled += came,
            }
            continue;
        };
        let mut missing = match request {
            Request::WebSocket => {
                buffer.copy_within(long..filled, 0);
                return echo(tcp, buffer, filled - long).await;
            }
            Request::Body(bytes) => bytes,
        };
        // What follows the head is body; one request waits for the other's answer.
        missing = missing.saturating_sub((filled - long) as u64);
        while missing > 0 {
            match tcp.read(&mut buffer).await? {
                0 => bail!("closed within a body"),
                came => missing = missing.saturating_sub(came as u64),
            }
        }
        filled = 0;
        tcp.write_all(OK).await?;
    }
}

enum Request {
    WebSocket,
    /// With a body of this length.
    Body(u64),
}

/// The head at the front of `bytes` and its length; `None` when it is not complete.
fn parse(bytes: &[u8]) -> Result<Option<(usize, Request)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(long) = request.parse(bytes)? else {
        return Ok(None);
    };
    let value = |name: &str| {
        let header = request
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name));
        header.map(|header| String::from_utf8_lossy(header.value))
    };
    if value("upgrade").is_some() {
        if value("sec-websocket-key").as_deref() != Some(KEY) {
            bail!("another key than the one whose answer is known");
        }
        return Ok(Some((long, Request::WebSocket)));
    }
    if value("transfer-encoding").is_some() {
        bail!("a body of unknown length");
    }
    let body = value("content-length").map_or(Ok(0), |text| text.trim().parse())?;
    Ok(Some((long, Request::Body(body))))
}

/// Sends every message back; ends at anything but a short binary one.
async fn echo(mut tcp: TcpStream, mut buffer: Vec<u8>, mut filled: usize) -> Result<()> {
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    );
    tcp.write_all(answer.as_bytes()).await?;
    let mut answers = Vec::new();
    loop {
        let mut used = 0;
        while let Some((head, mask_and_more)) = buffer[used..filled].split_first_chunk::<2>() {
            let long = usize::from(head[1] & !MASKED);
            if head[0] != BINARY || head[1] & MASKED == 0 || long > 125 {
                return Ok(());
            }
            let Some((mask, masked)) = mask_and_more.split_first_chunk::<4>() else {
                break;
            };
            let Some(masked) = masked.get(..long) else {
                break;
            };
            answers.extend([BINARY, long as u8]);
            answers.extend(
                masked
                    .iter()
                    .zip(mask.iter().cycle())
                    .map(|(byte, mask)| byte ^ mask),
            );
            used += 2 + mask.len() + long;
        }
        tcp.write_all(&answers).await?;
        answers.clear();
        buffer.copy_within(used..filled, 0);
        filled -= used;
        match tcp.read(&mut buffer[filled..]).await? {
            0 => return Ok(()),
            came => filled += came,
        }
    }
}
