//! `upstream`: the endpoints behind a site, and how long they may take.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::{Check, endpoint, words};
use crate::config::file::{self, Shape, Value};
use crate::diagnostic::{Diagnostic, Path, Place};
use crate::tls::AuthoritySettings;
use crate::upstream::protocol::EndpointName;
use crate::upstream::{
    Address, ConnectTimeout, EndpointSettings, ProtocolSettings, RESPONSE_TIMEOUT, Settings,
    TlsSettings, WAIT_FOR_ENDPOINT,
};

const ENDPOINT: &str = "a port such as `8080`, an address such as `10.0.0.7:8080`, or `unix:/path`";
const TLS: &str = "`{ ca: FILE, name: NAME }`, or one of the two";

impl Check<'_> {
    /// An upstream in any form.
    pub(super) fn upstream(
        &mut self,
        written: &Shape<file::Upstream>,
        at: &Path,
    ) -> Option<Settings> {
        let written = match written {
            Shape::Mapping(written) => written,
            Shape::Other(value) => {
                let endpoints = self.endpoints(value, at, ENDPOINT, None)?;
                return Some(Settings::of(endpoints));
            }
        };
        self.keys(&written.unknown, at, words::UPSTREAM, "`upstream`");
        let tls_at = at.key("tls");
        let tls = self.tls(&written.tls, &tls_at);
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
            let of_all = tls.as_ref().and_then(Option::as_ref);
            self.endpoints(&written.endpoints, &at.key("endpoints"), ENDPOINT, of_all)
        };
        let secured = |endpoint: &EndpointSettings| is_secured(&endpoint.protocol);
        if let (Some(Some(_)), Some(endpoints)) = (&tls, &endpoints)
            && !endpoints.iter().any(secured)
        {
            let first = endpoints.first().map(|endpoint| &endpoint.address);
            self.add(not_secured(&tls_at, first));
        }
        tls?;
        let wait = self.duration(&written.wait_for_endpoint, &at.key("wait_for_endpoint"));
        let connect = self.bound(&written.connect_timeout, &at.key("connect_timeout"));
        let response = self.bound(&written.response_timeout, &at.key("response_timeout"));
        Some(Settings {
            connect_timeout: connect?.map_or_else(ConnectTimeout::default, ConnectTimeout::Of),
            response_timeout: response?.unwrap_or(RESPONSE_TIMEOUT),
            wait_for_endpoint: wait?.unwrap_or(WAIT_FOR_ENDPOINT),
            ..Settings::of(endpoints?)
        })
    }

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
                return self
                    .endpoint(value, at, what, tls)
                    .map(|endpoint| vec![endpoint]);
            }
        };
        let mut first: HashMap<EndpointSettings, Path> = HashMap::new();
        let mut endpoints = Some(Vec::with_capacity(list.len()));
        for (n, value) in list.iter().enumerate() {
            let at = at.at(n);
            let endpoint = self.endpoint(value, &at, ENDPOINT, tls);
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
                self.doubts(&endpoint.address, place);
                Some(endpoint)
            }
            Err(wrong) => {
                self.add(wrong.at(place));
                None
            }
        }
    }

    /// `{ address: https://8443, tls: … }`; the other keys of this form come later.
    fn endpoint_in_long(
        &mut self,
        entries: &[(String, Value)],
        at: &Path,
        of_all: Option<&TlsSettings>,
    ) -> Option<EndpointSettings> {
        let mut endpoint = None;
        let mut tls = Some(None);
        let mut unknown = false;
        for (key, value) in entries {
            let at = at.key(key);
            match key.as_str() {
                "address" => endpoint = self.endpoint_in_short(value, &at, ENDPOINT),
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
        match (&mut endpoint.protocol, tls) {
            (ProtocolSettings::Tls(settings), tls) => {
                if let Some(tls) = tls.or_else(|| of_all.cloned()) {
                    *settings = tls;
                }
                self.trusts(settings, &at.key("address"));
            }
            (ProtocolSettings::Http1 | ProtocolSettings::H2c, Some(_)) => {
                self.add(not_secured(&at.key("tls"), Some(&endpoint.address)));
                return None;
            }
            (ProtocolSettings::Http1 | ProtocolSettings::H2c, None) => {}
        }
        Some(endpoint)
    }

    /// `tls`: whom to trust, and whom to expect.
    fn tls(&mut self, written: &Value, at: &Path) -> Option<Option<TlsSettings>> {
        let entries = match written {
            Value::Absent => return Some(None),
            Value::Mapping(entries) => entries,
            Value::Null => {
                self.no_value(at, TLS);
                return None;
            }
            Value::Switch(_) | Value::Number(_) | Value::Text(_) => {
                self.wrong_kind(at, TLS, "a single value");
                return None;
            }
            Value::List(_) => {
                self.wrong_kind(at, TLS, "a list");
                return None;
            }
        };
        let (mut tls, mut right) = (TlsSettings::default(), true);
        for (key, value) in entries {
            let at = at.key(key);
            match key.as_str() {
                "ca" => {
                    let ca = self.path(value, &at, "a PEM file");
                    right &= ca.is_some();
                    tls.ca = ca.flatten();
                    if tls.ca.is_some() {
                        let ca = tls.ca.clone();
                        self.authorities.push(AuthoritySettings { at, ca });
                    }
                }
                "name" => {
                    let name = self.endpoint_name(value, &at);
                    right &= name.is_some();
                    tls.name = name;
                }
                _ => {
                    right = false;
                    self.unknown_key(key, &at, words::TLS, "`tls`");
                }
            }
        }
        right.then_some(Some(tls))
    }

    fn endpoint_name(&mut self, value: &Value, at: &Path) -> Option<EndpointName> {
        let text = self.text(value, at, "a name such as `app.internal`")??;
        let name = EndpointName::parse(&text);
        if name.is_none() {
            self.add(
                Diagnostic::error(
                    Place::Value(at.clone()),
                    format!("`{text}` is not a name that a certificate can be for"),
                )
                .label("neither a host name nor an address")
                .help("write a name such as `app.internal`, without scheme and port"),
            );
        }
        name
    }

    /// An endpoint without a CA of its own needs the system's.
    fn trusts(&mut self, tls: &TlsSettings, at: &Path) {
        if tls.ca.is_none() {
            let at = at.clone();
            self.authorities.push(AuthoritySettings { at, ca: None });
        }
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

fn is_secured(protocol: &ProtocolSettings) -> bool {
    match protocol {
        ProtocolSettings::Tls(_) => true,
        ProtocolSettings::Http1 | ProtocolSettings::H2c => false,
    }
}

/// `tls` where nothing is encrypted.
fn not_secured(at: &Path, endpoint: Option<&Address>) -> Diagnostic {
    let fault = Diagnostic::error(
        Place::Key(at.clone()),
        "`tls` is for endpoints that speak TLS",
    )
    .label("no `https://` endpoint here");
    match endpoint {
        Some(address @ (Address::Port(_) | Address::Socket(_))) => {
            fault.help(format!("write `https://{address}` if it does"))
        }
        Some(Address::Unix(_)) | None => fault,
    }
}
