//! What an endpoint says: a head, and a chunked body.

use bytes::BytesMut;
use hostmux::framing::Framing;
use hostmux::framing::chunks::{Broken, Chunks, Piece};
use hostmux::upstream::h1::{self, HEAD_BYTES_MAX, HEADER_LINES_MAX, Malformed};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING, UPGRADE};
use http::{Method, StatusCode};

/// No chunk line and no trailer section that is waited for is longer.
const CHUNKS_HELD_MAX: usize = 16 * 1024;

/// The first byte says how long the pieces are; what they give is the same.
pub fn head(input: &[u8]) {
    let Some((first, input)) = input.split_first() else {
        return;
    };
    let method = match first & 0x80 {
        0 => Method::GET,
        _ => Method::HEAD,
    };
    let whole = of_head(&mut BytesMut::from(input), &method);
    let mut received = BytesMut::new();
    let mut pieces = Ok(None);
    let mut taken = 0;
    for piece in input.chunks(piece_bytes(*first)) {
        received.extend_from_slice(piece);
        taken += piece.len();
        pieces = of_head(&mut received, &method);
        if !matches!(pieces, Ok(None)) {
            break;
        }
        assert!(received.len() < HEAD_BYTES_MAX);
        assert_eq!(received.len(), taken);
    }
    match (&whole, &pieces) {
        (Err(_), Err(_)) => {}
        _ => assert_eq!(whole, pieces),
    }
    if let Ok(Some(_)) = pieces {
        let behind = &input[taken - received.len()..taken];
        assert_eq!(received, behind, "what stands behind the head is kept");
    }
}

/// Reads a head, and holds it against what it may say; all of it, to compare.
fn of_head(received: &mut BytesMut, method: &Method) -> Result<Option<String>, Malformed> {
    let before = received.len();
    let Some(head) = h1::head(received, method)? else {
        return Ok(None);
    };
    assert!(before - received.len() <= HEAD_BYTES_MAX);
    assert!(head.headers.len() <= HEADER_LINES_MAX);
    for name in [CONNECTION, TRANSFER_ENCODING] {
        assert!(!head.headers.contains_key(name));
    }
    for name in ["keep-alive", "proxy-connection"] {
        assert!(!head.headers.contains_key(name));
    }
    let switched = head.status == StatusCode::SWITCHING_PROTOCOLS;
    assert!(switched || !head.headers.contains_key(UPGRADE));
    let length = length(&head.headers);
    match head.framing {
        Framing::Chunked => assert_eq!(length, None),
        Framing::Length(bytes) if bytes > 0 => assert_eq!(length, Some(bytes)),
        Framing::Length(_) => {}
        Framing::UntilClose => assert!(!head.keep_alive && length.is_none()),
    }
    Ok(Some(format!("{head:?}")))
}

/// The one length there is.
fn length(headers: &HeaderMap) -> Option<u64> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next()?.to_str().unwrap();
    assert_eq!(lengths.next(), None);
    assert!(length.bytes().all(|byte| byte.is_ascii_digit()));
    Some(length.parse().unwrap())
}

/// The first byte says how long the pieces are; what they give is the same.
pub fn chunks(input: &[u8]) {
    let Some((first, input)) = input.split_first() else {
        return;
    };
    let whole = of_chunks(std::iter::once(input));
    let pieces = of_chunks(input.chunks(piece_bytes(*first)));
    assert_eq!(whole, pieces);
}

fn of_chunks<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Body {
    let mut chunks = Chunks::default();
    let mut received = BytesMut::new();
    let mut body = Body::default();
    for piece in pieces {
        received.extend_from_slice(piece);
        while body.ended.is_none() {
            match chunks.next(&mut received) {
                Ok(Piece::Data(data)) => {
                    assert!(!data.is_empty());
                    body.data.extend_from_slice(&data);
                }
                Ok(Piece::Trailers(trailers)) => {
                    assert!(!trailers.is_empty() && body.trailers.is_none());
                    body.trailers = Some(trailers);
                }
                Ok(Piece::End) => body.ended = Some(Ok(())),
                Ok(Piece::Wanting) => {
                    assert!(received.len() < CHUNKS_HELD_MAX);
                    break;
                }
                Err(broken) => body.ended = Some(Err(broken)),
            }
        }
    }
    assert_eq!(chunks.is_ended(), body.ended == Some(Ok(())));
    if chunks.is_ended() {
        body.behind = received.to_vec();
    }
    for name in [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION] {
        let trailers = body.trailers.iter();
        assert!(
            !trailers
                .into_iter()
                .any(|fields| fields.contains_key(&name))
        );
    }
    body
}

/// All that a chunked body gave.
#[derive(Debug, Default, PartialEq)]
struct Body {
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    ended: Option<Result<(), Broken>>,
    /// The beginning of the next answer.
    behind: Vec<u8>,
}

fn piece_bytes(first: u8) -> usize {
    match first & 0x3f {
        0 => 700,
        bytes => usize::from(bytes),
    }
}
