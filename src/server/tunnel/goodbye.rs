//! The end of a WebSocket that neither side has asked for: 1001, "going away".
//!
//! Each side is sent what is left of the frame that it was being sent, and a
//! Close frame behind it; then its own is waited for. What it sends meanwhile
//! has no one to go to. Who does not answer in time is cut.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::{Client, Sink, Source, Way};
use crate::rt::{self, clock::Wait};
use crate::upstream::client::wire::Wire;

/// How long a tunnel's goodbye may take, from when it is told to leave.
pub const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// RFC 6455 §5.5.1 and §7.4.1: a Close frame of two bytes, which say 1001.
const CLOSE: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];
const MASKED: u8 = 0x80;

/// The frame as a client has to send it: masked, and nobody can tell how
/// (RFC 6455 §5.3).
fn masked(mask: [u8; 4]) -> [u8; 8] {
    let [first, second, high, low] = CLOSE;
    let [m0, m1, m2, m3] = mask;
    [first, second | MASKED, m0, m1, m2, m3, high ^ m0, low ^ m1]
}

/// One direction on its way to the end.
pub(super) struct Leaving<'w> {
    way: &'w mut Way,
    step: Step,
    /// The sink has got its last: our Close frame, or one of the source's, or its end.
    told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// What is left of the frame under way.
    Frame,
    /// Ours, the last that the sink gets.
    Close,
    /// What the source says until it has closed.
    Answer,
    Over,
}

impl Way {
    pub(super) fn leave(&mut self) -> Leaving<'_> {
        let step = match self.ended {
            true => Step::Over,
            false => Step::Frame,
        };
        let told = self.ended;
        Leaving {
            way: self,
            step,
            told,
        }
    }
}

/// Says goodbye to both sides; whether the client was told.
pub(super) async fn say(
    mut up: Leaving<'_>,
    mut down: Leaving<'_>,
    client: &mut impl Client,
    wire: &mut Box<Wire>,
) -> bool {
    let mut wait = Wait::of(GOODBYE_TIMEOUT);
    let mask = (rt::random() as u32).to_be_bytes();
    let said = poll_fn(|cx| {
        let upward = up.poll(cx, client, wire, &masked(mask));
        let downward = down.poll(cx, wire, client, &CLOSE);
        if let Poll::Ready(Err(_)) = client.poll_send(cx) {
            return Poll::Ready(());
        }
        if upward.is_ready() && downward.is_ready() {
            return Poll::Ready(());
        }
        Pin::new(&mut wait).poll(cx)
    });
    said.await;
    // FIN or END_STREAM, as far as it leaves at once where the time is up.
    let (mut client_ended, mut wire_ended) = (false, false);
    poll_fn(|cx| {
        client_ended = client_ended || client.poll_end(cx).is_ready();
        wire_ended = wire_ended || wire.poll_end(cx).is_ready();
        let _ = client.poll_send(cx);
        if client_ended && wire_ended {
            return Poll::Ready(());
        }
        Pin::new(&mut wait).poll(cx)
    })
    .await;
    down.told
}

impl Leaving<'_> {
    /// Ready once nothing more can be done for this direction.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Source,
        to: &mut impl Sink,
        close: &[u8],
    ) -> Poll<()> {
        loop {
            let done = match self.step {
                Step::Frame => self.poll_frame(cx, from, to, close),
                Step::Close => self.poll_close(cx, to),
                Step::Answer => self.poll_answer(cx, from),
                Step::Over => return Poll::Ready(()),
            };
            // A side that is gone has nothing more to say or to hear.
            self.step = ready!(done).unwrap_or(Step::Over);
        }
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Source,
        to: &mut impl Sink,
        close: &[u8],
    ) -> Poll<io::Result<Step>> {
        let way = &mut *self.way;
        loop {
            if way.frames.is_between() {
                way.held.give_back();
                // RFC 6455 §5.5.1: whoever has sent a Close frame sends nothing more.
                if way.frames.is_closed() {
                    self.told = true;
                    return Poll::Ready(Ok(Step::Answer));
                }
                way.held.push(close);
                return Poll::Ready(Ok(Step::Close));
            }
            if way.held.is_empty() {
                if way.source_ended || ready!(way.poll_fill(cx, from))? == 0 {
                    return Poll::Ready(Ok(Step::Over));
                }
                continue;
            }
            let rest = way.frames.rest(way.held.bytes());
            let bytes = ready!(to.poll_put(cx, &way.held.bytes()[..rest]))?;
            if bytes == 0 {
                return Poll::Ready(Ok(Step::Over));
            }
            way.took(bytes);
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, to: &mut impl Sink) -> Poll<io::Result<Step>> {
        let held = &mut self.way.held;
        while !held.is_empty() {
            let bytes = ready!(to.poll_put(cx, held.bytes()))?;
            if bytes == 0 {
                return Poll::Ready(Ok(Step::Over));
            }
            held.taken(bytes);
        }
        self.told = true;
        Poll::Ready(Ok(Step::Answer))
    }

    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Source,
    ) -> Poll<io::Result<Step>> {
        let way = &mut *self.way;
        while !way.frames.is_closed() && !way.source_ended {
            ready!(way.poll_fill(cx, from))?;
            way.frames.pass(way.held.bytes());
            way.held.give_back();
        }
        Poll::Ready(Ok(Step::Over))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_close_frame_is_the_plain_one_to_whoever_takes_the_mask_off() {
        for mask in [[0; 4], [1, 2, 3, 4], [0xff; 4]] {
            let frame = masked(mask);
            assert_eq!(frame[..2], [0x88, 0x82]);
            assert_eq!(frame[2..6], mask);
            assert_eq!([frame[6] ^ mask[0], frame[7] ^ mask[1]], CLOSE[2..]);
        }
    }
}
