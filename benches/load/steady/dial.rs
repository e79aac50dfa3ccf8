//! How `steady` connects: TLS with one protocol, or without TLS.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::stream::Tls;

#[derive(Clone)]
pub(super) struct Dial {
    to: SocketAddr,
    /// Absent: without TLS.
    tls: Option<Tls>,
}

/// A connection, over TLS or not.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire for T {}

impl Dial {
    pub(super) fn new(to: SocketAddr, tls: Option<Tls>) -> Self {
        Self { to, tls }
    }

    /// A new connection that speaks what was offered.
    pub(super) async fn connect(&self) -> Result<Box<dyn Wire>> {
        let tcp = TcpStream::connect(self.to).await.context("connecting")?;
        tcp.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(tcp));
        };
        let stream = TlsConnector::from(tls.config.clone())
            .connect(tls.name.clone(), tcp)
            .await
            .context("TLS handshake")?;
        let chosen = stream.get_ref().1.alpn_protocol();
        ensure!(
            tls.config.alpn_protocols.first().map(Vec::as_slice) == chosen,
            "the protocol offered was not taken"
        );
        Ok(Box::new(stream))
    }
}
