//! `upstream`: the endpoints behind a site, and how long they may take.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use super::{Check, endpoint, words};
use crate::config::file::{self, Shape, Value};
use crate::diagnostic::{Diagnostic, Path, Place};
use crate::upstream::{Address, ConnectTimeout, Settings};

/// How long a request waits for a loopback endpoint that refuses: what a dev
/// server takes to restart.
const WAIT_FOR_ENDPOINT: Duration = Duration::from_secs(5);
/// How long the head of a response may take: dev servers compile.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(300);

const ENDPOINT: &str = "a port such as `8080`, an address such as `10.0.0.7:8080`, or `unix:/path`";

impl Check<'_> {
    /// An upstream in any form.
    pub(super) fn upstream(
        &mut self,
        written: &Shape<file::Upstream>,
        at: &Path,
    ) -> Option<Settings> {
        let written = match written {
            Shape::Mapping(written) => written,
            Shape::Other(value) => return self.endpoints(value, at, ENDPOINT).map(settings),
        };
        self.keys(&written.unknown, at, words::UPSTREAM, "`upstream`");
        let endpoints = if written.endpoints == Value::Absent {
            if self.whole && written.unknown.0.is_empty() {
                self.add(
                    Diagnostic::error(Place::Key(at.clone()), "an upstream has no `endpoints`")
                        .label("nothing to send requests to")
                        .help("add `endpoints: [8080]` with the ports that answer"),
                );
            }
            None
        } else {
            self.endpoints(&written.endpoints, &at.key("endpoints"), ENDPOINT)
        };
        let wait = self.duration(&written.wait_for_endpoint, &at.key("wait_for_endpoint"));
        let connect = self.bound(&written.connect_timeout, &at.key("connect_timeout"));
        let response = self.bound(&written.response_timeout, &at.key("response_timeout"));
        Some(Settings {
            endpoints: endpoints?,
            connect_timeout: connect?.map_or_else(ConnectTimeout::default, ConnectTimeout::Of),
            response_timeout: response?.unwrap_or(RESPONSE_TIMEOUT),
            wait_for_endpoint: wait?.unwrap_or(WAIT_FOR_ENDPOINT),
        })
    }

    /// One endpoint or a list of them.
    pub(super) fn endpoints(
        &mut self,
        value: &Value,
        at: &Path,
        what: &str,
    ) -> Option<Vec<Address>> {
        let list = match value {
            Value::List(list) if list.is_empty() => {
                self.add(
                    Diagnostic::error(Place::Value(at.clone()), "a list of endpoints is empty")
                        .label("nothing to send requests to")
                        .help("write `[8080]` with the ports that answer"),
                );
                return None;
            }
            Value::List(list) => list,
            Value::Absent
            | Value::Null
            | Value::Switch(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::Mapping(_) => {
                return self
                    .endpoint(value, at, what)
                    .map(|endpoint| vec![endpoint]);
            }
        };
        let mut first: HashMap<Address, Path> = HashMap::new();
        let mut endpoints = Some(Vec::with_capacity(list.len()));
        for (n, value) in list.iter().enumerate() {
            let at = at.at(n);
            let endpoint = self.endpoint(value, &at, ENDPOINT);
            if let Some(endpoint) = &endpoint {
                match first.entry(endpoint.clone()) {
                    Entry::Vacant(entry) => {
                        entry.insert(at.clone());
                    }
                    Entry::Occupied(first) => self.add(
                        Diagnostic::warning(
                            Place::Value(at),
                            format!("the endpoint `{endpoint}` is here twice"),
                        )
                        .label("again here")
                        .help("it takes two turns of each round")
                        .other(Place::Value(first.get().clone()), "first here"),
                    ),
                }
            }
            endpoints = endpoints.zip(endpoint).map(|(mut endpoints, endpoint)| {
                endpoints.push(endpoint);
                endpoints
            });
        }
        endpoints
    }

    fn endpoint(&mut self, value: &Value, at: &Path, what: &str) -> Option<Address> {
        if let Value::Mapping(entries) = value {
            return self.endpoint_in_long(entries, at);
        }
        let text = self.text(value, at, what)??;
        let place = Place::Value(at.clone());
        match endpoint::address(&text) {
            Ok(address) => {
                self.doubts(&address, place);
                Some(address)
            }
            Err(wrong) => {
                self.add(wrong.at(place));
                None
            }
        }
    }

    /// `{ address: 8080 }`; the other keys of this form come later.
    fn endpoint_in_long(&mut self, entries: &[(String, Value)], at: &Path) -> Option<Address> {
        let mut address = None;
        let mut unknown = false;
        for (key, value) in entries {
            let at = at.key(key);
            if words::ENDPOINT.contains(&key.as_str()) {
                address = self.endpoint(value, &at, ENDPOINT);
            } else {
                unknown = true;
                self.unknown_key(key, &at, words::ENDPOINT, "an endpoint");
            }
        }
        if !unknown && entries.is_empty() {
            self.add(
                Diagnostic::error(Place::Value(at.clone()), "an endpoint has no `address`")
                    .label(format!("expected {ENDPOINT}")),
            );
        }
        address
    }

    /// What is likely a mistake, but can be served.
    fn doubts(&mut self, address: &Address, place: Place) {
        if let Some((scheme, listener)) = self.own_listener(address) {
            self.add(
                Diagnostic::warning(place, format!("`{address}` is hostmux itself"))
                    .label(format!("`listen.{scheme}` is {listener}"))
                    .help("a request would come back to hostmux and be refused (508): write the port of your server"),
            );
        } else if let Address::Socket(socket) = address
            && socket.ip().is_unspecified()
        {
            self.add(
                Diagnostic::warning(place, format!("`{socket}` is an address to listen on"))
                    .label("not one to connect to")
                    .help(format!(
                        "write `{}` for a port of this machine",
                        socket.port()
                    )),
            );
        }
    }
}

/// An upstream in its short form.
pub(super) fn settings(endpoints: Vec<Address>) -> Settings {
    Settings {
        endpoints,
        connect_timeout: ConnectTimeout::default(),
        response_timeout: RESPONSE_TIMEOUT,
        wait_for_endpoint: WAIT_FOR_ENDPOINT,
    }
}
