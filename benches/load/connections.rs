//! `connections`: one GET over each new TLS connection.

use anyhow::{Result, bail, ensure};
use rustls::{HandshakeKind, client::Resumption};

use crate::{
    Handshake,
    answer::Answer,
    run::{Tally, Window, Work},
    stream::{RECORD_BYTES_MAX, Stream, Target, Tls},
};

/// Tickets kept: one connection at a time needs one, servers send two.
const TICKETS: usize = 4;

pub(crate) struct Connections {
    target: Target,
    request: Vec<u8>,
    handshake: Handshake,
}

impl Connections {
    pub(crate) fn new(target: Target, path: &str, handshake: Handshake) -> Result<Self> {
        if target.plain {
            bail!("`connections` is about TLS: --plain has no meaning here");
        }
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", target.host).into_bytes();
        Ok(Self {
            target,
            request,
            handshake,
        })
    }

    async fn once(&self, tls: Option<&Tls>) -> Result<Option<HandshakeKind>> {
        let mut stream = Stream::connect(self.target.connect, tls, RECORD_BYTES_MAX).await?;
        Answer::with_status(200)
            .exchange(&mut stream, &self.request)
            .await?;
        let handshake = stream.handshake();
        stream.close().await?;
        Ok(handshake)
    }
}

impl Work for Connections {
    /// Not one connection but a client that makes one after another.
    type Connection = Option<Tls>;

    async fn open(&self, _: usize) -> Result<Option<Tls>> {
        let tls = self.target.tls(
            b"http/1.1",
            match self.handshake {
                Handshake::Full => Resumption::disabled(),
                Handshake::Resumed => Resumption::in_memory_sessions(TICKETS),
            },
        )?;
        self.once(tls.as_ref()).await?; // a full one, which brings the first ticket
        Ok(tls)
    }

    async fn work(&self, tls: &mut Option<Tls>, window: Window, tally: &mut Tally) -> Result<()> {
        let wanted = |kind| match self.handshake {
            Handshake::Full => kind != Some(HandshakeKind::Resumed),
            Handshake::Resumed => kind == Some(HandshakeKind::Resumed),
        };
        let once = async || {
            let kind = self.once(tls.as_ref()).await?;
            ensure!(wanted(kind), "the handshake was {kind:?}");
            Ok(0)
        };
        tally.repeat(window, once).await
    }
}
