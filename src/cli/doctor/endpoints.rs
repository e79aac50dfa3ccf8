//! Each endpoint: does somebody listen, on which address, does it speak what
//! the file says, does it answer, does it take the site's name?
//!
//! One GET for each name of each site that leads to it, as a visitor would
//! cause it; a second one, with the endpoint's own address as `Host`, where
//! the first was refused.

pub mod answer;
mod judge;
pub mod probe;
pub mod refusal;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

use http::Uri;

use self::answer::Answer;
use self::probe::{Families, Heard, Question};
use self::refusal::{Program, recognise};
use super::each::{TIME_MAX, each};
use super::finding::{Check, Finding};
use super::names::asked_for;
use crate::config::{Config, HostHeader, RouteConfig, SiteConfig, Target};
use crate::diagnostic;
use crate::host::HostPattern;
use crate::tls::{self, AuthoritySettings, Inventory, Otherwise};
use crate::upstream::discovery::once::Asking;
use crate::upstream::discovery::{Found, NameService};
use crate::upstream::place::Address;
use crate::upstream::protocol::Trust;
use crate::upstream::{
    ConnectTimeout, Endpoint, EndpointSettings, Endpoints, ProtocolSettings, TlsSettings,
};

pub(super) use self::judge::judge;

pub(super) const CHECK: Check = Check::Endpoints;

/// How many questions there are at most; of a larger file only the first.
pub const QUESTIONS_MAX: usize = 512;
/// How many addresses of one name are asked.
const ADDRESSES_MAX: usize = 8;
/// Statuses with which servers refuse a name.
const REFUSING: [u16; 3] = [400, 403, 421];

/// An endpoint as one name of one site sees it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// As `sites.yaml` has it.
    pub site: String,
    /// The route's line in it.
    pub line: usize,
    /// `None`: the fallback, which has no name.
    pub pattern: Option<HostPattern>,
    /// As it is told.
    pub endpoint: String,
    /// What is written before the address, and what would be behind it.
    pub scheme: &'static str,
    pub address: String,
    /// The upstream has others, so that a visitor may not notice.
    pub others: bool,
}

/// What was learnt of it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub asked: Asked,
    /// For a port.
    pub families: Option<Families>,
    pub heard: Heard,
    /// Who refused the name.
    pub refusal: Option<Program>,
    /// With `host: endpoint` it would not.
    pub own_host_helps: bool,
}

/// All that was learnt.
#[derive(Debug, Default)]
pub struct Gathered {
    pub seen: Vec<Seen>,
    /// Names of endpoints that came to nothing, with why.
    pub nameless: Vec<(Asked, String)>,
    /// How much more there is.
    pub left: usize,
    /// How many were given up.
    pub late: usize,
}

/// One question, before names are looked up.
struct Plan {
    asked: Asked,
    settings: EndpointSettings,
    path: String,
    host: HostHeader,
    /// The `Host` that clients send.
    public: String,
}

/// Asks all at once. Needs a place where local tasks can be spawned.
pub(super) async fn gather(
    config: &Config,
    inventory: &Inventory,
    service: NameService,
) -> Gathered {
    let mut plans = plans(config);
    let left = plans.len().saturating_sub(QUESTIONS_MAX);
    plans.truncate(QUESTIONS_MAX);
    let asking = Rc::new(Asking::new(service));
    let known = Rc::new(known(inventory));
    let asked = plans.into_iter().map(|plan| {
        let (asking, known) = (asking.clone(), known.clone());
        async move { carry_out(plan, &asking, &known).await }
    });
    let mut gathered = Gathered {
        left,
        ..Gathered::default()
    };
    let done = each(asked.collect(), TIME_MAX).await;
    gathered.late = done.late;
    for outcome in done.given {
        match outcome {
            Ok(seen) => gathered.seen.extend(seen),
            Err(nameless) => gathered.nameless.push(nameless),
        }
    }
    gathered
}

fn plans(config: &Config) -> Vec<Plan> {
    let port = config.listen.https.first().map(|address| address.port());
    let mut plans = Vec::new();
    for site in config.sites.iter().chain(&config.fallback) {
        for route in &site.routes {
            let Target::Upstream(upstream) = &route.target else {
                continue;
            };
            for settings in &upstream.endpoints {
                let others = upstream.endpoints.len() > 1;
                let names = site.hosts.iter().map(Some);
                let nameless = site.hosts.is_empty().then_some(None);
                for pattern in names.chain(nameless) {
                    plans.push(plan(site, route, settings, pattern, others, port));
                }
            }
        }
    }
    plans
}

fn plan(
    site: &SiteConfig,
    route: &RouteConfig,
    settings: &EndpointSettings,
    pattern: Option<&HostPattern>,
    others: bool,
    port: Option<u16>,
) -> Plan {
    let prefix = match route.prefix.is_root() {
        true => "",
        false => route.prefix.as_str(),
    };
    let name = pattern.map_or_else(|| "localhost".to_owned(), asked_for);
    // A browser leaves the usual port out.
    let public = match port {
        Some(443) | None => name,
        Some(port) => format!("{name}:{port}"),
    };
    let path = match route.strip_prefix {
        true => "/",
        false => route.prefix.as_str(),
    };
    Plan {
        asked: Asked {
            site: format!("{}{prefix}", site.name),
            line: route.line,
            pattern: pattern.cloned(),
            endpoint: settings.to_string(),
            scheme: settings.protocol.scheme(),
            address: settings.place.to_string(),
            others,
        },
        settings: settings.clone(),
        // What is no URI is an odd prefix; the endpoint is asked all the same.
        path: match path.parse::<Uri>() {
            Ok(_) => path.to_owned(),
            Err(_) => "/".to_owned(),
        },
        host: route.host.clone(),
        public,
    }
}

/// Endpoints as they would run, with what they are held against over TLS. The
/// system's CAs are among it, so that TLS is known where it is not meant.
fn known(inventory: &Inventory) -> Endpoints {
    let system = AuthoritySettings {
        at: diagnostic::Path::root(),
        ca: None,
    };
    let nothing_else = tls::Settings {
        directory: PathBuf::from("certs"),
        directory_is_required: false,
        otherwise: Otherwise::LocalCa,
        sites: Vec::new(),
        authorities: vec![system],
    };
    let nowhere = Path::new("/nonexistent");
    let (system, _) = Inventory::load(&nothing_else, nowhere, SystemTime::now(), None);
    let all = system
        .authorities()
        .iter()
        .chain(inventory.authorities().iter());
    let endpoints = Endpoints::default();
    endpoints.trust(all.map(|(file, authority)| {
        let trust = Trust {
            fingerprint: authority.fingerprint,
            any: authority.any.clone(),
            http1: authority.http1.clone(),
        };
        (file.clone(), trust)
    }));
    endpoints
}

async fn carry_out(
    plan: Plan,
    asking: &Asking,
    known: &Endpoints,
) -> Result<Vec<Seen>, (Asked, String)> {
    let found = match plan.settings.written() {
        Some(found) => vec![found],
        None => match asking.endpoints(&plan.settings).await {
            Ok(found) => found,
            Err(why) => return Err((plan.asked, why)),
        },
    };
    let mut seen = Vec::new();
    for found in found.iter().take(ADDRESSES_MAX) {
        match known.of(&plan.settings, &found.spot, ConnectTimeout::default()) {
            Ok(endpoint) => seen.push(see(&plan, found, &endpoint, known).await),
            Err(unfit) => return Err((plan.asked, unfit.to_string())),
        }
    }
    Ok(seen)
}

async fn see(plan: &Plan, found: &Found, endpoint: &Endpoint, known: &Endpoints) -> Seen {
    let address = &endpoint.address;
    let families = match address {
        Address::Port(port) => Some(probe::families(*port).await),
        Address::Socket(_) | Address::Unix(_) => None,
    };
    let over_tls = EndpointSettings {
        protocol: ProtocolSettings::Tls(TlsSettings::default()),
        ..plan.settings.clone()
    };
    let tls = known
        .of(&over_tls, &found.spot, ConnectTimeout::default())
        .ok();
    let tls = tls.as_ref().map(|endpoint| &endpoint.protocol);
    let mut question = Question {
        path: plan.path.clone(),
        host: match &plan.host {
            HostHeader::Preserve => plan.public.clone(),
            HostHeader::Endpoint => endpoint.host().to_owned(),
            HostHeader::Name(name) => name.clone(),
        },
        public: plan.public.clone(),
    };
    let heard = probe::ask(address, &endpoint.protocol, tls, &question).await;
    let mut refusal = of(&heard);
    let mut own_host_helps = false;
    let may_be_refused = |heard: &Heard| {
        let Heard::Answered(answer) = heard else {
            return false;
        };
        REFUSING.contains(&answer.status)
    };
    if (refusal.is_some() || may_be_refused(&heard)) && question.host != endpoint.host() {
        question.host = endpoint.host().to_owned();
        let again = probe::ask(address, &endpoint.protocol, tls, &question).await;
        own_host_helps =
            matches!(&again, Heard::Answered(_)) && of(&again).is_none() && !may_be_refused(&again);
        if refusal.is_none() && own_host_helps {
            refusal = Some(Program::Unknown);
        }
    }
    Seen {
        asked: Asked {
            endpoint: endpoint.name.to_string(),
            ..plan.asked.clone()
        },
        families,
        heard,
        refusal,
        own_host_helps,
    }
}

fn of(heard: &Heard) -> Option<Program> {
    let Heard::Answered(Answer { status, head, body }) = heard else {
        return None;
    };
    recognise(*status, head, body)
}

/// What is said of all of it.
pub(super) fn judge_all(gathered: &Gathered) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let nameless = gathered.nameless.iter();
    let nameless = nameless.map(|(asked, why)| judge::nameless(asked, why));
    for finding in gathered.seen.iter().map(judge).chain(nameless) {
        // Several names of one site are worth one line where they fare alike.
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    findings.extend(Finding::left_out(
        CHECK,
        gathered.left,
        "names and endpoints",
        QUESTIONS_MAX,
    ));
    findings.extend(Finding::too_late(CHECK, gathered.late, TIME_MAX));
    findings
}
