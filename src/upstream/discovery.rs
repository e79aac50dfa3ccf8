//! Endpoints by name: each address of a name is an endpoint, and is looked up
//! again when its answer is no longer valid.
//!
//! ```yaml
//! db.example.com: db.internal:8080
//! api.example.com: https://api.internal        # port 443
//! web.example.com: srv+http://_web._tcp.internal
//! ```
//!
//! An address that is gone gets no more requests, and those under way go on to
//! their end. A name that does not resolve breaks nothing but the sites that
//! name it: what was known last is kept, and requests wait while nothing is.
//! `/etc/hosts` comes first, then the name servers of `/etc/resolv.conf`.

mod answer;
mod names;
pub mod once;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::task::{AbortHandle, JoinSet};

use self::answer::{Known, Lesson, Told};
use self::names::Names;
use super::member::Origin;
use super::{Commons, EndpointSettings, Upstream};

pub use self::answer::Found;

/// The least time for which an answer holds: one that holds for none at all
/// must not be asked for without end.
pub const TTL_MIN: Duration = Duration::from_secs(1);
/// The most: a record's change is seen after it, whatever the record said.
pub const TTL_MAX: Duration = Duration::from_secs(5 * 60);
/// How soon a name that did not resolve is looked up again; doubles up to [`RETRY_LAST`].
pub const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest that a name that did not resolve is left alone.
pub const RETRY_LAST: Duration = Duration::from_secs(30);
/// For how long the last addresses of a name are used that now has none: a
/// name is without one for a moment where it is taken away and set anew.
pub const GRACE: Duration = Duration::from_secs(60);
/// For how long the table of hosts is taken at its word. Reading it costs
/// nothing, and who edits it waits to see what comes of it.
const HOSTS_TTL: Duration = Duration::from_secs(10);

/// When names are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Default [`TTL_MIN`].
    pub ttl_min: Duration,
    /// Default [`TTL_MAX`].
    pub ttl_max: Duration,
    /// Default [`RETRY_FIRST`].
    pub retry_first: Duration,
    /// Default [`RETRY_LAST`].
    pub retry_last: Duration,
    /// Default [`GRACE`].
    pub grace: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            ttl_min: TTL_MIN,
            ttl_max: TTL_MAX,
            retry_first: RETRY_FIRST,
            retry_last: RETRY_LAST,
            grace: GRACE,
        }
    }
}

/// Who is asked for the addresses of names, and how often.
#[derive(Clone, Debug)]
pub struct NameService {
    /// `None`: the servers of `/etc/resolv.conf`, with all else it says.
    pub server: Option<SocketAddr>,
    /// Names with addresses that no server is asked for.
    pub hosts: PathBuf,
    pub pace: Pace,
}

impl Default for NameService {
    fn default() -> Self {
        Self {
            server: None,
            hosts: "/etc/hosts".into(),
            pace: Pace::default(),
        }
    }
}

/// A name of an upstream that is followed.
struct Followed {
    /// Holds its place in memory, so that no other comes to have its address.
    _upstream: Weak<Upstream>,
    task: AbortHandle,
}

/// Follows the names of all upstreams, one task for each. `upstreams`: those
/// that run now; one may be there several times. An upstream that a reload
/// kept keeps its tasks.
///
/// Runs where local tasks can be spawned. Dropping the future ends its tasks.
pub async fn supervise(upstreams: impl Fn() -> Vec<Arc<Upstream>>, commons: Commons) {
    let mut changed = commons.changed.subscribe();
    let names = Rc::new(Names::new(commons.names.clone()));
    let mut followed: HashMap<(*const Upstream, String), Followed> = HashMap::new();
    let mut seen: Vec<*const Upstream> = Vec::new();
    let mut tasks = JoinSet::new();
    loop {
        changed.mark_unchanged();
        let mut upstreams = upstreams();
        upstreams.retain(|upstream| named(upstream).next().is_some());
        let now: Vec<_> = upstreams.iter().map(Arc::as_ptr).collect();
        // Mostly it was but the members of one that changed.
        if now != seen {
            seen = now;
            let mut before = std::mem::take(&mut followed);
            for upstream in &upstreams {
                for endpoint in named(upstream) {
                    let key = (Arc::as_ptr(upstream), endpoint.to_string());
                    // Several routes share an upstream; and a name twice is one.
                    if followed.contains_key(&key) {
                        continue;
                    }
                    let task = before.remove(&key).unwrap_or_else(|| Followed {
                        _upstream: Arc::downgrade(upstream),
                        task: tasks.spawn_local(follow(
                            Arc::downgrade(upstream),
                            endpoint.clone(),
                            names.clone(),
                        )),
                    });
                    followed.insert(key, task);
                }
            }
            for gone in before.into_values() {
                gone.task.abort();
            }
            while tasks.try_join_next().is_some() {}
        }
        drop(upstreams);
        if changed.changed().await.is_err() {
            return;
        }
    }
}

/// The endpoints of an upstream that are names.
fn named(upstream: &Upstream) -> impl Iterator<Item = &EndpointSettings> {
    let endpoints = upstream.settings().endpoints.iter();
    endpoints.filter(|endpoint| endpoint.place.address().is_none())
}

/// Follows one name of one upstream for as long as there is the upstream.
async fn follow(upstream: Weak<Upstream>, endpoint: EndpointSettings, names: Rc<Names>) {
    let mut known = match upstream.upgrade() {
        Some(upstream) => Known::new(upstream.found(&endpoint)),
        None => return,
    };
    loop {
        let answer = names.ask(&endpoint).await;
        let Some(upstream) = upstream.upgrade() else {
            return;
        };
        let was = known.found.clone();
        let lesson = known.learn(answer, names.pace(), Instant::now());
        if was != known.found {
            apply(&upstream, &endpoint, &was, &known.found);
        }
        tell(&upstream, &endpoint, &lesson);
        drop(upstream);
        tokio::time::sleep(lesson.wait).await;
    }
}

/// Makes the members behind a name those that were found.
fn apply(upstream: &Upstream, endpoint: &EndpointSettings, was: &[Found], found: &[Found]) {
    let origin = Origin::behind(endpoint);
    let of = |found: &Found| upstream.member_behind(endpoint, found, origin.clone());
    let members: Vec<_> = match found.iter().map(of).collect::<Result<_, _>>() {
        Ok(members) => members,
        Err(error) => {
            tracing::warn!(
                upstream = %upstream.name, name = %endpoint, %error,
                "what a name leads to cannot be used"
            );
            return;
        }
    };
    // Who is there already stays as it is, but for what is said of it: it
    // comes anew as a backup, and with another weight it goes on.
    let before = |found: &Found| was.iter().find(|was| was.spot == found.spot);
    let turned = |found: &Found| before(found).is_some_and(|was| was.backup != found.backup);
    if found.iter().any(turned) {
        let both = found.iter().zip(&members);
        let same = both.filter(|(found, _)| !turned(found));
        let same = same.map(|(_, member)| member.clone()).collect();
        upstream.replace(&origin, same);
    }
    upstream.replace(&origin, members.clone());
    for (found, member) in found.iter().zip(&members) {
        if before(found).is_some_and(|was| was.weight != found.weight) {
            // Removed by hand, it is not there.
            let name = &member.endpoint.name;
            let _ = upstream.registry.set_weight(name, found.weight);
        }
    }
    tracing::debug!(
        upstream = %upstream.name, name = %endpoint, endpoints = found.len(),
        "name leads to other endpoints"
    );
}

/// Trouble with a name is told once, and its end once.
fn tell(upstream: &Upstream, endpoint: &EndpointSettings, lesson: &Lesson) {
    let (upstream, name) = (&upstream.name, endpoint);
    match &lesson.told {
        None => {}
        Some(Told::Trouble { why, kept }) => {
            tracing::warn!(%upstream, %name, %why, kept, "name does not resolve");
        }
        Some(Told::GivenUp) => {
            tracing::warn!(%upstream, %name, "name has had no address for long: its last are given up");
        }
        Some(Told::Again) => tracing::info!(%upstream, %name, "name resolves again"),
    }
}
