//! Where the frames of a WebSocket end, in one direction (RFC 6455 §5.2).
//!
//! Follows what passes from header to header and looks at nothing else: a
//! frame of our own may stand only between two. Pure, and keeps no byte of what
//! it has seen but the begin of a header that is not there whole.

/// Opcode, length, and the longest form of it; the mask is counted to the payload.
const HEADER_BYTES_MAX: usize = 10;
const MASK_BYTES: u64 = 4;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
/// RFC 6455 §5.5.1: nothing follows it.
const CLOSE: u8 = 0x8;

/// One direction of a WebSocket, as far as it has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Frames {
    /// What came of a header that is not whole.
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: u8,
    /// What is left of a frame behind its header.
    left_bytes: u64,
    closes: Closes,
}

/// Whether the side that sends has said its last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Closes {
    #[default]
    No,
    /// With the frame under way, or one before it.
    Yes,
    /// What passes is no WebSocket: no frame of it ends.
    Never,
}

impl Frames {
    /// All of these bytes have passed.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.hop(bytes)..];
        }
    }

    /// How many of these bytes belong to the frame under way; none where one
    /// has just ended.
    pub(super) fn rest(&self, bytes: &[u8]) -> usize {
        if self.is_between() {
            return 0;
        }
        let mut ahead = *self;
        ahead.hop(bytes)
    }

    /// Whether a frame has ended here and no other has begun.
    pub(super) fn is_between(&self) -> bool {
        self.header_bytes == 0 && self.left_bytes == 0 && self.closes != Closes::Never
    }

    /// Whether a Close frame has passed, whole.
    pub(super) fn is_closed(&self) -> bool {
        self.closes == Closes::Yes && self.is_between()
    }

    /// Up to the end of the frame that is under way or begins here; how many
    /// bytes that is of these.
    fn hop(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        if self.left_bytes == 0 {
            loop {
                let Some(byte) = bytes.get(taken) else {
                    return taken;
                };
                self.header[usize::from(self.header_bytes)] = *byte;
                self.header_bytes += 1;
                taken += 1;
                if self.begins() {
                    break;
                }
            }
        }
        let rest = bytes.len() - taken;
        let skipped = usize::try_from(self.left_bytes).map_or(rest, |left| left.min(rest));
        if self.closes != Closes::Never {
            self.left_bytes -= skipped as u64;
        }
        taken + skipped
    }

    /// Whether the header is whole, so that its frame begins.
    fn begins(&mut self) -> bool {
        let header = &self.header[..usize::from(self.header_bytes)];
        let [first, second, more @ ..] = header else {
            return false;
        };
        let long = match second & LENGTH {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if more.len() < long {
            return false;
        }
        let length = match long {
            0 => u64::from(second & LENGTH),
            _ => more
                .iter()
                .fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        let mask = match second & MASKED {
            0 => 0,
            _ => MASK_BYTES,
        };
        if first & OPCODE == CLOSE {
            self.closes = Closes::Yes;
        }
        // The most significant bit of a length must be 0.
        if length > u64::MAX >> 1 {
            self.closes = Closes::Never;
        }
        self.left_bytes = length.saturating_add(mask);
        self.header_bytes = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame with a header of this opcode and length, masked or not.
    fn frame(opcode: u8, length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { MASKED } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match length {
            0..126 => frame.push(mask | length as u8),
            126..65536 => {
                frame.push(mask | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        // Bytes that would be a header, if they were taken for one.
        frame.extend(std::iter::repeat_n(
            0x88,
            length + if masked { 4 } else { 0 },
        ));
        frame
    }

    #[test]
    fn a_frame_ends_where_its_header_says() {
        for (length, header) in [
            (0, 2),
            (1, 2),
            (125, 2),
            (126, 4),
            (65535, 4),
            (65536, 10),
            (70000, 10),
        ] {
            for (masked, mask) in [(false, 0), (true, 4)] {
                let bytes = frame(2, length, masked);
                assert_eq!(bytes.len(), header + mask + length);
                let mut frames = Frames::default();
                assert!(frames.is_between());
                frames.pass(&bytes[..bytes.len() - 1]);
                assert!(!frames.is_between(), "{length} {masked}");
                frames.pass(&bytes[bytes.len() - 1..]);
                assert!(frames.is_between(), "{length} {masked}");
                assert_eq!(frames.rest(&[0x81, 0x00]), 0);
                assert!(!frames.is_closed());
            }
        }
    }

    #[test]
    fn a_close_frame_is_the_last_once_it_is_whole() {
        for (close, whole) in [
            (frame(8, 0, false), true),
            (frame(8, 2, true), true),
            (frame(9, 2, true), false),
            ([frame(1, 3, false), frame(8, 2, false)].concat(), true),
        ] {
            let mut frames = Frames::default();
            for byte in &close {
                assert!(!frames.is_closed());
                frames.pass(&[*byte]);
            }
            assert_eq!(frames.is_closed(), whole);
        }
    }

    #[test]
    fn the_rest_of_a_frame_is_what_is_left_of_it() {
        for (passed, rest) in [(0, 0), (1, 8), (2, 7), (5, 4), (8, 1), (9, 0)] {
            let bytes = [frame(1, 3, true), frame(2, 5, true)].concat();
            let mut frames = Frames::default();
            frames.pass(&bytes[..passed]);
            assert_eq!(frames.rest(&bytes[passed..]), rest, "{passed}");
        }
    }

    /// RFC 6455 §5.2: a length has 63 bits. Where it has not, nobody knows
    /// where a frame could stand.
    #[test]
    fn what_is_no_websocket_has_no_place_for_a_frame() {
        let mut frames = Frames::default();
        frames.pass(&[0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        frames.pass(b"anything");
        assert!(!frames.is_between() && !frames.is_closed());
        assert_eq!(frames.rest(b"anything"), 8);
        let mut longest = Frames::default();
        longest.pass(&[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        longest.pass(&[0; 4]);
        assert_eq!(longest.left_bytes, u64::MAX >> 1);
    }

    fn any_frame() -> impl Strategy<Value = Vec<u8>> {
        let length = prop_oneof![
            4 => 0..4usize,
            2 => 120..130usize,
            1 => 65530..65540usize,
        ];
        (0..16u8, length, any::<bool>()).prop_map(|(opcode, length, masked)| {
            // One that closes would be the last.
            frame(if opcode == 8 { 9 } else { opcode }, length, masked)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 64,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// However the bytes come, the frames end at the same places.
        #[test]
        fn any_split_has_the_same_ends(
            parts in prop::collection::vec(any_frame(), 1..8),
            cuts in prop::collection::vec(1..40usize, 1..40),
        ) {
            let bytes = parts.concat();
            let mut ends = Vec::new();
            let mut end = 0;
            for part in &parts {
                end += part.len();
                ends.push(end);
            }
            let (mut frames, mut at, mut sizes) = (Frames::default(), 0, cuts.iter().cycle());
            // Small pieces, and now and then all that is left of a long payload.
            while at < bytes.len() {
                let size = *sizes.next().expect("a cycle has no end");
                let size = if size == 39 { bytes.len() } else { size };
                let piece = &bytes[at..bytes.len().min(at + size)];
                let next = ends.iter().find(|end| **end > at).expect("one is the last");
                if !frames.is_between() {
                    prop_assert_eq!(frames.rest(piece), piece.len().min(next - at));
                }
                frames.pass(piece);
                at += piece.len();
                prop_assert_eq!(frames.is_between(), ends.contains(&at), "at {}", at);
            }
            prop_assert!(frames.is_between());
        }
    }
}
