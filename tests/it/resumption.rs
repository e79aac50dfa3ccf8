//! TLS across reloads and restarts: sessions that are resumed, the local CA,
//! and certificates that are renewed meanwhile.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::process::Signal;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::cli::{LISTEN, Program, folder};
use crate::harness::{Backend, Certificates, Client, Front, H2, Proxy};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A connection for `a.test` whose handshake was as it should be.
#[track_caller]
fn shaken(
    front: &Front,
    config: &Arc<ClientConfig>,
    resumed: bool,
) -> impl Future<Output = TlsStream<TcpStream>> {
    let place = std::panic::Location::caller();
    async move {
        let stream = front.handshake("a.test", config.clone()).await.unwrap();
        let kind = stream.get_ref().1.handshake_kind();
        // A full one may have to name its group twice.
        assert_eq!(
            kind == Some(HandshakeKind::Resumed),
            resumed,
            "{kind:?} at {place}"
        );
        stream
    }
}

/// The same, and what it is answered: for its own name, and for another.
#[track_caller]
fn asks(
    front: &Front,
    config: &Arc<ClientConfig>,
    resumed: bool,
) -> impl Future<Output = [u16; 2]> {
    let shaken = shaken(front, config, resumed);
    async move {
        let mut client = Client::of_tls(shaken.await);
        let own = client.get("a.test", "/").await.status;
        [own, client.get("b.test", "/").await.status]
    }
}

fn sites(backend: &Backend, more: &str) -> String {
    let at = backend.at();
    format!("{more}sites:\n  a.test: {at}\n  b.test: {at}\n")
}

#[tokio::test]
async fn a_session_is_resumed_at_the_next_process() {
    let backend = Backend::echo().await;
    let state = tempfile::tempdir().unwrap();
    let first = Proxy::start_in(state.path(), &sites(&backend, ""));
    // While both run, as in an upgrade.
    let second = Proxy::start_in(state.path(), &sites(&backend, ""));
    for version in VERSIONS {
        let config = Arc::new(first.client_config_of(&["http/1.1"], &[version]));
        assert_eq!(asks(&first, &config, false).await, [200, 421]);
        assert_eq!(asks(&second, &config, true).await, [200, 421]);
        assert_eq!(asks(&first, &config, true).await, [200, 421]);
    }
    let config = Arc::new(first.client_config_of(&["h2"], &[&TLS13]));
    let mut h2 = H2::new(shaken(&first, &config, false).await).await;
    assert_eq!(h2.get("a.test", "/").await.status, 200);
    let mut h2 = H2::new(shaken(&second, &config, true).await).await;
    assert_eq!(h2.get("a.test", "/").await.status, 200);
    assert_eq!(h2.get("b.test", "/").await.status, 421);
    // And when the first has gone.
    let config = Arc::new(first.client_config(&["http/1.1"]));
    assert_eq!(asks(&first, &config, false).await, [200, 421]);
    drop((first, second));
    let third = Proxy::start_in(state.path(), &sites(&backend, ""));
    assert_eq!(asks(&third, &config, true).await, [200, 421]);
}

#[tokio::test]
async fn a_session_is_not_resumed_with_the_keys_of_another_folder() {
    let certificates = Certificates::of(&[&["a.test"], &["b.test"]]);
    let backend = Backend::echo().await;
    let more = format!("certificates: {{ directory: {} }}\n", certificates.path());
    let mut first = Proxy::start(&sites(&backend, &more));
    let second = Proxy::start(&sites(&backend, &more));
    first.trust(&certificates);
    for version in VERSIONS {
        let config = Arc::new(first.client_config_of(&["http/1.1"], &[version]));
        assert_eq!(asks(&first, &config, false).await, [200, 421]);
        assert_eq!(asks(&second, &config, false).await, [200, 421]);
    }
}

#[tokio::test]
async fn a_session_is_resumed_after_a_reload() {
    let backend = Backend::echo().await;
    let proxy = Proxy::start(&sites(&backend, ""));
    for version in VERSIONS {
        let config = Arc::new(proxy.client_config_of(&["http/1.1"], &[version]));
        assert_eq!(asks(&proxy, &config, false).await, [200, 421]);
        proxy.replace(&sites(&backend, "# changed\n"));
        assert_eq!(asks(&proxy, &config, true).await, [200, 421]);
    }
}

/// What a client was shown at first is not what counts: a browser that asks
/// for more than the certificate of now covers is sent to a new connection.
#[tokio::test]
async fn a_resumed_connection_is_judged_by_the_certificate_of_now() {
    let both = Certificates::of(&[&["a.test", "b.test"]]);
    let apart = Certificates::of(&[&["a.test"], &["b.test"]]);
    let backend = Backend::echo().await;
    let state = tempfile::tempdir().unwrap();
    let with = |certificates: &Certificates| {
        let more = format!("certificates: {{ directory: {} }}\n", certificates.path());
        sites(&backend, &more)
    };
    let mut proxy = Proxy::start_in(state.path(), &with(&both));
    proxy.trust(&both);
    for version in VERSIONS {
        let config = Arc::new(proxy.client_config_of(&["http/1.1"], &[version]));
        assert_eq!(asks(&proxy, &config, false).await, [200, 200]);
        assert_eq!(asks(&proxy, &config, true).await, [200, 200]);
        proxy.replace(&with(&apart));
        assert_eq!(asks(&proxy, &config, true).await, [200, 421]);
        let next = Proxy::start_in(state.path(), &with(&apart));
        assert_eq!(asks(&next, &config, true).await, [200, 421]);
        proxy.replace(&with(&both));
        assert_eq!(asks(&proxy, &config, true).await, [200, 200]);
    }
}

#[tokio::test]
async fn the_next_process_has_the_same_ca() {
    let backend = Backend::echo().await;
    let state = tempfile::tempdir().unwrap();
    let first = Proxy::start_in(state.path(), &sites(&backend, ""));
    // Its clients trust the CA that the first has made, and no other.
    let config = Arc::new(first.client_config(&["http/1.1"]));
    drop(first);
    let second = Proxy::start_in(state.path(), &sites(&backend, ""));
    assert_eq!(asks(&second, &config, false).await, [200, 421]);
    let stranger = Proxy::start(&sites(&backend, ""));
    assert!(stranger.handshake("c.test", config).await.is_err());
}

#[tokio::test]
async fn a_pair_that_is_half_renewed_is_served_as_it_was() {
    let (old, new) = (
        Certificates::of(&[&["a.test"]]),
        Certificates::of(&[&["a.test"]]),
    );
    let backend = Backend::echo().await;
    let state = tempfile::tempdir().unwrap();
    let put = |certificates: &Certificates, file: &str| {
        let from = Path::new(certificates.path()).join(file);
        std::fs::copy(from, state.path().join(file)).unwrap();
    };
    put(&old, "0.pem");
    put(&old, "0.key");
    let yaml = |name: &str| {
        let pair = "{ chain: 0.pem, key: 0.key }";
        let at = backend.at();
        format!("sites:\n  a.test: {{ upstream: {at}, certificate: {pair} }}\n  {name}: {at}\n")
    };
    let mut proxy = Proxy::commanded_in(state.path(), &yaml("b.test"));
    proxy.trust(&old);
    proxy.trust(&new);
    let leaf = async || {
        let config = proxy.client_config(&["http/1.1"]);
        let stream = proxy.handshake("a.test", config).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let was = leaf().await;
    put(&new, "0.pem");
    proxy.write(&yaml("c.test"));
    let (status, told) = proxy.command("POST /v1/reload", "{}").await;
    assert_eq!(status, 200, "{told}");
    assert_eq!(leaf().await, was);
    assert_eq!(
        proxy.get("c.test", "/").await.status,
        200,
        "the rest is taken over"
    );
    put(&new, "0.key");
    let (status, told) = proxy.command("POST /v1/reload", "{}").await;
    assert_eq!(status, 200, "{told}");
    assert_ne!(leaf().await, was);
}

/// OpenSSL's own client, where it is installed.
#[tokio::test]
async fn openssl_resumes_at_the_next_process() {
    if Command::new("openssl").arg("version").output().is_err() {
        return;
    }
    let backend = Backend::echo().await;
    let state = tempfile::tempdir().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let session = state.path().join(version);
        let [keep, take] = ["-sess_out", "-sess_in"];
        for (option, word) in [(keep, "New, "), (take, "Reused, "), (take, "Reused, ")] {
            let proxy = Proxy::start_in(state.path(), &sites(&backend, ""));
            let at = proxy.https.to_string();
            let arguments = [
                "s_client",
                "-connect",
                &at,
                "-servername",
                "a.test",
                "-ign_eof",
            ];
            let mut command = Command::new("openssl");
            command
                .args(arguments)
                .args([version, option])
                .arg(&session);
            let said = tokio::task::spawn_blocking(move || talk(command))
                .await
                .unwrap();
            assert!(said.contains(word), "{version} {option}: {said}");
            assert!(said.contains("200 OK"), "{version} {option}: {said}");
        }
    }
}

/// Sends a request through a program; what it printed until the connection ended.
fn talk(mut command: Command) -> String {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = pipes.stderr(Stdio::null()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input
        .write_all(b"GET / HTTP/1.0\r\nhost: a.test\r\n\r\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Where clients reach a program, trusting the CA of its state folder.
fn front(program: &mut Program, folder: &Path) -> Front {
    let [https, _] = program.listens();
    Front::new(
        https,
        &std::fs::read(folder.join("state/local-ca/ca.pem")).unwrap(),
    )
}

#[tokio::test]
async fn the_program_resumes_after_a_restart() {
    let backend = Backend::echo().await;
    let folder = folder(&[("sites.yaml", &sites(&backend, LISTEN))]);
    let mut program = Program::start(folder.path(), &["run"], "");
    let before = front(&mut program, folder.path());
    let config = Arc::new(before.client_config(&["http/1.1"]));
    assert_eq!(asks(&before, &config, false).await, [200, 421]);
    program.signal(Signal::TERM);
    assert_eq!(program.ended().code, Some(0));
    let mut program = Program::start(folder.path(), &["run"], "");
    let after = front(&mut program, folder.path());
    assert_eq!(asks(&after, &config, true).await, [200, 421]);
}

#[tokio::test]
async fn the_program_tells_once_of_a_pair_that_is_half_renewed() {
    let certificates = Certificates::of(&[&["a.test"], &["a.test"]]);
    let backend = Backend::echo().await;
    let more = format!("{LISTEN}certificates: {{ directory: certs }}\n");
    let folder = folder(&[("sites.yaml", &sites(&backend, &more))]);
    let certs = folder.path().join("certs");
    std::fs::create_dir(&certs).unwrap();
    let put = |from: &str, to: &str| {
        let from = Path::new(certificates.path()).join(from);
        std::fs::copy(from, certs.join(to)).unwrap();
    };
    put("0.pem", "a.pem");
    put("0.key", "a.key");
    let mut program = Program::start(folder.path(), &["run"], "");
    program.listens();
    put("1.pem", "a.pem");
    for _ in 0..3 {
        let socket = folder.path().join("state/hostmux.sock");
        let mut client = Client::connect_unix(&socket).await;
        let request = "POST /v1/reload HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(client.ask(request).await.status, 200);
    }
    program.signal(Signal::TERM);
    let log = program.ended().err;
    let kept = "a.pem` does not load; the one read at ";
    assert_eq!(log.matches(kept).count(), 1, "{log}");
}

#[tokio::test]
async fn the_program_starts_whatever_lies_in_its_folders() {
    let backend = Backend::echo().await;
    let more = format!("{LISTEN}certificates: {{ directory: certs }}\n");
    let folder = folder(&[("sites.yaml", &sites(&backend, &more))]);
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(path("state")).unwrap();
    std::fs::write(path("state/tickets.key"), "rubbish").unwrap();
    std::fs::create_dir(path("certs")).unwrap();
    std::fs::create_dir(path("certs/folder.pem")).unwrap();
    std::fs::write(path("certs/empty.pem"), "").unwrap();
    std::fs::write(path("certs/der.crt"), [0x30, 0x82, 1, 1]).unwrap();
    std::os::unix::fs::symlink("loop.key", path("certs/loop.key")).unwrap();
    let mut program = Program::start(folder.path(), &["run"], "");
    program.says("the keys of TLS tickets are made anew");
    let front = front(&mut program, folder.path());
    let config = Arc::new(front.client_config(&["http/1.1"]));
    assert_eq!(asks(&front, &config, false).await, [200, 421]);
    assert_eq!(asks(&front, &config, true).await, [200, 421]);
}
