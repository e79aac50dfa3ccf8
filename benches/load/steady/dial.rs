//! How `steady` connects: TLS with one protocol.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::stream::Tls;

#[derive(Clone)]
pub(super) struct Dial {
    to: SocketAddr,
    tls: Option<Tls>,
}

impl Dial {
    pub(super) fn new(to: SocketAddr, tls: Option<Tls>) -> Self {
        Self { to, tls }
    }

    /// A new connection that speaks what was offered.
    pub(super) async fn connect(&self) -> Result<TlsStream<TcpStream>> {
        let tls = self.tls.as_ref().context("over TLS only")?;
        let tcp = TcpStream::connect(self.to).await.context("connecting")?;
        tcp.set_nodelay(true)?;
        let stream = TlsConnector::from(tls.config.clone())
            .connect(tls.name.clone(), tcp)
            .await
            .context("TLS handshake")?;
        let chosen = stream.get_ref().1.alpn_protocol();
        ensure!(
            tls.config.alpn_protocols.first().map(Vec::as_slice) == chosen,
            "the protocol offered was not taken"
        );
        Ok(stream)
    }
}
