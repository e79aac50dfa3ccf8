//! The door that clients see over TLS, and what they trust.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::Client;
use super::h2::{Frames, H2};
use super::wire::{Answer, handle};
use super::within;

/// Where clients connect for https.
pub(crate) struct Front {
    pub(crate) https: SocketAddr,
    roots: Arc<RootCertStore>,
}

impl Front {
    /// Clients trust this CA.
    pub(crate) fn new(https: SocketAddr, ca_pem: &[u8]) -> Self {
        let mut front = Self {
            https,
            roots: Arc::new(RootCertStore::empty()),
        };
        front.trust(CertificateDer::from_pem_slice(ca_pem).unwrap());
        front
    }

    pub(crate) fn trust(&mut self, ca: CertificateDer<'_>) {
        let mut roots = (*self.roots).clone();
        roots.add(ca.into_owned()).unwrap();
        self.roots = Arc::new(roots);
    }

    /// A TLS connection for HTTP/1.1.
    pub(crate) async fn tls(&self, name: &str) -> Client {
        let stream = self
            .handshake(name, self.client_config(&["http/1.1"]))
            .await
            .unwrap();
        Client::of_tls(stream)
    }

    /// The same behind bytes that a proxy before us sends first.
    pub(crate) async fn tls_behind(&self, first: &[u8], name: &str) -> io::Result<Client> {
        let config = self.client_config(&["http/1.1"]);
        self.handshake_behind(first, name, config)
            .await
            .map(Client::of_tls)
    }

    /// A client of HTTP/2 that keeps the rules.
    pub(crate) async fn h2(&self, name: &str) -> H2 {
        let stream = self
            .handshake(name, self.client_config(&["h2"]))
            .await
            .unwrap();
        H2::new(stream).await
    }

    /// A client of HTTP/2 that need not keep them.
    pub(crate) async fn frames(&self, name: &str) -> Frames {
        let stream = self
            .handshake(name, self.client_config(&["h2"]))
            .await
            .unwrap();
        let socket = handle(stream.get_ref().0);
        Frames::open(stream, socket).await
    }

    /// One that does not even say the preface.
    pub(crate) async fn silent_frames(&self, name: &str) -> Frames {
        let stream = self
            .handshake(name, self.client_config(&["h2"]))
            .await
            .unwrap();
        let socket = handle(stream.get_ref().0);
        Frames::silent(stream, socket)
    }

    /// What a client trusts and offers; the versions of TLS are the default.
    pub(crate) fn client_config(&self, alpn: &[&str]) -> ClientConfig {
        self.client_config_of(alpn, rustls::DEFAULT_VERSIONS)
    }

    pub(crate) fn client_config_of(
        &self,
        alpn: &[&str],
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    pub(crate) async fn handshake(
        &self,
        name: &str,
        config: impl Into<Arc<ClientConfig>>,
    ) -> io::Result<TlsStream<TcpStream>> {
        self.handshake_behind(b"", name, config).await
    }

    async fn handshake_behind(
        &self,
        first: &[u8],
        name: &str,
        config: impl Into<Arc<ClientConfig>>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut stream = within(TcpStream::connect(self.https)).await?;
        stream.set_nodelay(true)?;
        within(stream.write_all(first)).await?;
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        within(TlsConnector::from(config.into()).connect(name, stream)).await
    }

    /// GET over a TLS connection of its own.
    pub(crate) async fn get(&self, host: &str, target: &str) -> Answer {
        self.tls(host).await.get(host, target).await
    }
}
