//! Handshakes, in memory, between rustls' client and our configuration.

use std::time::SystemTime;

use rustls::client::{ClientConnection, Resumption};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ServerConnection, UnbufferedServerConnection};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ClientConfig, Error, HandshakeKind, NamedGroup, ProtocolVersion,
    RootCertStore, SupportedProtocolVersion,
};

use super::specimen::{Folder, Specimen};
use super::*;

const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// A state folder, a certificates directory and a CA that signs what is in it.
struct World {
    folder: Folder,
    issuer: Specimen,
    otherwise: Otherwise,
    sites: Vec<SiteSettings>,
}

impl World {
    fn new(otherwise: Otherwise) -> Self {
        Self {
            folder: Folder::new(),
            issuer: Specimen::ca("some issuer"),
            otherwise,
            sites: Vec::new(),
        }
    }

    fn in_directory(self, names: &[&str]) -> Self {
        let name = format!("certs/{}", names[0].replace('*', "_"));
        self.folder
            .pair(&name, &Specimen::of(names).signed_by(&self.issuer));
        self
    }

    fn site(mut self, host: &str, pair: Option<&[&str]>) -> Self {
        let certificate = pair.map(|names| {
            self.folder
                .pair("own", &Specimen::of(names).signed_by(&self.issuer));
            CertificateFiles {
                chain: "own.pem".into(),
                key: "own.key".into(),
            }
        });
        self.sites.push(SiteSettings {
            at: diagnostic::Path::root().key("sites").key(host),
            hosts: vec![HostPattern::parse(host).unwrap()],
            certificate,
        });
        self
    }

    fn tls(&self, previous: Option<&Tls>) -> Tls {
        let now = SystemTime::now();
        let settings = Settings {
            directory: "certs".into(),
            directory_is_required: false,
            otherwise: self.otherwise,
            sites: self.sites.clone(),
            authorities: Vec::new(),
        };
        let (inventory, faults) = Inventory::load(&settings, self.folder.path(), now, None);
        assert_eq!(faults, []);
        let authority = match (self.otherwise, previous) {
            (Otherwise::Refuse, _) => None,
            (Otherwise::LocalCa, Some(previous)) => previous.authority().cloned(),
            (Otherwise::LocalCa, None) => {
                Some(Arc::new(LocalCa::open(self.folder.path(), now).unwrap()))
            }
        };
        let tickets = match previous {
            Some(previous) => previous.tickets().clone(),
            None => Arc::new(Tickets::fleeting(now)),
        };
        Tls::new(inventory, authority, tickets).unwrap()
    }

    /// A client that trusts both CAs, as a browser would verify.
    fn client(&self, tls: &Tls, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        if let Some(authority) = tls.authority() {
            roots.add(authority.certificate().clone()).unwrap();
        }
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

struct Shaken {
    client: ClientConnection,
    chosen: Option<Chosen>,
}

impl Shaken {
    fn leaf(&self) -> CertificateDer<'static> {
        self.client.peer_certificates().unwrap()[0]
            .clone()
            .into_owned()
    }

    fn chosen(&self) -> &Chosen {
        self.chosen.as_ref().unwrap()
    }

    fn kind(&self) -> HandshakeKind {
        self.client.handshake_kind().unwrap()
    }
}

fn shake(tls: &Tls, client: &Arc<ClientConfig>, name: &str) -> Result<Shaken, Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(tls.config())).unwrap();
    take_chosen();
    let mut chosen = None;
    loop {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let sent = bytes.len();
        let mut read = bytes.as_slice();
        let mut refused = None;
        while !read.is_empty() {
            server.read_tls(&mut read).unwrap();
            if let Err(error) = server.process_new_packets() {
                refused.get_or_insert(error);
            }
            chosen = take_chosen().or(chosen);
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut read = bytes.as_slice();
        while !read.is_empty() {
            client.read_tls(&mut read).unwrap();
            client.process_new_packets()?;
        }
        if let Some(error) = refused {
            return Err(error);
        }
        if sent == 0 && bytes.is_empty() {
            return Ok(Shaken { client, chosen });
        }
    }
}

#[test]
fn each_name_gets_its_certificate() {
    let world = World::new(Otherwise::LocalCa)
        .in_directory(&["a.test", "own.test"])
        .in_directory(&["*.w.test"])
        .site("own.test", Some(&["own.test"]));
    let tls = world.tls(None);
    for versions in [&[&TLS13], &[&TLS12]] {
        let client = Arc::new(world.client(&tls, versions));
        let check = |name: &str, file: &str| {
            let shaken = shake(&tls, &client, name).unwrap();
            let Origin::Files { chain, .. } = &shaken.chosen().identity.origin else {
                panic!("{name} got a leaf of the local CA");
            };
            assert!(chain.ends_with(file), "{name}: {}", chain.display());
            assert_eq!(shaken.leaf(), shaken.chosen().identity.chain()[0]);
            let want = name.to_ascii_lowercase();
            assert_eq!(
                shaken.chosen().server_name.as_deref(),
                Some(want.trim_end_matches('.'))
            );
        };
        check("a.test", "certs/a.test.pem");
        check("A.Test", "certs/a.test.pem");
        check("x.w.test", "certs/_.w.test.pem");
        check("own.test", "own.pem");
        let version = shake(&tls, &client, "a.test")
            .unwrap()
            .client
            .protocol_version();
        assert_eq!(version, Some(versions[0].version));
    }
}

#[test]
fn an_unknown_name_gets_a_leaf_that_verifies() {
    let world = World::new(Otherwise::LocalCa)
        .in_directory(&["a.test"])
        .site("b.test", None);
    let tls = world.tls(None);
    for versions in [&[&TLS13], &[&TLS12]] {
        let client = Arc::new(world.client(&tls, versions));
        for name in ["b.test", "x.y.unknown.test", "localhost"] {
            let shaken = shake(&tls, &client, name).unwrap();
            let identity = &shaken.chosen().identity;
            assert_eq!(identity.origin, Origin::LocalCa);
            assert!(identity.covers(name) && !identity.covers("a.test"));
            // The second client gets the same leaf, not another one.
            assert_eq!(
                shaken.leaf(),
                shake(&tls, &client, name)
                    .unwrap()
                    .chosen()
                    .identity
                    .chain()[0]
            );
        }
    }
    assert!(matches!(tls.identity_for("b.test"), Which::LocalCa));
    assert!(matches!(tls.identity_for("A.test"), Which::Files(_)));
}

#[test]
fn clients_without_a_name_get_a_leaf_of_this_machine() {
    let world = World::new(Otherwise::LocalCa).site("192.0.2.7", None);
    let tls = world.tls(None);
    let client = Arc::new(world.client(&tls, BOTH));
    for address in ["127.0.0.1", "::1", "192.0.2.7"] {
        let shaken = shake(&tls, &client, address).unwrap();
        assert_eq!(shaken.chosen().server_name, None);
        assert!(shaken.chosen().identity.covers("localhost"));
    }
}

#[test]
fn a_refused_name_is_an_alert() {
    let world = World::new(Otherwise::Refuse)
        .in_directory(&["a.test"])
        .in_directory(&["b.test"]);
    let tls = world.tls(None);
    let client = Arc::new(world.client(&tls, BOTH));
    assert!(shake(&tls, &client, "a.test").is_ok());
    for name in ["c.test", "127.0.0.1"] {
        let refused = shake(&tls, &client, name).err();
        assert_eq!(
            refused,
            Some(Error::AlertReceived(AlertDescription::AccessDenied))
        );
        assert!(take_chosen().is_none());
    }
    assert!(matches!(tls.identity_for("c.test"), Which::Refused));
}

#[test]
fn keys_are_agreed_with_the_post_quantum_group() {
    let world = World::new(Otherwise::LocalCa);
    let tls = world.tls(None);
    let client = Arc::new(world.client(&tls, BOTH));
    let shaken = shake(&tls, &client, "a.test").unwrap();
    let group = shaken
        .client
        .negotiated_key_exchange_group()
        .unwrap()
        .name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    let suite = shaken.client.negotiated_cipher_suite().unwrap();
    assert_eq!(
        suite,
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        "ours, not the client's first"
    );
}

#[test]
fn a_second_client_hello_chooses_again() {
    let world = World::new(Otherwise::LocalCa);
    let tls = world.tls(None);
    let mut provider = aws_lc_rs::default_provider();
    // Its only share is of a group that we do not know.
    provider.kx_groups = vec![kx_group::MLKEM1024, kx_group::SECP256R1];
    let mut roots = RootCertStore::empty();
    roots
        .add(tls.authority().unwrap().certificate().clone())
        .unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let shaken = shake(&tls, &Arc::new(client), "a.test").unwrap();
    assert_eq!(shaken.kind(), HandshakeKind::FullWithHelloRetryRequest);
    assert_eq!(shaken.chosen().server_name.as_deref(), Some("a.test"));
}

#[test]
fn sessions_are_resumed_across_a_reload_and_choose_too() {
    let world = World::new(Otherwise::LocalCa).in_directory(&["a.test"]);
    for versions in [&[&TLS13], &[&TLS12]] {
        let first = world.tls(None);
        let client = Arc::new(world.client(&first, versions));
        assert_eq!(
            shake(&first, &client, "a.test").unwrap().kind(),
            HandshakeKind::Full
        );
        let resumed = shake(&first, &client, "a.test").unwrap();
        assert_eq!(resumed.kind(), HandshakeKind::Resumed);
        assert_eq!(resumed.chosen().server_name.as_deref(), Some("a.test"));

        let second = world.tls(Some(&first));
        let resumed = shake(&second, &client, "a.test").unwrap();
        assert_eq!(resumed.kind(), HandshakeKind::Resumed);
        assert!(resumed.chosen().identity.covers("a.test"));
        assert_eq!(
            shake(&second, &client, "b.test").unwrap().kind(),
            HandshakeKind::Full
        );

        let stranger = world.tls(None);
        assert_eq!(
            shake(&stranger, &client, "a.test").unwrap().kind(),
            HandshakeKind::Full
        );
    }
}

#[test]
fn leaves_are_kept_across_a_reload() {
    let world = World::new(Otherwise::LocalCa);
    let first = world.tls(None);
    let mut client = world.client(&first, BOTH);
    client.resumption = Resumption::disabled();
    let client = Arc::new(client);
    let before = shake(&first, &client, "a.test").unwrap().leaf();
    let second = world.tls(Some(&first));
    assert_eq!(shake(&second, &client, "a.test").unwrap().leaf(), before);
}

#[test]
fn the_protocol_is_ours_to_prefer() {
    let world = World::new(Otherwise::LocalCa);
    let tls = world.tls(None);
    let check = |offered: &[&str], want: Option<&str>| {
        let mut client = world.client(&tls, BOTH);
        client.alpn_protocols = offered
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let shaken = shake(&tls, &Arc::new(client), "a.test").unwrap();
        assert_eq!(
            shaken.client.alpn_protocol(),
            want.map(str::as_bytes),
            "{offered:?}"
        );
    };
    check(&["http/1.1", "h2"], Some("h2"));
    check(&["h2"], Some("h2"));
    check(&["http/1.1"], Some("http/1.1"));
    check(&["http/1.0"], Some("http/1.0"));
    check(&["spdy/3", "http/1.0", "http/1.1"], Some("http/1.1"));
    check(&[], None);
    let mut client = world.client(&tls, BOTH);
    client.alpn_protocols = vec![b"ftp".to_vec()];
    let refused = shake(&tls, &Arc::new(client), "a.test").err();
    assert_eq!(
        refused,
        Some(Error::AlertReceived(
            AlertDescription::NoApplicationProtocol
        ))
    );
}

#[test]
fn an_unbuffered_connection_learns_what_was_chosen() {
    let world = World::new(Otherwise::LocalCa);
    let tls = world.tls(None);
    let client = Arc::new(world.client(&tls, BOTH));
    let name = ServerName::try_from("A.test").unwrap();
    let mut client = ClientConnection::new(client, name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();

    let mut server = UnbufferedServerConnection::new(Arc::clone(tls.config())).unwrap();
    take_chosen();
    let status = server.process_tls_records(&mut bytes);
    assert!(status.state.is_ok());
    let chosen = take_chosen().unwrap();
    assert_eq!(chosen.server_name.as_deref(), Some("a.test"));
    assert!(chosen.identity.covers("a.test"));
    assert!(take_chosen().is_none(), "it is told once");
}

#[test]
fn old_protocols_and_early_data_are_not_spoken() {
    let tls = World::new(Otherwise::LocalCa).tls(None);
    let config = tls.config();
    assert_eq!(config.max_early_data_size, 0);
    assert!(!config.session_storage.can_cache());
    assert!(!config.key_log.will_log("CLIENT_RANDOM"));
    assert_eq!(config.send_tls13_tickets, 1);
    let versions = config
        .crypto_provider()
        .cipher_suites
        .iter()
        .map(|suite| suite.version().version);
    for version in versions {
        assert!(matches!(
            version,
            ProtocolVersion::TLSv1_2 | ProtocolVersion::TLSv1_3
        ));
    }
}
