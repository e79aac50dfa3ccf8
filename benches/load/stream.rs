//! One client connection: TCP, or TLS over it, as cheap as can be.
//!
//! The TLS side uses rustls' unbuffered interface: one `recv` takes as many
//! records as have come, they are decrypted where they lie, and nothing is
//! copied. A client that shares the machine with the proxy must not be what
//! slows it down.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, bail};
use rustls::{
    ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme,
    client::{
        Resumption, UnbufferedClientConnection,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
    unbuffered::{ConnectionState, UnbufferedStatus},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Longest record on the wire, with room to spare (RFC 8446 §5.2: 5 + 2^14 + 256).
pub(crate) const RECORD_BYTES_MAX: usize = 17 << 10;
/// Plain bytes in one record.
const FRAGMENT_BYTES_MAX: usize = 16 << 10;
/// More than any version adds to one record.
const RECORD_OVERHEAD_MAX: usize = 64;

/// Whom to load.
#[derive(Clone, clap::Args)]
pub(crate) struct Target {
    /// Address to connect to
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) connect: SocketAddr,
    /// Name to ask for, in SNI and Host
    #[arg(long, value_name = "NAME")]
    pub(crate) host: String,
    /// Without TLS
    #[arg(long)]
    pub(crate) plain: bool,
}

/// How to speak TLS to it.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

impl Target {
    /// The TLS side of this target, with a ticket store of its own; `None` when plain.
    pub(crate) fn tls(&self, alpn: &[u8], resumption: Resumption) -> Result<Option<Tls>> {
        if self.plain {
            return Ok(None);
        }
        let provider = Arc::new(CryptoProvider {
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..aws_lc_rs::default_provider()
        });
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unchecked))
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        config.resumption = resumption;
        let name = ServerName::try_from(self.host.replace("{}", "0"))?;
        Ok(Some(Tls {
            config: Arc::new(config),
            name,
        }))
    }
}

impl Tls {
    /// The same for another name.
    pub(crate) fn named(&self, host: &str) -> Result<Self> {
        let name = ServerName::try_from(host.to_owned())?;
        Ok(Self {
            config: self.config.clone(),
            name,
        })
    }
}

/// An open connection.
pub(crate) struct Stream {
    tcp: TcpStream,
    tls: Option<UnbufferedClientConnection>,
    /// What came and is not used yet is `incoming[start..end]`.
    incoming: Box<[u8]>,
    start: usize,
    end: usize,
    /// Plain bytes that came together with the end of the handshake.
    early: Vec<u8>,
    /// What waits to be sent is `outgoing[..sealed]`.
    outgoing: Vec<u8>,
    sealed: usize,
}

impl Stream {
    /// Connects and, with `tls`, shakes hands; `buffer` bytes, at least
    /// [`RECORD_BYTES_MAX`], can be received at once.
    pub(crate) async fn connect(to: SocketAddr, tls: Option<&Tls>, buffer: usize) -> Result<Self> {
        let tcp = TcpStream::connect(to)
            .await
            .with_context(|| format!("connecting to {to}"))?;
        tcp.set_nodelay(true)?;
        let tls = match tls {
            Some(tls) => Some(UnbufferedClientConnection::new(
                tls.config.clone(),
                tls.name.clone(),
            )?),
            None => None,
        };
        let incoming = vec![0; buffer.max(RECORD_BYTES_MAX)].into();
        let mut stream = Self {
            tcp,
            tls,
            incoming,
            start: 0,
            end: 0,
            early: Vec::new(),
            outgoing: Vec::new(),
            sealed: 0,
        };
        if stream.tls.is_some() {
            stream.shake_hands().await.context("TLS handshake")?;
        }
        Ok(stream)
    }

    /// Which handshake it was; `None` without TLS.
    pub(crate) fn handshake(&self) -> Option<HandshakeKind> {
        self.tls.as_ref().and_then(|tls| tls.handshake_kind())
    }

    /// Sends all of `plain`.
    pub(crate) async fn send(&mut self, plain: &[u8]) -> Result<()> {
        if self.tls.is_none() {
            return Ok(self.tcp.write_all(plain).await?);
        }
        let mut sink = |_: &[u8]| bail!("data came before it was asked for");
        match self.turn(Some(plain), &mut sink)? {
            Turn::Open => self.flush().await,
            Turn::Blocked | Turn::Closed => bail!("closed by the peer"),
        }
    }

    /// Waits for bytes once and gives what they hold to `sink`, in none, one or more pieces.
    pub(crate) async fn receive(
        &mut self,
        mut sink: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        if !self.early.is_empty() {
            return sink(&std::mem::take(&mut self.early));
        }
        self.fill().await?;
        if self.tls.is_none() {
            let came = std::mem::take(&mut self.end);
            return sink(&self.incoming[..came]);
        }
        self.turn(None, &mut sink)?;
        self.flush().await
    }

    /// Ends TLS and the connection as a browser does.
    pub(crate) async fn close(mut self) -> Result<()> {
        if let Some(tls) = &mut self.tls {
            let mut notify = [0; RECORD_OVERHEAD_MAX];
            let status = tls.process_tls_records(&mut self.incoming[self.start..self.end]);
            if let ConnectionState::WriteTraffic(mut traffic) = status.state? {
                let long = traffic.queue_close_notify(&mut notify)?;
                self.tcp.write_all(&notify[..long]).await?;
            }
        }
        Ok(self.tcp.shutdown().await?)
    }

    async fn shake_hands(&mut self) -> Result<()> {
        loop {
            let mut early = Vec::new(); // an HTTP/2 server may speak first
            let turn = self.turn(None, &mut |bytes| {
                early.extend_from_slice(bytes);
                Ok(())
            })?;
            self.early.append(&mut early);
            self.flush().await?;
            match turn {
                Turn::Open => return Ok(()),
                Turn::Blocked => self.fill().await?,
                Turn::Closed => bail!("closed by the peer"),
            }
        }
    }

    /// Receives once behind what is still there: part of a record, if anything.
    async fn fill(&mut self) -> Result<()> {
        self.incoming.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        match self.tcp.read(&mut self.incoming[self.end..]).await? {
            0 => bail!("closed by the peer"),
            came => self.end += came,
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        let sealed = std::mem::take(&mut self.sealed);
        if sealed > 0 {
            self.tcp.write_all(&self.outgoing[..sealed]).await?;
        }
        Ok(())
    }

    /// Uses up the whole records that have come; seals `plain` once that is possible.
    fn turn(
        &mut self,
        plain: Option<&[u8]>,
        sink: &mut impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<Turn> {
        let tls = self.tls.as_mut().expect("only called with TLS");
        loop {
            let records = &mut self.incoming[self.start..self.end];
            let UnbufferedStatus {
                mut discard, state, ..
            } = tls.process_tls_records(records);
            #[expect(clippy::wildcard_enum_match_arm, reason = "no other state is of use")]
            let turn = match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        sink(record.payload)?;
                    }
                    None
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    let room = room(&mut self.outgoing, self.sealed, RECORD_BYTES_MAX);
                    self.sealed += data.encode(room)?;
                    None
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done(); // the caller flushes
                    None
                }
                ConnectionState::WriteTraffic(mut traffic) => {
                    if let Some(plain) = plain {
                        let records = plain.len() / FRAGMENT_BYTES_MAX + 1;
                        let most = plain.len() + records * RECORD_OVERHEAD_MAX;
                        let room = room(&mut self.outgoing, self.sealed, most);
                        self.sealed += traffic.encrypt(plain, room)?;
                    }
                    Some(Turn::Open)
                }
                ConnectionState::BlockedHandshake => Some(Turn::Blocked),
                _ => Some(Turn::Closed),
            };
            self.start += discard;
            if let Some(turn) = turn {
                return Ok(turn);
            }
        }
    }
}

/// What is free behind the first `used` bytes: at least `wanted`.
fn room(buffer: &mut Vec<u8>, used: usize, wanted: usize) -> &mut [u8] {
    if buffer.len() < used + wanted {
        buffer.resize(used + wanted, 0);
    }
    &mut buffer[used..]
}

/// How far the records that have come led.
enum Turn {
    /// The handshake needs more of them.
    Blocked,
    /// All are used up; data may be sent.
    Open,
    Closed,
}

/// Takes any certificate; see the top of `load.rs`.
#[derive(Debug)]
struct Unchecked;

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::RSA_PSS_SHA256,
        ]
    }
}
