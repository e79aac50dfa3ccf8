//! The whole proxy in this process, on ports of its own.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use hostmux::config::{self, Config, ListenAddress};
use hostmux::observe::access_log::{AccessLog, Format};
use hostmux::server::control::Socket;
use hostmux::server::listener::Listener;
use hostmux::server::reload::{self, Source, Start};
use hostmux::server::{Drain, Server, Speaks, raise_descriptor_limit};
use hostmux::snapshot::Snapshot;
use hostmux::tls::{self, Inventory, LocalCa, Otherwise, Tickets, Tls};
use hostmux::upstream::discovery::NameService;
use hostmux::upstream::sticky::Secret;
use hostmux::upstream::{Commons, Upstream};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::certificates::Certificates;
use super::client::Client;
use super::front::Front;
use super::within;

const SOCKET: &str = "hostmux.sock";

/// A running proxy. Dropped, it stops at once.
pub(crate) struct Proxy {
    running: Arc<hostmux::proxy::Proxy>,
    server: Option<Server>,
    front: Front,
    pub(crate) http: SocketAddr,
    log: watch::Receiver<Vec<u8>>,
    _state: State,
}

impl Proxy {
    /// Serves a `sites.yaml`, whose `listen` is replaced by free ports.
    pub(crate) fn start(yaml: &str) -> Self {
        Self::launch(yaml, false, |_| {}, |_| {})
    }

    /// The same, and a tunnel ends as soon as nothing leads to its endpoint.
    pub(crate) fn start_retiring_at_once(yaml: &str) -> Self {
        let at_once = |commons: &mut Commons| commons.retire_timeout = Duration::ZERO;
        Self::launch(yaml, false, |_| {}, at_once)
    }

    /// The same with a meaning that is altered.
    pub(crate) fn start_as(yaml: &str, alter: impl Fn(&mut Config)) -> Self {
        Self::launch(yaml, false, alter, |_| {})
    }

    /// The same, from a file ([`Self::write`]), and it listens for commands.
    pub(crate) fn commanded(yaml: &str) -> Self {
        Self::launch(yaml, true, |_| {}, |_| {})
    }

    /// The same with a state folder that is there before and after. Relative
    /// paths are beside it.
    pub(crate) fn commanded_in(state: &Path, yaml: &str) -> Self {
        let state = State::Lasting(state.to_owned());
        Self::launch_in(state, yaml, true, |_| {}, |_| {})
    }

    /// The same without commands, so that several may share the folder.
    pub(crate) fn start_in(state: &Path, yaml: &str) -> Self {
        let state = State::Lasting(state.to_owned());
        Self::launch_in(state, yaml, false, |_| {}, |_| {})
    }

    /// The same with another server for names.
    pub(crate) fn start_asking(names: NameService, yaml: &str) -> Self {
        Self::launch(yaml, false, |_| {}, |commons| commons.names = names)
    }

    fn launch(
        yaml: &str,
        commanded: bool,
        alter: impl Fn(&mut Config),
        share: impl FnOnce(&mut Commons),
    ) -> Self {
        let state = State::Passing(tempfile::tempdir().unwrap());
        Self::launch_in(state, yaml, commanded, alter, share)
    }

    fn launch_in(
        state: State,
        yaml: &str,
        commanded: bool,
        alter: impl Fn(&mut Config),
        share: impl FnOnce(&mut Commons),
    ) -> Self {
        raise_descriptor_limit();
        let checked = config::check(yaml, &|_| None);
        let mut config = checked
            .config
            .unwrap_or_else(|| panic!("{:?}\n{yaml}", checked.found));
        alter(&mut config);
        let free = ListenAddress::Address(([127, 0, 0, 1], 0).into());
        let listeners = vec![
            Listener::bind(free, Speaks::Https).unwrap(),
            Listener::bind(free, Speaks::Http).unwrap(),
        ];
        let https = listeners[0].address().unwrap();
        let http = listeners[1].address().unwrap();
        config.listen.https = vec![ListenAddress::Address(https)];
        config.listen.http = vec![ListenAddress::Address(http)];

        let (inventory, found) = Inventory::load(
            &tls_settings(&config),
            state.path(),
            SystemTime::now(),
            None,
        );
        assert!(found.is_empty(), "{found:?}");
        let ca = Arc::new(LocalCa::open(state.path(), SystemTime::now()).unwrap());
        let pem = std::fs::read(state.path().join("local-ca/ca.pem")).unwrap();
        let authority = (config.certificates.otherwise == Otherwise::LocalCa).then_some(ca);
        let tickets = Arc::new(Tickets::open(state.path(), SystemTime::now()));
        let tls = Tls::new(inventory, authority, tickets).unwrap();

        let (written, log) = watch::channel(Vec::new());
        let access_log = AccessLog::start(Format::Json, Lines(written)).unwrap().0;
        let mut commons = Commons::new(Secret::fleeting());
        share(&mut commons);
        let snapshot = Snapshot::build(&config, tls, commons, None);
        let running = Arc::new(hostmux::proxy::Proxy::new(snapshot, Some(access_log)));
        let source = commanded.then(|| {
            let file = state.path().join("sites.yaml");
            std::fs::write(&file, yaml).unwrap();
            let folder = state.path().to_owned();
            Arc::new(Source::new(
                &file,
                folder,
                config.clone(),
                yaml.to_owned(),
                None,
            ))
        });
        let control = commanded.then(|| Socket::bind(&state.path().join(SOCKET)).unwrap());
        Self {
            server: Some(Server::start(running.clone(), listeners, source, control).unwrap()),
            running,
            front: Front::new(https, &pem),
            http,
            log,
            _state: state,
        }
    }

    /// Lets clients trust the issuer of these certificates, too.
    pub(crate) fn trust(&mut self, certificates: &Certificates) {
        self.front.trust(certificates.issuer.clone());
    }

    /// One site, `a.test`, with these keys (`\n` between them), served over plain HTTP too.
    pub(crate) fn with(keys: &str) -> Self {
        let keys = keys.replace('\n', "\n    ");
        Self::start(&format!(
            "sites:\n  a.test:\n    plain_http: serve\n    {keys}\n"
        ))
    }

    /// One site, `a.test`, before this endpoint.
    pub(crate) fn before(endpoint: &str) -> Self {
        Self::with(&format!("upstream: \"{endpoint}\""))
    }

    /// Gives new requests another configuration, but for where it listens.
    pub(crate) fn replace(&self, yaml: &str) {
        self.replace_as(yaml, |_| {});
    }

    pub(crate) fn replace_as(&self, yaml: &str, alter: impl Fn(&mut Config)) {
        let mut config = config::check(yaml, &|_| None).config.unwrap();
        alter(&mut config);
        let live = self.running.live();
        let before = live.current();
        let (inventory, _) = Inventory::load(
            &tls_settings(&config),
            self._state.path(),
            SystemTime::now(),
            Some(before.tls.inventory()),
        );
        let tls = Tls::new(
            inventory,
            before.tls.authority().cloned(),
            before.tls.tickets().clone(),
        )
        .unwrap();
        let commons = before.commons.clone();
        live.replace(Snapshot::build(&config, tls, commons, Some(&before)));
    }

    /// Where it listens for commands.
    pub(crate) fn socket(&self) -> PathBuf {
        self._state.path().join(SOCKET)
    }

    /// What a process would serve that starts with this file now, with nothing
    /// but what earlier ones have left in the state folder.
    pub(crate) fn start_cold(&self, yaml: &str) -> bool {
        self.write(yaml);
        let (file, state) = (self._state.path().join("sites.yaml"), self._state.path());
        let Some(ready) = Start::read(&file, state, false).ready else {
            return false;
        };
        let tickets = Arc::new(Tickets::open(state, SystemTime::now()));
        let snapshot = reload::open(&ready.config, ready.inventory, tickets, state, None);
        let snapshot = snapshot.unwrap();
        self.running.live().replace(snapshot);
        true
    }

    /// Writes the file that it serves once it is told to read it again.
    pub(crate) fn write(&self, yaml: &str) {
        std::fs::write(self._state.path().join("sites.yaml"), yaml).unwrap();
    }

    /// A command: its status and what was answered. `line`: `GET /v1/status`.
    pub(crate) async fn command(&self, line: &str, body: &str) -> (u16, serde_json::Value) {
        let mut client = Client::connect_unix(&self.socket()).await;
        let length = body.len();
        let request =
            format!("{line} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}");
        let answer = client.ask(request).await;
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }

    /// Requests of a site that wait for its endpoints to come up.
    pub(crate) fn held(&self, name: &str) -> usize {
        self.upstream(name).held.load(Ordering::Relaxed)
    }

    /// The first upstream of a site, as it runs now.
    pub(crate) fn upstream(&self, name: &str) -> Arc<Upstream> {
        let snapshot = self.running.live().current();
        let site = snapshot.sites.get(name).unwrap();
        site.upstreams().next().unwrap().clone()
    }

    /// How many endpoints health checks ask.
    pub(crate) fn probed(&self) -> usize {
        let commons = &self.running.live().current().commons;
        commons.probed.load(Ordering::Relaxed)
    }

    /// Accepts nothing more and finishes what runs; the connections that were left.
    pub(crate) fn drain(&mut self) -> impl Future<Output = usize> + Send + use<> {
        self.drain_as(Drain::Stop, Duration::from_secs(20))
    }

    pub(crate) fn drain_as(
        &mut self,
        why: Drain,
        timeout: Duration,
    ) -> impl Future<Output = usize> + Send + use<> {
        let server = self.server.take().expect("a proxy is drained once");
        within(server.drain(why, timeout))
    }

    /// Waits until nobody listens any more.
    pub(crate) async fn refuses_connections(&self) {
        within(async {
            for address in [self.https, self.http] {
                while TcpStream::connect(address).await.is_ok() {
                    tokio::task::yield_now().await;
                }
            }
        })
        .await;
    }

    /// A plain connection.
    pub(crate) async fn plain(&self) -> Client {
        Client::connect(self.http).await
    }

    /// Waits for so many access lines; gives all there are then.
    pub(crate) async fn logged(&self, lines: usize) -> Vec<serde_json::Value> {
        let mut log = self.log.clone();
        let written =
            within(log.wait_for(|written| written.split(|b| *b == b'\n').count() > lines));
        let written = written.await.unwrap().clone();
        let text = String::from_utf8(written).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// The folder of what a proxy makes itself.
enum State {
    Passing(tempfile::TempDir),
    Lasting(PathBuf),
}

impl State {
    fn path(&self) -> &Path {
        match self {
            Self::Passing(folder) => folder.path(),
            Self::Lasting(path) => path,
        }
    }
}

impl std::ops::Deref for Proxy {
    type Target = Front;

    fn deref(&self) -> &Front {
        &self.front
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let Some(server) = self.server.take() else {
            return;
        };
        // Stops the threads without keeping the test.
        let stop = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime
                .unwrap()
                .block_on(server.drain(Drain::Stop, Duration::ZERO));
        };
        std::thread::spawn(stop);
    }
}

struct Lines(watch::Sender<Vec<u8>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send_modify(|written| written.extend(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn tls_settings(config: &Config) -> tls::Settings {
    tls::Settings {
        directory: config.certificates.directory.clone(),
        directory_is_required: config.certificates.directory_is_required,
        otherwise: config.certificates.otherwise,
        sites: config
            .sites
            .iter()
            .chain(&config.fallback)
            .map(|site| tls::SiteSettings {
                at: site.path(),
                hosts: site.hosts.clone(),
                certificate: site.certificate.clone(),
            })
            .collect(),
        authorities: config.authorities.clone(),
    }
}
