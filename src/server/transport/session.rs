//! The TLS side of a client's socket, over rustls' unbuffered interface: bytes
//! in, bytes out, no socket.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

use tokio::io::ReadBuf;

use super::BURST;
use crate::server::lent::Lent;
use crate::tls;

/// The most plaintext of one TLS record (RFC 8446 §5.1).
pub(super) const RECORD: usize = 16 * 1024;
/// What sealing adds to a burst at most: a header, a nonce and a tag a record.
const SEALING: usize = (BURST / RECORD + 2) * 64;

/// The TLS side of a socket.
pub(super) struct Session {
    pub(super) tls: UnbufferedServerConnection,
    /// As received; a record that is not whole yet stays here.
    pub(super) incoming: Lent,
    /// Received and opened, but more than the reader had room for.
    pub(super) opened: Lent,
    /// Written, not yet sealed: less than one record.
    pub(super) gathered: Lent,
    pub(super) chosen: Option<tls::Chosen>,
    /// The client said that it sends no more (close_notify, or EOF).
    pub(super) ended: bool,
    said_goodbye: bool,
    /// The first bytes are those of a method, which no record begins with.
    pub(super) begins_like_a_request: bool,
    begun: bool,
}

impl Session {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self {
            tls: UnbufferedServerConnection::new(config)?,
            incoming: Lent::default(),
            opened: Lent::default(),
            gathered: Lent::default(),
            chosen: None,
            ended: false,
            said_goodbye: false,
            begins_like_a_request: false,
            begun: false,
        })
    }

    /// Looks at the first bytes that come.
    pub(super) fn note_beginning(&mut self) {
        if !std::mem::replace(&mut self.begun, true) {
            let first = self.incoming.bytes().iter().take(4);
            self.begins_like_a_request = first.len() == 4
                && first
                    .enumerate()
                    .all(|(n, byte)| byte.is_ascii_uppercase() || (n == 3 && *byte == b' '));
        }
    }

    /// Opens all whole records that were received: into the reader's room
    /// first, then into `opened`. What rustls has to say itself is put with
    /// what is to be sent.
    pub(super) fn advance(
        &mut self,
        outgoing: &mut Lent,
        mut reader: Option<&mut ReadBuf<'_>>,
    ) -> io::Result<()> {
        let mut failed = None;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.tls.process_tls_records(self.incoming.bytes_mut());
            let mut more = true;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(broken)?;
                        discard += record.discard;
                        let mut rest = record.payload;
                        if let Some(reader) = reader.as_mut()
                            && self.opened.is_empty()
                        {
                            let (first, left) = rest.split_at(rest.len().min(reader.remaining()));
                            reader.put_slice(first);
                            rest = left;
                        }
                        if !rest.is_empty() {
                            self.opened.push(rest);
                        }
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, outgoing)?,
                // Sent by us before anything is waited for.
                Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.ended = true;
                    more = false;
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => {
                    more = false
                }
                Ok(_) => failed = Some(rustls::Error::HandshakeNotComplete),
                // rustls has queued an alert, which the next turns encode. What it
                // could not read it must not be shown again.
                Err(error) => {
                    discard = self.incoming.bytes().len();
                    more = failed.is_none();
                    failed.get_or_insert(error);
                }
            }
            self.incoming.taken(discard);
            // The last word counts: a client that is asked to retry says hello twice.
            if self.tls.is_handshaking()
                && let Some(chosen) = tls::take_chosen()
            {
                self.chosen = Some(chosen);
            }
            if !more {
                return failed.map_or(Ok(()), |error| Err(broken(error)));
            }
        }
    }

    pub(super) fn seal_gathered(&mut self, outgoing: &mut Lent) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let gathered = std::mem::take(&mut self.gathered);
        let sealed = self.seal(gathered.bytes(), outgoing);
        self.gathered = gathered;
        self.gathered.give_back();
        sealed
    }

    /// Seals plaintext into records behind what is to be sent.
    pub(super) fn seal(&mut self, plaintext: &[u8], outgoing: &mut Lent) -> io::Result<()> {
        // Whatever was received before must have been opened: rustls says what it has to in order.
        self.advance(outgoing, None)?;
        let status = self.tls.process_tls_records(self.incoming.bytes_mut());
        let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let mut room = plaintext.len() + SEALING;
        loop {
            match traffic.encrypt(plaintext, outgoing.room(room)) {
                Ok(bytes) => {
                    outgoing.filled(bytes);
                    return Ok(());
                }
                Err(EncryptError::InsufficientSize(wanted)) => room = wanted.required_size,
                Err(error @ EncryptError::EncryptExhausted) => return Err(io::Error::other(error)),
            }
        }
    }

    /// Tells the client that nothing more comes (RFC 8446 §6.1), once.
    pub(super) fn say_goodbye(&mut self, outgoing: &mut Lent) {
        if std::mem::replace(&mut self.said_goodbye, true) || self.advance(outgoing, None).is_err()
        {
            return;
        }
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = self
            .tls
            .process_tls_records(self.incoming.bytes_mut())
            .state
            && let Ok(bytes) = traffic.queue_close_notify(outgoing.room(SEALING))
        {
            outgoing.filled(bytes);
        }
    }
}

fn encode(
    data: &mut rustls::unbuffered::EncodeTlsData<'_, rustls::server::ServerConnectionData>,
    outgoing: &mut Lent,
) -> io::Result<()> {
    let mut room = SEALING;
    loop {
        match data.encode(outgoing.room(room)) {
            Ok(bytes) => {
                outgoing.filled(bytes);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(wanted)) => room = wanted.required_size,
            Err(error @ EncodeError::AlreadyEncoded) => return Err(io::Error::other(error)),
        }
    }
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
