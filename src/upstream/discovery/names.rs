//! Questions to name servers, and what the machine's own files say.
//!
//! The files are read again when they have changed: a laptop that moves gets
//! other servers.

use std::cell::RefCell;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Hosts, Resolver, TokioResolver, system_conf};
use rustix::io::Errno;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::answer::{Answer, Found, Looked, Part, Target, weigh};
use super::{HOSTS_TTL, NameService, Pace};
use crate::host::HostName;
use crate::upstream::place::{Address, Named, Place};
use crate::upstream::{EndpointSettings, Unfit};

/// Questions under way at one time: more would only wait in the server.
const QUESTIONS_MAX: usize = 64;
/// How long a question may take with all servers and all tries.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// The most targets of a service that are looked up.
const TARGETS_MAX: usize = 64;

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Whoever knows names.
pub(super) struct Names {
    service: NameService,
    sources: RefCell<Option<Rc<Sources>>>,
    questions: Semaphore,
}

/// What was read of the files.
struct Sources {
    stamp: [Option<(SystemTime, u64)>; 2],
    hosts: Hosts,
    resolver: TokioResolver,
}

impl Names {
    pub(super) fn new(service: NameService) -> Self {
        Self {
            service,
            sources: RefCell::new(None),
            questions: Semaphore::new(QUESTIONS_MAX),
        }
    }

    pub(super) fn pace(&self) -> &Pace {
        &self.service.pace
    }

    /// Looks up what an endpoint names. Of what is found, it leaves out what
    /// this machine has no way to: mostly IPv6 addresses, where it has IPv4 alone.
    pub(super) async fn ask(self: &Rc<Self>, endpoint: &EndpointSettings) -> Answer {
        let mut answer = self.answer(endpoint).await;
        if let Answer::Found { found, .. } = &mut answer
            // A machine without any network keeps all, for when there is one.
            && found.iter().any(has_way_to)
        {
            found.retain(has_way_to);
        }
        answer
    }

    /// The same, with what this machine has no way to.
    pub(super) async fn answer(self: &Rc<Self>, endpoint: &EndpointSettings) -> Answer {
        match &endpoint.place {
            // Nobody asks for these.
            Place::At(_) => Answer::Failed(Unfit::Named.to_string()),
            Place::Name(named) => {
                let parts = self
                    .clone()
                    .host(named.clone(), (endpoint.weight, endpoint.backup));
                Answer::of(parts.await.into(), Duration::MAX)
            }
            Place::Service(service) => self.service(service, endpoint).await,
        }
    }

    async fn service(self: &Rc<Self>, service: &HostName, endpoint: &EndpointSettings) -> Answer {
        let (mut targets, ttl) = match self.targets(service).await {
            Looked::Found(targets, ttl) => (targets, ttl),
            Looked::Nothing(why) => return Answer::Nothing(why),
            Looked::Failed(why) => return Answer::Failed(why),
        };
        targets.sort_by_key(|target| target.priority);
        targets.truncate(TARGETS_MAX);
        let mut asking = JoinSet::new();
        let weights = weigh(&targets, endpoint.weight);
        for (target, (weight, backup)) in targets.into_iter().zip(weights) {
            let told = (weight, backup || endpoint.backup);
            asking.spawn_local(self.clone().host(target.named, told));
        }
        let mut parts = Vec::new();
        while let Some(asked) = asking.join_next().await {
            match asked {
                Ok(both) => parts.extend(both),
                Err(error) => return Answer::Failed(error.to_string()),
            }
        }
        Answer::of(parts, ttl)
    }

    /// The addresses of a host, IPv4 and IPv6.
    async fn host(self: Rc<Self>, named: Named, (weight, backup): (u16, bool)) -> [Part; 2] {
        let (v4, v6) = match self.own(&named.host) {
            Some(both) => both,
            None => tokio::join!(
                self.addresses(&named.host, RecordType::A),
                self.addresses(&named.host, RecordType::AAAA)
            ),
        };
        [(false, v4), (true, v6)].map(|(v6, looked)| Part {
            named: named.clone(),
            weight,
            backup,
            v6,
            looked,
        })
    }

    /// What the machine's own table says; a name that stands in it is not asked for.
    fn own(&self, host: &HostName) -> Option<(Looked<IpAddr>, Looked<IpAddr>)> {
        let sources = self.sources().ok()?;
        let name = Name::from_ascii(host.as_str()).ok()?;
        let of = |kind| {
            let found = sources
                .hosts
                .lookup_static_host(&Query::query(name.clone(), kind));
            let records = found.as_ref().map_or(&[][..], |found| found.answers());
            let ips: Vec<IpAddr> = records.iter().filter_map(|it| it.data.ip_addr()).collect();
            match ips.is_empty() {
                true => Looked::Nothing("it has no such address in the table of hosts".to_owned()),
                false => Looked::Found(ips, HOSTS_TTL),
            }
        };
        let both = (of(RecordType::A), of(RecordType::AAAA));
        let known = |looked: &Looked<IpAddr>| matches!(looked, Looked::Found(..));
        (known(&both.0) || known(&both.1)).then_some(both)
    }

    async fn addresses(&self, host: &HostName, kind: RecordType) -> Looked<IpAddr> {
        self.question(host, kind, |record| record.data.ip_addr())
            .await
    }

    async fn targets(&self, service: &HostName) -> Looked<Target> {
        let target = |record: &Record| {
            let RData::SRV(srv) = &record.data else {
                return None;
            };
            // RFC 2782: `.` says that the service is not there.
            if srv.target.is_root() || srv.port == 0 {
                return None;
            }
            Some(Target {
                priority: srv.priority,
                weight: srv.weight,
                named: Named {
                    host: HostName::parse(&srv.target.to_ascii()).ok()?,
                    port: srv.port,
                },
            })
        };
        self.question(service, RecordType::SRV, target).await
    }

    /// Asks one question, and reads each record of the answer.
    async fn question<T>(
        &self,
        host: &HostName,
        kind: RecordType,
        read: impl Fn(&Record) -> Option<T>,
    ) -> Looked<T> {
        let failed = |error: &dyn std::fmt::Display| Looked::Failed(error.to_string());
        let sources = match self.sources() {
            Ok(sources) => sources,
            Err(error) => return failed(&error),
        };
        let name = match Name::from_ascii(host.as_str()) {
            Ok(name) => name,
            Err(error) => return failed(&error),
        };
        // It is never closed.
        let Ok(_turn) = self.questions.acquire().await else {
            return failed(&"too many questions");
        };
        let asking = tokio::time::timeout(ANSWER_TIMEOUT, sources.resolver.lookup(name, kind));
        match asking.await {
            Err(_) => Looked::Failed(format!("no answer within {ANSWER_TIMEOUT:?}")),
            Ok(Err(error)) if says_nothing(&error) => {
                Looked::Nothing(format!("it has no {kind} record"))
            }
            Ok(Err(error)) => failed(&error),
            Ok(Ok(lookup)) => {
                let records = lookup.answers();
                let ttl = records.iter().map(|record| record.ttl).min();
                let found: Vec<T> = records.iter().filter_map(read).collect();
                match found.is_empty() {
                    true => Looked::Nothing(format!("it has no {kind} record of use")),
                    false => Looked::Found(found, Duration::from_secs(ttl.unwrap_or(0).into())),
                }
            }
        }
    }

    /// What the files say now.
    fn sources(&self) -> Result<Rc<Sources>, NetError> {
        let stamp = |path: &std::path::Path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        let stamp = [stamp(RESOLV_CONF.as_ref()), stamp(&self.service.hosts)];
        let mut sources = self.sources.borrow_mut();
        if let Some(sources) = &*sources
            && sources.stamp == stamp
        {
            return Ok(sources.clone());
        }
        let mut hosts = Hosts::default();
        match fs::File::open(&self.service.hosts).map(|file| hosts.read_hosts_conf(file)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) | Err(error) => {
                tracing::debug!(%error, "the table of hosts was not read");
            }
        }
        let read = Rc::new(Sources {
            stamp,
            hosts,
            resolver: self.resolver()?,
        });
        *sources = Some(read.clone());
        Ok(read)
    }

    fn resolver(&self) -> Result<TokioResolver, NetError> {
        let (config, mut options) = match self.service.server {
            None => system_conf::read_system_conf().unwrap_or_else(|error| {
                // As resolv.conf(5): without a server, it is this machine.
                tracing::debug!(%error, "{RESOLV_CONF} names no server");
                let here = NameServerConfig::udp_and_tcp(IpAddr::from([127, 0, 0, 1]));
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![here]);
                (config, ResolverOpts::default())
            }),
            Some(server) => {
                let at = |mut connection: ConnectionConfig| {
                    connection.port = server.port();
                    connection
                };
                let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
                let server = NameServerConfig::new(server.ip(), true, connections);
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
                (config, ResolverOpts::default())
            }
        };
        options.use_hosts_file = ResolveHosts::Never;
        // Whoever follows a name asks when its answer is over, and not before.
        options.cache_size = 0;
        options.negative_max_ttl = Some(Duration::ZERO);
        let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        builder.build()
    }
}

/// Whether a connection to it could leave this machine. Sends nothing.
fn has_way_to(found: &Found) -> bool {
    let Address::Socket(address) = found.spot.address else {
        return true;
    };
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let connected = UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(address));
    let error = connected.err().and_then(|e| Errno::from_io_error(&e));
    // INVAL: an address of a link, without the link.
    !matches!(
        error,
        Some(
            Errno::NETUNREACH
                | Errno::HOSTUNREACH
                | Errno::ADDRNOTAVAIL
                | Errno::AFNOSUPPORT
                | Errno::INVAL
        )
    )
}

/// Whether it was said that there is nothing, by someone who knows.
fn says_nothing(error: &NetError) -> bool {
    let NetError::Dns(DnsError::NoRecordsFound(none)) = error else {
        return false;
    };
    matches!(
        none.response_code,
        ResponseCode::NoError | ResponseCode::NXDomain
    )
}
