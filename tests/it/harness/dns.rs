//! A name server that says what it is told to, and counts what it is asked
//! (RFC 1035 §4).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hostmux::upstream::discovery::{NameService, Pace};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::within;

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;

const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

/// A name server. Dropped, it is silent.
pub(crate) struct Dns {
    at: SocketAddr,
    zone: Arc<Mutex<HashMap<String, Says>>>,
    asked: watch::Receiver<HashMap<String, usize>>,
    _tasks: JoinSet<()>,
}

/// What there is behind a name; none is no such name.
enum Says {
    /// Type, time to live, and data.
    Records(Vec<(u16, u32, Vec<u8>)>),
    Failure,
}

impl Dns {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        let zone: Arc<Mutex<HashMap<String, Says>>> = Arc::default();
        let (count, asked) = watch::channel(HashMap::new());
        let mut tasks = JoinSet::new();
        let told = zone.clone();
        tasks.spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                let (name, answer) = answer(&question[..length], &told.lock().unwrap());
                count.send_modify(|asked: &mut HashMap<String, usize>| {
                    *asked.entry(name).or_default() += 1;
                });
                let _ = socket.send_to(&answer, from).await;
            }
        });
        Self {
            at,
            zone,
            asked,
            _tasks: tasks,
        }
    }

    /// As a proxy has to be told of it: who asks again soon, and forgets at once.
    pub(crate) fn names(&self) -> NameService {
        NameService {
            server: Some(self.at),
            hosts: "/nonexistent".into(),
            pace: Pace {
                ttl_min: Duration::from_millis(2),
                retry_first: Duration::from_millis(2),
                retry_last: Duration::from_millis(20),
                grace: Duration::ZERO,
                ..Pace::default()
            },
        }
    }

    /// The name has these addresses, for so many seconds.
    pub(crate) fn addresses(&self, name: &str, ttl: u32, ips: &[&str]) {
        let record = |ip: &&str| match ip.parse().unwrap() {
            IpAddr::V4(v4) => (A, ttl, v4.octets().to_vec()),
            IpAddr::V6(v6) => (AAAA, ttl, v6.octets().to_vec()),
        };
        self.say(name, Says::Records(ips.iter().map(record).collect()));
    }

    /// The service has these targets: priority, weight, port, host (RFC 2782).
    pub(crate) fn service(&self, name: &str, ttl: u32, targets: &[(u16, u16, &str, &str)]) {
        let record = |(priority, weight, port, host): &(u16, u16, &str, &str)| {
            let port: u16 = port.parse().unwrap();
            let mut data = Vec::new();
            for number in [*priority, *weight, port] {
                data.extend(number.to_be_bytes());
            }
            data.extend(spelled(host));
            (SRV, ttl, data)
        };
        self.say(name, Says::Records(targets.iter().map(record).collect()));
    }

    /// There is no such name.
    pub(crate) fn forget(&self, name: &str) {
        self.zone.lock().unwrap().remove(name);
    }

    /// The server cannot say.
    pub(crate) fn fail(&self, name: &str) {
        self.say(name, Says::Failure);
    }

    fn say(&self, name: &str, says: Says) {
        self.zone.lock().unwrap().insert(name.to_owned(), says);
    }

    /// Questions for a name so far.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.asked.borrow().get(name).copied().unwrap_or(0)
    }

    /// Waits until what is said now has been learnt: a name is asked for again
    /// once its last answer was.
    pub(crate) async fn learnt(&self, name: &str) {
        // A question for each family; those of now may have an older answer.
        let before = self.asked(name);
        let mut asked = self.asked.clone();
        let enough = asked.wait_for(|asked| asked.get(name).copied().unwrap_or(0) > before + 4);
        drop(within(enough).await.unwrap());
    }
}

/// The name that is asked for, and the answer.
fn answer(question: &[u8], zone: &HashMap<String, Says>) -> (String, Vec<u8>) {
    let (mut name, mut at) = (String::new(), 12);
    while question[at] != 0 {
        let label = &question[at + 1..at + 1 + usize::from(question[at])];
        name.push_str(std::str::from_utf8(label).unwrap());
        name.push('.');
        at += 1 + label.len();
    }
    name.pop();
    name.make_ascii_lowercase();
    let end = at + 5; // the root, the type and the class
    let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
    let (code, records): (u8, Vec<_>) = match zone.get(&name) {
        None => (NXDOMAIN, Vec::new()),
        Some(Says::Failure) => (SERVFAIL, Vec::new()),
        Some(Says::Records(records)) => {
            let records = records.iter().filter(|(of, _, _)| *of == kind);
            (0, records.collect())
        }
    };
    // A response with recursion desired and available; one question.
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1]);
    answer.extend(u16::try_from(records.len()).unwrap().to_be_bytes());
    answer.extend([0; 4]);
    answer.extend(&question[12..end]);
    for (kind, ttl, data) in records {
        answer.extend([0xc0, 12]); // the name of the question
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1]);
        answer.extend(ttl.to_be_bytes());
        answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        answer.extend(data);
    }
    (name, answer)
}

/// A name as labels.
fn spelled(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
