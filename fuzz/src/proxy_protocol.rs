//! The header of a proxy before us.

use hostmux::server::proxy_protocol::{BYTES_MAX, read};

/// Received piece by piece, it is what it is as a whole.
pub fn holds(input: &[u8]) {
    let whole = read(input);
    if let Ok(Some(header)) = whole {
        assert!((8..=BYTES_MAX).contains(&header.bytes) && header.bytes <= input.len());
        assert_eq!(read(&input[..header.bytes]), whole);
    }
    let ends = (0..input.len()).take(BYTES_MAX + 1);
    let known = ends.map(|end| (end, read(&input[..end])));
    let mut known = known.skip_while(|(_, read)| matches!(read, Ok(None)));
    let Some((end, first)) = known.next() else {
        assert!(whole != Ok(None) || input.len() < BYTES_MAX);
        return;
    };
    assert_eq!(first.is_err(), whole.is_err(), "after {end} bytes");
    if first.is_ok() {
        assert_eq!(first, whole);
    }
}
