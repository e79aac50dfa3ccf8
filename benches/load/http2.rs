//! One GET over HTTP/2, by hand: all that an idle connection needs to be a real one.

use anyhow::{Context, Result, bail};

use crate::stream::Stream;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Of a frame (RFC 9113 §4.1).
const HEAD_BYTES: usize = 9;
/// `:status 200` in HPACK's static table (RFC 7541 appendix A).
const STATUS_200: u8 = 0x88;

/// Sends the preface and a GET on stream 1; waits for its answer, which must be a 200.
pub(crate) async fn ask_once(stream: &mut Stream, host: &str, path: &str) -> Result<()> {
    let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    Frame::put(&mut hello, SETTINGS, 0, 0, &[]);
    let (flags, block) = (END_STREAM | END_HEADERS, request(host, path)?);
    Frame::put(&mut hello, HEADERS, flags, 1, &block);
    stream.send(&hello).await?;
    let (mut settled, mut answered) = (false, false);
    let mut came = Vec::new();
    while !(settled && answered) {
        stream
            .receive(|bytes| {
                came.extend_from_slice(bytes);
                Ok(())
            })
            .await?;
        while let Some(frame) = Frame::take(&mut came) {
            let ours = frame.stream == 1;
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => {
                    let mut answer = Vec::new();
                    Frame::put(&mut answer, SETTINGS, ACK, 0, &[]);
                    stream.send(&answer).await?;
                    settled = true;
                }
                HEADERS if ours && !frame.payload.contains(&STATUS_200) => {
                    bail!("the status is not 200")
                }
                HEADERS | DATA if ours => answered |= frame.flags & END_STREAM != 0,
                RST_STREAM | GOAWAY => bail!("refused: frame type {}", frame.kind),
                _ => {}
            }
        }
    }
    Ok(())
}

/// GET, https, path and authority in HPACK, literally where the static table has no value.
fn request(host: &str, path: &str) -> Result<Vec<u8>> {
    let mut block = vec![0x82, 0x87];
    for (name, value) in [(0x04, path), (0x01, host)] {
        let long = u8::try_from(value.len()).ok().filter(|long| *long < 0x7f);
        block.extend([name, long.context("a path or host longer than 126 bytes")?]);
        block.extend(value.as_bytes());
    }
    Ok(block)
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    fn put(to: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        to.extend(&(payload.len() as u32).to_be_bytes()[1..]);
        to.extend([kind, flags]);
        to.extend(stream.to_be_bytes());
        to.extend(payload);
    }

    /// Takes one from the front; `None` when it is not complete.
    fn take(came: &mut Vec<u8>) -> Option<Self> {
        let &[a, b, c, kind, flags, ref stream @ ..] = came.first_chunk::<HEAD_BYTES>()?;
        let stream = u32::from_be_bytes(*stream) & !(1 << 31);
        let end = HEAD_BYTES + u32::from_be_bytes([0, a, b, c]) as usize;
        if came.len() < end {
            return None;
        }
        let payload = came.drain(..end).skip(HEAD_BYTES).collect();
        Some(Self {
            kind,
            flags,
            stream,
            payload,
        })
    }
}
