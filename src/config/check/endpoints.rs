//! Endpoints as they stand in a file: one or a list, in short or in long.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::upstream::not_secured;
use super::{Check, endpoint, words};
use crate::config::file::Value;
use crate::diagnostic::{Diagnostic, Path, Place};
use crate::upstream::registry::{MEMBERS_MAX, WEIGHT_MAX};
use crate::upstream::{Address, EndpointSettings, ProtocolSettings, TlsSettings};

pub(super) const ENDPOINT: &str =
    "a port such as `8080`, an address such as `10.0.0.7:8080`, or `unix:/path`";

impl Check<'_> {
    /// One endpoint or a list of them.
    pub(super) fn endpoints(
        &mut self,
        value: &Value,
        at: &Path,
        what: &str,
        tls: Option<&TlsSettings>,
    ) -> Option<Vec<EndpointSettings>> {
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
                let endpoint = self.endpoint(value, at, what, tls)?;
                return self.shares(vec![endpoint], |_| at.clone());
            }
        };
        if list.len() > MEMBERS_MAX {
            self.add(
                Diagnostic::error(Place::Value(at.at(MEMBERS_MAX)), "too many endpoints")
                    .label(format!("an upstream has {MEMBERS_MAX} at most")),
            );
            return None;
        }
        let mut first: HashMap<EndpointSettings, Path> = HashMap::new();
        let mut endpoints = Some(Vec::with_capacity(list.len()));
        for (n, value) in list.iter().enumerate() {
            let at = at.at(n);
            let endpoint = self.endpoint(value, &at, ENDPOINT, tls);
            if let Some(endpoint) = &endpoint {
                // Whatever share each has: it is the same endpoint.
                let same = EndpointSettings {
                    weight: 1,
                    backup: false,
                    ..endpoint.clone()
                };
                match first.entry(same) {
                    Entry::Vacant(entry) => {
                        entry.insert(at.clone());
                    }
                    Entry::Occupied(first) => self.add(
                        Diagnostic::warning(
                            Place::Value(at),
                            format!("the endpoint `{endpoint}` is here twice"),
                        )
                        .label("again here")
                        .help("it counts once; a larger share of the requests is its `weight`")
                        .other(Place::Value(first.get().clone()), "first here"),
                    ),
                }
            }
            endpoints = endpoints.zip(endpoint).map(|(mut endpoints, endpoint)| {
                endpoints.push(endpoint);
                endpoints
            });
        }
        self.shares(endpoints?, |n| at.at(n))
    }

    /// Whether somebody gets the requests. `at`: where an endpoint stands.
    fn shares(
        &mut self,
        endpoints: Vec<EndpointSettings>,
        at: impl Fn(usize) -> Path,
    ) -> Option<Vec<EndpointSettings>> {
        if endpoints.iter().all(|endpoint| endpoint.weight == 0) {
            self.add(
                Diagnostic::error(
                    Place::Value(at(0).key("weight")),
                    "no endpoint has a weight above 0",
                )
                .label("nothing gets the requests")
                .help("a weight of 0 takes one endpoint out while others serve"),
            );
            return None;
        }
        if endpoints.iter().all(|endpoint| endpoint.backup) {
            self.add(
                Diagnostic::warning(
                    Place::Key(at(0).key("backup")),
                    "every endpoint is a `backup`",
                )
                .label("of no other")
                .help("they serve as if none were: remove the key, or name the endpoint that they are for"),
            );
        }
        Some(endpoints)
    }

    /// One endpoint. `tls`: what its upstream says of all of them.
    fn endpoint(
        &mut self,
        value: &Value,
        at: &Path,
        what: &str,
        tls: Option<&TlsSettings>,
    ) -> Option<EndpointSettings> {
        if let Value::Mapping(entries) = value {
            return self.endpoint_in_long(entries, at, tls);
        }
        let mut endpoint = self.endpoint_in_short(value, at, what)?;
        if let ProtocolSettings::Tls(own) = &mut endpoint.protocol {
            if let Some(tls) = tls {
                *own = tls.clone();
            }
            self.trusts(own, at);
        }
        Some(endpoint)
    }

    fn endpoint_in_short(
        &mut self,
        value: &Value,
        at: &Path,
        what: &str,
    ) -> Option<EndpointSettings> {
        let text = self.text(value, at, what)??;
        let place = Place::Value(at.clone());
        match endpoint::endpoint(&text) {
            Ok(endpoint) => {
                if let Some(address) = endpoint.place.address() {
                    self.doubts(address, place);
                }
                Some(endpoint)
            }
            Err(wrong) => {
                self.add(wrong.at(place));
                None
            }
        }
    }

    /// `{ address: https://8443, weight: 2, backup: on, tls: … }`
    fn endpoint_in_long(
        &mut self,
        entries: &[(String, Value)],
        at: &Path,
        of_all: Option<&TlsSettings>,
    ) -> Option<EndpointSettings> {
        let mut endpoint = None;
        let (mut weight, mut backup) = (Some(None), Some(None));
        let mut tls = Some(None);
        let mut unknown = false;
        for (key, value) in entries {
            let at = at.key(key);
            match key.as_str() {
                "address" => endpoint = self.endpoint_in_short(value, &at, ENDPOINT),
                "weight" => weight = self.weight(value, &at),
                "backup" => backup = self.switch(value, &at),
                "tls" => tls = self.tls(value, &at),
                _ => {
                    unknown = true;
                    self.unknown_key(key, &at, words::ENDPOINT, "an endpoint");
                }
            }
        }
        if !unknown && !entries.iter().any(|(key, _)| key == "address") {
            self.add(
                Diagnostic::error(Place::Value(at.clone()), "an endpoint has no `address`")
                    .label(format!("expected {ENDPOINT}")),
            );
        }
        let (mut endpoint, tls) = (endpoint?, tls?);
        endpoint.weight = weight?.unwrap_or(endpoint.weight);
        endpoint.backup = backup?.unwrap_or(endpoint.backup);
        match (&mut endpoint.protocol, tls) {
            (ProtocolSettings::Tls(settings), tls) => {
                if let Some(tls) = tls.or_else(|| of_all.cloned()) {
                    *settings = tls;
                }
                self.trusts(settings, &at.key("address"));
            }
            (ProtocolSettings::Http1 | ProtocolSettings::H2c, Some(_)) => {
                self.add(not_secured(&at.key("tls"), Some(&endpoint)));
                return None;
            }
            (ProtocolSettings::Http1 | ProtocolSettings::H2c, None) => {}
        }
        Some(endpoint)
    }

    /// 0 to [`WEIGHT_MAX`].
    fn weight(&mut self, value: &Value, at: &Path) -> Option<Option<u16>> {
        let Some(text) = self.text(value, at, "a weight such as `2`")? else {
            return Some(None);
        };
        let weight = text.parse().ok().filter(|weight| *weight <= WEIGHT_MAX);
        if weight.is_none() {
            let whole = text
                .parse::<f64>()
                .is_ok_and(|number| number.fract() == 0.0);
            let fault = Diagnostic::error(
                Place::Value(at.clone()),
                format!("`{text}` is not a weight"),
            )
            .label(format!("whole numbers from 0 to {WEIGHT_MAX}"));
            self.add(match whole {
                true => fault,
                false => fault.help(
                    "weights are shares of each other: `1` and `3` are a quarter and the rest",
                ),
            });
            return None;
        }
        Some(weight)
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
